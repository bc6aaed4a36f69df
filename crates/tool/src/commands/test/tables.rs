//! What the tables hold after some messages, computed without a database: each message is stored as the function stores
//! a batch of it alone.

use std::cmp::Ordering;
use std::collections::HashMap;

use mapping::internals::{Kind, printed_jsonb, readable};
use mapping::{Column, ColumnType, MessageRows, OnConflict, Pipeline, TableMapping, TableRows};
use sqs_to_postgres::load::{compare, selected};

use super::expected::Section;
use crate::cli::output::escaped;

/// The tables of a mapping.
pub(super) struct Tables<'p> {
    pipeline: &'p Pipeline,
    /// The rows of each table, by their keys.
    tables: Vec<HashMap<Key, StoredRow>>,
}

/// The cells of a key's columns. Numbers that are equal to Postgres have equal bytes.
type Key = Vec<Option<Vec<u8>>>;

struct StoredRow {
    cells: Vec<Option<Vec<u8>>>,
    /// The key of the row without a parent that it descends from.
    origin: Key,
}

/// Rows of child tables, by the position of their table and their keys.
type Replaced = HashMap<(usize, Key), StoredRow>;

/// The rows of a message that descend from one row.
struct Children<'a> {
    rows: &'a MessageRows,
    origin: &'a Key,
    /// What they replace.
    replaced: Replaced,
}

impl StoredRow {
    /// In place of another row. Postgres keeps the key as it was first written, for example `2.0` where `2` comes later;
    /// of a table that has nothing but its key the function writes the first column of it again. A tombstone keeps no
    /// values.
    fn replacing(mut self, mapping: &TableMapping, replaced: Option<&Self>) -> Self {
        let Some(replaced) = replaced else {
            return self;
        };
        let is_related = mapping.parent.is_some() || mapping.has_children;
        let written = usize::from(is_related && mapping.other_names().next().is_none());
        let kept = mapping.kept().filter(|&column| {
            let is_null = self.cells.get(column) == Some(&None);
            is_null && !self.is_tombstone(mapping)
        });
        let unchanged: Vec<usize> = mapping
            .key
            .iter()
            .skip(written)
            .copied()
            .chain(kept)
            .collect();
        for column in unchanged {
            if let (Some(cell), Some(before)) =
                (self.cells.get_mut(column), replaced.cells.get(column))
            {
                cell.clone_from(before);
            }
        }
        self
    }

    fn is_tombstone(&self, mapping: &TableMapping) -> bool {
        let time = mapping.tombstone.and_then(|column| self.cells.get(column));
        time.is_some_and(Option::is_some)
    }
}

impl<'p> Tables<'p> {
    /// Without rows.
    pub(super) fn of(pipeline: &'p Pipeline) -> Self {
        Self {
            pipeline,
            tables: pipeline.tables.iter().map(|_| HashMap::new()).collect(),
        }
    }

    /// Stores the rows of one message.
    pub(super) fn store(&mut self, rows: &MessageRows) {
        let pipeline = self.pipeline;
        for (position, mapping) in pipeline.tables.iter().enumerate() {
            let table = rows.table(position);
            if mapping.parent.is_some() {
                continue;
            }
            let candidates: Vec<usize> = (0..table.rows.len()).collect();
            for row in selected(mapping, table, &candidates) {
                match table.is_deleted(row) && !mapping.keeps_tombstones() {
                    true => self.delete(position, &stored(mapping, table, row)),
                    false => self.write(position, row, rows),
                }
            }
        }
    }

    /// Deletes a row with its children, unless it is newer.
    fn delete(&mut self, position: usize, deleted: &StoredRow) {
        if self.is_newer(position, deleted) {
            return;
        }
        if let Some(table) = self.tables.get_mut(position) {
            table.remove(&deleted.origin);
        }
        self.delete_children(position, &deleted.origin);
    }

    /// Whether the table has a newer row of the same key.
    fn is_newer(&self, position: usize, row: &StoredRow) -> bool {
        let mapping = self.pipeline.table(position);
        let table = self.tables.get(position);
        let existing = table.and_then(|table| table.get(&row.origin));
        let (Some(existing), Some(newer), Some(column)) =
            (existing, mapping.newer, mapping.newer_column())
        else {
            return false;
        };
        let [stored, new] =
            [existing, row].map(|row| row.cells.get(newer).and_then(Option::as_deref));
        compare(column.column_type, stored, new) == Ordering::Greater
    }

    /// Writes a row without a parent, and the rows that belong to it.
    fn write(&mut self, position: usize, row: usize, rows: &MessageRows) {
        let mapping = self.pipeline.table(position);
        let new = stored(mapping, rows.table(position), row);
        let origin = new.origin.clone();
        let exists = self
            .tables
            .get(position)
            .is_some_and(|table| table.contains_key(&origin));
        let replaced = match mapping.on_conflict {
            OnConflict::Ignore if exists => return,
            OnConflict::Ignore => HashMap::new(),
            OnConflict::Update if self.is_newer(position, &new) => return,
            OnConflict::Update if new.is_tombstone(mapping) => HashMap::new(),
            OnConflict::Update => self.delete_children(position, &origin),
        };
        if let Some(table) = self.tables.get_mut(position) {
            let new = new.replacing(mapping, table.get(&origin));
            table.insert(origin.clone(), new);
        }
        let of_message = Children {
            rows,
            origin: &origin,
            replaced,
        };
        self.write_children(position, row, &of_message);
    }

