//! One statement for the rows of some messages: run until it succeeds, fails for good, or time runs out.

use std::sync::Arc;

use futures_util::future::{OptionFuture as Maybe, join3, try_join_all};
use mapping::{MessageRows, Pipeline, Refusal, TableMapping};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_postgres::Client;

use super::execute::{arrays, execute, is_nothing};
use super::schedule::Part;
use super::selection::{Selection, TableCounts, select, stored};
use super::sql::Statements;
use super::standby::confirm;
use super::{LoadError, Loader};
use crate::backoff::backoff;
use crate::counts::Stored;
use crate::database::{Database, DatabaseError, Session};
use crate::deadline::TimeBudget;
use crate::refusal::RetryAction;
use crate::schema::{Known, key_guard};
use crate::telemetry::messages::RETRYING;

/// The rows are bisected after this many attempts that broke the connection: the server may just have restarted.
const MAX_LOST: u32 = 2;

/// Why a part of a batch was not stored.
pub(super) enum Failure {
    /// A row of one of its messages is refused. If the error may be the fault of the table or the server, the message
    /// is blamed only once another one has been stored.
    Refused(Refusal, Option<LoadError>),
    /// The table is at fault, at least for one of the rows.
    Table(LoadError),
    /// It timed out, or lost its connection twice: fewer messages may do better. With the error that stands for
    /// the batch if nothing at all can be stored.
    TryFewer(Option<LoadError>),
    /// Nothing else can be stored: for this reason, which is not a row; or because time ran out.
    Stop(Option<LoadError>),
}

/// What happens after a statement that did not store its rows.
pub(super) enum Next {
    /// The statement was changed: run it at once.
    RetryNow,
    /// Another attempt may succeed after a wait.
    RetryLater(DatabaseError),
    /// It broke the connection: if that happens again, fewer rows may succeed.
    ConnectionLost(DatabaseError),
    /// Retrying does not help.
    Fail(Failure),
}

/// The results of earlier attempts with the same rows.
#[derive(Default)]
pub(super) struct Tries {
    waits: u32,
    lost: u32,
    pub(super) key_violations: u32,
    pub(super) last_error: Option<DatabaseError>,
}

impl Loader {
    /// Stores the rows of some messages, all or none.
    pub(super) async fn store(
        &mut self,
        rows: &MessageRows,
        part: &Part,
        time: TimeBudget,
    ) -> Result<Vec<Stored>, Failure> {
        let pipeline = Arc::clone(&self.pipeline);
        let mut tries = Tries::default();
        loop {
            // Selected anew each time: which messages may share a statement depends on what is known of the tables.
            let referred = self.statements.known().referred();
            let selections = select(&pipeline, rows, &part.messages, referred);
            // A row of a later statement has the key of an earlier one.
            let is_optimistic = selections.len() == 1
                && self.optimistic.is_on()
                && self.statements.can_be_optimistic();
            let next = match self.run(&selections, part, is_optimistic, time).await {
                Ok(Ok(counts)) if is_optimistic && is_nothing(&counts) => {
                    // The constraint is gone, or a trigger discards every row.
                    self.statements.forget_guard();
                    self.optimistic.miss();
                    Next::RetryNow
                }
                Ok(Ok(counts)) => {
                    if is_optimistic {
                        self.optimistic.hit();
                    }
                    return Ok(stored(&selections, &counts));
                }
                Ok(Err(error)) => self.explain(error, is_optimistic, &mut tries, time).await,
                Err(next) => next,
            };
            match next {
                Next::RetryNow => {}
                Next::Fail(failure) => return Err(failure),
                Next::RetryLater(error) => tries.wait(error, false, part, time).await?,
                Next::ConnectionLost(error) => tries.wait(error, true, part, time).await?,
            }
            self.retries += 1;
        }
    }

