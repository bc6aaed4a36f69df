//! The queue that is drained: its messages are received, kept away from others while they are held,
//! and then deleted, left or given back.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::timeout::TimeoutConfig;
use aws_sdk_sqs::types::{
    DeleteMessageBatchRequestEntry, Message, MessageSystemAttributeName, QueueAttributeName as Name,
};
use futures_util::stream::{self, FuturesUnordered};
use futures_util::{FutureExt as _, StreamExt as _};
use sqs_to_postgres::aws::reason;
use sqs_to_postgres::request::{MAX_ENTRIES, change_visibility};
use tokio::sync::Mutex;
use tokio::time::{Instant, interval, sleep};

use super::batch::{Batch, Receipt};
use crate::cli::error::CliError;
use crate::cli::signals::Stop;

/// A batch gets no larger than what Lambda would hand over, so that memory is bounded whatever the
/// size of messages is.
/// Source: <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html> (2026-11).
const MAX_BATCH_BYTES: usize = 6 * 1024 * 1024;

/// What an answer may take besides the wait that was asked for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(8);

/// How long one request waits for messages. A request under way cannot be given up, so that this is how long an
/// end that is asked for has to wait; SQS allows for 20 seconds.
/// Source: <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html> (2026-11).
const LONGEST_RECEIVE: Duration = Duration::from_secs(4);

/// The share of the visibility timeout after which it is stretched.
const STRETCHES: u32 = 3;

/// Requests under way at once, to delete or to change visibility.
const CONCURRENT_REQUESTS: usize = 8;

/// How often a message is deleted that SQS says it had no luck with itself, and the first wait.
const ATTEMPTS: u32 = 4;
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// How messages are gathered to a batch.
pub(super) struct Limits {
    /// For how long an empty queue is waited for.
    pub(super) wait: Duration,
    /// The most messages of a batch.
    pub(super) size: usize,
    /// How long a batch that has begun waits for more.
    pub(super) window: Duration,
    /// Requests to receive at once.
    pub(super) concurrency: usize,
}

/// How many messages a queue has, as it says approximately.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Depth {
    /// Waiting to be received.
    pub(super) waiting: u64,
    /// Held by somebody, or kept away.
    pub(super) invisible: u64,
}

/// A queue, and what is held of it.
pub(super) struct Source {
    sqs: Client,
    url: String,
    arn: String,
    visibility: Duration,
    /// When the visibility of each message was last set, by its receipt handle. Locked while it is
    /// stretched, so that nothing is stretched after it was given back.
    held: Mutex<HashMap<String, Instant>>,
}

impl Source {
    /// Asks the queue for what it is.
    pub(super) async fn open(sqs: Client, url: String) -> Result<Self, CliError> {
        let attributes = attributes(&sqs, &url, &[Name::QueueArn, Name::VisibilityTimeout]).await?;
        let visibility = attributes.get(&Name::VisibilityTimeout);
        let secs = visibility.and_then(|secs| secs.parse().ok()).unwrap_or(1);
        let arn = attributes.get(&Name::QueueArn).cloned();
        Ok(Self {
            sqs,
            url,
            arn: arn.unwrap_or_default(),
            // What becomes visible at once cannot be held.
            visibility: Duration::from_secs(secs).max(Duration::from_secs(1)),
            held: Mutex::default(),
        })
    }

    pub(super) fn is_fifo(&self) -> bool {
        self.arn.ends_with(".fifo")
    }

    pub(super) async fn depth(&self) -> Result<Depth, CliError> {
        let names = [
            Name::ApproximateNumberOfMessages,
            Name::ApproximateNumberOfMessagesNotVisible,
        ];
        let attributes = attributes(&self.sqs, &self.url, &names).await?;
        let [waiting, invisible] = names.map(|name| {
            let count = attributes.get(&name);
            count.and_then(|count| count.parse().ok()).unwrap_or(0)
        });
        Ok(Depth { waiting, invisible })
    }

