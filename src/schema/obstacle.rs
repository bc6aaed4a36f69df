//! What keeps Postgres from changing a column.

use mapping::internals::quote_identifier;
use mapping::{ColumnType, Table};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};

use super::column::{LiveColumn, short};
use super::conversion::{are_comparable, is_number};
use crate::database::DatabaseError;

/// What the catalog says of a column that a statement would change.
#[derive(Debug)]
pub(super) struct Obstacles {
    pub(super) column: String,
    /// Types to which Postgres has an explicit cast, besides those from and to text.
    casts: Vec<String>,
    /// Types to which Postgres casts by itself, as it casts a default.
    casts_of_default: Vec<String>,
    has_default: bool,
    is_in_primary_key: bool,
    /// What keeps the column from getting any other type: views, triggers, policies, generated columns, …
    users: Vec<String>,
    pub(super) is_in_partition_key: bool,
    /// What Postgres builds anew for another type, and refuses if that type has no such comparison.
    comparisons: Vec<String>,
}

/// Reads the catalog, which Aurora DSQL does not have.
///
/// Source: `RememberAllDependentForRebuilding` in
/// <https://github.com/postgres/postgres/blob/REL_18_STABLE/src/backend/commands/tablecmds.c>.
pub(super) async fn read(client: &Client, table: &Table) -> Result<Vec<Obstacles>, DatabaseError> {
    let sql = "SELECT a.attname::pg_catalog.text, \
        ARRAY(SELECT pg_catalog.format_type(c.casttarget, NULL) FROM pg_catalog.pg_cast c WHERE c.castsource = e.oid), \
        ARRAY(SELECT pg_catalog.format_type(c.casttarget, NULL) FROM pg_catalog.pg_cast c \
              WHERE c.castsource = e.oid AND c.castcontext <> 'e'), \
        a.atthasdef AND a.attgenerated = '', \
        EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = a.attrelid AND i.indisprimary \
                AND a.attnum = ANY (i.indkey::pg_catalog.int2[])), \
        ARRAY(SELECT pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid) FROM pg_catalog.pg_depend d \
              WHERE d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass::pg_catalog.oid AND d.refobjid = a.attrelid AND d.refobjsubid = a.attnum \
              AND (d.classid IN ('pg_catalog.pg_rewrite'::pg_catalog.regclass::pg_catalog.oid, 'pg_catalog.pg_trigger'::pg_catalog.regclass::pg_catalog.oid, \
                       'pg_catalog.pg_policy'::pg_catalog.regclass::pg_catalog.oid, 'pg_catalog.pg_proc'::pg_catalog.regclass::pg_catalog.oid, 'pg_catalog.pg_publication_rel'::pg_catalog.regclass::pg_catalog.oid) \
                   OR d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass::pg_catalog.oid AND d.objid <> ALL (ARRAY(SELECT own.oid \
                       FROM pg_catalog.pg_attrdef own WHERE own.adrelid = a.attrelid AND own.adnum = a.attnum))) ORDER BY 1), \
        EXISTS (SELECT FROM pg_catalog.pg_depend d \
                WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass::pg_catalog.oid AND d.objid = a.attrelid AND d.objsubid = a.attnum \
                AND d.refclassid = d.classid AND d.refobjid = a.attrelid AND d.refobjsubid = 0 AND d.deptype = 'i'), \
        ARRAY(SELECT pg_catalog.format('constraint %I on table %s', c.conname, c.conrelid::pg_catalog.regclass) FROM pg_catalog.pg_constraint c \
              WHERE c.contype IN ('f', 'c', 'x') AND c.conrelid = a.attrelid AND a.attnum = ANY (c.conkey) \
              OR c.contype = 'f' AND c.confrelid = a.attrelid AND a.attnum = ANY (c.confkey) \
              UNION SELECT pg_catalog.format('index %s', i.indexrelid::pg_catalog.regclass) FROM pg_catalog.pg_depend d \
              JOIN pg_catalog.pg_index i ON i.indexrelid = d.objid AND (i.indexprs IS NOT NULL OR i.indpred IS NOT NULL) \
              WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass::pg_catalog.oid AND d.refclassid = d.classid \
              AND d.refobjid = a.attrelid AND d.refobjsubid = a.attnum ORDER BY 1) \
        FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid \
        JOIN pg_catalog.pg_type e ON e.oid = CASE t.typcategory WHEN 'A' THEN t.typelem ELSE t.oid END \
        WHERE a.attrelid = pg_catalog.to_regclass($1)::pg_catalog.oid AND a.attnum > 0 AND NOT a.attisdropped";
    let name = table.to_string();
    let rows = client.query_typed(sql, &[(&name, Type::TEXT)]).await?;
    let obstacles = rows.iter().map(Obstacles::of);
    Ok(obstacles.collect::<Result<_, _>>()?)
}

