//! The table: whether it fits the mapping.

use sqs_to_postgres::pipeline::TableMapping;
use sqs_to_postgres::quote::quote_identifier;
use sqs_to_postgres::schema::{
    Difference, Inspection, Kind, PartitionGap, Permissions, TableFacts,
};

use super::report::Report;
use crate::cli::error::CliError;

/// The name of the check of a column.
pub(super) fn line_name(column: &str) -> String {
    format!("column {column}")
}

pub(super) fn check(
    inspection: &Inspection,
    role: &str,
    mapping: &TableMapping,
    report: &mut Report,
) -> Result<(), CliError> {
    let name = &mapping.table;
    let one_line = |sql: &str| sql.split_whitespace().collect::<Vec<_>>().join(" ");
    match inspection {
        Inspection::NoSchema(fix) => report.failure(
            "table",
            &format!("the schema of {name} does not exist"),
            fix,
        ),
        Inspection::SchemaClosed(fix) => report.failure(
            "table",
            &format!("the role has no USAGE privilege on the schema of {name}"),
            fix,
        ),
        Inspection::NoTable(fix) => {
            report.failure("table", &format!("{name} does not exist"), &one_line(fix))
        }
        Inspection::Table(table) => check_table(table, role, mapping, report),
    }
}

fn check_table(
    table: &TableFacts,
    role: &str,
    mapping: &TableMapping,
    report: &mut Report,
) -> Result<(), CliError> {
    check_kind(table, role, mapping, report)?;
    check_columns(table, mapping, report)?;
    match &table.unique_index {
        Ok(index) => report.ok("key", &format!("unique index {index}"))?,
        Err(fix) => report.failure("key", "the table has no unique index on the key", fix)?,
    }
    check_permissions(&table.permissions, report)
}

fn check_kind(
    table: &TableFacts,
    role: &str,
    mapping: &TableMapping,
    report: &mut Report,
) -> Result<(), CliError> {
    let found = format!("{} in schema {}", mapping.table, table.schema);
    match table.kind {
        Kind::Other => report.failure(
            "table",
            &format!("{found} is not a table"),
            "map the table itself",
        )?,
        Kind::Partitioned(0) => {
            let fix = "create partitions: `sqs-to-postgres ddl --partition-by` prints them";
            report.failure("table", &format!("{found} has no partitions"), fix)?;
        }
        Kind::Partitioned(parts) => report.ok("table", &format!("{found}, {parts} partitions"))?,
        Kind::Table => report.ok("table", &found)?,
    }
    if let Some(gap) = &table.partition_gap {
        check_gap(gap, report)?;
    }
    if !table.unlogged.is_empty() {
        let text = format!(
            "{} is UNLOGGED: a crash of the server empties it, although its messages were acknowledged",
            table.unlogged.join(", ")
        );
        let fix = |name: &String| format!("ALTER TABLE {name} SET LOGGED;");
        let fixes: Vec<_> = table.unlogged.iter().map(fix).collect();
        report.warning("durability", &text, &fixes.join(" "))?;
    }
    if table.has_row_security {
        let text = "it applies to this role: a row that a policy refuses is rejected";
        let fix = format!(
            "add a policy that allows the mapped rows, or ALTER ROLE {} BYPASSRLS;",
            quote_identifier(role)
        );
        report.warning("row security", text, &fix)?;
    }
    Ok(())
}

fn check_gap(gap: &PartitionGap, report: &mut Report) -> Result<(), CliError> {
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

fn check_columns(
    table: &TableFacts,
    mapping: &TableMapping,
    report: &mut Report,
) -> Result<(), CliError> {
    let differences = table.columns.differences(mapping);
    for column in &mapping.columns {
        if differences
            .iter()
            .all(|difference| difference.column != column.name)
        {
            let description = table.columns.description(&column.name).unwrap_or_default();
            report.ok(&line_name(&column.name), &description)?;
        }
    }
    for Difference {
        column, fault, fix, ..
    } in &differences
    {
        let (name, fault_text) = (line_name(column), fault.to_string());
        if fault.is_mild() {
            report.warning(&name, &fault_text, fix)?;
        } else {
            report.failure(&name, &fault_text, fix)?;
        }
    }
    Ok(())
}

fn check_permissions(permissions: &Permissions, report: &mut Report) -> Result<(), CliError> {
    if permissions.missing.is_empty() {
        return report.ok("grants", &permissions.needed.join(", "));
    }
    let text = format!(
        "{} not granted on the mapped columns",
        permissions.missing.join(", ")
    );
    report.failure("grants", &text, &permissions.fix)
}
