//! Reports what became of the messages, at once and at the end.

use std::collections::BTreeMap;

use mapping::Rejection;
use serde_json::{Value, json};
use sqs_to_postgres::sqs::dead_letter::{DeadLetter, Note};

use super::{explain, show};
use crate::cli::Outcome;
use crate::cli::error::CliError;
use crate::cli::output::{self, Table, counted, escaped};
use crate::cli::progress::Progress;

/// The reason to skip a message that was moved before.
pub(super) const CAME_BACK: &str = "failed again after they were moved";

/// Shown in place of the rule if there is none.
const MOVED_BY_SQS: &str = "(moved by SQS itself)";

/// What is done with the messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Move,
    /// What would be moved is counted.
    Plan,
    /// Each message is printed.
    Show,
}

pub(super) struct RedriveReport {
    is_json: bool,
    mode: Mode,
    /// Whether each record becomes a message of its own.
    is_split: bool,
    progress: Progress,
    /// Messages that were moved, or would be.
    moved: usize,
    /// The messages that they became, or would become.
    sent: usize,
    /// The records that were sent of messages that were not moved.
    sent_of_unmoved: usize,
    failed: usize,
    /// How many messages are skipped, by reason.
    left: BTreeMap<&'static str, usize>,
    /// How many messages would be sent, by rule, column and path, and with `--explain` by the result.
    would_send: BTreeMap<Vec<String>, usize>,
    /// How many messages would be rejected again.
    rejected: usize,
    /// How many messages have which note.
    notes: BTreeMap<Note, usize>,
}

impl RedriveReport {
    pub(super) fn new(is_json: bool, mode: Mode, is_split: bool, total: Option<usize>) -> Self {
        Self {
            is_json,
            mode,
            is_split,
            progress: Progress::new(total, "dead letters"),
            moved: 0,
            sent: 0,
            sent_of_unmoved: 0,
            failed: 0,
            left: BTreeMap::new(),
            would_send: BTreeMap::new(),
            rejected: 0,
            notes: BTreeMap::new(),
        }
    }

    pub(super) fn left(&mut self, why: &'static str) {
        *self.left.entry(why).or_default() += 1;
    }

    pub(super) fn note(&mut self, notes: &[Note]) {
        for note in notes {
            *self.notes.entry(*note).or_default() += 1;
        }
    }

    /// `ids` are those of the messages that it became.
    pub(super) fn moved(&mut self, message: &DeadLetter, ids: &[String]) -> Result<(), CliError> {
        self.would_move();
        self.sent += ids.len();
        let sent_as = match ids {
            [id] => json!(id),
            ids => json!(ids),
        };
        self.json(message, json!({"sent_as": sent_as}))
    }

    /// A message of which records were sent remains.
    pub(super) fn sent_of_unmoved(&mut self, records: usize) {
        self.sent_of_unmoved += records;
    }

    pub(super) fn failed(&mut self, message: &DeadLetter, reason: &str) -> Result<(), CliError> {
        self.failed += 1;
        self.progress.say(&format!(
            "message {} was not moved: {reason}",
            message.receipt().message_id
        ));
        self.json(message, json!({"error": reason}))
    }

    /// A message was moved, or would be.
    pub(super) fn would_move(&mut self) {
        self.moved += 1;
        self.progress.advance(1);
    }

    /// A message would be sent: all of a dead letter, or the record at a position. `now` is the result with the current
    /// mapping.
    pub(super) fn would_send(
        &mut self,
        message: &DeadLetter,
        record: Option<usize>,
        now: Option<Result<(), Rejection>>,
    ) -> Result<(), CliError> {
        self.sent += 1;
        let [rule, column, path] = reason(message);
        let cells = [rule.or(Some(MOVED_BY_SQS)), column, path];
        // Every sender to the queue can write them.
        let cells = cells.map(|cell| escaped(cell.unwrap_or("-")));
        let cells = cells.into_iter().chain(now.as_ref().map(explain::cell));
        *self.would_send.entry(cells.collect()).or_default() += 1;
        self.rejected += usize::from(matches!(now, Some(Err(_))));
        let mut fields = now.map_or_else(|| json!({}), |now| json!({"now": explain::json(&now)}));
        if let Some(position) = record {
            output::set(&mut fields, "record", position);
        }
        self.json(message, fields)
    }

