//! SQS, where Lambda's own calls are not enough: visibility in an outage, and dead letters that
//! say why.
//!
//! The client is built when it is first needed, which on a good day is never.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::Builder;
use aws_sdk_sqs::primitives::Blob;
use aws_sdk_sqs::types::{MessageAttributeValue, SendMessageBatchRequestEntry};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt as _;
use futures_util::stream;
use tokio::sync::{Mutex, OnceCell};
use tokio::time::{Instant, timeout_at};

use crate::aws::{Aws, reason, timeouts_of_attempts};
use crate::config::QueueSettings;
use crate::extract::{MessageAttribute, ORIGINAL_MESSAGE_ID, ORIGINAL_SENT_AT, Record};
use crate::rejection::{Rejection, Rule};
use crate::request::{MAX_ATTRIBUTES, MAX_ENTRIES, Outgoing, Request, change_visibility, packed};

/// The message attributes in which a dead letter says why it failed and where it was, beside
/// [`ORIGINAL_MESSAGE_ID`] and [`ORIGINAL_SENT_AT`]. They say nothing any more of a message that is sent back.
pub const ERROR_RULE: &str = "error_rule";
/// The column that could not be filled.
pub const ERROR_COLUMN: &str = "error_column";
/// The path of the value that it takes.
pub const ERROR_PATH: &str = "error_path";
/// The ARN of the queue that the message was in.
pub const SOURCE_QUEUE_ARN: &str = "source_queue_arn";

/// No message waits longer than this after an outage.
const OUTAGE_BACKOFF_CAP: Duration = Duration::from_secs(900);

/// Requests under way at once: a batch of 10,000 takes a thousand.
const CONCURRENT_REQUESTS: usize = 16;

/// The queue that the batches come from, and the one for dead letters.
pub struct Queue {
    settings: QueueSettings,
    aws: Arc<Aws>,
    client: OnceCell<Client>,
    /// The URLs of queues that batches came from, by ARN: a function can have several.
    source_urls: Mutex<HashMap<String, String>>,
}

impl Queue {
    /// Nothing is connected yet.
    pub fn new(settings: QueueSettings, aws: Arc<Aws>) -> Self {
        Self {
            settings,
            aws,
            client: OnceCell::new(),
            source_urls: Mutex::default(),
        }
    }

    async fn client(&self) -> &Client {
        self.client
            .get_or_init(|| async {
                let config = self.aws.config().await;
                let timeouts = timeouts_of_attempts(config);
                Client::from_conf(Builder::from(config).timeout_config(timeouts).build())
            })
            .await
    }

    /// Keeps messages away for longer the more often they came, so that an outage does not use up
    /// their deliveries. Best effort: without permission or a way to SQS they come back after the
    /// queue's own visibility timeout.
    pub async fn postpone(&self, records: Vec<&Record<'_>>, until: Instant) {
        if timeout_at(until, self.try_postpone(&records))
            .await
            .is_err()
        {
            tracing::warn!(
                "visibility was not stretched in time: messages come back after the queue's own timeout"
            );
        }
    }

