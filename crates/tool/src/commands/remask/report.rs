//! What became of the tokens, by table.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::error::CliError;
use crate::cli::output::{self, counted, escaped, last_line};
use crate::cli::progress::rate;

/// What a value of a column was found to be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum TokenState {
    /// A token of a key of the ring, by its id.
    Token(String),
    /// One of a key that the ring lacks.
    UnknownKey(String),
    /// Not a token of these keys.
    NotOurs,
    /// A token that would not fit its column with the id of the current key.
    TooLong,
}

impl TokenState {
    /// Whether it remains unchanged, although it should not.
    pub(super) fn is_problem(&self) -> bool {
        !matches!(self, Self::Token(_))
    }

    fn sentence(&self, count: usize) -> String {
        match self {
            Self::Token(id) => format!("{} of key {id:?}", counted(count, "token")),
            Self::UnknownKey(id) => format!(
                "{} of key {id:?} unchanged: the mask secret lacks this key",
                counted(count, "token")
            ),
            Self::NotOurs => format!(
                "{} unchanged: not aes-siv tokens of these keys",
                counted(count, "value")
            ),
            Self::TooLong => format!(
                "{} unchanged: too long for the column with the id of the new key",
                counted(count, "token")
            ),
        }
    }

    fn json(&self, column: &str, count: usize) -> Value {
        let (what, id) = match self {
            Self::Token(id) => ("token", Some(id)),
            Self::UnknownKey(id) => ("unknown_key", Some(id)),
            Self::NotOurs => ("not_a_token", None),
            Self::TooLong => ("too_long", None),
        };
        json!({"column": column, "found": what, "key_id": id, "count": count})
    }
}

/// What was found in columns, and how often.
pub(super) type FoundCounts = BTreeMap<(String, TokenState), usize>;

/// The results of a table.
#[derive(Default)]
pub(super) struct TableReport {
    /// Quoted.
    pub(super) table: String,
    pub(super) rows: usize,
    /// Rows that were changed, or would be.
    pub(super) changed: usize,
    /// Whether a connection was lost, with which more of them may have been changed.
    pub(super) is_minimum: bool,
    /// Rows that others kept locked.
    pub(super) locked: usize,
    pub(super) found: FoundCounts,
    pub(super) took: Duration,
    /// Whether the command ended before the last row.
    pub(super) is_partial: bool,
}

impl TableReport {
    pub(super) fn new(table: &str) -> Self {
        Self {
            table: table.to_owned(),
            is_partial: true,
            ..Self::default()
        }
    }

    /// Whether rows remain unchanged although they should not.
    pub(super) fn is_incomplete(&self) -> bool {
        self.is_partial || self.locked > 0 || self.found.keys().any(|(_, found)| found.is_problem())
    }

    pub(super) fn add(&mut self, found: FoundCounts) {
        for (what, count) in found {
            *self.found.entry(what).or_default() += count;
        }
    }

    pub(super) fn show(&self, is_json: bool, is_dry_run: bool) -> Result<(), CliError> {
        if is_json {
            let found = self.found.iter();
            let found: Vec<_> = found
                .map(|((column, found), count)| found.json(column, *count))
                .collect();
            return output::json(&json!({
                "table": self.table, "rows": self.rows, "changed": self.changed, "is_minimum": self.is_minimum, "locked": self.locked,
                "dry_run": is_dry_run, "complete": !self.is_partial, "found": found,
            }));
        }
        last_line(&self.text(is_dry_run))
    }

    fn text(&self, is_dry_run: bool) -> String {
        let Self { table, changed, .. } = self;
        let rows = counted(self.rows, "row");
        let mut lines = vec![match is_dry_run {
            true => format!("{table}: would re-encrypt {changed} of {rows}"),
            false => format!(
                "{table}: re-encrypted {}{changed} of {rows} {}",
                if self.is_minimum { "at least " } else { "" },
                rate(self.rows, self.took)
            ),
        }];
        for ((column, found), count) in &self.found {
            if is_dry_run || found.is_problem() {
                lines.push(format!("  {}: {}", escaped(column), found.sentence(*count)));
            }
        }
        if self.locked > 0 {
            let rows = counted(self.locked, "row");
            lines.push(format!(
                "  {rows} skipped because they were locked: run it again"
            ));
        }
        if self.is_partial {
            lines.push("  not finished: run it again".to_owned());
        }
        lines.join("\n")
    }
}
