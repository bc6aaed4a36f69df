//! One statement for the rows of some messages: run until it succeeds, fails for good, or time runs out.

use std::sync::Arc;

use futures_util::future::{OptionFuture as Maybe, join3};
use mapping::{Pipeline, Refusal, TableMapping};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::chosen::Chosen;
use super::execute::{arrays, execute, is_nothing};
use super::schedule::Part;
use super::standby::confirm;
use super::statement::Statements;
use super::{Counts, Failure, Loader, session};
use crate::backoff::backoff;
use crate::database::{Database, DatabaseError, Session};
use crate::deadline::TimeBudget;
use crate::refusal::{KEY_IS_CHANGED, OfPostgres as _, RetryAction, TABLES_DIFFER};
use crate::schema::{
    Inspection, Known, LiveTable, TableError, is_index_of_key, key_guard, no_partition,
};

/// The rows are bisected after this many attempts that broke the connection: the server may just have restarted.
const MAX_LOST: u32 = 2;

/// How often a violation of the key itself is retried. `ON CONFLICT (key)` rules it out, but while `REINDEX
/// CONCURRENTLY` replaces the key's index Postgres may raise it.
/// Source: <https://www.postgresql.org/docs/18/sql-insert.html#SQL-ON-CONFLICT>.
const MAX_KEY_VIOLATIONS: u32 = 3;

/// Why one attempt did not store the rows.
enum TryError {
    /// There is no connection.
    NoSession(DatabaseError),
    /// The statement failed.
    Statement(DatabaseError),
    /// The attempt timed out.
    TimedOut,
    /// There is no time left, and it is unknown whether the rows are stored.
    OutOfTime,
}

/// What happens after a statement that failed.
enum Next {
    /// The statement was changed: run it at once.
    Again,
    /// The statement was rebuilt for the tables as they are, which may divide its rows.
    ChooseAgain,
    /// Another attempt may succeed after a wait.
    Later(DatabaseError),
    /// It broke the connection: if that happens again, fewer rows may succeed.
    Lost(DatabaseError),
    /// Retrying does not help.
    Fail(Failure),
}

/// The results of earlier attempts with the same rows.
#[derive(Default)]
pub(super) struct Tries {
    waits: u32,
    lost: u32,
    key_violations: u32,
    last_error: Option<DatabaseError>,
}

