//! The statements that create a table, or change one that does not fit; for Aurora DSQL too, which has fewer types.

mod dsql;
mod history;

use std::collections::BTreeSet;

use thiserror::Error;

use crate::pipeline::{Column, Pipeline, Table, TableMapping, check_identifier};
use crate::text::{quote_identifier, quote_list};
use crate::types::ColumnType;
pub use dsql::{DsqlError, index_async};
pub use history::HistoryError;

/// How many months get a partition at once: enough time to automate the later ones.
const MONTHS: usize = 3;

/// A column by which the table cannot be partitioned.
#[non_exhaustive]
#[derive(Debug, Error, PartialEq, Eq)]
#[expect(missing_docs, reason = "the sentence of each variant says what it is")]
pub enum PartitionError {
    #[error("column {0:?} is not mapped: partition by a column of the mapping")]
    Unknown(String),
    #[error(
        "column {0:?} is {1}, and partitions are months: partition by a column of type date, timestamp or timestamptz"
    )]
    Type(String, String),
    #[error(
        "Postgres enforces a key across partitions only if it contains the partition column: add {0:?} to the key of the mapping"
    )]
    NotInKey(String),
    #[error(
        "the names of its partitions would be too long for Postgres: shorten the name of table {0}"
    )]
    Name(String),
}

impl Pipeline {
    /// The statements that create the schemas that the mapping names.
    pub fn create_schemas(&self) -> String {
        let schemas: BTreeSet<_> = self
            .tables
            .iter()
            .map(TableMapping::create_schema)
            .collect();
        schemas.into_iter().collect()
    }

    /// The statements that create the tables, parents before their children. If a row is deleted, so are its child
    /// rows.
    pub fn create_tables(&self) -> String {
        let tables = self.tables.iter().map(|table| self.create_table(table));
        tables.collect::<Vec<_>>().join("\n")
    }

    /// The statement that creates one of the tables, with its foreign key.
    ///
    /// ```sql
    /// CREATE TABLE "user_logins" (
    ///     "message_id" uuid NOT NULL,
    ///     …
    ///     PRIMARY KEY ("message_id")
    /// );
    /// ```
    pub fn create_table(&self, table: &TableMapping) -> String {
        let foreign_key = self.foreign_key(table);
        let constraint = foreign_key.map(|clause| format!(",\n    {clause}"));
        table.create_table_with(&constraint.unwrap_or_default(), ";")
    }

    /// The clause that binds a child table to its parent.
    pub fn foreign_key(&self, table: &TableMapping) -> Option<String> {
        let parent = self.ancestor(table, 1)?;
        let key = quote_list(parent.key_names());
        let own = quote_list(table.key_names().take(parent.key.len()));
        let parent = &parent.table;
        Some(format!(
            "FOREIGN KEY ({own}) REFERENCES {parent} ({key}) ON DELETE CASCADE"
        ))
    }
}

impl TableMapping {
    /// The statement that creates the schema of the table; empty where the mapping names none.
    pub fn create_schema(&self) -> String {
        let create = |schema: &String| {
            format!(
                "CREATE SCHEMA IF NOT EXISTS {};\n",
                quote_identifier(schema)
            )
        };
        self.table.schema.as_ref().map_or_else(String::new, create)
    }

    pub(super) fn create_table_with(&self, constraint: &str, end: &str) -> String {
        let mut sql = format!("CREATE TABLE {} (\n", self.table);
        for column in &self.columns {
            sql += &format!("    {},\n", self.definition(column));
        }
        let key = quote_list(self.key_names());
        sql + &format!("    PRIMARY KEY ({key}){constraint}\n){end}\n")
    }

    /// The statements that create the table partitioned by a column of time: one partition per month, starting with the
    /// month of `today`, and one for all other times.
    ///
    /// ```sql
    /// CREATE TABLE "user_logins" (
    ///     …
    ///     PRIMARY KEY ("message_id", "create_date")
    /// ) PARTITION BY RANGE ("create_date");
    /// CREATE TABLE "user_logins_2026_11" PARTITION OF "user_logins" FOR VALUES FROM ('2026-11-01') TO ('2026-12-01');
    /// …
    /// CREATE TABLE "user_logins_default" PARTITION OF "user_logins" DEFAULT;
    /// ```
    ///
    /// # Errors
    /// The table cannot be partitioned by that column.
    pub fn create_partitioned(
        &self,
        by: &str,
        mut month: (i32, u8),
    ) -> Result<String, PartitionError> {
        // A date alone would mean midnight in the time zone of the session.
        let is_instant = self.check_partition(by)? == ColumnType::TimestampTz;
        let midnight = if is_instant { " 00:00:00+00" } else { "" };
        let clause = format!(" PARTITION BY RANGE ({});", quote_identifier(by));
        let mut sql = self.create_table_with("", &clause);
        for _ in 0..MONTHS {
            let next = after(month);
            let partition = self.partition(&format!("{:04}_{:02}", month.0, month.1))?;
            let bounds =
                [month, next].map(|(year, month)| format!("{year:04}-{month:02}-01{midnight}"));
            sql += &format!(
                "CREATE TABLE {partition} PARTITION OF {} FOR VALUES FROM ('{}') TO ('{}');\n",
                self.table, bounds[0], bounds[1]
            );
            month = next;
        }
        let rest = self.partition("default")?;
        sql += &format!("CREATE TABLE {rest} PARTITION OF {} DEFAULT;\n", self.table);
        Ok(sql)
    }

