//! Finds the messages of a batch that cannot be stored, and stores all others.
//!
//! A part of the batch is stored whole or not at all. A part with a row at fault is split in the middle: O(bad · log n)
//! statements. [`schedule`](super::schedule) has the order.

use std::collections::{HashMap, HashSet};

use mapping::{MessageRows, Pipeline, TableRows};
use tokio_postgres::error::SqlState;

use super::attempt::Failure;
use super::schedule::{Lanes, Part, Schedule};
use super::{LoadError, Loaded, MessageOutcome};
use crate::counts::Stored;
use crate::database::TransactionLimit;
use crate::refusal::OfPostgres as _;

/// So many single rows for which the table or the server may be at fault are enough to suspect it, if no row was
/// stored.
const MAX_AMBIGUOUS: usize = 8;

/// Then so many messages are tried from all over the rest of the batch. If none of them can be stored either, the batch
/// fails as a whole.
const MAX_PROBES: usize = 8;

/// A batch, some parts of which have been tried.
pub(super) struct Batch<'a> {
    rows: &'a MessageRows,
    groups: &'a [Option<usize>],
    loaded: Loaded,
    schedule: Schedule<'a>,
    /// The FIFO groups of failed messages.
    blocked: HashSet<usize>,
    ambiguous: Ambiguous,
}

/// Errors of single rows that may be due to the table or the server.
#[derive(Default)]
struct Ambiguous {
    count: usize,
    /// An error of the table: the batch fails, whatever else was stored.
    table: Option<LoadError>,
    /// An error of a row, or of the server if no other row is stored.
    other: Option<LoadError>,
    /// The messages whose row, or table, is at fault.
    messages: Vec<usize>,
}

impl<'a> Batch<'a> {
    /// None of the messages has been tried. `groups` has the FIFO group of each.
    pub(super) fn new(
        pipeline: &'a Pipeline,
        rows: &'a MessageRows,
        groups: &'a [Option<usize>],
        limit: Option<TransactionLimit>,
    ) -> Self {
        Self {
            rows,
            groups,
            loaded: Loaded {
                outcomes: vec![MessageOutcome::Unknown; rows.messages()],
                tables: vec![Stored::default(); rows.tables().len()],
            },
            schedule: Schedule::new(parts(rows, limit), move || lanes(pipeline, rows, groups)),
            blocked: HashSet::new(),
            ambiguous: Ambiguous::default(),
        }
    }

    /// The part to try next. Its result must be reported.
    pub(super) fn next(&mut self) -> Option<Part> {
        loop {
            let part = match self.ambiguous.count.checked_sub(MAX_AMBIGUOUS) {
                Some(probes) if !self.is_any_stored() => {
                    let is_enough = probes >= MAX_PROBES || self.ambiguous.table.is_some();
                    (!is_enough).then(|| self.schedule.probe()).flatten()
                }
                _ => self.schedule.next(),
            };
            let mut part = part?;
            part.messages.retain(|&message| !self.is_blocked(message));
            match part.messages[..] {
                [] => {}
                [..] if part.is_hopeless() => self.block(&part.messages),
                [..] => return Some(part),
            }
        }
    }

    /// The rows of a part are stored; with the counts of each table.
    pub(super) fn stored(&mut self, part: &Part, stored: &[Stored]) {
        for &message in &part.messages {
            self.set(message, MessageOutcome::Stored);
        }
        for (total, stored) in self.loaded.tables.iter_mut().zip(stored) {
            *total = total.plus(stored);
        }
        self.schedule.stored();
    }

    /// A part was not stored.
    pub(super) fn failed(&mut self, part: Part, failure: Failure) {
        let is_slow = matches!(failure, Failure::TryFewer(_));
        let &[message] = &part.messages[..] else {
            return self.schedule.halve(part, is_slow);
        };
        let may_pass = lacks_reference(&failure) && !self.schedule.is_empty();
        let outcome = self.ambiguous.outcome(message, failure);
        self.set(message, outcome);
        if is_slow {
            self.schedule.timed_out();
        }
        match may_pass {
            true => self.schedule.postpone(part),
            false => self.block(&[message]),
        }
    }

    /// What became of the batch, with the error that stopped it. A message is blamed if every table has stored rows of other messages; a duplicate
    /// proves nothing, because Postgres writes no row and runs no trigger for it.
    pub(super) fn end(mut self, stopped_by: Option<LoadError>) -> (Loaded, Result<(), LoadError>) {
        if let Some(error) = stopped_by {
            return (self.loaded, Err(error));
        }
        for message in std::mem::take(&mut self.ambiguous.messages) {
            let mut tables = self.rows.tables().iter().zip(&self.loaded.tables);
            let is_proven = tables.all(|(table, stored)| {
                table.of_message(message).is_empty() || stored.changed() > 0
            });
            if let Some(MessageOutcome::Rejected(refusal)) = self.loaded.outcomes.get_mut(message) {
                refusal.is_ambiguous = !is_proven;
            }
        }
        let result = match (self.ambiguous.table.take(), self.ambiguous.other.take()) {
            (Some(error), _) => Err(error),
            (None, Some(error)) if !self.is_any_stored() => Err(error),
            _ => Ok(()),
        };
        (self.loaded, result)
    }

