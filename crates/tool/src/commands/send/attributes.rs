//! What `send` adds to a line: message attributes, and the envelope of SNS.

use std::collections::{BTreeMap, HashMap};
use std::time::SystemTime;

use aws_sdk_sqs::types::MessageAttributeValue;
use mapping::Path;
use serde_json::{Value, json};
use sqs_to_postgres::sqs::batch::MAX_ATTRIBUTES;
use time::OffsetDateTime;
use uuid::Builder;

const TEXT: &str = "String";
const NUMBER: &str = "Number";

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
pub(super) type AttributesOfLine = BTreeMap<String, Attribute>;

/// A type of SQS and a value.
pub(super) type Attribute = (&'static str, String);

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
        let value = |(kind, text): &Attribute| {
            let value = MessageAttributeValue::builder().data_type(*kind);
            value.string_value(text).build().ok()
        };
        let attributes = attributes.iter();
        let attributes =
            attributes.filter_map(|(name, attribute)| Some((name.clone(), value(attribute)?)));
        (message, attributes.collect())
    }

    /// The attributes of a line, by name. Nulls are omitted.
    pub(super) fn of(&self, line: &str) -> Result<AttributesOfLine, &'static str> {
        let fixed = self.fixed.iter();
        let mut attributes: BTreeMap<_, _> = fixed
            .map(|(name, value)| (name.clone(), (TEXT, value.clone())))
            .collect();
        if let Some(path) = &self.from {
            let body = body(line)?;
            let Some(Value::Object(found)) = path.find(&body) else {
                return Err("it has no object at the path given by --attributes-from");
            };
            for (name, value) in found.clone() {
                let attribute = match value {
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
                attributes.insert(name, attribute);
            }
        }
        match attributes.len() > MAX_ATTRIBUTES && self.topic_arn.is_none() {
            true => Err("it has more than ten attributes"),
            false => Ok(attributes),
        }
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
        .map(|(name, (kind, value))| (name, json!({"Type": kind, "Value": value})))
        .collect();
    let mut random = [0; 16];
    fastrand::fill(&mut random);
    json!({
        "Type": "Notification", "MessageId": Builder::from_random_bytes(random).into_uuid().to_string(),
        "TopicArn": topic_arn, "Message": message, "Timestamp": timestamp(), "MessageAttributes": attributes,
    })
    .to_string()
}

/// Now, as SNS writes it: `2026-01-31T23:59:59.500Z`.
fn timestamp() -> String {
    let now = OffsetDateTime::from(SystemTime::now());
    let (date, [hour, minute, second]) = (now.date(), [now.hour(), now.minute(), now.second()]);
    let millis = now.millisecond();
    format!("{date}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}
