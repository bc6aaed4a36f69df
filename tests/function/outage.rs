//! Postgres is unavailable: for a moment, or for longer than an invocation lasts.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;
use tokio::join;

use testkit::aws::{Queue, endpoint_address, unique};
use testkit::batch::{Batch, id, login};
use testkit::proxy::Proxy;
use testkit::sqs_double::SqsDouble;
use testkit::yardstick::Yardstick;
use testkit::{Database, Setup, assert_contains, eventually, server_address};

/// The time of an invocation that waits for an unavailable Postgres, and then has three seconds for SQS.
const TIME: Duration = Duration::from_secs(9);

async fn closed() -> Proxy {
    let proxy = Proxy::before(server_address()).await;
    proxy.refuse(true);
    proxy
}

async fn open_after_tries(proxy: &Proxy, tries: usize) {
    let before = proxy.refused();
    eventually("it is tried again", async || {
        (proxy.refused() >= before + tries).then_some(())
    })
    .await;
    proxy.refuse(false);
}

#[tokio::test]
async fn an_outage_shorter_than_an_invocation_costs_no_delivery() {
    let database = Database::with_user_logins().await;
    let proxy = closed().await;
    let mut function = Setup::on(&database)
        .set("DATABASE_URL", &database.url_through(proxy.address))
        .start()
        .await;
    function.ready().await;
    for (round, name) in ["start", "later"].into_iter().enumerate() {
        let event = Batch::new().body(name, login()).event();
        let (answer, ()) = join!(function.invoke(&event), open_after_tries(&proxy, 3));
        answer.assert_none_failed();
        assert_eq!(database.count("user_logins").await, round as i64 + 1);
        let summary = &function.lines_of("batch", round + 1).await[round];
        assert!(summary["retries"].as_u64().unwrap() >= 2, "{summary}");
        proxy.refuse(true);
        proxy.cut();
    }
}

#[tokio::test]
async fn a_server_without_free_connections_is_retried_until_it_has_one() {
    let database = Database::with_user_logins().await;
    let role = database.role("p").await;
    let proxy = Proxy::before(server_address()).await;
    let url = database.url_as(&role, "p", proxy.address);
    let limit = |connections: i32| format!("ALTER ROLE {role} CONNECTION LIMIT {connections}");
    database.execute(&limit(0)).await;
    let mut function = Setup::on(&database).set("DATABASE_URL", &url).start().await;
    let event = Batch::new().body("a", login()).event();
    let (answer, ()) = join!(function.invoke(&event), async {
        eventually("it is tried again", async || {
            (proxy.opened() >= 4).then_some(())
        })
        .await;
        database.execute(&limit(-1)).await;
    });
    answer.assert_none_failed();
    assert_eq!(database.count("user_logins").await, 1);
    let sentence = "Postgres accepts no more connections (SQLSTATE 53300): lower MaxConcurrency";
    assert_contains(&function.end().await, sentence);
}

/// A function can have several event source mappings.
#[tokio::test]
async fn messages_of_two_queues_are_backed_off_each_in_its_own() {
    let proxy = closed().await;
    let url = format!("postgresql://u:p@{}/d?sslmode=disable", proxy.address);
    let mut function = Setup::bare()
        .on_aws()
        .set("MASK_KEY", testkit::MASK_KEY)
        .set("DATABASE_URL", &url)
        .start()
        .await;
    for _ in 0..2 {
        let queue = Queue::new().await;
        queue.send(&login().to_string()).await;
        let message = &queue.receive_all(1).await[0];
        let batch = Batch::new().record(queue.record(message));
        let event = batch.event();
        let (outcome, line) = function.invoke_until_backed_off(&event, TIME).await;
        outcome.error();
        assert_eq!(line["messages"], 1);
    }
}

#[tokio::test]
async fn an_outage_backs_each_message_off_by_its_own_deliveries() {
    let sqs = SqsDouble::of(Vec::new());
    let setup = Setup::unavailable().on_aws();
    let setup = setup.set("AWS_ENDPOINT_URL", &sqs.endpoint);
    let mut function = setup.start().await;
    let expected = [("1", 60), ("2", 120), ("4", 480), ("5", 900), ("1000", 900)];
    let batch = expected.iter().fold(Batch::new(), |batch, (times, _)| {
        batch.record(json!({
            "messageId": id(times), "body": login().to_string(), "receiptHandle": times,
            "attributes": {"ApproximateReceiveCount": times},
        }))
    });
    function.invoke_within(&batch.event(), TIME).await.error();
    let backed_off = sqs.state().backed_off.clone();
    assert_eq!(backed_off.len(), expected.len());
    for ((times, secs), (expected_times, least)) in backed_off.iter().zip(expected) {
        // Not all of them at the same time.
        let bounds = least..=(least * 3 / 2).min(1_080);
        assert!(
            times == expected_times && bounds.contains(secs),
            "{backed_off:?}"
        );
    }
}

