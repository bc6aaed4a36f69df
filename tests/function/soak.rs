//! A long run. `make soak MINUTES=60` makes it longer than `make test` does.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fmt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use aws_sdk_sqs::types::{
    DeleteMessageBatchRequestEntry, Message, QueueAttributeName, SendMessageBatchRequestEntry,
};
use mapping::Pipeline;
use serde_json::json;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep};

use testkit::aws::Queue;
use testkit::batch::Batch;
use testkit::postgres::Postgres;
use testkit::{
    Function, MASK_KEY, Mapping, Outcome, Setup, TempFile, eventually, memory_kib, program,
};

/// Ten messages are a request to SQS, and a batch of the function.
const TEN: usize = 10;

/// One message in so many is bad, and another one is sent twice.
const SHARE: usize = 20;

/// Until a message is received again that was not deleted.
const VISIBILITY_SECS: i32 = 20;

/// Messages that wait for `drain` when it starts: several of its largest batches. Its heap is then as large as a backlog
/// makes it, and the backlogs that follow a restart of Postgres are smaller, however busy the machine is.
const BACKLOG: usize = 4_000;

/// Of an invocation of the function.
const TIME: Duration = Duration::from_secs(30);

/// What a run of an hour has, in proportion: a restart every five minutes, and figures of the tenth minute and the last
/// one. A short run has fewer restarts, and looks at more than its share.
struct Plan {
    run: Duration,
    restart_every: Duration,
    looked_at: Duration,
    warm_after: Duration,
}

impl Plan {
    fn of_minutes(minutes: f64) -> Self {
        let run = Duration::from_secs_f64(minutes * 60.0);
        let looked_at = (run / 60).max(Duration::from_secs(10));
        Self {
            run,
            restart_every: (run / 12).max(Duration::from_secs(15)),
            looked_at,
            warm_after: (run / 6).max(Duration::from_secs(20)),
        }
    }

    /// The figures after the start, and those at the end.
    fn compare<T: Clone>(&self, figures: &[(Duration, T)]) -> [Vec<T>; 2] {
        let last = self.run.saturating_sub(self.looked_at);
        [self.warm_after, last].map(|from| {
            let until = from + self.looked_at;
            let within = figures.iter().filter(|(at, _)| (from..until).contains(at));
            within.map(|(_, figure)| figure.clone()).collect()
        })
    }
}

/// The messages that were sent to a queue.
#[derive(Default)]
pub(crate) struct Sent {
    number: usize,
    pub(crate) good: BTreeSet<String>,
    pub(crate) bad: BTreeSet<String>,
    repeated: usize,
    /// To be sent a second time.
    again: Option<String>,
}

impl Sent {
    /// The body of the next message.
    fn next(&mut self) -> String {
        if let Some(body) = self.again.take() {
            self.repeated += 1;
            return body;
        }
        self.number += 1;
        let id = format!("{}-{:016x}", self.number, fastrand::u64(..));
        let email = format!("{id}@example.com");
        if self.number.is_multiple_of(SHARE) {
            let body = json!({"email": email}).to_string();
            self.bad.insert(body.clone());
            return body;
        }
        let body = json!({"id": id, "email": email, "at": "2026-11-24T12:00:00Z"}).to_string();
        self.good.insert(id);
        self.again = (self.number % SHARE == 1).then(|| body.clone());
        body
    }
}

/// Sends ten messages.
async fn send_ten(queue: &Queue, sent: &mut Sent) {
    let entries = (0..TEN).map(|id| {
        let entry = SendMessageBatchRequestEntry::builder().id(id.to_string());
        entry.message_body(sent.next()).build().unwrap()
    });
    let entries = entries.collect();
    let request = queue.client.send_message_batch().queue_url(&queue.url);
    let request = request.set_entries(Some(entries));
    assert!(request.send().await.unwrap().failed.is_empty());
}

/// Sends ten messages at every pause, until the end of the run.
pub(crate) async fn send_steadily(queue: &Queue, sent: &mut Sent, pause: Duration, until: Instant) {
    let mut ticks = interval(pause);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while Instant::now() < until {
        ticks.tick().await;
        send_ten(queue, sent).await;
    }
}

/// What became of the batches of a queue.
#[derive(Default)]
pub(crate) struct Polled {
    /// When each batch was passed on, and how long it took.
    pub(crate) took: Vec<(Duration, Duration)>,
    /// Batches that failed as a whole.
    pub(crate) failed: usize,
    /// Messages that were reported, in answers and in batches that failed.
    pub(crate) given_back: usize,
}

