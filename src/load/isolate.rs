//! Finds the rows of a batch that cannot be stored, and stores all others.
//!
//! A part of the batch is stored whole or not at all. A part with a row at fault is split, at that row if it is
//! known, otherwise in the middle: O(bad · log n) statements. Parts are always stored in the order of arrival: under
//! `ignore` the first message of a key counts, under `update` the last or newest, and a failed message holds back the
//! later ones of its FIFO group.

use std::collections::HashSet;

use super::{Failure, LoadError, Loaded, Loader, RowOutcome};
use crate::deadline::TimeBudget;
use crate::rows::Rows;

/// A batch fails as a whole after this many single rows for which the table or the server may be at fault, if no row
/// was stored.
const MAX_DOUBTS: usize = 8;

/// Rows of a batch in the order of arrival.
struct Part {
    rows: Vec<usize>,
    /// A larger part with these rows ran out of time, or lost its connection.
    is_suspect: bool,
}

impl Part {
    /// Two halves, the later one first: parts are taken from the end.
    fn halves(mut self, is_stuck: bool) -> [Self; 2] {
        let later = self.rows.split_off(self.rows.len() / 2);
        let is_suspect = self.is_suspect || is_stuck;
        [later, self.rows].map(|rows| Self { rows, is_suspect })
    }

    /// The rows after, at and before a row, to be taken from the end.
    fn around(mut self, row: usize) -> [Self; 3] {
        let place = self.rows.iter().position(|&other| other == row);
        let mut later = self.rows.split_off(place.unwrap_or(self.rows.len()));
        let after = later.split_off(later.len().min(1));
        [after, later, self.rows].map(|rows| Self {
            rows,
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
}

impl Doubts {
    fn outcome(&mut self, failure: Failure) -> RowOutcome {
        match failure {
            Failure::Row(refusal) => RowOutcome::Rejected(Box::new(refusal)),
            Failure::Doubt(refusal, error) => {
                self.count += 1;
                self.other = Some(error);
                RowOutcome::Rejected(Box::new(refusal))
            }
            Failure::Table(error) | Failure::Batch(error) => {
                self.count += 1;
                self.table.get_or_insert(error);
                RowOutcome::Unknown
            }
            Failure::Stuck(Some(error)) => {
                self.count += 1;
                self.other = Some(error);
                RowOutcome::Unknown
            }
            Failure::Stuck(None) | Failure::RowAt(_) | Failure::OutOfTime => RowOutcome::Unknown,
        }
    }

    fn verdict(self, is_any_stored: bool) -> Result<(), LoadError> {
        match (self.table, self.other) {
            (Some(error), _) => Err(error),
            (None, Some(error)) if !is_any_stored => Err(error),
            _ => Ok(()),
        }
    }
}

impl Loader {
    /// Stores every row that can be stored in time. `groups` has the FIFO group of each row.
    pub(super) async fn store_all(
        &mut self,
        rows: &Rows,
        groups: &[Option<usize>],
        loaded: &mut Loaded,
        time: TimeBudget,
    ) -> Result<(), LoadError> {
        let mut blocked = HashSet::new();
        let mut doubts = Doubts::default();
        let mut pending = vec![Part {
            rows: (0..rows.len()).collect(),
            is_suspect: false,
        }];
        while let Some(mut part) = pending.pop() {
            part.rows.retain(|&row| {
                let group = group_of(groups, row);
                let is_blocked = group.is_some_and(|group| blocked.contains(&group));
                if is_blocked {
                    loaded.outcomes[row] = RowOutcome::Blocked;
                }
                !is_blocked
            });
            if part.rows.is_empty() {
                continue;
            }
            match self.store(rows, &part.rows, part.is_suspect, time).await {
                Ok(stored) => loaded.add(&part.rows, stored),
                Err(Failure::OutOfTime) => break,
                Err(Failure::Batch(error)) => return Err(error),
                Err(Failure::RowAt(row)) => pending.extend(part.around(row)),
                Err(failure) => match part.rows[..] {
                    [row] => {
                        blocked.extend(group_of(groups, row));
                        loaded.outcomes[row] = doubts.outcome(failure);
                    }
                    _ => pending.extend(part.halves(matches!(failure, Failure::Stuck(_)))),
                },
            }
            if doubts.count >= MAX_DOUBTS && !loaded.is_any_stored() {
                break;
            }
        }
        doubts.verdict(loaded.is_any_stored())
    }
}

fn group_of(groups: &[Option<usize>], row: usize) -> Option<usize> {
    groups.get(row).copied().flatten()
}
