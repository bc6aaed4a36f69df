//! The SQL that the mapping implies: quoted names and the `CREATE TABLE` statement.

use std::fmt::{self, Write};

use super::{Column, Pipeline, Table};

/// Quotes a name so that Postgres takes it letter by letter: `a"b` becomes `"a""b"`.
///
/// Source: <https://www.postgresql.org/docs/18/sql-syntax-lexical.html#SQL-SYNTAX-IDENTIFIERS>.
pub(crate) fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Quoted names with commas between them.
pub(crate) fn quote_list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names
        .into_iter()
        .map(quote_identifier)
        .collect::<Vec<_>>()
        .join(", ")
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

impl Pipeline {
    /// The names of the key's columns.
    pub fn key_names(&self) -> impl Iterator<Item = &str> {
        self.key
            .iter()
            .map(|&position| self.columns[position].name.as_str())
    }

    /// The statement that creates the table the mapping writes to.
    ///
    /// ```sql
    /// CREATE TABLE "user_logins" (
    ///     "message_id" uuid NOT NULL,
    ///     …
    ///     PRIMARY KEY ("message_id")
    /// );
    /// ```
    pub fn create_table(&self) -> String {
        let mut sql = format!("CREATE TABLE {} (\n", self.table);
        for column in &self.columns {
            // Writing to a String cannot fail.
            _ = writeln!(sql, "    {},", column.definition());
        }
        sql + &format!("    PRIMARY KEY ({})\n);\n", quote_list(self.key_names()))
    }
}

impl Column {
    /// The column as `CREATE TABLE` and `ALTER TABLE … ADD COLUMN` take it.
    pub(crate) fn definition(&self) -> String {
        let not_null = if self.is_never_null() {
            " NOT NULL"
        } else {
            ""
        };
        format!(
            "{} {}{not_null}",
            quote_identifier(&self.name),
            self.column_type
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_in_names_are_doubled() {
        assert_eq!(quote_identifier("a\"; DROP"), "\"a\"\"; DROP\"");
        let table = Table {
            schema: Some("s".into()),
            name: "t\"".into(),
        };
        assert_eq!(table.to_string(), "\"s\".\"t\"\"\"");
    }

    #[test]
    fn the_schema_of_the_local_stack_is_what_the_shipped_mapping_needs() {
        let pipeline =
            Pipeline::parse("pipeline.toml", include_str!("../../pipeline.toml")).unwrap();
        assert_eq!(
            pipeline.create_table(),
            include_str!("../../localstack/schema.sql")
        );
    }
}
