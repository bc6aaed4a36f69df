//! The flow of a batch: extract (with bodies that are in S3) → transform → load → answer.
//!
//! The only module that sees all of it. The answer is valid by construction: it names only messages that were
//! received, each once.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lambda_events::event::sqs::{BatchItemFailure, SqsBatchResponse};
use mapping::{Compiled, NotSqs, Origins, Pipeline, Record, Rejection, read_event};
use thiserror::Error;
use tokio::time::Instant;

use crate::batch::Batch;
use crate::counts::Stored;
use crate::deadline::TimeBudget;
use crate::load::{LoadError, Loader};
use crate::objects::Objects;
use crate::prepare::{Preparation, PrepareError};
use crate::sqs::Sqs;
use crate::telemetry::trace::{BatchTrace, TraceContext};
use crate::telemetry::{self, BatchMetrics, Metrics, Totals};
use crate::unread::Unread;

/// Why nothing of a batch is acknowledged.
#[derive(Debug, Error, PartialEq)]
pub enum HandleError {
    /// The payload is not an SQS event.
    #[error(transparent)]
    Payload(#[from] NotSqs),
    /// The mask key cannot be read.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// Nothing of the batch could be stored.
    #[error(transparent)]
    Load(#[from] LoadError),
}

impl HandleError {
    /// What failed, in a word.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Payload(_) => "Payload",
            Self::Prepare(_) => "MaskKey",
            Self::Load(LoadError::Database(_)) => "Database",
            Self::Load(LoadError::Table(_)) => "Table",
        }
    }
}

/// Handles batches, one after the other.
pub struct Handler {
    pipeline: Arc<Pipeline>,
    preparation: Preparation,
    /// If the mapping follows pointers to S3.
    objects: Option<Objects>,
    loader: Loader,
    sqs: Sqs,
    metrics: Metrics,
    unread: Unread,
}

impl Handler {
    /// Assembles a handler.
    pub fn new(
        pipeline: Arc<Pipeline>,
        preparation: Preparation,
        objects: Option<Objects>,
        loader: Loader,
        sqs: Sqs,
        metrics: Metrics,
    ) -> Self {
        Self {
            unread: Unread::new(&pipeline),
            pipeline,
            preparation,
            objects,
            loader,
            sqs,
            metrics,
        }
    }

    /// The mapping.
    pub fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    /// The totals of all batches so far.
    pub fn totals(&self) -> Arc<Mutex<Totals>> {
        self.metrics.totals()
    }

    /// Drops the connection to the database. After a panic it may be within a transaction, which the next batch would
    /// become a part of.
    pub fn disconnect(&mut self) {
        self.loader.disconnect();
    }

    /// Closes the connection to the database when the program ends.
    pub async fn close(&mut self) {
        self.loader.close().await;
    }

    /// Stores what can be stored in time, and answers with the messages that failed. `payload` is an SQS event, see
    /// [`read_event`]. The line of the batch names the `span` in which it is handled.
    ///
    /// # Errors
    /// The payload is not an SQS event, or the batch as a whole cannot be stored: the mask key cannot be fetched, the
    /// database is unavailable, or the table does not fit.
    pub async fn handle(
        &mut self,
        payload: &[u8],
        time: TimeBudget,
        span: Option<TraceContext>,
    ) -> Result<SqsBatchResponse, HandleError> {
        let mut records = read_event(payload)?;
        tracing::Span::current().record("batch_size", records.len());
        let trace = BatchTrace::new(span, &records);
        let compiled = match self.preparation.compiled(time.retry_until).await {
            Ok(compiled) => compiled,
            Err(error) => {
                let figures = BatchMetrics {
                    received: records.len(),
                    trace,
                    ..BatchMetrics::default()
                };
                return Err(self.fail(&records, &figures, error.into(), time).await);
            }
        };
        let mut figures = BatchMetrics {
            received: records.len(),
            trace,
            oldest_age: oldest_age(&records),
            ..BatchMetrics::default()
        };
        let began = Instant::now();
        telemetry::origins_ignored(records.iter_mut().filter_map(|record| {
            let origins = compiled.origins();
            record.apply_origin(origins)
        }));
        figures.transform = began.elapsed();
        let unread = self.unread.count(&records, &compiled, Instant::now());
        figures.paths_unread = unread.unwrap_or_default();
        let mut batch = Batch::new(&records, &compiled);
        let stored = self.store(&mut batch, &compiled, &mut figures, time).await;
        figures.recovery = self.loader.take_recovery_counts();
        if let Err(error) = stored {
            return Err(self.fail(&records, &figures, error.into(), time).await);
        }
        let rejected = batch.rejections();
        figures.skipped = batch.skipped;
        if figures.skipped > 0 && figures.skipped == figures.received {
            telemetry::batch_skipped(figures.skipped);
        }
        let origins = compiled.origins();
        Ok(self.settle(&rejected, origins, &figures, time).await)
    }

