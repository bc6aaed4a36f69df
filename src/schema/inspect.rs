//! Whether the loader's statement will work on the table.

use mapping::ddl::{default_partition, index, one_line};
use mapping::internals::quote_identifier;
use mapping::{OnConflict, Pipeline, Refusal, TableMapping};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};

use super::guard::{COLUMNS_OF_INDEX, key_of};
use super::{Fix, LiveTable, TableError};
use crate::database::DatabaseError;
use crate::refusal::OfPostgres as _;

/// The state of the mapping's table.
#[derive(Debug)]
pub enum Inspection {
    /// Its schema does not exist; the statement that creates it.
    NoSchema(String),
    /// It does not exist in a schema that the role can use.
    NoTable,
    /// The role has no privilege to use its schema; the statement that grants it.
    SchemaClosed(String),
    /// It exists.
    Table(Box<TableFacts>),
}

/// The properties of a table.
#[derive(Debug)]
pub struct TableFacts {
    /// Its schema.
    pub schema: String,
    /// What kind of relation it is.
    pub kind: Kind,
    /// Its columns.
    pub columns: LiveTable,
    /// The unique index on the key of the mapping, or the statement that creates one.
    pub unique_index: Result<String, String>,
    /// The role's privileges.
    pub permissions: Permissions,
    /// Whether policies decide which rows the role may write.
    pub has_row_security: bool,
    /// The table, or its partitions, that a crash of the server empties; quoted.
    pub unlogged: Vec<String>,
    /// Rows without a partition.
    pub partition_gap: Option<PartitionGap>,
}

/// Rows of now or soon for which there is neither a partition nor a default one.
#[derive(Debug, PartialEq, Eq)]
pub struct PartitionGap {
    /// The column by which the table is partitioned.
    pub column: String,
    /// The value from which on there is no partition.
    pub from: String,
    /// Whether rows of the current time are among them.
    pub is_now: bool,
    /// The statement that creates a default partition.
    pub fix: String,
}

/// The kinds of relations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A table.
    Table,
    /// A table with this many partitions.
    Partitioned(i64),
    /// A view, a foreign table or another relation without `INSERT … ON CONFLICT (key)`.
    Other,
}

/// The privileges that the statement needs and the role lacks.
#[derive(Debug, PartialEq, Eq)]
pub struct Permissions {
    /// `INSERT`, `SELECT`, `UPDATE`.
    pub needed: Vec<&'static str>,
    /// The privileges that are not granted on every column that needs them.
    pub missing: Vec<&'static str>,
    /// The statement that grants them.
    pub fix: String,
}

impl Inspection {
    /// Reads the state from the catalog.
    ///
    /// # Errors
    /// The connection failed, or Postgres refused a query.
    pub async fn read(client: &Client, mapping: &TableMapping) -> Result<Self, DatabaseError> {
        let role = client.query_typed_one("SELECT current_user::pg_catalog.text", &[]);
        let role: String = role.await?.try_get(0)?;
        let columns = match LiveTable::read(client, mapping).await {
            Err(error) if error.is_missing_privilege() => {
                return Ok(Self::SchemaClosed(grant_usage(mapping, &role)));
            }
            columns => columns?,
        };
        if columns.is_missing() {
            return Self::of_missing(client, mapping).await;
        }
        Ok(Self::Table(Box::new(
            TableFacts::read(client, mapping, columns, &role).await?,
        )))
    }

