//! `newer`: the column that says which of two messages of a key is the newer one.

use super::{Checked, Column, ColumnType, Metadata, OnConflict, Pipeline, Problem, Source};

impl Pipeline {
    /// The column that says which of two rows of a key is newer, where one is named.
    pub fn newer_column(&self) -> Option<&Column> {
        self.columns.get(self.newer?)
    }
}

/// The position of the column of this name.
pub(super) fn check(
    name: Option<&str>,
    on_conflict: OnConflict,
    columns: &[Column],
    key: &[usize],
) -> Checked<Option<usize>> {
    let Some(name) = name else { return Ok(None) };
    if on_conflict != OnConflict::Update {
        return Err(Problem::NewerWithoutUpdate.into());
    }
    let found = columns
        .iter()
        .enumerate()
        .find(|(_, column)| column.name == name);
    let (position, column) = found.ok_or_else(|| Problem::UnknownNewer(name.to_owned()))?;
    if key.contains(&position) {
        return Err(Problem::NewerKey.of(name));
    }
    if !has_an_order(column.column_type) {
        return Err(Problem::NewerType(column.column_type).of(name));
    }
    if column.source == Source::Metadata(Metadata::ReceiveCount) {
        return Err(Problem::NewerReceiveCount.of(name));
    }
    Ok(Some(position))
}

/// Whether its values are points in time, or numbers that may stand for them. Text is not: its order
/// depends on the collation.
fn has_an_order(column_type: ColumnType) -> bool {
    let is_time = matches!(column_type, ColumnType::Date | ColumnType::TimestampTz);
    is_time || column_type.is_number()
}