#[tokio::test]
async fn messages_whose_statement_times_out_are_backed_off() {
    let (database, queue) = (Database::with_user_logins().await, Queue::new().await);
    queue.send(&login().to_string()).await;
    let message = &queue.receive_all(1).await[0];
    let mut function = Setup::on(&database).on_aws().start().await;
    let lock = database.lock("user_logins").await;
    let batch = Batch::new().record(queue.record(message)).text("bad", "x");
    let event = batch.event();
    let (answer, line) = function.invoke_until_backed_off(&event, TIME).await;
    drop(lock);
    assert_eq!(answer.failed_ids().len(), 2);
    assert_eq!(line["messages"], 1);
}

/// Tests that measure how long the function waits.
mod quiet {
    use super::*;

    /// On a quiet machine, SQS needs less.
    const TIME: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn an_outage_fails_the_invocation_and_backs_its_messages_off_exponentially() {
        const MESSAGES: usize = 12;
        const BACKOFF: Duration = Duration::from_secs(2);
        /// Maximum time from the change of the visibility timeout to the answer.
        const TOLERANCE: Duration = Duration::from_millis(700);
        let (queue, proxy) = (Queue::new().await, closed().await);
        for _ in 0..MESSAGES {
            queue.send(&login().to_string()).await;
        }
        // Up to ten of them are received once before.
        queue.receive(0).await;
        let messages = queue.receive_all(MESSAGES).await;
        let batch = messages.iter().map(|message| queue.record(message));
        let batch = batch.fold(Batch::new(), Batch::record);
        let mut function = Setup::bare()
            .on_aws()
            .set("MASK_KEY", testkit::MASK_KEY)
            .set(
                "DATABASE_URL",
                &format!("postgresql://u:p@{}/d?sslmode=disable", proxy.address),
            )
            .set("OUTAGE_BACKOFF_SECS", &BACKOFF.as_secs().to_string())
            .start()
            .await;
        let (yardstick, began) = (Yardstick::start(), Instant::now());
        let event = batch.event();
        let (outcome, line) = function.invoke_until_backed_off(&event, TIME).await;
        let failed_at = Instant::now();
        assert_contains(&outcome.error(), "cannot be reached");
        assert_eq!(line["messages"], MESSAGES);
        assert_eq!(queue.counts().await.1, MESSAGES);
        let mut invisible_for = HashMap::new();
        eventually("all messages come back", async || {
            let back = queue.receive(60).await;
            invisible_for.extend(
                back.into_iter()
                    .map(|message| (message.message_id.unwrap(), failed_at.elapsed())),
            );
            (invisible_for.len() == MESSAGES).then_some(())
        })
        .await;
        let withheld = yardstick.withheld_since(began);
        let mut seen = [0, 0];
        for record in batch.event()["Records"].as_array().unwrap() {
            let count: u32 = record["attributes"]["ApproximateReceiveCount"]
                .as_str()
                .unwrap()
                .parse()
                .unwrap();
            seen[count as usize - 1] += 1;
            let invisible_for = invisible_for[record["messageId"].as_str().unwrap()];
            let expected = BACKOFF * 2_u32.pow(count - 1);
            assert!(
                invisible_for + TOLERANCE + withheld >= expected,
                "received {count} times, invisible for {invisible_for:?}"
            );
            assert!(
                invisible_for < expected + Duration::from_secs(8) + withheld,
                "received {count} times, invisible for {invisible_for:?}"
            );
        }
        assert!(seen.iter().all(|messages| *messages > 0), "{seen:?}");
    }

    #[tokio::test]
    async fn a_visibility_timeout_that_cannot_be_extended_costs_a_warning_and_no_time() {
        let proxy = closed().await;
        let silent = Proxy::before(endpoint_address()).await;
        silent.freeze_all();
        let queue = Queue::new().await;
        let arn_of_nothing = queue.arn.replace("test-queue-", &unique("nowhere"));
        let cases = [
            (
                "http://127.0.0.1:1".to_owned(),
                &queue.arn,
                "\"WARN\",\"message\":\"visibility",
            ),
            (
                format!("http://{}", silent.address),
                &queue.arn,
                "visibility timeout not extended in time",
            ),
            (
                format!("http://{}", endpoint_address()),
                &arn_of_nothing,
                "visibility timeout cannot be extended",
            ),
            // The queue is there; the receipts are not its own.
            (
                format!("http://{}", endpoint_address()),
                &queue.arn,
                "\"failed\":3",
            ),
        ];
        let yardstick = Yardstick::start();
        let cases = cases.map(async |(endpoint, arn, warning)| {
            let batch = ["a", "b"].iter().fold(Batch::new(), |batch, name| {
                batch.record(json!({"messageId": name, "body": "{}", "eventSourceARN": arn}))
            });
            let mut function = Setup::bare()
                .on_aws()
                .set("AWS_ENDPOINT_URL", &endpoint)
                .set("MASK_KEY", testkit::MASK_KEY)
                .set(
                    "DATABASE_URL",
                    &format!("postgresql://u:p@{}/d?sslmode=disable", proxy.address),
                )
                .start()
                .await;
            function.ready().await;
            let batch = batch.body("good", login()).event();
            let started = Instant::now();
            let error = function.invoke_within(&batch, TIME).await.error();
            let took = yardstick.own_time_since(started);
            assert!(took < TIME, "{took:?}");
            assert_contains(&error, "cannot be reached");
            let log = function.end().await;
            assert!(log.contains(warning), "{warning}: {log}");
        });
        join_all(cases).await;
    }
}
