//! Rows → the table, in one statement and one round trip.
//!
//! The batch goes as one array per column into `INSERT … SELECT unnest(…), …`, typed, and unnamed
//! where a pooler may be in between; its text does not grow with the batch. While there are no duplicates
//! Postgres is not asked to look for them, and large batches are copied. A batch that it refuses
//! because of a row is halved until the row is found: O(bad · log n) statements, and the others are
//! stored. The only module that speaks to Postgres about tables.

mod bet;
mod copy;
mod inspection;
mod statement;
mod table;

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use thiserror::Error;
use tokio::join;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

use crate::backoff::backoff;
use crate::database::{Database, DatabaseError, Recovery, Remedy, Session};
use crate::pipeline::{Column, ColumnType, OnConflict, Pipeline};
use crate::rejection::Refusal;
use crate::row::Rows;
use bet::Bet;
use copy::{Copied, Copy};
pub use inspection::{Inspection, Kind, Permissions, TableFacts};
use statement::Statements;
use table::key_guard;
pub use table::{Difference, Fault, LiveTable, TableError};

/// So many parts of a batch are copied when some of its rows are refused: with more of those, halving is
/// quicker.
const MOST_COPIED_PARTS: usize = 64;

/// So many rows are refused one by one, and none stored, before it is the table that is at fault.
const MOST_DOUBTS: usize = 8;

/// The statement's expressions do not have the types of the table's columns.
const DATATYPE_MISMATCH: &str = "42804";

/// Something is not granted.
const INSUFFICIENT_PRIVILEGE: &str = "42501";

/// How much time a batch has.
#[derive(Debug, Clone, Copy)]
pub struct TimeBudget {
    /// While the database is away, it is tried again until then.
    pub retry_until: Instant,
    /// A statement under way is given up then.
    pub stop_at: Instant,
    /// What is tidied up after that ends then.
    pub answer_by: Instant,
}

/// What became of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// In the table, by this batch or an earlier one.
    Stored,
    /// Refused by Postgres.
    Refused(Box<Refusal>),
    /// FIFO: not tried, because an earlier row of its group was refused.
    Held,
    /// Time ran out before it was certain.
    Unsure,
}

/// What became of a batch.
#[derive(Debug, PartialEq, Eq)]
pub struct Loaded {
    /// One for each row.
    pub fates: Vec<Fate>,
    /// Rows written to the table, new or updated.
    pub written: u64,
    /// Rows whose key was in the table or earlier in the batch.
    pub duplicates: u64,
}

/// A batch whose rows are made while the first of them are on their way.
pub trait RowSource {
    /// About how many rows it will make.
    fn expected(&self) -> usize;

    /// Whether they come in an order of their keys that is the same in every batch, which is certain
    /// from the first call for rows on.
    fn is_sorted_by_key(&self) -> bool;

    /// Makes some more, perhaps none yet; `false` where these were the last.
    fn fill(&mut self, rows: &mut Rows) -> bool;

    /// For each row of a FIFO queue its group, when all are made.
    fn groups(&self) -> Option<&[usize]>;
}

/// Rows that are there already, in another order, perhaps without some.
struct InOrder<'r> {
    rows: &'r Rows,
    order: &'r [usize],
}

impl RowSource for InOrder<'_> {
    fn expected(&self) -> usize {
        self.order.len()
    }

    fn is_sorted_by_key(&self) -> bool {
        true
    }

    fn fill(&mut self, rows: &mut Rows) -> bool {
        for &row in std::mem::take(&mut self.order) {
            rows.push_row(self.rows, row);
        }
        false
    }

    fn groups(&self) -> Option<&[usize]> {
        None
    }
}

/// The rows before, of and after a row, to be taken from the end.
fn around(mut part: Vec<usize>, row: usize) -> [Vec<usize>; 3] {
    let place = part.iter().position(|&other| other == row);
    let mut later = part.split_off(place.unwrap_or(part.len()));
    let after = later.split_off(later.len().min(1));
    [after, later, part]
}

/// Why nothing can be said of a whole batch.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
pub enum LoadError {
    /// The database is away, or does not let us in.
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
    copy: Copy,
    bet: Bet,
    /// Those of the last batch, whose memory the next one takes.
    rows: Rows,
    /// Whether this is not the first batch.
    is_warm: bool,
    retries: u64,
}

