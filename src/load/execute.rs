//! The statement of a batch, run once: its parameters, and what it has counted.

use mapping::Pipeline;
use tokio::join;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row, Statement};

use super::array::ColumnArray;
use super::selection::{Selection, TableCounts};
use super::sql::{COUNTS, FIRST_COUNT, needs_snapshot};

/// The parameters of the statement, in order.
pub(super) fn arrays<'a>(
    pipeline: &Pipeline,
    selection: &'a Selection<'_>,
) -> Vec<ColumnArray<'a>> {
    let mut arrays = Vec::new();
    for (mapping, table) in pipeline.tables.iter().zip(&selection.tables) {
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
pub(super) fn is_nothing(counts: &[Vec<TableCounts>]) -> bool {
    counts
        .iter()
        .flatten()
        .all(|counts| counts.written + counts.deleted == 0)
}

/// Runs the statement with each of these arrays, prepared if it can be, all or none of them. Counts the rows of
/// each table.
pub(super) async fn execute(
    client: &Client,
    pipeline: &Pipeline,
    prepared: Option<Statement>,
    text: &str,
    runs: &[Vec<ColumnArray<'_>>],
) -> Result<Vec<Vec<TableCounts>>, tokio_postgres::Error> {
    if pipeline.single_table().is_some() {
        return execute_of_one_table(client, prepared.as_ref(), text, runs).await;
    }
    let query = async |arrays: &Vec<ColumnArray<'_>>| match &prepared {
        Some(prepared) => client.query(prepared, &untyped(arrays)).await,
        None => client.query_typed(text, &parameters(arrays)).await,
    };
    let rows = match (needs_snapshot(pipeline), runs) {
        (false, [arrays]) => vec![query(arrays).await?],
        (true, [arrays]) => vec![in_snapshot(client, query(arrays)).await?],
        (needs_snapshot, _) => {
            let begin = if needs_snapshot { SNAPSHOT } else { BEGIN };
            one_by_one(client, begin, runs, query).await?
        }
    };
    let rows = rows.iter();
    let counts = rows.map(|rows| counts(rows.first(), pipeline.tables.len()));
    counts.collect()
}

async fn execute_of_one_table(
    client: &Client,
    prepared: Option<&Statement>,
    text: &str,
    runs: &[Vec<ColumnArray<'_>>],
) -> Result<Vec<Vec<TableCounts>>, tokio_postgres::Error> {
    let run = async |arrays: &Vec<ColumnArray<'_>>| match prepared {
        Some(prepared) => client.execute_raw(prepared, arrays).await,
        None => client.execute_typed(text, &parameters(arrays)).await,
    };
    let written = match runs {
        [arrays] => vec![run(arrays).await?],
        _ => one_by_one(client, BEGIN, runs, run).await?,
    };
    Ok(written.into_iter().map(of_one_table).collect())
}

fn of_one_table(written: u64) -> Vec<TableCounts> {
    vec![TableCounts {
        written,
        ..TableCounts::default()
    }]
}

fn untyped<'a>(arrays: &'a [ColumnArray<'_>]) -> Vec<&'a (dyn ToSql + Sync)> {
    let parameters = arrays.iter().map(|array| array as &(dyn ToSql + Sync));
    parameters.collect()
}

fn parameters<'a>(arrays: &'a [ColumnArray<'_>]) -> Vec<(&'a (dyn ToSql + Sync), Type)> {
    let parameters = arrays
        .iter()
        .map(|array| (array as &(dyn ToSql + Sync), array.column_type.array()));
    parameters.collect()
}

const BEGIN: &str = "BEGIN";
const SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ";

/// In a transaction, and in one round trip: none of its statements waits for the answer to another.
async fn in_snapshot(
    client: &Client,
    query: impl Future<Output = Result<Vec<Row>, tokio_postgres::Error>>,
) -> Result<Vec<Row>, tokio_postgres::Error> {
    let (begun, rows, ended) = join!(
        client.batch_execute(SNAPSHOT),
        query,
        client.batch_execute("COMMIT")
    );
    begun?;
    let rows = rows?;
    ended?;
    Ok(rows)
}

/// In a transaction, each after the answer to the one before.
async fn one_by_one<P, T>(
    client: &Client,
    begin: &str,
    runs: &[P],
    run: impl AsyncFn(&P) -> Result<T, tokio_postgres::Error>,
) -> Result<Vec<T>, tokio_postgres::Error> {
    client.batch_execute(begin).await?;
    let mut answers = Vec::new();
    for parameters in runs {
        let answer = run(parameters).await;
        if answer.is_err() {
            client.batch_execute("ROLLBACK").await?;
        }
        answers.push(answer?);
    }
    client.batch_execute("COMMIT").await?;
    Ok(answers)
}

/// The counts of each table, as the statement returns them.
fn counts(row: Option<&Row>, tables: usize) -> Result<Vec<TableCounts>, tokio_postgres::Error> {
    let count = |position: usize| match row {
        Some(row) => row.try_get(position).map(|count: i64| count.unsigned_abs()),
        None => Ok(0),
    };
    let counts = (0..tables).map(|table| {
        let first = FIRST_COUNT + table * COUNTS;
        Ok(TableCounts {
            written: count(first)?,
            deleted: count(first + 1)?,
            newer: count(first + 2)?,
        })
    });
    counts.collect()
}
