//! Rows → the table by one binary `COPY`, which costs Postgres about half of the statement.
//!
//! `COPY` knows no conflict and no conversion. So it is an optimistic first try, for batches so large
//! that its round trips pay, on a table that was found to fit and has not changed since; what Postgres
//! refuses goes the way of the statement. Postgres works on the first rows while the next are made. All
//! of it is one transaction, so that it works behind a pooler which gives each transaction another
//! connection.

use std::cell::Cell;
use std::pin::pin;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::SinkExt as _;
use tokio::task::yield_now;
use tokio::time::{Instant, timeout};
use tokio_postgres::{Client, CopyInSink, SimpleQueryMessage};

use super::RowSource;
use super::table::copy_guard;
use crate::database::{DatabaseError, Remedy};
use crate::pipeline::{Pipeline, quote_list};
use crate::row::Rows;

/// What `COPY` saves with every row against a statement that looks for no duplicates and has a name, and
/// what it costs besides its two round trips more. Measured on Postgres 18 with rows of 230 bytes.
const SAVED_PER_ROW: Duration = Duration::from_nanos(800);
const TRANSACTION_COST: Duration = Duration::from_micros(300);
const MORE_ROUND_TRIPS: u32 = 2;

/// How many round trips are measured at a time, and after how many batches for which the database
/// seemed too far away.
const MEASUREMENTS: usize = 4;
const MEASURED_AGAIN_AFTER: u32 = 64;

/// After this long without an answer to nothing, the peer is gone.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// In pieces of this size rows are sent.
const PIECE_BYTES: usize = 1 << 15;

/// Source: <https://www.postgresql.org/docs/18/sql-copy.html#SQL-COPY-BINARY-FORMAT>.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const TRAILER: i16 = -1;

/// The `COPY` of a mapping, and what is known of its chances.
pub(super) struct Copy {
    statement: String,
    lock: String,
    /// The shortest seen.
    round_trip: Option<Duration>,
    /// Batches for which the database seemed too far away.
    too_far: u32,
    fit: Fit,
}

/// What became of rows.
pub(super) enum Copied {
    /// So many are stored, and the others were there.
    Rows(u64),
    /// None is stored, as it seems because of the row at this position.
    Refused(usize),
    /// None is stored, as it seems because one is in the table already.
    Lost,
    /// None is stored: they have to be inserted.
    Not,
}

/// Whether the table takes rows by `COPY`.
enum Fit {
    Unknown,
    Never,
    /// While this query has an answer: it loses it with any change of the table or its key.
    While(String),
}

impl Copy {
    pub(super) fn new(pipeline: &Pipeline) -> Self {
        let columns = quote_list(pipeline.columns.iter().map(|column| column.name.as_str()));
        let table = &pipeline.table;
        Self {
            statement: format!("COPY {table} ({columns}) FROM STDIN BINARY"),
            lock: format!("BEGIN; LOCK TABLE ONLY {table} IN ROW EXCLUSIVE MODE; "),
            round_trip: None,
            too_far: 0,
            fit: Fit::Unknown,
        }
    }

    /// Whether to try with a batch of so many rows.
    pub(super) fn is_worth_a_try(&mut self, rows: usize) -> bool {
        if self.pays(rows) {
            return true;
        }
        if self.saves(rows).is_none() {
            return false;
        }
        self.too_far += 1;
        self.too_far.is_multiple_of(MEASURED_AGAIN_AFTER)
    }

    /// Whether so many rows are worth it, as far as is known.
    pub(super) fn pays(&self, rows: usize) -> bool {
        let round_trips = MORE_ROUND_TRIPS * self.round_trip.unwrap_or_default();
        self.saves(rows).is_some_and(|saved| saved > round_trips)
    }

    /// What so many rows save, but for the round trips.
    fn saves(&self, rows: usize) -> Option<Duration> {
        let saved = SAVED_PER_ROW.saturating_mul(u32::try_from(rows).unwrap_or(u32::MAX));
        match self.fit {
            Fit::Never => None,
            Fit::Unknown | Fit::While(_) => saved.checked_sub(TRANSACTION_COST),
        }
    }

    /// Stores a batch while its rows are made, all or none.
    ///
    /// # Errors
    /// The connection is at fault, and nobody knows whether they are stored.
    pub(super) async fn store(
        &mut self,
        client: &Client,
        pipeline: &Pipeline,
        batch: &mut impl RowSource,
        rows: &mut Rows,
    ) -> Result<Copied, DatabaseError> {
        if self.round_trip.is_none() || !self.pays(batch.expected()) {
            self.measure(client).await?;
            if !self.pays(batch.expected()) {
                return Ok(Copied::Not);
            }
        }
        if matches!(self.fit, Fit::Unknown) {
            let guard = copy_guard(client, pipeline).await?;
            self.fit = guard.map_or(Fit::Never, Fit::While);
        }
        let Fit::While(guard) = &self.fit else {
            return Ok(Copied::Not);
        };
        match self.copy(client, guard, batch, rows).await {
            Ok(Some(copied)) => Ok(Copied::Rows(copied)),
            Ok(None) => {
                self.fit = Fit::Unknown;
                Ok(Copied::Not)
            }
            Err(error) => self.understand(error),
        }
    }

