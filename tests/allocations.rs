//! The work per message, by a measure that does not depend on how busy the machine is.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

use std::sync::Arc;
use std::time::Duration;

use mapping::Pipeline;
use serde_json::json;
use sqs_to_postgres::aws::Aws;
use sqs_to_postgres::config::{DatabaseSettings, MaskKeySettings, QueueSettings};
use sqs_to_postgres::database::Database;
use sqs_to_postgres::deadline::TimeBudget;
use sqs_to_postgres::handler::Handler;
use sqs_to_postgres::load::Loader;
use sqs_to_postgres::prepare::Preparation;
use sqs_to_postgres::secret::Secrets;
use sqs_to_postgres::sqs::Sqs;
use sqs_to_postgres::telemetry::Metrics;
use tokio::runtime::{Builder, Runtime};
use uuid::Uuid;

/// From the bytes of the event to the answer, Postgres's included.
const MOST_ALLOCATIONS_PER_MESSAGE: f64 = 1.25;

const BATCH: usize = 1_000;
const LAMBDA_TIME_MILLIS: u64 = 60_000;

#[test]
fn a_message_costs_few_allocations() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let table = runtime.block_on(testkit::Database::with_user_logins());
    let mut handler = handler(&table.url());
    // The first invocation also connects.
    handle(&runtime, &mut handler, &event());
    let event = event();
    let counted = allocation_counter::measure(|| handle(&runtime, &mut handler, &event));
    let per_message = counted.count_total as f64 / BATCH as f64;
    assert!(
        per_message <= MOST_ALLOCATIONS_PER_MESSAGE,
        "{per_message} allocations a message"
    );
}

fn handle(runtime: &Runtime, handler: &mut Handler, event: &str) {
    let handled = handler.handle(
        event.as_bytes(),
        TimeBudget::until(LAMBDA_TIME_MILLIS),
        None,
    );
    assert!(
        runtime
            .block_on(handled)
            .unwrap()
            .batch_item_failures
            .is_empty()
    );
}

fn event() -> String {
    let record = || {
        let body = json!({"user_id": "424cdd21", "app_version": "2.3.0", "device_type": "android",
            "ip": "199.172.111.135", "locale": "RU", "device_id": "593-47-5928"});
        json!({"messageId": Uuid::from_u128(fastrand::u128(..)).to_string(), "receiptHandle": "AQEB", "body": body.to_string(),
            "attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": "1700000000000", "SenderId": "AIDA",
                "ApproximateFirstReceiveTimestamp": "1700000000000"}, "messageAttributes": {},
            "md5OfBody": "e4e68fb7bd0e697a0ae8f1bb342846b3", "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:eu-west-1:123456789012:logins", "awsRegion": "eu-west-1"})
    };
    json!({"Records": (0..BATCH).map(|_| record()).collect::<Vec<_>>()}).to_string()
}

/// Assembled as in `main`.
fn handler(url: &str) -> Handler {
    let text = include_str!("../pipeline.toml");
    let pipeline = Arc::new(Pipeline::parse("pipeline.toml", text).unwrap());
    let key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=".to_owned();
    let key = MaskKeySettings::Key(key.into());
    let aws = Arc::new(Aws::default());
    let settings = DatabaseSettings::Url(url.to_owned().into());
    let secrets = Arc::new(Secrets::new(Arc::clone(&aws)));
    let database = Database::new(settings, Duration::MAX, Arc::clone(&secrets)).unwrap();
    let file = "pipeline.toml".to_owned();
    let preparation = Preparation::new(
        file,
        Arc::clone(&pipeline),
        Some(key),
        Duration::MAX,
        secrets,
    );
    let loader = Loader::new(Arc::clone(&pipeline), database);
    let queue = QueueSettings {
        outage_backoff: Duration::ZERO,
        dead_letter_queue_url: None,
    };
    let metrics = Metrics::new("test".to_owned(), &pipeline);
    Handler::new(
        pipeline,
        preparation,
        None,
        loader,
        Sqs::new(queue, aws),
        metrics,
    )
}
