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
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, OnceCell};
use tokio::time::{Instant, timeout_at};

use crate::aws::{Aws, reason, timeouts_of_attempts};
use crate::config::QueueSettings;
use crate::message::origin::{ORIGIN, Origin, Origins};
use crate::message::{MessageAttribute, Record};
use crate::rejection::{Rejection, Rule};
use crate::request::{MAX_ATTRIBUTES, MAX_ENTRIES, Outgoing, Request, change_visibility, packed};

/// The message attribute in which a dead letter says why it failed, beside its [`ORIGIN`]. One for all of it:
/// SQS takes ten, and the sender needs them.
pub const REJECTION: &str = "rejection";

/// What that attribute says, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// The name of the rule that it broke.
    pub rule: String,
    /// The column that could not be filled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// The path of the value that it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

impl Reason {
    fn of(rejection: &Rejection) -> Self {
        let place = rejection.place.as_ref();
        let refused_column = match &rejection.rule {
            Rule::Refused(refusal) => refusal.column.clone(),
            _ => None,
        };
        Self {
            rule: rejection.rule.name().to_owned(),
            column: place.map(|place| place.column.clone()).or(refused_column),
            path: place.map(|place| place.path.clone()),
        }
    }

    /// Reads the attribute's text. `None`: it has another form, and is one of the sender's own.
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    fn text(&self) -> String {
        // Texts always become JSON.
        serde_json::to_string(self).unwrap_or_default()
    }
}

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
    /// the positions in `rejected` of those that arrived. What Postgres refuses may succeed later, so that it is
    /// sent only after some deliveries: see [`Rule::dead_letter_from`].
    pub async fn dead_letter(
        &self,
        rejected: &[(&Record<'_>, Rejection)],
        origins: &Origins,
        until: Instant,
    ) -> HashSet<usize> {
        let mut arrived = HashSet::new();
        let Some(url) = self.settings.dead_letter_queue_url.as_deref() else {
            return arrived;
        };
        let letters = rejected
            .iter()
            .enumerate()
            .filter(|(_, (record, rejection))| is_due(record, rejection));
        let letters = letters.filter_map(|(position, (record, rejection))| {
            letter(position, record, rejection, origins, url)
        });
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

/// Which delivery of its message this is.
fn delivery(receive_count: Option<&str>) -> u32 {
    receive_count
        .and_then(|count| count.parse().ok())
        .unwrap_or(1)
}

/// Whether a rejected message goes to the dead-letter queue now.
fn is_due(record: &Record<'_>, rejection: &Rejection) -> bool {
    let delivery = delivery(record.receive_count());
    let from = rejection.rule.dead_letter_from();
    from.is_some_and(|from| delivery >= from)
}

/// base × 2^(receive count − 1), up to the cap.
fn outage_delay(base: Duration, receive_count: Option<&str>) -> Duration {
    let received = delivery(receive_count);
    base.saturating_mul(2_u32.saturating_pow(received.saturating_sub(1)))
        .min(OUTAGE_BACKOFF_CAP)
}

/// A message on its way to the dead-letter queue; `None` where SQS could not take it: it has no body,
/// or no room for our attributes. SQS's own redrive moves it all the same. The group goes with it on any kind
/// of queue, since a column may be made of it.
fn letter(
    position: usize,
    record: &Record<'_>,
    rejection: &Rejection,
    origins: &Origins,
    url: &str,
) -> Option<Outgoing> {
    let body = record.body.as_deref().filter(|body| !body.is_empty())?;
    let is_fifo = url.ends_with(".fifo");
    let group = record.group_id();
    let group = group.or_else(|| is_fifo.then_some(&*record.message_id));
    let deduplication = is_fifo.then_some(&*record.message_id);
    let entry = SendMessageBatchRequestEntry::builder()
        .message_body(body)
        .set_message_attributes(Some(attributes(record, body, rejection, origins)?))
        .set_message_group_id(group.map(str::to_owned))
        .set_message_deduplication_id(deduplication.map(str::to_owned));
    Outgoing::new(position, entry)
}

/// Why it failed and what it was, and all its own attributes, on which its row may depend when it is
/// sent back; `None` where there are too many of them, or one has the name of ours.
fn attributes(
    record: &Record<'_>,
    body: &str,
    rejection: &Rejection,
    origins: &Origins,
) -> Option<HashMap<String, MessageAttributeValue>> {
    let is_own = |name: &str| is_own_attribute(name, record.attribute(name).unwrap_or_default());
    let mut attributes = HashMap::new();
    for (name, value) in &record.message_attributes {
        // Ours of an earlier failure count no longer.
        if [ORIGIN, REJECTION].contains(&name.as_str()) {
            if is_own(name) {
                return None;
            }
        } else if let Some(value) = sent_along(value) {
            attributes.insert(name.clone(), value);
        }
    }
    let origin = Origin::new(
        record.original_id(),
        record.original_sent_at_millis(),
        &record.event_source_arn,
    );
    let ours = [
        (ORIGIN, origins.text(origin, body)),
        (REJECTION, Reason::of(rejection).text()),
    ];
    for (name, text) in ours {
        attributes.insert(name.to_owned(), text_attribute(&text)?);
    }
    (attributes.len() <= MAX_ATTRIBUTES).then_some(attributes)
}

/// Whether the attribute is the sender's own, though it may have the name of one of ours.
pub fn is_own_attribute(name: &str, text: &str) -> bool {
    match name {
        ORIGIN => Origin::parse(text).is_none(),
        REJECTION => Reason::parse(text).is_none(),
        _ => true,
    }
}

/// A message attribute of this text, which may not be empty.
pub fn text_attribute(text: &str) -> Option<MessageAttributeValue> {
    let value = MessageAttributeValue::builder().data_type("String");
    value.string_value(text).build().ok()
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
    use crate::refusal::Refusal;
    use crate::rejection::Place;

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
                is_key: false,
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

    fn letter_of(record: &Record<'_>, rejection: &Rejection, url: &str) -> Option<Outgoing> {
        letter(7, record, rejection, &Origins::new(None), url)
    }

    fn attribute<'l>(letter: &'l Outgoing, name: &str) -> &'l str {
        let attributes = letter.entry.message_attributes().unwrap();
        attributes[name].string_value().unwrap()
    }

    #[test]
    fn a_dead_letter_keeps_its_body_and_says_why() {
        let letter = letter_of(&record("{}"), &rejection(), "https://sqs/0/dead").unwrap();
        let entry = &letter.entry;
        let sent = (entry.id(), entry.message_body(), entry.message_group_id());
        assert_eq!(sent, ("7", "{}", Some("anna")));
        let origin = Origin::new(
            "m-1",
            Some(1_700_000_000_123),
            "arn:aws:sqs:eu-west-1:0:logins.fifo",
        );
        assert_eq!(Origin::parse(attribute(&letter, ORIGIN)), Some(origin));
        assert_eq!(
            attribute(&letter, REJECTION),
            r#"{"rule":"required","column":"masked_ip","path":"ip"}"#
        );
        assert_eq!(attribute(&letter, "tenant"), "acme");
        let attributes = entry.message_attributes().unwrap();
        assert_eq!(attributes["raw"].binary_value().unwrap().as_ref(), [0, 1]);
    }

    #[test]
    fn a_dead_letter_of_a_fifo_queue_stays_in_its_group() {
        let letter = letter_of(&record("{}"), &rejection(), "https://sqs/0/dead.fifo").unwrap();
        let entry = letter.entry;
        assert_eq!(
            (entry.message_group_id(), entry.message_deduplication_id()),
            (Some("anna"), Some("m-1"))
        );
    }

    #[test]
    fn a_message_without_a_body_cannot_be_a_dead_letter() {
        assert!(letter_of(&record(""), &rejection(), "u").is_none());
    }

    fn with_texts<'a>(texts: impl Iterator<Item = (String, &'a str)>) -> Record<'static> {
        let mut record = record("{}");
        let texts = texts
            .map(|(name, text)| (name, json!({"stringValue": text, "dataType": "String"})))
            .collect();
        record.message_attributes = serde_json::from_value(texts).unwrap();
        record
    }

    #[test]
    fn a_message_with_more_attributes_than_there_is_room_for_is_left_to_sqs() {
        let has_room = |count: usize| {
            let record = with_texts((0..count).map(|number| (format!("a{number}"), "x")));
            letter_of(&record, &rejection(), "u").is_some()
        };
        assert_eq!([has_room(8), has_room(9)], [true, false]);
    }

    #[test]
    fn an_attribute_of_the_senders_own_is_not_overwritten() {
        for name in [ORIGIN, REJECTION] {
            let record = with_texts([(name.to_owned(), "web")].into_iter());
            assert!(letter_of(&record, &rejection(), "u").is_none(), "{name}");
        }
    }

    #[test]
    fn what_postgres_refuses_is_a_dead_letter_from_the_third_delivery_on() {
        let is_due_at = |count: &str, rule: Rule| {
            let record =
                json!({"messageId": "m", "attributes": {"ApproximateReceiveCount": count}});
            is_due(&Record::deserialize(record).unwrap(), &rule.into())
        };
        let refused = || Rule::Refused(Box::default());
        let counts = ["", "1", "2", "3", "4"];
        assert_eq!(
            counts.map(|count| is_due_at(count, refused())),
            [false, false, false, true, true]
        );
        assert!(is_due_at("1", Rule::Required) && is_due_at("", Rule::BodyNotJson));
        assert!(!is_due_at("9", Rule::GroupHeld) && !is_due_at("9", Rule::OutOfTime));
    }

    #[test]
    fn the_reason_of_an_earlier_failure_does_not_stay() {
        let earlier = r#"{"rule": "type", "path": "old"}"#;
        let record = with_texts([(REJECTION.to_owned(), earlier)].into_iter());
        let refusal = Refusal {
            sqlstate: "23502".into(),
            column: Some("locale".into()),
            ..Refusal::default()
        };
        let rejection = Rule::Refused(Box::new(refusal)).into();
        let letter = letter_of(&record, &rejection, "u").unwrap();
        assert_eq!(
            attribute(&letter, REJECTION),
            r#"{"rule":"refused","column":"locale"}"#
        );
    }
}
