//! Messages → rows and rejections; blocks the later messages of a FIFO group after a failure.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::load::MessageOutcome;
use crate::message::{Message, Record};
use crate::pipeline::Pipeline;
use crate::rejection::{Rejection, Rule};
use crate::rows::{MessageRows, TableRows};
use crate::transform::Transformer;

/// Messages are read until their rows take this much memory. These rows are stored, in one statement, before more
/// messages are read.
///
/// A message can expand to many times its size, and its rows exist up to three times: here, as parameters of the
/// statement, and in the buffer of the connection. Together with the rows of one message of the maximum size (16 MiB),
/// they fit into the 256 MB of the smallest function. A payload of Lambda has at most 6 MB, so that an ordinary batch
/// is one statement.
const MAX_BYTES: usize = 8 << 20;

/// The records of an event: rows to store, and rejections.
pub(crate) struct Batch<'a> {
    records: &'a [Record<'a>],
    /// How many records have been read.
    read: usize,
    /// The rows that were read last.
    pub(crate) rows: MessageRows,
    /// For each message with rows, its FIFO group; `None` on a standard queue.
    pub(crate) groups: Vec<Option<usize>>,
    /// For each message with rows, the position of its record.
    positions: Vec<usize>,
    /// How many messages produce no row.
    pub(crate) skipped: usize,
    /// The position of a record, and why it is not stored.
    rejected: BTreeMap<usize, Rejection>,
    /// The numbers of the FIFO groups.
    numbers: HashMap<&'a str, usize>,
    failed_groups: HashSet<&'a str>,
}

impl<'a> Batch<'a> {
    /// None of the records is read yet.
    pub(crate) fn new(records: &'a [Record<'a>], transformer: &Transformer) -> Self {
        Self {
            records,
            read: 0,
            rows: transformer.new_rows(),
            groups: Vec::with_capacity(records.len()),
            positions: Vec::with_capacity(records.len()),
            skipped: 0,
            rejected: BTreeMap::new(),
            numbers: HashMap::new(),
            failed_groups: HashSet::new(),
        }
    }

    /// How many rows of the stored messages that were read last have no value of their own, in each table.
    pub(crate) fn empty_rows(&self, outcomes: &[MessageOutcome]) -> Vec<usize> {
        let empty_in = |table: &TableRows| {
            let messages = outcomes.iter().enumerate();
            let stored = messages.filter(|(_, outcome)| matches!(outcome, MessageOutcome::Stored));
            stored.map(|(message, _)| table.empty_of(message)).sum()
        };
        self.rows.tables().iter().map(empty_in).collect()
    }

    /// Replaces the rows with the rows of the next records, as many as one statement stores, or says why a record has
    /// none. After a failed message no later one of its FIFO group becomes rows. `false`: all records were read before.
    pub(crate) fn read(&mut self, pipeline: &Pipeline, transformer: &Transformer) -> bool {
        if self.read == self.records.len() {
            return false;
        }
        self.rows = transformer.new_rows();
        self.groups.clear();
        self.positions.clear();
        while let Some(record) = self.records.get(self.read)
            && self.rows.bytes() < MAX_BYTES
        {
            self.read_one(record, pipeline, transformer);
        }
        true
    }

    fn read_one(&mut self, record: &'a Record<'a>, pipeline: &Pipeline, transformer: &Transformer) {
        let position = self.read;
        self.read += 1;
        let group = record.fifo_group();
        let made = if group.is_some_and(|group| self.failed_groups.contains(group)) {
            Err(Rule::GroupBlocked.into())
        } else {
            make_rows(record, pipeline, transformer, &mut self.rows)
        };
        match made {
            Ok(false) => self.skipped += 1,
            Ok(true) => {
                let number = group.map(|group| {
                    let next = self.numbers.len();
                    *self.numbers.entry(group).or_insert(next)
                });
                self.positions.push(position);
                self.groups.push(number);
            }
            Err(rejection) => self.reject(position, rejection),
        }
    }

    /// Notes what became of the rows that were read last.
    pub(crate) fn note(&mut self, outcomes: &[MessageOutcome]) {
        let positions = std::mem::take(&mut self.positions);
        for (position, outcome) in positions.into_iter().zip(outcomes) {
            let rule = match outcome {
                MessageOutcome::Stored => continue,
                MessageOutcome::Rejected(refusal) => Rule::Refused(refusal.clone()),
                MessageOutcome::Blocked => Rule::GroupBlocked,
                MessageOutcome::Unknown => Rule::OutOfTime,
            };
            self.reject(position, rule.into());
        }
    }

    fn reject(&mut self, position: usize, rejection: Rejection) {
        let record = self.records.get(position);
        self.failed_groups
            .extend(record.and_then(Record::fifo_group));
        self.rejected.insert(position, rejection);
    }

    /// The records that are not stored, in their order, given what became of their rows. Records that were not read are
    /// among them, because time ran out. FIFO: only the first failure of a group keeps its rule, and all later messages
    /// are blocked, because they would reach the table or the dead-letter queue before it.
    pub(crate) fn rejections(&mut self) -> Vec<(&'a Record<'a>, Rejection)> {
        let mut rejected = std::mem::take(&mut self.rejected);
        let unread = self.read..self.records.len();
        rejected.extend(unread.map(|position| (position, Rule::OutOfTime.into())));
        let mut failed_groups = HashSet::new();
        for (position, record) in self.records.iter().enumerate() {
            let Some(group) = record.fifo_group() else {
                continue;
            };
            if failed_groups.contains(group) {
                let earlier = rejected.insert(position, Rule::GroupBlocked.into());
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

/// Reads one record into rows, and says whether there are any. A panic would cost only this record.
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
