//! `newer`: an older message never replaces a newer one, in whatever order they are stored.

use serde_json::{Value, json};

use testkit::batch::{Batch, id};
use testkit::{Database, Function, Mapping, Setup};

/// Every type that `newer` accepts, with an older and a newer value that would be in the wrong order as text or as
/// bytes.
const TYPES: [(&str, &str, &str); 8] = [
    (
        "timestamptz",
        "\"2026-01-31T10:00:00+02:00\"",
        "\"2026-01-31T09:00:00Z\"",
    ),
    ("date", "\"1999-12-31\"", "\"2000-01-01\""),
    ("smallint", "-1", "1"),
    ("integer", "9", "10"),
    ("bigint", "-9007199254740993", "-9007199254740992"),
    ("real", "-10.5", "-9.5"),
    ("double precision", "9.5", "10.25"),
    (
        "numeric",
        "9.50000000000000000001",
        "9.50000000000000000002",
    ),
];

fn mapping(database: &Database, column_type: &str) -> Mapping {
    let newer = "at \"q\"";
    let mapping = Mapping::of("t")
        .within(database)
        .key("k")
        .set("on_conflict", "update");
    let mapping = mapping
        .set("newer", newer)
        .column("k", "integer")
        .with("required", true);
    let mapping = mapping.column(newer, column_type).with("from", "at");
    mapping.column("v", "text")
}

async fn start(column_type: &str) -> (Database, Function) {
    let database = Database::new().await;
    database
        .execute(&format!(
            "CREATE TABLE t (k integer PRIMARY KEY, \"at \"\"q\"\"\" {column_type}, v text CHECK (v <> 'refused'))"
        ))
        .await;
    let mapping = mapping(&database, column_type);
    let function = Setup::on(&database).mapping(&mapping).start().await;
    (database, function)
}

