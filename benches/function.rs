//! The release function over the Lambda Runtime API, against the limit: one binary `COPY` a batch of
//! rows that are ready, into the same table of the same Postgres.
//!
//! `make bench` starts Postgres and sets `DATABASE_URL`; `BENCH_ROUNDS` and `BENCH_SECS` set the
//! effort. Rounds of the two are interleaved, so that both meet the same mood of the machine, and the
//! table is verified after each. Figures go to stdout as a table and to `bench.json` in Cargo's folder for
//! temporary files, which is named at the end.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    missing_docs
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::SinkExt as _;
use serde_json::{Value, json};
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

const BATCH_SIZES: [usize; 4] = [10, 100, 1_000, 8_000];
const COLD_STARTS: usize = 15;
const MASK_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const CLOCK_TICKS_PER_SEC: f64 = 100.0;
/// 2000-01-01 in days since 1970.
const POSTGRES_EPOCH_DAYS: u64 = 10_957;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let setting = |name: &str, default: f64| {
        std::env::var(name).map_or(default, |value| value.parse().expect(name))
    };
    let (rounds, secs) = (
        setting("BENCH_ROUNDS", 7.0) as usize,
        setting("BENCH_SECS", 1.0),
    );
    let database = Database::connect().await;
    let mut results = Vec::new();
    for size in BATCH_SIZES {
        eprintln!("batches of {size}: {rounds} rounds");
        let mut result = BatchResult::new(size);
        for _ in 0..rounds {
            database.measure_copy(&mut result, secs).await;
            database.measure_function(&mut result, secs).await;
        }
        results.push(result);
    }
    eprintln!("{COLD_STARTS} cold starts");
    report(&results, &database.measure_cold_starts());
}

/// Figures of which the median and the extremes are told.
#[derive(Default)]
struct Series(Vec<f64>);

impl Series {
    fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
    }

    fn json(&self) -> Value {
        let least = self.0.iter().copied().fold(f64::INFINITY, f64::min);
        let most = self.0.iter().copied().fold(0.0, f64::max);
        json!({"median": self.median(), "least": least, "most": most})
    }
}

struct BatchResult {
    size: usize,
    copy_per_sec: Series,
    function_per_sec: Series,
    /// Of the function against the `COPY` of the same round.
    share: Series,
    cpu_secs_per_million: Series,
    peak_mib: Series,
}

impl BatchResult {
    fn new(size: usize) -> Self {
        let [
            copy_per_sec,
            function_per_sec,
            share,
            cpu_secs_per_million,
            peak_mib,
        ] = [(); 5].map(|()| Series::default());
        Self {
            size,
            copy_per_sec,
            function_per_sec,
            share,
            cpu_secs_per_million,
            peak_mib,
        }
    }

    /// Enough batches for about so many seconds, by the round before.
    fn batches(&self, before: &Series, secs: f64) -> Vec<Vec<Login>> {
        let per_sec = before.0.last().copied().unwrap_or(50_000.0);
        let count = ((per_sec * secs / self.size as f64) as usize).clamp(4, 3_000);
        (0..count)
            .map(|_| (0..self.size).map(|_| Login::new()).collect())
            .collect()
    }
}

/// A message, and its row as it would stand in the table.
struct Login {
    message_id: Uuid,
    user_id: String,
    ip: String,
    device_id: String,
}

impl Login {
    fn new() -> Self {
        let [a, b, c] = [(); 3].map(|()| fastrand::u8(..));
        Self {
            message_id: Uuid::from_u128(fastrand::u128(..)),
            user_id: Uuid::from_u128(fastrand::u128(..)).to_string(),
            ip: format!("198.{a}.{b}.{c}"),
            device_id: format!(
                "{:03}-{:02}-{:04}",
                fastrand::u16(..999),
                a % 100,
                fastrand::u16(..9999)
            ),
        }
    }

    fn record(&self, sent_at: &str) -> Value {
        let body = json!({
            "user_id": self.user_id, "app_version": "2.3.0", "device_type": "android", "ip": self.ip, "locale": "RU", "device_id": self.device_id,
        });
        json!({
            "messageId": self.message_id.to_string(),
            "receiptHandle": "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a".repeat(6),
            "body": body.to_string(),
            "attributes": {
                "ApproximateReceiveCount": "1", "SentTimestamp": sent_at, "SenderId": "AIDAIENQZJOLO23YVJ4VO", "ApproximateFirstReceiveTimestamp": sent_at,
            },
            "messageAttributes": {}, "md5OfBody": "e4e68fb7bd0e697a0ae8f1bb342846b3", "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:eu-central-1:123456789012:login-queue", "awsRegion": "eu-central-1",
        })
    }

