//! Metrics as CloudWatch reads them out of the log: the Embedded Metric Format, without an API call.
//!
//! One JSON object a line; its metrics, at most 100, and its dimensions, which are texts of printable
//! ASCII, are members of its root.
//! Sources: <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>,
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_Dimension.html> (2026-11).

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Serialize, Serializer};

use super::millis;
use crate::database::Recovery;

const NAMESPACE: &str = "sqs-to-postgres";

/// Where the metrics of one function and its table go.
pub struct Metrics {
    function: String,
    table: String,
    /// Nobody at a terminal wants to read them, and without a function they belong to nothing.
    are_wanted: bool,
    totals: Arc<Mutex<Totals>>,
}

/// What all batches so far came to.
#[derive(Debug, Clone, Default)]
pub struct Totals {
    /// Batches, stored or not.
    pub batches: u64,
    /// Rows written.
    pub stored: u64,
    /// Messages whose row was there already.
    pub duplicates: u64,
    /// Messages left out because there is a newer row.
    pub stale: u64,
    /// Failed messages by rule, each as often as it failed.
    pub failed: BTreeMap<&'static str, u64>,
    /// Messages sent to the dead-letter queue.
    pub dead_lettered: u64,
    /// What it took to keep the database at hand.
    pub recovery: Recovery,
    /// From records to Postgres's answer.
    pub took: Duration,
}

impl Totals {
    fn add(&mut self, batch: &BatchMetrics, failed: &BTreeMap<&'static str, usize>) {
        self.batches += 1;
        self.stored += batch.stored;
        self.duplicates += batch.duplicates;
        self.stale += batch.stale;
        for (rule, messages) in failed {
            *self.failed.entry(rule).or_default() += *messages as u64;
        }
        self.recovery.retries += batch.recovery.retries;
        self.recovery.reconnects += batch.recovery.reconnects;
        self.recovery.secret_refreshes += batch.recovery.secret_refreshes;
        self.took += batch.transform + batch.load;
    }
}

/// What is known of a batch when Postgres is done with it.
#[derive(Debug)]
pub struct BatchMetrics {
    /// Messages received.
    pub received: usize,
    /// Rows written.
    pub stored: u64,
    /// Messages whose row was there already.
    pub duplicates: u64,
    /// Messages left out because there is a newer row.
    pub stale: u64,
    /// What it took to keep the database at hand.
    pub recovery: Recovery,
    /// How long the oldest message had waited.
    pub oldest_age: Option<Duration>,
    /// From records to rows.
    pub transform: Duration,
    /// From rows to Postgres's answer.
    pub load: Duration,
}

impl Metrics {
    /// For a function by its name in Lambda, and the table it writes to. Without a name nothing is
    /// written, and only the totals are kept.
    pub fn new(function: String, table: &str) -> Self {
        // CloudWatch drops the metrics of a dimension that is not printable ASCII.
        let printable = |char| match char {
            ' '..='~' => char,
            _ => '?',
        };
        Self {
            are_wanted: !function.is_empty() && !std::io::stdout().is_terminal(),
            function,
            table: table.chars().map(printable).collect(),
            totals: Arc::default(),
        }
    }

    /// What all batches so far came to.
    pub fn totals(&self) -> Arc<Mutex<Totals>> {
        Arc::clone(&self.totals)
    }

