//! Backing messages off in an outage.

use std::time::Duration;

use mapping::Record;
use tokio::time::{Instant, timeout_at};

use super::{Sqs, delivery};

/// The longest time for which an outage backs a message off.
pub const MAX_BACK_OFF: Duration = Duration::from_secs(900);

impl Sqs {
    /// Extends the visibility timeout of messages, exponentially with the number of their deliveries, so that an
    /// outage does not use up their deliveries. If that fails, because a permission or network access is missing,
    /// they become visible after the queue's own visibility timeout.
    pub async fn back_off(&self, records: Vec<&Record<'_>>, until: Instant) {
        if timeout_at(until, self.try_back_off(&records))
            .await
            .is_err()
        {
            tracing::warn!(
                "visibility timeout not extended in time: messages become visible after the queue's own"
            );
        }
    }

    async fn try_back_off(&self, records: &[&Record<'_>]) {
        let Some(first) = records.first() else { return };
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
        let changes = records.iter().map(|record| {
            let delay = delay(self.settings.outage_backoff, delivery(record));
            (&*record.receipt_handle, delay)
        });
        let changes: Vec<_> = changes.collect();
        let (failed, result) = queue.change_visibility(&changes).await;
        if let Err(error) = result {
            tracing::warn!(
                reason = error.reason(),
                "visibility timeout cannot be extended: allow sqs:ChangeMessageVisibility and network access to SQS"
            );
        }
        tracing::info!(
            messages = records.len(),
            failed = failed.len(),
            "visibility timeout extended"
        );
    }
}

/// base × 2^(delivery − 1), up to the cap.
fn delay(base: Duration, delivery: u32) -> Duration {
    base.saturating_mul(2_u32.saturating_pow(delivery.saturating_sub(1)))
        .min(MAX_BACK_OFF)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_doubles_with_every_delivery_up_to_the_cap() {
        let delays = [1, 2, 3, 4, 5, 400];
        let delays = delays.map(|delivery| delay(Duration::from_secs(60), delivery).as_secs());
        assert_eq!(delays, [60, 120, 240, 480, 900, 900]);
    }
}
