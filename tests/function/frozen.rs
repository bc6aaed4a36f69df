//! A connection that died unnoticed is replaced within the invocation that finds it dead, and an environment that
//! Lambda froze at any moment continues.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::join;

use testkit::aws::{Queue, endpoint_address};
use testkit::batch::{Batch, id, login, login_with};
use testkit::metrics::counted;
use testkit::proxy::Proxy;
use testkit::secrets_manager::{Mood, SecretsManager};
use testkit::{Database, Function, Setup, eventually, server_address};

/// After this much idle time the function tests a connection before a batch uses it.
const TRUSTED_IDLE: Duration = Duration::from_secs(10);

fn event(name: &str) -> Value {
    Batch::new().body(name, login()).event()
}

/// A function that has stored one message through a proxy.
async fn start() -> (Database, Proxy, Function) {
    let database = Database::with_user_logins().await;
    let proxy = Proxy::before(server_address()).await;
    let url = database.url_through(proxy.address);
    let mut function = Setup::on(&database).set("DATABASE_URL", &url).start().await;
    function.invoke(&event("first")).await.assert_none_failed();
    (database, proxy, function)
}

#[tokio::test]
async fn a_connection_that_the_server_ended_between_two_batches_is_replaced() {
    let (database, proxy, mut function) = start().await;
    let mine = format!("pg_stat_activity WHERE {}", proxy.backends());
    let ended = database
        .rows(&format!(
            "SELECT pg_terminate_backend(pid)::text FROM {mine}"
        ))
        .await;
    assert_eq!(ended, [["true"]]);
    eventually("the server has ended it", async || {
        (database.count(&mine).await == 0).then_some(())
    })
    .await;
    function.invoke(&event("later")).await.assert_none_failed();
    assert_eq!(database.count("user_logins").await, 2);
    assert!(proxy.opened() > 1);
}

#[tokio::test]
async fn a_connection_that_is_cut_in_a_statement_is_replaced() {
    let (database, proxy, mut function) = start().await;
    let lock = database.lock("user_logins").await;
    let later = event("later");
    let (answer, ()) = join!(function.invoke(&later), async {
        database.wait_for_waiting("user_logins", 1).await;
        proxy.cut();
        // The cut statement and the one that replaces it.
        database.wait_for_waiting("user_logins", 2).await;
        drop(lock);
    });
    answer.assert_none_failed();
    assert_eq!(database.count("user_logins").await, 2);
}

#[tokio::test]
async fn a_peer_that_fell_silent_while_the_function_was_idle_is_replaced() {
    let (database, proxy, mut function) = start().await;
    proxy.freeze();
    // This waits for time itself to pass.
    tokio::time::sleep(TRUSTED_IDLE).await;
    let answer = function.invoke(&event("later")).await;
    answer.assert_none_failed();
    // On the dead connection, the batch would have waited for the kernel to end it.
    let summary = &function.lines_of("batch", 2).await[1];
    assert_eq!(summary["retries"], 0, "{summary}");
    assert_eq!(database.count("user_logins").await, 2);
    assert!(proxy.opened() > 1);
}

/// The proxy stops reading, so that the kernel's user timeout ends the connection.
#[tokio::test]
async fn a_peer_that_stops_reading_is_replaced() {
    let (database, proxy, mut function) = start().await;
    proxy.freeze();
    let locale = "x".repeat(32);
    let batch = (0..2_000).fold(Batch::new(), |batch, number| {
        batch.body(&number.to_string(), login_with("locale", json!(locale)))
    });
    let answer = function.invoke(&batch.event()).await;
    answer.assert_none_failed();
    assert_eq!(database.count("user_logins").await, 2_001);
    assert!(proxy.opened() > 1);
}

/// As in a failover, when the old primary's machine still runs, but not its Postgres.
#[tokio::test]
async fn a_server_that_stalls_the_handshake_is_abandoned_for_one_that_answers() {
    let (database, proxy, mut function) = start().await;
    proxy.cut();
    proxy.freeze_next();
    let answer = function.invoke(&event("later")).await;
    answer.assert_none_failed();
    assert_eq!(database.count("user_logins").await, 2);
    assert!(proxy.opened() > 2);
}

/// A peer that never answers a statement is no different from a locked table: the batch is delivered again, and gets
/// a new connection.
#[tokio::test]
async fn a_peer_that_never_answers_a_statement_is_abandoned() {
    let (database, proxy, mut function) = start().await;
    proxy.freeze();
    let time = Duration::from_secs(10);
    let answer = function.invoke_within(&event("later"), time).await;
    assert_eq!(answer.failed_ids(), [id("later")]);
    function.invoke(&event("later")).await.assert_none_failed();
    assert_eq!(database.count("user_logins").await, 2);
}

#[tokio::test]
async fn a_server_that_became_read_only_is_abandoned_for_a_writable_one() {
    let database = Database::with_user_logins().await;
    let role = database.role("p").await;
    let proxy = Proxy::before(server_address()).await;
    let url = database.url_as(&role, "p", proxy.address);
    let mut function = Setup::on(&database).set("DATABASE_URL", &url).start().await;
    function.invoke(&event("first")).await.assert_none_failed();
    let read_only =
        |value: &str| format!("ALTER ROLE {role} SET default_transaction_read_only = {value}");
    database.execute(&read_only("on")).await;
    proxy.cut();
    let before = proxy.opened();
    let later = event("later");
    let (answer, ()) = join!(function.invoke(&later), async {
        eventually("the function connects anew and anew", async || {
            (proxy.opened() >= before + 3).then_some(())
        })
        .await;
        database.execute(&read_only("off")).await;
    });
    answer.assert_none_failed();
    assert_eq!(database.count("user_logins").await, 2);
    assert!(function.end().await.contains("25006"));
}

