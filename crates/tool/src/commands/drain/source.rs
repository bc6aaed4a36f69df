//! The queue that is drained: its messages are received in batches, and then deleted, kept or released.

use crate::sqs::in_flight::InFlight;
use aws_sdk_sqs::types::Message;
use sqs_to_postgres::aws::AwsError;
use sqs_to_postgres::sqs::Receipt;
use sqs_to_postgres::sqs::{Depth, Queue, name_of};

use super::batch::ReceivedBatch;

/// A queue and its messages in flight.
pub(super) struct Source {
    pub(super) queue: Queue,
    arn: String,
    pub(super) in_flight: InFlight,
}

impl Source {
    /// Reads the queue's attributes.
    pub(super) async fn open(queue: Queue) -> Result<Self, AwsError> {
        let attributes = queue.attributes().await?;
        Ok(Self {
            in_flight: InFlight::new(queue.clone(), attributes.visibility_timeout),
            arn: attributes.arn,
            queue,
        })
    }

    pub(super) fn name(&self) -> &str {
        name_of(&self.arn)
    }

    pub(super) async fn depth(&self) -> Result<Depth, AwsError> {
        Ok(self.queue.attributes().await?.depth)
    }

    /// Adds received messages to a batch.
    pub(super) fn add(&self, batch: &mut ReceivedBatch, messages: Vec<Message>) {
        for message in messages {
            let receipt = Receipt::of(&message);
            self.in_flight.add(&receipt);
            batch.push(message, receipt, &self.arn);
        }
    }

    /// Deletes messages that are stored, and returns how many of them are still in the queue.
    pub(super) async fn delete(&self, receipts: &[Receipt]) -> usize {
        self.in_flight.leave(receipts);
        let receipts: Vec<&Receipt> = receipts.iter().collect();
        let (failed, result) = self.in_flight.delete(&receipts).await;
        if !failed.is_empty() {
            tracing::warn!(
                messages = failed.len(),
                reason = result.as_ref().err().map(AwsError::reason),
                "stored messages cannot be deleted: they will be redelivered and recognised as duplicates"
            );
        }
        failed.len()
    }
}
