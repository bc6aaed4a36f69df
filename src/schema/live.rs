//! The table in the catalog, and how it differs from the mapping. The loader reads it only when Postgres refuses a
//! statement for any row.

use mapping::ddl::{add_column, alter_type, drop_not_null, set_not_null};
use mapping::{Cast, Column, ColumnType, Table, TableMapping};
use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::TableError;
use super::cast::{self, LiveCast};
use super::column::{LiveColumn, short};
use super::conversion::{Fit, conversion, fit, type_of};
use super::difference::{Difference, Fault};
use super::fix::{Effect, Fix};
use super::null_check::{self, NullCheck};
use super::obstacle::{self, Obstacles};
use crate::database::DatabaseError;

/// What makes null impossible in a column.
const REQUIRE: &str = "map it with required = true";

/// The columns of a table in the catalog; none if it does not exist or is hidden.
#[derive(Debug, Default)]
pub struct LiveTable {
    columns: Vec<LiveColumn>,
    casts: Vec<LiveCast>,
    /// None if they were not read.
    obstacles: Vec<Obstacles>,
    /// None if they were not read.
    null_checks: Vec<NullCheck>,
}

impl LiveTable {
    /// Reads the columns from the catalog.
    ///
    /// # Errors
    /// The connection failed, or the role has no privilege on the schema.
    pub async fn read(client: &Client, mapping: &TableMapping) -> Result<Self, DatabaseError> {
        let sql = "SELECT a.attname::pg_catalog.text, pg_catalog.format_type(e.oid, NULL), pg_catalog.format_type(b.oid, m), e.typtype = 'e', e.typcategory = 'S', m, \
                   a.attnotnull, a.atthasdef AND a.attgenerated = '' OR a.attidentity <> '' OR t.typdefault IS NOT NULL, \
                   a.attgenerated <> '' OR a.attidentity = 'a', b.oid <> e.oid, \
                   CASE t.typtype WHEN 'd' THEN pg_catalog.format_type(t.oid, NULL) END, t.typnotnull \
                   FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid \
                   JOIN pg_catalog.pg_type b ON b.oid = CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.oid END \
                   JOIN pg_catalog.pg_type e ON e.oid = CASE b.typcategory WHEN 'A' THEN b.typelem ELSE b.oid END, \
                   LATERAL (SELECT CASE t.typtype WHEN 'd' THEN t.typtypmod ELSE a.atttypmod END) AS modifier(m) \
                   WHERE a.attrelid = pg_catalog.to_regclass($1)::pg_catalog.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum";
        let rows = client
            .query_typed(sql, &[(&mapping.table.to_string(), Type::TEXT)])
            .await?;
        let column = |row: &tokio_postgres::Row| -> Result<LiveColumn, tokio_postgres::Error> {
            Ok(LiveColumn {
                name: row.try_get(0)?,
                type_name: row.try_get(1)?,
                full_type: row.try_get(2)?,
                is_enum: row.try_get(3)?,
                is_string: row.try_get(4)?,
                type_modifier: row.try_get(5)?,
                is_not_null: row.try_get(6)?,
                has_default: row.try_get(7)?,
                is_generated: row.try_get(8)?,
                is_array: row.try_get(9)?,
                domain: row.try_get(10)?,
                is_domain_not_null: row.try_get(11)?,
            })
        };
        Ok(Self {
            columns: rows.iter().map(column).collect::<Result<_, _>>()?,
            casts: cast::read(client, mapping).await?,
            obstacles: Vec::new(),
            null_checks: Vec::new(),
        })
    }

    /// Reads what keeps Postgres from changing columns, so that no fix is a statement that it refuses, and the
    /// constraints that refuse null. Not for Aurora DSQL, which does not have these catalogs.
    ///
    /// # Errors
    /// The connection failed, or Postgres refused the query.
    pub async fn read_obstacles(
        &mut self,
        client: &Client,
        table: &Table,
    ) -> Result<(), DatabaseError> {
        self.obstacles = obstacle::read(client, table).await?;
        self.null_checks = null_check::read(client, table).await?;
        Ok(())
    }

    /// Whether there is no such table, or it is hidden.
    pub fn is_missing(&self) -> bool {
        self.columns.is_empty()
    }

    /// A description of a column for a sentence: `varchar(64), not null`.
    pub fn description(&self, column: &str) -> Option<String> {
        let live = self.column(column)?;
        let not_null = if live.allows_null() { "" } else { ", not null" };
        Some(format!("{}{not_null}", short(&live.full_type)))
    }

    fn column(&self, name: &str) -> Option<&LiveColumn> {
        self.columns.iter().find(|live| live.name == name)
    }

