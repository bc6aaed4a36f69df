//! Unique indexes of a child table that rows of one parent can violate for a moment.

use mapping::TableMapping;
use mapping::internals::quote_identifier;
use tokio_postgres::Client;
use tokio_postgres::types::{ToSql, Type};

use super::guard::{COLUMNS_OF_INDEX, key_of};
use crate::database::DatabaseError;

/// A unique index whose values rows of one parent cannot exchange, because Postgres checks it after each row. An index
/// with all columns of the key, or with no other column, does not count: its values differ anyway, or never change.
#[derive(Debug)]
pub struct StrictUnique {
    /// Its name.
    pub index: String,
    /// The statements that make it deferrable; `None` for an index that cannot be, because it has an expression or a
    /// condition.
    pub fix: Option<String>,
}

impl StrictUnique {
    /// Reads the catalog; none for a table whose rows are not replaced together.
    ///
    /// # Errors
    /// The connection failed, or Postgres refused a query.
    pub(super) async fn read(
        client: &Client,
        table: &TableMapping,
    ) -> Result<Vec<Self>, DatabaseError> {
        if !table.is_replaced_with_parent() || table.each.is_none() {
            return Ok(Vec::new());
        }
        let sql = format!(
            "SELECT x.relname::pg_catalog.text, i.indpred IS NULL AND i.indexprs IS NULL, \
                 (SELECT c.conname::pg_catalog.text FROM pg_catalog.pg_constraint c \
                  WHERE c.conindid = i.indexrelid AND c.contype IN ('p', 'u')), \
                 (SELECT pg_catalog.string_agg(pg_catalog.quote_ident(a.attname), ', ' \
                      ORDER BY pg_catalog.array_position(i.indkey::pg_catalog.int2[], a.attnum)) FROM pg_catalog.pg_attribute a \
                  WHERE a.attrelid = i.indrelid AND a.attnum = ANY ((i.indkey::pg_catalog.int2[])[0:i.indnkeyatts - 1])) \
             FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid \
             WHERE i.indrelid = pg_catalog.to_regclass($1)::pg_catalog.oid AND i.indisunique AND i.indimmediate \
             AND (i.indpred IS NOT NULL OR i.indexprs IS NOT NULL \
                  OR NOT ($2::pg_catalog.text[] OPERATOR(pg_catalog.<@) {COLUMNS_OF_INDEX} \
                          OR $2::pg_catalog.text[] OPERATOR(pg_catalog.@>) {COLUMNS_OF_INDEX})) \
             ORDER BY x.relname"
        );
        let name = table.table.to_string();
        let key = key_of(table);
        let parameters: [(&(dyn ToSql + Sync), Type); 2] =
            [(&name, Type::TEXT), (&key, Type::TEXT_ARRAY)];
        let rows = client.query_typed(&sql, &parameters).await?;
        let strict = rows.iter().map(|row| {
            let (index, is_plain): (String, bool) = (row.try_get(0)?, row.try_get(1)?);
            let (constraint, columns): (Option<String>, Option<String>) =
                (row.try_get(2)?, row.try_get(3)?);
            let fix = columns.filter(|_| is_plain);
            let fix = fix.map(|columns| deferrable(&name, &index, constraint, &columns));
            Ok(Self { index, fix })
        });
        strict.collect()
    }
}

/// Postgres does not change a unique constraint, so it is made again.
/// Source: <https://www.postgresql.org/docs/18/sql-altertable.html>.
fn deferrable(table: &str, index: &str, constraint: Option<String>, columns: &str) -> String {
    let index = quote_identifier(index);
    match constraint.as_deref().map(quote_identifier) {
        Some(name) => format!(
            "ALTER TABLE {table} DROP CONSTRAINT {name}, ADD CONSTRAINT {name} UNIQUE ({columns}) DEFERRABLE;"
        ),
        None => {
            format!(
                "ALTER TABLE {table} ADD CONSTRAINT {index} UNIQUE USING INDEX {index} DEFERRABLE;"
            )
        }
    }
}
