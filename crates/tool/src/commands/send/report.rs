//! Reports the results of the lines.

use std::collections::BTreeMap;

use serde_json::json;

use crate::cli::Outcome;
use crate::cli::error::CliError;
use crate::cli::output::{counted, line, listed, summary};
use crate::cli::progress::Progress;

/// The result of sending the lines of a message.
#[derive(Debug)]
pub(super) struct SentLines {
    pub(super) numbers: Vec<usize>,
    /// The id that SQS gave the message, or why it was not sent.
    pub(super) result: Result<String, String>,
}

pub(super) struct SendReport {
    is_json: bool,
    /// Whether a message has several lines.
    is_packed: bool,
    /// The messages that were sent.
    messages: usize,
    /// The numbers of the lines that were not sent, by reason.
    failed: BTreeMap<String, Vec<usize>>,
    /// The error that ended the command.
    pub(super) error: Option<CliError>,
    /// Counts lines.
    progress: Progress,
}

impl SendReport {
    pub(super) fn new(is_json: bool, is_packed: bool, total: Option<usize>) -> Self {
        Self {
            is_json,
            is_packed,
            messages: 0,
            failed: BTreeMap::new(),
            error: None,
            progress: Progress::new(total, "messages sent"),
        }
    }

    /// Counts the results. The first line of each reason is reported at once, the others at the end.
    pub(super) fn add(&mut self, sent: Vec<SentLines>) -> Result<(), CliError> {
        let mut printed = Ok(());
        for SentLines { numbers, result } in sent {
            if result.is_ok() {
                self.messages += 1;
                if self.is_packed {
                    let messages = counted(self.messages, "message");
                    self.progress
                        .describe(format!("records sent, as {messages}"));
                }
                self.progress.advance(numbers.len());
            }
            for number in numbers {
                printed = printed.and(self.add_line(number, &result));
            }
        }
        printed
    }

    fn add_line(&mut self, number: usize, result: &Result<String, String>) -> Result<(), CliError> {
        let json = match result {
            Ok(id) => json!({"line": number, "message_id": id}),
            Err(reason) => {
                let lines = self.failed.entry(reason.clone()).or_default();
                if lines.is_empty() {
                    let text = format!("line {number} was not sent: {reason}");
                    self.progress.say(&text);
                }
                lines.push(number);
                json!({"line": number, "error": reason})
            }
        };
        match self.is_json {
            true => line(&json.to_string()),
            false => Ok(()),
        }
    }

    /// Prints the summary, and why the command ended early if it did.
    pub(super) fn end(self, ended_by: &str) -> Result<Outcome, CliError> {
        let sent = match self.is_packed {
            true => {
                let records = self.progress.end_of("record");
                format!("{records}, as {}", counted(self.messages, "message"))
            }
            false => self.progress.end(),
        };
        for (reason, lines) in &self.failed {
            if let [_, more @ ..] = &lines[..]
                && !more.is_empty()
            {
                let ranges = ranges(more);
                let count = counted(more.len(), "more line");
                eprintln!("{count} not sent ({ranges}): {reason}");
            }
        }
        let failed = match self.failed.values().map(Vec::len).sum() {
            0 => String::new(),
            failed => format!("; {} not sent", counted(failed, "line")),
        };
        summary(&format!("sent {sent}{failed}{ended_by}"), self.is_json)?;
        match self.error {
            Some(error) => Err(error),
            None => Ok(Outcome::done_if(
                self.failed.is_empty() && ended_by.is_empty(),
            )),
        }
    }
}

/// Numbers in order, those that follow each other as one range: `2, 5-60`.
fn ranges(numbers: &[usize]) -> String {
    let mut numbers = numbers.to_vec();
    numbers.sort_unstable();
    let ranges = numbers.chunk_by(|one, next| one + 1 == *next);
    listed(ranges.map(|range| match range {
        [first, .., last] => format!("{first}-{last}"),
        one => one.iter().map(usize::to_string).collect(),
    }))
}
