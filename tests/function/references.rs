//! Tables that refer to each other without belonging together: a deletion beside rows that refer to what it deletes.

use serde_json::{Value, json};

use crate::child_tables::invoke;
use testkit::batch::{Batch, ids};
use testkit::proxy::Proxy;
use testkit::statements::{note, noted};
use testkit::{Database, Setup, server_address};

const PRODUCTS: &str = r#"
[[table]]
name = "products"
when = { kind = "product" }
key = ["sku"]
on_conflict = "update"
newer = "v"
delete_when = { op = "d" }
column = [
  { name = "sku", type = "text", required = true },
  { name = "v", type = "integer" },
]
"#;

const ORDERS: &str = r#"
[[table]]
name = "orders"
when = { kind = "order" }
key = ["id"]
on_conflict = "update"
newer = "v"
column = [
  { name = "id", type = "integer", required = true },
  { name = "v", type = "integer" },
]

[[table]]
name = "lines"
parent = "orders"
each = "lines"
key = ["id", "line"]
column = [
  { name = "id", type = "integer", from = "^.id", required = true },
  { name = "line", type = "integer", from = "@index" },
  { name = "sku", type = "text" },
]
"#;

/// The products first in the file, and last.
fn mappings() -> [String; 2] {
    [PRODUCTS.to_owned() + ORDERS, ORDERS.to_owned() + PRODUCTS]
}

fn product(sku: &str, v: i64) -> Value {
    json!({"kind": "product", "sku": sku, "v": v})
}

fn deletion(sku: &str, v: i64) -> Value {
    json!({"kind": "product", "op": "d", "sku": sku, "v": v})
}

fn order(id: i64, v: i64, skus: &[&str]) -> Value {
    let lines: Vec<_> = skus.iter().map(|sku| json!({"sku": sku})).collect();
    json!({"kind": "order", "id": id, "v": v, "lines": lines})
}

fn batch(bodies: &[Value]) -> Batch {
    let numbered = bodies.iter().enumerate();
    numbered.fold(Batch::new(), |batch, (number, body)| {
        batch.body(&number.to_string(), body.clone())
    })
}

async fn with_tables(mapping: &str, action: &str) -> Database {
    let database = Database::with_tables_of(mapping).await;
    let refer = format!("ALTER TABLE lines ADD FOREIGN KEY (sku) REFERENCES products {action}");
    database.execute(&refer).await;
    database
}

async fn stored(database: &Database) -> Vec<String> {
    let rows = database
        .rows(
            "SELECT 'product ' || sku FROM products UNION ALL SELECT 'order ' || id FROM orders \
             UNION ALL SELECT 'line ' || id || '.' || line || ' ' || coalesce(sku, '-') FROM lines ORDER BY 1",
        )
        .await;
    rows.concat()
}

const ACTIONS: [&str; 3] = [
    "ON DELETE CASCADE",
    "ON DELETE SET NULL",
    "ON DELETE NO ACTION",
];

#[tokio::test]
async fn an_order_of_a_product_that_is_deleted_before_it_is_refused_as_a_whole() {
    for mapping in mappings() {
        for action in ACTIONS {
            let database = with_tables(&mapping, action).await;
            let mut function = Setup::on(&database).mapping(&mapping).start().await;
            let products = batch(&[product("a", 1), product("b", 1)]);
            assert_eq!(invoke(&mut function, products).await, ids(&[]));
            let bodies = [
                deletion("a", 2),
                order(1, 1, &["a", "b"]),
                order(2, 1, &["b"]),
            ];
            assert_eq!(invoke(&mut function, batch(&bodies)).await, ids(&["1"]));
            assert_eq!(
                stored(&database).await,
                ["line 2.0 b", "order 2", "product b"],
                "{action}"
            );
        }
    }
}

#[tokio::test]
async fn what_a_deletion_does_to_an_order_that_came_before_it_is_what_the_foreign_key_says() {
    let expected: [&[&str]; 3] = [
        &["line 1.1 b", "order 1", "product b"],
        &["line 1.0 -", "line 1.1 b", "order 1", "product b"],
        &[
            "line 1.0 a",
            "line 1.1 b",
            "order 1",
            "product a",
            "product b",
        ],
    ];
    for mapping in mappings() {
        for (action, expected) in ACTIONS.into_iter().zip(expected) {
            let database = with_tables(&mapping, action).await;
            let mut function = Setup::on(&database).mapping(&mapping).start().await;
            let products = batch(&[product("a", 1), product("b", 1)]);
            assert_eq!(invoke(&mut function, products).await, ids(&[]));
            let bodies = [order(1, 1, &["a", "b"]), deletion("a", 2)];
            let failed = invoke(&mut function, batch(&bodies)).await;
            let is_refused = action.ends_with("NO ACTION");
            assert_eq!(failed, ids(if is_refused { &["1"] } else { &[] }));
            assert_eq!(stored(&database).await, expected, "{action}");
        }
    }
}

