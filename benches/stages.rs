//! The stages of a batch one by one, for work on their speed: `make bench-stages`.
//!
//! A body is read while its fields are picked, so `bodies` is the transform of a mapping that picks none.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use mapping::internals::Masker;
use mapping::{
    Compiled, KeyRing, Mask, MaskKey, Message, MessageRows, Pipeline, Record, Wrapping, read_event,
};
use serde_json::json;
use sqs_to_postgres::aws::Aws;
use sqs_to_postgres::config::DatabaseSettings;
use sqs_to_postgres::database::Database;
use sqs_to_postgres::deadline::TimeBudget;
use sqs_to_postgres::load::Loader;
use sqs_to_postgres::secret::Secrets;
use tokio::runtime::{Builder, Runtime};
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

const SHIPPED: &str = include_str!("../pipeline.toml");
const BATCH: usize = 1_000;
const LAMBDA_TIME_MILLIS: u64 = 60_000;

/// The key and nothing else.
const NO_FIELDS: &str = "table = \"user_logins\"\nkey = [\"message_id\"]\n\
    [[column]]\nname = \"message_id\"\ntype = \"uuid\"\nfrom = \"@message_id\"\n";

fn event() -> String {
    let record = || {
        let body = json!({"user_id": "424cdd21", "app_version": "2.3.0", "device_type": "android",
            "ip": "199.172.111.135", "locale": "RU", "device_id": "593-47-5928"});
        json!({"messageId": Uuid::from_u128(fastrand::u128(..)).to_string(), "receiptHandle": "AQEB".repeat(50),
            "body": body.to_string(),
            "attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": "1700000000000", "SenderId": "AIDA",
                "ApproximateFirstReceiveTimestamp": "1700000000000"}, "messageAttributes": {},
            "md5OfBody": "e4e68fb7bd0e697a0ae8f1bb342846b3", "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:eu-west-1:123456789012:logins", "awsRegion": "eu-west-1"})
    };
    json!({"Records": (0..BATCH).map(|_| record()).collect::<Vec<_>>()}).to_string()
}

fn read(event: &str) -> Vec<Record<'_>> {
    read_event(event.as_bytes()).unwrap()
}

