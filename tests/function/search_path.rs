//! Another role may create objects in a schema of the search path: no statement of the function uses them.

use serde_json::json;

use crate::child_tables::{ORDERS, deletion, invoke, order, stored, with_orders};
use testkit::batch::{Batch, ids, login};
use testkit::hostile_path::{calls, functions, hostile_schema, literals};
use testkit::{Database, Function, Mapping, Setup};

/// The function, which finds the objects of another role before Postgres's own.
async fn start(database: &Database, hostile: &Database, mapping: &str) -> Function {
    let url = database.url_behind(hostile);
    let setup = Setup::on(database).set("DATABASE_URL", &url);
    setup.mapping(mapping).start().await
}

#[tokio::test]
async fn a_single_table_is_written_without_a_function_or_operator_of_the_search_path() {
    let (database, hostile) = (Database::with_user_logins().await, hostile_schema().await);
    let shipped = Mapping::shipped().to_string();
    let mut function = start(&database, &hostile, &shipped).await;
    for number in 0..4 {
        let batch = Batch::new().body(&number.to_string(), login());
        // The last one comes twice.
        let batch = batch.body("again", login());
        assert_eq!(invoke(&mut function, batch).await, ids(&[]));
    }
    assert_eq!(database.count("user_logins").await, 5);
}

#[tokio::test]
async fn newer_values_are_compared_without_an_operator_of_the_search_path() {
    let (database, hostile) = (Database::new().await, hostile_schema().await);
    let mapping = Mapping::of("t").key("k").set("on_conflict", "update");
    let mapping = mapping.set("newer", "v").column("k", "varchar(9)");
    let mapping = mapping.with("required", true).column("v", "integer");
    database
        .execute("CREATE TABLE t (k varchar(9) PRIMARY KEY, v numeric)")
        .await;
    let mut function = start(&database, &hostile, &mapping.to_string()).await;
    for (v, expected) in [(2, "2"), (1, "2"), (3, "3")] {
        let batch = Batch::new().body("a", json!({"k": "a", "v": v}));
        assert_eq!(invoke(&mut function, batch).await, ids(&[]));
        assert_eq!(database.rows("SELECT v::text FROM t").await, [[expected]]);
    }
}

#[tokio::test]
async fn several_tables_are_written_without_a_function_or_operator_of_the_search_path() {
    let hostile = hostile_schema().await;
    for key_type in ["bigint", "varchar(20)", "char(20)"] {
        let database = with_orders().await;
        let alter = |table: &str| format!("ALTER TABLE {table} ALTER order_id TYPE {key_type};");
        let drop = "ALTER TABLE order_lines DROP CONSTRAINT order_lines_order_id_fkey; \
                    ALTER TABLE discounts DROP CONSTRAINT discounts_order_id_line_fkey;";
        let alters = ["orders", "order_lines", "discounts"].map(alter);
        database
            .execute(&(drop.to_owned() + &alters.concat()))
            .await;
        let mapping = match key_type {
            "bigint" => ORDERS.to_owned(),
            _ => ORDERS.replace("\"bigint\"", "\"varchar(20)\""),
        };
        let mut function = start(&database, &hostile, &mapping).await;
        let batches = [
            order(1, 1, &[("x", &[5, 6]), ("y", &[])]),
            order(1, 2, &[("y", &[7])]),
        ];
        for body in batches {
            let batch = Batch::new().body("a", body).body("b", order(2, 1, &[]));
            assert_eq!(invoke(&mut function, batch).await, ids(&[]));
        }
        let expected = ["1 v2", "1.0 y", "1.0.0 7%", "2 v1"];
        assert_eq!(stored(&database).await, expected, "{key_type}");
        let batch = Batch::new().body("a", deletion(1, 3));
        assert_eq!(invoke(&mut function, batch).await, ids(&[]));
        assert_eq!(database.count("orders").await, 1, "{key_type}");
        assert_eq!(database.count("order_lines").await, 0, "{key_type}");
    }
}

/// Which one a statement calls depends on types; so every name is qualified.
#[tokio::test]
async fn every_function_and_type_in_the_sql_of_the_sources_is_qualified() {
    let functions = functions(&Database::new().await).await;
    let mut found = Vec::new();
    for literal in literals() {
        for (before, name) in calls(&literal) {
            if functions.contains(name) && !before.ends_with("pg_catalog.") {
                found.push(format!("{name} in {literal:?}"));
            }
        }
        for (_, cast) in literal
            .match_indices("::")
            .map(|(at, _)| literal.split_at(at + 2))
        {
            let keywords = ["bigint", "boolean", "integer", "pg_catalog.", "{", "(", " "];
            let is_sql = literal.contains("pg_catalog.") || literal.contains("SELECT");
            if is_sql && !keywords.iter().any(|word| cast.starts_with(word)) {
                found.push(format!("a type in {literal:?}"));
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}
