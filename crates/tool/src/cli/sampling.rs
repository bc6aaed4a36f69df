//! Messages of a queue as samples: each is received once, and visible again at the end.

use aws_sdk_sqs::types::MessageSystemAttributeName as Name;
use clap::Args;
use mapping::internals::ORIGIN;
use serde_json::{Value, json};
use sqs_to_postgres::sqs::batch::MAX_ENTRIES;
use sqs_to_postgres::sqs::dead_letter::{DeadLetter, is_senders};
use sqs_to_postgres::sqs::{Attributes, Queue, RedrivePolicy, name_of};

use super::dead_letters::{NewMessages, hold, in_flight};
use super::error::CliError;
use super::event::to_event_message;
use super::output::{counted, listed};
use super::progress::Progress;
use super::signals::Stop;
use crate::sqs::in_flight::InFlight;

/// How many messages to read.
#[derive(Debug, Args)]
#[command(next_help_heading = "Queue")]
pub(crate) struct SampleCount {
    /// Maximum number of messages to read from the queue
    // Standard queues have up to 120,000 messages in flight, FIFO queues 20,000.
    #[arg(short = 'n', long, value_name = "NUMBER", default_value_t = 200, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    number: u16,
}

/// Reads sample messages of a queue.
pub(crate) struct Sampler {
    in_flight: InFlight,
    queue: Queue,
    attributes: Attributes,
    wanted: usize,
}

/// What was read.
#[derive(Default)]
struct Read {
    messages: usize,
    /// Messages that SQS moves to the dead-letter queue when they are received next.
    exhausted: usize,
}

impl Sampler {
    /// Reads the queue's attributes.
    pub(crate) async fn of(queue: Queue, count: &SampleCount) -> Result<Self, CliError> {
        let attributes = queue.attributes().await?;
        if let Some(policy) = &attributes.redrive_policy {
            warn_of_receives(&attributes, policy)?;
        }
        Ok(Self {
            in_flight: in_flight(queue.clone()),
            queue,
            attributes,
            wanted: count.number.into(),
        })
    }

    /// Passes each message to `take`, as Lambda would pass it to a function, and says whether an interrupt came first.
    /// All of them are visible again then, also after an error.
    pub(crate) async fn read(
        &self,
        take: impl FnMut(Value) -> Result<(), CliError>,
    ) -> Result<bool, CliError> {
        let stop = Stop::on_signal()?;
        let waiting = self.attributes.depth.waiting as usize;
        let mut progress = Progress::new(Some(waiting.min(self.wanted)), "sampled");
        let mut read = Read::default();
        let mut missed = Ok(String::new());
        let work = async {
            let result = self.receive(take, &stop, &mut progress, &mut read).await;
            // While they are in flight: afterwards they would count as messages that were not delivered.
            missed = self.missed(&read).await;
            result
        };
        let result = hold(&self.in_flight, work).await;
        let done = progress.end();
        let is_interrupted = stop.is_asked();
        let visible = if result.is_ok() {
            "; all are visible again"
        } else {
            ""
        };
        let end = if is_interrupted { "; interrupted" } else { "" };
        eprintln!("sampled {done}{visible}{end}");
        result?;
        let missed = missed?;
        if !missed.is_empty() && !is_interrupted {
            eprintln!("not sampled: {missed}");
        }
        self.warn_of_exhausted(read.exhausted);
        Ok(is_interrupted)
    }

    async fn receive(
        &self,
        mut take: impl FnMut(Value) -> Result<(), CliError>,
        stop: &Stop,
        progress: &mut Progress,
        read: &mut Read,
    ) -> Result<(), CliError> {
        let mut new = NewMessages::of(&self.in_flight);
        while read.messages < self.wanted && !stop.is_asked() {
            let count = (self.wanted - read.messages).min(MAX_ENTRIES);
            let Some(messages) = new.next(count).await? else {
                return Ok(());
            };
            for message in &messages {
                read.messages += 1;
                read.exhausted += usize::from(self.is_exhausted(message));
                if let Some(record) = record(message, &self.attributes.arn) {
                    take(record)?;
                }
            }
            progress.advance(messages.len());
        }
        Ok(())
    }

