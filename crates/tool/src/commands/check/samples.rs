//! Sample messages: what the mapping loses or misreads of them.

use std::path::PathBuf;

use mapping::{Compiled, KeyRing, Pipeline, Rejection};

use super::report::Report;
use crate::cli::output::counted;
use crate::cli::samples::{self, Sample};
use crate::commands::explain::findings::{Findings, Severity};

const NAME: &str = "samples";

pub(super) fn check(
    files: &[PathBuf],
    (file, pipeline): (&str, &Pipeline),
    keys: Option<&KeyRing>,
    report: &mut Report,
) {
    let Some(mut samples) = report.value(NAME, samples::read(files)) else {
        return;
    };
    let placeholder = KeyRing::placeholder();
    // A mapping that lacks its key has a line of its own.
    let Ok(compiled) = Compiled::new(file, pipeline, Some(keys.unwrap_or(&placeholder))) else {
        return;
    };
    let mut findings = Findings::new(pipeline, false);
    let (mut rows, mut rejected, mut skipped) = (0, 0, 0);
    for sample in &mut samples {
        sample.record.apply_origin(compiled.origins());
        match rows_of(sample, &compiled, &mut findings) {
            Ok(0) => skipped += 1,
            Ok(of_message) => rows += of_message,
            Err(_) => rejected += 1,
        }
    }
    let (messages, rows) = (counted(samples.len(), "message"), counted(rows, "row"));
    let text = format!("{messages}: {rows}, {rejected} rejected, {skipped} without a row");
    let fix = "`explain --rejected` names the rule that each of them breaks";
    match rejected {
        0 => report.ok(NAME, text),
        all if all == samples.len() => report.failure(NAME, text, fix),
        _ => report.warning(NAME, text, fix),
    }
    for finding in findings.list() {
        let table = finding.table.and_then(|table| pipeline.tables.get(table));
        report.about(pipeline, table);
        match finding.severity {
            Severity::Note => report.ok(NAME, finding.text),
            Severity::Warning => report.warning(NAME, finding.text, finding.fix),
            Severity::Error => report.failure(NAME, finding.text, finding.fix),
        }
    }
    report.about(pipeline, None);
}

/// How many rows a message becomes.
fn rows_of(
    sample: &Sample,
    compiled: &Compiled,
    findings: &mut Findings<'_>,
) -> Result<usize, Rejection> {
    let message = compiled.extract(&sample.record)?;
    let mut rows = compiled.new_rows();
    let transformed = compiled.transform(&message, &mut rows);
    let of_message = transformed.is_ok().then_some(&rows);
    findings.see(sample, &message, compiled, of_message);
    transformed?;
    Ok(rows.tables().iter().map(|table| table.rows.len()).sum())
}
