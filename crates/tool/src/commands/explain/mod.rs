//! `explain`: the rows that messages produce, and what the mapping loses of them, without a database.

mod against;
pub(crate) mod findings;
mod json;
mod privacy;
mod row;
pub(crate) mod summary;
pub(crate) mod unmapped;
mod watch;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use mapping::internals::readable;
use mapping::{
    Column, Compiled, KeyRing, Message, MessageRows, OnNull, Origins, Pipeline, PipelineError,
    Rejection, Rule, Scalar, TableMapping, TimeSpelling,
};
use sqs_to_postgres::aws::Aws;
use sqs_to_postgres::start::read_pipeline;

use crate::cli::Outcome;
use crate::cli::error::CliError;
use crate::cli::output::{self, counted, escaped, line};
use crate::cli::samples::{Sample, SampleFlags};
use crate::cli::screen::{self, RED, YELLOW};
use crate::cli::settings::{MappingFlags, MaskFlags};
use against::Against;
use findings::{Findings, Severity};
use privacy::Privacy;
use row::RowText;
use summary::Summary;
use unmapped::Unmapped;

const EXAMPLES: &str = "\
Examples:
  sqs-to-postgres explain events/logins.jsonl
  sqs-to-postgres explain --summary orders.jsonl
  sqs-to-postgres explain --unmapped orders.jsonl
  sqs-to-postgres explain --watch --rejected --pipeline orders.toml orders.jsonl
  sqs-to-postgres explain --pipeline new.toml --against old.toml --queue-name orders-dlq
  sqs-to-postgres explain --privacy --pipeline orders.toml
  echo '{\"user_id\": \"u\", \"ip\": \"10.0.0.1\", \"device_id\": \"d\"}' | sqs-to-postgres explain --show-values";

/// Show the row that each message becomes, or the rule it breaks and where
///
/// Ends with the data that the mapping loses or misreads, for example because several
/// messages have the same key. If there is any, or if a message is rejected, the exit code
/// is 1. Hides values, but shows tokens as the table would hold them, if a mask key is set.
/// Needs no database.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment, after_help = EXAMPLES)]
pub(crate) struct Explain {
    #[command(flatten)]
    pub(crate) samples: SampleFlags,
    /// Show only messages that are rejected, and the summary
    #[arg(long)]
    rejected: bool,
    /// Show only the summary: nulls, defaults and masks by column, rejections by rule, suspicious paths
    #[arg(long, conflicts_with = "rejected")]
    summary: bool,
    /// Show only the paths that no column reads, and how many messages have them
    #[arg(long, conflicts_with_all = ["rejected", "summary"])]
    unmapped: bool,
    /// Show only the map of personal data: columns that are masked, in plaintext on purpose, or look personal
    ///
    /// From the mapping alone, or with samples by their values, too. Shows no values.
    #[arg(long, conflicts_with_all = ["rejected", "summary", "unmapped", "show_values"])]
    privacy: bool,
    /// Show only how the rows differ from those of this other mapping, by table and column, without values
    #[arg(long, value_name = "FILE", conflicts_with_all = ["rejected", "summary", "unmapped", "privacy", "show_values", "json"])]
    against: Option<PathBuf>,
    /// Show the values of the messages
    #[arg(long)]
    show_values: bool,
    /// Show it again whenever the mapping or a file of messages changes, until Ctrl-C
    #[arg(long, requires = "files", conflicts_with = "json")]
    pub(crate) watch: bool,
    /// Print one JSON object per message, or with --summary, --unmapped or --privacy one for all
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    mapping: MappingFlags,
    #[command(flatten)]
    mask: MaskFlags,
}

/// The mapping, ready to transform messages.
pub(crate) struct Explainer {
    pub(crate) pipeline: Pipeline,
    pub(crate) compiled: Compiled,
    /// The mapping without defaults, ready to transform messages.
    bare: Compiled,
    pub(crate) origins: Origins,
    /// Without one, tokens are of a placeholder and cannot be shown.
    pub(crate) has_key: bool,
    shows_values: bool,
}

