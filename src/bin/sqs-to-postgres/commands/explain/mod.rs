//! `explain`: the rows that messages would become, without a database.

mod summary;

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};
use sqs_to_postgres::aws::Aws;
use sqs_to_postgres::mask::MaskKey;
use sqs_to_postgres::message::Message;
use sqs_to_postgres::message::origin::Origins;
use sqs_to_postgres::pipeline::{Column, Pipeline};
use sqs_to_postgres::rejection::Rejection;
use sqs_to_postgres::rows::Rows;
use sqs_to_postgres::transform::{Transformer, readable};

use crate::cli::Outcome;
use crate::cli::error::CliError;
use crate::cli::output::{self, Table, counted, escaped, line};
use crate::cli::samples::{self, Sample};
use crate::cli::settings::{MappingFlags, MaskFlags};
use summary::Summary;

const EXAMPLES: &str = "\
Examples:
  sqs-to-postgres explain events/logins.jsonl
  sqs-to-postgres explain --summary orders.jsonl
  echo '{\"user_id\": \"u\", \"ip\": \"10.0.0.1\", \"device_id\": \"d\"}' | sqs-to-postgres explain --show-values";

/// Show the row that each message becomes, or the rule it breaks and where
///
/// Hides values, but shows tokens as the table would hold them, if a mask key is set.
/// Needs no database.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment, after_help = EXAMPLES)]
pub(crate) struct Explain {
    /// Files of JSON messages (one per line, pretty-printed or in an array) or Lambda events; stdin if omitted or -
    files: Vec<PathBuf>,
    /// Show only messages that are rejected, and the summary
    #[arg(long)]
    rejected: bool,
    /// Show only the summary: nulls, defaults and masks by column, rejections by rule, doubtful paths
    #[arg(long, conflicts_with = "rejected")]
    summary: bool,
    /// Show the values of the messages
    #[arg(long)]
    show_values: bool,
    /// Print one JSON object per message, or with --summary one for all
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    mapping: MappingFlags,
    #[command(flatten)]
    mask: MaskFlags,
}

/// The mapping, ready to transform messages.
struct Explainer {
    pipeline: Pipeline,
    transformer: Transformer,
    /// The same without defaults.
    bare: Transformer,
    origins: Origins,
    has_key: bool,
    shows_values: bool,
}

/// The row of a message, or the rule that it breaks.
type Row = Result<Vec<Cell>, Rejection>;

/// A cell of a row.
struct Cell {
    /// `None` for a null.
    text: Option<String>,
    /// Whether the default replaces a null.
    is_default: bool,
}

/// Whether the output is still read: if not, the exit code still counts all messages.
fn is_still_read(written: Result<(), CliError>) -> Result<bool, CliError> {
    match written {
        Err(error) if error.is_unread() => Ok(false),
        written => written.map(|()| true),
    }
}

impl Explain {
    pub(crate) async fn run(self) -> Result<Outcome, CliError> {
        let explainer = self.explainer().await?;
        let mut samples = samples::read(&self.files)?;
        let mut summary = Summary::new(&explainer.pipeline);
        let mut is_read = true;
        for sample in &mut samples {
            sample.record.read_origin(&explainer.origins);
            let row = explainer.row(sample, &mut summary);
            summary.add(&sample.place, &row);
            let is_shown = !self.summary && (row.is_err() || !self.rejected);
            if is_shown && is_read {
                is_read = is_still_read(self.print(&explainer, &sample.place, &row))?;
            }
        }
        if is_read {
            is_still_read(match (self.json, self.summary) {
                (false, _) => summary.print(&explainer.pipeline),
                (true, true) => summary.json(&explainer.pipeline),
                (true, false) => Ok(()),
            })?;
        }
        Ok(match summary.is_any_rejected() {
            true => Outcome::SomeFailed,
            false => Outcome::Done,
        })
    }

    fn print(&self, explainer: &Explainer, place: &str, row: &Row) -> Result<(), CliError> {
        match self.json {
            true => output::json(&explainer.json(place, row)),
            false => explainer.show(place, row),
        }
    }

