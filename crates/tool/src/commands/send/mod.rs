//! `send`: JSON lines into a queue, each as a message, or several in one.

mod attributes;
mod pack;
mod report;

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::PathBuf;
use std::time::Duration;

use mapping::Path;

use crate::sqs::send::{Sender, Sent};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::SendMessageBatchRequestEntry;
use clap::Args;
use futures_util::{Stream, StreamExt as _, stream};
use serde_json::Value;
use sqs_to_postgres::sqs::batch::{MAX_BYTES, Outgoing, Request};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use crate::cli::Outcome;
use crate::cli::error::CliError;
use crate::cli::settings::QueueFlags;
use crate::cli::signals::Stop;
use attributes::{Attributes, attribute, body, unsampled};
use pack::{Beside, Pack, Packing};
use report::{SendReport, SentLines};

/// Lines read ahead of what is sent.
const LINES_AHEAD: usize = 100;

/// How long a request waits for more lines after its first.
const LINGER: Duration = Duration::from_millis(50);

/// How long a message of several lines waits for the next one that comes through a pipe.
const PACK_LINGER: Duration = Duration::from_secs(1);

const NO_GROUP: &str =
    "a FIFO queue keeps order within groups: name the path of the group with --group-id-from";

const EXAMPLES: &str = "\
Examples:
  sqs-to-postgres send --queue-url \"$QUEUE_URL\" events/logins.jsonl
  sqs-to-postgres send --queue-name users --sns \"$TOPIC_ARN\" --attribute tenant=acme users.jsonl
  sqs-to-postgres send --queue-name readings --pack 100 --pipeline readings.toml readings.jsonl
  tail -f app.log | sqs-to-postgres send --queue-name logins.fifo --group-id-from user_id";

/// Send the lines of a file to a queue, each as a message, or several packed into one
///
/// Requests hold up to ten messages, and several are sent at once. On a FIFO queue they are
/// sent one after the other, each with one message per group, so the order is kept: a
/// message that SQS does not accept blocks the later ones of its group, and a line without
/// a group ends the command. Empty lines are skipped. On a standard queue, a line that
/// cannot be sent does not affect the others. Every line that was not sent is listed, those
/// with the same reason together.
///
/// With --pack a message holds several lines: up to 1 MiB, of one group and with the same
/// attributes, one after the other. It is a JSON array, which a mapping reads with
/// each = "@body"; if the mapping that --pipeline names has body = "lines" or an encoding,
/// it is in that form. Lines from a pipe are packed for as long as no second passes between
/// two of them.
///
/// Lines that sample printed are sent as the messages that they hold, with their attributes,
/// and to a FIFO queue with their group, unless --group-id-from is given.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment, after_help = EXAMPLES)]
pub(crate) struct SendLines {
    /// The file; stdin if omitted or -
    file: Option<PathBuf>,
    /// Path to the message group id in each message, written as in a mapping; a FIFO queue keeps the order within a
    /// group
    #[arg(long, value_name = "PATH")]
    group_id_from: Option<Path>,
    /// An attribute for every message; repeat the flag for several
    #[arg(long = "attribute", value_name = "NAME=VALUE", value_parser = attribute)]
    attributes: Vec<(String, String)>,
    /// Path to an object in each message whose members become its message attributes, written as in a mapping
    #[arg(long, value_name = "PATH")]
    attributes_from: Option<Path>,
    /// Wrap the messages as SNS does without raw message delivery, with their attributes, as if from this topic
    #[arg(long, value_name = "TOPIC_ARN")]
    sns: Option<String>,
    /// Pack up to this many lines into a message
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pack: Option<u16>,
    /// File of the mapping whose body and encoding packed messages have; an array without encoding if omitted
    #[arg(long, value_name = "FILE", requires = "pack")]
    pipeline: Option<PathBuf>,
    /// Maximum messages per second
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// Concurrent requests
    #[arg(long, value_name = "NUMBER", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=100))]
    concurrency: u16,
    /// Print a JSON object per line: for each message its line and id, or its error
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    queue: QueueFlags,
}

/// A line of the input and its number.
type Line = (usize, std::io::Result<String>);

