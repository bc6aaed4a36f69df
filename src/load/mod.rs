//! Rows → the table, in one statement and one round trip.
//!
//! The batch goes as one array per column into `INSERT … SELECT unnest(…), …`, typed, and unnamed where a pooler may
//! be in between; its text does not grow with the batch. As long as there are no duplicates the statement omits `ON
//! CONFLICT`, and large batches are copied. A batch that Postgres refuses because of a row is bisected until the row
//! is found: O(bad · log n) statements, and the others are stored. The only module that writes to tables.

mod array;
mod collapse;
mod copy;
mod insert;
mod isolate;
mod optimistic;
mod standby;
mod statement;

use std::sync::Arc;

use thiserror::Error;
use tokio::time::{Instant, timeout_at};

use crate::database::{Database, DatabaseError, Session};
use crate::deadline::TimeBudget;
use crate::pipeline::Pipeline;
use crate::refusal::Refusal;
use crate::rows::Rows;
use crate::schema::TableError;
use crate::telemetry::Recovery;
use collapse::collapse;
use copy::{Copied, CopyIn};
use optimistic::Optimistic;
use statement::Statements;

/// What became of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowOutcome {
    /// In the table, by this batch or an earlier one.
    Stored,
    /// Refused by Postgres.
    Rejected(Box<Refusal>),
    /// FIFO: not tried, because an earlier row of its group failed.
    Blocked,
    /// Not certain to be stored: time ran out, or the table is at fault.
    Unknown,
}

/// What became of a batch.
#[derive(Debug, PartialEq, Eq)]
pub struct Loaded {
    /// One for each row.
    pub outcomes: Vec<RowOutcome>,
    /// Rows written to the table, new or updated.
    pub written: u64,
    /// Rows whose key was in the table or earlier in the batch.
    pub duplicates: u64,
    /// Rows left out because there is a newer one of their key, in the table or in the batch.
    pub stale: u64,
}

/// Why a batch failed as a whole.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
pub enum LoadError {
    /// The database is unavailable, or refuses the connection.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The table does not fit the mapping.
    #[error(transparent)]
    Table(#[from] TableError),
}

/// Stores batches in one table.
pub struct Loader {
    pipeline: Arc<Pipeline>,
    database: Database,
    statements: Statements,
    copy: CopyIn,
    optimistic: Optimistic,
    /// Whether this is not the first batch.
    is_warm: bool,
    retries: u64,
}

impl Loaded {
    /// Records that each row of a part, or a newer one with its key, is in the table; `written` of them are new.
    fn add(&mut self, part: &[usize], Stored { written, stale }: Stored) {
        for &row in part {
            self.outcomes[row] = RowOutcome::Stored;
        }
        self.written += written;
        self.stale += stale;
        self.duplicates += (part.len() as u64).saturating_sub(written + stale);
    }

    fn is_any_stored(&self) -> bool {
        self.outcomes.contains(&RowOutcome::Stored)
    }

    fn unknown(rows: usize) -> Self {
        Self {
            outcomes: vec![RowOutcome::Unknown; rows],
            written: 0,
            duplicates: 0,
            stale: 0,
        }
    }
}

/// How many rows of a stored part were written, and how many are older than another of their key.
struct Stored {
    written: u64,
    stale: u64,
}

/// Why a part of a batch was not stored.
enum Failure {
    /// One of its rows is at fault.
    Row(Refusal),
    /// Probably the row at this position of the batch is at fault.
    RowAt(usize),
    /// One of its rows is at fault, or else the table or the server: blamed on the row only once another row
    /// has been stored.
    Doubt(Refusal, LoadError),
    /// The table is at fault, at least for one of the rows.
    Table(LoadError),
    /// It timed out or lost its connection twice: fewer rows may succeed. Holds the error of the batch, in case
    /// nothing at all can be stored.
    Stuck(Option<LoadError>),
    /// Time ran out, and it is unknown whether the rows are stored.
    OutOfTime,
    /// None of its rows is at fault.
    Batch(LoadError),
}

impl Loader {
    /// A loader for the mapping's table.
    pub fn new(pipeline: Arc<Pipeline>, database: Database) -> Self {
        Self {
            statements: Statements::new(&pipeline, &[]),
            copy: CopyIn::new(&pipeline),
            optimistic: Optimistic::new(),
            is_warm: false,
            pipeline,
            database,
            retries: 0,
        }
    }

