//! Keys that the table stores in a string type of its own: compared as its unique index compares them.

use serde_json::{Value, json};

use crate::child_tables::invoke;
use testkit::batch::{Batch, ids};
use testkit::extensions::{CASELESS_TYPES, ignoring_case};
use testkit::{Database, Setup};

/// Rows of a key, with children, that messages delete.
const MAPPING: &str = r#"
[[table]]
name = "parents"
key = ["k"]
on_conflict = "update"
newer = "v"
delete_when = { op = "d" }
column = [
  { name = "k", type = "text", required = true },
  { name = "v", type = "integer" },
]

[[table]]
name = "children"
parent = "parents"
each = "children"
key = ["k", "child"]
column = [
  { name = "k", type = "text", from = "^.k", required = true },
  { name = "child", type = "text", from = "name", required = true },
]
"#;

/// The mapping without children.
fn alone() -> &'static str {
    MAPPING.split("\n\n").next().unwrap()
}

/// `ab` and `ab ` are one key to both.
const TYPES: [&str; 2] = ["char(5)", "code"];

fn tables(key_type: &str) -> String {
    format!(
        "CREATE DOMAIN code AS char(5) CHECK (VALUE <> ''); \
         CREATE TABLE parents (k {key_type} PRIMARY KEY, v integer); \
         CREATE TABLE children (k {key_type}, child text, PRIMARY KEY (k, child))"
    )
}

fn parent(key: &str, v: i64, children: &[&str]) -> Batch {
    let children: Vec<Value> = children.iter().map(|name| json!({"name": name})).collect();
    Batch::new().body("a", json!({"k": key, "v": v, "children": children}))
}

fn deletion(key: &str, v: i64) -> Batch {
    Batch::new().body("a", json!({"op": "d", "k": key, "v": v}))
}

async fn stored(database: &Database) -> Vec<String> {
    let rows = database
        .rows("SELECT trim(k) || ' v' || v FROM parents UNION ALL SELECT trim(k) || ' ' || child FROM children ORDER BY 1")
        .await;
    rows.concat()
}

#[tokio::test]
async fn a_deletion_finds_its_row_by_what_the_type_of_the_column_counts_as_equal() {
    for key_type in TYPES {
        for mapping in [alone(), MAPPING] {
            let database = Database::new().await;
            database.execute(&tables(key_type)).await;
            let mut function = Setup::on(&database).mapping(mapping).start().await;
            let batches = [parent("ab", 1, &["x"]), deletion("ab ", 2)];
            for batch in batches {
                assert_eq!(invoke(&mut function, batch).await, ids(&[]));
            }
            assert_eq!(stored(&database).await, [""; 0], "{key_type}");
        }
    }
}

#[tokio::test]
async fn of_a_row_and_its_deletion_in_one_batch_the_later_counts_also_if_only_the_type_makes_their_keys_equal()
 {
    let row = |key: &str, v| json!({"k": key, "v": v, "children": [{"name": "x"}]});
    let deletion = |key: &str, v| json!({"op": "d", "k": key, "v": v});
    let none: &[&str] = &[];
    for key_type in TYPES {
        for (mapping, children) in [(alone(), false), (MAPPING, true)] {
            let database = Database::new().await;
            database.execute(&tables(key_type)).await;
            let mut function = Setup::on(&database).mapping(mapping).start().await;
            let is_there: &[&str] = if children {
                &["ab v4", "ab x"]
            } else {
                &["ab v4"]
            };
            for (first, second, expected) in [
                (row("ab", 1), deletion("ab ", 2), none),
                (deletion("ab", 3), row("ab ", 4), is_there),
                (row("ab  ", 5), deletion("ab", 6), none),
            ] {
                let batch = Batch::new().body("a", first).body("b", second);
                assert_eq!(invoke(&mut function, batch).await, ids(&[]));
                assert_eq!(stored(&database).await, expected, "{key_type}");
            }
        }
    }
}

