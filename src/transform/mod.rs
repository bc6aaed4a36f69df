//! [`Message`]s → rows, by the mapping.
//!
//! For each column: pick the field, clean it, mask it, convert it. The first value that breaks a rule rejects its
//! message, with column, path and rule; no error contains a value. Pure: no I/O, no clock.

mod convert;
mod decimal;
mod fields;
mod jsonb;
mod readable;
mod scopes;
mod text;

use std::borrow::Cow;
use std::collections::HashSet;

use bytes::BytesMut;
use serde_json::value::RawValue;
use smallvec::SmallVec;

use crate::mask::{MaskKey, Masker};
use crate::message::origin::Origins;
use crate::message::{Message, Metadata};
use crate::pipeline::{
    Column, Condition, Mistake, Pipeline, PipelineError, Problem, Scalar, Source, TableMapping,
    Unmatched,
};
use crate::rejection::{Place, Rejection, Rule};
use crate::rows::{MessageRows, Rows};
use crate::steps::{Cleaned, Step};
use crate::types::ColumnType;
use convert::Value;
pub use convert::takes;
use decimal::Decimal;
use fields::NotJson;
pub use readable::readable;
use scopes::{Frames, Input, Picked, Scopes};
use text::Unstorable;

/// A mapping compiled for use: paths as trees, masks with their keys, defaults as cells.
pub struct Transformer {
    scopes: Scopes,
    tables: Vec<CompiledTable>,
    /// Whether anything needs the body to be JSON.
    reads_json: bool,
    unmatched: Unmatched,
    origins: Origins,
}

struct CompiledTable {
    mapping: TableMapping,
    /// What a rejection calls it; `None` where there is only one.
    name: Option<String>,
    /// Where its rows begin.
    scope: usize,
    /// The array with an element for each row.
    each: Option<Picked>,
    when: Vec<CompiledCondition>,
    delete_when: Vec<CompiledCondition>,
    columns: Vec<CompiledColumn>,
    /// Positions of the tables whose rows belong to its rows.
    children: Vec<usize>,
}

struct CompiledColumn {
    column: Column,
    is_key: bool,
    /// Whether a row is deleted by it: it is in the key, or says which row is newer.
    identifies: bool,
    /// The first value that is not null counts.
    inputs: SmallVec<[Input; 1]>,
    masker: Option<Masker>,
    /// Its transforms except `strip_nul`, which is applied when the value is read.
    steps: Vec<Step>,
    unstorable: Unstorable,
    /// The cell that replaces a null.
    default: Option<Vec<u8>>,
}

struct CompiledCondition {
    input: Input,
    values: Vec<Scalar>,
}

/// What became of a value.
enum Pushed {
    Cell,
    /// It is null, so nothing was added.
    Null,
}

/// A message on its way into rows.
struct Reading<'r, 'a> {
    message: &'a Message<'a>,
    frames: Frames<'a>,
    rows: &'r mut MessageRows,
}