    /// Drops the connection, so that the next batch uses a new one.
    pub fn disconnect(&mut self) {
        self.database.disconnect();
    }

    /// Closes the connection properly, so that the server notices at once.
    pub async fn close(&mut self) {
        self.database.close().await;
    }

    /// Retries, reconnects and secret refreshes since the last call.
    pub fn take_recovery(&mut self) -> Recovery {
        Recovery {
            retries: std::mem::take(&mut self.retries),
            ..self.database.take_recovery()
        }
    }

    /// Stores the rows of a batch until time runs out. After a failed row no later one of its FIFO group is stored;
    /// `groups` has the group of each row. After an error, some rows may be stored.
    ///
    /// # Errors
    /// The database is unavailable until time runs out, or the table does not fit the mapping.
    pub async fn load(
        &mut self,
        rows: &Rows,
        groups: &[Option<usize>],
        time: TimeBudget,
    ) -> (Loaded, Result<(), LoadError>) {
        self.optimistic.begin_batch();
        self.copy.begin_batch();
        let mut loaded = Loaded::unknown(rows.len());
        let result = self.store_all(rows, groups, &mut loaded, time).await;
        self.is_warm = true;
        (loaded, result)
    }

    /// Stores a part of the batch, all or none.
    async fn store(
        &mut self,
        rows: &Rows,
        part: &[usize],
        is_suspect: bool,
        time: TimeBudget,
    ) -> Result<Stored, Failure> {
        let collapsed = collapse(&self.pipeline, rows, part);
        let written = self
            .write(rows, &collapsed.unique, is_suspect, time)
            .await?;
        Ok(Stored {
            written,
            stale: collapsed.stale(written),
        })
    }

    /// Writes rows of different keys, all or none, and counts those written.
    async fn write(
        &mut self,
        rows: &Rows,
        unique: &[usize],
        is_suspect: bool,
        time: TimeBudget,
    ) -> Result<u64, Failure> {
        let may_copy = self.optimistic.is_on() && !is_suspect;
        if may_copy && self.copy.is_worth_a_try(unique.len()) {
            match self.copy(rows, unique, time).await {
                Ok(Copied::Rows(written)) => {
                    self.optimistic.hit();
                    return Ok(written);
                }
                Ok(Copied::RefusedAt(place)) => {
                    if let Some(&row) = unique.get(place) {
                        return Err(Failure::RowAt(row));
                    }
                }
                Ok(Copied::Conflict) => self.optimistic.miss(),
                Ok(Copied::Skipped) => {}
                Err(failure) => return Err(failure),
            }
        }
        self.insert(rows, unique, is_suspect, time).await
    }

    /// Copies rows. If that fails for any reason other than a row, they must be inserted.
    async fn copy(
        &mut self,
        rows: &Rows,
        unique: &[usize],
        time: TimeBudget,
    ) -> Result<Copied, Failure> {
        let until = time.of_one_try(unique.len(), false);
        let Self {
            pipeline,
            database,
            statements,
            copy,
            ..
        } = self;
        // The insert reports why there is no connection.
        let Ok(session) = session(database, pipeline, statements, copy, time.retry_until).await
        else {
            return Ok(Copied::Skipped);
        };
        let Some(client) = session.client_for_names() else {
            return Ok(Copied::Skipped);
        };
        let copied = copy.store(client, pipeline, rows, unique);
        match timeout_at(until, copied).await {
            Ok(Ok(copied)) => Ok(copied),
            Ok(Err(error)) => {
                tracing::warn!(reason = %error, "rows could not be copied: inserting them on a new connection");
                database.disconnect();
                self.retries += 1;
                Ok(Copied::Skipped)
            }
            Err(_) => {
                database.abandon(time.answer_by).await;
                if until == time.stop_at {
                    return Err(Failure::OutOfTime);
                }
                Ok(Copied::Skipped)
            }
        }
    }
}

/// The connection. On a new one the table may be a different one.
async fn session<'d>(
    database: &'d mut Database,
    pipeline: &Pipeline,
    statements: &mut Statements,
    copy: &mut CopyIn,
    until: Instant,
) -> Result<&'d mut Session, DatabaseError> {
    let session = database.session(until).await?;
    if session.take_is_new() {
        *statements = Statements::new(pipeline, &[]);
        copy.forget_table();
    }
    Ok(session)
}
