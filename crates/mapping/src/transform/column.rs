//! A column of the mapping, compiled: a value is picked, cleaned, masked, converted.

use std::borrow::Cow;

use bytes::BytesMut;
use serde_json::value::RawValue;
use smallvec::SmallVec;

use super::convert;
use super::equal::is_equal;
use super::from_json;
use super::literal;
use super::printed::numerics_chars;
use super::scopes::{Frames, Input, Unread};
use super::text::Unstorable;
use super::value::Value;
use crate::cast::Cast;
use crate::mask::{KeyRing, Masker};
use crate::message::Message;
use crate::pipeline::{Column, Problem, check_token_width};
use crate::rejection::Rule;
use crate::rows::Rows;
use crate::steps::{Cleaned, Step, reads_json};
use crate::time::TimeSpelling;
use crate::types::ColumnType;

pub(super) struct CompiledColumn {
    pub(super) column: Column,
    pub(super) is_key: bool,
    pub(super) presence: Presence,
    /// Whether it reads where the row begins, so that a row with a value here is not empty.
    pub(super) is_own: bool,
    /// The first value that is not null counts.
    pub(super) inputs: SmallVec<[Input; 1]>,
    cells: Cells,
    /// Its transforms except `strip_nul`, which is applied when the value is read, and `json`.
    steps: Vec<Step>,
    /// Whether a string is JSON, whose value is meant.
    reads_json: bool,
    unstorable: Unstorable,
    /// The cell that replaces a null.
    default: Option<Vec<u8>>,
}

/// In which rows of messages a column has a value.
#[derive(Clone, Copy)]
pub(super) enum Presence {
    /// In all: it identifies the row.
    Always,
    /// In those that do not delete.
    Stored,
    /// In those that delete.
    Deleted,
}

impl Presence {
    pub(super) fn is_in(self, is_deleted: bool) -> bool {
        match self {
            Self::Always => true,
            Self::Stored => !is_deleted,
            Self::Deleted => is_deleted,
        }
    }
}

/// How values become cells.
enum Cells {
    /// As the type reads them.
    Plain,
    /// As times that are spelled in another way.
    Spelled(TimeSpelling),
    /// As text that Postgres reads.
    Cast(Cast),
    Tokens(Masker),
}

/// What became of a value.
enum Pushed {
    Cell,
    /// It is null, so nothing was added.
    Null,
}

impl CompiledColumn {
    pub(super) fn new(
        column: &Column,
        [is_key, is_own]: [bool; 2],
        presence: Presence,
        inputs: SmallVec<[Input; 1]>,
        keys: Option<&KeyRing>,
    ) -> Result<Self, Problem> {
        let mut steps = column.transforms.clone();
        steps.retain(|step| !matches!(step, Step::StripNul | Step::Json));
        let mut compiled = Self {
            column: column.clone(),
            is_key,
            presence,
            is_own,
            inputs,
            cells: cells(column, keys)?,
            steps,
            reads_json: reads_json(&column.transforms),
            unstorable: match column.transforms.contains(&Step::StripNul) {
                false => Unstorable::Reject,
                true => Unstorable::Strip,
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

    /// Adds the cell of a message, and says whether the message has a value for it.
    pub(super) fn push_cell<'a>(
        &self,
        message: &'a Message<'_>,
        frames: &Frames<'a>,
        rows: &mut Rows,
    ) -> Result<bool, Unread> {
        for input in &self.inputs {
            let value = input.value(message, frames, self.unstorable)?;
            if self.is_missing(&value) {
                continue;
            }
            return match self.push_value(&value, rows)? {
                Pushed::Cell => Ok(!self.is_empty_rest(&value)),
                Pushed::Null => self.push_none(rows),
            };
        }
        self.push_none(rows)
    }

    /// Adds the cell of a message that has no value for it.
    fn push_none(&self, rows: &mut Rows) -> Result<bool, Unread> {
        match &self.default {
            Some(cell) => rows.push_cell(cell),
            None if self.column.is_never_null() => return Err(Rule::Required.into()),
            None => rows.push_null(),
        }
        Ok(false)
    }

    /// How many bytes a cell takes on its way to Postgres. Arrays are sent as text, in which numbers are written out.
    pub(super) fn sent_bytes(&self, cell: &[u8]) -> usize {
        let text = match self.column.column_type {
            ColumnType::Array(element) if ColumnType::from(element).is_numeric() => {
                cell.get(size_of::<i32>()..).map_or(0, numerics_chars)
            }
            _ => 0,
        };
        text.max(cell.len())
    }

    /// `@rest` is an object even if no field remains for it.
    fn is_empty_rest(&self, value: &Value<'_>) -> bool {
        let reads_rest = self
            .inputs
            .iter()
            .any(|input| matches!(input, Input::Rest(..)));
        reads_rest && matches!(value, Value::Nested(json) if json == "{}")
    }

    /// Whether there is no value, or it means that there is none.
    fn is_missing(&self, value: &Value<'_>) -> bool {
        let mut missing = self.column.null_if.iter();
        matches!(value, Value::Null) || missing.any(|missing| is_equal(missing, value))
    }

    /// Cleans a value, masks or converts it, and adds its cell.
    fn push_value(&self, value: &Value<'_>, rows: &mut Rows) -> Result<Pushed, Rule> {
        if matches!(value, Value::Null) {
            return Ok(Pushed::Null);
        }
        self.refuse_empty(value)?;
        if self.reads_json {
            return self.push_json(value, rows);
        }
        let Some(&first) = self.steps.first() else {
            return self.write(value, rows);
        };
        let text = value.as_text().ok_or(Rule::Transform(first))?;
        let Some(text) = self.clean(text)? else {
            return Ok(Pushed::Null);
        };
        let cleaned = match self.steps.iter().any(|step| step.gives_number()) {
            true => Value::Number(text),
            false => Value::Text(text),
        };
        self.refuse_empty(&cleaned)?;
        self.write(&cleaned, rows)
    }

    /// A text after all steps; `None` if they find nothing in it.
    fn clean<'v>(&self, text: &'v str) -> Result<Option<Cow<'v, str>>, Rule> {
        let mut text = Cow::Borrowed(text);
        for &step in &self.steps {
            text = match step.apply(text) {
                Cleaned::Text(cleaned) => cleaned,
                Cleaned::Null => return Ok(None),
                Cleaned::Unreadable => return Err(Rule::Transform(step)),
            };
        }
        Ok(Some(text))
    }

