//! `send`: JSON lines into a queue.

mod attributes;
mod report;

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
use attributes::{Attributes, attribute, body};
use report::SendReport;

/// Lines read ahead of what is sent.
const LINES_AHEAD: usize = 100;

/// How long a request waits for more lines after its first.
const LINGER: Duration = Duration::from_millis(50);

const EXAMPLES: &str = "\
Examples:
  sqs-to-postgres send --queue-url \"$QUEUE_URL\" events/logins.jsonl
  sqs-to-postgres send --queue-name users --sns \"$TOPIC_ARN\" --attribute tenant=acme users.jsonl
  tail -f app.log | sqs-to-postgres send --queue-name logins.fifo --group-id-from user_id";

/// Send the lines of a file to a queue, each as a message
///
/// Requests hold up to ten messages, and several are sent at once. On a FIFO queue they are
/// sent one after the other, each with one message per group, so the order is kept: a
/// message that SQS does not accept blocks the later ones of its group, and a line without
/// a group ends the command. Empty lines are skipped. On a standard queue, a line that
/// cannot be sent does not affect the others. Every line that was not sent is listed, those
/// with the same reason together.
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
        let sqs = Client::new(self.queue.aws().config().await);
        let queue = self.queue.required_queue(&sqs).await?;
        let is_fifo = queue.is_fifo();
        if is_fifo && self.group_id_from.is_none() {
            return Err(CliError::invalid(
                "a FIFO queue keeps order within groups: name the path of the group with --group-id-from",
            ));
        }
        let (lines, total) = self.open()?;
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
            next: None,
        };
        let concurrency = if is_fifo { 1 } else { self.concurrency.into() };
        let sender = Sender::new(queue);
        let mut sending = requests
            .stream()
            .map(|part| part.send(&sender))
            .buffer_unordered(concurrency)
            .boxed_local();
        let mut report = SendReport::new(self.json, total);
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
    /// A message for which the last request had no room.
    next: Option<Outgoing>,
}

/// A request, and the lines among its own that cannot be sent.
#[derive(Default)]
struct Part {
    request: Request,
    refused: Vec<Sent>,
    /// Why no further line can be read.
    unread: Option<CliError>,
}

impl Part {
    /// The results of its lines, whether any was refused before it was sent, and the error that ended it.
    async fn send(self, sender: &Sender) -> (Vec<Sent>, bool, Result<(), CliError>) {
        let (mut all, read) = (self.refused, self.unread.map_or(Ok(()), Err));
        let has_refused = !all.is_empty();
        let (sent, result) = sender.send(self.request).await;
        all.extend(sent);
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
        if let Some(message) = self.next.take() {
            part.request.push(message);
        }
        while !part.request.is_full() {
            let Some((number, line)) = self.line(part.request.is_empty()).await else {
                break;
            };
            let message = match line {
                Ok(line) => self.message(number, line),
                Err(error) if is_not_utf8(&error) => Err("it is not UTF-8: convert it with iconv"),
                Err(error) => {
                    part.unread = Some(CliError::input(&format!("line {number}"), &error));
                    break;
                }
            };
            match message {
                Ok(None) => {}
                Ok(Some(message)) if part.request.has_room(message.bytes) => {
                    part.request.push(message)
                }
                Ok(Some(message)) => {
                    self.next = Some(message);
                    break;
                }
                Err(reason) => {
                    let result = Err(reason.to_owned());
                    part.refused.push(Sent { number, result });
                    break;
                }
            }
        }
        let is_end = part.request.is_empty() && part.refused.is_empty() && part.unread.is_none();
        (!is_end).then_some(part)
    }

    /// The next line. A request that has a line already does not wait long for it.
    async fn line(&mut self, is_first: bool) -> Option<Line> {
        let patience = if is_first { Duration::MAX } else { LINGER };
        tokio::select! {
            biased;
            () = self.stop.asked() => None,
            line = timeout(patience, self.lines.recv()) => line.ok()?,
        }
    }

    /// The message of a line; `None` if the line is empty.
    fn message(&self, number: usize, body: String) -> Result<Option<Outgoing>, &'static str> {
        if body.trim().is_empty() {
            return Ok(None);
        }
        let group = self
            .group_id_from
            .as_ref()
            .map(|path| group_id(&body, path))
            .transpose()?;
        let (body, attributes) = self.attributes.apply(body)?;
        let deduplication = self.run.as_ref().map(|run| format!("{run}-{number}"));
        let entry = SendMessageBatchRequestEntry::builder()
            .message_body(body)
            .set_message_attributes(Some(attributes))
            .set_message_group_id(group)
            .set_message_deduplication_id(deduplication);
        let message = Outgoing::new(number, entry);
        match message
            .as_ref()
            .is_some_and(|message| message.bytes > MAX_BYTES)
        {
            true => Err("it is larger than 1 MiB"),
            false => Ok(message),
        }
    }
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
            next: None,
        };
        assert_eq!(requests.stream().count().await, 3);
        // The last ten are sent half a second after the first.
        assert!(now.elapsed().as_millis() >= 500, "{:?}", now.elapsed());
    }
}