    async fn explainer(&self) -> Result<Explainer, CliError> {
        let (file, pipeline) = self.mapping.read()?;
        let key = self.mask.key(&Arc::new(Aws::default())).await?;
        let placeholder = MaskKey::placeholder();
        let used = key.as_ref().unwrap_or(&placeholder);
        let transformer = Transformer::new(&file, &pipeline, Some(used))?;
        let mut bare = pipeline.clone();
        for column in &mut bare.columns {
            column.default = None;
        }
        Ok(Explainer {
            bare: Transformer::new(&file, &bare, Some(used))?,
            pipeline,
            transformer,
            origins: Origins::new(key.as_ref()),
            has_key: key.is_some(),
            shows_values: self.show_values,
        })
    }
}

impl Explainer {
    /// The cells of the message's row.
    fn row(&self, sample: &Sample, summary: &mut Summary) -> Row {
        let message = Message::extract(&sample.record, self.pipeline.envelope)?;
        summary.see(&message);
        let [mut rows, mut bare] = [(); 2].map(|()| Rows::new(self.pipeline.columns.len()));
        self.transformer.transform(&message, &mut rows)?;
        self.bare.transform(&message, &mut bare)?;
        let columns = self.pipeline.columns.iter().enumerate();
        Ok(columns
            .map(|(position, column)| {
                let value = rows.value(0, position);
                Cell {
                    text: value.and_then(|value| readable(column.column_type, value)),
                    is_default: value.is_some() && bare.value(0, position).is_none(),
                }
            })
            .collect())
    }

    fn show(&self, place: &str, row: &Row) -> Result<(), CliError> {
        let cells = match row {
            Ok(cells) => cells,
            Err(rejection) => {
                line(&format!(
                    "{place}: rejected by rule {}",
                    rejection.rule.name()
                ))?;
                return line(&format!("  {rejection}\n"));
            }
        };
        line(&format!("{place}: a row of {}", self.pipeline.table))?;
        let mut table = Table::default();
        for (column, cell) in self.pipeline.columns.iter().zip(cells) {
            let cell = match &cell.text {
                None => "null".to_owned(),
                Some(text) => self.shown(column, text),
            };
            table.row([
                column.name.clone(),
                column.column_type.to_string(),
                self.way(column),
                cell,
            ]);
        }
        line(&format!("{table}"))
    }

    /// The cell if it may be shown, or else a description of it.
    fn shown(&self, column: &Column, text: &str) -> String {
        match column.mask {
            Some(_) if self.has_key => text.to_owned(),
            Some(_) => format!(
                "a token of {} characters: set a mask key to see it",
                text.len()
            ),
            None if self.shows_values => escaped(text),
            None if column.column_type.is_text() => {
                format!("(hidden, {})", counted(text.chars().count(), "character"))
            }
            None => "(hidden)".to_owned(),
        }
    }

    fn json(&self, place: &str, row: &Row) -> Value {
        match row {
            Ok(cells) => {
                let columns = self.pipeline.columns.iter().zip(cells);
                let columns: Vec<Value> = columns
                    .map(|(column, cell)| self.json_cell(column, cell.text.as_deref()))
                    .collect();
                json!({"message": place, "outcome": "row", "columns": columns})
            }
            Err(rejection) => {
                let place_of = rejection.place.as_ref();
                json!({
                    "message": place, "outcome": "rejected", "rule": rejection.rule.name(), "reason": rejection.to_string(),
                    "column": place_of.map(|place| &place.column), "path": place_of.map(|place| &place.path),
                })
            }
        }
    }

    fn json_cell(&self, column: &Column, cell: Option<&str>) -> Value {
        let transforms: Vec<String> = column.transforms.iter().map(ToString::to_string).collect();
        let mut json = json!({
            "column": column.name, "type": column.column_type.to_string(), "from": column.source.to_string(),
            "transform": transforms, "mask": column.mask.map(|mask| mask.to_string()), "is_null": cell.is_none(),
            "clear": column.clear, "newer": self.is_newer(column),
        });
        match column.mask {
            Some(_) if self.has_key => json["token"] = cell.into(),
            None if self.shows_values => json["value"] = cell.into(),
            _ => {}
        }
        json
    }

    /// The source of a value, its processing, and its role.
    fn way(&self, column: &Column) -> String {
        let mut way = format!("from {}", column.source);
        for transform in &column.transforms {
            way += &format!(", {transform}");
        }
        if let Some(mask) = column.mask {
            way += &format!(", {mask}");
        }
        if column.clear {
            way += ", clear";
        }
        if self.is_newer(column) {
            way += ", newer";
        }
        way
    }

    /// Whether the column says which of two rows with one key is newer.
    fn is_newer(&self, column: &Column) -> bool {
        self.pipeline.newer_column() == Some(column)
    }
}