/// What becomes of a message.
pub(crate) struct Explained {
    /// Its rows, each before its child rows, or the rule that it breaks.
    pub(crate) rows: Result<Vec<Row>, Rejection>,
    /// If it has no row: why not.
    pub(crate) why: Vec<String>,
}

/// A row of one of the tables.
pub(crate) struct Row {
    pub(crate) table: usize,
    /// How many parents it has.
    depth: usize,
    pub(crate) is_deleted: bool,
    pub(crate) cells: Vec<Cell>,
}

/// A cell of a row.
pub(crate) struct Cell {
    /// `None` for a null.
    pub(crate) text: Option<String>,
    /// Whether the default replaces a null.
    pub(crate) is_default: bool,
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
        match self.watch {
            true => self.watch().await,
            false => self.once().await,
        }
    }

    async fn once(&self) -> Result<Outcome, CliError> {
        let explainer = self.explainer().await?;
        if self.privacy {
            return self.map_privacy(&explainer).await;
        }
        if let Some(file) = &self.against {
            return self.compare(&explainer, file).await;
        }
        let pipeline = &explainer.pipeline;
        let mut samples = self.samples.read().await?;
        let mut summary = Summary::new(pipeline);
        let mut findings = Findings::new(pipeline, self.show_values);
        let compiled = &explainer.compiled;
        let mut unmapped = self
            .unmapped
            .then(|| Unmapped::new(pipeline, compiled, &samples));
        let (mut is_read, is_for_all) = (true, self.summary || self.unmapped);
        for sample in &mut samples {
            sample.record.apply_origin(&explainer.origins);
            let explained = explainer.explain(sample, &mut findings, unmapped.as_mut());
            summary.add(&sample.place, &explained.rows);
            let is_shown = !is_for_all && (explained.rows.is_err() || !self.rejected);
            if is_shown && is_read {
                is_read = is_still_read(self.print(&explainer, &sample.place, &explained))?;
            }
        }
        if is_read {
            is_still_read(match (self.json, &unmapped) {
                (false, Some(unmapped)) => unmapped.print(samples.len()),
                (true, Some(unmapped)) => unmapped.json(samples.len()),
                (false, None) => summary.print(pipeline, &findings),
                (true, None) if self.summary => summary.json(pipeline, &findings),
                (true, None) => Ok(()),
            })?;
        }
        let mut errors = findings.list();
        errors.retain(|finding| finding.severity == Severity::Error);
        if self.unmapped || self.json && !self.summary {
            for error in &errors {
                eprintln!("error: {}", findings.text(error));
            }
        }
        let is_fine = !summary.is_any_rejected() && errors.is_empty();
        Ok(Outcome::done_if(is_fine))
    }

    /// The mapping in this file came before.
    async fn compare(&self, explainer: &Explainer, file: &Path) -> Result<Outcome, CliError> {
        let (file, before) = read_pipeline(&[file.to_owned()])?;
        let key = self.mask.keys(&Arc::new(Aws::default())).await?;
        let placeholder = KeyRing::placeholder();
        let compiled = Compiled::new(&file, &before, Some(key.as_ref().unwrap_or(&placeholder)))?;
        let now = (&explainer.pipeline, &explainer.compiled);
        let mut against = Against::new((&before, &compiled), now);
        for mut sample in self.samples.read().await? {
            sample.record.apply_origin(&explainer.origins);
            against.see(&sample.place, &sample.record);
        }
        against.print()?;
        Ok(Outcome::done_if(against.is_same()))
    }

    /// Without samples by the mapping alone.
    async fn map_privacy(&self, explainer: &Explainer) -> Result<Outcome, CliError> {
        let mut samples = match self.samples.are_named() {
            true => self.samples.read().await?,
            false => Vec::new(),
        };
        let mut findings = Findings::new(&explainer.pipeline, false);
        let mut privacy = Privacy::new(&explainer.pipeline);
        for sample in &mut samples {
            sample.record.apply_origin(&explainer.origins);
            let explained = explainer.explain(sample, &mut findings, None);
            privacy.see(&explained.rows);
        }
        privacy.write(self.json)
    }

    fn print(
        &self,
        explainer: &Explainer,
        place: &str,
        explained: &Explained,
    ) -> Result<(), CliError> {
        match self.json {
            true => output::json(&explainer.json(place, explained)),
            false => explainer.show(place, explained),
        }
    }

    async fn explainer(&self) -> Result<Explainer, CliError> {
        let (file, pipeline) = self.mapping.read()?;
        let key = match self.privacy {
            true => None,
            false => self.mask.keys(&Arc::new(Aws::default())).await?,
        };
        Ok(Explainer::new(
            &file,
            pipeline,
            key.as_ref(),
            self.show_values,
        )?)
    }
}

