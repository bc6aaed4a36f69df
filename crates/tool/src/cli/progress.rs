//! Progress of a long command: a bar at a terminal, occasional lines elsewhere.

use std::io::{IsTerminal as _, Write, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use sqs_to_postgres::config::LogSettings;
use sqs_to_postgres::telemetry;

use crate::cli::error::CliError;
use crate::cli::log::Readable;
use crate::cli::output::{counted, line};

/// Interval of the lines without a terminal.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);

const WITH_TOTAL: &str = "{bar:30} {human_pos}/{human_len} {msg} · {per_sec} · {eta} left";
const WITHOUT_TOTAL: &str = "{spinner} {human_pos} {msg} · {per_sec}";

/// Counts messages.
pub(crate) struct Progress {
    bar: ProgressBar,
    /// How long it took until the last message was done, without the wait for more.
    worked: Duration,
    reported: Instant,
}

impl Progress {
    /// `total` is the number of messages, if known; `done` says what happens to them.
    pub(crate) fn new(total: Option<usize>, done: &'static str) -> Self {
        let (bar, template) = match total {
            Some(total) => (ProgressBar::new(total as u64), WITH_TOTAL),
            None => (ProgressBar::new_spinner(), WITHOUT_TOTAL),
        };
        // The templates are constants and correct.
        let style = ProgressStyle::with_template(template);
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_style(style.progress_chars("█▌·"));
        bar.set_message(done);
        Self {
            bar,
            worked: Duration::ZERO,
            reported: Instant::now(),
        }
    }

    /// Progress of work that writes a log to stderr: at a terminal above the bar, for a person to read.
    pub(crate) fn with_log(done: &'static str) -> Self {
        let progress = Self::new(None, done);
        let variable = |name: &str| std::env::var(name).ok();
        let settings = LogSettings::read(variable);
        let is_json = variable("AWS_LAMBDA_LOG_FORMAT")
            .is_some_and(|format| format.eq_ignore_ascii_case("json"));
        let bar = progress.bar.clone();
        let writer = move || AboveBar(bar.clone());
        if stderr().is_terminal() && !is_json {
            let lines = tracing_subscriber::fmt::layer().with_writer(writer);
            telemetry::init_for_reader(lines.event_format(Readable::new()), settings.level);
        } else {
            telemetry::init_to(settings, writer, false);
        }
        progress
    }

    /// Whether the bar is visible.
    pub(crate) fn is_shown(&self) -> bool {
        stderr().is_terminal()
    }

    /// Sets the number of messages done, and what happened to them.
    pub(crate) fn set(&self, messages: usize, done: &str) {
        self.bar.set_message(done.to_owned());
        self.bar.set_position(messages as u64);
    }

    /// Adds messages to those that are done.
    pub(crate) fn advance(&mut self, messages: usize) {
        self.bar.inc(messages as u64);
        self.worked = self.bar.elapsed();
        if !stderr().is_terminal() && self.reported.elapsed() > REPORT_INTERVAL {
            self.reported = Instant::now();
            eprintln!("{} {}", self.bar.position(), self.bar.message());
        }
    }

    /// Says anew what happened to the messages.
    pub(crate) fn describe(&self, done: String) {
        self.bar.set_message(done);
    }

    /// Writes a line without disturbing the bar.
    pub(crate) fn say(&self, line: &str) {
        self.bar.suspend(|| eprintln!("{line}"));
    }

    /// Writes to stdout without disturbing the bar.
    pub(crate) fn print(&self, text: &str) -> Result<(), CliError> {
        self.bar.suspend(|| line(text))
    }

    /// Removes the bar and returns number, duration and rate.
    pub(crate) fn end(&self) -> String {
        self.end_of("message")
    }

    /// Removes the bar and returns number, duration and rate of what this noun names.
    pub(crate) fn end_of(&self, noun: &str) -> String {
        let messages = self.bar.position() as usize;
        self.bar.finish_and_clear();
        let (count, rate) = (counted(messages, noun), rate(messages, self.worked));
        format!("{count} {rate}")
    }
}

/// Duration and rate of messages that were worked on for this long: `in 1.2 s, 40 a second`.
pub(crate) fn rate(messages: usize, worked: Duration) -> String {
    let secs = worked.as_secs_f64();
    let rate = messages as f64 / secs.max(0.001);
    format!("in {secs:.1} s, {rate:.0} a second")
}

/// Writes lines of a log above the bar, in colour where stderr has colours.
struct AboveBar(ProgressBar);

impl Write for AboveBar {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        self.0.suspend(|| anstream::stderr().write(line))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        stderr().flush()
    }
}
