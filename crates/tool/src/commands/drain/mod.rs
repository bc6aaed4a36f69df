//! `drain`: the function's own code from the queue into the table, without Lambda.
//!
//! Messages are gathered into a batch while the previous one is stored. Each batch goes to the handler as the event
//! that Lambda would make of it. Stored messages are deleted, failed ones remain. When an end is requested, the batches
//! under way are finished soon, or their messages are released.

mod batch;
mod gather;
mod metrics;
mod pace;
mod run;
mod serve;
mod source;
mod status;
mod traces;
mod unread;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_sqs::Client;
use clap::Args;
use mapping::{Column, Metadata, Pipeline, TableMapping};
use sqs_to_postgres::database::Database;
use sqs_to_postgres::handler::Handler;
use sqs_to_postgres::sqs::policy::FailurePolicy;
use sqs_to_postgres::start;
use tokio::time::Instant;

use crate::cli::Outcome;
use crate::cli::error::CliError;
use crate::cli::progress::Progress;
use crate::cli::settings::{
    DatabaseFlags, MappingFlags, MaskFlags, QueueFlags, queue_url, queue_url_or, settings,
};
use crate::cli::signals::Stop;
use pace::{Choice, Pace};
use run::{DrainLoop, Limits};
use source::Source;
use status::{Status, Words};
use traces::Traces;
use unread::Unread;

const EXAMPLES: &str = "\
Examples:
  sqs-to-postgres drain --queue-url \"$QUEUE_URL\"
  sqs-to-postgres drain --queue-name logins --endpoint-url http://localhost:4566
  sqs-to-postgres drain --queue-name logins --follow --metrics-addr 0.0.0.0:9187";

/// Drain the queue into the table, without Lambda
///
/// Stores messages as the function does, until the queue is empty, and prints a summary.
/// Failed messages remain in the queue until its redrive policy moves them. If messages are
/// still invisible at the end, it says so, and the exit code is 1; if SQS does not say how
/// many there are, the exit code is 3. Ctrl-C and SIGTERM end it within ten seconds;
/// messages that are not stored by then become visible again.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment, after_help = EXAMPLES)]
pub(crate) struct Drain {
    /// Keep running: wait for more messages when the queue is empty
    #[arg(long)]
    follow: bool,
    /// Maximum messages per batch: a number up to 10,000, or auto, which chooses up to 1,000 by --concurrency
    #[arg(long, value_name = "NUMBER|auto", default_value = "auto", value_parser = batch_size)]
    batch_size: Choice,
    /// How long to wait for more messages after the first of a batch
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(0..=300))]
    batch_window: u64,
    /// Treat the queue as empty after this long without a new message; messages that failed in this run do not count as
    /// new
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=20))]
    wait_time_seconds: u64,
    /// Also wait for messages that are in flight elsewhere, delayed, or backed off in an outage; end when no message is
    /// invisible
    #[arg(long, conflicts_with = "follow")]
    wait_invisible: bool,
    /// Concurrent receive requests: a number up to 100, or auto, which begins with 8 and takes up to 64 while the queue
    /// is long; always one on a FIFO queue, to keep the order
    #[arg(long, value_name = "NUMBER|auto", default_value = "auto", value_parser = concurrency)]
    concurrency: Choice,
    /// With --follow: serve Prometheus metrics at /metrics and a health check at /healthz; on loopback if only a port
    /// is given
    #[arg(long, value_name = "[ADDRESS:]PORT", requires = "follow", value_parser = serve::address)]
    metrics_addr: Option<SocketAddr>,
    /// Print the summary as a JSON object
    #[arg(long)]
    json: bool,
    /// Send messages that can never be stored to this queue, with the reason [env: DEAD_LETTER_QUEUE_URL; otherwise
    /// the queue's redrive policy moves them]
    #[arg(long, value_name = "URL", help_heading = "Queue", value_parser = queue_url)]
    dead_letter_queue_url: Option<String>,
    #[command(flatten)]
    queue: QueueFlags,
    #[command(flatten)]
    mapping: MappingFlags,
    #[command(flatten)]
    database: DatabaseFlags,
    #[command(flatten)]
    mask: MaskFlags,
}

impl Drain {
    pub(crate) async fn run(self) -> Result<Outcome, CliError> {
        let stop = Stop::on_signal()?;
        let progress = Progress::with_log("messages done");
        let Some(opened) = stop.or_done(self.open()).await else {
            eprintln!("interrupted before the first message");
            // A drain with `--follow` ends only by an interrupt, so that is its success.
            return Ok(Outcome::done_if(self.follow));
        };
        let (source, database, handler, max_invisible) = opened?;
        let drain = DrainLoop {
            limits: self.limits(),
            pace: match source.queue.is_fifo() {
                true => Pace::of_fifo(self.batch_size),
                false => Pace::new(self.concurrency, self.batch_size),
            },
            is_following: self.follow,
            waits_for_invisible: self.wait_invisible,
            max_invisible,
            status: Status::new(
                handler.totals(),
                words(handler.pipeline()),
                Unread::new(handler.pipeline()),
            ),
            failed: RefCell::default(),
            source: &source,
            stop,
        };
        let traces = Traces::start(source.name());
        let error = drain
            .run(handler, database, &traces, progress, self.metrics_addr)
            .await?;
        let ended = drain.end(self.json, error).await;
        traces.end().await;
        ended
    }

    /// The queue, the database, and the handler between them; and the maximum time for which an abandoned message
    /// remains invisible.
    async fn open(&self) -> Result<(Source, Database, Handler, Duration), CliError> {
        let mut settings = settings(&self.mapping, &self.mask, &self.database)?;
        let flag = self.dead_letter_queue_url.as_ref();
        settings.queue.dead_letter_queue_url = queue_url_or(flag, "DEAD_LETTER_QUEUE_URL")?;
        let back_off = FailurePolicy::new(&settings.queue).longest_back_off();
        let aws = Arc::new(self.queue.aws());
        let sqs = Client::new(aws.config().await);
        let queue = self.queue.required_queue(&sqs).await?;
        let source = Source::open(queue).await?;
        let max_invisible = source.in_flight.visibility_timeout().max(back_off);
        let database = self.database.database(&aws)?;
        let handler = start::handler(settings, aws, Instant::now()).await?;
        Ok((source, database, handler, max_invisible))
    }

    fn limits(&self) -> Limits {
        Limits {
            wait: Duration::from_secs(self.wait_time_seconds),
            window: Duration::from_secs(self.batch_window),
        }
    }
}

fn batch_size(text: &str) -> Result<Choice, String> {
    Choice::parse(text, 1..=10_000)
}

fn concurrency(text: &str) -> Result<Choice, String> {
    Choice::parse(text, 1..=100)
}

/// A message whose key is its id is the same message if the table has the key. Whether another message has the same
/// key, or the same message was delivered again, is otherwise not known.
fn words(pipeline: &Pipeline) -> Words {
    let is_id = |column: &Column| {
        column.fallbacks.is_empty()
            && column.source == mapping::Source::Metadata(Metadata::MessageId)
    };
    let is_by_id = |table: &TableMapping| table.key_columns().any(is_id);
    let mut roots = pipeline
        .tables
        .iter()
        .filter(|table| table.parent.is_none());
    Words {
        stored: match pipeline.single_table() {
            Some(_) => "message",
            None => "row",
        },
        duplicates: match roots.all(is_by_id) {
            true => "stored already",
            false => "whose key is already in the table",
        },
    }
}
