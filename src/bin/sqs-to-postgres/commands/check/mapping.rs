//! Properties of the mapping that may surprise.

use sqs_to_postgres::pipeline::{OnConflict, Pipeline, TableMapping};

use super::report::Report;
use crate::cli::error::CliError;

pub(super) fn check(pipeline: &Pipeline, report: &mut Report) -> Result<(), CliError> {
    for table in pipeline
        .tables
        .iter()
        .filter(|table| table.parent.is_none())
    {
        check_order(table, report)?;
    }
    for (column, masked) in pipeline.clear_columns() {
        let text = format!(
            "column {:?} stores in clear what column {:?} masks (clear = true)",
            column.name, masked.name
        );
        report.ok("in clear", &text)?;
    }
    if pipeline.trusts_origin() {
        let text = "anyone who can send to the queue can choose the row to overwrite (trust_origin = true)";
        report.ok("origin", text)?;
    }
    Ok(())
}

fn check_order(mapping: &TableMapping, report: &mut Report) -> Result<(), CliError> {
    match (mapping.on_conflict, mapping.newer_column()) {
        (OnConflict::Ignore, _) => Ok(()),
        (OnConflict::Update, Some(column)) => {
            let text = format!(
                "by column {:?}: a row is replaced only by one that is at least as new",
                column.name
            );
            report.ok("newer", &text)
        }
        (OnConflict::Update, None) => report.warning(
            "newer",
            "the message that is stored last wins, and standard queues, outages and redrive reorder messages",
            "set newer = \"…\" to a column with a date, timestamp, timestamptz or number of the message",
        ),
    }
}
