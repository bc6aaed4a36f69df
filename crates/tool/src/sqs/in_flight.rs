//! Messages in flight: received, and neither deleted nor released.

use std::cell::RefCell;
use std::collections::HashMap;
use std::convert::Infallible;
use std::time::Duration;

use aws_sdk_sqs::types::Message;
use tokio::sync::Mutex;
use tokio::time::{Instant, interval};

use sqs_to_postgres::aws::AwsError;
use sqs_to_postgres::sqs::{BatchResult, Queue, Receipt};

/// A visibility timeout is extended after this fraction of it.
const EXTEND_AFTER: u32 = 3;

/// How often to look for messages whose visibility timeout must be extended.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A shorter visibility timeout cannot be extended in time.
const MIN_VISIBILITY: Duration = Duration::from_secs(1);

/// The messages of a queue that are in flight.
pub(crate) struct InFlight {
    queue: Queue,
    visibility_timeout: Duration,
    /// By message id, because the visibility timeout is the message's, whichever delivery extends it.
    deliveries: RefCell<HashMap<String, Delivery>>,
    /// Locked while timeouts are extended, so that none is extended after its message was released.
    extending: Mutex<()>,
}

struct Delivery {
    /// The newest one, which SQS wants.
    handle: String,
    extended_at: Instant,
}

impl InFlight {
    /// Messages of this queue, each received with this visibility timeout, but at least a second.
    pub(crate) fn new(queue: Queue, visibility_timeout: Duration) -> Self {
        Self {
            queue,
            visibility_timeout: visibility_timeout.max(MIN_VISIBILITY),
            deliveries: RefCell::default(),
            extending: Mutex::default(),
        }
    }

    /// How long a message remains invisible after it was received and abandoned.
    pub(crate) fn visibility_timeout(&self) -> Duration {
        self.visibility_timeout
    }

    /// Receives messages. They are in flight once they are [added](Self::add).
    ///
    /// # Errors
    /// Those of [`Queue::receive`].
    pub(crate) async fn receive(
        &self,
        count: usize,
        wait: Duration,
    ) -> Result<Vec<Message>, AwsError> {
        let timeout = self.visibility_timeout;
        self.queue.receive(count, wait, timeout).await
    }

    /// Adds a received message, and says whether it was not in flight before.
    pub(crate) fn add(&self, receipt: &Receipt) -> bool {
        let delivery = Delivery {
            handle: receipt.handle.clone(),
            extended_at: Instant::now(),
        };
        let id = receipt.message_id.clone();
        self.deliveries.borrow_mut().insert(id, delivery).is_none()
    }

    /// The number of messages in flight.
    pub(crate) fn len(&self) -> usize {
        self.deliveries.borrow().len()
    }

