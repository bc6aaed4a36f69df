//! What an error of Postgres, or on the way to it, means.

use thiserror::Error;
use tokio_postgres::error::{DbError, SqlState};

use crate::rejection::Refusal;
use crate::secret::SecretError;
use crate::telemetry::causes;

/// What must happen after an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// The row is at fault: find it and set it aside.
    Isolate,
    /// Another try may succeed on the same connection.
    Retry,
    /// It took too long: another try may succeed on the same connection, or one with fewer rows.
    RetryThenBisect,
    /// Another try may succeed on a new connection.
    Reconnect,
    /// The credentials were refused: read them again.
    Reauthenticate,
    /// Only a person can mend it.
    GiveUp,
}

impl Remedy {
    /// What an SQLSTATE asks for.
    ///
    /// A row alone can be refused by its data (22), a constraint (23), a view (44), a limit such as
    /// the size of an index entry (54), and a trigger, with any code that its author likes; and two
    /// rows whose keys only Postgres knows to be equal cannot go in one statement (21). So every
    /// class counts as the row's fault of which it is not known to be the server's or the mapping's.
    /// Source: <https://www.postgresql.org/docs/18/errcodes-appendix.html>.
    pub fn of_sqlstate(code: &str) -> Self {
        match code.get(..2).unwrap_or_default() {
            "28" => Self::Reauthenticate,
            // Cancelled by `statement_timeout`, which leaves the connection whole, or by `lock_timeout`.
            "57" | "55" if matches!(code, "57014" | "55P03") => Self::RetryThenBisect,
            // An object that is not in the state that the statement needs, for example a view.
            "55" if code == "55000" => Self::GiveUp,
            "40" | "55" => Self::Retry,
            "08" | "53" | "58" | "XX" => Self::Reconnect,
            "57" => Self::Reconnect,
            // Read-only: the server was demoted by a failover, and its name leads elsewhere now. Or a
            // transaction failed and was left open: another connection has none. Or it took too long,
            // which ends the connection, as behind a lock.
            "25" if matches!(code, "25006" | "25P02" | "25P03" | "25P04") => Self::Reconnect,
            // A statement lost its name, which another connection gives it anew.
            "26" => Self::Reconnect,
            "" | "0A" | "0L" | "0P" | "24" | "25" | "2B" | "2D" | "34" | "3B" | "3D" | "3F"
            | "42" | "F0" => Self::GiveUp,
            _ => Self::Isolate,
        }
    }
}

/// An error on the way to Postgres or from it; no variant holds a value of a row.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
#[expect(missing_docs, reason = "the sentence of each variant says what it is")]
pub enum DatabaseError {
    #[error("Postgres cannot be reached ({0}): check host, port, security groups and TLS")]
    Unreachable(String),
    #[error(
        "Postgres cannot be reached (no connection in time): check host, port, security groups and TLS"
    )]
    Late,
    #[error("the connection to Postgres was lost ({0}): a new one is tried")]
    Lost(String),
    #[error("Postgres answered with {0}: look it up in the appendix of its manual")]
    Server(Refusal),
    #[error("Postgres refused user or password (SQLSTATE {0}): correct the secret or the role")]
    Credentials(String),
    #[error(
        "Postgres refused user or password of DATABASE_URL (SQLSTATE {0}): correct the URL or the role"
    )]
    UrlCredentials(String),
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
    pub fn remedy(&self) -> Remedy {
        match self {
            // A database may be on its way back under its name: it is being restored.
            Self::Unreachable(_) | Self::Late | Self::Lost(_) | Self::NoDatabase(_) => {
                Remedy::Reconnect
            }
            Self::Server(error) if error.is_by_policy => Remedy::Isolate,
            Self::Server(error) => Remedy::of_sqlstate(&error.sqlstate),
            Self::Credentials(_) => Remedy::Reauthenticate,
            Self::Secret(error) if error.is_transient() => Remedy::Reconnect,
            Self::UrlCredentials(_) | Self::Url(_) | Self::RootCert { .. } | Self::Secret(_) => {
                Remedy::GiveUp
            }
        }
    }
}

impl DatabaseError {
    /// Whether the server's own code failed, or that of an extension, which may be for one row only.
    pub(crate) fn is_internal(&self) -> bool {
        matches!(self, Self::Server(refusal) if refusal.sqlstate == SqlState::INTERNAL_ERROR.code())
    }