#[tokio::test]
async fn children_find_their_parent_by_what_the_type_of_the_key_counts_as_equal() {
    for key_type in TYPES {
        let database = Database::new().await;
        database.execute(&tables(key_type)).await;
        let mut function = Setup::on(&database).mapping(MAPPING).start().await;
        for batch in [parent("ab", 1, &["x", "y"]), parent("ab ", 2, &["y", "z"])] {
            assert_eq!(invoke(&mut function, batch).await, ids(&[]));
        }
        assert_eq!(
            stored(&database).await,
            ["ab v2", "ab y", "ab z"],
            "{key_type}"
        );
    }
}

#[tokio::test]
async fn a_key_whose_type_changes_while_the_function_is_warm_is_compared_by_the_new_one() {
    let database = Database::new().await;
    database.execute(&tables("text")).await;
    let mut function = Setup::on(&database).mapping(MAPPING).start().await;
    assert_eq!(
        invoke(&mut function, parent("ab", 1, &["x"])).await,
        ids(&[])
    );
    for (key_type, key, v) in [("char(5)", "ab ", 2), ("varchar(5)", "ab", 3)] {
        let alter = |table: &str| format!("ALTER TABLE {table} ALTER k TYPE {key_type};");
        database
            .execute(&(alter("parents") + &alter("children")))
            .await;
        assert_eq!(
            invoke(&mut function, parent(key, v, &["y"])).await,
            ids(&[])
        );
        assert_eq!(stored(&database).await, [format!("ab v{v}"), "ab y".into()]);
    }
    database
        .execute(
            "ALTER TABLE parents ALTER k TYPE char(5); ALTER TABLE children ALTER k TYPE char(5)",
        )
        .await;
    assert_eq!(invoke(&mut function, deletion("ab ", 4)).await, ids(&[]));
    assert_eq!(stored(&database).await, [""; 0]);
}

#[tokio::test]
async fn keys_that_differ_in_case_are_one_key_where_the_type_or_the_collation_ignores_case() {
    let Some((server, client)) = ignoring_case().await else {
        return;
    };
    let stored = async || {
        let sql = "SELECT lower(k::text) || ' v' || v AS row FROM parents \
                   UNION ALL SELECT lower(k::text) || ' ' || child FROM children ORDER BY 1";
        let rows = client.query(sql, &[]).await.unwrap();
        let rows = rows.iter().map(|row| row.get::<_, String>(0));
        rows.collect::<Vec<_>>()
    };
    let row = |key: &str, v: i64| json!({"k": key, "v": v, "children": [{"name": "x"}]});
    let deletion = |key: &str, v: i64| json!({"op": "d", "k": key, "v": v});
    for key_type in CASELESS_TYPES {
        for (mapping, children) in [(alone(), false), (MAPPING, true)] {
            client
                .batch_execute(&format!(
                    "DROP TABLE IF EXISTS parents, children; \
                     CREATE TABLE parents (k {key_type} PRIMARY KEY, v integer); \
                     CREATE TABLE children (k {key_type}, child text, PRIMARY KEY (k, child))"
                ))
                .await
                .unwrap();
            let setup = Setup::bare().set("DATABASE_URL", &server.url());
            let mut function = setup.mapping(mapping).start().await;
            let steps: [(&[Value], &[&str]); 5] = [
                (&[row("ABC", 1)], &["abc v1", "abc x"]),
                (&[row("abc", 2)], &["abc v2", "abc x"]),
                (&[deletion("Abc", 3)], &[]),
                (&[row("abc", 4), deletion("ABC", 5)], &[]),
                (&[deletion("abc", 6), row("ABC", 7)], &["abc v7", "abc x"]),
            ];
            for (number, (bodies, expected)) in steps.into_iter().enumerate() {
                let batch = bodies.iter().zip(["a", "b"]);
                let batch = batch.fold(Batch::new(), |batch, (body, id)| {
                    batch.body(id, body.clone())
                });
                let failed = invoke(&mut function, batch).await;
                assert_eq!(failed, ids(&[]), "{}", function.log());
                let expected = match children {
                    true => expected,
                    false => expected.get(..1).unwrap_or_default(),
                };
                assert_eq!(stored().await, expected, "{key_type}, step {number}");
            }
        }
    }
}
