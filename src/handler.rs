//! The whole way of a batch: extract → transform → load → answer.
//!
//! The only module that sees it. The answer is valid by construction: it names only messages that
//! came in, each once.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hint::black_box;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lambda_events::event::sqs::{BatchItemFailure, SqsBatchResponse};
use thiserror::Error;
use tokio::time::Instant;

use crate::extract::{Message, NotSqs, Record, read_event};
use crate::load::{Fate, LoadError, Loaded, Loader, RowSource, TimeBudget};
use crate::pipeline::Pipeline;
use crate::prepare::{Preparation, PrepareError};
use crate::queue::Queue;
use crate::rejection::{Rejection, Rule};
use crate::row::{Rows, prefix};
use crate::telemetry::{self, BatchMetrics, Metrics, Totals};
use crate::transform::Transformer;

/// What is kept of an invocation's time for what comes after the last try on a database that is
/// away, after a statement that hangs, and after everything, and which share of a short time that
/// may take at most.
const POSTPONE_MARGIN: (Duration, u32) = (Duration::from_secs(3), 3);
const STATEMENT_MARGIN: (Duration, u32) = (Duration::from_secs(2), 5);
const LOG_MARGIN: (Duration, u32) = (Duration::from_millis(300), 10);

/// Below this a deadline is no instant since 1970 but the time left: so cargo-lambda sends it.
const EARLIEST_INSTANT_MILLIS: u64 = 1_000_000_000_000;

/// When to stop what, so that the answer is out before Lambda kills the function. `deadline_millis`
/// is the invocation's deadline in milliseconds since 1970.
pub fn time_budget(deadline_millis: u64) -> TimeBudget {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let deadline = Duration::from_millis(deadline_millis);
    let left = if deadline_millis < EARLIEST_INSTANT_MILLIS {
        deadline
    } else {
        deadline.saturating_sub(now)
    };
    let before = |(margin, share): (Duration, u32)| {
        Instant::now() + left.saturating_sub(margin.min(left / share))
    };
    TimeBudget {
        retry_until: before(POSTPONE_MARGIN),
        stop_at: before(STATEMENT_MARGIN),
        answer_by: before(LOG_MARGIN),
    }
}