    fn set(&mut self, message: usize, outcome: MessageOutcome) {
        if let Some(known) = self.loaded.outcomes.get_mut(message) {
            *known = outcome;
        }
    }

    fn is_any_stored(&self) -> bool {
        self.loaded.outcomes.contains(&MessageOutcome::Stored)
    }

    fn is_blocked(&mut self, message: usize) -> bool {
        let group = group_of(self.groups, message);
        let is_blocked = group.is_some_and(|group| self.blocked.contains(&group));
        if is_blocked {
            self.set(message, MessageOutcome::Blocked);
        }
        is_blocked
    }

    fn block(&mut self, behind: &[usize]) {
        let groups = behind.iter();
        let groups = groups.filter_map(|&message| group_of(self.groups, message));
        self.blocked.extend(groups);
    }
}

impl Ambiguous {
    /// What became of a message that failed by itself.
    fn outcome(&mut self, message: usize, failure: Failure) -> MessageOutcome {
        match failure {
            Failure::Refused(refusal, error) => {
                if let Some(error) = error {
                    self.count += 1;
                    self.other = Some(error);
                    self.messages.push(message);
                }
                MessageOutcome::Rejected(Box::new(refusal))
            }
            Failure::Table(error) => {
                self.count += 1;
                self.table.get_or_insert(error);
                MessageOutcome::Unknown
            }
            Failure::TryFewer(Some(error)) => {
                self.count += 1;
                self.other = Some(error);
                MessageOutcome::Unknown
            }
            Failure::TryFewer(None) | Failure::Stop(_) => MessageOutcome::Unknown,
        }
    }
}

/// Whether a row refers to one that is not in the table: it may belong to a later message.
fn lacks_reference(failure: &Failure) -> bool {
    matches!(failure, Failure::Refused(refusal, None) if refusal.is(&SqlState::FOREIGN_KEY_VIOLATION))
}

fn group_of(groups: &[Option<usize>], message: usize) -> Option<usize> {
    groups.get(message).copied().flatten()
}

/// What messages must not overtake each other for: a FIFO group, or the key of a row in a table without a parent.
#[derive(PartialEq, Eq, Hash)]
enum Lane<'r> {
    Group(usize),
    Key(usize, Vec<&'r [u8]>),
}

fn lanes(pipeline: &Pipeline, rows: &MessageRows, groups: &[Option<usize>]) -> Lanes {
    let mut numbers = HashMap::new();
    let tables = || pipeline.tables.iter().zip(rows.tables()).enumerate();
    let of_message = |message: usize| {
        let roots = tables().filter(|(_, (mapping, _))| mapping.parent.is_none());
        let keys = roots.flat_map(|(position, (mapping, table))| {
            table.of_message(message).map(move |row| {
                let cells = mapping.key.iter();
                let cells = cells.map(|&column| table.rows.cell(row, column));
                Lane::Key(position, cells.collect())
            })
        });
        let group = group_of(groups, message).map(Lane::Group);
        let lanes = group.into_iter().chain(keys);
        lanes
            .map(|lane| {
                let next = numbers.len();
                *numbers.entry(lane).or_insert(next)
            })
            .collect()
    };
    (0..rows.messages()).map(of_message).collect()
}

/// All messages in their order, in parts that are stored one after the other, where the server limits a transaction. A message is never divided: one that is
/// too large by itself is refused by the server.
fn parts(rows: &MessageRows, limit: Option<TransactionLimit>) -> Vec<Vec<usize>> {
    let Some(limit) = limit else {
        return vec![(0..rows.messages()).collect()];
    };
    let mut parts = vec![Vec::new()];
    let mut used = (0, 0);
    for message in 0..rows.messages() {
        let (count, bytes) = size(rows.tables(), message);
        used = (used.0 + count, used.1 + bytes);
        if used.0 > limit.rows || used.1 > limit.bytes {
            parts.push(Vec::new());
            used = (count, bytes);
        }
        if let Some(part) = parts.last_mut() {
            part.push(message);
        }
    }
    parts
}

/// The number of the message's rows, and their bytes.
fn size(tables: &[TableRows], message: usize) -> (usize, usize) {
    let of_table = |table: &TableRows| {
        let range = table.of_message(message);
        let bytes = range.clone().map(|row| table.rows.row(row).len());
        (range.len(), bytes.sum::<usize>())
    };
    let sizes = tables.iter().map(of_table);
    sizes.fold((0, 0), |sum, size| (sum.0 + size.0, sum.1 + size.1))
}

#[cfg(test)]
mod tests;