    /// Prints a message with the reason of its failure.
    pub(super) fn show(
        &mut self,
        message: &DeadLetter,
        shows_values: bool,
    ) -> Result<(), CliError> {
        self.would_move();
        if self.is_json {
            return self.json(message, show::json(message, shows_values));
        }
        let text = show::text(message, shows_values);
        self.progress.print(&text)
    }

    /// A line with these fields and the fields of the message.
    fn json(&self, message: &DeadLetter, mut fields: Value) -> Result<(), CliError> {
        if !self.is_json {
            return Ok(());
        }
        let [rule, column, path] = reason(message);
        output::set(&mut fields, "message_id", message.original_id());
        output::set(&mut fields, "rule", rule);
        output::set(&mut fields, "column", column);
        output::set(&mut fields, "path", path);
        output::json(&fields)
    }

    pub(super) fn end(
        self,
        result: Result<(), CliError>,
        is_interrupted: bool,
    ) -> Result<Outcome, CliError> {
        let summary = self.summary(result.is_ok() && is_interrupted);
        let came_back = self.left.contains_key(CAME_BACK);
        for (note, count) in &self.notes {
            eprintln!("note: {}", sentence(*note, *count));
        }
        output::summary(&summary, self.is_json)?;
        result?;
        let some_failed = self.failed + self.rejected > 0 || came_back;
        Ok(Outcome::done_if(!some_failed && !is_interrupted))
    }

    fn summary(&self, is_interrupted: bool) -> String {
        let mut text = self.table();
        let parts = match self.is_split {
            true => format!(" as {}", counted(self.sent, "message")),
            false => String::new(),
        };
        let noun = if self.is_split {
            "dead letter"
        } else {
            "message"
        };
        let speed = self.progress.end_of(noun);
        text.push_str(&match self.moved {
            0 if self.failed == 0 && self.left.is_empty() && self.sent_of_unmoved == 0 => {
                "no dead letters".to_owned()
            }
            shown if self.mode == Mode::Show => counted(shown, "dead letter"),
            moved if self.mode == Mode::Plan => {
                format!("would move {}{parts}", counted(moved, "dead letter"))
            }
            _ if self.is_split => format!("moved {speed},{parts}"),
            _ => format!("moved {speed}"),
        });
        if self.sent_of_unmoved > 0 {
            let records = counted(self.sent_of_unmoved, "record");
            text.push_str(&format!("; {records} sent of dead letters that remain"));
        }
        for (why, count) in &self.left {
            text.push_str(&format!("; {count} skipped: {why}"));
        }
        if self.failed > 0 {
            text.push_str(&format!("; {} not moved", counted(self.failed, "message")));
        }
        if self.rejected > 0 {
            text.push_str(&format!("; {} would be rejected again", self.rejected));
        }
        if is_interrupted {
            text.push_str("; interrupted");
        }
        text
    }

    /// What would be moved, by reason, the most frequent first.
    fn table(&self) -> String {
        if self.would_send.is_empty() || self.is_json {
            return String::new();
        }
        let mut rows: Vec<_> = self.would_send.iter().collect();
        rows.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let mut table = Table::default();
        let now = rows
            .first()
            .and_then(|(cells, _)| cells.get(3))
            .map(|_| "now");
        let head = ["messages", "rule", "column", "path"]
            .into_iter()
            .chain(now);
        table.row(head.map(str::to_owned).collect::<Vec<_>>());
        for (cells, count) in rows {
            table.row([&[count.to_string()], cells.as_slice()].concat());
        }
        table.to_string()
    }
}

/// A note, for this many messages.
fn sentence(note: Note, count: usize) -> String {
    let messages = counted(count, "message");
    match note {
        Note::Unsigned => format!(
            "no mask key is set, so the original ids of {messages} are not signed for this queue: if the function has a mask key, set it here too (MASK_KEY or MASK_SECRET_ID), or the function ignores them"
        ),
        Note::Unverified => format!(
            "the origin of {messages} was not signed with any of these mask keys: the function ignores it, unless it was signed with the function's current key"
        ),
        Note::TimeReset => format!(
            "SQS reset the time of {messages} when it moved them, as it does on FIFO queues: @sent_at will be the time of that move"
        ),
    }
}

/// The rule that a message broke, the column and the path.
fn reason(message: &DeadLetter) -> [Option<&str>; 3] {
    let Some(reason) = message.reason() else {
        return [None; 3];
    };
    let (column, path) = (reason.column.as_deref(), reason.path.as_deref());
    [Some(&reason.rule), column, path]
}
