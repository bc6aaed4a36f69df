//! The dead letters of people: found by receiving all messages, and deleted.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::sqs::in_flight::InFlight;
use aws_sdk_sqs::Client;
use sqs_to_postgres::sqs::Receipt;
use sqs_to_postgres::sqs::batch::MAX_ENTRIES;
use sqs_to_postgres::sqs::dead_letter::DeadLetter;
use sqs_to_postgres::sqs::{Queue, name_of};

use tokio::time::{Instant, sleep};

use super::left::{Accept, Left};
use super::person::{People, Whose};
use crate::cli::dead_letters::{NewMessages, hold, in_flight};
use crate::cli::error::CliError;
use crate::cli::output::counted;
use crate::cli::settings::{DeadLetterFlags, QueueFlags};
use crate::cli::signals::Stop;

/// How long SQS may take to count messages that were just deleted or received.
const COUNT_TIME: Duration = Duration::from_secs(5);
const COUNT_PAUSE: Duration = Duration::from_millis(500);

/// The queue whose messages become rows.
pub(super) struct SourceQueue {
    queue: Queue,
    arn: String,
    /// How many messages it has, also in flight or delayed: the most that were seen.
    pub(super) messages: u64,
}

/// A dead-letter queue, and what is in it.
pub(super) struct DeadLetters {
    queue: Queue,
    arn: String,
    /// The queue whose messages are searched; `None`: any.
    source: Option<String>,
    pub(super) counts: DeadLetterCounts,
}

#[derive(Default)]
pub(super) struct DeadLetterCounts {
    pub(super) searched: usize,
    pub(super) found: usize,
    pub(super) deleted: usize,
    /// Messages of other queues, by their names: they are not searched.
    pub(super) of_other_queues: BTreeMap<String, usize>,
    /// Messages that the mapping cannot read.
    pub(super) unreadable: usize,
    /// Those of them whose text contains one of the values.
    pub(super) suspect: usize,
    /// Messages that were not received: they are in flight, delayed, or behind others of their group.
    pub(super) not_received: usize,
}

/// The queues, as far as they are named.
pub(super) async fn queues(
    sqs: &Client,
    queue: &QueueFlags,
    dead_letters: &DeadLetterFlags,
) -> Result<(Option<SourceQueue>, Option<DeadLetters>), CliError> {
    let (source, (queue, attributes)) = match queue.queue(sqs).await? {
        None => {
            let Some(queue) = dead_letters.named(sqs)? else {
                return Ok((None, None));
            };
            let attributes = queue.attributes().await?;
            (None, (queue, attributes))
        }
        Some(queue) => {
            let from = queue.attributes().await?;
            let dead = dead_letters.queue(sqs, &from).await?;
            let messages = from.depth.waiting + from.depth.invisible;
            let arn = from.arn;
            let source = SourceQueue {
                queue,
                arn,
                messages,
            };
            (Some(source), dead)
        }
    };
    let dead_letters = DeadLetters {
        queue,
        arn: attributes.arn,
        source: source.as_ref().map(|source| source.arn.clone()),
        counts: DeadLetterCounts::default(),
    };
    Ok((source, Some(dead_letters)))
}

impl SourceQueue {
    pub(super) fn name(&self) -> &str {
        name_of(&self.arn)
    }

    /// Counts its messages again: new ones may have become dead letters after the dead letters were searched.
    pub(super) async fn count(&mut self) -> Result<(), CliError> {
        let depth = self.queue.attributes().await?.depth;
        self.messages = self.messages.max(depth.waiting + depth.invisible);
        Ok(())
    }

    pub(super) fn left(&self) -> Option<Left> {
        let text = format!(
            "{} in queue {}, which cannot be searched: run it again once they are stored",
            counted(self.messages as usize, "message"),
            self.name()
        );
        (self.messages > 0).then(|| Left::unless_accepted(Accept::Queue, text))
    }
}

