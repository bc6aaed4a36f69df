//! Several lines in one message.

use std::path::PathBuf;

use mapping::internals::MAX_UNPACKED_BYTES;
use mapping::{TableMapping, Wrapping};
use serde::de::IgnoredAny;
use sqs_to_postgres::sqs::batch::MAX_BYTES;
use sqs_to_postgres::start::read_pipeline;

use super::attributes::AttributesOfLine;
use crate::cli::error::CliError;

/// How lines are packed.
pub(super) struct Packing {
    /// The most lines of a message.
    most: usize,
    wrapping: Wrapping,
}

/// What one message has in common, whatever its lines are.
#[derive(PartialEq)]
pub(super) struct Beside {
    pub(super) group: Option<String>,
    pub(super) attributes: AttributesOfLine,
}

/// Lines that will be one message.
pub(super) struct Pack {
    pub(super) beside: Beside,
    pub(super) numbers: Vec<usize>,
    lines: Vec<String>,
    /// The bytes of all lines, with a separator each.
    unpacked: usize,
    /// What the message has at most, in bytes, as SQS counts them.
    at_most: usize,
}

/// A separator, or the bracket at the end of an array.
const SEPARATOR: usize = 1;

/// How much a byte of a line can add to a message: base64 adds a third, and an envelope of SNS escapes quotes.
const MAX_GROWTH: usize = 2;

impl Packing {
    /// Reads the mapping in this file, if there is one.
    pub(super) fn new(most: usize, mapping: Option<&PathBuf>) -> Result<Self, CliError> {
        let Some(path) = mapping else {
            let wrapping = Wrapping::default();
            return Ok(Self { most, wrapping });
        };
        let (file, pipeline) = read_pipeline(std::slice::from_ref(path))?;
        if !pipeline.tables.iter().any(TableMapping::is_of_body) {
            return Err(CliError::invalid(format!(
                "{file}: it reads one record of a message: --pack needs a table with each = \"@body\""
            )));
        }
        Ok(Self {
            most,
            wrapping: pipeline.wrapping,
        })
    }

    /// The body for these lines, without an envelope.
    fn body<'l>(&self, lines: impl IntoIterator<Item = &'l String>) -> String {
        self.wrapping.pack(lines.into_iter().map(String::as_str))
    }

    /// A message of one line so far. `bytes` gives the size of a message with a body.
    pub(super) fn start(
        &self,
        number: usize,
        line: String,
        beside: Beside,
        bytes: impl Fn(&Beside, String) -> usize,
    ) -> Result<Pack, &'static str> {
        if serde_json::from_str::<IgnoredAny>(&line).is_err() {
            return Err("it is not JSON, so it cannot be packed with others");
        }
        let at_most = bytes(&beside, self.body([&line]));
        if at_most > MAX_BYTES {
            return Err("it is larger than 1 MiB");
        }
        Ok(Pack {
            beside,
            numbers: vec![number],
            unpacked: line.len() + SEPARATOR,
            lines: vec![line],
            at_most,
        })
    }
}

impl Pack {
    /// Whether no further line may join.
    pub(super) fn is_full(&self, packing: &Packing) -> bool {
        self.lines.len() >= packing.most
    }

    /// Adds the line of another pack, unless that would be too much for a message, or it has another group or other
    /// attributes.
    pub(super) fn join(
        &mut self,
        other: Pack,
        packing: &Packing,
        bytes: impl Fn(&Beside, String) -> usize,
    ) -> Option<Pack> {
        let unpacked = self.unpacked + other.unpacked;
        // An array has another bracket.
        if self.beside != other.beside || unpacked + SEPARATOR > MAX_UNPACKED_BYTES {
            return Some(other);
        }
        let mut at_most = self.at_most + other.unpacked * MAX_GROWTH;
        if at_most > MAX_BYTES {
            // Perhaps it is less: only packing it shows how far it can be compressed.
            let lines = self.lines.iter().chain(&other.lines);
            at_most = bytes(&self.beside, packing.body(lines));
        }
        if at_most > MAX_BYTES {
            return Some(other);
        }
        self.at_most = at_most;
        self.unpacked = unpacked;
        self.lines.extend(other.lines);
        self.numbers.extend(other.numbers);
        None
    }

    /// The body of the message.
    pub(super) fn body(&self, packing: &Packing) -> String {
        packing.body(&self.lines)
    }
}
