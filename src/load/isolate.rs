//! Finds the messages of a batch that cannot be stored, and stores all others.
//!
//! A part of the batch is stored whole or not at all. A part with a row at fault is split, at that row if it is
//! known, otherwise in the middle: O(bad · log n) statements. Parts are always stored in the order of arrival: under
//! `ignore` the first message of a key counts, under `update` the last or newest, and a failed message holds back the
//! later ones of its FIFO group.

use std::collections::HashSet;

use super::limits::parts;
use super::{Failure, LoadError, Loaded, Loader, Outcome};
use crate::deadline::TimeBudget;
use crate::rows::MessageRows;

/// A batch fails as a whole after this many single rows for which the table or the server may be at fault, if no row
/// was stored.
const MAX_DOUBTS: usize = 8;

/// Messages of a batch in the order of arrival.
struct Part {
    messages: Vec<usize>,
    /// A larger part with these messages ran out of time, or lost its connection.
    is_suspect: bool,
}

impl Part {
    /// Two halves, the later one first: parts are taken from the end.
    fn halves(mut self, is_stuck: bool) -> [Self; 2] {
        let later = self.messages.split_off(self.messages.len() / 2);
        let is_suspect = self.is_suspect || is_stuck;
        [later, self.messages].map(|messages| Self {
            messages,
            is_suspect,
        })
    }

    /// The messages after, at and before one, to be taken from the end.
    fn around(mut self, message: usize) -> [Self; 3] {
        let place = self.messages.iter().position(|&other| other == message);
        let mut later = self
            .messages
            .split_off(place.unwrap_or(self.messages.len()));
        let after = later.split_off(later.len().min(1));
        [after, later, self.messages].map(|messages| Self {
            messages,
            is_suspect: self.is_suspect,
        })
    }
}

/// Errors of single rows that may be due to the table or the server.
#[derive(Default)]
struct Doubts {
    count: usize,
    /// An error of the table: the batch fails, whatever else was stored.
    table: Option<LoadError>,
    /// An error of a row, or of the server if no other row is stored.
    other: Option<LoadError>,
    /// The messages whose row, or table, is at fault.
    messages: Vec<usize>,
}

impl Doubts {
    /// What became of a message that failed by itself.
    fn outcome(&mut self, message: usize, failure: Failure) -> Outcome {
        match failure {
            Failure::Row(refusal) => Outcome::Rejected(Box::new(refusal)),
            Failure::Doubt(refusal, error) => {
                self.count += 1;
                self.other = Some(error);
                self.messages.push(message);
                Outcome::Rejected(Box::new(refusal))
            }
            Failure::Table(error) | Failure::Batch(error) => {
                self.count += 1;
                self.table.get_or_insert(error);
                Outcome::Unknown
            }
            Failure::Stuck(Some(error)) => {
                self.count += 1;
                self.other = Some(error);
                Outcome::Unknown
            }
            Failure::Stuck(None) | Failure::RowAt(_) | Failure::OutOfTime => Outcome::Unknown,
        }
    }

    /// Blames the messages of which every table has taken rows of others; a duplicate proves nothing, because
    /// Postgres writes no row and runs no trigger for it.
    fn verdict(self, rows: &MessageRows, loaded: &mut Loaded) -> Result<(), LoadError> {
        for &message in &self.messages {
            let mut tables = rows.tables().iter().zip(&loaded.tables);
            let is_proven = tables.all(|(table, stored)| {
                table.of_message(message).is_empty() || stored.written + stored.deleted > 0
            });
            if let Outcome::Rejected(refusal) = &mut loaded.outcomes[message] {
                refusal.is_in_doubt = !is_proven;
            }
        }
        match (self.table, self.other) {
            (Some(error), _) => Err(error),
            (None, Some(error)) if !loaded.is_any_stored() => Err(error),
            _ => Ok(()),
        }
    }
}

impl Loader {
    /// Stores the rows of every message that can be stored in time. `groups` has the FIFO group of each message.
    pub(super) async fn store_all(
        &mut self,
        rows: &MessageRows,
        groups: &[Option<usize>],
        loaded: &mut Loaded,
        time: TimeBudget,
    ) -> Result<(), LoadError> {
        let mut blocked = HashSet::new();
        let mut doubts = Doubts::default();
        let parts = parts(rows, self.database.is_dsql()).into_iter().rev();
        let mut pending: Vec<Part> = parts
            .map(|messages| Part {
                messages,
                is_suspect: false,
            })
            .collect();
        while let Some(mut part) = pending.pop() {
            part.messages.retain(|&message| {
                let group = group_of(groups, message);
                let is_blocked = group.is_some_and(|group| blocked.contains(&group));
                if is_blocked {
                    loaded.outcomes[message] = Outcome::Blocked;
                }
                !is_blocked
            });
            if part.messages.is_empty() {
                continue;
            }
            match self
                .store(rows, &part.messages, part.is_suspect, time)
                .await
            {
                Ok(stored) => loaded.add(&part.messages, &stored),
                Err(Failure::OutOfTime) => break,
                Err(Failure::Batch(error)) => return Err(error),
                Err(Failure::RowAt(message)) => pending.extend(part.around(message)),
                Err(failure) => match part.messages[..] {
                    [message] => {
                        blocked.extend(group_of(groups, message));
                        loaded.outcomes[message] = doubts.outcome(message, failure);
                    }
                    _ => pending.extend(part.halves(matches!(failure, Failure::Stuck(_)))),
                },
            }
            if doubts.count >= MAX_DOUBTS && !loaded.is_any_stored() {
                break;
            }
        }
        doubts.verdict(rows, loaded)
    }
}

fn group_of(groups: &[Option<usize>], message: usize) -> Option<usize> {
    groups.get(message).copied().flatten()
}
