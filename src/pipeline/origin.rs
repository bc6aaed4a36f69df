//! `trust_origin`: whether the id that a redrive sends along may be that of a row to overwrite.
//!
//! A message that is sent back from the dead-letter queue carries the id that it first had, signed where
//! there is a mask key. Without one nobody can tell it from an id that a sender has made up, and under
//! `on_conflict = "update"` that id decides which row is replaced.

use super::{Checked, Column, Mask, Metadata, OnConflict, Pipeline, Problem, Source};

impl Pipeline {
    /// Whether the mapping says that everybody who may send to the queue is trusted with the id of a
    /// message, although a row of that id is overwritten.
    pub fn trusts_origin(&self) -> bool {
        self.trust_origin
    }

    /// Checks a mapping for a start without a mask key.
    pub(crate) fn check_unsigned_origin(&self) -> Checked<()> {
        match overwrites_by_id(self.on_conflict, &self.columns, &self.key) {
            Some(column) if !self.trust_origin => Err(Problem::UnsignedOrigin.of(&column.name)),
            _ => Ok(()),
        }
    }
}

pub(super) fn check(
    trust_origin: bool,
    on_conflict: OnConflict,
    columns: &[Column],
    key: &[usize],
) -> Checked<()> {
    let needs_key = |column: &Column| column.mask.is_some_and(Mask::needs_key);
    let is_signed = columns.iter().any(needs_key);
    if trust_origin && (is_signed || overwrites_by_id(on_conflict, columns, key).is_none()) {
        return Err(Problem::TrustInVain.into());
    }
    Ok(())
}

/// The column of the key by which the id of a message decides which row is replaced.
fn overwrites_by_id<'c>(
    on_conflict: OnConflict,
    columns: &'c [Column],
    key: &[usize],
) -> Option<&'c Column> {
    let mut key = key.iter().filter_map(|&position| columns.get(position));
    key.find(|column| column.source == Source::Metadata(Metadata::MessageId))
        .filter(|_| on_conflict == OnConflict::Update)
}
