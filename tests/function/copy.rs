//! Large batches are copied, and keep all promises of small ones.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::batch::{Batch, id, login, login_with};
use crate::support::statements::{
    MANY, SAFE, SKIPPED, counted, many, note, noted, noting_database,
};
use crate::support::{Database, Function, Mapping, Setup};

async fn started() -> (Database, Function) {
    let database = noting_database().await;
    let function = Setup::on(&database).start().await;
    (database, function)
}

#[tokio::test]
async fn a_large_batch_is_copied_with_the_values_of_a_small_one() {
    let (database, mut function) = started().await;
    let small = Batch::new().body("small", login());
    function.invoke(&small.event()).await.assert_none_failed();
    let batch = many("a").body("bad", login_with("ip", Value::Null));
    assert_eq!(
        function.invoke(&batch.event()).await.failed_ids(),
        [id("bad")]
    );
    assert_eq!(noted(&database).await, [SAFE, "COPY"]);
    assert_eq!(counted(&function, 1), [json!(MANY), json!(0), json!(1)]);
    let different = "SELECT DISTINCT user_id, device_type, masked_ip, masked_device_id, locale, app_version::text, create_date::text FROM user_logins";
    assert_eq!(database.rows(different).await.len(), 1);
    assert_eq!(database.count("user_logins").await, MANY as i64 + 1);
}

/// Its rows are not in the order of their keys, and two of them have the same key.
#[tokio::test]
async fn a_key_from_the_body_is_copied_too() {
    let database = Database::new().await;
    database
        .execute("CREATE TABLE orders (number integer PRIMARY KEY)")
        .await;
    note(&database, "orders").await;
    let mapping = Mapping::of("orders").key("number");
    let mapping = mapping.column("number", "integer").with("required", true);
    let mut function = Setup::on(&database).mapping(&mapping).start().await;
    let batch = (0..MANY).fold(Batch::new(), |batch, number| {
        let mixed = number * 7_919 % MANY;
        batch.body(&number.to_string(), json!({"number": mixed}))
    });
    let batch = batch.body("again", json!({"number": 0}));
    function.invoke(&batch.event()).await.assert_none_failed();
    assert_eq!(noted(&database).await, ["COPY"]);
    assert_eq!(counted(&function, 0), [json!(MANY), json!(1), json!(0)]);
    assert_eq!(database.count("orders").await, MANY as i64);
}

#[tokio::test]
async fn a_redelivered_message_in_a_large_batch_is_stored_once_and_the_next_batches_are_inserted() {
    let (database, mut function) = started().await;
    function
        .invoke(&Batch::new().body("b7", login()).event())
        .await;
    function
        .invoke(&many("b").event())
        .await
        .assert_none_failed();
    assert_eq!(counted(&function, 1), [json!(MANY - 1), json!(1), json!(0)]);
    for number in 0..=SKIPPED {
        function.invoke(&many(&format!("{number}-")).event()).await;
    }
    let mut expected = vec![SAFE; 2 + SKIPPED];
    expected.push("COPY");
    assert_eq!(noted(&database).await, expected);
    assert_eq!(
        database.count("user_logins").await,
        (MANY * (SKIPPED + 2)) as i64
    );
}

#[tokio::test]
async fn refused_rows_of_a_large_batch_do_not_affect_the_others_which_are_copied() {
    let (database, mut function) = started().await;
    database
        .execute("ALTER TABLE user_logins ADD CHECK (user_id <> 'refused')")
        .await;
    let bad = ["u", "v", "w", "x", "y"];
    let batch = bad.iter().fold(many("c"), |batch, name| {
        batch.body(name, login_with("user_id", json!("refused")))
    });
    assert_eq!(
        function.invoke(&batch.event()).await.failed_ids(),
        bad.map(id)
    );
    assert_eq!(database.count("user_logins").await, MANY as i64);
    assert_eq!(
        counted(&function, 0),
        [json!(MANY), json!(0), json!(bad.len())]
    );
    let noted = noted(&database).await;
    assert!(
        noted.len() <= 2 * bad.len() && noted.contains(&"COPY".to_owned()),
        "{noted:?}"
    );
}

