//! Messages that delete: of keys that were never stored, beside others of their key, and redelivered.

use serde_json::{Value, json};

use crate::child_tables::{ORDERS, deletion, invoke, order, started, stored, with_orders};
use testkit::batch::{Batch, ids};
use testkit::{Database, Setup, assert_contains};

/// Orders whose last message counts, whatever its version.
fn last_counts() -> String {
    ORDERS.replace("newer = \"version\"\n", "")
}

fn batch(bodies: &[Value]) -> Batch {
    let numbered = bodies.iter().enumerate();
    numbered.fold(Batch::new(), |batch, (number, body)| {
        batch.body(&number.to_string(), body.clone())
    })
}

/// What is stored after batches, all of whose messages are acknowledged.
async fn after(mapping: &str, batches: &[&[Value]]) -> Vec<String> {
    let database = with_orders().await;
    let mut function = started(&database, mapping).await;
    for bodies in batches {
        assert_eq!(invoke(&mut function, batch(bodies)).await, ids(&[]));
    }
    stored(&database).await
}

#[tokio::test]
async fn a_delete_of_a_key_that_was_never_stored_is_acknowledged_and_changes_nothing() {
    for mapping in [ORDERS.to_owned(), last_counts()] {
        let database = with_orders().await;
        let mut function = started(&database, &mapping).await;
        let other = order(2, 1, &[("x", &[5])]);
        let batch = batch(&[deletion(1, 1), other, deletion(1, 1)]);
        assert_eq!(invoke(&mut function, batch).await, ids(&[]));
        assert_eq!(stored(&database).await, ["2 v1", "2.0 x", "2.0.0 5%"]);
        let summary = function.lines_of("batch", 1).await.pop().unwrap();
        let counts = ["stored", "deleted", "stale", "duplicates"];
        assert_eq!(
            counts.map(|name| summary["tables"]["orders"][name].clone()),
            [1, 0, 0, 2].map(|count| json!(count))
        );
    }
}

/// Each batch comes to an empty table and to one with an older version, which has more lines.
#[tokio::test]
async fn of_a_delete_and_an_insert_of_one_key_in_a_batch_one_counts_as_a_whole() {
    let inserted = |version| order(1, version, &[("new", &[1])]);
    let is_there = |version| vec![format!("1 v{version}"), "1.0 new".into(), "1.0.0 1%".into()];
    let cases = [
        // The version of the later message is higher, lower or the same: with `newer`, and without it.
        ([inserted(8), deletion(1, 9)], vec![], vec![]),
        ([inserted(9), deletion(1, 8)], is_there(9), vec![]),
        ([inserted(9), deletion(1, 9)], vec![], vec![]),
        ([deletion(1, 8), inserted(9)], is_there(9), is_there(9)),
        ([deletion(1, 9), inserted(8)], vec![], is_there(8)),
        ([deletion(1, 9), inserted(9)], is_there(9), is_there(9)),
    ];
    let older = [order(1, 1, &[("old", &[2, 3]), ("old", &[4])])];
    for (batch, with_newer, without) in cases {
        for (mapping, expected) in [(ORDERS, with_newer), (&last_counts(), without)] {
            assert_eq!(after(mapping, &[&batch]).await, expected, "{batch:?}");
            let replaced = after(mapping, &[&older, &batch]).await;
            assert_eq!(replaced, expected, "{batch:?}");
        }
    }
}

#[tokio::test]
async fn a_delete_that_is_redelivered_after_an_insert_is_stale_with_newer_and_the_last_one_without()
{
    let (deleted, inserted) = ([deletion(1, 2)], [order(1, 3, &[("new", &[1])])]);
    let first = [order(1, 1, &[("old", &[2])])];
    let batches: [&[Value]; 4] = [&first, &deleted, &inserted, &deleted];
    assert_eq!(
        after(ORDERS, &batches).await,
        ["1 v3", "1.0 new", "1.0.0 1%"]
    );
    assert_eq!(after(&last_counts(), &batches).await, [""; 0]);
}

/// Of a deletion only the key and the column of `newer` are read.
#[tokio::test]
async fn a_deletion_is_not_rejected_for_what_its_children_would_lack() {
    let first = [order(1, 1, &[("x", &[5])]), order(2, 1, &[("y", &[6])])];
    let without = |id, lines: Value| {
        let mut deletion = deletion(id, 2);
        deletion["lines"] = lines;
        deletion
    };
    // A line without its sku, and no array of lines.
    let deleted = [without(1, json!([{}])), without(2, json!("none"))];
    assert_eq!(after(ORDERS, &[&first, &deleted]).await, [""; 0]);
}

