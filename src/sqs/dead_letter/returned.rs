//! Out of the dead-letter queue: the message that a dead letter becomes when it is moved back.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use aws_sdk_sqs::types::{
    Message, MessageSystemAttributeName as Name, SendMessageBatchRequestEntry,
};

use super::{REJECTION, Reason, Unsendable, attributes, trace};
use crate::message::origin::{ORIGIN, Origin, Origins};
use crate::sqs::batch::{MAX_BYTES, Outgoing};
use crate::sqs::in_flight::Receipt;
use crate::sqs::is_fifo;

/// A message of the dead-letter queue, received with all its attributes.
pub struct DeadLetter {
    message: Message,
    receipt: Receipt,
    /// What its attribute says, valid or not.
    origin: Option<Origin>,
    reason: Option<Reason>,
}

/// A message on its way back, and what the user should know about it.
#[derive(Debug)]
pub struct Returned {
    /// The message to send.
    pub message: Outgoing,
    /// What the user should know.
    pub notes: Vec<Note>,
}

/// What may be unexpected in a message that is moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Note {
    /// Its origin is not signed, because there is no key.
    Unsigned,
    /// The signature of its origin is not of this key.
    Unverified,
    /// The time of its origin is when SQS moved it.
    TimeReset,
}

impl DeadLetter {
    /// A received message.
    pub fn new(message: Message) -> Self {
        let attribute = |name| message.message_attributes()?.get(name)?.string_value();
        Self {
            receipt: Receipt::of(&message),
            origin: attribute(ORIGIN).and_then(Origin::parse),
            reason: attribute(REJECTION).and_then(Reason::parse),
            message,
        }
    }

    /// Identifies it in the dead-letter queue.
    pub fn receipt(&self) -> &Receipt {
        &self.receipt
    }

    /// As it was received.
    pub fn message(&self) -> &Message {
        &self.message
    }

    fn id(&self) -> &str {
        &self.receipt.message_id
    }

    /// The id that its message first had, by its attribute. SQS keeps the id when it moves a message itself.
    pub fn original_id(&self) -> &str {
        self.origin
            .as_ref()
            .map_or_else(|| self.id(), |origin| &origin.id)
    }

