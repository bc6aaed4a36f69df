//! What the error of a statement says: whether a row, the table or the server is at fault, and whether another attempt
//! may succeed. Where the error does not say it, the catalog does.

use std::sync::Arc;

use mapping::{Pipeline, Refusal, TableMapping};
use tokio::time::timeout_at;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::Loader;
use super::attempt::{Failure, Next, Tries};
use super::sql::Statements;
use crate::database::{Database, DatabaseError};
use crate::deadline::TimeBudget;
use crate::refusal::{KEY_IS_CHANGED, OfPostgres as _, RetryAction, TABLES_DIFFER};
use crate::schema::{Inspection, Known, LiveTable, TableError, is_index_of_key, no_partition};

/// How often a violation of the key itself is retried. `ON CONFLICT (key)` rules it out, but while `REINDEX
/// CONCURRENTLY` replaces the key's index Postgres may raise it.
/// Source: <https://www.postgresql.org/docs/18/sql-insert.html#SQL-ON-CONFLICT>.
const MAX_KEY_VIOLATIONS: u32 = 3;

impl Loader {
    /// Decides what happens after a statement that failed.
    pub(super) async fn explain(
        &mut self,
        error: DatabaseError,
        is_optimistic: bool,
        tries: &mut Tries,
        time: TimeBudget,
    ) -> Next {
        let action = error.action();
        if matches!(
            action,
            RetryAction::Reconnect | RetryAction::RefreshCredentials
        ) {
            self.database.disconnect();
        }
        let refusal = match error {
            DatabaseError::Server(refusal) => refusal,
            lost => return Next::ConnectionLost(lost),
        };
        // Perhaps the server process of this connection crashed.
        if refusal.is(&SqlState::CRASH_SHUTDOWN) {
            return Next::ConnectionLost(DatabaseError::Server(refusal));
        }
        match action {
            RetryAction::Bisect if is_optimistic && refusal.is(&SqlState::UNIQUE_VIOLATION) => {
                self.optimistic.miss();
                Next::RetryNow
            }
            RetryAction::Bisect => {
                let explained = self.explain_row(refusal, tries, time).await;
                explained.unwrap_or_else(Next::RetryLater)
            }
            RetryAction::Fail => self.explain_statement(refusal, time).await,
            RetryAction::TryFewer => Next::Fail(Failure::TryFewer(None)),
            // A proxy logs in again, or a trigger refuses one row with this code.
            RetryAction::RefreshCredentials => Next::ConnectionLost(DatabaseError::Server(refusal)),
            RetryAction::Retry | RetryAction::Reconnect => {
                let error = DatabaseError::Server(refusal.clone());
                let last = tries.last_error.as_ref();
                if error.is_internal() && last.is_some_and(DatabaseError::is_internal) {
                    Next::Fail(Failure::Refused(refusal, Some(error.into())))
                } else {
                    Next::RetryLater(error)
                }
            }
        }
    }

    /// Decides what happens after Postgres refused a row: the table may be at fault after all.
    ///
    /// # Errors
    /// The catalog cannot be asked.
    async fn explain_row(
        &mut self,
        refusal: Refusal,
        tries: &mut Tries,
        time: TimeBudget,
    ) -> Result<Next, DatabaseError> {
        let pipeline = Arc::clone(&self.pipeline);
        if let Some(failure) = plain_fault(&pipeline, &refusal) {
            return Ok(Next::Fail(failure));
        }
        let tables = pipeline.tables_named(refusal.table.as_deref());
        // Without `required`, a null in a mapped column is what the message says.
        let is_refused_null = |name: &str, table: &TableMapping| {
            let column = table.columns.iter().find(|column| column.name == name);
            column.is_none_or(|column| column.is_never_null())
        };
        let (named, read) = (tables.iter().copied(), LiveTable::of_mapping);
        if let Some(column) = &refusal.column
            && refusal.is(&SqlState::NOT_NULL_VIOLATION)
            && named.clone().any(|table| is_refused_null(column, table))
        {
            let found = self.query_catalogs(named.clone(), time, read).await?;
            let mut found = named.zip(found);
            let fault = found.find_map(|(mapping, table)| table.not_null_fault(mapping, column));
            if let Some(error) = fault {
                return Ok(Next::Fail(Failure::Table(error.into())));
            }
        } else if let Some(index) = &refusal.constraint
            && refusal.is(&SqlState::UNIQUE_VIOLATION)
        {
            let ask = async |client: &Client, mapping: &TableMapping| {
                is_index_of_key(client, mapping, index).await
            };
            let is_of_key = self.query_catalogs(named, time, ask).await?;
            if is_of_key.contains(&true) && tries.key_violations < MAX_KEY_VIOLATIONS {
                tries.key_violations += 1;
                return Ok(Next::RetryLater(DatabaseError::Server(refusal)));
            }
        } else if self.may_differ(&refusal) && self.rebuild(time).await? {
            return Ok(Next::RetryNow);
        }
        Ok(Next::Fail(Failure::Refused(refusal, None)))
    }

