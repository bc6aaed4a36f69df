//! Words of a mapping through the real function: conditions on what a message has, JSON in strings, masked arrays.

use serde_json::{Value, json};

use crate::child_tables::invoke;
use testkit::Function;
use testkit::batch::{Batch, ids};

/// Kinds of events that differ by the fields that they have, as GitHub's do.
const KINDS: &str = r#"
unmatched = "skip"

[[table]]
name = "pulls"
when = { pull_request = { exists = true }, action = { anything-but = ["labeled", { prefix = "un" }] } }
delete_when = { "pull_request.deleted_at" = { exists = true } }
on_conflict = "update"
key = ["number"]
column = [{ name = "number", type = "bigint", from = "pull_request.number", required = true }]

[[table]]
name = "pushes"
when = { pull_request = { exists = false }, ref = { prefix = ["refs/heads/", "refs/tags/"] } }
key = ["ref"]
column = [{ name = "ref", type = "text", required = true }]

[[table]]
name = "deployments"
when = { "@attribute.event" = ["deployment", { prefix = "deployment_" }] }
key = ["message_id"]
column = [{ name = "message_id", type = "uuid", from = "@message_id" }]
"#;

#[tokio::test]
async fn kinds_of_messages_are_distinguished_by_the_fields_and_attributes_that_they_have() {
    let (database, mut function) = Function::with_tables_of(KINDS).await;
    let pull =
        |number: u32, action: &str| json!({"action": action, "pull_request": {"number": number}});
    let with_event = |event: &str| {
        json!({
            "messageId": testkit::batch::id(event), "body": "{}",
            "messageAttributes": {"event": {"stringValue": event, "dataType": "String"}},
        })
    };
    let batch = Batch::new()
        .body("opened", pull(1, "opened"))
        .body("labeled", pull(2, "labeled"))
        .body("unlabeled", pull(3, "unlabeled"))
        .body("of no action", json!({"pull_request": {"number": 4}}))
        .body("closed", pull(5, "closed"))
        .body(
            "push",
            json!({"ref": "refs/heads/main", "pull_request": null}),
        )
        .body("tag", json!({"ref": "refs/tags/v1"}))
        .body("note", json!({"ref": "refs/notes/x"}))
        .body("not an object", json!(["refs/heads/main"]))
        .record(with_event("deployment"))
        .record(with_event("deployment_status"))
        .record(with_event("deploy"));
    let failed = invoke(&mut function, batch).await;
    assert_eq!(failed, ids(&["not an object"]));
    let numbers = "SELECT number::text FROM pulls ORDER BY number";
    assert_eq!(database.rows(numbers).await.concat(), ["1", "5"]);
    let refs = "SELECT ref FROM pushes ORDER BY ref";
    assert_eq!(
        database.rows(refs).await.concat(),
        ["refs/heads/main", "refs/tags/v1"]
    );
    assert_eq!(database.count("deployments").await, 2);
    let line = function.lines_of("message failed", 1).await.pop().unwrap();
    assert_eq!(line["rule"], "not_an_object", "{line}");

    let deleted = json!({"action": "opened", "pull_request": {"number": 1, "deleted_at": "now"}});
    let kept = json!({"action": "opened", "pull_request": {"number": 5, "deleted_at": null}});
    let batch = Batch::new().body("deleted", deleted).body("kept", kept);
    assert!(invoke(&mut function, batch).await.is_empty());
    assert_eq!(database.rows(numbers).await.concat(), ["5"]);
}

/// As Debezium sends columns of these types.
const STRINGS: &str = r#"
table = "users"
key = ["id"]
column = [
  { name = "id", type = "bigint", required = true },
  { name = "prefs", type = "jsonb", transform = ["trim", "json"] },
  { name = "tags", type = "text[]", transform = ["strip_nul", "json"] },
  { name = "limit", type = "numeric(6,2)", transform = ["json"] },
]
"#;