    /// What Postgres said of a row; empty where the error is not Postgres's.
    pub(crate) fn into_refusal(self) -> Refusal {
        match self {
            Self::Server(refusal) => refusal,
            _ => Refusal::default(),
        }
    }
}

/// An error after the connection was made.
impl From<tokio_postgres::Error> for DatabaseError {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            None => Self::Lost(causes(&error)),
            Some(answer) => Self::Server(Refusal {
                sqlstate: answer.code().code().to_owned(),
                is_by_policy: is_by_policy(answer),
                is_without_partition: is_without_partition(answer),
                table: answer.table().map(str::to_owned),
                column: answer.column().map(str::to_owned),
                constraint: answer.constraint().map(str::to_owned),
                copied_row: answer.where_().and_then(copied_row),
            }),
        }
    }
}

/// Whether a policy refused a row, which has the SQLSTATE of a missing privilege: that is told by the function
/// of Postgres that holds a row against policies.
/// Source: <https://github.com/postgres/postgres/blob/REL_18_STABLE/src/backend/executor/execMain.c>.
fn is_by_policy(answer: &DbError) -> bool {
    *answer.code() == SqlState::INSUFFICIENT_PRIVILEGE
        && answer.routine() == Some("ExecWithCheckOptions")
}

/// Whether a partitioned table has no partition for a row, which has the SQLSTATE of a CHECK: identified by the function
/// of Postgres that looks for the partition.
/// Source: <https://github.com/postgres/postgres/blob/REL_18_STABLE/src/backend/executor/execPartition.c>.
fn is_without_partition(answer: &DbError) -> bool {
    *answer.code() == SqlState::CHECK_VIOLATION
        && answer.constraint().is_none()
        && answer.routine() == Some("ExecFindPartition")
}

/// The number of the row, whatever the language: `COPY logins, line 7`, `COPY logins, Zeile 7, Spalte ip`.
/// Source: `CopyFromErrorCallback` in <https://github.com/postgres/postgres/blob/REL_18_STABLE/src/backend/commands/copyfrom.c>.
fn copied_row(context: &str) -> Option<usize> {
    let of_copy = |line: &str| {
        let (_, place) = line.strip_prefix("COPY ")?.split_once(", ")?;
        let mut numbers = place.split(|char: char| !char.is_ascii_digit());
        let line: usize = numbers.find(|number| !number.is_empty())?.parse().ok()?;
        line.checked_sub(1)
    };
    context.lines().find_map(of_copy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_row_of_a_copy_is_read_in_any_language() {
        let cases = [
            ("COPY logins, line 7", Some(6)),
            (
                "PL/pgSQL function f() line 3 at RAISE\nCOPY logins, Zeile 12, Spalte ip: \"9\"",
                Some(11),
            ),
            ("COPY logins", None),
            ("COPY logins, line 0", None),
            ("SQL statement \"SELECT 1\"", None),
        ];
        for (context, row) in cases {
            assert_eq!(copied_row(context), row, "{context}");
        }
    }

    #[test]
    fn every_class_of_sqlstate_has_its_remedy() {
        let cases = [
            (
                Remedy::Isolate,
                vec![
                    "22001", "22P02", "23502", "23503", "23505", "23514", "23P01", "44000",
                    "54000", "P0001", "21000", "38000", "39000", "2F005", "APP01",
                ],
            ),
            (Remedy::Retry, vec!["40001", "40P01", "55006"]),
            (Remedy::RetryThenBisect, vec!["55P03", "57014"]),
            (
                Remedy::Reconnect,
                vec![
                    "08006", "25006", "25P02", "25P03", "25P04", "26000", "53300", "57P01",
                    "57P02", "57P03", "58030", "XX000",
                ],
            ),
            (Remedy::Reauthenticate, vec!["28P01", "28000"]),
            (
                Remedy::GiveUp,
                vec![
                    "42P01", "42703", "55000", "42501", "3D000", "0A000", "25001", "", "4",
                ],
            ),
        ];
        for (remedy, codes) in cases {
            for code in codes {
                assert_eq!(Remedy::of_sqlstate(code), remedy, "{code}");
            }
        }
    }
}
