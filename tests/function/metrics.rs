//! The metrics that CloudWatch reads out of the log.

use std::time::Duration;

use serde_json::{Value, json};

use crate::batch::{Batch, login};
use crate::support::{Database, Function, Setup};

/// The lines in the Embedded Metric Format that hold this metric.
fn with_metric(function: &Function, name: &str) -> Vec<Value> {
    let log = function.log();
    let lines = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines
        .filter(|line| line["_aws"].is_object() && line.get(name).is_some())
        .collect()
}

#[tokio::test]
async fn a_batch_writes_what_became_of_it_and_of_each_rule() {
    let database = Database::with_user_logins().await;
    let mut function = Setup::on(&database).start().await;
    let batch = Batch::new()
        .body("a", login())
        .body("a", login())
        .text("b", "x")
        .text("c", "y")
        .body("d", json!({}));
    function.invoke(&batch.event()).await;
    function.lines_of("batch", 1).await;
    let metrics = &with_metric(&function, "MessagesReceived")[0];
    let counts = [
        "MessagesReceived",
        "RowsStored",
        "RowsDuplicate",
        "DatabaseRetries",
    ]
    .map(|name| metrics[name].as_f64());
    assert_eq!(counts, [Some(5.0), Some(1.0), Some(1.0), Some(0.0)]);
    assert_eq!(
        (&metrics["Function"], &metrics["Table"]),
        (&json!("sqs-to-postgres"), &json!("\"user_logins\""))
    );
    assert!(metrics["MessageAgeMillis"].as_f64() > Some(0.0));
    let failed = with_metric(&function, "MessagesFailed");
    let by_rule: Vec<_> = failed
        .iter()
        .map(|line| (line["Rule"].as_str(), line["MessagesFailed"].as_f64()))
        .collect();
    assert_eq!(
        by_rule,
        [
            (Some("body_not_json"), Some(2.0)),
            (Some("required"), Some(1.0))
        ]
    );
    database.drop().await;
}

#[tokio::test]
async fn a_batch_that_is_not_stored_in_time_writes_them_too() {
    let database = Database::with_user_logins().await;
    let mut function = Setup::on(&database).start().await;
    let lock = database.lock("user_logins").await;
    function
        .invoke_within(
            &Batch::new().body("a", login()).event(),
            Duration::from_secs(2),
        )
        .await;
    drop(lock);
    function.lines_of("batch", 1).await;
    assert_eq!(with_metric(&function, "RowsStored")[0]["RowsStored"], 0.0);
    assert_eq!(
        with_metric(&function, "MessagesFailed")[0]["Rule"],
        "out_of_time"
    );
    database.drop().await;
}

#[tokio::test]
async fn an_outage_writes_its_retries() {
    let mut function = Setup::away().start().await;
    function
        .invoke_within(
            &Batch::new().body("a", login()).event(),
            Duration::from_secs(3),
        )
        .await
        .error();
    function.lines_of("batch failed", 1).await;
    assert!(with_metric(&function, "DatabaseRetries")[0]["DatabaseRetries"].as_f64() > Some(0.0));
}