/// More refused rows than are isolated one by one.
#[tokio::test]
async fn the_good_rows_of_a_large_batch_of_mostly_refused_ones_are_stored() {
    let (database, mut function) = started().await;
    database
        .execute("ALTER TABLE user_logins ADD CHECK (user_id <> 'refused')")
        .await;
    let batch = (0..MANY).fold(Batch::new(), |batch, number| {
        let user = if number % 40 == 0 { "good" } else { "refused" };
        batch.body(&format!("k{number}"), login_with("user_id", json!(user)))
    });
    let answer = function
        .invoke_within(&batch.event(), Duration::from_secs(600))
        .await;
    assert_eq!(answer.failed_ids().len(), MANY - MANY / 40);
    assert_eq!(database.count("user_logins").await, (MANY / 40) as i64);
}

/// The four bytes of an integer would be another number as a real.
#[tokio::test]
async fn a_column_whose_type_was_changed_gets_no_wrong_value() {
    let (database, mut function) = started().await;
    function.invoke(&many("d").event()).await;
    database
        .execute("ALTER TABLE user_logins ALTER app_version TYPE real")
        .await;
    function
        .invoke(&many("e").event())
        .await
        .assert_none_failed();
    assert_eq!(noted(&database).await, ["COPY", SAFE]);
    assert_eq!(
        database
            .rows("SELECT DISTINCT app_version::text FROM user_logins")
            .await,
        [["2"]]
    );
}

#[tokio::test]
async fn a_key_that_lost_its_index_is_noticed_by_a_large_batch() {
    let (database, mut function) = started().await;
    function.invoke(&many("f").event()).await;
    database
        .execute("ALTER TABLE user_logins DROP CONSTRAINT user_logins_pkey")
        .await;
    let error = function.invoke(&many("f").event()).await.error();
    assert!(error.contains("no unique index on its key"), "{error}");
    assert_eq!(database.count("user_logins").await, MANY as i64);
}

#[tokio::test]
async fn a_table_for_which_copy_differs_from_insert_is_inserted_into() {
    let differences = [
        "ALTER TABLE user_logins ALTER app_version TYPE bigint",
        "CREATE TYPE platform AS ENUM ('ios'); ALTER TABLE user_logins ALTER device_type TYPE platform USING NULL",
        "ALTER TABLE user_logins ENABLE ROW LEVEL SECURITY",
        "CREATE RULE also AS ON INSERT TO user_logins DO ALSO NOTHING",
    ];
    for difference in differences {
        let (database, mut function) = started().await;
        database.execute(difference).await;
        function
            .invoke(&many("g").event())
            .await
            .assert_none_failed();
        assert_eq!(noted(&database).await, [SAFE], "{difference}");
    }
}

#[tokio::test]
async fn a_large_batch_that_is_not_copied_in_time_is_reported_and_harmless() {
    let (database, mut function) = started().await;
    function.invoke(&many("h").event()).await;
    let lock = database.lock("user_logins").await;
    let late = many("i").event();
    let answer = function.invoke_within(&late, Duration::from_secs(60)).await;
    assert_eq!(answer.failed_ids().len(), MANY);
    drop(lock);
    function.invoke(&late).await.assert_none_failed();
    assert_eq!(database.count("user_logins").await, 2 * MANY as i64);
}

/// A request to Postgres may be sent before the batch is fully read.
#[tokio::test]
async fn a_large_payload_that_is_not_an_event_fails_alone_and_leaves_nothing_behind() {
    let (database, mut function) = started().await;
    function.invoke(&many("j").event()).await;
    let mut payload = many("k").event();
    payload["Records"][MANY - 1]["messageId"] = json!({});
    let error = function.invoke(&payload).await.error();
    assert!(error.contains("not an SQS event"), "{error}");
    let next = many("l").event();
    function.invoke(&next).await.assert_none_failed();
    assert_eq!(counted(&function, 1), [json!(MANY), json!(0), json!(0)]);
    assert_eq!(database.count("user_logins").await, 2 * MANY as i64);
}

