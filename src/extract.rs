//! SQS records → [`Message`]s.
//!
//! Takes the event of one invocation, gives for each record what the mapping can ask for: id,
//! group, times, attributes and the JSON text of the body, unwrapped from its envelope. Pure: no
//! I/O, no clock. It knows nothing of columns.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::ops::Deref;

use serde::Deserialize;
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use thiserror::Error;

use crate::origin::{ORIGIN, Origin, Origins};
use crate::pipeline::Envelope;
use crate::rejection::Rule;

/// The payload is no SQS event. Says nothing more: serde's own texts quote the value that surprised it.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("the payload is no SQS event: connect the function to an SQS queue and nothing else")]
pub struct NotSqs;

/// Reads the payload of one invocation by an SQS event source mapping, and hands on each record as
/// soon as it is read, while the processor still has it at hand: an event can have 6 MB.
///
/// ```json
/// {"Records": [{"messageId": "…", "body": "{\"ip\": …}", "attributes": {"SentTimestamp": "1700000000000"},
///   "messageAttributes": {}, "eventSourceARN": "arn:aws:sqs:…:login-queue"}]}
/// ```
/// The fields and their order: <https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html> (2026-11).
///
/// # Errors
/// It is not what such a mapping sends. Records may have been handed on before that shows.
pub fn read_event<'a>(payload: &'a [u8], each: impl FnMut(Record<'a>)) -> Result<(), NotSqs> {
    // One look at all of it is cheaper than one at every string.
    let payload = str::from_utf8(payload).map_err(|_| NotSqs)?;
    let mut deserializer = serde_json::Deserializer::from_str(payload);
    deserializer
        .deserialize_map(EventVisitor(each))
        .and_then(|()| deserializer.end())
        .map_err(|_| NotSqs)
}

struct EventVisitor<F>(F);

#[derive(Deserialize)]
enum EventField {
    Records,
    #[serde(other)]
    Other,
}

impl<'de, F: FnMut(Record<'de>)> Visitor<'de> for EventVisitor<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an SQS event")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut event: A) -> Result<(), A::Error> {
        let mut has_records = false;
        while let Some(field) = event.next_key()? {
            match field {
                EventField::Other => _ = event.next_value::<IgnoredAny>()?,
                EventField::Records if has_records => {
                    return Err(A::Error::duplicate_field("Records"));
                }
                EventField::Records => {
                    event.next_value_seed(RecordsSeed(&mut self.0))?;
                    has_records = true;
                }
            }
        }
        if has_records {
            Ok(())
        } else {
            Err(A::Error::missing_field("Records"))
        }
    }
}

struct RecordsSeed<'f, F>(&'f mut F);

impl<'de, F: FnMut(Record<'de>)> DeserializeSeed<'de> for RecordsSeed<'_, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, F: FnMut(Record<'de>)> Visitor<'de> for RecordsSeed<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of records")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut records: A) -> Result<(), A::Error> {
        while let Some(record) = records.next_element()? {
            (self.0)(record);
        }
        Ok(())
    }
}

/// A JSON string: a slice of the payload where it holds no escape. It may be personal, so that it prints as
/// its length.
#[derive(Default, Deserialize)]
#[serde(transparent)]
pub struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({} bytes)", self.len())
    }
}

/// One message as Lambda delivers it. Only what is used is kept.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record<'a> {
    /// The id of this delivery's message, by which Lambda is told of failures.
    #[serde(borrow)]
    pub message_id: Text<'a>,
    /// What SQS wants to hear when the visibility of this delivery is changed.
    #[serde(default, borrow)]
    pub(crate) receipt_handle: Text<'a>,
    #[serde(borrow)]
    pub(crate) body: Option<Text<'a>>,
    #[serde(default, borrow)]
    attributes: Attributes<'a>,
    #[serde(default)]
    pub(crate) message_attributes: HashMap<String, MessageAttribute>,
    #[serde(rename = "eventSourceARN", default, borrow)]
    pub(crate) event_source_arn: Text<'a>,
    /// Boxed, because few records have one.
    #[serde(skip)]
    origin: Option<Box<Origin>>,
}

/// System attributes; SQS sends every one of them as a string.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Attributes<'a> {
    #[serde(default, deserialize_with = "millis")]
    sent_timestamp: Option<i64>,
    #[serde(default, deserialize_with = "millis")]
    approximate_first_receive_timestamp: Option<i64>,
    #[serde(borrow)]
    approximate_receive_count: Option<Text<'a>>,
    #[serde(borrow)]
    message_group_id: Option<Text<'a>>,
    #[serde(borrow)]
    sender_id: Option<Text<'a>>,
    #[serde(rename = "AWSTraceHeader", borrow)]
    aws_trace_header: Option<Text<'a>>,
}

