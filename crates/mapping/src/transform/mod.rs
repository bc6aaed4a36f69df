//! [`Message`]s → rows, by the mapping.
//!
//! For each column: pick the field, clean it, mask it, convert it. The first value that breaks a rule rejects its
//! message, with column, path and rule; no error contains a value. Pure: no I/O, no clock.

mod column;
mod convert;
mod decimal;
mod equal;
mod fields;
mod jsonb;
mod literal;
mod observe;
mod parts;
mod printed;
mod scopes;
mod shape;
mod table;
mod text;
mod times;
mod value;

use std::borrow::Cow;

use crate::mask::KeyRing;
use crate::message::origin::Origins;
use crate::message::{ExtractError, Message, Record, S3Pointer, Wrapping};
use crate::pipeline::{Pipeline, PipelineError, Unmatched};
use crate::rejection::{Place, Rejection, Rule};
use crate::rows::{MessageRows, RowKind};
pub use convert::{readable, takes};
pub use decimal::Numeric;
pub use jsonb::printed_jsonb;
pub use observe::{Observation, Tested};
use parts::{Unvisited, each_element};
use scopes::{Array, Frames, Scopes};
use shape::Shape;
use table::CompiledTable;
use text::Unstorable;
use value::Value;

/// A mapping that is ready for use: paths as trees, masks with their keys, defaults as cells.
///
/// It needs no other part of the mapping to turn messages into rows. Compile it once, and use it for all messages.
pub struct Compiled {
    wrapping: Wrapping,
    /// What makes the body out of the one that was sent.
    shape: Option<Shape>,
    scopes: Scopes,
    tables: Vec<CompiledTable>,
    /// Whether anything needs the body to be JSON.
    reads_json: bool,
    /// Whether each element of the body is a record of its own.
    reads_records: bool,
    unmatched: Unmatched,
    origins: Origins,
}

/// A message on its way into rows.
struct Reading<'r, 'a> {
    message: &'a Message<'a>,
    frames: Frames<'a>,
    rows: &'r mut MessageRows,
    /// What the values of its rows take so far, in bytes.
    bytes: usize,
    /// For each element of a body that is an array, whether a table without a parent matches it.
    taken: Vec<bool>,
}

/// The maximum number of rows of one message. SQS takes a message of 1 MiB, which can hold half a million elements.
const MAX_ROWS: usize = 10_000;

/// The maximum size of all values of one message, in bytes. Each row may repeat a value of the message, so that a
/// message of 1 MiB could expand to 10 GB.
const MAX_BYTES: usize = 16 << 20;

impl Reading<'_, '_> {
    /// Notes whether a table matches an element of the body.
    fn take(&mut self, element: usize, is_taken: bool) {
        match self.taken.get_mut(element) {
            Some(taken) => *taken |= is_taken,
            None => self.taken.push(is_taken),
        }
    }
}

