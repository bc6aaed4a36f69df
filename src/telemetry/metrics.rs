//! Metrics as CloudWatch reads them out of the log: the Embedded Metric Format, without an API call.
//!
//! One JSON object a line; its metrics, at most 100, and its dimensions, which are texts of printable
//! ASCII, are members of its root.
//! Sources: <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>,
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_Dimension.html> (2026-11).

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Serialize, Serializer};

use super::millis;
use crate::database::Recovery;

const NAMESPACE: &str = "sqs-to-postgres";

/// Where the metrics of one function and its table go.
pub struct Metrics {
    function: String,
    table: String,
    /// Nobody at a terminal wants to read them.
    are_wanted: bool,
}

/// What is known of a batch when Postgres is done with it.
#[derive(Debug, Default)]
pub struct BatchMetrics {
    /// Messages received.
    pub received: usize,
    /// Rows written.
    pub stored: u64,
    /// Messages whose row was there already.
    pub duplicates: u64,
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
    /// For a function by its name in Lambda, and the table it writes to.
    pub fn new(function: String, table: &str) -> Self {
        // CloudWatch drops the metrics of a dimension that is not printable ASCII.
        let printable = |char| match char {
            ' '..='~' => char,
            _ => '?',
        };
        Self {
            function,
            table: table.chars().map(printable).collect(),
            are_wanted: !std::io::stdout().is_terminal(),
        }
    }

    /// Writes how long it took from the start of the process until it was ready for its first batch.
    pub fn cold_start(&self, took: Duration) {
        self.write(&[self.line(None, &[Metric::millis("ColdStartMillis", took)])]);
    }

    /// Writes the metrics of a batch, stored or not; `failed` counts its failed messages by rule.
    pub fn batch(&self, batch: &BatchMetrics, failed: &BTreeMap<&'static str, usize>) {
        let mut metrics = vec![
            Metric::count("MessagesReceived", batch.received as u64),
            Metric::count("RowsStored", batch.stored),
            Metric::count("RowsDuplicate", batch.duplicates),
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
