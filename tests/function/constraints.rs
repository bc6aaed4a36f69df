//! Constraints of several tables that look at more than one row, or only at the end.

use crate::child_tables::{ORDERS, invoke, order, started, stored, with_orders};
use testkit::batch::{Batch, ids};

#[tokio::test]
async fn a_constraint_that_is_checked_at_commit_refuses_its_message_alone() {
    let database = with_orders().await;
    database
        .execute(
            "CREATE TABLE skus (sku text PRIMARY KEY); INSERT INTO skus VALUES ('x'), ('y'); \
             ALTER TABLE order_lines ADD FOREIGN KEY (sku) REFERENCES skus DEFERRABLE INITIALLY DEFERRED",
        )
        .await;
    let mut function = started(&database, ORDERS).await;
    let batch = Batch::new()
        .body("a", order(1, 1, &[("x", &[])]))
        .body("b", order(2, 1, &[("unknown", &[])]))
        .body("c", order(3, 1, &[("y", &[5])]));
    assert_eq!(invoke(&mut function, batch).await, ids(&["b"]));
    assert_eq!(
        stored(&database).await,
        ["1 v1", "1.0 x", "3 v1", "3.0 y", "3.0.0 5%"]
    );
}

#[tokio::test]
async fn a_value_that_is_unique_among_siblings_may_move_to_another_row() {
    let database = with_orders().await;
    let unique = "ALTER TABLE order_lines ADD UNIQUE (order_id, sku)";
    database.execute(unique).await;
    let mut function = started(&database, ORDERS).await;
    let orders = [
        order(1, 1, &[("x", &[]), ("y", &[])]),
        order(1, 2, &[("y", &[])]),
    ];
    for order in orders {
        let batch = Batch::new().body("a", order);
        assert_eq!(invoke(&mut function, batch).await, ids(&[]));
    }
    assert_eq!(stored(&database).await, ["1 v2", "1.0 y"]);
}

/// Postgres writes the rows one by one, so each would meet the old value of the other.
#[tokio::test]
async fn siblings_exchange_unique_values_where_the_constraint_is_deferrable() {
    for (deferrable, failed, expected) in [
        ("", &["b"][..], ["1 v1", "1.0 x", "1.1 y"]),
        ("DEFERRABLE", &[], ["1 v2", "1.0 y", "1.1 x"]),
        (
            "DEFERRABLE INITIALLY DEFERRED",
            &[],
            ["1 v2", "1.0 y", "1.1 x"],
        ),
    ] {
        let database = with_orders().await;
        let unique = format!("ALTER TABLE order_lines ADD UNIQUE (order_id, sku) {deferrable}");
        database.execute(&unique).await;
        let mut function = started(&database, ORDERS).await;
        let first = Batch::new().body("a", order(1, 1, &[("x", &[]), ("y", &[])]));
        assert_eq!(invoke(&mut function, first).await, ids(&[]));
        let exchanged = Batch::new().body("b", order(1, 2, &[("y", &[]), ("x", &[])]));
        assert_eq!(invoke(&mut function, exchanged).await, ids(failed));
        assert_eq!(stored(&database).await, expected, "{deferrable}");
    }
}
