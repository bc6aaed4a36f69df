//! `--privacy`: the map of personal data: which columns hold some, where it comes from, and how it is masked.

use clap::builder::styling::{AnsiColor, Style};
use mapping::internals::Kind;
use mapping::{Column, Mask, Metadata, Path, Pipeline, Rejection, Source, TableMapping};
use serde_json::json;

use super::Row;
use crate::cli::Outcome;
use crate::cli::error::CliError;
use crate::cli::output::{self, counted, escaped, line, listed};
use crate::commands::infer::{Suspect, name_of};

/// The width of a terminal, in characters.
const WIDTH: usize = 80;

/// Longer names of columns push what follows to the right.
const MAX_NAME_CHARS: usize = 24;

/// A column on the map.
struct Entry<'p> {
    mapping: &'p TableMapping,
    column: &'p Column,
    state: State,
    /// Why it is in this state; empty for a mask.
    why: String,
}

/// What becomes of the personal data of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Masked(Mask),
    /// On purpose.
    Plaintext,
    /// It looks personal.
    NotMasked,
    /// It may hold anything.
    Unknown,
}

impl State {
    fn name(self) -> String {
        match self {
            Self::Masked(mask) => mask.to_string(),
            Self::Plaintext => "plaintext".to_owned(),
            Self::NotMasked => "not masked".to_owned(),
            Self::Unknown => "unknown".to_owned(),
        }
    }

    fn style(self) -> Style {
        match self {
            Self::Masked(_) => AnsiColor::Green.on_default(),
            Self::NotMasked => AnsiColor::Yellow.on_default(),
            Self::Plaintext | Self::Unknown => Style::new(),
        }
    }

    /// The state of a column whatever it is masked with.
    fn kind(self) -> &'static str {
        match self {
            Self::Masked(_) => "masked",
            Self::Plaintext => "plaintext",
            Self::NotMasked => "not_masked",
            Self::Unknown => "unknown",
        }
    }
}

pub(super) struct Privacy<'p> {
    pipeline: &'p Pipeline,
    /// What is known of the values of each column of each table.
    values: Vec<Vec<Suspect>>,
    messages: usize,
    rejected: usize,
}

impl<'p> Privacy<'p> {
    pub(super) fn new(pipeline: &'p Pipeline) -> Self {
        let tables = pipeline.tables.iter();
        let values = tables.map(|table| table.columns.iter().map(|_| Suspect::default()).collect());
        Self {
            pipeline,
            values: values.collect(),
            messages: 0,
            rejected: 0,
        }
    }

    /// Looks at the values of a message that are not masked.
    pub(super) fn see(&mut self, rows: &Result<Vec<Row>, Rejection>) {
        self.messages += 1;
        let Ok(rows) = rows else {
            self.rejected += 1;
            return;
        };
        for row in rows {
            let columns = &self.pipeline.table(row.table).columns;
            let seen = self.values.get_mut(row.table).into_iter().flatten();
            for ((column, cell), seen) in columns.iter().zip(&row.cells).zip(seen) {
                match &cell.text {
                    Some(text) if column.mask.is_none() => look(seen, column, text),
                    Some(_) | None => {}
                }
            }
        }
    }

    /// Writes the map. The values of rejected messages are not on it.
    pub(super) fn write(&self, is_json: bool) -> Result<Outcome, CliError> {
        let entries = self.entries();
        match is_json {
            true => self.json(&entries)?,
            false => self.print(&entries)?,
        }
        if self.rejected > 0 {
            let of = counted(self.messages, "message");
            eprintln!(
                "{} of {of} are rejected: their values were not looked at",
                self.rejected
            );
        }
        Ok(Outcome::done_if(self.rejected == 0))
    }

