//! Conditions on the table that a statement relies on, as SQL that Postgres checks in the same transaction.

use tokio_postgres::Client;
use tokio_postgres::types::{ToSql, Type};

use crate::database::DatabaseError;
use crate::pipeline::TableMapping;
use crate::quote::quote_literal;

/// The columns of index `i`, sorted as [`key_of`] does.
pub(super) const COLUMNS_OF_INDEX: &str = "\
    (SELECT pg_catalog.array_agg(a.attname::pg_catalog.text ORDER BY a.attname::pg_catalog.text COLLATE \"C\") FROM pg_catalog.pg_attribute a \
     WHERE a.attrelid = i.indrelid AND a.attnum = ANY ((i.indkey::pg_catalog.int2[])[0:i.indnkeyatts - 1]))";

pub(super) fn key_of(pipeline: &TableMapping) -> Vec<&str> {
    let mut key: Vec<&str> = pipeline.key_names().collect();
    key.sort_unstable();
    key
}

/// A query that returns whether rows can be copied into the table that the mapping now names.
pub(crate) fn copy_fit(pipeline: &TableMapping) -> String {
    let name = quote_literal(&pipeline.table.to_string());
    let fits = takes_copies(pipeline);
    format!(
        "SELECT {fits} FROM pg_catalog.pg_class c WHERE c.oid = pg_catalog.to_regclass({name})::pg_catalog.oid"
    )
}

/// A query that returns, at the end of a transaction, whether the table that it wrote to is the one that the mapping
/// names and can be copied into: its lock keeps the table from changing until the transaction ends. The lock also
/// identifies the table, since a schema can be renamed at any time.
/// Source: <https://www.postgresql.org/docs/18/explicit-locking.html#LOCKING-TABLES>.
pub(crate) fn copy_check(pipeline: &TableMapping) -> String {
    let name = quote_literal(&pipeline.table.to_string());
    let own_name = quote_literal(&pipeline.table.name);
    let fits = takes_copies(pipeline);
    format!(
        "SELECT pg_catalog.count(*) = 1 AND pg_catalog.bool_and(c.oid = pg_catalog.to_regclass({name})::pg_catalog.oid AND {fits}) \
         FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_class c ON c.oid = l.relation \
         WHERE l.pid = pg_catalog.pg_backend_pid() AND l.mode = 'RowExclusiveLock' AND c.relname = {own_name} \
         AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())"
    )
}

/// A condition on the `pg_class` row `c`: its columns have exactly the mapped types, its key is unique, and it has no
/// rules, policies or identity columns, with which `COPY` and `INSERT` differ.
fn takes_copies(pipeline: &TableMapping) -> String {
    let key: Vec<_> = key_of(pipeline).into_iter().map(quote_literal).collect();
    let mapped = pipeline.columns.iter().map(|column| {
        let oid = column.column_type.element().oid();
        format!("({}, {oid}::pg_catalog.oid)", quote_literal(&column.name))
    });
    format!(
        "c.relkind IN ('r', 'p') AND NOT c.relrowsecurity AND NOT c.relhasrules \
         AND EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indimmediate \
             AND i.indpred IS NULL AND i.indexprs IS NULL AND ARRAY[{}]::pg_catalog.text[] OPERATOR(pg_catalog.=) {COLUMNS_OF_INDEX}) \
         AND NOT EXISTS (SELECT FROM (VALUES {}) AS mapped(name, type) LEFT JOIN pg_catalog.pg_attribute a \
             ON a.attrelid = c.oid AND a.attname = mapped.name AND NOT a.attisdropped AND a.attidentity = '' AND a.attgenerated = '' \
             WHERE (a.atttypid = mapped.type OR mapped.type = 'pg_catalog.text'::pg_catalog.regtype::pg_catalog.oid AND a.atttypid = 'pg_catalog.varchar'::pg_catalog.regtype::pg_catalog.oid) IS NOT TRUE)",
        key.join(", "),
        mapped.collect::<Vec<_>>().join(", ")
    )
}

/// A condition that holds as long as the constraint exists that makes the table's key unique; `None` without such a
/// constraint. It costs almost nothing. A unique index alone is not enough: dropping a constraint waits for running
/// statements, but an index can be dropped `CONCURRENTLY`. The table's name is looked up whenever the statement runs,
/// even if it was planned long before.
/// Source: <https://www.postgresql.org/docs/18/sql-dropindex.html>.
pub(crate) async fn key_guard(
    client: &Client,
    pipeline: &TableMapping,
) -> Result<Option<String>, DatabaseError> {
    let keeping = format!(
        "SELECT pg_catalog.format('pg_catalog.to_regclass(%L)::pg_catalog.oid = %s::pg_catalog.oid AND pg_catalog.pg_index_has_property(%s, ''index_scan'')', $1, c.conrelid, c.conindid) \
         FROM pg_catalog.pg_constraint c JOIN pg_catalog.pg_index i ON i.indexrelid = c.conindid \
         WHERE c.conrelid = pg_catalog.to_regclass($1)::pg_catalog.oid AND c.contype IN ('p', 'u') AND i.indisvalid AND i.indimmediate \
         AND $2::pg_catalog.text[] OPERATOR(pg_catalog.=) {COLUMNS_OF_INDEX} LIMIT 1"
    );
    let parameters: [(&(dyn ToSql + Sync), Type); 2] = [
        (&pipeline.table.to_string(), Type::TEXT),
        (&key_of(pipeline), Type::TEXT_ARRAY),
    ];
    let guard = client.query_typed_opt(&keeping, &parameters).await?;
    Ok(guard.map(|row| row.try_get(0)).transpose()?)
}
