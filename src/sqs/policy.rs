//! What becomes of a message that was not stored: the one policy that the function and `drain` follow.

use std::time::Duration;

use mapping::{Rule, S3Fault};

use crate::config::QueueSettings;

/// The doubling of a back-off ends here.
const MAX_BACK_OFF: Duration = Duration::from_secs(900);

/// A back-off is longer by up to this share of itself, at random: functions that failed together would otherwise come
/// back together. It is never shorter, so that an outage does not use up more deliveries.
const JITTER: f64 = 0.5;

/// With jitter it is no longer than this: the alarms of `template.yaml` take failures within 20 minutes for one outage.
const LONGEST_BACK_OFF: Duration = Duration::from_secs(1_080);

/// A refusal may pass by itself, for example when the row that a foreign key refers to is stored a moment later. A
/// mapping that rejects every message may be corrected. Two more deliveries give them the time of two visibility
/// timeouts.
const LATE_DELIVERY: u32 = 3;

/// After so many messages in a row that broke one rule, the mapping may be at fault. One alone does not show that: on
/// a quiet queue a bad message is often the only one of its batch.
const SUSPICIOUS_RUN: usize = 2;

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

/// Decides what becomes of messages that were not stored, batch after batch.
#[derive(Debug, Clone)]
pub struct FailurePolicy {
    has_dead_letter_queue: bool,
    outage_backoff: Duration,
    run: Run,
}

/// The messages since the last one that fits the mapping, if all of them broke one rule.
#[derive(Debug, Clone, Copy, Default)]
struct Run {
    rule: &'static str,
    messages: usize,
}

impl Run {
    /// With a batch of which so many messages were stored, and these failed.
    fn and(self, failed: &[(&Rule, u32)], stored: usize) -> Self {
        let tried = failed.iter().map(|(rule, _)| *rule);
        let tried: Vec<_> = tried.filter(|rule| **rule != Rule::GroupBlocked).collect();
        let Some(first) = tried.first().filter(|_| stored == 0) else {
            // Messages that are skipped, or blocked, show nothing.
            return if stored == 0 { self } else { Self::default() };
        };
        let rule = first.name();
        let is_run = |other: &&Rule| other.name() == rule && fault(other) == Fault::Message;
        if !tried.iter().all(is_run) {
            return Self::default();
        }
        let before = if self.rule == rule { self.messages } else { 0 };
        Self {
            rule,
            messages: before.saturating_add(tried.len()),
        }
    }
}

impl FailurePolicy {
    /// The policy that these settings ask for.
    pub fn new(settings: &QueueSettings) -> Self {
        Self {
            has_dead_letter_queue: settings.dead_letter_queue_url.is_some(),
            outage_backoff: settings.outage_backoff,
            run: Run::default(),
        }
    }

    /// What becomes of the failed messages of a batch, in their order: for each the rule that it broke, and at which
    /// delivery, counted from 1. `stored` is the number of messages whose rows are stored.
    pub fn dispositions(&mut self, failed: &[(&Rule, u32)], stored: usize) -> Vec<Disposition> {
        self.run = self.run.and(failed, stored);
        let failed = failed.iter();
        let decided = failed.map(|(rule, delivery)| self.disposition(rule, *delivery));
        decided.collect()
    }

    /// A message that does not fit the mapping can never succeed, unless the mapping is at fault. What Postgres refuses
    /// may. If the table may be at fault, or the message was not tried, it must not become a dead letter.
    fn disposition(&self, rule: &Rule, delivery: u32) -> Disposition {
        let dead_letter_from = |first: u32| match self.has_dead_letter_queue && delivery >= first {
            true => Disposition::DeadLetter,
            false => Disposition::Redeliver,
        };
        match fault(rule) {
            // If Postgres did not answer in time, that may be an outage too.
            Fault::Outage => Disposition::BackOff(self.outage_back_off(delivery)),
            Fault::Unknown => Disposition::Redeliver,
            Fault::Refused => dead_letter_from(LATE_DELIVERY),
            Fault::Message if self.run.messages >= SUSPICIOUS_RUN => {
                dead_letter_from(LATE_DELIVERY)
            }
            Fault::Message => dead_letter_from(1),
        }
    }

