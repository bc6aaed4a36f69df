//! The table: whether it fits the mapping.

use mapping::internals::quote_identifier;
use mapping::{Pipeline, TableMapping};
use sqs_to_postgres::schema::{
    Difference, ForeignKey, Inspection, Kind, ParentFacts, PartitionGap, Permissions, StrictUnique,
    TableFacts,
};

use super::report::Report;

/// The name of the check of a column.
pub(super) fn line_name(column: &str) -> String {
    format!("column {column}")
}

pub(super) fn check(
    inspection: &Inspection,
    role: &str,
    (pipeline, mapping): (&Pipeline, &TableMapping),
    report: &mut Report,
) {
    let name = &mapping.table;
    let one_line = |sql: &str| sql.split_whitespace().collect::<Vec<_>>().join(" ");
    match inspection {
        Inspection::NoSchema(fix) => {
            report.failure("table", format!("the schema of {name} does not exist"), fix)
        }
        Inspection::SchemaClosed(fix) => report.failure(
            "table",
            format!("the role has no USAGE privilege on the schema of {name}"),
            fix,
        ),
        Inspection::NoTable => {
            let fix = one_line(&pipeline.create_table(mapping));
            report.failure("table", format!("{name} does not exist"), &fix)
        }
        Inspection::Table(table) => check_table(table, role, mapping, report),
    }
}

fn check_table(table: &TableFacts, role: &str, mapping: &TableMapping, report: &mut Report) {
    check_kind(table, role, mapping, report);
    check_columns(table, mapping, report);
    if let Ok(index) = &table.unique_index {
        report.ok("key", format!("unique index {index}"));
    }
    if let Some(fix) = table.key_fix(mapping) {
        let text = "the table has no unique index on the key";
        report.failure("key", text, fix.hint());
    }
    check_permissions(&table.permissions, report)
}

fn check_kind(table: &TableFacts, role: &str, mapping: &TableMapping, report: &mut Report) {
    let found = format!("{} in schema {}", mapping.table, table.schema);
    match table.kind {
        Kind::Other => report.failure(
            "table",
            format!("{found} is not a table"),
            "map the table itself",
        ),
        Kind::Partitioned(0) => {
            let fix = "create partitions: `sqs-to-postgres ddl --partition-by` prints them";
            report.failure("table", format!("{found} has no partitions"), fix);
        }
        Kind::Partitioned(parts) => report.ok("table", format!("{found}, {parts} partitions")),
        Kind::Table => report.ok("table", &found),
    }
    if let Some(gap) = &table.partition_gap {
        check_gap(gap, report);
    }
    if !table.unlogged.is_empty() {
        let text = format!(
            "{} is UNLOGGED: a crash of the server empties it, although its messages were acknowledged",
            table.unlogged.join(", ")
        );
        let fix = |name: &String| format!("ALTER TABLE {name} SET LOGGED;");
        let fixes: Vec<_> = table.unlogged.iter().map(fix).collect();
        report.warning("durability", &text, fixes.join(" "));
    }
    if table.has_row_security {
        let text = "it applies to this role: a row that a policy refuses is rejected";
        let fix = format!(
            "add a policy that allows the mapped rows, or ALTER ROLE {} BYPASSRLS;",
            quote_identifier(role)
        );
        report.warning("row security", text, &fix);
    }
}

/// Checks what binds a child table to its parent. If the index of its key is missing, the fix for that index serves
/// both.
pub(super) fn check_parent(parent: &ParentFacts, has_key: bool, report: &mut Report) {
    match &parent.foreign_key {
        None => {}
        Some(Ok(ForeignKey { name, cascades })) => {
            let alone = match cascades {
                true => "",
                false => {
                    ", without ON DELETE CASCADE (not required: the function deletes child rows itself)"
                }
            };
            report.ok("foreign key", format!("{name}{alone}"));
        }
        Some(Err(fix)) => {
            let text = "none to the parent's key: a manual DELETE of a parent row can orphan its child rows";
            report.warning("foreign key", text, fix);
        }
    }
    match &parent.index {
        Ok(index) => report.ok("parent index", format!("index {index}")),
        Err(_) if !has_key => {}
        Err(fix) => {
            let text = "no index begins with the parent's key: each deletion of a parent row scans the whole table";
            report.warning("parent index", text, fix)
        }
    }
    for StrictUnique { index, fix } in &parent.strict {
        let text = format!(
            "unique index {index}: Postgres checks it after each row, so a message whose rows exchange its values is refused"
        );
        let fix = fix.as_deref().unwrap_or(
            "replace it with a deferrable constraint without an expression or a condition, or drop it",
        );
        report.warning("siblings", text, fix);
    }
}

fn check_gap(gap: &PartitionGap, report: &mut Report) {
    let PartitionGap { column, from, .. } = gap;
    let rows = if gap.is_now {
        format!("current rows ({column} {from})")
    } else {
        format!("rows with {column} from {from} on")
    };
    let text =
        format!("no partition for {rows}, and no DEFAULT partition: batches with these rows fail");
    let fix = format!("create the next partition, or {}", gap.fix);
    report.warning("partitions", &text, &fix)
}

fn check_columns(table: &TableFacts, mapping: &TableMapping, report: &mut Report) {
    let differences = table.columns.differences(mapping);
    for column in &mapping.columns {
        if differences
            .iter()
            .all(|difference| difference.column != column.name)
        {
            let description = table.columns.description(&column.name).unwrap_or_default();
            report.ok(&line_name(&column.name), &description);
        }
    }
    for Difference {
        column, fault, fix, ..
    } in &differences
    {
        let (name, fault_text) = (line_name(column), fault.to_string());
        if fault.is_mild() {
            report.warning(&name, &fault_text, fix.hint());
        } else {
            report.failure(&name, &fault_text, fix.hint());
        }
    }
}

fn check_permissions(permissions: &Permissions, report: &mut Report) {
    if permissions.missing.is_empty() {
        return report.ok("grants", permissions.needed.join(", "));
    }
    let text = format!(
        "{} not granted on the mapped columns",
        permissions.missing.join(", ")
    );
    report.failure("grants", &text, &permissions.fix)
}
