//! Faults of a table as a whole.

use mapping::{Table, TableMapping};
use thiserror::Error;

use mapping::ddl::{default_partition, one_line};

/// A table that does not fit the mapping, with the statement that fixes it.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
#[expect(missing_docs, reason = "the sentence of each variant says what it is")]
pub enum TableError {
    #[error("table {table} does not exist: create it with: {}", one_line(ddl))]
    Missing { table: String, ddl: String },
    #[error("table {table} has no column {column:?}: add it with: {ddl}")]
    ColumnMissing {
        table: String,
        column: String,
        ddl: String,
    },
    #[error("column {column:?} of table {table} is {actual} but mapped as {mapped}: {ddl}")]
    ColumnType {
        table: String,
        column: String,
        actual: String,
        mapped: String,
        ddl: String,
    },
    #[error(
        "column {column:?} of table {table} is cast to {mapped}, and Postgres finds no such type: {ddl}"
    )]
    NoType {
        table: String,
        column: String,
        mapped: String,
        ddl: String,
    },
    #[error(
        "table {table} has no partition for some rows: create it, or one for all other rows with: {ddl}"
    )]
    NoPartition { table: String, ddl: String },
    #[error(
        "column {column:?} of table {table} is not null, has no default and is not mapped: map it, or change the table: {ddl}"
    )]
    UnmappedNotNull {
        table: String,
        column: String,
        ddl: String,
    },
    #[error(
        "column {column:?} of table {table} is not null, but a tombstone has no value for it: change the table: {ddl}"
    )]
    NotNullTombstone {
        table: String,
        column: String,
        ddl: String,
    },
    #[error("table {table} has no unique index on its key: create it with: {ddl}")]
    NoUniqueIndex { table: String, ddl: String },
    #[error(
        "table {tables} changed the key that its child rows refer to: give the columns of the key the mapped types, and remove triggers that change them"
    )]
    KeyChanged { tables: String },
    #[error("the role has no privilege to write to table {table}: grant it with: {ddl}")]
    NoPrivilege { table: String, ddl: String },
    #[error(
        "Postgres refuses the statement for table {table} with SQLSTATE {sqlstate}: compare the table with: {ddl}"
    )]
    Other {
        table: String,
        sqlstate: String,
        ddl: String,
    },
}

/// The fault of a partitioned table that has no partition for a row; `at` is the name of the table or partition
/// that should have had one.
pub(crate) fn no_partition(mapping: &TableMapping, at: Option<&str>) -> TableError {
    let table = Table {
        schema: mapping.table.schema.clone(),
        name: at.unwrap_or(&mapping.table.name).to_owned(),
    };
    TableError::NoPartition {
        ddl: default_partition(&table),
        table: table.to_string(),
    }
}
