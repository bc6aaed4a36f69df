//! The line of the log about a batch.

use std::collections::BTreeMap;

use serde::Serialize;
use tracing::Level;

use super::{BatchMetrics, millis};
use crate::load::Stored;

/// The summary of a batch, for people.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Summary {
    Done {
        received: usize,
        stored: u64,
        duplicates: u64,
        stale: u64,
        deleted: u64,
        skipped: usize,
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        tables: BTreeMap<String, Stored>,
        failed: usize,
        dead_lettered: usize,
        failed_by_rule: String,
        retries: u64,
        millis: f64,
    },
    Failed {
        received: usize,
        stored: u64,
        retries: u64,
        reason: String,
    },
}

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
        let rows = batch.rows();
        Self::Done {
            received: batch.received,
            stored: rows.written,
            duplicates: rows.duplicates,
            stale: rows.stale,
            deleted: rows.deleted,
            skipped: batch.skipped,
            tables,
            failed: failed.values().sum(),
            dead_lettered,
            failed_by_rule: by_rule.join(" "),
            retries: batch.recovery.retries,
            millis: millis(batch.transform + batch.load),
        }
    }

    pub(super) fn level(&self) -> Level {
        match self {
            Self::Done { .. } => Level::INFO,
            Self::Failed { .. } => Level::ERROR,
        }
    }

    pub(super) fn message(&self) -> &'static str {
        match self {
            Self::Done { .. } => "batch",
            Self::Failed { .. } => "batch failed",
        }
    }

    pub(super) fn log(&self) {
        let message = self.message();
        match self {
            Self::Done {
                received,
                stored,
                duplicates,
                stale,
                deleted,
                skipped,
                tables,
                failed,
                dead_lettered,
                failed_by_rule,
                retries,
                millis,
            } => {
                // A field of `tracing` holds no object.
                let tables = (!tables.is_empty()).then(|| serde_json::to_string(tables));
                let tables = tables.and_then(Result::ok);
                tracing::info!(
                    received,
                    stored,
                    duplicates,
                    stale,
                    deleted,
                    skipped,
                    tables,
                    failed,
                    dead_lettered,
                    failed_by_rule,
                    retries,
                    millis,
                    "{message}"
                );
            }
            Self::Failed {
                received,
                stored,
                retries,
                reason,
            } => tracing::error!(received, stored, retries, reason, "{message}"),
        }
    }
}
