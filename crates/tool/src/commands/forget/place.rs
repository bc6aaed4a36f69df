//! The database that a receipt is about, and which columns of it were not searched.

use mapping::{Column, TableMapping};
use serde_json::{Value, json};
use sqs_to_postgres::database::{Database, DatabaseError};

use super::person::People;
use super::rows::FoundRows;

/// A database, and the role that searched it.
pub(super) struct Place {
    host: String,
    port: u16,
    database: String,
    role: String,
}

impl Place {
    pub(super) async fn of(database: &mut Database) -> Result<Self, DatabaseError> {
        let (host, port) = database.address().await?;
        let [database, role] = database.name_and_role().await?;
        Ok(Self {
            host,
            port,
            database,
            role,
        })
    }

    pub(super) fn text(&self) -> String {
        let Self {
            host,
            port,
            database,
            role,
        } = self;
        format!("database {database} on {host}:{port}, as role {role}")
    }

    pub(super) fn json(&self) -> Value {
        json!({"host": self.host, "port": self.port, "name": self.database, "role": self.role})
    }
}

/// The columns of a table in which values were not searched, and why.
pub(super) struct Unsearched {
    /// Quoted.
    pub(super) table: String,
    /// Why the table as a whole was not.
    pub(super) why: Option<&'static str>,
    pub(super) columns: Vec<(String, &'static str)>,
}

/// What of the mapping's tables was not searched. Columns that cannot hold text are omitted for tables that were.
pub(super) fn unsearched(people: &People, tables: &[FoundRows]) -> Vec<Unsearched> {
    let mapped = people.pipeline.tables.iter();
    let unsearched = mapped.map(|mapping| of_table(people, tables, mapping));
    let is_complete = |it: &Unsearched| it.why.is_none() && it.columns.is_empty();
    unsearched.filter(|it| !is_complete(it)).collect()
}

fn of_table(people: &People, tables: &[FoundRows], mapping: &TableMapping) -> Unsearched {
    let table = mapping.table.to_string();
    let is_searched = tables.iter().any(|found| found.table == table);
    let columns = mapping.columns.iter();
    let columns = columns.filter(|column| column.name != people.column);
    let columns = columns.filter_map(|column| Some((column.name.clone(), why(column)?)));
    Unsearched {
        why: (!is_searched).then_some("it has no such column"),
        columns: columns.collect(),
        table,
    }
}

/// Why a column that may hold a value of a person was not searched.
fn why(column: &Column) -> Option<&'static str> {
    match column.column_type {
        _ if column.mask.is_some() => Some("another masked column"),
        column_type if column_type.is_nested() => Some("a nested value"),
        column_type if !column_type.is_text() => None,
        _ => Some("another column in plaintext"),
    }
}
