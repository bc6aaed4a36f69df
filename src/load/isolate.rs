//! Finds the messages of a batch that cannot be stored, and stores all others.
//!
//! A part of the batch is stored whole or not at all. A part with a row at fault is split in the middle: O(bad · log n)
//! statements. [`schedule`](super::schedule) has the order.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use mapping::{MessageRows, Pipeline};
use tokio_postgres::error::SqlState;

use super::limits::parts;
use super::schedule::{Lanes, Part, Schedule};
use super::{Failure, LoadError, Loaded, Loader, Outcome};
use crate::counts::Stored;
use crate::deadline::TimeBudget;
use crate::refusal::OfPostgres as _;

/// So many single rows for which the table or the server may be at fault are enough to suspect it, if no row was
/// stored.
const MAX_DOUBTS: usize = 8;

/// Then so many messages are tried from all over the rest of the batch. If none of them can be stored either, the batch
/// fails as a whole.
const MAX_PROBES: usize = 8;

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
            Failure::Stuck(None) | Failure::OutOfTime => Outcome::Unknown,
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

/// A batch, some parts of which have been tried.
struct Progress<'a, F> {
    groups: &'a [Option<usize>],
    loaded: &'a mut Loaded,
    schedule: Schedule<F>,
    /// The FIFO groups of failed messages.
    blocked: HashSet<usize>,
    doubts: Doubts,
}

impl<F: FnOnce() -> Lanes> Progress<'_, F> {
    /// What to try next.
    fn next(&mut self) -> Option<Part> {
        loop {
            let part = match self.doubts.count.checked_sub(MAX_DOUBTS) {
                Some(probes) if !self.loaded.is_any_stored() => {
                    let is_enough = probes >= MAX_PROBES || self.doubts.table.is_some();
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

    fn is_blocked(&mut self, message: usize) -> bool {
        let group = group_of(self.groups, message);
        let is_blocked = group.is_some_and(|group| self.blocked.contains(&group));
        if is_blocked {
            self.loaded.outcomes[message] = Outcome::Blocked;
        }
        is_blocked
    }

    fn block(&mut self, behind: &[usize]) {
        let groups = behind.iter();
        let groups = groups.filter_map(|&message| group_of(self.groups, message));
        self.blocked.extend(groups);
    }

    fn stored(&mut self, part: &Part, stored: &[Stored]) {
        self.loaded.add(&part.messages, stored);
        self.schedule.stored();
    }

    fn failed(&mut self, part: Part, failure: Failure) {
        let is_stuck = matches!(failure, Failure::Stuck(_));
        match (failure, &part.messages[..]) {
            (failure, &[message]) => {
                let may_pass = lacks_reference(&failure) && !self.schedule.is_empty();
                self.loaded.outcomes[message] = self.doubts.outcome(message, failure);
                if is_stuck {
                    self.schedule.timed_out();
                }
                match may_pass {
                    true => self.schedule.postpone(part),
                    false => self.block(&[message]),
                }
            }
            _ => self.schedule.halve(part, is_stuck),
        }
    }
}

/// Whether a row refers to one that is not in the table: it may belong to a later message.
fn lacks_reference(failure: &Failure) -> bool {
    matches!(failure, Failure::Row(refusal) if refusal.is(&SqlState::FOREIGN_KEY_VIOLATION))
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
        let pipeline = Arc::clone(&self.pipeline);
        let parts = parts(rows, self.database.is_dsql());
        let mut progress = Progress {
            groups,
            loaded,
            schedule: Schedule::new(parts, || lanes(&pipeline, rows, groups)),
            blocked: HashSet::new(),
            doubts: Doubts::default(),
        };
        while let Some(part) = progress.next() {
            match self.store(rows, &part, time).await {
                Ok(stored) => progress.stored(&part, &stored),
                Err(Failure::OutOfTime) => break,
                Err(Failure::Batch(error)) => return Err(error),
                Err(failure) => progress.failed(part, failure),
            }
        }
        progress.doubts.verdict(rows, progress.loaded)
    }
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
