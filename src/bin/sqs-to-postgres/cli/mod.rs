//! What several commands need: settings, input and output, signals, errors.

pub(crate) mod error;
pub(crate) mod outgoing;
pub(crate) mod output;
pub(crate) mod progress;
pub(crate) mod samples;
pub(crate) mod settings;
pub(crate) mod signals;
pub(crate) mod values;

use std::process::ExitCode;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All is done.
    Done,
    /// Some messages failed, or were left.
    SomeFailed,
    /// Something has to be mended, and was said.
    ToMend,
    /// A system is away, and that was said.
    Away,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        Self::from(match outcome {
            Outcome::Done => 0,
            Outcome::SomeFailed => 1,
            Outcome::ToMend => 2,
            Outcome::Away => 3,
        })
    }
}
