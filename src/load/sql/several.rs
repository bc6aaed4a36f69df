//! The SQL of a batch for several tables: one statement, in which a row of a child table is written if and only if
//! the row is that it belongs to.
//!
//! Each table has common table expressions, numbered like the tables: `n$0` are the new rows, `d$0` the keys of rows to
//! be deleted; `x$0` deletes them, `w$0` writes, and `g$0` deletes the rows of a child table that are gone. The `$` is
//! there because they hide tables of the same name. All of them see the tables as they were before the statement; what
//! one writes reaches the others only as what it returns.
//! Source: <https://www.postgresql.org/docs/18/queries-with.html#QUERIES-WITH-MODIFYING>.
//!
//! Where rows are looked up among others, it is by a condition that Postgres computes from a hash table and never turns
//! into a join: it would choose the join by the number of rows that it expects, which a plan for any batch does not know.

use mapping::internals::{EQUALS, Kind, all_equal, qualified, quote_identifier, quote_list};
use mapping::{Column, ColumnType, Pipeline, TableMapping};

use super::expressions::{STORED, collated, conflict_action, expression, is_not_newer};
use crate::schema::{Known, KnownTable};

/// The columns that the statement returns before the counts.
pub(in super::super) const FIRST_COUNT: usize = 1;

/// The columns of the counts that the statement returns for each table.
pub(in super::super) const COUNTS: usize = 3;

/// A table with its position, and what is known of it.
#[derive(Clone, Copy)]
struct Part<'a> {
    position: usize,
    table: &'a TableMapping,
    known: &'a KnownTable,
    /// The number of the parameter that has its first column.
    first: usize,
    stored: Stored<'a>,
}

/// What the statement does with rows that are in the tables.
#[derive(Clone, Copy)]
pub(super) enum Stored<'a> {
    /// What the mapping says.
    Handled,
    /// It fails, and stores nothing unless this condition holds.
    Refused(&'a str),
}

/// The statement for all tables of a mapping.
pub(super) fn of_several_tables(pipeline: &Pipeline, known: &Known, stored: Stored) -> String {
    let parts = parts(pipeline, known, stored);
    let mut expressions: Vec<_> = parts.iter().flat_map(Part::sent).collect();
    let roots = parts.iter().filter(|part| part.table.parent.is_none());
    expressions.extend(roots.flat_map(Part::root));
    // Rows that belong to a deleted row are deleted before it.
    let replaced = parts
        .iter()
        .filter(|part| part.table.is_replaced_with_parent());
    let origin = |part: &Part| parts.get(pipeline.origin_of(part.position)).copied();
    let gone = |part: &Part| Some(part.gone(pipeline, origin(part)?));
    expressions.extend(replaced.rev().filter_map(gone));
    let child = |part: &Part| Some(part.child(*parts.get(part.table.parent?)?));
    expressions.extend(parts.iter().filter_map(child));
    let first = tables_are_as_known(pipeline, known);
    let counts = parts.iter().map(Part::counts);
    let checks = parts.iter().flat_map(Part::checks);
    let results: Vec<_> = std::iter::once(first).chain(counts).chain(checks).collect();
    format!(
        "WITH {} SELECT {}",
        expressions.join(", "),
        results.join(", ")
    )
}

fn parts<'a>(pipeline: &'a Pipeline, known: &'a Known, stored: Stored<'a>) -> Vec<Part<'a>> {
    let mut next = 1;
    let tables = pipeline.tables.iter().enumerate();
    let parts = tables.map(|(position, table)| {
        let first = next;
        next += table.columns.len();
        if table.can_delete() {
            next += table.identifying().len();
        }
        Part {
            position,
            table,
            known: known.table(position),
            first,
            stored,
        }
    });
    parts.collect()
}

/// Whether a plan of the statement is as good for any other batch and size of the tables: it looks nothing up in them,
/// and Postgres can hash the keys. Otherwise an index scan that suits a large table, or the join that suits a large
/// batch, could be missing in a plan that was made before.
pub(super) fn has_lasting_plan(pipeline: &Pipeline, known: &Known) -> bool {
    let parts = parts(pipeline, known, Stored::Handled);
    let mut parts = parts.iter();
    parts.all(|part| {
        let looks_up = part.table.can_delete() || part.table.is_replaced_with_parent();
        !looks_up && part.is_key_hashed()
    })
}

