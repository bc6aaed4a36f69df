//! Shapes → the columns of a mapping, and notes on what is omitted.

use mapping::{ColumnType, Envelope, Mask, Metadata};

use super::choice::{Choice, Spelling, choose, misfits};
use super::class::Class;
use super::epoch::is_time_name;
use super::keys::is_name;
use super::names::quoted;
use super::pii::{ends_with_id, ends_with_identifier, part_name};
use super::shape::{MAX_KEYS, Shape, is_most};
use super::wrap::{Told, Wrap};
use crate::cli::output::{counted, listed};
use crate::cli::samples::Sample;

/// Depth to which objects become columns; deeper ones become jsonb.
const MAX_DEPTH: usize = 6;

/// The maximum number of columns from fields: a table has at most 1,600 in all.
const MAX_FIELDS: usize = 1_500;

/// The maximum number of rows of a child table that the longest arrays of the samples make, of child tables of a table,
/// and of generations of them: the function takes at most 10,000 rows of a message.
const MAX_ROWS: usize = 1_000;
const MAX_CHILDREN: usize = 10;
const MAX_GENERATIONS: usize = 3;

/// The mask of personal data: a hash, which cannot be made without the key.
const MASK: Mask = Mask::HmacSha256;

/// Fields of an EventBridge event that are usually the same in all events of a queue.
const EVENTBRIDGE_CONSTANTS: [&str; 4] = ["version", "account", "region", "resources"];

/// A proposed column.
#[derive(Clone)]
pub(super) struct Column<'s> {
    /// The steps that its name is made of.
    pub(super) path: Vec<&'s str>,
    /// Where it comes from, as the mapping writes it: the first value that is not null.
    pub(super) from: Vec<String>,
    pub(super) column_type: String,
    pub(super) spelling: Spelling,
    /// Whether texts have characters that Postgres does not store.
    pub(super) has_nul: bool,
    pub(super) required: bool,
    pub(super) mask: Option<Mask>,
    /// The reasons for all of this.
    pub(super) why: Vec<String>,
    /// What an unmasked value may tell of a person.
    pub(super) mention: Option<String>,
    /// Its rank as a key, the best lowest; `None` if it cannot be one.
    pub(super) key_rank: Option<u8>,
    /// Whether every message, record or element has a value.
    pub(super) in_all: bool,
}

/// A column, or why there is none.
pub(super) enum Item<'s> {
    Column(Column<'s>),
    LeftOut(String),
}

impl<'s> Item<'s> {
    pub(super) fn column(&self) -> Option<&Column<'s>> {
        match self {
            Self::Column(column) => Some(column),
            Self::LeftOut(_) => None,
        }
    }
}

/// An array of objects, whose elements become rows of a table.
pub(super) struct Child<'s> {
    /// The path to it from where the parent's row begins.
    pub(super) path: Vec<&'s str>,
    /// The same, as the mapping writes it.
    pub(super) from: String,
    pub(super) max_items: usize,
    pub(super) elements: &'s Shape,
    /// Which samples have something else in its place.
    pub(super) misfits: String,
}

/// Collects the columns of fields.
pub(super) struct ColumnCollector<'s> {
    wrap: Wrap,
    samples: &'s [Sample],
    /// The number of messages, or of elements.
    pub(super) total: usize,
    /// What there are so many of.
    noun: &'static str,
    /// The name of the array, if these are elements.
    array: Option<&'s str>,
    /// How many parents the table has, and how many rows the longest arrays make.
    generation: usize,
    rows: usize,
    /// The columns of this place in messages of other types: what is masked in one table is not stored in plaintext in
    /// another.
    others: Vec<&'s Shape>,
    pub(super) items: Vec<Item<'s>>,
    pub(super) children: Vec<Child<'s>>,
    /// The fields beyond the limit.
    beyond: usize,
}

impl<'s> ColumnCollector<'s> {
    pub(super) fn new(wrap: Wrap, samples: &'s [Sample], total: usize) -> Self {
        Self {
            wrap,
            samples,
            total,
            noun: "message",
            array: None,
            generation: 0,
            rows: 1,
            others: Vec::new(),
            items: Vec::new(),
            children: Vec::new(),
            beyond: 0,
        }
    }

    /// The fields of the elements of an array.
    pub(super) fn of_child(&self, child: &Child<'s>) -> Self {
        let others = self
            .others
            .iter()
            .filter_map(|other| other.at(&child.path)?.items.as_deref());
        let others: Vec<_> = others.collect();
        let mut fields = Self {
            array: child.path.last().copied(),
            noun: "element",
            generation: self.generation + 1,
            rows: self.rows * child.max_items,
            ..Self::new(
                Wrap::None,
                self.samples,
                child.elements.of(&[Class::Object]),
            )
        };
        fields.add_body(child.elements, others);
        fields
    }

    /// The fields are those of records, of which a message has up to this many.
    pub(super) fn are_records(&mut self, most: usize) {
        self.noun = "record";
        self.rows = most;
    }

    /// In how many messages, records or elements a field that all of them have is.
    pub(super) fn all(&self) -> String {
        counted(self.total, self.noun)
    }

