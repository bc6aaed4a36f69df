//! `trust_origin`: whether the id that a redrive sends along may decide which row is overwritten.
//!
//! A message that is sent back from the dead-letter queue carries the id that it first had, signed if there is a
//! mask key. Without a key it cannot be distinguished from an id that a sender has made up, and under
//! `on_conflict = "update"` that id decides which row is replaced.

use super::{Column, Mistake, OnConflict, Pipeline, Problem, Source};
use crate::mask::Mask;
use crate::message::Metadata;

impl Pipeline {
    /// Whether the mapping trusts everybody who can send to the queue with the id of a message, although the
    /// row with that id is overwritten.
    pub fn trusts_origin(&self) -> bool {
        self.trust_origin
    }

    /// Checks a mapping for a start without a mask key.
    pub(crate) fn check_unsigned_origin(&self) -> Result<(), Mistake> {
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
) -> Result<(), Mistake> {
    let needs_key = |column: &Column| column.mask.is_some_and(Mask::needs_key);
    let is_signed = columns.iter().any(needs_key);
    if trust_origin && (is_signed || overwrites_by_id(on_conflict, columns, key).is_none()) {
        return Err(Problem::TrustInVain.into());
    }
    Ok(())
}

/// The column of the key through which the id of a message decides which row is replaced.
fn overwrites_by_id<'c>(
    on_conflict: OnConflict,
    columns: &'c [Column],
    key: &[usize],
) -> Option<&'c Column> {
    let mut key = key.iter().filter_map(|&position| columns.get(position));
    key.find(|column| column.source == Source::Metadata(Metadata::MessageId))
        .filter(|_| on_conflict == OnConflict::Update)
}
