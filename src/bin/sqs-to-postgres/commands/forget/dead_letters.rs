//! The dead letters of people: found by receiving all messages, and deleted.

use aws_sdk_sqs::Client;
use sqs_to_postgres::sqs::batch::MAX_ENTRIES;
use sqs_to_postgres::sqs::dead_letter::DeadLetter;
use sqs_to_postgres::sqs::in_flight::{InFlight, Receipt};
use sqs_to_postgres::sqs::{Queue, name_of};

use super::person::{People, Verdict};
use crate::cli::dead_letters::{NewMessages, hold, in_flight};
use crate::cli::error::CliError;
use crate::cli::output::counted;
use crate::cli::settings::{DeadLetterFlags, QueueFlags};
use crate::cli::signals::Stop;

/// A dead-letter queue, and what is in it.
pub(super) struct DeadLetters {
    queue: Queue,
    arn: String,
    /// The queue whose messages are searched; `None`: any.
    source: Option<String>,
    /// How many messages that queue has, also in flight or delayed.
    pub(super) in_source: u64,
    pub(super) counts: Counts,
}

#[derive(Default)]
pub(super) struct Counts {
    pub(super) searched: usize,
    pub(super) found: usize,
    pub(super) deleted: usize,
    /// Messages of another queue.
    pub(super) of_other_queues: usize,
    /// Messages that the mapping cannot read.
    pub(super) unreadable: usize,
    /// Those of them whose text contains one of the values.
    pub(super) suspect: usize,
    /// Messages that were not received: they are in flight, delayed, or behind others of their group.
    pub(super) not_received: usize,
}

impl DeadLetters {
    /// The dead-letter queue, if a queue is named.
    pub(super) async fn of(
        sqs: &Client,
        queue: &QueueFlags,
        dead_letters: &DeadLetterFlags,
    ) -> Result<Option<Self>, CliError> {
        let (source, in_source, (queue, attributes)) = match queue.queue(sqs).await? {
            None => {
                let Some(queue) = dead_letters.named(sqs)? else {
                    return Ok(None);
                };
                let attributes = queue.attributes().await?;
                (None, 0, (queue, attributes))
            }
            Some(queue) => {
                let from = queue.attributes().await?;
                let dead = dead_letters.queue(sqs, &from).await?;
                let depth = from.depth.waiting + from.depth.invisible;
                (Some(from.arn), depth, dead)
            }
        };
        Ok(Some(Self {
            queue,
            arn: attributes.arn,
            source,
            in_source,
            counts: Counts::default(),
        }))
    }

    /// What is left of them, and why.
    pub(super) fn left(&self, deletes: bool) -> Vec<String> {
        let counts = &self.counts;
        let undeleted = if deletes {
            counts.found - counts.deleted
        } else {
            0
        };
        let not_received = match self.queue.is_fifo() {
            true => {
                "were not received, because others received them, they are delayed, or ten messages of their group are before them: redrive or delete those, and run it again"
            }
            false => {
                "were not received, because others received them, or they are delayed: run it again"
            }
        };
        let reasons = [
            (undeleted, "could not be deleted: run it again"),
            (counts.not_received, not_received),
            (
                counts.suspect,
                "cannot be read, and their text has one of the values: read them, and delete them by hand",
            ),
        ];
        let left = reasons.iter().filter(|(count, _)| *count > 0);
        let left = left.map(|(count, why)| format!("{} ({why})", counted(*count, "dead letter")));
        left.collect()
    }

    pub(super) fn name(&self) -> &str {
        name_of(&self.arn)
    }

    /// Looks through the queue, and then makes the messages that stay visible again, also after an error.
    pub(super) async fn look_through(
        &mut self,
        people: &People,
        deletes: bool,
        stop: &Stop,
    ) -> Result<(), CliError> {
        let depth = self.queue.attributes().await?.depth;
        let in_flight = in_flight(self.queue.clone());
        let result = hold(&in_flight, self.search(&in_flight, people, deletes, stop)).await;
        let expected = (depth.waiting + depth.invisible) as usize;
        self.counts.not_received = expected.saturating_sub(self.counts.searched);
        result
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
        let is_other = |source: &String| message.source().is_some_and(|other| other != source);
        if self.source.as_ref().is_some_and(is_other) {
            counts.of_other_queues += 1;
            return false;
        }
        let arn = self.source.as_ref().unwrap_or(&self.arn);
        match people.verdict(message.message(), arn) {
            Verdict::Theirs => counts.found += 1,
            Verdict::OfOthers => return false,
            Verdict::Unreadable { is_suspect } => {
                counts.unreadable += 1;
                counts.suspect += usize::from(is_suspect);
                return false;
            }
        }
        true
    }
}
