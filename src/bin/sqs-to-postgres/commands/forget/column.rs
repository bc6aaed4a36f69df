//! The searched column in each table: the values to find there, and whether a message has one of them.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bytes::{BufMut as _, BytesMut};
use serde_json::value::RawValue;
use sqs_to_postgres::mask::KeyRing;
use sqs_to_postgres::message::Message;
use sqs_to_postgres::pipeline::{Column, Pipeline, Source, TableMapping};
use sqs_to_postgres::rejection::Rule;
use sqs_to_postgres::types::ColumnType;
use thiserror::Error;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

use crate::cli::error::CliError;
use crate::cli::lookup::Lookup;
use crate::cli::output::listed;

/// Why a column cannot be searched.
#[derive(Debug, Error)]
enum ColumnError {
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
    pub(super) column_type: ColumnType,
    pub(super) cells: BTreeSet<Cell>,
    lookup: Lookup,
    /// Without the mask, of a masked column: rows from before it was masked.
    pub(super) clear: Option<Lookup>,
    paths: Vec<Vec<Option<String>>>,
    metadata: Vec<Lookup>,
    /// The position of the column in its table.
    pub(super) position: usize,
}

/// The column in every table that has it.
pub(super) fn searched(
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
        let names: BTreeSet<_> = pipeline.columns().map(|column| &column.name).collect();
        let error = ColumnError::NoColumn(name.to_owned(), listed(names));
        return Err(CliError::invalid(error));
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
            return Err(CliError::invalid(ColumnError::Nested {
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
    pub(super) fn add(&mut self, texts: &[&str]) -> Result<(), Rule> {
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

    pub(super) fn has(&self, cell: &[u8]) -> bool {
        self.cells.contains(cell)
    }

    /// Whether one of the values is where the column is read from, whatever else is wrong with the message.
    pub(super) fn is_read_from(&self, message: &Message<'_>) -> bool {
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
