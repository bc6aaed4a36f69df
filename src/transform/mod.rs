//! [`Message`]s → rows, by the mapping.
//!
//! For each column: pick the field, clean it, mask it, convert it. The first value that breaks a
//! rule costs its message and is named by column, path and rule; no error holds a value. Pure: no
//! I/O, no clock.

mod clean;
mod convert;
mod decimal;
mod fields;
mod jsonb;
mod readable;
mod text;

use std::borrow::Cow;

use bytes::BytesMut;
use sha2::{Digest, Sha256};

use crate::extract::Message;
use crate::mask::{MaskKey, Masker};
use crate::origin::Origins;
use crate::pipeline::{
    Column, ColumnType, Metadata, Pipeline, PipelineError, Problem, Source, Transform,
};
use crate::rejection::{Place, Rejection, Rule};
use crate::rows::Rows;
use convert::Value;
pub use convert::takes;
pub(crate) use decimal::MAX_DIGITS;
use fields::{Fields, NotJson, Paths};
pub use readable::readable;
use text::Unstorable;

/// A mapping compiled for use: paths as a tree, masks with their keys, defaults as cells.
pub struct Transformer {
    paths: Paths,
    /// Whether a column needs the body to be JSON.
    reads_json: bool,
    columns: Vec<CompiledColumn>,
    origins: Origins,
}

struct CompiledColumn {
    column: Column,
    is_key: bool,
    /// The place of its path among the picked fields; `None` for metadata.
    slot: Option<usize>,
    masker: Option<Masker>,
    /// Its transforms but `strip_nul`, which is at work as soon as the value is read.
    steps: Vec<Transform>,
    unstorable: Unstorable,
    /// The cell that stands in for null.
    default: Option<Vec<u8>>,
}

impl Transformer {
    /// Compiles a mapping; `file` is how errors call it.
    ///
    /// # Errors
    /// A mask lacks its key, a default does not fit its column, or without a key any sender could overwrite
    /// any row.
    pub fn new(
        file: &str,
        pipeline: &Pipeline,
        key: Option<&MaskKey>,
    ) -> Result<Self, PipelineError> {
        if key.is_none() {
            let checked = pipeline.check_unsigned_origin();
            checked.map_err(|(column, problem)| PipelineError {
                file: file.to_owned(),
                column,
                problem,
            })?;
        }
        let mut paths = Paths::default();
        let compile = |(position, column): (usize, &Column)| {
            let is_key = pipeline.key.contains(&position);
            CompiledColumn::new(column, is_key, &mut paths, key).map_err(|problem| PipelineError {
                file: file.to_owned(),
                column: Some(column.name.clone()),
                problem,
            })
        };
        let columns = pipeline
            .columns
            .iter()
            .enumerate()
            .map(compile)
            .collect::<Result<_, _>>()?;
        Ok(Self {
            paths,
            reads_json: pipeline.columns.iter().any(reads_json),
            columns,
            origins: Origins::new(key),
        })
    }

    /// What signs and verifies origins, with the same key as masks.
    pub fn origins(&self) -> &Origins {
        &self.origins
    }

    /// Adds the message's row to `rows`.
    ///
    /// # Errors
    /// The first rule that the message breaks; `rows` is then as it was.
    pub fn transform(&self, message: &Message<'_>, rows: &mut Rows) -> Result<(), Rejection> {
        let len = rows.len();
        self.push_row(message, rows)
            .inspect_err(|_| rows.truncate(len))
    }

    fn push_row(&self, message: &Message<'_>, rows: &mut Rows) -> Result<(), Rejection> {
        let fields = if self.reads_json {
            let picked = self.paths.pick(message.body());
            picked.map_err(|NotJson| Rule::BodyNotJson)?
        } else {
            Fields::new()
        };
        for column in &self.columns {
            column
                .push_cell(message, &fields, rows)
                .map_err(|rule| Rejection {
                    rule,
                    place: Some(Place::of(&column.column, column.is_key)),
                })?;
        }
        Ok(())
    }
}

impl CompiledColumn {
    fn new(
        column: &Column,
        is_key: bool,
        paths: &mut Paths,
        key: Option<&MaskKey>,
    ) -> Result<Self, Problem> {
        let (strips, steps): (Vec<_>, Vec<_>) = column
            .transforms
            .iter()
            .partition(|&&transform| transform == Transform::StripNul);
        let mut compiled = Self {
            column: column.clone(),
            is_key,
            slot: match &column.source {
                Source::Path(path) => Some(paths.slot(path)),
                Source::Metadata(_) => None,
            },
            masker: column.mask.map(|mask| Masker::new(mask, key)).transpose()?,
            steps,
            unstorable: if strips.is_empty() {
                Unstorable::Reject
            } else {
                Unstorable::Strip
            },
            default: None,
        };
        compiled.default = column
            .default
            .as_deref()
            .map(|json| compiled.default_cell(json))
            .transpose()?;
        Ok(compiled)
    }

    /// The default takes the way of a message's value, once.
    fn default_cell(&self, json: &str) -> Result<Vec<u8>, Problem> {
        let mut rows = Rows::new(1);
        let broken = |rule: Rule| Problem::Default(rule.name().to_owned());
        let value = from_json(json, self.unstorable).map_err(broken)?;
        let is_pushed = value.map_or(Ok(false), |value| self.push_value(&value, &mut rows));
        if !is_pushed.map_err(broken)? {
            return Err(Problem::Default("it becomes null".to_owned()));
        }
        Ok(rows.cell(0, 0).to_vec())
    }

