//! The people to forget: their values as each table stores them, and whether a message is about one of them.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bytes::{BufMut as _, BytesMut};
use serde::Deserialize as _;
use serde_json::value::RawValue;
use sqs_to_postgres::mask::{KeyRing, Mask, Masker, UnmaskError};
use sqs_to_postgres::message::origin::Origins;
use sqs_to_postgres::message::{Message, Record};
use sqs_to_postgres::pipeline::{Column, Pipeline, Source, TableMapping};
use sqs_to_postgres::rejection::Rule;
use sqs_to_postgres::transform::Transformer;
use sqs_to_postgres::types::ColumnType;
use thiserror::Error;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

use crate::cli::error::CliError;
use crate::cli::event::EventRecord;
use crate::cli::lookup::Lookup;

/// Why values cannot be searched for.
#[derive(Debug, Error)]
enum PersonError {
    #[error("no table of the mapping has a column {0:?}: name one of {1} with --column")]
    NoColumn(String, String),
    #[error(
        "column {column:?} of table {table} is {column_type}, and only single values are searched for: name another column with --column"
    )]
    Nested {
        column: String,
        table: String,
        column_type: ColumnType,
    },
    #[error("value {0} cannot be in column {1:?}: {2}")]
    Impossible(usize, String, Rule),
    #[error("no value given: name one, or write one per line to stdin")]
    NoValue,
}

/// A value in Postgres's binary format.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cell(Vec<u8>);

impl Borrow<[u8]> for Cell {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

/// tokio-postgres prints parameters; this one shows no value.
impl fmt::Debug for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }
}

impl ToSql for Cell {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        out.put_slice(&self.0);
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// The column in one of the tables.
pub(super) struct Searched {
    /// The position of the table in the mapping.
    pub(super) table: usize,
    column_type: ColumnType,
    cells: BTreeSet<Cell>,
    lookup: Lookup,
    /// Without the mask, of a masked column: rows from before it was masked.
    clear: Option<Lookup>,
    paths: Vec<Vec<Option<String>>>,
    metadata: Vec<Lookup>,
    /// The position of the column in its table.
    position: usize,
}

/// The people to forget.
pub(super) struct People {
    column: String,
    pub(super) searched: Vec<Searched>,
    /// Of each person a digest, if there is a mask key.
    pub(super) digests: Vec<Option<String>>,
    /// What limits the search, for the user.
    pub(super) notes: Vec<String>,
    /// As they were given, and without their masks.
    texts: Vec<String>,
    pipeline: Pipeline,
    /// One for each mask key.
    transformers: Vec<Transformer>,
    origins: Origins,
}

/// What a message of the dead-letter queue is.
pub(super) enum Verdict {
    Theirs,
    OfOthers,
    /// It cannot be read as the mapping reads messages; whether its text contains a value.
    Unreadable {
        is_suspect: bool,
    },
}

impl People {
    pub(super) fn new(
        (file, pipeline): (&str, Pipeline),
        column: &str,
        keys: Option<&KeyRing>,
        values: &[String],
    ) -> Result<Self, CliError> {
        if values.is_empty() {
            return Err(CliError::invalid(PersonError::NoValue));
        }
        let placeholder = KeyRing::placeholder();
        let rings = keys.unwrap_or(&placeholder).one_by_one();
        let transformers = rings.map(|ring| Transformer::new(file, &pipeline, Some(&ring)));
        let mut people = Self {
            column: column.to_owned(),
            searched: searched(file, &pipeline, column, keys)?,
            digests: Vec::new(),
            notes: Vec::new(),
            texts: Vec::new(),
            transformers: transformers.collect::<Result<_, _>>()?,
            origins: Origins::new(keys),
            pipeline,
        };
        for (value, number) in values.iter().zip(1..) {
            people.add(value, number, keys)?;
        }
        Ok(people)
    }

    pub(super) fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    pub(super) fn column(&self) -> &str {
        &self.column
    }

    /// The values as one of the tables stores them, and the type of the parameter for them.
    pub(super) fn cells(&self, searched: usize) -> Option<(Vec<&Cell>, Type)> {
        let searched = self.searched.get(searched)?;
        Some((
            searched.cells.iter().collect(),
            searched.column_type.array(),
        ))
    }

