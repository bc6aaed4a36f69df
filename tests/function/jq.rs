//! Programs of the mapping, through the real function: what they give is stored, and what they cannot do costs one
//! message.

use serde_json::{Value, json};

use crate::child_tables::invoke;
use crate::hostile::{MEBIBYTE, peak_bytes};
use testkit::Function;
use testkit::batch::{Batch, ids};

/// An order with its lines, all of it calculated.
const ORDERS: &str = r#"
[[table]]
name = "orders"
key = ["id"]
column = [
  { name = "id", type = "bigint", required = true },
  { name = "total", type = "numeric(12,2)", jq = "[.lines[] | (.price | tonumber) * .quantity] | add // 0 | . * 100 | round / 100", clear = true },
  { name = "skus", type = "text[]", jq = "[.lines[].sku] | unique", clear = true },
  { name = "first_line", type = "jsonb", jq = ".lines[0] // empty", clear = true },
  { name = "is_large", type = "boolean", jq = "(.lines | length) > 1", clear = true },
  { name = "email", type = "text", jq = ".contact.email | ascii_downcase", mask = "sha256" },
]

[[table]]
name = "order_lines"
parent = "orders"
each = "lines"
key = ["order_id", "line"]
column = [
  { name = "order_id", type = "bigint", from = "^.id", required = true },
  { name = "line", type = "integer", from = "@index" },
  { name = "share", type = "text", jq = '"\(.sku) of \($parent.id), \($body.lines | length) lines"', clear = true },
]
"#;

fn order(id: u32, lines: &Value) -> String {
    json!({"id": id, "contact": {"email": "Ada@Example.org"}, "lines": lines}).to_string()
}

#[tokio::test]
async fn what_a_program_gives_is_stored() {
    let (database, mut function) = Function::with_tables_of(ORDERS).await;
    let lines = json!([
        {"sku": "b", "price": "1.10", "quantity": 3}, {"sku": "a", "price": "0.10", "quantity": 5},
    ]);
    let batch = Batch::new()
        .text("full", &order(1, &lines))
        .text("without", &order(2, &json!([])))
        .text(
            "price",
            &order(3, &json!([{"sku": "a", "price": "c4n4ry", "quantity": 1}])),
        );
    assert_eq!(invoke(&mut function, batch).await, ids(&["price"]));
    let stored = "SELECT concat_ws('|', id, total, skus, first_line ->> 'sku', is_large, \
        email = encode(sha256('ada@example.org'), 'hex')) FROM orders ORDER BY id";
    assert_eq!(
        database.rows(stored).await.concat(),
        ["1|3.80|{a,b}|b|t|t", "2|0.00|{}|f|t"]
    );
    let stored = "SELECT share FROM order_lines ORDER BY line";
    assert_eq!(
        database.rows(stored).await.concat(),
        ["b of 1, 2 lines", "a of 1, 2 lines"]
    );
    let line = function.lines_of("message failed", 1).await.remove(0);
    assert_eq!((&line["rule"], &line["path"]), (&json!("jq"), &json!("jq")));
    assert!(!line.to_string().contains("c4n4ry"), "{line}");
}

/// One program for each kind of what a hostile message could make of it.
const HOSTILE: &str = r#"
table = "events"
key = ["id"]
column = [
  { name = "id", type = "bigint", required = true },
  { name = "counted", type = "bigint", jq = "[range(.n // 0)] | length" },
  { name = "pairs", type = "bigint", jq = "[.a[]? as $x | .a[]? | . + $x] | length" },
  { name = "doubled", type = "bigint", jq = 'reduce .a[]? as $x ("a"; . + .) | length' },
  { name = "parsed", type = "bigint", jq = '.text // "[]" | fromjson | length' },
  { name = "repeated", type = "bigint", jq = '"ab" * (.n // 1) | length' },
  { name = "nested", type = "bigint", jq = "reduce .a[]? as $x (0; [.]) | tojson | length" },
  { name = "one", type = "bigint", jq = ".several[]?" },
]
"#;

