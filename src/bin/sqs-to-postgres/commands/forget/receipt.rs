//! The receipt: what was searched, found and deleted, and what was left.

use std::time::SystemTime;

use serde_json::{Value, json};
use sqs_to_postgres::mask::KeyRing;
use time::OffsetDateTime;

use super::dead_letters::DeadLetters;
use super::person::People;
use super::rows::Found;
use crate::cli::Outcome;
use crate::cli::error::CliError;
use crate::cli::output::{self, Table, counted, last_line, listed};

pub(super) struct Receipt<'a> {
    pub(super) deletes: bool,
    pub(super) people: &'a People,
    pub(super) keys: Option<&'a KeyRing>,
    pub(super) tables: &'a [Found],
    pub(super) dead_letters: Option<&'a DeadLetters>,
    /// What was left, and why.
    pub(super) left: Vec<String>,
}

impl Receipt<'_> {
    /// Writes it, and says how the command ended.
    pub(super) fn write(&self, is_json: bool) -> Result<Outcome, CliError> {
        let now = OffsetDateTime::from(SystemTime::now());
        let (hour, minute, second) = now.to_hms();
        let time = format!("{}T{hour:02}:{minute:02}:{second:02}Z", now.date());
        for note in self.notes() {
            eprintln!("note: {note}");
        }
        if is_json {
            output::json(&self.json(&time))?;
        } else {
            last_line(&self.text(&time))?;
        }
        Ok(Outcome::done_if(self.left.is_empty()))
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = self.people.notes.clone();
        match self.dead_letters {
            None => notes.push("no dead-letter queue was searched: name the queue with --queue-url".to_owned()),
            Some(dead_letters) if dead_letters.in_source > 0 => notes.push(format!(
                "the queue itself has {}, which cannot be searched: run this again when they are stored",
                counted(dead_letters.in_source as usize, "message")
            )),
            Some(_) => {}
        }
        if self.keys.is_none() {
            notes.push(
                "without a mask key the receipt has no digests: they could be guessed".to_owned(),
            );
        }
        notes
    }

    fn text(&self, time: &str) -> String {
        let mut table = Table::default();
        table.row(["table", "rows", "found by"].map(str::to_owned));
        let column = &self.people.column;
        for found in self.tables {
            let own = found.by_column.then(|| column.to_owned());
            let above = found
                .by_parents
                .iter()
                .map(|parent| format!("{column} of {parent}"));
            table.row([
                found.table.clone(),
                found.count(self.deletes).to_string(),
                listed(own.into_iter().chain(above)),
            ]);
        }
        if let Some(dead_letters) = self.dead_letters {
            table.row([
                format!("dead letters in {}", dead_letters.name()),
                self.dead_letter_count().to_string(),
                format!("{column}, of {}", dead_letters.counts.searched),
            ]);
        }
        let mut text = table.to_string();
        for (digest, number) in self.people.digests.iter().zip(1..) {
            let digest = digest
                .as_deref()
                .map(|digest| digest.to_owned() + &self.key());
            let digest = digest.unwrap_or_else(|| "no digest".to_owned());
            text.push_str(&format!("value {number}: {digest}\n"));
        }
        for left in &self.left {
            text.push_str(&format!("left: {left}\n"));
        }
        text + &self.conclusion(time)
    }

    fn conclusion(&self, time: &str) -> String {
        let counts = self.tables.iter().map(|found| found.count(self.deletes));
        let what = format!(
            "{} and {}",
            counted(counts.sum::<u64>() as usize, "row"),
            counted(self.dead_letter_count(), "dead letter")
        );
        match self.deletes {
            true => format!("deleted {what} at {time}"),
            false => format!("would delete {what} at {time}: --yes deletes them"),
        }
    }

    /// The dead letters that were deleted, or would be.
    fn dead_letter_count(&self) -> usize {
        self.dead_letters
            .map_or(0, |dead_letters| match self.deletes {
                true => dead_letters.counts.deleted,
                false => dead_letters.counts.found,
            })
    }

    /// The key of the digests, if it has an id.
    fn key(&self) -> String {
        let id = self.keys.map(KeyRing::id).filter(|id| !id.is_empty());
        id.map_or_else(String::new, |id| format!(" (mask key {id})"))
    }

    fn json(&self, time: &str) -> Value {
        let column = &self.people.column;
        let table = |found: &Found| {
            json!({
                "table": found.table, "rows": found.rows, "deleted": found.deleted,
                "column": found.by_column.then_some(column), "parents": found.by_parents,
            })
        };
        let dead_letters = self.dead_letters.map(|dead_letters| {
            let counts = &dead_letters.counts;
            json!({
                "queue": dead_letters.name(), "searched": counts.searched, "found": counts.found, "deleted": counts.deleted,
                "of_other_queues": counts.of_other_queues, "unreadable": counts.unreadable,
                "not_received": counts.not_received,
            })
        });
        json!({
            "time": time, "dry_run": !self.deletes, "column": column, "digests": self.people.digests,
            "mask_key_id": self.keys.map(KeyRing::id), "tables": self.tables.iter().map(table).collect::<Vec<_>>(),
            "dead_letters": dead_letters, "left": self.left,
        })
    }
}

impl Found {
    fn count(&self, deletes: bool) -> u64 {
        if deletes { self.deleted } else { self.rows }
    }
}
