//! Totals of the samples: nulls, defaults and masks by column, and rejections by rule.

use std::collections::BTreeMap;

use mapping::{Column, Pipeline, Rejection, TableMapping};
use serde_json::{Value, json};

use super::Row;
use super::findings::{Findings, Severity};
use crate::cli::error::CliError;
use crate::cli::output::{self, Table, counted, escaped, line, listed};
use crate::cli::screen::{self, PLAIN, RED, YELLOW, wrapped};

/// How many lines of rejected messages are named for each rule.
const MAX_PLACES: usize = 10;

/// Counts over all samples.
#[derive(Default)]
pub(crate) struct Summary {
    messages: usize,
    /// Messages without a row.
    skipped: usize,
    /// For each table.
    tables: Vec<TableCounts>,
    /// The messages that break each rule.
    rejected: BTreeMap<&'static str, Rejected>,
}

/// The messages that break a rule.
#[derive(Default)]
struct Rejected {
    /// Where they are.
    places: Vec<String>,
    /// How often each column is at fault.
    columns: BTreeMap<String, usize>,
}

/// Counts over all rows of a table.
struct TableCounts {
    rows: usize,
    deleted: usize,
    columns: Vec<ColumnCounts>,
}

#[derive(Default, Clone)]
struct ColumnCounts {
    null: usize,
    defaulted: usize,
}

impl Summary {
    pub(crate) fn new(pipeline: &Pipeline) -> Self {
        Self {
            tables: pipeline.tables.iter().map(TableCounts::new).collect(),
            ..Self::default()
        }
    }

    pub(crate) fn add(&mut self, place: &str, rows: &Result<Vec<Row>, Rejection>) {
        self.messages += 1;
        match rows {
            Ok(rows) => {
                self.skipped += usize::from(rows.is_empty());
                for row in rows {
                    if let Some(table) = self.tables.get_mut(row.table) {
                        table.add(row);
                    }
                }
            }
            Err(rejection) => {
                let rejected = self.rejected.entry(rejection.rule.name()).or_default();
                rejected.add(place, rejection);
            }
        }
    }

    pub(super) fn is_any_rejected(&self) -> bool {
        !self.rejected.is_empty()
    }

    pub(super) fn print(
        &self,
        pipeline: &Pipeline,
        findings: &Findings<'_>,
    ) -> Result<(), CliError> {
        let words = pipeline.words_of_body().into_iter();
        let words: Vec<_> = words
            .map(|(word, value)| format!("{word} {}", escaped(&value)))
            .collect();
        if !words.is_empty() {
            line(&format!("each message: {}\n", words.join(", ")))?;
        }
        let width = screen::width();
        for (mapping, counts) in pipeline.tables.iter().zip(&self.tables) {
            let head = match pipeline.tables.len() {
                1 if counts.deleted == 0 => "all messages".to_owned(),
                _ => format!("all messages: {}", counts.head(mapping)),
            };
            line(&format!("{head}\n{}", counts.text(mapping, width)))?;
        }
        for (rule, rejected) in &self.rejected {
            let text = format!("by rule {rule}: {}", rejected.text());
            let text = wrapped(
                &text,
                width.map(|width| width.saturating_sub("rejected ".len())),
                2,
            );
            line(&format!("{RED}rejected{RED:#} {text}"))?;
        }
        for finding in findings.list() {
            let style = match finding.severity {
                Severity::Note => PLAIN,
                Severity::Warning => YELLOW,
                Severity::Error => RED,
            };
            let (severity, text) = (finding.severity, findings.text(&finding));
            line(&format!("{style}{severity}{style:#}: {text}"))?;
        }
        line(&self.totals())
    }

    /// The last line: messages, rows, rejections.
    pub(crate) fn totals(&self) -> String {
        let rows = self.tables.iter();
        let rows = rows.map(|table| table.rows + table.deleted).sum();
        let (messages, rows) = (counted(self.messages, "message"), counted(rows, "row"));
        let rejected = self.rejected.values().map(|rejected| rejected.places.len());
        let rejected: usize = rejected.sum();
        let skipped = match self.skipped {
            0 => String::new(),
            skipped => format!(", {skipped} without a row"),
        };
        format!("{messages}: {rows}, {rejected} rejected{skipped}")
    }

    /// The counts of each table, as JSON objects.
    pub(crate) fn tables(&self, pipeline: &Pipeline) -> Vec<Value> {
        let tables = pipeline.tables.iter().zip(&self.tables);
        tables
            .map(|(mapping, counts)| counts.json(mapping))
            .collect()
    }

