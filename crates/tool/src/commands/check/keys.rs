//! The mask keys that the rows of a table need.

use std::time::Duration;

use mapping::internals::{AesSivKeys, quote_identifier, quote_literal};
use mapping::{ColumnType, KeyRing, Mask, Metadata, TableMapping};
use sqs_to_postgres::database::{Database, DatabaseError};

use super::report::Report;
use crate::cli::database::connect;
use crate::cli::output::counted;

/// Time limit for counting, which reads the whole table.
const COUNT_TIMEOUT: Duration = Duration::from_secs(5);

const TOKEN: &str = AesSivKeys::PATTERN;

/// Tokens of one key in one column; without a key, values that are not tokens.
struct Count {
    column: String,
    id: Option<String>,
    is_hash: bool,
    count: i64,
}

/// Counts the tokens of each key, and warns of those whose key the ring lacks; `is_hidden` if row security hides rows.
pub(super) async fn check(
    database: &mut Database,
    (mapping, is_hidden): (&TableMapping, bool),
    keys: &KeyRing,
    report: &mut Report,
) {
    let Some(sql) = statement(mapping) else {
        return;
    };
    if is_hidden {
        return report.warning(
            "mask keys",
            "not counted: row security hides rows from this role, and they may need an old key",
            "connect as the owner of the table, or as a role with BYPASSRLS",
        );
    }
    let counts = match count(database, &sql).await {
        Ok(counts) => counts,
        Err(DatabaseError::Server(refusal)) if refusal.sqlstate == "57014" => {
            let secs = COUNT_TIMEOUT.as_secs();
            let text = format!(
                "not counted within {secs} seconds: `remask --dry-run` counts the tokens of each key"
            );
            return report.ok("mask keys", &text);
        }
        Err(error) => return report.ok("mask keys", format!("not counted: {error}")),
    };
    for count in counts {
        count.report(keys, report);
    }
}

impl Count {
    fn report(&self, keys: &KeyRing, report: &mut Report) {
        let noun = match (&self.id, self.is_hash) {
            (None, _) => "value",
            (_, true) => "row",
            (_, false) => "token",
        };
        let what = counted(usize::try_from(self.count).unwrap_or_default(), noun);
        let text = format!("column {} has {what}", self.column);
        match &self.id {
            None => report.warning(
                "mask keys",
                format!("{text} not encrypted by aes-siv"),
                "mask them, or delete them",
            ),
            Some(id) if keys.keys().any(|(known, _)| known == id) => {
                report.ok("mask keys", format!("{text} of key {id:?}"))
            }
            Some(id) => report.warning(
                "mask keys",
                format!("{text} of key {id:?}, which the mask secret lacks"),
                "restore the key in mask_keys",
            ),
        }
    }
}

/// One aggregate over all columns that say which key they need; `None` if there are none.
fn statement(mapping: &TableMapping) -> Option<String> {
    let columns = mapping.columns.iter().filter_map(|column| {
        let name = quote_identifier(&column.name);
        let label = quote_literal(&column.name);
        let is_token = column.mask.is_some_and(Mask::is_reversible);
        let (value, of_elements) = match column.column_type {
            ColumnType::Array(_) => (
                "e.value".to_owned(),
                format!(" FROM pg_catalog.unnest(t.{name}) AS e(value)"),
            ),
            _ => (format!("t.{name}"), String::new()),
        };
        let id = match is_token {
            true => format!(
                "CASE WHEN {value}::pg_catalog.text ~ '{TOKEN}' THEN coalesce(substring({value}::pg_catalog.text FROM '{TOKEN}'), '') END"
            ),
            false => format!("{value}::pg_catalog.text"),
        };
        let is_needed = is_token || column.reads(&Metadata::MaskKeyId);
        is_needed.then(|| format!("SELECT {label}, {id}, {}, {value} IS NULL{of_elements}", !is_token))
    });
    let columns: Vec<_> = columns.collect();
    (!columns.is_empty()).then(|| {
        format!(
            "SELECT v.name, v.id, v.is_hash, pg_catalog.count(*) FROM {} AS t \
             CROSS JOIN LATERAL ({}) AS v(name, id, is_hash, is_null) \
             WHERE NOT v.is_null GROUP BY 1, 2, 3 ORDER BY 1, 2",
            mapping.table,
            columns.join(" UNION ALL ")
        )
    })
}

/// In a transaction of its own, which has the time limit.
async fn count(database: &mut Database, sql: &str) -> Result<Vec<Count>, DatabaseError> {
    let client = connect(database).await?;
    let limit = COUNT_TIMEOUT.as_millis();
    let begin = format!(
        "BEGIN READ ONLY; SET LOCAL row_security = off; SET LOCAL statement_timeout = {limit}"
    );
    client.batch_execute(&begin).await?;
    let counted = client.query_typed(sql, &[]).await;
    client.batch_execute("ROLLBACK").await?;
    let counts = counted?.into_iter().map(|row| {
        Ok(Count {
            column: row.try_get(0)?,
            id: row.try_get(1)?,
            is_hash: row.try_get(2)?,
            count: row.try_get(3)?,
        })
    });
    counts.collect()
}
