//! `sample`: messages of a queue into a file, without taking them.

use aws_sdk_sqs::Client;
use clap::Args;

use crate::cli::Outcome;
use crate::cli::error::CliError;
use crate::cli::output;
use crate::cli::sampling::{SampleCount, Sampler};
use crate::cli::settings::QueueFlags;

const EXAMPLES: &str = "\
Examples:
  sqs-to-postgres sample --queue-name orders > orders.jsonl
  sqs-to-postgres sample --queue-name orders-dlq -n 20 > failed.jsonl
  jq -r .body orders.jsonl";

/// Print messages of a queue, which remain in it
///
/// Each is a line: its body, its attributes and what SQS says of it, as Lambda passes it to
/// a function. infer, explain, check --samples, test and send read such lines. Messages are
/// invisible to other consumers while the command runs, and visible again at the end, also
/// after an error or Ctrl-C. SQS counts a receive for each: after maxReceiveCount receives it
/// moves a message to the dead-letter queue. The output holds the values of the messages, so
/// treat it as you treat the queue.
///
/// It cannot read messages that are in flight or delayed, and on a FIFO queue not more than
/// ten of a group. It says how many these are.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment, after_help = EXAMPLES)]
pub(crate) struct Sample {
    #[command(flatten)]
    count: SampleCount,
    #[command(flatten)]
    queue: QueueFlags,
}

impl Sample {
    pub(crate) async fn run(self) -> Result<Outcome, CliError> {
        let sqs = Client::new(self.queue.aws().config().await);
        let queue = self.queue.required_queue(&sqs).await?;
        let sampler = Sampler::of(queue, &self.count).await?;
        let is_interrupted = sampler.read(|record| output::json(&record)).await?;
        Ok(Outcome::done_if(!is_interrupted))
    }
}
