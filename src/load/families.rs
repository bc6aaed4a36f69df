//! The SQL of a batch for several tables: one statement, in which a row of a child table is written if and only if
//! the row is that it belongs to.
//!
//! Each table has common table expressions, numbered like the tables: `n$0` are the new rows, `d$0` the keys of rows to
//! be deleted; `x$0` deletes them, `w$0` writes, and `g$0` deletes the rows of a child table that are gone. The `$` is
//! there because they hide tables of the same name. All of them see the tables as they were before the statement; what
//! one writes reaches the others only as what it returns.
//! Source: <https://www.postgresql.org/docs/18/queries-with.html#QUERIES-WITH-MODIFYING>.

use super::statement::{STORED, conflict_action, expression, is_not_newer};
use crate::pipeline::{Pipeline, TableMapping};
use crate::quote::{all_equal, qualified, quote_identifier, quote_list};
use crate::schema::EnumColumn;

/// The columns of the counts that the statement returns for each table.
pub(super) const COUNTS: usize = 3;

/// The statement for all tables of a mapping. `enums` has the columns of an enum type for each table.
pub(super) fn families(pipeline: &Pipeline, enums: &[Vec<EnumColumn>]) -> String {
    let mut first = 1;
    let mut expressions = Vec::new();
    let mut checks = Vec::new();
    for (position, table) in pipeline.tables.iter().enumerate() {
        let enums = enums.get(position).map_or(&[][..], Vec::as_slice);
        let of_row = |column| (first + column, column);
        let all = (0..table.columns.len()).map(of_row);
        let keys = select(table, enums, table.key.iter().copied().map(of_row));
        expressions.push(format!("n${position} AS ({})", select(table, enums, all)));
        first += table.columns.len();
        if table.can_delete() {
            let identifying = table.identifying();
            let parameters = first..;
            first += identifying.len();
            let select = select(table, enums, parameters.zip(identifying));
            expressions.push(format!("d${position} AS ({select})"));
            checks.push(no_key_is_written_and_deleted(position, table, &keys));
        }
        if table.has_children {
            checks.push(every_key_is_as_it_was_sent(position, table, &keys));
        }
    }
    let tables = || pipeline.tables.iter().enumerate();
    let roots = tables().filter(|(_, table)| table.parent.is_none());
    expressions.extend(roots.flat_map(|(position, table)| root(position, table)));
    // Those that belong to a row that is gone are gone before it.
    let replaced = tables().filter(|(_, table)| table.is_replaced_with_parent());
    let replaced = replaced
        .rev()
        .map(|(position, table)| gone(pipeline, position, table));
    expressions.extend(replaced);
    let children = tables().filter_map(|(position, table)| Some((position, table, table.parent?)));
    expressions
        .extend(children.map(|(position, table, parent)| child(pipeline, position, table, parent)));
    let counts = pipeline.tables.iter().enumerate().map(counts);
    let results: Vec<_> = counts.chain(checks).collect();
    format!(
        "WITH {} SELECT {}",
        expressions.join(", "),
        results.join(", ")
    )
}

/// Whether the statement has to find that no other transaction changes its tables meanwhile: it deletes rows of
/// child tables.
///
/// Of a row that another transaction has replaced since the statement began, Postgres replaces the latest version, but
/// of its children the statement sees those from before, and would leave the other ones. Under `REPEATABLE READ`
/// Postgres refuses it instead, and it is retried.
/// Source: <https://www.postgresql.org/docs/18/transaction-iso.html#XACT-REPEATABLE-READ>.
pub(super) fn needs_snapshot(pipeline: &Pipeline) -> bool {
    let mut tables = pipeline.tables.iter();
    tables.any(TableMapping::is_replaced_with_parent)
}

/// Rows from arrays: `columns` has their parameters and their positions in the table.
fn select(
    table: &TableMapping,
    enums: &[EnumColumn],
    columns: impl Iterator<Item = (usize, usize)>,
) -> String {
    let selected = columns.filter_map(|(parameter, position)| {
        let column = table.columns.get(position)?;
        let value = expression(parameter, column, enums);
        Some(format!("{value} AS {}", quote_identifier(&column.name)))
    });
    format!("SELECT {}", selected.collect::<Vec<_>>().join(", "))
}

/// Deletes and writes the rows of a table that has no parent.
fn root(position: usize, table: &TableMapping) -> Vec<String> {
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
            same_key((table, STORED), (table, "d")),
            unless_newer.unwrap_or_default(),
        ));
        after = format!(" WHERE {}", is_done(&format!("x${position}")));
    }
    expressions.push(format!(
        "w${position} AS (INSERT INTO {} AS {STORED} ({}) SELECT * FROM n${position}{after} ON CONFLICT ({}) DO {} RETURNING {key})",
        table.table,
        quote_list(table.column_names()),
        quote_list(table.key_names()),
        conflict_action(table, table.has_children),
    ));
    expressions
}