    /// The row in the binary form of `COPY`, with tokens as long as real ones.
    fn write_tuple(&self, out: &mut BytesMut, day: i32) {
        let mut cell = |bytes: &[u8]| {
            out.put_i32(bytes.len() as i32);
            out.put_slice(bytes);
        };
        let token = self.user_id.as_bytes().repeat(2);
        cell(self.message_id.as_bytes());
        cell(self.user_id.as_bytes());
        cell(b"android");
        cell(&token[..64]);
        cell(&token[8..72]);
        cell(b"RU");
        cell(&2_i32.to_be_bytes());
        cell(&day.to_be_bytes());
    }
}

fn event(batch: &[Login]) -> String {
    let sent_at = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_millis()
        .to_string();
    json!({"Records": batch.iter().map(|login| login.record(&sent_at)).collect::<Vec<_>>()})
        .to_string()
}

/// Source: <https://www.postgresql.org/docs/18/sql-copy.html#SQL-COPY-BINARY-FORMAT>.
fn copy_data(batch: &[Login]) -> Bytes {
    let days = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
        / 86_400
        - POSTGRES_EPOCH_DAYS;
    let mut out = BytesMut::from(&b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0"[..]);
    for login in batch {
        out.put_i16(8);
        login.write_tuple(&mut out, days as i32);
    }
    out.put_i16(-1);
    out.freeze()
}

/// The table of the shipped mapping, in a schema of its own.
struct Database {
    client: Client,
    url: String,
}

impl Database {
    async fn connect() -> Self {
        let url = std::env::var("DATABASE_URL").expect("DATABASE_URL is not set: run `make bench`");
        let (client, connection) = tokio_postgres::connect(&url, NoTls)
            .await
            .expect("Postgres");
        tokio::spawn(connection);
        let schema =
            "DROP SCHEMA IF EXISTS bench CASCADE; CREATE SCHEMA bench; SET search_path = bench;";
        client
            .batch_execute(&format!(
                "{schema}{}",
                include_str!("../localstack/schema.sql")
            ))
            .await
            .unwrap();
        Self {
            client,
            url: format!("{url}?options=-c%20search_path%3Dbench"),
        }
    }

    async fn empty(&self) {
        self.client
            .batch_execute("TRUNCATE user_logins; CHECKPOINT")
            .await
            .unwrap();
    }

    /// Every message is a row, and the rows are whole.
    async fn verify(&self, messages: usize) {
        let whole = "length(masked_ip) = 64 AND length(masked_device_id) = 64 AND app_version = 2 AND length(user_id) = 36";
        let count = format!("SELECT count(*) FROM user_logins WHERE {whole}");
        assert_eq!(
            self.client
                .query_one(&count, &[])
                .await
                .unwrap()
                .get::<_, i64>(0),
            messages as i64
        );
    }

    async fn measure_copy(&self, result: &mut BatchResult, secs: f64) {
        let batches: Vec<Bytes> = result
            .batches(&result.copy_per_sec, secs)
            .iter()
            .map(|batch| copy_data(batch))
            .collect();
        self.empty().await;
        let statement = self
            .client
            .prepare("COPY user_logins FROM STDIN BINARY")
            .await
            .unwrap();
        let messages = batches.len() * result.size;
        let started = Instant::now();
        for batch in batches {
            let mut sink = Box::pin(self.client.copy_in(&statement).await.unwrap());
            sink.send(batch).await.unwrap();
            sink.as_mut().finish().await.unwrap();
        }
        result
            .copy_per_sec
            .0
            .push(messages as f64 / started.elapsed().as_secs_f64());
        self.verify(messages).await;
    }

    async fn measure_function(&self, result: &mut BatchResult, secs: f64) {
        let batches = result.batches(&result.function_per_sec, secs);
        let events: Vec<String> = batches.iter().map(|batch| event(batch)).collect();
        self.empty().await;
        let mut function = Function::start(&self.url);
        // What happens once is a matter of cold starts.
        function.invoke(&event(&[Login::new()]));
        let (messages, cpu_before) = (batches.len() * result.size, function.cpu());
        let started = Instant::now();
        for event in &events {
            assert_eq!(function.invoke(event), "{\"batchItemFailures\":[]}");
        }
        let per_sec = messages as f64 / started.elapsed().as_secs_f64();
        result.function_per_sec.0.push(per_sec);
        result
            .share
            .0
            .push(100.0 * per_sec / result.copy_per_sec.0.last().copied().unwrap_or(f64::NAN));
        result
            .cpu_secs_per_million
            .0
            .push((function.cpu() - cpu_before) * 1e6 / messages as f64);
        result.peak_mib.0.push(function.peak_mib());
        self.verify(messages + 1).await;
    }

    /// Milliseconds from the start of the process to its first `/next`, and to its first answer.
    fn measure_cold_starts(&self) -> [Series; 2] {
        let [mut next, mut answer] = [Series::default(), Series::default()];
        for _ in 0..COLD_STARTS {
            let event = event(&(0..10).map(|_| Login::new()).collect::<Vec<_>>());
            let started = Instant::now();
            let mut function = Function::start(&self.url);
            next.0.push(started.elapsed().as_secs_f64() * 1e3);
            function.invoke(&event);
            answer.0.push(started.elapsed().as_secs_f64() * 1e3);
        }
        [next, answer]
    }
}

/// The release `bootstrap` and the least of a Lambda Runtime API that it needs, so that the API costs
/// next to nothing beside it. Killed at the end.
struct Function {
    process: Child,
    connection: BufReader<TcpStream>,
    listener: TcpListener,
}

impl Function {
    /// Returns when it has asked for its first invocation.
    fn start(database_url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let environment = [
            (
                "AWS_LAMBDA_RUNTIME_API",
                listener.local_addr().unwrap().to_string(),
            ),
            ("AWS_LAMBDA_FUNCTION_NAME", "bench".to_owned()),
            ("AWS_LAMBDA_FUNCTION_VERSION", "1".to_owned()),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256".to_owned()),
            ("DATABASE_URL", database_url.to_owned()),
            ("MASK_KEY", MASK_KEY.to_owned()),
        ];
        let log =
            std::fs::File::create(concat!(env!("CARGO_TARGET_TMPDIR"), "/bench.log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_bootstrap"));
        let process = command
            .env_clear()
            .envs(environment)
            .stdin(Stdio::null())
            .stdout(log)
            .spawn()
            .unwrap();
        let connection = accept(&listener);
        let mut function = Self {
            process,
            connection,
            listener,
        };
        function.read_request();
        function
    }

    /// Answers its `/next` with the event, and gives its response.
    fn invoke(&mut self, event: &str) -> String {
        let deadline = (SystemTime::now() + Duration::from_secs(60))
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_millis();
        let head = format!(
            "HTTP/1.1 200 OK\r\nlambda-runtime-aws-request-id: id\r\nlambda-runtime-deadline-ms: {deadline}\r\n\
             lambda-runtime-invoked-function-arn: arn\r\ncontent-length: {}\r\n\r\n",
            event.len()
        );
        let stream = self.connection.get_mut();
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(event.as_bytes()).unwrap();
        let response = self.read_request();
        self.connection
            .get_mut()
            .write_all(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n")
            .unwrap();
        self.read_request();
        response
    }

    /// The body of its next request, on whichever connection it sends it.
    fn read_request(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if self.connection.read_until(b'\n', &mut head).unwrap() == 0 {
                self.connection = accept(&self.listener);
            }
        }
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        let length = head.split("content-length: ").nth(1).map_or(0, |rest| {
            rest.split("\r\n").next().unwrap().parse().unwrap()
        });
        let mut body = vec![0; length];
        self.connection.read_exact(&mut body).unwrap();
        String::from_utf8(body).unwrap()
    }

    /// Seconds of processor time so far, of the user and the system.
    fn cpu(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap();
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap()
            .split_whitespace()
            .collect();
        let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
        ticks / CLOCK_TICKS_PER_SEC
    }

    fn peak_mib(&self) -> f64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmHWM:"))
            .unwrap();
        line.split_whitespace()
            .nth(1)
            .unwrap()
            .parse::<f64>()
            .unwrap()
            / 1024.0
    }
}