/// Milliseconds since 1970, if that is what the string says.
fn millis<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    let text = Option::<Text<'de>>::deserialize(deserializer)?;
    Ok(text.and_then(|text| text.parse().ok()))
}

/// A message attribute; of its two values one is set, and neither is printed.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MessageAttribute {
    /// `String`, `Number` or `Binary`, and perhaps a dot and a label of the sender's.
    #[serde(default)]
    pub(crate) data_type: String,
    pub(crate) string_value: Option<String>,
    /// In base64.
    pub(crate) binary_value: Option<String>,
}

impl fmt::Debug for MessageAttribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MessageAttribute")
            .field(&self.data_type)
            .finish()
    }
}

impl Record<'_> {
    /// Whether it comes from a queue that keeps an order.
    pub(crate) fn is_fifo(&self) -> bool {
        self.event_source_arn.ends_with(".fifo")
    }

    /// The group whose order counts: that of a FIFO queue, which is told by its name. Standard
    /// queues have group ids too, for fairness, and no order.
    /// Source: <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/FIFO-queue-message-identifiers.html>.
    pub fn fifo_group(&self) -> Option<&str> {
        self.is_fifo().then(|| {
            self.attributes
                .message_group_id
                .as_deref()
                .unwrap_or_default()
        })
    }

    /// Reads the origin that a redrive sent along. Until then, and if it does not count, the message's id and
    /// time are SQS's own.
    pub fn read_origin(&mut self, origins: &Origins) {
        let origin = self.attribute(ORIGIN).and_then(Origin::parse);
        let body = self.body.as_deref().unwrap_or_default();
        self.origin = origin
            .filter(|origin| origins.accepts(origin, body))
            .map(Box::new);
    }

    /// The id the message first had: SQS's own, or that of its origin.
    pub(crate) fn original_id(&self) -> &str {
        match &self.origin {
            Some(origin) => &origin.id,
            None => &self.message_id,
        }
    }

    /// How often it was handed out, this time included.
    pub(crate) fn receive_count(&self) -> Option<&str> {
        self.attributes.approximate_receive_count.as_deref()
    }

    /// When SQS received it, in milliseconds since 1970.
    pub(crate) fn sent_at_millis(&self) -> Option<i64> {
        self.attributes.sent_timestamp
    }

    /// When SQS first received it: the time of its origin, or SQS's own.
    pub(crate) fn original_sent_at_millis(&self) -> Option<i64> {
        let origin = self.origin.as_ref();
        origin
            .and_then(|origin| origin.sent_at)
            .or(self.sent_at_millis())
    }

    /// Its message group, on any kind of queue.
    pub(crate) fn group_id(&self) -> Option<&str> {
        self.attributes.message_group_id.as_deref()
    }

    /// The tracing header of whoever sent it, unchecked.
    pub(crate) fn aws_trace_header(&self) -> Option<&str> {
        self.attributes.aws_trace_header.as_deref()
    }

    /// A message attribute; a binary one in base64.
    pub(crate) fn attribute(&self, name: &str) -> Option<&str> {
        let attribute = self.message_attributes.get(name)?;
        attribute
            .string_value
            .as_deref()
            .or(attribute.binary_value.as_deref())
    }
}

/// What the mapping can ask of one message.
pub struct Message<'a> {
    record: &'a Record<'a>,
    body: Cow<'a, str>,
    notification: Option<Notification<'a>>,
}

/// An SNS notification, as SNS wraps it when raw message delivery is off.
/// Source: <https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html>.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Notification<'a> {
    #[serde(rename = "Type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    message_id: Cow<'a, str>,
    #[serde(borrow)]
    topic_arn: Cow<'a, str>,
    #[serde(borrow)]
    message: Cow<'a, str>,
    #[serde(default, borrow)]
    message_attributes: HashMap<Cow<'a, str>, NotificationAttribute<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NotificationAttribute<'a> {
    #[serde(borrow)]
    value: Cow<'a, str>,
}

impl fmt::Debug for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Message").field(self.record).finish()
    }
}