    /// Adds a value, or a token: one of aes-siv stands for its value.
    fn add(&mut self, value: &str, number: usize, keys: Option<&KeyRing>) -> Result<(), CliError> {
        let masker = keys.and_then(|keys| Masker::new(Mask::AesSiv, Some(keys)).ok());
        let unmasked = masker.map(|masker| masker.value(value));
        let is_masked = self
            .searched
            .iter()
            .any(|searched| searched.clear.is_some());
        let is_hash = matches!(unmasked, Some(Err(UnmaskError::Hash(_))));
        let has_others =
            self.searched.len() > 1 || keys.is_some_and(|keys| keys.keys().count() > 1);
        if is_masked && is_hash && has_others {
            self.notes.push(format!(
                "value {number} looks like a hash: rows with the value in clear, or with its token under another key or mask, are found only by the value itself"
            ));
        }
        let plain = unmasked.and_then(Result::ok);
        let texts: Vec<&str> = [Some(value), plain.as_deref()]
            .into_iter()
            .flatten()
            .collect();
        let (mut is_possible, mut broken) = (false, None);
        for searched in &mut self.searched {
            match searched.add(&texts) {
                Ok(()) => is_possible = true,
                Err(rule) => {
                    let table = self.pipeline.tables.get(searched.table);
                    let table = table
                        .map(|table| table.table.to_string())
                        .unwrap_or_default();
                    self.notes
                        .push(format!("value {number} cannot be in table {table}: {rule}"));
                    broken = Some(rule);
                }
            }
        }
        if let Some(rule) = broken.filter(|_| !is_possible) {
            let column = self.column.clone();
            return Err(CliError::invalid(PersonError::Impossible(
                number, column, rule,
            )));
        }
        let person = plain.as_deref().unwrap_or(value);
        self.digests
            .push(keys.map(|keys| keys.digest_for_records(person)));
        self.texts.extend(texts.into_iter().map(str::to_owned));
        Ok(())
    }

    /// Whether a dead letter is about one of them: the mapping would make a row with a value of theirs, or a value of
    /// theirs is where the column is read from.
    pub(super) fn verdict(
        &self,
        message: &aws_sdk_sqs::types::Message,
        queue_arn: &str,
    ) -> Verdict {
        let body = message.body().unwrap_or_default();
        let record = serde_json::to_value(EventRecord::new(message, queue_arn));
        let Ok(mut record) = record.and_then(Record::deserialize) else {
            return self.unreadable(body);
        };
        record.read_origin(&self.origins);
        let Ok(message) = Message::extract(&record, self.pipeline.envelope) else {
            return self.unreadable(body);
        };
        let mut is_transformed = false;
        for transformer in &self.transformers {
            let mut rows = transformer.new_rows();
            is_transformed |= transformer.transform(&message, &mut rows).is_ok();
            let is_theirs = |searched: &Searched| {
                let Some(table) = rows.tables().get(searched.table) else {
                    return false;
                };
                let mut cells = (0..table.rows.len())
                    .filter_map(|row| table.rows.value(row, searched.position));
                cells.any(|cell| searched.has(cell))
            };
            if self.searched.iter().any(is_theirs) {
                return Verdict::Theirs;
            }
        }
        if self
            .searched
            .iter()
            .any(|searched| searched.is_read_from(&message))
        {
            return Verdict::Theirs;
        }
        let is_json = || serde_json::from_str::<&RawValue>(message.body()).is_ok();
        match is_transformed || is_json() {
            true => Verdict::OfOthers,
            false => self.unreadable(body),
        }
    }