    /// Extends the visibility timeout of the messages in flight, while this is polled. If that fails, they become
    /// visible to others.
    pub(crate) async fn extend(&self) -> Infallible {
        let after = self.visibility_timeout / EXTEND_AFTER;
        let mut ticks = interval(after.min(LOOK_EVERY));
        loop {
            ticks.tick().await;
            let _extending = self.extending.lock().await;
            #[expect(
                clippy::let_underscore_must_use,
                reason = "a failure is logged, and the next round retries if that is possible at all"
            )]
            let _ = self.change(self.due(after), self.visibility_timeout).await;
        }
    }

    /// The handles of the messages that were not extended for this long.
    fn due(&self, after: Duration) -> Vec<String> {
        let (now, mut due) = (Instant::now(), Vec::new());
        for delivery in self.deliveries.borrow_mut().values_mut() {
            if now.duration_since(delivery.extended_at) >= after {
                delivery.extended_at = now;
                due.push(delivery.handle.clone());
            }
        }
        due
    }

    /// Ends the extension for these deliveries: their messages become visible when the visibility timeout expires.
    pub(crate) fn leave(&self, receipts: &[Receipt]) {
        let mut deliveries = self.deliveries.borrow_mut();
        for Receipt { message_id, handle } in receipts {
            let in_flight = deliveries.get(message_id);
            if in_flight.is_some_and(|delivery| delivery.handle == *handle) {
                deliveries.remove(message_id);
            }
        }
    }

    /// Makes messages visible at once, and returns for how many of them SQS refuses that, or cannot be reached: they
    /// become visible when their visibility timeout expires.
    pub(crate) async fn release(&self, receipts: &[Receipt]) -> usize {
        self.leave(receipts);
        let handles = receipts.iter().map(|receipt| receipt.handle.clone());
        let (failed, _logged) = self.make_visible(handles.collect()).await;
        failed
    }

    /// Makes all messages in flight visible at once.
    ///
    /// # Errors
    /// SQS refuses, or cannot be reached: they become visible when their visibility timeout expires.
    pub(crate) async fn release_all(&self) -> Result<(), AwsError> {
        let deliveries = self.deliveries.take();
        let handles = deliveries.into_values().map(|delivery| delivery.handle);
        let (_, result) = self.make_visible(handles.collect()).await;
        result
    }

    async fn make_visible(&self, handles: Vec<String>) -> (usize, Result<(), AwsError>) {
        let _extending = self.extending.lock().await;
        self.change(handles, Duration::ZERO).await
    }

    /// Logs how many it failed for, and returns that with the error.
    async fn change(
        &self,
        handles: Vec<String>,
        timeout: Duration,
    ) -> (usize, Result<(), AwsError>) {
        let changes = handles.iter().map(|handle| (handle.as_str(), timeout));
        let changes: Vec<_> = changes.collect();
        let (failed, result) = self.queue.change_visibility(&changes).await;
        if !failed.is_empty() {
            tracing::warn!(
                messages = failed.len(),
                reason = result.as_ref().err().map(AwsError::reason),
                "visibility timeout cannot be changed: messages become visible when it expires"
            );
        }
        (failed.len(), result)
    }

    /// Deletes messages, and says which of them still exist: these remain in flight.
    pub(crate) async fn delete(&self, receipts: &[&Receipt]) -> BatchResult {
        let handles: Vec<String> = receipts
            .iter()
            .map(|receipt| self.newest(receipt))
            .collect();
        let handles: Vec<&str> = handles.iter().map(String::as_str).collect();
        let (failed, result) = self.queue.delete(&handles).await;
        let mut deliveries = self.deliveries.borrow_mut();
        for (position, receipt) in receipts.iter().enumerate() {
            if !failed.contains(&position) {
                deliveries.remove(&receipt.message_id);
            }
        }
        (failed, result)
    }

    fn newest(&self, receipt: &Receipt) -> String {
        let deliveries = self.deliveries.borrow();
        let newest = deliveries.get(&receipt.message_id);
        newest
            .map_or(&receipt.handle, |newest| &newest.handle)
            .clone()
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_sqs::Client;
    use aws_sdk_sqs::config::{BehaviorVersion, Config};

    use super::*;

    #[test]
    fn a_message_that_was_delivered_again_stays_in_flight_until_its_newest_delivery_is_left() {
        let config = Config::builder().behavior_version(BehaviorVersion::latest());
        let queue = Queue::new(&Client::from_conf(config.build()), "u");
        let in_flight = InFlight::new(queue, Duration::ZERO);
        let [first, second] = ["h-1", "h-2"].map(|handle| Receipt {
            message_id: "m".to_owned(),
            handle: handle.to_owned(),
        });
        assert!(in_flight.add(&first) && !in_flight.add(&second));
        assert_eq!(in_flight.newest(&first), "h-2");
        in_flight.leave(&[first]);
        assert_eq!(in_flight.len(), 1);
        in_flight.leave(&[second]);
        assert_eq!(in_flight.len(), 0);
    }
}
