//! A checked mapping: the table, its columns and where their values come from.

use std::fmt;

use super::Path;
use crate::mask::Mask;
use crate::message::{Envelope, Metadata};
use crate::quote::quote_identifier;
use crate::rejection::Place;
use crate::steps::Step;
use crate::types::ColumnType;
use crate::words::Word;

/// A checked mapping from messages to the rows of one table.
#[derive(Debug, Clone, PartialEq)]
pub struct Pipeline {
    /// Where the rows go.
    pub table: Table,
    /// The columns in the order of the file.
    pub columns: Vec<Column>,
    /// Positions in `columns` of those that identify a row.
    pub key: Vec<usize>,
    /// What happens if the table already has a row with the key.
    pub on_conflict: OnConflict,
    /// Position in `columns` of the one that says which of two rows with the same key is newer: a row is replaced
    /// only by one that is at least as new.
    pub newer: Option<usize>,
    /// What the body of an SQS message is wrapped in.
    pub envelope: Envelope,
    /// See [`trusts_origin`](Self::trusts_origin).
    pub trust_origin: bool,
}

impl Pipeline {
    /// The names of the key's columns.
    pub fn key_names(&self) -> impl Iterator<Item = &str> {
        self.key
            .iter()
            .map(|&position| self.columns[position].name.as_str())
    }

    pub(crate) fn column_names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|column| column.name.as_str())
    }

    /// The names of the columns that are not part of the key.
    pub(crate) fn other_names(&self) -> impl Iterator<Item = &str> {
        let is_key = |name: &&str| self.key_names().any(|key| key == *name);
        self.column_names().filter(move |name| !is_key(name))
    }
}

/// The name of a table, optionally with its schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// `None`: looked up in the `search_path` of the connection.
    pub schema: Option<String>,
    /// The table's own name.
    pub name: String,
}

/// The quoted name: `"schema"."table"`.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(schema) = &self.schema {
            write!(f, "{}.", quote_identifier(schema))?;
        }
        f.write_str(&quote_identifier(&self.name))
    }
}

/// One column: the source of its value and the processing.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// The column's name in the table.
    pub name: String,
    /// Its Postgres type.
    pub column_type: ColumnType,
    /// Where the value comes from.
    pub source: Source,
    /// Whether a null, missing or empty value rejects the message.
    pub required: bool,
    /// The value that replaces a null or missing one, as JSON text.
    pub default: Option<String>,
    /// The steps that clean the string, in order.
    pub transforms: Vec<Step>,
    /// How the value is masked, as the last step.
    pub mask: Option<Mask>,
    /// Whether it stores in clear, on purpose, what another column masks.
    pub clear: bool,
}

impl Column {
    /// Whether no row can hold a null here.
    pub fn is_never_null(&self) -> bool {
        self.required || self.default.is_some() || self.source.is_never_null()
    }

    pub(crate) fn place(&self, is_key: bool) -> Place {
        Place {
            column: self.name.clone(),
            path: self.source.to_string(),
            is_key,
        }
    }
}

/// Where a column's value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A path into the JSON body.
    Path(Path),
    /// What SQS or the envelope says about the message.
    Metadata(Metadata),
}

impl Source {
    fn is_never_null(&self) -> bool {
        match self {
            Self::Path(_) => false,
            Self::Metadata(metadata) => metadata.is_never_null(),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.fmt(f),
            Self::Metadata(metadata) => metadata.fmt(f),
        }
    }
}

/// What happens if the table already has a row with the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnConflict {
    /// That row stays.
    Ignore,
    /// The new row replaces it, unless `newer` says that the new row is older.
    Update,
}

impl Word for OnConflict {
    const NAMES: &'static [(&'static str, Self)] =
        &[("ignore", Self::Ignore), ("update", Self::Update)];
}