/// The maximum number of rows of one message. SQS takes a message of 1 MiB, which can hold half a million elements.
const MAX_ROWS: usize = 10_000;

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
        let mut scopes = Scopes::new(pipeline.root.as_ref());
        let mut tables: Vec<CompiledTable> = Vec::with_capacity(pipeline.tables.len());
        for position in 0..pipeline.tables.len() {
            let compiled = CompiledTable::new(pipeline, position, &tables, &mut scopes, key);
            let name = pipeline.tables[position].table.unquoted();
            let is_one_of_many = pipeline.tables.len() > 1;
            tables.push(
                compiled
                    .map_err(|mistake| mistake.of_table(&name, is_one_of_many).in_file(file))?,
            );
        }
        Ok(Self {
            reads_json: pipeline.root.is_some() || tables.iter().any(CompiledTable::reads_json),
            scopes,
            tables,
            unmatched: pipeline.unmatched,
            origins: Origins::new(key),
        })
    }

    /// What signs and verifies origins, with the same key as masks.
    pub fn origins(&self) -> &Origins {
        &self.origins
    }

    /// Room for the rows of messages.
    pub fn new_rows(&self) -> MessageRows {
        MessageRows::new(self.tables.iter().map(|table| table.columns.len()))
    }

    /// Adds the message's rows to `rows`, and says whether there are any: a message of which the mapping makes no
    /// row has nothing to store.
    ///
    /// # Errors
    /// The first rule that the message breaks; `rows` is then as before.
    pub fn transform(
        &self,
        message: &Message<'_>,
        rows: &mut MessageRows,
    ) -> Result<bool, Rejection> {
        let read = self.push_rows(message, rows);
        match read {
            Ok(()) if rows.unfinished() > 0 => {
                rows.finish_message();
                Ok(true)
            }
            _ => {
                rows.drop_unfinished();
                read.map(|()| false)
            }
        }
    }

    fn push_rows(&self, message: &Message<'_>, rows: &mut MessageRows) -> Result<(), Rejection> {
        let body = if self.reads_json {
            message.body()
        } else {
            "null"
        };
        let mut root_text = String::new();
        let entered = self.scopes.enter(body, &mut root_text);
        let frames = entered.map_err(|NotJson| Rule::BodyNotJson)?;
        let mut reading = Reading {
            message,
            frames,
            rows,
        };
        let mut is_taken = false;
        for (position, table) in self.tables.iter().enumerate() {
            if table.mapping.parent.is_none() {
                is_taken |= self.push_table(position, None, &mut reading)?;
            }
        }
        match self.unmatched {
            Unmatched::Reject if !is_taken => Err(Rule::Unmatched.into()),
            _ => Ok(()),
        }
    }

    /// Adds the rows of a table that belong to a row of its parent, or to the message, and says whether the table
    /// takes the message.
    fn push_table(
        &self,
        position: usize,
        parent: Option<usize>,
        reading: &mut Reading<'_, '_>,
    ) -> Result<bool, Rejection> {
        let table = &self.tables[position];
        let Some(array) = table.each else {
            return self.push_row(position, parent, reading);
        };
        let not_an_array = |reading: &Reading<'_, '_>| Rejection {
            rule: Rule::NotAnArray,
            place: Some(table.place_of_array(&self.scopes, &reading.frames)),
        };
        let Some(json) = reading.frames.field(array) else {
            return Ok(table.when.is_empty());
        };
        let elements: Vec<&RawValue> =
            serde_json::from_str(json).map_err(|_| not_an_array(reading))?;
        let mut is_taken = table.when.is_empty();
        for (index, element) in elements.into_iter().enumerate() {
            let entered = reading
                .frames
                .enter(&self.scopes, table.scope, index, element.get());
            entered.map_err(|NotJson| Rule::BodyNotJson)?;
            is_taken |= self.push_row(position, parent, reading)?;
        }
        Ok(is_taken)
    }

    /// Adds one row with those of its children, unless a condition leaves it out.
    fn push_row(
        &self,
        position: usize,
        parent: Option<usize>,
        reading: &mut Reading<'_, '_>,
    ) -> Result<bool, Rejection> {
        let table = &self.tables[position];
        if !holds(&table.when, reading)? {
            return Ok(false);
        }
        if reading.rows.unfinished() >= MAX_ROWS {
            return Err(Rule::TooManyRows(MAX_ROWS).into());
        }
        let is_deleted = !table.delete_when.is_empty() && holds(&table.delete_when, reading)?;
        for column in &table.columns {
            let rows = &mut reading.rows.table_mut(position).rows;
            if is_deleted && !column.identifies {
                rows.push_null();
                continue;
            }
            let pushed = column.push_cell(reading.message, &reading.frames, rows);
            pushed.map_err(|rule| Rejection {
                rule,
                place: Some(table.place(column, &self.scopes, &reading.frames)),
            })?;
        }
        let row = reading
            .rows
            .table_mut(position)
            .finish_row(parent, is_deleted);
        if !is_deleted {
            for &child in &table.children {
                let first = reading.rows.tables()[child].rows.len();
                self.push_table(child, Some(row), reading)?;
                self.check_siblings(child, first, reading.rows)?;
            }
        }
        Ok(true)
    }

    /// Rows of one parent have different keys: none of two with the same key is more right than the other.
    fn check_siblings(
        &self,
        child: usize,
        first: usize,
        rows: &MessageRows,
    ) -> Result<(), Rejection> {
        let table = &self.tables[child];
        let rows = &rows.tables()[child].rows;
        let key = |row: usize| {
            table
                .mapping
                .key
                .iter()
                .map(move |&column| rows.cell(row, column))
        };
        let mut siblings: Vec<usize> = (first..rows.len()).collect();
        siblings.sort_unstable_by(|&a, &b| key(a).cmp(key(b)));
        let is_repeated = siblings.windows(2).any(|pair| match pair {
            &[a, b] => key(a).eq(key(b)),
            _ => false,
        });
        let column = table
            .mapping
            .key
            .last()
            .and_then(|&column| table.columns.get(column));
        match column.filter(|_| is_repeated) {
            None => Ok(()),
            Some(column) => Err(Rejection {
                rule: Rule::RepeatedKey,
                place: Some(table.place_of_all(column)),
            }),
        }
    }
}

