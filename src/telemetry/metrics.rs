//! The result of each batch, and metrics that CloudWatch extracts from the log: the Embedded Metric Format, without
//! an API call.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::iter::repeat;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mapping::Pipeline;
use tracing::level_filters::LevelFilter;

use super::line::{Line, LogMembers, Metric, MetricScope, json_span};
use super::summary::Summary;
use super::trace::BatchTrace;
use crate::counts::{Recovery, Stored};

/// The name of a metric: rows without a value of their own.
const ROWS_EMPTY: &str = "RowsEmpty";

/// Writes the metrics of one function and its tables.
pub struct Metrics {
    function: String,
    tables: String,
    /// The names of the tables, where there are several.
    names: Vec<String>,
    /// They are not for a terminal, and without a function there is nothing to attribute them to.
    are_wanted: bool,
    totals: Arc<Mutex<Totals>>,
}

/// The totals of all batches so far.
#[derive(Debug, Clone, Default)]
pub struct Totals {
    /// Batches, stored or not.
    pub batches: u64,
    /// What became of the rows in all tables.
    pub rows: Stored,
    /// Messages that produced no row, acknowledged.
    pub skipped: u64,
    /// Rows of stored messages without a value of their own.
    pub empty_rows: u64,
    /// Failed messages by rule, each as often as it failed.
    pub failed: BTreeMap<&'static str, u64>,
    /// Messages sent to the dead-letter queue.
    pub dead_lettered: u64,
    /// Retries, reconnects and secret refreshes.
    pub recovery: Recovery,
    /// From records to Postgres's answer.
    pub took: Duration,
}

impl Totals {
    fn add(
        &mut self,
        batch: &BatchMetrics,
        failed: &BTreeMap<&'static str, usize>,
        dead_lettered: usize,
    ) {
        self.batches += 1;
        self.dead_lettered += dead_lettered as u64;
        self.rows = self.rows.plus(&batch.rows());
        self.skipped += batch.skipped as u64;
        self.empty_rows += batch.empty_rows() as u64;
        for (rule, messages) in failed {
            *self.failed.entry(rule).or_default() += *messages as u64;
        }
        self.recovery.retries += batch.recovery.retries;
        self.recovery.reconnects += batch.recovery.reconnects;
        self.recovery.secret_refreshes += batch.recovery.secret_refreshes;
        self.took += batch.transform + batch.load;
    }
}

/// The figures of a batch once Postgres has answered.
#[derive(Default)]
pub(crate) struct BatchMetrics {
    pub(crate) received: usize,
    pub(crate) trace: BatchTrace,
    /// Messages that produced no row, acknowledged.
    pub(crate) skipped: usize,
    /// What became of the rows in each table.
    pub(crate) tables: Vec<Stored>,
    /// How many rows of stored messages have no value of their own, in each table.
    pub(crate) empty_rows: Vec<usize>,
    /// How many paths of the message that was looked at, if one was, no column reads.
    pub(crate) paths_unread: usize,
    pub(crate) recovery: Recovery,
    /// How long the oldest message had waited.
    pub(crate) oldest_age: Option<Duration>,
    /// From records to rows.
    pub(crate) transform: Duration,
    /// From rows to Postgres's answer.
    pub(crate) load: Duration,
}

impl Metrics {
    /// For the function of this name in Lambda, and its tables. Without a name no metrics are written, and only the
    /// totals are kept.
    pub fn new(function: String, pipeline: &Pipeline) -> Self {
        let names = pipeline.tables.iter().map(|table| table.table.unquoted());
        Self {
            are_wanted: !function.is_empty() && !std::io::stdout().is_terminal(),
            function,
            tables: pipeline.tables_text(),
            names: names.filter(|_| pipeline.tables.len() > 1).collect(),
            totals: Arc::default(),
        }
    }

    /// The totals of all batches so far.
    pub fn totals(&self) -> Arc<Mutex<Totals>> {
        Arc::clone(&self.totals)
    }

    fn lock_totals(&self) -> MutexGuard<'_, Totals> {
        self.totals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the time from the start of the process until it was ready for its first batch.
    pub fn cold_start(&self, took: Duration) {
        let metric = [Metric::millis("ColdStartMillis", took)];
        self.write(&self.line(MetricScope::All, &metric));
    }

    /// Writes the result of a batch; `failed` counts its failed messages by rule.
    pub(crate) fn batch_done(
        &self,
        batch: &BatchMetrics,
        failed: &BTreeMap<&'static str, usize>,
        dead_lettered: usize,
    ) {
        self.lock_totals().add(batch, failed, dead_lettered);
        for (rule, &messages) in failed {
            let count = [Metric::count("MessagesFailed", messages as u64)];
            self.write(&self.line(MetricScope::Rule(rule), &count));
        }
        self.write_tables(batch);
        let mut metrics = batch.metrics();
        // An alarm cannot watch all rules at once.
        let all_failed = failed.values().sum();
        for (name, count) in [
            ("MessagesFailed", all_failed),
            ("MessagesDeadLettered", dead_lettered),
        ] {
            if count > 0 {
                metrics.push(Metric::count(name, count as u64));
            }
        }
        let tables = self.by_table(batch);
        let tables = tables.map(|(name, stored)| (name.to_owned(), *stored));
        let summary = Summary::done(batch, tables.collect(), failed, dead_lettered);
        self.write_summary(&summary, &metrics);
    }