impl SendLines {
    pub(crate) async fn run(self) -> Result<Outcome, CliError> {
        let stop = Stop::on_signal()?;
        let sqs = Client::new(&self.queue.aws().config_of_sender().await);
        let queue = self.queue.required_queue(&sqs).await?;
        let is_fifo = queue.is_fifo();
        let packing = self
            .pack
            .map(|most| Packing::new(most.into(), self.pipeline.as_ref()));
        let packing = packing.transpose()?;
        let (lines, total) = self.open()?;
        let mut report = SendReport::new(self.json, packing.is_some(), total);
        let requests = Requests {
            lines,
            stop: stop.clone(),
            rate: self.rate,
            due: Instant::now(),
            group_id_from: self.group_id_from,
            attributes: Attributes {
                fixed: self.attributes,
                from: self.attributes_from,
                topic_arn: self.sns,
            },
            run: is_fifo.then(|| format!("{:016x}", fastrand::u64(..))),
            packing,
            patience: total.map_or(PACK_LINGER, |_| Duration::MAX),
            open: None,
            ahead: VecDeque::new(),
        };
        let concurrency = if is_fifo { 1 } else { self.concurrency.into() };
        let sender = Sender::new(queue);
        let mut sending = requests
            .stream()
            .map(|part| part.send(&sender))
            .buffer_unordered(concurrency)
            .boxed_local();
        let mut is_lost = false;
        while let Some((sent, has_refused, result)) = sending.next().await {
            // Even if the output is closed, the current requests are finished.
            let result = report.add(sent).and(result);
            report.error = report.error.or(result.err());
            // A line without a group may belong to any group: later lines might overtake it.
            is_lost = report.error.is_some() || is_fifo && has_refused;
            if is_lost {
                stop.ask();
            }
        }
        report.end(match stop.is_asked() {
            true if is_lost => "; the remaining lines were not sent",
            true => "; interrupted",
            false => "",
        })
    }

    /// The lines, and their number if it is known.
    fn open(&self) -> Result<(mpsc::Receiver<Line>, Option<usize>), CliError> {
        let file = self.file.as_ref().filter(|file| file.as_os_str() != "-");
        let Some(path) = file else {
            return Ok((read_lines(std::io::stdin()), None));
        };
        let name = path.display().to_string();
        let open = || File::open(path).map_err(|error| CliError::input(&name, &error));
        // A pipe can be read only once.
        if !std::fs::metadata(path).is_ok_and(|file| file.is_file()) {
            return Ok((read_lines(open()?), None));
        }
        let lines = BufReader::new(open()?).split(b'\n');
        // Ends at the first error, which would repeat without end.
        let total = lines
            .map_while(Result::ok)
            .filter(|line| !line.trim_ascii().is_empty());
        Ok((read_lines(open()?), Some(total.count())))
    }
}

/// Reads on a separate thread, because reading from a pipe may block for long.
fn read_lines(input: impl Read + Send + 'static) -> mpsc::Receiver<Line> {
    let (sender, receiver) = mpsc::channel(LINES_AHEAD);
    std::thread::spawn(move || {
        let lines = BufReader::new(input).lines();
        for (line, number) in lines.zip(1..) {
            let is_last = line.as_ref().is_err_and(|error| !is_not_utf8(error));
            if sender.blocking_send((number, line)).is_err() || is_last {
                break;
            }
        }
    });
    receiver
}

/// Whether an error concerns one line only: it has been read, and the next can be.
fn is_not_utf8(error: &std::io::Error) -> bool {
    error.kind() == ErrorKind::InvalidData
}

/// Gathers lines into requests.
struct Requests {
    lines: mpsc::Receiver<Line>,
    stop: Stop,
    rate: Option<u32>,
    /// When the rate allows the next request.
    due: Instant,
    group_id_from: Option<Path>,
    attributes: Attributes,
    /// On a FIFO queue, distinguishes the deduplication ids of this run from the ids of another run.
    run: Option<String>,
    /// How lines are packed into messages, if they are.
    packing: Option<Packing>,
    /// How long an open message waits for its next line.
    patience: Duration,
    /// A message that has room for more lines.
    open: Option<Pack>,
    /// What was read, but is part of a later request.
    ahead: VecDeque<Step>,
}

/// A message, and the numbers of its lines.
struct MessageOfLines {
    message: Outgoing,
    numbers: Vec<usize>,
}

/// What comes next of the lines.
enum Step {
    Message(MessageOfLines),
    /// A line, or the lines of a message, cannot be sent.
    Refused(SentLines),
    /// No further line can be read.
    Unread(CliError),
}

