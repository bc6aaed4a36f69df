//! The original id that a message claims counts only if it is proven.

use serde_json::{Value, json};
use sqs_to_postgres::message::origin::Origin;

use crate::support::batch::{Batch, id};
use crate::support::{Database, Function, MASK_KEY, Mapping, Setup, origins};

/// A key that is not the function's.
const OTHER_KEY: &str = "//8CAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// A function with this mask key, and a row for each id.
async fn start(database: &Database, on_conflict: &str, mask_key: &str) -> Function {
    database
        .execute("CREATE TABLE t (id text PRIMARY KEY, v text, sent_at timestamptz)")
        .await;
    let mapping = Mapping::of("t").key("id").set("on_conflict", on_conflict);
    let mapping = mapping.column("id", "text").with("from", "@message_id");
    let mapping = mapping.column("v", "text");
    let mapping = mapping
        .column("sent_at", "timestamptz")
        .with("from", "@sent_at");
    let setup = Setup::on(database).set("MASK_KEY", mask_key);
    setup.mapping(&mapping).start().await
}

fn of(name: &str) -> Origin {
    Origin::new(
        &id(name),
        Some(946_684_800_000),
        "arn:aws:sqs:eu-west-1:0:q",
    )
}

/// A message with an attribute.
fn with(name: &str, body: &str, attribute: &str, text: &str) -> Value {
    let attributes = json!({attribute: {"stringValue": text, "dataType": "String"}});
    json!({"messageId": id(name), "body": body, "messageAttributes": attributes})
}

#[tokio::test]
async fn a_forged_origin_overwrites_no_row() {
    let database = Database::new().await;
    let mut function = start(&database, "update", MASK_KEY).await;
    let (good, bad) = (r#"{"v": "good"}"#, r#"{"v": "bad"}"#);
    let victim = Batch::new().text("victim", good).event();
    function.invoke(&victim).await.assert_none_failed();
    let unsigned = origins("").text(of("victim"), bad);
    let forged = [
        ("origin", unsigned.clone()),
        ("origin", unsigned.replace('}', ",\"hmac\":\"\"}")),
        ("origin", origins(OTHER_KEY).text(of("victim"), bad)),
        // Copied from a message in the dead-letter queue to another message.
        ("origin", origins(MASK_KEY).text(of("victim"), good)),
        ("original_message_id", id("victim")),
    ];
    let mut batch = Batch::new();
    for (number, (name, text)) in forged.iter().enumerate() {
        batch = batch.record(with(&number.to_string(), bad, name, text));
    }
    function.invoke(&batch.event()).await.assert_none_failed();
    let rows = database
        .rows("SELECT v, count(*)::text, (min(sent_at) > '2020-01-01')::text FROM t GROUP BY v ORDER BY v")
        .await;
    assert_eq!(rows, [["bad", "5", "true"], ["good", "1", "true"]]);
}

#[tokio::test]
async fn a_genuine_origin_sets_the_original_id_and_time_with_a_key_and_without() {
    for key in [MASK_KEY, ""] {
        let database = Database::new().await;
        let mut function = start(&database, "ignore", key).await;
        let body = r#"{"v": "é"}"#;
        let first = Batch::new().text("first", body).event();
        let origin = origins(key).text(of("first"), body);
        let moved = Batch::new().record(with("second", body, "origin", &origin));
        for event in [moved.event(), first] {
            function.invoke(&event).await.assert_none_failed();
        }
        let rows = database.rows("SELECT id, sent_at::date::text FROM t").await;
        assert_eq!(rows, [[id("first"), "2000-01-01".to_owned()]]);
    }
}