fn messages<'a>(records: &'a [Record<'a>]) -> Vec<Message<'a>> {
    records
        .iter()
        .map(|record| Message::extract(record, &Wrapping::default()).unwrap())
        .collect()
}

fn key() -> KeyRing {
    // 64 bytes, so that it fits every mask.
    let text =
        "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Pw==";
    MaskKey::from_base64(text).unwrap().into()
}

/// A mapping ready for use, and the number of its columns.
struct Stage(Compiled);

impl Stage {
    fn new(mapping: &str) -> Self {
        let pipeline = Pipeline::parse("bench", mapping).unwrap();
        let compiled = Compiled::new("bench", &pipeline, Some(&key())).unwrap();
        Self(compiled)
    }

    fn rows(&self, messages: &[Message<'_>]) -> MessageRows {
        let mut rows = self.0.new_rows();
        for message in messages {
            self.0.transform(message, &mut rows).unwrap();
        }
        rows
    }
}

fn parse_and_transform(criterion: &mut Criterion) {
    let text = event();
    let parsed = read(&text);
    let messages = messages(&parsed);
    let is_no_mask = |line: &&str| !line.starts_with("mask = ");
    let unmasked: Vec<&str> = SHIPPED.lines().filter(is_no_mask).collect();
    let mut group = criterion.benchmark_group("batch of 1000");
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function("parse/event", |bencher| {
        bencher.iter(|| self::messages(&read(black_box(&text))).len());
    });
    for (name, mapping) in [
        ("parse/bodies", NO_FIELDS),
        ("transform/without masks", &unmasked.join("\n")),
        ("transform/with masks", SHIPPED),
    ] {
        let stage = Stage::new(mapping);
        group.bench_function(name, |bencher| {
            bencher.iter(|| stage.rows(black_box(&messages)));
        });
    }
}

/// What a column with a program costs for messages of 300 bytes, beside the same column without one.
fn jq(criterion: &mut Criterion) {
    let body = json!({"order": {"id": 4711, "state": "paid", "total": "172.70", "note": "x".repeat(163)},
        "lines": [{"sku": "LMP-0518", "quantity": 2}, {"sku": "PEN-0007", "quantity": 1}]});
    let text =
        json!({"Records": [{"messageId": Uuid::nil().to_string(), "body": body.to_string()}]})
            .to_string();
    let parsed = read(&text);
    let messages = messages(&parsed);
    let mut group = criterion.benchmark_group("message of 300 bytes");
    for (name, source) in [
        ("transform/from", "from = \"order.state\""),
        ("transform/jq, a field", "jq = \".order.state\""),
        ("transform/jq, a sum", "jq = \"[.lines[].quantity] | add\""),
        (
            "transform/jq, a text",
            "jq = '\"\\(.order.id)/\\(.order.state | ascii_upcase)\"'",
        ),
    ] {
        let column = format!("\n[[column]]\nname = \"state\"\ntype = \"text\"\n{source}\n");
        let stage = Stage::new(&(NO_FIELDS.to_owned() + &column));
        group.bench_function(name, |bencher| {
            bencher.iter(|| stage.rows(black_box(&messages)));
        });
    }
}

fn mask(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("mask");
    for (name, mask) in [
        ("sha256", Mask::Sha256),
        ("sha512", Mask::Sha512),
        ("hmac-sha256", Mask::HmacSha256),
        ("aes-siv", Mask::AesSiv),
    ] {
        let masker = Masker::new(mask, Some(&key())).unwrap();
        group.bench_function(name, |bencher| {
            let mut out = BytesMut::with_capacity(256);
            bencher.iter(|| {
                out.clear();
                masker.write_token(black_box("199.172.111.135"), &mut out)
            });
        });
    }
}

fn load(criterion: &mut Criterion) {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let server = std::env::var("DATABASE_URL").expect("run it by `make bench-stages`");
    let client = runtime.block_on(schema(&server));
    let mut loader = loader(&format!("{server}?options=-c%20search_path%3Dbench_stages"));
    let stage = Stage::new(SHIPPED);
    let mut group = criterion.benchmark_group("batch of 1000");
    group
        .throughput(Throughput::Elements(BATCH as u64))
        .sample_size(30);
    group.bench_function("load", |bencher| {
        bencher.iter_batched(
            || fresh_rows(&runtime, &client, &stage),
            |rows| {
                let loading = loader.load(&rows, &[], TimeBudget::until(LAMBDA_TIME_MILLIS));
                let (loaded, result) = runtime.block_on(loading);
                result.unwrap();
                assert_eq!(loaded.tables[0].written, BATCH as u64);
            },
            BatchSize::PerIteration,
        );
    });
    let removed = client.batch_execute("DROP SCHEMA bench_stages CASCADE");
    runtime.block_on(removed).unwrap();
}

async fn schema(server: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(server, NoTls).await.unwrap();
    tokio::spawn(connection);
    let sql = "DROP SCHEMA IF EXISTS bench_stages CASCADE; CREATE SCHEMA bench_stages; SET search_path = bench_stages;";
    let table = include_str!("../localstack/schema.sql");
    client
        .batch_execute(&format!("{sql}{table}"))
        .await
        .unwrap();
    client
}

fn loader(url: &str) -> Loader {
    let settings = DatabaseSettings::Url(url.to_owned().into());
    let secrets = Arc::new(Secrets::new(Arc::new(Aws::default())));
    let database = Database::new(settings, Duration::MAX, secrets).unwrap();
    let pipeline = Pipeline::parse("pipeline.toml", SHIPPED).unwrap();
    Loader::new(Arc::new(pipeline), database)
}

/// Rows that are not in the table yet, which is empty.
fn fresh_rows(runtime: &Runtime, client: &Client, stage: &Stage) -> MessageRows {
    let emptied = client.batch_execute("TRUNCATE user_logins");
    runtime.block_on(emptied).unwrap();
    stage.rows(&messages(&read(&event())))
}

criterion_group!(stages, parse_and_transform, jq, mask, load);
criterion_main!(stages);
