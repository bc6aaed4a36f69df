//! The people to forget: their values as each table stores them, and whether a message is about one of them.

use serde_json::value::RawValue;
use sqs_to_postgres::mask::{KeyRing, Mask, Masker, UnmaskError};
use sqs_to_postgres::message::Message;
use sqs_to_postgres::message::origin::Origins;
use sqs_to_postgres::pipeline::Pipeline;
use sqs_to_postgres::rejection::Rule;
use sqs_to_postgres::transform::Transformer;
use thiserror::Error;
use tokio_postgres::types::Type;

use super::column::{Cell, Searched, searched};
use crate::cli::error::CliError;
use crate::cli::event::record;

/// Why values cannot be searched for.
#[derive(Debug, Error)]
enum PersonError {
    #[error("value {0} cannot be in column {1:?}: {2}")]
    Impossible(usize, String, Rule),
    #[error("no value given: name one, or write one per line to stdin")]
    NoValue,
}

/// The people to forget.
pub(super) struct People {
    pub(super) column: String,
    pub(super) searched: Vec<Searched>,
    /// Of each person a digest, if there is a mask key.
    pub(super) digests: Vec<Option<String>>,
    /// What limits the search, for the user.
    pub(super) notes: Vec<String>,
    /// As they were given, and without their masks.
    texts: Vec<String>,
    pub(super) pipeline: Pipeline,
    /// One for each mask key.
    transformers: Vec<Transformer>,
    origins: Origins,
}

/// What a message of the dead-letter queue is.
pub(super) enum Verdict {
    Theirs,
    OfOthers,
    /// It cannot be read as the mapping reads messages; whether its text contains a value.
    Unreadable {
        is_suspect: bool,
    },
}

impl People {
    pub(super) fn new(
        (file, pipeline): (&str, Pipeline),
        column: &str,
        keys: Option<&KeyRing>,
        values: &[String],
    ) -> Result<Self, CliError> {
        if values.is_empty() {
            return Err(CliError::invalid(PersonError::NoValue));
        }
        let placeholder = KeyRing::placeholder();
        let rings = keys.unwrap_or(&placeholder).one_by_one();
        let transformers = rings.map(|ring| Transformer::new(file, &pipeline, Some(&ring)));
        let mut people = Self {
            column: column.to_owned(),
            searched: searched(file, &pipeline, column, keys)?,
            digests: Vec::new(),
            notes: Vec::new(),
            texts: Vec::new(),
            transformers: transformers.collect::<Result<_, _>>()?,
            origins: Origins::with_retired(keys),
            pipeline,
        };
        for (value, number) in values.iter().zip(1..) {
            people.add(value, number, keys)?;
        }
        Ok(people)
    }

    /// The values as one of the tables stores them, and the type of the parameter for them.
    pub(super) fn cells(&self, searched: usize) -> Option<(Vec<&Cell>, Type)> {
        let searched = self.searched.get(searched)?;
        Some((
            searched.cells.iter().collect(),
            searched.column_type.array(),
        ))
    }

    /// Adds a value, or a token: one of aes-siv stands for its value.
    fn add(&mut self, value: &str, number: usize, keys: Option<&KeyRing>) -> Result<(), CliError> {
        let masker = keys.and_then(|keys| Masker::new(Mask::AesSiv, Some(keys)).ok());
        let unmasked = masker.map(|masker| masker.value(value));
        let is_masked = self
            .searched
            .iter()
            .any(|searched| searched.clear.is_some());
        let is_hash = matches!(unmasked, Some(Err(UnmaskError::Hash(_))));
        let has_others =
            self.searched.len() > 1 || keys.is_some_and(|keys| keys.keys().count() > 1);
        if is_masked && is_hash && has_others {
            self.notes.push(format!(
                "value {number} looks like a hash: rows with the value in clear, or with its token under another key or mask, are found only by the value itself"
            ));
        }
        let plain = unmasked.and_then(Result::ok);
        let texts: Vec<&str> = [Some(value), plain.as_deref()]
            .into_iter()
            .flatten()
            .collect();
        let (mut is_possible, mut broken) = (false, None);
        for searched in &mut self.searched {
            match searched.add(&texts) {
                Ok(()) => is_possible = true,
                Err(rule) => {
                    let table = self.pipeline.tables.get(searched.table);
                    let table = table
                        .map(|table| table.table.to_string())
                        .unwrap_or_default();
                    self.notes
                        .push(format!("value {number} cannot be in table {table}: {rule}"));
                    broken = Some(rule);
                }
            }
        }
        if let Some(rule) = broken.filter(|_| !is_possible) {
            let column = self.column.clone();
            return Err(CliError::invalid(PersonError::Impossible(
                number, column, rule,
            )));
        }
        let person = plain.as_deref().unwrap_or(value);
        self.digests
            .push(keys.map(|keys| keys.digest_for_records(person)));
        self.texts.extend(texts.into_iter().map(str::to_owned));
        Ok(())
    }

    /// Whether a dead letter is about one of them: the mapping would make a row with a value of theirs, or a value of
    /// theirs is where the column is read from.
    pub(super) fn verdict(
        &self,
        message: &aws_sdk_sqs::types::Message,
        queue_arn: &str,
    ) -> Verdict {
        let body = message.body().unwrap_or_default();
        let Some(mut record) = record(message, queue_arn) else {
            return self.unreadable(body);
        };
        record.read_origin(&self.origins);
        let Ok(message) = Message::extract(&record, self.pipeline.envelope) else {
            return self.unreadable(body);
        };
        let mut is_transformed = false;
        for transformer in &self.transformers {
            let mut rows = transformer.new_rows();
            is_transformed |= transformer.transform(&message, &mut rows).is_ok();
            let is_theirs = |searched: &Searched| {
                let Some(table) = rows.tables().get(searched.table) else {
                    return false;
                };
                let mut cells = (0..table.rows.len())
                    .filter_map(|row| table.rows.value(row, searched.position));
                cells.any(|cell| searched.has(cell))
            };
            if self.searched.iter().any(is_theirs) {
                return Verdict::Theirs;
            }
        }
        if self
            .searched
            .iter()
            .any(|searched| searched.is_read_from(&message))
        {
            return Verdict::Theirs;
        }
        let is_json = || serde_json::from_str::<&RawValue>(message.body()).is_ok();
        match is_transformed || is_json() {
            true => Verdict::OfOthers,
            false => self.unreadable(body),
        }
    }

    fn unreadable(&self, body: &str) -> Verdict {
        let is_suspect = self.texts.iter().any(|text| body.contains(text.as_str()));
        Verdict::Unreadable { is_suspect }
    }
}
