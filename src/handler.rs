//! The whole way of a batch: extract → transform → load → answer.
//!
//! The only module that sees it. The answer is valid by construction: it names only messages that
//! came in, each once.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lambda_events::event::sqs::{BatchItemFailure, SqsBatchResponse};
use tokio::time::Instant;

use crate::extract::{Event, Message, Record};
use crate::load::{Fate, LoadError, Loaded, Loader, TimeBudget};
use crate::pipeline::Pipeline;
use crate::queue::Queue;
use crate::rejection::{Rejection, Rule};
use crate::row::Rows;
use crate::telemetry::{self, BatchMetrics, Metrics};
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

/// Handles batches, one after the other.
pub struct Handler {
    pipeline: Arc<Pipeline>,
    transformer: Transformer,
    loader: Loader,
    queue: Queue,
    metrics: Metrics,
}

/// The batch while it is sorted into rows and rejections.
struct Sorted {
    rows: Rows,
    /// For each row, the position of its record.
    records: Vec<usize>,
    /// For each row, its FIFO group; empty on a standard queue.
    groups: Vec<usize>,
    rejected: Vec<(usize, Rejection)>,
}

impl Handler {
    /// A handler of what its parts say.
    pub fn new(
        pipeline: Arc<Pipeline>,
        transformer: Transformer,
        loader: Loader,
        queue: Queue,
        metrics: Metrics,
    ) -> Self {
        Self {
            pipeline,
            transformer,
            loader,
            queue,
            metrics,
        }
    }

    /// Stores what can be stored in time and answers with the rest.
    ///
    /// # Errors
    /// The batch as a whole cannot be stored: the database is away, or the table does not fit.
    pub async fn handle(
        &mut self,
        event: &Event,
        time: TimeBudget,
    ) -> Result<SqsBatchResponse, LoadError> {
        let started = Instant::now();
        let mut sorted = self.sort(&event.records);
        let transform = started.elapsed();
        let groups = (!sorted.groups.is_empty()).then_some(&sorted.groups[..]);
        let result = self.loader.load(&sorted.rows, groups, time).await;
        let batch = BatchMetrics {
            received: event.records.len(),
            retries: self.loader.take_retries(),
            oldest_age: oldest_age(&event.records),
            transform,
            load: started.elapsed() - transform,
            ..BatchMetrics::default()
        };
        match result {
            Ok(loaded) => {
                sorted.reject_by_fate(&loaded, &event.records);
                let batch = BatchMetrics {
                    stored: loaded.written,
                    duplicates: loaded.duplicates,
                    ..batch
                };
                Ok(self.settle(event, &sorted, &batch, time).await)
            }
            Err(error) => {
                self.metrics.batch(&batch);
                tracing::error!(received = batch.received, retries = batch.retries, reason = %error, "batch failed");
                self.queue
                    .postpone(event.records.iter().collect(), time.answer_by)
                    .await;
                Err(error)
            }
        }
    }

    /// Reports what became of the batch, does for the rejected messages what can be done, and
    /// answers with the rest. Metrics come before anything that could still take too long.
    async fn settle(
        &self,
        event: &Event,
        sorted: &Sorted,
        batch: &BatchMetrics,
        time: TimeBudget,
    ) -> SqsBatchResponse {
        let rejected: Vec<_> = sorted
            .rejected
            .iter()
            .map(|(position, rejection)| (&event.records[*position], rejection))
            .collect();
        self.metrics.batch(batch);
        let failed = self.report_failed(&rejected);
        // What Postgres did not answer to in time may be an outage as well.
        let unsure = rejected
            .iter()
            .filter(|(_, rejection)| rejection.rule == Rule::OutOfTime);
        let (dead_lettered, ()) = tokio::join!(
            self.queue.dead_letter(&rejected, time.answer_by),
            self.queue
                .postpone(unsure.map(|(record, _)| *record).collect(), time.answer_by),
        );
        if !dead_lettered.is_empty() {
            self.metrics.dead_lettered(dead_lettered.len());
        }
        telemetry::batch_done(batch, &failed, dead_lettered.len());
        let left = rejected
            .iter()
            .enumerate()
            .filter(|(position, _)| !dead_lettered.contains(position));
        answer(left.map(|(_, (record, _))| *record))
    }