impl Loaded {
    /// Notes that the rows of a part are in the table, so many of them written just now.
    fn add(&mut self, part: &[usize], written: u64) {
        part.iter().for_each(|&row| self.fates[row] = Fate::Stored);
        self.written += written;
        self.duplicates += (part.len() as u64).saturating_sub(written);
    }

    fn is_any_stored(&self) -> bool {
        self.fates.contains(&Fate::Stored)
    }

    fn unsure(rows: usize) -> Self {
        Self {
            fates: vec![Fate::Unsure; rows],
            written: 0,
            duplicates: 0,
        }
    }
}

/// Time ran out while Postgres was at work, so that nobody knows.
struct OutOfTime;

/// Why a statement did not store its rows.
enum Failure {
    /// One of them is at fault.
    Row(Refusal),
    /// Time ran out while Postgres was at work.
    OutOfTime,
    /// One of them is at fault, or else the table or the server: it is not the row if no other is stored.
    Doubt(Refusal, LoadError),
    /// None of them is at fault.
    Batch(LoadError),
}

impl Loader {
    /// A loader for the mapping's table.
    pub fn new(pipeline: Arc<Pipeline>, database: Database) -> Self {
        Self {
            statements: Statements::new(&pipeline, &[]),
            copy: Copy::new(&pipeline),
            bet: Bet::new(),
            rows: Rows::new(pipeline.columns.len()),
            is_warm: false,
            pipeline,
            database,
            retries: 0,
        }
    }

    /// Gives up the connection, so that the next batch has a new one.
    pub fn disconnect(&mut self) {
        self.database.disconnect();
    }

    /// Ends the connection in the way that lets the server know at once.
    pub async fn close(&mut self) {
        self.database.close().await;
    }

    /// What it took to keep the database at hand since this was last asked.
    pub fn take_recovery(&mut self) -> Recovery {
        Recovery {
            retries: std::mem::take(&mut self.retries),
            ..self.database.take_recovery()
        }
    }

    /// Stores the rows of a batch in time. After a refused row no later one of its FIFO group is stored.
    /// Where it cannot go on, some may be stored already.
    ///
    /// # Errors
    /// The database is away until time runs out, or the table does not fit the mapping.
    pub async fn load(
        &mut self,
        batch: &mut impl RowSource,
        time: TimeBudget,
    ) -> (Loaded, Result<(), LoadError>) {
        let width = self.pipeline.columns.len();
        let mut rows = std::mem::replace(&mut self.rows, Rows::new(width));
        rows.truncate(0);
        self.bet.place();
        let copied = if !self.bet.is_on() || !self.copy.is_worth_a_try(batch.expected()) {
            Ok(Copied::Not)
        } else if batch.is_sorted_by_key() {
            self.copy(batch, &mut rows, time).await
        } else {
            while batch.fill(&mut rows) {}
            let all: Vec<usize> = (0..rows.len()).collect();
            self.copy_part(&rows, &all, time).await
        };
        while batch.fill(&mut rows) {}
        let all: Vec<usize> = (0..rows.len()).collect();
        let mut loaded = Loaded::unsure(rows.len());
        let result = match copied {
            Ok(Copied::Rows(written)) => {
                loaded.add(&all, written);
                Ok(())
            }
            Ok(Copied::Refused(row)) if batch.groups().is_none() => {
                let parts = around(all, row).into();
                let parts = self.copy_parts(&rows, parts, &mut loaded, time).await;
                self.insert_all(&rows, None, parts, &mut loaded, time).await
            }
            Ok(_) => {
                self.insert_all(&rows, batch.groups(), vec![all], &mut loaded, time)
                    .await
            }
            Err(OutOfTime) => Ok(()),
        };
        self.rows = rows;
        self.is_warm = true;
        (loaded, result)
    }

