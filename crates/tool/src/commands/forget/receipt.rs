//! The receipt: what was searched, found and deleted, where, and what remains.

use std::time::SystemTime;

use mapping::KeyRing;
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::dead_letters::{DeadLetters, SourceQueue};
use super::left::{Accept, Left};
use super::person::People;
use super::place::{Place, Unsearched, unsearched};
use super::rows::FoundRows;
use crate::cli::Outcome;
use crate::cli::error::CliError;
use crate::cli::output::{self, Table, counted, escaped, last_line, listed};

pub(super) struct Receipt<'a> {
    pub(super) deletes: bool,
    pub(super) people: &'a People,
    pub(super) keys: Option<&'a KeyRing>,
    pub(super) place: &'a Place,
    pub(super) tables: &'a [FoundRows],
    pub(super) analyze: &'a [String],
    pub(super) source: Option<&'a SourceQueue>,
    pub(super) dead_letters: Option<&'a DeadLetters>,
    /// What remains, and why.
    pub(super) left: Vec<Left>,
    /// What of it the user accepts.
    pub(super) accepts: &'a [Accept],
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
        Ok(Outcome::done_if(self.left().is_empty()))
    }

    fn left(&self) -> Vec<String> {
        let left = self.left.iter();
        let left = left.filter(|left| !left.is_accepted(self.accepts));
        left.map(Left::sentence).collect()
    }

    fn accepted(&self) -> Vec<String> {
        let left = self.left.iter();
        let left = left.filter(|left| left.is_accepted(self.accepts));
        left.map(|left| left.text.clone()).collect()
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = self.people.notes.clone();
        if self.dead_letters.is_none() {
            notes.push(
                "no dead-letter queue was searched: name the queue with --queue-url".to_owned(),
            );
        }
        if self.keys.is_none() {
            notes.push(
                "without a mask key the receipt has no digests: they could be guessed".to_owned(),
            );
        }
        if !self.analyze.is_empty() {
            notes.push(format!(
                "Postgres's statistics may still contain the values: have the owner of the table run {} once it has rows",
                self.analyze.join(" ")
            ));
        }
        notes
    }

    fn text(&self, time: &str) -> String {
        let mut text = self.table().to_string();
        let keys = self.key_ids();
        let keys = keys.iter().map(|id| format!("{id:?}"));
        text.push_str(&format!(
            "in {}, with mapping {} and {}, by version {}\n",
            escaped(&self.place.text()),
            self.people.pipeline.digest,
            match self.keys {
                Some(_) => format!("mask keys {}", listed(keys)),
                None => "no mask key".to_owned(),
            },
            env!("CARGO_PKG_VERSION")
        ));
        for (digest, number) in self.people.digests.iter().zip(1..) {
            let digest = digest
                .as_deref()
                .map(|digest| digest.to_owned() + &self.key());
            let digest = digest.unwrap_or_else(|| "no digest".to_owned());
            text.push_str(&format!("value {number}: {digest}\n"));
        }
        for line in self.unsearched() {
            text.push_str(&format!("not searched: {line}\n"));
        }
        for accepted in self.accepted() {
            text.push_str(&format!("accepted: {accepted}\n"));
        }
        for left in self.left() {
            text.push_str(&format!("left: {left}\n"));
        }
        text + &self.conclusion(time)
    }

    fn table(&self) -> Table {
        let mut table = Table::default();
        table.row(["table", "rows", "found by"].map(str::to_owned));
        let column = &self.people.column;
        for found in self.tables {
            let own = found.by_column.then(|| column.to_owned());
            let above = found
                .by_parents
                .iter()
                .map(|parent| format!("{column} of {parent}"));
            let count = found.count(self.deletes);
            table.row([
                format!(
                    "{} in schema {}",
                    found.table,
                    escaped(&found.access.schema)
                ),
                count.map_or_else(|| "unknown".to_owned(), |count| count.to_string()),
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
        table
    }

    /// What was not searched, one line each.
    fn unsearched(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for Unsearched {
            table,
            columns,
            why,
        } in unsearched(self.people, self.tables)
        {
            match why {
                Some(why) => lines.push(format!("table {table}: {why}")),
                None => {
                    let columns = columns.iter();
                    let columns = columns.map(|(name, why)| format!("{} ({why})", escaped(name)));
                    lines.push(format!("other columns of {table}: {}", listed(columns)));
                }
            }
        }
        let others = self.dead_letters.iter();
        let others = others.flat_map(|dead_letters| &dead_letters.counts.of_other_queues);
        lines.extend(others.map(|(queue, count)| {
            let letters = counted(*count, "dead letter");
            format!("{letters} of queue {}", escaped(queue))
        }));
        lines
    }

    fn conclusion(&self, time: &str) -> String {
        let counts = self.tables.iter().map(|found| found.count(self.deletes));
        let rows: Option<u64> = counts.sum();
        let rows = rows.map(|rows| counted(rows as usize, "row"));
        let letters = counted(self.dead_letter_count(), "dead letter");
        match (self.deletes, rows) {
            (true, Some(rows)) => format!("deleted {rows} and {letters} at {time}"),
            (true, None) => {
                format!("deleted {letters} at {time}; whether rows were deleted is unknown")
            }
            (false, rows) => format!(
                "would delete {} and {letters} at {time}: --yes deletes them",
                rows.unwrap_or_default()
            ),
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

    fn key_ids(&self) -> Vec<&str> {
        let keys = self.keys.iter().flat_map(|keys| keys.keys());
        keys.map(|(id, _)| id).collect()
    }

    fn json(&self, time: &str) -> Value {
        let column = &self.people.column;
        let table = |found: &FoundRows| {
            json!({
                "table": found.table, "schema": found.access.schema, "rows": found.rows, "deleted": found.deleted,
                "column": found.by_column.then_some(column), "parents": found.by_parents,
            })
        };
        let unsearched = unsearched(self.people, self.tables).into_iter().map(|it| {
            let columns = it.columns.iter();
            let columns = columns.map(|(name, why)| json!({"column": name, "why": why}));
            json!({"table": it.table, "why": it.why, "columns": columns.collect::<Vec<_>>()})
        });
        let dead_letters = self.dead_letters.map(|dead_letters| {
            let counts = &dead_letters.counts;
            json!({
                "queue": dead_letters.name(), "searched": counts.searched, "found": counts.found, "deleted": counts.deleted,
                "of_other_queues": counts.of_other_queues, "unreadable": counts.unreadable, "suspect": counts.suspect,
                "not_received": counts.not_received,
            })
        });
        let queue = self
            .source
            .map(|source| json!({"queue": source.name(), "messages": source.messages}));
        json!({
            "time": time, "version": env!("CARGO_PKG_VERSION"), "dry_run": !self.deletes,
            "database": self.place.json(), "mapping_digest": self.people.pipeline.digest,
            "column": column, "digests": self.people.digests,
            "mask_key_id": self.keys.map(KeyRing::id), "mask_key_ids": self.key_ids(),
            "tables": self.tables.iter().map(table).collect::<Vec<_>>(), "not_searched": unsearched.collect::<Vec<_>>(),
            "analyze": self.analyze, "queue": queue, "dead_letters": dead_letters,
            "accepted": self.accepted(), "left": self.left(),
        })
    }
}

impl FoundRows {
    fn count(&self, deletes: bool) -> Option<u64> {
        if deletes {
            self.deleted
        } else {
            Some(self.rows)
        }
    }
}
