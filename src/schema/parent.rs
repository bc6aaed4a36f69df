//! How a child table is bound to its parent: by a foreign key, and an index that finds the rows of a parent's row.

use std::collections::BTreeSet;

use mapping::ddl::index;
use mapping::{Pipeline, TableMapping};
use tokio_postgres::Client;
use tokio_postgres::types::{ToSql, Type};

use super::StrictUnique;
use crate::database::{DatabaseError, Server};

/// What binds a child table to its parent.
#[derive(Debug)]
pub struct ParentFacts {
    /// The foreign key to the parent's key, or the statement that adds it; `None` where there is none on purpose.
    pub foreign_key: Option<Result<ForeignKey, String>>,
    /// The index that finds the rows of a parent's row, or the statement that creates it.
    pub index: Result<String, String>,
    /// Unique indexes whose values rows of one parent cannot exchange.
    pub strict: Vec<StrictUnique>,
}

/// A foreign key to the key of the parent.
#[derive(Debug)]
pub struct ForeignKey {
    /// Its name.
    pub name: String,
    /// Whether it has `ON DELETE CASCADE`. The function does not need that: its statement deletes children itself.
    pub cascades: bool,
}

impl ParentFacts {
    /// Reads the catalog; `None` for a table without a parent. Tables of Aurora DSQL need no foreign key.
    ///
    /// # Errors
    /// The connection failed, or Postgres refused a query.
    pub async fn read(
        client: &Client,
        pipeline: &Pipeline,
        table: &TableMapping,
        is_partitioned: bool,
        server: Server,
    ) -> Result<Option<Self>, DatabaseError> {
        let (Some(parent), Some(clause)) =
            (pipeline.ancestor(table, 1), pipeline.foreign_key(table))
        else {
            return Ok(None);
        };
        let own: Vec<&str> = table.key_names().take(parent.key.len()).collect();
        let add = || format!("ALTER TABLE {} ADD {clause};", table.table);
        let create = || index("INDEX", table, own.iter().copied(), is_partitioned);
        let foreign_key = foreign_key(client, table, parent).await?.ok_or_else(add);
        Ok(Some(Self {
            foreign_key: match server {
                Server::Dsql if foreign_key.is_err() => None,
                Server::Postgres | Server::Dsql => Some(foreign_key),
            },
            index: index_of_parent(client, pipeline, table)
                .await?
                .ok_or_else(create),
            strict: StrictUnique::read(client, table).await?,
        }))
    }
}

async fn foreign_key(
    client: &Client,
    table: &TableMapping,
    parent: &TableMapping,
) -> Result<Option<ForeignKey>, DatabaseError> {
    let sql = "SELECT conname::pg_catalog.text, confdeltype = 'c' FROM pg_catalog.pg_constraint c \
               WHERE contype = 'f' AND conrelid = pg_catalog.to_regclass($1)::pg_catalog.oid AND confrelid = pg_catalog.to_regclass($2)::pg_catalog.oid \
               AND pg_catalog.to_jsonb(c) OPERATOR(pg_catalog.->>) 'conenforced'::pg_catalog.text IS DISTINCT FROM 'false' \
               AND ($3::pg_catalog.text[], $4::pg_catalog.text[]) OPERATOR(pg_catalog.=) (SELECT pg_catalog.array_agg(a.attname::pg_catalog.text ORDER BY a.attname COLLATE \"C\"), \
                                                      pg_catalog.array_agg(b.attname::pg_catalog.text ORDER BY a.attname COLLATE \"C\") \
                   FROM ROWS FROM (pg_catalog.unnest(conkey), pg_catalog.unnest(confkey)) AS pair(own, other) \
                   JOIN pg_catalog.pg_attribute a ON a.attrelid = conrelid AND a.attnum = own \
                   JOIN pg_catalog.pg_attribute b ON b.attrelid = confrelid AND b.attnum = other) \
               ORDER BY confdeltype <> 'c', conname LIMIT 1";
    let mut pairs: Vec<_> = table.key_names().zip(parent.key_names()).collect();
    pairs.sort_unstable();
    let (own, others): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
    let parameters: [(&(dyn ToSql + Sync), Type); 4] = [
        (&table.table.to_string(), Type::TEXT),
        (&parent.table.to_string(), Type::TEXT),
        (&own, Type::TEXT_ARRAY),
        (&others, Type::TEXT_ARRAY),
    ];
    let Some(row) = client.query_typed_opt(sql, &parameters).await? else {
        return Ok(None);
    };
    Ok(Some(ForeignKey {
        name: row.try_get(0)?,
        cascades: row.try_get(1)?,
    }))
}

/// An index that begins with the columns of the parent's key, in any order, if there also is one for the key by which
/// the function deletes, the key of the table at the top. Aurora DSQL calls a B-tree `btree_index`.
async fn index_of_parent(
    client: &Client,
    pipeline: &Pipeline,
    table: &TableMapping,
) -> Result<Option<String>, DatabaseError> {
    let sql = "SELECT x.relname::pg_catalog.text FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid \
               JOIN pg_catalog.pg_am m ON m.oid = x.relam \
               WHERE i.indrelid = pg_catalog.to_regclass($1)::pg_catalog.oid AND i.indisvalid AND i.indpred IS NULL AND m.amname IN ('btree', 'btree_index') \
               AND $2::pg_catalog.text[] OPERATOR(pg_catalog.=) (SELECT pg_catalog.array_agg(a.attname::pg_catalog.text ORDER BY a.attname COLLATE \"C\") FROM pg_catalog.pg_attribute a \
                   WHERE a.attrelid = i.indrelid \
                   AND a.attnum = ANY ((i.indkey::pg_catalog.int2[])[0:least(pg_catalog.cardinality($2), i.indnkeyatts) - 1])) \
               ORDER BY NOT i.indisunique, x.relname LIMIT 1";
    let above = (1..).map_while(|generations| pipeline.ancestor(table, generations));
    let lengths: BTreeSet<usize> = above.map(|above| above.key.len()).collect();
    let mut found = None;
    for length in lengths {
        let mut columns: Vec<&str> = table.key_names().take(length).collect();
        columns.sort_unstable();
        let parameters: [(&(dyn ToSql + Sync), Type); 2] = [
            (&table.table.to_string(), Type::TEXT),
            (&columns, Type::TEXT_ARRAY),
        ];
        let Some(row) = client.query_typed_opt(sql, &parameters).await? else {
            return Ok(None);
        };
        found = Some(row.try_get(0)?);
    }
    Ok(found)
}