impl Compiled {
    /// Compiles a mapping. Errors call it `file`.
    ///
    /// # Errors
    /// A mask lacks its key, a default does not fit its column, or there is no key and any sender could overwrite
    /// any row.
    pub fn new(
        file: &str,
        pipeline: &Pipeline,
        keys: Option<&KeyRing>,
    ) -> Result<Self, PipelineError> {
        if keys.is_none() {
            let checked = pipeline.check_unsigned_origin();
            checked.map_err(|mistake| mistake.in_file(file))?;
        }
        let mut scopes = Scopes::new(pipeline.root.as_ref());
        let mut tables: Vec<CompiledTable> = Vec::with_capacity(pipeline.tables.len());
        for mapping in &pipeline.tables {
            let compiled = CompiledTable::new(pipeline, mapping, &tables, &mut scopes, keys);
            let name = mapping.table.unquoted();
            let is_one_of_many = pipeline.tables.len() > 1;
            tables.push(
                compiled
                    .map_err(|mistake| mistake.of_table(&name, is_one_of_many).in_file(file))?,
            );
        }
        Ok(Self {
            wrapping: pipeline.wrapping.clone(),
            shape: pipeline.jq.as_ref().map(|jq| Shape::new(jq, pipeline)),
            reads_json: pipeline.root.is_some() || tables.iter().any(CompiledTable::reads_json),
            reads_records: pipeline.reads_records(),
            scopes,
            tables,
            unmatched: pipeline.unmatched,
            origins: Origins::new(keys),
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

    /// The message of a record, out of the wrapping that the mapping names.
    ///
    /// # Errors
    /// The record has no body, it is not wrapped in this way, or the program of the mapping makes nothing of it.
    pub fn extract<'a>(&self, record: &'a Record<'a>) -> Result<Message<'a>, ExtractError> {
        self.extract_with(record, None)
    }

    /// The message of a record. If the record has a pointer of [`s3_pointer`](Self::s3_pointer), `object` is the text
    /// of the object in S3.
    ///
    /// # Errors
    /// As for [`extract`](Self::extract); and the object is missing here.
    pub fn extract_with<'a>(
        &self,
        record: &'a Record<'a>,
        object: Option<String>,
    ) -> Result<Message<'a>, ExtractError> {
        let message = Message::extract_with(record, object, &self.wrapping)?;
        match &self.shape {
            None => Ok(message),
            Some(shape) => shape.apply(message),
        }
    }

    /// Where in S3 the body of a record is, if it was moved to one of the buckets that the mapping lists.
    pub fn s3_pointer(&self, record: &Record<'_>) -> Option<S3Pointer> {
        Message::s3_pointer(record, &self.wrapping)
    }

    /// The rows of a record. There may be none: then the message has nothing to store.
    ///
    /// # Errors
    /// The first value that cannot be stored, or what is wrong with the whole message.
    pub fn rows(&self, record: &Record<'_>) -> Result<MessageRows, Rejection> {
        self.rows_of(&self.extract(record)?)
    }

    /// The rows of a message. There may be none.
    ///
    /// # Errors
    /// The first value that cannot be stored.
    pub fn rows_of(&self, message: &Message<'_>) -> Result<MessageRows, Rejection> {
        let mut rows = self.new_rows();
        self.transform(message, &mut rows)?;
        Ok(rows)
    }

    /// Adds the message's rows to `rows`, and says whether there are any: a message that produces no row has nothing to
    /// store.
    ///
    /// # Errors
    /// The first rule that the message breaks; `rows` is then as before.
    pub fn transform(
        &self,
        message: &Message<'_>,
        rows: &mut MessageRows,
    ) -> Result<bool, Rejection> {
        match self.push_rows(message, rows) {
            Ok(()) if rows.unfinished() > 0 => {
                rows.finish_message();
                Ok(true)
            }
            read => {
                rows.drop_unfinished();
                read.map(|()| false)
            }
        }
    }

    fn push_rows(&self, message: &Message<'_>, rows: &mut MessageRows) -> Result<(), Rejection> {
        if message.is_left_out() {
            return self.unmatched();
        }
        let body = if self.reads_json {
            message.body()
        } else {
            "null"
        };
        let mut root_text = String::new();
        let mut reading = Reading {
            message,
            frames: self.scopes.enter(body, &mut root_text)?,
            rows,
            bytes: 0,
            taken: Vec::new(),
        };
        let mut is_taken = false;
        for table in &self.tables {
            let is_passed =
                self.unmatched == Unmatched::Skip && table.is_passed_by_null(&reading.frames);
            if table.parent.is_none() && !is_passed {
                is_taken |= self.push_table(table, None, &mut reading)?;
            }
        }
        if !is_taken {
            return self.unmatched();
        }
        let left_out = reading.taken.iter().position(|is_taken| !is_taken);
        match left_out.filter(|_| self.reads_records && self.unmatched == Unmatched::Reject) {
            None => Ok(()),
            Some(record) => Err(Rejection {
                rule: Rule::Unmatched,
                place: Some(Place::of_record(message.first_index() + record)),
            }),
        }
    }

    /// What happens to a message that no table matches.
    fn unmatched(&self) -> Result<(), Rejection> {
        match self.unmatched {
            Unmatched::Reject => Err(Rule::Unmatched.into()),
            Unmatched::Skip => Ok(()),
        }
    }

    /// Adds the rows of a table that belong to a row of its parent, or to the message, and says whether the table
    /// matches the message.
    fn push_table(
        &self,
        table: &CompiledTable,
        parent: Option<usize>,
        reading: &mut Reading<'_, '_>,
    ) -> Result<bool, Rejection> {
        let Some(array) = table.each else {
            return self.push_row(table, parent, reading);
        };
        let not_an_array = |reading: &Reading<'_, '_>| Rejection {
            rule: Rule::NotAnArray,
            place: Some(table.place_of_array(&self.scopes, &reading.frames)),
        };
        let json = reading
            .frames
            .array(array)
            .map_err(|no_fields| table.not_an_object(no_fields, &self.scopes, &reading.frames))?;
        let Some(json) = json else {
            return Ok(table.when.is_empty());
        };
        let mut is_taken = table.when.is_empty();
        let first = match array {
            Array::Body => reading.message.first_index(),
            Array::Field(_) => 0,
        };
        let mut position = 0;
        let visited = each_element(json, |element| {
            let index = first + position;
            position += 1;
            let frames = &mut reading.frames;
            frames.enter(&self.scopes, table.scope, index, element)?;
            let has_row = self.push_row(table, parent, reading)?;
            is_taken |= has_row;
            if matches!(array, Array::Body) {
                reading.take(index - first, has_row);
            }
            Ok(())
        });
        visited.map_err(|unvisited| match unvisited {
            Unvisited::NotAnArray => not_an_array(reading),
            Unvisited::By(rejection) => rejection,
        })?;
        Ok(is_taken)
    }

    /// Adds one row with its child rows, unless a condition excludes it.
    fn push_row(
        &self,
        table: &CompiledTable,
        parent: Option<usize>,
        reading: &mut Reading<'_, '_>,
    ) -> Result<bool, Rejection> {
        if !table.holds(&table.when, &self.scopes, reading)? {
            return Ok(false);
        }
        if table.each.is_some() && reading.rows.unfinished() >= MAX_ROWS {
            return Err(Rule::TooManyRows(MAX_ROWS).into());
        }
        let is_deleted = !table.delete_when.is_empty()
            && table.holds(&table.delete_when, &self.scopes, reading)?;
        let kind = self.push_cells(table, is_deleted, reading)?;
        let rows = reading.rows.table_mut(table.position);
        let row = rows.finish_row(parent, kind);
        if !is_deleted {
            for child in self.children(table) {
                let first = reading.rows.table(child.position).rows.len();
                self.push_table(child, Some(row), reading)?;
                check_siblings(child, first, reading.rows)?;
            }
        }
        Ok(true)
    }

    /// Adds the cells of one row, and says what the row is.
    fn push_cells(
        &self,
        table: &CompiledTable,
        is_deleted: bool,
        reading: &mut Reading<'_, '_>,
    ) -> Result<RowKind, Rejection> {
        let mut is_empty = table.has_own;
        for column in &table.columns {
            let rows = &mut reading.rows.table_mut(table.position).rows;
            if !column.presence.is_in(is_deleted) {
                rows.push_null();
            } else {
                let pushed = column.push_cell(reading.message, &reading.frames, rows);
                let has_value = pushed.map_err(|unread| {
                    table.rejection(column, unread, &self.scopes, &reading.frames)
                })?;
                is_empty &= !(column.is_own && has_value);
            }
            reading.bytes += column.sent_bytes(rows.last_cell());
            if reading.bytes > MAX_BYTES {
                return Err(Rule::TooLarge(MAX_BYTES).into());
            }
        }
        Ok(match (is_deleted, is_empty) {
            (true, _) => RowKind::Deleted,
            (false, true) => RowKind::Empty,
            (false, false) => RowKind::Full,
        })
    }

    fn children(&self, table: &CompiledTable) -> impl Iterator<Item = &CompiledTable> {
        let position = table.position;
        let children = self.tables.iter();
        children.filter(move |child| child.parent == Some(position))
    }
}

/// Rows of one parent must have different keys: neither of two rows with the same key is more correct than the
/// other.
fn check_siblings(
    table: &CompiledTable,
    first: usize,
    rows: &MessageRows,
) -> Result<(), Rejection> {
    let rows = &rows.table(table.position).rows;
    let key = |row: usize| {
        let key = table.key.iter();
        key.map(move |&column| rows.cell(row, column))
    };
    let mut siblings: Vec<usize> = (first..rows.len()).collect();
    siblings.sort_unstable_by(|&a, &b| key(a).cmp(key(b)));
    let is_repeated = siblings.windows(2).any(|pair| match pair {
        &[a, b] => key(a).eq(key(b)),
        _ => false,
    });
    match table.key.last().and_then(|&last| table.columns.get(last)) {
        Some(last) if is_repeated => Err(Rejection {
            rule: Rule::RepeatedKey,
            place: Some(table.place_of_all(last)),
        }),
        _ => Ok(()),
    }
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
