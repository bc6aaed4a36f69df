//! Orders with lines: one message, rows in two tables.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use crate::rows::Row;

/// Of each order.
pub(crate) const LINES: i32 = 3;

/// The tables are called by the policy.
pub(crate) fn mapping(on_conflict: &str) -> String {
    let table = |name: &str, settings: &str, columns: &[(&str, &str, &str)]| {
        let columns = columns.iter().map(|(name, column_type, from)| {
            let required = !from.starts_with('@');
            format!("[[table.column]]\nname = \"{name}\"\ntype = \"{column_type}\"\nfrom = \"{from}\"\nrequired = {required}\n")
        });
        let columns = columns.collect::<String>();
        format!("[[table]]\nname = \"{name}_{on_conflict}\"\n{settings}{columns}")
    };
    let orders = table(
        "orders",
        &format!("key = [\"order_id\"]\non_conflict = \"{on_conflict}\"\n"),
        &[
            ("order_id", "bigint", "order_id"),
            ("customer", "text", "customer.id"),
            ("currency", "varchar(3)", "currency"),
            ("total", "numeric(12,2)", "total"),
        ],
    );
    let lines = table(
        "order_lines",
        &format!(
            "parent = \"orders_{on_conflict}\"\neach = \"lines\"\nkey = [\"order_id\", \"line\"]\n"
        ),
        &[
            ("order_id", "bigint", "^.order_id"),
            ("line", "integer", "@index"),
            ("sku", "text", "sku"),
            ("quantity", "integer", "quantity"),
            ("price", "numeric(12,2)", "price"),
        ],
    );
    format!("{orders}\n{lines}")
}

/// An order that was not sent before: its body, and its rows in both tables.
pub(crate) fn order() -> (String, Vec<Vec<Row>>) {
    static LAST: AtomicI64 = AtomicI64::new(100_000);
    let id = LAST.fetch_add(1, Relaxed);
    let customer = format!("c-{:05}", fastrand::u16(..));
    let (total, total_cell) = amount();
    let mut bodies = Vec::new();
    let mut lines = Vec::new();
    for line in 0..LINES {
        let sku = format!("SKU-{:05}", fastrand::u16(..));
        let quantity = fastrand::i32(1..10);
        let (price, price_cell) = amount();
        bodies.push(format!(
            r#"{{"sku":"{sku}","title":"Something to buy","quantity":{quantity},"price":"{price}"}}"#
        ));
        lines.push(vec![
            id.to_be_bytes().to_vec(),
            line.to_be_bytes().to_vec(),
            sku.into_bytes(),
            quantity.to_be_bytes().to_vec(),
            price_cell,
        ]);
    }
    let body = format!(
        r#"{{"order_id":{id},"customer":{{"id":"{customer}","country":"DE"}},"currency":"EUR","total":"{total}","lines":[{}]}}"#,
        bodies.join(",")
    );
    let order = vec![
        id.to_be_bytes().to_vec(),
        customer.into_bytes(),
        b"EUR".to_vec(),
        total_cell,
    ];
    (body, vec![vec![order], lines])
}

/// A `numeric` with two decimals, as text and in Postgres's binary format.
/// Source: `numeric_send` in <https://github.com/postgres/postgres/blob/REL_18_STABLE/src/backend/utils/adt/numeric.c>.
fn amount() -> (String, Vec<u8>) {
    let (whole, cents) = (fastrand::i16(1..10_000), fastrand::i16(1..100));
    // Digits to the base of 10,000: how many, the weight of the first, the sign, decimals shown.
    let parts = [2, 0, 0, 2, whole, cents * 100];
    let bytes = parts.iter().flat_map(|part: &i16| part.to_be_bytes());
    (format!("{whole}.{cents:02}"), bytes.collect())
}
