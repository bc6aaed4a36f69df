//! [`Message`]s → rows, by the mapping.
//!
//! For each column: pick the field, clean it, mask it, convert it. The first value that breaks a rule rejects its
//! message, with column, path and rule; no error contains a value. Pure: no I/O, no clock.

mod convert;
mod decimal;
mod fields;
mod jsonb;
mod readable;
mod text;

use std::borrow::Cow;

use bytes::BytesMut;

use crate::mask::{MaskKey, Masker};
use crate::message::origin::Origins;
use crate::message::{Message, Metadata, MetadataValue};
use crate::pipeline::{Column, Pipeline, PipelineError, Problem, Source};
use crate::rejection::{Rejection, Rule};
use crate::rows::Rows;
use crate::steps::{Cleaned, Step};
use crate::types::ColumnType;
use convert::Value;
pub use convert::takes;
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
    input: Input,
    masker: Option<Masker>,
    /// Its transforms except `strip_nul`, which is applied when the value is read.
    steps: Vec<Step>,
    unstorable: Unstorable,
    /// The cell that replaces a null.
    default: Option<Vec<u8>>,
}

/// Where a column gets its value.
enum Input {
    /// A picked field, by its slot.
    Field(usize),
    /// The whole body, as JSON.
    Body,
    Metadata(Metadata),
}

/// What became of a value.
enum Pushed {
    Cell,
    /// It is null, so nothing was added.
    Null,
}

impl Transformer {
    /// Compiles a mapping. Errors call it `file`.
    ///
    /// # Errors
    /// A mask lacks its key, a default does not fit its column, or there is no key and any sender could overwrite
    /// any row.
    pub fn new(
        file: &str,
        pipeline: &Pipeline,
        key: Option<&MaskKey>,
    ) -> Result<Self, PipelineError> {
        if key.is_none() {
            let checked = pipeline.check_unsigned_origin();
            checked.map_err(|mistake| mistake.in_file(file))?;
        }
        let mut paths = Paths::default();
        let mut columns = Vec::with_capacity(pipeline.columns.len());
        for (position, column) in pipeline.columns.iter().enumerate() {
            let is_key = pipeline.key.contains(&position);
            let compiled = CompiledColumn::new(column, is_key, &mut paths, key);
            columns.push(compiled.map_err(|problem| problem.of(&column.name).in_file(file))?);
        }
        Ok(Self {
            paths,
            reads_json: columns
                .iter()
                .any(|column| !matches!(column.input, Input::Metadata(_))),
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
    /// The first rule that the message breaks; `rows` is then as before.
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
                    place: Some(column.column.place(column.is_key)),
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
            .partition(|&&step| step == Step::StripNul);
        let input = match &column.source {
            Source::Path(path) => Input::Field(paths.slot(path)),
            Source::Metadata(Metadata::Body) if column.column_type.is_json() => Input::Body,
            Source::Metadata(metadata) => Input::Metadata(metadata.clone()),
        };
        let mut compiled = Self {
            column: column.clone(),
            is_key,
            input,
            masker: column.mask.map(|mask| Masker::new(mask, key)).transpose()?,
            steps,
            unstorable: match strips.is_empty() {
                true => Unstorable::Reject,
                false => Unstorable::Strip,
            },
            default: None,
        };
        if let Some(json) = &column.default {
            compiled.default = Some(compiled.default_cell(json)?);
        }
        Ok(compiled)
    }

    /// The default is processed once, like the value of a message.
    fn default_cell(&self, json: &str) -> Result<Vec<u8>, Problem> {
        let mut rows = Rows::new(1);
        let pushed = from_json(json, self.unstorable)
            .and_then(|value| self.push_value(&value, &mut rows))
            .map_err(|rule| Problem::Default(rule.name().to_owned()))?;
        match pushed {
            Pushed::Cell => Ok(rows.cell(0, 0).to_vec()),
            Pushed::Null => Err(Problem::Default("it becomes null".to_owned())),
        }
    }

    fn push_cell<'a>(
        &self,
        message: &'a Message<'_>,
        fields: &Fields<'a>,
        rows: &mut Rows,
    ) -> Result<(), Rule> {
        let value = self.value(message, fields)?;
        match (self.push_value(&value, rows)?, &self.default) {
            (Pushed::Cell, _) => {}
            (Pushed::Null, Some(cell)) => rows.push_cell(cell),
            (Pushed::Null, None) if self.column.is_never_null() => return Err(Rule::Required),
            (Pushed::Null, None) => rows.push_null(),
        }
        Ok(())
    }

    fn value<'a>(&self, message: &'a Message<'_>, fields: &Fields<'a>) -> Result<Value<'a>, Rule> {
        match &self.input {
            Input::Field(slot) => match fields.get(*slot).copied().flatten() {
                Some(json) => from_json(json, self.unstorable),
                None => Ok(Value::Null),
            },
            Input::Body => from_json(message.body(), self.unstorable),
            Input::Metadata(metadata) => match metadata.value(message) {
                None => Ok(Value::Null),
                Some(MetadataValue::Millis(millis)) => Ok(Value::Millis(millis)),
                Some(MetadataValue::Number(text)) => Ok(Value::Number(text)),
                Some(MetadataValue::Text(text)) => {
                    text::plain(text, self.unstorable).map(Value::Text)
                }
            },
        }
    }

    /// Cleans a value, masks or converts it, and adds its cell.
    fn push_value(&self, value: &Value<'_>, rows: &mut Rows) -> Result<Pushed, Rule> {
        if matches!(value, Value::Null) {
            return Ok(Pushed::Null);
        }
        self.refuse_empty(value)?;
        let Some(&first) = self.steps.first() else {
            self.write(value, rows)?;
            return Ok(Pushed::Cell);
        };
        let mut text = Cow::Borrowed(value.as_literal().ok_or(Rule::Transform(first))?);
        for &step in &self.steps {
            text = match step.apply(text) {
                Cleaned::Text(cleaned) => cleaned,
                Cleaned::Null => return Ok(Pushed::Null),
                Cleaned::Unreadable => return Err(Rule::Transform(step)),
            };
        }
        let cleaned = Value::Text(text);
        self.refuse_empty(&cleaned)?;
        self.write(&cleaned, rows)?;
        Ok(Pushed::Cell)
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

/// Writes a decimal number, for tests elsewhere.
#[cfg(test)]
pub(crate) fn write_numeric(text: &str, out: &mut BytesMut) {
    let decimal = decimal::Decimal::parse(text);
    decimal.unwrap().write_numeric(out).unwrap();
}

/// The value of a raw JSON text.
fn from_json(json: &str, unstorable: Unstorable) -> Result<Value<'_>, Rule> {
    let json = json.trim_ascii();
    Ok(match json.as_bytes().first() {
        None | Some(b'n') => Value::Null,
        Some(b't') => Value::Bool(true),
        Some(b'f') => Value::Bool(false),
        Some(b'"') => Value::Text(text::unescape(json, unstorable)?),
        Some(b'{' | b'[') => Value::Nested(text::storable(json, unstorable)?),
        Some(_) => Value::Number(json),
    })
}