/// Whether the statement must notice other transactions that change its tables meanwhile: it deletes rows of child
/// tables.
///
/// If another transaction has replaced a row since the statement began, Postgres replaces the latest version, but the
/// statement sees only the row's earlier children, and would not delete the new ones. Under `REPEATABLE READ` Postgres
/// refuses it instead, and it is retried.
/// Source: <https://www.postgresql.org/docs/18/transaction-iso.html#XACT-REPEATABLE-READ>.
pub(in super::super) fn needs_snapshot(pipeline: &Pipeline) -> bool {
    let mut tables = pipeline.tables.iter();
    tables.any(TableMapping::is_replaced_with_parent)
}

/// Fails with [`TABLES_DIFFER`](crate::refusal::TABLES_DIFFER).
const FAIL_TABLES_DIFFER: &str = "(SELECT 1 OFFSET -1)";

/// Fails with 21000, as `ON CONFLICT` does, where keys of the batch differ in their bytes and are equal to Postgres:
/// then what is written and deleted, and which children belong to which row, would depend on no order. One by one,
/// the messages are stored.
const FAIL_KEYS_ARE_EQUAL: &str = "(VALUES (1), (2))";

/// Fails with [`KEY_IS_CHANGED`](crate::refusal::KEY_IS_CHANGED).
const FAIL_KEY_IS_CHANGED: &str = "(SELECT 1 LIMIT -1)";

/// The first result, because Postgres computes them in order: nothing is written before it.
fn tables_are_as_known(pipeline: &Pipeline, known: &Known) -> String {
    match known.is_wrong(pipeline) {
        Some(condition) => format!("CASE WHEN {condition} THEN {FAIL_TABLES_DIFFER} END"),
        None => "NULL".to_owned(),
    }
}

