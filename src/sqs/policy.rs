//! What becomes of a message that was not stored: the one policy that the function and `drain` follow.

use std::time::Duration;

use mapping::Rule;

use crate::config::QueueSettings;

/// The longest time for which an outage backs a message off.
const MAX_BACK_OFF: Duration = Duration::from_secs(900);

/// A refusal may pass by itself, for example when the row that a foreign key refers to is stored a moment later. Two
/// more deliveries give it the time of two visibility timeouts.
const REFUSED_DELIVERIES: u32 = 3;

/// What becomes of a message that was not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// The function sends it to the dead-letter queue with the reason, and acknowledges it once it has arrived there.
    DeadLetter,
    /// SQS delivers it again after this time, so that an outage does not use up its deliveries.
    BackOff(Duration),
    /// SQS delivers it again after the queue's visibility timeout, and its redrive policy moves it in the end.
    Redeliver,
}

impl Disposition {
    /// For how long the message is backed off, if it is.
    pub(super) fn back_off(self) -> Option<Duration> {
        match self {
            Self::BackOff(delay) => Some(delay),
            Self::DeadLetter | Self::Redeliver => None,
        }
    }
}

/// The settings that decide what becomes of messages that were not stored.
#[derive(Debug, Clone, Copy)]
pub struct FailurePolicy {
    has_dead_letter_queue: bool,
    outage_backoff: Duration,
}

impl FailurePolicy {
    /// The policy that these settings ask for.
    pub fn new(settings: &QueueSettings) -> Self {
        Self {
            has_dead_letter_queue: settings.dead_letter_queue_url.is_some(),
            outage_backoff: settings.outage_backoff,
        }
    }

    /// What becomes of a message that broke a rule at this delivery, counted from 1.
    ///
    /// A message that does not fit the mapping can never succeed. What Postgres refuses may. If the table may be at
    /// fault, or the message was not tried, it must not become a dead letter.
    pub fn disposition(&self, rule: &Rule, delivery: u32) -> Disposition {
        match rule {
            // If Postgres did not answer in time, that may be an outage too.
            Rule::OutOfTime => Disposition::BackOff(self.outage_back_off(delivery)),
            Rule::GroupBlocked | Rule::Internal => Disposition::Redeliver,
            Rule::Refused(refusal) if refusal.is_ambiguous => Disposition::Redeliver,
            Rule::Refused(_) => self.dead_letter_from(REFUSED_DELIVERIES, delivery),
            Rule::BodyMissing
            | Rule::BodyNotJson
            | Rule::NotInEnvelope(_)
            | Rule::NotEncoded(_)
            | Rule::LineNotJson(_)
            | Rule::Required
            | Rule::Type(_)
            | Rule::Range(_)
            | Rule::Length(_)
            | Rule::NulCharacter
            | Rule::LoneSurrogate
            | Rule::Nesting(_)
            | Rule::Transform(_)
            | Rule::Unmatched
            | Rule::NotAnArray
            | Rule::NotAnObject(_)
            | Rule::RepeatedKey
            | Rule::TooManyRows(_)
            | Rule::TooLarge(_) => self.dead_letter_from(1, delivery),
        }
    }

    /// For how long an outage backs a message off: base × 2^(delivery − 1), up to the cap.
    pub fn outage_back_off(&self, delivery: u32) -> Duration {
        let doubled = 2_u32.saturating_pow(delivery.saturating_sub(1));
        let back_off = self.outage_backoff.saturating_mul(doubled);
        back_off.min(MAX_BACK_OFF)
    }

    /// The longest time for which a message that was received may remain invisible, whatever the queue's visibility
    /// timeout.
    pub fn longest_back_off(&self) -> Duration {
        self.outage_back_off(u32::MAX)
    }

    fn dead_letter_from(&self, first: u32, delivery: u32) -> Disposition {
        match self.has_dead_letter_queue && delivery >= first {
            true => Disposition::DeadLetter,
            false => Disposition::Redeliver,
        }
    }
}

#[cfg(test)]
mod tests {
    use mapping::Refusal;

    use super::*;

    fn policy(dead_letter_queue_url: Option<&str>, backoff_secs: u64) -> FailurePolicy {
        FailurePolicy::new(&QueueSettings {
            outage_backoff: Duration::from_secs(backoff_secs),
            dead_letter_queue_url: dead_letter_queue_url.map(str::to_owned),
        })
    }

    #[test]
    fn a_refused_message_becomes_a_dead_letter_on_its_third_delivery() {
        let policy = policy(Some("url"), 60);
        let refused = Rule::Refused(Box::default());
        let dispositions = [1, 2, 3, 4].map(|delivery| policy.disposition(&refused, delivery));
        let (again, dead) = (Disposition::Redeliver, Disposition::DeadLetter);
        assert_eq!(dispositions, [again, again, dead, dead]);
    }

    #[test]
    fn a_message_that_can_never_succeed_becomes_a_dead_letter_at_once_if_there_is_a_queue() {
        for rule in [Rule::Required, Rule::BodyNotJson] {
            let with_queue = policy(Some("url"), 60).disposition(&rule, 1);
            let without = policy(None, 60).disposition(&rule, 9);
            assert_eq!(
                (with_queue, without),
                (Disposition::DeadLetter, Disposition::Redeliver)
            );
        }
    }

    #[test]
    fn a_message_that_is_not_at_fault_never_becomes_a_dead_letter() {
        let ambiguous = Refusal {
            is_ambiguous: true,
            ..Refusal::default()
        };
        let rules = [
            Rule::GroupBlocked,
            Rule::Internal,
            Rule::OutOfTime,
            Rule::Refused(Box::new(ambiguous)),
        ];
        for rule in rules {
            let disposition = policy(Some("url"), 60).disposition(&rule, 9);
            assert_ne!(disposition, Disposition::DeadLetter, "{rule:?}");
        }
    }

    #[test]
    fn the_back_off_doubles_with_every_delivery_up_to_the_cap() {
        let policy_of_60 = policy(None, 60);
        let delays = [1, 2, 3, 4, 5, 400]
            .map(|delivery| policy_of_60.disposition(&Rule::OutOfTime, delivery));
        let secs = |secs| Disposition::BackOff(Duration::from_secs(secs));
        assert_eq!(delays, [60, 120, 240, 480, 900, 900].map(secs));
        let in_outage =
            [1, 2, 400].map(|delivery| policy_of_60.outage_back_off(delivery).as_secs());
        assert_eq!(in_outage, [60, 120, 900]);
        let longest = [60, 0].map(|base| policy(None, base).longest_back_off().as_secs());
        assert_eq!(longest, [900, 0]);
    }
}