    /// Adds the cell of what JSON in a string is. A value that is not a string is JSON already.
    fn push_json(&self, value: &Value<'_>, rows: &mut Rows) -> Result<Pushed, Rule> {
        let Value::Text(text) = value else {
            return self.write(value, rows);
        };
        let text = self.clean(text)?.unwrap_or_default();
        let json: Result<&RawValue, _> = serde_json::from_str(&text);
        let json = json.map_err(|_| Rule::Transform(Step::Json))?;
        let inner = from_json(json.get(), self.unstorable)?;
        if matches!(inner, Value::Null) {
            return Ok(Pushed::Null);
        }
        self.refuse_empty(&inner)?;
        self.write(&inner, rows)
    }

    fn write(&self, value: &Value<'_>, rows: &mut Rows) -> Result<Pushed, Rule> {
        let column_type = self.column.column_type;
        rows.push_value(|out| match &self.cells {
            Cells::Plain => convert::write(value, column_type, out),
            Cells::Spelled(spelling) => convert::write_spelled(value, spelling, column_type, out),
            Cells::Cast(cast) => literal::write(value, cast, out),
            Cells::Tokens(masker) => write_tokens(masker, value, column_type, out),
        })?;
        Ok(Pushed::Cell)
    }

    fn refuse_empty(&self, value: &Value<'_>) -> Result<(), Rule> {
        match value {
            Value::Text(text) if self.column.required && text.is_empty() => Err(Rule::Required),
            _ => Ok(()),
        }
    }
}

/// A mask has room for the tokens of the current key.
fn cells(column: &Column, keys: Option<&KeyRing>) -> Result<Cells, Problem> {
    if let Some(mask) = column.mask {
        check_token_width(mask, column.column_type, keys)?;
        return Ok(Cells::Tokens(Masker::new(mask, keys)?));
    }
    if let Some(cast) = &column.cast {
        return Ok(Cells::Cast(cast.clone()));
    }
    let spelling = column.spelling.clone();
    Ok(spelling.map_or(Cells::Plain, Cells::Spelled))
}

/// Writes the token of a value, or of each element of an array.
fn write_tokens(
    masker: &Masker,
    value: &Value<'_>,
    column_type: ColumnType,
    out: &mut BytesMut,
) -> Result<(), Rule> {
    let ColumnType::Array(element) = column_type else {
        return write_token(masker, value, column_type, out);
    };
    convert::write_array(value, element, out, |value, out| {
        write_token(masker, value, element.into(), out)
    })
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
