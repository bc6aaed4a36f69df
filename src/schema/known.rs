//! What the statement of a batch takes for granted of the tables, beyond the mapping: the types by which it compares
//! keys, and that no foreign key deletes rows that the same statement writes.
//!
//! Reading the catalog would cost every connection a round trip, and a table can change while the function is warm. So
//! the statement itself checks what it takes for granted, as Postgres sees the tables when it runs, and fails with
//! [`TABLES_DIFFER`](crate::refusal::TABLES_DIFFER) where that is wrong. Only then is the catalog read.

use mapping::internals::{EQUALS, qualified, quote_literal};
use mapping::{Column, Pipeline, TableMapping};
use tokio_postgres::Client;
use tokio_postgres::types::{ToSql, Type};

use super::cast;
use crate::database::DatabaseError;

/// The types whose values Postgres compares as it compares the values of a parameter: `text` and `varchar`.
/// Source: <https://github.com/postgres/postgres/blob/REL_18_STABLE/src/include/catalog/pg_type.dat>.
const PLAIN_TYPES: &str = "25, 1043";

/// What is known of the tables of a mapping. By default: text is stored as `text` or `varchar`, and no foreign key
/// deletes rows of a mapped table.
#[derive(Debug, Default)]
pub struct Known {
    tables: Vec<KnownTable>,
    /// Positions of tables whose deleted rows take rows of other mapped tables with them, or change them.
    referred: Vec<usize>,
}

/// What is known of one table.
#[derive(Debug, Default)]
pub struct KnownTable {
    columns: Vec<KnownColumn>,
}

/// A column of an enum, of a string type other than `text` and `varchar`, or of the type that the mapping casts it to.
#[derive(Debug)]
pub struct KnownColumn {
    name: String,
    type_oid: u32,
    /// The type that a value sent as text is cast to, so that it is compared as an index of the column compares; with
    /// its schema. For a domain, the type that it is based on.
    pub cast: String,
    /// Its type as Postgres prints it, with its length.
    pub full_type: String,
    /// The operator by which an index of the column compares; `None` if its type has no index that compares.
    pub equals: Option<String>,
    /// Whether it, or an element of it, is an enum.
    pub is_enum: bool,
}

impl Known {
    /// Reads the catalog. A table that the role cannot see counts as one without such columns.
    ///
    /// # Errors
    /// The connection failed, or Postgres refused a query.
    pub async fn read(client: &Client, pipeline: &Pipeline) -> Result<Self, DatabaseError> {
        let mut tables = Vec::new();
        for table in &pipeline.tables {
            tables.push(match KnownTable::read(client, table).await {
                Err(error) if error.is_missing_privilege() => return Ok(Self::default()),
                read => read?,
            });
        }
        Ok(Self {
            tables,
            referred: referred(client, pipeline).await?,
        })
    }

    /// What is known of the table at a position.
    pub fn table(&self, position: usize) -> &KnownTable {
        const NOTHING: &KnownTable = &KnownTable {
            columns: Vec::new(),
        };
        self.tables.get(position).unwrap_or(NOTHING)
    }

    pub(crate) fn has_casts(&self) -> bool {
        self.tables.iter().any(|table| !table.columns.is_empty())
    }

    pub(crate) fn referred(&self) -> &[usize] {
        &self.referred
    }

    /// A condition that holds where the tables are not as the statement takes them to be; `None` where it takes
    /// nothing for granted.
    pub(crate) fn is_wrong(&self, pipeline: &Pipeline) -> Option<String> {
        let tables = pipeline.tables.iter().enumerate();
        let types = tables.flat_map(|(position, table)| {
            let known = self.table(position);
            let is_assumed =
                |column: &&Column| column.cast.is_none() || known.column(&column.name).is_some();
            let compared = table
                .columns
                .iter()
                .filter(|column| column.column_type.is_text() && table.compares(&column.name))
                .filter(is_assumed);
            compared.map(|column| known.has_other_type(table, &column.name))
        });
        let unknown = pairs(pipeline).filter(|(_, other)| !self.referred.contains(other));
        let deletes = deletes(pipeline, unknown).map(|keys| format!("EXISTS ({keys})"));
        let conditions: Vec<_> = types.chain(deletes).collect();
        (!conditions.is_empty()).then(|| conditions.join(" OR "))
    }
}

