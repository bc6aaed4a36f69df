//! The whole way of a batch: extract → transform → load → answer.
//!
//! The only module that sees it. The answer is valid by construction: it names only messages that
//! came in, each once.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lambda_events::event::sqs::{BatchItemFailure, SqsBatchResponse};
use thiserror::Error;
use tokio::time::Instant;

use crate::batch::Batch;
use crate::extract::{NotSqs, Record, read_event};
use crate::load::{LoadError, Loader, TimeBudget};
use crate::pipeline::Pipeline;
use crate::queue::Queue;
use crate::rejection::{Rejection, Rule};
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
#[derive(Debug, Error, PartialEq, Eq)]
pub enum HandleError {
    /// It is none.
    #[error(transparent)]
    Payload(#[from] NotSqs),
    /// Nothing of it could be stored.
    #[error(transparent)]
    Load(#[from] LoadError),
}

/// Handles batches, one after the other.
pub struct Handler {
    pipeline: Arc<Pipeline>,
    transformer: Transformer,
    loader: Loader,
    queue: Queue,
    metrics: Metrics,
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

    /// What all batches so far came to.
    pub fn totals(&self) -> Arc<Mutex<Totals>> {
        self.metrics.totals()
    }

    /// Gives up the connection to the database. After a panic it may be within a transaction, of which the
    /// next batch would be a part.
    pub fn disconnect(&mut self) {
        self.loader.disconnect();
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
        let began = Instant::now();
        let mut records = Vec::new();
        let origins = self.transformer.origins();
        read_event(payload, |mut record| {
            record.read_origin(origins);
            records.push(record);
        })?;
        tracing::Span::current().record("batch_size", records.len());
        let mut batch = Batch::of(&records, &self.pipeline, &self.transformer);
        let transform = began.elapsed();
        let (loaded, result) = self.loader.load(&batch.rows, &batch.groups, time).await;
        let figures = BatchMetrics {
            received: records.len(),
            stored: loaded.written,
            duplicates: loaded.duplicates,
            recovery: self.loader.take_recovery(),
            oldest_age: oldest_age(&records),
            transform,
            load: began.elapsed().saturating_sub(transform),
        };
        if let Err(error) = result {
            self.metrics.batch(&figures, &BTreeMap::new());
            tracing::error!(received = figures.received, stored = figures.stored, retries = figures.recovery.retries, reason = %error, "batch failed");
            self.queue
                .postpone(records.iter().collect(), time.answer_by)
                .await;
            return Err(error.into());
        }
        let rejected = batch.rejections(&loaded.outcomes);
        Ok(self.settle(&rejected, &figures, time).await)
    }

    /// Reports what became of the batch, does for the rejected messages what can be done, and
    /// answers with the rest. Metrics come before anything that could still take too long.
    async fn settle(
        &self,
        rejected: &[(&Record<'_>, Rejection)],
        figures: &BatchMetrics,
        time: TimeBudget,
    ) -> SqsBatchResponse {
        let failed = by_rule(rejected);
        self.metrics.batch(figures, &failed);
        telemetry::messages_failed(rejected);
        // What Postgres did not answer to in time may be an outage as well.
        let unknown = rejected
            .iter()
            .filter(|(_, rejection)| rejection.rule == Rule::OutOfTime);
        let (dead_lettered, ()) = tokio::join!(
            self.queue
                .dead_letter(rejected, self.transformer.origins(), time.answer_by),
            self.queue
                .postpone(unknown.map(|(record, _)| *record).collect(), time.answer_by),
        );
        if !dead_lettered.is_empty() {
            self.metrics.dead_lettered(dead_lettered.len());
        }
        telemetry::batch_done(figures, &failed, dead_lettered.len());
        let left = rejected
            .iter()
            .enumerate()
            .filter(|(position, _)| !dead_lettered.contains(position));
        answer(left.map(|(_, (record, _))| *record))
    }
}

/// How long the oldest of the messages has waited.
fn oldest_age(records: &[Record<'_>]) -> Option<Duration> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let oldest = records.iter().filter_map(Record::sent_at_millis).min()?;
    let sent_at = u64::try_from(oldest).ok()?;
    Some(now.saturating_sub(Duration::from_millis(sent_at)))
}

/// How many messages broke each rule, by its name.
fn by_rule(rejected: &[(&Record<'_>, Rejection)]) -> BTreeMap<&'static str, usize> {
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
