//! The work of a drain: gathers batches, stores them, and settles their messages, until there is nothing left to do.

use std::cell::RefCell;
use std::collections::HashSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use aws_lambda_events::event::sqs::SqsBatchResponse;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use sqs_to_postgres::aws::AwsError;
use sqs_to_postgres::database::Database;
use sqs_to_postgres::deadline::TimeBudget;
use sqs_to_postgres::handler::{HandleError, Handler};
use sqs_to_postgres::load::LoadError;
use sqs_to_postgres::sqs::Receipt;
use tokio::sync::mpsc::error::SendError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep};

use super::batch::ReceivedBatch;
use super::gather::Requests;
use super::pace::Pace;
use super::serve;
use super::source::Source;
use super::status::{Invisibility, Status};
use super::traces::Traces;
use crate::cli::Outcome;
use crate::cli::database::connect;
use crate::cli::error::CliError;
use crate::cli::output::last_line;
use crate::cli::progress::{Progress, REPORT_INTERVAL};
use crate::cli::signals::Stop;

/// Batches at a time: one is gathered while another is stored and the messages of the others are deleted, which takes
/// the longest. A FIFO queue delivers nothing of a group with a message in flight, so there is only one.
const BATCHES: usize = 8;

/// Of these, how many wait to be stored. With the one that is gathered, the next one, which is requested already, and the
/// one that is stored, only so many are in memory as a whole.
const READY: usize = 1;

/// Time to retry a batch while the database is unavailable, time for a statement (longer than in the function, so
/// that it can wait for a lock), and time for the rest.
const RETRY_TIME: Duration = Duration::from_secs(30);
const STATEMENT_TIME: Duration = Duration::from_secs(300);
const SETTLE_TIME: Duration = Duration::from_secs(10);

/// How long a batch may take after an end was requested: Docker kills after 10 seconds.
const GRACE: Duration = Duration::from_secs(5);

/// How long `--follow` waits if the database or the queue is unavailable.
const PAUSE: Duration = Duration::from_secs(5);

/// The queue counts as empty only after this many receive requests in a row without a new message: on a slow machine
/// or network one request may take as long as the whole wait.
const MIN_RECEIVES: u32 = 3;

/// How often the depth of the queue is read.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A batch, and its permit: one of [`BATCHES`].
type PermittedBatch = (ReceivedBatch, OwnedSemaphorePermit);

/// When the work on a batch began, its messages, the answer of the handler, and the batch's permit.
type Handled = (
    Instant,
    Vec<Receipt>,
    SqsBatchResponse,
    OwnedSemaphorePermit,
);

/// How messages are gathered into a batch.
pub(super) struct Limits {
    /// How long to wait for the first message.
    pub(super) wait: Duration,
    /// How long to wait for more messages after the first.
    pub(super) window: Duration,
}

pub(super) struct DrainLoop<'s> {
    pub(super) limits: Limits,
    pub(super) pace: Pace,
    pub(super) is_following: bool,
    /// Whether to wait for messages that others made invisible.
    pub(super) waits_for_invisible: bool,
    /// How long a message that nobody works on remains invisible at most.
    pub(super) max_invisible: Duration,
    pub(super) status: Status,
    /// Digests of the messages whose last attempt failed. Not with `--follow`, where they would use more and more
    /// memory.
    pub(super) failed: RefCell<HashSet<u64>>,
    pub(super) source: &'s Source,
    pub(super) stop: Stop,
}

