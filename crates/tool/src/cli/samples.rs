//! Sample messages, from a queue, files or stdin: JSON lines, JSON values one after the other however they are laid out,
//! a JSON array of messages, events of a Lambda function or their records, as `sample` prints them, or what
//! `aws sqs receive-message` prints.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use mapping::Record;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::error::CliError;
use super::output::escaped;
use super::sampling::{SampleCount, Sampler};
use super::settings::SampledQueueFlags;

/// Where the records of an SQS event come from, as they say themselves.
const SQS: &str = "aws:sqs";

/// The name of stdin in error messages.
const STDIN: &str = "stdin";

/// Where sample messages come from.
#[derive(Debug, Args)]
pub(crate) struct SampleFlags {
    /// Files of JSON messages (one per line, pretty-printed or in an array), output of sample or aws sqs receive-message, or Lambda events; stdin if omitted or -
    #[arg(conflicts_with_all = ["queue_url", "queue_name"])]
    files: Vec<PathBuf>,
    #[command(flatten)]
    count: SampleCount,
    #[command(flatten)]
    queue: SampledQueueFlags,
}

impl SampleFlags {
    /// Whether they come from a queue.
    pub(crate) fn is_queue(&self) -> bool {
        self.queue.is_named()
    }

    /// Whether they come from a queue or from files, and not from stdin because nothing is named.
    pub(crate) fn are_named(&self) -> bool {
        self.is_queue() || !self.files.is_empty()
    }

    /// The files that can be read again, if all of them can.
    pub(crate) fn files(&self) -> Option<&[PathBuf]> {
        let is_file = |file: &PathBuf| file.as_os_str() != "-";
        let are_files = self.are_named() && !self.is_queue() && self.files.iter().all(is_file);
        are_files.then_some(&self.files)
    }

    pub(crate) async fn read(&self) -> Result<Vec<Sample>, CliError> {
        let Some(queue) = self.queue.queue().await? else {
            return read(&self.files);
        };
        let mut samples = Vec::new();
        let take = |record: Value| {
            let id = text_at(&record, "messageId").unwrap_or_default();
            samples.push(sample(format!("message {}", escaped(id)), record)?);
            Ok(())
        };
        let sampler = Sampler::of(queue, &self.count).await?;
        match sampler.read(take).await? {
            true => Err(CliError::invalid("interrupted: run it again")),
            false => Ok(samples),
        }
    }
}

/// A sample message.
pub(crate) struct Sample {
    /// Where it was: `line 3`, `element 2`, `record 1`.
    pub(crate) place: String,
    /// The message as Lambda passes it.
    pub(crate) record: Record<'static>,
    /// Whether it is an element of a file that is one array.
    pub(crate) is_element: bool,
}

/// The messages of these files, or of stdin if there are none.
pub(crate) fn read(files: &[PathBuf]) -> Result<Vec<Sample>, CliError> {
    let mut reader = Reader::new(Clock::Now);
    if files.is_empty() {
        reader.split("", &stdin()?)?;
    }
    for file in files {
        let name = file.display().to_string();
        let text = match name.as_str() {
            "-" => stdin()?,
            _ => text_of(file)?,
        };
        let before = if files.len() > 1 {
            format!("{name}, ")
        } else {
            String::new()
        };
        reader.split(&before, &text)?;
    }
    Ok(reader.samples)
}

/// The messages of a file, sent a second apart from the beginning of 2026 on, so that each time they have the same ids
/// and times.
pub(crate) fn read_dated(file: &Path) -> Result<Vec<Sample>, CliError> {
    let mut reader = Reader::new(Clock::Fixed);
    reader.split("", &text_of(file)?)?;
    Ok(reader.samples)
}

fn text_of(file: &Path) -> Result<String, CliError> {
    let name = || file.display().to_string();
    fs::read_to_string(file).map_err(|error| CliError::input(&name(), &error))
}

