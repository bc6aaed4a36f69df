//! Several tables under faults: whatever breaks, a message has all of its rows, or none.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::child_tables::{ORDERS, ignoring, invoke, order, started, stored, with_orders};
use testkit::aws::{Queue, attribute};
use testkit::batch::{Batch, id, ids};
use testkit::proxy::Proxy;
use testkit::yardstick::Yardstick;
use testkit::{Database, Setup, assert_contains, eventually, server_address};

/// The first message of an order counts, the last, or the newest.
fn policies() -> [String; 3] {
    let last = ORDERS.replace("newer = \"version\"\n", "");
    [ignoring(ORDERS), last, ORDERS.to_owned()]
}

const ROWS: [&str; 5] = ["1 v1", "1.0 x", "1.0.0 5%", "1.0.1 6%", "1.1 y"];

fn one_order() -> Batch {
    Batch::new().body("a", order(1, 1, &[("x", &[5, 6]), ("y", &[])]))
}

#[tokio::test]
async fn orders_whose_answer_was_lost_after_the_commit_are_stored_once_by_the_same_invocation() {
    for mapping in policies() {
        let database = with_orders().await;
        let proxy = Proxy::before(server_address()).await;
        let url = database.url_through(proxy.address);
        let setup = Setup::on(&database).set("DATABASE_URL", &url);
        let mut function = setup.mapping(&mapping).start().await;
        let before = Batch::new().body("before", order(0, 1, &[]));
        assert_eq!(invoke(&mut function, before).await, ids(&[]));
        proxy.lose_next_answer();
        assert_eq!(invoke(&mut function, one_order()).await, ids(&[]));
        assert_eq!(stored(&database).await, [&["0 v1"], &ROWS[..]].concat());
        assert!(proxy.opened() > 1);
        let summary = function.lines_of("batch", 2).await.pop().unwrap();
        assert_eq!(summary["retries"], 1);
    }
}

/// The answer to the statement itself says nothing yet.
#[tokio::test]
async fn orders_whose_commit_was_not_confirmed_are_stored_again_by_the_same_invocation() {
    let database = with_orders().await;
    let proxy = Proxy::before(server_address()).await;
    let url = database.url_through(proxy.address);
    let setup = Setup::on(&database).set("DATABASE_URL", &url);
    let mut function = setup.mapping(ORDERS).start().await;
    let before = Batch::new().body("before", order(0, 1, &[]));
    assert_eq!(invoke(&mut function, before).await, ids(&[]));
    proxy.lose_next_commit();
    assert_eq!(invoke(&mut function, one_order()).await, ids(&[]));
    assert_eq!(stored(&database).await, [&["0 v1"], &ROWS[..]].concat());
    assert_eq!(proxy.opened(), 2);
    let summary = function.lines_of("batch", 2).await.pop().unwrap();
    assert_eq!(summary["retries"], 1);
}

#[tokio::test]
async fn orders_of_a_function_that_is_killed_after_the_commit_are_stored_once_by_another_one() {
    for mapping in policies() {
        let database = with_orders().await;
        let function = started(&database, &mapping).await;
        function.send(&one_order().event(), Duration::from_secs(60));
        eventually("it commits", async || {
            (database.count("orders").await == 1).then_some(())
        })
        .await;
        assert_eq!(stored(&database).await, ROWS);
        function.end().await;
        let mut other = started(&database, &mapping).await;
        assert_eq!(invoke(&mut other, one_order().delivered(2)).await, ids(&[]));
        assert_eq!(stored(&database).await, ROWS);
    }
}

/// Orders with a discount each; only this one does not fit.
fn numbered(bad: i64) -> Batch {
    (0..8).fold(Batch::new(), |batch, number| {
        let percent = if number == bad { 99 } else { 5 };
        let lines: [(&str, &[i64]); 2] = [("x", &[]), ("y", &[1, percent])];
        batch.body(&number.to_string(), order(number, 1, &lines))
    })
}

/// Nothing of this order is stored, and everything of the others.
async fn assert_stored_but(database: &Database, order: i64) {
    let none = format!("SELECT FROM orders WHERE order_id = {order}");
    assert_eq!(database.rows(&none).await.len(), 0);
    let counts = ["orders", "order_lines", "discounts"].map(|table| database.count(table));
    let [orders, lines, discounts] = counts;
    assert_eq!(
        (orders.await, lines.await, discounts.await),
        (7, 2 * 7, 2 * 7)
    );
}

