//! A dead letter, and the message that it becomes on its way back.

use std::collections::HashMap;

use aws_sdk_sqs::types::{
    Message, MessageAttributeValue, MessageSystemAttributeName as Name,
    SendMessageBatchRequestEntry,
};
use sqs_to_postgres::extract::{ORIGINAL_MESSAGE_ID, ORIGINAL_SENT_AT};
use sqs_to_postgres::queue::{ERROR_COLUMN, ERROR_PATH, ERROR_RULE, SOURCE_QUEUE_ARN, add_texts};
use sqs_to_postgres::request::{MAX_ATTRIBUTES, MAX_BYTES, Outgoing};

/// Said of a failure, and so of none that is mended.
const REASON: [&str; 4] = [ERROR_RULE, ERROR_COLUMN, ERROR_PATH, SOURCE_QUEUE_ARN];

const TOO_MANY: &str = "it has ten attributes of its own, and none is left for original_message_id: \
    move it with `aws sqs start-message-move-task`, which gives it a new id";
const TOO_LARGE: &str = "it has more than 1 MiB with its first id: \
    move it with `aws sqs start-message-move-task`, which gives it a new id";

/// A message of the dead-letter queue, received with all its attributes.
pub(super) struct Letter(pub(super) Message);

impl Letter {
    /// By which the dead-letter queue knows it.
    pub(super) fn id(&self) -> &str {
        self.0.message_id().unwrap_or_default()
    }

    /// The id that its message first had. SQS keeps it when it moves a message by itself.
    pub(super) fn original_id(&self) -> &str {
        self.attribute(ORIGINAL_MESSAGE_ID)
            .unwrap_or_else(|| self.id())
    }

    /// The rule it broke, where the function has said so.
    pub(super) fn rule(&self) -> Option<&str> {
        self.attribute(ERROR_RULE)
    }

    /// The column and the path at which it did.
    pub(super) fn place(&self) -> [Option<&str>; 2] {
        [ERROR_COLUMN, ERROR_PATH].map(|name| self.attribute(name))
    }

    /// The ARN of the queue that it comes from, where that is known.
    pub(super) fn source(&self) -> Option<&str> {
        self.attribute(SOURCE_QUEUE_ARN)
            .or_else(|| self.system(Name::DeadLetterQueueSourceArn))
    }

