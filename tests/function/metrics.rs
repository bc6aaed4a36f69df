//! The metrics that CloudWatch extracts from the log.

use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use crate::child_tables::{ORDERS, order, with_orders};
use testkit::aws::Queue;
use testkit::batch::{Batch, login};
use testkit::metrics::{counted, metric_lines, with_metric};
use testkit::{Database, Mapping, Setup, assert_contains};

/// CloudWatch's units.
/// Source: <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_MetricDatum.html>.
const UNITS: [&str; 27] = [
    "Seconds",
    "Microseconds",
    "Milliseconds",
    "Bytes",
    "Kilobytes",
    "Megabytes",
    "Gigabytes",
    "Terabytes",
    "Bits",
    "Kilobits",
    "Megabits",
    "Gigabits",
    "Terabits",
    "Percent",
    "Count",
    "Bytes/Second",
    "Kilobytes/Second",
    "Megabytes/Second",
    "Gigabytes/Second",
    "Terabytes/Second",
    "Bits/Second",
    "Kilobits/Second",
    "Megabits/Second",
    "Gigabits/Second",
    "Terabits/Second",
    "Count/Second",
    "None",
];

/// A table whose name is not ASCII.
fn large() -> Mapping {
    let mapping = Mapping::by_message_id("größe");
    mapping.column("n", "integer").with("required", true)
}

/// The members of an object, which has these and no others.
fn members<'a>(object: &'a Value, names: &[&str]) -> &'a Map<String, Value> {
    let object = object.as_object().unwrap();
    assert_eq!(object.keys().map(String::as_str).collect::<Vec<_>>(), names);
    object
}

/// A text of at most this many characters, and at least one.
fn text(value: &Value, most: usize) -> &str {
    let text = value.as_str().unwrap();
    assert!((1..=most).contains(&text.chars().count()), "{text:?}");
    text
}

/// Every rule of the specification that a line can break, and CloudWatch's rules for names and values.
/// Sources: <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>
/// with its schema, and for names and values <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_Dimension.html> (2026-11).
fn assert_follows_the_format(root: &Value) {
    assert!(root.to_string().len() < 256 * 1024);
    let metadata = members(&root["_aws"], &["CloudWatchMetrics", "Timestamp"]);
    assert!(metadata["Timestamp"].as_u64().unwrap() > 1_700_000_000_000);
    for directive in metadata["CloudWatchMetrics"].as_array().unwrap() {
        let directive = members(directive, &["Dimensions", "Metrics", "Namespace"]);
        assert!(!text(&directive["Namespace"], 255).starts_with(':'));
        let metrics = directive["Metrics"].as_array().unwrap();
        assert!((1..=100).contains(&metrics.len()));
        for metric in metrics {
            let metric = members(metric, &["Name", "Unit"]);
            assert!(UNITS.contains(&metric["Unit"].as_str().unwrap()));
            assert!(root[text(&metric["Name"], 255)].is_number());
        }
        let sets = directive["Dimensions"].as_array().unwrap();
        assert!(!sets.is_empty());
        for dimensions in sets.iter().map(|set| set.as_array().unwrap()) {
            assert!(dimensions.len() <= 30);
            for dimension in dimensions {
                let value = text(&root[text(dimension, 250)], 1_024);
                let is_printable = |char| matches!(char, ' '..='~');
                assert!(value.chars().all(is_printable) && !value.trim().is_empty());
            }
        }
    }
}

#[tokio::test]
async fn every_line_follows_the_published_format() {
    let (database, dead) = (Database::new().await, Queue::new().await);
    database
        .execute("CREATE TABLE größe (id uuid PRIMARY KEY, n integer)")
        .await;
    let setup = Setup::on(&database).on_aws().mapping(&large());
    let setup = setup.set("DEAD_LETTER_QUEUE_URL", &dead.url);
    let mut function = setup.start().await;
    let batch = Batch::new().body("a", json!({"n": 1})).text("b", "x");
    function
        .invoke(&batch.body("c", json!({"n": "many"})).event())
        .await;
    function.lines_of("batch", 1).await;
    let lines = metric_lines(&function);
    lines.iter().for_each(assert_follows_the_format);
    for what in [
        "ColdStartMillis",
        "MessagesReceived",
        "MessagesFailed",
        "MessagesDeadLettered",
    ] {
        assert!(lines.iter().any(|line| line.get(what).is_some()), "{what}");
    }
    for line in &lines {
        assert_eq!(line["Table"], "\"größe\"");
        // CloudWatch charges for each set.
        let sets = &line["_aws"]["CloudWatchMetrics"][0]["Dimensions"];
        let of_rule = json!([["Function", "Rule"]]);
        let expected = match line.get("Rule") {
            Some(_) => of_rule,
            None => json!([["Function"]]),
        };
        assert_eq!(*sets, expected);
    }
}

