//! How `forget` ends if it is interrupted, or loses its connection, while Postgres commits: its receipt says what is
//! deleted, what remains, and what is unknown.

use serde_json::{Value, json};

use crate::forget::{ADA, Stand, silent};
use crate::tool::{Ended, Running};
use testkit::proxy::Proxy;
use testkit::{assert_contains, eventually, server_address};

/// A `COMMIT` that waits, in a deferred trigger, for a lock that the test has.
struct SlowCommit {
    stand: Stand,
    key: u32,
}

impl SlowCommit {
    async fn new() -> Self {
        let (stand, key) = (Stand::new().await, fastrand::u32(..));
        let trigger = format!(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 PERFORM pg_advisory_xact_lock({key}); RETURN NULL; END $$;
             CREATE CONSTRAINT TRIGGER slow AFTER DELETE ON visits DEFERRABLE INITIALLY DEFERRED
                 FOR EACH ROW EXECUTE FUNCTION slow(); SELECT pg_advisory_lock({key})"
        );
        stand.database.execute(&trigger).await;
        Self { stand, key }
    }

    /// Starts to delete the person, up to the `COMMIT`.
    async fn start(&self, url: &str) -> Running {
        let tool = self.stand.tool_at(url).input(ADA);
        let running = tool.start(&self.stand.command("--yes --json"));
        let waiting = format!(
            "pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid = {}",
            self.key
        );
        eventually("it waits in its COMMIT", async || {
            (self.stand.database.count(&waiting).await == 1).then_some(())
        })
        .await;
        running
    }

    async fn go_on(&self) {
        let unlock = format!("SELECT pg_advisory_unlock({})", self.key);
        self.stand.database.execute(&unlock).await;
    }

    /// The rows that remain when no transaction is in progress.
    async fn counts(&self) -> [i64; 4] {
        let others = "pg_locks WHERE relation = 'visits'::regclass AND pid <> pg_backend_pid()";
        eventually("no transaction is left", async || {
            (self.stand.database.count(others).await == 0).then_some(())
        })
        .await;
        self.stand.counts().await
    }
}

const BEFORE: [i64; 4] = [4, 8, 8, 4];
const AFTER: [i64; 4] = [2, 2, 4, 2];

fn deleted(ended: &Ended) -> Vec<Value> {
    let tables = ended.json()[0]["tables"].as_array().unwrap().clone();
    tables
        .iter()
        .map(|table| table["deleted"].clone())
        .collect()
}

#[tokio::test]
async fn an_interrupt_while_postgres_commits_leaves_all_rows_and_the_receipt_says_so() {
    let slow = SlowCommit::new().await;
    let running = slow.start(&slow.stand.database.url()).await;
    running.signal("INT");
    let ended = silent(running.end().await);
    slow.go_on().await;
    assert_eq!(slow.counts().await, BEFORE, "{}{}", ended.out, ended.err);
    assert_eq!((ended.code, deleted(&ended)), (1, vec![json!(0); 4]));
    let left = ended.json()[0]["left"].to_string();
    assert_contains(&left, "14 rows (interrupted: run it again)");
}

#[tokio::test]
async fn if_the_answer_to_a_commit_is_lost_the_receipt_says_what_was_deleted() {
    let slow = SlowCommit::new().await;
    let proxy = Proxy::before(server_address()).await;
    let running = slow
        .start(&slow.stand.database.url_through(proxy.address))
        .await;
    proxy.lose_next_answer();
    slow.go_on().await;
    let ended = silent(running.end().await);
    assert_eq!(slow.counts().await, AFTER, "{}{}", ended.out, ended.err);
    let [orders, lines, notes, visits] = [2, 6, 4, 2].map(|count| json!(count));
    assert_eq!(deleted(&ended), [orders, lines, notes, visits]);
    assert_eq!((ended.code, &ended.json()[0]["left"]), (0, &json!([])));
}

#[tokio::test]
async fn a_connection_that_is_cut_while_postgres_commits_leaves_all_rows_and_the_receipt_says_so() {
    let slow = SlowCommit::new().await;
    let proxy = Proxy::before(server_address()).await;
    let running = slow
        .start(&slow.stand.database.url_through(proxy.address))
        .await;
    // Postgres does not notice, and would commit later.
    proxy.cut();
    let ended = silent(running.end().await);
    slow.go_on().await;
    assert_eq!(slow.counts().await, BEFORE, "{}{}", ended.out, ended.err);
    assert_eq!((ended.code, deleted(&ended)), (1, vec![json!(0); 4]));
}

#[tokio::test]
async fn if_postgres_cannot_be_asked_after_a_commit_the_receipt_says_that_it_is_unknown() {
    let slow = SlowCommit::new().await;
    let proxy = Proxy::before(server_address()).await;
    let running = slow
        .start(&slow.stand.database.url_through(proxy.address))
        .await;
    proxy.refuse(true);
    proxy.cut();
    eventually("it connects again", async || {
        (proxy.refused() > 0).then_some(())
    })
    .await;
    running.signal("TERM");
    let ended = silent(running.end().await);
    slow.go_on().await;
    assert_eq!(slow.counts().await, AFTER);
    assert_eq!((ended.code, deleted(&ended)), (1, vec![Value::Null; 4]));
    let left = ended.json()[0]["left"].to_string();
    assert_contains(&left, "14 rows (possibly deleted");
}
