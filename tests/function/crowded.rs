//! More functions than Postgres accepts connections, and statements that take too long for all of them.

use std::cell::Cell;
use std::thread;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use mapping::Pipeline;
use tokio::join;
use tokio::runtime::Builder;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_postgres::{Client, NoTls};

use crate::soak::{Polled, Sent, millis_of_share, poll, send_steadily};
use testkit::aws::Queue;
use testkit::postgres::Postgres;
use testkit::yardstick::Yardstick;
use testkit::{Function, MASK_KEY, Mapping, Setup, eventually};

/// For the role of the functions.
const CONNECTIONS: usize = 10;

/// Of an invocation.
const TIME: Duration = Duration::from_secs(6);

/// What is said of a login that the server has no connection for.
const REFUSED: &str = "FATAL:  too many connections for role";

/// A server with ten connections for the functions, and a few for others.
struct House {
    postgres: Postgres,
    client: Client,
    mapping: String,
}

impl House {
    async fn new() -> Option<Self> {
        let postgres = Postgres::start(&["max_connections=20"]).await?;
        let client = postgres.client().await;
        let mapping = Mapping::of("crowded");
        let mapping = mapping.key("id").column("id", "text");
        let mapping = mapping.with("required", true).to_string();
        let tables = Pipeline::parse("pipeline.toml", &mapping).unwrap();
        let sql = format!(
            "{}; CREATE ROLE writer LOGIN PASSWORD 'p' CONNECTION LIMIT {CONNECTIONS}; GRANT ALL ON crowded TO writer",
            tables.create_tables()
        );
        client.batch_execute(&sql).await.unwrap();
        Some(Self {
            postgres,
            client,
            mapping,
        })
    }

    async fn functions(&self, count: usize, dead_letters: &Queue) -> Vec<Function> {
        let url = self.postgres.url("writer", "p");
        let setup = Setup::bare()
            .on_aws()
            .set("DATABASE_URL", &url)
            .set("MASK_KEY", MASK_KEY)
            .set("OUTAGE_BACKOFF_SECS", "1")
            .set("DEAD_LETTER_QUEUE_URL", &dead_letters.url)
            .mapping(&self.mapping);
        let starts = (0..count).map(|_| setup.clone().start());
        join_all(starts).await
    }

    async fn count(&self, of: &str) -> i64 {
        let sql = format!("SELECT count(*) FROM {of}");
        self.client.query_one(&sql, &[]).await.unwrap().get(0)
    }

    fn refused(&self) -> usize {
        self.postgres.log().matches(REFUSED).count()
    }
}

/// What another client asks, until it is told to stop, in a thread of its own.
struct OtherClient {
    stop: watch::Sender<bool>,
    asking: thread::JoinHandle<Vec<Duration>>,
}

impl OtherClient {
    fn of(house: &House) -> Self {
        let (url, (stop, stopped)) = (house.postgres.superuser_url(), watch::channel(false));
        let asking = thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(ask(&url, &stopped))
        });
        Self { stop, asking }
    }

    /// The time in milliseconds in which 95% of its queries were answered.
    fn p95(self) -> f64 {
        self.stop.send_replace(true);
        millis_of_share(&self.asking.join().unwrap(), 0.95)
    }
}

async fn ask(url: &str, stopped: &watch::Receiver<bool>) -> Vec<Duration> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    let mut took = Vec::new();
    while !*stopped.borrow() {
        let asked = Instant::now();
        let sql = "SELECT count(*) FROM pg_class";
        client.query_one(sql, &[]).await.unwrap();
        took.push(asked.elapsed());
        sleep(Duration::from_millis(10)).await;
    }
    took
}

/// What became of a load of some seconds.
struct Load {
    sent: Sent,
    polled: Vec<Polled>,
    p95: f64,
}