/// Does what Lambda does: passes batches of a queue to the function, and deletes what it has acknowledged, until all are
/// sent and none is left. After a failed invocation Lambda gives a queue fewer functions
/// (<https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html>): once all are sent, a function that
/// fails is the next to go, unless it is the last of those that poll.
pub(crate) async fn poll(
    function: &mut Function,
    queue: &Queue,
    time: Duration,
    began: Instant,
    is_sent: watch::Receiver<bool>,
    polling: &Cell<usize>,
) -> Polled {
    let mut polled = Polled::default();
    loop {
        let visibility_secs = VISIBILITY_SECS + time.as_secs() as i32;
        let messages = queue.receive(visibility_secs).await;
        if messages.is_empty() {
            if *is_sent.borrow() && queue.counts().await == (0, 0) {
                return polled;
            }
            sleep(Duration::from_millis(20)).await;
            continue;
        }
        let records = messages.iter().map(|message| queue.record(message));
        let event = records.fold(Batch::new(), Batch::record).event();
        let passed = Instant::now();
        let outcome = function.invoke_within(&event, time).await;
        polled.took.push((passed - began, passed.elapsed()));
        let failed = match &outcome {
            Outcome::Answer(_) => outcome.failed_ids(),
            Outcome::Error(_) => {
                polled.failed += 1;
                polled.given_back += messages.len();
                if *is_sent.borrow() && polling.get() > 1 {
                    polling.set(polling.get() - 1);
                    return polled;
                }
                continue;
            }
        };
        polled.given_back += failed.len();
        delete(queue, messages, &failed).await;
    }
}

/// Deletes the messages of a batch that did not fail.
async fn delete(queue: &Queue, messages: Vec<Message>, failed: &[String]) {
    let stored = messages.into_iter().filter(|message| {
        let id = message.message_id.as_ref().unwrap();
        !failed.contains(id)
    });
    let entries = stored.enumerate().map(|(id, message)| {
        let entry = DeleteMessageBatchRequestEntry::builder().id(id.to_string());
        let entry = entry.set_receipt_handle(message.receipt_handle);
        entry.build().unwrap()
    });
    let entries: Vec<_> = entries.collect();
    if !entries.is_empty() {
        let request = queue.client.delete_message_batch().queue_url(&queue.url);
        request.set_entries(Some(entries)).send().await.unwrap();
    }
}

/// The memory of processes, twice a second.
async fn watch_memory<const N: usize>(
    processes: [u32; N],
    began: Instant,
    until: Instant,
) -> Vec<(Duration, [u64; N])> {
    let mut seen = Vec::new();
    while Instant::now() < until {
        let memory = processes.map(|process| memory_kib(process, "RssAnon"));
        seen.push((began.elapsed(), memory));
        sleep(Duration::from_millis(500)).await;
    }
    seen
}

async fn restart_often(postgres: &mut Postgres, every: Duration, until: Instant) -> usize {
    let mut restarts = 0;
    while Instant::now() + every < until {
        sleep(every).await;
        postgres.restart().await;
        restarts += 1;
    }
    restarts
}

/// `drain`, killed when the test ends.
fn drain(url: &str, mapping: &TempFile, queue: &Queue, dead_letters: &Queue) -> Child {
    let is_aws = |name: &str| name.starts_with("AWS_");
    Command::new(program("sqs-to-postgres"))
        .args(["drain", "--follow", "--wait-time-seconds", "1"])
        .args(["--queue-url", &queue.url])
        .args(["--dead-letter-queue-url", &dead_letters.url])
        .env_clear()
        .envs(std::env::vars().filter(|(name, _)| is_aws(name)))
        .env("AWS_EC2_METADATA_DISABLED", "true")
        // Each restart is a warning.
        .env("AWS_LAMBDA_LOG_LEVEL", "ERROR")
        .env("DATABASE_URL", url)
        .env("MASK_KEY", MASK_KEY)
        .env("OUTAGE_BACKOFF_SECS", "2")
        .env("PIPELINE_FILE", &mapping.0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// The bodies of all dead letters, once there are as many as expected.
async fn bodies_of(dead_letters: &Queue, count: usize) -> BTreeSet<String> {
    let mut bodies = BTreeSet::new();
    eventually(&format!("{count} dead letters"), async || {
        let received = dead_letters.receive(3600).await;
        let received = received.into_iter().filter_map(|message| message.body);
        bodies.extend(received);
        (bodies.len() >= count).then_some(())
    })
    .await;
    bodies
}

/// A figure after the start and at the end.
struct Change {
    what: &'static str,
    unit: &'static str,
    before: f64,
    after: f64,
}

impl Change {
    fn assert_at_most(&self, factor: f64) {
        assert!(self.after <= self.before * factor, "{self}");
    }
}

impl fmt::Display for Change {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            what,
            unit,
            before,
            after,
        } = self;
        write!(
            formatter,
            "{what}: {before:.1} {unit} after the start, {after:.1} {unit} at the end"
        )
    }
}

fn mean(kib: &[u64]) -> f64 {
    kib.iter().sum::<u64>() as f64 / kib.len() as f64 / 1024.0
}