    /// For how long an outage backs a message off: base × 2^(delivery − 1), up to the cap, and jitter.
    pub fn outage_back_off(&self, delivery: u32) -> Duration {
        let (least, most) = self.back_offs(delivery);
        least + (most - least).mul_f64(fastrand::f64())
    }

    /// Its bounds.
    fn back_offs(&self, delivery: u32) -> (Duration, Duration) {
        let doubled = 2_u32.saturating_pow(delivery.saturating_sub(1));
        let least = self.outage_backoff.saturating_mul(doubled);
        let least = least.min(MAX_BACK_OFF);
        (least, least.mul_f64(1.0 + JITTER).min(LONGEST_BACK_OFF))
    }

    /// The longest time for which a message that was received may remain invisible, whatever the queue's visibility
    /// timeout.
    pub fn longest_back_off(&self) -> Duration {
        self.back_offs(u32::MAX).1
    }
}

/// Whose fault it is that a message is not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The mapping alone decides that, so the message breaks the rule at each delivery.
    Message,
    /// Postgres refuses its row.
    Refused,
    /// Nobody's: it was not stored in time, or S3 does not give its body.
    Outage,
    /// Perhaps the table's, another message's or our own.
    Unknown,
}

fn fault(rule: &Rule) -> Fault {
    match rule {
        Rule::OutOfTime
        | Rule::S3(
            S3Fault::NoBucket(_)
            | S3Fault::OtherRegion { .. }
            | S3Fault::Denied { .. }
            | S3Fault::Unavailable { .. },
        ) => Fault::Outage,
        Rule::GroupBlocked | Rule::Internal => Fault::Unknown,
        Rule::Refused(refusal) if refusal.is_ambiguous => Fault::Unknown,
        Rule::Refused(_) => Fault::Refused,
        Rule::BodyMissing
        | Rule::BodyNotJson
        | Rule::NotInEnvelope(_)
        | Rule::S3(S3Fault::Pointer(_) | S3Fault::Missing(_))
        | Rule::NotEncoded(_)
        | Rule::LineNotJson(_)
        | Rule::Jq(_)
        | Rule::Required
        | Rule::Type(_)
        | Rule::NotInUnit(_)
        | Rule::NotInFormat(..)
        | Rule::Range(_)
        | Rule::OutsideYears(_)
        | Rule::OutsideDay(_)
        | Rule::LocalTime(_)
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
        | Rule::TooLarge(_) => Fault::Message,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use mapping::Refusal;

    use super::*;

    fn policy(dead_letter_queue_url: Option<&str>, backoff_secs: u64) -> FailurePolicy {
        FailurePolicy::new(&QueueSettings {
            outage_backoff: Duration::from_secs(backoff_secs),
            dead_letter_queue_url: dead_letter_queue_url.map(str::to_owned),
        })
    }

    const QUEUE: Option<&str> = Some("url");

    fn refused() -> Rule {
        Rule::Refused(Box::default())
    }

    /// Whether the messages of a batch become dead letters.
    fn are_dead(policy: &mut FailurePolicy, failed: &[(&Rule, u32)], stored: usize) -> Vec<bool> {
        let decided = policy.dispositions(failed, stored).into_iter();
        decided.map(|one| one == Disposition::DeadLetter).collect()
    }

    #[test]
    fn a_refused_message_becomes_a_dead_letter_on_its_third_delivery() {
        let refused = refused();
        let failed = [1, 2, 3, 4].map(|delivery| (&refused, delivery));
        let dispositions = policy(QUEUE, 60).dispositions(&failed, 1);
        let (again, dead) = (Disposition::Redeliver, Disposition::DeadLetter);
        assert_eq!(dispositions, [again, again, dead, dead]);
    }

    #[test]
    fn a_message_that_can_never_succeed_becomes_a_dead_letter_at_once_if_there_is_a_queue() {
        let missing = || Rule::S3(S3Fault::Missing("b".into()));
        for rule in [Rule::Required, Rule::BodyNotJson, missing()] {
            for stored in [0, 1] {
                let with_queue = are_dead(&mut policy(QUEUE, 60), &[(&rule, 1)], stored);
                let without = are_dead(&mut policy(None, 60), &[(&rule, 9)], stored);
                assert_eq!((with_queue, without), (vec![true], vec![false]));
            }
        }
    }

    #[test]
    fn if_a_whole_batch_breaks_one_rule_its_messages_wait_for_their_third_delivery() {
        let of_one_rule = [
            (&Rule::Required, 1),
            (&Rule::Required, 2),
            (&Rule::Required, 3),
        ];
        let mut policy = policy(QUEUE, 60);
        assert_eq!(
            are_dead(&mut policy, &of_one_rule, 0),
            [false, false, true],
            "the mapping may be at fault"
        );
        assert_eq!(are_dead(&mut policy, &of_one_rule, 1), [true; 3]);
        let of_two = [(&Rule::Required, 1), (&Rule::BodyNotJson, 1)];
        assert_eq!(are_dead(&mut policy, &of_two, 0), [true; 2]);
        let fits_but_is_refused = [(&Rule::Required, 1), (&refused(), 1)];
        let dead = are_dead(&mut policy, &fits_but_is_refused, 0);
        assert_eq!(dead, [true, false]);
    }

    #[test]
    fn a_message_that_is_blocked_does_not_show_whether_the_mapping_is_at_fault() {
        let of_one_group = [(&Rule::Required, 1), (&Rule::GroupBlocked, 1)];
        let of_more = [
            (&Rule::Required, 1),
            (&Rule::GroupBlocked, 1),
            (&Rule::Required, 1),
        ];
        assert_eq!(
            are_dead(&mut policy(QUEUE, 60), &of_one_group, 0),
            [true, false]
        );
        assert_eq!(are_dead(&mut policy(QUEUE, 60), &of_more, 0), [false; 3]);
    }

    #[test]
    fn in_batches_of_one_message_the_second_of_a_rule_waits_unless_one_in_between_fits() {
        let mut policy = policy(QUEUE, 60);
        let mut next = |rule: &Rule, stored| are_dead(&mut policy, &[(rule, 1)], stored)[0];
        assert!(next(&Rule::Required, 0));
        assert!(!next(&Rule::Required, 0));
        assert!(next(&Rule::BodyNotJson, 0), "another rule");
        assert!(next(&Rule::Required, 0));
        assert!(!next(&Rule::Required, 0));
        assert!(are_dead(&mut policy, &[], 0).is_empty());
        let mut next = |rule: &Rule, stored| are_dead(&mut policy, &[(rule, 1)], stored)[0];
        assert!(!next(&Rule::Required, 0), "skipped messages show nothing");
        assert!(next(&Rule::Required, 1));
        assert!(next(&Rule::Required, 0));
    }

    /// Queues of good and bad messages, delivered in batches until nothing is left.
    mod model {
        use std::collections::VecDeque;

        use proptest::prelude::*;

        use super::*;

        /// A bad message is a dead letter after its first delivery, or after its third; a good one never is.
        fn deliver(
            messages: &[bool],
            batches: &[usize],
            outcome: impl Fn(bool) -> Option<Rule>,
        ) -> Vec<(bool, u32)> {
            let mut policy = policy(QUEUE, 60);
            let mut queue: VecDeque<_> = messages.iter().map(|is_good| (*is_good, 1)).collect();
            let mut sizes = batches.iter().cycle();
            let mut dead = Vec::new();
            while !queue.is_empty() {
                let size = *sizes.next().unwrap();
                let batch: Vec<_> = queue.drain(..size.min(queue.len())).collect();
                let failed: Vec<_> = batch
                    .iter()
                    .filter_map(|(is_good, delivery)| {
                        Some((outcome(*is_good)?, *is_good, *delivery))
                    })
                    .collect();
                let rules: Vec<_> = failed
                    .iter()
                    .map(|(rule, _, count)| (rule, *count))
                    .collect();
                let decided = policy.dispositions(&rules, batch.len() - failed.len());
                for ((_, is_good, delivery), disposition) in failed.iter().zip(decided) {
                    match disposition {
                        Disposition::DeadLetter => dead.push((*is_good, *delivery)),
                        _ => queue.push_back((*is_good, delivery + 1)),
                    }
                }
            }
            dead
        }

        proptest! {
            #[test]
            fn every_bad_message_is_a_dead_letter_by_its_third_delivery_and_no_good_one_is(
                messages in prop::collection::vec(any::<bool>(), 0..40),
                batches in prop::collection::vec(1_usize..12, 1..5),
            ) {
                let dead = deliver(&messages, &batches, |is_good| (!is_good).then_some(Rule::Required));
                let bad = messages.iter().filter(|is_good| !**is_good).count();
                prop_assert_eq!(dead.len(), bad);
                prop_assert!(dead.iter().all(|(is_good, delivery)| !is_good && (1..=3).contains(delivery)));
            }

            #[test]
            fn under_a_wrong_mapping_at_most_one_message_is_a_dead_letter_before_its_third_delivery(
                messages in prop::collection::vec(any::<bool>(), 0..40),
                batches in prop::collection::vec(1_usize..12, 1..5),
            ) {
                let dead = deliver(&messages, &batches, |_| Some(Rule::Required));
                prop_assert_eq!(dead.len(), messages.len());
                let early = dead.iter().filter(|(_, delivery)| *delivery < 3).count();
                prop_assert!(early <= 1, "{} of {}", early, dead.len());
            }
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
            Rule::S3(S3Fault::NoBucket("b".into())),
            Rule::S3(S3Fault::Denied {
                bucket: "b".into(),
                code: "AccessDenied".into(),
            }),
            Rule::S3(S3Fault::Unavailable {
                bucket: "b".into(),
                reason: "SlowDown".into(),
            }),
            Rule::Refused(Box::new(ambiguous)),
        ];
        for rule in rules {
            let dead = are_dead(&mut policy(QUEUE, 60), &[(&rule, 9)], 0);
            assert_eq!(dead, [false], "{rule:?}");
        }
    }

    #[test]
    fn the_back_off_doubles_with_every_delivery_up_to_the_cap() {
        let mut policy_of_60 = policy(None, 60);
        let failed = [1, 2, 3, 4, 5, 400].map(|delivery| (&Rule::OutOfTime, delivery));
        let bounds = [
            60..=90,
            120..=180,
            240..=360,
            480..=720,
            900..=1_080,
            900..=1_080,
        ];
        for _ in 0..100 {
            let delays = policy_of_60.dispositions(&failed, 0);
            for ((delay, (_, delivery)), bounds) in delays.iter().zip(failed).zip(&bounds) {
                let delay = delay.back_off().unwrap().as_secs();
                let of_batch = policy_of_60.outage_back_off(delivery).as_secs();
                assert!(bounds.contains(&delay) && bounds.contains(&of_batch));
            }
        }
        let longest = [60, 0].map(|base| policy(None, base).longest_back_off().as_secs());
        assert_eq!(longest, [1_080, 0]);
    }

    #[test]
    fn messages_that_failed_together_come_back_one_after_the_other() {
        let policy = policy(None, 60);
        for delivery in [1, 5, 400] {
            let delays: BTreeSet<u64> = (0..100)
                .map(|_| policy.outage_back_off(delivery).as_secs())
                .collect();
            assert!(delays.len() > 10, "{delivery}: {delays:?}");
        }
    }
}