    /// Writes a line for each failed message, and gives their number by rule.
    fn report_failed(&self, rejected: &[(&Record, &Rejection)]) -> BTreeMap<&'static str, usize> {
        let mut failed = BTreeMap::new();
        for (record, rejection) in rejected {
            telemetry::message_failed(&record.message_id, rejection);
            *failed.entry(rejection.rule.name()).or_default() += 1;
        }
        for (rule, messages) in &failed {
            self.metrics.failed(rule, *messages);
        }
        failed
    }

    fn sort(&self, records: &[Record]) -> Sorted {
        let mut sorted = Sorted {
            rows: Rows::new(self.pipeline.columns.len()),
            records: Vec::new(),
            groups: Vec::new(),
            rejected: Vec::new(),
        };
        let mut group_numbers = HashMap::new();
        let mut held = HashSet::new();
        for (position, record) in records.iter().enumerate() {
            let group = record.fifo_group().map(|group| {
                let next = group_numbers.len();
                *group_numbers.entry(group).or_insert(next)
            });
            let is_held = group.is_some_and(|group| held.contains(&group));
            match if is_held {
                Err(Rule::GroupHeld.into())
            } else {
                self.admit(record, &mut sorted.rows)
            } {
                Ok(()) => {
                    sorted.records.push(position);
                    sorted.groups.extend(group);
                }
                Err(rejection) => {
                    held.extend(group);
                    sorted.rejected.push((position, rejection));
                }
            }
        }
        sorted
    }

    /// Reads one record into a row. A panic, if there were one, costs this record.
    fn admit(&self, record: &Record, rows: &mut Rows) -> Result<(), Rejection> {
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
}

impl Sorted {
    fn reject_by_fate(&mut self, loaded: &Loaded, records: &[Record]) {
        for (&position, fate) in self.records.iter().zip(&loaded.fates) {
            let rule = match fate {
                Fate::Stored => continue,
                Fate::Refused(refusal) => Rule::Refused(Box::new(refusal.clone())),
                Fate::Held => Rule::GroupHeld,
                Fate::Unsure => Rule::OutOfTime,
            };
            self.rejected.push((position, rule.into()));
        }
        self.rejected.sort_by_key(|(position, _)| *position);
        self.hold_back(records);
    }

    /// FIFO: only the first failure of a group is judged. A later message that was rejected before
    /// Postgres saw the first one would overtake it on the way to the dead-letter queue.
    fn hold_back(&mut self, records: &[Record]) {
        let mut failed = HashSet::new();
        for (position, rejection) in &mut self.rejected {
            let group = records[*position].fifo_group();
            if group.is_some_and(|group| !failed.insert(group)) {
                *rejection = Rule::GroupHeld.into();
            }
        }
    }
}

/// How long the oldest of the messages has waited, by its own time of sending.
fn oldest_age(records: &[Record]) -> Option<Duration> {
    let sent_at = records.iter().filter_map(Record::sent_at_millis).min()?;
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Some(now.saturating_sub(Duration::from_millis(u64::try_from(sent_at).ok()?)))
}

/// Lambda takes an empty, unknown or repeated id for a failure of the whole batch.
/// Source: <https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html>.
fn answer<'a>(failed: impl Iterator<Item = &'a Record>) -> SqsBatchResponse {
    let mut named = HashSet::new();
    let mut response = SqsBatchResponse::default();
    for record in failed.filter(|record| named.insert(&record.message_id)) {
        let mut failure = BatchItemFailure::default();
        failure.item_identifier.clone_from(&record.message_id);
        response.batch_item_failures.push(failure);
    }
    response
}
