//! `infer`: sample messages → a first mapping, with a reason for each choice.

mod pii;
mod shape;
mod value;

use std::collections::HashMap;
use std::path::PathBuf;

use clap::Args;
use sqs_to_postgres::mask::{Mask, MaskKey};
use sqs_to_postgres::message::{Envelope, Message};
use sqs_to_postgres::pipeline::{Path, Pipeline};
use sqs_to_postgres::rows::Rows;
use sqs_to_postgres::transform::Transformer;
use sqs_to_postgres::types::ColumnType;
use thiserror::Error;

use crate::cli::Outcome;
use crate::cli::error::CliError;
use crate::cli::output::{self, counted};
use crate::cli::samples::{self, Sample};
use pii::{part_name, words};
use shape::{Json, Shape, TEXT_TYPES, is_name};

const EXAMPLES: &str = "\
Examples:
  sqs-to-postgres infer --table shop.orders orders.jsonl > pipeline.toml
  sqs-to-postgres explain --pipeline pipeline.toml orders.jsonl";

/// Depth to which objects become columns; deeper ones become jsonb.
const MAX_DEPTH: usize = 3;

/// The longest identifier that Postgres keeps, in bytes.
const MAX_NAME_BYTES: usize = 63;

/// A field with an integer above this may soon exceed 32 bits.
const ROOMY_INTEGER: u64 = 1_000_000_000;

/// Widths of a varchar; the first that fits twice the longest sample is chosen.
const WIDTHS: [usize; 6] = [32, 64, 128, 256, 512, 1024];

/// The mask of personal data: a hash, which cannot be made without the key.
const MASK: Mask = Mask::HmacSha256;

/// The column at which comments begin.
const COMMENT_COLUMN: usize = 32;

#[derive(Debug, Error)]
#[error(
    "no sample is a JSON object: give messages as JSON lines, or the event of a Lambda function"
)]
struct NoObject;

/// Propose a mapping for sample messages, with masks for what looks like personal data
///
/// Types, widths and required columns are inferred from the samples, so provide many.
/// Comments explain each choice. No value of a sample is printed.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment, after_help = EXAMPLES)]
pub(crate) struct Infer {
    /// Files of JSON lines, one JSON message, or the event of a Lambda function; stdin if omitted or -
    files: Vec<PathBuf>,
    /// Name of the table, or "schema.table"
    #[arg(long, value_name = "NAME", default_value = "messages")]
    table: String,
}

impl Infer {
    pub(crate) async fn run(self) -> Result<Outcome, CliError> {
        let samples = samples::read(&self.files)?;
        let envelope = envelope(&samples);
        let mut shape = Shape::default();
        let mut left_out = 0;
        for sample in &samples {
            match body(sample, envelope) {
                Some(body) => shape.observe(&body),
                None => left_out += 1,
            }
        }
        if shape.objects == 0 {
            return Err(CliError::invalid(NoObject));
        }
        let mapping = mapping(&self.table, envelope, &shape);
        let rejected = rejected(&mapping, &samples)?;
        output::bytes(mapping.as_bytes())?;
        eprintln!("{} read", counted(samples.len(), "message"));
        if left_out > 0 {
            eprintln!(
                "{} left out: not a JSON object",
                counted(left_out, "message")
            );
        }
        if rejected > left_out {
            eprintln!(
                "{} would be rejected: `sqs-to-postgres explain` shows why",
                counted(rejected - left_out, "message")
            );
        }
        Ok(if rejected == 0 {
            Outcome::Done
        } else {
            Outcome::SomeFailed
        })
    }
}

/// The envelope of most samples.
fn envelope(samples: &[Sample]) -> Envelope {
    let fits_most = |envelope: &Envelope| {
        let fits = |sample: &&Sample| Message::extract(&sample.record, *envelope).is_ok();
        samples.iter().filter(fits).count() * 2 > samples.len()
    };
    let mut envelopes = Envelope::all().filter(|envelope| envelope.mismatch().is_some());
    envelopes.find(fits_most).unwrap_or(Envelope::None)
}

