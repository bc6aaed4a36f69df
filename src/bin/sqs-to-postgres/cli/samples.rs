//! Sample messages: from files or stdin, as JSON lines, one JSON value, or the event of a Lambda
//! function.

use std::fs;
use std::io::Read as _;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Deserialize as _;
use serde_json::{Value, json};
use sqs_to_postgres::message::Record;
use thiserror::Error;

use crate::cli::error::CliError;

/// The name of stdin in error messages.
const STDIN: &str = "stdin";

/// A record of an event that is not one of SQS.
#[derive(Debug, Error)]
#[error("{0} is not an SQS record: give the event as Lambda passes it to a function")]
struct NotARecord(String);

/// A sample message.
pub(crate) struct Sample {
    /// Where it was: `line 3`, `record 1`.
    pub(crate) place: String,
    /// The message as Lambda passes it.
    pub(crate) record: Record<'static>,
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

fn split(before: &str, text: &str) -> Result<Vec<Sample>, CliError> {
    let whole: Option<Value> = serde_json::from_str(text).ok();
    // A message may have `Records` of its own, as S3 notifications do.
    let is_of_sqs =
        |records: &&Vec<Value>| records.iter().any(|record| record["messageId"].is_string());
    let records = whole.as_ref().and_then(|whole| whole["Records"].as_array());
    if let Some(records) = records.filter(is_of_sqs) {
        let numbered = records.iter().zip(1..);
        return numbered
            .map(|(record, number)| sample(format!("{before}record {number}"), record.clone()))
            .collect();
    }
    if whole.is_some() {
        return Ok(vec![of_body(format!("{before}message"), text.trim(), 1)?]);
    }
    let lines = text
        .lines()
        .zip(1..)
        .filter(|(line, _)| !line.trim().is_empty());
    lines
        .map(|(line, number)| of_body(format!("{before}line {number}"), line, number))
        .collect()
}

/// A message with this body, as if SQS delivered it now.
fn of_body(place: String, body: &str, number: usize) -> Result<Sample, CliError> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let now = now.as_millis().to_string();
    let record = json!({
        "messageId": format!("00000000-0000-4000-8000-{number:012}"), "body": body,
        "attributes": {"SentTimestamp": now, "ApproximateFirstReceiveTimestamp": now, "ApproximateReceiveCount": "1"},
    });
    sample(place, record)
}

fn sample(place: String, record: Value) -> Result<Sample, CliError> {
    match Record::deserialize(record) {
        Ok(record) => Ok(Sample { place, record }),
        Err(_) => Err(CliError::invalid(NotARecord(place))),
    }
}