    /// Reads and stores the messages of a batch, as many at once as one statement stores: all of an ordinary batch.
    async fn store(
        &mut self,
        batch: &mut Batch<'_>,
        compiled: &Compiled,
        figures: &mut BatchMetrics,
        time: TimeBudget,
    ) -> Result<(), LoadError> {
        let tables = self.pipeline.tables.len();
        figures.tables = vec![Stored::default(); tables];
        figures.empty_rows = vec![0; tables];
        loop {
            if let Some(objects) = &self.objects {
                batch.fetch(compiled, objects, time.of_objects()).await;
            }
            let began = Instant::now();
            if !batch.read(compiled) {
                return Ok(());
            }
            let read = Instant::now();
            let (loaded, result) = self.loader.load(&batch.rows, &batch.groups, time).await;
            figures.transform += read - began;
            figures.load += read.elapsed();
            for (total, stored) in figures.tables.iter_mut().zip(&loaded.tables) {
                *total = total.plus(stored);
            }
            result?;
            let empty_rows = batch.empty_rows(&loaded.outcomes);
            for (total, empty) in figures.empty_rows.iter_mut().zip(empty_rows) {
                *total += empty;
            }
            batch.note(&loaded.outcomes);
            if Instant::now() >= time.stop_at {
                return Ok(());
            }
        }
    }

    /// Reports a batch that failed as a whole, and backs its messages off.
    async fn fail(
        &self,
        records: &[Record<'_>],
        figures: &BatchMetrics,
        error: HandleError,
        time: TimeBudget,
    ) -> HandleError {
        self.metrics.batch_failed(figures, error.to_string());
        self.sqs.back_off_all(records, time.answer_by).await;
        error
    }

    /// Sends dead letters, backs messages off, reports the batch, and answers with the messages that failed.
    async fn settle(
        &mut self,
        rejected: &[(&Record<'_>, Rejection)],
        origins: &Origins,
        figures: &BatchMetrics,
        time: TimeBudget,
    ) -> SqsBatchResponse {
        telemetry::messages_failed(rejected);
        let not_stored = rejected.len() + figures.skipped;
        let stored = figures.received.saturating_sub(not_stored);
        let dispositions = self.sqs.dispositions(rejected, stored);
        let until = time.answer_by;
        let (dead_lettered, ()) = tokio::join!(
            self.sqs
                .dead_letter(rejected, &dispositions, origins, until),
            self.sqs.back_off(rejected, &dispositions, until),
        );
        self.metrics
            .batch_done(figures, &by_rule(rejected), dead_lettered.len());
        let left = rejected
            .iter()
            .enumerate()
            .filter(|(position, _)| !dead_lettered.contains(position));
        answer(left.map(|(_, (record, _))| *record))
    }
}

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

/// To Lambda an empty, unknown or repeated id means that the whole batch failed.
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
