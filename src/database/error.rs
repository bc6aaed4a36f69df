//! Errors of the connection to Postgres and of the server, and what must happen next.

use mapping::Refusal;
use thiserror::Error;
use tokio_postgres::error::SqlState;

use crate::aws::AwsError;
use crate::causes::causes;
use crate::refusal::{OfPostgres as _, RetryAction};
use crate::secret::SecretError;
use crate::sign_in::SignInError;

/// An error of the connection or the server; no variant holds a value of a row.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
#[expect(missing_docs, reason = "the sentence of each variant says what it is")]
pub enum DatabaseError {
    #[error("Postgres cannot be reached ({0}): check host, port, security groups and TLS")]
    Unreachable(String),
    #[error(
        "Postgres cannot be reached (no connection in time): check host, port, security groups and TLS"
    )]
    Late,
    #[error("the connection to Postgres was lost ({0}): reconnecting")]
    Lost(String),
    #[error(
        "Postgres answered with {0}: see https://www.postgresql.org/docs/current/errcodes-appendix.html"
    )]
    Server(Refusal),
    #[error(
        "Postgres accepts no more connections (SQLSTATE 53300): lower MaxConcurrency, add RDS Proxy, or raise the limit of the server, database or role"
    )]
    Full,
    #[error(
        "Aurora DSQL accepts no more new connections in this second (SQLSTATE 53400): lower MaxConcurrency"
    )]
    Throttled,
    #[error("Postgres refused user or password (SQLSTATE {0}): correct the secret or the role")]
    Credentials(String),
    #[error(
        "Postgres refused user or password of DATABASE_URL (SQLSTATE {0}): correct the URL or the role"
    )]
    UrlCredentials(String),
    #[error("Postgres refused the IAM token of user {user:?} (SQLSTATE {sqlstate}): {advice}")]
    Token {
        user: String,
        sqlstate: String,
        advice: &'static str,
    },
    #[error("a token for the database cannot be signed: check DB_HOST and DB_USER")]
    Unsigned,
    #[error(transparent)]
    Aws(#[from] AwsError),
    #[error(
        "database {0:?} does not exist: create it, or correct the name in the secret, DB_NAME or DATABASE_URL"
    )]
    NoDatabase(String),
    #[error(
        "DATABASE_URL cannot be read ({0}): write postgresql://user:password@host:port/database?sslmode=verify-full"
    )]
    Url(&'static str),
    #[error(
        "DB_SSLROOTCERT {path:?} cannot be used ({reason}): name a readable PEM file of certificates"
    )]
    RootCert { path: String, reason: String },
    #[error(transparent)]
    Secret(#[from] SecretError),
}

impl DatabaseError {
    /// What must happen next.
    pub fn action(&self) -> RetryAction {
        match self {
            // A missing database may come back under its name: it is being restored.
            Self::Unreachable(_)
            | Self::Late
            | Self::Lost(_)
            | Self::NoDatabase(_)
            | Self::Full
            | Self::Throttled => RetryAction::Reconnect,
            Self::Server(error) if error.is_by_policy => RetryAction::Bisect,
            Self::Server(error) => RetryAction::of_sqlstate(&error.sqlstate),
            Self::Credentials(_) | Self::Token { .. } => RetryAction::RefreshCredentials,
            Self::Aws(AwsError::SignIn(SignInError::Failed { .. })) => RetryAction::Reconnect,
            Self::Secret(error) if error.is_transient() => RetryAction::Reconnect,
            Self::UrlCredentials(_)
            | Self::Url(_)
            | Self::RootCert { .. }
            | Self::Secret(_)
            | Self::Aws(_)
            | Self::Unsigned => RetryAction::Fail,
        }
    }

    /// Whether the code of the server or of an extension failed, perhaps for one row only.
    pub(crate) fn is_internal(&self) -> bool {
        matches!(self, Self::Server(refusal) if refusal.is(&SqlState::INTERNAL_ERROR))
    }

    /// Whether Postgres refused because the role lacks a privilege.
    pub fn is_missing_privilege(&self) -> bool {
        matches!(self, Self::Server(refusal) if refusal.is(&SqlState::INSUFFICIENT_PRIVILEGE))
    }
}

/// An error of an established connection.
impl From<tokio_postgres::Error> for DatabaseError {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            None => Self::Lost(causes(&error)),
            Some(answer) => Self::Server(Refusal::of(answer)),
        }
    }
}
