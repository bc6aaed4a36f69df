//! `redrive`: dead letters back into the queue that they come from.
//!
//! Each is sent before it is deleted, so that a crash loses none; what is there twice for that reason
//! is stored once, by its first id.

mod held;
mod letter;
mod report;

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{MessageSystemAttributeName, QueueAttributeName as Name};
use clap::Args;
use futures_util::future::join_all;
use serde_json::Value;
use sqs_to_postgres::message::origin::Origins;
use sqs_to_postgres::request::{MAX_ENTRIES, Outgoing, packed};
use thiserror::Error;
use tokio::time::{Instant, sleep_until};

use crate::cli::Outcome;
use crate::cli::error::CliError;
use crate::cli::outgoing::{HELD_BACK, Sender};
use crate::cli::settings::{MaskFlags, QueueFlags, attributes, url_of, variable};
use crate::cli::signals::Stop;
use held::{HOLD, Held};
use letter::Letter;
use report::{CAME_BACK, Report};

/// How long SQS is given to find a letter, in seconds.
const WAIT_SECS: i32 = 1;

/// After so many receives in a row that brought nothing new a mover ends: of very many letters that stay,
/// some are seen again before they can all be kept away for longer.
const VAIN_RECEIVES: usize = 5;

/// Movers at work at once; on a FIFO queue one, which keeps the order.
const MOVERS: usize = 8;

const EXAMPLES: &str = "\
Examples:
  sqs-to-postgres redrive --queue-url \"$QUEUE_URL\" --dry-run
  sqs-to-postgres redrive --queue-url \"$QUEUE_URL\" --rule required --rate 50";

/// Why the queue of the dead letters is unknown.
#[derive(Debug, Error)]
enum RedriveError {
    #[error(
        "the queue has no redrive policy: name its dead-letter queue with --dead-letter-queue-url"
    )]
    NoDeadLetterQueue,
    #[error("{0:?} is the queue itself: name its dead-letter queue with --dead-letter-queue-url")]
    SameQueue(String),
}

/// Move dead letters back to their queue
///
/// Each keeps its original id and time, in the attribute origin, so it is stored once
/// however often it is moved. If the function has a mask key, set the same key here: it
/// signs origins, and the function ignores an origin that is not signed with it. If SQS
/// itself moved the message from a FIFO queue, its time is that of the move, because
/// SQS does not keep the original one.
///
/// The reason of the failure is removed. Messages of other queues stay, and so does a
/// message that comes back while others are moved. What stays can be received again at
/// once, one delivery older. On a FIFO queue, a message that cannot be moved holds back
/// the later ones of its group, and SQS delivers nothing of a group while one of its
/// messages is in flight, so those behind a message that stays are not seen. The
/// command ends when the queue brings nothing new.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment, after_help = EXAMPLES)]
pub(crate) struct Redrive {
    /// Only messages of this rule, by their attribute rejection; those that SQS itself moved have none
    #[arg(long, value_name = "RULE")]
    rule: Option<String>,
    /// Move so many at most
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    max: Option<u32>,
    /// Messages of other queues too; unless SQS itself moved a message, its queue is what its attribute origin says
    #[arg(long)]
    any_source: bool,
    /// Move none, and say which would be
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// At most so many messages a second
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// One JSON object a line, for each letter that is moved or fails
    #[arg(long)]
    json: bool,
    /// Where the letters are [env: DEAD_LETTER_QUEUE_URL; then the queue's redrive policy]
    #[arg(long, value_name = "URL", help_heading = "Queue")]
    dead_letter_queue_url: Option<String>,
    #[command(flatten)]
    queue: QueueFlags,
    #[command(flatten)]
    mask: MaskFlags,
}

impl Redrive {
    pub(crate) async fn run(self) -> Result<Outcome, CliError> {
        let stop = Stop::on_signal()?;
        let aws = Arc::new(self.queue.aws());
        let sqs = Client::new(aws.config().await);
        let to = self.queue.required_url(&sqs).await?;
        let key = self.mask.key(&aws).await?;
        let queue = attributes(&to, &sqs).await?;
        let policy = queue.get(&Name::RedrivePolicy).map(String::as_str);
        let from = self.dead_letter_queue(&sqs, policy).await?;
        let dead = attributes(&from, &sqs).await?;
        if dead.get(&Name::QueueArn) == queue.get(&Name::QueueArn) {
            return Err(CliError::invalid(RedriveError::SameQueue(from)));
        }
        let waiting = dead.get(&Name::ApproximateNumberOfMessages);
        let movers = Movers {
            sqs: &sqs,
            sender: Sender::new(&sqs, &to),
            origins: Origins::new(key.as_ref()),
            to_arn: queue.get(&Name::QueueArn).map_or("", String::as_str),
            held: Held::new(&sqs, &from),
            moved: RefCell::default(),
            given: Cell::new(0),
            began: Instant::now(),
            report: RefCell::new(self.report(waiting.and_then(|count| count.parse().ok()))),
            stop,
            from: &from,
            flags: &self,
        };
        let result = movers.run().await;
        let is_interrupted = movers.stop.is_asked();
        movers.report.into_inner().end(result, is_interrupted)
    }

