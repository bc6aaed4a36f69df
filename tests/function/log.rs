//! The log, as an engineer reads it.

use serde_json::{Value, json};

use testkit::batch::{Batch, id, login, login_with};
use testkit::{Database, Setup, assert_contains};

/// The request id of every invocation of these tests.
const REQUEST_ID: &str = "8476a536-e9f4-11e8-9739-2dfe598c3fcd";

fn without(mut line: Value, names: &[&str]) -> Value {
    for name in names {
        assert!(line.as_object_mut().unwrap().remove(*name).is_some());
    }
    line
}

#[tokio::test]
async fn the_line_of_a_failed_message_says_which_where_why_and_how_often() {
    let database = Database::with_user_logins().await;
    let mut function = Setup::on(&database).start().await;
    let trace = "Root=1-5759e988-bd862e3fe1be46a994272793";
    let body = login_with("ip", json!(null)).to_string();
    let bad = json!({"messageId": id("bad"), "body": body, "attributes": {
        "ApproximateReceiveCount": "3", "AWSTraceHeader": format!("{trace};Sampled=1;user=alice")}});
    let batch = Batch::new().body("good", login()).record(bad);
    function.invoke(&batch.event()).await;
    let line = function.lines_of("message failed", 1).await[0].take();
    let expected = json!({
        "level": "WARN", "message": "message failed", "message_id": id("bad"), "rule": "required", "column": "masked_ip",
        "path": "ip", "attempt": 3, "trace_header": trace,
        "span": {"name": "invocation", "request_id": REQUEST_ID, "cold_start": true, "batch_size": 2},
    });
    assert_eq!(without(line, &["timestamp", "reason"]), expected);
}

#[tokio::test]
async fn thousands_of_bad_messages_write_a_hundred_lines_per_rule_and_a_count() {
    let database = Database::with_user_logins().await;
    let mut function = Setup::on(&database).start().await;
    let name = |kind: &str, number: usize| format!("{kind}{number}");
    let mut batch = Batch::new().body("good", login());
    for number in 0..3_000 {
        batch = batch.text(&name("b", number), "x");
    }
    for number in 0..101 {
        let body = login_with("ip", json!(null));
        batch = batch.body(&name("r", number), body);
    }
    for number in 0..100 {
        let body = login_with("app_version", json!("x"));
        batch = batch.body(&name("t", number), body);
    }
    let answer = function.invoke(&batch.event()).await;
    assert_eq!(answer.failed_ids().len(), 3_201);
    let done = function.lines_of("batch", 1).await[0].take();
    assert_eq!(
        done["failed_by_rule"],
        "body_not_json=3000 required=101 transform=100"
    );
    let counts = function.lines("more messages failed");
    let counts: Vec<_> = counts
        .iter()
        .map(|line| json!([line["level"], line["rule"], line["messages"]]))
        .collect();
    assert_eq!(
        json!(counts),
        json!([["WARN", "body_not_json", 2_900], ["WARN", "required", 1]])
    );
    let lines = function.lines("message failed");
    let of_rule = |rule: &str| lines.iter().filter(|line| line["rule"] == rule).count();
    assert_eq!(
        ["body_not_json", "required", "transform"].map(of_rule),
        [100; 3]
    );
    assert_eq!(lines[0]["message_id"], id("b0"));
}

#[tokio::test]
async fn only_the_first_invocation_is_a_cold_start() {
    let database = Database::with_user_logins().await;
    let mut function = Setup::on(&database).start().await;
    for name in ["a", "b", "c"] {
        function
            .invoke(&Batch::new().body(name, login()).event())
            .await;
    }
    let lines = function.lines_of("batch", 3).await;
    let cold: Vec<_> = lines
        .iter()
        .map(|line| line["span"]["cold_start"].as_bool())
        .collect();
    assert_eq!(cold, [true, false, false].map(Some));
}

#[tokio::test]
async fn the_line_of_a_batch_names_its_trace_and_those_of_its_senders_as_collectors_read_them() {
    let database = Database::with_user_logins().await;
    let mut function = Setup::on(&database).start().await;
    let traced = |name: &str, traceparent: &str, aws: &str| {
        let traceparent = json!({"stringValue": traceparent, "dataType": "String"});
        json!({"messageId": id(name), "body": login().to_string(), "attributes": {"AWSTraceHeader": aws},
            "messageAttributes": {"traceparent": traceparent}})
    };
    let aws =
        "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1;user=alice";
    let recorded = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let batch = Batch::new()
        .body("none", login())
        .record(traced("own", recorded, aws))
        .record(traced("aws", "alice@example.com", aws))
        .record(traced("same", "", aws))
        .record(traced("not recorded", "", &aws.replace("=1;", "=0;")));
    function.invoke(&batch.event()).await;
    let line = function.lines_of("batch", 1).await[0].take();
    assert_eq!(line["trace_id"], format!("5759e988{:024x}", 1));
    assert_eq!(line["span_id"], "53995c3f42cd8ad8");
    let links = json!([
        {"trace_id": "0af7651916cd43dd8448eb211c80319c", "span_id": "b7ad6b7169203331"},
        {"trace_id": "5759e988bd862e3fe1be46a994272793", "span_id": "53995c3f42cd8ad8"},
    ]);
    assert_eq!(line["links"], links);
    assert_eq!(line["links_dropped"], Value::Null);
}

#[tokio::test]
async fn a_batch_of_very_many_senders_has_a_short_line() {
    let database = Database::with_user_logins().await;
    let mut function = Setup::on(&database).start().await;
    let sent = |number: u32| {
        let aws = format!("Root=1-5759e988-{number:024x};Parent=53995c3f42cd8ad8;Sampled=1");
        let name = id(&number.to_string());
        json!({"messageId": name, "body": login().to_string(), "attributes": {"AWSTraceHeader": aws}})
    };
    let batch = (0..1_000).fold(Batch::new(), |batch, number| batch.record(sent(number)));
    function.invoke(&batch.event()).await;
    let line = function.lines_of("batch", 1).await[0].take();
    assert_eq!(line["links"].as_array().unwrap().len(), 128);
    assert_eq!(line["links_dropped"], 872);
}

#[tokio::test]
async fn the_level_leaves_lines_out_and_the_others_whole() {
    let database = Database::with_user_logins().await;
    let setup = Setup::on(&database).set("AWS_LAMBDA_LOG_LEVEL", "WARN");
    let mut function = setup.start().await;
    function
        .invoke(&Batch::new().text("bad", "x").event())
        .await;
    let line = function.lines_of("message failed", 1).await[0].take();
    assert_eq!(line["span"]["request_id"], REQUEST_ID);
    assert_eq!(function.lines("batch"), [] as [Value; 0]);
}

#[tokio::test]
async fn as_text_a_line_says_what_happened_before_the_details() {
    let database = Database::with_user_logins().await;
    let setup = Setup::on(&database).set("AWS_LAMBDA_LOG_FORMAT", "Text");
    let mut function = setup.start().await;
    function
        .invoke(&Batch::new().text("bad", "x").event())
        .await;
    let log = function.end().await;
    let line = log
        .lines()
        .find(|line| line.contains("message failed"))
        .unwrap();
    let details = format!(
        "message failed message_id=\"{}\" rule=\"body_not_json\"",
        id("bad")
    );
    assert_contains(&line, &details);
    assert_contains(&line, &format!("request_id=\"{REQUEST_ID}\""));
}