#[tokio::test]
async fn a_mapping_that_deletes_rows_which_it_never_replaces_stops_the_start() {
    let kept = ORDERS.replace("on_conflict = \"update\"\nnewer = \"version\"\n", "");
    let database = with_orders().await;
    let setup = Setup::on(&database).mapping(&kept);
    let (status, log) = setup.fail_to_start().await;
    assert!(!status.success());
    assert_contains(&log, "delete_when");
    assert_contains(&log, "on_conflict = \\\"update\\\"");
}

const CHANGES: &str = r#"
root = "payload"
unmatched = "skip"

[[table]]
name = "customers"
when = { op = ["c", "r", "u", "d"] }
key = ["id"]
on_conflict = "update"
newer = "lsn"
delete_when = { op = "d" }
column = [
  { name = "id", type = "bigint", from = ["after.id", "before.id"], required = true },
  { name = "lsn", type = "bigint", from = "source.lsn" },
  { name = "name", type = "text", from = "after.name" },
]
"#;

/// In a FROM list a name means an expression of the statement, if it has one of that name.
#[tokio::test]
async fn a_table_may_be_called_like_any_part_of_the_statement() {
    for name in ["n0", "d0", "w0", "x0", "g0", "stored", "n", "d", "w"] {
        let mapping = CHANGES.replace("\"customers\"", &format!("{name:?}"));
        let database = Database::with_tables_of(&mapping).await;
        let mut function = Setup::on(&database).mapping(&mapping).start().await;
        for (op, lsn, rows) in [("c", 2, 1), ("d", 1, 1), ("d", 3, 0)] {
            let change = json!({"op": op, "before": {"id": 1}, "source": {"lsn": lsn}});
            let batch = batch(&[json!({"payload": change})]);
            assert_eq!(invoke(&mut function, batch).await, ids(&[]), "{name}");
            assert_eq!(database.count(name).await, rows, "{name}");
        }
    }
}

/// Behind each deletion Debezium sends a tombstone, whose body is `null`, for Kafka to compact its log.
#[tokio::test]
async fn tombstones_of_debezium_are_skipped_or_rejected_as_the_mapping_says() {
    let change = |op: &str, lsn: i64, before: Value, after: Value| {
        let source = json!({"lsn": lsn});
        json!({"payload": {"op": op, "before": before, "after": after, "source": source}})
    };
    let customer = |id: i64, name: &str| json!({"id": id, "name": name});
    let database = Database::with_tables_of(CHANGES).await;
    let first = batch(&[
        change("c", 1, json!(null), customer(1, "Ann")),
        change("r", 2, json!(null), customer(2, "Ben")),
    ]);
    let second = batch(&[
        change("d", 3, customer(1, "Ann"), json!(null)),
        json!(null),
        change("u", 4, customer(2, "Ben"), customer(2, "Bea")),
        json!({"payload": null}),
    ]);
    let mut function = Setup::on(&database).mapping(CHANGES).start().await;
    assert_eq!(invoke(&mut function, first).await, ids(&[]));
    assert_eq!(invoke(&mut function, second.clone()).await, ids(&[]));
    let customers = "SELECT id::text, lsn::text, name FROM customers";
    assert_eq!(database.rows(customers).await, [["2", "4", "Bea"]]);
    let summary = function.lines_of("batch", 2).await.pop().unwrap();
    assert_eq!(
        (&summary["skipped"], &summary["deleted"]),
        (&json!(2), &json!(1))
    );
    let rejecting = CHANGES.replace("unmatched = \"skip\"\n", "");
    let mut function = Setup::on(&database).mapping(&rejecting).start().await;
    assert_eq!(invoke(&mut function, second).await, ids(&["1", "3"]));
    for line in function.lines_of("message failed", 2).await {
        assert_eq!(line["rule"], "not_an_object");
        let reason = line["reason"].as_str().unwrap();
        assert_contains(&reason, "unmatched = \"skip\"");
    }
}

#[tokio::test]
async fn a_rejected_deletion_deletes_no_row_of_the_next_message() {
    const TWO: &str = r#"
[[table]]
name = "a"
key = ["id"]
on_conflict = "update"
delete_when = { op = "d" }
column = [{ name = "id", type = "bigint", required = true }]

[[table]]
name = "b"
key = ["id"]
column = [{ name = "id", type = "bigint", required = true }, { name = "name", type = "text", required = true }]
"#;
    let database = Database::with_tables_of(TWO).await;
    let mut function = Setup::on(&database).mapping(TWO).start().await;
    let batch = Batch::new()
        .body("bad", json!({"op": "d", "id": 1}))
        .body("good", json!({"op": "c", "id": 2, "name": "x"}));
    assert_eq!(invoke(&mut function, batch).await, ids(&["bad"]));
    for table in ["a", "b"] {
        let stored = format!("SELECT id::text FROM {table}");
        assert_eq!(database.rows(&stored).await, [["2"]], "{table}");
    }
}
