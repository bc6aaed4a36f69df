//! Large batches, and batches whose rows are larger than what one statement stores.

use std::time::Duration;

use serde_json::json;

use crate::hostile::peak_bytes;
use testkit::batch::{Batch, id, ids, login_with};
use testkit::{Database, Function, Mapping, Setup};

const MEBIBYTE: usize = 1 << 20;

/// The largest batch of a profile, or of `drain`.
const MANY: i64 = 1_000;

/// The memory of the smallest function that the template allows has room for this.
const MOST_MEMORY: usize = 200 * MEBIBYTE;

/// Each line repeats the text of its order.
const ORDERS: &str = r#"
[[table]]
name = "orders"
key = ["id"]
column = [{ name = "id", type = "text", required = true }]

[[table]]
name = "order_lines"
parent = "orders"
each = "lines"
key = ["id", "line"]
column = [
  { name = "id", type = "text", from = "^.id", required = true },
  { name = "line", type = "integer", from = "@index" },
  { name = "text", type = "text", from = "$.text" },
]
"#;

const LINES: usize = 100;

/// An order whose rows take this many mebibytes.
fn order(id: &str, mebibytes: usize) -> serde_json::Value {
    let text = "x".repeat(mebibytes * MEBIBYTE / LINES);
    json!({"id": id, "text": text, "lines": vec![json!({}); LINES]})
}

async fn started(database: &Database) -> Function {
    Setup::on(database).mapping(ORDERS).start().await
}

#[tokio::test]
async fn messages_that_expand_to_many_times_their_size_fit_into_the_memory() {
    // Two messages are one statement where the first is small enough.
    const SIZES: [usize; 8] = [7, 15, 10, 12, 7, 15, 10, 12];
    let database = Database::with_tables_of(ORDERS).await;
    let mut function = started(&database).await;
    let orders = SIZES.iter().enumerate();
    let batch = orders.fold(Batch::new(), |batch, (number, &size)| {
        let name = number.to_string();
        batch.body(&name, order(&name, size))
    });
    let answer = function.invoke(&batch.event()).await;
    answer.assert_none_failed();
    let lines = database.count("order_lines").await;
    assert_eq!(lines, (SIZES.len() * LINES) as i64);
    let peak = peak_bytes(function.id());
    assert!(peak < MOST_MEMORY, "{} MiB", peak / MEBIBYTE);
    let summary = &function.lines_of("batch", 1).await[0];
    assert_eq!(summary["received"], SIZES.len());
}

#[tokio::test]
async fn after_a_failed_message_nothing_of_its_fifo_group_is_stored_by_a_later_statement() {
    let database = Database::with_tables_of(ORDERS).await;
    database
        .execute("ALTER TABLE orders ADD CHECK (id <> 'bad')")
        .await;
    let mut function = started(&database).await;
    let batch = Batch::fifo()
        .grouped("anna", "a1", order("a1", 9))
        .grouped("anna", "bad", order("bad", 9))
        .grouped("ben", "b1", order("b1", 9))
        .grouped("anna", "a2", order("a2", 1))
        .grouped("ben", "b2", order("b2", 1));
    let answer = function.invoke(&batch.event()).await;
    assert_eq!(answer.failed_ids(), ids(&["bad", "a2"]));
    let stored = database.rows("SELECT id FROM orders ORDER BY id").await;
    assert_eq!(stored.concat(), ["a1", "b1", "b2"]);
}

/// Lambda sends at most 6 MB.
#[tokio::test]
async fn a_batch_of_ordinary_messages_is_one_statement() {
    let database = Database::new().await;
    database
        .execute(
            "CREATE TABLE t (id uuid PRIMARY KEY, note text); CREATE SEQUENCE statements; \
             CREATE FUNCTION count_statement() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                 PERFORM nextval(TG_TABLE_SCHEMA || '.statements'); RETURN NULL; END $$; \
             CREATE TRIGGER count_statement BEFORE INSERT ON t FOR EACH STATEMENT EXECUTE FUNCTION count_statement()",
        )
        .await;
    let mapping = Mapping::by_message_id("t").within(&database);
    let mapping = mapping.column("note", "text");
    let mut function = Setup::on(&database).mapping(&mapping).start().await;
    let note = json!({"note": "n".repeat(5_000)});
    let batch = (0..1_000).fold(Batch::new(), |batch, number| {
        batch.body(&number.to_string(), note.clone())
    });
    function.invoke(&batch.event()).await.assert_none_failed();
    let statements = database.rows("SELECT last_value::text FROM statements");
    assert_eq!(statements.await.concat(), ["1"]);
}

#[tokio::test]
async fn the_good_rows_of_a_large_batch_of_mostly_refused_ones_are_stored() {
    const GOOD: i64 = 25;
    let database = Database::with_user_logins().await;
    database
        .execute("ALTER TABLE user_logins ADD CHECK (user_id <> 'refused')")
        .await;
    let mut function = Setup::on(&database).start().await;
    let batch = (0..MANY).fold(Batch::new(), |batch, number| {
        let is_good = number % (MANY / GOOD) == 0;
        let user = if is_good { "good" } else { "refused" };
        batch.body(&format!("k{number}"), login_with("user_id", json!(user)))
    });
    let time = Duration::from_secs(600);
    let answer = function.invoke_within(&batch.event(), time).await;
    assert_eq!(answer.failed_ids().len() as i64, MANY - GOOD);
    assert_eq!(database.count("user_logins").await, GOOD);
}

/// The refused row is early: the few rows before it must still be stored first.
#[tokio::test]
async fn a_large_batch_with_a_refused_row_is_stored_in_the_order_of_arrival() {
    const KEYS: i64 = 100;
    for (policy, expected) in [("ignore", "first"), ("update", "later")] {
        let database = Database::new().await;
        database
            .execute("CREATE TABLE t (k integer PRIMARY KEY CHECK (k >= 0), v text)")
            .await;
        let mapping = Mapping::of("t").key("k").set("on_conflict", policy);
        let mapping = mapping.column("k", "integer").with("required", true);
        let mapping = mapping.column("v", "text");
        let mut function = Setup::on(&database).mapping(&mapping).start().await;
        let row = |batch: Batch, name: String, key: i64, value: &str| {
            batch.body(&name, json!({"k": key, "v": value}))
        };
        let batch = (0..KEYS).fold(Batch::new(), |batch, key| {
            row(batch, format!("f{key}"), key, "first")
        });
        let batch = row(batch, "bad".to_owned(), -1, "refused");
        let batch = (0..MANY).fold(batch, |batch, key| {
            row(batch, format!("l{key}"), key, "later")
        });
        let answer = function.invoke(&batch.event()).await;
        assert_eq!(answer.failed_ids(), [id("bad")]);
        let counts = format!("SELECT v, count(*)::text FROM t WHERE k < {KEYS} GROUP BY v");
        let expected = [[expected.to_owned(), KEYS.to_string()]];
        assert_eq!(database.rows(&counts).await, expected, "{policy}");
    }
}
