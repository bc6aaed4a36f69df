//! Received messages, as the payload with which Lambda would invoke the function.

use std::collections::HashMap;

use aws_sdk_sqs::types::{Message, MessageAttributeValue, MessageSystemAttributeName};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Serialize, Serializer};
use sqs_to_postgres::sqs::in_flight::Receipt;

/// The payload is an object with one array.
const BEGIN: &[u8] = b"{\"Records\":[";
const END: &[u8] = b"]}";

/// Messages on their way to the handler.
pub(super) struct ReceivedBatch {
    records: Vec<u8>,
    pub(super) receipts: Vec<Receipt>,
}

impl ReceivedBatch {
    pub(super) fn new() -> Self {
        Self {
            records: BEGIN.to_vec(),
            receipts: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.receipts.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.records.len()
    }

    /// Adds a message of the queue with this ARN.
    pub(super) fn push(&mut self, message: &Message, receipt: Receipt, queue_arn: &str) {
        if self.len() > 0 {
            self.records.push(b',');
        }
        // Writing texts to a buffer cannot fail.
        _ = serde_json::to_writer(&mut self.records, &EventRecord::new(message, queue_arn));
        self.receipts.push(receipt);
    }

    /// The payload, and the receipts of its messages.
    pub(super) fn into_event(mut self) -> (Vec<u8>, Vec<Receipt>) {
        self.records.extend(END);
        (self.records, self.receipts)
    }
}

/// A message as Lambda's event has it.
/// Source: <https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html> (2026-11).
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EventRecord<'a> {
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
    fn new(message: &'a Message, queue_arn: &'a str) -> Self {
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