    async fn dead_letter_queue(
        &self,
        sqs: &Client,
        policy: Option<&str>,
    ) -> Result<String, CliError> {
        let named = self.dead_letter_queue_url.clone();
        if let Some(url) = named.or_else(|| variable("DEAD_LETTER_QUEUE_URL")) {
            return Ok(url);
        }
        let policy: Value = serde_json::from_str(policy.unwrap_or_default()).unwrap_or_default();
        let arn = policy["deadLetterTargetArn"].as_str();
        let name = arn.and_then(|arn| arn.rsplit(':').next());
        url_of(
            sqs,
            name.ok_or_else(|| CliError::invalid(RedriveError::NoDeadLetterQueue))?,
        )
        .await
    }

    fn report(&self, waiting: Option<usize>) -> Report {
        let max = self.max.map_or(usize::MAX, |max| max as usize);
        // How many of them are of a rule is not known before they are seen.
        let total = waiting.filter(|_| self.rule.is_none());
        Report::new(self.json, self.dry_run, total.map(|total| total.min(max)))
    }
}

/// What those who move letters share.
struct Movers<'a> {
    sqs: &'a Client,
    from: &'a str,
    sender: Sender<'a>,
    origins: Origins,
    to_arn: &'a str,
    flags: &'a Redrive,
    stop: Stop,
    began: Instant,
    /// Letters that are moved, or may be by a mover at work.
    given: Cell<usize>,
    /// Those that were sent, by their digests.
    moved: RefCell<HashSet<u64>>,
    held: Held<'a>,
    report: RefCell<Report>,
}

