//! CHECK constraints that refuse null.

use mapping::Table;
use tokio_postgres::Client;
use tokio_postgres::types::Type;

use crate::database::DatabaseError;

/// A CHECK constraint of a single column, which Postgres finds to be false for null.
#[derive(Debug)]
pub(super) struct NullCheck {
    pub(super) column: String,
    /// Quoted if necessary.
    pub(super) constraint: String,
}

/// Asks Postgres what the constraints of the table say of null, because their expressions can be of any form. Those of
/// several columns depend on the other values.
///
/// # Errors
/// The connection failed, or Postgres refused the query.
pub(super) async fn read(client: &Client, table: &Table) -> Result<Vec<NullCheck>, DatabaseError> {
    let sql = "SELECT a.attname::pg_catalog.text, pg_catalog.quote_ident(c.conname), \
        pg_catalog.format('SELECT (%s) IS FALSE FROM (SELECT CAST(NULL AS %s) AS %I) AS t', \
            pg_catalog.pg_get_expr(c.conbin, c.conrelid), pg_catalog.format_type(a.atttypid, a.atttypmod), a.attname) \
        FROM pg_catalog.pg_constraint c JOIN pg_catalog.pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1] \
        WHERE c.conrelid = pg_catalog.to_regclass($1)::pg_catalog.oid AND c.contype = 'c' \
        AND pg_catalog.cardinality(c.conkey) = 1 ORDER BY c.conname";
    let name = table.to_string();
    let mut checks = Vec::new();
    for row in client.query_typed(sql, &[(&name, Type::TEXT)]).await? {
        let refuses_null: String = row.try_get(2)?;
        if holds(client, &refuses_null).await? {
            checks.push(NullCheck {
                column: row.try_get(0)?,
                constraint: row.try_get(1)?,
            });
        }
    }
    Ok(checks)
}

/// The result of a query, read-only because an expression may call functions; `false` where Postgres refuses it.
async fn holds(client: &Client, sql: &str) -> Result<bool, DatabaseError> {
    client.batch_execute("BEGIN READ ONLY").await?;
    let row = client.query_typed_one(sql, &[]).await;
    client.batch_execute("ROLLBACK").await?;
    match row {
        Err(error) if error.as_db_error().is_some() => Ok(false),
        row => Ok(row?.try_get(0)?),
    }
}