    /// Runs the statement once, and returns what it has counted for each selection and each table, or the error of the
    /// statement.
    ///
    /// # Errors
    /// There is no connection, or no answer in time.
    async fn run(
        &mut self,
        selections: &[Selection<'_>],
        part: &Part,
        is_optimistic: bool,
        time: TimeBudget,
    ) -> Result<Result<Vec<Vec<TableCounts>>, DatabaseError>, Next> {
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
        } = session.map_err(without_session)?;
        let until = time.of_one_try(part.shares());
        let runs = selections
            .iter()
            .map(|selection| arrays(pipeline, selection));
        let runs: Vec<_> = runs.collect();
        let types = runs.iter().take(1).flatten();
        let types = types.map(|array| array.column_type.array());
        let text = statements.text(is_optimistic);
        let statement = prepared.get(text);
        let is_unprepared = statement.is_none();
        let mut ran = None;
        let running = async {
            ran = Some(
                match execute(client, pipeline, statement, text, &runs).await {
                    Ok(counts) if !is_optimistic && is_nothing(&counts) => {
                        confirm(client).await.map(|()| counts)
                    }
                    counts => counts,
                },
            );
        };
        // Preparations for later batches share the round trip. The first batch skips them: its answer has already
        // waited for a start, and they may wait for a lock that its rows do not need.
        let is_preparing = self.is_warm && is_unprepared && statements.has_lasting_plan();
        let preparing = is_preparing.then(|| prepared.prepare(client, text, types));
        let is_asking = self.is_warm && !statements.is_guard_known();
        let asking = is_asking.then(|| guard(client, &pipeline.tables));
        let all = join3(running, Maybe::from(preparing), Maybe::from(asking));
        match timeout_at(until, all).await {
            Ok((_, _, Some(guard))) if matches!(ran, Some(Ok(_))) => {
                statements.set_guard(pipeline, guard.as_deref());
            }
            Ok(_) => {}
            Err(_) => database.abandon(time.answer_by).await,
        }
        let too_late = || match until == time.stop_at {
            true => Next::Fail(Failure::Stop(None)),
            false => Next::Fail(Failure::TryFewer(None)),
        };
        let ran = ran.ok_or_else(too_late)?;
        Ok(ran.map_err(DatabaseError::from))
    }
}

/// The connection. On a new one the table may be a different one.
async fn session<'d>(
    database: &'d mut Database,
    pipeline: &Pipeline,
    statements: &mut Statements,
    until: Instant,
) -> Result<&'d mut Session, DatabaseError> {
    let server = database.server();
    let session = database.session(until).await?;
    if session.is_new() {
        *statements = Statements::new(pipeline, Known::default());
        match server.has_full_catalog() {
            false => statements.set_guard(pipeline, None),
            // What the type of a cast is, also whether it is a domain, only the catalog says.
            true if pipeline.has_casts() => {
                let known = timeout_at(until, Known::read(&session.client, pipeline));
                let known = known.await.map_err(|_| DatabaseError::Late)??;
                *statements = Statements::new(pipeline, known);
            }
            true => {}
        }
        session.set_known();
    }
    Ok(session)
}

fn without_session(error: DatabaseError) -> Next {
    match error.action() {
        RetryAction::Fail => Next::Fail(Failure::Stop(Some(error.into()))),
        RetryAction::Bisect
        | RetryAction::Reconnect
        | RetryAction::RefreshCredentials
        | RetryAction::Retry
        | RetryAction::TryFewer => Next::RetryLater(error),
    }
}

/// The condition under which constraints make the keys of the tables unique, if that can be determined.
async fn guard(client: &Client, tables: &[TableMapping]) -> Option<String> {
    let guards = tables.iter().map(|table| key_guard(client, table));
    let guards = try_join_all(guards).await.unwrap_or_else(|error| {
        tracing::debug!(reason = %error, "the constraints that make the keys unique cannot be determined");
        vec![None]
    });
    let guards: Option<Vec<_>> = guards.into_iter().collect();
    Some(guards?.join(" AND "))
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
            return Err(Failure::TryFewer(Some(error.into())));
        }
        let is_late = matches!(error, DatabaseError::Late);
        if is_too_late && is_late && (part.is_after_timeout() || self.lost > 0) {
            return Err(Failure::Stop(None));
        }
        let reason = error.to_string();
        self.note(error);
        if is_too_late {
            let error = self.last_error.take().unwrap_or(DatabaseError::Late);
            return Err(Failure::Stop(Some(error.into())));
        }
        tracing::warn!(
            reason,
            attempt = self.waits,
            wait_millis = wait.as_millis() as u64,
            "{RETRYING}"
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
