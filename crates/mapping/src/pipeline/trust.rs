//! `trust_origin`: whether the id and time that a redrive sends along may decide which row is overwritten.
//!
//! A message that is sent back from the dead-letter queue carries the id and the time that it first had, signed if
//! there is a mask key. Without a key they cannot be distinguished from those that a sender has made up, and under
//! `on_conflict = "update"` a key of them decides which row is replaced. `newer` needs no such care: a time never
//! counts that is later than SQS's own, and with an earlier one a sender only makes its own message older.

use super::{Column, Mistake, OnConflict, Pipeline, Problem, TableMapping};
use crate::mask::Mask;
use crate::message::Metadata;

impl Pipeline {
    /// Checks a mapping for a start without a mask key.
    pub(crate) fn check_unsigned_origin(&self) -> Result<(), Mistake> {
        match self.overwrites_by_origin() {
            Some(column) if !self.trust_origin => Err(Problem::UnsignedOrigin.of(&column.name)),
            _ => Ok(()),
        }
    }

    /// The column of a key through which the id or time of a message decides which row is replaced.
    fn overwrites_by_origin(&self) -> Option<&Column> {
        let is_updated = |table: &&TableMapping| table.on_conflict == OnConflict::Update;
        let is_of_origin = |column: &&Column| {
            [Metadata::MessageId, Metadata::SentAt]
                .iter()
                .any(|metadata| column.reads(metadata))
        };
        let mut updated = self.tables.iter().filter(is_updated);
        updated.find_map(|table| table.key_columns().find(is_of_origin))
    }
}

pub(super) fn check(pipeline: &Pipeline) -> Result<(), Mistake> {
    let needs_key = |column: &Column| column.mask.is_some_and(Mask::needs_key);
    let is_signed = pipeline.columns().any(needs_key);
    if pipeline.trust_origin && (is_signed || pipeline.overwrites_by_origin().is_none()) {
        return Err(Problem::TrustNoEffect.into());
    }
    let mut columns = pipeline.columns();
    let useless = columns.find(|column| column.reads(&Metadata::MaskKeyId));
    if let Some(column) = useless.filter(|_| !is_signed) {
        return Err(Problem::KeyIdNoEffect.of(&column.name));
    }
    Ok(())
}