    /// Identifies its message when it comes back. The body is part of it, so a forged id does not make it another
    /// message.
    pub fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.original_id(), self.body()).hash(&mut hasher);
        hasher.finish()
    }

    fn body(&self) -> &str {
        self.message.body().unwrap_or_default()
    }

    /// Why it failed, if the function sent it.
    pub fn reason(&self) -> Option<&Reason> {
        self.reason.as_ref()
    }

    /// The ARN of the queue that it comes from, if that is known. SQS's own attribute takes precedence over the
    /// message's, which its sender may have written.
    pub fn source(&self) -> Option<&str> {
        let claimed = || self.origin.as_ref()?.queue();
        self.system(Name::DeadLetterQueueSourceArn).or_else(claimed)
    }

    /// Its message group.
    pub fn group(&self) -> Option<&str> {
        self.system(Name::MessageGroupId)
    }

    /// The message as it was, with its origin.
    ///
    /// # Errors
    /// It cannot be sent.
    pub fn returned(
        &self,
        number: usize,
        is_fifo: bool,
        origins: &Origins,
    ) -> Result<Returned, Unsendable> {
        let (origin, notes) = self.origin_to_send(origins);
        let of_message = self.message.message_attributes().into_iter().flatten();
        let of_message = of_message.map(|(name, value)| (name.clone(), value.clone()));
        let attributes = attributes(of_message, &[(ORIGIN, origin)])?;
        let group = self.group().or_else(|| is_fifo.then(|| self.id()));
        // With the id of its first sending, SQS would drop it for five minutes. This one stays the same when a
        // redrive that was killed is run again.
        let deduplication = is_fifo.then(|| format!("redrive-{}", self.id()));
        let entry = SendMessageBatchRequestEntry::builder()
            .message_body(self.body())
            .set_message_attributes(Some(attributes))
            .set_message_system_attributes(trace(self.system(Name::AwsTraceHeader)))
            .set_message_group_id(group.map(str::to_owned))
            .set_message_deduplication_id(deduplication);
        let message = Outgoing::new(number, entry).ok_or(Unsendable::NoBody)?;
        if message.bytes > MAX_BYTES {
            return Err(Unsendable::TooLarge);
        }
        Ok(Returned { message, notes })
    }

    /// The text of its origin. A signed one stays as it is: the function verifies it, and its key might differ
    /// from the one given here.
    fn origin_to_send(&self, origins: &Origins) -> (String, Vec<Note>) {
        if let Some(origin) = &self.origin {
            let counts = origins.accepts(origin, self.body());
            if counts || origin.is_signed() {
                let text = self.attribute(ORIGIN).unwrap_or_default();
                let notes = (!counts).then_some(Note::Unverified);
                return (text.to_owned(), notes.into_iter().collect());
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

    /// SQS keeps the time of a message that it moves from a standard queue, and resets it from a FIFO queue.
    /// Source: <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-dead-letter-queues.html> (2026-11).
    fn has_lost_its_time(&self) -> bool {
        self.system(Name::DeadLetterQueueSourceArn)
            .is_some_and(is_fifo)
    }

    fn attribute(&self, name: &str) -> Option<&str> {
        self.message.message_attributes()?.get(name)?.string_value()
    }

    fn system(&self, name: Name) -> Option<&str> {
        Some(self.message.attributes()?.get(&name)?.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use aws_sdk_sqs::types::MessageAttributeValue;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;
    use crate::mask::MaskKey;
    use crate::sqs::dead_letter::text_attribute;

    const QUEUE: &str = "arn:aws:sqs:eu-west-1:0:logins";

    fn text(value: &str) -> MessageAttributeValue {
        text_attribute(value).unwrap()
    }

    fn dead_letter(attributes: &[(&str, &str)]) -> DeadLetter {
        from_queue(QUEUE, attributes)
    }

    fn from_queue(arn: &str, attributes: &[(&str, &str)]) -> DeadLetter {
        let message = Message::builder().message_id("m-2").body("{}");
        let message = attributes.iter().fold(message, |message, (name, value)| {
            message.message_attributes(*name, text(value))
        });
        let message = message
            .attributes(Name::MessageGroupId, "anna")
            .attributes(Name::DeadLetterQueueSourceArn, arn)
            .attributes(Name::SentTimestamp, "1700000000123")
            .attributes(Name::AwsTraceHeader, "Root=1");
        DeadLetter::new(message.build())
    }

    fn keyed(first: u8) -> Origins {
        let key = STANDARD.encode((first..first + 32).collect::<Vec<u8>>());
        Origins::new(Some(&MaskKey::from_base64(&key).unwrap().into()))
    }

    /// The origin that a dead letter returns with, whether it counts, and the notes.
    fn returned(dead: &DeadLetter, origins: &Origins) -> (Origin, bool, Vec<Note>) {
        let returned = dead.returned(0, false, origins).unwrap();
        let attributes = returned.message.entry.message_attributes().unwrap();
        let origin = Origin::parse(attributes[ORIGIN].string_value().unwrap()).unwrap();
        let counts = origins.accepts(&origin, "{}");
        (origin, counts, returned.notes)
    }

    #[test]
    fn a_dead_letter_of_the_function_returns_as_it_was_with_its_origin() {
        for origins in [keyed(0), Origins::new(None)] {
            let origin = Origin::new("m-1", Some(1_600_000_000_456), "arn");
            let origin = origins.text(origin, "{}");
            let sent_by_function = dead_letter(&[
                (REJECTION, r#"{"rule": "type", "column": "ip"}"#),
                (ORIGIN, &origin),
                ("tenant", "acme"),
            ]);
            let back = sent_by_function.returned(7, true, &origins).unwrap();
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
            assert_eq!(entry.message_system_attributes, trace(Some("Root=1")));
            assert_eq!(
                (entry.message_group_id(), entry.message_deduplication_id()),
                (Some("anna"), Some("redrive-m-2"))
            );
        }
    }

    #[test]
    fn the_origin_of_a_message_that_sqs_moved_is_its_own_id_and_time() {
        let expected = Origin::new("m-2", Some(1_700_000_000_123), QUEUE);
        let (origin, _, notes) = returned(&dead_letter(&[]), &Origins::new(None));
        assert_eq!((origin, notes), (expected, vec![Note::Unsigned]));
        let (origin, counts, notes) = returned(&dead_letter(&[]), &keyed(0));
        assert_eq!(origin.id, "m-2");
        assert!(counts && origin.is_signed() && notes.is_empty());
        let back = dead_letter(&[])
            .returned(0, false, &Origins::new(None))
            .unwrap();
        assert_eq!(back.message.entry.message_deduplication_id(), None);
    }

    #[test]
    fn a_message_that_sqs_moved_from_a_fifo_queue_is_noted_for_its_reset_time() {
        let arn = format!("{QUEUE}.fifo");
        let (_, _, notes) = returned(&from_queue(&arn, &[]), &keyed(0));
        assert_eq!(notes, [Note::TimeReset]);
        let origins = keyed(0);
        let origin = Origin::new("m-1", Some(1_600_000_000_456), &arn);
        let origin = origins.text(origin, "{}");
        let moved_before = from_queue(&arn, &[(ORIGIN, &origin)]);
        assert_eq!(returned(&moved_before, &origins).2, []);
    }

    #[test]
    fn a_forged_origin_does_not_become_a_signed_one() {
        let forged = Origin::new("victim", Some(1), QUEUE);
        let unsigned = Origins::new(None).text(forged.clone(), "{}");
        let (origin, counts, _) = returned(&dead_letter(&[(ORIGIN, &unsigned)]), &keyed(0));
        assert_eq!((origin.id.as_str(), counts), ("m-2", true));
        // It may be signed with another key: only the function knows.
        let of_another_key = keyed(1).text(forged, "{}");
        let (origin, counts, notes) =
            returned(&dead_letter(&[(ORIGIN, &of_another_key)]), &keyed(0));
        assert_eq!((origin.id.as_str(), counts), ("victim", false));
        assert_eq!(notes, [Note::Unverified]);
    }
}