/// A batch of messages: key, time as JSON, and a name by which the stored one is recognised.
fn batch(messages: &[(i32, &str, &str)]) -> Value {
    let add = |batch: Batch, (k, at, v): &(i32, &str, &str)| {
        batch.text(v, &format!(r#"{{"k": {k}, "at": {at}, "v": "{v}"}}"#))
    };
    messages.iter().fold(Batch::new(), add).event()
}

/// The stored, duplicate and stale messages of a fully acknowledged batch.
async fn counted(function: &mut Function, event: &Value) -> [u64; 3] {
    let batches = function.lines("batch").len();
    let answer = function.invoke(event).await;
    answer.assert_none_failed();
    let lines = function.lines_of("batch", batches + 1).await;
    ["stored", "duplicates", "stale"].map(|name| lines[batches][name].as_u64().unwrap())
}

async fn value(database: &Database, k: i32) -> String {
    let sql = format!("SELECT v FROM t WHERE k = {k}");
    database.rows(&sql).await.concat().concat()
}

#[tokio::test]
async fn an_older_message_that_comes_later_changes_nothing_and_is_acknowledged() {
    for (column_type, older, newer) in TYPES {
        let (database, mut function) = start(column_type).await;
        let paid = batch(&[(1, newer, "paid")]);
        assert_eq!(counted(&mut function, &paid).await, [1, 0, 0]);
        let placed = batch(&[(1, older, "placed")]);
        assert_eq!(
            counted(&mut function, &placed).await,
            [0, 0, 1],
            "{column_type}"
        );
        assert_eq!(value(&database, 1).await, "paid", "{column_type}");
        // If the times are equal, the later message is stored.
        let sent = batch(&[(1, newer, "sent")]);
        assert_eq!(counted(&mut function, &sent).await, [1, 0, 0]);
        assert_eq!(value(&database, 1).await, "sent", "{column_type}");
    }
}

#[tokio::test]
async fn the_newest_message_of_a_key_in_a_batch_is_stored() {
    for (column_type, older, newer) in TYPES {
        let (database, mut function) = start(column_type).await;
        let event = batch(&[
            (1, newer, "paid"),
            (1, older, "placed"),
            (2, older, "open"),
            (2, newer, "shut"),
            (3, newer, "one"),
            (3, newer, "two"),
        ]);
        assert_eq!(
            counted(&mut function, &event).await,
            [3, 1, 2],
            "{column_type}"
        );
        for (k, stored) in [(1, "paid"), (2, "shut"), (3, "two")] {
            assert_eq!(value(&database, k).await, stored, "{column_type} {k}");
        }
    }
}

#[tokio::test]
async fn null_is_older_than_any_value() {
    let (database, mut function) = start("timestamptz").await;
    let time = "\"2026-01-31T10:00:00Z\"";
    let event = batch(&[(1, "null", "a"), (1, "null", "b")]);
    assert_eq!(counted(&mut function, &event).await, [1, 1, 0]);
    assert_eq!(value(&database, 1).await, "b");
    let event = batch(&[(1, "null", "c")]);
    assert_eq!(counted(&mut function, &event).await, [1, 0, 0]);
    let event = batch(&[(1, time, "d"), (1, "null", "e")]);
    assert_eq!(counted(&mut function, &event).await, [1, 0, 1]);
    let event = batch(&[(1, "null", "f")]);
    assert_eq!(counted(&mut function, &event).await, [0, 0, 1]);
    assert_eq!(value(&database, 1).await, "d");
}

#[tokio::test]
async fn if_the_newest_of_a_batch_is_refused_the_one_before_it_is_stored() {
    let (database, mut function) = start("integer").await;
    let event = batch(&[(1, "3", "refused"), (1, "1", "placed"), (1, "2", "paid")]);
    let answer = function.invoke(&event).await;
    assert_eq!(answer.failed_ids(), [id("refused")]);
    assert_eq!(value(&database, 1).await, "paid");
}

/// The limit that GUARANTEES.md names: `check` warns of such a column.
#[tokio::test]
async fn times_that_the_column_rounds_to_the_same_are_equally_new() {
    let (database, mut function) = start("timestamptz").await;
    let rounds = "ALTER TABLE t ALTER \"at \"\"q\"\"\" TYPE timestamptz(0)";
    database.execute(rounds).await;
    for (fraction, stored) in [(".4", "later"), (".2", "earlier")] {
        let at = format!("\"2026-01-01T00:00:00{fraction}Z\"");
        let batch = batch(&[(1, &at, stored)]);
        assert_eq!(counted(&mut function, &batch).await, [1, 0, 0]);
        assert_eq!(value(&database, 1).await, stored);
    }
}

#[tokio::test]
async fn stale_messages_are_counted_by_a_metric() {
    let (_database, mut function) = start("integer").await;
    function.invoke(&batch(&[(1, "2", "paid")])).await;
    function.invoke(&batch(&[(1, "1", "placed")])).await;
    function.lines_of("batch", 2).await;
    let written: Vec<u64> = function
        .log()
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|line| line["RowsStale"].as_f64().map(|count| count as u64))
        .collect();
    assert_eq!(written, [0, 1]);
}

#[tokio::test]
async fn large_batches_keep_the_newest() {
    const MANY: usize = 1_000;
    let (database, mut function) = start("numeric").await;
    let many = |batch: Batch, first: usize| {
        (first..first + MANY).fold(batch, |batch, number| {
            let body = json!({"k": number, "at": 10, "v": "paid"});
            batch.body(&number.to_string(), body)
        })
    };
    let older =
        |batch: Batch, k: usize| batch.body("older", json!({"k": k, "at": 9.5, "v": "placed"}));
    // The older one is in the batch …
    let event = older(many(Batch::new(), 0), 7).event();
    let all = MANY as u64;
    assert_eq!(counted(&mut function, &event).await, [all, 0, 1]);
    // … and its row is in the table.
    let event = many(older(Batch::new(), 7), MANY).event();
    assert_eq!(counted(&mut function, &event).await, [all, 0, 1]);
    assert_eq!(database.count("t WHERE v = 'paid'").await, 2 * MANY as i64);
    assert_eq!(database.count("t").await, 2 * MANY as i64);
}
