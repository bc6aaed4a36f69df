//! Fields are read from objects only: whatever else a body, `root` or an element is, its message is rejected with a
//! remedy, and nothing of it is stored.

use serde_json::{Value, json};

use crate::child_tables::invoke;
use testkit::aws::{Queue, attribute};
use testkit::batch::{Batch, id, ids};
use testkit::{Database, Function, Setup};

/// Nothing of a body is required.
const EVENTS: &str = r#"
table = "events"
key = ["id"]
column = [
  { name = "id", type = "uuid", from = "@message_id" },
  { name = "kind", type = "text" },
  { name = "rest", type = "jsonb", from = "@rest" },
]
"#;

/// What the SQS extended client sends for a body that it moved to S3, now and formerly.
const S3_POINTERS: [&str; 2] = [
    r#"["software.amazon.payloadoffloading.PayloadS3Pointer",{"s3BucketName":"b","s3Key":"k"}]"#,
    r#"[ "com.amazon.sqs.javamessaging.MessageS3Pointer", {"s3BucketName": "b", "s3Key": "k"}]"#,
];

/// Sends these bodies and a good one. Each of these breaks the rule at its path, with a reason that contains its text.
async fn assert_rejected(mapping: &str, good: &Value, bad: &[(&str, &str, &str)]) {
    let (database, mut function) = Function::with_tables_of(mapping).await;
    let numbered = bad.iter().zip(0..);
    let batch = numbered.fold(Batch::new(), |batch, ((body, ..), number): (_, usize)| {
        batch.text(&number.to_string(), body)
    });
    let failed = invoke(&mut function, batch.body("good", good.clone())).await;
    assert_eq!(failed.len(), bad.len(), "{failed:?}");
    let lines = function.lines_of("message failed", bad.len()).await;
    for (line, (body, path, remedy)) in lines.iter().zip(bad) {
        let reason = line["reason"].as_str().unwrap();
        let said = (line["rule"].as_str(), line["path"].as_str().unwrap_or(""));
        assert_eq!(said, (Some("not_an_object"), *path), "{body}: {reason}");
        assert!(reason.contains(remedy), "{body}: {reason}");
    }
    assert_eq!(database.count("events").await, 1);
}

