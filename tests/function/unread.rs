//! Fields that no column reads: a producer that adds one is noticed.

use serde_json::json;

use testkit::Function;
use testkit::batch::Batch;
use testkit::metrics::counted;

const MAPPING: &str = r#"
table = "t"
key = ["id"]
column = [{ name = "id", type = "text", required = true }, { name = "city", type = "text", from = "address.city" }]
"#;

#[tokio::test]
async fn paths_that_no_column_reads_are_counted_in_metric_and_log_and_not_named() {
    let (_database, mut function) = Function::with_tables_of(MAPPING).await;
    let message = json!({"id": "a", "address": {"city": "Bern", "c4n4ry": 1}, "c4n4ry@example.org": {"x": "c4n4ry"}, "none": null});
    // Only the first message of a batch is looked at.
    let other = json!({"id": "b", "one": 1, "two": 2, "three": 3});
    let batch = Batch::new().body("a", message).body("b", other);
    function.invoke(&batch.event()).await.assert_none_failed();
    let line = function.lines_of("batch", 1).await.remove(0);
    assert_eq!(
        (&line["paths_unread"], &line["level"]),
        (&json!(2), &json!("INFO"))
    );
    assert_eq!(counted(&function, "PathsUnread").await, 2.0);
    let log = function.end().await;
    assert!(!log.contains("c4n4ry"), "{log}");
}

#[tokio::test]
async fn nothing_is_written_of_messages_of_which_everything_is_read() {
    let (_database, mut function) = Function::with_tables_of(MAPPING).await;
    let batch = Batch::new().body("a", json!({"id": "a", "address": {"city": "Bern"}}));
    function.invoke(&batch.event()).await.assert_none_failed();
    let line = function.lines_of("batch", 1).await.remove(0);
    assert_eq!(
        (line.get("paths_unread"), line.get("PathsUnread")),
        (None, None)
    );
}
