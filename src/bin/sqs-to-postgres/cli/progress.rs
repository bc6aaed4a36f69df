//! How far long work has come: a bar at a terminal, a line now and then elsewhere.

use std::io::{IsTerminal as _, Write, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use sqs_to_postgres::config::{LogFormat, LogSettings};
use sqs_to_postgres::telemetry;

use crate::cli::output::counted;

/// How often a line is written where there is no terminal.
const SAY_EVERY: Duration = Duration::from_secs(10);

const OF_KNOWN: &str = "{bar:30} {human_pos}/{human_len} {msg} · {per_sec} · {eta} left";
const OF_UNKNOWN: &str = "{spinner} {human_pos} {msg} · {per_sec}";

/// Counts messages.
pub(crate) struct Progress {
    bar: ProgressBar,
    messages: usize,
    began: Instant,
    said: Instant,
}

impl Progress {
    /// `total` is how many there are to come, where that is known; `done` says what is done to them.
    pub(crate) fn new(total: Option<usize>, done: &'static str) -> Self {
        let (bar, template) = match total {
            Some(total) => (ProgressBar::new(total as u64), OF_KNOWN),
            None => (ProgressBar::new_spinner(), OF_UNKNOWN),
        };
        // The templates are constants, so that none is wrong.
        let style = ProgressStyle::with_template(template);
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_style(style.progress_chars("█▌·"));
        bar.set_message(done);
        Self {
            bar,
            messages: 0,
            began: Instant::now(),
            said: Instant::now(),
        }
    }

    /// The same for work that writes a log, which then goes to stderr: at a terminal only what is
    /// wrong, above the bar.
    pub(crate) fn with_log(done: &'static str) -> Self {
        let progress = Self::new(None, done);
        let is_terminal = stderr().is_terminal();
        let variable = |name: &str| std::env::var(name).ok();
        let settings = match is_terminal {
            true if variable("AWS_LAMBDA_LOG_LEVEL").is_none() => LogSettings {
                format: LogFormat::Text,
                level: tracing::Level::WARN,
            },
            _ => LogSettings::read(variable),
        };
        let bar = progress.bar.clone();
        telemetry::init_to(settings, move || AboveBar(bar.clone()), is_terminal);
        progress
    }

    /// Whether anybody sees it.
    pub(crate) fn is_shown(&self) -> bool {
        stderr().is_terminal()
    }

    /// So many are done, and what is done to them.
    pub(crate) fn set(&self, messages: usize, done: &str) {
        self.bar.set_message(done.to_owned());
        self.bar.set_position(messages as u64);
    }

    /// So many more are done.
    pub(crate) fn advance(&mut self, messages: usize) {
        self.messages += messages;
        self.bar.set_position(self.messages as u64);
        if !stderr().is_terminal() && self.said.elapsed() > SAY_EVERY {
            self.said = Instant::now();
            eprintln!("{} {}", self.messages, self.bar.message());
        }
    }

    /// Writes a line without disturbing the bar.
    pub(crate) fn say(&self, line: &str) {
        self.bar.suspend(|| eprintln!("{line}"));
    }

    /// Takes the bar away and gives what was done, how long it took and how quick that was.
    pub(crate) fn end(&self) -> String {
        self.bar.finish_and_clear();
        let secs = self.began.elapsed().as_secs_f64();
        let rate = self.messages as f64 / secs;
        format!(
            "{} in {secs:.1} s, {rate:.0} a second",
            counted(self.messages, "message")
        )
    }
}

/// Lines of a log that leave the bar whole.
struct AboveBar(ProgressBar);

impl Write for AboveBar {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        self.0.suspend(|| stderr().write(line))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        stderr().flush()
    }
}
