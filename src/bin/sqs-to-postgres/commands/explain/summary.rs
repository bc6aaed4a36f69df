//! Totals of the samples: nulls, defaults and masks by column, rejections by rule, and paths that lead nowhere.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use sqs_to_postgres::message::Message;
use sqs_to_postgres::pipeline::{Column, Path, Pipeline, Source, TableMapping};
use sqs_to_postgres::rejection::Rejection;
use sqs_to_postgres::suggest::similar;

use super::Row;
use super::unmapped::Unmapped;
use crate::cli::error::CliError;
use crate::cli::output::{self, Table, counted, escaped, line};

/// How many lines of rejected messages are named for each rule.
const MAX_PLACES: usize = 10;

/// Counts over all samples.
#[derive(Default)]
pub(super) struct Summary {
    messages: usize,
    /// Messages of which there is no row.
    skipped: usize,
    /// For each table.
    tables: Vec<TableCounts>,
    /// Where the messages are that break a rule.
    rejected: BTreeMap<&'static str, Vec<String>>,
    /// Every path that leads to a value in a sample, other than null.
    seen: BTreeSet<String>,
    /// Where asked for.
    unmapped: Option<Unmapped>,
}

/// Counts over all rows of a table.
struct TableCounts {
    rows: usize,
    deleted: usize,
    columns: Vec<Counts>,
}

#[derive(Default, Clone)]
struct Counts {
    null: usize,
    defaulted: usize,
}

impl Summary {
    pub(super) fn new(pipeline: &Pipeline, is_unmapped_asked: bool) -> Self {
        Self {
            tables: pipeline.tables.iter().map(TableCounts::new).collect(),
            unmapped: is_unmapped_asked.then(|| Unmapped::new(pipeline)),
            ..Self::default()
        }
    }

    pub(super) fn add(&mut self, place: &str, rows: &Result<Vec<Row>, Rejection>) {
        self.messages += 1;
        match rows {
            Ok(rows) => {
                self.skipped += usize::from(rows.is_empty());
                for row in rows {
                    self.tables[row.table].add(row);
                }
            }
            Err(rejection) => {
                let places = self.rejected.entry(rejection.rule.name()).or_default();
                places.push(place.to_owned());
            }
        }
    }

    /// Notes the paths of a message.
    pub(super) fn see(&mut self, message: &Message<'_>) {
        if let Ok(body) = serde_json::from_str(message.body()) {
            match &mut self.unmapped {
                Some(unmapped) => unmapped.see(&body),
                None => self.see_value(&mut Path(Vec::new()), &body),
            }
        }
    }

    fn see_value(&mut self, path: &mut Path, value: &Value) {
        let children: Vec<(String, &Value)> = match value {
            Value::Null => return,
            Value::Object(object) => object.iter().map(|(key, v)| (key.clone(), v)).collect(),
            Value::Array(array) => (0..).map(|n: usize| n.to_string()).zip(array).collect(),
            _ => Vec::new(),
        };
        self.seen.insert(path.to_string());
        for (step, child) in children {
            path.0.push(step);
            self.see_value(path, child);
            path.0.pop();
        }
    }

    pub(super) fn is_any_rejected(&self) -> bool {
        !self.rejected.is_empty()
    }

    pub(super) fn print(&self, pipeline: &Pipeline) -> Result<(), CliError> {
        if let Some(unmapped) = &self.unmapped {
            return unmapped.print(self.messages);
        }
        for (mapping, counts) in pipeline.tables.iter().zip(&self.tables) {
            let mut table = Table::default();
            for (column, counted) in mapping.columns.iter().zip(&counts.columns) {
                let (name, column_type) = (column.name.clone(), column.column_type.to_string());
                table.row([name, column_type, counts.counted(column, counted)]);
            }
            let head = match pipeline.tables.len() {
                1 => "all messages".to_owned(),
                _ => format!("all messages: {}", counts.head(&mapping.table.to_string())),
            };
            line(&format!("{head}\n{table}"))?;
        }
        for (rule, places) in &self.rejected {
            let mut named = places.iter().take(MAX_PLACES).cloned().collect::<Vec<_>>();
            if places.len() > MAX_PLACES {
                named.push(format!("{} more", places.len() - MAX_PLACES));
            }
            line(&format!(
                "rejected by rule {rule}: {} ({})",
                places.len(),
                named.join(", ")
            ))?;
        }
        for warning in self.warnings(pipeline) {
            line(&format!("warning: {warning}"))?;
        }
        let rows = self
            .tables
            .iter()
            .map(|table| table.rows + table.deleted)
            .sum();
        let (messages, rows) = (counted(self.messages, "message"), counted(rows, "row"));
        let rejected: usize = self.rejected.values().map(Vec::len).sum();
        let skipped = match self.skipped {
            0 => String::new(),
            skipped => format!(", {skipped} without a row"),
        };
        line(&format!("{messages}: {rows}, {rejected} rejected{skipped}"))
    }

