//! Which messages may share a statement, where deleted rows take rows of other tables with them.
//!
//! Postgres runs a foreign key's `ON DELETE CASCADE` or `SET NULL` at the end of the statement. A row that the same
//! statement writes would then be gone, or changed, before its own reference is checked. So deletions, and rows of
//! different tables without a parent, go in statements of their own, in the order of arrival and in one transaction.
//! Source: <https://www.postgresql.org/docs/18/trigger-definition.html>.

use mapping::{MessageRows, Pipeline};

use super::chosen::{Chosen, choose};

/// The rows of messages for each of the statements. `referred` has the positions of the tables whose deleted rows take
/// others with them.
pub(super) fn choose_divided<'r>(
    pipeline: &Pipeline,
    rows: &'r MessageRows,
    messages: &[usize],
    referred: &[usize],
) -> Vec<Chosen<'r>> {
    let loses_rows = |table: &usize| loses_rows(pipeline, rows, messages, *table);
    if !referred.iter().any(loses_rows) {
        return vec![choose(pipeline, rows, messages)];
    }
    let kind = |message: &usize| kind(pipeline, rows, *message);
    let are_alike = |a: &usize, b: &usize| kind(a).is_some() && kind(a) == kind(b);
    let runs = messages.chunk_by(are_alike);
    let chosen = runs.map(|run| choose(pipeline, rows, run));
    chosen.flat_map(Chosen::divided).collect()
}

/// Whether rows of a table may be deleted: its own, or those of a child table with or among their siblings.
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
