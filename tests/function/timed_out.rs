//! A row that waits for a lock, takes too long or breaks the connection does not affect the others.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;

use crate::child_tables::{ORDERS, order, with_orders};
use testkit::batch::{Batch, id, ids, login_with};
use testkit::sqs_double::SqsDouble;
use testkit::yardstick::Yardstick;
use testkit::{Database, Function, Mapping, Setup};

const ROWS: usize = 64;

fn numbered(slow: &[usize]) -> Batch {
    (0..ROWS).fold(Batch::new(), |batch, number| {
        let locale = if slow.contains(&number) { "DE" } else { "RU" };
        batch.body(&number.to_string(), login_with("locale", json!(locale)))
    })
}

fn names(numbers: &[usize]) -> Vec<String> {
    let names: Vec<_> = numbers.iter().map(ToString::to_string).collect();
    ids(&names.iter().map(String::as_str).collect::<Vec<_>>())
}

/// A database whose trigger runs this for rows of the locale `DE`.
async fn with_trigger(statement: &str) -> Database {
    let database = Database::with_user_logins().await;
    database
        .execute(&format!(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                 IF NEW.locale = 'DE' THEN {statement}; END IF; RETURN NEW; END $$; \
             CREATE TRIGGER slow BEFORE INSERT ON user_logins FOR EACH ROW EXECUTE FUNCTION slow()"
        ))
        .await;
    database
}

async fn started_with(database: &Database, option: &str) -> Function {
    let url = format!("{}%20-c%20{option}", database.url());
    Setup::on(database).set("DATABASE_URL", &url).start().await
}

/// Each of the messages failed because it could not be stored in time.
async fn assert_out_of_time(function: &Function, count: usize) {
    let failed = function.lines_of("message failed", count).await;
    let rules: Vec<_> = failed.iter().map(|line| line["rule"].clone()).collect();
    assert_eq!(rules, vec![json!("out_of_time"); count]);
}

#[tokio::test]
async fn a_batch_that_takes_longer_than_statement_timeout_is_stored_in_parts() {
    let database = with_trigger("PERFORM pg_sleep(0.05)").await;
    let all: Vec<usize> = (0..ROWS).collect();
    let mut function = started_with(&database, "statement_timeout%3D1500").await;
    let answer = function.invoke(&numbered(&all).event()).await;
    assert_eq!(answer.failed_ids(), names(&[]));
    assert_eq!(database.count("user_logins").await, ROWS as i64);
}

#[tokio::test]
async fn a_row_that_takes_longer_than_statement_timeout_does_not_affect_the_others() {
    let database = with_trigger("PERFORM pg_sleep(60)").await;
    let mut function = started_with(&database, "statement_timeout%3D1500").await;
    let answer = function.invoke(&numbered(&[7]).event()).await;
    assert_eq!(answer.failed_ids(), names(&[7]));
    assert_eq!(database.count("user_logins").await, ROWS as i64 - 1);
    assert_out_of_time(&function, 1).await;
}

/// It may be an outage, but what is wrong with the message itself no wait changes.
#[tokio::test]
async fn a_message_that_is_out_of_time_is_backed_off_and_one_that_is_rejected_is_not() {
    let database = with_trigger("PERFORM pg_sleep(60)").await;
    let refuse = "ALTER TABLE user_logins ADD CHECK (user_id <> 'refused')";
    database.execute(refuse).await;
    let sqs = SqsDouble::of(Vec::new());
    let url = format!("{}%20-c%20statement_timeout%3D1500", database.url());
    let setup = Setup::on(&database).set("DATABASE_URL", &url).on_aws();
    let setup = setup.set("AWS_ENDPOINT_URL", &sqs.endpoint);
    let mut function = setup.start().await;
    let mut refused = login_with("locale", json!("RU"));
    refused["user_id"] = json!("refused");
    let messages = [
        ("good", login_with("locale", json!("RU"))),
        ("slow", login_with("locale", json!("DE"))),
        ("refused", refused),
        ("bad", json!({})),
    ];
    let batch = messages.iter().fold(Batch::new(), |batch, (name, body)| {
        let body = body.to_string();
        batch.record(json!({"messageId": id(name), "receiptHandle": name, "body": body}))
    });
    let answer = function.invoke(&batch.delivered(2).event()).await;
    assert_eq!(answer.failed_ids(), ids(&["slow", "refused", "bad"]));
    let backed_off = sqs.state().backed_off.clone();
    // At the second delivery twice the base, and up to half of that more.
    assert!(
        matches!(&*backed_off, [(message, 120..=180)] if message == "slow"),
        "{backed_off:?}"
    );
}

async fn a_locked_row_does_not_affect_the_others(option: &str) {
    let mapping = Mapping::shipped().set("on_conflict", "update");
    let database = Database::with_user_logins().await;
    let url = format!("{}%20-c%20{option}", database.url());
    let setup = Setup::on(&database)
        .set("DATABASE_URL", &url)
        .mapping(&mapping);
    let mut function = setup.start().await;
    let batch = numbered(&[]).event();
    assert_eq!(function.invoke(&batch).await.failed_ids(), names(&[]));
    let locked = names(&[7]);
    let lock = database
        .lock_rows("user_logins", &format!("message_id = '{}'", locked[0]))
        .await;
    // Also a busy machine connects seven times in what is left of it.
    let time = Duration::from_secs(60);
    let answer = function.invoke_within(&batch, time).await;
    assert_eq!(answer.failed_ids(), locked);
    assert_out_of_time(&function, 1).await;
    drop(lock);
}