/// A steady load through all functions at once, until everything is stored; another client asks as long as it is sent.
async fn load(house: &House, functions: &mut [Function], queue: &Queue, secs: u64) -> Load {
    let (is_sent, receiver) = watch::channel(false);
    let began = Instant::now();
    let until = began + Duration::from_secs(secs);
    let sending = async {
        let other = OtherClient::of(house);
        let mut sent = Sent::default();
        send_steadily(queue, &mut sent, Duration::from_millis(100), until).await;
        is_sent.send_replace(true);
        (sent, other.p95())
    };
    let polling = Cell::new(functions.len());
    let polls = functions
        .iter_mut()
        .map(|function| poll(function, queue, TIME, began, receiver.clone(), &polling));
    let ((sent, p95), polled) = join!(sending, join_all(polls));
    Load { sent, polled, p95 }
}

mod alone {
    use super::*;

    #[tokio::test]
    async fn functions_that_get_no_connection_ask_rarely_and_lose_nothing() {
        let Some(house) = House::new().await else {
            return;
        };
        let dead_letters = Queue::new().await;
        let yardstick = Yardstick::start();
        let before = OtherClient::of(&house);
        sleep(Duration::from_secs(3)).await;
        let before = before.p95();
        let (mut p95, mut withheld) = (Vec::new(), 0.0);
        let mut stored = 0;
        for count in [CONNECTIONS, 2 * CONNECTIONS] {
            let queue = Queue::new().await;
            let mut functions = house.functions(count, &dead_letters).await;
            for function in &mut functions {
                function.ready().await;
            }
            let refused = house.refused();
            let began = Instant::now();
            let load = load(&house, &mut functions, &queue, 8).await;
            let refused = house.refused() - refused;
            stored += load.sent.good.len() as i64;
            assert_eq!(house.count("crowded").await, stored);
            let failed: usize = load.polled.iter().map(|polled| polled.failed).sum();
            eprintln!(
                "{count} functions: {} messages in {:.1} s, {failed} invocations failed, {refused} logins refused; \
                 95% of another client's queries in {:.1} ms, {before:.1} ms before",
                load.sent.good.len(),
                began.elapsed().as_secs_f64(),
                load.p95
            );
            p95.push(load.p95);
            withheld = yardstick.withheld_at_a_time_since(began).as_secs_f64() * 1000.0;
            // An invocation asks less and less often, and then holds its messages back.
            assert!(refused <= 20 * failed, "{refused} logins, {failed} failed");
            assert_eq!(failed > 0, count > CONNECTIONS, "{failed} failed");
        }
        // For a query, server and client are woken in turn.
        let most = p95[0] * 3.0 + before + withheld * 2.0;
        assert!(p95[1] <= most, "{p95:?}, {withheld} ms withheld");
    }

    #[tokio::test]
    async fn statements_that_take_too_long_do_not_pile_up_and_are_stored_afterwards() {
        let Some(house) = House::new().await else {
            return;
        };
        let (queue, dead_letters) = (Queue::new().await, Queue::new().await);
        let mut functions = house.functions(CONNECTIONS, &dead_letters).await;
        let locking = async {
            let locker = house.postgres.client().await;
            locker
                .batch_execute("BEGIN; LOCK TABLE crowded")
                .await
                .unwrap();
            let mut most = 0;
            let until = Instant::now() + 2 * TIME;
            while Instant::now() < until {
                let waiting =
                    "pg_stat_activity WHERE usename = 'writer' AND wait_event_type = 'Lock'";
                most = most.max(house.count(waiting).await);
                sleep(Duration::from_millis(50)).await;
            }
            locker.batch_execute("COMMIT").await.unwrap();
            most
        };
        let (most, load) = join!(locking, load(&house, &mut functions, &queue, 14));
        let good = load.sent.good.len() as i64;
        assert!((1..=CONNECTIONS as i64).contains(&most), "{most} waited");
        assert_eq!(house.count("crowded").await, good);
        let given_back: usize = load.polled.iter().map(|polled| polled.given_back).sum();
        eprintln!(
            "{good} messages, {given_back} deliveries given back, at most {most} statements at once"
        );
        assert!(given_back > 0);
        let dead: usize = load.sent.bad.len();
        eventually("only bad messages are dead letters", async || {
            (dead_letters.counts().await.0 == dead).then_some(())
        })
        .await;
    }
}