    fn check_partition(&self, by: &str) -> Result<ColumnType, PartitionError> {
        let column = self.columns.iter().find(|column| column.name == by);
        let column = column.ok_or_else(|| PartitionError::Unknown(by.to_owned()))?;
        if !column.column_type.is_time() {
            return Err(PartitionError::Type(by.to_owned(), column.type_text()));
        }
        if !self.key_names().any(|name| name == by) {
            return Err(PartitionError::NotInKey(by.to_owned()));
        }
        Ok(column.column_type)
    }

    fn definition(&self, column: &Column) -> String {
        let not_null = if self.is_never_null(column) {
            " NOT NULL"
        } else {
            ""
        };
        format!(
            "{} {}{not_null}",
            quote_identifier(&column.name),
            column.sql_type()
        )
    }

    fn partition(&self, suffix: &str) -> Result<Table, PartitionError> {
        let name = format!("{}_{suffix}", self.table.name);
        check_identifier("table", &name)
            .map_err(|_| PartitionError::Name(self.table.to_string()))?;
        Ok(Table {
            schema: self.table.schema.clone(),
            name,
        })
    }
}

fn after((year, month): (i32, u8)) -> (i32, u8) {
    match month {
        12 => (year + 1, 1),
        month => (year, month + 1),
    }
}

impl Column {
    /// Its type in the table. SQL finds Postgres's own types by their plain names.
    fn sql_type(&self) -> String {
        match &self.cast {
            Some(cast) if !cast.is_built_in() => cast.sql(),
            Some(_) | None => self.type_text(),
        }
    }
}

/// Existing rows do not have a value, so the column cannot be `NOT NULL` at once.
pub fn add_column(table: &str, column: &Column) -> String {
    let (name, column_type) = (quote_identifier(&column.name), column.sql_type());
    format!("ALTER TABLE {table} ADD COLUMN {name} {column_type};")
}

/// `SET NOT NULL`, if the column never is null.
pub fn set_not_null(table: &TableMapping, column: &Column) -> Option<String> {
    let name = quote_identifier(&column.name);
    let set = format!(
        "ALTER TABLE {} ALTER COLUMN {name} SET NOT NULL;",
        table.table
    );
    table.is_never_null(column).then_some(set)
}

/// `DROP NOT NULL`, for a column that the mapping lacks, or that may be null.
pub fn drop_not_null(table: &str, column: &str) -> String {
    let name = quote_identifier(column);
    format!("ALTER TABLE {table} ALTER COLUMN {name} DROP NOT NULL;")
}

/// Changes the type of a column to the one that is mapped, with a cast of its values.
pub fn alter_type(table: &str, column: &Column) -> String {
    let name = quote_identifier(&column.name);
    // Postgres casts only integer to boolean, and no other number type.
    let is_boolean = column.column_type == ColumnType::Boolean;
    let text = if is_boolean { "::text" } else { "" };
    format!(
        "ALTER TABLE {table} ALTER COLUMN {name} TYPE {0} USING {name}{text}::{0};",
        column.column_type
    )
}

/// An index, built without blocking writers, which Postgres does not offer for partitioned tables.
/// Source: <https://www.postgresql.org/docs/18/sql-createindex.html#SQL-CREATEINDEX-CONCURRENTLY>.
pub fn index<'c>(
    what: &str,
    table: &TableMapping,
    columns: impl Iterator<Item = &'c str>,
    is_partitioned: bool,
) -> String {
    let concurrently = if is_partitioned { "" } else { " CONCURRENTLY" };
    let columns = quote_list(columns);
    format!(
        "CREATE {what}{concurrently} ON {} ({columns});",
        table.table
    )
}

/// The statement that creates a partition for all rows without another one.
pub fn default_partition(table: &Table) -> String {
    let rest = Table {
        name: format!("{}_default", table.name),
        ..table.clone()
    };
    format!("CREATE TABLE {rest} PARTITION OF {table} DEFAULT;")
}

/// A statement without its line breaks, as part of a sentence.
pub fn one_line(sql: &str) -> String {
    sql.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partitioned_table_has_a_partition_for_each_month_and_a_default() {
        let key = "key = [\"message_id\"]";
        let keyed_by_day = "key = [\"message_id\", \"create_date\"]";
        let text = include_str!("../../../../pipeline.toml").replace(key, keyed_by_day);
        let pipeline = Pipeline::parse("p", &text).unwrap();
        let sql = pipeline.tables[0]
            .create_partitioned("create_date", (2026, 11))
            .unwrap();
        let end = "    PRIMARY KEY (\"message_id\", \"create_date\")\n\
            ) PARTITION BY RANGE (\"create_date\");\n\
            CREATE TABLE \"user_logins_2026_11\" PARTITION OF \"user_logins\" FOR VALUES FROM ('2026-11-01') TO ('2026-12-01');\n\
            CREATE TABLE \"user_logins_2026_12\" PARTITION OF \"user_logins\" FOR VALUES FROM ('2026-12-01') TO ('2027-01-01');\n\
            CREATE TABLE \"user_logins_2027_01\" PARTITION OF \"user_logins\" FOR VALUES FROM ('2027-01-01') TO ('2027-02-01');\n\
            CREATE TABLE \"user_logins_default\" PARTITION OF \"user_logins\" DEFAULT;\n";
        assert!(sql.ends_with(end), "{sql}");
    }

    #[test]
    fn the_schema_of_the_local_stack_is_what_the_shipped_mapping_needs() {
        let pipeline =
            Pipeline::parse("pipeline.toml", include_str!("../../../../pipeline.toml")).unwrap();
        assert_eq!(
            pipeline.create_tables(),
            include_str!("../../../../localstack/schema.sql")
        );
    }
}
