//! A dead letter, and the message that it becomes on its way back.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use aws_sdk_sqs::types::{
    Message, MessageAttributeValue, MessageSystemAttributeName as Name,
    SendMessageBatchRequestEntry,
};
use sqs_to_postgres::message::origin::{ORIGIN, Origin, Origins};
use sqs_to_postgres::queue::{REJECTION, Reason, is_own_attribute, text_attribute};
use sqs_to_postgres::request::{MAX_ATTRIBUTES, MAX_BYTES, Outgoing};

const TOO_MANY: &str = "it has ten attributes of its own, so there is no room for its origin: \
    move it with `aws sqs start-message-move-task`, which gives it a new id";
const TOO_LARGE: &str = "it has more than 1 MiB with its origin: \
    move it with `aws sqs start-message-move-task`, which gives it a new id";
const NAME_TAKEN: &str = "it has an attribute of its own with the name origin: \
    move it with `aws sqs start-message-move-task`, which gives it a new id";

/// A message of the dead-letter queue, received with all its attributes.
pub(super) struct Letter {
    message: Message,
    /// What it says of its origin, whether that counts or not.
    origin: Option<Origin>,
    reason: Option<Reason>,
}

/// A message on its way back, and what a person should know of it.
#[derive(Debug)]
pub(super) struct Returned {
    pub(super) message: Outgoing,
    pub(super) notes: Vec<Note>,
}

/// What may surprise in a message that is moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Note {
    /// Its origin is not signed, because there is no key.
    Unsigned,
    /// Its origin carries a signature that is not of this key.
    Unverified,
    /// The time of its origin is that at which SQS moved it.
    TimeReset,
}

impl Letter {
    pub(super) fn new(message: Message) -> Self {
        let attribute = |name| message.message_attributes()?.get(name)?.string_value();
        Self {
            origin: attribute(ORIGIN).and_then(Origin::parse),
            reason: attribute(REJECTION).and_then(Reason::parse),
            message,
        }
    }

    /// By which the dead-letter queue knows it.
    pub(super) fn id(&self) -> &str {
        self.message.message_id().unwrap_or_default()
    }

    pub(super) fn receipt_handle(&self) -> &str {
        self.message.receipt_handle().unwrap_or_default()
    }

    /// The id that its message first had, as it says itself. SQS keeps it when it moves a message by itself.
    pub(super) fn original_id(&self) -> &str {
        self.origin
            .as_ref()
            .map_or_else(|| self.id(), |origin| &origin.id)
    }

