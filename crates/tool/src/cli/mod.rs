//! What several commands need: settings, input and output, signals, errors.

pub(crate) mod complete;
pub(crate) mod database;
pub(crate) mod dead_letters;
pub(crate) mod error;
pub(crate) mod event;
pub(crate) mod http;
mod log;
pub(crate) mod lookup;
pub(crate) mod output;
pub(crate) mod progress;
pub(crate) mod samples;
pub(crate) mod sampling;
pub(crate) mod screen;
pub(crate) mod server_log;
pub(crate) mod settings;
pub(crate) mod signals;
pub(crate) mod snippet;
pub(crate) mod values;
pub(crate) mod watch;

use std::process::ExitCode;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Everything is done.
    Done,
    /// Some messages failed or remain.
    SomeFailed,
    /// The command line, a setting, the mapping or the table must be corrected.
    Invalid,
    /// A system is unavailable.
    Unavailable,
}

impl Outcome {
    pub(crate) fn done_if(is_done: bool) -> Self {
        if is_done {
            Self::Done
        } else {
            Self::SomeFailed
        }
    }
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        Self::from(match outcome {
            Outcome::Done => 0,
            Outcome::SomeFailed => 1,
            Outcome::Invalid => 2,
            Outcome::Unavailable => 3,
        })
    }
}
