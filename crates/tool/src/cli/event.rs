//! A received message, as a record of the event with which Lambda would invoke the function.

use aws_lambda_events::encodings::Base64Data;
use aws_lambda_events::event::sqs::{SqsMessage, SqsMessageAttribute};
use aws_sdk_sqs::types::{Message, MessageAttributeValue};
use mapping::Record;
use serde::Deserialize as _;
use sqs_to_postgres::sqs::dead_letter::DeadLetter;

/// A message of the queue with this ARN, as Lambda's event has it.
pub(crate) fn to_event_message(message: Message, queue_arn: &str) -> SqsMessage {
    let attributes = message.attributes.into_iter().flatten();
    let attributes = attributes.map(|(name, value)| (name.as_str().to_owned(), value));
    let message_attributes = message.message_attributes.into_iter().flatten();
    let mut record = SqsMessage::default();
    record.message_id = message.message_id;
    record.receipt_handle = message.receipt_handle;
    record.body = message.body;
    record.attributes = attributes.collect();
    record.message_attributes = message_attributes
        .map(|(name, value)| (name, attribute(value)))
        .collect();
    record.event_source = Some("aws:sqs".to_owned());
    record.event_source_arn = Some(queue_arn.to_owned());
    record
}

fn attribute(value: MessageAttributeValue) -> SqsMessageAttribute {
    let mut attribute = SqsMessageAttribute::default();
    attribute.data_type = Some(value.data_type);
    attribute.string_value = value.string_value;
    attribute.binary_value = value.binary_value.map(|bytes| {
        let mut data = Base64Data::default();
        data.0 = bytes.into_inner();
        data
    });
    attribute
}

/// A dead letter as the handler reads it once it is back in its queue: the one with this ARN, unless it names
/// another.
pub(crate) fn record(message: &Message, queue_arn: &str) -> Option<Record<'static>> {
    let dead_letter = DeadLetter::new(message.clone());
    let queue_arn = dead_letter.source().unwrap_or(queue_arn);
    let record = serde_json::to_value(to_event_message(message.clone(), queue_arn)).ok()?;
    Record::deserialize(record).ok()
}