pub(crate) fn millis_of_share(took: &[Duration], share: f64) -> f64 {
    let mut sorted = took.to_vec();
    sorted.sort_unstable();
    let position = (sorted.len() - 1) as f64 * share;
    sorted[position as usize].as_secs_f64() * 1000.0
}

mod alone {
    use super::*;

    #[tokio::test]
    async fn memory_and_latency_remain_flat_and_nothing_is_lost_while_postgres_restarts() {
        let minutes = std::env::var("SOAK_MINUTES").map_or(1.0, |text| text.parse().unwrap());
        let plan = Plan::of_minutes(minutes);
        let Some(mut postgres) = Postgres::start(&[]).await else {
            return;
        };
        let mapping = Mapping::of("soaked")
            .key("id")
            .column("id", "text")
            .with("required", true)
            .column("email", "text")
            .with("mask", "hmac-sha256")
            .column("at", "timestamptz")
            .to_string();
        let pipeline = Pipeline::parse("pipeline.toml", &mapping).unwrap();
        let client = postgres.client().await;
        client
            .batch_execute(&pipeline.create_tables())
            .await
            .unwrap();
        let [of_function, of_drain, dead_letters] =
            [Queue::new().await, Queue::new().await, Queue::new().await];
        let visibility = VISIBILITY_SECS.to_string();
        of_drain
            .set(QueueAttributeName::VisibilityTimeout, &visibility)
            .await;
        let url = postgres.superuser_url();
        let mut function = Setup::bare()
            .on_aws()
            .set("DATABASE_URL", &url)
            .set("MASK_KEY", MASK_KEY)
            .set("OUTAGE_BACKOFF_SECS", "2")
            .set("DEAD_LETTER_QUEUE_URL", &dead_letters.url)
            .mapping(&mapping)
            .start()
            .await;
        let [mut to_function, mut to_drain] = [Sent::default(), Sent::default()];
        for _ in 0..BACKLOG / TEN {
            send_ten(&of_drain, &mut to_drain).await;
        }
        let file = TempFile::new(&mapping);
        let drain = drain(&url, &file, &of_drain, &dead_letters);
        let processes = [function.id(), drain.id().unwrap()];

        let drained = || {
            eventually("drain has emptied its queue", async || {
                (of_drain.counts().await == (0, 0)).then_some(())
            })
        };
        drained().await;

        let ((is_sent, receiver), one) = (watch::channel(false), Cell::new(1));
        let began = Instant::now();
        let until = began + plan.run;
        let sending = async {
            let [often, seldom] = [100, 200].map(Duration::from_millis);
            tokio::join!(
                send_steadily(&of_function, &mut to_function, often, until),
                send_steadily(&of_drain, &mut to_drain, seldom, until),
            );
            is_sent.send_replace(true);
        };
        let ((), polled, memory, restarts) = tokio::join!(
            sending,
            poll(&mut function, &of_function, TIME, began, receiver, &one),
            watch_memory(processes, began, until),
            restart_often(&mut postgres, plan.restart_every, until),
        );
        drained().await;

        let sent = [to_function, to_drain];
        let good: BTreeSet<String> = sent.iter().flat_map(|sent| sent.good.clone()).collect();
        let bad: BTreeSet<String> = sent.iter().flat_map(|sent| sent.bad.clone()).collect();
        let client = postgres.client().await;
        let rows = client.query("SELECT id FROM soaked", &[]).await.unwrap();
        let stored: BTreeSet<String> = rows.iter().map(|row| row.get(0)).collect();
        let repeated: usize = sent.iter().map(|sent| sent.repeated).sum();
        eprintln!(
            "{} good messages, {repeated} of them twice, {} bad ones, {restarts} restarts of Postgres, {minutes} minutes",
            good.len(),
            bad.len()
        );
        assert_eq!(rows.len(), stored.len());
        assert!(
            good == stored,
            "{} sent, {} stored",
            good.len(),
            stored.len()
        );
        assert!(bad == bodies_of(&dead_letters, bad.len()).await);
        assert!(restarts > 0);

        let [early, late] = plan.compare(&polled.took);
        let latency = |what, share| Change {
            what,
            unit: "ms",
            before: millis_of_share(&early, share),
            after: millis_of_share(&late, share),
        };
        let (median, p95) = (
            latency("a batch, median", 0.5),
            latency("a batch, 95%", 0.95),
        );
        let [early, late] = plan.compare(&memory);
        let of = |memory: &[[u64; 2]], process: usize| {
            mean(&memory.iter().map(|both| both[process]).collect::<Vec<_>>())
        };
        let memory = [("memory of the function", 0), ("memory of drain", 1)];
        let memory = memory.map(|(what, process)| Change {
            what,
            unit: "MiB",
            before: of(&early, process),
            after: of(&late, process),
        });
        eprintln!("{median}\n{p95}\n{}\n{}", memory[0], memory[1]);
        memory.iter().for_each(|memory| memory.assert_at_most(1.05));
        // Others may need the machine meanwhile.
        median.assert_at_most(2.0);
    }
}