fn stdin() -> Result<String, CliError> {
    let mut text = String::new();
    let read = std::io::stdin().lock().read_to_string(&mut text);
    read.map_err(|error| CliError::input(STDIN, &error))?;
    Ok(text)
}

/// When messages that do not say it were sent.
#[derive(Clone, Copy)]
enum Clock {
    Now,
    /// A second apart, from the beginning of 2026 on.
    Fixed,
}

/// 2026-01-01T00:00:00Z, in milliseconds since 1970.
const FIXED_START_MILLIS: u128 = 1_767_225_600_000;

/// Reads messages.
struct Reader {
    samples: Vec<Sample>,
    clock: Clock,
}

impl Reader {
    fn new(clock: Clock) -> Self {
        Self {
            samples: Vec::new(),
            clock,
        }
    }

    /// Adds the messages of a text. Their places begin with `before`.
    fn split(&mut self, before: &str, text: &str) -> Result<(), CliError> {
        let text = text.trim_start_matches('\u{feff}');
        let is_object = |value: &&RawValue| value.get().starts_with('{');
        if let Ok(elements) = serde_json::from_str::<Vec<&RawValue>>(text)
            && elements.iter().any(is_object)
        {
            let first = self.samples.len();
            for (element, number) in elements.iter().zip(1..) {
                let place = format!("{before}element {number}");
                self.add(&place, element.get())?;
            }
            for sample in self.samples.iter_mut().skip(first) {
                sample.is_element = true;
            }
            return Ok(());
        }
        let values = values(text);
        match values[..] {
            [(_, value)] if serde_json::from_str::<IgnoredAny>(value).is_ok() => {
                let place = match event_records(value) {
                    Some(_) => before.to_owned(),
                    None => format!("{before}message"),
                };
                self.add(&place, value)?;
            }
            _ => {
                for (line, value) in values {
                    self.add(&format!("{before}line {line}"), value)?;
                }
            }
        }
        Ok(())
    }

    /// Adds the message with this body, or the messages of this event.
    fn add(&mut self, place: &str, value: &str) -> Result<(), CliError> {
        if let Some(record) = single_record(value) {
            self.samples.push(sample(place.to_owned(), record)?);
            return Ok(());
        }
        let Some(records) = event_records(value) else {
            let sample = self.of_body(place.to_owned(), value)?;
            self.samples.push(sample);
            return Ok(());
        };
        let place = match place {
            "" => String::new(),
            place => format!("{}, ", place.trim_end_matches(", ")),
        };
        for (record, number) in records.into_iter().zip(1..) {
            self.samples
                .push(sample(format!("{place}record {number}"), record)?);
        }
        Ok(())
    }

    /// A message with this body, as if SQS delivered it now. Messages of different files, too, have different ids.
    fn of_body(&self, place: String, body: &str) -> Result<Sample, CliError> {
        let number = self.samples.len() + 1;
        let sent = match self.clock {
            Clock::Now => now_millis(),
            Clock::Fixed => FIXED_START_MILLIS + number as u128 * 1_000,
        };
        let record = json!({
            "messageId": format!("00000000-0000-4000-8000-{number:012}"), "body": body,
            "attributes": delivered_at(sent),
        });
        sample(place, record)
    }
}

/// The records of an SQS event, or of received messages. A message may have `Records` of its own, as S3 notifications
/// do.
fn event_records(value: &str) -> Option<Vec<Value>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Event {
        #[serde(default)]
        records: Vec<Value>,
        #[serde(default)]
        messages: Vec<Value>,
    }
    if !value.starts_with('{') {
        return None;
    }
    let Event { records, messages } = serde_json::from_str(value).ok()?;
    let is_of_sqs = |record: &Value| record["messageId"].is_string();
    if records.iter().any(is_of_sqs) {
        return Some(records);
    }
    let is_received = |message: &Value| message["MessageId"].is_string();
    let are_received = messages.iter().any(is_received);
    are_received.then(|| messages.iter().map(of_received).collect())
}

