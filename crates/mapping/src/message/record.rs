//! One record of the event: a message as Lambda delivers it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Deref;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer};

use super::origin::{Content, Delivery, Ignored, ORIGIN, Origin, Origins};

/// A JSON string: a slice of the payload if it has no escapes. It may be personal, so it cannot be printed.
#[derive(Default, Deserialize)]
#[serde(transparent)]
pub struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// One message as Lambda delivers it. Fields that nothing uses are skipped.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record<'a> {
    /// SQS's id of the message, by which Lambda identifies a failure.
    #[serde(borrow)]
    pub message_id: Text<'a>,
    /// Receipt handle, required to change this delivery's visibility timeout.
    #[serde(default, borrow)]
    pub receipt_handle: Text<'a>,
    /// As it was sent, in its envelope.
    #[serde(borrow)]
    pub body: Option<Text<'a>>,
    #[serde(default, borrow)]
    pub(super) attributes: SystemAttributes<'a>,
    /// By their names.
    #[serde(default)]
    pub message_attributes: HashMap<String, MessageAttribute>,
    /// The ARN of its queue.
    #[serde(rename = "eventSourceARN", default, borrow)]
    pub event_source_arn: Text<'a>,
    /// Boxed, because few records have one.
    #[serde(skip)]
    origin: Option<Box<Origin>>,
}

/// System attributes, all of which SQS sends as strings.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SystemAttributes<'a> {
    #[serde(default, deserialize_with = "millis")]
    sent_timestamp: Option<i64>,
    #[serde(default, deserialize_with = "millis")]
    pub(super) approximate_first_receive_timestamp: Option<i64>,
    #[serde(borrow)]
    approximate_receive_count: Option<Text<'a>>,
    #[serde(borrow)]
    message_group_id: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) sender_id: Option<Text<'a>>,
    #[serde(rename = "AWSTraceHeader", borrow)]
    aws_trace_header: Option<Text<'a>>,
}

/// Milliseconds since 1970, if the string is a number.
fn millis<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    let text = Option::<Text<'de>>::deserialize(deserializer)?;
    Ok(text.and_then(|text| text.parse().ok()))
}

/// A message attribute, which has one of the two values.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageAttribute {
    /// `String`, `Number` or `Binary`, optionally followed by a dot and the sender's label.
    #[serde(default)]
    pub data_type: String,
    /// Of a `String` or `Number`.
    pub string_value: Option<String>,
    /// In base64.
    pub binary_value: Option<String>,
}

impl MessageAttribute {
    /// Its value, as it was sent; `None` if it has none.
    pub fn value(&self) -> Option<Cow<'_, [u8]>> {
        match (&self.string_value, &self.binary_value) {
            (Some(text), _) => Some(Cow::Borrowed(text.as_bytes())),
            (None, Some(base64)) => STANDARD.decode(base64).ok().map(Cow::Owned),
            (None, None) => None,
        }
    }
}

impl Record<'_> {
    /// The message group of a FIFO queue, within which the order counts. The name identifies such a queue:
    /// standard queues have group ids too, for fairness, but no order.
    /// Source: <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/FIFO-queue-message-identifiers.html>.
    pub fn fifo_group(&self) -> Option<&str> {
        let is_fifo = self.event_source_arn.ends_with(".fifo");
        is_fifo.then(|| self.group_id().unwrap_or_default())
    }

    /// Applies the origin that a redrive sent along: the message gets back the id and time that it first had. Returns
    /// why the origin does not count, if it does not: then the message keeps the id and time that SQS gave it.
    pub fn apply_origin(&mut self, origins: &Origins) -> Option<Ignored> {
        self.origin = None;
        let origin = self.attribute(ORIGIN).and_then(Origin::parse)?;
        let delivery = Delivery {
            sent_at: self.sent_at_millis(),
            queue: Some(&*self.event_source_arn).filter(|arn| !arn.is_empty()),
        };
        let ignored = origins.check(&origin, &self.content(), delivery).err();
        if ignored.is_none() {
            self.origin = Some(Box::new(origin));
        }
        ignored
    }

    fn content(&self) -> Content<'_> {
        let body = self.body.as_deref().unwrap_or_default();
        let mut content = Content::new(body, self.group_id());
        for (name, attribute) in &self.message_attributes {
            if let Some(value) = attribute.value() {
                content.add(name, &attribute.data_type, value);
            }
        }
        content
    }

    /// The id that the message first had, from its origin or from SQS.
    pub fn original_id(&self) -> &str {
        match &self.origin {
            Some(origin) => &origin.id,
            None => &self.message_id,
        }
    }

    /// The position that its first record had in the message with its original id, if that message was split.
    pub fn split_index(&self) -> Option<u32> {
        self.origin.as_ref()?.index
    }

    /// How often it has been delivered, including this time.
    pub fn receive_count(&self) -> Option<&str> {
        self.attributes.approximate_receive_count.as_deref()
    }

    /// When SQS received it, in milliseconds since 1970.
    pub fn sent_at_millis(&self) -> Option<i64> {
        self.attributes.sent_timestamp
    }

    /// When SQS first received it: the time of its origin, or SQS's own.
    pub fn original_sent_at_millis(&self) -> Option<i64> {
        let origin = self.origin.as_ref();
        origin
            .and_then(|origin| origin.sent_at)
            .or(self.sent_at_millis())
    }

    /// Its message group, on any kind of queue.
    pub fn group_id(&self) -> Option<&str> {
        self.attributes.message_group_id.as_deref()
    }

    /// The sender's tracing header, unchecked.
    pub fn aws_trace_header(&self) -> Option<&str> {
        self.attributes.aws_trace_header.as_deref()
    }

    /// A message attribute. Binary ones are in base64.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        let attribute = self.message_attributes.get(name)?;
        attribute
            .string_value
            .as_deref()
            .or(attribute.binary_value.as_deref())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::{Value, json};

    use super::*;

    pub(in super::super) fn record(fields: Value) -> Record<'static> {
        let mut record = json!({"messageId": "m-1", "body": "{}", "eventSourceARN": "arn:aws:sqs:eu-west-1:0:login-queue"});
        for (name, value) in fields.as_object().unwrap() {
            record[name] = value.clone();
        }
        Record::deserialize(record).unwrap()
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

    /// SQS always names it; events that are made by hand may not.
    #[test]
    fn messages_of_a_fifo_queue_whose_group_is_not_named_are_one_group() {
        let fifo = record(json!({"eventSourceARN": "arn:aws:sqs:eu-west-1:0:logins.fifo"}));
        assert_eq!(fifo.fifo_group(), Some(""));
        assert_eq!(record(json!({})).fifo_group(), None);
    }
}
