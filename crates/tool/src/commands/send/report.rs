//! Reports the results of the lines.

use std::collections::BTreeMap;

use crate::sqs::send::Sent;
use serde_json::json;

use crate::cli::Outcome;
use crate::cli::error::CliError;
use crate::cli::output::{counted, line, listed, summary};
use crate::cli::progress::Progress;

pub(super) struct SendReport {
    is_json: bool,
    /// The numbers of the lines that were not sent, by reason.
    failed: BTreeMap<String, Vec<usize>>,
    /// The error that ended the command.
    pub(super) error: Option<CliError>,
    progress: Progress,
}

impl SendReport {
    pub(super) fn new(is_json: bool, total: Option<usize>) -> Self {
        Self {
            is_json,
            failed: BTreeMap::new(),
            error: None,
            progress: Progress::new(total, "messages sent"),
        }
    }

    /// Counts the results. The first line of each reason is reported at once, the others at the end.
    pub(super) fn add(&mut self, sent: Vec<Sent>) -> Result<(), CliError> {
        let mut printed = Ok(());
        for Sent { number, result } in sent {
            let json = match result {
                Ok(id) => {
                    self.progress.advance(1);
                    json!({"line": number, "message_id": id})
                }
                Err(reason) => {
                    let json = json!({"line": number, "error": reason});
                    let text = format!("line {number} was not sent: {reason}");
                    let lines = self.failed.entry(reason).or_default();
                    if lines.is_empty() {
                        self.progress.say(&text);
                    }
                    lines.push(number);
                    json
                }
            };
            if self.is_json {
                printed = printed.and(line(&json.to_string()));
            }
        }
        printed
    }

    /// Prints the summary, and why the command ended early if it did.
    pub(super) fn end(self, ended_by: &str) -> Result<Outcome, CliError> {
        let sent = self.progress.end();
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