    async fn try_postpone(&self, records: &[&Record<'_>]) {
        let Some(first) = records.first() else { return };
        let url = match self.source_url(&first.event_source_arn).await {
            Ok(url) => url,
            Err(reason) => {
                tracing::warn!(
                    reason,
                    "visibility cannot be stretched: allow sqs:GetQueueUrl and a way to SQS"
                );
                return;
            }
        };
        let requests = records
            .chunks(MAX_ENTRIES)
            .map(|chunk| self.change_visibility(&url, chunk));
        let failed: usize = stream::iter(requests)
            .buffer_unordered(CONCURRENT_REQUESTS)
            .fold(0, async |sum, failed| sum + failed)
            .await;
        tracing::info!(messages = records.len(), failed, "visibility stretched");
    }

    async fn source_url(&self, arn: &str) -> Result<String, String> {
        let mut urls = self.source_urls.lock().await;
        if let Some(url) = urls.get(arn) {
            return Ok(url.clone());
        }
        let mut parts = arn.rsplit(':');
        let (name, owner) = (
            parts.next().unwrap_or_default(),
            parts.next().unwrap_or_default(),
        );
        let request = self
            .client()
            .await
            .get_queue_url()
            .queue_name(name)
            .queue_owner_aws_account_id(owner);
        let answer = request.send().await.map_err(|error| reason(&error))?;
        let url = answer.queue_url.ok_or("no URL in the answer")?;
        urls.insert(arn.to_owned(), url.clone());
        Ok(url)
    }

    /// How many of the messages keep their old visibility.
    async fn change_visibility(&self, url: &str, records: &[&Record<'_>]) -> usize {
        let changes = records.iter().map(|record| {
            let delay = outage_delay(self.settings.outage_backoff, record.receive_count());
            (&*record.receipt_handle, delay)
        });
        match change_visibility(self.client().await, url, changes).await {
            Ok(failed) => failed,
            Err(error) => {
                tracing::warn!(
                    reason = reason(&error),
                    "visibility cannot be stretched: allow sqs:ChangeMessageVisibility and a way to SQS"
                );
                records.len()
            }
        }
    }

    /// Sends messages that can never succeed to the dead-letter queue, where one is set, and gives
    /// the positions in `rejected` of those that arrived.
    pub async fn dead_letter(
        &self,
        rejected: &[(&Record<'_>, Rejection)],
        until: Instant,
    ) -> HashSet<usize> {
        let mut arrived = HashSet::new();
        let Some(url) = self.settings.dead_letter_queue_url.as_deref() else {
            return arrived;
        };
        let letters = rejected
            .iter()
            .enumerate()
            .filter(|(_, (_, rejection))| rejection.rule.is_permanent());
        let letters = letters
            .filter_map(|(position, (record, rejection))| letter(position, record, rejection, url));
        let mut sending = stream::iter(packed(letters))
            .map(|letters| self.send(url, letters))
            .buffer_unordered(CONCURRENT_REQUESTS);
        let all = async {
            while let Some(positions) = sending.next().await {
                arrived.extend(positions);
            }
        };
        // What was sent before time ran out still counts.
        if timeout_at(until, all).await.is_err() {
            tracing::warn!("dead letters could not be sent in time: they stay in the queue");
        }
        arrived
    }

    async fn send(&self, url: &str, letters: Request) -> Vec<usize> {
        let letters = letters.into_messages().into_iter();
        let entries = letters.map(|letter| letter.entry).collect();
        match self
            .client()
            .await
            .send_message_batch()
            .queue_url(url)
            .set_entries(Some(entries))
            .send()
            .await
        {
            Ok(answer) => {
                if !answer.failed.is_empty() {
                    tracing::warn!(
                        messages = answer.failed.len(),
                        "dead letters were refused: they stay in the queue"
                    );
                }
                answer
                    .successful
                    .iter()
                    .filter_map(|sent| sent.id.parse().ok())
                    .collect()
            }
            Err(error) => {
                tracing::warn!(
                    reason = reason(&error),
                    "dead letters could not be sent: they stay in the queue"
                );
                Vec::new()
            }
        }
    }
}

/// base × 2^(receive count − 1), up to the cap.
fn outage_delay(base: Duration, receive_count: Option<&str>) -> Duration {
    let received: u32 = receive_count
        .and_then(|count| count.parse().ok())
        .unwrap_or(1);
    base.saturating_mul(2_u32.saturating_pow(received.saturating_sub(1)))
        .min(OUTAGE_BACKOFF_CAP)
}

/// A message on its way to the dead-letter queue; `None` where SQS could not take it: it has no body,
/// or too many attributes. SQS's own redrive moves it all the same.
fn letter(
    position: usize,
    record: &Record<'_>,
    rejection: &Rejection,
    url: &str,
) -> Option<Outgoing> {
    let body = record.body.as_deref().filter(|body| !body.is_empty())?;
    let mut entry = SendMessageBatchRequestEntry::builder()
        .message_body(body)
        .set_message_attributes(Some(attributes(record, rejection)?));
    if url.ends_with(".fifo") {
        let group = record.group_id().unwrap_or(&record.message_id);
        entry = entry
            .message_group_id(group)
            .message_deduplication_id(&*record.message_id);
    }
    Outgoing::new(position, entry)
}

/// Why it failed and what it was, and all its own attributes, on which its row may depend when it is
/// sent back; `None` where there are too many of them.
fn attributes(
    record: &Record<'_>,
    rejection: &Rejection,
) -> Option<HashMap<String, MessageAttributeValue>> {
    let place = rejection.place.as_ref();
    let refused_column = match &rejection.rule {
        Rule::Refused(refusal) => refusal.column.as_deref(),
        _ => None,
    };
    let sent_at = record.original_sent_at_millis();
    let sent_at = sent_at.map(|millis| millis.to_string());
    let ours = [
        (ERROR_RULE, Some(rejection.rule.name())),
        (
            ERROR_COLUMN,
            place.map(|place| place.column.as_str()).or(refused_column),
        ),
        (ERROR_PATH, place.map(|place| place.path.as_str())),
        (ORIGINAL_MESSAGE_ID, Some(record.original_id())),
        (SOURCE_QUEUE_ARN, Some(&*record.event_source_arn)),
        (ORIGINAL_SENT_AT, sent_at.as_deref()),
    ];
    // Those of an earlier failure do not count any more.
    let is_ours = |name: &str| ours.iter().any(|(our, _)| *our == name);
    let own = record
        .message_attributes
        .iter()
        .filter(|(name, _)| !is_ours(name));
    let mut attributes: HashMap<_, _> = own
        .filter_map(|(name, value)| Some((name.clone(), sent_along(value)?)))
        .collect();
    add_texts(&mut attributes, &ours);
    (attributes.len() <= MAX_ATTRIBUTES).then_some(attributes)
}

/// Adds texts to the attributes of a message, but for those that are empty, and for [`ORIGINAL_SENT_AT`]
/// where SQS has no room: a later time in a column is a lesser harm than a message that cannot be sent.
pub fn add_texts(
    attributes: &mut HashMap<String, MessageAttributeValue>,
    texts: &[(&str, Option<&str>)],
) {
    for (name, text) in texts {
        let text = text.filter(|text| !text.is_empty()).and_then(|text| {
            let value = MessageAttributeValue::builder().data_type("String");
            value.string_value(text).build().ok()
        });
        attributes.extend(text.map(|text| ((*name).to_owned(), text)));
    }
    if attributes.len() > MAX_ATTRIBUTES {
        attributes.remove(ORIGINAL_SENT_AT);
    }
}

/// The attribute as it is sent; `None` where it has no value.
fn sent_along(attribute: &MessageAttribute) -> Option<MessageAttributeValue> {
    let sent = MessageAttributeValue::builder().data_type(&attribute.data_type);
    let sent = match (&attribute.string_value, &attribute.binary_value) {
        (Some(text), _) => sent.string_value(text),
        (None, Some(base64)) => sent.binary_value(Blob::new(STANDARD.decode(base64).ok()?)),
        (None, None) => return None,
    };
    sent.build().ok()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize as _;
    use serde_json::json;

    use super::*;
    use crate::rejection::{Place, Refusal};

    fn record(body: &str) -> Record<'static> {
        Record::deserialize(json!({
            "messageId": "m-1", "body": body, "eventSourceARN": "arn:aws:sqs:eu-west-1:0:logins.fifo",
            "attributes": {"MessageGroupId": "anna", "SentTimestamp": "1700000000123"},
            "messageAttributes": {"tenant": {"stringValue": "acme", "dataType": "String"}, "raw": {"binaryValue": "AAE=", "dataType": "Binary"}},
        }))
        .unwrap()
    }

    fn rejection() -> Rejection {
        Rejection {
            rule: Rule::Required,
            place: Some(Place {
                column: "masked_ip".into(),
                path: "ip".into(),
            }),
        }
    }

    #[test]
    fn the_delay_doubles_with_every_delivery_up_to_the_cap() {
        let delays = ["1", "2", "3", "4", "5", "400"]
            .map(|count| outage_delay(Duration::from_secs(60), Some(count)).as_secs());
        assert_eq!(delays, [60, 120, 240, 480, 900, 900]);
        assert_eq!(outage_delay(Duration::from_secs(60), None).as_secs(), 60);
    }

    #[test]
    fn a_dead_letter_keeps_its_body_and_says_why() {
        let letter = letter(7, &record("{}"), &rejection(), "https://sqs/0/dead")
            .unwrap()
            .entry;
        assert_eq!(
            (
                letter.id(),
                letter.message_body(),
                letter.message_group_id()
            ),
            ("7", "{}", None)
        );
        let attributes = letter.message_attributes().unwrap();
        let text = |name: &str| attributes[name].string_value().unwrap().to_owned();
        let ours = [
            "error_rule",
            "error_column",
            "error_path",
            "original_message_id",
            "original_sent_at",
            "source_queue_arn",
            "tenant",
        ]
        .map(text);
        assert_eq!(
            ours,
            [
                "required",
                "masked_ip",
                "ip",
                "m-1",
                "1700000000123",
                "arn:aws:sqs:eu-west-1:0:logins.fifo",
                "acme"
            ]
        );
        assert_eq!(attributes["raw"].binary_value().unwrap().as_ref(), [0, 1]);
    }

    #[test]
    fn a_dead_letter_of_a_fifo_queue_stays_in_its_group() {
        let letter = letter(0, &record("{}"), &rejection(), "https://sqs/0/dead.fifo")
            .unwrap()
            .entry;
        assert_eq!(
            (letter.message_group_id(), letter.message_deduplication_id()),
            (Some("anna"), Some("m-1"))
        );
    }

    #[test]
    fn a_message_without_a_body_cannot_be_a_dead_letter() {
        assert!(letter(0, &record(""), &rejection(), "u").is_none());
    }

    #[test]
    fn a_message_with_more_attributes_than_there_is_room_for_is_left_to_sqs() {
        let with = |count: usize| {
            let mut record = record("{}");
            let many = (0..count).map(|number| {
                (
                    format!("a{number}"),
                    json!({"stringValue": "x", "dataType": "String"}),
                )
            });
            record.message_attributes = serde_json::from_value(many.collect()).unwrap();
            letter(0, &record, &rejection(), "u").is_some()
        };
        assert_eq!([with(5), with(6)], [true, false]);
    }

    #[test]
    fn the_reason_of_an_earlier_failure_does_not_stay() {
        let mut record = record("{}");
        let earlier = json!({"error_path": {"stringValue": "old", "dataType": "String"}});
        record.message_attributes = serde_json::from_value(earlier).unwrap();
        let refusal = Refusal {
            sqlstate: "23502".into(),
            column: Some("locale".into()),
            ..Refusal::default()
        };
        let letter = letter(0, &record, &Rule::Refused(Box::new(refusal)).into(), "u")
            .unwrap()
            .entry;
        let attributes = letter.message_attributes().unwrap();
        assert_eq!(attributes["error_column"].string_value(), Some("locale"));
        assert!(!attributes.contains_key("error_path"));
    }
}