/// Why nothing of a batch is acknowledged.
#[derive(Debug, Error, PartialEq)]
pub enum HandleError {
    /// It is none.
    #[error(transparent)]
    Payload(#[from] NotSqs),
    /// The mask key cannot be had.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// Nothing of it could be stored.
    #[error(transparent)]
    Load(#[from] LoadError),
}

/// Before the first batch is read: the usual size of a record.
const RECORD_BYTES: usize = 1_000;

/// What the next batch will be like, judged by the last one.
#[derive(Clone, Copy)]
struct Outlook {
    /// Bytes of the event a record.
    record_bytes: usize,
    is_fifo: bool,
}

/// Handles batches, one after the other.
pub struct Handler {
    pipeline: Arc<Pipeline>,
    preparation: Preparation,
    loader: Loader,
    queue: Queue,
    metrics: Metrics,
    outlook: Outlook,
}

/// How many records are transformed at a time: so few that an answer of Postgres does not wait.
const RECORDS_AT_A_TIME: usize = 32;

/// The batch while it is sorted into rows and rejections. It is read by the first call for rows: what is
/// asked of Postgres for it can leave before.
struct Batch<'h, 'a> {
    pipeline: &'h Pipeline,
    transformer: &'h Transformer,
    /// The event, until it is read.
    unread: Option<&'a [u8]>,
    not_sqs: Option<NotSqs>,
    /// Guessed, until it is read.
    expected: usize,
    records: Vec<Record<'a>>,
    /// When SQS received the oldest message, in milliseconds since 1970.
    oldest_sent_at: Option<i64>,
    /// The positions of the records in the order in which they become rows, and how many have.
    order: Vec<usize>,
    done: usize,
    /// Whether its queue keeps an order. Guessed, until it is read.
    is_fifo: bool,
    /// For each row, the position of its record.
    positions: Vec<usize>,
    /// For each row, its FIFO group; empty on a standard queue.
    groups: Vec<usize>,
    group_numbers: HashMap<String, usize>,
    /// Groups of which a message was rejected.
    held: HashSet<usize>,
    rejected: Vec<(usize, Rejection)>,
    transform: Duration,
}

impl Handler {
    /// A handler of what its parts say.
    pub fn new(
        pipeline: Arc<Pipeline>,
        preparation: Preparation,
        loader: Loader,
        queue: Queue,
        metrics: Metrics,
    ) -> Self {
        Self {
            pipeline,
            preparation,
            loader,
            queue,
            metrics,
            outlook: Outlook {
                record_bytes: RECORD_BYTES,
                is_fifo: false,
            },
        }
    }

    /// What all batches so far came to.
    pub fn totals(&self) -> Arc<Mutex<Totals>> {
        self.metrics.totals()
    }

    /// Gives up the connection to the database. After a panic it may be within a transaction, of which the
    /// next batch would be a part.
    pub fn disconnect(&mut self) {
        self.loader.disconnect();
    }

    /// Ends the connection to the database, because the program ends.
    pub async fn close(&mut self) {
        self.loader.close().await;
    }

    /// Stores what can be stored in time and answers with the rest. `payload` is an SQS event, as
    /// [`read_event`] takes it.
    ///
    /// # Errors
    /// The payload is no SQS event, or the batch as a whole cannot be stored: the database is away, or
    /// the table does not fit.
    pub async fn handle(
        &mut self,
        payload: &[u8],
        time: TimeBudget,
    ) -> Result<SqsBatchResponse, HandleError> {
        let transformer = self.ready(payload, time).await?;
        let started = Instant::now();
        let mut batch = Batch::new(payload, self.outlook, &self.pipeline, &transformer);
        let (loaded, result) = self.loader.load(&mut batch, time).await;
        if let Some(not_sqs) = batch.not_sqs {
            return Err(not_sqs.into());
        }
        self.outlook = batch.outlook(payload);
        let figures = BatchMetrics {
            received: batch.records.len(),
            stored: loaded.written,
            duplicates: loaded.duplicates,
            recovery: self.loader.take_recovery(),
            oldest_age: batch.oldest_age(),
            transform: batch.transform,
            load: started.elapsed().saturating_sub(batch.transform),
        };
        match result {
            Ok(()) => {
                batch.reject_by_fate(&loaded);
                Ok(self.settle(&batch, &figures, time).await)
            }
            Err(error) => Err(self
                .fail(&batch.records, &figures, error.into(), time)
                .await),
        }
    }

    /// The transformer. Where the mask key cannot be fetched in time, the batch is backed off as in an outage.
    async fn ready(
        &mut self,
        payload: &[u8],
        time: TimeBudget,
    ) -> Result<Arc<Transformer>, HandleError> {
        let error = match self.preparation.transformer(time.retry_until).await {
            Ok(transformer) => return Ok(transformer),
            Err(error) => error,
        };
        let mut records = Vec::new();
        read_event(payload, |record| records.push(record))?;
        tracing::Span::current().record("batch_size", records.len());
        let figures = BatchMetrics {
            received: records.len(),
            ..BatchMetrics::default()
        };
        Err(self.fail(&records, &figures, error.into(), time).await)
    }

    /// Reports a batch of which nothing is acknowledged, and keeps it away for a while.
    async fn fail(
        &self,
        records: &[Record<'_>],
        figures: &BatchMetrics,
        error: HandleError,
        time: TimeBudget,
    ) -> HandleError {
        self.metrics.batch_failed(figures, error.to_string());
        self.queue
            .postpone(records.iter().collect(), time.answer_by)
            .await;
        error
    }

    /// Does for the rejected messages what can be done, reports what became of the batch, and answers with
    /// the rest.
    async fn settle(
        &self,
        batch: &Batch<'_, '_>,
        figures: &BatchMetrics,
        time: TimeBudget,
    ) -> SqsBatchResponse {
        let rejected: Vec<_> = batch
            .rejected
            .iter()
            .map(|(position, rejection)| (&batch.records[*position], rejection))
            .collect();
        for (record, rejection) in &rejected {
            telemetry::message_failed(record, rejection);
        }
        // What Postgres did not answer to in time may be an outage as well.
        let unsure = rejected
            .iter()
            .filter(|(_, rejection)| rejection.rule == Rule::OutOfTime);
        let (dead_lettered, ()) = tokio::join!(
            self.queue.dead_letter(&rejected, time.answer_by),
            self.queue
                .postpone(unsure.map(|(record, _)| *record).collect(), time.answer_by),
        );
        self.metrics
            .batch_done(figures, &by_rule(&rejected), dead_lettered.len());
        let left = rejected
            .iter()
            .enumerate()
            .filter(|(position, _)| !dead_lettered.contains(position));
        answer(left.map(|(_, (record, _))| *record))
    }
}

impl<'h, 'a> Batch<'h, 'a> {
    fn new(
        payload: &'a [u8],
        outlook: Outlook,
        pipeline: &'h Pipeline,
        transformer: &'h Transformer,
    ) -> Self {
        Self {
            pipeline,
            transformer,
            unread: Some(payload),
            not_sqs: None,
            expected: payload.len() / outlook.record_bytes,
            records: Vec::new(),
            oldest_sent_at: None,
            order: Vec::new(),
            done: 0,
            is_fifo: outlook.is_fifo,
            positions: Vec::new(),
            groups: Vec::new(),
            group_numbers: HashMap::new(),
            held: HashSet::new(),
            rejected: Vec::new(),
            transform: Duration::ZERO,
        }
    }

    fn read(&mut self, payload: &'a [u8]) {
        // With some to spare: to grow is to move them all.
        self.records.reserve(self.expected + self.expected / 16);
        let read = read_event(payload, |record| {
            let sent_at = record.sent_at_millis();
            self.oldest_sent_at = self.oldest_sent_at.into_iter().chain(sent_at).min();
            self.records.push(record);
        });
        if let Err(not_sqs) = read {
            self.not_sqs = Some(not_sqs);
            self.records.clear();
        }
        self.expected = self.records.len();
        self.is_fifo = self.records.first().is_some_and(Record::is_fifo);
        self.order = if self.is_sorted_by_key() {
            by_message_id(&self.records)
        } else {
            (0..self.expected).collect()
        };
        self.positions.reserve(self.expected);
        tracing::Span::current().record("batch_size", self.expected);
    }

    fn outlook(&self, payload: &[u8]) -> Outlook {
        Outlook {
            record_bytes: (payload.len() / self.expected.max(1)).max(1),
            is_fifo: self.is_fifo,
        }
    }

    /// Makes a row of a record, or says why not.
    fn sort(&mut self, position: usize, rows: &mut Rows) {
        let group = self.group_of(position);
        let is_held = group.is_some_and(|group| self.held.contains(&group));
        let admitted = if is_held {
            Err(Rule::GroupHeld.into())
        } else {
            self.admit(&self.records[position], rows)
        };
        match admitted {
            Ok(()) => {
                self.positions.push(position);
                self.groups.extend(group);
            }
            Err(rejection) => {
                self.held.extend(group);
                self.rejected.push((position, rejection));
            }
        }
    }

    /// Reads one record into a row. A panic, if there were one, costs this record.
    fn admit(&self, record: &Record<'_>, rows: &mut Rows) -> Result<(), Rejection> {
        let len = rows.len();
        let read = || {
            let message = Message::extract(record, self.pipeline.envelope)?;
            self.transformer.transform(&message, rows)
        };
        catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| {
            rows.truncate(len);
            Err(Rule::Internal.into())
        })
    }

    fn group_of(&mut self, position: usize) -> Option<usize> {
        if !self.is_fifo {
            return None;
        }
        let group = self.records[position].fifo_group()?;
        let next = self.group_numbers.len();
        Some(*self.group_numbers.entry(group.to_owned()).or_insert(next))
    }

    /// How long the oldest of the messages has waited.
    fn oldest_age(&self) -> Option<Duration> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let sent_at = u64::try_from(self.oldest_sent_at?).ok()?;
        Some(now.saturating_sub(Duration::from_millis(sent_at)))
    }

    fn reject_by_fate(&mut self, loaded: &Loaded) {
        for (&position, fate) in self.positions.iter().zip(&loaded.fates) {
            let rule = match fate {
                Fate::Stored => continue,
                Fate::Refused(refusal) => Rule::Refused(refusal.clone()),
                Fate::Held => Rule::GroupHeld,
                Fate::Unsure => Rule::OutOfTime,
            };
            self.rejected.push((position, rule.into()));
        }
        self.rejected.sort_by_key(|(position, _)| *position);
        self.hold_back();
    }

    /// FIFO: only the first failure of a group is judged. A later message that was rejected before
    /// Postgres saw the first one would overtake it on the way to the dead-letter queue.
    fn hold_back(&mut self) {
        let mut failed = HashSet::new();
        for (position, rejection) in &mut self.rejected {
            let group = self.records[*position].fifo_group();
            if group.is_some_and(|group| !failed.insert(group)) {
                *rejection = Rule::GroupHeld.into();
            }
        }
    }
}

impl RowSource for Batch<'_, '_> {
    fn expected(&self) -> usize {
        self.expected
    }

