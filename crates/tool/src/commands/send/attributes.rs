//! What `send` adds to a line: message attributes, and the envelope of SNS.

use std::collections::{BTreeMap, HashMap};
use std::time::SystemTime;

use aws_lambda_events::encodings::Base64Data;
use aws_lambda_events::event::sqs::SqsMessage;
use aws_sdk_sqs::primitives::Blob;
use aws_sdk_sqs::types::MessageAttributeValue;
use mapping::Path;
use serde::Deserialize as _;
use serde_json::{Value, json};
use sqs_to_postgres::sqs::batch::MAX_ATTRIBUTES;
use sqs_to_postgres::sqs::dead_letter::is_senders;
use time::OffsetDateTime;
use uuid::Builder;

use crate::cli::samples::single_record;

const TEXT: &str = "String";
const NUMBER: &str = "Number";

/// The attribute of SQS that names the FIFO group.
const GROUP: &str = "MessageGroupId";

/// Where the attributes of a message come from, and where they go.
pub(super) struct Attributes {
    /// The attributes of every message, by name.
    pub(super) fixed: Vec<(String, String)>,
    /// The path in the message of an object with more of them.
    pub(super) from: Option<Path>,
    /// The topic that the messages seem to come from.
    pub(super) topic_arn: Option<String>,
}

/// Attributes as SQS takes them.
pub(super) type SentAttributes = HashMap<String, MessageAttributeValue>;

/// The attributes of a line, by name.
pub(super) type AttributesOfLine = BTreeMap<String, MessageAttributeValue>;

/// `name=value`, from a flag.
pub(super) fn attribute(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => {
            Ok((name.to_owned(), value.to_owned()))
        }
        _ => Err("write name=value"),
    }
}

impl Attributes {
    /// The body to send for a message, and the attributes beside it. In an envelope of SNS the attributes are part of
    /// the body.
    pub(super) fn apply(
        &self,
        message: String,
        attributes: &AttributesOfLine,
    ) -> (String, SentAttributes) {
        if let Some(topic_arn) = &self.topic_arn {
            let body = notification(topic_arn, &message, attributes);
            return (body, SentAttributes::new());
        }
        let attributes = attributes.clone().into_iter();
        (message, attributes.collect())
    }

    /// The attributes of a line, by name: those that it was sampled with, if others do not replace them. Nulls are
    /// omitted.
    pub(super) fn of(
        &self,
        line: &str,
        sampled: AttributesOfLine,
    ) -> Result<AttributesOfLine, &'static str> {
        let mut attributes = sampled;
        for (name, value) in &self.fixed {
            attributes.extend(text(TEXT, value).map(|value| (name.clone(), value)));
        }
        if let Some(path) = &self.from {
            let body = body(line)?;
            let Some(Value::Object(found)) = path.find(&body) else {
                return Err("it has no object at the path given by --attributes-from");
            };
            for (name, value) in found.clone() {
                let (kind, value) = match value {
                    Value::Null => continue,
                    Value::String(text) if !text.is_empty() => (TEXT, text),
                    Value::Number(number) => (NUMBER, number.to_string()),
                    Value::Bool(bool) => (TEXT, bool.to_string()),
                    _ => {
                        return Err(
                            "an attribute at --attributes-from is not a text or number, or is empty",
                        );
                    }
                };
                attributes.extend(text(kind, &value).map(|value| (name, value)));
            }
        }
        match attributes.len() > MAX_ATTRIBUTES && self.topic_arn.is_none() {
            true => Err("it has more than ten attributes"),
            false => Ok(attributes),
        }
    }
}

fn text(kind: &str, text: &str) -> Option<MessageAttributeValue> {
    let value = MessageAttributeValue::builder().data_type(kind);
    value.string_value(text).build().ok()
}

/// A line of `sample`, which stands for the message that it holds, or another line.
pub(super) struct Unsampled {
    /// The body of the message, or the line.
    pub(super) body: String,
    pub(super) attributes: AttributesOfLine,
    /// The FIFO group.
    pub(super) group: Option<String>,
}

/// What a line holds.
pub(super) fn unsampled(line: String) -> Unsampled {
    let message = single_record(&line).and_then(|record| SqsMessage::deserialize(record).ok());
    let Some(mut message) = message else {
        let (body, attributes, group) = (line, AttributesOfLine::new(), None);
        return Unsampled {
            body,
            attributes,
            group,
        };
    };
    let attributes = message.message_attributes.into_iter();
    let attributes = attributes.filter_map(|(name, attribute)| {
        let text = attribute.string_value.as_deref().unwrap_or_default();
        let bytes = attribute.binary_value.as_ref();
        let value = MessageAttributeValue::builder()
            .set_data_type(attribute.data_type.clone())
            .set_string_value(attribute.string_value.clone())
            .set_binary_value(bytes.map(|bytes| Blob::new(bytes.0.clone())));
        // The message gets an id of its own, so the one that it first had does not count.
        is_senders(&name, text).then(|| Some((name, value.build().ok()?)))?
    });
    Unsampled {
        attributes: attributes.collect(),
        body: message.body.unwrap_or_default(),
        group: message.attributes.remove(GROUP),
    }
}

/// The JSON of a line.
pub(super) fn body(line: &str) -> Result<Value, &'static str> {
    serde_json::from_str(line).map_err(|_| "it is not JSON")
}

/// A message as SNS wraps it, without a signature.
/// Source: <https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html> (2026-11).
fn notification(topic_arn: &str, message: &str, attributes: &AttributesOfLine) -> String {
    let attributes = attributes.iter();
    let attributes: BTreeMap<_, _> = attributes
        .map(|(name, value)| {
            (
                name,
                json!({"Type": value.data_type(), "Value": in_json(value)}),
            )
        })
        .collect();
    let mut random = [0; 16];
    fastrand::fill(&mut random);
    json!({
        "Type": "Notification", "MessageId": Builder::from_random_bytes(random).into_uuid().to_string(),
        "TopicArn": topic_arn, "Message": message, "Timestamp": timestamp(), "MessageAttributes": attributes,
    })
    .to_string()
}

/// The value of an attribute: bytes in base64.
fn in_json(value: &MessageAttributeValue) -> Value {
    let bytes = value.binary_value().map(|bytes| {
        let mut data = Base64Data::default();
        data.0 = bytes.as_ref().to_owned();
        data
    });
    match bytes {
        Some(bytes) => json!(bytes),
        None => json!(value.string_value()),
    }
}

/// Now, as SNS writes it: `2026-01-31T23:59:59.500Z`.
fn timestamp() -> String {
    let now = OffsetDateTime::from(SystemTime::now());
    let (date, [hour, minute, second]) = (now.date(), [now.hour(), now.minute(), now.second()]);
    let millis = now.millisecond();
    format!("{date}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}
