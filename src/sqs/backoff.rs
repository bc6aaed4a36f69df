//! Backing messages off in an outage.

use std::time::Duration;

use mapping::{Record, Rejection};
use tokio::time::{Instant, timeout_at};

use super::policy::Disposition;
use super::{Sqs, delivery};

impl Sqs {
    /// Backs off the messages that were rejected only because of an outage.
    pub async fn back_off(
        &self,
        rejected: &[(&Record<'_>, Rejection)],
        dispositions: &[Disposition],
        until: Instant,
    ) {
        let decided = rejected.iter().zip(dispositions);
        let delayed = decided
            .filter_map(|((record, _), disposition)| Some((*record, disposition.back_off()?)));
        self.delay(delayed.collect(), until).await;
    }

    /// Backs off all messages of a batch that failed as a whole.
    pub async fn back_off_all(&self, records: &[Record<'_>], until: Instant) {
        let delayed = records
            .iter()
            .map(|record| (record, self.policy.outage_back_off(delivery(record))));
        self.delay(delayed.collect(), until).await;
    }

    /// Sets the visibility timeouts of messages. If that fails, because a permission or network access is missing,
    /// they become visible after the queue's own visibility timeout.
    async fn delay(&self, delayed: Vec<(&Record<'_>, Duration)>, until: Instant) {
        if timeout_at(until, self.try_delay(&delayed)).await.is_err() {
            tracing::warn!(
                "visibility timeout not extended in time: messages become visible after the queue's visibility timeout"
            );
        }
    }

    async fn try_delay(&self, delayed: &[(&Record<'_>, Duration)]) {
        let Some((first, _)) = delayed.first() else {
            return;
        };
        let queue = match self.source(&first.event_source_arn).await {
            Ok(queue) => queue,
            Err(error) => {
                tracing::warn!(
                    reason = error.reason(),
                    "visibility timeout cannot be extended: allow sqs:GetQueueUrl and network access to SQS"
                );
                return;
            }
        };
        let changes = delayed.iter();
        let changes = changes.map(|(record, delay)| (&*record.receipt_handle, *delay));
        let changes: Vec<_> = changes.collect();
        let (failed, result) = queue.change_visibility(&changes).await;
        if let Err(error) = result {
            tracing::warn!(
                reason = error.reason(),
                "visibility timeout cannot be extended: allow sqs:ChangeMessageVisibility and network access to SQS"
            );
        }
        tracing::info!(
            messages = delayed.len(),
            failed = failed.len(),
            "visibility timeout extended"
        );
    }
}
