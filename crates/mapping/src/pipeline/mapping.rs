//! A checked mapping: the table, its columns and where their values come from.

use std::fmt;

use super::{Condition, OnNull, Path, Pattern, Scalar, Source};
use crate::cast::Cast;
use crate::jq::Jq;
use crate::mask::Mask;
use crate::message::{Metadata, Wrapping};
use crate::steps::Step;
use crate::text::Word;
use crate::text::quote_identifier;
use crate::time::TimeSpelling;
use crate::types::ColumnType;

/// A checked mapping from messages to rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Pipeline {
    /// Identifies the mapping: 16 hexadecimal digits of a hash of its TOML, without comments and layout.
    pub digest: String,
    /// The tables that messages become rows of, in the order of the file: a parent comes before its children.
    pub tables: Vec<TableMapping>,
    /// What makes the body out of the one that was sent.
    pub jq: Option<Jq>,
    /// Where in the body the paths start; `None`: at the top.
    pub root: Option<Path>,
    /// What happens to a message that no table matches.
    pub unmatched: Unmatched,
    /// How the body of an SQS message holds the message.
    pub wrapping: Wrapping,
    /// Whether it trusts everybody who can send to the queue with the id of a message, although the row with that id
    /// is overwritten.
    pub trust_origin: bool,
}

/// A checked mapping from messages to the rows of one table.
#[derive(Debug, Clone, PartialEq)]
pub struct TableMapping {
    /// Where the rows go.
    pub table: Table,
    /// The columns in the order of the file.
    pub columns: Vec<Column>,
    /// Positions in `columns` of those that identify a row. In a child table, the columns of the parent's key come
    /// first.
    pub key: Vec<usize>,
    /// What happens if the table already has a row with the key. A child table inherits it from its parent.
    pub on_conflict: OnConflict,
    /// Position in `columns` of the one that says which of two rows with the same key is newer: a row is
    /// replaced only by one that is as new or newer.
    pub newer: Option<usize>,
    /// The position of the table whose rows these belong to: they are written if and only if that row is.
    pub parent: Option<usize>,
    /// Whether rows of other tables belong to its rows.
    pub has_children: bool,
    /// The array that has an element for each row, from where the parent's row or the message begins; or the
    /// body itself.
    pub each: Option<Path>,
    /// What must hold for a message, or an element of it, to become a row.
    pub when: Vec<Condition>,
    /// Where all of these hold, the row is deleted instead, with its children; or becomes a tombstone.
    pub delete_when: Vec<Condition>,
    /// Position in `columns` of the one with the time of the deletion, if a deleted row remains as a tombstone.
    pub tombstone: Option<usize>,
}

/// What happens to a message that no table matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unmatched {
    /// It is rejected.
    Reject,
    /// It is acknowledged, and counted.
    Skip,
}

impl Word for Unmatched {
    const NAMES: &'static [(&'static str, Self)] =
        &[("reject", Self::Reject), ("skip", Self::Skip)];
}

impl Pipeline {
    /// The words that say how the body of a message is read, with their values, in the order in which they apply; those
    /// that the mapping does not set are missing.
    pub fn words_of_body(&self) -> Vec<(&'static str, String)> {
        let mut words = self.wrapping.words();
        words.extend(self.jq.iter().map(|jq| ("jq", jq.in_one_line())));
        words.extend(self.root.iter().map(|root| ("root", root.to_string())));
        words
    }

    /// The only table, where every message becomes exactly one row of it.
    pub fn single_table(&self) -> Option<&TableMapping> {
        match &self.tables[..] {
            [table] if table.each.is_none() && table.delete_when.is_empty() => Some(table),
            _ => None,
        }
    }