impl Explainer {
    /// Errors call the mapping `file`.
    pub(crate) fn new(
        file: &str,
        pipeline: Pipeline,
        key: Option<&KeyRing>,
        shows_values: bool,
    ) -> Result<Self, PipelineError> {
        let placeholder = KeyRing::placeholder();
        let used = key.unwrap_or(&placeholder);
        let compiled = Compiled::new(file, &pipeline, Some(used))?;
        let mut bare = pipeline.clone();
        for column in bare.tables.iter_mut().flat_map(|table| &mut table.columns) {
            column.default = None;
        }
        Ok(Self {
            bare: Compiled::new(file, &bare, Some(used))?,
            pipeline,
            compiled,
            origins: Origins::new(key),
            has_key: key.is_some(),
            shows_values,
        })
    }

    pub(crate) fn explain(
        &self,
        sample: &Sample,
        findings: &mut Findings<'_>,
        unmapped: Option<&mut Unmapped>,
    ) -> Explained {
        let message = match self.compiled.extract(&sample.record) {
            Ok(message) => message,
            Err(error) => {
                let (rows, why) = (Err(error.into()), Vec::new());
                return Explained { rows, why };
            }
        };
        if let Some(unmapped) = unmapped {
            unmapped.see(&message);
        }
        let mut rows = self.compiled.new_rows();
        let transformed = self.compiled.transform(&message, &mut rows);
        let rows_of_all = transformed.is_ok().then_some(&rows);
        let mut why = findings.see(sample, &message, &self.compiled, rows_of_all);
        let is_unmatched = match &transformed {
            Ok(has_rows) => !has_rows,
            Err(rejection) => matches!(rejection.rule, Rule::Unmatched),
        };
        if !is_unmatched {
            why.clear();
        }
        let rows = transformed.and_then(|_| self.rows(&message, &rows));
        Explained { rows, why }
    }

    fn rows(&self, message: &Message<'_>, rows: &MessageRows) -> Result<Vec<Row>, Rejection> {
        let bare = self.bare.rows_of(message)?;
        let mut found = Vec::new();
        for (position, table) in self.pipeline.tables.iter().enumerate() {
            if table.parent.is_none() {
                self.add_rows((position, None), 0, (rows, &bare), &mut found);
            }
        }
        Ok(found)
    }

    /// Adds the rows of a table that belong to a row of its parent.
    fn add_rows(
        &self,
        (position, parent): (usize, Option<usize>),
        depth: usize,
        (rows, bare): (&MessageRows, &MessageRows),
        found: &mut Vec<Row>,
    ) {
        let (table, bare_table) = (rows.table(position), bare.table(position));
        let mapping = self.pipeline.table(position);
        for row in 0..table.rows.len() {
            if parent.is_some_and(|parent| table.parent(row) != parent) {
                continue;
            }
            let cell = |(column, mapped): (usize, &Column)| {
                let value = table.rows.value(row, column);
                Cell {
                    text: value.and_then(|value| readable(mapped.column_type, value)),
                    is_default: value.is_some() && bare_table.rows.value(row, column).is_none(),
                }
            };
            found.push(Row {
                table: position,
                depth,
                is_deleted: table.is_deleted(row),
                cells: mapping.columns.iter().enumerate().map(cell).collect(),
            });
            for (child, _) in self.pipeline.children(position) {
                self.add_rows((child, Some(row)), depth + 1, (rows, bare), found);
            }
        }
    }

