//! Sample messages, from files or stdin: JSON lines, JSON values one after the other however they are laid out, a JSON
//! array of messages, events of a Lambda function, or what `aws sqs receive-message` prints.

use std::fs;
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use mapping::Record;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::cli::error::CliError;

/// The name of stdin in error messages.
const STDIN: &str = "stdin";

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
    let mut samples = Vec::new();
    if files.is_empty() {
        samples.extend(split("", &stdin()?)?);
    }
    for file in files {
        let name = file.display().to_string();
        let text = match name.as_str() {
            "-" => stdin()?,
            _ => fs::read_to_string(file).map_err(|error| CliError::input(&name, &error))?,
        };
        let before = if files.len() > 1 {
            format!("{name}, ")
        } else {
            String::new()
        };
        samples.extend(split(&before, &text)?);
    }
    Ok(samples)
}

fn stdin() -> Result<String, CliError> {
    let mut text = String::new();
    let read = std::io::stdin().lock().read_to_string(&mut text);
    read.map_err(|error| CliError::input(STDIN, &error))?;
    Ok(text)
}

/// The messages of a text. Their places begin with `before`.
fn split(before: &str, text: &str) -> Result<Vec<Sample>, CliError> {
    let text = text.trim_start_matches('\u{feff}');
    let mut samples = Vec::new();
    let is_object = |value: &&RawValue| value.get().starts_with('{');
    if let Ok(elements) = serde_json::from_str::<Vec<&RawValue>>(text)
        && elements.iter().any(is_object)
    {
        for (element, number) in elements.iter().zip(1..) {
            let place = format!("{before}element {number}");
            add(&mut samples, &place, element.get())?;
        }
        for sample in &mut samples {
            sample.is_element = true;
        }
        return Ok(samples);
    }
    let values = values(text);
    match values[..] {
        [(_, value)] if serde_json::from_str::<IgnoredAny>(value).is_ok() => {
            let place = match event_records(value) {
                Some(_) => before.to_owned(),
                None => format!("{before}message"),
            };
            add(&mut samples, &place, value)?;
        }
        _ => {
            for (line, value) in values {
                add(&mut samples, &format!("{before}line {line}"), value)?;
            }
        }
    }
    Ok(samples)
}

/// Adds the message with this body, or the messages of this event.
fn add(samples: &mut Vec<Sample>, place: &str, value: &str) -> Result<(), CliError> {
    let Some(records) = event_records(value) else {
        samples.push(of_body(place.to_owned(), value)?);
        return Ok(());
    };
    let place = match place {
        "" => String::new(),
        place => format!("{}, ", place.trim_end_matches(", ")),
    };
    for (record, number) in records.into_iter().zip(1..) {
        samples.push(sample(format!("{place}record {number}"), record)?);
    }
    Ok(())
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
    let mut system = delivered_now();
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

/// A message with this body, as if SQS delivered it now. Messages of different files, too, have different ids.
fn of_body(place: String, body: &str) -> Result<Sample, CliError> {
    static NUMBER: AtomicUsize = AtomicUsize::new(1);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let record = json!({
        "messageId": format!("00000000-0000-4000-8000-{number:012}"), "body": body,
        "attributes": delivered_now(),
    });
    sample(place, record)
}

/// The attributes of a message that SQS received and delivered now.
fn delivered_now() -> Map<String, Value> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let now = now.as_millis().to_string();
    let attributes = [
        ("SentTimestamp", now.clone()),
        ("ApproximateFirstReceiveTimestamp", now),
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
