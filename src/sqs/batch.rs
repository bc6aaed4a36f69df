//! Batch requests: their limits, their retries, and how messages are packed into them.

use std::time::Duration;

use aws_sdk_sqs::types::builders::SendMessageBatchRequestEntryBuilder;
use aws_sdk_sqs::types::{MessageAttributeValue, SendMessageBatchRequestEntry};

/// Maximum entries of a batch request of any kind.
/// Source: <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html> (2026-11).
pub const MAX_ENTRIES: usize = 10;

/// Maximum bytes of a message, and of all messages of a request together, attributes included.
pub const MAX_BYTES: usize = 1_048_576;

/// Maximum attributes of a message.
pub const MAX_ATTRIBUTES: usize = 10;

/// Concurrent requests: a batch of 10,000 messages takes a thousand.
pub(super) const CONCURRENT_REQUESTS: usize = 16;

/// The wait after each attempt at an entry that SQS failed to process through its own fault; none after the last.
pub const WAITS: [Option<Duration>; 4] = [
    Some(Duration::from_millis(100)),
    Some(Duration::from_millis(200)),
    Some(Duration::from_millis(400)),
    None,
];

/// A message to send.
#[derive(Debug)]
pub struct Outgoing {
    /// Identifies it to the sender; the id of its entry.
    pub number: usize,
    /// Its size, as [`MAX_BYTES`] counts it.
    pub bytes: usize,
    /// The message itself.
    pub entry: SendMessageBatchRequestEntry,
}

impl Outgoing {
    /// `None` if the entry does not have a body.
    pub fn new(number: usize, entry: SendMessageBatchRequestEntryBuilder) -> Option<Self> {
        let entry = entry.id(number.to_string()).build().ok()?;
        let attributes = entry.message_attributes.iter().flatten();
        let attributes: usize = attributes
            .map(|(name, value)| name.len() + size(value))
            .sum();
        Some(Self {
            number,
            bytes: entry.message_body.len() + attributes,
            entry,
        })
    }
}

fn size(value: &MessageAttributeValue) -> usize {
    let text = value.string_value().map_or(0, str::len);
    let bytes = value.binary_value().map_or(0, |value| value.as_ref().len());
    value.data_type.len() + text + bytes
}

/// The messages of one request.
#[derive(Debug, Default)]
pub struct Request {
    messages: Vec<Outgoing>,
    bytes: usize,
}

impl Request {
    /// The number of messages.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether it has no message.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Whether it has as many messages as SQS allows.
    pub fn is_full(&self) -> bool {
        self.messages.len() >= MAX_ENTRIES
    }

    /// Whether there is room for a message of this size.
    pub fn has_room(&self, bytes: usize) -> bool {
        !self.is_full() && self.bytes + bytes <= MAX_BYTES
    }

    /// Adds a message. The caller makes sure that there is room for it.
    pub fn push(&mut self, message: Outgoing) {
        self.bytes += message.bytes;
        self.messages.push(message);
    }

    /// The messages, in their order.
    pub fn into_messages(self) -> Vec<Outgoing> {
        self.messages
    }
}

/// Packs messages into as few requests as possible, in their order, and no earlier than they are taken.
pub fn packed(messages: impl IntoIterator<Item = Outgoing>) -> impl Iterator<Item = Request> {
    let mut messages = messages.into_iter().peekable();
    std::iter::from_fn(move || {
        let mut request = Request::default();
        request.push(messages.next()?);
        while let Some(message) = messages.next_if(|message| request.has_room(message.bytes)) {
            request.push(message);
        }
        Some(request)
    })
}

#[cfg(test)]
mod tests {
    use aws_sdk_sqs::primitives::Blob;

    use super::*;

    fn message(bytes: usize) -> Outgoing {
        let entry = SendMessageBatchRequestEntry::builder().message_body("x".repeat(bytes));
        Outgoing::new(0, entry).unwrap()
    }

    #[test]
    fn a_request_holds_at_most_ten_messages_and_a_mebibyte() {
        let sizes = |bytes: usize, count: usize| {
            let messages = (0..count).map(|_| message(bytes));
            packed(messages)
                .map(|request| request.len())
                .collect::<Vec<_>>()
        };
        assert_eq!(sizes(1, 23), [10, 10, 3]);
        assert_eq!(sizes(400_000, 5), [2, 2, 1]);
        assert_eq!(sizes(1_048_576, 2), [1, 1]);
    }

    #[test]
    fn attributes_count_with_their_names_and_types() {
        let text = MessageAttributeValue::builder()
            .data_type("String")
            .string_value("acme");
        let bytes = MessageAttributeValue::builder()
            .data_type("Binary")
            .binary_value(Blob::new([0, 1]));
        let entry = SendMessageBatchRequestEntry::builder()
            .message_body("{}")
            .message_attributes("tenant", text.build().unwrap())
            .message_attributes("raw", bytes.build().unwrap());
        assert_eq!(
            Outgoing::new(0, entry).unwrap().bytes,
            2 + (6 + 6 + 4) + (3 + 6 + 2)
        );
    }
}
