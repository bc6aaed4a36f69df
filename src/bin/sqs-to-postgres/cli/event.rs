//! A received message, as a record of the event with which Lambda would invoke the function.

use std::collections::HashMap;

use aws_sdk_sqs::types::{Message, MessageAttributeValue, MessageSystemAttributeName};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Serialize, Serializer};

/// A message as Lambda's event has it.
/// Source: <https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html> (2026-11).
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EventRecord<'a> {
    message_id: Option<&'a str>,
    receipt_handle: Option<&'a str>,
    body: Option<&'a str>,
    #[serde(serialize_with = "system_attributes")]
    attributes: Option<&'a HashMap<MessageSystemAttributeName, String>>,
    #[serde(serialize_with = "attributes")]
    message_attributes: Option<&'a HashMap<String, MessageAttributeValue>>,
    event_source: &'static str,
    #[serde(rename = "eventSourceARN")]
    event_source_arn: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Attribute<'a> {
    data_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    string_value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    binary_value: Option<String>,
}

impl<'a> EventRecord<'a> {
    pub(crate) fn new(message: &'a Message, queue_arn: &'a str) -> Self {
        Self {
            message_id: message.message_id(),
            receipt_handle: message.receipt_handle(),
            body: message.body(),
            attributes: message.attributes(),
            message_attributes: message.message_attributes(),
            event_source: "aws:sqs",
            event_source_arn: queue_arn,
        }
    }
}

impl<'a> Attribute<'a> {
    fn new(attribute: &'a MessageAttributeValue) -> Self {
        let binary = attribute.binary_value();
        Self {
            data_type: attribute.data_type(),
            string_value: attribute.string_value(),
            binary_value: binary.map(|bytes| STANDARD.encode(bytes.as_ref())),
        }
    }
}

fn system_attributes<S: Serializer>(
    attributes: &Option<&HashMap<MessageSystemAttributeName, String>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let attributes = attributes.iter().copied().flatten();
    serializer.collect_map(attributes.map(|(name, value)| (name.as_str(), value)))
}

fn attributes<S: Serializer>(
    attributes: &Option<&HashMap<String, MessageAttributeValue>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let attributes = attributes.iter().copied().flatten();
    serializer.collect_map(attributes.map(|(name, value)| (name, Attribute::new(value))))
}