    /// Copies the rows while they are made.
    async fn copy(
        &mut self,
        batch: &mut impl RowSource,
        rows: &mut Rows,
        time: TimeBudget,
    ) -> Result<Copied, OutOfTime> {
        let session = self.database.session(time.retry_until).await;
        // Why there is no connection is said where the rows are inserted.
        let client = session.ok().and_then(|session| session.client_for_names());
        let Some(client) = client else {
            return Ok(Copied::Not);
        };
        let copied = self.copy.store(client, &self.pipeline, batch, rows);
        match timeout_at(time.stop_at, copied).await {
            Ok(Ok(copied)) => {
                match copied {
                    Copied::Rows(_) => self.bet.win(),
                    Copied::Lost => self.bet.lose(),
                    Copied::Refused(_) | Copied::Not => {}
                }
                Ok(copied)
            }
            Ok(Err(error)) => {
                tracing::warn!(reason = %error, "the connection broke while rows were copied: they are inserted");
                self.database.disconnect();
                self.retries += 1;
                Ok(Copied::Not)
            }
            Err(_) => {
                self.database.abandon(time.answer_by).await;
                Err(OutOfTime)
            }
        }
    }

    /// Copies rows that are there already; the position of a refused one is that among all rows.
    async fn copy_part(
        &mut self,
        rows: &Rows,
        part: &[usize],
        time: TimeBudget,
    ) -> Result<Copied, OutOfTime> {
        let order = self.collapse(rows, part);
        let mut sorted = InOrder {
            rows,
            order: &order,
        };
        let copied = self
            .copy(&mut sorted, &mut Rows::new(rows.width()), time)
            .await?;
        Ok(match copied {
            Copied::Refused(place) => match order.get(place) {
                Some(&row) => Copied::Refused(row),
                None => Copied::Not,
            },
            copied => copied,
        })
    }

    /// Copies the rows between those that are refused, which is quicker than to halve, and gives back
    /// the parts that are to be inserted: so every row that seems to be refused is asked for by itself.
    async fn copy_parts(
        &mut self,
        rows: &Rows,
        mut pending: Vec<Vec<usize>>,
        loaded: &mut Loaded,
        time: TimeBudget,
    ) -> Vec<Vec<usize>> {
        let mut left = Vec::new();
        for _ in 0..MOST_COPIED_PARTS {
            let Some(part) = pending.pop() else { break };
            let copied = if self.copy.pays(part.len()) {
                self.copy_part(rows, &part, time).await
            } else {
                Ok(Copied::Not)
            };
            match copied {
                Ok(Copied::Rows(written)) => loaded.add(&part, written),
                Ok(Copied::Refused(row)) => pending.extend(around(part, row)),
                Ok(Copied::Lost | Copied::Not) => left.push(part),
                Err(OutOfTime) => return Vec::new(),
            }
        }
        pending.append(&mut left);
        pending
    }

    /// Inserts the rows of each part, all or none, or of its halves.
    async fn insert_all(
        &mut self,
        rows: &Rows,
        groups: Option<&[usize]>,
        mut pending: Vec<Vec<usize>>,
        loaded: &mut Loaded,
        time: TimeBudget,
    ) -> Result<(), LoadError> {
        let mut held = HashSet::new();
        let mut doubts = Vec::new();
        while let Some(mut part) = pending.pop() {
            part.retain(|&row| {
                let is_held = groups.is_some_and(|groups| held.contains(&groups[row]));
                if is_held {
                    loaded.fates[row] = Fate::Held;
                }
                !is_held
            });
            let (refusal, doubt) = match self.store(rows, &part, time, loaded).await {
                Ok(()) => continue,
                Err(Failure::Row(refusal)) => (refusal, None),
                Err(Failure::Doubt(refusal, error)) => (refusal, Some(error)),
                Err(Failure::OutOfTime) => break,
                Err(Failure::Batch(error)) => return Err(error),
            };
            if let [row] = part[..] {
                loaded.fates[row] = Fate::Refused(Box::new(refusal));
                held.extend(groups.map(|groups| groups[row]));
                doubts.extend(doubt);
                if doubts.len() == MOST_DOUBTS && !loaded.is_any_stored() {
                    break;
                }
            } else {
                // In the order of arrival, so that a refused row holds back the later ones of its group.
                let later = part.split_off(part.len() / 2);
                pending.extend([later, part]);
            }
        }
        match doubts.pop() {
            Some(error) if !loaded.is_any_stored() => Err(error),
            _ => Ok(()),
        }
    }