#[tokio::test]
async fn json_in_a_string_is_stored_as_the_value_that_postgres_casts_it_to() {
    let (database, mut function) = Function::with_tables_of(STRINGS).await;
    let prefs = [
        r#"{"dark": true, "sizes": [1, 2.50, 1e2], "name": "Zo\u00eb \ud83d\udc0e"}"#,
        "\u{a0}[null, {}]\n",
        r#""text""#,
        "7",
        "null",
    ];
    let mut batch = Batch::new();
    for (id, text) in prefs.iter().enumerate() {
        batch = batch.body(&id.to_string(), json!({"id": id, "prefs": text}));
    }
    batch = batch
        .body(
            "object",
            json!({"id": 90, "prefs": {"dark": true}, "tags": ["a"], "limit": 1.5}),
        )
        .body(
            "array",
            json!({"id": 91, "tags": r#"["a\u0000b", null, "c"]"#, "limit": "\"12.5\""}),
        )
        .body("cut", json!({"id": 92, "prefs": "{\"dark\""}))
        .body("two", json!({"id": 93, "prefs": "{} {}"}))
        .body("of another type", json!({"id": 94, "tags": "{}"}))
        .body("nul", json!({"id": 95, "prefs": r#"{"a": "\u0000"}"#}))
        .body("digits", json!({"id": 96, "limit": "1.234"}));
    let failed = invoke(&mut function, batch).await;
    assert_eq!(
        failed,
        ids(&["cut", "two", "of another type", "nul", "digits"])
    );
    for (id, text) in prefs.iter().enumerate() {
        let literal = text.trim().replace('\'', "''");
        let is_same = format!(
            "SELECT (prefs IS NOT DISTINCT FROM nullif('{literal}'::jsonb, 'null'))::text FROM users WHERE id = {id}"
        );
        assert_eq!(database.rows(&is_same).await.concat(), ["true"], "{text}");
    }
    let others = "SELECT concat_ws(' ', prefs ->> 'dark', tags::text, \"limit\"::text) FROM users WHERE id >= 90 ORDER BY id";
    assert_eq!(
        database.rows(others).await.concat(),
        ["true {a} 1.50", "{ab,NULL,c} 12.50"]
    );
    let rules: Vec<Value> = function.lines_of("message failed", 5).await;
    let rules: Vec<&str> = rules
        .iter()
        .map(|line| line["rule"].as_str().unwrap())
        .collect();
    assert_eq!(
        rules,
        ["transform", "transform", "type", "nul_character", "range"]
    );
}

/// A notification of SES has its recipients in an array.
const RECIPIENTS: &str = r#"
[[table]]
name = "mails"
key = ["id"]
column = [
  { name = "id", type = "bigint", required = true },
  { name = "hashed", type = "text[]", from = "mail.destination", mask = "sha256" },
  { name = "encrypted", type = "varchar(80)[]", from = "mail.destination", mask = "aes-siv" },
]

[[table]]
name = "mail_tags"
parent = "mails"
each = "tags"
key = ["id", "line"]
column = [
  { name = "id", type = "bigint", from = "^.id", required = true },
  { name = "line", type = "integer", from = "@index" },
  { name = "tag", type = "integer", from = "@element" },
]
"#;

#[tokio::test]
async fn an_array_of_recipients_is_masked_as_postgres_would_hash_each_of_them() {
    let (database, mut function) = Function::with_tables_of(RECIPIENTS).await;
    let mail =
        |id: u32, destination: Value| json!({"id": id, "mail": {"destination": destination}});
    let long = "x".repeat(60);
    let batch = Batch::new()
        .body("two", mail(1, json!(["ada@example.com", null, "Zo\u{eb}"])))
        .body("none", mail(2, json!([])))
        .body("missing", mail(3, Value::Null))
        .body("nested", mail(4, json!([["ada@example.com"]])))
        .body("an object", mail(5, json!([{"mail": "ada@example.com"}])))
        .body("single", mail(6, json!("ada@example.com")))
        .body("long", mail(7, json!([long])));
    let failed = invoke(&mut function, batch).await;
    assert_eq!(failed, ids(&["nested", "an object", "single", "long"]));
    let is_equal = "SELECT id::text, (hashed = (SELECT array_agg(encode(sha256(convert_to(v, 'UTF8')), 'hex') ORDER BY n) \
        FROM unnest(ARRAY['ada@example.com', NULL, 'Zo\u{eb}']) WITH ORDINALITY AS e(v, n)))::text FROM mails WHERE id = 1";
    assert_eq!(database.rows(is_equal).await, [["1", "true"]]);
    let shapes = "SELECT coalesce(cardinality(hashed)::text, 'null'), coalesce(cardinality(encrypted)::text, 'null') FROM mails ORDER BY id";
    let shapes = database.rows(shapes).await;
    assert_eq!(shapes, [["3", "3"], ["0", "0"], ["null", "null"]]);
    let readable = "mails WHERE hashed::text LIKE '%ada%' OR encrypted::text LIKE '%ada%'";
    assert_eq!(database.count(readable).await, 0);
    let lines = function.lines_of("message failed", 4).await;
    let rules: Vec<&str> = lines
        .iter()
        .map(|line| line["rule"].as_str().unwrap())
        .collect();
    assert_eq!(rules, ["type", "type", "type", "length"]);
}

#[tokio::test]
async fn an_element_that_breaks_a_rule_is_named_by_its_position() {
    let (_database, mut function) = Function::with_tables_of(RECIPIENTS).await;
    let batch = Batch::new().body("bad", json!({"id": 1, "tags": [0, 1, null, "x"]}));
    assert_eq!(invoke(&mut function, batch).await, ids(&["bad"]));
    let line = function.lines_of("message failed", 1).await.pop().unwrap();
    let said = ["rule", "table", "column", "path"].map(|field| line[field].as_str().unwrap());
    assert_eq!(said, ["type", "mail_tags", "tag", "tags[3]"], "{line}");
}
