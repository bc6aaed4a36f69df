//! Why a command could not do its work, and with which exit code it ends.

use std::io;
use std::net::SocketAddr;

use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use sqs_to_postgres::aws::reason;
use sqs_to_postgres::config::ConfigError;
use sqs_to_postgres::database::DatabaseError;
use sqs_to_postgres::pipeline::{PipelineError, Problem};
use sqs_to_postgres::refusal::RetryAction;
use sqs_to_postgres::schema::PartitionError;
use sqs_to_postgres::schema::TableError;
use sqs_to_postgres::start::StartError;
use thiserror::Error;

use crate::cli::Outcome;

/// What stopped a command.
#[derive(Debug, Error)]
pub(crate) enum CliError {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Table(#[from] TableError),
    #[error(transparent)]
    Partition(#[from] PartitionError),
    #[error("{what} cannot be used ({reason}): check its name, the region and the permissions")]
    Refused { what: String, reason: String },
    #[error("{what} cannot be asked ({reason}): check the way to AWS, or AWS_ENDPOINT_URL")]
    Unreachable { what: String, reason: String },
    #[error("{0} cannot be read ({1}): name a readable file of UTF-8 text, or - for stdin")]
    Input(String, String),
    #[error("{0} is no record of SQS: give the event as Lambda hands it to a function")]
    NoRecord(String),
    #[error("no queue is named: give --queue-url or --queue-name, or set QUEUE_URL")]
    NoQueue,
    #[error("the queue has no redrive policy: name its dead letters with --dead-letter-queue-url")]
    NoDeadLetterQueue,
    #[error("{0:?} is the queue itself: name its dead letters with --dead-letter-queue-url")]
    SameQueue(String),
    #[error(
        "a FIFO queue keeps order within groups: name the path of the group with --group-id-from"
    )]
    NoGroup,
    #[error(
        "no sample is a JSON object: give messages as JSON lines, or the event of a Lambda function"
    )]
    NoObject,
    #[error("the mapping masks no column, so that values stay as they are: add a mask to one")]
    NothingMasked,
    #[error("column {0:?} is not masked: name one of {1} with --column")]
    NotMasked(String, String),
    #[error("the masked columns do not all do the same: name one of {0} with --column")]
    WhichColumn(String),
    #[error("{0}")]
    MaskKey(Problem),
    #[error("{0:?} is no command: see `sqs-to-postgres --help`")]
    UnknownCommand(String),
    #[error("{0} cannot be listened on ({1}): name a free port and an address of this machine")]
    Listen(SocketAddr, io::Error),
    #[error("the output cannot be written ({0}): look at where it goes")]
    Output(#[from] io::Error),
}

impl CliError {
    /// What cannot be read.
    pub(crate) fn input(name: &str, error: &io::Error) -> Self {
        Self::Input(name.to_owned(), error.to_string())
    }

    /// What AWS answers, or that it does not.
    pub(crate) fn aws<E: ProvideErrorMetadata>(what: &str, error: &SdkError<E>) -> Self {
        let (what, reason) = (what.to_owned(), reason(error));
        match error {
            SdkError::ServiceError(_) | SdkError::ConstructionFailure(_) => {
                Self::Refused { what, reason }
            }
            _ => Self::Unreachable { what, reason },
        }
    }

    /// Whether nobody reads the output any more: `… | head`.
    pub(crate) fn is_unread(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// How a command that it stopped ends.
    pub(crate) fn outcome(&self) -> Outcome {
        match self {
            Self::Start(StartError::Prepare(error)) if error.is_transient() => Outcome::Away,
            Self::Unreachable { .. } => Outcome::Away,
            Self::Start(StartError::Database(error)) => of_database(error),
            _ => Outcome::ToMend,
        }
    }
}

/// What only a person can mend is no system that is away.
pub(crate) fn of_database(error: &DatabaseError) -> Outcome {
    match error.action() {
        RetryAction::Retry | RetryAction::RetryThenBisect | RetryAction::Reconnect => Outcome::Away,
        RetryAction::Bisect | RetryAction::RefreshCredentials | RetryAction::Fail => {
            Outcome::ToMend
        }
    }
}

impl From<ConfigError> for CliError {
    fn from(error: ConfigError) -> Self {
        Self::Start(error.into())
    }
}

impl From<PipelineError> for CliError {
    fn from(error: PipelineError) -> Self {
        Self::Start(error.into())
    }
}

impl From<DatabaseError> for CliError {
    fn from(error: DatabaseError) -> Self {
        Self::Start(error.into())
    }
}
