//! The people to forget: their values as each table stores them, and whether a message is about one of them.

use std::iter::once;

use mapping::internals::{AesSivKeys, Masker, UnmaskError, is_s3_pointer};
use mapping::{
    Compiled, Encoding, KeyRing, Mask, Message, Origins, Packing, Pipeline, Record, Rule, Wrapping,
};
use serde_json::value::RawValue;
use thiserror::Error;
use tokio_postgres::types::Type;

use super::column::{Cell, Searched, searched};
use super::escapes::unescaped;
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
    /// A digest for each person, if there is a mask key.
    pub(super) digests: Vec<Option<String>>,
    /// What limits the search, for the user.
    pub(super) notes: Vec<String>,
    /// As they were given, without their masks, and after their transforms; in lower case.
    texts: Vec<String>,
    pub(super) pipeline: Pipeline,
    /// The mapping with each of the mask keys.
    mappings: Vec<Compiled>,
    origins: Origins,
}

/// Whose a message of the dead-letter queue is.
pub(super) enum Whose {
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
        let mappings = rings.map(|ring| Compiled::new(file, &pipeline, Some(&ring)));
        let mut people = Self {
            column: column.to_owned(),
            searched: searched(file, &pipeline, column, keys)?,
            digests: Vec::new(),
            notes: Vec::new(),
            texts: Vec::new(),
            mappings: mappings.collect::<Result<_, _>>()?,
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
        let is_masked = self.searched.iter().any(|searched| searched.mask.is_some());
        let read = Read::new(value, keys);
        if let Some(kind) = read.opaque.filter(|_| is_masked) {
            self.notes.push(format!(
                "value {number} looks like {kind}: rows with the value in plaintext, or with its token under another key or mask, are found only by the value itself"
            ));
        }
        let is_token = is_masked && (read.opaque.is_some() || read.plain.is_some());
        let plain = read.plain.as_deref();
        let texts: Vec<&str> = once(value).chain(plain).collect();
        let (mut is_possible, mut broken) = (false, None);
        for searched in &mut self.searched {
            match searched.add(&texts, is_token) {
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
        let person = plain.unwrap_or(value);
        let cleaned = self.searched.iter().find_map(|it| it.cleaned(person));
        let name = cleaned.as_deref().unwrap_or(person.as_bytes());
        self.digests
            .push(keys.map(|keys| keys.digest_for_records(name)));
        let in_text = self.searched.iter().filter(|it| it.column_type.is_text());
        let in_text = in_text.filter_map(|it| String::from_utf8(it.cleaned(person)?).ok());
        let texts = texts.into_iter().map(str::to_owned).chain(in_text);
        let texts = texts.map(|text| text.trim().to_lowercase());
        self.texts.extend(texts.filter(|text| !text.is_empty()));
        Ok(())
    }

    /// Whether a dead letter is about one of them: the mapping would produce a row with one of their values, or one of
    /// their values is where the column is read from.
    pub(super) fn whose(&self, message: &aws_sdk_sqs::types::Message, queue_arn: &str) -> Whose {
        let body = message.body().unwrap_or_default();
        let Some(mut record) = record(message, queue_arn) else {
            return Whose::Unreadable {
                is_suspect: self.is_in(body),
            };
        };
        record.apply_origin(&self.origins);
        let extracted = self
            .mappings
            .first()
            .map(|mapping| mapping.extract(&record));
        let Some(Ok(message)) = extracted else {
            return self.undecoded(&record, body);
        };
        let mut is_transformed = false;
        for compiled in &self.mappings {
            let Ok(rows) = compiled.rows_of(&message) else {
                continue;
            };
            is_transformed = true;
            let is_theirs = |searched: &Searched| {
                let Some(table) = rows.tables().get(searched.table) else {
                    return false;
                };
                let mut cells = (0..table.rows.len())
                    .filter_map(|row| table.rows.value(row, searched.position));
                cells.any(|cell| searched.has(cell))
            };
            if self.searched.iter().any(is_theirs) {
                return Whose::Theirs;
            }
        }
        if self
            .searched
            .iter()
            .any(|searched| searched.is_read_from(&message))
        {
            return Whose::Theirs;
        }
        let is_json = || serde_json::from_str::<&RawValue>(message.body()).is_ok();
        // What a program would have made of the message is not known.
        let is_calculated = self.searched.iter().any(|searched| searched.is_calculated);
        let is_known = is_transformed || !is_calculated && is_json();
        // A pointer says nothing of the message that is in S3.
        match is_known && !is_s3_pointer(message.body()) {
            true => Whose::OfOthers,
            false => self.undecoded(&record, body),
        }
    }

    /// What cannot be read as the mapping says may be packed in another way.
    fn undecoded(&self, record: &Record<'_>, body: &str) -> Whose {
        let mut texts = Encoding::all().filter_map(|encoding| {
            let wrapping = Wrapping {
                encoding: Packing::As(encoding),
                ..self.pipeline.wrapping.envelope.into()
            };
            Message::extract(record, &wrapping).ok()
        });
        let is_within = texts.any(|text| self.is_in(text.body()));
        Whose::Unreadable {
            is_suspect: is_within || self.is_in(body),
        }
    }

    /// Whether a text has one of the values, in whatever case and however it is escaped: a message may be JSON within
    /// JSON.
    fn is_in(&self, body: &str) -> bool {
        const MAX_DEPTH: usize = 4;
        let mut text = body.to_owned();
        for _ in 0..MAX_DEPTH {
            let lower = text.to_lowercase();
            if self.texts.iter().any(|value| lower.contains(value)) {
                return true;
            }
            text = unescaped(&text);
        }
        false
    }
}

/// What a value is besides itself.
struct Read {
    /// The value of a token.
    plain: Option<String>,
    /// A token whose value is not known.
    opaque: Option<&'static str>,
}

impl Read {
    fn new(value: &str, keys: Option<&KeyRing>) -> Self {
        let masker = keys.and_then(|keys| Masker::new(Mask::AesSiv, Some(keys)).ok());
        let unmasked = masker.unwrap_or(Masker::Sha256).value(value);
        let opaque = match &unmasked {
            Ok(_) => None,
            Err(UnmaskError::Hash(_)) => Some("a hash"),
            // Without an id in front of it, a token looks like many other values.
            Err(UnmaskError::NotOurs) => AesSivKeys::id_of(value)
                .filter(|id| !id.is_empty())
                .map(|_| "a token of a key that the mask secret lacks"),
        };
        Self {
            plain: unmasked.ok(),
            opaque,
        }
    }
}
