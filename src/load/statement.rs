//! The SQL of a batch. Its length depends on the mapping, never on the batch.

use crate::pipeline::{Column, OnConflict, Pipeline};
use crate::quote::{quote_identifier, quote_list};
use crate::schema::EnumColumn;
use crate::types::ColumnType;

/// Alias of the row that is in the table, to compare it with the new one.
const STORED: &str = "stored";

pub(super) struct Statements {
    /// The beginning of both.
    insert: String,
    /// Stores rows, whether or not they are in the table.
    safe: String,
    plain: Plain,
    has_casts: bool,
}

/// The statement for rows that are not in the table: without `ON CONFLICT`, which makes Postgres look for every row
/// first. Then only the table's constraint keeps a row from being stored twice.
enum Plain {
    Unknown,
    /// No constraint makes the key unique.
    Never,
    /// Stores nothing once the constraint is gone.
    Statement(String),
}

impl Statements {
    /// Columns of an enum type are cast to it, because Postgres assigns no text to them.
    pub(super) fn new(pipeline: &Pipeline, enums: &[EnumColumn]) -> Self {
        let columns = quote_list(pipeline.column_names());
        let selected: Vec<_> = pipeline
            .columns
            .iter()
            .enumerate()
            .map(|(position, column)| expression(position + 1, column, enums))
            .collect();
        let alias = pipeline.newer.map(|_| format!(" AS {STORED}"));
        let insert = format!(
            "INSERT INTO {}{} ({columns}) SELECT {}",
            pipeline.table,
            alias.unwrap_or_default(),
            selected.join(", ")
        );
        let key = quote_list(pipeline.key_names());
        Self {
            safe: format!(
                "{insert} ON CONFLICT ({key}) DO {}",
                conflict_action(pipeline)
            ),
            plain: Plain::Unknown,
            has_casts: !enums.is_empty(),
            insert,
        }
    }

    /// The optimistic statement if it is wanted and there is one, otherwise the safe one.
    pub(super) fn text(&self, is_optimistic: bool) -> &str {
        match &self.plain {
            Plain::Statement(plain) if is_optimistic => plain,
            _ => &self.safe,
        }
    }

    pub(super) fn can_be_optimistic(&self) -> bool {
        matches!(self.plain, Plain::Statement(_))
    }

    /// Whether values are cast to the column types last read from the catalog.
    pub(super) fn has_casts(&self) -> bool {
        self.has_casts
    }

    pub(super) fn is_guard_known(&self) -> bool {
        !matches!(self.plain, Plain::Unknown)
    }

    /// Sets the condition under which a constraint makes the key unique, if one does.
    pub(super) fn set_guard(&mut self, guard: Option<String>) {
        let guarded = |guard| Plain::Statement(format!("{} WHERE {guard}", self.insert));
        self.plain = guard.map_or(Plain::Never, guarded);
    }

    pub(super) fn forget_guard(&mut self) {
        self.plain = Plain::Unknown;
    }
}

/// Arrays of equal length unnest in parallel. In the list of a `SELECT` Postgres passes on one element at a time;
/// `FROM unnest(…)` would first write all of them to a tuplestore.
/// Source: <https://www.postgresql.org/docs/18/xfunc-sql.html#XFUNC-SQL-FUNCTIONS-RETURNING-SET>.
fn expression(parameter: usize, column: &Column, enums: &[EnumColumn]) -> String {
    let is_text = match column.column_type {
        ColumnType::Array(element) => element.is_text(),
        scalar => scalar.is_text(),
    };
    let live = enums
        .iter()
        .find(|live| live.column == column.name && is_text);
    match (live, column.column_type) {
        (Some(live), _) => format!("unnest(${parameter})::text::{}", live.type_name),
        (None, ColumnType::Array(element)) => {
            format!("unnest(${parameter})::{}[]", element.element())
        }
        (None, _) => format!("unnest(${parameter})"),
    }
}

fn conflict_action(pipeline: &Pipeline) -> String {
    let names = pipeline.other_names().map(quote_identifier);
    let updates: Vec<_> = names
        .map(|name| format!("{name} = EXCLUDED.{name}"))
        .collect();
    match pipeline.on_conflict {
        OnConflict::Update if !updates.is_empty() => {
            format!(
                "UPDATE SET {}{}",
                updates.join(", "),
                unless_newer(pipeline)
            )
        }
        _ => "NOTHING".to_owned(),
    }
}

/// Keeps a row that is newer than the incoming one. Postgres compares after it has locked the row, so this also holds
/// between concurrent batches.
fn unless_newer(pipeline: &Pipeline) -> String {
    let Some(column) = pipeline.newer_column() else {
        return String::new();
    };
    let name = quote_identifier(&column.name);
    format!(" WHERE {STORED}.{name} IS NULL OR {STORED}.{name} <= EXCLUDED.{name}")
}