impl<'a> Message<'a> {
    /// Reads a record and takes its body out of the envelope.
    ///
    /// # Errors
    /// [`Rule::BodyMissing`] and [`Rule::NotSns`]. Whether the body is JSON shows when its fields
    /// are picked, so that it is read only once.
    pub fn extract(record: &'a Record<'a>, envelope: Envelope) -> Result<Self, Rule> {
        let body = record.body.as_deref().ok_or(Rule::BodyMissing)?;
        match envelope {
            Envelope::None => Ok(Self {
                record,
                body: Cow::Borrowed(body),
                notification: None,
            }),
            Envelope::Sns => Self::unwrap_sns(record, body),
        }
    }

    fn unwrap_sns(record: &'a Record<'a>, body: &'a str) -> Result<Self, Rule> {
        let mut notification: Notification<'a> =
            serde_json::from_str(body).map_err(|_| Rule::NotSns)?;
        if notification.kind != "Notification" {
            return Err(Rule::NotSns);
        }
        let body = std::mem::take(&mut notification.message);
        Ok(Self {
            record,
            body,
            notification: Some(notification),
        })
    }

    /// The JSON text of the message.
    pub fn body(&self) -> &str {
        &self.body
    }

    /// The id the message first had: SQS's own, or that of its origin.
    pub fn id(&self) -> &str {
        self.record.original_id()
    }

    /// When SQS first received it, in milliseconds since 1970: the time of its origin, or SQS's own.
    pub fn sent_at_millis(&self) -> Option<i64> {
        self.record.original_sent_at_millis()
    }

    /// When it was first handed out, in milliseconds since 1970.
    pub fn first_received_at_millis(&self) -> Option<i64> {
        self.record.attributes.approximate_first_receive_timestamp
    }

    /// How often it was handed out, this time included.
    pub fn receive_count(&self) -> Option<&str> {
        self.record.receive_count()
    }

    /// Its message group, on any kind of queue.
    pub fn group_id(&self) -> Option<&str> {
        self.record.group_id()
    }

    /// Who sent it.
    pub fn sender_id(&self) -> Option<&str> {
        self.record.attributes.sender_id.as_deref()
    }

