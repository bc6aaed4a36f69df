//! Logs and metrics: one line per batch, one per failed message up to a limit, none with a field's value.
//!
//! Libraries would print whole payloads at `TRACE`, so only their warnings and errors are written, whatever the
//! level.

mod line;
mod metrics;
mod summary;
mod trace;

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::panic;
use std::time::Duration;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{LogFormat, LogSettings};
use crate::message::Record;
use crate::rejection::Rejection;
pub use metrics::{BatchMetrics, Metrics, Totals};

/// Maximum lines per rule and batch for failed messages. Without a limit, 10,000 bad messages would write 3 MB of log
/// with every delivery.
const LINES_PER_RULE: usize = 100;

/// Retries, reconnects and secret refreshes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Statements that were retried.
    pub retries: u64,
    /// Connections that replaced an earlier one.
    pub reconnects: u64,
    /// Repeated reads of the secret.
    pub secret_refreshes: u64,
}

/// Starts the log of the function.
pub fn init(settings: LogSettings) {
    let is_terminal = std::io::stdout().is_terminal();
    init_to(settings, std::io::stdout, is_terminal);
}

/// Starts a log, and makes panics write only their location: their message may quote a value.
pub fn init_to<W>(settings: LogSettings, writer: W, is_terminal: bool)
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let ours = env!("CARGO_CRATE_NAME");
    let filter = Targets::new()
        .with_default(LevelFilter::WARN)
        .with_target(ours, settings.level)
        .with_target("bootstrap", settings.level);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .with_target(false)
        .with_ansi(is_terminal);
    let lines = match settings.format {
        LogFormat::Json => lines
            .json()
            .flatten_event(true)
            .with_span_list(false)
            .with_filter(filter)
            .boxed(),
        LogFormat::Text => lines.compact().with_filter(filter).boxed(),
    };
    tracing_subscriber::registry().with(lines).init();
    panic::set_hook(Box::new(|panic| {
        let place = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        tracing::error!(place, "panic: report it with this location");
    }));
}

/// Writes a line for each failed message of a batch, at most 100 per rule, and then how many more there are.
pub fn messages_failed(failed: &[(&Record<'_>, Rejection)]) {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for (record, rejection) in failed {
        let count = counts.entry(rejection.rule.name()).or_default();
        *count += 1;
        if *count <= LINES_PER_RULE {
            message_failed(record, rejection);
        }
    }
    for (rule, count) in counts {
        let messages = count.saturating_sub(LINES_PER_RULE);
        if messages > 0 {
            tracing::warn!(rule, messages, "more messages failed");
        }
    }
}

fn message_failed(record: &Record<'_>, rejection: &Rejection) {
    let place = rejection.place.as_ref();
    let trace_header = record.aws_trace_header().and_then(trace::root);
    tracing::warn!(
        message_id = &*record.message_id,
        rule = rejection.rule.name(),
        table = place.and_then(|place| place.table.as_deref()),
        column = place.and_then(|place| place.column.as_deref()),
        path = place.map(|place| place.path.as_str()),
        attempt = record.receive_count().and_then(|count| count.parse::<u32>().ok()),
        trace_header,
        reason = %rejection,
        "message failed"
    );
}

/// Rounded to the microsecond.
fn millis(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1_000.0
}