    fn show(&self, place: &str, explained: &Explained) -> Result<(), CliError> {
        let why = explained.why.iter().map(|why| format!("  {why}\n"));
        let why: String = why.collect();
        let rows = match &explained.rows {
            Ok(rows) => rows,
            Err(rejection) => {
                let rule = rejection.rule.name();
                line(&format!("{place}: {RED}rejected{RED:#} by rule {rule}"))?;
                return line(&format!("  {rejection}\n{why}"));
            }
        };
        if rows.is_empty() {
            line(&format!("{place}: {YELLOW}no row{YELLOW:#}\n{why}"))?;
        }
        for row in rows {
            let name = &self.mapping(row).table;
            let what = match (row.is_deleted, self.mapping(row).keeps_tombstones()) {
                (false, _) => "a row of",
                (true, false) => "deletes the row of",
                (true, true) => "a tombstone in",
            };
            let text = format!("{place}: {what} {name}");
            line(&indented(row.depth, &text))?;
            let width = screen::width().map(|width| width.saturating_sub(row.depth * INDENT.len()));
            line(&indented(row.depth, &self.text(row).text(width)))?;
        }
        Ok(())
    }

    pub(crate) fn mapping(&self, row: &Row) -> &TableMapping {
        self.pipeline.table(row.table)
    }

    fn text(&self, row: &Row) -> RowText {
        let mapping = self.mapping(row);
        let mut shown = RowText::default();
        for (position, (column, cell)) in mapping.columns.iter().zip(&row.cells).enumerate() {
            match &cell.text {
                None if row.omits(mapping, position) => {}
                None if column.on_null == OnNull::Keep => shown.kept(column),
                None => shown.null(column),
                Some(text) => shown.value(mapping, column, self.shown(column, text)),
            }
        }
        shown
    }

    /// The cell if it may be shown, or else a description of it.
    fn shown(&self, column: &Column, text: &str) -> String {
        match column.mask {
            Some(_) if self.has_key => text.to_owned(),
            Some(_) if column.column_type.is_nested() => "(tokens: no mask key)".to_owned(),
            Some(_) => format!("(token, {} characters: no mask key)", text.len()),
            None if self.shows_values => escaped(text),
            None if column.column_type.is_text() => {
                format!("(hidden, {})", counted(text.chars().count(), "character"))
            }
            None => "(hidden)".to_owned(),
        }
    }
}

impl Row {
    /// Whether a null in this column says nothing of the row.
    pub(crate) fn omits(&self, mapping: &TableMapping, column: usize) -> bool {
        match self.is_deleted {
            true => !mapping.identifying().contains(&column),
            false => mapping.tombstone == Some(column),
        }
    }
}

/// The source of a value, its processing, and its role.
pub(crate) fn describe(mapping: &TableMapping, column: &Column) -> String {
    let sources: Vec<_> = column.sources().map(ToString::to_string).collect();
    let mut text = format!("from {}", sources.join(" or "));
    if !column.null_if.is_empty() {
        let values = column.null_if.iter().map(Scalar::json);
        text += &format!(", null if {}", values.collect::<Vec<_>>().join(" or "));
    }
    for transform in &column.transforms {
        text += &format!(", {transform}");
    }
    for (word, value) in column.spelling.iter().flat_map(TimeSpelling::words) {
        text += &format!(", {word} {value}");
    }
    if let Some(mask) = column.mask {
        text += &format!(", {mask}");
    }
    if column.clear {
        text += ", clear";
    }
    if is_newer(mapping, column) {
        text += ", newer";
    }
    if mapping.tombstone_column() == Some(column) {
        text += ", deleted";
    }
    text
}

/// Whether the column says which of two rows with one key is newer.
fn is_newer(mapping: &TableMapping, column: &Column) -> bool {
    mapping.newer_column() == Some(column)
}

/// By which rows are indented below the row that they belong to.
const INDENT: &str = "    ";

fn indented(depth: usize, text: &str) -> String {
    let indent = INDENT.repeat(depth);
    let lines = text.lines().map(|line| match line {
        "" => String::new(),
        line => format!("{indent}{line}"),
    });
    let mut lines = lines.collect::<Vec<_>>().join("\n");
    if text.ends_with('\n') {
        lines.push('\n');
    }
    lines
}
