//! Columns → the text of a mapping, with a reason for each choice.

use mapping::internals::SYSTEM_COLUMNS;
use mapping::{ColumnType, Envelope, Format, Metadata};

use super::columns::{Child, Column, ColumnCollector, Item, joined, quoted};
use super::names::{Taken, short};
use super::pii::words;
use super::route;
use super::shape::Shape;
use super::wrap::{Packed, Told, Wrap};
use crate::cli::output::{counted, escaped, listed};
use crate::cli::samples::Sample;

/// The column at which comments begin.
const COMMENT_COLUMN: usize = 32;

/// How many columns are named that could be the key.
const MAX_CANDIDATES: usize = 3;

/// The rank of a column whose name says that it identifies something: see `key_rank`.
const MAX_ID_RANK: u8 = 1;

/// What the samples are.
pub(super) struct Observed<'s> {
    pub(super) samples: &'s [Sample],
    pub(super) envelope: Envelope,
    /// How a message holds several records, and the most that one has.
    pub(super) packed: Packed,
    pub(super) most_records: usize,
    pub(super) wrap: Wrap,
    /// The field by which messages become rows of different tables.
    pub(super) routed_by: Option<String>,
    /// The messages of each such table; without one, all of them.
    pub(super) groups: Vec<Group>,
}

/// Messages that become rows of one table, with their child rows.
#[derive(Default)]
pub(super) struct Group {
    /// What the field that names their type has.
    pub(super) types: Vec<String>,
    pub(super) bodies: Shape,
    pub(super) attributes: Shape,
}

/// A mapping, and what it omits.
pub(super) struct Proposal {
    pub(super) text: String,
    pub(super) omitted: Vec<String>,
}

/// A proposed table. The columns of its key come first.
struct ProposedTable<'s> {
    name: String,
    /// The name of the parent, and the array with an element for each row.
    parent: Option<(String, Child<'s>)>,
    types: &'s [String],
    fields: ColumnCollector<'s>,
    /// Whether its rows are records of a message that has several.
    is_packed: bool,
    key_len: usize,
    /// The column that could be the key of the first parent instead of its first column.
    other_key: Option<Column<'s>>,
    has_children: bool,
}

impl<'s> Observed<'s> {
    /// Whether no sample is an object.
    pub(super) fn is_empty(&self) -> bool {
        self.groups.iter().all(|group| group.bodies.present == 0)
    }

    /// The mapping for these samples.
    pub(super) fn propose(&'s self, table: &str) -> Proposal {
        let mut taken = Taken::default();
        let mut tables = Vec::new();
        for group in &self.groups {
            let name = match &group.types[..] {
                [] => table.to_owned(),
                types => format!("{table}_{}", route::name(types)),
            };
            let table = self.table(taken.take(&name), group);
            add_with_children(table, &mut taken, &mut tables);
        }
        let is_short = tables.len() == 1 && self.packed.is_none();
        let total = self.groups.iter().map(|group| group.bodies.present).sum();
        let envelope = line("envelope", &self.envelope.to_string(), self.why_envelope());
        let mut text = self.head(total);
        if !is_short {
            text += &envelope;
        }
        if self.packed == Some(Format::Lines) {
            text += &line("body", "lines", "one JSON value per line");
        }
        if self.routed_by.is_some() {
            let why = match self.packed {
                Some(_) => "a message without any of these types; \"skip\" acknowledges it",
                None => "a message of another type; \"skip\" acknowledges it",
            };
            text += &line("unmatched", "reject", why);
        }
        let mut omitted = Vec::new();
        for table in &tables {
            let head = match is_short {
                true => line("table", &table.name, ""),
                false => table.head(self.routed_by.as_deref()),
            };
            let envelope = is_short.then_some(envelope.as_str());
            text += &table.text(&head, envelope, &mut omitted);
        }
        Proposal { text, omitted }
    }

