//! Rows that get no value from their message: a renamed field, a wrong path.

use serde_json::{Value, json};

use crate::child_tables::{ORDERS, order, with_orders};
use testkit::batch::{Batch, id};
use testkit::metrics::with_metric;
use testkit::{Setup, assert_contains};

#[tokio::test]
async fn rows_without_a_value_of_the_body_are_counted_and_their_batch_is_a_warning() {
    let (database, mapping) = (with_orders().await, ORDERS);
    let with_rest = mapping.to_owned()
        + r#"
[[table]]
name = "notes"
when = { type = "note" }
key = ["id"]
column = [
  { name = "id", type = "uuid", from = "@message_id" },
  { name = "at", type = "timestamptz", from = "@sent_at" },
  { name = "text", type = "text", default = "none" },
  { name = "more", type = "jsonb", from = "@rest", except = ["type"] },
]

[[table]]
name = "seen"
when = { type = "note" }
key = ["id"]
column = [{ name = "id", type = "uuid", from = "@message_id" }]
"#;
    database
        .execute("CREATE TABLE notes (id uuid PRIMARY KEY, at timestamptz, text text, more jsonb); CREATE TABLE seen (id uuid PRIMARY KEY)")
        .await;
    let mut function = Setup::on(&database).mapping(&with_rest).start().await;
    // Full rows, then an unknown field, nothing at all, discounts without a value, and an order that is refused.
    let full = Batch::new()
        .body("a", order(1, 1, &[("x", &[5])]))
        .body("b", json!({"type": "note", "text": "t"}))
        .body("c", json!({"type": "note", "unknown": 1}));
    function.invoke(&full.event()).await.assert_none_failed();
    let mut renamed = order(2, 1, &[("x", &[5, 6])]);
    for discount in renamed["lines"][0]["discounts"].as_array_mut().unwrap() {
        *discount = json!({"rate": 5});
    }
    let mut refused = order(3, 1, &[("x", &[5, 101])]);
    refused["lines"][0]["discounts"][0] = json!({});
    let empty = Batch::new()
        .body("d", renamed)
        .body("e", json!({"type": "note", "text": null}))
        .body("f", refused)
        .body(
            "g",
            json!({"type": "order.deleted", "order_id": 1, "version": 2}),
        );
    assert_eq!(
        function.invoke(&empty.event()).await.failed_ids(),
        [id("f")]
    );
    let lines = function.lines_of("batch", 2).await;
    let said = ["level", "empty_rows", "RowsEmpty"];
    let said = lines.iter().map(|line| said.map(|name| line[name].clone()));
    let expected = [
        [json!("INFO"), json!(0), Value::Null],
        [json!("WARN"), json!(3), json!(3.0)],
    ];
    assert_eq!(said.collect::<Vec<_>>(), expected);
    let reason = lines[1]["reason"].as_str().unwrap();
    assert_contains(&reason, "compare the paths of the mapping");
    let of_tables = with_metric(&function, "RowsEmpty").into_iter();
    let of_tables = of_tables.filter(|line| line["message"].is_null());
    let of_tables: Vec<_> = of_tables
        .map(|line| (line["Table"].clone(), line["RowsEmpty"].clone()))
        .collect();
    let expected = [("discounts", 2.0), ("notes", 1.0)];
    assert_eq!(
        of_tables,
        expected.map(|(table, rows)| (json!(table), json!(rows)))
    );
}
