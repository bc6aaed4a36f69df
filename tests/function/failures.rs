//! Failures: their effect on the messages and on the invocation.

use std::time::Duration;

use serde_json::json;

use testkit::batch::{Batch, id, ids, login, login_with};
use testkit::{Database, Outcome, Setup, assert_contains, server_address};

const NOT_ACCEPTED: &str = "Lambda did not accept the response: its messages will be redelivered";

#[tokio::test]
async fn a_bad_message_does_not_affect_the_others() {
    let database = Database::with_user_logins().await;
    let mut function = Setup::on(&database).start().await;
    let batch = Batch::new()
        .body("g1", login())
        .text("nojson", "{\"user_id\": ")
        .body("type", login_with("device_type", json!({"os": "ios"})))
        .record(json!({"messageId": id("nobody")}))
        .body("g2", login());
    let answer = function.invoke(&batch.event()).await;
    assert_eq!(answer.failed_ids(), ids(&["nojson", "type", "nobody"]));
    assert_eq!(database.count("user_logins").await, 2);
    let failed = function.lines("message failed");
    assert_eq!(
        (&failed[1]["rule"], &failed[1]["column"], &failed[1]["path"]),
        (&json!("type"), &json!("device_type"), &json!("device_type"))
    );
    assert_eq!(
        function.lines("batch")[0]["failed_by_rule"],
        "body_missing=1 body_not_json=1 type=1"
    );
}

#[tokio::test]
async fn a_batch_of_only_bad_messages_is_not_a_function_error() {
    let database = Database::with_user_logins().await;
    let mut function = Setup::on(&database).start().await;
    let answer = function
        .invoke(&Batch::new().text("a", "x").text("b", "").event())
        .await;
    assert_eq!(answer.failed_ids(), ids(&["a", "b"]));
}

#[tokio::test]
async fn an_id_that_occurs_twice_is_reported_once() {
    let database = Database::with_user_logins().await;
    let mut function = Setup::on(&database).start().await;
    let answer = function
        .invoke(&Batch::new().text("a", "x").text("a", "y").event())
        .await;
    assert_eq!(
        answer,
        Outcome::Answer(json!({"batchItemFailures": [{"itemIdentifier": id("a")}]}))
    );
}

#[tokio::test]
async fn an_empty_batch_is_answered() {
    let database = Database::with_user_logins().await;
    let mut function = Setup::on(&database).start().await;
    assert_eq!(
        function.invoke(&json!({"Records": []})).await,
        Outcome::Answer(json!({"batchItemFailures": []}))
    );
}

#[tokio::test]
async fn a_payload_that_is_not_an_sqs_event_fails_the_invocation_without_its_values() {
    let database = Database::with_user_logins().await;
    let mut function = Setup::on(&database).start().await;
    let error = function
        .invoke(&json!({"Records": [{"messageId": {"s3": "s3cret"}}]}))
        .await
        .error();
    assert_contains(&error, "not an SQS event");
    assert!(!error.contains("s3cret"), "{}", error);
    assert!(!function.end().await.contains("s3cret"));
}

#[tokio::test]
async fn an_unavailable_database_fails_the_invocation_at_its_deadline() {
    let mut function = Setup::unavailable().start().await;
    let error = function
        .invoke_within(
            &Batch::new().body("a", login()).event(),
            Duration::from_secs(10),
        )
        .await
        .error();
    assert_contains(&error, "cannot be reached");
    assert!(!function.lines("retrying").is_empty());
}

