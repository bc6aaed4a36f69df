//! `from = "@…"`: facts about a message besides the fields of its body.

use std::borrow::Cow;
use std::fmt;

use sha2::{Digest, Sha256};

use super::{Envelope, Message, attribute};
use crate::mask::MAX_ID_CHARS;
use crate::text::Word;
use crate::types::ColumnType;

/// A fact about a message besides the fields of its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Metadata {
    /// `@message_id`: the id that the message first had.
    MessageId,
    /// `@sent_at`: when SQS first received it.
    SentAt,
    /// `@first_received_at`: when it was first delivered.
    FirstReceivedAt,
    /// `@receive_count`: how often it has been delivered, including this time.
    ReceiveCount,
    /// `@group_id`: its message group.
    GroupId,
    /// `@sender_id`: the IAM identity of its sender.
    SenderId,
    /// `@attribute.NAME`: a message attribute.
    Attribute(String),
    /// `@sns.message_id`.
    SnsMessageId,
    /// `@sns.topic_arn`.
    SnsTopicArn,
    /// `@body`: the whole body.
    Body,
    /// `@body_sha256`: lower-case hex of the body's SHA-256.
    BodySha256,
    /// `@mask_key_id`: the id of the key that the tokens of the row were made with, empty if it has none. It is equal
    /// for every message, so it is not read from messages.
    MaskKeyId,
}

/// The prefix of `@attribute.NAME`.
const ATTRIBUTE: &str = "@attribute.";

impl Word for Metadata {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("@message_id", Self::MessageId),
        ("@sent_at", Self::SentAt),
        ("@first_received_at", Self::FirstReceivedAt),
        ("@receive_count", Self::ReceiveCount),
        ("@group_id", Self::GroupId),
        ("@sender_id", Self::SenderId),
        ("@attribute.NAME", Self::Attribute(String::new())),
        ("@sns.message_id", Self::SnsMessageId),
        ("@sns.topic_arn", Self::SnsTopicArn),
        ("@body", Self::Body),
        ("@body_sha256", Self::BodySha256),
        ("@mask_key_id", Self::MaskKeyId),
    ];

    fn parse(name: &str) -> Option<Self> {
        if let Some(name) = name.strip_prefix(ATTRIBUTE) {
            return (!name.is_empty()).then(|| Self::Attribute(name.to_owned()));
        }
        let found = Self::NAMES.iter().find(|(known, _)| *known == name);
        found.map(|(_, metadata)| metadata.clone())
    }
}

impl fmt::Display for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attribute(name) => write!(f, "{ATTRIBUTE}{name}"),
            other => f.write_str(other.name()),
        }
    }
}

/// A value from SQS or the envelope. It may be personal, so it cannot be printed.
pub(crate) enum MetadataValue<'a> {
    /// An instant, in milliseconds since 1970.
    Millis(i64),
    /// A number in decimal digits.
    Number(&'a str),
    /// A string.
    Text(Cow<'a, str>),
}

/// Whether a column of a type can hold a value.
pub(crate) type TypeCheck = fn(ColumnType) -> bool;

impl Metadata {
    /// The types that a column of it can have, in words and as a check; `None`: any, as it depends on the message.
    pub(crate) fn types(&self) -> Option<(&'static str, TypeCheck)> {
        use ColumnType as T;
        Some(match self {
            Self::SentAt | Self::FirstReceivedAt => {
                ("timestamptz, date or bigint (milliseconds)", |t| {
                    matches!(t, T::TimestampTz | T::Date | T::BigInt)
                })
            }
            Self::ReceiveCount => ("smallint, integer, bigint or numeric", |t| {
                matches!(t, T::SmallInt | T::Integer | T::BigInt | T::Numeric)
            }),
            Self::MessageId | Self::SnsMessageId => {
                ("uuid, text or varchar(n)", |t| t.is_text() || t == T::Uuid)
            }
            Self::Body => ("jsonb, json, text or varchar(n)", |t| {
                t.is_text() || t.is_json()
            }),
            Self::SenderId | Self::SnsTopicArn => ("text or varchar(n)", T::is_text),
            Self::BodySha256 => ("text or varchar(64)", |t| {
                t.is_text() && t.max_chars().is_none_or(|chars| chars >= 64)
            }),
            Self::MaskKeyId => ("text or varchar(16)", |t| {
                t.is_text() && t.max_chars().is_none_or(|chars| chars >= MAX_ID_CHARS)
            }),
            Self::GroupId | Self::Attribute(_) => return None,
        })
    }

    /// Whether it names an attribute that no message can have.
    /// Source: <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-message-metadata.html>.
    pub(crate) fn is_impossible(&self) -> bool {
        const MAX_CHARS: usize = 256;
        let Self::Attribute(name) = self else {
            return false;
        };
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        name.len() > MAX_CHARS
            || !name.chars().all(is_allowed)
            || name.split('.').any(str::is_empty)
    }

    /// Whether its values are strings, on which transforms work.
    pub(crate) fn is_text(&self) -> bool {
        !matches!(
            self,
            Self::SentAt | Self::FirstReceivedAt | Self::ReceiveCount
        )
    }

    /// Whether every message has it.
    pub(crate) fn is_never_null(&self) -> bool {
        !matches!(self, Self::Attribute(_) | Self::GroupId | Self::SenderId)
    }

    /// The envelope without which it does not exist.
    pub(crate) fn envelope(&self) -> Option<Envelope> {
        match self {
            Self::SnsMessageId | Self::SnsTopicArn => Some(Envelope::Sns),
            Self::MessageId
            | Self::SentAt
            | Self::FirstReceivedAt
            | Self::ReceiveCount
            | Self::GroupId
            | Self::SenderId
            | Self::Attribute(_)
            | Self::Body
            | Self::BodySha256
            | Self::MaskKeyId => None,
        }
    }

    pub(crate) fn value<'a>(&self, message: &'a Message<'_>) -> Option<MetadataValue<'a>> {
        let record = message.record;
        let text = match self {
            Self::SentAt => return record.original_sent_at_millis().map(MetadataValue::Millis),
            Self::FirstReceivedAt => {
                let millis = record.attributes.approximate_first_receive_timestamp;
                return millis.map(MetadataValue::Millis);
            }
            Self::ReceiveCount => return record.receive_count().map(MetadataValue::Number),
            Self::BodySha256 => {
                let hex = base16ct::lower::encode_string(&Sha256::digest(message.body()));
                return Some(MetadataValue::Text(Cow::Owned(hex)));
            }
            Self::Body => Some(message.body()),
            Self::MessageId => Some(record.original_id()),
            Self::GroupId => record.group_id(),
            Self::SenderId => record.attributes.sender_id.as_deref(),
            Self::Attribute(name) => attribute(record, message.notification.as_ref(), name),
            Self::SnsMessageId => message.notification.as_ref().map(|sns| &*sns.message_id),
            Self::SnsTopicArn => message.notification.as_ref().map(|sns| &*sns.topic_arn),
            Self::MaskKeyId => None,
        };
        text.map(|text| MetadataValue::Text(Cow::Borrowed(text)))
    }
}