impl DeadLetters {
    /// The dead letters that remain, and why.
    pub(super) fn left(&self, deletes: bool) -> Vec<Left> {
        let counts = &self.counts;
        let undeleted = if deletes {
            counts.found - counts.deleted
        } else {
            0
        };
        let not_received = match self.queue.is_fifo() {
            true => {
                "were not received: they are in flight elsewhere, delayed, or behind ten messages of their group; redrive or delete those ten, and run it again"
            }
            false => "were not received: they are in flight elsewhere, or delayed; run it again",
        };
        let unreadable = counts.unreadable - counts.suspect;
        let reasons = [
            (undeleted, "could not be deleted: run it again", None),
            (counts.not_received, not_received, None),
            (
                counts.suspect,
                "cannot be parsed, and contain one of the values: inspect them, and delete them by hand",
                None,
            ),
            (
                unreadable,
                "cannot be parsed: inspect them, and delete them by hand",
                Some(Accept::Unreadable),
            ),
        ];
        let left = reasons.into_iter().filter(|(count, ..)| *count > 0);
        let left = left.map(|(count, why, accept)| Left {
            text: format!("{} ({why})", counted(count, "dead letter")),
            accept,
        });
        left.collect()
    }

    pub(super) fn name(&self) -> &str {
        name_of(&self.arn)
    }

    /// Looks through the queue, and then makes the remaining messages visible again, also after an error.
    pub(super) async fn look_through(
        &mut self,
        people: &People,
        deletes: bool,
        stop: &Stop,
    ) -> Result<(), CliError> {
        let before = self.depth().await?;
        let in_flight = in_flight(self.queue.clone());
        let searched = async {
            self.search(&in_flight, people, deletes, stop).await?;
            let before = before.saturating_sub(self.counts.searched);
            let now = self.not_in_flight(&in_flight, stop).await?;
            self.counts.not_received = before.max(now);
            Ok(())
        };
        hold(&in_flight, searched).await
    }

    async fn depth(&self) -> Result<usize, CliError> {
        let depth = self.queue.attributes().await?.depth;
        Ok((depth.waiting + depth.invisible) as usize)
    }

    /// How many messages the queue has besides those that were received. Messages that came meanwhile are among the
    /// searched ones, and would otherwise make up for others that were not searched.
    async fn not_in_flight(&self, in_flight: &InFlight, stop: &Stop) -> Result<usize, CliError> {
        let until = Instant::now() + COUNT_TIME;
        loop {
            let others = self.depth().await?.saturating_sub(in_flight.len());
            // The number is approximate for a while after messages were deleted.
            if others == 0 || others > self.counts.deleted || Instant::now() >= until {
                return Ok(others);
            }
            if stop.or_done(sleep(COUNT_PAUSE)).await.is_none() {
                return Ok(others);
            }
        }
    }

    async fn search(
        &mut self,
        in_flight: &InFlight,
        people: &People,
        deletes: bool,
        stop: &Stop,
    ) -> Result<(), CliError> {
        let mut new = NewMessages::of(in_flight);
        while !stop.is_asked()
            && let Some(messages) = new.next(MAX_ENTRIES).await?
        {
            let mut theirs: Vec<&Receipt> = Vec::new();
            for message in &messages {
                if self.is_theirs(people, message) {
                    theirs.push(message.receipt());
                }
            }
            if deletes && !theirs.is_empty() {
                let (failed, result) = in_flight.delete(&theirs).await;
                self.counts.deleted += theirs.len() - failed.len();
                result?;
            }
        }
        Ok(())
    }

    fn is_theirs(&mut self, people: &People, message: &DeadLetter) -> bool {
        let counts = &mut self.counts;
        counts.searched += 1;
        let other = message.source().filter(|other| {
            self.source
                .as_ref()
                .is_some_and(|source| source.as_str() != *other)
        });
        if let Some(other) = other {
            let name = name_of(other).to_owned();
            *counts.of_other_queues.entry(name).or_default() += 1;
            return false;
        }
        let arn = self.source.as_ref().unwrap_or(&self.arn);
        match people.whose(message.message(), arn) {
            Whose::Theirs => counts.found += 1,
            Whose::OfOthers => return false,
            Whose::Unreadable { is_suspect } => {
                counts.unreadable += 1;
                counts.suspect += usize::from(is_suspect);
                return false;
            }
        }
        true
    }
}