    /// Why Postgres refuses a statement for any row of the table.
    pub(crate) fn explain(
        self,
        pipeline: &Pipeline,
        mapping: &TableMapping,
        refusal: &Refusal,
    ) -> TableError {
        let table = mapping.table.to_string();
        let create = one_line(&pipeline.create_table(mapping));
        let facts = match self {
            Self::SchemaClosed(ddl) => return TableError::NoPrivilege { table, ddl },
            Self::NoSchema(schema) => {
                let ddl = format!("{schema} {create}");
                return TableError::Missing { table, ddl };
            }
            Self::NoTable => return TableError::Missing { table, ddl: create },
            Self::Table(facts) => facts,
        };
        let lacks_privilege = !facts.permissions.missing.is_empty();
        if lacks_privilege && refusal.is(&SqlState::INSUFFICIENT_PRIVILEGE) {
            let ddl = facts.permissions.fix;
            return TableError::NoPrivilege { table, ddl };
        }
        match facts.unique_index {
            // `ON CONFLICT (key)` finds no unique index.
            Err(ddl) if refusal.is(&SqlState::INVALID_COLUMN_REFERENCE) => {
                TableError::NoUniqueIndex { table, ddl }
            }
            _ => facts
                .columns
                .column_fault(mapping)
                .unwrap_or(TableError::Other {
                    table,
                    sqlstate: refusal.sqlstate.clone(),
                    ddl: create,
                }),
        }
    }

    async fn of_missing(client: &Client, mapping: &TableMapping) -> Result<Self, DatabaseError> {
        let Some(schema) = &mapping.table.schema else {
            return Ok(Self::NoTable);
        };
        let quoted = quote_identifier(schema);
        let exists = "SELECT pg_catalog.to_regnamespace($1) IS NOT NULL";
        let exists = client
            .query_typed_one(exists, &[(&quoted, Type::TEXT)])
            .await?;
        Ok(if exists.try_get(0)? {
            Self::NoTable
        } else {
            Self::NoSchema(mapping.create_schema().trim_end().to_owned())
        })
    }
}

impl TableFacts {
    /// What gives the key of the mapping a unique index; `None` if it has one.
    pub fn key_fix(&self, mapping: &TableMapping) -> Option<Fix> {
        let create = self.unique_index.as_ref().err()?;
        let is_in_key = |column: &&str| mapping.key_names().any(|name| name == *column);
        let mut outside = self.columns.partition_columns();
        Some(match outside.find(|column| !is_in_key(column)) {
            Some(column) => Fix::ByHand(format!(
                "Postgres enforces a key across partitions only if it contains the partition column: add {column:?} to the key of the mapping"
            )),
            None => Fix::adds(create.clone()),
        })
    }

    /// Whether it has partitions.
    pub fn is_partitioned(&self) -> bool {
        matches!(self.kind, Kind::Partitioned(_))
    }

    async fn read(
        client: &Client,
        mapping: &TableMapping,
        columns: LiveTable,
        role: &str,
    ) -> Result<Self, DatabaseError> {
        let sql = "SELECT n.nspname::pg_catalog.text, c.relkind::pg_catalog.text, pg_catalog.row_security_active(c.oid), \
                   (SELECT pg_catalog.count(*) FROM pg_catalog.pg_inherits WHERE inhparent = c.oid), \
                   ARRAY(SELECT part.oid::pg_catalog.regclass::pg_catalog.text FROM pg_catalog.pg_class part WHERE part.relpersistence = 'u' AND part.oid IN \
                         (SELECT c.oid UNION ALL SELECT relid FROM pg_catalog.pg_partition_tree(c.oid)) ORDER BY 1) \
                   FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = pg_catalog.to_regclass($1)::pg_catalog.oid";
        let table = mapping.table.to_string();
        let row = client.query_typed_one(sql, &[(&table, Type::TEXT)]).await?;
        let kind: String = row.try_get(1)?;
        let kind = match kind.as_str() {
            "r" => Kind::Table,
            "p" => Kind::Partitioned(row.try_get(3)?),
            _ => Kind::Other,
        };
        let is_partitioned = matches!(kind, Kind::Partitioned(_));
        let unique_index = unique_index_of_key(client, mapping).await?;
        let create = || index("UNIQUE INDEX", mapping, mapping.key_names(), is_partitioned);
        Ok(Self {
            schema: row.try_get(0)?,
            kind,
            columns,
            unique_index: unique_index.ok_or_else(create),
            permissions: Permissions::read(client, mapping, role).await?,
            has_row_security: row.try_get(2)?,
            unlogged: row.try_get(4)?,
            // Aurora DSQL has no catalog of partitioned tables.
            partition_gap: match is_partitioned {
                true => PartitionGap::read(client, mapping).await?,
                false => None,
            },
        })
    }
}

