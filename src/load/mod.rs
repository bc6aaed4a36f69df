//! Rows → the tables, in one statement and one round trip.
//!
//! The batch goes as one array per column into `INSERT … SELECT unnest(…), …`, typed, and unnamed where a pooler may
//! be in between; its text does not grow with the batch. As long as there are no duplicates the statement omits `ON
//! CONFLICT`. A batch that Postgres refuses because of a row is bisected until the row is found: O(bad · log n)
//! statements, and the others are stored. The only module that writes to tables.

mod array;
mod chosen;
mod collapse;
mod divide;
mod execute;
mod families;
mod insert;
mod isolate;
mod limits;
mod optimistic;
mod schedule;
mod standby;
mod statement;

use std::sync::Arc;

use mapping::{MessageRows, Pipeline, Refusal};
use thiserror::Error;
use tokio::time::Instant;

use crate::counts::{Recovery, Stored};
use crate::database::{Database, DatabaseError, Session};
use crate::deadline::TimeBudget;
use crate::schema::{Known, TableError};
use chosen::Chosen;
use divide::choose_divided;
use insert::Tries;
use optimistic::Optimistic;
use schedule::Part;
use statement::Statements;

/// What became of a message's rows, all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// As they should be, by this batch or an earlier one.
    Stored,
    /// Refused by Postgres.
    Rejected(Box<Refusal>),
    /// FIFO: not tried, because an earlier message of its group failed.
    Blocked,
    /// Not certain to be stored: time ran out, or the table is at fault.
    Unknown,
}

/// What became of a batch.
#[derive(Debug, PartialEq, Eq)]
pub struct Loaded {
    /// One for each message with rows.
    pub outcomes: Vec<Outcome>,
    /// One for each table.
    pub tables: Vec<Stored>,
}

/// What a statement has counted in a table.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    written: u64,
    deleted: u64,
    /// Rows that are newer than the message that would have deleted them.
    newer: u64,
}

impl Counts {
    fn of_one_table(written: u64) -> Vec<Self> {
        vec![Self {
            written,
            ..Self::default()
        }]
    }
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

/// Stores batches in the tables of a mapping.
pub struct Loader {
    pipeline: Arc<Pipeline>,
    database: Database,
    statements: Statements,
    optimistic: Optimistic,
    /// Whether this is not the first batch.
    is_warm: bool,
    retries: u64,
}

impl Loaded {
    /// Notes that the rows of messages are as they should be, and what that took in each table.
    fn add(&mut self, messages: &[usize], stored: &[Stored]) {
        for &message in messages {
            self.outcomes[message] = Outcome::Stored;
        }
        for (total, stored) in self.tables.iter_mut().zip(stored) {
            *total = total.plus(stored);
        }
    }

    fn is_any_stored(&self) -> bool {
        self.outcomes.contains(&Outcome::Stored)
    }
}

/// Why a part of a batch was not stored.
enum Failure {
    /// A row of one of its messages is at fault.
    Row(Refusal),
    /// A row is at fault, or else the table or the server: blamed on its message only once another one has been
    /// stored.
    Doubt(Refusal, LoadError),
    /// The table is at fault, at least for one of the rows.
    Table(LoadError),
    /// It timed out, or lost its connection twice: fewer messages may do better. With the error that stands for
    /// the batch if nothing at all can be stored.
    Stuck(Option<LoadError>),
    /// Time ran out, and it is unknown whether the rows are stored.
    OutOfTime,
    /// None of its rows is at fault.
    Batch(LoadError),
}

impl Loader {
    /// A loader for the mapping's tables.
    pub fn new(pipeline: Arc<Pipeline>, database: Database) -> Self {
        Self {
            statements: Statements::new(&pipeline, Known::default()),
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

    /// Stores the rows of a batch in time, those of a message all or none. After a failed message no later one of its
    /// FIFO group is stored; `groups` has the group of each message. Where it cannot go on, some may be stored already.
    ///
    /// # Errors
    /// The database is unavailable until time runs out, or the table does not fit the mapping.
    pub async fn load(
        &mut self,
        rows: &MessageRows,
        groups: &[Option<usize>],
        time: TimeBudget,
    ) -> (Loaded, Result<(), LoadError>) {
        self.optimistic.begin_batch();
        let mut loaded = Loaded {
            outcomes: vec![Outcome::Unknown; rows.messages()],
            tables: vec![Stored::default(); rows.tables().len()],
        };
        let result = self.store_all(rows, groups, &mut loaded, time).await;
        self.is_warm = true;
        (loaded, result)
    }

    /// Stores the rows of some messages, all or none.
    async fn store(
        &mut self,
        rows: &MessageRows,
        part: &Part,
        time: TimeBudget,
    ) -> Result<Vec<Stored>, Failure> {
        let pipeline = Arc::clone(&self.pipeline);
        // Kept where the rows are chosen again: a new connection, which an error may demand, forgets the tables.
        let mut tries = Tries::default();
        loop {
            let referred = self.statements.known().referred();
            let chosen = choose_divided(&pipeline, rows, &part.messages, referred);
            if let Some(counts) = self.insert(&chosen, part, &mut tries, time).await? {
                return Ok(stored(&chosen, &counts));
            }
        }
    }
}

/// What became of rows in each table, given what each of the statements has counted there.
fn stored(chosen: &[Chosen<'_>], counts: &[Vec<Counts>]) -> Vec<Stored> {
    let stored = chosen.iter().zip(counts);
    let stored = stored.map(|(chosen, counts)| chosen.stored(counts));
    let sums = stored.reduce(|sums, stored| {
        let pairs = sums.into_iter().zip(&stored);
        pairs.map(|(sum, stored)| sum.plus(stored)).collect()
    });
    sums.unwrap_or_default()
}

/// The connection. On a new one the table may be a different one.
async fn session<'d>(
    database: &'d mut Database,
    pipeline: &Pipeline,
    statements: &mut Statements,
    until: Instant,
) -> Result<&'d mut Session, DatabaseError> {
    let is_dsql = database.is_dsql();
    let session = database.session(until).await?;
    if session.take_is_new() {
        *statements = Statements::new(pipeline, Known::default());
        if is_dsql {
            // What its catalog says about constraints is not documented.
            statements.set_guard(None);
        }
    }
    Ok(session)
}
