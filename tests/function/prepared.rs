//! A statement is prepared if that lasts, so that Postgres plans it once, and no promise changes. `pooler` shows that
//! poolers see no prepared statements.

use std::time::Duration;

use serde_json::Value;
use tokio::join;

use crate::child_tables::{ORDERS, ignoring, invoke, order, with_orders};
use testkit::batch::{Batch, login};
use testkit::protocol::{messages, named_text};
use testkit::proxy::Proxy;
use testkit::{Database, Setup, assert_contains, server_address};

/// So many that each statement was prepared long before the last.
const BATCHES: usize = 12;

/// The first batch prepares nothing; the second finds out whether a prepared statement would last.
const BEFORE_NAMING: usize = 2;

fn batch(number: usize) -> Value {
    Batch::new().body(&number.to_string(), login()).event()
}

#[tokio::test]
async fn postgres_plans_the_statement_of_a_batch_once_per_connection() {
    let database = Database::with_user_logins().await;
    let proxy = Proxy::before(server_address()).await;
    let url = database.url_through(proxy.address);
    let mut function = Setup::on(&database).set("DATABASE_URL", &url).start().await;
    for connection in 0..2 {
        for number in 0..BATCHES {
            let batch = batch(BATCHES * connection + number);
            function.invoke(&batch).await.assert_none_failed();
        }
        let sent = &proxy.sent()[connection];
        let messages = messages(sent);
        let executed = messages.iter().filter(|(kind, _)| *kind == 'E').count();
        let named: Vec<_> = messages.into_iter().filter_map(named_text).collect();
        assert!(executed >= BATCHES, "{executed}");
        assert_eq!(named.len(), 1, "{named:?}");
        assert!(named[0].starts_with("INSERT INTO"), "{named:?}");
        proxy.cut();
    }
    assert_eq!(database.count("user_logins").await as usize, 2 * BATCHES);
}

/// Rows that may be replaced are looked up, and Postgres plans how by the present size of the tables.
#[tokio::test]
async fn the_statement_for_several_tables_is_planned_once_unless_it_looks_rows_up() {
    for (mapping, expected) in [(ignoring(ORDERS), 1), (ORDERS.to_owned(), 0)] {
        let database = with_orders().await;
        let proxy = Proxy::before(server_address()).await;
        let url = database.url_through(proxy.address);
        let setup = Setup::on(&database).set("DATABASE_URL", &url);
        let mut function = setup.mapping(&mapping).start().await;
        for number in 0..BATCHES as i64 {
            let order = order(number, 1, &[("x", &[5])]);
            let batch = Batch::new().body(&number.to_string(), order);
            assert_eq!(invoke(&mut function, batch).await, [] as [&str; 0]);
        }
        let sent = &proxy.sent()[0];
        let named: Vec<_> = messages(sent).into_iter().filter_map(named_text).collect();
        assert_eq!(named.len(), expected, "{named:?}");
        assert_eq!(database.count("discounts").await as usize, BATCHES);
    }
}

/// The statement is prepared after the rows are sent, and waits for any session in between.
#[tokio::test]
async fn a_stored_batch_is_acknowledged_although_preparing_its_statement_has_to_wait() {
    let database = Database::with_user_logins().await;
    let mut function = Setup::on(&database).start().await;
    for number in 0..BEFORE_NAMING {
        function.invoke(&batch(number)).await.assert_none_failed();
    }
    let lock = database.lock("user_logins").await;
    let named = batch(BEFORE_NAMING);
    let (answer, lock) = join!(
        function.invoke_within(&named, Duration::from_secs(20)),
        async {
            database.wait_for_waiting("user_logins", 1).await;
            let (next, ()) = join!(database.lock("user_logins"), async {
                database.wait_for_waiting("user_logins", 2).await;
                drop(lock);
            });
            next
        }
    );
    answer.assert_none_failed();
    drop(lock);
    assert_eq!(
        database.count("user_logins").await as usize,
        BEFORE_NAMING + 1
    );
    let next = batch(BEFORE_NAMING + 1);
    function.invoke(&next).await.assert_none_failed();
}

/// Whatever deallocates the statement, here a trigger.
#[tokio::test]
async fn a_prepared_statement_that_was_removed_costs_no_message() {
    let database = Database::with_user_logins().await;
    database
        .execute(
            "CREATE FUNCTION forget() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                 EXECUTE 'DEALLOCATE ALL'; RETURN NULL; END $$; \
             CREATE TRIGGER forget AFTER INSERT ON user_logins FOR EACH STATEMENT EXECUTE FUNCTION forget()",
        )
        .await;
    let mut function = Setup::on(&database).start().await;
    for number in 0..BATCHES {
        function.invoke(&batch(number)).await.assert_none_failed();
    }
    assert_eq!(database.count("user_logins").await as usize, BATCHES);
    let log = function.end().await;
    assert_contains(&log, "26000");
    assert_contains(&log, "retrying");
}