/// Deletes the rows of a child table that are gone, with their parents or from among their siblings.
fn gone(pipeline: &Pipeline, position: usize, table: &TableMapping) -> String {
    let origin = pipeline.origin_of(position);
    let origin_table = &pipeline.tables[origin];
    let key = quote_list(origin_table.key_names());
    let deleted = match origin_table.can_delete() {
        true => format!(" UNION ALL SELECT {key} FROM x${origin}"),
        false => String::new(),
    };
    let grandchildren = pipeline.children(position);
    let emptied: Vec<_> = grandchildren
        .map(|(child, _)| format!(" AND {}", is_done(&format!("g${child}"))))
        .collect();
    format!(
        "g${position} AS (DELETE FROM {} AS {STORED} USING (SELECT {key} FROM w${origin}{deleted}) AS f \
         WHERE {} AND NOT EXISTS (SELECT FROM n${position} AS n WHERE {}){} RETURNING 1)",
        table.table,
        same_key((table, STORED), (origin_table, "f")),
        same_key((table, STORED), (table, "n")),
        emptied.concat(),
    )
}

/// Writes the rows of a child table that belong to rows written, after those that are gone were deleted.
fn child(pipeline: &Pipeline, position: usize, table: &TableMapping, parent: usize) -> String {
    let parent_table = &pipeline.tables[parent];
    let after = match table.is_replaced_with_parent() {
        true => format!(" WHERE {}", is_done(&format!("g${position}"))),
        false => String::new(),
    };
    format!(
        "w${position} AS (INSERT INTO {} AS {STORED} ({}) SELECT {} FROM n${position} AS n JOIN w${parent} AS w ON {}{after} \
         ON CONFLICT ({}) DO {} RETURNING {})",
        table.table,
        quote_list(table.column_names()),
        columns(table.column_names(), "n"),
        same_key((table, "n"), (parent_table, "w")),
        quote_list(table.key_names()),
        conflict_action(table, true),
        columns(table.key_names(), STORED),
    )
}

/// How many rows of a table were written, how many deleted, and how many are newer than the message that would have
/// deleted them.
fn counts((position, table): (usize, &TableMapping)) -> String {
    let count = |of: String| format!("(SELECT count(*) FROM {of})");
    let none = || "0::bigint".to_owned();
    let deleted = match table {
        table if table.is_replaced_with_parent() => count(format!("g${position}")),
        table if table.can_delete() => count(format!("x${position}")),
        _ => none(),
    };
    let newer = match table.newer_column() {
        Some(column) if table.can_delete() => {
            let name = quote_identifier(&column.name);
            let is_older = is_not_newer(&name, &format!("d.{name}"));
            let same_key = same_key((table, STORED), (table, "d"));
            count(format!(
                "{} AS {STORED} JOIN d${position} AS d ON {same_key} AND NOT coalesce({is_older}, false)",
                table.table
            ))
        }
        _ => none(),
    };
    [count(format!("w${position}")), deleted, newer].join(", ")
}

/// Fails with 21000, as `ON CONFLICT` does, where keys of the batch differ in their bytes and are equal to Postgres:
/// then what is written and deleted, and which children belong to which row, would depend on no order. One by one,
/// the messages are stored.
const FAIL_KEYS_ARE_EQUAL: &str = "(VALUES (1), (2))";

/// Fails with [`KEY_IS_CHANGED`](crate::refusal::KEY_IS_CHANGED).
const FAIL_KEY_IS_CHANGED: &str = "(SELECT 1 LIMIT -1)";

/// A row that is deleted is deleted first, whatever the order of the messages.
fn no_key_is_written_and_deleted(position: usize, table: &TableMapping, keys: &str) -> String {
    format!(
        "CASE WHEN EXISTS (SELECT FROM d${position} AS d JOIN ({keys}) AS n ON {}) THEN {FAIL_KEYS_ARE_EQUAL} END",
        same_key((table, "d"), (table, "n")),
    )
}

/// By their keys, children find the row that they belong to: each row written has to be that of one row sent.
/// `keys` selects the keys alone, so that Postgres need not keep whole rows.
fn every_key_is_as_it_was_sent(position: usize, table: &TableMapping, keys: &str) -> String {
    let sent = table.key_names().take(1).map(|name| qualified("n", name));
    format!(
        "(SELECT CASE WHEN count(*) > (SELECT count(*) FROM w${position}) THEN {FAIL_KEYS_ARE_EQUAL} \
         WHEN count(*) > count({}) THEN {FAIL_KEY_IS_CHANGED} END FROM w${position} AS w LEFT JOIN ({keys}) AS n ON {})",
        sent.collect::<String>(),
        same_key((table, "n"), (table, "w")),
    )
}

/// Whether rows of two tables, each with its alias, belong together: the key of the first begins with that of the
/// second.
fn same_key(
    (table, alias): (&TableMapping, &str),
    (other, other_alias): (&TableMapping, &str),
) -> String {
    all_equal((alias, table.key_names()), (other_alias, other.key_names()))
}

/// A condition that always holds, and makes Postgres run a data-modifying expression to its end first: without it, the
/// order is not defined.
fn is_done(expression: &str) -> String {
    format!("(SELECT count(*) FROM {expression}) >= 0")
}

fn columns<'a>(names: impl Iterator<Item = &'a str>, alias: &str) -> String {
    let columns = names.map(|name| qualified(alias, name));
    columns.collect::<Vec<_>>().join(", ")
}