    /// Gathers a batch: empty where nothing came while it waited. A request under way is never given
    /// up, since its messages would stay invisible; and what has been gathered is handed on in spite of
    /// an error, which is logged and comes again.
    pub(super) async fn gather(&self, limits: &Limits, stop: &Stop) -> Result<Batch, CliError> {
        let mut batch = Batch::new();
        let first = self.receive_first(limits, stop).await?;
        let mut is_over = first.is_empty();
        self.hold(&mut batch, first).await;
        // While some of a FIFO group is held nothing more of it comes, so that there is nothing to wait for.
        let (window, concurrency) = match self.is_fifo() {
            true => (Duration::ZERO, 1),
            false => (limits.window, limits.concurrency),
        };
        let until = Instant::now() + window;
        let mut receiving = FuturesUnordered::new();
        let mut asked_for = 0;
        // While nothing comes, one request waits for more as well as several do.
        let mut is_silent = false;
        loop {
            let is_late = window > Duration::ZERO && Instant::now() >= until;
            is_over |= is_late || stop.is_asked() || batch.bytes() >= MAX_BATCH_BYTES;
            let concurrency = if is_silent { 1 } else { concurrency };
            while !is_over && receiving.len() < concurrency {
                let room = limits.size.saturating_sub(batch.len() + asked_for);
                let ask = room.min(MAX_ENTRIES);
                if ask == 0 {
                    break;
                }
                asked_for += ask;
                let left = until.saturating_duration_since(Instant::now());
                receiving.push(self.receive(ask, left).map(move |received| (ask, received)));
            }
            let Some((asked, received)) = receiving.next().await else {
                return Ok(batch);
            };
            asked_for -= asked;
            match received {
                Ok(messages) => {
                    is_silent = messages.is_empty();
                    is_over |= is_silent && window.is_zero();
                    self.hold(&mut batch, messages).await;
                }
                Err(error) => {
                    tracing::warn!(reason = %error, messages = batch.len(), "messages cannot be received: the batch does not wait for more");
                    is_over = true;
                }
            }
        }
    }

