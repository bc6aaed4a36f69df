//! Metrics as CloudWatch reads them out of the log: the Embedded Metric Format, without an API call.
//!
//! One JSON object a line; its metrics and dimensions are members of its root.
//! Source: <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html> (2026-11).

use std::io::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

const NAMESPACE: &str = "sqs-to-postgres";

/// Where the metrics of one function and its table go.
pub struct Metrics {
    function: String,
    table: String,
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
    /// Statements tried again.
    pub retries: u64,
    /// How long the oldest message had waited.
    pub oldest_age: Option<Duration>,
    /// From records to rows.
    pub transform: Duration,
    /// From rows to Postgres's answer.
    pub load: Duration,
}

enum Unit {
    Count,
    Milliseconds,
}

impl Metrics {
    /// For a function by its name in Lambda, and the table it writes to.
    pub fn new(function: String, table: String) -> Self {
        Self { function, table }
    }

    /// Writes the metrics of a batch, stored or not.
    pub fn batch(&self, batch: &BatchMetrics) {
        let millis = |duration: Duration| duration.as_secs_f64() * 1_000.0;
        let mut metrics = vec![
            ("MessagesReceived", Unit::Count, batch.received as f64),
            ("RowsStored", Unit::Count, batch.stored as f64),
            ("RowsDuplicate", Unit::Count, batch.duplicates as f64),
            ("DatabaseRetries", Unit::Count, batch.retries as f64),
            (
                "TransformMillis",
                Unit::Milliseconds,
                millis(batch.transform),
            ),
            ("LoadMillis", Unit::Milliseconds, millis(batch.load)),
            (
                "BatchMillis",
                Unit::Milliseconds,
                millis(batch.transform + batch.load),
            ),
        ];
        metrics.extend(
            batch
                .oldest_age
                .map(|age| ("MessageAgeMillis", Unit::Milliseconds, millis(age))),
        );
        self.write(None, &metrics);
    }

    /// Writes how many messages broke a rule.
    pub fn failed(&self, rule: &str, messages: usize) {
        self.write(
            Some(rule),
            &[("MessagesFailed", Unit::Count, messages as f64)],
        );
    }

    /// Writes how many messages were sent to the dead-letter queue.
    pub fn dead_lettered(&self, messages: usize) {
        self.write(
            None,
            &[("MessagesDeadLettered", Unit::Count, messages as f64)],
        );
    }

    fn write(&self, rule: Option<&str>, metrics: &[(&str, Unit, f64)]) {
        // A log that nobody reads any more is no reason to fail a batch.
        _ = writeln!(std::io::stdout().lock(), "{}", self.object(rule, metrics));
    }

    fn object(&self, rule: Option<&str>, metrics: &[(&str, Unit, f64)]) -> Value {
        let mut dimensions = vec![
            ("Function", self.function.as_str()),
            ("Table", self.table.as_str()),
        ];
        dimensions.extend(rule.map(|rule| ("Rule", rule)));
        let names: Vec<&str> = dimensions.iter().map(|(name, _)| *name).collect();
        let definitions: Vec<Value> = metrics
            .iter()
            .map(|(name, unit, _)| json!({"Name": name, "Unit": unit.name()}))
            .collect();
        let directive =
            json!({"Namespace": NAMESPACE, "Dimensions": [names], "Metrics": definitions});
        let now_millis = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_millis() as u64;
        let mut object = Map::new();
        object.insert(
            "_aws".to_owned(),
            json!({"Timestamp": now_millis, "CloudWatchMetrics": [directive]}),
        );
        object.extend(
            dimensions
                .iter()
                .map(|(name, value)| ((*name).to_owned(), json!(value))),
        );
        object.extend(
            metrics
                .iter()
                .map(|(name, _, value)| ((*name).to_owned(), json!(value))),
        );
        Value::Object(object)
    }
}

impl Unit {
    fn name(&self) -> &'static str {
        match self {
            Self::Count => "Count",
            Self::Milliseconds => "Milliseconds",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_and_dimension_is_a_member_of_the_root() {
        let metrics = Metrics::new("drain".to_owned(), "\"user_logins\"".to_owned());
        let object = metrics.object(
            Some("required"),
            &[
                ("MessagesFailed", Unit::Count, 3.0),
                ("LoadMillis", Unit::Milliseconds, 1.5),
            ],
        );
        let directive = &object["_aws"]["CloudWatchMetrics"][0];
        assert_eq!(directive["Namespace"], NAMESPACE);
        assert_eq!(
            directive["Dimensions"],
            json!([["Function", "Table", "Rule"]])
        );
        assert_eq!(
            directive["Metrics"],
            json!([{"Name": "MessagesFailed", "Unit": "Count"}, {"Name": "LoadMillis", "Unit": "Milliseconds"}])
        );
        assert_eq!(
            (&object["Function"], &object["Table"], &object["Rule"]),
            (
                &json!("drain"),
                &json!("\"user_logins\""),
                &json!("required")
            )
        );
        assert_eq!(
            (&object["MessagesFailed"], &object["LoadMillis"]),
            (&json!(3.0), &json!(1.5))
        );
        assert!(object["_aws"]["Timestamp"].as_u64().unwrap() > 1_700_000_000_000);
        assert!(!object.to_string().contains('\n'));
    }
}
