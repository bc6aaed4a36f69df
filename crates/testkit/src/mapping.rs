//! Mappings: `Mapping::of("t").key("k").column("k", "text").with("required", true)`.

use std::fmt;

use toml::{Table, Value};

use crate::Database;

/// What a `pipeline.toml` says; displayed as such.
#[derive(Clone)]
pub struct Mapping(Table);

impl Mapping {
    /// A mapping without columns, into a table that is found by the search path.
    pub fn of(table: &str) -> Self {
        let columns = Value::Array(Vec::new());
        Self(Table::from_iter([("column".to_owned(), columns)])).set("table", table)
    }

    /// A mapping whose key is the column `id`, the id of the message.
    pub fn by_message_id(table: &str) -> Self {
        let key = Self::of(table).key("id").column("id", "uuid");
        key.with("from", "@message_id")
    }

    /// A mapping of a key `k` and a value `v` into a table `t`.
    pub fn key_and_value(database: &Database, on_conflict: &str) -> Self {
        let mapping = Self::of("t").within(database).key("k");
        let mapping = mapping.set("on_conflict", on_conflict);
        let mapping = mapping.column("k", "text").with("required", true);
        mapping.column("v", "integer")
    }

    /// The mapping of the repository.
    pub fn shipped() -> Self {
        Self(include_str!("../../../pipeline.toml").parse().unwrap())
    }

    /// Names the table by the schema too, so that it is found without a search path.
    pub fn within(self, database: &Database) -> Self {
        let table = format!("{}.{}", database.schema, self.0["table"].as_str().unwrap());
        self.set("table", table)
    }

    /// Adds a column to the key.
    pub fn key(mut self, column: &str) -> Self {
        let key = self
            .0
            .entry("key")
            .or_insert_with(|| Value::Array(Vec::new()));
        key.as_array_mut().unwrap().push(column.into());
        self
    }

    /// A setting of the mapping as a whole.
    pub fn set(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    /// Adds a column, by default of the field of its name.
    pub fn column(mut self, name: &str, column_type: &str) -> Self {
        let column = [("name", name), ("type", column_type)];
        let column = column.map(|(name, value)| (name.to_owned(), value.into()));
        self.columns().push(Table::from_iter(column).into());
        self
    }

    /// A setting of the last column.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        let column = self.columns().last_mut().unwrap();
        let column = column.as_table_mut().unwrap();
        column.insert(name.to_owned(), value.into());
        self
    }

    fn columns(&mut self) -> &mut Vec<Value> {
        self.0["column"].as_array_mut().unwrap()
    }
}

impl fmt::Display for Mapping {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}
