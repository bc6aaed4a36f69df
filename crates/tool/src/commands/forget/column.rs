//! The searched column in each table: the values to find there, and whether a message has one of them.
//!
//! A value is searched as the column stores it now and as it may have stored it before: under every mask and without
//! one, under every key, and with fewer transforms.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bytes::{BufMut as _, BytesMut};
use mapping::internals::Kind;
use mapping::{
    Cast, Column, ColumnType, KeyRing, Mask, Message, Pipeline, Rule, Source, TableMapping,
};
use serde_json::value::RawValue;
use thiserror::Error;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

use crate::cli::error::CliError;
use crate::cli::lookup::CompiledColumn;
use crate::cli::output::listed;

/// Why a column cannot be searched.
#[derive(Debug, Error)]
enum ColumnError {
    #[error("no table of the mapping has a column {0:?}: name one of {1} with --column")]
    NoColumn(String, String),
    #[error(
        "column {column:?} of table {table} is {column_type}, but only columns of single values can be searched: name another column with --column"
    )]
    Nested {
        column: String,
        table: String,
        column_type: String,
    },
}

/// A value in Postgres's binary format.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cell(Vec<u8>);

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
    /// The position of the column in its table.
    pub(super) position: usize,
    pub(super) column_type: ColumnType,
    pub(super) mask: Option<Mask>,
    pub(super) cells: BTreeSet<Cell>,
    /// The cells to find, each in one form for all values that Postgres considers equal.
    comparable: BTreeSet<Vec<u8>>,
    /// As the column stores values.
    lookup: CompiledColumn,
    /// The value after its transforms, without the mask.
    cleaned: CompiledColumn,
    /// As it may have stored them.
    earlier: Vec<CompiledColumn>,
    paths: Vec<Vec<Option<String>>>,
    metadata: Vec<CompiledColumn>,
    /// Whether a program gives its values, so that no path leads to them.
    pub(super) is_calculated: bool,
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
        let is_array = column.cast.as_ref().is_some_and(Cast::is_array);
        if column.column_type.is_nested() || is_array {
            return Err(CliError::invalid(ColumnError::Nested {
                column: column.name.clone(),
                table: table.table.to_string(),
                column_type: column.type_text(),
            }));
        }
        let sources = column.sources();
        let metadata = sources.filter(|source| matches!(source, Source::Metadata(_)));
        let metadata =
            metadata.map(|source| CompiledColumn::at(file, column, source.clone(), keys));
        let without_mask = Column {
            mask: None,
            ..column.clone()
        };
        Ok(Self {
            table: number,
            position,
            column_type: column.column_type,
            mask: column.mask,
            cells: BTreeSet::new(),
            comparable: BTreeSet::new(),
            lookup: CompiledColumn::new(file, column, keys)?,
            cleaned: CompiledColumn::new(file, &without_mask, None)?,
            earlier: earlier(file, column, keys),
            paths: pipeline.paths_to(table, column),
            metadata: metadata.collect::<Result<_, _>>()?,
            is_calculated: column
                .sources()
                .any(|source| matches!(source, Source::Jq(_))),
        })
    }

    /// Adds the spellings of a value. A token may be stored although its transforms refuse it.
    pub(super) fn add(&mut self, texts: &[&str], is_token: bool) -> Result<(), Rule> {
        for text in texts {
            let own = match self.lookup.cells(text) {
                Err(rule) if !is_token => return Err(rule),
                own => own.unwrap_or_default(),
            };
            let before = self.earlier.iter().filter_map(|it| it.cells(text).ok());
            let cells: Vec<_> = before.flatten().chain(own).collect();
            for cell in cells {
                if fits(&cell, self.column_type) {
                    let comparable = comparable(&cell, self.column_type);
                    self.comparable.insert(comparable.into_owned());
                    self.cells.insert(Cell(cell));
                }
            }
        }
        Ok(())
    }

    /// What a value is after its transforms, in one form for all of its spellings.
    pub(super) fn cleaned(&self, text: &str) -> Option<Vec<u8>> {
        let cells = self.cleaned.cells(text).ok()?;
        let cell = cells.first()?;
        Some(comparable(cell, self.column_type).into_owned())
    }

    pub(super) fn has(&self, cell: &[u8]) -> bool {
        let cell = comparable(cell, self.column_type);
        self.comparable.contains(cell.as_ref())
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

/// How the column may have stored values before its mapping changed. What a key or a type does not allow, no row has.
fn earlier(file: &str, column: &Column, keys: Option<&KeyRing>) -> Vec<CompiledColumn> {
    let mut earlier = Vec::new();
    // A column of another type has no token, and Postgres refuses to compare it with what it cannot read.
    if column.cast.as_ref().is_some_and(|cast| !cast.is_text()) {
        return earlier;
    }
    let is_text = column.column_type.is_text();
    let masks = Mask::all().filter(|_| is_text).map(Some);
    let masks: Vec<_> = masks.chain([None]).collect();
    let rings: Vec<_> = keys.map_or_else(Vec::new, |keys| keys.one_by_one().collect());
    for count in 0..=column.transforms.len() {
        for mask in &masks {
            let transforms = column.transforms.iter().take(count);
            let before = Column {
                mask: *mask,
                transforms: transforms.copied().collect(),
                // Tokens of another mask may be longer than those that it has room for.
                column_type: match is_text {
                    true => ColumnType::Text,
                    false => column.column_type,
                },
                cast: None,
                ..column.clone()
            };
            let is_keyed = mask.is_some_and(Mask::needs_key);
            let rings = rings.iter().filter(|_| is_keyed).map(Some);
            let rings = rings.chain((!is_keyed).then_some(None));
            earlier.extend(rings.filter_map(|ring| CompiledColumn::new(file, &before, ring).ok()));
        }
    }
    earlier
}

/// Whether the column has room for a value.
fn fits(cell: &[u8], column_type: ColumnType) -> bool {
    let chars = || std::str::from_utf8(cell).map_or(cell.len(), |text| text.chars().count());
    column_type.max_chars().is_none_or(|max| chars() <= max)
}

/// One form for all values that are equal to Postgres: a `numeric` without the number of digits to show and the zeros
/// at its end, a floating-point number without the sign of zero.
/// Source: <https://github.com/postgres/postgres/blob/REL_18_STABLE/src/backend/utils/adt/numeric.c>, `numeric_send`.
fn comparable(cell: &[u8], column_type: ColumnType) -> Cow<'_, [u8]> {
    match column_type.kind() {
        Kind::Decimal => {
            let Some((head, digits)) = cell.split_at_checked(8) else {
                return cell.into();
            };
            let last = digits.chunks(2).rposition(|digit| digit != [0, 0]);
            let digits = digits.chunks(2).take(last.map_or(0, |last| last + 1));
            // Weight and sign; zero has neither.
            let head = head.get(2..6).filter(|_| last.is_some());
            let head = head.unwrap_or_default();
            head.iter().chain(digits.flatten()).copied().collect()
        }
        Kind::Float if is_negative_zero(cell) => vec![0; cell.len()].into(),
        Kind::Float | Kind::Text | Kind::Integer | Kind::Instant => cell.into(),
        Kind::Json | Kind::Array | Kind::Other => cell.into(),
    }
}

fn is_negative_zero(cell: &[u8]) -> bool {
    cell.split_first()
        .is_some_and(|(first, rest)| *first == 0x80 && rest.iter().all(|byte| *byte == 0))
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
