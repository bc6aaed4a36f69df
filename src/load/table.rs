//! The table as it is, and how it takes what the mapping gives. The loader asks only when Postgres
//! refuses a statement for any row.

mod fit;

use thiserror::Error;
use tokio_postgres::Client;
use tokio_postgres::types::{ToSql, Type};

use super::INSUFFICIENT_PRIVILEGE;
use crate::database::DatabaseError;
use crate::pipeline::{Column, Pipeline, Table, quote_identifier, quote_list};
use crate::types::ColumnType;
pub use fit::{Difference, Fault};
use fit::{Fit, fit};

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
    #[error(
        "table {table} has no partition for some rows: create it, or one for all other rows with the ddl {ddl}"
    )]
    NoPartition { table: String, ddl: String },
    #[error(
        "column {column:?} of table {table} is not null, has no default and is not mapped: map it, or change the table with the ddl {ddl}"
    )]
    UnmappedNotNull {
        table: String,
        column: String,
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

/// The columns that the catalog knows of a table; none where it does not exist or is hidden.
#[derive(Debug, Default)]
pub struct LiveTable {
    columns: Vec<LiveColumn>,
}

/// A column as the catalog has it. Of a domain the type is the one below it.
#[derive(Debug)]
pub(super) struct LiveColumn {
    pub(super) name: String,
    /// As Postgres writes it, without a length.
    type_name: String,
    /// As Postgres writes it, with its length.
    full_type: String,
    is_enum: bool,
    /// Postgres assigns every type to it.
    is_string: bool,
    /// What goes with the type: a length, or precision and scale; −1 for none.
    type_modifier: i32,
    is_not_null: bool,
    has_default: bool,
    /// Postgres makes the values itself and takes none.
    is_generated: bool,
}

/// A column of an enum type.
pub(super) struct EnumColumn {
    pub(super) column: String,
    /// Quoted where needed.
    pub(super) type_name: String,
}

impl LiveTable {
    /// Reads the columns from the catalog.
    ///
    /// # Errors
    /// The connection broke, or the schema may not be used.
    pub async fn read(client: &Client, table: &Table) -> Result<Self, DatabaseError> {
        let sql = "SELECT a.attname::text, format_type(b.oid, NULL), format_type(b.oid, m), b.typtype = 'e', b.typcategory = 'S', m, \
                   a.attnotnull, a.atthasdef AND a.attgenerated = '' OR a.attidentity <> '', \
                   a.attgenerated <> '' OR a.attidentity = 'a' \
                   FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid \
                   JOIN pg_type b ON b.oid = CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.oid END, \
                   LATERAL (SELECT CASE t.typtype WHEN 'd' THEN t.typtypmod ELSE a.atttypmod END) AS modifier(m) \
                   WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum";
        let rows = client
            .query_typed(sql, &[(&table.to_string(), Type::TEXT)])
            .await?;
        let column = |row: &tokio_postgres::Row| -> Result<LiveColumn, tokio_postgres::Error> {
            Ok(LiveColumn {
                name: row.try_get(0)?,
                type_name: row.try_get(1)?,
                full_type: row.try_get(2)?,
                is_enum: row.try_get(3)?,
                is_string: row.try_get(4)?,
                type_modifier: row.try_get(5)?,
                is_not_null: row.try_get(6)?,
                has_default: row.try_get(7)?,
                is_generated: row.try_get(8)?,
            })
        };
        Ok(Self {
            columns: rows.iter().map(column).collect::<Result<_, _>>()?,
        })
    }

    /// Whether there is no such table, or it is hidden.
    pub fn is_missing(&self) -> bool {
        self.columns.is_empty()
    }

    /// What a column is, for a sentence: `varchar(64), not null`.
    pub fn description(&self, column: &str) -> Option<String> {
        let live = self.column(column)?;
        let not_null = if live.is_not_null { ", not null" } else { "" };
        Some(format!("{}{not_null}", short(&live.full_type)))
    }

    fn column(&self, name: &str) -> Option<&LiveColumn> {
        self.columns.iter().find(|live| live.name == name)
    }

    /// All that keeps the table from taking what the mapping gives, in the order of the mapping,
    /// and then the columns that only the table has.
    pub fn differences(&self, pipeline: &Pipeline) -> Vec<Difference> {
        let table = pipeline.table.to_string();
        let mapped = pipeline
            .columns
            .iter()
            .flat_map(|column| self.differences_of(&table, column));
        let is_mapped = |name: &str| pipeline.columns.iter().any(|column| column.name == name);
        let others = self.columns.iter().filter(|live| !is_mapped(&live.name));
        let others = others
            .filter(|live| live.is_not_null && !live.has_default && !live.is_generated)
            .map(|live| Difference {
                column: live.name.clone(),
                fault: Fault::UnmappedNotNull,
                mend: drop_not_null(&table, &live.name),
                later: None,
            });
        mapped
            .chain(self.newer_as_text(pipeline))
            .chain(others)
            .collect()
    }

    /// A column of text takes any value, but `newer` would then go by the collation.
    fn newer_as_text(&self, pipeline: &Pipeline) -> Option<Difference> {
        let column = pipeline.newer_column()?;
        let live = self.column(&column.name).filter(|live| live.is_string)?;
        Some(Difference {
            column: column.name.clone(),
            fault: Fault::NewerAsText(short(&live.full_type)),
            mend: alter_type(&pipeline.table.to_string(), column),
            later: None,
        })
    }

    fn differences_of(&self, table: &str, column: &Column) -> Vec<Difference> {
        let difference = |fault, mend| Difference {
            column: column.name.clone(),
            fault,
            mend,
            later: None,
        };
        let Some(live) = self.column(&column.name) else {
            let missing = difference(Fault::Missing, add_column(table, column));
            return vec![Difference {
                later: set_not_null(table, column),
                ..missing
            }];
        };
        let mut differences = Vec::new();
        if live.is_generated {
            let name = quote_identifier(&column.name);
            let mend = format!(
                "ALTER TABLE {table} ALTER COLUMN {name} DROP EXPRESSION IF EXISTS, ALTER COLUMN {name} DROP IDENTITY IF EXISTS;"
            );
            differences.push(difference(Fault::Generated, mend));
        }
        let (actual, mapped) = (short(&live.full_type), column.column_type);
        let fault = match fit(column, live) {
            Fit::Whole => None,
            Fit::Changed(how) => Some(Fault::Changes {
                actual,
                mapped,
                how,
            }),
            Fit::Narrow(how) => Some(Fault::TooNarrow {
                actual,
                mapped,
                how,
            }),
            Fit::Never => Some(Fault::WrongType { actual, mapped }),
        };
        differences.extend(fault.map(|fault| difference(fault, alter_type(table, column))));
        if live.is_not_null && !column.is_never_null() {
            let mend = drop_not_null(table, &column.name);
            differences.push(difference(Fault::NotNull, mend));
        }
        differences
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

    /// Reads the columns of the mapping's table; none where the catalog is closed to the role.
    pub(super) async fn of_pipeline(
        client: &Client,
        pipeline: &Pipeline,
    ) -> Result<Self, DatabaseError> {
        match Self::read(client, &pipeline.table).await {
            Err(DatabaseError::Server(refusal)) if refusal.sqlstate == INSUFFICIENT_PRIVILEGE => {
                Ok(Self::default())
            }
            read => read,
        }
    }

    /// The fault of a column that Postgres wants a value for and the mapping does not know.
    pub(super) fn unmapped_not_null(&self, pipeline: &Pipeline, name: &str) -> Option<TableError> {
        let is_it = |difference: &Difference| {
            difference.column == name && difference.fault == Fault::UnmappedNotNull
        };
        let difference = self.differences(pipeline).into_iter().find(is_it)?;
        Some(TableError::UnmappedNotNull {
            table: pipeline.table.to_string(),
            column: difference.column,
            ddl: difference.mend,
        })
    }

    pub(super) fn column_fault(&self, pipeline: &Pipeline) -> Option<TableError> {
        let table = pipeline.table.to_string();
        for column in &pipeline.columns {
            let Some(live) = self.columns.iter().find(|live| live.name == column.name) else {
                let ddl = add_column(&table, column);
                return Some(TableError::ColumnMissing {
                    table,
                    column: column.name.clone(),
                    ddl,
                });
            };
            if fit(column, live) == Fit::Never {
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

/// The columns of index `i`, sorted as [`key_of`] does.
pub(super) const COLUMNS_OF_INDEX: &str = "\
    (SELECT array_agg(a.attname::text ORDER BY a.attname::text COLLATE \"C\") FROM pg_attribute a \
     WHERE a.attrelid = i.indrelid AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1]))";

pub(super) fn key_of(pipeline: &Pipeline) -> Vec<&str> {
    let mut key: Vec<&str> = pipeline.key_names().collect();
    key.sort_unstable();
    key
}

/// A query that tells whether rows may be copied into the table that the mapping names now.
pub(super) fn copy_fit(pipeline: &Pipeline) -> String {
    let name = quote_literal(&pipeline.table.to_string());
    let fits = takes_copies(pipeline);
    format!("SELECT {fits} FROM pg_class c WHERE c.oid = to_regclass({name})")
}

/// A query that tells, at the end of a transaction, whether the table that it wrote to is the one that the mapping
/// names and takes copies: its lock keeps the table from changing until the transaction ends. The lock also
/// says which table it was, since a schema can be renamed at any time.
/// Source: <https://www.postgresql.org/docs/18/explicit-locking.html#LOCKING-TABLES>.
pub(super) fn copy_check(pipeline: &Pipeline) -> String {
    let name = quote_literal(&pipeline.table.to_string());
    let own_name = quote_literal(&pipeline.table.name);
    let fits = takes_copies(pipeline);
    format!(
        "SELECT count(*) = 1 AND bool_and(c.oid = to_regclass({name}) AND {fits}) \
         FROM pg_locks l JOIN pg_class c ON c.oid = l.relation \
         WHERE l.pid = pg_backend_pid() AND l.mode = 'RowExclusiveLock' AND c.relname = {own_name} \
         AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())"
    )
}

/// A condition on the class `c`: its columns have just the mapped types, its key is unique, and neither rules nor
/// policies nor identities come in between, for which `COPY` and `INSERT` differ.
fn takes_copies(pipeline: &Pipeline) -> String {
    let key: Vec<_> = key_of(pipeline).into_iter().map(quote_literal).collect();
    let mapped = pipeline.columns.iter().map(|column| {
        let oid = column.column_type.element().oid();
        format!("({}, {oid}::oid)", quote_literal(&column.name))
    });
    format!(
        "c.relkind IN ('r', 'p') AND NOT c.relrowsecurity AND NOT c.relhasrules \
         AND EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indimmediate \
             AND i.indpred IS NULL AND i.indexprs IS NULL AND ARRAY[{}] = {COLUMNS_OF_INDEX}) \
         AND NOT EXISTS (SELECT FROM (VALUES {}) AS mapped(name, type) LEFT JOIN pg_attribute a \
             ON a.attrelid = c.oid AND a.attname = mapped.name AND NOT a.attisdropped AND a.attidentity = '' AND a.attgenerated = '' \
             WHERE (a.atttypid = mapped.type OR mapped.type = 'text'::regtype AND a.atttypid = 'varchar'::regtype) IS NOT TRUE)",
        key.join(", "),
        mapped.collect::<Vec<_>>().join(", ")
    )
}

/// A string as SQL writes it, whatever `standard_conforming_strings` says.
fn quote_literal(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('\'', "''");
    format!("E'{escaped}'")
}

/// The fault of a partitioned table that has no partition for a row; `at` is the name of the table or partition
/// that should have had one.
pub(super) fn no_partition(pipeline: &Pipeline, at: Option<&str>) -> TableError {
    let table = Table {
        schema: pipeline.table.schema.clone(),
        name: at.unwrap_or(&pipeline.table.name).to_owned(),
    };
    TableError::NoPartition {
        ddl: default_partition(&table),
        table: table.to_string(),
    }
}

/// A condition that holds as long as the constraint is there which makes the table's key unique, if one
/// does. It costs next to nothing, and suffices of a constraint: whoever takes that away waits for
/// statements under way, which an index alone can be dropped without (`CONCURRENTLY`). The table's name is
/// looked up whenever the statement runs, also where it was planned long before.
/// Source: <https://www.postgresql.org/docs/18/sql-dropindex.html>.
pub(super) async fn key_guard(
    client: &Client,
    pipeline: &Pipeline,
) -> Result<Option<String>, DatabaseError> {
    let keeping = format!(
        "SELECT format('to_regclass(%L) = %s::oid AND pg_index_has_property(%s, ''index_scan'')', $1, c.conrelid::oid, c.conindid::oid) \
         FROM pg_constraint c JOIN pg_index i ON i.indexrelid = c.conindid \
         WHERE c.conrelid = to_regclass($1) AND c.contype IN ('p', 'u') AND i.indisvalid AND i.indimmediate \
         AND $2::text[] = {COLUMNS_OF_INDEX} LIMIT 1"
    );
    let parameters: [(&(dyn ToSql + Sync), Type); 2] = [
        (&pipeline.table.to_string(), Type::TEXT),
        (&key_of(pipeline), Type::TEXT_ARRAY),
    ];
    first_text(client, &keeping, &parameters).await
}

async fn first_text(
    client: &Client,
    sql: &str,
    parameters: &[(&(dyn ToSql + Sync), Type)],
) -> Result<Option<String>, DatabaseError> {
    let rows = client.query_typed(sql, parameters).await?;
    Ok(rows.first().map(|row| row.try_get(0)).transpose()?)
}

/// Postgres's long names of types as people write them.
fn short(type_name: &str) -> String {
    type_name
        .replace("character varying", "varchar")
        .replace("timestamp with time zone", "timestamptz")
        .replace("timestamp without time zone", "timestamp")
}

/// Rows that are there already have no value, so that the column cannot be `NOT NULL` at once.
fn add_column(table: &str, column: &Column) -> String {
    let (name, column_type) = (quote_identifier(&column.name), column.column_type);
    format!("ALTER TABLE {table} ADD COLUMN {name} {column_type};")
}

fn set_not_null(table: &str, column: &Column) -> Option<String> {
    let name = quote_identifier(&column.name);
    let set = format!("ALTER TABLE {table} ALTER COLUMN {name} SET NOT NULL;");
    column.is_never_null().then_some(set)
}

fn drop_not_null(table: &str, column: &str) -> String {
    let name = quote_identifier(column);
    format!("ALTER TABLE {table} ALTER COLUMN {name} DROP NOT NULL;")
}

fn alter_type(table: &str, column: &Column) -> String {
    let name = quote_identifier(&column.name);
    format!(
        "ALTER TABLE {table} ALTER COLUMN {name} TYPE {0} USING {name}::{0};",
        column.column_type
    )
}

/// Built beside the writers of the table, which a partitioned one does not offer.
/// Source: <https://www.postgresql.org/docs/18/sql-createindex.html#SQL-CREATEINDEX-CONCURRENTLY>.
pub(super) fn unique_index(pipeline: &Pipeline, is_partitioned: bool) -> String {
    let concurrently = if is_partitioned { "" } else { " CONCURRENTLY" };
    format!(
        "CREATE UNIQUE INDEX{concurrently} ON {} ({});",
        pipeline.table,
        quote_list(pipeline.key_names())
    )
}

/// The statement that makes a partition for all rows that no other one takes.
pub(super) fn default_partition(table: &Table) -> String {
    let rest = Table {
        name: format!("{}_default", table.name),
        ..table.clone()
    };
    format!("CREATE TABLE {rest} PARTITION OF {table} DEFAULT;")
}

pub(super) fn one_line(sql: &str) -> String {
    sql.split_whitespace().collect::<Vec<_>>().join(" ")
}