    /// A mapping of one column, which is the key, to treat a value like one of a message.
    pub fn of_column(column: Column) -> Self {
        let name = column.name.clone();
        Self {
            digest: String::new(),
            tables: vec![TableMapping {
                table: Table { schema: None, name },
                columns: vec![column],
                key: vec![0],
                on_conflict: OnConflict::Ignore,
                newer: None,
                parent: None,
                has_children: false,
                each: None,
                when: Vec::new(),
                delete_when: Vec::new(),
                tombstone: None,
            }],
            jq: None,
            root: None,
            unmatched: Unmatched::Reject,
            wrapping: Wrapping::default(),
            trust_origin: false,
        }
    }

    /// Whether each element of the body is a record of its own: every table without a parent has its rows from them.
    pub fn reads_records(&self) -> bool {
        let mut roots = self.tables.iter().filter(|table| table.parent.is_none());
        roots.all(TableMapping::is_of_body)
    }

    /// The tables' quoted names, with commas between them.
    pub fn tables_text(&self) -> String {
        text_of(self.tables.iter())
    }

    /// The quoted names of the tables that have children, with commas between them.
    pub fn parents_text(&self) -> String {
        text_of(self.tables.iter().filter(|table| table.has_children))
    }

    /// The tables of this name, without their schemas; all of them, if none has it: a partition has a name of its own.
    pub fn tables_named(&self, name: Option<&str>) -> Vec<&TableMapping> {
        let is_it = |table: &&TableMapping| Some(table.table.name.as_str()) == name;
        let named: Vec<_> = self.tables.iter().filter(is_it).collect();
        match named.is_empty() {
            true => self.tables.iter().collect(),
            false => named,
        }
    }

    /// Whether Postgres reads values of any column from text.
    pub fn has_casts(&self) -> bool {
        self.columns().any(|column| column.cast.is_some())
    }

    /// The columns of all tables.
    pub fn columns(&self) -> impl Iterator<Item = &Column> {
        self.tables.iter().flat_map(|table| &table.columns)
    }

    /// The table at this position.
    #[expect(clippy::indexing_slicing, reason = "its own positions")]
    pub fn table(&self, position: usize) -> &TableMapping {
        &self.tables[position]
    }

    /// The child tables of a table, and their positions.
    pub fn children(&self, of: usize) -> impl Iterator<Item = (usize, &TableMapping)> {
        let tables = self.tables.iter().enumerate();
        tables.filter(move |(_, table)| table.parent == Some(of))
    }

    /// The table without a parent that a table descends from.
    pub fn origin_of(&self, mut table: usize) -> usize {
        while let Some(parent) = self.tables.get(table).and_then(|table| table.parent) {
            table = parent;
        }
        table
    }
}

fn text_of<'t>(tables: impl Iterator<Item = &'t TableMapping>) -> String {
    let names = tables.map(|table| table.table.to_string());
    names.collect::<Vec<_>>().join(", ")
}

impl TableMapping {
    /// The names of the key's columns.
    pub fn key_names(&self) -> impl Iterator<Item = &str> {
        self.key_columns().map(|column| column.name.as_str())
    }

    /// The columns of the key, in its order.
    pub fn key_columns(&self) -> impl Iterator<Item = &Column> {
        let columns = self.key.iter();
        columns.filter_map(|&position| self.columns.get(position))
    }

    /// All conditions on its rows.
    pub(crate) fn conditions(&self) -> impl Iterator<Item = &Condition> {
        self.when.iter().chain(&self.delete_when)
    }

    /// Whether its rows are the elements of the body, which is an array.
    pub fn is_of_body(&self) -> bool {
        self.each.as_ref().is_some_and(Path::is_body)
    }

    /// Whether messages delete rows of it, so that nothing of them remains.
    pub fn can_delete(&self) -> bool {
        !self.delete_when.is_empty() && !self.keeps_tombstones()
    }

    /// Whether the values of a source are a row's own: not of the message, of a row above, or of the body that all
    /// elements share.
    pub(crate) fn is_own(&self, source: &Source) -> bool {
        match source {
            Source::Path(_) | Source::Element | Source::Rest | Source::Jq(_) => true,
            Source::Top(_) => self.each.is_none(),
            Source::Parent(..) | Source::Index(_) | Source::Metadata(_) => false,
        }
    }

