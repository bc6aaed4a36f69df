//! The result of each batch, and metrics that CloudWatch extracts from the log: the Embedded Metric Format, without
//! an API call.
//!
//! One JSON object per line. At most 100 metrics and the dimensions, strings of printable ASCII, are members of its
//! root, next to any others: if the log is JSON, the summary of a batch and its metrics are one line. The only
//! dimensions are the function and, for failed messages, the rule: CloudWatch charges for each set of dimensions.
//! Sources: <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>,
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_Dimension.html> (2026-11).

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use tracing::level_filters::LevelFilter;
use tracing::{Level, Span};
use tracing_subscriber::Registry;
use tracing_subscriber::fmt::FormattedFields;
use tracing_subscriber::fmt::format::{JsonFields, Writer};
use tracing_subscriber::fmt::time::{self, FormatTime as _};
use tracing_subscriber::registry::LookupSpan as _;

use super::Recovery;
use super::millis;

const NAMESPACE: &str = "sqs-to-postgres";

/// Writes the metrics of one function and its table.
pub struct Metrics {
    function: String,
    table: String,
    /// They are not for a terminal, and without a function there is nothing to attribute them to.
    are_wanted: bool,
    totals: Arc<Mutex<Totals>>,
}

/// The totals of all batches so far.
#[derive(Debug, Clone, Default)]
pub struct Totals {
    /// Batches, stored or not.
    pub batches: u64,
    /// Rows written.
    pub stored: u64,
    /// Messages whose row was there already.
    pub duplicates: u64,
    /// Messages left out because a newer row exists.
    pub stale: u64,
    /// Failed attempts of messages by rule.
    pub failed: BTreeMap<&'static str, u64>,
    /// Messages sent to the dead-letter queue.
    pub dead_lettered: u64,
    /// Retries, reconnects and secret refreshes.
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

/// The figures of a batch once Postgres has answered.
#[derive(Debug, Default)]
pub struct BatchMetrics {
    /// Messages received.
    pub received: usize,
    /// Rows written.
    pub stored: u64,
    /// Messages whose row was there already.
    pub duplicates: u64,
    /// Messages left out because a newer row exists.
    pub stale: u64,
    /// Retries, reconnects and secret refreshes.
    pub recovery: Recovery,
    /// How long the oldest message had waited.
    pub oldest_age: Option<Duration>,
    /// From records to rows.
    pub transform: Duration,
    /// From rows to Postgres's answer.
    pub load: Duration,
}

impl Metrics {
    /// For the function of this name in Lambda, and its table. Without a name no metrics are written, and only the
    /// totals are kept.
    pub fn new(function: String, table: &str) -> Self {
        Self {
            are_wanted: !function.is_empty() && !std::io::stdout().is_terminal(),
            function,
            table: table.to_owned(),
            totals: Arc::default(),
        }
    }

    /// The totals of all batches so far.
    pub fn totals(&self) -> Arc<Mutex<Totals>> {
        Arc::clone(&self.totals)
    }

    fn add_to_totals(&self, add: impl FnOnce(&mut Totals)) {
        add(&mut self.totals.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Writes the time from the start of the process until it was ready for its first batch.
    pub fn cold_start(&self, took: Duration) {
        let metric = [Metric::millis("ColdStartMillis", took)];
        self.write(&self.line(None, &metric));
    }

    /// Writes the result of a batch; `failed` counts its failed messages by rule.
    pub fn batch_done(
        &self,
        batch: &BatchMetrics,
        failed: &BTreeMap<&'static str, usize>,
        dead_lettered: usize,
    ) {
        self.add_to_totals(|totals| {
            totals.add(batch, failed);
            totals.dead_lettered += dead_lettered as u64;
        });
        for (rule, &messages) in failed {
            let count = [Metric::count("MessagesFailed", messages as u64)];
            self.write(&self.line(Some(rule), &count));
        }
        let mut metrics = batch.metrics();
        if dead_lettered > 0 {
            metrics.push(Metric::count("MessagesDeadLettered", dead_lettered as u64));
        }
        let summary = Summary::done(batch, failed, dead_lettered);
        self.write(&Line {
            log: self.log_members(&summary),
            ..self.line(None, &metrics)
        });
    }

    /// Writes why nothing of a batch is acknowledged.
    pub fn batch_failed(&self, batch: &BatchMetrics, reason: String) {
        self.add_to_totals(|totals| totals.add(batch, &BTreeMap::new()));
        let summary = Summary::Failed {
            received: batch.received,
            stored: batch.stored,
            retries: batch.recovery.retries,
            reason,
        };
        self.write(&Line {
            log: self.log_members(&summary),
            ..self.line(None, &batch.metrics())
        });
    }

    /// The members that make a line of metrics a log line too. If metrics are not wanted or the log is text, the
    /// summary has a line of its own.
    fn log_members<'a>(&self, summary: &'a Summary) -> Option<LogMembers<'a>> {
        let Some(span) = json_span().filter(|_| self.are_wanted) else {
            summary.log();
            return None;
        };
        (LevelFilter::current() >= summary.level()).then(|| LogMembers {
            timestamp: timestamp(),
            level: summary.level().as_str(),
            message: summary.message(),
            summary,
            span,
        })
    }

