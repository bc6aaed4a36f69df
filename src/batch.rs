//! Messages → rows and rejections; blocks the later messages of a FIFO group after a failure.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};

use mapping::{Compiled, MessageRows, Record, Rejection, Rule, TableRows};
use tokio::time::Instant;

use crate::load::MessageOutcome;
use crate::objects::{MAX_OBJECTS, Object, Objects};

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
    /// How many records can be read: the body of the next one is in S3, and was not read there.
    ready: usize,
    /// The bodies that were read from S3, and the positions of their records.
    objects: VecDeque<(usize, Object)>,
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
    pub(crate) fn new(records: &'a [Record<'a>], compiled: &Compiled) -> Self {
        Self {
            records,
            read: 0,
            ready: records.len(),
            objects: VecDeque::new(),
            rows: compiled.new_rows(),
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

    /// Reads bodies of the next records from S3, as many as there is room for, unless there are some left.
    pub(crate) async fn fetch(&mut self, compiled: &Compiled, objects: &Objects, until: Instant) {
        if !self.objects.is_empty() {
            return;
        }
        let unread = self.records.iter().enumerate().skip(self.read);
        let moved =
            unread.filter_map(|(position, record)| Some((position, compiled.s3_pointer(record)?)));
        let (positions, pointers): (Vec<_>, Vec<_>) = moved.take(MAX_OBJECTS + 1).unzip();
        let read = objects.read(&pointers, until).await;
        let next = positions.get(read.len());
        self.ready = next.copied().unwrap_or(self.records.len());
        self.objects = positions.into_iter().zip(read).collect();
    }

    /// Replaces the rows with the rows of the next records, as many as are ready and one statement stores, or says why a record has
    /// none. After a failed message no later one of its FIFO group becomes rows. `false`: all records were read before.
    pub(crate) fn read(&mut self, compiled: &Compiled) -> bool {
        if self.read == self.records.len() {
            return false;
        }
        self.rows = compiled.new_rows();
        self.groups.clear();
        self.positions.clear();
        while self.read < self.ready
            && let Some(record) = self.records.get(self.read)
            && self.rows.bytes() < MAX_BYTES
        {
            self.read_one(record, compiled);
        }
        true
    }

    fn read_one(&mut self, record: &'a Record<'a>, compiled: &Compiled) {
        let position = self.read;
        self.read += 1;
        let is_its = |(of, _): &mut (usize, Object)| *of == position;
        let object = self.objects.pop_front_if(is_its).map(|(_, object)| object);
        let group = record.fifo_group();
        let made = if group.is_some_and(|group| self.failed_groups.contains(group)) {
            Err(Rule::GroupBlocked.into())
        } else {
            make_rows(record, object, compiled, &mut self.rows)
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
        let records = self.records.iter().enumerate();
        records
            .filter_map(|(position, record)| Some((record, rejected.remove(&position)?)))
            .collect()
    }
}

/// Reads one record into rows, and says whether there are any. A panic would cost only this record.
fn make_rows(
    record: &Record<'_>,
    object: Option<Object>,
    compiled: &Compiled,
    rows: &mut MessageRows,
) -> Result<bool, Rejection> {
    let read = || {
        let message = compiled.extract_with(record, object.transpose()?)?;
        compiled.transform(&message, rows)
    };
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| {
        rows.drop_unfinished();
        Err(Rule::Internal.into())
    })
}

#[cfg(test)]
mod tests {
    use mapping::{Pipeline, read_event};
    use serde_json::json;

    use super::*;

    /// Stores what has a `k`, and skips the rest.
    const MAPPING: &str = r#"
        unmatched = "skip"
        [[table]]
        name = "t"
        when = { is_stored = true }
        key = ["k"]
        column = [{ name = "k", type = "integer", required = true }]
    "#;

    /// The rules that messages break whose rows come to this, and how many messages are skipped. A message is a group
    /// and its body; an empty group is that of a standard queue.
    fn settled(
        messages: &[(&str, serde_json::Value)],
        outcomes: &[MessageOutcome],
    ) -> (Vec<String>, usize) {
        let records: Vec<_> = messages
            .iter()
            .enumerate()
            .map(|(number, (group, body))| {
                let queue = if group.is_empty() { "q" } else { "q.fifo" };
                json!({
                    "messageId": number.to_string(), "body": body.to_string(), "eventSourceARN": queue,
                    "attributes": {"MessageGroupId": group},
                })
            })
            .collect();
        let event = json!({ "Records": records }).to_string();
        let records = read_event(event.as_bytes()).unwrap();
        let pipeline = Pipeline::parse("p", MAPPING).unwrap();
        let compiled = Compiled::new("p", &pipeline, None).unwrap();
        let mut batch = Batch::new(&records, &compiled);
        assert!(batch.read(&compiled));
        assert_eq!(batch.rows.messages(), outcomes.len());
        batch.note(outcomes);
        let rejected = batch.rejections();
        let rules = rejected.iter().map(|(record, rejection)| {
            format!("{} {}", &*record.message_id, rejection.rule.name())
        });
        (rules.collect(), batch.skipped)
    }

    #[test]
    fn after_a_failed_message_its_whole_group_is_blocked_also_what_produces_no_row() {
        let row = || json!({"is_stored": true, "k": 1});
        let none = || json!({});
        let messages = [
            ("anna", none()),
            ("anna", row()),
            ("ben", row()),
            ("anna", none()),
            ("anna", row()),
            ("anna", json!({"is_stored": true})),
            ("ben", none()),
        ];
        let refused = || MessageOutcome::Rejected(Box::default());
        for (outcome, rule) in [
            (refused(), "refused"),
            (MessageOutcome::Unknown, "out_of_time"),
        ] {
            let outcomes = [outcome, MessageOutcome::Stored, MessageOutcome::Blocked];
            let expected = [rule, "group_blocked", "group_blocked", "group_blocked"];
            let expected = [1, 3, 4, 5].iter().zip(expected);
            let expected: Vec<_> = expected.map(|(at, rule)| format!("{at} {rule}")).collect();
            assert_eq!(settled(&messages, &outcomes), (expected, 2));
        }
    }

    #[test]
    fn a_group_of_a_standard_queue_holds_nothing_back() {
        let messages = [
            ("", json!("x")),
            ("", json!({"is_stored": true, "k": 1})),
            ("", json!({})),
        ];
        let (rules, skipped) = settled(&messages, &[MessageOutcome::Stored]);
        assert_eq!((rules, skipped), (vec!["0 not_an_object".to_owned()], 1));
    }
}
