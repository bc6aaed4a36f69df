//! `newer`: the column that says which of two messages with the same key is newer.

use super::{Column, Mistake, OnConflict, Problem, TableMapping};
use crate::message::Metadata;

impl TableMapping {
    /// The column that says which of two rows with the same key is newer, if there is one.
    pub fn newer_column(&self) -> Option<&Column> {
        self.columns.get(self.newer?)
    }
}

pub(super) fn check(
    name: Option<&str>,
    on_conflict: OnConflict,
    columns: &[Column],
    key: &[usize],
) -> Result<Option<usize>, Mistake> {
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
    let column_type = column.column_type;
    // Points in time, or numbers that can represent them. The order of text depends on the collation.
    if !column_type.is_time() && !column_type.is_number() {
        return Err(Problem::NewerType(column.type_text()).of(name));
    }
    if column.reads(&Metadata::ReceiveCount) {
        return Err(Problem::NewerReceiveCount.of(name));
    }
    Ok(Some(position))
}
