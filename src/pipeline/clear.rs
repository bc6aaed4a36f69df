//! `clear`: columns that store in clear what another column masks. The mapping has to say that this is
//! meant: a mask is in vain if the object that holds its value is stored beside it.

use super::{Checked, Column, Metadata, Pipeline, Problem, Source};

impl Pipeline {
    /// The columns that store in clear what another one masks, as the mapping says it should be, each
    /// with the first of those.
    pub fn clear_columns(&self) -> impl Iterator<Item = (&Column, &Column)> {
        let columns = self.columns.iter();
        columns.filter_map(|column| Some((column, given_away(column, &self.columns)?)))
    }
}

pub(super) fn check(columns: &[Column]) -> Checked<()> {
    for column in columns {
        match given_away(column, columns) {
            Some(masked) if !column.clear => {
                return Err(Problem::StoredInClear(masked.name.clone()).of(&column.name));
            }
            None if column.clear => return Err(Problem::ClearInVain.of(&column.name)),
            _ => {}
        }
    }
    Ok(())
}

/// The first masked column whose value this one stores in clear. A digest of the whole body,
/// `@body_sha256`, is not its value.
fn given_away<'c>(column: &Column, columns: &'c [Column]) -> Option<&'c Column> {
    let is_given_away =
        |other: &&Column| other.mask.is_some() && holds(&column.source, &other.source);
    match column.mask {
        Some(_) => None,
        None => columns.iter().find(is_given_away),
    }
}

/// Whether the value of a source is that of another, or holds it.
fn holds(outer: &Source, inner: &Source) -> bool {
    match (outer, inner) {
        (Source::Path(outer), Source::Path(inner)) => outer.is_prefix_of(inner),
        (Source::Metadata(Metadata::Body), Source::Path(_)) => true,
        _ => outer == inner,
    }
}