impl KnownTable {
    async fn read(client: &Client, table: &TableMapping) -> Result<Self, DatabaseError> {
        let sql = "SELECT a.attname::pg_catalog.text, a.atttypid, pg_catalog.format('%I.%I', n.nspname, b.typname), \
                   coalesce((SELECT pg_catalog.format('OPERATOR(%I.%s)', s.nspname, q.oprname) FROM pg_catalog.pg_opclass c \
                    JOIN pg_catalog.pg_am m ON m.oid = c.opcmethod AND m.amname = 'btree' \
                    JOIN pg_catalog.pg_amop o ON o.amopfamily = c.opcfamily AND o.amopstrategy = 3 \
                        AND o.amoplefttype = b.oid AND o.amoprighttype = b.oid \
                    JOIN pg_catalog.pg_operator q ON q.oid = o.amopopr JOIN pg_catalog.pg_namespace s ON s.oid = q.oprnamespace \
                    WHERE c.opcintype = b.oid AND c.opcdefault LIMIT 1), \
                    CASE WHEN b.typtype <> 'b' OR EXISTS (SELECT FROM pg_catalog.pg_cast \
                        WHERE castsource = b.oid AND castcontext = 'i' AND castmethod = 'b') THEN $3::pg_catalog.text END), \
                   e.typtype = 'e', pg_catalog.format_type(a.atttypid, a.atttypmod) \
                   FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid \
                   JOIN pg_catalog.pg_type b ON b.oid = CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.oid END \
                   JOIN pg_catalog.pg_type e ON e.oid = CASE b.typcategory WHEN 'A' THEN b.typelem ELSE b.oid END \
                   JOIN pg_catalog.pg_namespace n ON n.oid = b.typnamespace \
                   WHERE a.attrelid = pg_catalog.to_regclass($1)::pg_catalog.oid AND a.attnum > 0 AND NOT a.attisdropped \
                   AND (a.attname = ANY($2::pg_catalog.text[]) OR e.typtype = 'e' OR b.typcategory = 'S' \
                        AND a.atttypid NOT IN ('pg_catalog.text'::pg_catalog.regtype::pg_catalog.oid, \
                                               'pg_catalog.varchar'::pg_catalog.regtype::pg_catalog.oid)) \
                   ORDER BY a.attnum";
        let name = table.table.to_string();
        let casts = cast::read(client, table).await?;
        let casts = casts.into_iter().filter(|cast| cast.is_same);
        let casts: Vec<String> = casts.map(|cast| cast.column).collect();
        let parameters: [(&(dyn ToSql + Sync), Type); 3] = [
            (&name, Type::TEXT),
            (&casts, Type::TEXT_ARRAY),
            // Of enums, ranges and the like, and of types that are compared as another one.
            (&EQUALS, Type::TEXT),
        ];
        let rows = client.query_typed(sql, &parameters).await?;
        let column = |row: &tokio_postgres::Row| {
            Ok(KnownColumn {
                name: row.try_get(0)?,
                type_oid: row.try_get(1)?,
                cast: row.try_get(2)?,
                equals: row.try_get(3)?,
                is_enum: row.try_get(4)?,
                full_type: row.try_get(5)?,
            })
        };
        let columns: Result<_, tokio_postgres::Error> = rows.iter().map(column).collect();
        Ok(Self { columns: columns? })
    }

    /// A column, unless Postgres compares it as it compares a parameter.
    pub fn column(&self, name: &str) -> Option<&KnownColumn> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The operator by which an index of a column compares.
    pub fn equals(&self, column: &str) -> &str {
        let known = self.column(column);
        let equals = known.and_then(|column| column.equals.as_deref());
        equals.unwrap_or(EQUALS)
    }

    /// Without a row, and as the statement was parsed: with the lock that keeps the type from changing.
    fn has_other_type(&self, table: &TableMapping, name: &str) -> String {
        let expected = match self.column(name) {
            Some(known) => known.type_oid.to_string(),
            None => PLAIN_TYPES.to_owned(),
        };
        format!(
            "pg_catalog.pg_typeof((SELECT {} FROM {} AS t LIMIT 0))::pg_catalog.oid \
             OPERATOR(pg_catalog.<>) ALL (ARRAY[{expected}]::pg_catalog.oid[])",
            qualified("t", name),
            table.table
        )
    }
}

/// Which tables can refer to one that loses rows while the other one is written: pairs of positions, the second of
/// the table that loses rows. Rows of its children, and of theirs, go with its own.
fn pairs(pipeline: &Pipeline) -> impl Iterator<Item = (usize, usize)> {
    let tables = || 0..pipeline.tables.len();
    let loses_rows = |position: &usize| {
        let table = pipeline.tables.get(*position);
        table.is_some_and(|table| table.can_delete() || table.is_replaced_with_parent())
    };
    let are_apart = |own: usize, other: usize| {
        let is_root = pipeline.origin_of(other) == other;
        pipeline.origin_of(own) != pipeline.origin_of(other) || own == other && is_root
    };
    tables().filter(loses_rows).flat_map(move |other| {
        let referring = tables().filter(move |own| are_apart(*own, other));
        referring.map(move |own| (own, other))
    })
}

/// A query of the foreign keys between pairs of tables that delete or change rows with those that they refer to, by
/// the position of the table referred to.
fn deletes(pipeline: &Pipeline, pairs: impl Iterator<Item = (usize, usize)>) -> Option<String> {
    let oid = |position: usize| {
        let table = pipeline.tables.get(position)?;
        let name = quote_literal(&table.table.to_string());
        Some(format!("pg_catalog.to_regclass({name})::pg_catalog.oid"))
    };
    let pair = |(own, other)| Some(format!("({}, {}, {other})", oid(own)?, oid(other)?));
    let pairs: Vec<_> = pairs.filter_map(pair).collect();
    (!pairs.is_empty()).then(|| {
        format!(
            "SELECT pair.position FROM (VALUES {}) AS pair(own, other, position) JOIN pg_catalog.pg_constraint c \
             ON c.conrelid = pair.own AND c.confrelid = pair.other AND c.contype = 'f' AND c.confdeltype IN ('c', 'n', 'd')",
            pairs.join(", ")
        )
    })
}

async fn referred(client: &Client, pipeline: &Pipeline) -> Result<Vec<usize>, DatabaseError> {
    let Some(sql) = deletes(pipeline, pairs(pipeline)) else {
        return Ok(Vec::new());
    };
    let no_parameters: [(&(dyn ToSql + Sync), Type); 0] = [];
    let mut positions = Vec::new();
    for row in client.query_typed(&sql, &no_parameters).await? {
        let position: i32 = row.try_get(0)?;
        positions.extend(usize::try_from(position));
    }
    positions.sort_unstable();
    positions.dedup();
    Ok(positions)
}