#[tokio::test]
async fn a_body_without_fields_is_not_stored_as_a_row_of_nulls() {
    let once = "have the producer encode it once instead of twice";
    let only_rest = EVENTS.replace("  { name = \"kind\", type = \"text\" },\n", "");
    for mapping in [EVENTS, &only_rest] {
        assert_rejected(
            mapping,
            &json!({"kind": "a", "new": 1}),
            &[
                (
                    r#"[{"kind":"a"},{"kind":"b"}]"#,
                    "",
                    "an array, not an object: make a row of each element by each = \"@body\"",
                ),
                (r#""{\"kind\":\"c\"}""#, "", once),
                (S3_POINTERS[0], "", "moved the message to S3"),
                (S3_POINTERS[1], "", "moved the message to S3"),
                ("42", "", "the body is a number"),
                (" null\n", "", "unmatched = \"skip\""),
                ("\"plain\"", "", "the body is a string, not an object"),
                ("true", "", "the body is true or false"),
                ("[]", "", "the body is an array"),
            ],
        )
        .await;
    }
}

#[tokio::test]
async fn a_value_of_root_without_fields_is_not_stored_as_a_row_of_nulls() {
    let mapping = EVENTS.replace("table = \"events\"", "[[table]]\nname = \"events\"");
    let mapping = format!("root = \"detail\"\n{mapping}");
    let twice = json!({"detail": json!("{\"kind\": \"c\"}").to_string()}).to_string();
    assert_rejected(
        &mapping,
        &json!({"detail": "{\"kind\": \"in a string\"}"}),
        &[
            ("{}", "detail", "root leads to nothing: correct root"),
            (r#"{"detail": null}"#, "detail", "unmatched = \"skip\""),
            (
                r#"{"detail": [{"kind": "a"}]}"#,
                "detail",
                "name the array in each instead of root",
            ),
            (r#"{"detail": 1.5}"#, "detail", "root leads to a number"),
            (
                r#"{"detail": "a text"}"#,
                "detail",
                "root leads to a string, not an object",
            ),
            (r#"{"detail": ""}"#, "detail", "root leads to a string"),
            (&twice, "detail", "encode it at most twice"),
            ("[1]", "", "the body is an array"),
            ("null", "", "the body is null"),
        ],
    )
    .await;
}

#[tokio::test]
async fn an_element_without_fields_is_not_stored_as_a_row_of_nulls() {
    let mapping = r#"
[[table]]
name = "events"
each = "lines"
key = ["id", "line"]
column = [
  { name = "id", type = "uuid", from = "@message_id" },
  { name = "line", type = "integer", from = "@index" },
  { name = "sku", type = "text" },
]
"#;
    let of = |mapping: &str| {
        mapping.replace(
            "name = \"sku\", type = \"text\"",
            "name = \"more\", type = \"jsonb\", from = \"@rest\"",
        )
    };
    for mapping in [mapping.to_owned(), of(mapping)] {
        assert_rejected(
            &mapping,
            &json!({"lines": [{"sku": "a"}]}),
            &[
                (
                    r#"{"lines": ["a", "b"]}"#,
                    "lines[0]",
                    "the element is a string, not an object: read it by from = \"@element\"",
                ),
                (
                    r#"{"lines": [{"sku": "a"}, 7]}"#,
                    "lines[1]",
                    "the element is a number",
                ),
                (
                    r#"{"lines": [{}, {}, null]}"#,
                    "lines[2]",
                    "the element is null",
                ),
                (
                    r#"{"lines": [["a"]]}"#,
                    "lines[0]",
                    "read its values by their positions",
                ),
                (
                    r#"{"lines": ["{\"sku\": \"a\"}"]}"#,
                    "lines[0]",
                    "encode it once",
                ),
                (r#"[{"sku": "a"}]"#, "", "the body is an array"),
            ],
        )
        .await;
    }
}

#[tokio::test]
async fn where_no_field_is_read_any_json_is_accepted() {
    let mapping = r#"
[[table]]
name = "points"
each = "points"
key = ["id", "point"]
column = [
  { name = "id", type = "uuid", from = "@message_id" },
  { name = "point", type = "integer", from = "@index" },
  { name = "at", type = "bigint", from = "0" },
  { name = "value", type = "numeric", from = "1" },
]

[[table]]
name = "tags"
each = "tags"
key = ["id", "tag"]
column = [
  { name = "id", type = "uuid", from = "@message_id" },
  { name = "tag", type = "integer", from = "@index" },
  { name = "whole", type = "jsonb", from = "$.tags" },
]
"#;
    let (database, mut function) = Function::with_tables_of(mapping).await;
    let body = json!({"points": [[1, "2.5"], [2], {"0": 3}], "tags": ["a", 1, null]});
    let batch = Batch::new().body("a", body);
    assert_eq!(invoke(&mut function, batch).await, ids(&[]));
    let points = "SELECT at::text, coalesce(value::text, '-') FROM points ORDER BY point";
    assert_eq!(
        database.rows(points).await,
        [["1", "2.5"], ["2", "-"], ["3", "-"]]
    );
    assert_eq!(database.count("tags").await, 3);
    // A body is kept whole by a mapping that reads nothing of it.
    let raw = "table = \"raw\"\nkey = [\"id\"]\ncolumn = [{ name = \"id\", type = \"uuid\", from = \"@message_id\" },
        { name = \"body\", type = \"jsonb\", from = \"@body\" }]";
    let (database, mut function) = Function::with_tables_of(raw).await;
    let batch = Batch::new()
        .text("a", "[1]")
        .text("b", "\"x\"")
        .text("c", "7");
    assert_eq!(invoke(&mut function, batch).await, ids(&[]));
    assert_eq!(database.count("raw").await, 3);
}

#[tokio::test]
async fn what_cannot_be_matched_is_rejected_and_only_null_is_skipped() {
    let mapping = r#"
root = "payload"
unmatched = "skip"

[[table]]
name = "changes"
when = { op = "c" }
key = ["id"]
column = [{ name = "id", type = "bigint", required = true }]

[[table]]
name = "states"
when = { "@attribute.kind" = ["put", "delete"] }
delete_when = { "@attribute.kind" = "delete" }
key = ["id"]
on_conflict = "update"
column = [
  { name = "id", type = "text", from = "@attribute.id", required = true },
  { name = "value", type = "text" },
]
"#;
    let (database, mut function) = Function::with_tables_of(mapping).await;
    let of_kind = |name: &str, kind: &str, body: &str| {
        let text = |text: &str| json!({"stringValue": text, "dataType": "String"});
        json!({"messageId": id(name), "body": body, "messageAttributes": {"kind": text(kind), "id": text("s")}})
    };
    let batch = Batch::new()
        .text("array", "[1]")
        .text("pointer", S3_POINTERS[0])
        .text("no root", r#"{"op": "c", "id": 1}"#)
        .text("tombstone", "null")
        .text("null at root", r#"{"payload": null}"#)
        .text("other", r#"{"payload": {"op": "d"}}"#)
        .record(of_kind("put", "put", r#"{"payload": {"value": "v"}}"#));
    let failed = invoke(&mut function, batch).await;
    assert_eq!(failed, ids(&["array", "pointer", "no root"]));
    let summary = function.lines_of("batch", 1).await.pop().unwrap();
    assert_eq!(summary["skipped"], 3);
    assert_eq!(summary["failed_by_rule"], "not_an_object=3");
    assert_eq!(database.count("states").await, 1);
    // A deletion reads only the key, here an attribute; a row would read the body.
    let batch = Batch::new()
        .record(of_kind("put null", "put", "null"))
        .record(of_kind("delete", "delete", "null"));
    assert_eq!(invoke(&mut function, batch).await, ids(&["put null"]));
    assert_eq!(database.count("states").await, 0);
    assert_eq!(database.count("changes").await, 0);
}

#[tokio::test]
async fn a_fifo_group_waits_behind_a_body_that_is_not_an_object_until_it_is_a_dead_letter() {
    let (database, dead) = (Database::with_tables_of(EVENTS).await, Queue::new().await);
    let mut function = Setup::on(&database).mapping(EVENTS).start().await;
    let batch = || {
        Batch::fifo()
            .grouped("anna", "a1", json!({"kind": "a"}))
            .grouped("anna", "a2", json!([{"kind": "a"}]))
            .grouped("anna", "a3", json!({"kind": "a"}))
            .grouped("ben", "b1", json!({"kind": "b"}))
    };
    assert_eq!(invoke(&mut function, batch()).await, ids(&["a2", "a3"]));
    assert_eq!(database.count("events").await, 2);
    let setup = Setup::on(&database).on_aws().mapping(EVENTS);
    let setup = setup.set("DEAD_LETTER_QUEUE_URL", &dead.url);
    let mut function = setup.start().await;
    assert_eq!(invoke(&mut function, batch()).await, ids(&["a3"]));
    let messages = dead.dead_letters(1).await;
    let rejection = attribute(&messages[0], "rejection").unwrap();
    let rejection: Value = serde_json::from_str(&rejection).unwrap();
    assert_eq!(rejection, json!({"rule": "not_an_object"}));
}

#[tokio::test]
async fn the_rest_of_a_table_lacks_what_another_one_masks_or_reads() {
    let orders = r#"
[[table]]
name = "orders"
key = ["id"]
column = [
  { name = "id", type = "bigint", required = true },
  { name = "email", type = "text", mask = "sha256" },
]
"#;
    let contacts = r#"
[[table]]
name = "contacts"
key = ["id"]
column = [
  { name = "id", type = "uuid", from = "@message_id" },
  { name = "rest", type = "jsonb", from = "@rest" },
]
"#;
    // Only the positions of the elements are read.
    let lines = r#"
[[table]]
name = "lines"
parent = "orders"
each = "lines"
key = ["id", "line"]
column = [
  { name = "id", type = "bigint", from = "^.id", required = true },
  { name = "line", type = "integer", from = "@index" },
]
"#;
    let child = contacts.replace("key = ", "parent = \"orders\"\nkey = ");
    let child = child.replace(
        "\"uuid\", from = \"@message_id\"",
        "\"bigint\", required = true",
    );
    for contacts in [contacts, &child] {
        let (database, mut function) =
            Function::with_tables_of(&format!("{orders}{contacts}{lines}")).await;
        let body =
            json!({"id": 1, "email": "alice@example.com", "x": 1, "lines": [{"email": "a"}]});
        let batch = Batch::new().body("a", body);
        assert_eq!(invoke(&mut function, batch).await, ids(&[]));
        let rest = database.rows("SELECT rest::text FROM contacts").await;
        assert_eq!(rest, [["{\"x\": 1}"]]);
    }
}
