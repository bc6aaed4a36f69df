//! SQS: all calls to it are made here.
//!
//! The function receives its messages from Lambda. It calls SQS itself to back messages off in an outage and to send
//! dead letters. The command-line tool also receives, sends and deletes messages.

mod backoff;
pub mod batch;
pub mod dead_letter;
pub mod policy;
mod queue;

use std::collections::HashMap;
use std::sync::Arc;

use aws_sdk_sqs::Client;
use mapping::{Record, Rejection};
use tokio::sync::{Mutex, OnceCell};

use crate::aws::{Aws, AwsError};
use crate::config::QueueSettings;
use policy::{Disposition, FailurePolicy};
pub use queue::{Attributes, BatchResult, Depth, Queue, Receipt, RedrivePolicy, is_fifo, name_of};

/// The function's access to SQS. The client is built when it is first needed, which without failures is never.
pub struct Sqs {
    policy: FailurePolicy,
    dead_letter_queue_url: Option<String>,
    aws: Arc<Aws>,
    client: OnceCell<Client>,
    /// The queues that batches came from, by ARN: a function can have several.
    sources: Mutex<HashMap<String, Queue>>,
}

impl Sqs {
    /// Does not connect yet.
    pub fn new(settings: QueueSettings, aws: Arc<Aws>) -> Self {
        Self {
            policy: FailurePolicy::new(&settings),
            dead_letter_queue_url: settings.dead_letter_queue_url,
            aws,
            client: OnceCell::new(),
            sources: Mutex::default(),
        }
    }

    /// What becomes of the messages of a batch that were not stored, in their order. `stored` is the number of messages
    /// whose rows are stored.
    pub fn dispositions(
        &mut self,
        rejected: &[(&Record<'_>, Rejection)],
        stored: usize,
    ) -> Vec<Disposition> {
        let failed = rejected.iter();
        let failed = failed.map(|(record, rejection)| (&rejection.rule, delivery(record)));
        self.policy
            .dispositions(&failed.collect::<Vec<_>>(), stored)
    }

    async fn client(&self) -> &Client {
        let client = async || Client::new(&self.aws.config_of_function().await);
        self.client.get_or_init(client).await
    }

    async fn source(&self, arn: &str) -> Result<Queue, AwsError> {
        let mut sources = self.sources.lock().await;
        if let Some(queue) = sources.get(arn) {
            return Ok(queue.clone());
        }
        let queue = Queue::of_arn(self.client().await, arn).await?;
        sources.insert(arn.to_owned(), queue.clone());
        Ok(queue)
    }
}

/// Which delivery of its message a record is.
fn delivery(record: &Record<'_>) -> u32 {
    let count = record.receive_count().and_then(|count| count.parse().ok());
    count.unwrap_or(1)
}
