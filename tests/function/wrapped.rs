//! Messages that are packed, or several to a body, through the real function: what is stored is what was packed.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::child_tables::invoke;
use crate::hostile::{MEBIBYTE, peak_bytes};
use testkit::Function;
use testkit::batch::{Batch, id, ids};

const PACKED: &str = r#"
table = "events"
key = ["id"]
encoding = "gzip+base64"
column = [
  { name = "id", type = "bigint", required = true },
  { name = "name", type = "text" },
]
"#;

/// Each line is a reading, with its tags, or is skipped.
const LINES: &str = r#"
body = "lines"
unmatched = "skip"

[[table]]
name = "readings"
each = "@body"
when = { kind = "reading" }
key = ["message_id", "line"]
column = [
  { name = "message_id", type = "uuid", from = "@message_id" },
  { name = "line", type = "integer", from = "@index" },
  { name = "value", type = "numeric", required = true },
]

[[table]]
name = "tags"
parent = "readings"
each = "tags"
key = ["message_id", "line", "tag"]
column = [
  { name = "message_id", type = "uuid", from = "@message_id" },
  { name = "line", type = "integer", from = "^.@index" },
  { name = "tag", type = "text", from = "@element", required = true },
]
"#;

/// A text, repeated, as the program `gzip` compresses it.
pub(crate) fn gzip(text: &str, times: usize) -> String {
    let piped = Command::new("gzip")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut gzip = piped.unwrap();
    let mut input = gzip.stdin.take().unwrap();
    let text = text.to_owned();
    let writer = std::thread::spawn(move || {
        for _ in 0..times {
            input.write_all(text.as_bytes()).unwrap();
        }
    });
    let packed = gzip.wait_with_output().unwrap().stdout;
    writer.join().unwrap();
    STANDARD.encode(packed)
}

#[tokio::test]
async fn packed_messages_are_stored_and_one_that_cannot_be_unpacked_fails_alone() {
    const MOST: usize = 128 * MEBIBYTE;
    let (database, mut function) = Function::with_tables_of(PACKED).await;
    let message = |id: u32| json!({"id": id, "name": "Zo\u{eb} \u{1f40e}"}).to_string();
    let bomb = gzip(&" ".repeat(MEBIBYTE), 256);
    let batch = Batch::new()
        .text("1", &gzip(&message(1), 1))
        .text("plain", &message(2))
        .text("bomb", &bomb)
        .text("3", &gzip(&message(3), 1));
    assert_eq!(invoke(&mut function, batch).await, ids(&["plain", "bomb"]));
    let stored = "SELECT id || name FROM events ORDER BY id";
    assert_eq!(
        database.rows(stored).await.concat(),
        ["1Zo\u{eb} \u{1f40e}", "3Zo\u{eb} \u{1f40e}"]
    );
    let lines = function.lines_of("message failed", 2).await;
    let rules: Vec<_> = lines
        .iter()
        .map(|line| line["rule"].as_str().unwrap())
        .collect();
    assert_eq!(rules, ["not_encoded", "too_large"]);
    let peak = peak_bytes(function.id());
    assert!(peak < MOST, "{peak} bytes");
}

/// Each reads what can have millions of parts: an array of values, the rest of a body, an array of rows.
const PARTS: &str = r#"
encoding = "gzip+base64"

[[table]]
name = "lists"
key = ["message_id"]
column = [
  { name = "message_id", type = "uuid", from = "@message_id" },
  { name = "numbers", type = "integer[]" },
  { name = "rest", type = "jsonb", from = "@rest" },
]

[[table]]
name = "elements"
parent = "lists"
each = "list"
key = ["message_id", "position"]
column = [
  { name = "message_id", type = "uuid", from = "@message_id" },
  { name = "position", type = "integer", from = "@index" },
]
"#;

