//! Out of the dead-letter queue: the message that a dead letter becomes when it is moved back.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use aws_sdk_sqs::types::{
    Message, MessageSystemAttributeName as Name, SendMessageBatchRequestEntry,
};
use mapping::Origins;
use mapping::internals::{Content, Delivery, Ignored, ORIGIN, Origin, REJECTION};

use super::{Reason, Unsendable, content, senders, trace, with_ours};
use crate::sqs::batch::{MAX_BYTES, Outgoing};
use crate::sqs::{Receipt, is_fifo};

/// A message of the dead-letter queue, received with all its attributes.
pub struct DeadLetter {
    message: Message,
    receipt: Receipt,
    /// What its attribute says, valid or not.
    origin: Option<Origin>,
    reason: Option<Reason>,
}

/// A message that is moved back, and what the user should know about it.
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
    /// Its origin is not signed for the queue, because there is no key.
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
        self.digest_of(self.body())
    }

    /// Identifies a record of its message with this body when it comes back.
    pub fn digest_of(&self, body: &str) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.original_id(), body).hash(&mut hasher);
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

    /// The message as it was, with its origin, for the queue with this ARN.
    ///
    /// # Errors
    /// It cannot be sent.
    pub fn returned(
        &self,
        number: usize,
        queue_arn: &str,
        origins: &Origins,
    ) -> Result<Returned, Unsendable> {
        self.with_body(self.body(), None, number, queue_arn, origins)
    }

    /// The record at this position of the message, which is also its number, as a message of its own with this body: it
    /// keeps id, time and position, so its row has the key that it would have had, however often it is sent.
    ///
    /// # Errors
    /// It cannot be sent, or its origin cannot be signed.
    pub fn returned_record(
        &self,
        position: usize,
        body: &str,
        queue_arn: &str,
        origins: &Origins,
    ) -> Result<Returned, Unsendable> {
        self.with_body(body, Some(position), position, queue_arn, origins)
    }

    fn with_body(
        &self,
        body: &str,
        position: Option<usize>,
        number: usize,
        queue_arn: &str,
        origins: &Origins,
    ) -> Result<Returned, Unsendable> {
        let is_fifo = is_fifo(queue_arn);
        let of_message = self.message.message_attributes().into_iter().flatten();
        let of_message = of_message.map(|(name, value)| (name.clone(), value.clone()));
        let attributes = senders(of_message);
        let group = self.group().or_else(|| is_fifo.then(|| self.id()));
        let content = content(body, group, &attributes);
        let (origin, notes) = self.origin_to_send(origins, &content, queue_arn, position)?;
        let attributes = with_ours(attributes, &[(ORIGIN, origin)])?;
        // With the id of its first sending, SQS would drop it for five minutes. This one remains the same when a
        // redrive that was killed is run again.
        let deduplication = is_fifo.then(|| match position {
            Some(position) => format!("redrive-{}-{position}", self.id()),
            None => format!("redrive-{}", self.id()),
        });
        let entry = SendMessageBatchRequestEntry::builder()
            .message_body(body)
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

    /// The text of its origin, for what is sent to the queue with this ARN. It is signed again, because it may be of
    /// another queue, or signed with a retired key. One with another signature remains unchanged: the function
    /// verifies it, and its key might differ from the one given here. The origin of the record at a position needs a
    /// signature of its own.
    fn origin_to_send(
        &self,
        origins: &Origins,
        sent: &Content<'_>,
        queue_arn: &str,
        position: Option<usize>,
    ) -> Result<(String, Vec<Note>), Unsendable> {
        let unchanged = |notes| match position {
            Some(_) => Err(Unsendable::Signed),
            None => Ok((self.attribute(ORIGIN).unwrap_or_default().to_owned(), notes)),
        };
        let index = |first: Option<u32>| match position {
            // SQS's limit of 1 MiB keeps positions far below.
            Some(position) => {
                let position = u32::try_from(position).unwrap_or(u32::MAX);
                Some(first.unwrap_or_default().saturating_add(position))
            }
            None => first,
        };
        let known = self.origin.as_ref();
        match known.map(|origin| (origin, self.check(origin, origins))) {
            Some((origin, Ok(()))) if origins.has_key() || !origin.is_signed() => {
                let first = index(origin.index);
                let origin = Origin::new(&origin.id, origin.sent_at, queue_arn).with_index(first);
                return Ok((origins.text(origin, sent), Vec::new()));
            }
            Some((origin, Ok(()))) => {
                let is_of_another = origin.queue().is_some_and(|queue| queue != queue_arn);
                let note = is_of_another.then_some(Note::Unsigned);
                return unchanged(note.into_iter().collect());
            }
            Some((origin, Err(Ignored::Signature))) if origin.is_signed() => {
                return unchanged(vec![Note::Unverified]);
            }
            Some((_, Err(_))) | None => {}
        }
        let delivery = self.delivery();
        let origin = Origin::new(self.id(), delivery.sent_at, queue_arn).with_index(index(None));
        let notes = [
            (!origins.has_key()).then_some(Note::Unsigned),
            self.has_lost_its_time().then_some(Note::TimeReset),
        ];
        let notes = notes.into_iter().flatten().collect();
        Ok((origins.text(origin, sent), notes))
    }

    /// Whether its origin counts.
    fn check(&self, origin: &Origin, origins: &Origins) -> Result<(), Ignored> {
        let none = HashMap::new();
        let attributes = self.message.message_attributes().unwrap_or(&none);
        let received = content(self.body(), self.group(), attributes);
        origins.check(origin, &received, self.delivery())
    }

    /// What SQS says of it.
    fn delivery(&self) -> Delivery<'_> {
        let sent_at = self.system(Name::SentTimestamp);
        Delivery {
            sent_at: sent_at.and_then(|millis| millis.parse().ok()),
            queue: self.system(Name::DeadLetterQueueSourceArn),
        }
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
mod tests;