impl PartitionGap {
    /// Looks for a gap in a table that is partitioned by ranges of a time, at the first level of partitions only.
    async fn read(client: &Client, mapping: &TableMapping) -> Result<Option<Self>, DatabaseError> {
        let by_time = "SELECT a.attname::pg_catalog.text, t.typname::pg_catalog.text FROM pg_catalog.pg_partitioned_table p \
                       JOIN pg_catalog.pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0] \
                       JOIN pg_catalog.pg_type t ON t.oid = a.atttypid \
                       WHERE p.partrelid = pg_catalog.to_regclass($1)::pg_catalog.oid AND p.partstrat = 'r' AND p.partnatts = 1 AND p.partdefid = 0::pg_catalog.oid \
                       AND a.atttypid IN ('pg_catalog.date'::pg_catalog.regtype::pg_catalog.oid, 'pg_catalog.timestamp'::pg_catalog.regtype::pg_catalog.oid, 'pg_catalog.timestamptz'::pg_catalog.regtype::pg_catalog.oid)";
        let table = mapping.table.to_string();
        let parameters: [(&(dyn ToSql + Sync), Type); 1] = [(&table, Type::TEXT)];
        let Some(row) = client.query_typed_opt(by_time, &parameters).await? else {
            return Ok(None);
        };
        let (column, time): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        // The bounds as Postgres prints them: FOR VALUES FROM ('2026-11-01') TO (MAXVALUE).
        let next = format!(
            "WITH part AS (SELECT coalesce(substring(bound FROM 'FROM \\(''([^'']*)''')::pg_catalog.{time}, '-infinity') AS low, \
                                  coalesce(substring(bound FROM 'TO \\(''([^'']*)''')::pg_catalog.{time}, 'infinity') AS high \
                           FROM pg_catalog.pg_inherits JOIN pg_catalog.pg_class c ON c.oid = inhrelid, pg_catalog.pg_get_expr(c.relpartbound, c.oid) AS bound \
                           WHERE inhparent = pg_catalog.to_regclass($1)::pg_catalog.oid), \
                  today AS (SELECT pg_catalog.now()::pg_catalog.{time} AS value), \
                  current AS (SELECT high FROM part, today WHERE low <= value AND value < high), \
                  gap AS (SELECT high AS value, false AS is_now FROM current WHERE high < 'infinity' \
                          UNION ALL SELECT value, true FROM today WHERE NOT EXISTS (SELECT FROM current)) \
             SELECT gap.value::pg_catalog.text, gap.is_now FROM gap \
             WHERE NOT EXISTS (SELECT FROM part WHERE low <= gap.value AND gap.value < high)"
        );
        let Some(row) = client.query_typed_opt(&next, &parameters).await? else {
            return Ok(None);
        };
        Ok(Some(Self {
            column,
            from: row.try_get(0)?,
            is_now: row.try_get(1)?,
            fix: default_partition(&mapping.table),
        }))
    }
}

impl Permissions {
    async fn read(
        client: &Client,
        mapping: &TableMapping,
        role: &str,
    ) -> Result<Self, DatabaseError> {
        let all: Vec<&str> = mapping.column_names().collect();
        let key: Vec<&str> = mapping.key_names().collect();
        let others: Vec<&str> = mapping.other_names().collect();
        // ON CONFLICT reads the key, and DO UPDATE the columns that it sets.
        // Source: <https://www.postgresql.org/docs/18/sql-insert.html>.
        let needed = match mapping.on_conflict {
            OnConflict::Ignore if mapping.parent.is_none() => {
                vec![("INSERT", &all), ("SELECT", &key)]
            }
            OnConflict::Ignore | OnConflict::Update => {
                vec![("INSERT", &all), ("SELECT", &all), ("UPDATE", &others)]
            }
        };
        let sql = "SELECT coalesce(pg_catalog.bool_and(pg_catalog.has_column_privilege(attrelid, attnum, $2)), true) FROM pg_catalog.pg_attribute \
                   WHERE attrelid = pg_catalog.to_regclass($1)::pg_catalog.oid AND attname = ANY($3::pg_catalog.text[]) AND attnum > 0 AND NOT attisdropped";
        let table = mapping.table.to_string();
        let mut missing = Vec::new();
        for (privilege, columns) in &needed {
            let parameters: [(&(dyn ToSql + Sync), Type); 3] = [
                (&table, Type::TEXT),
                (privilege, Type::TEXT),
                (columns, Type::TEXT_ARRAY),
            ];
            if !holds(client, sql, &parameters).await? {
                missing.push(*privilege);
            }
        }
        let mut needed: Vec<_> = needed.iter().map(|(privilege, _)| *privilege).collect();
        if mapping.can_delete() || mapping.is_replaced_with_parent() {
            needed.push("DELETE");
            let sql = "SELECT coalesce(pg_catalog.has_table_privilege(pg_catalog.to_regclass($1), 'DELETE'), true)";
            if !holds(client, sql, &[(&table, Type::TEXT)]).await? {
                missing.push("DELETE");
            }
        }
        let fix = format!(
            "GRANT {} ON {table} TO {};",
            missing.join(", "),
            quote_identifier(role)
        );
        Ok(Self {
            needed,
            missing,
            fix,
        })
    }
}

