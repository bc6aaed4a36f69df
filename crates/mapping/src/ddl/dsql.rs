//! The statements that create the tables in Aurora DSQL, which has fewer types and no statement for two of them.

use thiserror::Error;

use crate::cast::Cast;
use crate::pipeline::{Column, Pipeline, TableMapping};
use crate::types::ColumnType;

/// The longest `varchar(n)` of DSQL.
/// Source: <https://docs.aws.amazon.com/aurora-dsql/latest/userguide/working-with-postgresql-compatibility-supported-data-types.html> (2026-11).
const MAX_VARCHAR: usize = 65_535;

/// Maximum columns of a primary key.
/// Source: <https://docs.aws.amazon.com/aurora-dsql/latest/userguide/CHAP_quotas.html> (2026-11).
const MAX_KEY_COLUMNS: usize = 8;

/// A mapping that DSQL cannot store.
#[non_exhaustive]
#[derive(Debug, Error, PartialEq, Eq)]
#[expect(missing_docs, reason = "the sentence of each variant says what it is")]
pub enum DsqlError {
    #[error(
        "table {table}: column {column:?} is {column_type}, which Aurora DSQL does not store: map it as {instead}"
    )]
    Type {
        table: String,
        column: String,
        column_type: String,
        instead: &'static str,
    },
    #[error("table {0}: its key has more than 8 columns, the maximum of Aurora DSQL")]
    Key(String),
}

impl Pipeline {
    /// The statements that create the schemas and tables in Aurora DSQL, each for a transaction of its own. Without
    /// foreign keys: children are stored and deleted with their parents anyway, and a cascade would count towards the
    /// limit of rows.
    ///
    /// # Errors
    /// DSQL does not have a type of the mapping, or its key is too long.
    pub fn create_for_dsql(&self) -> Result<String, DsqlError> {
        for table in &self.tables {
            check(table)?;
        }
        let create = |table: &TableMapping| table.create_table_with("", ";");
        let creates: Vec<_> = self.tables.iter().map(create).collect();
        Ok(self.create_schemas() + &creates.join("\n"))
    }
}

/// Statements for Postgres that build an index without blocking writers, as DSQL builds all of them.
/// Source: <https://docs.aws.amazon.com/aurora-dsql/latest/userguide/working-with-create-index-async.html> (2026-11).
pub fn index_async(sql: &str) -> String {
    sql.replace("INDEX CONCURRENTLY ON", "INDEX ASYNC ON")
}

/// Whether it has a type besides those of the mapping.
/// Source: the page on [`MAX_VARCHAR`].
fn has_type(cast: &Cast) -> bool {
    let is_known = matches!(cast.name(), "interval" | "bpchar" | "timetz");
    is_known && cast.is_built_in() && !cast.is_array()
}

/// What DSQL stores instead of what it does not.
fn instead(column: &Column) -> Option<&'static str> {
    let is_unknown = column.cast.as_ref().is_some_and(|cast| !has_type(cast));
    match column.column_type {
        _ if is_unknown => Some("text, without cast"),
        ColumnType::Varchar(chars) if chars > MAX_VARCHAR => Some("text"),
        column_type => column_type.instead_in_dsql(),
    }
}

fn check(table: &TableMapping) -> Result<(), DsqlError> {
    if table.key.len() > MAX_KEY_COLUMNS {
        return Err(DsqlError::Key(table.table.to_string()));
    }
    for column in &table.columns {
        let Some(instead) = instead(column) else {
            continue;
        };
        return Err(DsqlError::Type {
            table: table.table.to_string(),
            column: column.name.clone(),
            column_type: column.type_text(),
            instead,
        });
    }
    Ok(())
}