    /// The message as it was, with its first id; or why it cannot be sent.
    pub(super) fn back(&self, number: usize, is_fifo: bool) -> Result<Outgoing, &'static str> {
        let attributes = self.attributes();
        if attributes.len() > MAX_ATTRIBUTES {
            return Err(TOO_MANY);
        }
        let group = self.system(Name::MessageGroupId);
        let group = group.or_else(|| is_fifo.then(|| self.original_id()));
        // That of its first sending would make SQS drop it for five minutes. This one stays the same
        // where a redrive that was killed is run again.
        let deduplication = is_fifo.then(|| format!("redrive-{}", self.id()));
        let entry = SendMessageBatchRequestEntry::builder()
            .message_body(self.0.body().unwrap_or_default())
            .set_message_attributes(Some(attributes))
            .set_message_group_id(group.map(str::to_owned))
            .set_message_deduplication_id(deduplication);
        let message = Outgoing::new(number, entry).ok_or("it cannot be sent")?;
        if message.bytes > MAX_BYTES {
            return Err(TOO_LARGE);
        }
        Ok(message)
    }

    /// When SQS first received its message, in milliseconds since 1970. SQS keeps that as well when it moves a
    /// message by itself from a standard queue.
    /// Source: <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-dead-letter-queues.html>.
    fn original_sent_at(&self) -> Option<&str> {
        self.attribute(ORIGINAL_SENT_AT)
            .or_else(|| self.system(Name::SentTimestamp))
    }

    /// Its own attributes and its first id, and its first time where there is room for it.
    fn attributes(&self) -> HashMap<String, MessageAttributeValue> {
        let all = self.0.message_attributes().into_iter().flatten();
        let mut attributes: HashMap<_, _> = all
            .filter(|(name, _)| !REASON.contains(&name.as_str()))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let origin = [
            (ORIGINAL_MESSAGE_ID, Some(self.original_id())),
            (ORIGINAL_SENT_AT, self.original_sent_at()),
        ];
        add_texts(&mut attributes, &origin);
        attributes
    }

    fn attribute(&self, name: &str) -> Option<&str> {
        self.0.message_attributes()?.get(name)?.string_value()
    }

    fn system(&self, name: Name) -> Option<&str> {
        Some(self.0.attributes()?.get(&name)?.as_str())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn text(value: &str) -> MessageAttributeValue {
        let value = MessageAttributeValue::builder()
            .data_type("String")
            .string_value(value);
        value.build().unwrap()
    }

    fn letter(attributes: &[(&str, &str)]) -> Letter {
        let message = Message::builder().message_id("m-2").body("{}");
        let message = attributes.iter().fold(message, |message, (name, value)| {
            message.message_attributes(*name, text(value))
        });
        let message = message.attributes(Name::MessageGroupId, "anna");
        Letter(
            message
                .attributes(Name::SentTimestamp, "1700000000123")
                .build(),
        )
    }

    #[test]
    fn a_letter_of_the_function_goes_back_as_it_was_with_its_first_id_and_time() {
        let sent_by_function = letter(&[
            (ERROR_RULE, "type"),
            (ERROR_COLUMN, "ip"),
            (ERROR_PATH, "ip"),
            (SOURCE_QUEUE_ARN, "arn"),
            (ORIGINAL_MESSAGE_ID, "m-1"),
            (ORIGINAL_SENT_AT, "1600000000456"),
            ("tenant", "acme"),
        ]);
        let entry = sent_by_function.back(7, true).unwrap().entry;
        let attributes = entry.message_attributes().unwrap();
        let expected = [
            (ORIGINAL_MESSAGE_ID.to_owned(), text("m-1")),
            (ORIGINAL_SENT_AT.to_owned(), text("1600000000456")),
            ("tenant".to_owned(), text("acme")),
        ];
        assert_eq!(attributes, &HashMap::from(expected));
        assert_eq!((entry.id(), entry.message_body()), ("7", "{}"));
        assert_eq!(
            (entry.message_group_id(), entry.message_deduplication_id()),
            (Some("anna"), Some("redrive-m-2"))
        );
    }

    #[test]
    fn of_a_letter_that_sqs_moved_its_own_id_and_time_are_the_first() {
        let entry = letter(&[]).back(0, false).unwrap().entry;
        let expected = [
            (ORIGINAL_MESSAGE_ID.to_owned(), text("m-2")),
            (ORIGINAL_SENT_AT.to_owned(), text("1700000000123")),
        ];
        assert_eq!(
            entry.message_attributes().unwrap(),
            &HashMap::from(expected)
        );
        assert_eq!(entry.message_deduplication_id(), None);
    }

    #[test]
    fn a_letter_without_room_for_its_first_id_cannot_keep_it() {
        let names: Vec<String> = (0..10).map(|number| format!("a{number}")).collect();
        let own: Vec<_> = names.iter().map(|name| (name.as_str(), "x")).collect();
        let nine = letter(&own[..9]).back(0, false).unwrap().entry;
        assert!(
            !nine
                .message_attributes()
                .unwrap()
                .contains_key(ORIGINAL_SENT_AT)
        );
        assert_eq!(letter(&own).back(0, false).unwrap_err(), TOO_MANY);
        let large = "x".repeat(MAX_BYTES - 10);
        let large = Letter(Message::builder().message_id("m").body(large).build());
        assert_eq!(large.back(0, false).unwrap_err(), TOO_LARGE);
    }
}