#[tokio::test]
async fn a_start_writes_once_how_long_it_took_and_does_not_wait_for_a_batch() {
    let database = Database::with_user_logins().await;
    let began = Instant::now();
    let mut function = Setup::on(&database).start().await;
    let millis = counted(&function, "ColdStartMillis").await;
    assert!(millis < began.elapsed().as_secs_f64() * 1_000.0, "{millis}");
    for name in ["a", "b"] {
        let event = Batch::new().body(name, login()).event();
        function.invoke(&event).await;
    }
    function.lines_of("batch", 2).await;
    assert_eq!(with_metric(&function, "ColdStartMillis").len(), 1);
}

#[tokio::test]
async fn a_batch_writes_its_counts_and_those_of_each_rule() {
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
        "Reconnects",
        "SecretRefreshes",
    ]
    .map(|name| metrics[name].as_f64());
    assert_eq!(counts, [5.0, 1.0, 1.0, 0.0, 0.0, 0.0].map(Some));
    assert_eq!(
        (&metrics["Function"], &metrics["Table"]),
        (&json!("sqs-to-postgres"), &json!("\"user_logins\""))
    );
    assert!(metrics["MessageAgeMillis"].as_f64() > Some(0.0));
    let failed = with_metric(&function, "MessagesFailed");
    assert_eq!(metrics["MessagesFailed"], json!(3.0));
    let by_rule: Vec<_> = failed
        .iter()
        .filter(|line| line.get("Rule").is_some())
        .map(|line| (line["Rule"].as_str(), line["MessagesFailed"].as_f64()))
        .collect();
    assert_eq!(
        by_rule,
        [
            (Some("body_not_json"), Some(2.0)),
            (Some("required"), Some(1.0))
        ]
    );
}

/// Each of several tables has its own counts, except counts of zero. A dimension is ASCII, a table's name is not.
#[tokio::test]
async fn the_rows_of_each_of_several_tables_are_counted() {
    let mapping = |name: &str| ORDERS.replace("\"order_lines\"", name);
    let database = with_orders().await;
    database
        .execute("ALTER TABLE order_lines RENAME TO größen")
        .await;
    let setup = Setup::on(&database).mapping(&mapping("\"größen\""));
    let mut function = setup.start().await;
    let batch = Batch::new()
        .body("a", order(1, 2, &[("x", &[5, 6]), ("y", &[])]))
        .body("b", order(2, 2, &[]));
    function.invoke(&batch.event()).await;
    let older = Batch::new()
        .body("c", order(1, 1, &[("old", &[])]))
        .body("d", order(2, 3, &[("new", &[])]));
    function.invoke(&older.event()).await;
    function.lines_of("batch", 2).await;
    let lines = metric_lines(&function);
    lines.iter().for_each(assert_follows_the_format);
    let of_tables = lines.into_iter().filter(|line| {
        line["_aws"]["CloudWatchMetrics"][0]["Dimensions"] == json!([["Function", "Table"]])
    });
    let counts: Vec<_> = of_tables
        .map(|mut line| {
            let line = line.as_object_mut().unwrap();
            line.retain(|name, _| name == "Table" || name.starts_with("Rows"));
            json!(line)
        })
        .collect();
    assert_eq!(
        counts,
        [
            json!({"Table": "orders", "RowsStored": 2.0}),
            json!({"Table": "gr\\u{f6}\\u{df}en", "RowsStored": 2.0}),
            json!({"Table": "discounts", "RowsStored": 2.0}),
            json!({"Table": "orders", "RowsStored": 1.0, "RowsStale": 1.0}),
            json!({"Table": "gr\\u{f6}\\u{df}en", "RowsStored": 1.0}),
        ]
    );
}

