//! `--against`: how the rows differ from those of another mapping. Counts only, no values.

use std::collections::BTreeMap;

use mapping::internals::readable;
use mapping::{Compiled, MessageRows, Pipeline, Record, Rejection, TableMapping, TableRows};

use crate::cli::error::CliError;
use crate::cli::output::{Table, counted, escaped, line, listed};

/// How many messages of a kind are named.
const MAX_PLACES: usize = 10;

/// Shown in place of a column where a message deletes the row with only one of the mappings.
const DELETION: &str = "(deletion)";

/// A mapping that is ready for use.
struct Side<'p> {
    pipeline: &'p Pipeline,
    compiled: &'p Compiled,
}

/// What differs between two mappings, for the same messages.
pub(super) struct Against<'p> {
    before: Side<'p>,
    now: Side<'p>,
    messages: usize,
    tables: BTreeMap<String, TableDifference>,
    /// Where messages are whose result differs, by what differs.
    outcomes: BTreeMap<String, Vec<String>>,
}

/// What differs in a table.
#[derive(Default)]
struct TableDifference {
    unchanged: usize,
    changed: usize,
    added: usize,
    removed: usize,
    columns: BTreeMap<String, ColumnDifference>,
}

/// How often a column differs.
#[derive(Default)]
struct ColumnDifference {
    other: usize,
    null_now: usize,
    null_before: usize,
}

/// The rows of a message in a table, by the names and texts of their keys.
type RowsByKey<'t> = BTreeMap<Vec<(&'t str, Option<String>)>, RowTexts<'t>>;

/// The texts of a row by column.
#[derive(PartialEq)]
struct RowTexts<'t> {
    is_deleted: bool,
    cells: BTreeMap<&'t str, Option<String>>,
}

impl<'p> Against<'p> {
    /// Each mapping as it is read, and ready for use.
    pub(super) fn new(
        before: (&'p Pipeline, &'p Compiled),
        now: (&'p Pipeline, &'p Compiled),
    ) -> Self {
        let side = |(pipeline, compiled)| Side { pipeline, compiled };
        Self {
            before: side(before),
            now: side(now),
            messages: 0,
            tables: BTreeMap::new(),
            outcomes: BTreeMap::new(),
        }
    }

    /// Compares what becomes of a message.
    pub(super) fn see(&mut self, place: &str, record: &Record<'_>) {
        self.messages += 1;
        let [before, now] = [&self.before, &self.now].map(|side| side.compiled.rows(record));
        let outcome = match (&before, &now) {
            (Ok(_), Err(rejection)) => {
                format!("stored before, rejected now by {}", reason(rejection))
            }
            (Err(rejection), Ok(_)) => {
                format!("rejected before by {}, stored now", reason(rejection))
            }
            (Err(before), Err(now)) if reason(before) != reason(now) => {
                format!(
                    "rejected before by {}, now by {}",
                    reason(before),
                    reason(now)
                )
            }
            (Ok(before), Ok(now)) => return self.compare(before, now),
            (Err(_), Err(_)) => return,
        };
        self.outcomes
            .entry(outcome)
            .or_default()
            .push(place.to_owned());
    }

    fn compare(&mut self, before: &MessageRows, now: &MessageRows) {
        let mut before = by_table(self.before.pipeline, before);
        for (name, now) in by_table(self.now.pipeline, now) {
            let before = before.remove(&name).unwrap_or_default();
            self.tables.entry(name).or_default().add(before, now);
        }
        for (name, before) in before {
            self.tables
                .entry(name)
                .or_default()
                .add(before, RowsByKey::new());
        }
    }

    /// Whether nothing differs.
    pub(super) fn is_same(&self) -> bool {
        self.outcomes.is_empty() && self.tables.values().all(TableDifference::is_none)
    }

