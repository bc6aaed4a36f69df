//! Totals of the samples: nulls, defaults and masks by column, rejections by rule, and paths that lead nowhere.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use sqs_to_postgres::message::Message;
use sqs_to_postgres::pipeline::{Column, Path, Pipeline, Source};
use sqs_to_postgres::rejection::Rejection;
use sqs_to_postgres::suggest::similar;

use super::Cell;
use crate::cli::error::CliError;
use crate::cli::output::{self, Table, counted, escaped, line};

/// How many lines of rejected messages are named for each rule.
const MAX_PLACES: usize = 10;

/// Counts over all samples.
#[derive(Default)]
pub(super) struct Summary {
    messages: usize,
    rows: usize,
    columns: Vec<Counts>,
    /// Where the messages are that break a rule.
    rejected: BTreeMap<&'static str, Vec<String>>,
    /// Every path that leads to a value in a sample, other than null.
    seen: BTreeSet<String>,
}

#[derive(Default, Clone)]
struct Counts {
    null: usize,
    defaulted: usize,
}

impl Summary {
    pub(super) fn new(pipeline: &Pipeline) -> Self {
        Self {
            columns: vec![Counts::default(); pipeline.columns.len()],
            ..Self::default()
        }
    }

    pub(super) fn add(&mut self, place: &str, row: &Result<Vec<Cell>, Rejection>) {
        self.messages += 1;
        match row {
            Ok(cells) => {
                self.rows += 1;
                for (counts, cell) in self.columns.iter_mut().zip(cells) {
                    counts.null += usize::from(cell.text.is_none());
                    counts.defaulted += usize::from(cell.is_default);
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
            self.see_value(&mut Path(Vec::new()), &body);
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
        self.rows < self.messages
    }

    pub(super) fn print(&self, pipeline: &Pipeline) -> Result<(), CliError> {
        let mut table = Table::default();
        for (column, counts) in pipeline.columns.iter().zip(&self.columns) {
            let (name, column_type) = (column.name.clone(), column.column_type.to_string());
            table.row([name, column_type, self.counted(column, counts)]);
        }
        line(&format!("all messages\n{table}"))?;
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
        let (messages, rows) = (counted(self.messages, "message"), counted(self.rows, "row"));
        line(&format!(
            "{messages}: {rows}, {} rejected",
            self.messages - self.rows
        ))
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

    pub(super) fn json(&self, pipeline: &Pipeline) -> Result<(), CliError> {
        let columns = pipeline.columns.iter().zip(&self.columns);
        let columns: Vec<Value> = columns
            .map(|(column, counts)| {
                json!({
                    "column": column.name, "type": column.column_type.to_string(), "null": counts.null, "defaulted": counts.defaulted,
                    "masked": column.mask.map(|_| self.rows - counts.null),
                })
            })
            .collect();
        let warnings: Vec<String> = self.warnings(pipeline).collect();
        output::json(&json!({
            "messages": self.messages, "rows": self.rows, "rejected": self.rejected, "columns": columns, "warnings": warnings,
        }))
    }

    /// One for each column that no sample has a value for, and for each path that is written as elsewhere.
    fn warnings(&self, pipeline: &Pipeline) -> impl Iterator<Item = String> {
        let columns = pipeline.columns.iter().zip(&self.columns);
        columns.filter_map(|(column, counts)| match &column.source {
            Source::Path(path) => self.warning_of_path(column, path),
            Source::Metadata(metadata) => (self.rows > 0 && counts.null == self.rows)
                .then(|| format!("column {:?}: no message has {metadata}", column.name)),
        })
    }

    fn warning_of_path(&self, column: &Column, path: &Path) -> Option<String> {
        let text = path.to_string();
        let meant = from_json_path(path);
        if self.seen.contains(&text) || self.seen.is_empty() && meant.is_none() {
            return None;
        }
        let known = || similar(&text, self.seen.iter().map(String::as_str)).map(str::to_owned);
        let meant = meant.or_else(known);
        let meant = meant.map_or_else(String::new, |meant| format!("; did you mean {meant:?}?"));
        let warning = format!(
            "column {:?}: no message has a value at {text:?}{meant}",
            column.name
        );
        Some(escaped(&warning))
    }
}

/// The path that stands for one written as in JSONPath, `$.values[0].v` or `values.*.v`; of many elements the first.
fn from_json_path(path: &Path) -> Option<String> {
    let is_foreign = |step: &String| step.contains(['[', ']', '*']);
    let has_root = path.0.len() > 1 && path.0.first().is_some_and(|step| step == "$");
    if !has_root && !path.0.iter().any(is_foreign) {
        return None;
    }
    let steps = path.0.iter().skip(usize::from(has_root));
    let steps = steps.flat_map(|step| {
        step.split(['[', ']'])
            .map(|part| part.trim_matches(['"', '\'']))
    });
    let steps = steps.filter(|step| !step.is_empty());
    let steps = steps.map(|step| if step == "*" { "0" } else { step }.to_owned());
    Some(Path(steps.collect()).to_string())
}