    /// Positions of the columns by which a row is replaced or deleted: the key, and the column that says which of two
    /// is newer.
    pub fn identifying(&self) -> Vec<usize> {
        self.key.iter().chain(&self.newer).copied().collect()
    }

    /// Whether the statement compares a column of the table with values that were sent: it is in a key by which rows
    /// are joined or deleted.
    pub fn compares(&self, column: &str) -> bool {
        let compares_keys = self.parent.is_some() || self.has_children || self.can_delete();
        compares_keys && self.key_names().any(|name| name == column)
    }

    /// Whether its rows are replaced as a whole with the row that they belong to.
    pub fn is_replaced_with_parent(&self) -> bool {
        self.parent.is_some() && self.on_conflict == OnConflict::Update
    }

    /// The names of all columns, in the order of the file.
    pub fn column_names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|column| column.name.as_str())
    }

    /// The names of the columns that are not part of the key.
    pub fn other_names(&self) -> impl Iterator<Item = &str> {
        self.other_columns().map(|column| column.name.as_str())
    }

    /// The columns that are not part of the key.
    pub fn other_columns(&self) -> impl Iterator<Item = &Column> {
        let is_key = |column: &&Column| self.key_names().any(|key| key == column.name);
        self.columns.iter().filter(move |column| !is_key(column))
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

impl Table {
    /// As the mapping writes it.
    pub fn unquoted(&self) -> String {
        match &self.schema {
            Some(schema) => format!("{schema}.{}", self.name),
            None => self.name.clone(),
        }
    }
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
    /// The type of the column in the table, where Postgres reads it from text.
    pub cast: Option<Cast>,
    /// Where the value comes from.
    pub source: Source,
    /// Where it comes from if that is null, in order.
    pub fallbacks: Vec<Source>,
    /// Values that mean that there is none.
    pub null_if: Vec<Scalar>,
    /// What a missing value does to the row that a message updates.
    pub on_null: OnNull,
    /// Whether a null, missing or empty value rejects the message.
    pub required: bool,
    /// The value that replaces a null or missing one, as JSON text.
    pub default: Option<String>,
    /// The steps that clean the string, in order.
    pub transforms: Vec<Step>,
    /// How its times are written, if not as Postgres writes them.
    pub spelling: Option<TimeSpelling>,
    /// How the value is masked, as the last step.
    pub mask: Option<Mask>,
    /// Whether it stores in plaintext, on purpose, what another column masks.
    pub clear: bool,
    /// Fields that `@rest` omits besides those that the mapping touches.
    pub except: Vec<String>,
}

impl Column {
    /// Its type in the table, as people read it.
    pub fn type_text(&self) -> String {
        match &self.cast {
            Some(cast) => cast.to_string(),
            None => self.column_type.to_string(),
        }
    }

    /// Whether no message becomes a row with a null here.
    pub fn is_never_null(&self) -> bool {
        let may_be =
            |source: &Source, value: &Scalar| source.can_be(&Pattern::Equals(value.clone()));
        let has_value = |source: &Source| {
            let mut missing = self.null_if.iter();
            source.is_never_null() && !missing.any(|value| may_be(source, value))
        };
        self.required || self.default.is_some() || self.sources().any(has_value)
    }

    /// Where its value comes from, in the order in which they are tried.
    pub fn sources(&self) -> impl Iterator<Item = &Source> {
        std::iter::once(&self.source).chain(&self.fallbacks)
    }

    /// Whether it reads this fact about a message.
    pub fn reads(&self, metadata: &Metadata) -> bool {
        let is_it = |source: &Source| matches!(source, Source::Metadata(read) if read == metadata);
        self.sources().any(is_it)
    }
}

/// What happens if the table already has a row with the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnConflict {
    /// The existing row remains.
    Ignore,
    /// The new row replaces it, unless `newer` says that the new row is older.
    Update,
}

impl Word for OnConflict {
    const NAMES: &'static [(&'static str, Self)] =
        &[("ignore", Self::Ignore), ("update", Self::Update)];
}