/// A request, and the lines among its own that cannot be sent.
#[derive(Default)]
struct Part {
    request: Request,
    /// The lines of each message, by the number of the first.
    lines: HashMap<usize, Vec<usize>>,
    refused: Vec<SentLines>,
    /// Why no further line can be read.
    unread: Option<CliError>,
}

impl Part {
    /// The results of its lines, whether any was refused before it was sent, and the error that ended it.
    async fn send(mut self, sender: &Sender) -> (Vec<SentLines>, bool, Result<(), CliError>) {
        let (mut all, read) = (self.refused, self.unread.map_or(Ok(()), Err));
        let has_refused = !all.is_empty();
        let (sent, result) = sender.send(self.request).await;
        all.extend(sent.into_iter().map(|Sent { number, result }| SentLines {
            numbers: self.lines.remove(&number).unwrap_or_default(),
            result,
        }));
        (all, has_refused, result.map_err(CliError::from).and(read))
    }
}

impl Requests {
    fn stream(self) -> impl Stream<Item = Part> {
        stream::unfold(self, async |mut requests| {
            requests.pace().await;
            let part = requests.next().await?;
            requests.spend(part.request.len());
            Some((part, requests))
        })
    }

    /// Waits until the rate allows another request, or an end is requested.
    async fn pace(&mut self) {
        if self.rate.is_some() {
            let due = sleep_until(self.due);
            tokio::select! { () = due => {}, () = self.stop.asked() => {} }
        }
    }

    /// Delays the next request. Idle time earns no burst credit: `tail -f` may be silent for an hour.
    fn spend(&mut self, messages: usize) {
        if let Some(rate) = self.rate {
            let time = Duration::from_secs_f64(messages as f64 / f64::from(rate));
            self.due = self.due.max(Instant::now()) + time;
        }
    }

    /// The next request; `None` at the end.
    async fn next(&mut self) -> Option<Part> {
        if self.stop.is_asked() {
            return None;
        }
        let mut part = Part::default();
        while !part.request.is_full() {
            let next = match self.ahead.pop_front() {
                Some(next) => Some(next),
                None => self.step(part.request.is_empty()).await,
            };
            match next {
                Some(Step::Message(of)) if part.request.has_room(of.message.bytes) => {
                    part.lines.insert(of.message.number, of.numbers);
                    part.request.push(of.message);
                }
                Some(Step::Message(of)) => {
                    self.ahead.push_front(Step::Message(of));
                    break;
                }
                Some(Step::Refused(lines)) => {
                    part.refused.push(lines);
                    break;
                }
                Some(Step::Unread(error)) => {
                    part.unread = Some(error);
                    break;
                }
                None => break,
            }
        }
        let is_end = part.request.is_empty() && part.refused.is_empty() && part.unread.is_none();
        (!is_end).then_some(part)
    }

    fn is_fifo(&self) -> bool {
        self.run.is_some()
    }

    /// The next message, or why there is none; `None` at the end, or if the next line does not come soon.
    async fn step(&mut self, is_first: bool) -> Option<Step> {
        loop {
            let patience = match &self.open {
                Some(_) => self.patience,
                None if is_first => Duration::MAX,
                None => LINGER,
            };
            let Some((number, line)) = self.line(patience).await else {
                return self.close();
            };
            let step = match line {
                Ok(line) if line.trim().is_empty() => continue,
                Ok(line) => match self.add(number, line) {
                    Ok(None) => continue,
                    Ok(Some(step @ Step::Unread(_))) => step,
                    Ok(Some(step)) => return Some(step),
                    Err(reason) => refused(vec![number], reason),
                },
                Err(error) if is_not_utf8(&error) => {
                    refused(vec![number], "it is not UTF-8: convert it with iconv")
                }
                Err(error) => Step::Unread(CliError::input(&format!("line {number}"), &error)),
            };
            // The lines before it come first.
            let Some(before) = self.close() else {
                return Some(step);
            };
            self.ahead.push_back(step);
            return Some(before);
        }
    }

    /// The next line, unless it takes longer than this.
    async fn line(&mut self, patience: Duration) -> Option<Line> {
        tokio::select! {
            biased;
            () = self.stop.asked() => None,
            line = timeout(patience, self.lines.recv()) => line.ok()?,
        }
    }