    fn unreadable(&self, body: &str) -> Verdict {
        let is_suspect = self.texts.iter().any(|text| body.contains(text.as_str()));
        Verdict::Unreadable { is_suspect }
    }
}

/// The column in every table that has it.
fn searched(
    file: &str,
    pipeline: &Pipeline,
    name: &str,
    keys: Option<&KeyRing>,
) -> Result<Vec<Searched>, CliError> {
    let mut searched = Vec::new();
    for (number, table) in pipeline.tables.iter().enumerate() {
        let mut columns = table.columns.iter().enumerate();
        let Some((position, column)) = columns.find(|(_, column)| column.name == name) else {
            continue;
        };
        let found = Searched::new(file, pipeline, (number, table), (position, column), keys)?;
        searched.push(found);
    }
    if searched.is_empty() {
        let names: BTreeSet<_> = pipeline
            .columns()
            .map(|column| column.name.as_str())
            .collect();
        let names = names.into_iter().collect::<Vec<_>>().join(", ");
        return Err(CliError::invalid(PersonError::NoColumn(
            name.to_owned(),
            names,
        )));
    }
    Ok(searched)
}

impl Searched {
    fn new(
        file: &str,
        pipeline: &Pipeline,
        (number, table): (usize, &TableMapping),
        (position, column): (usize, &Column),
        keys: Option<&KeyRing>,
    ) -> Result<Self, CliError> {
        if column.column_type.is_nested() {
            return Err(CliError::invalid(PersonError::Nested {
                column: column.name.clone(),
                table: table.table.to_string(),
                column_type: column.column_type,
            }));
        }
        let clear = column.mask.map(|_| {
            let clear = Column {
                mask: None,
                ..column.clone()
            };
            Lookup::new(file, &clear, None)
        });
        let sources = column.sources();
        let metadata = sources.filter(|source| matches!(source, Source::Metadata(_)));
        let metadata = metadata.map(|source| Lookup::at(file, column, source.clone(), keys));
        Ok(Self {
            table: number,
            column_type: column.column_type,
            cells: BTreeSet::new(),
            lookup: Lookup::new(file, column, keys)?,
            clear: clear.transpose()?,
            paths: pipeline.paths_to(table, column),
            metadata: metadata.collect::<Result<_, _>>()?,
            position,
        })
    }

    /// Adds the spellings of a value, of which one at least can be in the column.
    fn add(&mut self, texts: &[&str]) -> Result<(), Rule> {
        let mut broken = None;
        let before = self.cells.len();
        for text in texts {
            let masked = self.lookup.cells(text);
            let clear = self.clear.as_ref().map(|clear| clear.cells(text));
            // Of a masked column it may be a token.
            let token =
                (self.clear.is_some() && !text.is_empty()).then(|| text.as_bytes().to_vec());
            match masked {
                Ok(cells) => self.cells.extend(cells.into_iter().map(Cell)),
                Err(rule) => broken = Some(rule),
            }
            let clear = clear.and_then(Result::ok).into_iter().flatten();
            self.cells.extend(clear.chain(token).map(Cell));
        }
        match broken {
            Some(rule) if self.cells.len() == before => Err(rule),
            _ => Ok(()),
        }
    }

    fn has(&self, cell: &[u8]) -> bool {
        self.cells.contains(cell)
    }

    /// Whether one of the values is where the column is read from, whatever else is wrong with the message.
    fn is_read_from(&self, message: &Message<'_>) -> bool {
        let mut values = Vec::new();
        for path in &self.paths {
            collect(message.body(), path, &mut values);
        }
        let has = |cells: Result<Vec<Vec<u8>>, Rule>| {
            cells.is_ok_and(|cells| cells.iter().any(|cell| self.has(cell)))
        };
        values.iter().any(|value| has(self.lookup.cells(value)))
            || self
                .metadata
                .iter()
                .any(|lookup| has(lookup.cells_of(message)))
    }
}

/// Collects the values at the end of a path: texts without their quotes, all others as they are written. A text that
/// has more of the path within it is JSON.
fn collect(json: &str, path: &[Option<String>], values: &mut Vec<String>) {
    let json = json.trim_ascii();
    let text = json
        .starts_with('"')
        .then(|| serde_json::from_str::<String>(json).ok());
    let Some((step, rest)) = path.split_first() else {
        let is_nested = json.starts_with(['{', '[']);
        match text {
            Some(text) => values.extend(text),
            None if !is_nested && json != "null" => values.push(json.to_owned()),
            None => {}
        }
        return;
    };
    if let Some(Some(text)) = text {
        return collect(&text, path, values);
    }
    if let Ok(fields) = serde_json::from_str::<BTreeMap<String, &RawValue>>(json) {
        let field = step.as_ref().and_then(|step| fields.get(step));
        return field.map_or((), |field| collect(field.get(), rest, values));
    }
    let elements: Vec<&RawValue> = serde_json::from_str(json).unwrap_or_default();
    let position = step.as_ref().map(|step| step.parse::<usize>());
    for (number, element) in elements.iter().enumerate() {
        if position
            .as_ref()
            .is_none_or(|position| *position == Ok(number))
        {
            collect(element.get(), rest, values);
        }
    }
}
