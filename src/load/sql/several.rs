//! The SQL of a batch for several tables: one statement, in which a row of a child table is written if and only if
//! the row is that it belongs to.
//!
//! Each table has common table expressions, numbered like the tables: `n$0` are the new rows, `d$0` the keys of rows to
//! be deleted; `x$0` deletes them, `w$0` writes, and `g$0` deletes the rows of a child table that are gone. The `$` is
//! there because they hide tables of the same name. All of them see the tables as they were before the statement; what
//! one writes reaches the others only as what it returns.
//! Source: <https://www.postgresql.org/docs/18/queries-with.html#QUERIES-WITH-MODIFYING>.

use mapping::internals::{all_equal, qualified, quote_identifier, quote_list};
use mapping::{Column, Pipeline, TableMapping};

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
}

/// The statement for all tables of a mapping.
pub(super) fn of_several_tables(pipeline: &Pipeline, known: &Known) -> String {
    let tables = pipeline.tables.iter().enumerate();
    let parts = tables.map(|(position, table)| Part {
        position,
        table,
        known: known.table(position),
    });
    let parts: Vec<Part> = parts.collect();
    let mut first = 1;
    let mut expressions = Vec::new();
    let mut checks = Vec::new();
    for part in &parts {
        let Part {
            position, table, ..
        } = part;
        let of_row = |column| (first + column, column);
        let all = (0..table.columns.len()).map(of_row);
        let keys = part.collated_keys(table.key.iter().copied().map(of_row));
        expressions.push(format!("n${position} AS ({})", part.select(all)));
        first += table.columns.len();
        if table.can_delete() {
            let identifying = table.identifying();
            let parameters = first..;
            first += identifying.len();
            let select = part.select(parameters.zip(identifying));
            expressions.push(format!("d${position} AS ({select})"));
            checks.push(part.no_key_is_written_and_deleted(&keys));
        }
        if table.has_children {
            checks.push(part.every_key_is_as_it_was_sent(&keys));
        }
    }
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
    let results: Vec<_> = std::iter::once(first).chain(counts).chain(checks).collect();
    format!(
        "WITH {} SELECT {}",
        expressions.join(", "),
        results.join(", ")
    )
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
    /// Rows from parameters: `columns` has their numbers and their positions in the table.
    fn select(&self, columns: impl Iterator<Item = (usize, usize)>) -> String {
        self.select_from(columns, |parameter, _| parameter)
    }

    /// The keys of the rows alone, so that Postgres need not keep whole rows, with the collations of their columns: a
    /// parameter has none of its own, and by another one other keys are equal.
    fn collated_keys(&self, columns: impl Iterator<Item = (usize, usize)>) -> String {
        self.select_from(columns, |parameter, column| {
            collated(&parameter, self.table, column, self.known)
        })
    }

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

    /// Deletes and writes the rows of a table that has no parent.
    fn root(&self) -> Vec<String> {
        let Self {
            position, table, ..
        } = self;
        let key = columns(table.key_names(), STORED);
        let mut expressions = Vec::new();
        let mut after = String::new();
        if table.can_delete() {
            let unless_newer = table.newer_column().map(|column| {
                let name = quote_identifier(&column.name);
                format!(" AND {}", is_not_newer(&name, &format!("d.{name}")))
            });
            expressions.push(format!(
                "x${position} AS (DELETE FROM {} AS {STORED} USING d${position} AS d WHERE {}{} RETURNING {key})",
                table.table,
                self.same_key(STORED, (table, "d")),
                unless_newer.unwrap_or_default(),
            ));
            after = format!(" WHERE {}", is_done(&format!("x${position}")));
        }
        let tombstone = table.tombstone_column();
        let deleted_at = tombstone.map(|column| format!(", {}", qualified(STORED, &column.name)));
        expressions.push(format!(
            "w${position} AS (INSERT INTO {} AS {STORED} ({}) SELECT * FROM n${position}{after} ON CONFLICT ({}) DO {} RETURNING {key}{})",
            table.table,
            quote_list(table.column_names()),
            quote_list(table.key_names()),
            conflict_action(table, table.has_children),
            deleted_at.unwrap_or_default(),
        ));
        expressions
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
        let grandchildren = pipeline.children(*position);
        let emptied: Vec<_> = grandchildren
            .map(|(child, _)| format!(" AND {}", is_done(&format!("g${child}"))))
            .collect();
        format!(
            "g${position} AS (DELETE FROM {} AS {STORED} USING (SELECT {key} FROM w${}{}{deleted}) AS f \
             WHERE {} AND NOT EXISTS (SELECT FROM n${position} AS n WHERE {}){} RETURNING 1)",
            table.table,
            origin.position,
            origin.without_tombstones(),
            self.same_key(STORED, (origin.table, "f")),
            self.same_key(STORED, (table, "n")),
            emptied.concat(),
        )
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
            true => format!(" WHERE {}", is_done(&format!("g${position}"))),
            false => String::new(),
        };
        format!(
            "w${position} AS (INSERT INTO {} AS {STORED} ({}) SELECT {} FROM n${position} AS n JOIN w${} AS w ON {}{after} \
             ON CONFLICT ({}) DO {} RETURNING {})",
            table.table,
            quote_list(table.column_names()),
            columns(table.column_names(), "n"),
            parent.position,
            self.same_key("n", (parent.table, "w")),
            quote_list(table.key_names()),
            conflict_action(table, true),
            columns(table.key_names(), STORED),
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
    fn no_key_is_written_and_deleted(&self, keys: &str) -> String {
        format!(
            "CASE WHEN EXISTS (SELECT FROM d${} AS d JOIN ({keys}) AS n ON {}) THEN {FAIL_KEYS_ARE_EQUAL} END",
            self.position,
            self.same_key("d", (self.table, "n")),
        )
    }

    /// By their keys, children find the row that they belong to: each row written must have the key of one row sent.
    fn every_key_is_as_it_was_sent(&self, keys: &str) -> String {
        let Self {
            position, table, ..
        } = self;
        let sent = table.key_names().take(1).map(|name| qualified("n", name));
        format!(
            "(SELECT CASE WHEN pg_catalog.count(*) > (SELECT pg_catalog.count(*) FROM w${position}) THEN {FAIL_KEYS_ARE_EQUAL} \
             WHEN pg_catalog.count(*) > pg_catalog.count({}) THEN {FAIL_KEY_IS_CHANGED} END FROM w${position} AS w LEFT JOIN ({keys}) AS n ON {})",
            sent.collect::<String>(),
            self.same_key("n", (table, "w")),
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
