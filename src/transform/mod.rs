//! [`Message`]s → rows, by the mapping.
//!
//! For each column: pick the field, clean it, mask it, convert it. The first value that breaks a
//! rule costs its message and is named by column, path and rule; no error holds a value. Pure: no
//! I/O, no clock.

mod clean;
mod convert;
mod decimal;
mod fields;
mod readable;
mod text;

use std::borrow::Cow;

use bytes::BytesMut;
use sha2::{Digest, Sha256};

use crate::extract::Message;
use crate::mask::{MaskKey, Masker};
use crate::pipeline::{
    Column, ColumnType, Metadata, Pipeline, PipelineError, Problem, Source, Transform,
};
use crate::rejection::{Place, Rejection, Rule};
use crate::row::Rows;
use convert::Value;
pub use convert::takes;
use fields::{Fields, NotJson, Paths};
pub use readable::readable;
use text::Unstorable;

/// A mapping compiled for use: paths as a tree, masks with their keys, defaults as cells.
pub struct Transformer {
    paths: Paths,
    columns: Vec<CompiledColumn>,
}

struct CompiledColumn {
    column: Column,
    /// The place of its path among the picked fields; `None` for metadata.
    slot: Option<usize>,
    masker: Option<Masker>,
    unstorable: Unstorable,
    /// The cell that stands in for null.
    default: Option<Vec<u8>>,
}

impl Transformer {
    /// Compiles a mapping; `file` is how errors call it.
    ///
    /// # Errors
    /// A mask lacks its key, or a default does not fit its column.
    pub fn new(
        file: &str,
        pipeline: &Pipeline,
        key: Option<&MaskKey>,
    ) -> Result<Self, PipelineError> {
        let mut paths = Paths::default();
        let compile = |column: &Column| {
            CompiledColumn::new(column, &mut paths, key).map_err(|problem| PipelineError {
                file: file.to_owned(),
                column: Some(column.name.clone()),
                problem,
            })
        };
        let columns = pipeline
            .columns
            .iter()
            .map(compile)
            .collect::<Result<_, _>>()?;
        Ok(Self { paths, columns })
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
        let fields = self
            .paths
            .pick(message.body())
            .map_err(|NotJson| Rule::BodyNotJson)?;
        for column in &self.columns {
            column
                .push_cell(message, &fields, rows)
                .map_err(|rule| Rejection {
                    rule,
                    place: Some(Place::of(&column.column)),
                })?;
        }
        Ok(())
    }
}

impl CompiledColumn {
    fn new(column: &Column, paths: &mut Paths, key: Option<&MaskKey>) -> Result<Self, Problem> {
        let strips = column.transforms.contains(&Transform::StripNul);
        let mut compiled = Self {
            column: column.clone(),
            slot: match &column.source {
                Source::Path(path) => Some(paths.slot(path)),
                Source::Metadata(_) => None,
            },
            masker: column.mask.map(|mask| Masker::new(mask, key)).transpose()?,
            unstorable: if strips {
                Unstorable::Strip
            } else {
                Unstorable::Reject
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
        let value = from_json(json, self.unstorable)
            .map_err(|rule| Problem::Default(rule.name().to_owned()))?;
        self.push_value(value, &mut rows)
            .map_err(|rule| Problem::Default(rule.name().to_owned()))?;
        if rows.is_empty() {
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
        let value = self.value(message, fields)?;
        if self.push_value(value, rows)? {
            return Ok(());
        }
        match &self.default {
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

    /// Cleans, masks or converts, and adds a value; `false` if it is null, and nothing is added.
    fn push_value(&self, value: Option<Value<'_>>, rows: &mut Rows) -> Result<bool, Rule> {
        let Some(value) = self.clean(value)? else {
            return Ok(false);
        };
        let mut written = Ok(());
        rows.push_value(|out| {
            written = match &self.masker {
                Some(masker) => write_token(masker, value, self.column.column_type, out),
                None => convert::write(value, self.column.column_type, out),
            }
        });
        written.map(|()| true)
    }

    fn clean<'a>(&self, value: Option<Value<'a>>) -> Result<Option<Value<'a>>, Rule> {
        let mut value = self.refuse_empty(value)?;
        for &transform in &self.column.transforms {
            value = match value {
                Some(value) if transform != Transform::StripNul => cleaned(transform, value)?,
                other => other,
            };
        }
        self.refuse_empty(value)
    }

    fn refuse_empty<'a>(&self, value: Option<Value<'a>>) -> Result<Option<Value<'a>>, Rule> {
        match value {
            Some(Value::Text(text)) if self.column.required && text.is_empty() => {
                Err(Rule::Required)
            }
            other => Ok(other),
        }
    }
}

fn write_token(
    masker: &Masker,
    value: Value<'_>,
    column_type: ColumnType,
    out: &mut BytesMut,
) -> Result<(), Rule> {
    let text = value.into_text().ok_or(Rule::Type(column_type))?;
    let start = out.len();
    masker.write_token(&text, out).map_err(|_| Rule::Internal)?;
    match column_type {
        // A token is ASCII: its bytes are its characters.
        ColumnType::Varchar(max) if out.len() - start > max => Err(Rule::Length(max)),
        _ => Ok(()),
    }
}

fn cleaned(transform: Transform, value: Value<'_>) -> Result<Option<Value<'_>>, Rule> {
    let text = match value {
        Value::Text(text) => text,
        Value::Number(text) => Cow::Borrowed(text),
        _ => return Err(Rule::Transform(transform)),
    };
    Ok(clean::apply(transform, text)?.map(Value::Text))
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