fn text_at<'v>(object: &'v Value, name: &str) -> Option<&'v str> {
    object.get(name)?.as_str()
}

/// A record of an SQS event, as `sample` prints it, or one of the messages of `aws sqs receive-message`.
pub(crate) fn single_record(value: &str) -> Option<Value> {
    let may_be = || value.contains(SQS) || value.contains("ReceiptHandle");
    if !value.starts_with('{') || !may_be() {
        return None;
    }
    let value: Value = serde_json::from_str(value).ok()?;
    let has_texts = |names: &[&str]| names.iter().all(|name| text_at(&value, name).is_some());
    if text_at(&value, "eventSource") == Some(SQS) && has_texts(&["messageId", "body"]) {
        return Some(value);
    }
    has_texts(&["MessageId", "ReceiptHandle", "Body"]).then(|| of_received(&value))
}

/// A received message as Lambda passes it.
/// Source: <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_Message.html>.
fn of_received(message: &Value) -> Value {
    let attributes = message["MessageAttributes"]
        .as_object()
        .into_iter()
        .flatten();
    let attributes = attributes.map(|(name, value)| {
        let [data_type, text, bytes] =
            ["DataType", "StringValue", "BinaryValue"].map(|key| &value[key]);
        let value = json!({"dataType": data_type, "stringValue": text, "binaryValue": bytes});
        (name.clone(), value)
    });
    let attributes: Map<String, Value> = attributes.collect();
    // Those that receive-message was not asked for are missing, although every message has them.
    let mut system = delivered_at(now_millis());
    let received = message["Attributes"].as_object().into_iter().flatten();
    system.extend(received.map(|(name, value)| (name.clone(), value.clone())));
    json!({
        "messageId": message["MessageId"], "body": message["Body"], "attributes": system,
        "messageAttributes": attributes,
    })
}

/// The values of a text, each with the line on which it begins. An object or array may have several lines or share one;
/// anything else is a line, JSON or not.
fn values(text: &str) -> Vec<(usize, &str)> {
    let mut values = Vec::new();
    let (mut rest, mut line) = (text, 1);
    loop {
        let (blank, trimmed) = rest.split_at(rest.len() - rest.trim_start().len());
        line += blank.matches('\n').count();
        if trimmed.is_empty() {
            return values;
        }
        let (value, after) = trimmed.split_at(value_end(trimmed));
        values.push((line, value.trim_end()));
        line += value.matches('\n').count();
        rest = after;
    }
}

/// Where the value at the start of a text ends.
fn value_end(text: &str) -> usize {
    let line_end = text.find('\n').unwrap_or(text.len());
    let is_nested = |text: &str| text.starts_with(['{', '[']);
    if !is_nested(text) {
        return line_end;
    }
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<IgnoredAny>();
    let is_value = matches!(values.next(), Some(Ok(_)));
    let end = values.byte_offset();
    let after = text.get(end..line_end).unwrap_or_default().trim();
    match is_value && (after.is_empty() || is_nested(after)) {
        true => end,
        false => line_end,
    }
}

fn now_millis() -> u128 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default().as_millis()
}

/// The attributes of a message that SQS received and delivered at this time.
fn delivered_at(millis: u128) -> Map<String, Value> {
    let time = millis.to_string();
    let attributes = [
        ("SentTimestamp", time.clone()),
        ("ApproximateFirstReceiveTimestamp", time),
        ("ApproximateReceiveCount", "1".to_owned()),
    ];
    let attributes = attributes.map(|(name, value)| (name.to_owned(), Value::from(value)));
    attributes.into_iter().collect()
}

fn sample(place: String, record: Value) -> Result<Sample, CliError> {
    match Record::deserialize(record) {
        Ok(record) => Ok(Sample {
            place,
            record,
            is_element: false,
        }),
        Err(_) => Err(CliError::invalid(format!(
            "{place} is not an SQS record: give the event as Lambda passes it to a function"
        ))),
    }
}
