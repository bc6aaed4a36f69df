//! Which rows of some messages are stored: one of several with the same key in one table, with its child rows; and
//! which of them share a statement, where deleted rows take rows of other tables with them.
//!
//! Postgres runs a foreign key's `ON DELETE CASCADE` or `SET NULL` at the end of the statement. A row that the same
//! statement writes would then be gone, or changed, before its own reference is checked. So deletions, and rows of
//! different tables without a parent, go in statements of their own, in the order of arrival and in one transaction.
//! Source: <https://www.postgresql.org/docs/18/trigger-definition.html>.

use std::ops::Range;

use mapping::{MessageRows, Pipeline, Rows, TableRows};

use super::dedup::{Deduplicated, deduplicate};
use crate::counts::Stored;

/// The rows of some messages that one statement stores, table by table.
pub(super) struct Selection<'r> {
    pub(super) tables: Vec<SelectedRows<'r>>,
}

/// The rows that are to be stored in one table.
pub(super) struct SelectedRows<'r> {
    pub(super) rows: &'r Rows,
    pub(super) written: Vec<usize>,
    pub(super) deleted: Vec<usize>,
    /// The rows of the messages that these were selected from, in a table without a parent.
    deduplicated: Option<Deduplicated>,
}

/// What a statement has counted in a table.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct TableCounts {
    pub(super) written: u64,
    pub(super) deleted: u64,
    /// Rows that are newer than the message that would have deleted them.
    pub(super) newer: u64,
}

/// The rows of messages for each of the statements. `referred` has the positions of the tables whose deleted rows take
/// others with them.
pub(super) fn select<'r>(
    pipeline: &Pipeline,
    rows: &'r MessageRows,
    messages: &[usize],
    referred: &[usize],
) -> Vec<Selection<'r>> {
    let loses_rows = |table: &usize| loses_rows(pipeline, rows, messages, *table);
    if !referred.iter().any(loses_rows) {
        return vec![select_together(pipeline, rows, messages)];
    }
    let kind = |message: &usize| kind(pipeline, rows, *message);
    let are_alike = |a: &usize, b: &usize| kind(a).is_some() && kind(a) == kind(b);
    let runs = messages.chunk_by(are_alike);
    let selections = runs.map(|run| select_together(pipeline, rows, run));
    selections.flat_map(Selection::divided).collect()
}

/// What became of rows in each table, given what each of the statements has counted there.
pub(super) fn stored(selections: &[Selection<'_>], counts: &[Vec<TableCounts>]) -> Vec<Stored> {
    let stored = selections.iter().zip(counts);
    let stored = stored.map(|(selection, counts)| selection.stored(counts));
    let sums = stored.reduce(|sums, stored| {
        let pairs = sums.into_iter().zip(&stored);
        pairs.map(|(sum, stored)| sum.plus(stored)).collect()
    });
    sums.unwrap_or_default()
}

/// The rows of messages that share a statement.
fn select_together<'r>(
    pipeline: &Pipeline,
    rows: &'r MessageRows,
    messages: &[usize],
) -> Selection<'r> {
    let mut tables: Vec<SelectedRows<'r>> = Vec::with_capacity(pipeline.tables.len());
    for (mapping, table) in pipeline.tables.iter().zip(rows.tables()) {
        let ranges = messages.iter().map(|&message| table.of_message(message));
        let candidates = ranges.flat_map(Range::into_iter);
        let parent = mapping.parent.and_then(|parent| tables.get(parent));
        tables.push(match parent {
            None => {
                let candidates: Vec<usize> = candidates.collect();
                let mut deduplicated = deduplicate(mapping, &table.rows, &candidates);
                let unique = std::mem::take(&mut deduplicated.unique);
                let (deleted, written) = unique.into_iter().partition(|&row| table.is_deleted(row));
                SelectedRows {
                    rows: &table.rows,
                    written,
                    deleted,
                    deduplicated: Some(deduplicated),
                }
            }
            Some(parent) => SelectedRows {
                rows: &table.rows,
                written: parent.children(table, candidates),
                deleted: Vec::new(),
                deduplicated: None,
            },
        });
    }
    Selection { tables }
}

/// Whether rows of a table may be deleted: by themselves, or in a child table with or among their siblings.
fn loses_rows(pipeline: &Pipeline, rows: &MessageRows, messages: &[usize], table: usize) -> bool {
    let origin = pipeline.origin_of(table);
    let Some(written) = rows.tables().get(origin) else {
        return false;
    };
    let mut all = messages
        .iter()
        .flat_map(|&message| written.of_message(message));
    all.any(|row| table != origin || written.is_deleted(row))
}

/// The only table without a parent that a message has rows of, and whether they are deleted; `None` if there are
/// several, or rows of both kinds.
fn kind(pipeline: &Pipeline, rows: &MessageRows, message: usize) -> Option<(usize, bool)> {
    let tables = pipeline.tables.iter().zip(rows.tables()).enumerate();
    let roots = tables.filter(|(_, (mapping, _))| mapping.parent.is_none());
    let mut kinds = roots.flat_map(|(position, (_, table))| {
        let all = table.of_message(message);
        all.map(move |row| (position, table.is_deleted(row)))
    });
    let first = kinds.next()?;
    kinds.all(|kind| kind == first).then_some(first)
}

impl SelectedRows<'_> {
    /// Takes off the rows that are to be deleted.
    fn split_deleted(&mut self) -> Self {
        let deleted = std::mem::take(&mut self.deleted);
        let deduplicated = self.deduplicated.as_mut();
        Self {
            rows: self.rows,
            written: Vec::new(),
            deduplicated: deduplicated
                .map(|deduplicated| deduplicated.split_off(deleted.len() as u64)),
            deleted,
        }
    }

    /// Which of the candidates belong to a row that is written.
    fn children(&self, table: &TableRows, candidates: impl Iterator<Item = usize>) -> Vec<usize> {
        let mut is_written = vec![false; self.rows.len()];
        for &row in &self.written {
            if let Some(is_written) = is_written.get_mut(row) {
                *is_written = true;
            }
        }
        candidates
            .filter(|&row| is_written.get(table.parent(row)) == Some(&true))
            .collect()
    }

    fn stored(&self, counts: TableCounts) -> Stored {
        let mut stored = Stored {
            written: counts.written,
            deleted: counts.deleted,
            ..Stored::default()
        };
        if let Some(deduplicated) = &self.deduplicated {
            let unwritten = (self.written.len() as u64).saturating_sub(counts.written);
            stored.stale = counts.newer + deduplicated.stale(unwritten);
            let done = stored.written + stored.deleted + stored.stale;
            stored.duplicates = deduplicated.candidates.saturating_sub(done);
            stored.duplicates_in_batch = deduplicated.repeated.min(stored.duplicates);
        }
        stored
    }
}

impl Selection<'_> {
    /// What is deleted, and then what is written.
    fn divided(mut self) -> Vec<Self> {
        let deletes_some = self.tables.iter().any(|table| !table.deleted.is_empty());
        let writes_some = self.tables.iter().any(|table| !table.written.is_empty());
        if !(deletes_some && writes_some) {
            return vec![self];
        }
        let tables = self.tables.iter_mut().map(SelectedRows::split_deleted);
        let deleted = Self {
            tables: tables.collect(),
            // They count with what is written.
        };
        vec![deleted, self]
    }

    /// What became of the rows, given what the statement has counted.
    fn stored(&self, counts: &[TableCounts]) -> Vec<Stored> {
        let tables = self.tables.iter().zip(counts);
        tables
            .map(|(table, &counts)| table.stored(counts))
            .collect()
    }
}
