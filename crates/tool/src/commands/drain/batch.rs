//! Received messages, as the payload with which Lambda would invoke the function.

use std::collections::BTreeSet;

use aws_sdk_sqs::types::{Message, MessageSystemAttributeName};
use serde_json::Value;
use sqs_to_postgres::sqs::Receipt;
use sqs_to_postgres::telemetry::trace::{TRACEPARENT, TraceContext};

use crate::cli::event::to_event_message;

/// The payload is an object with one array.
const BEGIN: &[u8] = b"{\"Records\":[";
const END: &[u8] = b"]}";

/// Messages on their way to the handler.
pub(super) struct ReceivedBatch {
    records: Vec<u8>,
    pub(super) receipts: Vec<Receipt>,
    /// Where the messages were sent.
    pub(super) senders: BTreeSet<TraceContext>,
    /// The first message, as Lambda would pass it.
    pub(super) first: Option<Value>,
}

impl ReceivedBatch {
    pub(super) fn new() -> Self {
        Self {
            records: BEGIN.to_vec(),
            receipts: Vec::new(),
            senders: BTreeSet::new(),
            first: None,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.receipts.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.records.len()
    }

    /// Adds a message of the queue with this ARN.
    pub(super) fn push(&mut self, message: Message, receipt: Receipt, queue_arn: &str) {
        if self.len() > 0 {
            self.records.push(b',');
        }
        self.senders.extend(sender(&message));
        let message = to_event_message(message, queue_arn);
        if self.first.is_none() {
            self.first = serde_json::to_value(&message).ok();
        }
        #[expect(
            clippy::let_underscore_must_use,
            reason = "writing texts to a buffer cannot fail"
        )]
        let _ = serde_json::to_writer(&mut self.records, &message);
        self.receipts.push(receipt);
    }

    /// The payload, and the receipts of its messages.
    pub(super) fn into_event(mut self) -> (Vec<u8>, Vec<Receipt>) {
        self.records.extend(END);
        (self.records, self.receipts)
    }
}

fn sender(message: &Message) -> Option<TraceContext> {
    let attributes = message.message_attributes();
    let traceparent = attributes.and_then(|attributes| attributes.get(TRACEPARENT)?.string_value());
    let system = message.attributes();
    let aws = system.and_then(|system| system.get(&MessageSystemAttributeName::AwsTraceHeader));
    TraceContext::of_sender(traceparent, aws.map(String::as_str))
}