    fn push_cell<'a>(
        &self,
        message: &'a Message<'_>,
        fields: &Fields<'a>,
        rows: &mut Rows,
    ) -> Result<(), Rule> {
        // Values are lent: to move one costs as much as to write its cell.
        let is_pushed = match self.value(message, fields) {
            Ok(Some(ref value)) => self.push_value(value, rows)?,
            Ok(None) => false,
            Err(rule) => return Err(rule),
        };
        match &self.default {
            _ if is_pushed => {}
            Some(cell) => rows.push_cell(cell),
            None if self.column.is_never_null() => return Err(Rule::Required),
            None => rows.push_null(),
        }
        Ok(())
    }

    fn value<'a>(
        &self,
        message: &'a Message<'_>,
        fields: &Fields<'a>,
    ) -> Result<Option<Value<'a>>, Rule> {
        match &self.column.source {
            Source::Path(_) => match self.slot.and_then(|slot| fields[slot]) {
                Some(json) => from_json(json, self.unstorable),
                None => Ok(None),
            },
            Source::Metadata(metadata) => self.metadata(metadata, message),
        }
    }

    fn metadata<'a>(
        &self,
        metadata: &Metadata,
        message: &'a Message<'_>,
    ) -> Result<Option<Value<'a>>, Rule> {
        let text = match metadata {
            Metadata::SentAt => return Ok(message.sent_at_millis().map(Value::Millis)),
            Metadata::FirstReceivedAt => {
                return Ok(message.first_received_at_millis().map(Value::Millis));
            }
            Metadata::ReceiveCount => return Ok(message.receive_count().map(Value::Number)),
            Metadata::Body if self.column.column_type == ColumnType::Jsonb => {
                return from_json(message.body(), self.unstorable);
            }
            Metadata::BodySha256 => {
                return Ok(Some(Value::Text(Cow::Owned(body_sha256(message.body())))));
            }
            Metadata::Body => Some(message.body()),
            Metadata::MessageId => Some(message.id()),
            Metadata::GroupId => message.group_id(),
            Metadata::SenderId => message.sender_id(),
            Metadata::Attribute(name) => message.attribute(name),
            Metadata::SnsMessageId => message.sns_message_id(),
            Metadata::SnsTopicArn => message.sns_topic_arn(),
        };
        text.map(|text| text::plain(text, self.unstorable).map(Value::Text))
            .transpose()
    }

    /// Cleans, masks or converts, and adds a value; `false` if it becomes null, and nothing is added.
    fn push_value(&self, value: &Value<'_>, rows: &mut Rows) -> Result<bool, Rule> {
        self.refuse_empty(value)?;
        let Some(&first) = self.steps.first() else {
            self.write(value, rows)?;
            return Ok(true);
        };
        let mut text = Cow::Borrowed(value.as_literal().ok_or(Rule::Transform(first))?);
        for &step in &self.steps {
            match clean::apply(step, text)? {
                Some(cleaned) => text = cleaned,
                None => return Ok(false),
            }
        }
        let cleaned = Value::Text(text);
        self.refuse_empty(&cleaned)?;
        self.write(&cleaned, rows)?;
        Ok(true)
    }

    fn write(&self, value: &Value<'_>, rows: &mut Rows) -> Result<(), Rule> {
        let column_type = self.column.column_type;
        rows.push_value(|out| match &self.masker {
            Some(masker) => write_token(masker, value, column_type, out),
            None => convert::write(value, column_type, out),
        })
    }

    fn refuse_empty(&self, value: &Value<'_>) -> Result<(), Rule> {
        match value {
            Value::Text(text) if self.column.required && text.is_empty() => Err(Rule::Required),
            _ => Ok(()),
        }
    }
}

fn write_token(
    masker: &Masker,
    value: &Value<'_>,
    column_type: ColumnType,
    out: &mut BytesMut,
) -> Result<(), Rule> {
    let text = value.as_text().ok_or(Rule::Type(column_type))?;
    let start = out.len();
    masker.write_token(text, out).map_err(|_| Rule::Internal)?;
    match column_type {
        // A token is ASCII: its bytes are its characters.
        ColumnType::Varchar(max) if out.len() - start > max => Err(Rule::Length(max)),
        _ => Ok(()),
    }
}

/// Whether the column takes a part of the body, or the whole as JSON.
fn reads_json(column: &Column) -> bool {
    match &column.source {
        Source::Path(_) => true,
        Source::Metadata(metadata) => {
            *metadata == Metadata::Body && column.column_type == ColumnType::Jsonb
        }
    }
}

/// Writes a decimal number as other tests need it.
#[cfg(test)]
pub(crate) fn write_numeric(text: &str, out: &mut BytesMut) {
    let decimal = decimal::Decimal::parse(text);
    decimal.unwrap().write_numeric(out).unwrap();
}

/// A raw JSON value; `None` for null.
fn from_json(json: &str, unstorable: Unstorable) -> Result<Option<Value<'_>>, Rule> {
    let json = json.trim_ascii();
    Ok(Some(match json.as_bytes().first() {
        None | Some(b'n') => return Ok(None),
        Some(b't') => Value::Bool(true),
        Some(b'f') => Value::Bool(false),
        Some(b'"') => Value::Text(text::unescape(json, unstorable)?),
        Some(b'{' | b'[') => Value::Nested(text::storable(json, unstorable)?),
        Some(_) => Value::Number(json),
    }))
}

fn body_sha256(body: &str) -> String {
    base16ct::lower::encode_string(&Sha256::digest(body))
}