    pub(super) fn json(&self, pipeline: &Pipeline) -> Result<(), CliError> {
        if let Some(unmapped) = &self.unmapped {
            return unmapped.json(self.messages);
        }
        let tables = pipeline.tables.iter().zip(&self.tables);
        let mut tables: Vec<Value> = tables
            .map(|(mapping, counts)| counts.json(mapping))
            .collect();
        let rows: usize = self.tables.iter().map(|table| table.rows).sum();
        let columns = match &mut tables[..] {
            [table] => table["columns"].take(),
            _ => Value::Null,
        };
        let warnings: Vec<String> = self.warnings(pipeline).collect();
        let mut json = json!({
            "messages": self.messages, "rows": rows, "rejected": self.rejected, "columns": columns, "warnings": warnings,
        });
        if tables.len() > 1 {
            json["tables"] = tables.into();
        }
        output::json(&json)
    }

    /// One for each column that no sample has a value for, and for each path that is written as elsewhere.
    fn warnings(&self, pipeline: &Pipeline) -> impl Iterator<Item = String> {
        let tables = pipeline.tables.iter().zip(&self.tables);
        tables.flat_map(move |(mapping, counts)| {
            let is_at_top =
                pipeline.root.is_none() && mapping.each.is_none() && mapping.parent.is_none();
            let columns = mapping.columns.iter().zip(&counts.columns);
            columns.filter_map(move |(column, counted)| match &column.source {
                Source::Path(path) if is_at_top && column.fallbacks.is_empty() => {
                    self.warning_of_path(column, path)
                }
                Source::Top(path) if column.fallbacks.is_empty() => {
                    self.warning_of_path(column, path)
                }
                source => (counts.rows > 0 && counted.null == counts.rows).then(|| {
                    escaped(&format!(
                        "column {:?}: no message has {source}",
                        column.name
                    ))
                }),
            })
        })
    }

    fn warning_of_path(&self, column: &Column, path: &Path) -> Option<String> {
        let text = path.to_string();
        let meant = from_json_path(path);
        let written = column.source.to_string();
        if self.seen.contains(&text) || self.seen.is_empty() && meant.is_none() {
            return None;
        }
        let known = || similar(&text, self.seen.iter().map(String::as_str)).map(str::to_owned);
        let meant = meant.or_else(known);
        let meant = meant.map_or_else(String::new, |meant| format!("; did you mean {meant:?}?"));
        let warning = format!(
            "column {:?}: no message has a value at {written:?}{meant}",
            column.name
        );
        Some(escaped(&warning))
    }
}

impl TableCounts {
    fn new(mapping: &TableMapping) -> Self {
        Self {
            rows: 0,
            deleted: 0,
            columns: vec![Counts::default(); mapping.columns.len()],
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
                "column": column.name, "type": column.column_type.to_string(), "null": counts.null,
                "defaulted": counts.defaulted, "masked": column.mask.map(|_| self.rows - counts.null),
            })
        });
        let columns: Vec<_> = columns.collect();
        json!({"table": mapping.table.unquoted(), "rows": self.rows, "deleted": self.deleted, "columns": columns})
    }

    fn head(&self, name: &str) -> String {
        let deleted = match self.deleted {
            0 => String::new(),
            deleted => format!(", {deleted} deleted"),
        };
        format!("{} of {name}{deleted}", counted(self.rows, "row"))
    }

    fn counted(&self, column: &Column, counts: &Counts) -> String {
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

/// The path that stands for one written as in JSONPath, `$.values[0].v` or `values.*.v`; of many elements the first.
fn from_json_path(path: &Path) -> Option<String> {
    let is_foreign = |step: &String| step.contains(['[', ']', '*']);
    if !path.0.iter().any(is_foreign) {
        return None;
    }
    let steps = path.0.iter().flat_map(|step| {
        step.split(['[', ']'])
            .map(|part| part.trim_matches(['"', '\'']))
    });
    let steps = steps.filter(|step| !step.is_empty());
    let steps = steps.map(|step| if step == "*" { "0" } else { step }.to_owned());
    Some(Path(steps.collect()).to_string())
}
