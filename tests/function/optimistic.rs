//! Batches are inserted without `ON CONFLICT` as long as there are no duplicates, and no promise changes.

use serde_json::{Value, json};

use crate::child_tables::{
    ORDERS, ignoring, invoke, order, started, stored, with_orders, without_foreign_keys,
};
use testkit::batch::{Batch, id, ids, login, login_with};
use testkit::statements::{SAFE, SKIPPED, counted, note, noted, noting_database};
use testkit::{Database, Function, Mapping, Setup, assert_contains};

const PLAIN: &str = "INSERT";

fn batch(name: &str) -> Value {
    Batch::new().body(name, login()).event()
}

/// How many batches a warm function has stored, and how: with the second it read the key's constraint, and with the
/// third it prepared its statement.
const WARM: usize = 4;
const HOW: [&str; WARM] = [SAFE, SAFE, PLAIN, PLAIN];

async fn warm() -> (Database, Function) {
    let database = noting_database().await;
    let mut function = Setup::on(&database).start().await;
    warm_up(&mut function).await;
    (database, function)
}

async fn warm_up(function: &mut Function) {
    for number in 0..WARM {
        let batch = batch(&format!("warm{number}"));
        function.invoke(&batch).await.assert_none_failed();
    }
}

fn then(later: &[&'static str]) -> Vec<&'static str> {
    [&HOW, later].concat()
}

#[tokio::test]
async fn new_messages_are_inserted_without_on_conflict() {
    let (database, mut function) = warm().await;
    for name in ["a", "b"] {
        function.invoke(&batch(name)).await.assert_none_failed();
    }
    assert_eq!(noted(&database).await, then(&[PLAIN, PLAIN]));
    assert_eq!(counted(&function, WARM + 1), [json!(1), json!(0), json!(0)]);
    assert_eq!(database.count("user_logins").await as usize, WARM + 2);
}

#[tokio::test]
async fn a_redelivered_message_is_stored_once_and_the_next_batches_use_on_conflict() {
    let (database, mut function) = warm().await;
    let again = Batch::new().body("warm0", login()).body("new", login());
    function.invoke(&again.event()).await.assert_none_failed();
    assert_eq!(counted(&function, WARM), [json!(1), json!(1), json!(0)]);
    for number in 0..=SKIPPED {
        function.invoke(&batch(&number.to_string())).await;
    }
    let mut later = vec![SAFE; 1 + SKIPPED];
    later.push(PLAIN);
    assert_eq!(noted(&database).await, then(&later));
    assert_eq!(
        database.count("user_logins").await as usize,
        WARM + 2 + SKIPPED
    );
}

#[tokio::test]
async fn a_row_that_postgres_refuses_does_not_affect_the_others_without_on_conflict() {
    let (database, mut function) = warm().await;
    database
        .execute("ALTER TABLE user_logins ADD CHECK (user_id <> 'refused')")
        .await;
    let mixed = Batch::new()
        .body("a", login())
        .body("bad", login_with("user_id", json!("refused")))
        .body("b", login());
    assert_eq!(
        function.invoke(&mixed.event()).await.failed_ids(),
        [id("bad")]
    );
    assert_eq!(noted(&database).await, then(&[PLAIN, PLAIN]));
    assert_eq!(database.count("user_logins").await as usize, WARM + 2);
}

#[tokio::test]
async fn a_key_that_lost_its_constraint_is_noticed() {
    let (database, mut function) = warm().await;
    database
        .execute("ALTER TABLE user_logins DROP CONSTRAINT user_logins_pkey")
        .await;
    let error = function.invoke(&batch("warm0")).await.error();
    assert_contains(&error, "no unique index on its key");
    assert_eq!(database.count("user_logins").await as usize, WARM);
}

#[tokio::test]
async fn another_table_of_the_same_name_is_noticed() {
    let (database, mut function) = warm().await;
    database
        .execute("ALTER TABLE user_logins RENAME TO older; CREATE TABLE user_logins (LIKE older)")
        .await;
    let error = function.invoke(&batch("warm0")).await.error();
    assert_contains(&error, "no unique index on its key");
    assert_eq!(database.count("user_logins").await, 0);
}

/// As in a deployment that alternates between two schemas.
#[tokio::test]
async fn a_table_of_a_schema_that_replaced_another_is_noticed() {
    let database = noting_database().await;
    let (schema, next) = (&database.schema, format!("{}_next", database.schema));
    let mapping = Mapping::shipped().within(&database);
    let mut function = Setup::on(&database).mapping(&mapping).start().await;
    warm_up(&mut function).await;
    database
        .execute(&format!(
            "CREATE SCHEMA {next}; CREATE TABLE {next}.user_logins (LIKE {schema}.user_logins); \
             ALTER SCHEMA {schema} RENAME TO {next}_old; ALTER SCHEMA {next} RENAME TO {schema}"
        ))
        .await;
    let error = function.invoke(&batch("a")).await.error();
    assert_contains(&error, "no unique index on its key");
    assert_eq!(database.count("user_logins").await, 0);
}

/// A warm function on a table of a number and the columns `a` and `b`, which also has new columns that are not mapped.
async fn warm_with(database: &Database, types: [&str; 2], new: &str) -> Function {
    let [a, b] = types;
    let columns = format!("k integer PRIMARY KEY, a {a}, b {b}, a_new {new}, b_new {new}");
    database
        .execute(&format!("CREATE TABLE t ({columns})"))
        .await;
    note(database, "t").await;
    let mapping = Mapping::of("t").key("k").column("k", "integer");
    let mapping = mapping.with("required", true).column("a", a).column("b", b);
    let mut function = Setup::on(database).mapping(&mapping).start().await;
    for number in 0..WARM {
        let batch = numbered(number, &json!(null));
        function.invoke(&batch).await.assert_none_failed();
    }
    assert_eq!(noted(database).await, HOW);
    function
}

/// A batch of a message with this number, and this value for the columns `a` and `b`.
fn numbered(number: usize, value: &Value) -> Value {
    let body = json!({"k": number, "a": value, "b": value});
    Batch::new().body(&number.to_string(), body).event()
}

/// As in an online migration: the new columns are filled, and then get the old names.
#[tokio::test]
async fn columns_that_were_renamed_get_no_value_of_another_type() {
    let cases = [
        ("bigint", "timestamptz", json!(1_700_000_000_000_i64)),
        ("jsonb", "bytea", json!({"k": 2})),
    ];
    for (of, new, value) in cases {
        let database = Database::new().await;
        let mut function = warm_with(&database, [of, of], new).await;
        database
            .execute(
                "ALTER TABLE t RENAME a TO a_old; ALTER TABLE t RENAME a_new TO a; \
                 ALTER TABLE t RENAME b TO b_old; ALTER TABLE t RENAME b_new TO b",
            )
            .await;
        let error = function.invoke(&numbered(WARM, &value)).await.error();
        assert_contains(&error, "but mapped as");
        assert_eq!(database.count("t").await, WARM as i64, "{new}");
    }
}

/// Postgres changes some types without rewriting the table, and converts what is inserted.
#[tokio::test]
async fn a_column_whose_type_was_changed_gets_the_value_that_was_sent() {
    let database = Database::new().await;
    let mut function = warm_with(&database, ["integer", "timestamptz"], "text").await;
    database
        .execute("SET TimeZone = 'UTC'; ALTER TABLE t ALTER a TYPE real, ALTER b TYPE timestamp")
        .await;
    let body = json!({"k": WARM, "a": 2, "b": "2026-11-22T10:00:00+02:00"});
    let batch = Batch::new().body("changed", body).event();
    function.invoke(&batch).await.assert_none_failed();
    let stored = format!("SELECT a::text, b::text FROM t WHERE k = {WARM}");
    assert_eq!(database.rows(&stored).await, [["2", "2026-11-22 08:00:00"]]);
}

/// Postgres would generate its values itself.
#[tokio::test]
async fn a_column_that_became_an_identity_is_noticed() {
    let database = Database::new().await;
    let mut function = warm_with(&database, ["bigint", "bigint"], "text").await;
    database
        .execute("ALTER TABLE t RENAME TO older; CREATE TABLE t (k integer PRIMARY KEY, a bigint GENERATED ALWAYS AS IDENTITY, b bigint)")
        .await;
    function.invoke(&numbered(WARM, &json!(1))).await.error();
    assert_eq!(database.count("t").await, 0);
}

#[tokio::test]
async fn a_table_that_is_earlier_in_the_search_path_is_noticed() {
    let (database, before) = (noting_database().await, Database::new().await);
    let setup = Setup::on(&database).set("DATABASE_URL", &database.url_behind(&before));
    let mut function = setup.start().await;
    warm_up(&mut function).await;
    let like = format!("(LIKE {}.user_logins INCLUDING ALL)", database.schema);
    before
        .execute(&format!("CREATE TABLE user_logins {like}"))
        .await;
    for name in ["a", "b"] {
        function.invoke(&batch(name)).await.assert_none_failed();
    }
    assert_eq!(before.count("user_logins").await, 2);
    assert_eq!(database.count("user_logins").await as usize, WARM);
}

/// The index can be dropped while a statement relies on it.
#[tokio::test]
async fn a_key_with_only_a_unique_index_always_uses_on_conflict() {
    let database = noting_database().await;
    database
        .execute("ALTER TABLE user_logins DROP CONSTRAINT user_logins_pkey; CREATE UNIQUE INDEX ON user_logins (message_id)")
        .await;
    let mut function = Setup::on(&database).start().await;
    for name in ["a", "b", "b"] {
        function.invoke(&batch(name)).await.assert_none_failed();
    }
    assert_eq!(noted(&database).await, [SAFE; 3]);
    assert_eq!(database.count("user_logins").await, 2);
}

const SAFE_FAMILY: &str = "WITH ON CONFLICT";
const PLAIN_FAMILY: &str = "WITH";

/// A warm function that has stored orders with a line, from 1 on.
async fn warm_with_orders(database: &Database, mapping: &str) -> Function {
    note(database, "orders").await;
    let mut function = started(database, mapping).await;
    for number in 1..=WARM as i64 {
        assert_eq!(
            invoke(&mut function, of_order(number, &["x"])).await,
            ids(&[])
        );
    }
    let how = [SAFE_FAMILY, SAFE_FAMILY, PLAIN_FAMILY, PLAIN_FAMILY];
    assert_eq!(noted(database).await, how);
    function
}

fn of_order(number: i64, lines: &[&str]) -> Batch {
    let lines: Vec<(&str, &[i64])> = lines.iter().map(|sku| (*sku, &[5][..])).collect();
    Batch::new().body(&format!("order{number}"), order(number, 1, &lines))
}

#[tokio::test]
async fn new_orders_are_inserted_with_their_lines_without_on_conflict_and_stored_once() {
    for mapping in [ORDERS.to_owned(), ignoring(ORDERS)] {
        let database = with_orders().await;
        let mut function = warm_with_orders(&database, &mapping).await;
        let new = (WARM + 1) as i64;
        let again = of_order(1, &["x"]).body("new", order(new, 1, &[("x", &[5])]));
        assert_eq!(invoke(&mut function, again).await, ids(&[]));
        assert_eq!(noted(&database).await.pop().unwrap(), SAFE_FAMILY);
        let orders = (1..=new).flat_map(|id| {
            [
                format!("{id} v1"),
                format!("{id}.0 x"),
                format!("{id}.0.0 5%"),
            ]
        });
        assert_eq!(stored(&database).await, orders.collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_child_table_whose_key_lost_its_constraint_is_noticed() {
    for mapping in [ORDERS.to_owned(), ignoring(ORDERS)] {
        let database = without_foreign_keys().await;
        let mut function = warm_with_orders(&database, &mapping).await;
        let before = stored(&database).await;
        database
            .execute("ALTER TABLE discounts DROP CONSTRAINT discounts_pkey")
            .await;
        let batch = of_order(9, &["x"]);
        let error = function.invoke(&batch.event()).await.error();
        assert_contains(&error, "no unique index on its key");
        assert_eq!(stored(&database).await, before);
    }
}

/// Somebody deleted the order and not its lines.
#[tokio::test]
async fn lines_that_outlived_their_order_do_not_become_part_of_a_new_one() {
    let database = without_foreign_keys().await;
    let mut function = warm_with_orders(&database, ORDERS).await;
    database
        .execute("INSERT INTO order_lines VALUES (9, 5, 'old'); INSERT INTO discounts VALUES (9, 5, 0, 1)")
        .await;
    assert_eq!(invoke(&mut function, of_order(9, &["new"])).await, ids(&[]));
    assert_eq!(noted(&database).await.pop().unwrap(), PLAIN_FAMILY);
    let stored = stored(&database).await;
    assert_eq!(stored[stored.len() - 3..], ["9 v1", "9.0 new", "9.0.0 5%"]);
}
