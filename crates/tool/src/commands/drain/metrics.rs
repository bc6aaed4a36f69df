//! The metrics of a drain, for Prometheus.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeMetric,
};
use prometheus_client::metrics::TypedMetric;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::status::Status;

/// Source: <https://prometheus.io/docs/specs/om/open_metrics_spec/>.
pub(super) const TEXT_FORMAT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All metrics as they are now.
pub(super) fn text(status: &Status) -> String {
    let mut registry = Registry::with_prefix("sqs_to_postgres");
    registry.register_collector(Box::new(status.clone()));
    let mut text = String::new();
    #[expect(
        clippy::let_underscore_must_use,
        reason = "writing to a String cannot fail"
    )]
    let _ = encode(&mut text, &registry);
    text
}

impl Collector for Status {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (counts, totals) = (self.counts(), self.totals());
        let deleted = counts.done - counts.undeleted;
        let took = totals.took.as_secs_f64();
        let failed = totals.failed.iter().map(|(rule, tries)| (*rule, *tries));
        // Without a value while it is unknown.
        let depth = counts.depth.known().into_iter();
        let depth =
            depth.flat_map(|depth| [("waiting", depth.waiting), ("invisible", depth.invisible)]);
        let mut all = MetricsEncoder(encoder);
        all.counter("messages_received", "Messages received.", counts.received)?;
        all.counter("rows_stored", "Rows written.", totals.rows.written)?;
        let help = "Rows whose key was already in the table or in another row of their batch.";
        all.counter("rows_duplicate", help, totals.rows.duplicates)?;
        let help = "Rows whose key was already in another row of their batch.";
        let in_batch = totals.rows.duplicates_in_batch;
        all.counter("rows_duplicate_in_batch", help, in_batch)?;
        let help = "Messages older than the stored row.";
        all.counter("rows_stale", help, totals.rows.stale)?;
        let help = "Rows written as tombstones of deleted ones.";
        all.counter("rows_tombstoned", help, totals.rows.tombstones)?;
        let help = "Messages that produced no row, and were acknowledged.";
        all.counter("messages_skipped", help, totals.skipped)?;
        let help = "Rows without a value from the body.";
        all.counter("rows_empty", help, totals.empty_rows)?;
        let help = "Paths that no column reads, by one message of each batch.";
        all.gauge("paths_unread", help, self.unread().count())?;
        let help = "Failed attempts to store messages, by rule.";
        all.family("messages_failed", help, "rule", failed.map(counter))?;
        let help = "Messages sent to the dead-letter queue.";
        all.counter("messages_dead_lettered", help, totals.dead_lettered)?;
        let help = "Messages deleted from the queue.";
        all.counter("messages_deleted", help, deleted)?;
        let help = "Messages of batches that failed as a whole.";
        all.counter("messages_left", help, counts.left)?;
        all.counter("batches", "Batches, stored or not.", totals.batches)?;
        let help = "Time from received messages to the response of Postgres.";
        all.counter("batch_seconds", help, took)?;
        let (retries, reconnects) = (totals.recovery.retries, totals.recovery.reconnects);
        all.counter("database_retries", "Statements that were retried.", retries)?;
        all.counter(
            "database_reconnects",
            "Connections that replaced an earlier one.",
            reconnects,
        )?;
        let help = "Messages received, but not yet deleted or released.";
        all.gauge("messages_in_flight", help, counts.in_flight)?;
        let help = "Approximate number of messages in the queue.";
        all.family("queue_messages", help, "state", depth.map(gauge))
    }
}

/// Writes metrics.
struct MetricsEncoder<'e>(DescriptorEncoder<'e>);

impl MetricsEncoder<'_> {
    /// Writes a counter; `_total` is added to its name.
    fn counter(&mut self, name: &str, help: &str, value: impl EncodeCounterValue) -> fmt::Result {
        self.add(name, help, &ConstCounter::new(value))
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl EncodeGaugeValue) -> fmt::Result {
        self.add(name, help, &ConstGauge::new(value))
    }

    fn add(&mut self, name: &str, help: &str, metric: &impl EncodeMetric) -> fmt::Result {
        let kind = metric.metric_type();
        metric.encode(self.0.encode_descriptor(name, help, None, kind)?)
    }

    /// Writes a metric that has a value for each value of a label.
    fn family<M: EncodeMetric + TypedMetric>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (&'static str, M)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, M::TYPE)?;
        for (value, metric) in values {
            metric.encode(family.encode_family(&[(label, value)])?)?;
        }
        Ok(())
    }
}

fn counter((label, value): (&'static str, u64)) -> (&'static str, ConstCounter) {
    (label, ConstCounter::new(value))
}

fn gauge((label, value): (&'static str, u64)) -> (&'static str, ConstGauge<u64>) {
    (label, ConstGauge::new(value))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use sqs_to_postgres::counts::Stored;
    use sqs_to_postgres::sqs::Depth;
    use sqs_to_postgres::telemetry::Totals;

    use super::*;
    use crate::commands::drain::status::{LastDepth, Words};
    use crate::commands::drain::unread::Unread;

    #[test]
    fn prometheus_reads_the_names_types_and_help_of_all_metrics() {
        let totals = Totals {
            rows: Stored {
                written: 3,
                ..Stored::default()
            },
            took: Duration::from_millis(1500),
            failed: BTreeMap::from([("type", 2)]),
            ..Totals::default()
        };
        let words = Words {
            stored: "message",
            duplicates: "stored already",
        };
        let status = Status::new(Arc::new(Mutex::new(totals)), words, Unread::of_test());
        status.counts().received = 5;
        status.counts().depth = LastDepth::Read(Depth::default());
        status.settled(4, 1, 2);
        assert_eq!(text(&status), include_str!("metrics.txt"));
    }
}
