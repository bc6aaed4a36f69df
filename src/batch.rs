//! Messages → rows and rejections; holds back the later messages of a FIFO group after a failure.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::load::Outcome;
use crate::message::{Message, Record};
use crate::pipeline::Pipeline;
use crate::rejection::{Rejection, Rule};
use crate::rows::{MessageRows, TableRows};
use crate::transform::Transformer;

/// The records of an event: rows to store, and rejections.
pub(crate) struct Batch<'a> {
    records: &'a [Record<'a>],
    pub(crate) rows: MessageRows,
    /// For each message with rows, its FIFO group; `None` on a standard queue.
    pub(crate) groups: Vec<Option<usize>>,
    /// For each message with rows, the position of its record.
    positions: Vec<usize>,
    /// How many messages the mapping makes no row of.
    pub(crate) skipped: usize,
    /// The position of a record, and why it is not stored.
    rejected: BTreeMap<usize, Rejection>,
}

impl<'a> Batch<'a> {
    /// Makes the rows of each record, in their order, or says why not. After a rejected message no later one of its
    /// FIFO group becomes rows.
    pub(crate) fn of(
        records: &'a [Record<'a>],
        pipeline: &Pipeline,
        transformer: &Transformer,
    ) -> Self {
        let mut batch = Self {
            records,
            rows: transformer.new_rows(),
            groups: Vec::with_capacity(records.len()),
            positions: Vec::with_capacity(records.len()),
            skipped: 0,
            rejected: BTreeMap::new(),
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
                make_rows(record, pipeline, transformer, &mut batch.rows)
            };
            match made {
                Ok(false) => batch.skipped += 1,
                Ok(true) => {
                    batch.positions.push(position);
                    batch.groups.push(group);
                }
                Err(rejection) => {
                    failed_groups.extend(group);
                    batch.rejected.insert(position, rejection);
                }
            }
        }
        batch
    }

    /// How many rows of the stored messages have no value of their own, in each table.
    pub(crate) fn empty_rows(&self, outcomes: &[Outcome]) -> Vec<usize> {
        let empty_in = |table: &TableRows| {
            let messages = outcomes.iter().enumerate();
            let stored = messages.filter(|(_, outcome)| matches!(outcome, Outcome::Stored));
            stored.map(|(message, _)| table.empty_of(message)).sum()
        };
        self.rows.tables().iter().map(empty_in).collect()
    }

    /// The records that are not stored, in their order, given what became of their rows. FIFO: only the first failure
    /// of a group keeps its rule, and whatever comes after it is held back, because it would overtake it on the way to
    /// the table or to the dead-letter queue.
    pub(crate) fn rejections(&mut self, outcomes: &[Outcome]) -> Vec<(&'a Record<'a>, Rejection)> {
        let mut rejected = std::mem::take(&mut self.rejected);
        for (&position, outcome) in self.positions.iter().zip(outcomes) {
            let rule = match outcome {
                Outcome::Stored => continue,
                Outcome::Rejected(refusal) => Rule::Refused(refusal.clone()),
                Outcome::Blocked => Rule::GroupHeld,
                Outcome::Unknown => Rule::OutOfTime,
            };
            rejected.insert(position, rule.into());
        }
        let mut failed_groups = HashSet::new();
        for (position, record) in self.records.iter().enumerate() {
            let Some(group) = record.fifo_group() else {
                continue;
            };
            if failed_groups.contains(group) {
                let earlier = rejected.insert(position, Rule::GroupHeld.into());
                self.skipped = self.skipped.saturating_sub(usize::from(earlier.is_none()));
            } else if rejected.contains_key(&position) {
                failed_groups.insert(group);
            }
        }
        let records = rejected.into_iter();
        records
            .map(|(position, rejection)| (&self.records[position], rejection))
            .collect()
    }
}

/// Reads one record into rows, and says whether there are any. A panic, if there were one, costs this record.
fn make_rows(
    record: &Record<'_>,
    pipeline: &Pipeline,
    transformer: &Transformer,
    rows: &mut MessageRows,
) -> Result<bool, Rejection> {
    let read = || {
        let message = Message::extract(record, pipeline.envelope)?;
        transformer.transform(&message, rows)
    };
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| {
        rows.drop_unfinished();
        Err(Rule::Internal.into())
    })
}