    fn line<'a>(&'a self, rule: Option<&'a str>, metrics: &'a [Metric]) -> Line<'a> {
        let dimensions: &[_] = match rule {
            None => &["Function"],
            Some(_) => &["Function", "Rule"],
        };
        let directive = Directive {
            namespace: NAMESPACE,
            dimensions: [dimensions],
            metrics,
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Line {
            log: None,
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

    fn write(&self, line: &Line<'_>) {
        if !self.are_wanted {
            return;
        }
        let mut text = Vec::new();
        // Writing names and numbers to a buffer cannot fail.
        _ = serde_json::to_writer(&mut text, line);
        text.push(b'\n');
        // A closed log does not fail a batch.
        _ = std::io::stdout().lock().write_all(&text);
    }
}

impl BatchMetrics {
    /// For a batch that was received and failed as a whole.
    pub fn of_nothing(received: usize) -> Self {
        Self {
            received,
            ..Self::default()
        }
    }

    fn metrics(&self) -> Vec<Metric> {
        let mut metrics = vec![
            Metric::count("MessagesReceived", self.received as u64),
            Metric::count("RowsStored", self.stored),
            Metric::count("RowsDuplicate", self.duplicates),
            Metric::count("RowsStale", self.stale),
            Metric::count("DatabaseRetries", self.recovery.retries),
            Metric::count("Reconnects", self.recovery.reconnects),
            Metric::count("SecretRefreshes", self.recovery.secret_refreshes),
            Metric::millis("TransformMillis", self.transform),
            Metric::millis("LoadMillis", self.load),
            Metric::millis("BatchMillis", self.transform + self.load),
        ];
        let age = self.oldest_age;
        metrics.extend(age.map(|age| Metric::millis("MessageAgeMillis", age)));
        metrics
    }
}

/// The summary of a batch, for people.
#[derive(Serialize)]
#[serde(untagged)]
enum Summary {
    Done {
        received: usize,
        stored: u64,
        duplicates: u64,
        stale: u64,
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
    fn done(batch: &BatchMetrics, failed: &BTreeMap<&str, usize>, dead_lettered: usize) -> Self {
        let by_rule: Vec<_> = failed
            .iter()
            .map(|(rule, count)| format!("{rule}={count}"))
            .collect();
        Self::Done {
            received: batch.received,
            stored: batch.stored,
            duplicates: batch.duplicates,
            stale: batch.stale,
            failed: failed.values().sum(),
            dead_lettered,
            failed_by_rule: by_rule.join(" "),
            retries: batch.recovery.retries,
            millis: millis(batch.transform + batch.load),
        }
    }

    fn level(&self) -> Level {
        match self {
            Self::Done { .. } => Level::INFO,
            Self::Failed { .. } => Level::ERROR,
        }
    }

    fn message(&self) -> &'static str {
        match self {
            Self::Done { .. } => "batch",
            Self::Failed { .. } => "batch failed",
        }
    }

    /// Writes it as a line of its own.
    fn log(&self) {
        let message = self.message();
        match self {
            Self::Done {
                received,
                stored,
                duplicates,
                stale,
                failed,
                dead_lettered,
                failed_by_rule,
                retries,
                millis,
            } => {
                tracing::info!(
                    received,
                    stored,
                    duplicates,
                    stale,
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

/// The current time, in the format of `tracing`.
fn timestamp() -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    _ = time::SystemTime.format_time(&mut Writer::new(&mut text));
    text
}

/// The current span, as `tracing` writes it into the other lines; `None` if the log is not JSON.
fn json_span() -> Option<Map<String, Value>> {
    let found = Span::current().with_subscriber(|(id, subscriber)| {
        let span = subscriber.downcast_ref::<Registry>()?.span(id)?;
        let extensions = span.extensions();
        let fields = extensions.get::<FormattedFields<JsonFields>>()?;
        let mut members: Map<String, Value> = serde_json::from_str(fields).ok()?;
        members.insert("name".to_owned(), span.name().into());
        Some(members)
    });
    found.flatten()
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Line<'a> {
    #[serde(flatten)]
    log: Option<LogMembers<'a>>,
    #[serde(rename = "_aws")]
    metadata: Metadata<'a>,
    function: &'a str,
    table: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
    #[serde(flatten, serialize_with = "values")]
    values: &'a [Metric],
}

/// The members of every log line.
#[derive(Serialize)]
struct LogMembers<'a> {
    timestamp: String,
    level: &'static str,
    message: &'static str,
    #[serde(flatten)]
    summary: &'a Summary,
    span: Map<String, Value>,
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
    dimensions: [&'static [&'static str]; 1],
    metrics: &'a [Metric],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Metric {
    name: &'static str,
    unit: Unit,
    /// In the root of the line, not in the metric's definition.
    #[serde(skip)]
    value: f64,
}

/// CloudWatch's names of units.
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