#[tokio::test]
async fn a_row_that_somebody_has_locked_does_not_affect_the_others() {
    a_locked_row_does_not_affect_the_others("lock_timeout%3D1000").await;
}

/// Tests that measure how long the function waits.
mod quiet {
    use super::*;
    use crate::child_tables::started;

    // The row is waited for until the time is nearly over: the rest must be enough for all others.
    #[tokio::test]
    async fn a_row_that_is_locked_without_a_timeout_does_not_affect_the_others() {
        a_locked_row_does_not_affect_the_others("lock_timeout%3D0").await;
    }

    /// Those of the profile `low-latency`.
    const MESSAGES: usize = 10;
    const TIME: Duration = Duration::from_secs(15);

    fn orders(version: i64) -> Batch {
        (0..MESSAGES).fold(Batch::new(), |batch, number| {
            let order = order(number as i64, version, &[("x", &[5]), ("y", &[])]);
            batch.body(&number.to_string(), order)
        })
    }

    /// Replaces the rows of all orders while one of them is locked, and returns the messages that failed.
    async fn replace_while_one_is_locked(mapping: &str, locked: usize) -> Vec<String> {
        let database = with_orders().await;
        let mut function = started(&database, mapping).await;
        let answer = function.invoke(&orders(1).event()).await;
        answer.assert_none_failed();
        let lock = database
            .lock_rows("orders", &format!("order_id = {locked}"))
            .await;
        let answer = function.invoke_within(&orders(2).event(), TIME).await;
        drop(lock);
        let failed = answer.failed_ids();
        let replaced = "orders WHERE version = 2";
        let stored = usize::try_from(database.count(replaced).await).unwrap();
        assert!(stored + failed.len() >= MESSAGES, "{stored}, {failed:?}");
        failed
    }

    /// From a busy machine only a trial counts in which it withheld little time.
    async fn costs_only_its_message(yardstick: &Yardstick, mapping: &str, locked: usize) {
        const TRIALS: usize = 5;
        const LITTLE: Duration = Duration::from_millis(500);
        for trial in 1..=TRIALS {
            let began = Instant::now();
            let failed = replace_while_one_is_locked(mapping, locked).await;
            if failed == names(&[locked]) {
                return;
            }
            let withheld = yardstick.withheld_since(began);
            assert!(
                trial < TRIALS && withheld > LITTLE,
                "{locked} is locked, {withheld:?} withheld: {failed:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_locked_row_costs_only_its_message_wherever_in_the_batch_it_is() {
        let children = ORDERS.find("\n[[table]]\nname = \"order_lines\"").unwrap();
        let (one_table, _) = ORDERS.split_at(children);
        let yardstick = Yardstick::start();
        for mapping in [one_table, ORDERS] {
            for half in [0..MESSAGES / 2, MESSAGES / 2..MESSAGES] {
                let of_each = |locked| costs_only_its_message(&yardstick, mapping, locked);
                join_all(half.map(of_each)).await;
            }
        }
    }

    #[tokio::test]
    async fn of_a_fifo_group_only_what_comes_before_a_locked_row_is_stored() {
        const LOCKED: usize = 4;
        let grouped = |version| {
            (0..MESSAGES).fold(Batch::fifo(), |batch, number| {
                let order = order(number as i64, version, &[]);
                let group = if number % 2 == 0 { "even" } else { "odd" };
                batch.grouped(group, &number.to_string(), order)
            })
        };
        let database = with_orders().await;
        let mut function = started(&database, ORDERS).await;
        let answer = function.invoke(&grouped(1).event()).await;
        answer.assert_none_failed();
        let lock = database
            .lock_rows("orders", &format!("order_id = {LOCKED}"))
            .await;
        let time = Duration::from_secs(60);
        let answer = function.invoke_within(&grouped(2).event(), time).await;
        assert_eq!(answer.failed_ids(), names(&[4, 6, 8]));
        drop(lock);
        let replaced = "SELECT order_id::text FROM orders WHERE version = 2 ORDER BY order_id";
        let replaced = database.rows(replaced).await.concat();
        assert_eq!(replaced, ["0", "1", "2", "3", "5", "7", "9"]);
    }
}

/// As far as the function can tell: a real crash would end the sessions of all other tests.
#[tokio::test]
async fn a_row_that_crashes_its_backend_does_not_affect_the_others() {
    let database = with_trigger("RAISE EXCEPTION 'crash' USING ERRCODE = '57P02'").await;
    let mut function = Setup::on(&database).start().await;
    let answer = function
        .invoke_within(&numbered(&[7]).event(), Duration::from_secs(60))
        .await;
    assert_eq!(answer.failed_ids(), names(&[7]));
    assert_eq!(database.count("user_logins").await, ROWS as i64 - 1);
    assert_out_of_time(&function, 1).await;
}

#[tokio::test]
async fn a_row_that_is_out_of_time_holds_back_its_fifo_group() {
    let database = with_trigger("PERFORM pg_sleep(60)").await;
    let mut function = started_with(&database, "statement_timeout%3D1500").await;
    let quick = || login_with("locale", json!("RU"));
    let slow = login_with("locale", json!("DE"));
    let batch = Batch::fifo()
        .grouped("anna", "a1", quick())
        .grouped("anna", "a2", slow)
        .grouped("ben", "b1", quick())
        .grouped("anna", "a3", quick());
    let answer = function.invoke(&batch.event()).await;
    assert_eq!(answer.failed_ids(), ids(&["a2", "a3"]));
    assert_eq!(database.count("user_logins").await, 2);
}
