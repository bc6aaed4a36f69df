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
    fn halves(mut self, is_suspect: bool) -> [Self; 2] {
        let later = self.rows.split_off(self.rows.len() / 2);
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
    fn table(&mut self, error: LoadError) {
        self.count += 1;
        self.table.get_or_insert(error);
    }

    fn other(&mut self, error: LoadError) {
        self.count += 1;
        self.other = Some(error);
    }

    /// The batch's error, if it has one.
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
                let is_blocked =
                    group_of(groups, row).is_some_and(|group| blocked.contains(&group));
                if is_blocked {
                    loaded.outcomes[row] = RowOutcome::Blocked;
                }
                !is_blocked
            });
            if part.rows.is_empty() {
                continue;
            }
            let failure = match self.store(rows, &part.rows, part.is_suspect, time).await {
                Ok(stored) => {
                    loaded.add(&part.rows, stored);
                    continue;
                }
                Err(failure) => failure,
            };
            let outcome = match (&part.rows[..], failure) {
                (_, Failure::OutOfTime) => break,
                (_, Failure::Batch(error)) => return Err(error),
                (_, Failure::RowAt(row)) => {
                    pending.extend(part.around(row));
                    continue;
                }
                (&[_], Failure::Row(refusal)) => RowOutcome::Rejected(Box::new(refusal)),
                (&[_], Failure::Doubt(refusal, error)) => {
                    doubts.other(error);
                    RowOutcome::Rejected(Box::new(refusal))
                }
                (&[_], Failure::Table(error)) => {
                    doubts.table(error);
                    RowOutcome::Unknown
                }
                (&[_], Failure::Stuck(error)) => {
                    error.into_iter().for_each(|error| doubts.other(error));
                    RowOutcome::Unknown
                }
                (_, failure) => {
                    let is_suspect = part.is_suspect || matches!(failure, Failure::Stuck(_));
                    pending.extend(part.halves(is_suspect));
                    continue;
                }
            };
            for &row in &part.rows {
                blocked.extend(group_of(groups, row));
                loaded.outcomes[row] = outcome.clone();
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