    /// By which it is known again when it comes back. The body is part of it, so that a letter with a forged
    /// id is not taken for another.
    pub(super) fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.original_id(), self.body()).hash(&mut hasher);
        hasher.finish()
    }

    fn body(&self) -> &str {
        self.message.body().unwrap_or_default()
    }

    /// Why it failed, where the function has said so.
    pub(super) fn reason(&self) -> Option<&Reason> {
        self.reason.as_ref()
    }

    /// The ARN of the queue that it comes from, where that is known. What SQS says counts before what the
    /// message says, which its sender may have written.
    pub(super) fn source(&self) -> Option<&str> {
        let said = || self.origin.as_ref()?.queue();
        self.system(Name::DeadLetterQueueSourceArn).or_else(said)
    }

    pub(super) fn group(&self) -> Option<&str> {
        self.system(Name::MessageGroupId)
    }

    /// The message as it was, with its origin; or why it cannot be sent.
    pub(super) fn back(
        &self,
        number: usize,
        is_fifo: bool,
        origins: &Origins,
    ) -> Result<Returned, &'static str> {
        let (origin, notes) = self.origin_to_send(origins);
        let attributes = self.attributes(&origin)?;
        let group = self.group().or_else(|| is_fifo.then(|| self.original_id()));
        // That of its first sending would make SQS drop it for five minutes. This one stays the same
        // where a redrive that was killed is run again.
        let deduplication = is_fifo.then(|| format!("redrive-{}", self.id()));
        let entry = SendMessageBatchRequestEntry::builder()
            .message_body(self.body())
            .set_message_attributes(Some(attributes))
            .set_message_group_id(group.map(str::to_owned))
            .set_message_deduplication_id(deduplication);
        let message = Outgoing::new(number, entry).ok_or("it cannot be sent")?;
        if message.bytes > MAX_BYTES {
            return Err(TOO_LARGE);
        }
        Ok(Returned { message, notes })
    }

    /// The text of its origin. One that is signed goes back as it is: the function verifies it, and this key
    /// may not be the function's.
    fn origin_to_send(&self, origins: &Origins) -> (String, Vec<Note>) {
        if let Some(origin) = &self.origin {
            let counts = origins.accepts(origin, self.body());
            if counts || origin.is_signed() {
                let said = self.attribute(ORIGIN).unwrap_or_default();
                let notes = (!counts).then_some(Note::Unverified);
                return (said.to_owned(), notes.into_iter().collect());
            }
        }
        let sent_at = self.system(Name::SentTimestamp);
        let sent_at = sent_at.and_then(|millis| millis.parse().ok());
        let source = self.system(Name::DeadLetterQueueSourceArn);
        let origin = Origin::new(self.id(), sent_at, source.unwrap_or_default());
        let notes = [
            (!origins.has_key()).then_some(Note::Unsigned),
            self.has_lost_its_time().then_some(Note::TimeReset),
        ];
        let notes = notes.into_iter().flatten().collect();
        (origins.text(origin, self.body()), notes)
    }

    /// SQS keeps the time of a message that it moves to a dead-letter queue, but not of a FIFO queue's.
    /// Source: <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-dead-letter-queues.html> (2026-11).
    fn has_lost_its_time(&self) -> bool {
        let source = self.system(Name::DeadLetterQueueSourceArn);
        source.is_some_and(|arn| arn.ends_with(".fifo"))
    }

    /// Its own attributes and its origin.
    fn attributes(
        &self,
        origin: &str,
    ) -> Result<HashMap<String, MessageAttributeValue>, &'static str> {
        let mut attributes = HashMap::new();
        for (name, value) in self.message.message_attributes().into_iter().flatten() {
            if is_own_attribute(name, value.string_value().unwrap_or_default()) {
                attributes.insert(name.clone(), value.clone());
            }
        }
        if attributes.contains_key(ORIGIN) {
            return Err(NAME_TAKEN);
        }
        attributes.extend(text_attribute(origin).map(|origin| (ORIGIN.to_owned(), origin)));
        if attributes.len() > MAX_ATTRIBUTES {
            return Err(TOO_MANY);
        }
        Ok(attributes)
    }

    fn attribute(&self, name: &str) -> Option<&str> {
        self.message.message_attributes()?.get(name)?.string_value()
    }

    fn system(&self, name: Name) -> Option<&str> {
        Some(self.message.attributes()?.get(&name)?.as_str())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use sqs_to_postgres::mask::MaskKey;

    use super::*;

    const QUEUE: &str = "arn:aws:sqs:eu-west-1:0:logins";

    fn text(value: &str) -> MessageAttributeValue {
        text_attribute(value).unwrap()
    }

    fn letter(attributes: &[(&str, &str)]) -> Letter {
        from_queue(QUEUE, attributes)
    }

    fn from_queue(arn: &str, attributes: &[(&str, &str)]) -> Letter {
        let message = Message::builder().message_id("m-2").body("{}");
        let message = attributes.iter().fold(message, |message, (name, value)| {
            message.message_attributes(*name, text(value))
        });
        let message = message
            .attributes(Name::MessageGroupId, "anna")
            .attributes(Name::DeadLetterQueueSourceArn, arn)
            .attributes(Name::SentTimestamp, "1700000000123");
        Letter::new(message.build())
    }

    fn keyed() -> Origins {
        with_key_from(0)
    }

    fn with_key_from(first: u8) -> Origins {
        let key = STANDARD.encode((first..first + 32).collect::<Vec<u8>>());
        Origins::new(Some(&MaskKey::from_base64(&key).unwrap()))
    }

    fn unkeyed() -> Origins {
        Origins::new(None)
    }

    /// The origin that a letter goes back with, whether it counts, and what is noted.
    fn returned(letter: &Letter, origins: &Origins) -> (Origin, bool, Vec<Note>) {
        let returned = letter.back(0, false, origins).unwrap();
        let attributes = returned.message.entry.message_attributes().unwrap();
        let origin = Origin::parse(attributes[ORIGIN].string_value().unwrap()).unwrap();
        let counts = origins.accepts(&origin, "{}");
        (origin, counts, returned.notes)
    }

    #[test]
    fn a_letter_of_the_function_goes_back_as_it_was_with_its_origin() {
        for origins in [keyed(), unkeyed()] {
            let origin = Origin::new("m-1", Some(1_600_000_000_456), "arn");
            let origin = origins.text(origin, "{}");
            let sent_by_function = letter(&[
                (REJECTION, r#"{"rule": "type", "column": "ip"}"#),
                (ORIGIN, &origin),
                ("tenant", "acme"),
            ]);
            let back = sent_by_function.back(7, true, &origins).unwrap();
            assert_eq!(back.notes, []);
            let entry = back.message.entry;
            let expected = [
                (ORIGIN.to_owned(), text(&origin)),
                ("tenant".to_owned(), text("acme")),
            ];
            assert_eq!(
                entry.message_attributes().unwrap(),
                &HashMap::from(expected)
            );
            assert_eq!((entry.id(), entry.message_body()), ("7", "{}"));
            assert_eq!(
                (entry.message_group_id(), entry.message_deduplication_id()),
                (Some("anna"), Some("redrive-m-2"))
            );
        }
    }

    #[test]
    fn of_a_letter_that_sqs_moved_its_own_id_and_time_are_the_first() {
        let expected = Origin::new("m-2", Some(1_700_000_000_123), QUEUE);
        let (origin, _, notes) = returned(&letter(&[]), &unkeyed());
        assert_eq!((origin, notes), (expected, vec![Note::Unsigned]));
        let (origin, counts, notes) = returned(&letter(&[]), &keyed());
        assert_eq!(origin.id, "m-2");
        assert!(counts && origin.is_signed() && notes.is_empty());
        let back = letter(&[]).back(0, false, &unkeyed()).unwrap();
        assert_eq!(back.message.entry.message_deduplication_id(), None);
    }

    #[test]
    fn of_a_letter_from_a_fifo_queue_it_is_said_that_sqs_has_reset_its_time() {
        let arn = format!("{QUEUE}.fifo");
        let (_, _, notes) = returned(&from_queue(&arn, &[]), &keyed());
        assert_eq!(notes, [Note::TimeReset]);
        let origins = keyed();
        let origin = Origin::new("m-1", Some(1_600_000_000_456), &arn);
        let origin = origins.text(origin, "{}");
        let moved_before = from_queue(&arn, &[(ORIGIN, &origin)]);
        assert_eq!(returned(&moved_before, &origins).2, []);
    }

    #[test]
    fn a_forged_origin_does_not_become_a_signed_one() {
        let forged = Origin::new("victim", Some(1), QUEUE);
        let unsigned = unkeyed().text(forged.clone(), "{}");
        let (origin, counts, _) = returned(&letter(&[(ORIGIN, &unsigned)]), &keyed());
        assert_eq!((origin.id.as_str(), counts), ("m-2", true));
        // It may be that of another key, which only the function can tell.
        let of_another_key = with_key_from(1).text(forged, "{}");
        let (origin, counts, notes) = returned(&letter(&[(ORIGIN, &of_another_key)]), &keyed());
        assert_eq!((origin.id.as_str(), counts), ("victim", false));
        assert_eq!(notes, [Note::Unverified]);
    }

    #[test]
    fn where_a_letter_comes_from_is_what_sqs_says() {
        let forged = unkeyed().text(Origin::new("m-1", None, "arn:other"), "{}");
        assert_eq!(letter(&[(ORIGIN, &forged)]).source(), Some(QUEUE));
    }

    #[test]
    fn a_letter_without_room_for_its_origin_cannot_keep_it() {
        let names: Vec<String> = (0..10).map(|number| format!("a{number}")).collect();
        let own: Vec<_> = names.iter().map(|name| (name.as_str(), "x")).collect();
        let refused = |letter: &Letter| letter.back(0, false, &unkeyed()).map(|_| ());
        assert_eq!(refused(&letter(&own[..9])), Ok(()));
        assert_eq!(refused(&letter(&own)), Err(TOO_MANY));
        assert_eq!(refused(&letter(&[(ORIGIN, "web")])), Err(NAME_TAKEN));
        let large = "x".repeat(MAX_BYTES - 10);
        let large = Letter::new(Message::builder().message_id("m").body(large).build());
        assert_eq!(refused(&large), Err(TOO_LARGE));
    }
}