    /// Stores these rows, all or none.
    async fn store(
        &mut self,
        rows: &Rows,
        part: &[usize],
        time: TimeBudget,
        loaded: &mut Loaded,
    ) -> Result<(), Failure> {
        if part.is_empty() {
            return Ok(());
        }
        let unique = self.collapse(rows, part);
        let written = self.insert(rows, &unique, time).await?;
        loaded.add(part, written);
        Ok(())
    }

    /// The rows sorted by key, so that concurrent batches take locks in one order, and one row of
    /// each key: the last under `update`, the first under `ignore`, as if they came one by one.
    fn collapse(&self, rows: &Rows, part: &[usize]) -> Vec<usize> {
        let key = |row: usize| {
            self.pipeline
                .key
                .iter()
                .map(move |&column| rows.cell(row, column))
        };
        let first_of_key = self.pipeline.key.first().copied().unwrap_or_default();
        let with_prefix = |&row: &usize| (rows.prefix(row, first_of_key), row);
        let mut unique: Vec<(u64, usize)> = part.iter().map(with_prefix).collect();
        unique.sort_unstable_by(|a, b| {
            let arrival = match self.pipeline.on_conflict {
                OnConflict::Ignore => a.1.cmp(&b.1),
                OnConflict::Update => b.1.cmp(&a.1),
            };
            a.0.cmp(&b.0)
                .then_with(|| key(a.1).cmp(key(b.1)))
                .then(arrival)
        });
        unique.dedup_by(|later, first| later.0 == first.0 && key(later.1).eq(key(first.1)));
        unique.into_iter().map(|(_, row)| row).collect()
    }

    /// Runs the statement until it succeeds, fails for good or time runs out.
    async fn insert(
        &mut self,
        rows: &Rows,
        unique: &[usize],
        time: TimeBudget,
    ) -> Result<u64, Failure> {
        let mut attempt = 0;
        let mut before = None;
        loop {
            let is_bet = self.bet.is_on() && self.statements.can_bet();
            let error = match self.try_insert(rows, unique, is_bet, time).await {
                Ok(Some(0)) if is_bet => {
                    // The constraint is gone, or a trigger takes every row away.
                    self.statements.forget_guard();
                    self.bet.lose();
                    continue;
                }
                Ok(Some(written)) => {
                    if is_bet {
                        self.bet.win();
                    }
                    return Ok(written);
                }
                Ok(None) => return Err(Failure::OutOfTime),
                Err(error) => error,
            };
            let error = match error.remedy() {
                Remedy::Isolate => {
                    let refusal = error.into_refusal();
                    if is_bet && refusal.is_of_a_duplicate() {
                        self.bet.lose();
                        continue;
                    }
                    return Err(Failure::Row(refusal));
                }
                Remedy::GiveUp => match self.adapt(&error, time).await {
                    Ok(()) => continue,
                    Err(LoadError::Database(lost)) if lost.remedy() == Remedy::Reconnect => lost,
                    Err(LoadError::Table(fault @ TableError::Other { .. })) => {
                        return Err(Failure::Doubt(error.into_refusal(), fault.into()));
                    }
                    Err(error) => return Err(Failure::Batch(error)),
                },
                Remedy::Retry | Remedy::Reconnect | Remedy::Reauthenticate => error,
            };
            if error.remedy() != Remedy::Retry {
                self.database.disconnect();
            }
            if error.is_internal() && before.as_ref().is_some_and(DatabaseError::is_internal) {
                return Err(Failure::Doubt(error.clone().into_refusal(), error.into()));
            }
            let wait = backoff(attempt);
            if Instant::now() + wait >= time.retry_until {
                // A try that time cut short does not know what is wrong; the one before it may.
                let told = match (error, before) {
                    (DatabaseError::Late, Some(before)) => before,
                    (error, _) => error,
                };
                return Err(Failure::Batch(told.into()));
            }
            tracing::warn!(reason = %error, attempt, wait_millis = wait.as_millis() as u64, "trying again");
            before = Some(error);
            sleep(wait).await;
            attempt += 1;
            self.retries += 1;
        }
    }

