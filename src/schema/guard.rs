//! Conditions on the table that a statement relies on, as SQL that Postgres checks in the same transaction.

use mapping::TableMapping;
use tokio_postgres::Client;
use tokio_postgres::types::{ToSql, Type};

use crate::database::DatabaseError;

/// The columns of index `i`, sorted as [`key_of`] does.
pub(super) const COLUMNS_OF_INDEX: &str = "\
    (SELECT pg_catalog.array_agg(a.attname::pg_catalog.text ORDER BY a.attname::pg_catalog.text COLLATE \"C\") FROM pg_catalog.pg_attribute a \
     WHERE a.attrelid = i.indrelid AND a.attnum = ANY ((i.indkey::pg_catalog.int2[])[0:i.indnkeyatts - 1]))";

pub(super) fn key_of(mapping: &TableMapping) -> Vec<&str> {
    let mut key: Vec<&str> = mapping.key_names().collect();
    key.sort_unstable();
    key
}

/// A condition that holds as long as the constraint exists that makes the table's key unique; `None` without such a
/// constraint. It costs almost nothing. A unique index alone is not enough: dropping a constraint waits for running
/// statements, but an index can be dropped `CONCURRENTLY`. The table's name is looked up whenever the statement runs,
/// even if it was planned long before.
/// Source: <https://www.postgresql.org/docs/18/sql-dropindex.html>.
pub(crate) async fn key_guard(
    client: &Client,
    mapping: &TableMapping,
) -> Result<Option<String>, DatabaseError> {
    let keeping = format!(
        "SELECT pg_catalog.format('pg_catalog.to_regclass(%L)::pg_catalog.oid = %s::pg_catalog.oid AND pg_catalog.pg_index_has_property(%s, ''index_scan'')', $1, c.conrelid, c.conindid) \
         FROM pg_catalog.pg_constraint c JOIN pg_catalog.pg_index i ON i.indexrelid = c.conindid \
         WHERE c.conrelid = pg_catalog.to_regclass($1)::pg_catalog.oid AND c.contype IN ('p', 'u') AND i.indisvalid AND i.indimmediate \
         AND $2::pg_catalog.text[] OPERATOR(pg_catalog.=) {COLUMNS_OF_INDEX} LIMIT 1"
    );
    let parameters: [(&(dyn ToSql + Sync), Type); 2] = [
        (&mapping.table.to_string(), Type::TEXT),
        (&key_of(mapping), Type::TEXT_ARRAY),
    ];
    let guard = client.query_typed_opt(&keeping, &parameters).await?;
    Ok(guard.map(|row| row.try_get(0)).transpose()?)
}
