//! Deleted rows that remain as tombstones: an older message stays stale, a newer one revives the row.

use serde_json::{Value, json};

use crate::child_tables::{ORDERS, deletion, order};
use crate::reference::Example;
use testkit::batch::{Batch, ids};
use testkit::{Database, Function, Setup, assert_contains};

/// Orders with lines and discounts, whose deleted rows remain.
pub(crate) fn orders() -> String {
    let delete_when = "delete_when = { type = \"order.deleted\" }\n";
    ORDERS.replace(
        delete_when,
        &format!("{delete_when}deleted = \"deleted_at\"\n"),
    )
}

/// What is stored: orders as `1 v1`, tombstones as `1 v1 deleted`, lines as `1.0 a`.
async fn stored(database: &Database) -> Vec<String> {
    let rows = database
        .rows(
            "SELECT order_id || ' v' || version || CASE WHEN deleted_at IS NULL THEN '' ELSE ' deleted' END FROM orders
             UNION ALL SELECT order_id || '.' || line || ' ' || sku FROM order_lines ORDER BY 1",
        )
        .await;
    rows.into_iter().flatten().collect()
}

fn batch(bodies: &[Value]) -> Value {
    let numbered = bodies.iter().enumerate();
    let batch = numbered.fold(Batch::new(), |batch, (number, body)| {
        batch.body(&number.to_string(), body.clone())
    });
    batch.event()
}

async fn store(function: &mut Function, bodies: &[Value]) {
    function.invoke(&batch(bodies)).await.assert_none_failed();
}

#[tokio::test]
async fn the_messages_of_the_reference_become_its_rows_in_any_order_and_in_any_batches() {
    let example = Example::of("Tombstones", "orders");
    let (database, mut function) = Function::with_tables_of(&example.mapping).await;
    let forward: Vec<usize> = (0..example.messages.len()).collect();
    let backward: Vec<usize> = forward.iter().rev().copied().collect();
    for order in [forward, backward] {
        for size in [1, 2, order.len()] {
            database.execute("TRUNCATE orders").await;
            for batch in order.chunks(size) {
                let answer = function.invoke(&example.batch(batch)).await;
                answer.assert_none_failed();
            }
            let said = format!("{order:?} in batches of {size}");
            example.assert_stored(&database, &said).await;
        }
    }
}

#[tokio::test]
async fn a_tombstone_has_the_key_what_is_newer_and_when_its_message_was_sent() {
    let (database, mut function) = Function::with_tables_of(&orders()).await;
    let noted = json!({"type": "order", "order_id": 1, "version": 1, "note": "a note"});
    store(&mut function, &[noted]).await;
    for _ in 0..2 {
        store(&mut function, &[deletion(1, 2)]).await;
        let row = "SELECT order_id::text, version::text, note, (extract(epoch FROM deleted_at) * 1000)::bigint::text FROM orders";
        let sent_at = testkit::batch::SENT_AT_MILLIS.to_string();
        assert_eq!(database.rows(row).await, [["1", "2", "∅", &sent_at]]);
    }
}

#[tokio::test]
async fn rows_of_child_tables_remain_below_a_tombstone_until_a_newer_message_replaces_them() {
    let (database, mut function) = Function::with_tables_of(&orders()).await;
    let lines = |version, sku| order(1, version, &[(sku, &[5]), (sku, &[])]);
    store(&mut function, &[lines(1, "a")]).await;
    store(&mut function, &[deletion(1, 3)]).await;
    let deleted = ["1 v3 deleted", "1.0 a", "1.1 a"];
    assert_eq!(stored(&database).await, deleted);
    store(&mut function, &[lines(2, "late")]).await;
    assert_eq!(stored(&database).await, deleted);
    store(&mut function, &[order(1, 4, &[("b", &[])])]).await;
    assert_eq!(stored(&database).await, ["1 v4", "1.0 b"]);
    assert_eq!(database.count("discounts").await, 0);
}

