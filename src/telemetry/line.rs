//! A line of metrics.
//!
//! One JSON object per line. At most 100 metrics and the dimensions, strings of printable ASCII, are members of its
//! root, next to any others: if the log is JSON, the summary of a batch and its metrics are one line. The only
//! dimensions are the function, for failed messages also the rule, and for the rows of several tables also the table:
//! CloudWatch charges for each set of dimensions.
//! Sources: <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>,
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_Dimension.html> (2026-11).

use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use tracing::Span;
use tracing_subscriber::Registry;
use tracing_subscriber::fmt::FormattedFields;
use tracing_subscriber::fmt::format::{JsonFields, Writer};
use tracing_subscriber::fmt::time::{self, FormatTime as _};
use tracing_subscriber::registry::LookupSpan as _;

use super::millis;
use super::summary::Summary;

const NAMESPACE: &str = "sqs-to-postgres";

/// The current time, in the format of `tracing`.
fn timestamp() -> String {
    let mut text = String::new();
    #[expect(
        clippy::let_underscore_must_use,
        reason = "writing to a String cannot fail"
    )]
    let _ = time::SystemTime.format_time(&mut Writer::new(&mut text));
    text
}

/// The current span, as `tracing` writes it into the other lines; `None` if the log is not JSON.
pub(super) fn json_span() -> Option<Map<String, Value>> {
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
pub(super) struct Line<'a> {
    #[serde(flatten)]
    pub(super) log: Option<LogMembers<'a>>,
    #[serde(rename = "_aws")]
    metadata: EmbeddedMetrics<'a>,
    function: &'a str,
    table: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
    #[serde(flatten, serialize_with = "values")]
    values: &'a [Metric],
}

/// Which messages or rows of the function the metrics of a line count.
#[derive(Clone, Copy)]
pub(super) enum MetricScope<'a> {
    All,
    /// Messages that broke this rule.
    Rule(&'a str),
    /// Rows of this table, one of several.
    Table(&'a str),
}

impl<'a> Line<'a> {
    pub(super) fn new(
        function: &'a str,
        tables: &'a str,
        scope: MetricScope<'a>,
        metrics: &'a [Metric],
    ) -> Self {
        let (dimensions, table, rule): (&[_], _, _) = match scope {
            MetricScope::All => (&["Function"], tables.into(), None),
            MetricScope::Rule(rule) => (&["Function", "Rule"], tables.into(), Some(rule)),
            MetricScope::Table(table) => (&["Function", "Table"], ascii(table), None),
        };
        let directive = Directive {
            namespace: NAMESPACE,
            dimensions: [dimensions],
            metrics,
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            log: None,
            metadata: EmbeddedMetrics {
                timestamp: now.unwrap_or_default().as_millis() as u64,
                cloud_watch_metrics: [directive],
            },
            function,
            table,
            rule,
            values: metrics,
        }
    }
}

/// As the value of a dimension.
fn ascii(name: &str) -> Cow<'_, str> {
    if name.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        Cow::Borrowed(name)
    } else {
        Cow::Owned(name.escape_default().to_string())
    }
}

/// The members of every log line.
#[derive(Serialize)]
pub(super) struct LogMembers<'a> {
    timestamp: String,
    level: &'static str,
    message: &'static str,
    #[serde(flatten)]
    summary: &'a Summary,
    span: Map<String, Value>,
}

impl<'a> LogMembers<'a> {
    pub(super) fn new(summary: &'a Summary, span: Map<String, Value>) -> Self {
        Self {
            timestamp: timestamp(),
            level: summary.level().as_str(),
            message: summary.message(),
            summary,
            span,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct EmbeddedMetrics<'a> {
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
pub(super) struct Metric {
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
    pub(super) fn count(name: &'static str, value: u64) -> Self {
        let (unit, value) = (Unit::Count, value as f64);
        Self { name, unit, value }
    }

    pub(super) fn millis(name: &'static str, value: Duration) -> Self {
        let (unit, value) = (Unit::Milliseconds, millis(value));
        Self { name, unit, value }
    }
}

fn values<S: Serializer>(metrics: &[Metric], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(metrics.iter().map(|metric| (metric.name, metric.value)))
}