/// Longer than any timeout of a start, and than a connection is trusted without a test.
const FREEZE: Duration = Duration::from_secs(15);

/// The behaviour of the peers of a frozen function, whose connections go through these proxies.
#[derive(Debug, Clone, Copy)]
enum Peers {
    /// They keep their connections; bytes that they have sent wait.
    Answer,
    /// They close.
    Reset,
    /// They have forgotten the connections, and do not respond.
    Forget,
}

const PEERS: [Peers; 3] = [Peers::Answer, Peers::Reset, Peers::Forget];

/// A function whose mask key is in Secrets Manager, and both it and Postgres are behind proxies.
struct House {
    database: Database,
    postgres: Proxy,
    secrets: SecretsManager,
    way_to_secrets: Proxy,
    function: Function,
}

impl House {
    async fn new(mood: Mood) -> Self {
        let database = Database::with_user_logins().await;
        let postgres = Proxy::before(server_address()).await;
        let secrets = SecretsManager::new(mood);
        let way_to_secrets = Proxy::before(secrets.address).await;
        let url = database.url_through(postgres.address);
        let setup = Setup::on(&database).set("DATABASE_URL", &url).on_aws();
        let setup = setup.mask_secret_at(way_to_secrets.address);
        let function = setup.start().await;
        Self {
            database,
            postgres,
            secrets,
            way_to_secrets,
            function,
        }
    }

    /// Lambda freezes it, while its peers continue.
    async fn freeze(&self, peers: Peers) {
        self.function.signal("STOP").await;
        match peers {
            Peers::Answer => {}
            Peers::Reset => {
                self.postgres.cut();
                self.way_to_secrets.cut();
            }
            Peers::Forget => {
                self.postgres.freeze();
                self.way_to_secrets.freeze();
            }
        }
        self.secrets.is(Mood::Answers);
        // This waits for time itself to pass.
        tokio::time::sleep(FREEZE).await;
        self.function.signal("CONT").await;
    }

    async fn stores(&mut self, name: &str) {
        let before = self.database.count("user_logins").await;
        let answer = self.function.invoke(&event(name)).await;
        assert!(answer.failed_ids().is_empty(), "{}", self.function.log());
        assert_eq!(self.database.count("user_logins").await, before + 1);
    }
}

/// Lambda's clock may or may not stop meanwhile; here it continues.
#[tokio::test]
async fn a_freeze_before_the_first_invocation_is_requested_costs_no_delivery() {
    let cases = PEERS.map(async |peers| {
        let mut house = House::new(Mood::Holds).await;
        house.secrets.asked(1).await;
        house.freeze(peers).await;
        house.stores("a").await;
    });
    join_all(cases).await;
}

/// If the queue is empty, as with provisioned concurrency, the freeze comes right after the request.
#[tokio::test]
async fn a_freeze_at_the_first_request_for_an_invocation_costs_no_delivery() {
    let cases = PEERS.map(async |peers| {
        let mut house = House::new(Mood::AnswersIn(Duration::from_millis(300))).await;
        house.function.ready().await;
        house.freeze(peers).await;
        house.stores("a").await;
        let start = counted(&house.function, "ColdStartMillis").await;
        assert!(start < FREEZE.as_secs_f64() * 1e3, "{start}");
    });
    join_all(cases).await;
}

#[tokio::test]
async fn a_freeze_after_the_first_request_and_between_invocations_costs_no_delivery() {
    let cases = PEERS.map(async |peers| {
        let mut house = House::new(Mood::Answers).await;
        house.function.ready().await;
        // Long enough for it to become idle.
        tokio::time::sleep(Duration::from_secs(1)).await;
        house.freeze(peers).await;
        house.stores("a").await;
        house.freeze(peers).await;
        house.stores("b").await;
    });
    join_all(cases).await;
}

/// Tests that measure how long the function waits: one attempt of its request to SQS is lost, and few remain.
mod quiet {
    use super::*;

    /// The connection to SQS is as old as the last dead letter.
    #[tokio::test]
    async fn a_freeze_between_two_dead_letters_loses_neither() {
        let cases = PEERS.map(async |peers| {
            let (database, dead) = (Database::with_user_logins().await, Queue::new().await);
            let aws = Proxy::before(endpoint_address()).await;
            let mut function = Setup::on(&database)
                .on_aws()
                .set("AWS_ENDPOINT_URL", &format!("http://{}", aws.address))
                .set("DEAD_LETTER_QUEUE_URL", &dead.url)
                .start()
                .await;
            for name in ["a", "b"] {
                // At once, although it is the second bad message in a row.
                let bad = Batch::new().text(name, "x").delivered(3);
                function.invoke(&bad.event()).await.assert_none_failed();
                if name == "a" {
                    function.signal("STOP").await;
                    match peers {
                        Peers::Answer => {}
                        Peers::Reset => aws.cut(),
                        Peers::Forget => aws.freeze(),
                    }
                    tokio::time::sleep(FREEZE).await;
                    function.signal("CONT").await;
                }
            }
            dead.dead_letters(2).await;
        });
        join_all(cases).await;
    }
}