    /// Waits for the first messages of a batch: none where none came in time, or an end was asked for.
    async fn receive_first(&self, limits: &Limits, stop: &Stop) -> Result<Vec<Message>, CliError> {
        let until = Instant::now() + limits.wait;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let messages = self.receive(limits.size, left).await?;
            if !messages.is_empty() || stop.is_asked() || Instant::now() >= until {
                return Ok(messages);
            }
        }
    }

    /// Receives so many messages at most, for which it waits as long as one request may.
    async fn receive(&self, most: usize, wait: Duration) -> Result<Vec<Message>, CliError> {
        let secs = wait.min(LONGEST_RECEIVE).as_secs_f64().ceil();
        let timeout = ANSWER_TIMEOUT + Duration::from_secs_f64(secs);
        let timeouts = TimeoutConfig::builder().operation_timeout(timeout).build();
        let request = self
            .sqs
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(most.min(MAX_ENTRIES) as i32)
            .wait_time_seconds(secs as i32)
            .visibility_timeout(seconds(self.visibility))
            .message_system_attribute_names(MessageSystemAttributeName::All)
            .message_attribute_names("All")
            .customize()
            .config_override(aws_sdk_sqs::config::Builder::new().timeout_config(timeouts));
        let answer = request.send().await;
        let answer =
            answer.map_err(|error| CliError::aws(&format!("queue {:?}", self.url), &error))?;
        Ok(answer.messages.unwrap_or_default())
    }

    async fn hold(&self, batch: &mut Batch, messages: Vec<Message>) {
        let mut held = self.held.lock().await;
        for message in messages {
            let handle = message.receipt_handle.clone();
            held.insert(handle.unwrap_or_default(), Instant::now());
            batch.push(message, &self.arn);
        }
    }

    /// How many messages are held.
    pub(super) async fn held(&self) -> usize {
        self.held.lock().await.len()
    }

    /// Keeps what is held away from others, for as long as this is waited for.
    pub(super) async fn keep(&self) {
        let every = self.visibility / STRETCHES;
        let mut ticks = interval(every);
        loop {
            ticks.tick().await;
            let mut held = self.held.lock().await;
            let due: Vec<String> = held
                .iter()
                .filter(|(_, set)| set.elapsed() >= every)
                .map(|(handle, _)| handle.clone())
                .collect();
            if due.is_empty() {
                continue;
            }
            self.change(&due, self.visibility).await;
            let now = Instant::now();
            for handle in due {
                held.insert(handle, now);
            }
        }
    }

    /// Leaves messages to come back when their time is over.
    pub(super) async fn let_go(&self, receipts: &[Receipt]) {
        let mut held = self.held.lock().await;
        for receipt in receipts {
            held.remove(&receipt.handle);
        }
    }

    /// Gives messages back at once.
    pub(super) async fn release(&self, receipts: &[Receipt]) {
        self.let_go(receipts).await;
        let handles: Vec<String> = receipts
            .iter()
            .map(|receipt| receipt.handle.clone())
            .collect();
        self.change(&handles, Duration::ZERO).await;
    }

    async fn change(&self, handles: &[String], visibility: Duration) {
        let requests = handles
            .chunks(MAX_ENTRIES)
            .map(|chunk| self.change_ten(chunk, visibility));
        let failed: usize = stream::iter(requests)
            .buffer_unordered(CONCURRENT_REQUESTS)
            .fold(0, async |sum, failed| sum + failed)
            .await;
        if failed > 0 {
            tracing::warn!(
                messages = failed,
                "their visibility could not be changed: they come back after the queue's own timeout"
            );
        }
    }

    /// How many of the messages keep their old visibility.
    async fn change_ten(&self, handles: &[String], visibility: Duration) -> usize {
        let changes = handles.iter().map(|handle| (handle.as_str(), visibility));
        match change_visibility(&self.sqs, &self.url, changes).await {
            Ok(failed) => failed,
            Err(error) => {
                tracing::warn!(reason = reason(&error), "visibility cannot be changed");
                handles.len()
            }
        }
    }

    /// Deletes messages, and gives how many of them are still there.
    pub(super) async fn delete(&self, receipts: &[Receipt]) -> usize {
        self.let_go(receipts).await;
        let requests = receipts
            .chunks(MAX_ENTRIES)
            .map(|chunk| self.delete_ten(chunk));
        let failed = stream::iter(requests)
            .buffer_unordered(CONCURRENT_REQUESTS)
            .fold(0, async |sum, failed| sum + failed)
            .await;
        if failed > 0 {
            tracing::warn!(
                messages = failed,
                "they are stored, but could not be deleted: they come back, and are stored once"
            );
        }
        failed
    }

    async fn delete_ten(&self, receipts: &[Receipt]) -> usize {
        let entry = |(receipt, number): (&Receipt, usize)| {
            DeleteMessageBatchRequestEntry::builder()
                .id(number.to_string())
                .receipt_handle(&receipt.handle)
                .build()
                .ok()
        };
        let mut left: Vec<_> = receipts.iter().zip(0..).filter_map(entry).collect();
        let mut wait = FIRST_WAIT;
        for _ in 0..ATTEMPTS {
            let request = self.sqs.delete_message_batch().queue_url(&self.url);
            let answer = match request.set_entries(Some(left.clone())).send().await {
                Ok(answer) => answer,
                Err(error) => {
                    tracing::warn!(reason = reason(&error), "messages cannot be deleted");
                    return left.len();
                }
            };
            let failed = answer.failed;
            left.retain(|entry| failed.iter().any(|failed| failed.id == entry.id));
            if failed.iter().all(|failed| failed.sender_fault) {
                break;
            }
            sleep(wait).await;
            wait *= 2;
        }
        left.len()
    }
}

async fn attributes(
    sqs: &Client,
    url: &str,
    names: &[Name],
) -> Result<HashMap<Name, String>, CliError> {
    let request = sqs.get_queue_attributes().queue_url(url);
    let answer = request
        .set_attribute_names(Some(names.to_vec()))
        .send()
        .await;
    let answer = answer.map_err(|error| CliError::aws(&format!("queue {url:?}"), &error))?;
    Ok(answer.attributes.unwrap_or_default())
}

fn seconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_secs()).unwrap_or(i32::MAX)
}