impl CompiledTable {
    fn new(
        pipeline: &Pipeline,
        position: usize,
        before: &[Self],
        scopes: &mut Scopes,
        key: Option<&MaskKey>,
    ) -> Result<Self, Mistake> {
        let mapping = &pipeline.tables[position];
        let parent = mapping.parent.and_then(|parent| before.get(parent));
        let outer = parent.map_or_else(|| scopes.message(), |parent| parent.scope);
        let each = mapping.each.as_ref().map(|path| scopes.slot(outer, path));
        let scope = match &mapping.each {
            Some(path) => scopes.add_element(outer, path),
            None => outer,
        };
        let ancestor = |generations: usize| {
            let above =
                (1..generations).try_fold(parent?, |table, _| before.get(table.mapping.parent?));
            above.map(|table| table.scope)
        };
        let mut compile = |source: &Source| match source {
            Source::Path(path) => Input::Field(scopes.slot(scope, path)),
            Source::Top(path) => Input::Field(scopes.slot(Scopes::TOP, path)),
            Source::Parent(generations, path) => {
                Input::Field(scopes.slot(ancestor(*generations).unwrap_or(scope), path))
            }
            Source::Index(0) => Input::Index(scope),
            Source::Index(generations) => Input::Index(ancestor(*generations).unwrap_or(scope)),
            // No condition can be on it.
            Source::Rest => Input::Rest(scope, HashSet::new()),
            Source::Metadata(metadata) => Input::Metadata(metadata.clone()),
        };
        let mut conditions = |conditions: &[Condition]| -> Vec<_> {
            let compiled = conditions.iter().map(|condition| CompiledCondition {
                input: compile(&condition.source),
                values: condition.values.clone(),
            });
            compiled.collect()
        };
        let when = conditions(&mapping.when);
        let delete_when = conditions(&mapping.delete_when);
        let touched = pipeline.touched_fields(mapping);
        let mut columns = Vec::with_capacity(mapping.columns.len());
        for (position, column) in mapping.columns.iter().enumerate() {
            let is_key = mapping.key.contains(&position);
            let inputs = column.sources().map(|source| match source {
                Source::Rest => Input::Rest(
                    scope,
                    touched.iter().chain(&column.except).cloned().collect(),
                ),
                Source::Metadata(Metadata::Body) if column.column_type.is_json() => Input::Body,
                source => compile(source),
            });
            let inputs = inputs.collect();
            let compiled = CompiledColumn::new(column, is_key, inputs, key);
            let mut compiled = compiled.map_err(|problem| problem.of(&column.name))?;
            compiled.identifies = is_key || mapping.newer == Some(position);
            columns.push(compiled);
        }
        Ok(Self {
            mapping: mapping.clone(),
            name: (pipeline.tables.len() > 1).then(|| mapping.table.unquoted()),
            scope,
            each,
            when,
            delete_when,
            columns,
            children: pipeline
                .children(position)
                .map(|(child, _)| child)
                .collect(),
        })
    }

