//! Logs and metrics: one line per batch, one per failed message up to a limit, none with a field's value.
//!
//! Libraries would print whole payloads at `TRACE`, so only their warnings and errors are written, whatever the
//! level.

mod line;
pub mod messages;
mod metrics;
mod summary;
pub mod trace;

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::panic;
use std::time::Duration;

use mapping::internals::Ignored;
use mapping::{Record, Rejection};
use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, Registry};

use crate::config::LogSettings;
use messages::{MESSAGE_FAILED, MESSAGES_FAILED, MORE_MESSAGES_FAILED, ORIGIN_IGNORED, PANIC};
pub(crate) use metrics::BatchMetrics;
pub use metrics::{Metrics, Totals};

/// Maximum lines per rule and batch for failed messages. Without a limit, 10,000 bad messages would write 3 MB of log
/// with every delivery.
const LINES_PER_RULE: usize = 100;

/// The target of a line about several messages that failed for the same reason. A log with these lines has no line for
/// each of the messages.
const ALIKE: &str = concat!(env!("CARGO_CRATE_NAME"), "::alike");

/// This many messages that failed for the same reason still have a line each; a line about more has this many ids.
const MAX_EACH: usize = 2;

/// Starts the log of the function.
pub fn init(settings: LogSettings) {
    let is_terminal = std::io::stdout().is_terminal();
    init_to(settings, std::io::stdout, is_terminal);
}

/// Starts a log in one of Lambda's formats.
pub fn init_to<W>(settings: LogSettings, writer: W, is_terminal: bool)
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .with_target(false)
        .with_ansi(is_terminal);
    let lines = match settings.is_text {
        true => lines.compact().boxed(),
        false => lines
            .json()
            .flatten_event(true)
            .with_span_list(false)
            .boxed(),
    };
    start(lines, settings.level, LevelFilter::OFF);
}

/// Starts a log for a person who reads it live: several messages that failed for the same reason are one line.
pub fn init_for_reader(lines: impl Layer<Registry> + Send + Sync, level: Level) {
    start(lines, level, level.into());
}

/// Makes panics write only their location, too: their message may quote a value.
fn start(lines: impl Layer<Registry> + Send + Sync, level: Level, alike: LevelFilter) {
    let ours = env!("CARGO_CRATE_NAME");
    let filter = Targets::new()
        .with_default(LevelFilter::WARN)
        .with_target(ours, level)
        .with_target("bootstrap", level)
        .with_target(ALIKE, alike);
    tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .init();
    panic::set_hook(Box::new(|panic| {
        let place = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        tracing::error!(place, "{PANIC}");
    }));
}

/// Writes a line for each failed message of a batch, at most 100 per rule, and then how many more there are; for a
/// reader, one for each reason.
pub fn messages_failed(failed: &[(&Record<'_>, Rejection)]) {
    if tracing::enabled!(target: ALIKE, Level::WARN) {
        return messages_failed_alike(failed);
    }
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
            tracing::warn!(rule, messages, "{MORE_MESSAGES_FAILED}");
        }
    }
}

/// Writes a line for each reason for which the origins of messages do not count.
pub(crate) fn origins_ignored(ignored: impl Iterator<Item = Ignored>) {
    let mut counts: BTreeMap<Ignored, usize> = BTreeMap::new();
    for reason in ignored {
        *counts.entry(reason).or_default() += 1;
    }
    for (reason, messages) in counts {
        tracing::warn!(
            messages,
            reason = %reason,
            "{ORIGIN_IGNORED}"
        );
    }
}

/// Warns of a batch that is acknowledged although none of its messages is in a table. Perhaps the mapping is at fault.
pub(crate) fn batch_skipped(messages: usize) {
    tracing::warn!(
        messages,
        "no message of the batch produced a row: if they should be stored, check `root`, `when` and `each` of the mapping"
    );
}

/// Writes a line for each reason. A mapping has few, so their number needs no limit.
fn messages_failed_alike(failed: &[(&Record<'_>, Rejection)]) {
    let mut by_reason: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for (record, rejection) in failed {
        let alike = by_reason.entry(rejection.to_string()).or_default();
        alike.push((record, rejection));
    }
    for (reason, alike) in by_reason {
        let (messages, each) = (alike.len(), alike.iter().take(MAX_EACH));
        if messages <= MAX_EACH {
            each.for_each(|(record, rejection)| message_failed(record, rejection));
            continue;
        }
        let rule = alike.first().map(|(_, rejection)| rejection.rule.name());
        let ids: Vec<_> = each.map(|(record, _)| &*record.message_id).collect();
        let message_ids = ids.join(" ");
        tracing::warn!(target: ALIKE, rule, messages, message_ids, reason, "{MESSAGES_FAILED}");
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
        "{MESSAGE_FAILED}"
    );
}

/// Rounded to the microsecond.
fn millis(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1_000.0
}
