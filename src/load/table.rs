//! The table as it is, asked for only when Postgres refuses a statement for any row.

use thiserror::Error;
use tokio_postgres::Client;
use tokio_postgres::types::{ToSql, Type};

use crate::database::DatabaseError;
use crate::pipeline::{Column, ColumnType, Pipeline, Table, quote_identifier, quote_list};

/// A table that does not fit the mapping, with the statement that mends it.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
#[expect(missing_docs, reason = "the sentence of each variant says what it is")]
pub enum TableError {
    #[error("table {table} does not exist: create it with the ddl {ddl}")]
    Missing { table: String, ddl: String },
    #[error("table {table} has no column {column:?}: add it with the ddl {ddl}")]
    ColumnMissing {
        table: String,
        column: String,
        ddl: String,
    },
    #[error(
        "column {column:?} of table {table} is {actual} and mapped as {mapped}: change the mapping, or the table with the ddl {ddl}"
    )]
    ColumnType {
        table: String,
        column: String,
        actual: String,
        mapped: ColumnType,
        ddl: String,
    },
    #[error("table {table} has no unique index on its key: create it with the ddl {ddl}")]
    NoUniqueIndex { table: String, ddl: String },
    #[error("the role may not write to table {table}: grant it with the ddl {ddl}")]
    NoPrivilege { table: String, ddl: String },
    #[error(
        "Postgres refuses the statement for table {table} with SQLSTATE {sqlstate}: compare the table with the ddl {ddl}"
    )]
    Other {
        table: String,
        sqlstate: String,
        ddl: String,
    },
}

/// What the catalog says of a table; no columns where it does not exist or is hidden.
#[derive(Default)]
pub(super) struct LiveTable {
    columns: Vec<LiveColumn>,
}

struct LiveColumn {
    name: String,
    /// As Postgres writes it, without a length.
    type_name: String,
    is_enum: bool,
}

/// A column of an enum type.
pub(super) struct EnumColumn {
    pub(super) column: String,
    /// Quoted where needed.
    pub(super) type_name: String,
}

impl LiveTable {
    pub(super) async fn read(client: &Client, table: &Table) -> Result<Self, DatabaseError> {
        let sql = "SELECT a.attname::text, format_type(a.atttypid, NULL), t.typtype = 'e' \
                   FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid \
                   WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped";
        let rows = client
            .query_typed(sql, &[(&table.to_string(), Type::TEXT)])
            .await?;
        let column = |row: &tokio_postgres::Row| -> Result<LiveColumn, tokio_postgres::Error> {
            Ok(LiveColumn {
                name: row.try_get(0)?,
                type_name: row.try_get(1)?,
                is_enum: row.try_get(2)?,
            })
        };
        Ok(Self {
            columns: rows.iter().map(column).collect::<Result<_, _>>()?,
        })
    }

    pub(super) fn enums(&self) -> Vec<EnumColumn> {
        let enums = self.columns.iter().filter(|column| column.is_enum);
        enums
            .map(|column| EnumColumn {
                column: column.name.clone(),
                type_name: column.type_name.clone(),
            })
            .collect()
    }

    /// What is wrong with the table, by the SQLSTATE of the refused statement.
    pub(super) fn explain(&self, pipeline: &Pipeline, sqlstate: &str) -> TableError {
        let table = pipeline.table.to_string();
        let ddl = one_line(&pipeline.create_table());
        match sqlstate {
            "42501" => TableError::NoPrivilege {
                ddl: grant(pipeline),
                table,
            },
            "42P10" => TableError::NoUniqueIndex {
                ddl: unique_index(pipeline),
                table,
            },
            _ if self.columns.is_empty() => TableError::Missing { table, ddl },
            _ => self.column_fault(pipeline).unwrap_or(TableError::Other {
                table,
                sqlstate: sqlstate.to_owned(),
                ddl,
            }),
        }
    }

    fn column_fault(&self, pipeline: &Pipeline) -> Option<TableError> {
        let table = pipeline.table.to_string();
        for column in &pipeline.columns {
            let Some(live) = self.columns.iter().find(|live| live.name == column.name) else {
                let ddl = format!("ALTER TABLE {table} ADD COLUMN {};", column.definition());
                return Some(TableError::ColumnMissing {
                    table,
                    column: column.name.clone(),
                    ddl,
                });
            };
            if !assigns(column.column_type, live) {
                let ddl = alter_type(&table, column);
                let (actual, mapped) = (live.type_name.clone(), column.column_type);
                return Some(TableError::ColumnType {
                    table,
                    column: column.name.clone(),
                    actual,
                    mapped,
                    ddl,
                });
            }
        }
        None
    }
}