    /// Runs the statement once; `None` where time ran out while Postgres was at work, so that
    /// nobody knows.
    async fn try_insert(
        &mut self,
        rows: &Rows,
        unique: &[usize],
        is_bet: bool,
        time: TimeBudget,
    ) -> Result<Option<u64>, DatabaseError> {
        let array = |(column, mapped): (usize, &Column)| ColumnArray {
            rows,
            chosen: unique,
            column,
            column_type: mapped.column_type,
        };
        let arrays: Vec<_> = self
            .pipeline
            .columns
            .iter()
            .enumerate()
            .map(array)
            .collect();
        let types = arrays.iter().map(|array| array.column_type.array());
        let Session { client, names, .. } = self.database.session(time.retry_until).await?;
        let text = self.statements.text(is_bet);
        let named = names.get(text);
        let is_naming = self.is_warm && named.is_none();
        let mut inserted = None;
        let inserting = async {
            inserted = Some(match named {
                Some(named) => client.execute_raw(&named, &arrays).await,
                None => {
                    let values = arrays.iter().map(|array| array as &(dyn ToSql + Sync));
                    let parameters: Vec<_> = values.zip(types.clone()).collect();
                    client.execute_typed(text, &parameters).await
                }
            });
        };
        // What helps the next batches is asked in the same round trip, and not for the first batch, whose
        // answer has waited for a start. It may wait for a lock that the rows did not wait for.
        let naming = async {
            if is_naming {
                names.learn(client, text, types.clone()).await;
            }
        };
        let is_asking = self.is_warm && !self.statements.is_guard_known();
        let guard = async {
            if !is_asking {
                return None;
            }
            let guard = key_guard(client, &self.pipeline).await;
            Some(guard.unwrap_or_else(|error| {
                tracing::debug!(reason = %error, "what makes the key unique cannot be found out");
                None
            }))
        };
        match timeout_at(time.stop_at, async { join!(inserting, naming, guard) }).await {
            Ok(((), (), Some(guard))) if matches!(inserted, Some(Ok(_))) => {
                self.statements.set_guard(guard);
            }
            Ok(_) => {}
            Err(_) => self.database.abandon(time.answer_by).await,
        }
        Ok(inserted.transpose()?)
    }

    /// Finds out why Postgres refuses the statement for any row. Where it is only that the table
    /// has columns of an enum type, the statement is mended and can be tried again.
    async fn adapt(&mut self, error: &DatabaseError, time: TimeBudget) -> Result<(), LoadError> {
        let DatabaseError::Server(refused) = error else {
            return Err(error.clone().into());
        };
        let client = self.database.client(time.retry_until).await?;
        let Ok(table) =
            timeout_at(time.stop_at, LiveTable::read(client, &self.pipeline.table)).await
        else {
            return Err(error.clone().into());
        };
        // Without a privilege on the schema the catalog is closed as well, which is an answer too.
        let table = table.or_else(|unread| {
            if refused.sqlstate == INSUFFICIENT_PRIVILEGE {
                Ok(LiveTable::default())
            } else {
                Err(unread)
            }
        })?;
        let mended = Statements::new(&self.pipeline, &table.enums());
        if refused.sqlstate == DATATYPE_MISMATCH
            && mended.text(false) != self.statements.text(false)
        {
            self.statements = mended;
            return Ok(());
        }
        Err(table.explain(&self.pipeline, &refused.sqlstate).into())
    }
}

/// The parameter that carries one column of the chosen rows, in Postgres's binary form of an array.
/// Source: `array_recv` in <https://github.com/postgres/postgres/blob/REL_18_STABLE/src/backend/utils/adt/arrayfuncs.c>.
struct ColumnArray<'a> {
    rows: &'a Rows,
    chosen: &'a [usize],
    column: usize,
    column_type: ColumnType,
}

/// tokio-postgres prints parameters; this one shows no value.
impl fmt::Debug for ColumnArray<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} values of {}", self.chosen.len(), self.column_type)
    }
}

impl ToSql for ColumnArray<'_> {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        const DIMENSIONS: i32 = 1;
        const MAY_HOLD_NULLS: i32 = 1;
        const LOWER_BOUND: i32 = 1;
        out.put_i32(DIMENSIONS);
        out.put_i32(MAY_HOLD_NULLS);
        out.put_u32(self.column_type.element().oid());
        out.put_i32(i32::try_from(self.chosen.len())?);
        out.put_i32(LOWER_BOUND);
        self.chosen
            .iter()
            .for_each(|&row| out.put_slice(self.rows.cell(row, self.column)));
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}
