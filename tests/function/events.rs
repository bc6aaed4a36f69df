//! Every file of `events/`, as `make invoke` sends it.

use serde_json::Value;

use testkit::batch::Batch;
use testkit::{Database, Function, Outcome, Setup};

fn event(name: &str) -> Value {
    let path = format!("{}/events/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The numbers at the end of the ids that failed.
fn failed_numbers(outcome: &Outcome) -> Vec<u64> {
    outcome
        .failed_ids()
        .iter()
        .map(|id| id.rsplit('-').next().unwrap().parse().unwrap())
        .collect()
}

async fn function(database: &Database) -> Function {
    Setup::on(database).start().await
}

fn rules(function: &Function) -> Vec<String> {
    function
        .lines("message failed")
        .iter()
        .map(|line| line["rule"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn good_batch_and_redelivered_batch() {
    let database = Database::with_user_logins().await;
    let mut function = function(&database).await;
    for name in ["good-batch.json", "redelivered-batch.json"] {
        assert!(failed_numbers(&function.invoke(&event(name)).await).is_empty());
        assert_eq!(database.count("user_logins").await, 5);
    }
}

#[tokio::test]
async fn bad_records() {
    let database = Database::with_user_logins().await;
    let mut function = function(&database).await;
    assert_eq!(
        failed_numbers(&function.invoke(&event("bad-records.json")).await),
        (101..=111).collect::<Vec<_>>()
    );
    let expected = [
        "body_not_json",
        "body_missing",
        "required",
        "required",
        "required",
        "type",
        "length",
        "transform",
        "range",
        "nul_character",
        "lone_surrogate",
    ];
    assert_eq!(rules(&function), expected);
    assert_eq!(database.count("user_logins").await, 1);
}

#[tokio::test]
async fn fifo_failing_group() {
    let database = Database::with_user_logins().await;
    let mut function = function(&database).await;
    assert_eq!(
        failed_numbers(&function.invoke(&event("fifo-failing-group.json")).await),
        [202, 204, 206]
    );
    assert_eq!(database.count("user_logins").await, 4);
}

#[tokio::test]
async fn sns_batch() {
    let database = Database::with_user_logins().await;
    let mapping = include_str!("../../events/sns-pipeline.toml");
    let mut function = Setup::on(&database).mapping(mapping).start().await;
    assert_eq!(
        failed_numbers(&function.invoke(&event("sns-batch.json")).await),
        [303]
    );
    assert_eq!(rules(&function), ["not_sns"]);
    assert_eq!(database.count("user_logins").await, 3);
}

#[tokio::test]
async fn logins() {
    let database = Database::with_user_logins().await;
    let mut function = function(&database).await;
    let logins = include_str!("../../events/logins.jsonl");
    let batch = logins
        .lines()
        .enumerate()
        .fold(Batch::new(), |batch, (number, line)| {
            batch.text(&number.to_string(), line)
        });
    assert_eq!(function.invoke(&batch.event()).await.failed_ids().len(), 3);
    assert_eq!(rules(&function), ["required", "body_not_json", "transform"]);
    assert_eq!(database.count("user_logins").await, 97);
}