#[tokio::test]
async fn a_row_of_a_child_table_that_takes_too_long_fails_its_message_and_no_other() {
    let database = with_orders().await;
    database
        .execute(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN IF NEW.percent = 99 THEN PERFORM pg_sleep(60); END IF; RETURN NEW; END $$;
             CREATE TRIGGER slow BEFORE INSERT ON discounts FOR EACH ROW EXECUTE FUNCTION slow()",
        )
        .await;
    let url = format!("{}%20-c%20statement_timeout%3D1500", database.url());
    let setup = Setup::on(&database).set("DATABASE_URL", &url);
    let mut function = setup.mapping(ORDERS).start().await;
    assert_eq!(invoke(&mut function, numbered(3)).await, [id("3")]);
    assert_stored_but(&database, 3).await;
    let line = function.lines_of("message failed", 1).await.pop().unwrap();
    assert_eq!(line["rule"], "out_of_time");
}

#[tokio::test]
async fn a_line_that_somebody_has_locked_fails_its_message_and_no_other() {
    let database = with_orders().await;
    let url = format!("{}%20-c%20lock_timeout%3D1000", database.url());
    let setup = Setup::on(&database).set("DATABASE_URL", &url);
    let mut function = setup.mapping(ORDERS).start().await;
    assert_eq!(invoke(&mut function, numbered(-1)).await, ids(&[]));
    let lock = database
        .lock_rows("order_lines", "order_id = 3 AND line = 1")
        .await;
    assert_eq!(invoke(&mut function, numbered(-1)).await, [id("3")]);
    drop(lock);
    assert_eq!(invoke(&mut function, numbered(-1)).await, ids(&[]));
    assert_eq!(database.count("discounts").await, 16);
}

/// Whatever says why a message failed names the table, the column and the element.
#[tokio::test]
async fn a_dead_letter_names_table_column_and_element_or_what_postgres_refused() {
    let (database, dead) = (with_orders().await, Queue::new().await);
    let setup = Setup::on(&database).on_aws().mapping(ORDERS);
    let mut function = setup.set("DEAD_LETTER_QUEUE_URL", &dead.url).start().await;
    let mut bad = order(1, 1, &[("x", &[]), ("y", &[5, 6])]);
    bad["lines"][1]["discounts"][1]["percent"] = json!("many");
    let no_array = json!({"type": "order", "order_id": 2, "lines": [{"sku": "x"}, {"sku": "y", "discounts": {}}]});
    let refused = order(3, 1, &[("x", &[101])]);
    let batch = Batch::new()
        .body("bad", bad)
        .body("noarray", no_array)
        .body("refused", refused)
        .body("good", order(4, 1, &[("x", &[])]));
    assert_eq!(invoke(&mut function, batch.delivered(3)).await, ids(&[]));
    assert_eq!(stored(&database).await, ["4 v1", "4.0 x"]);
    let letters = dead.dead_letters(3).await;
    let said = letters.iter().map(|letter| {
        let rejection = attribute(letter, "rejection").unwrap();
        let rejection: serde_json::Value = serde_json::from_str(&rejection).unwrap();
        ["rule", "table", "column", "path"].map(|name| rejection[name].as_str().map(str::to_owned))
    });
    let mut said: Vec<_> = said.collect();
    said.sort();
    let expected = [
        ["not_an_array", "discounts", "", "lines[1].discounts"],
        ["refused", "discounts", "", ""],
        [
            "type",
            "discounts",
            "percent",
            "lines[1].discounts[1].percent",
        ],
    ];
    let expected =
        expected.map(|names| names.map(|name| (!name.is_empty()).then(|| name.to_owned())));
    assert_eq!(said, expected);
    let lines = function.lines_of("message failed", 3).await;
    let refused = lines.iter().find(|line| line["rule"] == "refused").unwrap();
    let reason = refused["reason"].as_str().unwrap();
    assert_contains(&reason, "table \"discounts\"");
}

/// Tests that measure how long the function waits.
mod quiet {
    use super::*;

    #[tokio::test]
    async fn a_locked_child_table_never_prevents_the_answer_and_leaves_no_session_waiting() {
        for mapping in policies() {
            let database = with_orders().await;
            let mut function = started(&database, &mapping).await;
            function.ready().await;
            let lock = database.lock("order_lines").await;
            let (yardstick, begun) = (Yardstick::start(), Instant::now());
            let time = Duration::from_millis(1_500);
            let answer = function.invoke_within(&one_order().event(), time).await;
            let took = yardstick.own_time_since(begun);
            assert!(took < time, "{took:?} instead of {time:?}");
            assert_eq!(answer.failed_ids(), ids(&["a"]));
            database.wait_for_waiting("order_lines", 0).await;
            drop(lock);
            assert_eq!(stored(&database).await, [""; 0]);
            assert_eq!(invoke(&mut function, one_order()).await, ids(&[]));
            assert_eq!(stored(&database).await, ROWS);
        }
    }
}
