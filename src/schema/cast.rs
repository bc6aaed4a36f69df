//! Whether columns of a table have the types that the mapping casts their values to.

use mapping::TableMapping;
use tokio_postgres::Client;
use tokio_postgres::types::{ToSql, Type};

use crate::database::DatabaseError;

/// What the catalog says of a column that the mapping casts.
#[derive(Debug)]
pub(super) struct LiveCast {
    pub(super) column: String,
    /// Whether there is such a type, in its schema or in the search path.
    pub(super) exists: bool,
    /// Whether it is the type of the column, or what the domain of the column is based on.
    pub(super) is_same: bool,
}

/// Reads the catalog, which has a type whether or not the role may use its schema.
pub(super) async fn read(
    client: &Client,
    mapping: &TableMapping,
) -> Result<Vec<LiveCast>, DatabaseError> {
    let columns = mapping.columns.iter();
    let casts = columns.filter_map(|column| Some((column.name.as_str(), column.cast.as_ref()?)));
    let casts: Vec<_> = casts.collect();
    if casts.is_empty() {
        return Ok(Vec::new());
    }
    let sql = "SELECT m.name, k.oid IS NOT NULL, \
               coalesce(k.oid = a.atttypid OR t.typtype = 'd' AND k.oid = t.typbasetype, false) \
               FROM ROWS FROM (pg_catalog.unnest($2::pg_catalog.text[]), pg_catalog.unnest($3::pg_catalog.text[]), \
                   pg_catalog.unnest($4::pg_catalog.text[]), pg_catalog.unnest($5::pg_catalog.bool[])) AS m(name, schema, type, is_array) \
               LEFT JOIN LATERAL (SELECT CASE WHEN m.is_array THEN y.typarray ELSE y.oid END AS oid \
                   FROM pg_catalog.pg_type y JOIN pg_catalog.pg_namespace n ON n.oid = y.typnamespace \
                   WHERE y.typname = m.type \
                   AND CASE WHEN m.schema IS NULL THEN pg_catalog.pg_type_is_visible(y.oid) ELSE n.nspname = m.schema END) AS k ON true \
               LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = pg_catalog.to_regclass($1)::pg_catalog.oid \
                   AND a.attname = m.name AND a.attnum > 0 AND NOT a.attisdropped \
               LEFT JOIN pg_catalog.pg_type t ON t.oid = a.atttypid";
    let table = mapping.table.to_string();
    let names: Vec<_> = casts.iter().map(|(name, _)| *name).collect();
    let schemas: Vec<_> = casts.iter().map(|(_, cast)| cast.schema()).collect();
    let types: Vec<_> = casts.iter().map(|(_, cast)| cast.name()).collect();
    let are_arrays: Vec<_> = casts.iter().map(|(_, cast)| cast.is_array()).collect();
    let parameters: [(&(dyn ToSql + Sync), Type); 5] = [
        (&table, Type::TEXT),
        (&names, Type::TEXT_ARRAY),
        (&schemas, Type::TEXT_ARRAY),
        (&types, Type::TEXT_ARRAY),
        (&are_arrays, Type::BOOL_ARRAY),
    ];
    let rows = client.query_typed(sql, &parameters).await?;
    let found = rows.iter().map(|row| {
        Ok(LiveCast {
            column: row.try_get(0)?,
            exists: row.try_get(1)?,
            is_same: row.try_get(2)?,
        })
    });
    found.collect()
}