impl Loader {
    /// Writes and deletes rows, all or none, and counts them for each statement and table; `None`: choose them again.
    pub(super) async fn insert(
        &mut self,
        chosen: &[Chosen<'_>],
        part: &Part,
        tries: &mut Tries,
        time: TimeBudget,
    ) -> Result<Option<Vec<Vec<Counts>>>, Failure> {
        loop {
            let is_optimistic = self.optimistic.is_on() && self.statements.can_be_optimistic();
            let tried = self.try_insert(chosen, part, is_optimistic, time);
            let next = match tried.await {
                Ok(counts) if is_optimistic && is_nothing(&counts) => {
                    // The constraint is gone, or a trigger discards every row.
                    self.statements.forget_guard();
                    self.optimistic.miss();
                    Next::Again
                }
                Ok(counts) => {
                    if is_optimistic {
                        self.optimistic.hit();
                    }
                    return Ok(Some(counts));
                }
                Err(TryError::OutOfTime) => Next::Fail(Failure::OutOfTime),
                Err(TryError::TimedOut) => Next::Fail(Failure::Stuck(None)),
                Err(TryError::NoSession(error)) if error.action() == RetryAction::Fail => {
                    Next::Fail(Failure::Batch(error.into()))
                }
                Err(TryError::NoSession(error)) => Next::Later(error),
                Err(TryError::Statement(error)) => {
                    self.judge(error, is_optimistic, tries, time).await
                }
            };
            match next {
                Next::Again => continue,
                Next::ChooseAgain => return Ok(None),
                Next::Fail(failure) => return Err(failure),
                Next::Later(error) => tries.wait(error, false, part, time).await?,
                Next::Lost(error) => tries.wait(error, true, part, time).await?,
            }
            self.retries += 1;
        }
    }

    async fn try_insert(
        &mut self,
        chosen: &[Chosen<'_>],
        part: &Part,
        is_optimistic: bool,
        time: TimeBudget,
    ) -> Result<Vec<Vec<Counts>>, TryError> {
        let Self {
            pipeline,
            database,
            statements,
            ..
        } = self;
        let retry_until = retry_until(part, time);
        let session = session(database, pipeline, statements, retry_until).await;
        let Session {
            client, prepared, ..
        } = session.map_err(TryError::NoSession)?;
        let until = time.of_one_try(part.shares());
        let runs = chosen.iter().map(|chosen| arrays(pipeline, chosen));
        let runs: Vec<_> = runs.collect();
        let types = runs.iter().take(1).flatten();
        let types = types.map(|array| array.column_type.array());
        let text = statements.text(is_optimistic);
        let named = prepared.get(text);
        let is_unprepared = named.is_none();
        let mut inserted = None;
        let inserting = async {
            inserted = Some(match execute(client, pipeline, named, text, &runs).await {
                Ok(counts) if !is_optimistic && is_nothing(&counts) => {
                    confirm(client).await.map(|()| counts)
                }
                counts => counts,
            });
        };
        // Preparations for later batches share the round trip. The first batch skips them: its answer has already
        // waited for a start, and they may wait for a lock that its rows do not need.
        let is_preparing = self.is_warm && is_unprepared && pipeline.single_table().is_some();
        let preparing = is_preparing.then(|| prepared.prepare(client, text, types));
        let is_asking = self.is_warm && !statements.is_guard_known();
        let asking = is_asking.then(|| guard(client, &pipeline.tables));
        let all = join3(inserting, Maybe::from(preparing), Maybe::from(asking));
        match timeout_at(until, all).await {
            Ok((_, _, Some(guard))) if matches!(inserted, Some(Ok(_))) => {
                statements.set_guard(guard);
            }
            Ok(_) => {}
            Err(_) => database.abandon(time.answer_by).await,
        }
        let too_late = || match until == time.stop_at {
            true => TryError::OutOfTime,
            false => TryError::TimedOut,
        };
        let inserted = inserted.ok_or_else(too_late)?;
        inserted.map_err(|error| TryError::Statement(error.into()))
    }

    /// Decides what happens after a statement that failed.
    async fn judge(
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
            lost => return Next::Lost(lost),
        };
        // Perhaps the server process of this connection crashed.
        if refusal.is(&SqlState::CRASH_SHUTDOWN) {
            return Next::Lost(DatabaseError::Server(refusal));
        }
        match action {
            RetryAction::Bisect if is_optimistic && refusal.is(&SqlState::UNIQUE_VIOLATION) => {
                self.optimistic.miss();
                Next::Again
            }
            RetryAction::Bisect => {
                let judged = self.judge_row(refusal, tries, time).await;
                judged.unwrap_or_else(Next::Later)
            }
            RetryAction::Fail => self.judge_table(refusal, time).await,
            RetryAction::TryFewer => Next::Fail(Failure::Stuck(None)),
            // Of a proxy that signs in again, or of a trigger that refuses one row.
            RetryAction::RefreshCredentials => Next::Lost(DatabaseError::Server(refusal)),
            RetryAction::Retry | RetryAction::Reconnect => {
                let error = DatabaseError::Server(refusal.clone());
                let last = tries.last_error.as_ref();
                if error.is_internal() && last.is_some_and(DatabaseError::is_internal) {
                    Next::Fail(Failure::Doubt(refusal, error.into()))
                } else {
                    Next::Later(error)
                }
            }
        }
    }

    /// Decides what happens after Postgres refused a row: the table may be at fault after all.
    ///
    /// # Errors
    /// The catalog cannot be asked.
    async fn judge_row(
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
        let is_mapped = |name, table: &TableMapping| table.column_names().any(|own| own == name);
        let (named, read) = (tables.iter().copied(), LiveTable::of_mapping);
        if let Some(column) = &refusal.column
            && refusal.is(&SqlState::NOT_NULL_VIOLATION)
            && named.clone().any(|table| !is_mapped(column, table))
        {
            let found = self.query_catalogs(named.clone(), time, read).await?;
            let mut found = named.zip(found);
            let fault = found.find_map(|(mapping, table)| table.unmapped_not_null(mapping, column));
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
                return Ok(Next::Later(DatabaseError::Server(refusal)));
            }
        } else if self.may_differ(&refusal) && self.rebuild(time).await? {
            return Ok(Next::ChooseAgain);
        }
        Ok(Next::Fail(Failure::Row(refusal)))
    }