    /// Finds out why Postgres refuses the statement for any row.
    async fn explain_statement(&mut self, refusal: Refusal, time: TimeBudget) -> Next {
        let pipeline = Arc::clone(&self.pipeline);
        let tables = &pipeline.tables;
        let found = match self.rebuild(time).await {
            Ok(true) => return Next::RetryNow,
            Ok(false) => self.query_catalogs(tables, time, Inspection::read).await,
            Err(error) => Err(error),
        };
        let found = match found {
            Ok(found) => found,
            Err(error) if error.action() == RetryAction::Fail => {
                return Next::Fail(Failure::Stop(Some(error.into())));
            }
            Err(error) => return Next::RetryLater(error),
        };
        let tables = tables.iter().zip(found);
        let faults = tables.map(|(mapping, found)| found.explain(&pipeline, mapping, &refusal));
        let is_explained = |fault: &TableError| !matches!(fault, TableError::Other { .. });
        let (explained, unexplained): (Vec<_>, Vec<_>) = faults.partition(is_explained);
        Next::Fail(match explained.into_iter().chain(unexplained).next() {
            None => Failure::Refused(refusal, None),
            Some(fault) if is_explained(&fault) => Failure::Stop(Some(fault.into())),
            Some(fault) => Failure::Refused(refusal, Some(fault.into())),
        })
    }

    /// Whether the tables may not be as the statement takes them to be.
    fn may_differ(&self, refusal: &Refusal) -> bool {
        let is_no_value_of_enum = refusal.is(&SqlState::INVALID_TEXT_REPRESENTATION);
        refusal.is(&TABLES_DIFFER) || is_no_value_of_enum && self.statements.known().has_casts()
    }

    /// Rebuilds the statement for the tables as they are now; `false` if it does not change.
    ///
    /// # Errors
    /// The catalog cannot be asked.
    async fn rebuild(&mut self, time: TimeBudget) -> Result<bool, DatabaseError> {
        let client = self.database.client(time.retry_until).await?;
        let known = timeout_at(time.stop_at, Known::read(client, &self.pipeline));
        let known = known.await.map_err(|_| DatabaseError::Late)??;
        let rebuilt = Statements::new(&self.pipeline, known);
        let is_changed = rebuilt.text(false) != self.statements.text(false);
        if is_changed {
            self.statements = rebuilt;
        }
        Ok(is_changed)
    }

    /// Asks the catalog something about each of the tables.
    async fn query_catalogs<'t, T>(
        &mut self,
        tables: impl IntoIterator<Item = &'t TableMapping>,
        time: TimeBudget,
        ask: impl AsyncFn(&Client, &TableMapping) -> Result<T, DatabaseError>,
    ) -> Result<Vec<T>, DatabaseError> {
        let mut found = Vec::new();
        for mapping in tables {
            found.push(query_catalog(&mut self.database, mapping, time, &ask).await?);
        }
        Ok(found)
    }
}

/// What a refusal says by itself, without a look at the catalog: a fault of the table, at least for this row.
fn plain_fault(pipeline: &Pipeline, refusal: &Refusal) -> Option<Failure> {
    let has_parents = || pipeline.tables.iter().any(|table| table.has_children);
    if refusal.is(&KEY_IS_CHANGED) && has_parents() {
        let mut refusal = refusal.clone();
        refusal.changes_key = true;
        let tables = pipeline.parents_text();
        let error = TableError::KeyChanged { tables };
        return Some(Failure::Refused(refusal, Some(error.into())));
    }
    let name = refusal.table.as_deref();
    let table = *pipeline.tables_named(name).first()?;
    let no_partition = || Failure::Table(no_partition(table, name).into());
    refusal.lacks_partition.then(no_partition)
}

/// Asks the catalog something about a table of the mapping.
pub(super) async fn query_catalog<T>(
    database: &mut Database,
    mapping: &TableMapping,
    time: TimeBudget,
    ask: impl AsyncFnOnce(&Client, &TableMapping) -> Result<T, DatabaseError>,
) -> Result<T, DatabaseError> {
    let client = database.client(time.stop_at).await?;
    timeout_at(time.stop_at, ask(client, mapping))
        .await
        .map_err(|_| DatabaseError::Late)?
}