    /// Whether a column can have the fields that have none.
    pub(super) fn has_rest(&self) -> bool {
        self.wrap != Wrap::S3
    }

    /// Adds the fields of the bodies.
    pub(super) fn add_body(&mut self, shape: &'s Shape, others: Vec<&'s Shape>) {
        self.others = others;
        let is_constant = |key: &str, shape: &Shape| {
            self.wrap == Wrap::EventBridge
                && EVENTBRIDGE_CONSTANTS.contains(&key)
                && shape.is_constant()
        };
        let (constant, fields): (Vec<_>, Vec<_>) = shape
            .keys
            .iter()
            .partition(|(key, shape)| is_constant(key, shape));
        self.add_keys(&[], shape, fields.into_iter());
        if !constant.is_empty() {
            let names = listed(constant.iter().map(|(key, _)| key));
            self.leave_out(format!("{names}, the same in every event"));
        }
        if self.beyond > 0 {
            let beyond = counted(self.beyond, "more field");
            self.leave_out(format!("{beyond}: a table has at most 1,600 columns"));
        }
    }

    /// Adds the attributes of messages.
    pub(super) fn add_attributes(&mut self, shape: &'s Shape, others: &[&'s Shape]) {
        for (name, shape) in &shape.keys {
            if is_name(name) {
                let from = Metadata::Attribute(name.clone()).to_string();
                let others = others.iter().filter_map(|other| other.at(&[name]));
                let all = [shape].into_iter().chain(others).collect();
                self.add_column(vec!["attribute", name], from, name, all);
            } else {
                let place = self.place(shape.first);
                self.leave_out(format!(
                    "an attribute in {place} whose name looks like data"
                ));
            }
        }
    }

    /// Adds the fields of an object.
    fn add_keys(
        &mut self,
        path: &[&'s str],
        object: &'s Shape,
        keys: impl Iterator<Item = (&'s String, &'s Shape)>,
    ) {
        let mut data = Vec::new();
        for (key, shape) in keys {
            if object.is_data(key) {
                data.push(shape.first);
            } else {
                self.add(&[path, &[key.as_str()]].concat(), shape);
            }
        }
        if object.beyond.is_some() {
            self.leave_out(format!(
                "keys beyond the first {MAX_KEYS} different ones, which infer ignores"
            ));
        }
        if let [first, others @ ..] = &data[..] {
            let others = match others.len() {
                0 => String::new(),
                others => format!(", and {}", counted(others, "more key")),
            };
            let place = self.place(*first);
            self.leave_out(format!("a key in {place} that looks like data{others}"));
        }
    }

    /// Adds the column of a path, or the columns below it.
    fn add(&mut self, path: &[&'s str], shape: &'s Shape) {
        if self.wrap == Wrap::S3
            && path == ["Records"]
            && let Some(record) = &shape.items
        {
            return self.add(&[path, &["0"]].concat(), record);
        }
        let own = path.last().copied().unwrap_or_default();
        if shape.is_record(own) && path.len() < MAX_DEPTH {
            return self.add_keys(path, shape, shape.keys.iter());
        }
        if let Some(elements) = shape.records()
            && self.takes_rows(shape.max_items)
        {
            self.children.push(Child {
                path: path.to_vec(),
                from: self.wrap.from(path),
                max_items: shape.max_items,
                misfits: self.misfits(shape, elements),
                elements,
            });
            return;
        }
        if self.items.len() >= MAX_FIELDS {
            self.beyond += 1;
            return;
        }
        let name = match (path, self.array) {
            ([.., object, part], _) => part_name(object, part),
            ([part], Some(array)) => part_name(array, part),
            _ => path.concat(),
        };
        let from = self.wrap.from(path);
        let is_scalar = |shape: &&Shape| {
            let nested = shape.of(&[Class::Array, Class::Object]);
            nested == 0 || is_most(shape.all() - nested, shape.all())
        };
        let others = self.others.iter().filter_map(|other| other.at(path));
        let all: Vec<&Shape> = [shape].into_iter().chain(others).collect();
        let inside = all.iter().find_map(|shape| shape.pii_inside(&name));
        let can_be_masked =
            all.iter().all(is_scalar) || all.iter().all(|shape| shape.is_array_of_scalars());
        match inside {
            Some(kind) if !can_be_masked => self.leave_out(format!(
                "{}, which seems to contain {kind}: jsonb cannot be masked",
                quoted(&from)
            )),
            _ => self.add_column(path.to_vec(), from, &name, all),
        }
    }

    /// Which samples have something else than an array, or an element that is not an object.
    fn misfits(&self, shape: &Shape, elements: &Shape) -> String {
        let is_array = |class| class == Class::Array;
        let is_object = |class| class == Class::Object;
        let values = misfits(Class::Array, is_array, shape, self.samples);
        let others = misfits(Class::Object, is_object, elements, self.samples);
        match others.is_empty() {
            true => values,
            false => format!("{values}; elements{}", others.replacen(';', ":", 1)),
        }
    }

    /// Whether arrays of this length may become rows of another child table.
    fn takes_rows(&self, items: usize) -> bool {
        self.rows * items <= MAX_ROWS
            && self.children.len() < MAX_CHILDREN
            && self.generation < MAX_GENERATIONS
    }

    /// Adds a column of the first of these values; the others come from other types of messages.
    fn add_column(&mut self, path: Vec<&'s str>, from: String, name: &str, all: Vec<&'s Shape>) {
        let [shape, ..] = all[..] else { return };
        if self.items.len() >= MAX_FIELDS {
            self.beyond += 1;
            return;
        }
        let in_all = shape.present == self.total;
        let mut column = Column {
            path,
            from: vec![from],
            in_all,
            ..Column::of(name, &all, self.samples)
        };
        let is_own = column.path.len() <= 1 + self.wrap.depth();
        column.required = in_all && is_own && ends_with_id(name);
        let is_unique = in_all && shape.is_unique(self.total);
        column.key_rank = column.key_rank.filter(|_| is_unique);
        self.items.push(Item::Column(column));
    }

    fn leave_out(&mut self, what: String) {
        self.items.push(Item::LeftOut(what));
    }

    fn place(&self, sample: usize) -> &'s str {
        self.samples.get(sample).map_or("", |sample| &sample.place)
    }
}

