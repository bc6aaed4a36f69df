//! Rows → the tables, in one statement and one round trip.
//!
//! The batch goes as one array per column into `INSERT … SELECT unnest(…), …`, typed, and unnamed where a pooler may
//! be in between; its text does not grow with the batch. As long as there are no duplicates the statement omits `ON
//! CONFLICT`. A batch that Postgres refuses because of a row is bisected until the row is found: O(bad · log n)
//! statements, and the others are stored. The only module that writes to tables.

mod array;
mod attempt;
mod batch;
mod dedup;
mod execute;
mod fault;
#[cfg(test)]
mod made;
mod optimistic;
mod schedule;
mod selection;
mod sql;
mod standby;
mod value;

use std::sync::Arc;

use mapping::{MessageRows, Pipeline, Refusal};
use thiserror::Error;

use crate::counts::{Recovery, Stored};
use crate::database::{Database, DatabaseError};
use crate::deadline::TimeBudget;
use crate::schema::{Known, TableError};
use attempt::Failure;
use batch::Batch;
pub use dedup::{compare, selected};
use optimistic::Optimistic;
use sql::Statements;

/// What became of a message's rows, all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MessageOutcome {
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
    pub outcomes: Vec<MessageOutcome>,
    /// One for each table.
    pub tables: Vec<Stored>,
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
    pub fn take_recovery_counts(&mut self) -> Recovery {
        Recovery {
            retries: std::mem::take(&mut self.retries),
            ..self.database.take_recovery_counts()
        }
    }

    /// Stores the rows of a batch in time, for each message all of them or none. After a failed message no later one of
    /// its FIFO group is stored; `groups` has the group of each message. Where it cannot go on, some may be stored
    /// already.
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
        let pipeline = Arc::clone(&self.pipeline);
        let limit = self.database.server().transaction_limit();
        let mut batch = Batch::new(&pipeline, rows, groups, limit);
        let stopped_by = loop {
            let Some(part) = batch.next() else { break None };
            match self.store(rows, &part, time).await {
                Ok(stored) => batch.stored(&part, &stored),
                Err(Failure::Stop(error)) => break error,
                Err(failure) => {
                    let failure = self.name_value(failure, rows, &part, time).await;
                    batch.failed(part, failure);
                }
            }
        };
        self.is_warm = true;
        batch.end(stopped_by)
    }
}
