//! `ddl --comments`: what tables and columns hold, where the catalog shows it.

use mapping::internals::{quote_identifier, quote_literal};
use mapping::{OnConflict, Pipeline, TableMapping};

use crate::cli::output::{escaped, listed};
use crate::commands::explain::describe;

/// The statements that set the comments of all tables and their columns. They replace one another, so they can be run
/// again.
pub(super) fn comments(pipeline: &Pipeline) -> String {
    let tables = pipeline.tables.iter();
    let tables = tables.map(|mapping| {
        let table = &mapping.table;
        let mut sql = comment("TABLE", &table.to_string(), &of_table(pipeline, mapping));
        for column in &mapping.columns {
            let default = column.default.as_ref();
            let default = default.map(|default| format!(", default {default}"));
            let text = describe(mapping, column) + &default.unwrap_or_default();
            let name = format!("{table}.{}", quote_identifier(&column.name));
            sql += &comment("COLUMN", &name, &text);
        }
        sql
    });
    tables.collect::<Vec<_>>().join("\n")
}

/// A path may have any character, also one that Postgres does not store.
fn comment(what: &str, name: &str, text: &str) -> String {
    let text = quote_literal(&escaped(text));
    format!("COMMENT ON {what} {name} IS {text};\n")
}

/// Which rows it has, and which message of a key counts.
fn of_table(pipeline: &Pipeline, mapping: &TableMapping) -> String {
    let each = match &mapping.each {
        None => "message".to_owned(),
        Some(_) if mapping.is_of_body() => "element of the body".to_owned(),
        Some(path) => format!("element of {path}"),
    };
    let key = listed(mapping.key_names());
    let which = match (mapping.on_conflict, mapping.newer_column()) {
        (OnConflict::Ignore, _) => "the first message counts".to_owned(),
        (OnConflict::Update, None) => "the message that is stored last counts".to_owned(),
        (OnConflict::Update, Some(newer)) => format!("the newest message by {} counts", newer.name),
    };
    let which = match mapping.parent {
        None => which,
        Some(parent) => format!("rows belong to {}", pipeline.table(parent).table.unquoted()),
    };
    format!("filled by sqs-to-postgres, a row per {each}; key {key}; {which}")
}