    /// The table of a group, without its children.
    fn table(&'s self, name: String, group: &'s Group) -> ProposedTable<'s> {
        let mut fields = ColumnCollector::new(self.wrap, self.samples, group.bodies.present);
        if self.packed.is_some() {
            fields.are_records(self.most_records);
        }
        let others = self
            .groups
            .iter()
            .filter(|other| !std::ptr::eq(*other, group));
        let (bodies, attributes): (Vec<_>, Vec<_>) = others
            .map(|other| (&other.bodies, &other.attributes))
            .unzip();
        fields.add_body(&group.bodies, bodies);
        fields.add_attributes(&group.attributes, &attributes);
        let items = &mut fields.items;
        let is_event_id = |item: &Item<'_>| matches!(item, Item::Column(column) if column.path == ["id"] && column.key_rank.is_some());
        let event_id = match self.wrap {
            Wrap::EventBridge => items.iter().position(is_event_id),
            Wrap::None | Wrap::S3 => None,
        };
        let key = match event_id {
            Some(position) => items.remove(position),
            None => Item::Column(Column::of_id(self.envelope)),
        };
        items.insert(0, key);
        let is_packed = self.packed.is_some();
        if is_packed {
            items.insert(1, Item::Column(Column::of_index()));
        }
        let key_len = 1 + usize::from(is_packed);
        items.push(Item::Column(Column::of_metadata(
            ["sqs", "sent_at"],
            Metadata::SentAt,
            ColumnType::TimestampTz,
            "when SQS received it",
        )));
        let columns = items.iter().skip(key_len).filter_map(Item::column);
        let ids = columns.filter(|column| column.key_rank.is_some_and(|rank| rank <= MAX_ID_RANK));
        let other_key = ids.min_by_key(|column| column.key_rank).cloned();
        ProposedTable {
            name,
            parent: None,
            types: &group.types,
            is_packed,
            key_len,
            other_key: other_key.filter(|_| group.bodies.present > 1 && !is_packed),
            has_children: !fields.children.is_empty(),
            fields,
        }
    }

    fn head(&self, total: usize) -> String {
        let (what, each) = match self.packed {
            Some(_) => {
                let messages = counted(self.samples.len(), "message");
                (
                    format!("{} in {messages}", counted(total, "record")),
                    "record",
                )
            }
            None => (counted(total, "message"), "sample"),
        };
        format!(
            "# Proposed by `sqs-to-postgres infer` for {what}: review it before you deploy it. Types and\n\
             # widths fit the samples, with room to spare. Fields that every {each} has are required.\n\n"
        )
    }

    fn why_envelope(&self) -> &'static str {
        Told::of(self.envelope).why.unwrap_or(match self.wrap {
            _ if self.packed.is_some() => "the body is the records",
            Wrap::None => "the body is the message",
            Wrap::EventBridge => "the body is an EventBridge event",
            Wrap::S3 => {
                "the body is an S3 notification: if it has several records, only the first is stored"
            }
        })
    }
}

/// Adds a table, and its child tables.
fn add_with_children<'s>(
    mut table: ProposedTable<'s>,
    taken: &mut Taken,
    tables: &mut Vec<ProposedTable<'s>>,
) {
    let children = std::mem::take(&mut table.fields.children);
    let children: Vec<_> = children
        .into_iter()
        .map(|child| table.child(child, taken))
        .collect();
    tables.push(table);
    for child in children {
        add_with_children(child, taken, tables);
    }
}

impl<'s> ProposedTable<'s> {
    /// Its part of the mapping; for a single table with the envelope. Notes what it omits.
    fn text(&self, head: &str, envelope: Option<&str>, omitted: &mut Vec<String>) -> String {
        let names = names(&self.fields.items);
        let mut text = head.to_owned() + &self.keys(&names);
        if self.parent.is_none() {
            let why = update(&self.fields.items, &names);
            text += &line("on_conflict", "ignore", &why);
        }
        text += envelope.unwrap_or_default();
        for (item, name) in self.fields.items.iter().zip(&names) {
            match item {
                Item::Column(column) => text += &column.text(name, envelope.is_some()),
                Item::LeftOut(what) => {
                    text += &format!("\n# Omitted: {}.\n", escaped(what));
                    omitted.push(what.clone());
                }
            }
        }
        text
    }

    /// The table of an array's elements. Its key is the key of this table and the position in the array, which is
    /// different in each row whatever the elements are.
    fn child(&self, child: Child<'s>, taken: &mut Taken) -> Self {
        let array = child.path.last().copied().unwrap_or_default();
        let mut fields = self.fields.of_child(&child);
        let columns = self.fields.items.iter().filter_map(Item::column);
        let key = columns.take(self.key_len).map(Column::inherited);
        let other_key = self.other_key.as_ref().map(Column::inherited);
        let key: Vec<_> = key.chain([Column::of_position(array)]).collect();
        let key_len = key.len();
        let first = key.into_iter().chain(other_key.clone());
        fields.items.splice(0..0, first.map(Item::Column));
        let name = format!("{}_{}", self.name, words(array).join("_"));
        Self {
            name: taken.take(&name),
            parent: Some((self.name.clone(), child)),
            types: &[],
            fields,
            is_packed: false,
            key_len,
            other_key,
            has_children: false,
        }
    }

