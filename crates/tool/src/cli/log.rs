//! The log at a terminal, in the same form as the function's log under `make logs` (`localstack/stack/logs.py`).

use std::fmt;

use clap::builder::styling::{AnsiColor, Style};
use sqs_to_postgres::telemetry::messages::{BATCH, MESSAGE_FAILED, MESSAGES_FAILED, RETRYING};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{ChronoLocal, FormatTime as _};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::cli::output::escaped;
use crate::cli::screen::{BOLD, DIM, GREEN, PLAIN, RED, YELLOW};

/// One aligned line for each event, which says everything, so that it can be found with `grep`.
pub(super) struct Readable {
    time: ChronoLocal,
}

impl Readable {
    pub(super) fn new() -> Self {
        Self {
            time: ChronoLocal::new("%H:%M:%S%.3f".to_owned()),
        }
    }
}

impl<S, N> FormatEvent<S, N> for Readable
where
    S: Subscriber + for<'l> LookupSpan<'l>,
    N: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let (message, reason) = (fields.take("message"), fields.take("reason"));
        let mut time = String::new();
        self.time.format_time(&mut Writer::new(&mut time))?;
        let level = event.metadata().level();
        let mut parts = vec![
            (DIM, time),
            (style(*level), format!("{:5}", level.as_str())),
            (BOLD, format!("{message:20}")),
        ];
        parts.extend(fields.details(&message));
        parts.push((PLAIN, reason));
        parts.retain(|(_, text)| !text.is_empty());
        if let Some((_, text)) = parts.last_mut() {
            text.truncate(text.trim_end().len());
        }
        for (number, (style, text)) in parts.iter().enumerate() {
            let gap = if number == 0 { "" } else { "  " };
            write!(writer, "{gap}{style}{}{style:#}", escaped(text))?;
        }
        writeln!(writer)
    }
}

fn style(level: Level) -> Style {
    match level {
        Level::ERROR => RED.bold(),
        Level::WARN => YELLOW,
        Level::INFO => GREEN,
        Level::DEBUG => AnsiColor::Blue.on_default(),
        Level::TRACE => DIM,
    }
}

/// The fields of an event, as text.
#[derive(Default)]
struct Fields(Vec<(&'static str, String)>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.push((field.name(), format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.push((field.name(), value.to_owned()));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.push((field.name(), format!("{value:.1}")));
    }
}

impl Fields {
    /// Removes a field; empty if there is none of this name.
    fn take(&mut self, name: &str) -> String {
        let position = self.0.iter().position(|(field, _)| *field == name);
        position.map_or_else(String::new, |position| self.0.remove(position).1)
    }

    /// What is between message and reason.
    fn details(mut self, message: &str) -> Vec<(Style, String)> {
        let mut take = |name| self.take(name);
        match message {
            MESSAGE_FAILED => vec![
                (YELLOW, format!("{:14}", take("rule"))),
                (PLAIN, take("message_id")),
                (DIM, format!("try {}", take("attempt"))),
            ],
            MESSAGES_FAILED => vec![
                (YELLOW, format!("{:14}", take("rule"))),
                (BOLD, format!("{} messages", take("messages"))),
                (PLAIN, format!("{} …", take("message_ids"))),
            ],
            BATCH => self.batch(),
            RETRYING => {
                let wait = format!("in {} ms", take("wait_millis"));
                vec![(DIM, format!("{wait:14}"))]
            }
            _ => {
                let pairs = self.0.iter().map(|(name, value)| format!("{name}={value}"));
                vec![(DIM, pairs.collect::<Vec<_>>().join("  "))]
            }
        }
    }

    fn batch(mut self) -> Vec<(Style, String)> {
        let mut count = |name: &str, style| {
            let number = self.take(name);
            // A count that is rarely above none has no field then.
            let style = match number.as_str() {
                "" | "0" => DIM,
                _ => style,
            };
            (style, format!("{number:>5} {}", name.replace('_', " ")))
        };
        let mut parts = vec![
            count("received", PLAIN),
            count("stored", GREEN),
            count("failed", YELLOW),
        ];
        let extras = [
            "duplicates",
            "duplicates_in_batch",
            "stale",
            "deleted",
            "tombstones",
            "skipped",
            "empty_rows",
            "dead_lettered",
            "retries",
        ];
        let extras = extras.map(|name| count(name, YELLOW));
        parts.push((PLAIN, format!("{:>8} ms", self.take("millis"))));
        parts.extend(extras.into_iter().filter(|(style, _)| *style != DIM));
        parts.push((YELLOW, self.take("failed_by_rule")));
        parts
    }
}
