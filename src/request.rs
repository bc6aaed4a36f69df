//! What is asked of SQS for several messages at once, in requests that it takes.

use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::SdkError;
use aws_sdk_sqs::operation::change_message_visibility_batch::ChangeMessageVisibilityBatchError;
use aws_sdk_sqs::types::builders::SendMessageBatchRequestEntryBuilder;
use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, MessageAttributeValue, SendMessageBatchRequestEntry,
};

/// The most entries of a batch request of any kind.
/// Source: <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html> (2026-11).
pub const MAX_ENTRIES: usize = 10;

/// The most bytes of a message, and of the messages of one request together; attributes count.
pub const MAX_BYTES: usize = 1_048_576;

/// The most attributes a message can have.
pub const MAX_ATTRIBUTES: usize = 10;

/// Changes for how long deliveries, at most [`MAX_ENTRIES`] by their receipt handles, stay invisible from
/// now on, and gives for how many of them that failed.
///
/// # Errors
/// The request failed as a whole.
pub async fn change_visibility(
    sqs: &Client,
    url: &str,
    changes: impl Iterator<Item = (&str, Duration)>,
) -> Result<usize, SdkError<ChangeMessageVisibilityBatchError>> {
    let entries = changes.enumerate().filter_map(|(number, (handle, time))| {
        ChangeMessageVisibilityBatchRequestEntry::builder()
            .id(number.to_string())
            .receipt_handle(handle)
            .visibility_timeout(i32::try_from(time.as_secs()).unwrap_or(i32::MAX))
            .build()
            .ok()
    });
    let request = sqs.change_message_visibility_batch().queue_url(url);
    let answer = request.set_entries(Some(entries.collect())).send().await?;
    Ok(answer.failed.len())
}

/// A message to send; the id of its entry is its number.
#[derive(Debug)]
pub struct Outgoing {
    /// By which the sender knows it.
    pub number: usize,
    /// What it counts against [`MAX_BYTES`].
    pub bytes: usize,
    /// The message itself.
    pub entry: SendMessageBatchRequestEntry,
}

impl Outgoing {
    /// `None` where the entry has no body.
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
    /// How many there are.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Whether SQS takes no further one.
    pub fn is_full(&self) -> bool {
        self.messages.len() >= MAX_ENTRIES
    }

    /// Whether there is room for a message of so many bytes.
    pub fn has_room(&self, bytes: usize) -> bool {
        !self.is_full() && self.bytes + bytes <= MAX_BYTES
    }

    /// Adds a message, for which there is room.
    pub fn push(&mut self, message: Outgoing) {
        self.bytes += message.bytes;
        self.messages.push(message);
    }

    /// The messages, in their order.
    pub fn into_messages(self) -> Vec<Outgoing> {
        self.messages
    }
}

/// Messages in as few requests as keep their order.
pub fn packed(messages: impl IntoIterator<Item = Outgoing>) -> Vec<Request> {
    let mut requests: Vec<Request> = Vec::new();
    for message in messages {
        match requests.last_mut() {
            Some(request) if request.has_room(message.bytes) => request.push(message),
            _ => {
                let mut request = Request::default();
                request.push(message);
                requests.push(request);
            }
        }
    }
    requests
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
    fn requests_hold_ten_messages_and_a_mebibyte_at_most() {
        let sizes = |bytes: usize, count: usize| {
            let messages = (0..count).map(|_| message(bytes));
            packed(messages)
                .iter()
                .map(Request::len)
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