    /// What the long form says of the table before its key.
    fn head(&self, routed_by: Option<&str>) -> String {
        let mut text = format!("\n[[table]]\n{}", line("name", &self.name, ""));
        if self.is_packed {
            text += &line("each", "@body", "a row for each record of a message");
        }
        if let Some((parent, child)) = &self.parent {
            text += &line(
                "parent",
                parent,
                "its rows are stored together with the parent's row, or not at all",
            );
            text += &line(
                "each",
                &joined(&child.path),
                &format!(
                    "a row for each object: up to {} in the samples{}",
                    child.max_items, child.misfits
                ),
            );
        } else if let Some(field) = routed_by {
            let types = listed(self.types.iter().map(|text| quoted(text)));
            let when = format!("when = {{ {} = [{types}] }}", quoted(&joined(&[field])));
            text += &commented(&when, &self.fields.all());
        }
        text
    }

    /// The key, and what it could be instead.
    fn keys(&self, names: &[String]) -> String {
        let items = self.fields.items.iter().zip(names);
        let columns: Vec<_> = items
            .filter_map(|(item, name)| Some((item.column()?, name)))
            .collect();
        let (key, others) = columns.split_at(self.key_len.min(columns.len()));
        let text = |names: &[&String]| {
            let names = names.iter().map(|name| quoted(name));
            format!("key = [{}]", listed(names))
        };
        let mut own: Vec<_> = key.iter().map(|&(_, name)| name).collect();
        if let Some((parent, _)) = &self.parent {
            let why = format!("the key of {parent:?}, and the position");
            let mut lines = commented(&text(&own), &why);
            if let (Some(_), [(_, other), ..], [first, ..]) =
                (&self.other_key, others, &mut own[..])
            {
                *first = other;
                lines += &commented(&format!("# {}", text(&own)), "if you choose that key above");
            }
            return lines;
        }
        let why = match key.first().map_or("", |(column, _)| column.why_from) {
            _ if self.is_packed => "a redelivered message is stored once, whole",
            "" => "EventBridge's id of the event",
            why => why,
        };
        let mut lines = commented(&text(&own), why);
        let ranked = others
            .iter()
            .filter_map(|(column, name)| Some((column.key_rank?, *name)));
        let mut candidates: Vec<_> = ranked.filter(|_| self.fields.total > 1).collect();
        candidates.sort_by_key(|&(rank, _)| rank);
        if self.has_children {
            candidates.truncate(usize::from(self.other_key.is_some()));
        }
        for (_, name) in candidates.into_iter().take(MAX_CANDIDATES) {
            let why = format!("or this: unique in all {}", self.fields.all());
            lines += &commented(&format!("# {}", text(&[name])), &why);
        }
        lines
    }
}

/// The names of the columns; nothing for what is omitted.
fn names(items: &[Item<'_>]) -> Vec<String> {
    let columns = items.iter().map(|item| match item {
        Item::Column(column) => (column.path.clone(), column.mask.is_some()),
        Item::LeftOut(_) => (Vec::new(), false),
    });
    let (paths, masked): (Vec<_>, Vec<_>) = columns.unzip();
    let mut taken = Taken::default();
    for name in SYSTEM_COLUMNS {
        taken.take(name);
    }
    let named = short(&paths).into_iter().zip(masked);
    named
        .map(|(name, is_masked)| match (name.as_str(), is_masked) {
            ("", _) => name,
            (_, true) => taken.take(&format!("masked_{name}")),
            (_, false) => taken.take(&name),
        })
        .collect()
}

/// How the newest message of a key would count.
fn update(items: &[Item<'_>], names: &[String]) -> String {
    let is_time = |item: &Item<'_>| matches!(item, Item::Column(column) if column.column_type == "timestamptz" && column.mask.is_none());
    let newer = items.iter().zip(names).find(|(item, _)| is_time(item));
    let newer = newer.map_or("…", |(_, name)| name);
    format!("or \"update\", best with newer = {}", quoted(newer))
}

impl Column<'_> {
    /// The column in the mapping.
    fn text(&self, name: &str, is_short: bool) -> String {
        let head = if is_short {
            "[[column]]"
        } else {
            "[[table.column]]"
        };
        let mut text = format!("\n{head}\nname = {}\n", quoted(name));
        text += &line("type", &self.column_type, &self.why_type);
        if self.from != name {
            text += &line("from", &self.from, self.why_from);
        }
        if let Some(why) = &self.required {
            text += &commented("required = true", why);
        }
        if let Some((mask, why)) = &self.mask {
            text += &line("mask", &mask.to_string(), why);
        }
        text
    }
}

fn line(key: &str, value: &str, comment: &str) -> String {
    commented(&format!("{key} = {}", quoted(value)), comment)
}

fn commented(line: &str, comment: &str) -> String {
    match comment {
        "" => format!("{line}\n"),
        comment => format!("{line:<COMMENT_COLUMN$} # {}\n", escaped(comment)),
    }
}
