//! The answer is sent before Lambda kills the function, whatever Postgres does.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;

use testkit::batch::{Batch, id, ids, login};
use testkit::proxy::Proxy;
use testkit::yardstick::Yardstick;
use testkit::{Database, Function, Setup, server_address};

/// Two good messages and a bad one.
fn batch() -> serde_json::Value {
    Batch::new()
        .body("a", login())
        .text("bad", "x")
        .body("b", login())
        .event()
}

/// Invokes with so little time that no message is certain to be stored.
async fn try_too_late(
    yardstick: &Yardstick,
    function: &mut Function,
    trial: usize,
    time: Duration,
) {
    let started = Instant::now();
    let answer = function.invoke_within(&batch(), time).await;
    let took = yardstick.own_time_since(started);
    assert!(took < time, "{took:?} instead of {time:?} in trial {trial}");
    assert_eq!(answer.failed_ids(), ids(&["a", "bad", "b"]));
    let summary = &function.lines_of("batch", trial + 1).await[trial];
    assert_eq!(
        (&summary["stored"], &summary["failed_by_rule"]),
        (&json!(0), &json!("body_not_json=1 out_of_time=2"))
    );
}

/// Tests that measure how long the function waits.
mod quiet {
    use super::*;

    #[tokio::test]
    async fn a_locked_table_never_prevents_the_answer_and_leaves_no_session_waiting() {
        const FUNCTIONS: usize = 10;
        const TRIALS: usize = 5;
        let database = Database::with_user_logins().await;
        let mut functions = join_all((0..FUNCTIONS).map(|_| Setup::on(&database).start())).await;
        join_all(functions.iter_mut().map(Function::ready)).await;
        let lock = database.lock("user_logins").await;
        let yardstick = Yardstick::start();
        let trials = functions.iter_mut().map(async |function| {
            for trial in 0..TRIALS {
                let time = Duration::from_millis(fastrand::u64(1_200..2_500));
                try_too_late(&yardstick, function, trial, time).await;
            }
        });
        join_all(trials).await;
        database.wait_for_waiting("user_logins", 0).await;
        drop(lock);
        for function in &mut functions {
            assert_eq!(function.invoke(&batch()).await.failed_ids(), [id("bad")]);
        }
        assert_eq!(database.count("user_logins").await, 2);
    }

    #[tokio::test]
    async fn a_server_that_stops_responding_in_a_statement_never_prevents_the_answer() {
        let database = Database::with_user_logins().await;
        let proxy = Proxy::before(server_address()).await;
        // With TLS a cancel request first waits for the server, which does not answer.
        let url = database.url_through(proxy.address);
        let url = url.replace("sslmode=disable", "sslmode=prefer");
        let mut function = Setup::on(&database).set("DATABASE_URL", &url).start().await;
        let good = Batch::new().body("first", login()).event();
        assert!(function.invoke(&good).await.failed_ids().is_empty());
        proxy.freeze_all();
        let (yardstick, started) = (Yardstick::start(), Instant::now());
        let time = Duration::from_millis(1_200);
        let answer = function.invoke_within(&batch(), time).await;
        let took = yardstick.own_time_since(started);
        assert!(took < time, "{took:?} instead of {time:?}");
        assert_eq!(answer.failed_ids(), ids(&["a", "bad", "b"]));
    }

    /// A server that accepts connections, and nothing else.
    fn mute() -> (TcpListener, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        (listener, url)
    }

    const TIME: Duration = Duration::from_secs(3);
    const TRIALS: usize = 4;
    /// The log and the metrics are written in this time at the end.
    const KEPT: Duration = Duration::from_millis(150);

    #[tokio::test]
    async fn an_sqs_that_does_not_answer_never_prevents_the_answer() {
        let (_listener, sqs) = mute();
        let outage = Setup::unavailable();
        let database = Database::with_user_logins().await;
        let bad = Setup::on(&database);
        for setup in [outage, bad] {
            let setup = setup.on_aws().set("AWS_ENDPOINT_URL", &sqs);
            let queue = format!("{sqs}/000000000000/dead");
            let mut function = setup.set("DEAD_LETTER_QUEUE_URL", &queue).start().await;
            function.ready().await;
            // A busy machine can delay any answer, but never makes one early.
            let mut quickest = Duration::MAX;
            for _ in 0..TRIALS {
                let started = Instant::now();
                function.invoke_within(&batch(), TIME).await;
                quickest = quickest.min(started.elapsed());
            }
            let most = TIME - KEPT;
            assert!(quickest < most, "{quickest:?} instead of {most:?}");
        }
        assert_eq!(database.count("user_logins").await, 2);
    }
}
