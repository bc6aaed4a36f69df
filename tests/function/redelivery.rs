//! A message that SQS delivers twice is stored once, whoever receives it, and when.

use serde_json::json;
use tokio::join;

use testkit::batch::Batch;
use testkit::proxy::Proxy;
use testkit::{Database, Mapping, Setup, eventually, server_address};

const MODES: [&str; 2] = ["ignore", "update"];

async fn with_table() -> Database {
    let database = Database::new().await;
    database
        .execute("CREATE TABLE t (k text PRIMARY KEY, v integer)")
        .await;
    database
}

#[tokio::test]
async fn two_functions_with_the_same_messages_store_each_once_and_never_deadlock() {
    const ROUNDS: usize = 15;
    const MESSAGES: usize = 500;
    for on_conflict in MODES {
        let database = with_table().await;
        let setup =
            || Setup::on(&database).mapping(&Mapping::key_and_value(&database, on_conflict));
        let (mut one, mut other) = join!(setup().start(), setup().start());
        for round in 0..ROUNDS {
            let mut order: Vec<usize> = (0..MESSAGES).collect();
            let mut batch = || {
                let batch = order.iter().fold(Batch::new(), |batch, number| {
                    let body = json!({"k": format!("{round} {number}"), "v": number});
                    batch.body(&number.to_string(), body)
                });
                order.reverse();
                batch.event()
            };
            let (forwards, backwards) = (batch(), batch());
            // Both wait for the table, so that they begin at the same moment.
            let lock = database.lock("t").await;
            let (first, second, ()) =
                join!(one.invoke(&forwards), other.invoke(&backwards), async {
                    database.wait_for_waiting("t", 2).await;
                    drop(lock);
                });
            first.assert_none_failed();
            second.assert_none_failed();
        }
        assert_eq!(database.count("t").await, (ROUNDS * MESSAGES) as i64);
        assert_eq!(database.count("t WHERE k NOT LIKE '% ' || v").await, 0);
        for function in [one, other] {
            let log = function.end().await;
            assert!(!log.contains("40P01"), "{on_conflict}: {log}");
        }
    }
}

#[tokio::test]
async fn a_deadlock_with_another_session_is_retried() {
    let database = with_table().await;
    let mapping = Mapping::key_and_value(&database, "ignore");
    // The session that detects the deadlock is aborted: the function, which started to wait first.
    let patient = "%20-c%20deadlock_timeout%3D6s";
    let url = database.url_through(server_address()) + patient;
    database.execute("SET deadlock_timeout = '60s'").await;
    let function = Setup::on(&database).set("DATABASE_URL", &url);
    let mut function = function.mapping(&mapping).start().await;
    let batch = ["1", "2"].iter().fold(Batch::new(), |batch, key| {
        batch.body(key, json!({"k": key, "v": 1}))
    });
    database
        .execute("BEGIN; INSERT INTO t VALUES ('2', 2)")
        .await;
    let watcher = Database::new().await;
    let waits = format!(
        "pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%\"{}\"%'",
        database.schema
    );
    let event = batch.event();
    let (answer, ()) = join!(function.invoke(&event), async {
        // The function has the one row and waits for the other.
        eventually("it waits", async || {
            (watcher.count(&waits).await == 1).then_some(())
        })
        .await;
        database
            .execute("INSERT INTO t VALUES ('1', 2); COMMIT")
            .await;
    });
    answer.assert_none_failed();
    assert_eq!(database.count("t WHERE v = 2").await, 2);
    assert!(function.end().await.contains("40P01"));
}

#[tokio::test]
async fn a_batch_whose_answer_was_lost_after_its_commit_is_stored_once_by_the_same_invocation() {
    for on_conflict in MODES {
        let database = with_table().await;
        let proxy = Proxy::before(server_address()).await;
        let mut function = Setup::on(&database)
            .set("DATABASE_URL", &database.url_through(proxy.address))
            .mapping(&Mapping::key_and_value(&database, on_conflict))
            .start()
            .await;
        let batch = |name: &str| Batch::new().body(name, json!({"k": name, "v": 1})).event();
        function.invoke(&batch("before")).await;
        // The version of a row shows whether the lost statement was committed.
        database
            .execute("CREATE TABLE attempts (k text); CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN INSERT INTO attempts VALUES (NEW.k); RETURN NEW; END $$;
                CREATE TRIGGER note AFTER INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION note()")
            .await;
        proxy.lose_next_answer();
        let answer = function.invoke(&batch("lost")).await;
        answer.assert_none_failed();
        assert_eq!(database.count("t WHERE k = 'lost' AND v = 1").await, 1);
        let committed = if on_conflict == "update" { 2 } else { 1 };
        assert_eq!(
            database.count("attempts WHERE k = 'lost'").await,
            committed,
            "{on_conflict}"
        );
        assert!(proxy.opened() > 1);
        let summary = &function.lines_of("batch", 2).await[1];
        assert_eq!(
            (&summary["received"], &summary["retries"]),
            (&json!(1), &json!(1))
        );
    }
}

/// The rows of a statement that was cancelled while it waited for a synchronous standby are in the table, but perhaps
/// not on the standby. A commit waits for it, and without a change there is none.
#[tokio::test]
async fn messages_whose_rows_are_all_stored_are_acknowledged_only_once_standbys_were_asked_for_them()
 {
    let database = with_table().await;
    let proxy = Proxy::before(server_address()).await;
    let setup = Setup::on(&database).set("DATABASE_URL", &database.url_through(proxy.address));
    let mapping = Mapping::key_and_value(&database, "ignore");
    let mut function = setup.mapping(&mapping).start().await;
    // Of these only the third has nothing to commit.
    let batches = [("a", 0), ("b", 0), ("ab", 1), ("abc", 1)];
    for (keys, expected) in batches {
        let batch = keys.chars().fold(Batch::new(), |batch, key| {
            batch.body(&key.to_string(), json!({"k": key, "v": 1}))
        });
        function.invoke(&batch.event()).await.assert_none_failed();
        let sent = proxy.sent().concat();
        let asked = String::from_utf8_lossy(&sent)
            .matches("pg_logical_emit_message(true")
            .count();
        assert_eq!(asked, expected, "{keys}");
    }
}