    fn add_to_totals(&self, add: impl FnOnce(&mut Totals)) {
        add(&mut self.totals.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Writes how long it took from the start of the process until it was ready for its first batch.
    pub fn cold_start(&self, took: Duration) {
        self.write(&[self.line(None, &[Metric::millis("ColdStartMillis", took)])]);
    }

    /// Writes the metrics of a batch, stored or not; `failed` counts its failed messages by rule.
    pub fn batch(&self, batch: &BatchMetrics, failed: &BTreeMap<&'static str, usize>) {
        self.add_to_totals(|totals| totals.add(batch, failed));
        let mut metrics = vec![
            Metric::count("MessagesReceived", batch.received as u64),
            Metric::count("RowsStored", batch.stored),
            Metric::count("RowsDuplicate", batch.duplicates),
            Metric::count("RowsStale", batch.stale),
            Metric::count("DatabaseRetries", batch.recovery.retries),
            Metric::count("Reconnects", batch.recovery.reconnects),
            Metric::count("SecretRefreshes", batch.recovery.secret_refreshes),
            Metric::millis("TransformMillis", batch.transform),
            Metric::millis("LoadMillis", batch.load),
            Metric::millis("BatchMillis", batch.transform + batch.load),
        ];
        let age = batch.oldest_age;
        metrics.extend(age.map(|age| Metric::millis("MessageAgeMillis", age)));
        let count = |messages: &usize| [Metric::count("MessagesFailed", *messages as u64)];
        let counts: Vec<_> = failed.iter().map(|(rule, n)| (rule, count(n))).collect();
        let rules = counts
            .iter()
            .map(|(rule, count)| self.line(Some(rule), count));
        let lines: Vec<_> = [self.line(None, &metrics)]
            .into_iter()
            .chain(rules)
            .collect();
        self.write(&lines);
    }

    /// Writes how many messages were sent to the dead-letter queue.
    pub fn dead_lettered(&self, messages: usize) {
        self.add_to_totals(|totals| totals.dead_lettered += messages as u64);
        let count = Metric::count("MessagesDeadLettered", messages as u64);
        self.write(&[self.line(None, &[count])]);
    }

    fn line<'a>(&'a self, rule: Option<&'a str>, metrics: &'a [Metric]) -> Line<'a> {
        // Without the table too: an alarm needs all dimensions of a set, and a template knows no table.
        let dimensions: [&[_]; 2] = match rule {
            None => [&["Function"], &["Function", "Table"]],
            Some(_) => [&["Function", "Rule"], &["Function", "Table", "Rule"]],
        };
        let directive = Directive {
            namespace: NAMESPACE,
            dimensions,
            metrics,
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Line {
            metadata: Metadata {
                timestamp: now.unwrap_or_default().as_millis() as u64,
                cloud_watch_metrics: [directive],
            },
            function: &self.function,
            table: &self.table,
            rule,
            values: metrics,
        }
    }

    fn write(&self, lines: &[Line]) {
        if !self.are_wanted {
            return;
        }
        let mut text = Vec::new();
        for line in lines {
            // Neither names and numbers nor a buffer can fail.
            _ = serde_json::to_writer(&mut text, line);
            text.push(b'\n');
        }
        // A log that nobody reads any more is no reason to fail a batch.
        _ = std::io::stdout().lock().write_all(&text);
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Line<'a> {
    #[serde(rename = "_aws")]
    metadata: Metadata<'a>,
    function: &'a str,
    table: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
    #[serde(flatten, serialize_with = "values")]
    values: &'a [Metric],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Metadata<'a> {
    /// Milliseconds since 1970.
    timestamp: u64,
    cloud_watch_metrics: [Directive<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Directive<'a> {
    namespace: &'static str,
    dimensions: [&'a [&'static str]; 2],
    metrics: &'a [Metric],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Metric {
    name: &'static str,
    unit: Unit,
    /// A member of the line's root, not of the metric's definition.
    #[serde(skip)]
    value: f64,
}

/// By CloudWatch's names.
#[derive(Serialize)]
enum Unit {
    Count,
    Milliseconds,
}

impl Metric {
    fn count(name: &'static str, value: u64) -> Self {
        let (unit, value) = (Unit::Count, value as f64);
        Self { name, unit, value }
    }

    fn millis(name: &'static str, value: Duration) -> Self {
        let (unit, value) = (Unit::Milliseconds, millis(value));
        Self { name, unit, value }
    }
}

fn values<S: Serializer>(metrics: &[Metric], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(metrics.iter().map(|metric| (metric.name, metric.value)))
}
