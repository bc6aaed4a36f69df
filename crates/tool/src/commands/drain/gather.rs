//! Gathers messages of the queue into a batch.

use std::mem;
use std::time::Duration;

use aws_sdk_sqs::types::Message;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use sqs_to_postgres::aws::AwsError;
use sqs_to_postgres::sqs::batch::MAX_ENTRIES;
use tokio::time::Instant;

use super::batch::ReceivedBatch;
use super::run::DrainLoop;

/// A batch is at most as large as the payload that Lambda passes to a function. This bounds memory, whatever the size
/// of messages.
/// Source: <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html> (2026-11).
const MAX_BATCH_BYTES: usize = 6 * 1024 * 1024;

/// How long a request waits for messages. A request cannot be cancelled, so this is how long a signal may have to
/// wait; SQS allows 20 seconds.
/// Source: <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html> (2026-11).
const MAX_RECEIVE_WAIT: Duration = Duration::from_secs(4);

/// A request that took longer has waited for its messages, which is not counted as work.
const MAX_RECEIVE_TIME: Duration = Duration::from_millis(200);

/// Requests that are under way. They are never cancelled, because the messages that they receive would remain invisible.
pub(super) struct Requests<'d> {
    under_way: FuturesUnordered<LocalBoxFuture<'d, Response>>,
    /// How many messages they ask for.
    requested: usize,
    /// What they received after a batch was full.
    early: ReceivedBatch,
}

/// For how many messages a request asked, and what it received.
type Response = (usize, Result<Vec<Message>, AwsError>);

impl Requests<'_> {
    pub(super) fn none() -> Self {
        Self {
            under_way: FuturesUnordered::new(),
            requested: 0,
            early: ReceivedBatch::new(),
        }
    }

    /// Whether there is none, and nothing that one of them received.
    pub(super) fn is_none(&self) -> bool {
        self.under_way.is_empty() && self.early.len() == 0
    }
}

impl DrainLoop<'_> {
    /// Gathers a batch of at most `size` messages: an empty one if no message came in time. If a request fails, the
    /// batch so far is returned; the error is logged, and occurs again. After a full batch there are probably more
    /// messages, so all requests begin at once, and end with the first that receives nothing. Once this batch is
    /// requested as a whole, the next one is too if it `goes_on`: its requests remain under way when this one is returned.
    pub(super) async fn gather_batch<'d>(
        &'d self,
        requests: &mut Requests<'d>,
        size: usize,
        was_full: bool,
        mut goes_on: impl FnMut() -> bool,
    ) -> Result<ReceivedBatch, AwsError> {
        let (mut is_over, mut is_silent) = (false, false);
        if !was_full {
            let first = self.receive_first(size).await?;
            is_over = first.is_empty();
            self.source.add(&mut requests.early, first);
        }
        let mut batch = mem::replace(&mut requests.early, ReceivedBatch::new());
        let (window, concurrency) = (self.window(), self.pace.requests());
        let until = Instant::now() + window;
        while batch.len() < size {
            is_over |= self.stop.is_asked() || batch.bytes() >= MAX_BATCH_BYTES;
            is_over |= window > Duration::ZERO && Instant::now() >= until;
            // While the queue is empty, one request waits as well as several.
            let concurrency = if is_silent { 1 } else { concurrency };
            while !is_over && requests.under_way.len() < concurrency {
                let asked = batch.len() + requests.requested;
                let most = if asked < size || !goes_on() {
                    size
                } else {
                    2 * size
                };
                let count = MAX_ENTRIES.min(most.saturating_sub(asked));
                if count == 0 {
                    break;
                }
                requests.requested += count;
                let left = until.saturating_duration_since(Instant::now());
                let received = self.receive(count, left);
                let received = received.map(move |result| (count, result));
                requests.under_way.push(received.boxed_local());
            }
            let Some((count, received)) = requests.under_way.next().await else {
                return Ok(batch);
            };
            requests.requested -= count;
            match received {
                Ok(mut messages) => {
                    is_silent = messages.is_empty();
                    is_over |= is_silent && (window.is_zero() || batch.len() == 0);
                    let early = messages.split_off(messages.len().min(size - batch.len()));
                    self.source.add(&mut batch, messages);
                    self.source.add(&mut requests.early, early);
                }
                Err(error) => {
                    tracing::warn!(reason = %error, messages = batch.len(), "messages cannot be received: the batch does not wait for more");
                    is_over = true;
                }
            }
        }
        Ok(batch)
    }

    /// How long it waits for more messages.
    fn window(&self) -> Duration {
        match self.source.queue.is_fifo() {
            // SQS delivers nothing of a FIFO group with a message in flight, so waiting brings nothing.
            true => Duration::ZERO,
            false => self.limits.window,
        }
    }

    /// Waits for the first messages of a batch: none if none came in time, or an end was requested.
    async fn receive_first(&self, count: usize) -> Result<Vec<Message>, AwsError> {
        let until = Instant::now() + self.limits.wait;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let messages = self.receive(count, left).await?;
            if !messages.is_empty() || self.stop.is_asked() || Instant::now() >= until {
                return Ok(messages);
            }
        }
    }

    async fn receive(&self, count: usize, wait: Duration) -> Result<Vec<Message>, AwsError> {
        let (began, wait) = (Instant::now(), wait.min(MAX_RECEIVE_WAIT));
        let messages = self.source.in_flight.receive(count, wait).await?;
        if !messages.is_empty() {
            let at_once = Instant::now().checked_sub(MAX_RECEIVE_TIME);
            self.status
                .worked(at_once.map_or(began, |at_once| began.max(at_once)));
        }
        Ok(messages)
    }
}