#[tokio::test]
async fn a_message_that_unpacks_to_millions_of_values_takes_no_more_than_128_mebibytes() {
    const MOST: usize = 128 * MEBIBYTE;
    let (database, mut function) = Function::with_tables_of(PARTS).await;
    let ones = "1,".repeat(7 * MEBIBYTE);
    let fields: Vec<_> = (0..1_200_000).map(|n| format!("\"{n:x}\":1")).collect();
    let batch = Batch::new()
        .text("numbers", &gzip(&format!("{{\"numbers\": [{ones}1]}}"), 1))
        .text("list", &gzip(&format!("{{\"list\": [{ones}1]}}"), 1))
        .text("fields", &gzip(&format!("{{{}}}", fields.join(",")), 1))
        .text("few", &gzip(r#"{"numbers": [1], "list": [1], "a": 1}"#, 1));
    // Without a deadline: a busy machine may take long to read 50 MiB.
    let time = Duration::from_secs(600);
    let answer = function.invoke_within(&batch.event(), time).await;
    assert_eq!(answer.failed_ids(), ids(&["numbers", "list"]));
    let stored = "SELECT count(*)::text FROM lists, jsonb_object_keys(rest)";
    assert_eq!(database.rows(stored).await.concat(), ["1200001"]);
    let lines = function.lines_of("message failed", 2).await;
    let rules: Vec<_> = lines
        .iter()
        .map(|line| line["rule"].as_str().unwrap())
        .collect();
    assert_eq!(rules, ["too_large", "too_many_rows"]);
    let peak = peak_bytes(function.id());
    assert!(peak < MOST, "{peak} bytes");
}

/// Some producers of a queue compress large messages, and say so.
#[tokio::test]
async fn each_message_is_unpacked_as_its_attribute_says() {
    let mapping = PACKED.replace("gzip+base64", "@attribute.content-encoding");
    let (database, mut function) = Function::with_tables_of(&mapping).await;
    let message = |id: u32| json!({"id": id, "name": "Zo\u{eb}"}).to_string();
    let packed = |name: &str, encoding: &str, body: &str| {
        json!({
            "messageId": id(name), "body": body,
            "messageAttributes": {"content-encoding": {"stringValue": encoding, "dataType": "String"}},
        })
    };
    let batch = Batch::new()
        .text("1", &message(1))
        .record(packed("2", "gzip", &gzip(&message(2), 1)))
        .record(packed("3", "GZIP+base64", &gzip(&message(3), 1)))
        .record(packed("4", "base64", &STANDARD.encode(message(4))))
        .record(packed("5", "identity", &message(5)))
        .record(packed("not packed", "gzip", &message(6)))
        .record(packed("unknown", "c4n4ry", &message(7)))
        .text("not said", &gzip(&message(8), 1));
    let failed = invoke(&mut function, batch).await;
    assert_eq!(failed, ids(&["not packed", "unknown", "not said"]));
    let stored = "SELECT id::text FROM events WHERE name = 'Zo\u{eb}' ORDER BY id";
    assert_eq!(
        database.rows(stored).await.concat(),
        ["1", "2", "3", "4", "5"]
    );
    let lines = function.lines_of("message failed", 3).await;
    let rules = lines.iter().map(|line| line["rule"].as_str().unwrap());
    assert_eq!(
        rules.collect::<Vec<_>>(),
        ["not_encoded", "not_encoded", "body_not_json"]
    );
    assert!(!function.log().contains("c4n4ry"));
}

#[tokio::test]
async fn the_lines_of_a_message_are_rows_all_or_none() {
    let (database, mut function) = Function::with_tables_of(LINES).await;
    let good = "{\"kind\": \"reading\", \"value\": 1.50, \"tags\": [\"a\", \"b\"]}\n\n{\"kind\": \"ping\"}\n{\"kind\": \"reading\", \"value\": 2}\n";
    let batch = Batch::new()
        .text("good", good)
        .text(
            "value",
            "{\"kind\": \"reading\", \"value\": 3}\n{\"kind\": \"reading\"}",
        )
        .text(
            "line",
            "{\"kind\": \"reading\", \"value\": 4}\n{\"kind\": \"reading\"",
        );
    assert_eq!(invoke(&mut function, batch).await, ids(&["value", "line"]));
    let stored = "SELECT line || ' ' || value FROM readings ORDER BY line";
    assert_eq!(database.rows(stored).await.concat(), ["0 1.50", "2 2"]);
    let stored = "SELECT line || ' ' || tag FROM tags ORDER BY tag";
    assert_eq!(database.rows(stored).await.concat(), ["0 a", "0 b"]);
    let lines = function.lines_of("message failed", 2).await;
    let said = |line: &serde_json::Value| {
        [&line["rule"], &line["path"]].map(|text| text.as_str().unwrap_or_default().to_owned())
    };
    let said: Vec<_> = lines.iter().map(said).collect();
    assert_eq!(said, [["required", "[1].value"], ["line_not_json", ""]]);
}

/// A record that no table matches is not dropped because the mapping knows its neighbours.
#[tokio::test]
async fn a_record_that_no_table_matches_rejects_its_message() {
    let rejecting = LINES.replace("unmatched = \"skip\"\n", "");
    let (database, mut function) = Function::with_tables_of(&rejecting).await;
    let reading = "{\"kind\": \"reading\", \"value\": 1}";
    let batch = Batch::new()
        .text("known", &format!("{reading}\n{reading}"))
        .text(
            "other",
            &format!("{reading}\n{{\"kind\": \"ping\"}}\n{reading}"),
        );
    assert_eq!(invoke(&mut function, batch).await, ids(&["other"]));
    assert_eq!(database.count("readings").await, 2);
    let failed = function.lines_of("message failed", 1).await.remove(0);
    assert_eq!(
        [&failed["rule"], &failed["path"]],
        [&json!("unmatched"), &json!("[1]")]
    );
}