impl DrainLoop<'_> {
    /// Drains until there is nothing left to do, and returns the error that ended it before that.
    pub(super) async fn run(
        &self,
        handler: Handler,
        mut database: Database,
        traces: &Traces,
        mut progress: Progress,
        metrics_addr: Option<SocketAddr>,
    ) -> Result<Option<CliError>, CliError> {
        let listener = match metrics_addr {
            Some(address) => Some(serve::listen(address).await?),
            None => None,
        };
        let (sender, receiver) = mpsc::channel(READY);
        let draining = async {
            if let Some(error) = self.wait_for(&mut database).await {
                return Some(error);
            }
            let (to_settle, handled) = mpsc::channel(BATCHES);
            let storing = self.store(handler, database, traces, receiver, to_settle);
            let (gathered, stored, ()) =
                tokio::join!(self.gather(sender), storing, self.settle(handled));
            stored.or(gathered)
        };
        // The others never end.
        let ended = tokio::select! {
            ended = draining => ended,
            never = self.watch(&mut progress, metrics_addr.is_some()) => match never {},
            never = self.source.in_flight.extend() => match never {},
            () = serve::serve(listener, &self.status) => None,
        };
        self.status.show(&mut progress, self.is_following);
        progress.end();
        Ok(ended)
    }

    /// Waits until the database is available, so that an outage uses up no deliveries.
    async fn wait_for(&self, database: &mut Database) -> Option<CliError> {
        while !self.stop.is_asked() {
            self.status.counts().is_database_down = true;
            let connected = self.stop.or_done(connect(database)).await?;
            let Err(error) = connected.map(|_| ()) else {
                self.status.counts().is_database_down = false;
                break;
            };
            let error = CliError::from(error);
            if !self.is_following || error.outcome() != Outcome::Unavailable {
                return Some(error);
            }
            tracing::warn!(reason = %error, "waiting for the database");
            self.stop.or_done(sleep(PAUSE)).await;
        }
        database.disconnect();
        None
    }

    /// Gathers batches until the queue is empty or an end is requested.
    async fn gather(&self, batches: mpsc::Sender<PermittedBatch>) -> Option<CliError> {
        let permits = if self.source.queue.is_fifo() {
            1
        } else {
            BATCHES
        };
        let permits = Arc::new(Semaphore::new(permits));
        // A message that fails, and becomes visible at once, would keep the queue from ever being empty.
        let (mut only_failures, mut only_failures_for) = (0, Duration::ZERO);
        let mut was_full = false;
        let (mut requests, mut next) = (Requests::none(), None);
        loop {
            let ready = Instant::now();
            if self.stop.is_asked() && requests.is_none() {
                return None;
            }
            let permit = match next.take() {
                Some(permit) => permit,
                None => tokio::select! {
                    biased;
                    () = self.stop.asked() => return None,
                    permit = Arc::clone(&permits).acquire_owned() => permit.ok()?,
                },
            };
            let (size, began) = (self.pace.messages(), Instant::now());
            // Messages must not wait between the batches: those of the next one are requested only if this one need not
            // wait to be stored, and the next one has a permit.
            let goes_on = || {
                if was_full && only_failures == 0 && next.is_none() && batches.capacity() > 0 {
                    next = Arc::clone(&permits).try_acquire_owned().ok();
                }
                next.is_some()
            };
            let gathered = self.gather_batch(&mut requests, size, was_full, goes_on);
            match gathered.await {
                Ok(batch) => {
                    self.status.counts().is_queue_down = false;
                    (only_failures, only_failures_for) = match self.has_new(&batch) {
                        true => (0, Duration::ZERO),
                        false => (only_failures + 1, only_failures_for + began.elapsed()),
                    };
                    let is_empty = batch.len() == 0 && !was_full;
                    let has_only_failures =
                        only_failures >= MIN_RECEIVES && only_failures_for >= self.limits.wait;
                    let is_over = (is_empty || has_only_failures) && requests.is_none();
                    was_full = batch.len() >= size;
                    let received = began.elapsed();
                    self.status.counts().received += batch.len();
                    if batch.len() > 0 {
                        batches.send((batch, permit)).await.ok()?;
                        // If it need not wait to be stored, there is a place for the next one.
                        yield_now().await;
                    }
                    let waited = ready.elapsed().saturating_sub(received);
                    self.pace.follow(was_full, waited, received);
                    if is_over && !self.is_following {
                        match self.awaits_invisible().await {
                            Ok(true) => {}
                            Ok(false) => return None,
                            Err(error) => return Some(error.into()),
                        }
                    }
                }
                Err(error) if !self.is_following => return Some(error.into()),
                Err(error) => {
                    tracing::warn!(reason = %error, "messages cannot be received: retrying");
                    self.status.counts().is_queue_down = true;
                    self.stop.or_done(sleep(PAUSE)).await;
                }
            }
        }
    }

    /// Whether to wait for messages that are invisible, and not only because they failed here.
    async fn awaits_invisible(&self) -> Result<bool, AwsError> {
        if !self.waits_for_invisible {
            return Ok(false);
        }
        let depth = self.source.depth().await?;
        Ok(depth.waiting > 0 || depth.invisible > self.failed.borrow().len() as u64)
    }

    /// Reads the depth of the queue at the end. It is approximate: what has just been deleted may be counted.
    async fn look_at_the_end(&self) {
        let until = Instant::now() + self.limits.wait;
        loop {
            let depth = self.source.depth().await;
            let is_settled = match &depth {
                Ok(depth) => depth.invisible == 0 || self.status.has_failures(),
                Err(error) => !matches!(error, AwsError::Unavailable { .. }),
            };
            self.status.counts().depth = depth.into();
            if is_settled || self.stop.is_asked() || Instant::now() >= until {
                return;
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Whether a batch has a message whose last attempt did not fail.
    fn has_new(&self, batch: &ReceivedBatch) -> bool {
        let failed = self.failed.borrow();
        let mut receipts = batch.receipts.iter();
        receipts.any(|receipt| !failed.contains(&digest(&receipt.message_id)))
    }

    /// Stores batches until there are no more, or an error ends it, which it returns.
    async fn store(
        &self,
        mut handler: Handler,
        mut database: Database,
        traces: &Traces,
        mut batches: mpsc::Receiver<PermittedBatch>,
        to_settle: mpsc::Sender<Handled>,
    ) -> Option<CliError> {
        let mut ended = None;
        while let Some((mut batch, permit)) = batches.recv().await {
            let began = Instant::now();
            if let Some(first) = batch.first.take() {
                self.status.unread().see(first);
            }
            let senders = std::mem::take(&mut batch.senders);
            let (event, receipts) = batch.into_event();
            if self.stop.is_asked() {
                self.release(&receipts).await;
                continue;
            }
            let span = traces.batch(receipts.len(), &senders);
            let handled = tokio::select! {
                handled = handler.handle(&event, time(), span.context()) => handled,
                () = self.grace() => {
                    span.released();
                    self.release(&receipts).await;
                    continue;
                }
            };
            match handled {
                Ok(answer) => {
                    span.handled(answer.batch_item_failures.len());
                    self.status.counts().is_database_down = false;
                    let handled = (began, receipts, answer, permit);
                    if let Err(SendError((_, receipts, ..))) = to_settle.send(handled).await {
                        self.source.in_flight.leave(&receipts);
                    }
                }
                Err(error) => {
                    span.failed(&error);
                    // The handler has backed them off.
                    self.source.in_flight.leave(&receipts);
                    self.status.counts().left += receipts.len();
                    self.status.counts().is_database_down = true;
                    let error = CliError::from(error);
                    let error = match self.is_following && error.outcome() == Outcome::Unavailable {
                        true => self.wait_for(&mut database).await,
                        false => Some(error),
                    };
                    if error.is_some() {
                        ended = ended.or(error);
                        self.stop.ask();
                    }
                }
            }
        }
        ended
    }

    /// Settles batches until there are no more, several at a time.
    async fn settle(&self, mut handled: mpsc::Receiver<Handled>) {
        let mut settling = FuturesUnordered::new();
        loop {
            tokio::select! {
                Some(batch) = handled.recv() => settling.push(self.settle_batch(batch)),
                Some(()) = settling.next() => {}
                else => return,
            }
        }
    }

    /// Deletes the stored messages, and keeps the failed ones.
    async fn settle_batch(&self, (began, receipts, answer, _permit): Handled) {
        let named = answer.batch_item_failures.into_iter();
        let named: HashSet<String> = named.map(|failure| failure.item_identifier).collect();
        let is_named = |receipt: &Receipt| named.contains(&receipt.message_id);
        let (left, done): (Vec<_>, Vec<_>) = receipts.into_iter().partition(is_named);
        let undeleted = self.source.delete(&done).await;
        self.source.in_flight.leave(&left);
        self.status.worked(began);
        if self.is_following {
            let failed = self.status.counts().failed + left.len();
            return self.status.settled(done.len(), undeleted, failed);
        }
        let mut failed = self.failed.borrow_mut();
        if !failed.is_empty() {
            for receipt in &done {
                failed.remove(&digest(&receipt.message_id));
            }
        }
        failed.extend(left.iter().map(|receipt| digest(&receipt.message_id)));
        self.status.settled(done.len(), undeleted, failed.len());
    }

    async fn release(&self, receipts: &[Receipt]) {
        let unreleased = self.source.in_flight.release(receipts).await;
        let mut counts = self.status.counts();
        counts.released += receipts.len() - unreleased;
        counts.unreleased += unreleased;
    }

    /// Waits until an end is requested, and then as long as a batch may take.
    async fn grace(&self) {
        self.stop.asked().await;
        sleep(GRACE).await;
    }

    /// Updates the progress bar and the metrics, if there are any. Without a bar, a drain that ends says in its log how
    /// far it is.
    async fn watch(&self, progress: &mut Progress, has_metrics: bool) -> Infallible {
        let is_often = progress.is_shown() || has_metrics;
        let logs = !progress.is_shown() && !self.is_following;
        let mut next_line = Instant::now() + REPORT_INTERVAL;
        loop {
            let is_due = logs && Instant::now() >= next_line;
            if is_often || is_due {
                let depth = self.source.depth().await;
                self.status.counts().depth = depth.into();
                self.status.counts().in_flight = self.source.in_flight.len();
                self.status.show(progress, self.is_following);
            }
            if is_due {
                tracing::info!(progress = progress.text(), "draining");
                next_line += REPORT_INTERVAL;
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Prints the summary.
    pub(super) async fn end(
        self,
        is_json: bool,
        error: Option<CliError>,
    ) -> Result<Outcome, CliError> {
        self.look_at_the_end().await;
        let is_interrupted = self.stop.is_asked() && error.is_none();
        let times = Invisibility {
            failed: self.source.in_flight.visibility_timeout(),
            others: self.max_invisible,
        };
        let unread = self.status.unread_line().filter(|_| !is_json);
        let summary = self
            .status
            .summary(is_json, is_interrupted, times, &self.pace);
        if let Some(unread) = unread {
            eprintln!("{unread}");
        }
        last_line(&summary)?;
        match error {
            Some(error) => Err(error),
            // Only an interrupt ends it.
            None if self.is_following => Ok(Outcome::Done),
            None => Ok(self.status.outcome(is_interrupted)),
        }
    }
}

fn time() -> TimeBudget {
    let now = Instant::now();
    TimeBudget {
        retry_until: now + RETRY_TIME,
        stop_at: now + STATEMENT_TIME,
        answer_by: now + STATEMENT_TIME + SETTLE_TIME,
    }
}

/// A message id, in eight bytes.
fn digest(message_id: &str) -> u64 {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    message_id.hash(&mut hasher);
    hasher.finish()
}

impl From<HandleError> for CliError {
    fn from(error: HandleError) -> Self {
        match error {
            HandleError::Payload(error) => Self::invalid(error),
            HandleError::Prepare(error) => error.into(),
            HandleError::Load(LoadError::Database(error)) => error.into(),
            HandleError::Load(LoadError::Table(error)) => error.into(),
        }
    }
}
