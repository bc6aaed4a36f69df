//! Which rows of some messages are stored: of several with the same key in one table, one, with the rows that belong
//! to it.

use std::ops::Range;

use mapping::{MessageRows, Pipeline, Rows, TableRows};

use super::Counts;
use super::collapse::{Collapsed, collapse};
use crate::counts::Stored;

/// The rows of some messages that are to be stored, table by table.
pub(super) struct Chosen<'r> {
    pub(super) tables: Vec<ChosenRows<'r>>,
}

/// The rows that are to be stored in one table.
pub(super) struct ChosenRows<'r> {
    pub(super) rows: &'r Rows,
    pub(super) written: Vec<usize>,
    pub(super) deleted: Vec<usize>,
    /// In a table without a parent: which of the messages' rows these were chosen from.
    collapsed: Option<Collapsed>,
}

/// Chooses among the rows of messages.
pub(super) fn choose<'r>(
    pipeline: &Pipeline,
    rows: &'r MessageRows,
    messages: &[usize],
) -> Chosen<'r> {
    let mut tables: Vec<ChosenRows<'r>> = Vec::with_capacity(pipeline.tables.len());
    for (mapping, table) in pipeline.tables.iter().zip(rows.tables()) {
        let ranges = messages.iter().map(|&message| table.of_message(message));
        let candidates = ranges.flat_map(Range::into_iter);
        let parent = mapping.parent.and_then(|parent| tables.get(parent));
        tables.push(match parent {
            None => {
                let candidates: Vec<usize> = candidates.collect();
                let mut collapsed = collapse(mapping, &table.rows, &candidates);
                let chosen = std::mem::take(&mut collapsed.unique);
                let (deleted, written) = chosen.into_iter().partition(|&row| table.is_deleted(row));
                ChosenRows {
                    rows: &table.rows,
                    written,
                    deleted,
                    collapsed: Some(collapsed),
                }
            }
            Some(parent) => ChosenRows {
                rows: &table.rows,
                written: parent.children(table, candidates),
                deleted: Vec::new(),
                collapsed: None,
            },
        });
    }
    Chosen { tables }
}

impl ChosenRows<'_> {
    /// Takes off the rows that are to be deleted.
    fn split_deleted(&mut self) -> Self {
        let deleted = std::mem::take(&mut self.deleted);
        let collapsed = self.collapsed.as_mut();
        Self {
            rows: self.rows,
            written: Vec::new(),
            collapsed: collapsed.map(|collapsed| collapsed.split_off(deleted.len() as u64)),
            deleted,
        }
    }

    /// Which of the candidates belong to a row that is written.
    fn children(&self, table: &TableRows, candidates: impl Iterator<Item = usize>) -> Vec<usize> {
        let mut is_written = vec![false; self.rows.len()];
        for &row in &self.written {
            is_written[row] = true;
        }
        candidates
            .filter(|&row| is_written[table.parent(row)])
            .collect()
    }

    fn stored(&self, counts: Counts) -> Stored {
        let mut stored = Stored {
            written: counts.written,
            deleted: counts.deleted,
            ..Stored::default()
        };
        if let Some(collapsed) = &self.collapsed {
            let unwritten = (self.written.len() as u64).saturating_sub(counts.written);
            stored.stale = counts.newer + collapsed.stale(unwritten);
            let done = stored.written + stored.deleted + stored.stale;
            stored.duplicates = collapsed.candidates.saturating_sub(done);
            stored.duplicates_in_batch = collapsed.repeated.min(stored.duplicates);
        }
        stored
    }
}

impl Chosen<'_> {
    /// What is deleted, and then what is written.
    pub(super) fn divided(mut self) -> Vec<Self> {
        let deletes_some = self.tables.iter().any(|table| !table.deleted.is_empty());
        let writes_some = self.tables.iter().any(|table| !table.written.is_empty());
        if !(deletes_some && writes_some) {
            return vec![self];
        }
        let tables = self.tables.iter_mut().map(ChosenRows::split_deleted);
        let deleted = Self {
            tables: tables.collect(),
            // They count with what is written.
        };
        vec![deleted, self]
    }

    /// What became of the rows, given what the statement has counted.
    pub(super) fn stored(&self, counts: &[Counts]) -> Vec<Stored> {
        let tables = self.tables.iter().zip(counts);
        tables
            .map(|(table, &counts)| table.stored(counts))
            .collect()
    }
}
