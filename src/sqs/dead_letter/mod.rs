//! Messages to the dead-letter queue, and back.
//!
//! Each carries two of the ten attributes that SQS allows: its `origin` and, in the dead-letter queue, the
//! `rejection`.

mod returned;
mod sent;

use std::collections::HashMap;

use aws_sdk_sqs::primitives::Blob;
use aws_sdk_sqs::types::{
    MessageAttributeValue, MessageSystemAttributeNameForSends, MessageSystemAttributeValue,
};
use mapping::internals::{Content, ORIGIN, Origin, REJECTION};
use mapping::{Rejection, Rule};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::batch::MAX_ATTRIBUTES;
pub use returned::{DeadLetter, Note, Returned};

/// The content of the attribute [`REJECTION`], as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// The name of the rule that it broke.
    pub rule: String,
    /// The table, where the mapping has several or Postgres names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// The column that could not be filled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// The path of the column's value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

impl Reason {
    fn of(rejection: &Rejection) -> Self {
        let place = rejection.place.as_ref();
        let [table, column] = match &rejection.rule {
            Rule::Refused(refusal) => {
                let [table, column, _] = refusal.names();
                [table, column].map(|name| name.map(str::to_owned))
            }
            // The others say their place by themselves.
            _ => [None, None],
        };
        Self {
            rule: rejection.rule.name().to_owned(),
            table: place.and_then(|place| place.table.clone()).or(table),
            column: place.and_then(|place| place.column.clone()).or(column),
            path: place.map(|place| place.path.clone()),
        }
    }

    /// Reads the attribute's text. `None`: it has another form, so the attribute is the sender's own.
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    fn text(&self) -> String {
        // Texts always become JSON.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// Why a message cannot be sent with the attributes that it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[expect(missing_docs, reason = "each variant says what its error says")]
pub enum Unsendable {
    #[error(
        "it has ten attributes of its own, so there is no room for its origin: move it with `aws sqs start-message-move-task`, which gives it a new id"
    )]
    TooManyAttributes,
    #[error(
        "it has more than 1 MiB with its origin: move it with `aws sqs start-message-move-task`, which gives it a new id"
    )]
    TooLarge,
    #[error(
        "it has an attribute of its own with the name origin: move it with `aws sqs start-message-move-task`, which gives it a new id"
    )]
    NameTaken,
    #[error("it has no body: delete it")]
    NoBody,
    #[error(
        "it is not an array or lines as the mapping reads them, so it cannot be split: move it without --split"
    )]
    NotRecords,
    #[error(
        "its origin is signed, and so must be the origin of each of its records: set the mask key that signed it (MASK_KEY or MASK_SECRET_ID), or move it without --split"
    )]
    Signed,
}

/// Attributes of a message, by name.
type Attributes = HashMap<String, MessageAttributeValue>;

/// The sender's own attributes, on which the row may depend. Attributes of an earlier failure are dropped.
fn senders(of_message: impl Iterator<Item = (String, MessageAttributeValue)>) -> Attributes {
    of_message
        .filter(|(name, value)| is_senders(name, value.string_value().unwrap_or_default()))
        .collect()
}

/// What the signature of an origin covers.
fn content<'a>(body: &'a str, group: Option<&'a str>, attributes: &'a Attributes) -> Content<'a> {
    let mut content = Content::new(body, group);
    for (name, value) in attributes {
        let text = value.string_value().map(str::as_bytes);
        let bytes = || value.binary_value().map(Blob::as_ref);
        if let Some(bytes) = text.or_else(bytes) {
            content.add(name, value.data_type(), bytes);
        }
    }
    content
}

/// The sender's own attributes and ours.
fn with_ours(
    mut attributes: Attributes,
    ours: &[(&str, String)],
) -> Result<Attributes, Unsendable> {
    for (name, text) in ours {
        let insert = |text| attributes.insert((*name).to_owned(), text);
        if text_attribute(text).and_then(insert).is_some() {
            return Err(Unsendable::NameTaken);
        }
    }
    if attributes.len() > MAX_ATTRIBUTES {
        return Err(Unsendable::TooManyAttributes);
    }
    Ok(attributes)
}

/// Whether an attribute is the sender's own, though it may have the name of one of ours.
pub fn is_senders(name: &str, text: &str) -> bool {
    match name {
        ORIGIN => Origin::parse(text).is_none(),
        REJECTION => Reason::parse(text).is_none(),
        _ => true,
    }
}

/// The system attribute with which a trace continues: the message's own, as SQS keeps it when it moves a message.
fn trace(
    header: Option<&str>,
) -> Option<HashMap<MessageSystemAttributeNameForSends, MessageSystemAttributeValue>> {
    let value = MessageSystemAttributeValue::builder().data_type("String");
    let value = value.string_value(header?).build().ok()?;
    let name = MessageSystemAttributeNameForSends::AwsTraceHeader;
    Some(HashMap::from([(name, value)]))
}

fn text_attribute(text: &str) -> Option<MessageAttributeValue> {
    let value = MessageAttributeValue::builder().data_type("String");
    value.string_value(text).build().ok()
}
