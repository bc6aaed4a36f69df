//! Messages → rows and rejections; holds back the later messages of a FIFO group after a failure.

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::load::RowOutcome;
use crate::message::{Message, Record};
use crate::pipeline::Pipeline;
use crate::rejection::{Rejection, Rule};
use crate::rows::Rows;
use crate::transform::Transformer;

/// The records of an event: rows to store, and rejections.
pub(crate) struct Batch<'a> {
    records: &'a [Record<'a>],
    pub(crate) rows: Rows,
    /// For each row, its FIFO group; `None` on a standard queue.
    pub(crate) groups: Vec<Option<usize>>,
    /// For each row, the position of its record.
    positions: Vec<usize>,
    /// The position of a record, and why it is not stored.
    rejected: Vec<(usize, Rejection)>,
}

impl<'a> Batch<'a> {
    /// Makes a row of each record in order, or rejects it. After a rejected message no later one of its FIFO group
    /// becomes a row.
    pub(crate) fn of(
        records: &'a [Record<'a>],
        pipeline: &Pipeline,
        transformer: &Transformer,
    ) -> Self {
        let mut batch = Self {
            records,
            rows: Rows::new(pipeline.columns.len()),
            groups: Vec::with_capacity(records.len()),
            positions: Vec::with_capacity(records.len()),
            rejected: Vec::new(),
        };
        let mut numbers = HashMap::new();
        let mut failed_groups = HashSet::new();
        for (position, record) in records.iter().enumerate() {
            let group = record.fifo_group().map(|group| {
                let next = numbers.len();
                *numbers.entry(group).or_insert(next)
            });
            let made = if group.is_some_and(|group| failed_groups.contains(&group)) {
                Err(Rule::GroupHeld.into())
            } else {
                make_row(record, pipeline, transformer, &mut batch.rows)
            };
            match made {
                Ok(()) => {
                    batch.positions.push(position);
                    batch.groups.push(group);
                }
                Err(rejection) => {
                    failed_groups.extend(group);
                    batch.rejected.push((position, rejection));
                }
            }
        }
        batch
    }

    /// The records that are not stored, in order, given the outcomes of the rows.
    pub(crate) fn rejections(
        &mut self,
        outcomes: &[RowOutcome],
    ) -> Vec<(&'a Record<'a>, Rejection)> {
        let mut rejected = std::mem::take(&mut self.rejected);
        for (&position, outcome) in self.positions.iter().zip(outcomes) {
            let rule = match outcome {
                RowOutcome::Stored => continue,
                RowOutcome::Rejected(refusal) => Rule::Refused(refusal.clone()),
                RowOutcome::Blocked => Rule::GroupHeld,
                RowOutcome::Unknown => Rule::OutOfTime,
            };
            rejected.push((position, rule.into()));
        }
        rejected.sort_by_key(|(position, _)| *position);
        let mut rejected: Vec<_> = rejected
            .into_iter()
            .map(|(position, rejection)| (&self.records[position], rejection))
            .collect();
        hold_back(&mut rejected);
        rejected
    }
}

/// Reads one record into a row. A panic would reject only this record.
fn make_row(
    record: &Record<'_>,
    pipeline: &Pipeline,
    transformer: &Transformer,
    rows: &mut Rows,
) -> Result<(), Rejection> {
    let len = rows.len();
    let read = || {
        let message = Message::extract(record, pipeline.envelope)?;
        transformer.transform(&message, rows)
    };
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| {
        rows.truncate(len);
        Err(Rule::Internal.into())
    })
}

/// FIFO: only the first failure of a group keeps its rule. A later message that was rejected before Postgres refused
/// the first one would overtake it on the way to the dead-letter queue.
fn hold_back(rejected: &mut [(&Record<'_>, Rejection)]) {
    let mut failed = HashSet::new();
    for (record, rejection) in rejected {
        let group = record.fifo_group();
        if group.is_some_and(|group| !failed.insert(group)) {
            *rejection = Rule::GroupHeld.into();
        }
    }
}
