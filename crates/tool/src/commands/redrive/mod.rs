//! `redrive`: dead letters back into the queue that they come from.
//!
//! Each is sent before it is deleted, so a crash loses none. A message that is in the queue twice for this reason is
//! stored once, by its original id; a record of one that is split, by that id and its position.

mod explain;
mod report;
mod show;
mod split;

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use mapping::{Origins, Rule};

use crate::sqs::in_flight::InFlight;
use crate::sqs::send::{GROUP_BLOCKED, Sender};
use aws_sdk_sqs::Client;
use clap::Args;
use clap::builder::PossibleValuesParser;
use futures_util::future::join_all;
use sqs_to_postgres::sqs::batch::{MAX_ENTRIES, Outgoing, packed};
use sqs_to_postgres::sqs::dead_letter::DeadLetter;
use tokio::time::{Instant, sleep_until};

use crate::cli::Outcome;
use crate::cli::dead_letters::{NewMessages, hold, in_flight};
use crate::cli::error::CliError;
use crate::cli::settings::{DeadLetterFlags, MappingFlags, MaskFlags, QueueFlags};
use crate::cli::signals::Stop;
use explain::DeadLetterExplainer;
use report::{CAME_BACK, Mode, RedriveReport};
use split::Splitter;

/// Concurrent workers; on a FIFO queue one, to keep the order.
const WORKERS: usize = 8;

const EXAMPLES: &str = "\
Examples:
  sqs-to-postgres redrive --queue-url \"$QUEUE_URL\" --dry-run
  sqs-to-postgres redrive --queue-url \"$QUEUE_URL\" --show --rule required --max 1
  sqs-to-postgres redrive --queue-url \"$QUEUE_URL\" --explain --pipeline pipeline.toml
  sqs-to-postgres redrive --queue-url \"$QUEUE_URL\" --rule required --rate 50
  sqs-to-postgres redrive --queue-url \"$QUEUE_URL\" --rule required --split --explain";

/// Move dead letters back to their queue
///
/// Each keeps its original id and time, in the attribute origin, so it is stored once
/// however often it is moved. If the function has a mask key, set the same key here: it
/// signs origins, and the function ignores an origin that is not signed with it. If SQS
/// itself moved the message from a FIFO queue, its time is the time of the move, because
/// SQS does not keep the original one.
///
/// The attribute with the reason of the failure is removed. Messages from other queues
/// remain in the dead-letter queue, and so does a message that fails again while others are
/// moved. All that remain become visible again at the end, with one more delivery. On a
/// FIFO queue, a message that cannot be moved blocks the later ones of its group. SQS
/// delivers nothing of a group while one of its messages is in flight, so messages behind
/// one that remains are not received. The command ends when it receives nothing new.
///
/// With --split, a message of several records (each = "@body" in the mapping) becomes a
/// message for each of them, so that one bad record keeps only itself from being stored.
/// Each keeps the id and its position, so its row has the key that it would have had; if
/// the command is interrupted, run it again. It reads the mapping (--pipeline), and needs
/// the function's mask key, if there is one.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment, after_help = EXAMPLES)]
pub(crate) struct Redrive {
    /// Move only messages that broke this rule, as their attribute rejection says; those that SQS itself moved lack it
    #[arg(long, value_name = "RULE", value_parser = PossibleValuesParser::new(Rule::names()))]
    rule: Option<String>,
    /// Move at most this many dead letters
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    max: Option<u32>,
    /// Move messages of other queues too; unless SQS itself moved a message, its attribute origin names its queue
    #[arg(long)]
    any_source: bool,
    /// Send each record of a message as a message of its own, in the encoding and the form that the mapping reads
    #[arg(long)]
    split: bool,
    /// Move nothing, and print what would be moved
    #[arg(long)]
    dry_run: bool,
    /// Move nothing, and print the result with the current mapping, without contacting Postgres
    #[arg(long, conflicts_with = "dry_run")]
    explain: bool,
    /// Move nothing, and print each message with the reason of its failure
    #[arg(long, conflicts_with_all = ["dry_run", "explain", "split"])]
    show: bool,
    /// With --show: also print the values of attributes and body
    #[arg(long, requires = "show")]
    show_values: bool,
    /// Maximum messages per second
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// Print a JSON object per line for each message that is moved or fails
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    dead_letters: DeadLetterFlags,
    #[command(flatten)]
    queue: QueueFlags,
    #[command(flatten)]
    mapping: MappingFlags,
    #[command(flatten)]
    mask: MaskFlags,
}

