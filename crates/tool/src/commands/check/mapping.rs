//! Properties of the mapping that may surprise.

use mapping::{Column, OnConflict, Pipeline, TableMapping};

use super::report::Report;

pub(super) fn check(pipeline: &Pipeline, report: &mut Report) {
    for table in &pipeline.tables {
        report.about(pipeline, Some(table));
        for column in &table.columns {
            check_mask(column, report);
        }
        if table.parent.is_none() {
            check_order(table, report);
        }
        for (column, masked) in pipeline.clear_columns(table) {
            let text = format!(
                "column {:?} stores in plaintext the value that column {:?} masks (clear = true)",
                column.name, masked.name
            );
            report.ok("plaintext", &text);
        }
    }
    report.about(pipeline, None);
    if pipeline.trust_origin {
        let text = "anyone who can send to the queue can choose the row to overwrite (trust_origin = true)";
        report.ok("origin", text);
    }
}

/// If the hash needs no key, anyone who can read the table can hash all possible values and compare.
fn check_mask(column: &Column, report: &mut Report) {
    let Some(mask) = column.mask.filter(|mask| !mask.needs_key()) else {
        return;
    };
    let text = format!(
        "{mask} of column {} has no key: anyone who can read the table can recover addresses, phone numbers and similar values by hashing every possible one",
        column.name
    );
    report.warning("masks", &text, "use hmac-sha256, or aes-siv")
}

fn check_order(mapping: &TableMapping, report: &mut Report) {
    match (mapping.on_conflict, mapping.newer_column()) {
        (OnConflict::Ignore, _) => {}
        (OnConflict::Update, Some(column)) => {
            let text = format!(
                "by column {:?}: a row is replaced only by one that is as new or newer",
                column.name
            );
            report.ok("newer", &text)
        }
        (OnConflict::Update, None) => report.warning(
            "newer",
            "the message that is stored last wins, and standard queues, outages and redrive reorder messages",
            "set newer = \"…\" to a column that holds a date, timestamp, timestamptz or number from the message",
        ),
    }
}