impl Part<'_> {
    /// What was sent: the rows to be written, and the keys of those to be deleted.
    fn sent(&self) -> Vec<String> {
        let Self {
            position, table, ..
        } = self;
        let guard = match (self.stored, table.parent) {
            (Stored::Refused(guard), None) => format!(" WHERE {guard}"),
            (Stored::Refused(_), Some(_)) | (Stored::Handled, _) => String::new(),
        };
        let rows = self.select(0..table.columns.len());
        let mut expressions = vec![format!("n${position} AS ({rows}{guard})")];
        if table.can_delete() {
            let first = self.first + table.columns.len();
            let keys = self.select_from((first..).zip(table.identifying()), |key, _| key);
            expressions.push(format!("d${position} AS ({keys}{guard})"));
        }
        expressions
    }

    fn checks(&self) -> Vec<String> {
        let mut checks = Vec::new();
        if self.table.can_delete() {
            checks.push(self.no_key_is_written_and_deleted());
        }
        if self.table.has_children {
            checks.extend(self.every_key_is_sent_once());
            checks.push(self.every_key_is_as_it_was_sent());
        }
        checks
    }

    /// These columns of the rows sent.
    fn select(&self, columns: impl IntoIterator<Item = usize>) -> String {
        let columns = columns.into_iter();
        let columns = columns.map(|column| (self.first + column, column));
        self.select_from(columns, |parameter, _| parameter)
    }

    /// The keys of the rows sent, and nothing else, so that Postgres need not keep whole rows.
    fn keys(&self) -> String {
        self.select(self.table.key.iter().copied())
    }

    /// The same with the collations of their columns: a parameter has none of its own, and by another one other keys
    /// are equal.
    fn collated_keys(&self) -> String {
        let columns = self.table.key.iter();
        let columns = columns.map(|&column| (self.first + column, column));
        self.select_from(columns, |parameter, column| {
            collated(&parameter, self.table, column, self.known)
        })
    }

    /// From parameters by their numbers, each with the position of its column.
    fn select_from(
        &self,
        columns: impl Iterator<Item = (usize, usize)>,
        array: impl Fn(String, &Column) -> String,
    ) -> String {
        let selected = columns.filter_map(|(parameter, position)| {
            let column = self.table.columns.get(position)?;
            let array = array(format!("${parameter}"), column);
            let value = expression(&array, column, self.known);
            Some(format!("{value} AS {}", quote_identifier(&column.name)))
        });
        format!("SELECT {}", selected.collect::<Vec<_>>().join(", "))
    }

    /// Whether rows of two tables, each with its alias, belong together: the key of this one begins with the key of the
    /// other.
    fn same_key(&self, alias: &str, (other, other_alias): (&TableMapping, &str)) -> String {
        all_equal(
            (alias, self.table.key_names()),
            (other_alias, other.key_names()),
            |column| self.known.equals(column),
        )
    }

    /// Whether Postgres compares the whole key as it compares parameters, by operators that it can hash.
    fn is_key_hashed(&self) -> bool {
        let mut names = self.table.key_names();
        names.all(|name| self.known.column(name).is_none())
    }

    /// Whether the key of a row, or what its table has of the key of another one, is among those that a query returns.
    /// `IS TRUE` keeps Postgres from making a join of it.
    fn is_among(&self, alias: &str, other: &TableMapping, query: &str) -> String {
        if self.is_key_hashed() {
            let key = self.table.key_names().take(other.key.len());
            let key = columns(key, alias);
            return format!("(({key}) {EQUALS} ANY ({query})) IS TRUE");
        }
        let is_equal = self.same_key(alias, (other, "o"));
        format!("EXISTS (SELECT FROM ({query}) AS o WHERE {is_equal})")
    }

    /// Deletes and writes the rows of a table that has no parent.
    fn root(&self) -> Vec<String> {
        let Self {
            position, table, ..
        } = self;
        let mut expressions = Vec::new();
        let mut after = String::new();
        if table.can_delete() {
            let unless_newer = table.newer_column().map(|column| {
                let name = quote_identifier(&column.name);
                format!(" AND {}", is_not_newer(&name, &format!("d.{name}")))
            });
            expressions.push(format!(
                "x${position} AS (DELETE FROM {} AS {STORED} USING d${position} AS d WHERE {}{} RETURNING {})",
                table.table,
                self.same_key(STORED, (table, "d")),
                unless_newer.unwrap_or_default(),
                self.returned(),
            ));
            after = format!(" WHERE {}", is_done(&format!("x${position}")));
        }
        let tombstone = table.tombstone_column();
        let deleted_at = tombstone.map(|column| format!(", {}", qualified(STORED, &column.name)));
        expressions.push(format!(
            "w${position} AS (INSERT INTO {} AS {STORED} ({}) SELECT * FROM n${position}{after}{} RETURNING {}{})",
            table.table,
            quote_list(table.column_names()),
            self.on_conflict(table.has_children),
            self.returned(),
            deleted_at.unwrap_or_default(),
        ));
        expressions
    }

    fn on_conflict(&self, is_always_written: bool) -> String {
        match self.stored {
            Stored::Refused(_) => String::new(),
            Stored::Handled => format!(
                " ON CONFLICT ({}) DO {}",
                quote_list(self.table.key_names()),
                conflict_action(self.table, is_always_written)
            ),
        }
    }

    /// What the rows of other tables are compared with.
    fn returned(&self) -> String {
        match self.table.has_children {
            true => columns(self.table.key_names(), STORED),
            false => "1".to_owned(),
        }
    }

    /// Deletes the rows of a child table that are gone, with their parents or from among their siblings. Those of a
    /// tombstone remain.
    fn gone(&self, pipeline: &Pipeline, origin: Part) -> String {
        let Self {
            position, table, ..
        } = self;
        let key = quote_list(origin.table.key_names());
        let deleted = match origin.table.can_delete() {
            true => format!(" UNION ALL SELECT {key} FROM x${}", origin.position),
            false => String::new(),
        };
        let written = origin.without_tombstones();
        let families = format!("SELECT {key} FROM w${}{written}{deleted}", origin.position);
        let grandchildren = pipeline.children(*position);
        let emptied: Vec<_> = grandchildren
            .map(|(child, _)| format!(" AND {}", is_done(&format!("g${child}"))))
            .collect();
        let (using, is_of_family) = self.is_of_family(origin, &families);
        format!(
            "g${position} AS (DELETE FROM {} AS {STORED}{using} WHERE {is_of_family} AND NOT ({}){} RETURNING 1)",
            table.table,
            self.is_among(STORED, table, &self.keys()),
            emptied.concat(),
        )
    }

    /// How a child table finds the rows that belong to others, with what the condition needs beside the table. An array
    /// is looked up in the index however many rows Postgres expects; for a join with a table that was never analysed
    /// it expects so many that it reads the whole table.
    fn is_of_family(&self, origin: Part, families: &str) -> (String, String) {
        match origin.table.key[..] {
            [column] if self.is_key_hashed() && !origin.is_array(column) => {
                let key = columns(self.table.key_names().take(1), STORED);
                (
                    String::new(),
                    format!("{key} {EQUALS} ANY (ARRAY({families}))"),
                )
            }
            _ => (
                format!(" USING ({families}) AS f"),
                self.same_key(STORED, (origin.table, "f")),
            ),
        }
    }

    fn is_array(&self, column: usize) -> bool {
        let column = self.table.columns.get(column);
        column.is_some_and(|column| matches!(column.column_type, ColumnType::Array(_)))
    }

    /// Omits the tombstones from what was written.
    fn without_tombstones(&self) -> String {
        let condition =
            |column: &Column| format!(" WHERE {} IS NULL", quote_identifier(&column.name));
        let tombstone = self.table.tombstone_column();
        tombstone.map(condition).unwrap_or_default()
    }

    /// Writes the rows of a child table that belong to rows written, after those that are gone were deleted.
    fn child(&self, parent: Part) -> String {
        let Self {
            position, table, ..
        } = self;
        let after = match table.is_replaced_with_parent() {
            true => format!(" AND {}", is_done(&format!("g${position}"))),
            false => String::new(),
        };
        let written = format!(
            "SELECT {} FROM w${}",
            quote_list(parent.table.key_names()),
            parent.position
        );
        format!(
            "w${position} AS (INSERT INTO {} AS {STORED} ({}) SELECT * FROM n${position} AS n WHERE {}{after}{} RETURNING {})",
            table.table,
            quote_list(table.column_names()),
            self.is_among("n", parent.table, &written),
            self.on_conflict(true),
            self.returned(),
        )
    }

    /// How many rows were written, how many deleted or written as tombstones, and how many are newer than the message
    /// that would have deleted them.
    fn counts(&self) -> String {
        let Self {
            position, table, ..
        } = self;
        let count = |of: String| format!("(SELECT pg_catalog.count(*) FROM {of})");
        let none = || "0::bigint".to_owned();
        let deleted = match table {
            table if table.is_replaced_with_parent() => count(format!("g${position}")),
            table if table.can_delete() => count(format!("x${position}")),
            table => match table.tombstone_column() {
                Some(column) => {
                    let deleted_at = quote_identifier(&column.name);
                    count(format!("w${position} WHERE {deleted_at} IS NOT NULL"))
                }
                None => none(),
            },
        };
        let newer = match table.newer_column() {
            Some(column) if table.can_delete() => {
                let name = quote_identifier(&column.name);
                let is_older = is_not_newer(&name, &format!("d.{name}"));
                let same_key = self.same_key(STORED, (table, "d"));
                count(format!(
                    "{} AS {STORED} JOIN d${position} AS d ON {same_key} AND NOT coalesce({is_older}, false)",
                    table.table
                ))
            }
            _ => none(),
        };
        let written = count(format!("w${position}{}", self.without_tombstones()));
        [written, deleted, newer].join(", ")
    }

    /// A row that is deleted is deleted first, whatever the order of the messages.
    fn no_key_is_written_and_deleted(&self) -> String {
        format!(
            "CASE WHEN EXISTS (SELECT FROM d${} AS d WHERE {}) THEN {FAIL_KEYS_ARE_EQUAL} END",
            self.position,
            self.is_among("d", self.table, &self.collated_keys()),
        )
    }

    /// By their keys, children find the row that they belong to. `None` where that is certain.
    fn every_key_is_sent_once(&self) -> Option<String> {
        let is_exact = |column: &Column| match column.column_type.kind() {
            Kind::Integer | Kind::Instant | Kind::Other => true,
            Kind::Text | Kind::Float | Kind::Decimal | Kind::Json | Kind::Array => false,
        };
        let is_certain = match self.stored {
            Stored::Refused(_) => true,
            Stored::Handled => self.is_key_hashed() && self.table.key_columns().all(is_exact),
        };
        let keys = self.collated_keys();
        (!is_certain).then(|| format!(
            "CASE WHEN (SELECT pg_catalog.count(*) FROM ({keys}) AS n) > (SELECT pg_catalog.count(*) FROM (SELECT DISTINCT * FROM ({keys}) AS n) AS n) \
             THEN {FAIL_KEYS_ARE_EQUAL} END"
        ))
    }

    /// Each row written must have the key of a row sent.
    fn every_key_is_as_it_was_sent(&self) -> String {
        format!(
            "CASE WHEN EXISTS (SELECT FROM w${} AS w WHERE NOT ({})) THEN {FAIL_KEY_IS_CHANGED} END",
            self.position,
            self.is_among("w", self.table, &self.collated_keys()),
        )
    }
}

/// A condition that always holds, and makes Postgres run a data-modifying expression to its end first: without it, the
/// order is not defined.
fn is_done(expression: &str) -> String {
    format!("(SELECT pg_catalog.count(*) FROM {expression}) >= 0")
}

fn columns<'a>(names: impl Iterator<Item = &'a str>, alias: &str) -> String {
    let columns = names.map(|name| qualified(alias, name));
    columns.collect::<Vec<_>>().join(", ")
}
