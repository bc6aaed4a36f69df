//! Malicious messages for several tables: arrays that are huge, nested, or no arrays at all.

use mapping::Wrapping;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

use crate::child_tables::{ORDERS, ROUTES, invoke, order, started, stored, with_orders};
use crate::hostile::{MEBIBYTE, Way, broken, config, nested, peak_bytes, text, value};
use testkit::batch::{Batch, id, ids};
use testkit::{Database, Setup};

/// An order whose lines are this JSON.
fn with_lines(lines: &str) -> String {
    format!(r#"{{"type": "order", "order_id": 1, "version": 1, "lines": {lines}}}"#)
}

/// As many of these elements as a message of SQS can hold.
fn full(element: &str) -> String {
    let count = (MEBIBYTE - 1_000) / (element.len() + 1);
    format!("[{}]", vec![element; count].join(","))
}

/// Bodies that cannot be rows, each with the rule that it breaks.
fn hostile() -> Vec<(&'static str, String)> {
    let many = |count: usize| format!("[{}]", vec![r#"{"sku":"x"}"#; count].join(","));
    let of_discounts =
        |discounts: &str| with_lines(&format!(r#"[{{"sku": "x", "discounts": {discounts}}}]"#));
    vec![
        ("not_an_array", with_lines("{}")),
        ("not_an_array", with_lines("\"\"")),
        ("not_an_array", with_lines("0")),
        ("not_an_array", with_lines("false")),
        (
            "not_an_array",
            with_lines(r#"{"0": {"sku": "x"}, "length": 1}"#),
        ),
        // Only `root` is read within a string.
        ("not_an_array", with_lines(r#""[{\"sku\": \"x\"}]""#)),
        ("not_an_array", with_lines(&nested("{\"lines\":", "}"))),
        ("not_an_array", of_discounts("{\"percent\": 1}")),
        ("not_an_array", of_discounts("\"[]\"")),
        ("too_many_rows", with_lines(&many(10_000))),
        ("too_many_rows", with_lines(&full(r#"{"sku":"x"}"#))),
        ("too_many_rows", of_discounts(&full("{}"))),
        ("not_an_object", with_lines(&full("0"))),
        ("not_an_object", with_lines(&full("[]"))),
        ("not_an_object", with_lines(&full("null"))),
        ("not_an_object", with_lines(&nested("[", "]"))),
        ("body_not_json", with_lines(&"[".repeat(MEBIBYTE / 2))),
        ("body_not_json", with_lines(&"[{\"lines\":".repeat(50_000))),
        ("body_not_json", with_lines("[{\"sku\": \"x\"},]")),
        ("nul_character", with_lines(r#"[{"sku": "\u0000"}]"#)),
        (
            "unmatched",
            format!(r#"{{"type": "order{}"}}"#, "r".repeat(MEBIBYTE / 2)),
        ),
    ]
}

/// Bodies that look hostile, but are orders.
fn harmless() -> Vec<String> {
    let key = "k".repeat(MEBIBYTE / 2);
    let deep = nested("[", "]");
    vec![
        with_lines("null"),
        with_lines("[]"),
        with_lines(&format!(
            r#"[{{"{key}": 1, "sku": "x", "discounts": null}}]"#
        )),
        with_lines(&format!(r#"[{{"sku": "x", "unmapped": {deep}}}]"#)),
        // The last of equal keys in an object counts.
        with_lines(&format!(r#"{deep}, "lines": [{{"sku": "x"}}]"#)),
        with_lines(&format!("[{}]", vec![r#"{"sku":"x"}"#; 9_999].join(","))),
    ]
}

#[tokio::test]
async fn hostile_arrays_reject_their_message_by_its_rule_and_the_others_are_stored() {
    let database = with_orders().await;
    let mut function = started(&database, ORDERS).await;
    let (hostile, harmless) = (hostile(), harmless());
    // A message has at most 1 MiB, and an event 6 MB.
    for (number, (rule, body)) in hostile.iter().enumerate() {
        assert!(body.len() <= MEBIBYTE, "{rule}: {}", body.len());
        let good = order(1_000 + number as i64, 1, &[("x", &[5])]);
        let batch = Batch::new().text("bad", body).body("good", good);
        assert_eq!(invoke(&mut function, batch).await, [id("bad")], "{rule}");
    }
    let failed = function.lines_of("message failed", hostile.len()).await;
    let rules: Vec<_> = failed.iter().map(|line| line["rule"].as_str()).collect();
    let expected: Vec<_> = hostile.iter().map(|(rule, _)| Some(*rule)).collect();
    assert_eq!(rules, expected);
    assert_eq!(database.count("orders").await, hostile.len() as i64);
    assert_eq!(database.count("order_lines").await, hostile.len() as i64);
    for (number, body) in harmless.iter().enumerate() {
        let batch = Batch::new().text("a", body);
        assert!(invoke(&mut function, batch).await.is_empty(), "{number}");
    }
    database
        .execute("DELETE FROM orders WHERE order_id > 1")
        .await;
    assert_eq!(database.count("order_lines").await, 9_999);
}

/// Which root a string is read as does not depend on how it is written; what is in it is not read again.
#[tokio::test]
async fn an_array_within_a_string_is_read_where_root_says_so_and_nowhere_else() {
    let database = Database::with_tables_of(ROUTES).await;
    let mut function = Setup::on(&database).mapping(ROUTES).start().await;
    let records = json!([{"bucket": "a", "key": "1"}, {"bucket": "b", "key": "2"}]);
    let event = |id: &str, detail: Value| json!({"id": id, "detail": detail});
    let text = |detail: Value| Value::from(detail.to_string());
    let batch = Batch::new()
        .body("object", event("e1", text(json!({"Records": records}))))
        .body(
            "again",
            event("e2", text(json!({"Records": text(records)}))),
        )
        .body("deep", event("e3", text(Value::from(nested("[", "]")))));
    assert_eq!(invoke(&mut function, batch).await, ids(&["again", "deep"]));
    let lines = function.lines_of("message failed", 2).await;
    let said = lines.iter().map(|line| (&line["rule"], &line["path"]));
    assert_eq!(
        said.collect::<Vec<_>>(),
        [
            (&json!("not_an_array"), &json!("Records")),
            (&json!("not_an_object"), &json!("detail"))
        ]
    );
    let objects = "SELECT bucket, key, event_id FROM objects ORDER BY 1";
    assert_eq!(
        database.rows(objects).await,
        [["a", "1", "e1"], ["b", "2", "e1"]]
    );
}

#[tokio::test]
async fn messages_full_of_elements_take_a_small_multiple_of_their_size() {
    const MESSAGES: usize = 5;
    const MULTIPLE: usize = 8;
    let database = with_orders().await;
    let mut function = started(&database, ORDERS).await;
    let first = Batch::new().body("first", order(1_000, 1, &[("x", &[5])]));
    assert!(invoke(&mut function, first).await.is_empty());
    for element in ["0", "[]", r#"{"sku":"x"}"#] {
        let body = with_lines(&full(element));
        let names: Vec<_> = (0..MESSAGES).map(|number| number.to_string()).collect();
        let batch = names
            .iter()
            .fold(Batch::new(), |batch, name| batch.text(name, &body));
        let event = batch.body("good", order(2, 1, &[])).event();
        let (size, before) = (event.to_string().len(), peak_bytes(function.id()));
        let failed = function.invoke(&event).await.failed_ids();
        assert_eq!(failed.len(), MESSAGES, "{element}");
        let grown = peak_bytes(function.id()) - before;
        assert!(
            grown < MULTIPLE * size,
            "{element}: {grown} bytes for an event of {size}"
        );
    }
    assert_eq!(
        stored(&database).await,
        ["1000 v1", "1000.0 x", "1000.0.0 5%", "2 v1"]
    );
}

#[test]
fn lines_of_any_kind_become_all_rows_of_an_order_or_none() {
    let way = Way::of(ORDERS, Wrapping::default());
    let element = prop_oneof![
        value(),
        (value(), value()).prop_map(|(sku, discounts)| json!({"sku": sku, "discounts": discounts})),
        vec(value(), 0..4).prop_map(|percents| {
            let discounts: Vec<_> = percents
                .iter()
                .map(|percent| json!({"percent": percent}))
                .collect();
            json!({"sku": "x", "discounts": discounts})
        }),
    ];
    proptest!(config(), |(lines in vec(element, 0..5), insert in text(), cut in any::<Index>())| {
        let body = with_lines(&Value::from(lines).to_string());
        let broken = broken(&body, cut, &insert);
        for body in [body, broken] {
            way.go(&body).ok();
        }
    });
}