    /// Adds a line, and returns a message that is complete.
    fn add(&mut self, number: usize, line: String) -> Result<Option<Step>, &'static str> {
        let sampled = unsampled(line);
        let group = match &self.group_id_from {
            Some(path) => Some(group_id(&sampled.body, path)?),
            // Another queue has no use for it.
            None => sampled.group.filter(|_| self.is_fifo()),
        };
        if group.is_none() && self.is_fifo() {
            return Ok(Some(Step::Unread(CliError::invalid(NO_GROUP))));
        }
        let line = sampled.body;
        let beside = Beside {
            group,
            attributes: self.attributes.of(&line, sampled.attributes)?,
        };
        let open = self.open.take();
        let Some(packing) = &self.packing else {
            let message = self.message(vec![number], line, &beside)?;
            return Ok(Some(Step::Message(message)));
        };
        let bytes = |beside: &Beside, body| {
            let message = self.outgoing(number, body, beside);
            message.map_or(0, |message| message.bytes)
        };
        let (complete, open) = match (open, packing.start(number, line, beside, bytes)) {
            (None, pack) => (None, pack?),
            (Some(mut open), Ok(pack)) => match open.join(pack, packing, bytes) {
                None => (None, open),
                Some(pack) => (Some(open), pack),
            },
            (Some(open), Err(reason)) => {
                self.open = Some(open);
                return Err(reason);
            }
        };
        // A message that another one follows, or that is full, is complete.
        let (complete, open) = match complete {
            None if open.is_full(packing) => (Some(open), None),
            complete => (complete, Some(open)),
        };
        let complete = complete.map(|pack| self.packed(packing, pack));
        self.open = open;
        Ok(complete)
    }

    /// The message that was open.
    fn close(&mut self) -> Option<Step> {
        let (pack, packing) = (self.open.take()?, self.packing.as_ref()?);
        Some(self.packed(packing, pack))
    }

    fn packed(&self, packing: &Packing, pack: Pack) -> Step {
        let body = pack.body(packing);
        let numbers = pack.numbers;
        match self.message(numbers.clone(), body, &pack.beside) {
            Ok(message) => Step::Message(message),
            Err(reason) => refused(numbers, reason),
        }
    }

    /// The message of these lines with this body, which has no envelope yet.
    fn message(
        &self,
        numbers: Vec<usize>,
        body: String,
        beside: &Beside,
    ) -> Result<MessageOfLines, &'static str> {
        let number = numbers.first().copied().unwrap_or_default();
        let message = self.outgoing(number, body, beside);
        match message {
            Some(message) if message.bytes <= MAX_BYTES => Ok(MessageOfLines { message, numbers }),
            _ => Err("it is larger than 1 MiB"),
        }
    }

    fn outgoing(&self, number: usize, body: String, beside: &Beside) -> Option<Outgoing> {
        let (body, attributes) = self.attributes.apply(body, &beside.attributes);
        let deduplication = self.run.as_ref().map(|run| format!("{run}-{number}"));
        let entry = SendMessageBatchRequestEntry::builder()
            .message_body(body)
            .set_message_attributes(Some(attributes))
            .set_message_group_id(beside.group.clone())
            .set_message_deduplication_id(deduplication);
        Outgoing::new(number, entry)
    }
}

fn refused(numbers: Vec<usize>, reason: &str) -> Step {
    let result = Err(reason.to_owned());
    Step::Refused(SentLines { numbers, result })
}

/// The text or number at a path of the body.
fn group_id(line: &str, path: &Path) -> Result<String, &'static str> {
    let body = body(line).map_err(|_| "it is not JSON, so it has no group")?;
    match path.find(&body) {
        Some(Value::String(group)) if !group.is_empty() => Ok(group.clone()),
        Some(Value::Number(group)) => Ok(group.to_string()),
        _ => Err("it has no text or number at the path given by --group-id-from"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn idle_time_earns_no_burst_credit() {
        let (sender, lines) = mpsc::channel(30);
        for number in 1..=30 {
            sender.try_send((number, Ok("a".to_owned()))).unwrap();
        }
        drop(sender);
        let now = Instant::now();
        let requests = Requests {
            lines,
            stop: Stop::on_signal().unwrap(),
            rate: Some(40),
            due: now.checked_sub(Duration::from_secs(60)).unwrap(),
            group_id_from: None,
            attributes: Attributes {
                fixed: Vec::new(),
                from: None,
                topic_arn: None,
            },
            run: None,
            packing: None,
            patience: PACK_LINGER,
            open: None,
            ahead: VecDeque::new(),
        };
        assert_eq!(requests.stream().count().await, 3);
        // The last ten are sent half a second after the first.
        assert!(now.elapsed().as_millis() >= 500, "{:?}", now.elapsed());
    }
}
