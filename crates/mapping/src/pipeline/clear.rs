//! `clear`: columns that store in plaintext what another column masks. The mapping must say that this is intended: a
//! mask is useless if the object that contains the value is stored next to it.

use super::hierarchy::{Location, may_be_same};
use super::{Column, Mistake, Pipeline, Problem, TableMapping};
use crate::message::Metadata;

impl Pipeline {
    /// The columns of a table that, on purpose, store in plaintext what another one masks, each with the first such
    /// column.
    pub fn clear_columns<'p>(
        &'p self,
        table: &'p TableMapping,
    ) -> impl Iterator<Item = (&'p Column, &'p Column)> {
        let columns = table.columns.iter();
        columns.filter_map(|column| Some((column, self.exposed(table, column)?)))
    }

    /// The first masked column whose value this one stores in plaintext. `@body_sha256`, a digest, does not.
    fn exposed(&self, table: &TableMapping, column: &Column) -> Option<&Column> {
        if column.mask.is_some() {
            return None;
        }
        let own: Vec<_> = self.locations(table, column).collect();
        self.tables.iter().find_map(|other| {
            let masked = other.columns.iter().filter(|column| column.mask.is_some());
            masked.into_iter().find(|masked| {
                let is_array = masked.column_type.is_nested();
                let mut inner = self.locations(other, masked);
                inner.any(|inner| {
                    let exposes = |own| holds(own, &inner) || is_array && holds(&inner, own);
                    own.iter().any(exposes)
                })
            })
        })
    }

    fn locations(&self, table: &TableMapping, column: &Column) -> impl Iterator<Item = Location> {
        column
            .sources()
            .filter_map(|source| self.locate(table, source))
    }
}

pub(super) fn check(pipeline: &Pipeline, table: &TableMapping) -> Result<(), Mistake> {
    for column in &table.columns {
        match pipeline.exposed(table, column) {
            Some(masked) if !column.clear => {
                return Err(Problem::StoredInClear(masked.name.clone()).of(&column.name));
            }
            None if column.clear => return Err(Problem::ClearNoEffect.of(&column.name)),
            _ => {}
        }
    }
    Ok(())
}

/// Whether the value of a source is the value of another source, or contains it. What the mapping touches is not in
/// `@rest`.
fn holds(outer: &Location, inner: &Location) -> bool {
    match (outer, inner) {
        (Location::Value(outer), Location::Value(inner)) => {
            outer.len() <= inner.len() && outer.iter().zip(inner).all(|(a, b)| may_be_same(a, b))
        }
        (Location::Metadata(Metadata::Body), Location::Value(_) | Location::Jq(..)) => true,
        // What a program gives may be any value of the body.
        (Location::Jq(..), Location::Value(_) | Location::Rest(_) | Location::Jq(..)) => true,
        (Location::Rest(_), Location::Jq(..)) => true,
        (Location::Value(outer), Location::Jq(_, jq)) => match outer.last() {
            Some(Some(field)) => jq.may_read(field),
            Some(None) | None => true,
        },
        // Of all other kinds, none contains another.
        _ => outer == inner,
    }
}