    /// Looks for the shortest round trip: one that met a busy moment says nothing of the others.
    async fn measure(&mut self, client: &Client) -> Result<(), DatabaseError> {
        for _ in 0..MEASUREMENTS {
            let measured = round_trip(client).await?;
            self.round_trip = self.round_trip.into_iter().chain([measured]).min();
        }
        Ok(())
    }

    /// Copies the rows in a transaction; `None` where the table has changed.
    async fn copy(
        &self,
        client: &Client,
        guard: &str,
        batch: &mut impl RowSource,
        rows: &mut Rows,
    ) -> Result<Option<u64>, DatabaseError> {
        // To begin may mean to wait for a lock, so that a peer which is gone is told by another answer.
        let has_begun = Cell::new(false);
        let begun = async {
            let begun = self.begin(client, guard).await;
            has_begun.set(true);
            Ok(begun)
        };
        let first_rows = async {
            loop {
                // So that what Postgres is asked leaves first.
                yield_now().await;
                let is_filling = batch.fill(rows);
                if !is_filling || has_begun.get() {
                    break Ok(is_filling);
                }
            }
        };
        let (_, begun, mut is_filling) = tokio::try_join!(round_trip(client), begun, first_rows)?;
        let sink = match begun {
            Ok(Some(sink)) if batch.is_sorted_by_key() => sink,
            not_begun => {
                let nothing = not_begun.map(|_| None);
                client.batch_execute("ROLLBACK").await?;
                return nothing;
            }
        };
        let mut sink = pin!(sink);
        let mut out = BytesMut::from(HEADER);
        let mut sent = 0;
        loop {
            put_rows(rows, sent, &mut out);
            sent = rows.len();
            if !is_filling {
                break;
            }
            if out.len() >= PIECE_BYTES {
                sink.send(out.split().freeze()).await?;
                // So that it leaves before the next rows are made.
                yield_now().await;
            }
            is_filling = batch.fill(rows);
        }
        out.put_i16(TRAILER);
        sink.send(out.freeze()).await?;
        // Sent without waiting for the other: where it was refused, COMMIT rolls back.
        let (copied, ended) = tokio::join!(sink.as_mut().finish(), client.batch_execute("COMMIT"));
        let copied = copied?;
        ended?;
        Ok(Some(copied))
    }

    /// Begins a transaction in which the table cannot change any more.
    async fn begin(
        &self,
        client: &Client,
        guard: &str,
    ) -> Result<Option<CopyInSink<Bytes>>, DatabaseError> {
        let begin = format!("{}{guard}", self.lock);
        let (answer, statement) =
            tokio::join!(client.simple_query(&begin), client.prepare(&self.statement));
        let is_row = |message: &SimpleQueryMessage| matches!(message, SimpleQueryMessage::Row(_));
        if !answer?.iter().any(is_row) {
            return Ok(None);
        }
        // The statement is closed as soon as it runs, within the transaction: the next client of a
        // pooled connection finds its name free.
        Ok(Some(client.copy_in(&statement?).await?))
    }

    /// What an answer of Postgres says of the rows.
    fn understand(&mut self, error: DatabaseError) -> Result<Copied, DatabaseError> {
        tracing::debug!(reason = %error, "rows were not copied");
        match error.remedy() {
            Remedy::Reconnect | Remedy::Reauthenticate => Err(error),
            // No row is at fault, so other rows would do no better.
            Remedy::GiveUp => {
                self.fit = Fit::Never;
                Ok(Copied::Not)
            }
            Remedy::Isolate | Remedy::Retry => {
                let refusal = error.into_refusal();
                Ok(match refusal.copied_row {
                    Some(row) if !refusal.is_of_a_duplicate() => Copied::Refused(row),
                    _ => Copied::Lost,
                })
            }
        }
    }
}

/// How long the server takes to answer when it has nothing to do.
async fn round_trip(client: &Client) -> Result<Duration, DatabaseError> {
    let asked = Instant::now();
    let silent = |_| DatabaseError::Lost("the server does not answer".to_owned());
    timeout(ANSWER_TIMEOUT, client.check_connection())
        .await
        .map_err(silent)??;
    Ok(asked.elapsed())
}

/// Writes the rows from a position on in the binary form of `COPY`.
fn put_rows(rows: &Rows, from: usize, out: &mut BytesMut) {
    let columns = rows.width() as i16;
    for row in from..rows.len() {
        out.put_i16(columns);
        out.put_slice(rows.row(row));
    }
}