    /// But for a FIFO queue, of whose groups the order of arrival counts.
    fn is_sorted_by_key(&self) -> bool {
        self.pipeline.is_keyed_by_message_id() && !self.is_fifo
    }

    fn fill(&mut self, rows: &mut Rows) -> bool {
        if let Some(payload) = self.unread.take() {
            self.read(payload);
            return !self.order.is_empty();
        }
        let began = Instant::now();
        let until = self.order.len().min(self.done + RECORDS_AT_A_TIME);
        fetch(
            self.order[self.done..until]
                .iter()
                .map(|&position| &self.records[position]),
        );
        for next in self.done..until {
            self.sort(self.order[next], rows);
        }
        self.done = until;
        self.transform += began.elapsed();
        until < self.order.len()
    }

    fn groups(&self) -> Option<&[usize]> {
        (!self.groups.is_empty()).then_some(&self.groups)
    }
}

/// The positions of the records in the order of their messages' ids, equal ones as they came.
fn by_message_id(records: &[Record<'_>]) -> Vec<usize> {
    let id = |position: usize| records[position].original_id();
    let with_prefix = |position: usize| (prefix(id(position).as_bytes()), position);
    let mut order: Vec<(u64, usize)> = (0..records.len()).map(with_prefix).collect();
    order.sort_unstable_by(|a, b| {
        a.0.cmp(&b.0)
            .then_with(|| (id(a.1), a.1).cmp(&(id(b.1), b.1)))
    });
    order.into_iter().map(|(_, position)| position).collect()
}

/// Has the processor fetch the records that are needed next, which lie far apart, all at the same time. To
/// wait for one after the other costs a tenth of all the work on a batch of 8,000.
fn fetch<'a>(records: impl Iterator<Item = &'a Record<'a>>) {
    black_box(records.map(Record::glance).sum::<usize>());
}

/// How many messages broke each rule, by its name.
fn by_rule(rejected: &[(&Record<'_>, &Rejection)]) -> BTreeMap<&'static str, usize> {
    let mut failed = BTreeMap::new();
    for (_, rejection) in rejected {
        *failed.entry(rejection.rule.name()).or_default() += 1;
    }
    failed
}

/// Lambda takes an empty, unknown or repeated id for a failure of the whole batch.
/// Source: <https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html>.
fn answer<'a>(failed: impl Iterator<Item = &'a Record<'a>>) -> SqsBatchResponse {
    let mut named = HashSet::new();
    let mut response = SqsBatchResponse::default();
    for record in failed.filter(|record| named.insert(&*record.message_id)) {
        let mut failure = BatchItemFailure::default();
        failure.item_identifier = record.message_id.to_string();
        response.batch_item_failures.push(failure);
    }
    response
}
