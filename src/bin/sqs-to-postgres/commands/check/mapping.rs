//! What the mapping allows that somebody may not expect.

use sqs_to_postgres::pipeline::{OnConflict, Pipeline};

use super::report::Report;
use crate::cli::error::CliError;

pub(super) fn check(pipeline: &Pipeline, report: &mut Report) -> Result<(), CliError> {
    check_order(pipeline, report)?;
    for (column, masked) in pipeline.clear_columns() {
        let text = format!(
            "column {:?} stores what column {:?} masks, as clear = true says",
            column.name, masked.name
        );
        report.ok("in clear", &text)?;
    }
    if pipeline.trusts_origin() {
        let text = "whoever may send to the queue may choose the row to overwrite, as trust_origin = true says";
        report.ok("origin", text)?;
    }
    Ok(())
}

fn check_order(pipeline: &Pipeline, report: &mut Report) -> Result<(), CliError> {
    match (pipeline.on_conflict, pipeline.newer_column()) {
        (OnConflict::Ignore, _) => Ok(()),
        (OnConflict::Update, Some(column)) => {
            let text = format!(
                "by column {:?}: a row is replaced only by one that is as new or newer",
                column.name
            );
            report.ok("newer", &text)
        }
        (OnConflict::Update, None) => report.warning(
            "newer",
            "the message of a key that is stored last wins, and standard queues, outages and redrive reorder messages",
            "set newer = \"…\" to a column that is a date, timestamptz or number of the message",
        ),
    }
}