impl Redrive {
    /// Whether it moves messages, rather than only print.
    pub(crate) fn moves(&self) -> bool {
        !self.dry_run && !self.explain && !self.show
    }

    pub(crate) async fn run(self) -> Result<Outcome, CliError> {
        let stop = Stop::on_signal()?;
        let aws = Arc::new(self.queue.aws());
        let sqs = Client::new(aws.config().await);
        let queue = self.queue.required_queue(&sqs).await?;
        let key = self.mask.keys(&aws).await?;
        let to = queue.attributes().await?;
        let (dead_letters, from) = self.dead_letters.queue(&sqs, &to).await?;
        let explainer = self
            .explain
            .then(|| DeadLetterExplainer::new(&self.mapping, key.as_ref(), &to.arn));
        let splitter = self
            .split
            .then(|| Splitter::new(&self.mapping, &to.arn))
            .transpose()?;
        let workers = Workers {
            explainer: explainer.transpose()?,
            splitter,
            is_fifo: queue.is_fifo() || dead_letters.is_fifo(),
            sender: Sender::new(queue),
            origins: Origins::with_retired(key.as_ref()),
            to_arn: to.arn,
            in_flight: in_flight(dead_letters),
            moved: RefCell::default(),
            requested: Cell::new(0),
            records_sent: Cell::new(0),
            began: Instant::now(),
            report: RefCell::new(self.report(from.depth.waiting as usize)),
            stop,
            flags: &self,
        };
        let result = workers.run().await;
        let is_interrupted = workers.stop.is_asked();
        workers.report.into_inner().end(result, is_interrupted)
    }

    fn report(&self, waiting: usize) -> RedriveReport {
        let max = self.max.map_or(usize::MAX, |max| max as usize);
        // How many messages broke a rule is not known before they are received.
        let total = self.rule.is_none().then_some(waiting.min(max));
        let mode = match self.moves() {
            true => Mode::Move,
            false if self.show => Mode::Show,
            false => Mode::Plan,
        };
        RedriveReport::new(self.json, mode, self.split, total)
    }
}

/// The state that all workers share.
struct Workers<'a> {
    is_fifo: bool,
    sender: Sender,
    origins: Origins,
    explainer: Option<DeadLetterExplainer>,
    splitter: Option<Splitter>,
    to_arn: String,
    flags: &'a Redrive,
    stop: Stop,
    began: Instant,
    /// Messages that were moved or were requested to be moved, which `--max` and `--rate` limit.
    requested: Cell<usize>,
    /// Records that were sent, which `--rate` limits too.
    records_sent: Cell<usize>,
    /// Digests of the messages that were sent.
    moved: RefCell<HashSet<u64>>,
    in_flight: InFlight,
    report: RefCell<RedriveReport>,
}

