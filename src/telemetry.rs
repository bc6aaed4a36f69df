//! Logs: one line per batch, one per failed message, none with a field's value.
//!
//! Only our own lines are written. The libraries below would print whole payloads at `TRACE`, so
//! they are kept to warnings whatever the level.

use std::collections::BTreeMap;
use std::panic;
use std::time::Duration;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{LogFormat, LogSettings};
use crate::rejection::Rejection;

/// What one batch came to.
#[derive(Debug, Default)]
pub struct Summary {
    /// Messages received.
    pub received: usize,
    /// Rows written.
    pub stored: u64,
    /// Messages whose row was there already.
    pub duplicates: u64,
    /// Failed messages that were sent to the dead-letter queue.
    pub dead_lettered: usize,
    /// Statements tried again.
    pub retries: u64,
    /// From event to answer.
    pub elapsed: Duration,
}

/// Starts the log, and makes panics write their place only: their message may quote a value.
pub fn init(settings: LogSettings) {
    let ours = env!("CARGO_CRATE_NAME");
    let filter = Targets::new()
        .with_default(LevelFilter::WARN)
        .with_target(ours, settings.level)
        .with_target("bootstrap", settings.level);
    let lines = tracing_subscriber::fmt::layer().with_target(false);
    let lines = match settings.format {
        LogFormat::Json => lines
            .json()
            .flatten_event(true)
            .with_span_list(false)
            .with_filter(filter)
            .boxed(),
        LogFormat::Text => lines.with_filter(filter).boxed(),
    };
    tracing_subscriber::registry().with(lines).init();
    panic::set_hook(Box::new(|panic| {
        let place = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        tracing::error!(place, "panic in our own code: report it with this place");
    }));
}

/// Writes the line of a failed message.
pub fn message_failed(message_id: &str, rejection: &Rejection) {
    let place = rejection.place.as_ref();
    tracing::warn!(
        message_id,
        rule = rejection.rule.name(),
        column = place.map(|place| place.column.as_str()),
        path = place.map(|place| place.path.as_str()),
        reason = %rejection,
        "message failed"
    );
}

/// Writes the line of a batch; `failed` counts its failed messages by rule.
pub fn batch_done(summary: &Summary, failed: &BTreeMap<&str, usize>) {
    let failed_by_rule: Vec<_> = failed
        .iter()
        .map(|(rule, count)| format!("{rule}={count}"))
        .collect();
    tracing::info!(
        received = summary.received,
        stored = summary.stored,
        duplicates = summary.duplicates,
        failed = failed.values().sum::<usize>(),
        dead_lettered = summary.dead_lettered,
        failed_by_rule = failed_by_rule.join(" "),
        retries = summary.retries,
        millis = summary.elapsed.as_secs_f64() * 1_000.0,
        "batch"
    );
}