/// The body, if it is an object.
fn body(sample: &Sample, envelope: Envelope) -> Option<Json> {
    let message = Message::extract(&sample.record, envelope).ok()?;
    let body = serde_json::from_str(message.body()).ok()?;
    matches!(body, Json::Object(_)).then_some(body)
}

/// How many of the samples the mapping rejects.
fn rejected(mapping: &str, samples: &[Sample]) -> Result<usize, CliError> {
    let pipeline = Pipeline::parse("the mapping", mapping)?;
    let transformer = Transformer::new("the mapping", &pipeline, Some(&MaskKey::placeholder()))?;
    let is_rejected = |sample: &&Sample| {
        let message = Message::extract(&sample.record, pipeline.envelope);
        let mut rows = Rows::new(pipeline.columns.len());
        message.is_ok_and(|message| transformer.transform(&message, &mut rows).is_err())
    };
    Ok(samples.iter().filter(is_rejected).count())
}

fn mapping(table: &str, envelope: Envelope, shape: &Shape) -> String {
    let mut draft = Draft {
        total: shape.present,
        names: HashMap::new(),
        text: String::new(),
    };
    let total = counted(draft.total, "message");
    let why_envelope = match envelope {
        Envelope::None => "the body is the message",
        _ => "most samples are in it",
    };
    draft.text += &format!(
        "# Proposed by `sqs-to-postgres infer` for {total}: review it before you deploy it. Types and\n"
    );
    draft.text +=
        "# widths fit the samples, with room to spare. Fields in every sample are required.\n\n";
    let id = free_name(shape, "message_id");
    draft.line("table", table, "");
    draft.text += &commented(
        &format!("key = [{}]", quoted(&id)),
        "or a field that is unique to each message",
    );
    draft.line(
        "on_conflict",
        "ignore",
        "or \"update\", best with newer = \"…\"",
    );
    draft.line("envelope", &envelope.to_string(), why_envelope);
    draft.column(&id, "uuid", "");
    draft.line(
        "from",
        "@message_id",
        "a redelivered message is stored once",
    );
    for (key, shape) in &shape.keys {
        draft.add(&[key.as_str()], shape);
    }
    // A nested field may have taken it: {"sent": {"at": …}}.
    let sent_at = draft.unique(&free_name(shape, "sent_at"));
    draft.column(&sent_at, "timestamptz", "");
    draft.line("from", "@sent_at", "when SQS received it");
    draft.text
}

/// A name for metadata that the body does not use.
fn free_name(shape: &Shape, name: &str) -> String {
    let is_taken = shape
        .keys
        .iter()
        .any(|(key, _)| words(key).join("_") == name);
    if is_taken {
        format!("sqs_{name}")
    } else {
        name.to_owned()
    }
}

/// The mapping written so far.
struct Draft {
    total: usize,
    /// The names of the columns, each with the number to try for the next column of that name.
    names: HashMap<String, usize>,
    text: String,
}

impl Draft {
    /// Adds the column of a path, or the columns below it.
    fn add(&mut self, path: &[&str], shape: &Shape) {
        let name = path.last().copied().unwrap_or_default();
        if !is_name(name) {
            self.text += "\n# Left out: a key that looks like data.\n";
            return;
        }
        if shape.is_record() && path.len() < MAX_DEPTH {
            for (key, below) in &shape.keys {
                self.add(&[path, &[key.as_str()]].concat(), below);
            }
            return;
        }
        let is_nested = shape.objects + shape.arrays > 0;
        match (is_nested, shape.pii_inside(name)) {
            (true, Some(kind)) => {
                let path = joined(path);
                self.text += &format!(
                    "\n# Left out: {} contains what looks like {kind}, and jsonb cannot be masked. Map its parts.\n",
                    quoted(&path)
                );
            }
            _ => self.add_column(path, shape),
        }
    }