    fn write_children(&mut self, parent: usize, parent_row: usize, of_message: &Children<'_>) {
        let pipeline = self.pipeline;
        for (position, mapping) in pipeline.children(parent) {
            let table = of_message.rows.table(position);
            let own = (0..table.rows.len()).filter(|&row| table.parent(row) == parent_row);
            for row in own {
                let mut new = stored(mapping, table, row);
                let key = std::mem::replace(&mut new.origin, of_message.origin.clone());
                let Some(written) = self.tables.get_mut(position) else {
                    continue;
                };
                let of_table = (position, key);
                let new = new.replacing(mapping, of_message.replaced.get(&of_table));
                written.insert(of_table.1, new);
                self.write_children(position, row, of_message);
            }
        }
    }

    /// Deletes the rows that descend from a row without a parent, and returns them.
    fn delete_children(&mut self, position: usize, origin: &Key) -> Replaced {
        let mut deleted = HashMap::new();
        for (child, table) in self.tables.iter_mut().enumerate() {
            if child == position || self.pipeline.origin_of(child) != position {
                continue;
            }
            for (key, row) in std::mem::take(table) {
                match row.origin == *origin {
                    true => deleted.insert((child, key), row),
                    false => table.insert(key, row),
                };
            }
        }
        deleted
    }

    /// The tables as psql prints them, in the order of their keys. Tokens are numbered: they depend on the mask key.
    pub(super) fn sections(&self) -> Vec<Section> {
        let mut tokens = HashMap::new();
        let tables = self.pipeline.tables.iter().zip(&self.tables);
        let sections = tables.map(|(mapping, table)| {
            let mut rows: Vec<&StoredRow> = table.values().collect();
            rows.sort_by(|a, b| by_key(mapping, a, b));
            let mut texts = vec![mapping.column_names().map(str::to_owned).collect()];
            texts.extend(rows.iter().map(|row| texts_of(mapping, row, &mut tokens)));
            let right = mapping.columns.iter().enumerate();
            let right =
                right.filter(|(_, column)| column.mask.is_none() && is_number(column.column_type));
            let right: Vec<usize> = right.map(|(position, _)| position).collect();
            Section::of(&mapping.table.unquoted(), &texts, &right)
        });
        sections.collect()
    }
}

/// A row as it is stored, with its own key as the one that it descends from.
fn stored(mapping: &TableMapping, table: &TableRows, row: usize) -> StoredRow {
    let cell = |column: usize| table.rows.value(row, column).map(<[u8]>::to_vec);
    let key = mapping.key.iter().zip(mapping.key_columns());
    StoredRow {
        cells: (0..mapping.columns.len()).map(cell).collect(),
        origin: key
            .map(|(&position, column)| Some(comparable(column.column_type, cell(position)?)))
            .collect(),
    }
}

/// The value of a key, so that numbers that are equal to Postgres are equal.
fn comparable(column_type: ColumnType, cell: Vec<u8>) -> Vec<u8> {
    match column_type.kind() {
        Kind::Decimal => match readable(column_type, &cell) {
            Some(text) if text.contains('.') => {
                let text = text.trim_end_matches('0').trim_end_matches('.');
                text.as_bytes().to_vec()
            }
            Some(text) => text.into_bytes(),
            None => cell,
        },
        Kind::Integer
        | Kind::Instant
        | Kind::Float
        | Kind::Text
        | Kind::Json
        | Kind::Array
        | Kind::Other => cell,
    }
}

/// The order of two rows by their keys. Texts are in the order of their characters, whatever the collation of a database
/// would be.
fn by_key(mapping: &TableMapping, a: &StoredRow, b: &StoredRow) -> Ordering {
    let columns = mapping.key.iter().zip(mapping.key_columns());
    let orders = columns.map(|(&position, column)| {
        let [a, b] = [a, b].map(|row| row.cells.get(position).and_then(Option::as_deref));
        compare(column.column_type, a, b).then_with(|| a.cmp(&b))
    });
    orders.fold(Ordering::Equal, Ordering::then)
}

fn texts_of(
    mapping: &TableMapping,
    row: &StoredRow,
    tokens: &mut HashMap<String, usize>,
) -> Vec<String> {
    let cells = mapping.columns.iter().zip(&row.cells);
    let texts = cells.map(|(column, cell)| {
        let text = cell
            .as_deref()
            .and_then(|cell| printed(column, cell))
            .unwrap_or_default();
        if column.mask.is_none() || text.is_empty() {
            return escaped(&text);
        }
        let number = tokens.len() + 1;
        format!("token {}", tokens.entry(text).or_insert(number))
    });
    texts.collect()
}

/// A value as psql prints it; a null is empty there.
fn printed(column: &Column, cell: &[u8]) -> Option<String> {
    let text = readable(column.column_type, cell)?;
    if column.column_type == ColumnType::Jsonb {
        return printed_jsonb(&text);
    }
    let is_boolean = column.column_type == ColumnType::Boolean;
    Some(if is_boolean {
        text.chars().take(1).collect()
    } else {
        text
    })
}

/// What psql aligns to the right.
fn is_number(column_type: ColumnType) -> bool {
    match column_type.kind() {
        Kind::Integer | Kind::Float | Kind::Decimal => true,
        Kind::Instant | Kind::Text | Kind::Json | Kind::Array | Kind::Other => false,
    }
}