#[tokio::test]
async fn a_message_that_makes_a_program_endless_or_enormous_fails_alone() {
    const MOST: usize = 128 * MEBIBYTE;
    let (database, mut function) = Function::with_tables_of(HOSTILE).await;
    let deep = format!("{}0{}", "[".repeat(200_000), "]".repeat(200_000));
    let hostile = [
        ("range", json!({"id": 2, "n": 4_000_000_000_000_000_u64})),
        ("pairs", json!({"id": 3, "a": vec![0; 200_000]})),
        ("deep", json!({"id": 4, "text": deep})),
        ("several", json!({"id": 5, "several": [1, 2]})),
    ];
    let mut batch = Batch::new().text("1", r#"{"id": 1, "n": 3, "a": [1, 2]}"#);
    for (id, message) in &hostile {
        batch = batch.text(id, &message.to_string());
    }
    let batch = batch
        .text("nested", &format!("{{\"id\": 6, \"x\": {deep}}}"))
        .text("last", r#"{"id": 7}"#);
    let failed = ids(&["range", "pairs", "deep", "several", "nested"]);
    assert_eq!(invoke(&mut function, batch).await, failed);
    let stored = "SELECT concat_ws(' ', id, counted, pairs, doubled, parsed, repeated, nested) FROM events ORDER BY id";
    assert_eq!(
        database.rows(stored).await.concat(),
        ["1 3 4 4 0 6 5", "7 0 0 1 0 2 1"]
    );
    let lines = function.lines_of("message failed", 5).await;
    assert!(lines.iter().all(|line| line["rule"] == "jq"), "{lines:?}");
    let peak = peak_bytes(function.id());
    assert!(peak < MOST, "{peak} bytes");
}

/// Programs whose result, or what they need on the way to it, is far larger than the message.
const GROWING: &str = r#"
table = "events"
key = ["id"]
column = [
  { name = "id", type = "bigint", required = true },
  { name = "replaced", type = "bigint", jq = '.replaced // "" | gsub("a"; "b") | length' },
  { name = "matches", type = "bigint", jq = '[.matches // "" | match("a"; "g")] | length' },
  { name = "filled", type = "bigint", jq = '.filled // "" | gsub("a"; $body.filled) | length' },
  { name = "transposed", type = "bigint", jq = ".transposed // [] | transpose | length" },
  { name = "added", type = "bigint", jq = "add(.added[]? | $body.replaced) | length" },
  { name = "joined", type = "bigint", jq = '.joined as $text | $text // "" | split("") | join($text // "") | length' },
  { name = "entries", type = "bigint", jq = "[.entries // [] | to_entries[]] | length" },
  { name = "objects", type = "bigint", jq = "[.objects[]? | {x: .}] | length" },
]
"#;

#[tokio::test]
async fn a_message_that_a_program_makes_grow_fails_alone_and_within_128_mebibytes() {
    const MOST: usize = 128 * MEBIBYTE;
    let (database, mut function) = Function::with_tables_of(GROWING).await;
    let text = "a".repeat(900_000);
    let zeros = vec![0; 450_000];
    let mut rows = vec![json!([]); 150_000];
    rows[0] = json!(vec![0; 200_000]);
    let hostile = [
        ("replaced", json!({"id": 2, "replaced": text})),
        ("matches", json!({"id": 3, "matches": text})),
        ("filled", json!({"id": 4, "filled": text})),
        ("transposed", json!({"id": 5, "transposed": rows})),
        (
            "added",
            json!({"id": 6, "added": vec![0; 200_000], "replaced": "x".repeat(400_000)}),
        ),
        ("joined", json!({"id": 7, "joined": text})),
        ("entries", json!({"id": 8, "entries": zeros})),
        ("objects", json!({"id": 9, "objects": zeros})),
    ];
    for (id, message) in &hostile {
        let batch = Batch::new()
            .text("first", r#"{"id": 1, "replaced": "aa", "entries": [0]}"#)
            .text(id, &message.to_string());
        assert_eq!(invoke(&mut function, batch).await, ids(&[id]));
    }
    let stored = "SELECT concat_ws(' ', id, replaced, entries) FROM events";
    assert_eq!(database.rows(stored).await.concat(), ["1 2 1"]);
    let lines = function.lines_of("message failed", hostile.len()).await;
    assert!(lines.iter().all(|line| line["rule"] == "jq"), "{lines:?}");
    let peak = peak_bytes(function.id());
    assert!(peak < MOST, "{peak} bytes");
}

/// The program leaves out pings, and makes a row of each record.
const SHAPED: &str = r#"
unmatched = "skip"
jq = 'select(.kind != "ping") | .records[] | {id, at: .time}'

[[table]]
name = "records"
each = "@body"
key = ["id"]
column = [
  { name = "id", type = "bigint", required = true },
  { name = "at", type = "timestamptz" },
]
"#;

#[tokio::test]
async fn a_program_shapes_the_body_and_leaves_messages_out() {
    let (database, mut function) = Function::with_tables_of(SHAPED).await;
    let records = |ids: &[u32]| {
        let records: Vec<_> = ids
            .iter()
            .map(|id| json!({"id": id, "time": "2026-11-02T09:00:00Z"}))
            .collect();
        json!({"kind": "data", "records": records}).to_string()
    };
    let batch = Batch::new()
        .text("two", &records(&[1, 2]))
        .text("one", &records(&[3]))
        .text("none", &records(&[]))
        .text("ping", r#"{"kind": "ping"}"#)
        .text("fails", r#"{"kind": "data", "records": 7}"#)
        .text("text", "not json # 1");
    assert_eq!(invoke(&mut function, batch).await, ids(&["fails", "text"]));
    let stored = "SELECT id::text FROM records ORDER BY id";
    assert_eq!(database.rows(stored).await.concat(), ["1", "2", "3"]);
    let lines = function.lines_of("message failed", 2).await;
    let rules: Vec<_> = lines
        .iter()
        .map(|line| line["rule"].as_str().unwrap())
        .collect();
    assert_eq!(rules, ["jq", "body_not_json"]);
}