impl Workers<'_> {
    /// Moves messages until there are none to move, and then makes the others visible again, also after an error.
    async fn run(&self) -> Result<(), CliError> {
        let workers = (0..if self.is_fifo { 1 } else { WORKERS }).map(|_| async {
            let result = self.work().await;
            if result.is_err() {
                self.stop.ask();
            }
            result
        });
        let all = async { join_all(workers).await.into_iter().collect() };
        hold(&self.in_flight, all).await
    }

    /// Moves messages until there are none to move.
    async fn work(&self) -> Result<(), CliError> {
        let mut new = NewMessages::of(&self.in_flight);
        loop {
            let before = self.requested.get();
            let count = self.room(before);
            self.requested.set(before + count);
            self.pace(before).await;
            if count == 0 || self.stop.is_asked() {
                return Ok(());
            }
            let received = new.next(count).await?;
            let is_end = received.is_none();
            let mut messages = received.unwrap_or_default();
            messages.retain(|message| self.is_chosen(message));
            self.requested
                .set(self.requested.get() - (count - messages.len()));
            self.process(&messages).await?;
            if is_end {
                return Ok(());
            }
        }
    }

    /// How many messages the next request may receive.
    fn room(&self, requested: usize) -> usize {
        let left = |max: u32| (max as usize).saturating_sub(requested);
        self.flags.max.map_or(MAX_ENTRIES, left).min(MAX_ENTRIES)
    }

    /// Waits until the rate allows another request, or an end is requested.
    async fn pace(&self, requested: usize) {
        let rate = self.flags.rate.filter(|_| self.flags.moves());
        if let Some(rate) = rate {
            let due = Duration::from_secs_f64(requested as f64 / f64::from(rate));
            tokio::select! { () = sleep_until(self.began + due) => {}, () = self.stop.asked() => {} }
        }
    }

    /// Whether a message is to be moved.
    fn is_chosen(&self, message: &DeadLetter) -> bool {
        if self.stop.is_asked() {
            return false;
        }
        let is_other = |source: &str| source != self.to_arn && !self.flags.any_source;
        let rule = self.flags.rule.as_deref();
        let message_rule = message.reason().map(|reason| reason.rule.as_str());
        let why = if message.source().is_some_and(is_other) {
            "from another queue (--any-source moves them too)"
        } else if rule.is_some() && message_rule.is_none() {
            "no rule, because SQS itself moved them"
        } else if rule.is_some() && message_rule != rule {
            "broke another rule"
        } else if self.moved.borrow().contains(&message.digest()) {
            CAME_BACK
        } else {
            return true;
        };
        self.report.borrow_mut().left(why);
        false
    }

    /// Moves messages, or with `--dry-run` and `--explain` reports them.
    async fn process(&self, messages: &[DeadLetter]) -> Result<(), CliError> {
        match &self.splitter {
            Some(splitter) => self.process_records(messages, splitter).await,
            None => self.process_whole(messages).await,
        }
    }

    async fn process_whole(&self, messages: &[DeadLetter]) -> Result<(), CliError> {
        if self.flags.show {
            let mut report = self.report.borrow_mut();
            let mut messages = messages.iter();
            return messages.try_for_each(|message| report.show(message, self.flags.show_values));
        }
        let outgoing = self.prepare(messages)?;
        if self.flags.moves() {
            return self.move_back(messages, outgoing).await;
        }
        let mut report = self.report.borrow_mut();
        for message in outgoing.iter().filter_map(|out| messages.get(out.number)) {
            let now = self
                .explainer
                .as_ref()
                .map(|explainer| explainer.explain(message));
            report.would_send(message, None, now)?;
            report.would_move();
        }
        Ok(())
    }

    /// What to send, each with the position of its message.
    fn prepare(&self, messages: &[DeadLetter]) -> Result<Vec<Outgoing>, CliError> {
        let (mut outgoing, mut report) = (Vec::new(), self.report.borrow_mut());
        for (number, message) in messages.iter().enumerate() {
            if self.sender.is_blocked(message.group()) {
                report.failed(message, GROUP_BLOCKED)?;
                continue;
            }
            match message.returned(number, &self.to_arn, &self.origins) {
                Ok(returned) => {
                    report.note(&returned.notes);
                    outgoing.push(returned.message);
                }
                Err(reason) => {
                    self.sender.block(message.group());
                    report.failed(message, &reason.to_string())?;
                }
            }
        }
        Ok(outgoing)
    }

    /// Sends messages to their queue, and deletes those that arrived from the dead-letter queue.
    async fn move_back(
        &self,
        messages: &[DeadLetter],
        outgoing: Vec<Outgoing>,
    ) -> Result<(), CliError> {
        for request in packed(outgoing) {
            let (sent, result) = self.sender.send(request).await;
            let (mut arrived, mut refused) = (Vec::new(), Vec::new());
            for sent in sent {
                match (messages.get(sent.number), sent.result) {
                    (Some(message), Ok(id)) => arrived.push((message, vec![id])),
                    (Some(message), Err(code)) => refused.push((message, code)),
                    (None, _) => {}
                }
            }
            // First, whatever else failed: a message that arrived must not be in both queues.
            let deleted = self.delete(arrived).await;
            let mut report = self.report.borrow_mut();
            let reported = refused
                .iter()
                .map(|(message, code)| report.failed(message, code));
            reported
                .fold(deleted, Result::and)
                .and(result.map_err(CliError::from))?;
        }
        Ok(())
    }

    async fn delete(&self, arrived: Vec<(&DeadLetter, Vec<String>)>) -> Result<(), CliError> {
        let digests = arrived.iter().map(|(message, _)| message.digest());
        self.moved.borrow_mut().extend(digests);
        let receipts = arrived.iter().map(|(message, _)| message.receipt());
        let (failed, result) = self.in_flight.delete(&receipts.collect::<Vec<_>>()).await;
        let mut report = self.report.borrow_mut();
        let reported = arrived
            .iter()
            .enumerate()
            .map(|(position, (message, ids))| {
                if failed.contains(&position) {
                    report.failed(message, "it was sent, but cannot be deleted: run it again")
                } else {
                    report.moved(message, ids)
                }
            });
        // All are counted, even if the output is closed.
        let reported = reported.fold(Ok(()), Result::and);
        result.map_err(CliError::from).and(reported)
    }
}