#[tokio::test]
async fn rows_that_may_be_stored_at_the_deadline_are_reported_and_harmless() {
    let database = Database::with_user_logins().await;
    let mut function = Setup::on(&database).start().await;
    let batch = Batch::new().body("a", login()).text("b", "x");
    database
        .execute("BEGIN; LOCK TABLE user_logins IN ACCESS EXCLUSIVE MODE")
        .await;
    let answer = function
        .invoke_within(&batch.event(), Duration::from_secs(10))
        .await;
    assert_eq!(answer.failed_ids(), ids(&["a", "b"]));
    let rules: Vec<_> = function
        .lines("message failed")
        .iter()
        .map(|line| line["rule"].clone())
        .collect();
    assert_eq!(rules, [json!("out_of_time"), json!("body_not_json")]);
    database.execute("COMMIT").await;
    assert_eq!(
        function.invoke(&batch.event()).await.failed_ids(),
        [id("b")]
    );
    assert_eq!(database.count("user_logins").await, 1);
}

#[tokio::test]
async fn a_table_that_does_not_fit_fails_the_invocation_with_its_fix() {
    let cases = [
        (
            "",
            "table \\\"user_logins\\\" does not exist",
            "CREATE TABLE \\\"user_logins\\\"",
        ),
        (
            "ALTER TABLE user_logins DROP COLUMN locale",
            "no column \\\"locale\\\"",
            "ADD COLUMN \\\"locale\\\" varchar(32)",
        ),
        (
            "ALTER TABLE user_logins ALTER create_date TYPE integer USING 1",
            "\\\"create_date\\\"",
            "is integer but mapped as date",
        ),
        (
            "ALTER TABLE user_logins DROP CONSTRAINT user_logins_pkey",
            "no unique index",
            "CREATE UNIQUE INDEX CONCURRENTLY ON",
        ),
    ];
    for (damage, wrong, fix) in cases {
        let database = if damage.is_empty() {
            Database::new().await
        } else {
            Database::with_user_logins().await
        };
        database.execute(damage).await;
        let mut function = Setup::on(&database).start().await;
        let error = function
            .invoke(&Batch::new().body("a", login()).event())
            .await
            .error();
        assert!(
            error.contains(wrong) && error.contains(fix),
            "{damage}: {error}"
        );
    }
}

#[tokio::test]
async fn a_role_without_privileges_fails_the_invocation_with_the_grant() {
    let database = Database::with_user_logins().await;
    let role = format!("{}_role", database.schema);
    database
        .execute(&format!(
            "CREATE ROLE {role} LOGIN PASSWORD 'p'; GRANT USAGE ON SCHEMA {} TO {role}",
            database.schema
        ))
        .await;
    let url = database.url_as(&role, "p", server_address());
    let mut function = Setup::on(&database).set("DATABASE_URL", &url).start().await;
    let error = function
        .invoke(&Batch::new().body("a", login()).event())
        .await
        .error();
    assert_contains(&error, "has no privilege to write");
    assert_contains(&error, "GRANT INSERT");
}

/// Lambda has ended an invocation whose answer comes too late, and delivers its messages again.
#[tokio::test]
async fn an_answer_that_lambda_no_longer_accepts_does_not_end_the_function() {
    const GONE: u16 = 410;
    let database = Database::with_user_logins().await;
    let mut function = Setup::on(&database).start().await;
    let event = Batch::new().body("a", login()).event();
    let late = function.invoke_and_answer(&event, GONE).await;
    late.assert_none_failed();
    function.invoke(&event).await.assert_none_failed();
    let line = &function.lines_of(NOT_ACCEPTED, 1).await[0];
    assert_eq!(line["status"], GONE);
    assert_eq!(database.count("user_logins").await, 1);
}

#[tokio::test]
async fn a_runtime_api_that_fails_ends_the_function() {
    const SERVER_ERROR: u16 = 500;
    let database = Database::with_user_logins().await;
    let mut function = Setup::on(&database).start().await;
    let event = Batch::new().body("a", login()).event();
    function.invoke_and_answer(&event, SERVER_ERROR).await;
    assert!(!function.ends().await.success());
    let reason = function.lines_of("cannot continue", 1).await[0]["reason"].to_string();
    assert_contains(&reason, "lost the Lambda Runtime API");
    assert_contains(&reason, "500");
}
