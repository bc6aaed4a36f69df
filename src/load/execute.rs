//! The statement of a batch, run once: its parameters, and what it has counted.

use tokio::join;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row, Statement};

use super::Counts;
use super::array::ColumnArray;
use super::chosen::Chosen;
use super::families::{COUNTS, needs_snapshot};
use crate::pipeline::Pipeline;

/// The parameters of the statement, in order.
pub(super) fn arrays<'a>(pipeline: &Pipeline, chosen: &'a Chosen<'_>) -> Vec<ColumnArray<'a>> {
    let mut arrays = Vec::new();
    for (mapping, table) in pipeline.tables.iter().zip(&chosen.tables) {
        let all = 0..mapping.columns.len();
        arrays.extend(ColumnArray::of_columns(
            mapping,
            all,
            table.rows,
            &table.written,
        ));
        if mapping.can_delete() {
            let columns = mapping.identifying();
            arrays.extend(ColumnArray::of_columns(
                mapping,
                columns,
                table.rows,
                &table.deleted,
            ));
        }
    }
    arrays
}

/// Whether no row was written or deleted.
pub(super) fn is_nothing(counts: &[Counts]) -> bool {
    counts
        .iter()
        .all(|counts| counts.written + counts.deleted == 0)
}

/// Runs the statement, by its name if it has one, and counts the rows of each table.
pub(super) async fn execute(
    client: &Client,
    pipeline: &Pipeline,
    named: Option<Statement>,
    text: &str,
    arrays: &[ColumnArray<'_>],
) -> Result<Vec<Counts>, tokio_postgres::Error> {
    if let Some(named) = named {
        let written = client.execute_raw(&named, arrays).await?;
        return Ok(Counts::of_one_table(written));
    }
    let parameters = arrays
        .iter()
        .map(|array| (array as &(dyn ToSql + Sync), array.column_type.array()));
    let parameters: Vec<_> = parameters.collect();
    if pipeline.single_table().is_some() {
        let written = client.execute_typed(text, &parameters).await?;
        return Ok(Counts::of_one_table(written));
    }
    let rows = match needs_snapshot(pipeline) {
        false => client.query_typed(text, &parameters).await?,
        true => in_snapshot(client, text, &parameters).await?,
    };
    counts(rows.first(), pipeline.tables.len())
}

/// In a transaction, and in one round trip: none of its statements waits for the answer to another.
async fn in_snapshot(
    client: &Client,
    text: &str,
    parameters: &[(&(dyn ToSql + Sync), Type)],
) -> Result<Vec<Row>, tokio_postgres::Error> {
    let (begun, rows, ended) = join!(
        client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ"),
        client.query_typed(text, parameters),
        client.batch_execute("COMMIT")
    );
    begun?;
    let rows = rows?;
    ended?;
    Ok(rows)
}

/// The counts of each table, as the statement returns them.
fn counts(row: Option<&Row>, tables: usize) -> Result<Vec<Counts>, tokio_postgres::Error> {
    let count = |position: usize| match row {
        Some(row) => row.try_get(position).map(|count: i64| count.unsigned_abs()),
        None => Ok(0),
    };
    let counts = (0..tables).map(|table| {
        let first = table * COUNTS;
        Ok(Counts {
            written: count(first)?,
            deleted: count(first + 1)?,
            newer: count(first + 2)?,
        })
    });
    counts.collect()
}
