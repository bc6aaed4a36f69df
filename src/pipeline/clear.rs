//! `clear`: columns that store in clear what another column masks. The mapping must say that this is intended: a mask
//! is useless if the object that contains the value is stored next to it.

use super::{Column, Mistake, Pipeline, Problem, Source};
use crate::message::Metadata;

impl Pipeline {
    /// The columns that, on purpose, store in clear what another one masks, each with the first such column.
    pub fn clear_columns(&self) -> impl Iterator<Item = (&Column, &Column)> {
        let columns = self.columns.iter();
        columns.filter_map(|column| Some((column, exposed(column, &self.columns)?)))
    }
}

pub(super) fn check(columns: &[Column]) -> Result<(), Mistake> {
    for column in columns {
        match exposed(column, columns) {
            Some(masked) if !column.clear => {
                return Err(Problem::StoredInClear(masked.name.clone()).of(&column.name));
            }
            None if column.clear => return Err(Problem::ClearInVain.of(&column.name)),
            _ => {}
        }
    }
    Ok(())
}

/// The first masked column whose value this one stores in clear. `@body_sha256`, a digest, does not.
fn exposed<'c>(column: &Column, columns: &'c [Column]) -> Option<&'c Column> {
    let is_exposed = |other: &&Column| other.mask.is_some() && holds(&column.source, &other.source);
    match column.mask {
        Some(_) => None,
        None => columns.iter().find(is_exposed),
    }
}

/// Whether the value of a source is that of another, or contains it.
fn holds(outer: &Source, inner: &Source) -> bool {
    match (outer, inner) {
        (Source::Path(outer), Source::Path(inner)) => outer.is_prefix_of(inner),
        (Source::Metadata(Metadata::Body), Source::Path(_)) => true,
        _ => outer == inner,
    }
}
