//! Why a command ended early, by what the user must do next.
//!
//! A command with failures of its own has its own error type next to its code.

use std::error::Error as StdError;
use std::io;

use sqs_to_postgres::aws::AwsError;
use sqs_to_postgres::config::ConfigError;
use sqs_to_postgres::database::DatabaseError;
use sqs_to_postgres::pipeline::PipelineError;
use sqs_to_postgres::prepare::PrepareError;
use sqs_to_postgres::refusal::RetryAction;
use sqs_to_postgres::schema::{PartitionError, TableError};
use sqs_to_postgres::start::StartError;
use thiserror::Error;

use super::Outcome;

/// Any error, as a sentence for the user.
type Reason = Box<dyn StdError + Send + Sync>;

/// What stopped a command.
#[derive(Debug, Error)]
pub(crate) enum CliError {
    /// The command line, a setting, the mapping, the table or the input must be corrected.
    #[error("{0}")]
    Invalid(Reason),
    /// A system that the command needs is unavailable: another attempt may succeed.
    #[error("{0}")]
    Unavailable(Reason),
    /// Standard output is closed or full.
    #[error("cannot write the output ({0}): check its destination")]
    Output(#[from] io::Error),
}

/// Input that cannot be read.
#[derive(Debug, Error)]
#[error("cannot read {name} ({reason}): name a readable file of UTF-8 text, or - for stdin")]
struct InputError {
    name: String,
    reason: String,
}

impl CliError {
    /// An error that only the user can fix.
    pub(crate) fn invalid(error: impl Into<Reason>) -> Self {
        Self::Invalid(error.into())
    }

    /// Input of this name that cannot be read.
    pub(crate) fn input(name: &str, error: &io::Error) -> Self {
        let (name, reason) = (name.to_owned(), error.to_string());
        Self::invalid(InputError { name, reason })
    }

    /// Whether the reader of the output is gone: `… | head`.
    pub(crate) fn is_unread(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// How the command ends.
    pub(crate) fn outcome(&self) -> Outcome {
        match self {
            Self::Invalid(_) | Self::Output(_) => Outcome::Invalid,
            Self::Unavailable(_) => Outcome::Unavailable,
        }
    }
}

impl From<AwsError> for CliError {
    fn from(error: AwsError) -> Self {
        match error {
            AwsError::Unavailable { .. } => Self::Unavailable(error.into()),
            _ => Self::invalid(error),
        }
    }
}

impl From<ConfigError> for CliError {
    fn from(error: ConfigError) -> Self {
        Self::invalid(error)
    }
}

impl From<PipelineError> for CliError {
    fn from(error: PipelineError) -> Self {
        Self::invalid(error)
    }
}

impl From<PartitionError> for CliError {
    fn from(error: PartitionError) -> Self {
        Self::invalid(error)
    }
}

impl From<TableError> for CliError {
    fn from(error: TableError) -> Self {
        Self::invalid(error)
    }
}

impl From<PrepareError> for CliError {
    fn from(error: PrepareError) -> Self {
        match error.is_transient() {
            true => Self::Unavailable(error.into()),
            false => Self::invalid(error),
        }
    }
}

impl From<DatabaseError> for CliError {
    fn from(error: DatabaseError) -> Self {
        match error.action() {
            RetryAction::Retry | RetryAction::RetryThenBisect | RetryAction::Reconnect => {
                Self::Unavailable(error.into())
            }
            RetryAction::Bisect | RetryAction::RefreshCredentials | RetryAction::Fail => {
                Self::invalid(error)
            }
        }
    }
}

impl From<StartError> for CliError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Config(error) => error.into(),
            StartError::Pipeline(error) => error.into(),
            StartError::Prepare(error) => error.into(),
            StartError::Database(error) => error.into(),
        }
    }
}
