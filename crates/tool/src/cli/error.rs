//! Why a command ended early, by what the user must do next.
//!
//! A command with several failures of its own has its own error type next to its code.

use std::error::Error as StdError;
use std::io;

use mapping::PipelineError;
use mapping::ddl::PartitionError;
use sqs_to_postgres::aws::AwsError;
use sqs_to_postgres::config::ConfigError;
use sqs_to_postgres::database::DatabaseError;
use sqs_to_postgres::prepare::PrepareError;
use sqs_to_postgres::refusal::RetryAction;
use sqs_to_postgres::schema::TableError;
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
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    #[error(transparent)]
    Partition(#[from] PartitionError),
    #[error(transparent)]
    Table(#[from] TableError),
    #[error(transparent)]
    Aws(#[from] AwsError),
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// Standard output is closed or full.
    #[error("cannot write the output ({0}): check its destination")]
    Output(#[from] io::Error),
}

impl CliError {
    /// An error that only the user can fix.
    pub(crate) fn invalid(error: impl Into<Reason>) -> Self {
        Self::Invalid(error.into())
    }

    /// Input of this name that cannot be read.
    pub(crate) fn input(name: &str, error: &io::Error) -> Self {
        Self::invalid(format!(
            "cannot read {name} ({error}): name a readable file of UTF-8 text, or - for stdin"
        ))
    }

    /// Whether the reader of the output is gone: `… | head`.
    pub(crate) fn is_unread(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// How the command ends.
    pub(crate) fn outcome(&self) -> Outcome {
        let is_unavailable = match self {
            Self::Aws(error) => matches!(error, AwsError::Unavailable { .. }),
            Self::Prepare(error) => error.is_transient(),
            Self::Database(error) => may_pass(error),
            Self::Invalid(_) | Self::Config(_) | Self::Pipeline(_) | Self::Partition(_) => false,
            Self::Table(_) | Self::Output(_) => false,
        };
        match is_unavailable {
            true => Outcome::Unavailable,
            false => Outcome::Invalid,
        }
    }
}

/// Whether another attempt may succeed although nobody fixes anything.
pub(crate) fn may_pass(error: &DatabaseError) -> bool {
    matches!(
        error.action(),
        RetryAction::Retry | RetryAction::TryFewer | RetryAction::Reconnect
    )
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