    /// Why fewer messages were read than there are; empty if the number was reached.
    async fn missed(&self, read: &Read) -> Result<String, CliError> {
        if read.messages >= self.wanted {
            return Ok(String::new());
        }
        let depth = self.queue.attributes().await?.depth;
        let elsewhere = depth.invisible.saturating_sub(depth.delayed);
        let elsewhere = (elsewhere as usize).saturating_sub(self.in_flight.len());
        let waiting = match self.queue.is_fifo() {
            true => {
                "blocked behind an earlier message of their group, because SQS delivers at most ten of a group"
            }
            false => "that SQS did not deliver: run it again",
        };
        let groups = [
            (
                elsewhere,
                "in flight, received by another consumer or backed off",
            ),
            (depth.delayed as usize, "delayed"),
            (depth.waiting as usize, waiting),
        ];
        let groups = groups.iter().filter(|(count, _)| *count > 0);
        Ok(listed(groups.map(|(count, why)| format!("{count} {why}"))))
    }

    fn is_exhausted(&self, message: &DeadLetter) -> bool {
        let policy = self.attributes.redrive_policy.as_ref();
        let attributes = message.message().attributes();
        let count = attributes.and_then(|all| all.get(&Name::ApproximateReceiveCount));
        let count = count.and_then(|count| count.parse::<u64>().ok());
        let most = policy.and_then(RedrivePolicy::max_receives);
        most.is_some_and(|most| count >= Some(most))
    }

    fn warn_of_exhausted(&self, exhausted: usize) {
        if let Some(policy) = self
            .attributes
            .redrive_policy
            .as_ref()
            .filter(|_| exhausted > 0)
        {
            let messages = counted(exhausted, "message");
            let dead = name_of(&policy.dead_letter_arn);
            eprintln!(
                "warning: {messages} reached maxReceiveCount: unless a consumer deletes them, SQS moves them to {dead} when they are received next; `redrive` moves them back"
            );
        }
    }
}

/// Each receive counts, whoever receives.
/// Source: <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-dead-letter-queues.html> (2026-11).
fn warn_of_receives(attributes: &Attributes, policy: &RedrivePolicy) -> Result<(), CliError> {
    let (name, dead) = (name_of(&attributes.arn), name_of(&policy.dead_letter_arn));
    if policy.max_receives() == Some(1) {
        return Err(CliError::invalid(format!(
            "the queue {name} has maxReceiveCount 1: after sampling, SQS would move every sampled message to {dead}: raise maxReceiveCount first"
        )));
    }
    eprintln!(
        "note: sampling raises the receive count of each message by one; SQS moves a message of {name} to {dead} after {} receives",
        policy.max_receive_count
    );
    Ok(())
}

/// A message as Lambda would pass it: a dead letter as one of the queue that it comes from, without the reason of its
/// failure.
fn record(message: &DeadLetter, queue_arn: &str) -> Option<Value> {
    let arn = message.source().unwrap_or(queue_arn);
    let mut sample = to_event_message(message.message().clone(), arn);
    // The origin counts for its id and time.
    sample.message_attributes.retain(|name, attribute| {
        name == ORIGIN || is_senders(name, attribute.string_value.as_deref().unwrap_or_default())
    });
    let attributes = sample.message_attributes.into_iter();
    let attributes = attributes
        .map(|(name, value)| Some((name, without_nulls(serde_json::to_value(value).ok()?))));
    let attributes: Option<serde_json::Map<String, Value>> = attributes.collect();
    Some(json!({
        "messageId": sample.message_id, "body": sample.body, "attributes": sample.attributes,
        "messageAttributes": attributes?, "eventSource": sample.event_source, "eventSourceARN": arn,
    }))
}

/// What an object has besides nulls and empty arrays.
fn without_nulls(mut object: Value) -> Value {
    let is_empty = |value: &Value| value.is_null() || value.as_array().is_some_and(Vec::is_empty);
    if let Value::Object(fields) = &mut object {
        fields.retain(|_, value| !is_empty(value));
    }
    object
}
