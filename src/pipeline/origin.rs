//! `trust_origin`: whether the id that a redrive sends along may be that of a row to overwrite.
//!
//! A message that is sent back from the dead-letter queue carries the id that it first had, signed with
//! the mask key. Without a mask key nobody can tell it from one that a sender has made up, and under
//! `on_conflict = "update"` that id decides which row is replaced.

use super::{Checked, Column, Mask, Metadata, OnConflict, Pipeline, Problem, Source};

impl Pipeline {
    /// Whether the mapping says that everybody who may send to the queue is trusted with the id of a
    /// message, although a row of that id is overwritten.
    pub fn trusts_origin(&self) -> bool {
        self.trust_origin
    }
}

pub(super) fn check(
    trust_origin: bool,
    on_conflict: OnConflict,
    columns: &[Column],
    key: &[usize],
) -> Checked<()> {
    let is_signed = columns
        .iter()
        .any(|column| column.mask.is_some_and(Mask::needs_key));
    let mut key = key.iter().filter_map(|&position| columns.get(position));
    let by_id = key.find(|column| column.source == Source::Metadata(Metadata::MessageId));
    let at_risk = by_id.filter(|_| on_conflict == OnConflict::Update && !is_signed);
    match at_risk {
        Some(column) if !trust_origin => Err(Problem::UntrustedOrigin.of(&column.name)),
        None if trust_origin => Err(Problem::TrustInVain.into()),
        _ => Ok(()),
    }
}