/// A query that has an answer as long as the table is as it is now, if rows may be copied into it: its
/// columns are of the mapped types, its key is unique, and neither rules nor policies nor identities
/// come in between, for which `COPY` and `INSERT` are not the same.
pub(super) async fn copy_guard(
    client: &Client,
    pipeline: &Pipeline,
) -> Result<Option<String>, DatabaseError> {
    const FITS: &str = "\
        SELECT format('SELECT FROM pg_class c, pg_index i WHERE c.oid = %s AND c.xmin = ''%s'' AND i.indrelid = c.oid \
                       AND i.indexrelid = %s AND i.indisunique AND i.indisvalid', c.oid, c.xmin, i.indexrelid) \
        FROM pg_class c JOIN pg_index i ON i.indrelid = c.oid \
        WHERE c.oid = to_regclass($1) AND c.relkind IN ('r', 'p') AND NOT c.relrowsecurity AND NOT c.relhasrules \
        AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL \
        AND $2::text[] = (SELECT array_agg(a.attname::text ORDER BY a.attname::text COLLATE \"C\") FROM pg_attribute a \
            WHERE a.attrelid = c.oid AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])) \
        AND NOT EXISTS (SELECT FROM unnest($3::text[], $4::oid[]) AS mapped(name, type) LEFT JOIN pg_attribute a \
            ON a.attrelid = c.oid AND a.attname = mapped.name AND a.attidentity = '' AND a.attgenerated = '' \
            WHERE (a.atttypid = mapped.type OR mapped.type = 'text'::regtype AND a.atttypid = 'varchar'::regtype) IS NOT TRUE) \
        LIMIT 1";
    let mut key: Vec<&str> = pipeline.key_names().collect();
    key.sort_unstable();
    let columns = &pipeline.columns;
    let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    let oid = |column: &Column| column.column_type.element().oid();
    let types: Vec<u32> = columns.iter().map(oid).collect();
    let parameters: [(&(dyn ToSql + Sync), Type); 4] = [
        (&pipeline.table.to_string(), Type::TEXT),
        (&key, Type::TEXT_ARRAY),
        (&names, Type::TEXT_ARRAY),
        (&types, Type::OID_ARRAY),
    ];
    let fitting = client.query_typed(FITS, &parameters).await?;
    Ok(fitting.first().map(|row| row.try_get(0)).transpose()?)
}

/// Whether Postgres assigns a value of the mapped type to the column by itself.
/// Source: `\dCS` of psql 18; everything is assigned to a string type.
fn assigns(mapped: ColumnType, live: &LiveColumn) -> bool {
    const STRINGS: &[&str] = &["text", "character varying", "character", "name"];
    const NUMBERS: &[&str] = &[
        "smallint",
        "integer",
        "bigint",
        "real",
        "double precision",
        "numeric",
    ];
    const DATES: &[&str] = &[
        "date",
        "timestamp without time zone",
        "timestamp with time zone",
    ];
    let live_is = |family: &[&str]| family.contains(&live.type_name.as_str());
    live_is(STRINGS)
        || match mapped {
            ColumnType::Text | ColumnType::Varchar(_) => live.is_enum,
            ColumnType::SmallInt | ColumnType::Integer | ColumnType::BigInt => live_is(NUMBERS),
            ColumnType::Real | ColumnType::DoublePrecision | ColumnType::Numeric => {
                live_is(NUMBERS)
            }
            ColumnType::Date | ColumnType::TimestampTz => live_is(DATES),
            ColumnType::Inet => live_is(&["inet", "cidr"]),
            ColumnType::Jsonb => live_is(&["jsonb", "json"]),
            ColumnType::Boolean | ColumnType::Uuid => live.type_name == mapped.to_string(),
        }
}

fn alter_type(table: &str, column: &Column) -> String {
    let name = quote_identifier(&column.name);
    format!(
        "ALTER TABLE {table} ALTER COLUMN {name} TYPE {0} USING {name}::{0};",
        column.column_type
    )
}

fn unique_index(pipeline: &Pipeline) -> String {
    format!(
        "CREATE UNIQUE INDEX ON {} ({});",
        pipeline.table,
        quote_list(pipeline.key_names())
    )
}

fn grant(pipeline: &Pipeline) -> String {
    let schema = pipeline
        .table
        .schema
        .as_deref()
        .map(|schema| format!("GRANT USAGE ON SCHEMA {} TO …; ", quote_identifier(schema)));
    format!(
        "{}GRANT INSERT, SELECT, UPDATE ON {} TO …;",
        schema.unwrap_or_default(),
        pipeline.table
    )
}

fn one_line(sql: &str) -> String {
    sql.split_whitespace().collect::<Vec<_>>().join(" ")
}
