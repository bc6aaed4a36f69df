//! `trust_origin`: whether the id that a redrive sends along may decide which row is overwritten.
//!
//! A message that is sent back from the dead-letter queue carries the id that it first had, signed if there is a
//! mask key. Without a key it cannot be distinguished from an id that a sender has made up, and under
//! `on_conflict = "update"` that id decides which row is replaced.

use super::{Column, Mistake, OnConflict, Pipeline, Problem, TableMapping};
use crate::mask::Mask;
use crate::message::Metadata;

impl Pipeline {
    /// Checks a mapping for a start without a mask key.
    pub(crate) fn check_unsigned_origin(&self) -> Result<(), Mistake> {
        match self.overwrites_by_id() {
            Some(column) if !self.trust_origin => Err(Problem::UnsignedOrigin.of(&column.name)),
            _ => Ok(()),
        }
    }

    /// The column of a key through which the id of a message decides which row is replaced.
    fn overwrites_by_id(&self) -> Option<&Column> {
        let is_updated = |table: &&TableMapping| table.on_conflict == OnConflict::Update;
        let mut keys = self.tables.iter().filter(is_updated).flat_map(|table| {
            let columns = table.key.iter();
            columns.filter_map(|&position| table.columns.get(position))
        });
        keys.find(|column| column.reads(&Metadata::MessageId))
    }
}

pub(super) fn check(pipeline: &Pipeline) -> Result<(), Mistake> {
    let needs_key = |column: &Column| column.mask.is_some_and(Mask::needs_key);
    let is_signed = pipeline.columns().any(needs_key);
    if pipeline.trust_origin && (is_signed || pipeline.overwrites_by_id().is_none()) {
        return Err(Problem::TrustInVain.into());
    }
    let mut columns = pipeline.columns();
    let in_vain = columns.find(|column| column.reads(&Metadata::MaskKeyId));
    if let Some(column) = in_vain.filter(|_| !is_signed) {
        return Err(Problem::KeyIdInVain.of(&column.name));
    }
    Ok(())
}
