//! Why Postgres refused a statement, and what must happen next.

use mapping::Refusal;
use tokio_postgres::error::{DbError, SqlState};

/// What must happen after an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryAction {
    /// The row is at fault: find it and set it aside.
    Bisect,
    /// Another attempt may succeed on the same connection.
    Retry,
    /// It timed out: fewer rows may succeed, on the same connection.
    TryFewer,
    /// Another attempt may succeed on a new connection.
    Reconnect,
    /// The credentials were refused: read them again.
    RefreshCredentials,
    /// Only a person can fix it.
    Fail,
}

impl RetryAction {
    /// The action for an SQLSTATE.
    ///
    /// A row alone can be refused by its data (22), a constraint (23), a view (44), a limit such as the size of an
    /// index entry (54), and a trigger, with any code that its author chooses; and two rows whose keys only Postgres
    /// knows to be equal cannot be in one statement (21). So every class that is not known to be the fault of the
    /// server or the mapping counts as the fault of the row.
    /// Source: <https://www.postgresql.org/docs/18/errcodes-appendix.html>.
    pub fn of_sqlstate(code: &str) -> Self {
        match code.get(..2).unwrap_or_default() {
            "28" => Self::RefreshCredentials,
            // Cancelled by `statement_timeout` or `lock_timeout`, which leave the connection intact.
            "57" | "55" if matches!(code, "57014" | "55P03") => Self::TryFewer,
            // An object that is not in the state that the statement needs, for example a view.
            "55" if code == "55000" => Self::Fail,
            // Aurora DSQL: OC000 and OC001 are conflicts with other transactions, which it reports as 40001, too.
            // Source: <https://docs.aws.amazon.com/aurora-dsql/latest/userguide/working-with-concurrency-control.html>.
            "40" | "55" | "OC" => Self::Retry,
            "08" | "53" | "58" | "XX" => Self::Reconnect,
            "57" => Self::Reconnect,
            // Read-only: the server was demoted by a failover, and its name now resolves elsewhere. Or a failed
            // transaction was left open, which a new connection does not have. Or a timeout ended the connection, for
            // example behind a lock.
            "25" if matches!(code, "25006" | "25P02" | "25P03" | "25P04") => Self::Reconnect,
            // A prepared statement is gone; a new connection prepares it again.
            "26" => Self::Reconnect,
            "" | "0A" | "0L" | "0P" | "24" | "25" | "2B" | "2D" | "34" | "3B" | "3D" | "3F"
            | "42" | "F0" => Self::Fail,
            _ => Self::Bisect,
        }
    }
}

/// The statement for several tables fails with it where a table stores the key of a parent changed, because Postgres
/// has no expression that just fails: no other statement has a negative `LIMIT`.
pub(crate) const KEY_IS_CHANGED: SqlState = SqlState::INVALID_ROW_COUNT_IN_LIMIT_CLAUSE;

/// The statement fails with it where the tables are not as it takes them to be: no other statement has a negative
/// `OFFSET`.
pub(crate) const TABLES_DIFFER: SqlState = SqlState::INVALID_ROW_COUNT_IN_RESULT_OFFSET_CLAUSE;

/// The functions of Postgres that raise what a trigger in PL/pgSQL or PL/Python asks for.
/// Source: <https://github.com/postgres/postgres/tree/REL_18_STABLE/src/pl>, `pl_exec.c` and `plpy_plpymodule.c`.
const RAISING: [&str; 2] = ["exec_stmt_raise", "PLy_output"];

/// What a [`Refusal`] has to do with the driver, which the mapping does not know.
pub(crate) trait OfPostgres {
    /// The fields of an error, without its texts.
    fn of(answer: &DbError) -> Self;

    /// Whether this is its SQLSTATE.
    fn is(&self, state: &SqlState) -> bool;
}

impl OfPostgres for Refusal {
    fn of(answer: &DbError) -> Self {
        Self {
            sqlstate: answer.code().code().to_owned(),
            is_by_policy: is_by_policy(answer),
            lacks_partition: lacks_partition(answer),
            changes_key: false,
            is_ambiguous: false,
            is_raised: answer
                .routine()
                .is_some_and(|routine| RAISING.contains(&routine)),
            table: answer.table().map(str::to_owned),
            column: answer.column().map(str::to_owned),
            constraint: answer.constraint().map(str::to_owned),
            value: None,
        }
    }

    fn is(&self, state: &SqlState) -> bool {
        self.sqlstate == state.code()
    }
}

/// Whether a policy refused a row. Because this has the SQLSTATE of a missing privilege, it is identified by the
/// function of Postgres that checks policies.
/// Source: <https://github.com/postgres/postgres/blob/REL_18_STABLE/src/backend/executor/execMain.c>.
fn is_by_policy(answer: &DbError) -> bool {
    *answer.code() == SqlState::INSUFFICIENT_PRIVILEGE
        && answer.routine() == Some("ExecWithCheckOptions")
}

/// Whether a partitioned table has no partition for a row. Because this has the SQLSTATE of a CHECK, it is identified
/// by the function of Postgres that looks for the partition.
/// Source: <https://github.com/postgres/postgres/blob/REL_18_STABLE/src/backend/executor/execPartition.c>.
fn lacks_partition(answer: &DbError) -> bool {
    *answer.code() == SqlState::CHECK_VIOLATION
        && answer.constraint().is_none()
        && answer.routine() == Some("ExecFindPartition")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_of_sqlstate_has_its_action() {
        let cases = [
            (
                RetryAction::Bisect,
                vec![
                    "22001", "22P02", "23502", "23503", "23505", "23514", "23P01", "44000",
                    "54000", "P0001", "21000", "38000", "39000", "2F005", "APP01",
                ],
            ),
            (
                RetryAction::Retry,
                vec!["40001", "40P01", "55006", "OC000", "OC001"],
            ),
            (RetryAction::TryFewer, vec!["55P03", "57014"]),
            (
                RetryAction::Reconnect,
                vec![
                    "08006", "25006", "25P02", "25P03", "25P04", "26000", "53300", "57P01",
                    "57P02", "57P03", "58030", "XX000",
                ],
            ),
            (RetryAction::RefreshCredentials, vec!["28P01", "28000"]),
            (
                RetryAction::Fail,
                vec![
                    "42P01", "42703", "55000", "42501", "3D000", "0A000", "25001", "", "4",
                ],
            ),
        ];
        for (action, codes) in cases {
            for code in codes {
                assert_eq!(RetryAction::of_sqlstate(code), action, "{code}");
            }
        }
    }
}