    fn entries(&self) -> Vec<Entry<'p>> {
        let mut entries = Vec::new();
        for (mapping, values) in self.pipeline.tables.iter().zip(&self.values) {
            for (column, values) in mapping.columns.iter().zip(values) {
                let found = self.state(mapping, column, values);
                entries.extend(found.map(|(state, why)| Entry {
                    mapping,
                    column,
                    state,
                    why,
                }));
            }
        }
        entries
    }

    /// The state of a column, and why; `None` if nothing suggests that it is personal.
    fn state(
        &self,
        mapping: &TableMapping,
        column: &Column,
        values: &Suspect,
    ) -> Option<(State, String)> {
        if let Some(mask) = column.mask {
            return Some((State::Masked(mask), String::new()));
        }
        let mut clear = self.pipeline.clear_columns(mapping);
        if let Some((_, masked)) = clear.find(|(clear, _)| clear.name == column.name) {
            let why = format!("on purpose, although {:?} is masked", masked.name);
            return Some((State::Plaintext, why));
        }
        let is_opaque = is_opaque(column);
        let within = || values.reason_within().filter(|_| is_opaque);
        if let Some(why) = values.reason(&names(mapping, column)).or_else(within) {
            // True or false is hardly personal, whatever it is about.
            let is_flag = column.column_type.single() == mapping::ColumnType::Boolean;
            return (!is_flag).then_some((State::NotMasked, why));
        }
        is_opaque.then(|| (State::Unknown, "it may hold anything".to_owned()))
    }

    fn print(&self, entries: &[Entry<'_>]) -> Result<(), CliError> {
        for mapping in &self.pipeline.tables {
            let own = entries.iter();
            let own: Vec<_> = own
                .filter(|entry| entry.mapping.table == mapping.table)
                .collect();
            if own.is_empty() {
                continue;
            }
            let width = |of: fn(&Entry<'_>) -> usize, most: usize| {
                let widths = own.iter().map(|entry| of(entry));
                widths.filter(|&width| width <= most).max().unwrap_or(0)
            };
            let name = width(
                |entry| escaped(&entry.column.name).chars().count(),
                MAX_NAME_CHARS,
            );
            let state = width(|entry| entry.state.name().len(), WIDTH);
            line(&escaped(&mapping.table.to_string()))?;
            for entry in own {
                line(&entry.shown(name, state))?;
            }
            line("")?;
        }
        line(&self.totals(entries))
    }

    fn totals(&self, entries: &[Entry<'_>]) -> String {
        let all = self.pipeline.columns().count();
        let by = match self.messages {
            0 => "their names",
            _ => "their names and values",
        };
        let count = |kind: &str| {
            let of_kind = entries.iter().filter(|entry| entry.state.kind() == kind);
            of_kind.count()
        };
        let parts = [
            (count("masked"), "masked".to_owned()),
            (count("plaintext"), "in plaintext on purpose".to_owned()),
            (
                count("not_masked"),
                "not masked that may be personal".to_owned(),
            ),
            (count("unknown"), "that may hold anything".to_owned()),
            (all - entries.len(), format!("not personal by {by}")),
        ];
        let parts = parts.iter().filter(|(count, _)| *count > 0);
        let parts = listed(parts.map(|(count, what)| format!("{count} {what}")));
        wrapped(&format!("{}: {parts}", counted(all, "column")), 0)
    }

    fn json(&self, entries: &[Entry<'_>]) -> Result<(), CliError> {
        let columns = entries.iter().map(|entry| {
            let (mapping, column) = (entry.mapping, entry.column);
            let from: Vec<_> = column.sources().map(ToString::to_string).collect();
            json!({
                "table": mapping.table.unquoted(), "column": column.name, "type": column.type_text(), "from": from,
                "state": entry.state.kind(), "mask": column.mask.map(|mask| mask.to_string()), "why": entry.why,
            })
        });
        let columns: Vec<_> = columns.collect();
        let others = self.pipeline.columns().count() - columns.len();
        output::json(&json!({
            "columns": columns, "others": others, "messages": self.messages, "rejected": self.rejected,
        }))
    }
}

impl Entry<'_> {
    /// One or more lines, of which the later ones are indented.
    fn shown(&self, name_chars: usize, state_chars: usize) -> String {
        let (name, state) = (escaped(&self.column.name), self.state.name());
        let sources = listed(self.column.sources().map(ToString::to_string));
        let text = match self.why.as_str() {
            "" => format!("from {sources}"),
            why => format!("from {sources}: {why}"),
        };
        let style = self.state.style();
        let padding = " ".repeat(state_chars.saturating_sub(state.len()));
        let text = wrapped(&escaped(&text), name_chars + state_chars + 6);
        format!("  {name:<name_chars$}  {style}{state}{style:#}{padding}  {text}")
    }
}

/// Text that begins in this column, in lines that are not wider than a terminal if its words allow that.
fn wrapped(text: &str, indent: usize) -> String {
    let mut lines = String::new();
    let mut chars = indent;
    for word in text.split(' ') {
        let word_chars = word.chars().count();
        if chars + 1 + word_chars > WIDTH && chars > indent {
            lines.push('\n');
            lines.push_str(&" ".repeat(indent));
            chars = indent;
        } else if chars > indent {
            lines.push(' ');
            chars += 1;
        }
        lines.push_str(word);
        chars += word_chars;
    }
    lines
}

fn look(seen: &mut Suspect, column: &Column, text: &str) {
    let is_json = || text.starts_with(['{', '[']);
    if is_opaque(column) && (column.cast.is_none() || is_json()) {
        return seen.see_json(text);
    }
    if column.column_type.kind() != Kind::Array {
        return seen.see(text);
    }
    // As Postgres prints an array; a comma within an element does not matter here.
    let elements = text.trim_matches(['{', '}']).split(',');
    elements.for_each(|element| seen.see(element.trim_matches('"')));
}

/// Whether the values of a column are, or may be, objects or arrays that the mapping does not look into: also those of a
/// type of the database's own, such as a domain over `jsonb`.
fn is_opaque(column: &Column) -> bool {
    let is_body = column
        .sources()
        .any(|source| matches!(source, Source::Metadata(Metadata::Body)));
    let is_of_database = column.cast.as_ref().is_some_and(|cast| !cast.is_built_in());
    is_body || is_of_database || column.column_type.kind() == Kind::Json
}

/// What the mapping calls the values of a column: its own name, and those of the fields that it reads.
fn names(mapping: &TableMapping, column: &Column) -> Vec<String> {
    let sources = column.sources().filter_map(|source| match source {
        Source::Path(path) | Source::Top(path) | Source::Parent(_, path) => name_of(&path.0),
        Source::Element => mapping.each.as_ref().and_then(|Path(steps)| name_of(steps)),
        Source::Metadata(Metadata::Attribute(name)) => Some(name.clone()),
        Source::Metadata(_) | Source::Index(_) | Source::Rest | Source::Jq(_) => None,
    });
    // What the producer calls it says more than the name of the column.
    sources.chain([column.name.clone()]).collect()
}