impl Movers<'_> {
    /// Moves until there is nothing to move, and then gives back what is left, whatever happened.
    async fn run(&self) -> Result<(), CliError> {
        let is_fifo = self.sender.is_fifo() || self.from.ends_with(".fifo");
        let movers = (0..if is_fifo { 1 } else { MOVERS }).map(|_| async {
            let result = self.work().await;
            if result.is_err() {
                self.stop.ask();
            }
            result
        });
        let results = tokio::select! {
            results = join_all(movers) => results,
            never = self.held.keep() => match never {},
        };
        let released = self.held.release().await;
        results.into_iter().collect::<Result<(), _>>().and(released)
    }

    /// Moves until there is nothing to move.
    async fn work(&self) -> Result<(), CliError> {
        let mut in_vain = 0;
        while in_vain < VAIN_RECEIVES {
            let before = self.given.get();
            let count = self.room(before);
            self.given.set(before + count);
            self.pace(before).await;
            if count == 0 || self.stop.is_asked() {
                return Ok(());
            }
            let mut letters = self.receive(count).await?;
            let is_empty = letters.is_empty();
            letters.retain(|letter| self.held.take(letter));
            in_vain = if letters.is_empty() { in_vain + 1 } else { 0 };
            let chosen: Vec<Letter> = letters.into_iter().filter(|l| self.is_chosen(l)).collect();
            self.given.set(self.given.get() - (count - chosen.len()));
            let messages = self.prepare(&chosen)?;
            if self.flags.dry_run {
                let mut report = self.report.borrow_mut();
                let would_move = messages.iter().filter_map(|back| chosen.get(back.number));
                for letter in would_move {
                    report.would_move(letter)?;
                }
            } else {
                self.move_back(&chosen, messages).await?;
            }
            if is_empty {
                return Ok(());
            }
        }
        Ok(())
    }

    /// How many letters the next request may ask for.
    fn room(&self, given: usize) -> usize {
        let left = |max: u32| (max as usize).saturating_sub(given);
        self.flags.max.map_or(MAX_ENTRIES, left).min(MAX_ENTRIES)
    }

    /// Waits until the rate allows for another request, or an end is asked for. Nothing is in hand
    /// meanwhile.
    async fn pace(&self, given: usize) {
        let rate = self.flags.rate.filter(|_| !self.flags.dry_run);
        if let Some(rate) = rate {
            let due = Duration::from_secs_f64(given as f64 / f64::from(rate));
            let mut stop = self.stop.clone();
            tokio::select! { () = sleep_until(self.began + due) => {}, () = stop.asked() => {} }
        }
    }

    /// Never given up half-way: what SQS has handed out would stay away from everybody.
    async fn receive(&self, count: usize) -> Result<Vec<Letter>, CliError> {
        let receive = self
            .sqs
            .receive_message()
            .queue_url(self.from)
            .max_number_of_messages(i32::try_from(count).unwrap_or(1))
            .wait_time_seconds(WAIT_SECS)
            .visibility_timeout(i32::try_from(HOLD.as_secs()).unwrap_or(i32::MAX))
            .message_system_attribute_names(MessageSystemAttributeName::All)
            .message_attribute_names("All");
        let answer = receive.send().await;
        let answer =
            answer.map_err(|error| CliError::aws(&format!("queue {:?}", self.from), &error))?;
        let messages = answer.messages.unwrap_or_default();
        Ok(messages.into_iter().map(Letter::new).collect())
    }

    /// Whether a letter is one to move.
    fn is_chosen(&self, letter: &Letter) -> bool {
        if self.stop.is_asked() {
            return false;
        }
        let is_other = |source: &str| source != self.to_arn && !self.flags.any_source;
        let rule = self.flags.rule.as_deref();
        let letter_rule = letter.reason().map(|reason| reason.rule.as_str());
        let why = if letter.source().is_some_and(is_other) {
            "of another queue (--any-source moves them too)"
        } else if rule.is_some() && letter_rule != rule {
            "of another rule"
        } else if self.moved.borrow().contains(&letter.digest()) {
            CAME_BACK
        } else {
            return true;
        };
        self.report.borrow_mut().left(why);
        false
    }

    /// The messages that letters become, each with the number of its letter.
    fn prepare(&self, letters: &[Letter]) -> Result<Vec<Outgoing>, CliError> {
        let (mut messages, mut report) = (Vec::new(), self.report.borrow_mut());
        for (number, letter) in letters.iter().enumerate() {
            if self.sender.holds_back(letter.group()) {
                report.failed(letter, HELD_BACK)?;
                continue;
            }
            match letter.back(number, self.sender.is_fifo(), &self.origins) {
                Ok(back) => {
                    report.note(&back.notes);
                    messages.push(back.message);
                }
                Err(reason) => {
                    self.sender.hold_back(letter.group());
                    report.failed(letter, reason)?;
                }
            }
        }
        Ok(messages)
    }

    /// Sends the messages of letters to their queue, and deletes the letters of those that arrived.
    async fn move_back(&self, letters: &[Letter], messages: Vec<Outgoing>) -> Result<(), CliError> {
        for request in packed(messages) {
            let (sent, result) = self.sender.send(request).await;
            let (mut arrived, mut refused) = (Vec::new(), Vec::new());
            for sent in sent {
                match (letters.get(sent.number), sent.result) {
                    (Some(letter), Ok(id)) => arrived.push((letter, id)),
                    (Some(letter), Err(code)) => refused.push((letter, code)),
                    (None, _) => {}
                }
            }
            // First of all, whatever else went wrong: what arrived must not be there twice.
            let deleted = self.delete(arrived).await;
            let mut report = self.report.borrow_mut();
            let said = refused
                .iter()
                .map(|(letter, code)| report.failed(letter, code));
            said.fold(deleted, Result::and).and(result)?;
        }
        Ok(())
    }

    async fn delete(&self, arrived: Vec<(&Letter, String)>) -> Result<(), CliError> {
        let ids = arrived.iter().map(|(letter, _)| letter.id());
        let ids: Vec<&str> = ids.collect();
        let digests = arrived.iter().map(|(letter, _)| letter.digest());
        self.moved.borrow_mut().extend(digests);
        let kept = self.held.delete(ids).await?;
        let mut report = self.report.borrow_mut();
        let said = arrived.iter().map(|(letter, id)| {
            if kept.contains(&letter.id()) {
                report.failed(letter, "it was sent, but cannot be deleted: run it again")
            } else {
                report.moved(letter, id)
            }
        });
        // All are counted, also where nobody reads what is said of the first.
        said.fold(Ok(()), Result::and)
    }
}