    /// Finds out why Postgres refuses the statement for any row.
    async fn judge_table(&mut self, refusal: Refusal, time: TimeBudget) -> Next {
        let pipeline = Arc::clone(&self.pipeline);
        let tables = &pipeline.tables;
        let found = match self.rebuild(time).await {
            Ok(true) => return Next::ChooseAgain,
            Ok(false) => self.query_catalogs(tables, time, Inspection::read).await,
            Err(error) => Err(error),
        };
        let found = match found {
            Ok(found) => found,
            Err(error) if error.action() == RetryAction::Fail => {
                return Next::Fail(Failure::Batch(error.into()));
            }
            Err(error) => return Next::Later(error),
        };
        let tables = tables.iter().zip(found);
        let faults = tables.map(|(mapping, found)| found.explain(&pipeline, mapping, &refusal));
        let is_explained = |fault: &TableError| !matches!(fault, TableError::Other { .. });
        let (explained, unexplained): (Vec<_>, Vec<_>) = faults.partition(is_explained);
        Next::Fail(match explained.into_iter().chain(unexplained).next() {
            None => Failure::Row(refusal),
            Some(fault) if is_explained(&fault) => Failure::Batch(fault.into()),
            Some(fault) => Failure::Doubt(refusal, fault.into()),
        })
    }

    /// Whether the tables may not be as the statement takes them to be.
    fn may_differ(&self, refusal: &Refusal) -> bool {
        let is_no_value_of_enum = refusal.is(&SqlState::INVALID_TEXT_REPRESENTATION);
        refusal.is(&TABLES_DIFFER) || is_no_value_of_enum && self.statements.known().has_casts()
    }

    /// Rebuilds the statement for the tables as they are now; `false` where it stays as it is.
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

impl Tries {
    /// Waits until the next attempt, if there is to be one.
    async fn wait(
        &mut self,
        error: DatabaseError,
        is_lost: bool,
        part: &Part,
        time: TimeBudget,
    ) -> Result<(), Failure> {
        self.lost += u32::from(is_lost);
        let wait = backoff(self.waits);
        let is_too_late = Instant::now() + wait >= retry_until(part, time);
        if is_lost && (part.is_suspect() || self.lost == MAX_LOST || is_too_late) {
            return Err(Failure::Stuck(Some(error.into())));
        }
        let is_late = matches!(error, DatabaseError::Late);
        if is_too_late && is_late && (part.is_after_timeout() || self.lost > 0) {
            return Err(Failure::OutOfTime);
        }
        let reason = error.to_string();
        self.note(error);
        if is_too_late {
            let error = self.last_error.take().unwrap_or(DatabaseError::Late);
            return Err(Failure::Batch(error.into()));
        }
        tracing::warn!(
            reason,
            attempt = self.waits,
            wait_millis = wait.as_millis() as u64,
            "trying again"
        );
        sleep(wait).await;
        self.waits += 1;
        Ok(())
    }

    /// An attempt without an answer does not say what is wrong; an earlier one may.
    fn note(&mut self, error: DatabaseError) {
        if self.last_error.is_none() || !matches!(error, DatabaseError::Late) {
            self.last_error = Some(error);
        }
    }
}

/// When to stop retrying. After a timeout the parts of a batch need new connections, and have until the end for that:
/// most of them are stored in no time.
fn retry_until(part: &Part, time: TimeBudget) -> Instant {
    match part.is_after_timeout() {
        true => time.stop_at,
        false => time.retry_until,
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
        return Some(Failure::Doubt(refusal, error.into()));
    }
    let name = refusal.table.as_deref();
    let table = *pipeline.tables_named(name).first()?;
    let no_partition = || Failure::Table(no_partition(table, name).into());
    refusal.lacks_partition.then(no_partition)
}

/// The condition under which a constraint makes the key of a single table unique, if that can be determined.
async fn guard(client: &Client, tables: &[TableMapping]) -> Option<String> {
    let guard = key_guard(client, tables.first()?).await;
    guard.unwrap_or_else(|error| {
        tracing::debug!(reason = %error, "the constraint that makes the key unique cannot be determined");
        None
    })
}

/// Asks the catalog something about a table of the mapping.
async fn query_catalog<T>(
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
