//! Which rows of some messages are stored: one of several with the same key in one table, with its child rows; and
//! which of them share a statement, where deleted rows take rows of other tables with them.
//!
//! Postgres runs a foreign key's `ON DELETE CASCADE` or `SET NULL` at the end of the statement. A row that the same
//! statement writes would then be gone, or changed, before its own reference is checked. So deletions, and rows of
//! different tables without a parent, go in statements of their own, in the order of arrival and in one transaction. So
//! do several rows of one key, where a later one keeps values of an earlier one (see [`dedup`](super::dedup)).
//! Source: <https://www.postgresql.org/docs/18/trigger-definition.html>.

use std::ops::Range;

use mapping::{MessageRows, Pipeline, Rows, TableMapping, TableRows};

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
    /// Whether rows that are deleted are written, as tombstones.
    keeps_tombstones: bool,
    /// The rows of the messages that these were selected from, in a table without a parent.
    deduplicated: Option<Deduplicated>,
}

/// What a statement has counted in a table.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct TableCounts {
    pub(super) written: u64,
    /// Rows that were deleted; or in a table that keeps them, their tombstones.
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
        return select_together(pipeline, rows, messages);
    }
    let kind = |message: &usize| kind(pipeline, rows, *message);
    let are_alike = |a: &usize, b: &usize| kind(a).is_some() && kind(a) == kind(b);
    let runs = messages.chunk_by(are_alike);
    let selections = runs.flat_map(|run| select_together(pipeline, rows, run));
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

/// The rows of messages that share a statement; or several, where a row needs another one of its key to be stored
/// before it.
fn select_together<'r>(
    pipeline: &Pipeline,
    rows: &'r MessageRows,
    messages: &[usize],
) -> Vec<Selection<'r>> {
    let tables = || pipeline.tables.iter().zip(rows.tables());
    let candidates = |table: &'r TableRows| {
        let ranges = messages.iter().map(|&message| table.of_message(message));
        ranges.flat_map(Range::into_iter)
    };
    let steps = tables().map(|(mapping, table)| match mapping.parent {
        None => steps(mapping, table, &candidates(table).collect::<Vec<_>>()),
        Some(_) => Vec::new(),
    });
    let mut steps: Vec<_> = steps.map(Vec::into_iter).collect();
    let count = steps.iter().map(ExactSizeIterator::len).max();
    let mut selections = Vec::new();
    for _ in 0..count.unwrap_or_default() {
        let mut selected: Vec<SelectedRows<'r>> = Vec::with_capacity(pipeline.tables.len());
        for ((mapping, table), steps) in tables().zip(&mut steps) {
            let parent = mapping.parent.and_then(|parent| selected.get(parent));
            selected.push(match parent {
                None => steps.next().unwrap_or_else(|| SelectedRows::none(table)),
                Some(parent) => SelectedRows {
                    written: parent.children(table, candidates(table)),
                    ..SelectedRows::none(table)
                },
            });
        }
        selections.push(Selection { tables: selected });
    }
    selections
}

/// The rows of a table without a parent that each of the statements stores.
fn steps<'r>(
    mapping: &TableMapping,
    table: &'r TableRows,
    candidates: &[usize],
) -> Vec<SelectedRows<'r>> {
    let mut deduplicated = deduplicate(mapping, table, candidates);
    let mut steps = std::mem::take(&mut deduplicated.steps);
    let last = steps.pop().unwrap_or_default();
    let mut selected: Vec<_> = steps
        .into_iter()
        .map(|rows| {
            let of_step = deduplicated.split_off(rows.len() as u64);
            SelectedRows::of_step(mapping, table, rows, of_step)
        })
        .collect();
    selected.push(SelectedRows::of_step(mapping, table, last, deduplicated));
    selected
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

impl<'r> SelectedRows<'r> {
    fn none(table: &'r TableRows) -> Self {
        Self {
            rows: &table.rows,
            written: Vec::new(),
            deleted: Vec::new(),
            keeps_tombstones: false,
            deduplicated: None,
        }
    }

    fn of_step(
        mapping: &TableMapping,
        table: &'r TableRows,
        rows: Vec<usize>,
        deduplicated: Deduplicated,
    ) -> Self {
        let is_deleted = |row: &usize| mapping.can_delete() && table.is_deleted(*row);
        let (deleted, written) = rows.into_iter().partition(is_deleted);
        Self {
            written,
            deleted,
            keeps_tombstones: mapping.keeps_tombstones(),
            deduplicated: Some(deduplicated),
            ..Self::none(table)
        }
    }

    /// Takes off the rows that are to be deleted.
    fn split_deleted(&mut self) -> Self {
        let deleted = std::mem::take(&mut self.deleted);
        let deduplicated = self.deduplicated.as_mut();
        Self {
            rows: self.rows,
            written: Vec::new(),
            keeps_tombstones: self.keeps_tombstones,
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
        let (deleted, tombstones) = match self.keeps_tombstones {
            false => (counts.deleted, 0),
            true => (0, counts.deleted),
        };
        let mut stored = Stored {
            written: counts.written,
            deleted,
            tombstones,
            ..Stored::default()
        };
        if let Some(deduplicated) = &self.deduplicated {
            let unwritten = (self.written.len() as u64).saturating_sub(counts.written + tombstones);
            stored.stale = counts.newer + deduplicated.stale(unwritten);
            let done = stored.changed() + stored.stale;
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