/// For the first batch this is unknown until it has been read.
#[tokio::test]
async fn large_batches_of_a_fifo_queue_are_stored_in_the_order_of_their_keys_too() {
    let (database, mut function) = started().await;
    for prefix in ["m", "n"] {
        let batch = (0..MANY).rev().fold(Batch::fifo(), |batch, number| {
            batch.grouped("g", &format!("{prefix}{number}"), login())
        });
        let batch = batch.grouped("h", "bad", login_with("ip", Value::Null));
        let answer = function.invoke(&batch.event()).await;
        assert_eq!(answer.failed_ids(), [id("bad")]);
        let steps = "SELECT count(*)::text FROM (SELECT message_id < lag(message_id) OVER (ORDER BY ctid) AS is_back FROM user_logins) AS step WHERE is_back";
        let batches = database.count("user_logins").await / MANY as i64;
        assert_eq!(
            database.rows(steps).await,
            [[(batches - 1).to_string()]],
            "{prefix}"
        );
    }
    assert_eq!(database.count("user_logins").await, 2 * MANY as i64);
}

/// A warm function that has copied into a table of a number and the columns `a` and `b`, which also has new
/// columns that are not mapped.
async fn copied_into(database: &Database, types: [&str; 2], new: &str) -> Function {
    let [a, b] = types;
    database
        .execute(&format!(
            "CREATE TABLE t (k integer PRIMARY KEY, a {a}, b {b}, a_new {new}, b_new {new})"
        ))
        .await;
    note(database, "t").await;
    let mapping = Mapping::of("t")
        .key("k")
        .column("k", "integer")
        .with("required", true);
    let mapping = mapping.column("a", a).column("b", b);
    let mut function = Setup::on(database).mapping(&mapping).start().await;
    let first = numbered(0, &json!(null));
    function.invoke(&first).await.assert_none_failed();
    assert_eq!(noted(database).await, ["COPY"]);
    function
}

/// A large batch whose numbers begin with one, and whose columns `a` and `b` have this value.
fn numbered(first: usize, value: &Value) -> Value {
    (first..first + MANY)
        .fold(Batch::new(), |batch, number| {
            let body = json!({"k": number, "a": value, "b": value});
            batch.body(&number.to_string(), body)
        })
        .event()
}

/// As in an online migration: the new columns are filled, and then get the old names.
#[tokio::test]
async fn columns_that_were_renamed_get_no_value_of_another_type() {
    let changes = [
        (
            ["bigint", "bigint"],
            "timestamptz",
            json!(1_700_000_000_000_i64),
        ),
        (["jsonb", "jsonb"], "bytea", json!({"k": 2})),
    ];
    for (types, other, value) in changes {
        let database = Database::new().await;
        let mut function = copied_into(&database, types, other).await;
        database
            .execute(
                "ALTER TABLE t RENAME a TO a_old; ALTER TABLE t RENAME a_new TO a; \
                 ALTER TABLE t RENAME b TO b_old; ALTER TABLE t RENAME b_new TO b",
            )
            .await;
        let error = function.invoke(&numbered(MANY, &value)).await.error();
        assert!(error.contains("and mapped as"), "{error}");
        assert_eq!(database.count("t").await, MANY as i64, "{other}");
    }
}

/// Postgres changes some types without rewriting the table.
#[tokio::test]
async fn a_type_that_was_changed_in_place_is_noticed() {
    let database = Database::new().await;
    let mut function = copied_into(&database, ["timestamptz", "timestamptz"], "text").await;
    database
        .execute("SET TimeZone = 'UTC'; ALTER TABLE t ALTER a TYPE timestamp")
        .await;
    let at = json!("2026-11-22T10:00:00+02:00");
    let next = numbered(MANY, &at);
    function.invoke(&next).await.assert_none_failed();
    assert_eq!(noted(&database).await, ["COPY", SAFE]);
}

/// Postgres generates its values, which COPY would overwrite and INSERT refuses.
#[tokio::test]
async fn a_column_that_became_an_identity_is_noticed() {
    let database = Database::new().await;
    let mut function = copied_into(&database, ["bigint", "bigint"], "text").await;
    database
        .execute("ALTER TABLE t RENAME TO older; CREATE TABLE t (k integer PRIMARY KEY, a bigint GENERATED ALWAYS AS IDENTITY, b bigint)")
        .await;
    function.invoke(&numbered(MANY, &json!(1))).await.error();
    assert_eq!(database.count("t").await, 0);
}

