//! Messages that expand: what their rows repeat is bounded in bytes, and what Postgres would print in characters.

use serde_json::{Value, json};

use crate::child_tables::invoke;
use crate::hostile::{MEBIBYTE, peak_bytes};
use testkit::Function;
use testkit::batch::{Batch, id, ids};

/// Each line of an order repeats the name of its customer.
const REPEATING: &str = r#"
[[table]]
name = "orders"
key = ["id"]
column = [{ name = "id", type = "bigint", required = true }]

[[table]]
name = "order_lines"
parent = "orders"
each = "lines"
key = ["id", "line"]
column = [
  { name = "id", type = "bigint", from = "^.id", required = true },
  { name = "line", type = "integer", from = "@index" },
  { name = "customer", type = "text", from = "$.customer.name" },
]
"#;

fn order(number: usize, lines: usize, name_bytes: usize) -> Value {
    json!({"id": number, "customer": {"name": "n".repeat(name_bytes)}, "lines": vec![json!({}); lines]})
}

/// Invokes with the bad message between good ones, and returns the peak memory of the function.
async fn peak_with(mapping: &str, bad: &Value) -> usize {
    let (database, mut function) = Function::with_tables_of(mapping).await;
    let batch = Batch::new()
        .body("1", order(1, 2, 10))
        .body("2", order(2, 2, 10))
        .body("bad", bad.clone())
        .body("3", order(3, 2, 10))
        .body("4", order(4, 2, 10));
    assert_eq!(invoke(&mut function, batch).await, [id("bad")]);
    assert_eq!(database.count("order_lines").await, 8);
    let line = function.lines_of("message failed", 1).await.pop().unwrap();
    assert_eq!(line["rule"], "too_large", "{line}");
    peak_bytes(function.id())
}

#[tokio::test]
async fn a_message_that_repeats_a_value_in_thousands_of_rows_takes_little_memory_and_fails_alone() {
    const MOST: usize = 200 * MEBIBYTE;
    let whole_body = REPEATING.replace("$.customer.name", "@body");
    for (mapping, bad) in [
        (REPEATING, order(9, 2_000, 200_000)),
        (REPEATING, order(9, 9_999, 900_000)),
        (&whole_body, order(9, 9_999, 900_000)),
    ] {
        let size = bad.to_string().len();
        assert!(size < MEBIBYTE, "{size}");
        let peak = peak_with(mapping, &bad).await;
        assert!(peak < MOST, "{peak} bytes for a message of {size}");
    }
}

#[tokio::test]
async fn a_message_may_expand_to_16_mebibytes() {
    const NAME_BYTES: usize = 100_000;
    let (database, mut function) = Function::with_tables_of(REPEATING).await;
    let lines = 16 * MEBIBYTE / NAME_BYTES;
    let batch = Batch::new()
        .body("fits", order(1, lines - 1, NAME_BYTES))
        .body("too large", order(2, lines + 1, NAME_BYTES));
    assert_eq!(invoke(&mut function, batch).await, [id("too large")]);
    assert_eq!(database.count("order_lines").await, lines as i64 - 1);
}

/// Postgres stores `1e999` in a few bytes and prints it as 1,000 digits, in an array as well as in jsonb.
#[tokio::test]
async fn an_array_of_numbers_that_would_expand_beyond_reading_is_rejected() {
    let mapping = r#"
table = "t"
key = ["id"]
column = [
  { name = "id", type = "uuid", from = "@message_id" },
  { name = "n", type = "numeric[]" },
  { name = "f", type = "numeric(1000,999)[]" },
]
"#;
    let (database, mut function) = Function::with_tables_of(mapping).await;
    let of = |number: &str, count: usize| format!("[{}]", vec![number; count].join(","));
    let bad = [
        format!(r#"{{"n": {}}}"#, of("1e999", 2_000)),
        format!(r#"{{"n": {}}}"#, of("\"-1e-999\"", 2_000)),
        format!(r#"{{"f": {}}}"#, of("0", 2_000)),
    ];
    let good = [
        format!(r#"{{"n": {}}}"#, of("1e999", 1_000)),
        format!(r#"{{"n": {}}}"#, of("1", 300_000)),
        format!(r#"{{"n": {}}}"#, of("-12345.25", 90_000)),
        format!(r#"{{"n": [null, {}], "f": [0, -1.5]}}"#, "9".repeat(1_000)),
    ];
    let numbered = bad.iter().chain(&good).zip(0..);
    let batch = numbered.fold(Batch::new(), |batch, (body, number): (_, usize)| {
        batch.text(&number.to_string(), body)
    });
    assert_eq!(invoke(&mut function, batch).await, ids(&["0", "1", "2"]));
    let failed = function.lines_of("message failed", bad.len()).await;
    for line in &failed {
        assert_eq!(line["rule"], "range", "{line}");
    }
    let longest = "SELECT max(length(n::text))::text FROM t";
    let longest: usize = database.rows(longest).await[0][0].parse().unwrap();
    assert!(longest < 2 * MEBIBYTE, "{longest}");
    assert_eq!(database.count("t").await, good.len() as i64);
}
