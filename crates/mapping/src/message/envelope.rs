//! `envelope`: how the body of an SQS message wraps the message, and how it is unwrapped.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt;

use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::text::Word;

/// How the body of an SQS message wraps the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Envelope {
    /// Nothing: the body is the message.
    #[default]
    None,
    /// An SNS notification, whose `Message` is the message.
    Sns,
}

impl Word for Envelope {
    const NAMES: &'static [(&'static str, Self)] = &[("none", Self::None), ("sns", Self::Sns)];
}

impl fmt::Display for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The body is not in the envelope that the mapping names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotInEnvelope {
    /// The name of the broken rule.
    pub rule: &'static str,
    /// What is wrong and how to fix it.
    pub reason: &'static str,
}

const NOT_SNS: NotInEnvelope = NotInEnvelope {
    rule: "not_sns",
    reason: "the body is not an SNS notification: set envelope = \"none\", or subscribe the queue without raw message delivery",
};

/// A message, and the notification that it was in.
type Opened<'a> = (Cow<'a, str>, Option<Notification<'a>>);

/// An SNS notification, as SNS sends it without raw message delivery.
/// Source: <https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html>.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Notification<'a> {
    #[serde(rename = "Type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) message_id: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) topic_arn: Cow<'a, str>,
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

impl Envelope {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::NAMES.iter().map(|&(_, envelope)| envelope)
    }

    /// The rule and reason for a body that is not in it; `None` if every body fits.
    pub fn mismatch(self) -> Option<NotInEnvelope> {
        match self {
            Self::None => None,
            Self::Sns => Some(NOT_SNS),
        }
    }

    /// Takes the message out of its wrapping.
    pub(super) fn open(self, body: &str) -> Result<Opened<'_>, NotInEnvelope> {
        match self {
            Self::None => Ok((Cow::Borrowed(body), None)),
            Self::Sns => Notification::open(body).ok_or(NOT_SNS),
        }
    }

    /// What is around the message of a body; `None` if the body is not in this envelope.
    pub(super) fn around(self, body: &str) -> Option<Around> {
        match self {
            Self::None => Some(Around::Nothing),
            Self::Sns => Around::notification(body),
        }
    }
}

/// What is around a message.
pub(super) enum Around {
    Nothing,
    /// The fields of a notification but for the message, as the inside of a JSON object.
    Notification(String),
}

/// The field of a notification with the message.
const MESSAGE: &str = "Message";

impl Around {
    /// The message with this around it.
    pub(super) fn wrap(&self, message: String) -> String {
        match self {
            Self::Nothing => message,
            // Strings always have a JSON form.
            Self::Notification(fields) => {
                let message = serde_json::Value::from(message);
                format!("{{\"{MESSAGE}\":{message},{fields}}}")
            }
        }
    }

    fn notification(body: &str) -> Option<Self> {
        let mut fields: BTreeMap<String, Box<RawValue>> = serde_json::from_str(body).ok()?;
        fields.remove(MESSAGE);
        let object = to_raw_value(&fields).ok()?;
        let inside = object.get().strip_prefix('{')?.strip_suffix('}')?;
        Some(Self::Notification(inside.to_owned()))
    }
}

impl<'a> Notification<'a> {
    fn open(body: &'a str) -> Option<Opened<'a>> {
        let mut notification: Self = serde_json::from_str(body).ok()?;
        if notification.kind != "Notification" {
            return None;
        }
        let message = std::mem::take(&mut notification.message);
        Some((message, Some(notification)))
    }

    pub(super) fn attribute(&self, name: &str) -> Option<&str> {
        let attribute = self.message_attributes.get(name)?;
        Some(&attribute.value)
    }

    pub(super) fn attributes(&self) -> impl Iterator<Item = (&str, &str)> {
        let attributes = self.message_attributes.iter();
        attributes.map(|(name, attribute)| (&**name, &*attribute.value))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn notification(message: &str) -> String {
        json!({
            "Type": "Notification", "MessageId": "n-1", "TopicArn": "arn:aws:sns:eu-west-1:0:logins", "Message": message,
            "MessageAttributes": {"tenant": {"Type": "String", "Value": "acme"}},
        })
        .to_string()
    }

    #[test]
    fn a_body_that_is_not_an_sns_notification_is_refused() {
        let confirmation =
            notification("{}").replace("\"Notification\"", "\"SubscriptionConfirmation\"");
        for body in [r#"{"ip":"10.0.0.1"}"#, "no json", &confirmation] {
            assert_eq!(Envelope::Sns.open(body).err(), Some(NOT_SNS));
        }
    }
}