    pub(super) fn json(
        &self,
        pipeline: &Pipeline,
        findings: &Findings<'_>,
    ) -> Result<(), CliError> {
        let mut tables = self.tables(pipeline);
        let rows: usize = self.tables.iter().map(|table| table.rows).sum();
        let columns = match &mut tables[..] {
            [table] => table["columns"].take(),
            _ => Value::Null,
        };
        let rejected = self.rejected.iter();
        let rejected: BTreeMap<_, _> = rejected
            .map(|(rule, rejected)| (rule, &rejected.places))
            .collect();
        let list = findings.list();
        let of = |severity: Severity| {
            let texts = list.iter().filter(|finding| finding.severity == severity);
            texts
                .map(|finding| findings.text(finding))
                .collect::<Vec<_>>()
        };
        let mut json = json!({
            "messages": self.messages, "rows": rows, "rejected": rejected, "without_row": self.skipped, "columns": columns,
            "errors": of(Severity::Error), "warnings": of(Severity::Warning), "notes": of(Severity::Note),
        });
        match &mut tables[..] {
            [table] => {
                for word in ["deleted", "tombstones"] {
                    let count = table.get(word).filter(|count| **count != json!(0));
                    if let Some(count) = count {
                        output::set(&mut json, word, count.clone());
                    }
                }
            }
            _ => output::set(&mut json, "tables", tables),
        }
        output::json(&json)
    }
}

impl Rejected {
    fn add(&mut self, place: &str, rejection: &Rejection) {
        self.places.push(place.to_owned());
        let at = rejection.place.as_ref();
        if let Some(column) = at.and_then(|at| at.column.as_ref()) {
            let table = at.and_then(|at| at.table.as_ref());
            let column = table.map_or_else(|| column.clone(), |table| format!("{table}.{column}"));
            *self.columns.entry(escaped(&column)).or_default() += 1;
        }
    }

    /// How many, by column, and where the first are.
    fn text(&self) -> String {
        let count = self.places.len();
        let mut named = self
            .places
            .iter()
            .take(MAX_PLACES)
            .cloned()
            .collect::<Vec<_>>();
        if count > MAX_PLACES {
            named.push(format!("{} more", count - MAX_PLACES));
        }
        let mut columns: Vec<_> = self.columns.iter().collect();
        columns.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let columns = match &columns[..] {
            [] => String::new(),
            [(column, _)] => format!(" at {column}"),
            several => {
                let columns = several
                    .iter()
                    .map(|(column, count)| format!("{column} {count}"));
                format!(": {}", listed(columns))
            }
        };
        format!("{count}{columns} ({})", listed(named))
    }
}

impl TableCounts {
    fn new(mapping: &TableMapping) -> Self {
        Self {
            rows: 0,
            deleted: 0,
            columns: vec![ColumnCounts::default(); mapping.columns.len()],
        }
    }

    fn add(&mut self, row: &Row) {
        if row.is_deleted {
            self.deleted += 1;
            return;
        }
        self.rows += 1;
        for (counts, cell) in self.columns.iter_mut().zip(&row.cells) {
            counts.null += usize::from(cell.text.is_none());
            counts.defaulted += usize::from(cell.is_default);
        }
    }

    fn json(&self, mapping: &TableMapping) -> Value {
        let columns = mapping.columns.iter().zip(&self.columns);
        let columns = columns.map(|(column, counts)| {
            json!({
                "column": column.name, "type": column.type_text(), "null": counts.null,
                "defaulted": counts.defaulted, "masked": column.mask.map(|_| self.rows - counts.null),
            })
        });
        let columns: Vec<_> = columns.collect();
        let mut json = json!({"table": mapping.table.unquoted(), "rows": self.rows, "deleted": self.deleted, "columns": columns});
        if mapping.keeps_tombstones() {
            output::set(&mut json, "tombstones", self.deleted);
        }
        json
    }

    fn head(&self, mapping: &TableMapping) -> String {
        let deleted = match (self.deleted, mapping.keeps_tombstones()) {
            (0, _) => String::new(),
            (deleted, false) => format!(", {deleted} deleted"),
            (deleted, true) => format!(", {}", counted(deleted, "tombstone")),
        };
        let rows = counted(self.rows, "row");
        format!("{rows} of {}{deleted}", mapping.table)
    }

    /// A line for each column that has values, and one for all others.
    fn text(&self, mapping: &TableMapping, width: Option<usize>) -> String {
        if self.rows == 0 {
            return String::new();
        }
        let (mut table, mut nulls) = (Table::default(), Vec::new());
        let columns = mapping.columns.iter().zip(&self.columns);
        let is_read = |column: &Column| mapping.tombstone_column() != Some(column);
        for (column, counted) in columns.filter(|(column, _)| is_read(column)) {
            let name = escaped(&column.name);
            match counted.null == self.rows {
                true => nulls.push(name),
                false => table.row([name, column.type_text(), self.counted(column, counted)]),
            }
        }
        let mut text = table.to_string();
        if !nulls.is_empty() {
            let nulls = format!("  null: {}", listed(nulls));
            text += &format!("{}\n", wrapped(&nulls, width, 4));
        }
        text
    }

    fn counted(&self, column: &Column, counts: &ColumnCounts) -> String {
        let values = self.rows - counts.null - counts.defaulted;
        let values = match column.mask {
            Some(_) => format!("{values} masked"),
            None => counted(values, "value"),
        };
        let mut text = values;
        for (count, what) in [(counts.null, "null"), (counts.defaulted, "defaulted")] {
            if count > 0 {
                text += &format!(", {count} {what}");
            }
        }
        text
    }
}
