//! Values in masked columns that the mask did not make, for example from before the column was masked.

use std::time::Duration;

use mapping::internals::quote_identifier;
use mapping::{Column, ColumnType, Mask, TableMapping};
use sqs_to_postgres::database::{Database, DatabaseError};

use super::report::Report;
use crate::cli::database::connect;
use crate::cli::output::counted;

/// Time limit for counting, which reads the whole table.
const COUNT_TIMEOUT: Duration = Duration::from_secs(5);

/// How many rows are looked at if counting all takes longer.
const SOME_ROWS: &str = " LIMIT 1000";

const NAME: &str = "tokens";

/// Counts the values that are not hashes. For aes-siv, [`keys`](super::keys) counts them.
pub(super) async fn check(database: &mut Database, mapping: &TableMapping, report: &mut Report) {
    let columns = mapping.columns.iter();
    let hashed: Vec<(&Column, Mask)> = columns
        .filter_map(|column| Some((column, column.mask?)))
        .filter(|(_, mask)| *mask != Mask::AesSiv)
        .collect();
    if hashed.is_empty() {
        return;
    }
    let (counts, of) = match count(database, &statement(mapping, &hashed, "")).await {
        Err(DatabaseError::Server(refusal)) if refusal.sqlstate == "57014" => {
            let some = statement(mapping, &hashed, SOME_ROWS);
            (count(database, &some).await, "of the first ")
        }
        counts => (counts, "of "),
    };
    let counts = match counts {
        Ok(counts) => counts,
        // Missing privileges and row security have lines of their own.
        Err(DatabaseError::Server(refusal)) if refusal.sqlstate == "42501" => {
            return report.ok(NAME, "not counted: this role may not read all rows");
        }
        Err(error) => return report.ok(NAME, format!("not counted: {error}")),
    };
    for ((column, mask), [values, others]) in hashed.iter().zip(counts) {
        if others > 0 {
            let rows = counted(values, "row");
            let are = match (column.column_type, others) {
                (ColumnType::Array(_), 1) => "has elements that are not tokens",
                (ColumnType::Array(_), _) => "have elements that are not tokens",
                (_, 1) => "is not a token",
                (_, _) => "are not tokens",
            };
            let text = format!(
                "column {}: {others} {of}{rows} {are} of {mask}",
                column.name
            );
            let fix = "mask these values as the mapping does, or delete the rows";
            report.warning(NAME, text, fix);
        }
    }
}

/// For each column how many values there are, and how many of them no hash can be. An array counts as one of these if
/// one of its elements is.
fn statement(mapping: &TableMapping, hashed: &[(&Column, Mask)], limit: &str) -> String {
    let names = hashed
        .iter()
        .map(|(column, _)| quote_identifier(&column.name));
    let names: Vec<String> = names.collect();
    let counts = names.iter().zip(hashed).map(|(name, (column, mask))| {
        let pattern = format!("^[0-9a-f]{{{}}}$", mask.min_token_chars());
        let is_not_token =
            |value: &str| format!("{value}::pg_catalog.text OPERATOR(pg_catalog.!~) '{pattern}'");
        let is_other = match column.column_type {
            ColumnType::Array(_) => format!(
                "EXISTS (SELECT FROM pg_catalog.unnest(t.{name}) AS e(value) WHERE {})",
                is_not_token("e.value")
            ),
            _ => is_not_token(&format!("t.{name}")),
        };
        format!("pg_catalog.count(t.{name}), pg_catalog.count(*) FILTER (WHERE {is_other})")
    });
    let counts: Vec<String> = counts.collect();
    format!(
        "SELECT {} FROM (SELECT {} FROM {}{limit}) AS t",
        counts.join(", "),
        names.join(", "),
        mapping.table
    )
}

/// In a transaction of its own, which has the time limit. Policies must not hide rows: Postgres then refuses to count.
async fn count(database: &mut Database, sql: &str) -> Result<Vec<[usize; 2]>, DatabaseError> {
    let client = connect(database).await?;
    let limit = COUNT_TIMEOUT.as_millis();
    let begin = format!(
        "BEGIN READ ONLY; SET LOCAL statement_timeout = {limit}; SET LOCAL row_security = off"
    );
    client.batch_execute(&begin).await?;
    let counted = client.query_typed(sql, &[]).await;
    client.batch_execute("ROLLBACK").await?;
    let Some(row) = counted?.into_iter().next() else {
        return Ok(Vec::new());
    };
    let pairs = (0..row.len()).step_by(2);
    let counts = pairs.map(|at| {
        let [values, others]: [i64; 2] = [row.try_get(at)?, row.try_get(at + 1)?];
        Ok([values, others].map(|count| usize::try_from(count).unwrap_or_default()))
    });
    counts.collect()
}