impl Obstacles {
    fn of(row: &Row) -> Result<Self, tokio_postgres::Error> {
        Ok(Self {
            column: row.try_get(0)?,
            casts: row.try_get(1)?,
            casts_of_default: row.try_get(2)?,
            has_default: row.try_get(3)?,
            is_in_primary_key: row.try_get(4)?,
            users: row.try_get(5)?,
            is_in_partition_key: row.try_get(6)?,
            comparisons: row.try_get(7)?,
        })
    }
}

impl Obstacles {
    /// What must be done before Postgres gives the column of this table the mapped type.
    pub(super) fn of_type(
        &self,
        table: &str,
        live: &LiveColumn,
        mapped: ColumnType,
    ) -> Option<String> {
        // By its text, or the text of its elements: any string, and numbers to boolean.
        let is_same_nesting = !live.is_array || matches!(mapped, ColumnType::Array(_));
        let is_by_text =
            live.is_string && is_same_nesting || mapped == ColumnType::Boolean && is_number(live);
        if !is_by_text && !is_castable(&self.casts, live, mapped) {
            let from = short(&live.full_type);
            return Some(format!(
                "Postgres has no conversion from {from} to {mapped}: change the mapping, or rename the column and let `ddl --diff` add a new one"
            ));
        }
        if self.is_in_partition_key {
            return Some("change the mapping: Postgres does not change the type of a column by which the table is partitioned".to_owned());
        }
        if !self.users.is_empty() {
            return Some(format!(
                "change the mapping, or drop what uses the column and create it again afterwards: {}",
                self.users.join(", ")
            ));
        }
        if !self.comparisons.is_empty() && !are_comparable(live, mapped) {
            return Some(format!(
                "change the mapping, or drop what compares values of the current type, and then run `ddl --diff` again: {}",
                self.comparisons.join(", ")
            ));
        }
        if self.has_default && !is_castable(&self.casts_of_default, live, mapped) {
            let column = quote_identifier(&self.column);
            return Some(format!(
                "change the mapping, or drop the default of the column, which Postgres cannot convert, and run `ddl --diff` again: ALTER TABLE {table} ALTER COLUMN {column} DROP DEFAULT;"
            ));
        }
        None
    }

    /// What must be done where Postgres does not let the column be null.
    pub(super) fn of_null(&self) -> Option<String> {
        let what = "it is part of the table's primary key: map it with required = true, or change the primary key";
        self.is_in_primary_key.then(|| what.to_owned())
    }
}

/// Whether one of the casts leads to the type; any type has one to text.
/// Source: `find_coercion_pathway` in
/// <https://github.com/postgres/postgres/blob/REL_18_STABLE/src/backend/parser/parse_coerce.c>.
fn is_castable(casts: &[String], live: &LiveColumn, mapped: ColumnType) -> bool {
    let element = match mapped {
        ColumnType::Array(element) if live.is_array => element.into(),
        ColumnType::Array(_) => return false,
        scalar if live.is_array => return scalar.is_text(),
        scalar => scalar,
    };
    let name = element.to_string();
    let name = name.split('(').next().unwrap_or_default();
    element.is_text()
        || short(&live.type_name) == name
        || casts.iter().any(|cast| short(cast) == name)
}