/// As in a deployment that alternates between two schemas.
#[tokio::test]
async fn a_table_of_a_schema_that_replaced_another_is_noticed() {
    let database = Database::with_user_logins().await;
    let (schema, next) = (&database.schema, format!("{}_next", database.schema));
    let mapping = Mapping::shipped().within(&database);
    let mut function = Setup::on(&database).mapping(&mapping).start().await;
    function
        .invoke(&many("o").event())
        .await
        .assert_none_failed();
    database
        .execute(&format!(
            "CREATE SCHEMA {next}; CREATE TABLE {next}.user_logins (LIKE {schema}.user_logins); \
             ALTER SCHEMA {schema} RENAME TO {next}_old; ALTER SCHEMA {next} RENAME TO {schema}"
        ))
        .await;
    let error = function.invoke(&many("p").event()).await.error();
    assert!(error.contains("no unique index on its key"), "{error}");
    assert_eq!(database.count("user_logins").await, 0);
}

#[tokio::test]
async fn a_large_batch_notices_a_table_that_is_earlier_in_the_search_path() {
    let (database, before) = (noting_database().await, Database::new().await);
    let setup = Setup::on(&database).set("DATABASE_URL", &database.url_behind(&before));
    let mut function = setup.start().await;
    function.invoke(&many("q").event()).await;
    before
        .execute(&format!(
            "CREATE TABLE user_logins (LIKE {}.user_logins)",
            database.schema
        ))
        .await;
    let error = function.invoke(&many("r").event()).await.error();
    assert!(error.contains("no unique index on its key"), "{error}");
    assert_eq!(before.count("user_logins").await, 0);
    assert_eq!(database.count("user_logins").await, MANY as i64);
}

/// Otherwise tokio-postgres would match every later response to the request before.
#[tokio::test]
async fn a_copy_that_is_refused_before_it_accepts_rows_ends_the_connection() {
    let database = Database::new().await;
    let mut function = copied_into(&database, ["bigint", "bigint"], "text").await;
    database.execute("ALTER TABLE t RENAME a TO other").await;
    let error = function.invoke(&numbered(MANY, &json!(1))).await.error();
    assert!(error.contains("has no column"), "{error}");
    assert_eq!(
        function
            .lines("rows could not be copied: inserting them on a new connection")
            .len(),
        1
    );
    database.execute("ALTER TABLE t RENAME other TO a").await;
    let next = function.invoke(&numbered(MANY, &json!(1))).await;
    next.assert_none_failed();
    assert_eq!(database.count("t").await, 2 * MANY as i64);
}

/// The refused row is early: the few rows before it must still be stored first.
#[tokio::test]
async fn a_large_batch_with_a_refused_row_is_stored_in_the_order_of_arrival() {
    const KEYS: usize = 100;
    for (policy, expected) in [("ignore", "first"), ("update", "later")] {
        let database = Database::new().await;
        database
            .execute("CREATE TABLE t (k integer PRIMARY KEY CHECK (k >= 0), v text)")
            .await;
        let mapping = Mapping::of("t").key("k").set("on_conflict", policy);
        let mapping = mapping
            .column("k", "integer")
            .with("required", true)
            .column("v", "text");
        let mut function = Setup::on(&database).mapping(&mapping).start().await;
        let row = |batch: Batch, name: String, key: i64, value: &str| {
            batch.body(&name, json!({"k": key, "v": value}))
        };
        let batch = (0..KEYS).fold(Batch::new(), |batch, key| {
            row(batch, format!("f{key}"), key as i64, "first")
        });
        let batch = row(batch, "bad".to_owned(), -1, "refused");
        let batch = (0..MANY).fold(batch, |batch, key| {
            row(batch, format!("l{key}"), key as i64, "later")
        });
        let answer = function.invoke(&batch.event()).await;
        assert_eq!(answer.failed_ids(), [id("bad")]);
        let values = database
            .rows(&format!(
                "SELECT v, count(*)::text FROM t WHERE k < {KEYS} GROUP BY v"
            ))
            .await;
        assert_eq!(values, [[expected, &KEYS.to_string()]], "{policy}");
    }
}