    /// A message attribute: of SQS, or of the SNS notification where SQS has none of that name.
    /// Binary ones are the base64 text that Lambda delivers.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        let of_sns = || {
            Some(
                &*self
                    .notification
                    .as_ref()?
                    .message_attributes
                    .get(name)?
                    .value,
            )
        };
        self.record.attribute(name).or_else(of_sns)
    }

    /// The id that SNS gave it.
    pub fn sns_message_id(&self) -> Option<&str> {
        Some(&self.notification.as_ref()?.message_id)
    }

    /// The topic it was published to.
    pub fn sns_topic_arn(&self) -> Option<&str> {
        Some(&self.notification.as_ref()?.topic_arn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn records(payload: &[u8]) -> Result<Vec<Record<'_>>, NotSqs> {
        let mut records = Vec::new();
        read_event(payload, |record| records.push(record)).map(|()| records)
    }

    fn record(fields: Value) -> Record<'static> {
        let mut record = json!({"messageId": "m-1", "body": "{}", "eventSourceARN": "arn:aws:sqs:eu-west-1:0:login-queue"});
        for (name, value) in fields.as_object().unwrap() {
            record[name] = value.clone();
        }
        Record::deserialize(record).unwrap()
    }

    fn notification(message: &str) -> String {
        json!({
            "Type": "Notification", "MessageId": "n-1", "TopicArn": "arn:aws:sns:eu-west-1:0:logins", "Message": message,
            "MessageAttributes": {"tenant": {"Type": "String", "Value": "acme"}},
        })
        .to_string()
    }

    #[test]
    fn a_body_that_is_no_json_does_not_fail_the_event() {
        let payload = json!({"Records": [
            {"messageId": "a", "body": "not json"}, {"messageId": "b", "body": null}, {"messageId": "c"}]})
        .to_string();
        assert_eq!(records(payload.as_bytes()).unwrap().len(), 3);
    }

    #[test]
    fn a_payload_that_is_no_sqs_event_is_refused_without_its_values() {
        for payload in [
            json!({"Records": "s3cret"}),
            json!({"detail": "s3cret"}),
            json!({"Records": [{"messageId": {"x": "s3cret"}}]}),
        ] {
            assert_eq!(records(payload.to_string().as_bytes()).err(), Some(NotSqs));
        }
        let twice = br#"{"Records": [], "Records": []}"#;
        for payload in [
            &twice[..],
            b"",
            b"[]",
            b"{\"Records\": []} x",
            b"{\"Records\": [{}]}",
            b"\xff",
        ] {
            assert_eq!(records(payload).err(), Some(NotSqs));
        }
    }

    #[test]
    fn what_holds_no_escape_is_borrowed_from_the_payload() {
        let payload = br#"{"Records": [{"messageId": "m-1", "body": "plain"}, {"messageId": "m-2", "body": "\"a\\nb\""}]}"#;
        let records = records(payload).unwrap();
        let bodies = records.iter().map(|record| record.body.as_ref().unwrap());
        let bodies: Vec<_> = bodies
            .map(|Text(text)| (matches!(text, Cow::Borrowed(_)), &**text))
            .collect();
        assert_eq!(bodies, [(true, "plain"), (false, "\"a\\nb\"")]);
    }

    #[test]
    fn metadata_is_read_from_the_system_attributes() {
        let record = record(json!({"attributes": {
            "SentTimestamp": "1700000000123", "ApproximateFirstReceiveTimestamp": "1700000000456",
            "ApproximateReceiveCount": "2", "MessageGroupId": "g", "SenderId": "AIDA", "AWSTraceHeader": "Root=1"}}));
        let message = Message::extract(&record, Envelope::None).unwrap();
        assert_eq!(message.sent_at_millis(), Some(1_700_000_000_123));
        assert_eq!(message.first_received_at_millis(), Some(1_700_000_000_456));
        assert_eq!(
            (
                message.receive_count(),
                message.group_id(),
                message.sender_id()
            ),
            (Some("2"), Some("g"), Some("AIDA"))
        );
    }

    #[test]
    fn a_record_without_a_body_is_rejected() {
        let record = record(json!({"body": null}));
        assert_eq!(
            Message::extract(&record, Envelope::None).unwrap_err(),
            Rule::BodyMissing
        );
    }

    #[test]
    fn the_id_and_time_of_an_origin_count_before_sqss_own() {
        let with = |origin: &str| {
            let mut record = record(json!({
                "attributes": {"SentTimestamp": "1700000000123"},
                "messageAttributes": {ORIGIN: {"stringValue": origin, "dataType": "String"}}}));
            record.read_origin(&Origins::new(None));
            let message = Message::extract(&record, Envelope::None).unwrap();
            (message.id().to_owned(), message.sent_at_millis().unwrap())
        };
        let whole = Origin::new("m-0", Some(1_600_000_000_456), "");
        let untimed = Origin::new("m-0", None, "");
        let [whole, untimed] = [whole, untimed].map(|origin| Origins::new(None).text(origin, ""));
        assert_eq!(with(&whole), ("m-0".to_owned(), 1_600_000_000_456));
        assert_eq!(with(&untimed), ("m-0".to_owned(), 1_700_000_000_123));
        assert_eq!(with("web"), ("m-1".to_owned(), 1_700_000_000_123));
    }

    #[test]
    fn what_a_message_holds_is_never_printed() {
        let record = record(json!({
            "body": "s3cret", "attributes": {"MessageGroupId": "s3cret"},
            "messageAttributes": {"tenant": {"stringValue": "s3cret", "dataType": "String"}}}));
        let printed = format!("{:?}", Message::extract(&record, Envelope::None).unwrap());
        assert!(
            printed.contains("tenant") && !printed.contains("s3cret"),
            "{printed}"
        );
    }

    #[test]
    fn only_the_name_of_the_queue_makes_a_group_fifo() {
        let group = json!({"MessageGroupId": "g"});
        let fifo = record(
            json!({"attributes": group, "eventSourceARN": "arn:aws:sqs:eu-west-1:0:logins.fifo"}),
        );
        assert_eq!(fifo.fifo_group(), Some("g"));
        assert_eq!(record(json!({"attributes": group})).fifo_group(), None);
    }

    #[test]
    fn an_sns_notification_is_unwrapped() {
        let record = record(json!({"body": notification(r#"{"ip":"10.0.0.1"}"#)}));
        let message = Message::extract(&record, Envelope::Sns).unwrap();
        assert_eq!(message.body(), r#"{"ip":"10.0.0.1"}"#);
        assert_eq!(message.sns_message_id(), Some("n-1"));
        assert_eq!(
            message.sns_topic_arn(),
            Some("arn:aws:sns:eu-west-1:0:logins")
        );
        assert_eq!(message.attribute("tenant"), Some("acme"));
    }

    #[test]
    fn what_is_no_sns_notification_says_so() {
        let confirmation =
            notification("{}").replace("\"Notification\"", "\"SubscriptionConfirmation\"");
        for body in [r#"{"ip":"10.0.0.1"}"#, "no json", &confirmation] {
            let record = record(json!({"body": body}));
            assert_eq!(
                Message::extract(&record, Envelope::Sns).unwrap_err(),
                Rule::NotSns
            );
        }
    }
}