impl<'s> Column<'s> {
    /// A column for these values, which are those of a field of this name; of the first, if they have no mask.
    pub(super) fn of(name: &str, all: &[&Shape], samples: &[Sample]) -> Self {
        let is_array = |shape: &Shape| shape.of(&[Class::Array]) > 0 && shape.is_array_of_scalars();
        let pii = |shape: &&Shape| {
            let elements = || shape.items.as_ref().filter(|_| is_array(shape));
            let own = shape.pii(name);
            own.or_else(|| elements()?.pii(name))
        };
        let first = all.first().copied();
        let mut column = Self {
            path: Vec::new(),
            from: Vec::new(),
            column_type: String::new(),
            spelling: Spelling::Plain,
            has_nul: all.iter().any(|shape| shape.has_nul),
            required: false,
            mask: None,
            why: Vec::new(),
            mention: None,
            key_rank: None,
            in_all: false,
        };
        if let Some((_, why)) = all.iter().find_map(pii) {
            let width = ColumnType::Varchar(MASK.min_token_chars());
            let brackets = if first.is_some_and(is_array) {
                "[]"
            } else {
                ""
            };
            column.column_type = format!("{width}{brackets}");
            column.mask = Some(MASK);
            column.why.push(why);
            return column;
        }
        let Some(shape) = first else { return column };
        let Choice {
            column_type,
            why,
            fits_all,
            spelling,
        } = choose(name, shape, samples);
        let is_key = fits_all && spelling == Spelling::Plain && !is_time_name(name);
        column.key_rank = is_key.then(|| key_rank(name, &column_type)).flatten();
        column.column_type = column_type;
        column.spelling = spelling;
        column.why.push(why);
        column.mention = all.iter().find_map(|shape| shape.mention(name));
        column
    }

    /// A column of metadata.
    pub(super) fn of_metadata(
        path: [&'s str; 2],
        from: impl ToString,
        column_type: ColumnType,
        why: &'static str,
    ) -> Self {
        Self {
            path: path.to_vec(),
            from: vec![from.to_string()],
            column_type: column_type.to_string(),
            spelling: Spelling::Plain,
            has_nul: false,
            required: false,
            mask: None,
            why: vec![why.to_owned()],
            mention: None,
            key_rank: None,
            in_all: true,
        }
    }

    /// The column of the position in an array.
    pub(super) fn of_position(array: &'s str) -> Self {
        let why = "the position in the array, from 0";
        Self::of_metadata([array, "position"], "@index", ColumnType::Integer, why)
    }

    /// The column of a record's position.
    pub(super) fn of_index() -> Self {
        let why = "the position in the message, from 0";
        Self::of_metadata(["record", "index"], "@index", ColumnType::Integer, why)
    }

    /// The parent's value in a row of a child table.
    pub(super) fn inherited(&self) -> Self {
        let inherit = |from: &String| {
            let is_of_message = from.starts_with('@') && from != "@index";
            match is_of_message || from.starts_with("$.") {
                true => from.clone(),
                false => format!("^.{from}"),
            }
        };
        Self {
            from: self.from.iter().map(inherit).collect(),
            why: Vec::new(),
            mention: None,
            key_rank: None,
            ..self.clone()
        }
    }

    /// The column of the id that a message keeps when it is delivered again.
    pub(super) fn of_id(envelope: Envelope) -> Self {
        let Told {
            id, path, why_id, ..
        } = Told::of(envelope);
        Self::of_metadata(path, id, ColumnType::Uuid, why_id)
    }
}

/// The rank of a unique field as a key; `None` for types that are unlikely keys.
fn key_rank(name: &str, column_type: &str) -> Option<u8> {
    let is_id = ends_with_identifier(name);
    match column_type {
        "uuid" => Some(if is_id { 0 } else { 2 }),
        "bigint" | "text" => Some(if is_id { 1 } else { 3 }),
        _ => None,
    }
}