/// A message that deletes a row of one table and writes one of another that refers to it contradicts itself.
#[tokio::test]
async fn a_message_that_deletes_what_its_own_row_refers_to_is_refused() {
    let mapping = PRODUCTS.replace("when = { kind = \"product\" }\n", "")
        + r#"
[[table]]
name = "changes"
key = ["id"]
column = [
  { name = "id", type = "uuid", from = "@message_id" },
  { name = "sku", type = "text", required = true },
]
"#;
    for action in ["CASCADE", "SET NULL"] {
        let database = Database::with_tables_of(&mapping).await;
        let refer = "ALTER TABLE changes ALTER sku DROP NOT NULL, ADD FOREIGN KEY (sku) REFERENCES products";
        database
            .execute(&format!("{refer} ON DELETE {action}"))
            .await;
        let mut function = Setup::on(&database).mapping(&mapping).start().await;
        let bodies = [product("a", 1), product("b", 1), deletion("a", 2)];
        assert_eq!(invoke(&mut function, batch(&bodies)).await, ids(&["2"]));
        let changes = database.rows("SELECT sku FROM changes ORDER BY 1").await;
        assert_eq!(changes, [["a"], ["b"]], "{action}");
        let summary = function.lines_of("batch", 1).await.pop().unwrap();
        assert_eq!(summary["tables"]["changes"]["stored"], 2);
    }
}

#[tokio::test]
async fn a_foreign_key_that_is_added_while_the_function_is_warm_counts_from_the_next_batch_on() {
    let mapping = &mappings()[0];
    let database = Database::with_tables_of(mapping).await;
    let mut function = Setup::on(&database).mapping(mapping).start().await;
    let products = batch(&[product("a", 1), product("b", 1)]);
    assert_eq!(invoke(&mut function, products).await, ids(&[]));
    database
        .execute("ALTER TABLE lines ADD FOREIGN KEY (sku) REFERENCES products ON DELETE CASCADE")
        .await;
    let bodies = [deletion("a", 2), order(1, 1, &["a", "b"])];
    assert_eq!(invoke(&mut function, batch(&bodies)).await, ids(&["1"]));
    assert_eq!(stored(&database).await, ["product b"]);
}

/// Only where a foreign key could delete or change what the batch writes is it divided.
#[tokio::test]
async fn a_batch_with_deletions_is_one_statement_unless_a_foreign_key_cascades() {
    let mapping = &mappings()[0];
    let bodies = [order(1, 1, &["b"]), deletion("a", 2), order(2, 1, &["b"])];
    for (action, statements) in [("ON DELETE NO ACTION", 1), ("ON DELETE CASCADE", 3)] {
        let database = with_tables(mapping, action).await;
        let mut function = Setup::on(&database).mapping(mapping).start().await;
        let products = batch(&[product("a", 1), product("b", 1)]);
        assert_eq!(invoke(&mut function, products).await, ids(&[]));
        note(&database, "orders").await;
        assert_eq!(invoke(&mut function, batch(&bodies)).await, ids(&[]));
        assert_eq!(noted(&database).await.len(), statements, "{action}");
    }
}

/// A batch that is divided is committed by a statement of its own, which may fail like those before it.
#[tokio::test]
async fn a_batch_of_several_statements_is_stored_only_if_its_commit_succeeds() {
    let mapping = &mappings()[0];
    let database = with_tables(mapping, "ON DELETE CASCADE").await;
    database
        .execute(
            "CREATE TABLE skus (sku text PRIMARY KEY); INSERT INTO skus VALUES ('b'); \
             ALTER TABLE lines ADD FOREIGN KEY (sku) REFERENCES skus DEFERRABLE INITIALLY DEFERRED",
        )
        .await;
    let proxy = Proxy::before(server_address()).await;
    let url = database.url_through(proxy.address);
    let setup = Setup::on(&database).set("DATABASE_URL", &url);
    let mut function = setup.mapping(mapping).start().await;
    let products = batch(&[product("a", 1), product("b", 1), product("c", 1)]);
    assert_eq!(invoke(&mut function, products).await, ids(&[]));
    let bodies = [
        order(1, 1, &["b"]),
        deletion("a", 2),
        // Only the commit finds that it is no sku.
        order(2, 1, &["c"]),
        order(3, 1, &["b"]),
    ];
    assert_eq!(invoke(&mut function, batch(&bodies)).await, ids(&["2"]));
    let stored_before = [
        "line 1.0 b",
        "line 3.0 b",
        "order 1",
        "order 3",
        "product b",
        "product c",
    ];
    assert_eq!(stored(&database).await, stored_before);

    note(&database, "orders").await;
    proxy.lose_next_commit();
    let bodies = [order(4, 1, &["b"]), deletion("c", 2), order(5, 1, &["b"])];
    assert_eq!(invoke(&mut function, batch(&bodies)).await, ids(&[]));
    let more = ["line 4.0 b", "line 5.0 b", "order 4", "order 5"];
    let mut expected = [&stored_before[..5], &more].concat();
    expected.sort_unstable();
    assert_eq!(stored(&database).await, expected);
    assert!(noted(&database).await.len() > 1);
    assert_eq!(proxy.opened(), 2);
}