    /// All differences that prevent or change the storing of values, in the order of the mapping, and then the
    /// columns that only the table has.
    pub fn differences(&self, mapping: &TableMapping) -> Vec<Difference> {
        let table = mapping.table.to_string();
        let mapped = mapping
            .columns
            .iter()
            .flat_map(|column| self.differences_of(mapping, &table, column));
        let is_mapped = |live: &&LiveColumn| mapping.column_names().any(|name| name == live.name);
        let others = self.columns.iter().filter(|live| !is_mapped(live));
        let others = others
            .filter(|live| !live.allows_null() && !live.has_default && !live.is_generated)
            .map(|live| {
                let fix = self.allow_null(&table, live, REQUIRE);
                Difference::of(&live.name, Fault::UnmappedNotNull, fix)
            });
        mapped
            .chain(self.newer_as_text(mapping))
            .chain(others)
            .collect()
    }

    /// A text column stores any value, but `newer` would then compare by collation.
    fn newer_as_text(&self, mapping: &TableMapping) -> Option<Difference> {
        let column = mapping.newer_column()?;
        let is_text = |live: &&LiveColumn| live.is_string && !live.is_array;
        let live = self.column(&column.name).filter(is_text)?;
        let fault = Fault::NewerAsText(short(&live.full_type));
        let fix = self.retype(&mapping.table.to_string(), column, live);
        Some(Difference::of(&column.name, fault, fix))
    }

    fn differences_of(
        &self,
        mapping: &TableMapping,
        table: &str,
        column: &Column,
    ) -> Vec<Difference> {
        let difference = |fault, fix| Difference::of(&column.name, fault, fix);
        let Some(live) = self.column(&column.name) else {
            let missing = difference(Fault::Missing, Fix::adds(add_column(table, column)));
            return vec![Difference {
                later: set_not_null(mapping, column),
                ..missing
            }];
        };
        if live.is_generated {
            let fix = Fix::ByHand("remove it from the mapping".to_owned());
            return vec![difference(Fault::Generated, fix)];
        }
        let is_time_of_deletion = mapping.tombstone_column() == Some(column);
        let fault = match &column.cast {
            Some(cast) => self.fault_of_cast(cast, column, live),
            None => fault_of_type(mapping, column, live),
        };
        let mistyped = fault.map(|fault| difference(fault, self.retype(table, column, live)));
        let null = live
            .refusing_null()
            .filter(|_| !mapping.is_never_null(column));
        let not_null = null.map(
            |fault| match column.is_never_null() && !is_time_of_deletion {
                true => {
                    let fix = self.allow_null(table, live, "remove deleted from the mapping");
                    difference(fault.of_tombstone(), fix)
                }
                false => difference(fault, self.allow_null(table, live, REQUIRE)),
            },
        );
        let checked = self
            .null_checks
            .iter()
            .filter(|check| check.column == column.name && !mapping.is_never_null(column));
        let checked = checked.map(|check| {
            let fix = Fix::ByHand(format!("{REQUIRE}, or change the constraint"));
            difference(Fault::NullCheck(check.constraint.clone()), fix)
        });
        let faults = mistyped.into_iter().chain(not_null).chain(checked);
        faults.collect()
    }

    /// How a column differs from the type that the mapping casts it to.
    fn fault_of_cast(&self, cast: &Cast, column: &Column, live: &LiveColumn) -> Option<Fault> {
        let mapped = cast.to_string();
        let found = self
            .casts
            .iter()
            .find(|found| found.column == column.name)?;
        if !found.exists {
            return Some(Fault::NoType(mapped));
        }
        if !found.is_same {
            let actual = live.domain.clone();
            let actual = actual.unwrap_or_else(|| short(&live.full_type));
            return Some(Fault::OtherCast { actual, mapped });
        }
        // A type whose modifiers cannot be compared is the same.
        let actual: Cast = live.full_type.parse().ok()?;
        let is_narrow = live.domain.is_none() && !cast.fits(&actual);
        is_narrow.then(|| Fault::TooNarrow {
            actual: actual.to_string(),
            mapped,
            how: "refuses values that do not fit",
        })
    }

    /// The statement that gives the column the mapped type, unless Postgres would refuse it.
    fn retype(&self, table: &str, column: &Column, live: &LiveColumn) -> Fix {
        let mapped = column.column_type;
        if column.cast.is_some() || is_only_for_cast(live, mapped) {
            return Fix::ByHand(type_in_mapping(live));
        }
        let by_hand = self
            .obstacles_of(live)
            .and_then(|found| found.of_type(table, live, mapped));
        let effect = conversion(live, mapped);
        by_hand.map_or_else(
            || Fix::Statement(alter_type(table, column), effect),
            Fix::ByHand,
        )
    }

    /// Otherwise the mapping must change: `or` says how.
    fn allow_null(&self, table: &str, live: &LiveColumn, or: &str) -> Fix {
        if let (Some(domain), true) = (&live.domain, live.is_domain_not_null) {
            return Fix::ByHand(format!(
                "{or}, or change every column of the domain with ALTER DOMAIN {domain} DROP NOT NULL;"
            ));
        }
        let by_hand = self.obstacles_of(live).and_then(Obstacles::of_null);
        by_hand.map_or_else(|| Fix::adds(drop_not_null(table, &live.name)), Fix::ByHand)
    }

