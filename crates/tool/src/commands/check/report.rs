//! The lines of `check` and their outcome.

use std::borrow::Cow;

use clap::builder::styling::AnsiColor;
use mapping::ddl::index_async;
use mapping::{Pipeline, Table, TableMapping};
use serde_json::json;
use sqs_to_postgres::database::Server;

use crate::cli::error::CliError;
use crate::cli::output::{counted, escaped};
use crate::cli::{Outcome, output};

/// The result of one check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Ok,
    Warning,
    Failure,
}

impl Status {
    fn name_and_color(self) -> (&'static str, AnsiColor) {
        match self {
            Self::Ok => ("ok", AnsiColor::Green),
            Self::Warning => ("warning", AnsiColor::Yellow),
            Self::Failure => ("failure", AnsiColor::Red),
        }
    }
}

/// Writes each line as it comes, until it cannot be written.
pub(super) struct Report {
    is_json: bool,
    /// The length of the longest name, in characters.
    pub(super) width: usize,
    /// The table that the lines are about, where there are several.
    table: Option<Table>,
    counts: [usize; 3],
    is_unavailable: bool,
    /// The server that the fixes are for.
    pub(super) server: Server,
    written: Result<(), CliError>,
}

impl Report {
    pub(super) fn new(is_json: bool) -> Self {
        Self {
            is_json,
            width: 0,
            table: None,
            counts: [0; 3],
            is_unavailable: false,
            server: Server::Postgres,
            written: Ok(()),
        }
    }

    /// The next lines are about this table of the mapping.
    pub(super) fn about(&mut self, pipeline: &Pipeline, table: Option<&TableMapping>) {
        let is_one_of_many = pipeline.tables.len() > 1;
        let table = table.filter(|_| is_one_of_many);
        self.table = table.map(|mapping| mapping.table.clone());
    }

    pub(super) fn ok(&mut self, name: &str, text: impl AsRef<str>) {
        self.add(Status::Ok, name, text.as_ref(), None);
    }

    pub(super) fn warning(&mut self, name: &str, text: impl AsRef<str>, fix: impl AsRef<str>) {
        self.add(Status::Warning, name, text.as_ref(), Some(fix.as_ref()));
    }

    pub(super) fn failure(&mut self, name: &str, text: impl AsRef<str>, fix: impl AsRef<str>) {
        self.add(Status::Failure, name, text.as_ref(), Some(fix.as_ref()));
    }

    /// The value of a result. An error, which contains its fix, becomes the line.
    pub(super) fn value<T, E: Into<CliError>>(
        &mut self,
        name: &str,
        result: Result<T, E>,
    ) -> Option<T> {
        let error = match result {
            Ok(value) => return Some(value),
            Err(error) => error.into(),
        };
        self.is_unavailable |= error.outcome() == Outcome::Unavailable;
        self.add(Status::Failure, name, &error.to_string(), None);
        None
    }

    fn add(&mut self, status: Status, name: &str, text: &str, fix: Option<&str>) {
        if let Some(count) = self.counts.get_mut(status as usize) {
            *count += 1;
        }
        if self.written.is_ok() {
            self.written = self.write(status, name, text, fix);
        }
    }

    fn write(
        &self,
        status: Status,
        name: &str,
        text: &str,
        fix: Option<&str>,
    ) -> Result<(), CliError> {
        let (status, color) = status.name_and_color();
        let fix = fix.map(|fix| match self.server {
            Server::Postgres => Cow::Borrowed(fix),
            Server::Dsql => Cow::Owned(index_async(fix)),
        });
        if self.is_json {
            let mut line = json!({"check": name, "status": status, "text": text, "fix": fix});
            if let Some(table) = &self.table {
                output::set(&mut line, "table", table.unquoted());
            }
            return output::json(&line);
        }
        let table = self.table.as_ref().map(ToString::to_string);
        let table = table.filter(|table| !text.contains(table));
        let table = table.map_or_else(String::new, |table| format!("{table}: "));
        let (style, width) = (color.on_default(), self.width);
        let fix = fix.map(|fix| format!(": {fix}")).unwrap_or_default();
        // Names of tables, types, indexes and roles may have any character.
        let (name, said) = (escaped(name), escaped(&format!("{table}{text}{fix}")));
        output::line(&format!(
            "{style}{status:<7}{style:#}  {name:<width$}  {said}"
        ))
    }

    /// Writes the outcome of all checks.
    pub(super) fn end(self) -> Result<Outcome, CliError> {
        self.written?;
        let [_, warnings, failures] = self.counts;
        if !self.is_json {
            let outcome = match failures {
                0 => "ready",
                _ => "not ready",
            };
            let (failures, warnings) = (counted(failures, "failure"), counted(warnings, "warning"));
            output::line(&format!("\n{outcome}: {failures}, {warnings}"))?;
        }
        Ok(match failures {
            0 => Outcome::Done,
            _ if self.is_unavailable => Outcome::Unavailable,
            _ => Outcome::Invalid,
        })
    }
}