    fn reads_json(&self) -> bool {
        let conditions = self.when.iter().chain(&self.delete_when);
        let columns = self.columns.iter().flat_map(|column| &column.inputs);
        let mut inputs = columns.chain(conditions.map(|condition| &condition.input));
        self.each.is_some() || inputs.any(|input| !matches!(input, Input::Metadata(_)))
    }

    /// A column of the row under way, and the value's way from the top of the body.
    fn place(&self, column: &CompiledColumn, scopes: &Scopes, frames: &Frames<'_>) -> Place {
        let mut place = self.place_of_all(column);
        if let Source::Path(_) = column.column.source {
            place.path = scopes.describe(self.scope, frames, &place.path);
        }
        place
    }

    fn place_of_all(&self, column: &CompiledColumn) -> Place {
        Place {
            table: self.name.clone(),
            ..column.column.place(column.is_key)
        }
    }

    fn place_of_array(&self, scopes: &Scopes, frames: &Frames<'_>) -> Place {
        Place {
            table: self.name.clone(),
            column: None,
            path: scopes.describe_array(self.scope, frames),
            is_key: false,
        }
    }
}

fn holds(conditions: &[CompiledCondition], reading: &Reading<'_, '_>) -> Result<bool, Rejection> {
    for condition in conditions {
        let value = condition
            .input
            .value(reading.message, &reading.frames, Unstorable::Strip)?;
        if !condition
            .values
            .iter()
            .any(|expected| is_equal(expected, &value))
        {
            return Ok(false);
        }
    }
    Ok(true)
}

fn is_equal(expected: &Scalar, value: &Value<'_>) -> bool {
    match (expected, value) {
        (Scalar::Text(expected), Value::Text(text)) => expected == text,
        (Scalar::Bool(expected), Value::Bool(found)) => expected == found,
        (Scalar::Number(expected), Value::Number(text)) => {
            expected == text || Decimal::parse(expected).is_some_and(|number| number.equals(text))
        }
        _ => false,
    }
}

impl CompiledColumn {
    fn new(
        column: &Column,
        is_key: bool,
        inputs: SmallVec<[Input; 1]>,
        key: Option<&MaskKey>,
    ) -> Result<Self, Problem> {
        let (strips, steps): (Vec<_>, Vec<_>) = column
            .transforms
            .iter()
            .partition(|&&step| step == Step::StripNul);

        let mut compiled = Self {
            column: column.clone(),
            is_key,
            identifies: is_key,
            inputs,
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
        frames: &Frames<'a>,
        rows: &mut Rows,
    ) -> Result<(), Rule> {
        let value = self.value(message, frames)?;
        match (self.push_value(&value, rows)?, &self.default) {
            (Pushed::Cell, _) => {}
            (Pushed::Null, Some(cell)) => rows.push_cell(cell),
            (Pushed::Null, None) if self.column.is_never_null() => return Err(Rule::Required),
            (Pushed::Null, None) => rows.push_null(),
        }
        Ok(())
    }

    fn value<'a>(&self, message: &'a Message<'_>, frames: &Frames<'a>) -> Result<Value<'a>, Rule> {
        for input in &self.inputs {
            match input.value(message, frames, self.unstorable)? {
                Value::Null => {}
                value => return Ok(value),
            }
        }
        Ok(Value::Null)
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
        Some(_) => Value::Number(Cow::Borrowed(json)),
    })
}
