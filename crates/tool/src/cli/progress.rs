//! Progress of a long command: a bar at a terminal, a line every ten seconds elsewhere.

use std::io::{IsTerminal as _, Write, stderr};
use std::time::{Duration, Instant};

use console::Term;
use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use sqs_to_postgres::config::LogSettings;
use sqs_to_postgres::telemetry;

use crate::cli::error::CliError;
use crate::cli::log::Readable;
use crate::cli::output::{counted, line};
use crate::cli::screen::width_of;

/// Interval of the lines without a terminal.
pub(crate) const REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// The text is cut at the end of the terminal.
const WITH_TOTAL: &str = "{bar:20} {wide_msg}";
const WITHOUT_BAR: &str = "{wide_msg}";
const WITHOUT_TOTAL: &str = "{spinner} {wide_msg}";

/// A narrower terminal has no bar beside the text.
const MIN_WIDTH_OF_BAR: usize = 60;

/// Counts messages.
pub(crate) struct Progress {
    bar: ProgressBar,
    /// What happens to the messages.
    done: String,
    /// How long it took until the last message was done, without the wait for more.
    worked: Duration,
    reported: Instant,
}

impl Progress {
    /// `total` is the number of messages, if known; `done` says what happens to them.
    pub(crate) fn new(total: Option<usize>, done: &'static str) -> Self {
        let bar = match total {
            Some(total) => ProgressBar::new(total as u64),
            None => ProgressBar::new_spinner(),
        };
        let progress = Self {
            bar,
            done: done.to_owned(),
            worked: Duration::ZERO,
            reported: Instant::now(),
        };
        progress.set_style();
        progress
    }

    fn set_style(&self) {
        let is_wide = width_of(&Term::stderr()).is_none_or(|width| width >= MIN_WIDTH_OF_BAR);
        let template = match self.bar.length() {
            Some(_) if is_wide => WITH_TOTAL,
            Some(_) => WITHOUT_BAR,
            None => WITHOUT_TOTAL,
        };
        // The templates are constants and correct.
        let style = ProgressStyle::with_template(template);
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
        self.bar.set_style(style.progress_chars("█▌·"));
        self.bar.set_message(self.text());
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

    /// Sets the number of messages done, of so many if that is known, and what happened to them.
    pub(crate) fn set(&mut self, messages: usize, total: Option<usize>, done: String) {
        self.done = done;
        match total {
            Some(total) => self.bar.set_length(total as u64),
            None => self.bar.unset_length(),
        }
        self.bar.set_position(messages as u64);
        self.set_style();
    }

    /// Adds messages to those that are done.
    pub(crate) fn advance(&mut self, messages: usize) {
        self.bar.inc(messages as u64);
        self.worked = self.bar.elapsed();
        self.bar.set_message(self.text());
        if !stderr().is_terminal() && self.reported.elapsed() > REPORT_INTERVAL {
            self.reported = Instant::now();
            eprintln!("{}", self.text());
        }
    }

    /// Says anew what happened to the messages.
    pub(crate) fn describe(&mut self, done: String) {
        self.done = done;
    }

    /// How far it is: `45% · 1,392 of 3,000 messages sent · 98.7/s · 16 s left`.
    pub(crate) fn text(&self) -> String {
        let (position, total) = (self.bar.position(), self.bar.length());
        text(position, total, &self.done, self.bar.elapsed())
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

/// How far work is that has taken this long.
fn text(position: u64, total: Option<u64>, done: &str, took: Duration) -> String {
    let total = total.map(|total| total.max(position));
    let mut parts = Vec::new();
    if let Some(total) = total {
        let percent = (position * 100).checked_div(total).unwrap_or(100);
        parts.push(format!("{percent}%"));
    }
    let position_text = HumanCount(position);
    parts.push(match total {
        Some(total) => format!("{position_text} of {} {done}", HumanCount(total)),
        None => format!("{position_text} {done}"),
    });
    let rate = position as f64 / took.as_secs_f64().max(0.001);
    if position > 0 {
        parts.push(format!("{}/s", three_digits(rate)));
        let left = total.map(|total| (total - position) as f64 / rate);
        parts.extend(left.map(|secs| format!("{} left", rounded(secs))));
    }
    parts.join(" · ")
}

/// A number with its first three digits.
fn three_digits(number: f64) -> String {
    match number {
        small if small < 9.995 => format!("{small:.2}"),
        medium if medium < 99.95 => format!("{medium:.1}"),
        large => {
            let power = 10_f64.powf(large.log10().floor() - 2.0).max(1.0);
            HumanCount(((large / power).round() * power) as u64).to_string()
        }
    }
}

/// A duration in its largest unit.
fn rounded(secs: f64) -> String {
    match secs {
        secs if secs < 120.0 => format!("{secs:.0} s"),
        secs if secs < 7_200.0 => format!("{:.0} min", secs / 60.0),
        secs => format!("{:.0} h", secs / 3_600.0),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_how_far_it_is_how_fast_and_how_long_it_still_takes() {
        let after = |position, total, secs| {
            text(position, total, "messages sent", Duration::from_secs(secs))
        };
        for (position, total, secs, expected) in [
            (0, Some(3_000), 1, "0% · 0 of 3,000 messages sent"),
            (
                1_392,
                Some(3_000),
                1,
                "46% · 1,392 of 3,000 messages sent · 1,390/s · 1 s left",
            ),
            (
                89,
                Some(3_000),
                75,
                "2% · 89 of 3,000 messages sent · 1.19/s · 41 min left",
            ),
            (
                100,
                Some(1_000_000),
                1,
                "0% · 100 of 1,000,000 messages sent · 100/s · 3 h left",
            ),
            (
                10,
                Some(5),
                1,
                "100% · 10 of 10 messages sent · 10.0/s · 0 s left",
            ),
            (0, Some(0), 1, "100% · 0 of 0 messages sent"),
            (1_234_567, None, 10, "1,234,567 messages sent · 123,000/s"),
        ] {
            assert_eq!(after(position, total, secs), expected);
        }
        assert_eq!(three_digits(9.999), "10.0");
        assert_eq!(three_digits(99.96), "100");
        assert_eq!(three_digits(999.9), "1,000");
    }
}
