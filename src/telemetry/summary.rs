//! The line of the log about a batch.

use std::collections::BTreeMap;

use serde::Serialize;
use tracing::Level;

use super::messages::{BATCH, BATCH_FAILED};
use super::trace::BatchTrace;
use super::{BatchMetrics, millis};
use crate::counts::Stored;

/// The summary of a batch, for people.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Summary {
    Done(Done),
    Failed {
        received: usize,
        stored: u64,
        retries: u64,
        reason: String,
        #[serde(flatten)]
        trace: BatchTrace,
    },
}

#[derive(Serialize)]
pub(super) struct Done {
    received: usize,
    #[serde(flatten)]
    rows: Stored,
    skipped: usize,
    empty_rows: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    paths_unread: Option<usize>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    tables: BTreeMap<String, Stored>,
    failed: usize,
    dead_lettered: usize,
    failed_by_rule: String,
    retries: u64,
    millis: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(flatten)]
    trace: BatchTrace,
}

/// Why the line of a batch with empty rows is a warning.
const EMPTY_ROWS: &str = "no column that reads the body has a value in some rows: compare the paths of the mapping with a message, for example with `explain`";

impl Summary {
    pub(super) fn done(
        batch: &BatchMetrics,
        tables: BTreeMap<String, Stored>,
        failed: &BTreeMap<&str, usize>,
        dead_lettered: usize,
    ) -> Self {
        let by_rule: Vec<_> = failed
            .iter()
            .map(|(rule, count)| format!("{rule}={count}"))
            .collect();
        let empty_rows = batch.empty_rows();
        Self::Done(Done {
            received: batch.received,
            rows: batch.rows(),
            skipped: batch.skipped,
            empty_rows,
            paths_unread: (batch.paths_unread > 0).then_some(batch.paths_unread),
            tables,
            failed: failed.values().sum(),
            dead_lettered,
            failed_by_rule: by_rule.join(" "),
            retries: batch.recovery.retries,
            millis: millis(batch.transform + batch.load),
            reason: (empty_rows > 0).then_some(EMPTY_ROWS),
            trace: batch.trace.clone(),
        })
    }

    pub(super) fn level(&self) -> Level {
        match self {
            Self::Done(done) if done.reason.is_some() => Level::WARN,
            Self::Done(_) => Level::INFO,
            Self::Failed { .. } => Level::ERROR,
        }
    }

    pub(super) fn message(&self) -> &'static str {
        match self {
            Self::Done(_) => BATCH,
            Self::Failed { .. } => BATCH_FAILED,
        }
    }

    pub(super) fn log(&self) {
        let message = self.message();
        match self {
            Self::Done(done) => {
                // A field of `tracing` holds no object.
                let tables = (!done.tables.is_empty()).then(|| serde_json::to_string(&done.tables));
                let in_batch = done.rows.duplicates_in_batch;
                let in_batch = (in_batch > 0).then_some(in_batch);
                let tombstones = done.rows.tombstones;
                let tombstones = (tombstones > 0).then_some(tombstones);
                let (trace_id, span_id, links) = done.trace.fields();
                // The level of an event is a constant.
                macro_rules! log_done {
                    ($level:ident) => {
                        tracing::$level!(
                            received = done.received,
                            stored = done.rows.written,
                            duplicates = done.rows.duplicates,
                            duplicates_in_batch = in_batch,
                            stale = done.rows.stale,
                            deleted = done.rows.deleted,
                            tombstones,
                            skipped = done.skipped,
                            empty_rows = done.empty_rows,
                            paths_unread = done.paths_unread,
                            tables = tables.and_then(Result::ok),
                            failed = done.failed,
                            dead_lettered = done.dead_lettered,
                            failed_by_rule = done.failed_by_rule,
                            retries = done.retries,
                            millis = done.millis,
                            trace_id,
                            span_id,
                            links,
                            reason = done.reason,
                            "{message}"
                        )
                    };
                }
                match done.reason {
                    Some(_) => log_done!(warn),
                    None => log_done!(info),
                }
            }
            Self::Failed {
                received,
                stored,
                retries,
                reason,
                trace,
            } => {
                let (trace_id, span_id, links) = trace.fields();
                tracing::error!(
                    received,
                    stored,
                    retries,
                    trace_id,
                    span_id,
                    links,
                    reason,
                    "{message}"
                );
            }
        }
    }
}
