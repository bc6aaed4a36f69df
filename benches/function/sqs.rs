//! A double of SQS: LocalStack takes longer for a request than `drain` for its messages, and there is no AWS account
//! to measure with. Every request takes as long as on AWS, and nothing else limits it.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::json;

use crate::http::{Request, serve};
use crate::messages::Message;

/// The order of magnitude on AWS.
const REQUEST_TIME: Duration = Duration::from_millis(10);

const ARN: &str = "arn:aws:sqs:eu-central-1:123456789012:backlog";

/// Serves until the end of the process, one queue after the other.
pub(crate) struct Sqs {
    pub(crate) endpoint: String,
    queue: Arc<Mutex<Arc<Queue>>>,
}

/// A queue from which messages are only received and deleted.
pub(crate) struct Queue {
    /// As an answer to `ReceiveMessage` has them.
    messages: Vec<String>,
    received: AtomicUsize,
    deleted: Vec<AtomicBool>,
    began: Mutex<Option<Instant>>,
    ended: Mutex<Option<Instant>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Receive {
    max_number_of_messages: usize,
    wait_time_seconds: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Batch<'a> {
    #[serde(borrow)]
    entries: Vec<Entry<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry<'a> {
    id: &'a str,
    receipt_handle: &'a str,
}

impl Sqs {
    pub(crate) fn start() -> Self {
        let queue = Arc::new(Mutex::new(Arc::new(Queue::of(&[]))));
        let current = Arc::clone(&queue);
        let endpoint = serve(REQUEST_TIME, move |request| {
            let queue = Arc::clone(&current.lock().unwrap());
            queue.answer(request)
        });
        Self { endpoint, queue }
    }

    pub(crate) fn fill(&self, messages: &[Message]) -> Arc<Queue> {
        let queue = Arc::new(Queue::of(messages));
        *self.queue.lock().unwrap() = Arc::clone(&queue);
        queue
    }
}

impl Queue {
    fn of(messages: &[Message]) -> Self {
        Self {
            messages: (0..).zip(messages).map(received).collect(),
            received: AtomicUsize::new(0),
            deleted: messages.iter().map(|_| AtomicBool::new(false)).collect(),
            began: Mutex::default(),
            ended: Mutex::default(),
        }
    }

    /// From the first request for messages until the last one was deleted.
    pub(crate) fn secs(&self) -> f64 {
        let left = self.deleted.iter().filter(|deleted| !deleted.load(Relaxed));
        assert_eq!(left.count(), 0, "messages are still in the queue");
        let [began, ended] = [&self.began, &self.ended].map(|time| time.lock().unwrap().unwrap());
        (ended - began).as_secs_f64()
    }

    /// Source: <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_Operations.html>.
    fn answer(&self, request: &Request) -> String {
        match request.operation.as_str() {
            "receivemessage" => self.receive(&serde_json::from_str(&request.body).unwrap()),
            "deletemessagebatch" => self.delete(&serde_json::from_str(&request.body).unwrap()),
            "changemessagevisibilitybatch" => done(&serde_json::from_str(&request.body).unwrap()),
            "getqueueattributes" => self.attributes(),
            other => panic!("the double of SQS does not know {other:?}"),
        }
    }

    fn receive(&self, request: &Receive) -> String {
        self.began.lock().unwrap().get_or_insert_with(Instant::now);
        let from = self
            .received
            .fetch_add(request.max_number_of_messages, Relaxed);
        let Some(rest) = self.messages.get(from..).filter(|rest| !rest.is_empty()) else {
            thread::sleep(Duration::from_secs(request.wait_time_seconds));
            return "{}".to_owned();
        };
        let count = rest.len().min(request.max_number_of_messages);
        format!("{{\"Messages\":[{}]}}", rest[..count].join(","))
    }

    fn delete(&self, batch: &Batch<'_>) -> String {
        for entry in &batch.entries {
            let (number, _) = entry.receipt_handle.split_once('-').unwrap();
            let number: usize = number.parse().unwrap();
            let was_deleted = self.deleted[number].swap(true, Relaxed);
            assert!(!was_deleted, "message {number} was deleted twice");
        }
        *self.ended.lock().unwrap() = Some(Instant::now() + REQUEST_TIME);
        done(batch)
    }

    fn attributes(&self) -> String {
        let count = self.messages.len();
        let received = self.received.load(Relaxed).min(count);
        let deleted = self.deleted.iter().filter(|deleted| deleted.load(Relaxed));
        let invisible = received.saturating_sub(deleted.count());
        let [waiting, invisible] = [count - received, invisible].map(|count| count.to_string());
        json!({"Attributes": {"QueueArn": ARN, "VisibilityTimeout": "60",
            "ApproximateNumberOfMessages": waiting, "ApproximateNumberOfMessagesNotVisible": invisible,
            "ApproximateNumberOfMessagesDelayed": "0"}})
        .to_string()
    }
}

fn done(batch: &Batch<'_>) -> String {
    let ids = batch.entries.iter().map(|entry| json!({"Id": entry.id}));
    json!({"Successful": ids.collect::<Vec<_>>(), "Failed": []}).to_string()
}

/// The first time that a message is received. Its receipt handle begins with its place.
fn received((place, message): (usize, &Message)) -> String {
    let sent_at = message.sent_at_millis.to_string();
    let receipt = "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a".repeat(6);
    json!({"MessageId": message.id.to_string(), "ReceiptHandle": format!("{place}-{receipt}"), "Body": message.body,
        "MD5OfBody": "e4e68fb7bd0e697a0ae8f1bb342846b3",
        "Attributes": {"SenderId": "AIDAIENQZJOLO23YVJ4VO", "SentTimestamp": sent_at,
            "ApproximateReceiveCount": "1", "ApproximateFirstReceiveTimestamp": sent_at}})
    .to_string()
}