    pub(super) fn print(&self) -> Result<(), CliError> {
        for (name, table) in &self.tables {
            if !table.is_none() {
                line(&format!("{}: {}", escaped(name), table.head()))?;
                let mut columns = Table::default();
                for (column, difference) in &table.columns {
                    columns.row([escaped(column), difference.text()]);
                }
                line(&columns.to_string())?;
            }
        }
        for (outcome, places) in &self.outcomes {
            let mut named: Vec<&str> = places.iter().take(MAX_PLACES).map(String::as_str).collect();
            let more = format!("{} more", places.len().saturating_sub(MAX_PLACES));
            if places.len() > MAX_PLACES {
                named.push(&more);
            }
            let messages = counted(places.len(), "message");
            line(&format!(
                "{messages} {} ({})",
                escaped(outcome),
                listed(named)
            ))?;
        }
        let rows = self.tables.values().map(TableDifference::differing).sum();
        let messages = self.outcomes.values().map(Vec::len).sum();
        line(&format!(
            "{}: {} differ, {} with another result",
            counted(self.messages, "message"),
            counted(rows, "row"),
            counted(messages, "message")
        ))
    }
}

/// The rule that a message breaks, and where.
fn reason(rejection: &Rejection) -> String {
    let place = rejection.place.as_ref();
    let at = place.map(|place| place.column.as_ref().unwrap_or(&place.path));
    match at {
        Some(at) => format!("{} ({at})", rejection.rule.name()),
        None => rejection.rule.name().to_owned(),
    }
}

fn by_table<'p>(pipeline: &'p Pipeline, rows: &MessageRows) -> BTreeMap<String, RowsByKey<'p>> {
    let tables = pipeline.tables.iter().zip(rows.tables());
    let tables = tables.map(|(mapping, table)| (mapping.table.unquoted(), by_key(mapping, table)));
    tables.collect()
}

fn by_key<'p>(mapping: &'p TableMapping, table: &TableRows) -> RowsByKey<'p> {
    let rows = (0..table.rows.len()).map(|row| {
        let text = |position: usize| {
            let column = mapping.columns.get(position)?;
            readable(column.column_type, table.rows.value(row, position)?)
        };
        let key = mapping.key_names().zip(&mapping.key);
        let names = mapping.column_names().enumerate();
        let texts = RowTexts {
            is_deleted: table.is_deleted(row),
            cells: names
                .map(|(position, name)| (name, text(position)))
                .collect(),
        };
        (
            key.map(|(name, &position)| (name, text(position)))
                .collect(),
            texts,
        )
    });
    rows.collect()
}

impl TableDifference {
    fn add<'t>(&mut self, mut before: RowsByKey<'t>, now: RowsByKey<'t>) {
        for (key, now) in now {
            match before.remove(&key) {
                None => self.added += 1,
                Some(before) if before == now => self.unchanged += 1,
                Some(before) => self.add_changed(&before, &now),
            }
        }
        self.removed += before.len();
    }

    fn add_changed(&mut self, before: &RowTexts<'_>, now: &RowTexts<'_>) {
        self.changed += 1;
        if before.is_deleted != now.is_deleted {
            self.column(DELETION).other += 1;
        }
        let names = before.cells.keys().chain(now.cells.keys());
        let mut names: Vec<&str> = names.copied().collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            let [before, now] = [before, now].map(|row| row.cells.get(name).cloned().flatten());
            match (&before, &now) {
                (None, Some(_)) => self.column(name).null_before += 1,
                (Some(_), None) => self.column(name).null_now += 1,
                (Some(before), Some(now)) if before != now => self.column(name).other += 1,
                (Some(_), Some(_)) | (None, None) => {}
            }
        }
    }

    fn column(&mut self, name: &str) -> &mut ColumnDifference {
        self.columns.entry(name.to_owned()).or_default()
    }

    fn differing(&self) -> usize {
        self.changed + self.added + self.removed
    }

    fn is_none(&self) -> bool {
        self.differing() == 0
    }

    fn head(&self) -> String {
        let counts = [
            (self.unchanged, "unchanged"),
            (self.changed, "changed"),
            (self.added, "only now"),
            (self.removed, "only before"),
        ];
        let counts = counts.iter().filter(|(count, _)| *count > 0);
        listed(counts.map(|(count, what)| format!("{} {what}", counted(*count, "row"))))
    }
}

impl ColumnDifference {
    fn text(&self) -> String {
        let counts = [
            (self.other, "with another value"),
            (self.null_before, "null or absent before"),
            (self.null_now, "null or absent now"),
        ];
        let counts = counts.iter().filter(|(count, _)| *count > 0);
        listed(counts.map(|(count, what)| format!("{count} {what}")))
    }
}
