//! Finds the messages of a batch that cannot be stored, and stores all others.
//!
//! A part of the batch is stored whole or not at all. A part with a row at fault is split, at that row if it is
//! known, otherwise in the middle: O(bad · log n) statements. [`schedule`](super::schedule) has the order.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tokio_postgres::error::SqlState;

use super::limits::parts;
use super::schedule::{Lanes, Part, Schedule};
use super::{Failure, LoadError, Loaded, Loader, Outcome, Stored};
use crate::deadline::TimeBudget;
use crate::pipeline::Pipeline;
use crate::rows::MessageRows;

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
            (Failure::RowAt(message), _) => self.schedule.split_around(part, message),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::DatabaseError;
    use crate::refusal::Refusal;
    use crate::rows::RowKind;

    fn error() -> LoadError {
        DatabaseError::Late.into()
    }

    fn doubt() -> Failure {
        Failure::Doubt(Refusal::default(), error())
    }

    fn loaded(outcomes: Vec<Outcome>, tables: &[Stored]) -> Loaded {
        Loaded {
            outcomes,
            tables: tables.to_vec(),
        }
    }

    fn rejected() -> Outcome {
        Outcome::Rejected(Box::default())
    }

    #[test]
    fn whatever_a_message_fails_by_no_later_one_of_its_group_is_tried() {
        let failures = [
            Failure::Row(Refusal::default()),
            doubt(),
            Failure::Table(error()),
            Failure::Stuck(None),
            Failure::Stuck(Some(error())),
        ];
        for (number, failure) in failures.into_iter().enumerate() {
            let mut loaded = loaded(vec![Outcome::Unknown; 5], &[]);
            let mut progress = Progress {
                groups: &[Some(0), Some(1), Some(0), None, Some(0)],
                loaded: &mut loaded,
                schedule: Schedule::new((0..5).map(|message| vec![message]).collect(), Lanes::new),
                blocked: HashSet::new(),
                doubts: Doubts::default(),
            };
            let first = progress.next().unwrap();
            assert_eq!(first.messages, [0]);
            progress.failed(first, failure);
            let mut tried = Vec::new();
            while let Some(part) = progress.next() {
                progress.stored(&part, &[]);
                tried.extend(part.messages);
            }
            assert_eq!(tried, [1, 3], "{number}");
            assert_eq!(loaded.outcomes[2], Outcome::Blocked, "{number}");
            assert_eq!(loaded.outcomes[4], Outcome::Blocked, "{number}");
        }
    }

    /// Which messages are not blamed for a refusal that may be the fault of a table. The first has a row in the first
    /// of two tables, the second one in the other, and the third one in both.
    fn in_doubt(tables: [Stored; 2]) -> Vec<usize> {
        let mut rows = MessageRows::new([1, 1]);
        for of_message in [&[0][..], &[1], &[0, 1]] {
            for &table in of_message {
                let table = rows.table_mut(table);
                table.rows.push_null();
                table.finish_row(None, RowKind::Full);
            }
            rows.finish_message();
        }
        let mut loaded = loaded(vec![rejected(), rejected(), rejected()], &tables);
        let mut doubts = Doubts::default();
        for message in 0..3 {
            doubts.outcome(message, doubt());
        }
        // Without a row that was stored, all of them fail as one.
        assert_eq!(doubts.verdict(&rows, &mut loaded), Err(error()));
        let is_in_doubt = |message: &usize| match &loaded.outcomes[*message] {
            Outcome::Rejected(refusal) => refusal.is_in_doubt,
            _ => false,
        };
        (0..3).filter(is_in_doubt).collect()
    }

    #[test]
    fn a_message_is_blamed_once_each_of_its_tables_has_changed_by_another_one_and_not_by_a_duplicate()
     {
        let none = Stored::default();
        let written = Stored { written: 1, ..none };
        let deleted = Stored { deleted: 1, ..none };
        let unchanged = Stored {
            duplicates: 7,
            stale: 7,
            ..none
        };
        assert_eq!(in_doubt([none, none]), [0, 1, 2]);
        assert_eq!(in_doubt([unchanged, written]), [0, 2]);
        assert_eq!(in_doubt([deleted, unchanged]), [1, 2]);
        assert_eq!(in_doubt([written, deleted]), [0_usize; 0]);
    }

    #[test]
    fn a_fault_of_the_table_fails_a_batch_of_which_something_is_stored_and_one_of_the_server_does_not()
     {
        let verdict = |failure: Failure, other: Outcome| {
            let mut doubts = Doubts::default();
            let outcome = doubts.outcome(0, failure);
            let mut loaded = loaded(vec![outcome, other], &[]);
            doubts.verdict(&MessageRows::new([]), &mut loaded)
        };
        assert_eq!(
            verdict(Failure::Table(error()), Outcome::Stored),
            Err(error())
        );
        assert_eq!(
            verdict(Failure::Stuck(Some(error())), Outcome::Stored),
            Ok(())
        );
        assert_eq!(
            verdict(Failure::Stuck(Some(error())), rejected()),
            Err(error())
        );
        assert_eq!(
            verdict(Failure::Row(Refusal::default()), rejected()),
            Ok(())
        );
    }
}