    /// Writes why nothing of a batch is acknowledged.
    pub(crate) fn batch_failed(&self, batch: &BatchMetrics, reason: String) {
        self.lock_totals().add(batch, &BTreeMap::new(), 0);
        let summary = Summary::Failed {
            received: batch.received,
            stored: batch.rows().written,
            retries: batch.recovery.retries,
            reason,
            trace: batch.trace.clone(),
        };
        self.write_tables(batch);
        self.write_summary(&summary, &batch.metrics());
    }

    /// What became of the rows in each of several tables.
    fn by_table<'a>(
        &'a self,
        batch: &'a BatchMetrics,
    ) -> impl Iterator<Item = (&'a str, &'a Stored)> {
        self.names.iter().map(String::as_str).zip(&batch.tables)
    }

    /// Writes what became of the rows in each of several tables. A count of none costs nothing.
    fn write_tables(&self, batch: &BatchMetrics) {
        let empty_rows = batch.empty_rows.iter().copied().chain(repeat(0));
        for ((table, rows), empty) in self.by_table(batch).zip(empty_rows) {
            let counts = rows
                .counts()
                .into_iter()
                .chain([(ROWS_EMPTY, empty as u64)]);
            let metrics: Vec<_> = counts
                .filter(|(_, count)| *count > 0)
                .map(|(name, count)| Metric::count(name, count))
                .collect();
            if !metrics.is_empty() {
                self.write(&self.line(MetricScope::Table(table), &metrics));
            }
        }
    }

    fn write_summary(&self, summary: &Summary, metrics: &[Metric]) {
        let mut line = self.line(MetricScope::All, metrics);
        line.log = self.log_members(summary);
        self.write(&line);
    }

    /// The members that make a line of metrics a log line too. If metrics are not wanted or the log is text, the
    /// summary has a line of its own.
    fn log_members<'a>(&self, summary: &'a Summary) -> Option<LogMembers<'a>> {
        let Some(span) = json_span().filter(|_| self.are_wanted) else {
            summary.log();
            return None;
        };
        let is_logged = LevelFilter::current() >= summary.level();
        is_logged.then(|| LogMembers::new(summary, span))
    }

    fn line<'a>(&'a self, scope: MetricScope<'a>, metrics: &'a [Metric]) -> Line<'a> {
        Line::new(&self.function, &self.tables, scope, metrics)
    }

    fn write(&self, line: &Line<'_>) {
        if !self.are_wanted {
            return;
        }
        let mut text = Vec::new();
        if serde_json::to_writer(&mut text, line).is_err() {
            return;
        }
        text.push(b'\n');
        #[expect(
            clippy::let_underscore_must_use,
            reason = "a closed log does not fail a batch"
        )]
        let _ = std::io::stdout().lock().write_all(&text);
    }
}

impl BatchMetrics {
    /// What became of the rows in all tables.
    pub(super) fn rows(&self) -> Stored {
        self.tables.iter().fold(Stored::default(), Stored::plus)
    }

    /// How many rows of stored messages have no value of their own, in all tables.
    pub(super) fn empty_rows(&self) -> usize {
        self.empty_rows.iter().sum()
    }

    fn metrics(&self) -> Vec<Metric> {
        let [stored, duplicate, in_batch, stale, deleted, tombstones] = self.rows().counts();
        let count = |(name, count)| Metric::count(name, count);
        let mut metrics = vec![
            Metric::count("MessagesReceived", self.received as u64),
            count(stored),
            count(duplicate),
            count(stale),
            Metric::count("DatabaseRetries", self.recovery.retries),
            Metric::count("Reconnects", self.recovery.reconnects),
            Metric::count("SecretRefreshes", self.recovery.secret_refreshes),
            Metric::millis("TransformMillis", self.transform),
            Metric::millis("LoadMillis", self.load),
            Metric::millis("BatchMillis", self.transform + self.load),
        ];
        let skipped = ("MessagesSkipped", self.skipped as u64);
        let empty = (ROWS_EMPTY, self.empty_rows() as u64);
        let unread = ("PathsUnread", self.paths_unread as u64);
        let rare = [in_batch, deleted, tombstones, skipped, empty, unread].into_iter();
        metrics.extend(rare.filter(|(_, count)| *count > 0).map(count));
        let age = self.oldest_age;
        metrics.extend(age.map(|age| Metric::millis("MessageAgeMillis", age)));
        metrics
    }
}

impl Stored {
    /// Each with the name of its metric.
    fn counts(&self) -> [(&'static str, u64); 6] {
        [
            ("RowsStored", self.written),
            ("RowsDuplicate", self.duplicates),
            ("RowsDuplicateInBatch", self.duplicates_in_batch),
            ("RowsStale", self.stale),
            ("RowsDeleted", self.deleted),
            ("RowsTombstoned", self.tombstones),
        ]
    }
}
