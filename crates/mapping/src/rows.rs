//! Rows in Postgres's binary format, in one buffer.
//!
//! A cell is its length in bytes as a 32-bit integer and then its bytes, or the length −1 for a null: the format of
//! arrays. So rows need no allocation of their own, and a bad one is simply truncated.

use std::ops::Range;

use bytes::{BufMut, BytesMut};
use postgres_types::Type;

/// The length that stands for a null.
/// Source: <https://www.postgresql.org/docs/18/protocol-message-formats.html> (Bind).
const NULL_LENGTH: i32 = -1;

/// Rows of one width, addressed by their position. Their values may be personal, so they cannot be printed.
pub struct Rows {
    width: usize,
    bytes: BytesMut,
    /// Where each cell ends in `bytes`, row by row.
    ends: Vec<usize>,
}

#[expect(clippy::indexing_slicing, reason = "its own positions")]
impl Rows {
    /// No rows yet, each to have `width` cells.
    pub fn new(width: usize) -> Self {
        Self {
            width,
            bytes: BytesMut::new(),
            ends: Vec::new(),
        }
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.ends.len() / self.width
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Removes the rows from position `len` on, and an unfinished row.
    pub fn truncate(&mut self, len: usize) {
        self.ends.truncate(len * self.width);
        self.bytes.truncate(self.ends.last().copied().unwrap_or(0));
    }

    pub(crate) fn push_null(&mut self) {
        put_null(&mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    /// Adds a cell to the current row, from its length and bytes as [`cell`](Self::cell) returns them.
    pub(crate) fn push_cell(&mut self, cell: &[u8]) {
        self.bytes.put_slice(cell);
        self.ends.push(self.bytes.len());
    }

    /// Adds a value to the current row, written by `write`. If that fails, the row must be truncated.
    pub(crate) fn push_value<E>(
        &mut self,
        write: impl FnOnce(&mut BytesMut) -> Result<(), E>,
    ) -> Result<(), E> {
        put_value(&mut self.bytes, write)?;
        self.ends.push(self.bytes.len());
        Ok(())
    }

    /// The cells of a row, one after the other.
    pub fn row(&self, row: usize) -> &[u8] {
        let first = row * self.width;
        &self.bytes[self.start(first)..self.start(first + self.width)]
    }

    /// The length and bytes of a cell.
    pub fn cell(&self, row: usize, column: usize) -> &[u8] {
        let cell = row * self.width + column;
        &self.bytes[self.start(cell)..self.ends[cell]]
    }

    /// The length and bytes of the cell that was added last.
    pub(crate) fn last_cell(&self) -> &[u8] {
        let last = self.ends.len().saturating_sub(1);
        &self.bytes[self.start(last)..]
    }

    fn start(&self, cell: usize) -> usize {
        cell.checked_sub(1).map_or(0, |before| self.ends[before])
    }

    /// The first bytes of a cell's value as a number that sorts like them.
    pub fn prefix(&self, row: usize, column: usize) -> u64 {
        prefix(self.cell(row, column).split_at(size_of::<i32>()).1)
    }

    /// The cell's bytes; `None` for a null.
    pub fn value(&self, row: usize, column: usize) -> Option<&[u8]> {
        let (length, bytes) = self.cell(row, column).split_at(size_of::<i32>());
        (length != NULL_LENGTH.to_be_bytes()).then_some(bytes)
    }
}

/// Writes a null as a cell.
pub fn put_null(out: &mut BytesMut) {
    out.put_i32(NULL_LENGTH);
}

/// Writes a value, which `write` writes, as a cell.
pub fn put_value<E>(
    out: &mut BytesMut,
    write: impl FnOnce(&mut BytesMut) -> Result<(), E>,
) -> Result<(), E> {
    let start = out.len();
    out.put_i32(0);
    write(out)?;
    let length = out.len() - start - size_of::<i32>();
    // A value comes from a message of at most 1 MiB, so its length always fits.
    let length = i32::try_from(length).unwrap_or(i32::MAX);
    out.split_at_mut(start).1.put_i32(length);
    Ok(())
}

/// How many bytes there are before the elements of an array that has any.
pub(crate) const ARRAY_HEAD_BYTES: usize = 5 * size_of::<i32>();

/// Writes an array of one dimension, whose elements `write` writes as cells, and counts.
pub(crate) fn put_array<E>(
    out: &mut BytesMut,
    element: &Type,
    write: impl FnOnce(&mut BytesMut) -> Result<usize, E>,
) -> Result<(), E> {
    let start = out.len();
    put_array_head(out, element, 1);
    let after_head = out.len();
    let elements = write(out)?;
    let cells = out.split_off(after_head);
    out.truncate(start);
    put_array_head(out, element, elements);
    out.unsplit(cells);
    Ok(())
}

/// Writes the beginning of an array of one dimension. Its elements follow as cells.
/// Source: `array_recv` in <https://github.com/postgres/postgres/blob/REL_18_STABLE/src/backend/utils/adt/arrayfuncs.c>.
pub fn put_array_head(out: &mut BytesMut, element: &Type, elements: usize) {
    const MAY_HOLD_NULLS: i32 = 1;
    const LOWER_BOUND: i32 = 1;
    let dimensions = elements.min(1);
    out.put_i32(dimensions as i32);
    out.put_i32(MAY_HOLD_NULLS);
    out.put_u32(element.oid());
    if dimensions > 0 {
        // A batch and a message have at most a few MiB.
        out.put_i32(i32::try_from(elements).unwrap_or(i32::MAX));
        out.put_i32(LOWER_BOUND);
    }
}

/// The first bytes as a number that sorts like them, which distinguishes most values without reading them from
/// memory.
pub(crate) fn prefix(value: &[u8]) -> u64 {
    let mut prefix = [0; size_of::<u64>()];
    for (to, from) in prefix.iter_mut().zip(value) {
        *to = *from;
    }
    u64::from_be_bytes(prefix)
}

/// The rows of messages in all tables of a mapping.
pub struct MessageRows {
    tables: Vec<TableRows>,
    messages: usize,
}

/// What a row of a table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RowKind {
    /// It has a value of its own.
    Full,
    /// Every column that reads where the row begins is null.
    Empty,
    /// It is to be deleted, or to become a tombstone.
    Deleted,
}

/// The rows of messages in one table.
pub struct TableRows {
    /// Their cells.
    pub rows: Rows,
    /// For each row of a child table, the row of the parent table that it belongs to.
    parents: Vec<usize>,
    /// Positions of the rows that are to be deleted, in order; only what identifies them is given, and the time of a
    /// tombstone.
    deleted: Vec<usize>,
    /// Positions of the rows without a value of their own, in order.
    empty: Vec<usize>,
    /// For each message, the position after its last row.
    ends: Vec<usize>,
}

impl MessageRows {
    /// No rows yet, in tables with these numbers of columns.
    pub fn new(widths: impl IntoIterator<Item = usize>) -> Self {
        let table = |width| TableRows {
            rows: Rows::new(width),
            parents: Vec::new(),
            deleted: Vec::new(),
            empty: Vec::new(),
            ends: Vec::new(),
        };
        Self {
            tables: widths.into_iter().map(table).collect(),
            messages: 0,
        }
    }

    /// How many messages have rows.
    pub fn messages(&self) -> usize {
        self.messages
    }

    /// How much memory the rows take.
    pub fn bytes(&self) -> usize {
        let tables = self.tables.iter().map(|table| &table.rows);
        tables
            .map(|rows| rows.bytes.len() + size_of_val(&rows.ends[..]))
            .sum()
    }

    /// The rows in each table, in the order of the mapping.
    pub fn tables(&self) -> &[TableRows] {
        &self.tables
    }

    /// The rows in the table at this position of the mapping.
    #[expect(clippy::indexing_slicing, reason = "its own positions")]
    pub fn table(&self, position: usize) -> &TableRows {
        &self.tables[position]
    }

    #[expect(clippy::indexing_slicing, reason = "its own positions")]
    pub(crate) fn table_mut(&mut self, table: usize) -> &mut TableRows {
        &mut self.tables[table]
    }

    /// How many rows the message under way has.
    pub(crate) fn unfinished(&self) -> usize {
        let tables = self.tables.iter();
        tables
            .map(|table| table.rows.len() - table.start(self.messages))
            .sum()
    }

    /// Ends the message whose rows were added last.
    pub(crate) fn finish_message(&mut self) {
        self.messages += 1;
        for table in &mut self.tables {
            table.ends.push(table.rows.len());
        }
    }

    /// Takes off the rows of a message that was not finished.
    pub fn drop_unfinished(&mut self) {
        for table in &mut self.tables {
            let len = table.start(self.messages);
            table.rows.truncate(len);
            table.parents.truncate(len);
            for marked in [&mut table.deleted, &mut table.empty] {
                marked.truncate(marked.partition_point(|&row| row < len));
            }
        }
    }
}

#[expect(clippy::indexing_slicing, reason = "its own positions")]
impl TableRows {
    /// Notes what the row that was added last belongs to, and what it is.
    pub(crate) fn finish_row(&mut self, parent: Option<usize>, kind: RowKind) -> usize {
        let row = self.rows.len() - 1;
        self.parents.extend(parent);
        match kind {
            RowKind::Full => {}
            RowKind::Empty => self.empty.push(row),
            RowKind::Deleted => self.deleted.push(row),
        }
        row
    }

    /// How many rows of a message have no value of their own.
    pub fn empty_of(&self, message: usize) -> usize {
        let rows = self.of_message(message);
        let before = |row: usize| self.empty.partition_point(|&empty| empty < row);
        before(rows.end) - before(rows.start)
    }

    /// The positions of a message's rows.
    pub fn of_message(&self, message: usize) -> Range<usize> {
        self.start(message)..self.ends[message]
    }

    /// The row of the parent table that a row of a child table belongs to.
    pub fn parent(&self, row: usize) -> usize {
        self.parents[row]
    }

    /// Whether the row is to be deleted, or to become a tombstone.
    pub fn is_deleted(&self, row: usize) -> bool {
        self.deleted.binary_search(&row).is_ok()
    }

    fn start(&self, message: usize) -> usize {
        message.checked_sub(1).map_or(0, |before| self.ends[before])
    }
}