    fn add_column(&mut self, path: &[&str], shape: &Shape) {
        let masked = shape.pii(&match path {
            [.., object, part] => part_name(object, part),
            _ => path.concat(),
        });
        // Postgres needs quotes around a name with capitals.
        let plain: Vec<String> = path.iter().flat_map(|step| words(step)).collect();
        let plain = plain.join("_");
        let name = match masked {
            Some(_) => format!("masked_{plain}"),
            None => plain,
        };
        let name = self.unique(&name);
        match &masked {
            Some(_) => {
                let width = ColumnType::Varchar(MASK.min_token_chars());
                self.column(&name, &width.to_string(), "the width of a token");
            }
            None => {
                let (column_type, why) = column_type(shape);
                self.column(&name, &column_type, &why);
            }
        }
        let from = joined(path);
        if from != name {
            self.line("from", &from, "");
        }
        if shape.present == self.total {
            let why = format!("in all {}", counted(self.total, "message"));
            self.text += &commented("required = true", &why);
        }
        if let Some((_, why)) = masked {
            self.line("mask", &MASK.to_string(), &why);
        }
    }

    /// The name, with a number if it is taken.
    fn unique(&mut self, name: &str) -> String {
        let cut = |name: &str, room: usize| {
            let mut name = name.to_owned();
            while name.len() > room {
                name.pop();
            }
            name
        };
        let first = cut(name, MAX_NAME_BYTES);
        let Some(&number) = self.names.get(&first) else {
            return first;
        };
        let numbered = (number..).map(|number| {
            let suffix = format!("_{number}");
            (number, cut(name, MAX_NAME_BYTES - suffix.len()) + &suffix)
        });
        let mut free = numbered.filter(|(_, name)| !self.names.contains_key(name));
        let (number, unique) = free.next().unwrap_or_default();
        self.names.insert(first, number + 1);
        unique
    }

    fn column(&mut self, name: &str, column_type: &str, why: &str) {
        self.names.entry(name.to_owned()).or_insert(2);
        self.text += "\n[[column]]\n";
        self.line("name", name, "");
        self.line("type", column_type, why);
    }

    fn line(&mut self, key: &str, value: &str, comment: &str) {
        self.text += &commented(&format!("{key} = {}", quoted(value)), comment);
    }
}

/// The type of a column, and the reason.
fn column_type(shape: &Shape) -> (String, String) {
    let plain = |name: &str| (name.to_owned(), String::new());
    if shape.objects + shape.arrays > 0 {
        return plain("jsonb");
    }
    let all = shape.scalars() + shape.bools;
    if all == 0 {
        return (
            "text".to_owned(),
            "only null in the samples: set its type".to_owned(),
        );
    }
    if shape.bools == all {
        return plain("boolean");
    }
    if shape.integers == all {
        return plain(if shape.largest > ROOMY_INTEGER {
            "bigint"
        } else {
            "integer"
        });
    }
    if shape.integers + shape.numbers == all {
        return plain("numeric");
    }
    if let Some((name, _)) = TEXT_TYPES.iter().find(|(name, _)| shape.typed(name) == all) {
        return plain(name);
    }
    let longest = format!("the longest has {}", counted(shape.max_chars, "character"));
    let width = WIDTHS
        .into_iter()
        .find(|&width| width >= 2 * shape.max_chars);
    (
        width.map_or("text".to_owned(), |width| format!("varchar({width})")),
        longest,
    )
}

/// The path as the mapping writes it.
fn joined(path: &[&str]) -> String {
    Path(path.iter().map(ToString::to_string).collect()).to_string()
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

fn commented(line: &str, comment: &str) -> String {
    match comment {
        "" => format!("{line}\n"),
        comment => format!("{line:<COMMENT_COLUMN$} # {comment}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::shape::tests::must_be_linear;
    use super::*;

    #[test]
    fn the_work_for_a_name_does_not_grow_with_the_number_of_equal_names() {
        must_be_linear(|names| {
            let mut draft = Draft {
                total: 1,
                names: HashMap::new(),
                text: String::new(),
            };
            for _ in 0..names {
                let name = draft.unique(&"n".repeat(MAX_NAME_BYTES));
                draft.column(&name, "text", "");
            }
            assert_eq!(draft.names.len(), names);
        });
    }
}