/// One line costs less than two.
#[tokio::test]
async fn the_line_of_a_batch_and_its_metrics_are_one() {
    let database = Database::with_user_logins().await;
    let mut function = Setup::on(&database).start().await;
    function
        .invoke(&Batch::new().body("a", login()).event())
        .await;
    let line = function.lines_of("batch", 1).await[0].take();
    assert_follows_the_format(&line);
    assert_eq!(
        (&line["received"], &line["MessagesReceived"]),
        (&json!(1), &json!(1.0))
    );
    assert_eq!(
        (&line["level"], &line["span"]["cold_start"]),
        (&json!("INFO"), &json!(true))
    );
    let log = function.end().await;
    let lines: Vec<_> = log.lines().collect();
    assert_eq!(
        lines.len(),
        3,
        "that of the mapping, of the start, and of the batch: {log}"
    );
}

/// The level can leave the summary out of the line, but not the metrics.
#[tokio::test]
async fn metrics_do_not_depend_on_the_level_nor_the_format_of_the_log() {
    let settings = [
        ("AWS_LAMBDA_LOG_LEVEL", "WARN", 0),
        ("AWS_LAMBDA_LOG_FORMAT", "Text", 1),
    ];
    for (name, value, summaries) in settings {
        let database = Database::with_user_logins().await;
        let mut function = Setup::on(&database).set(name, value).start().await;
        function
            .invoke(&Batch::new().body("a", login()).event())
            .await;
        assert_eq!(counted(&function, "RowsStored").await, 1.0);
        let line = &with_metric(&function, "RowsStored")[0];
        assert_follows_the_format(line);
        assert_eq!((line.get("message"), line.get("received")), (None, None));
        let log = function.end().await;
        let text = log
            .lines()
            .filter(|line| line.contains("batch received=1 stored=1"));
        assert_eq!(text.count(), summaries, "{log}");
    }
}

#[tokio::test]
async fn a_batch_that_is_not_stored_in_time_writes_its_metrics_too() {
    let database = Database::with_user_logins().await;
    let mut function = Setup::on(&database).start().await;
    let lock = database.lock("user_logins").await;
    function
        .invoke_within(
            &Batch::new().body("a", login()).event(),
            Duration::from_secs(10),
        )
        .await;
    drop(lock);
    function.lines_of("batch", 1).await;
    assert_eq!(with_metric(&function, "RowsStored")[0]["RowsStored"], 0.0);
    assert_eq!(
        with_metric(&function, "MessagesFailed")[0]["Rule"],
        "out_of_time"
    );
}

#[tokio::test]
async fn an_outage_writes_its_retries() {
    let mut function = Setup::unavailable().start().await;
    function
        .invoke_within(
            &Batch::new().body("a", login()).event(),
            Duration::from_secs(10),
        )
        .await
        .error();
    let failed = &function.lines_of("batch failed", 1).await[0];
    assert!(failed["DatabaseRetries"].as_f64() > Some(0.0));
    let reason = failed["reason"].as_str().unwrap();
    assert_contains(&reason, "cannot be reached");
}

/// Two rows in one statement are refused because of one; then the second is refused because of the table.
#[tokio::test]
async fn rows_that_were_stored_before_a_batch_failed_are_counted() {
    let database = Database::new().await;
    database
        .execute("CREATE TABLE t (k text UNIQUE) PARTITION BY LIST (k); CREATE TABLE t_a PARTITION OF t FOR VALUES IN ('a')")
        .await;
    let mapping = Mapping::of("t").key("k").column("k", "text");
    let mapping = mapping.with("required", true);
    let mut function = Setup::on(&database).mapping(&mapping).start().await;
    let batch = Batch::new()
        .body("a", json!({"k": "a"}))
        .body("b", json!({"k": "b"}));
    function.invoke(&batch.event()).await.error();
    assert_eq!(database.count("t").await, 1);
    assert_eq!(with_metric(&function, "RowsStored")[0]["RowsStored"], 1.0);
}