#[tokio::test]
async fn tombstones_are_counted_apart_from_what_is_stored_deleted_stale_or_a_duplicate() {
    let (_database, mut function) = Function::with_tables_of(&orders()).await;
    let first = [
        order(1, 1, &[("a", &[])]),
        order(2, 1, &[]),
        deletion(3, 2),
        deletion(1, 2),
        order(3, 1, &[]),
        deletion(3, 2),
    ];
    store(&mut function, &first).await;
    store(
        &mut function,
        &[order(3, 1, &[]), deletion(2, 2), deletion(1, 1)],
    )
    .await;
    let lines = function.lines_of("batch", 2).await;
    let counts = ["stored", "tombstones", "deleted", "stale", "duplicates"];
    let counted = lines.iter().map(|line| {
        let line = &line["tables"]["orders"];
        counts.map(|name| line[name].as_u64().unwrap())
    });
    let expected = [[1, 2, 0, 2, 1], [0, 1, 0, 2, 0]];
    assert_eq!(counted.collect::<Vec<_>>(), expected);
    let metrics = |name: &str| -> Vec<f64> {
        let log = function.log();
        let lines = log
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines
            .filter(|line| line["message"] == "batch")
            .filter_map(|line| line[name].as_f64())
            .collect()
    };
    assert_eq!(metrics("RowsTombstoned"), [2.0, 1.0]);
    assert_eq!(metrics("RowsDeleted"), [0.0; 0]);
}

#[tokio::test]
async fn a_column_that_a_tombstone_cannot_fill_fails_the_batch_with_the_statement_that_fixes_it() {
    let mapping = orders().replace(
        "{ name = \"note\", type = \"text\" }",
        "{ name = \"note\", type = \"text\", required = true }",
    );
    let database = Database::with_tables_of(&mapping).await;
    let noted =
        |version: i64| json!({"type": "order", "order_id": 1, "version": version, "note": "a"});
    let mut function = Setup::on(&database).mapping(&mapping).start().await;
    store(&mut function, &[noted(1), deletion(2, 1)]).await;
    database
        .execute("DELETE FROM orders WHERE note IS NULL")
        .await;
    let refuses = "ALTER TABLE orders ALTER COLUMN note SET NOT NULL";
    database.execute(refuses).await;
    let error = function
        .invoke(&batch(&[deletion(1, 2), noted(1)]))
        .await
        .error();
    assert_contains(
        &error,
        r#"column \"note\" of table \"orders\" is not null, but a tombstone has no value for it"#,
    );
    assert_contains(
        &error,
        r#"ALTER TABLE \"orders\" ALTER COLUMN \"note\" DROP NOT NULL;"#,
    );
    let fix = "ALTER TABLE orders ALTER COLUMN note DROP NOT NULL";
    database.execute(fix).await;
    store(&mut function, &[deletion(1, 2), noted(1)]).await;
    assert_eq!(stored(&database).await, ["1 v2 deleted"]);
}

#[tokio::test]
async fn a_tombstone_needs_no_privilege_to_delete() {
    let alone = orders().split("\n\n").next().unwrap().to_owned();
    let database = Database::with_tables_of(&alone).await;
    let role = database.role("password").await;
    database
        .execute(&format!("REVOKE DELETE ON orders FROM {role}"))
        .await;
    let url = database.url_as(&role, "password", testkit::server_address());
    let setup = Setup::on(&database)
        .set("DATABASE_URL", &url)
        .mapping(&alone);
    let mut function = setup.start().await;
    store(&mut function, &[order(1, 1, &[]), deletion(2, 1)]).await;
    store(&mut function, &[deletion(1, 2)]).await;
    assert_eq!(
        database.count("orders WHERE deleted_at IS NOT NULL").await,
        2
    );
}

#[tokio::test]
async fn a_message_that_lacks_the_key_of_the_row_that_it_deletes_is_rejected() {
    let (database, mut function) = Function::with_tables_of(&orders()).await;
    let keyless = json!({"type": "order.deleted", "version": 1});
    let answer = function.invoke(&batch(&[keyless, deletion(2, 1)])).await;
    assert_eq!(answer.failed_ids(), ids(&["0"]));
    assert_eq!(stored(&database).await, ["2 v1 deleted"]);
}