/// The answer to a query for one boolean.
async fn holds(
    client: &Client,
    sql: &str,
    parameters: &[(&(dyn ToSql + Sync), Type)],
) -> Result<bool, DatabaseError> {
    Ok(client.query_typed_one(sql, parameters).await?.try_get(0)?)
}

/// The index that Postgres uses for `ON CONFLICT (key)`: unique and not deferrable, not partial, on exactly these
/// columns in any order.
/// Source: `infer_arbiter_indexes` in
/// <https://github.com/postgres/postgres/blob/REL_18_STABLE/src/backend/optimizer/util/plancat.c>.
async fn unique_index_of_key(
    client: &Client,
    mapping: &TableMapping,
) -> Result<Option<String>, DatabaseError> {
    let sql = format!(
        "SELECT x.relname::pg_catalog.text FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid \
         WHERE i.indrelid = pg_catalog.to_regclass($1)::pg_catalog.oid AND i.indisunique AND i.indisvalid AND i.indimmediate \
         AND i.indpred IS NULL AND i.indexprs IS NULL AND $2::pg_catalog.text[] OPERATOR(pg_catalog.=) {COLUMNS_OF_INDEX} ORDER BY x.relname LIMIT 1"
    );
    let parameters: [(&(dyn ToSql + Sync), Type); 2] = [
        (&mapping.table.to_string(), Type::TEXT),
        (&key_of(mapping), Type::TEXT_ARRAY),
    ];
    let index = client.query_typed_opt(&sql, &parameters).await?;
    Ok(index.map(|row| row.try_get(0)).transpose()?)
}

/// Whether an index of the mapping's table has exactly the columns of its key, even one that is being built or
/// replaced.
pub(crate) async fn is_index_of_key(
    client: &Client,
    mapping: &TableMapping,
    index: &str,
) -> Result<bool, DatabaseError> {
    let sql = format!(
        "SELECT FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid \
         WHERE x.relname = $1 AND i.indisunique AND $2::pg_catalog.text[] OPERATOR(pg_catalog.=) {COLUMNS_OF_INDEX} \
         AND (i.indrelid = pg_catalog.to_regclass($3)::pg_catalog.oid OR EXISTS (SELECT FROM pg_catalog.pg_inherits WHERE inhrelid = i.indrelid))"
    );
    let table = mapping.table.to_string();
    let parameters: [(&(dyn ToSql + Sync), Type); 3] = [
        (&index, Type::TEXT),
        (&key_of(mapping), Type::TEXT_ARRAY),
        (&table, Type::TEXT),
    ];
    Ok(!client.query_typed(&sql, &parameters).await?.is_empty())
}

fn grant_usage(mapping: &TableMapping, role: &str) -> String {
    let schema = mapping.table.schema.as_deref().map(quote_identifier);
    format!(
        "GRANT USAGE ON SCHEMA {} TO {};",
        schema.unwrap_or_default(),
        quote_identifier(role)
    )
}