fn accept(listener: &TcpListener) -> BufReader<TcpStream> {
    let stream = listener.accept().unwrap().0;
    stream.set_nodelay(true).unwrap();
    BufReader::new(stream)
}

impl Drop for Function {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

fn report(results: &[BatchResult], [next, answer]: &[Series; 2]) {
    println!(
        "\n{:>6} {:>12} {:>12} {:>7} {:>18} {:>9}",
        "batch", "COPY /s", "function /s", "share", "CPU s per million", "peak MiB"
    );
    for result in results {
        println!(
            "{:>6} {:>12.0} {:>12.0} {:>6.0}% {:>18.2} {:>9.1}",
            result.size,
            result.copy_per_sec.median(),
            result.function_per_sec.median(),
            result.share.median(),
            result.cpu_secs_per_million.median(),
            result.peak_mib.median()
        );
    }
    println!(
        "\nstart to first /next {:.1} ms, to first answer {:.1} ms (medians)",
        next.median(),
        answer.median()
    );
    let batches: Vec<Value> = results
        .iter()
        .map(|result| {
            json!({
                "batch": result.size, "copy_per_sec": result.copy_per_sec.json(), "function_per_sec": result.function_per_sec.json(),
                "share_percent": result.share.json(), "cpu_secs_per_million": result.cpu_secs_per_million.json(), "peak_mib": result.peak_mib.json(),
            })
        })
        .collect();
    let json = json!({"batches": batches, "start_to_next_millis": next.json(), "start_to_answer_millis": answer.json()});
    let file = concat!(env!("CARGO_TARGET_TMPDIR"), "/bench.json");
    std::fs::write(file, format!("{json:#}\n")).unwrap();
    eprintln!("all figures with their spread: {file}");
}