    /// The columns by which the table is partitioned, if the obstacles were read.
    pub(super) fn partition_columns(&self) -> impl Iterator<Item = &str> {
        let partition = self
            .obstacles
            .iter()
            .filter(|found| found.is_in_partition_key);
        partition.map(|found| found.column.as_str())
    }

    fn obstacles_of(&self, live: &LiveColumn) -> Option<&Obstacles> {
        self.obstacles
            .iter()
            .find(|found| found.column == live.name)
    }

    /// Reads the columns of the mapping's table; none if the role cannot read them.
    pub(crate) async fn of_mapping(
        client: &Client,
        mapping: &TableMapping,
    ) -> Result<Self, DatabaseError> {
        match Self::read(client, mapping).await {
            Err(error) if error.is_missing_privilege() => Ok(Self::default()),
            read => read,
        }
    }

    /// The fault of a column that requires a value, and is not mapped, or null in tombstones.
    pub(crate) fn not_null_fault(&self, mapping: &TableMapping, name: &str) -> Option<TableError> {
        let is_it = |difference: &Difference| {
            let faults = [Fault::UnmappedNotNull, Fault::NotNullTombstone];
            difference.column == name && faults.contains(&difference.fault)
        };
        let difference = self.differences(mapping).into_iter().find(is_it)?;
        let (table, column) = (mapping.table.to_string(), difference.column);
        let ddl = difference.fix.hint();
        Some(match difference.fault {
            Fault::NotNullTombstone => TableError::NotNullTombstone { table, column, ddl },
            _ => TableError::UnmappedNotNull { table, column, ddl },
        })
    }

    /// The first mapped column for which Postgres refuses the statement.
    pub(super) fn column_fault(&self, mapping: &TableMapping) -> Option<TableError> {
        let table = mapping.table.to_string();
        let error = |difference: Difference| {
            let (table, column) = (table.clone(), difference.column);
            let ddl = difference.fix.hint();
            Some(match difference.fault {
                Fault::Missing => TableError::ColumnMissing { table, column, ddl },
                Fault::WrongType { actual, mapped } | Fault::KeyAsText { actual, mapped } => {
                    TableError::ColumnType {
                        table,
                        column,
                        actual,
                        mapped,
                        ddl,
                    }
                }
                Fault::OtherCast { actual, mapped } => TableError::ColumnType {
                    table,
                    column,
                    actual,
                    mapped,
                    ddl,
                },
                Fault::NoType(mapped) => TableError::NoType {
                    table,
                    column,
                    mapped,
                    ddl,
                },
                Fault::TooNarrow { .. } | Fault::Changes { .. } | Fault::NewerAsText(_) => {
                    return None;
                }
                Fault::NotNull | Fault::NotNullDomain(_) | Fault::UnmappedNotNull => return None,
                Fault::NotNullTombstone | Fault::NullCheck(_) => return None,
                Fault::Generated => return None,
            })
        };
        self.differences(mapping).into_iter().find_map(error)
    }
}

/// How a column differs from the mapped type.
fn fault_of_type(mapping: &TableMapping, column: &Column, live: &LiveColumn) -> Option<Fault> {
    let is_text = live.is_text_of(column.column_type);
    let (actual, mapped) = (short(&live.full_type), column.column_type.to_string());
    let is_compared = mapping.compares(&column.name);
    // Rounding would make different keys equal, and older rows as new as newer ones.
    let mut identifying = mapping.identifying().into_iter();
    let named = |position: usize| mapping.columns.get(position).map(|column| &column.name);
    let identifies = identifying.any(|position| named(position) == Some(&column.name));
    match fit(column, live) {
        _ if is_compared && is_text => Some(Fault::KeyAsText { actual, mapped }),
        Fit::Whole => None,
        Fit::Changed(how) if !identifies => Some(Fault::Changes {
            actual,
            mapped,
            how,
        }),
        Fit::Changed(how) | Fit::Narrow(how) => Some(Fault::TooNarrow {
            actual,
            mapped,
            how,
        }),
        Fit::Never => Some(Fault::WrongType { actual, mapped }),
    }
}

/// Whether the column has a type that the mapping has only by `cast`, and whose values another type would lose.
fn is_only_for_cast(live: &LiveColumn, mapped: ColumnType) -> bool {
    let loses = matches!(conversion(live, mapped), Effect::Loses(_));
    loses && live.domain.is_none() && !live.is_string && type_of(live).is_none()
}

/// What to write in the mapping for the type that the column has.
fn type_in_mapping(live: &LiveColumn) -> String {
    if let Some(native) = type_of(live) {
        return format!("write type = \"{native}\" without cast");
    }
    let array = if live.is_array { "[]" } else { "" };
    let plain = format!("{}{array}", live.type_name);
    let own = live.domain.as_ref().unwrap_or(&live.full_type);
    let cast = own.parse().or_else(|_| plain.parse());
    let cast = cast.map_or(plain, |cast: Cast| cast.to_string());
    format!("write type = \"text\" and cast = {cast:?}")
}
