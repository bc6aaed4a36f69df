//! What the statements of one and of several tables have in common.

use mapping::internals::{qualified, quote_identifier};
use mapping::{Cast, Column, ColumnType, OnConflict, OnNull, TableMapping};

use crate::schema::KnownTable;

/// The alias of a row that is already in the table, to compare it with the new one.
pub(super) const STORED: &str = "stored";

/// The values of an array: a parameter, or an expression that is one.
///
/// Arrays of equal length unnest in parallel. In the list of a `SELECT` Postgres passes on one element at a time;
/// `FROM unnest(…)` would first write all of them to a tuplestore. Text is cast to the type of the column, because
/// Postgres assigns no text to an enum, and compares citext or char(n) with text as text; for what the table is not
/// known to have, to the type of the mapping.
/// Source: <https://www.postgresql.org/docs/18/xfunc-sql.html#XFUNC-SQL-FUNCTIONS-RETURNING-SET>.
pub(super) fn expression(array: &str, column: &Column, known: &KnownTable) -> String {
    let is_text = column.column_type.single().is_text();
    let known = known.column(&column.name).filter(|_| is_text);
    let mapped = || column.cast.as_ref().map(Cast::sql_without_modifiers);
    let cast = known.map(|known| known.cast.clone()).or_else(mapped);
    match (cast, column.column_type) {
        (Some(cast), _) => format!("pg_catalog.unnest({array})::pg_catalog.text::{cast}"),
        (None, ColumnType::Array(element)) => {
            format!(
                "pg_catalog.unnest({array})::pg_catalog.{}[]",
                ColumnType::from(element).element()
            )
        }
        (None, _) => format!("pg_catalog.unnest({array})"),
    }
}

/// An array of text with the collation of its column, which Postgres prefers to the default one of a parameter.
/// Source: <https://www.postgresql.org/docs/18/collation.html#COLLATION-CONCEPTS>.
pub(super) fn collated(
    array: &str,
    table: &TableMapping,
    column: &Column,
    known: &KnownTable,
) -> String {
    let known = known.column(&column.name);
    let is_unknown = known.is_none() && column.cast.is_some();
    if !column.column_type.is_text() || is_unknown || known.is_some_and(|known| known.is_enum) {
        return array.to_owned();
    }
    let name = qualified("t", &column.name);
    let name = match known {
        Some(_) => format!("{name}::pg_catalog.text"),
        None => name,
    };
    format!(
        "coalesce({array}, ARRAY(SELECT {name} FROM {} AS t LIMIT 0))",
        table.table
    )
}

/// What happens to a row whose key is in the table. A row with child rows is written again in any case, so that its
/// child rows are too.
pub(super) fn conflict_action(mapping: &TableMapping, is_always_written: bool) -> String {
    let is_child = mapping.parent.is_some();
    if mapping.on_conflict == OnConflict::Ignore && !is_child {
        return "NOTHING".to_owned();
    }
    let mut updated: Vec<_> = mapping.other_columns().collect();
    if updated.is_empty() && is_always_written {
        updated.extend(mapping.key_columns().take(1));
    }
    if updated.is_empty() {
        return "NOTHING".to_owned();
    }
    let updates = updated.into_iter().map(|column| update(mapping, column));
    let updates: Vec<_> = updates.collect();
    let unless_newer = mapping.newer_column().map(|column| {
        let name = quote_identifier(&column.name);
        format!(
            " WHERE {}",
            is_not_newer(&name, &format!("EXCLUDED.{name}"))
        )
    });
    format!(
        "UPDATE SET {}{}",
        updates.join(", "),
        unless_newer.unwrap_or_default()
    )
}

/// What a column of the stored row becomes. A tombstone keeps nothing.
fn update(mapping: &TableMapping, column: &Column) -> String {
    let name = quote_identifier(&column.name);
    let kept = format!("coalesce(EXCLUDED.{name}, {STORED}.{name})");
    match (column.on_null, mapping.tombstone_column()) {
        (OnNull::Overwrite, _) => format!("{name} = EXCLUDED.{name}"),
        (OnNull::Keep, None) => format!("{name} = {kept}"),
        (OnNull::Keep, Some(tombstone)) => {
            let deleted_at = quote_identifier(&tombstone.name);
            format!("{name} = CASE WHEN EXCLUDED.{deleted_at} IS NULL THEN {kept} END")
        }
    }
}

/// Whether the statement reads the row that it updates.
pub(super) fn reads_stored(mapping: &TableMapping) -> bool {
    mapping.newer.is_some() || mapping.kept().next().is_some()
}

/// Keeps a row that is newer than the incoming one. Postgres compares the row after it has locked it, so this holds
/// between concurrent batches too.
pub(super) fn is_not_newer(name: &str, other: &str) -> String {
    format!("({STORED}.{name} IS NULL OR {STORED}.{name} OPERATOR(pg_catalog.<=) {other})")
}
