//! Columns → the text of a mapping, with a reason for each choice.

use mapping::internals::SYSTEM_COLUMNS;
use mapping::{ColumnType, Encoding, Metadata, Packing, Wrapping};

use super::body::Body;
use super::choice::Spelling;
use super::columns::{Child, Column, ColumnCollector, Item};
use super::names::{Taken, quoted, short};
use super::pii::{ends_with_identifier, words};
use super::shape::Shape;
use super::versions::{Versioned, is_newer, versioned};
use super::wrap::{Packed, Told, Wrap};
use crate::cli::error::CliError;
use crate::cli::output::{counted, escaped, listed};
use crate::cli::samples::Sample;

/// The column at which comments begin before the columns.
const COMMENT_COLUMN: usize = 32;

/// How many columns are named that could be the key.
const MAX_CANDIDATES: usize = 3;

/// The rank of a column whose name says that it identifies something: see `key_rank`.
const MAX_ID_RANK: u8 = 1;

/// The name of the column for what has no column.
const REST: &str = "rest";

/// What the samples are.
pub(super) struct Observed<'s> {
    pub(super) samples: &'s [Sample],
    pub(super) wrapping: Wrapping,
    /// How a message holds several records, and the most that one has.
    pub(super) packed: Packed,
    pub(super) most_records: usize,
    pub(super) wrap: Wrap,
    pub(super) bodies: &'s [Body],
    /// The messages of each table; one group if all have much the same fields.
    pub(super) groups: Vec<Group>,
    pub(super) wanted: &'s Wanted,
}

/// Messages that become rows of one table, with their child rows.
#[derive(Default)]
pub(super) struct Group {
    /// What the name of the table ends with, and the conditions; `None` if there is one group.
    pub(super) route: Option<(String, String)>,
    /// Their positions among the bodies.
    pub(super) members: Vec<usize>,
    pub(super) bodies: Shape,
    pub(super) attributes: Shape,
}

/// The key that the user has chosen: names of columns, or paths. Empty: the id of the message.
pub(super) struct Wanted {
    pub(super) key: Vec<String>,
    pub(super) newer: Option<String>,
}

/// A mapping, what it omits, and what it stores in plaintext that may be of a person.
pub(super) struct Proposal {
    pub(super) text: String,
    pub(super) omitted: Vec<String>,
    pub(super) mentioned: Vec<String>,
}

/// A proposed table. The columns of its key come first.
struct ProposedTable<'s> {
    name: String,
    /// The name of the parent, and the array with an element for each row.
    parent: Option<(String, Child<'s>)>,
    when: Option<&'s str>,
    fields: ColumnCollector<'s>,
    /// Whether its rows are records of a message that has several.
    is_packed: bool,
    key_len: usize,
    /// Whether the user chose the key.
    is_chosen: bool,
    /// The position of the column that says which of two messages is newer.
    newer: Option<usize>,
    versioned: Option<Versioned>,
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
    pub(super) fn propose(&'s self, table: &str) -> Result<Proposal, CliError> {
        let mut taken = Taken::default();
        let mut tables = Vec::new();
        let mut omitted = Vec::new();
        for group in &self.groups {
            let name = match &group.route {
                None => table.to_owned(),
                Some((name, _)) if name.is_empty() => table.to_owned(),
                Some((name, _)) => format!("{table}_{name}"),
            };
            let table = self.table(taken.take(&name), group);
            if !self.wanted.key.is_empty() && !table.is_chosen {
                omitted.push(format!(
                    "the key of {:?}: its messages have no {}, so the id of the message remains the key",
                    table.name,
                    listed(&self.wanted.key)
                ));
            }
            add_with_children(table, &mut taken, &mut tables);
        }
        self.check_wanted(&tables)?;
        let is_short = tables.len() == 1 && self.packed == Packed::No && self.wrap.root().is_none();
        let total = self.groups.iter().map(|group| group.bodies.present).sum();
        let mut text = self.head(total);
        let mut whole = line(
            "envelope",
            &self.wrapping.envelope.to_string(),
            self.why_envelope(),
        );
        if let Packing::As(encoding) = self.wrapping.encoding
            && encoding != Encoding::None
        {
            whole += &line("encoding", &encoding.to_string(), "");
        }
        if let Some(root) = self.wrap.root() {
            whole += &line("root", root, "where paths start, but for those with \"$.\"");
        }
        if !is_short {
            text += &whole;
        }
        match self.packed {
            Packed::Lines => text += &line("body", "lines", "one JSON value per line"),
            Packed::Either => {
                let program = "if type == \"array\" then .[] else . end";
                text += &line("jq", program, "one record, or an array of them");
            }
            Packed::No | Packed::Array => {}
        }
        if self.groups.len() > 1 {
            let why = match self.packed {
                Packed::Array | Packed::Lines | Packed::Either => {
                    "a message without any of these types; \"skip\" acknowledges it"
                }
                Packed::No => "a message of another type; \"skip\" acknowledges it",
            };
            text += &line("unmatched", "reject", why);
        }
        let has_masks = tables.iter().any(ProposedTable::has_masked_field);
        let mut mentioned = Vec::new();
        for table in &tables {
            let head = match is_short {
                true => line("table", &table.name, ""),
                false => table.head(),
            };
            let whole = is_short.then_some(whole.as_str());
            text += &table.text(&head, whole, has_masks, &mut omitted, &mut mentioned);
        }
        Ok(Proposal {
            text,
            omitted,
            mentioned,
        })
    }

    /// What the user has chosen must be somewhere.
    fn check_wanted(&self, tables: &[ProposedTable<'_>]) -> Result<(), CliError> {
        let missing = |what: &str| {
            CliError::invalid(format!(
                "no field of the samples is called {what:?}: give the path of a field, or the name of a proposed column"
            ))
        };
        if let [first, ..] = &self.wanted.key[..]
            && !tables.iter().any(|table| table.is_chosen)
        {
            return Err(missing(first));
        }
        match &self.wanted.newer {
            Some(newer) if tables.iter().all(|table| table.newer.is_none()) => Err(missing(newer)),
            Some(_) | None => Ok(()),
        }
    }

    /// The table of a group, without its children.
    fn table(&'s self, name: String, group: &'s Group) -> ProposedTable<'s> {
        let mut fields = ColumnCollector::new(self.wrap, self.samples, group.bodies.present);
        if self.packed != Packed::No {
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
        let is_packed = self.packed != Packed::No;
        let chosen = self.choose(&mut fields.items);
        let key_len = match chosen {
            Some(key_len) => key_len,
            None => self.default_key(&mut fields.items),
        };
        fields.items.push(Item::Column(Column::of_metadata(
            ["sqs", "sent_at"],
            Metadata::SentAt,
            ColumnType::TimestampTz,
            "when SQS received it",
        )));
        let newer = self.wanted.newer.as_ref().filter(|_| chosen.is_some());
        let newer = newer.and_then(|newer| position(&fields.items, newer));
        let columns = fields.items.iter().skip(key_len).filter_map(Item::column);
        let ids = columns.filter(|column| column.key_rank.is_some_and(|rank| rank <= MAX_ID_RANK));
        let other_key = ids.min_by_key(|column| column.key_rank).cloned();
        let can_choose = chosen.is_none() && group.bodies.present > 1 && !is_packed;
        let versioned = can_choose.then(|| self.versioned(group, &fields.items));
        ProposedTable {
            name,
            parent: None,
            when: group.route.as_ref().map(|(_, when)| when.as_str()),
            is_packed,
            key_len,
            is_chosen: chosen.is_some(),
            newer,
            versioned: versioned.flatten(),
            other_key: other_key.filter(|_| can_choose),
            has_children: !fields.children.is_empty(),
            fields,
        }
    }

    /// Puts the columns that the user has chosen first, if all of them exist. Returns their number.
    fn choose(&self, items: &mut Vec<Item<'s>>) -> Option<usize> {
        let wanted = &self.wanted.key;
        if wanted.is_empty() || !wanted.iter().all(|name| position(items, name).is_some()) {
            return None;
        }
        let mut at = 0;
        for name in wanted {
            let found = position(items, name)?;
            let mut item = items.remove(found);
            if let Item::Column(column) = &mut item {
                column.required = true;
            }
            at = at.min(items.len());
            items.insert(at, item);
            at += 1;
        }
        Some(at)
    }

    /// Puts the columns of the key first that every message has. Returns their number.
    fn default_key(&self, items: &mut Vec<Item<'s>>) -> usize {
        let is_event_id = |item: &Item<'_>| matches!(item, Item::Column(column) if column.path == ["id"] && column.key_rank.is_some());
        let event_id = match self.wrap {
            Wrap::EventBridge => items.iter().position(is_event_id),
            Wrap::None | Wrap::S3 => None,
        };
        let mut key = match event_id {
            Some(position) => items.remove(position),
            None => Item::Column(Column::of_id(self.wrapping.envelope)),
        };
        if let Item::Column(column) = &mut key
            && event_id.is_some()
        {
            column.required = true;
        }
        items.insert(0, key);
        if self.packed == Packed::No {
            return 1;
        }
        items.insert(1, Item::Column(Column::of_index()));
        2
    }

    /// The id that several messages of a group share.
    fn versioned(&self, group: &Group, items: &[Item<'s>]) -> Option<Versioned> {
        let columns = items.iter().enumerate();
        let columns = columns.filter_map(|(at, item)| Some((at, item.column()?)));
        let columns: Vec<_> = columns
            .filter(|(_, column)| {
                column.in_all && column.from.iter().all(|from| !from.starts_with('@'))
            })
            .collect();
        let is_id = |(_, column): &&(usize, &Column<'s>)| {
            let is_key = matches!(column.column_type.as_str(), "bigint" | "uuid" | "text");
            let last = column.path.last().copied().unwrap_or_default();
            column.mask.is_none() && is_key && ends_with_identifier(last)
        };
        let is_time = |(_, column): &&(usize, &Column<'s>)| {
            let last = column.path.last().copied().unwrap_or_default();
            column.mask.is_none() && is_newer(last, &column.column_type)
        };
        let paths = |columns: Vec<&(usize, &Column<'s>)>| -> Vec<(usize, Vec<&'s str>)> {
            let paths = columns
                .into_iter()
                .map(|(at, column)| (*at, column.path.clone()));
            paths.collect()
        };
        let ids = paths(columns.iter().filter(is_id).collect());
        let times = paths(columns.iter().filter(is_time).collect());
        let members = group.members.iter().filter_map(|at| self.bodies.get(*at));
        versioned(&members.collect::<Vec<_>>(), &ids, &times)
    }

    fn head(&self, total: usize) -> String {
        let what = match self.packed {
            Packed::Array | Packed::Lines | Packed::Either => {
                let messages = counted(self.samples.len(), "message");
                format!("{} in {messages}", counted(total, "record"))
            }
            Packed::No => counted(total, "message"),
        };
        format!(
            "# Proposed by `sqs-to-postgres infer` for {what}: review it before you deploy it.\n\
             # Add required = true to what no row may lack.\n\n"
        )
    }

    fn why_envelope(&self) -> &'static str {
        Told::of(self.wrapping.envelope).why.unwrap_or(match self.wrap {
            _ if self.packed != Packed::No => "the body is the records",
            Wrap::None => "the body is the message",
            Wrap::EventBridge => "the body is an EventBridge event",
            Wrap::S3 => {
                "the body is an S3 notification: if it has several records, only the first is stored"
            }
        })
    }
}

/// The position of the column with this name or path.
fn position(items: &[Item<'_>], wanted: &str) -> Option<usize> {
    let is_it = |column: &Column<'_>| column.from.iter().any(|from| from == wanted);
    let by_path = items
        .iter()
        .position(|item| item.column().is_some_and(is_it));
    by_path.or_else(|| names(items).iter().position(|name| name == wanted))
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
    /// Its part of the mapping; for a single table with the words of the whole mapping. Notes what it omits, and what
    /// it stores in plaintext that may be of a person.
    fn text(
        &self,
        head: &str,
        whole: Option<&str>,
        has_masks: bool,
        omitted: &mut Vec<String>,
        mentioned: &mut Vec<String>,
    ) -> String {
        let names = names(&self.fields.items);
        let mut text = head.to_owned() + &self.keys(&names);
        if self.parent.is_none() {
            text += &self.on_conflict(&names);
        }
        text += whole.unwrap_or_default();
        text += "column = [\n";
        for (item, name) in self.fields.items.iter().zip(&names) {
            match item {
                Item::Column(column) => {
                    text += &column.text(name, has_masks);
                    if let Some(why) = &column.mention {
                        mentioned.push(format!("{name:?} of {:?}: {why}", self.name));
                    }
                }
                Item::LeftOut(what) => {
                    text += &format!("  # Omitted: {}.\n", escaped(what));
                    omitted.push(what.clone());
                }
            }
        }
        if self.fields.has_rest() {
            let mut taken = Taken::default();
            for name in &names {
                taken.take(name);
            }
            let name = quoted(&taken.take(REST));
            text += &format!(
                "  # {{ name = {name}, type = \"jsonb\", from = \"@rest\" }},  # fields that have no column, in plaintext\n"
            );
        }
        text + "]\n"
    }

    fn has_masked_field(&self) -> bool {
        let mut columns = self.fields.items.iter().filter_map(Item::column);
        columns.any(|column| {
            column.mask.is_some() && !column.from.iter().any(|from| from.starts_with('@'))
        })
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
            when: None,
            fields,
            is_packed: false,
            key_len,
            is_chosen: self.is_chosen,
            newer: None,
            versioned: None,
            other_key,
            has_children: false,
        }
    }

    /// What the long form says of the table before its key.
    fn head(&self) -> String {
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
                &child.from,
                &format!(
                    "a row for each object: up to {} in the samples{}",
                    child.max_items, child.misfits
                ),
            );
        } else if let Some(when) = self.when {
            text += &commented(&format!("when = {when}"), &self.fields.all());
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
        let why = match key.first().and_then(|(column, _)| column.why.first()) {
            _ if self.is_chosen => "",
            _ if self.is_packed => "a redelivered message is stored once, whole",
            Some(why) if !why.is_empty() => why,
            _ => "EventBridge's id of the event",
        };
        let mut lines = commented(&text(&own), why);
        if self.is_chosen {
            return lines;
        }
        lines += &self.versions(names);
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

    /// The id that several messages share, and how to choose it.
    fn versions(&self, names: &[String]) -> String {
        let Some(Versioned { id, newer, ids }) = self.versioned else {
            return String::new();
        };
        let name = |at: usize| names.get(at).map_or("", String::as_str);
        let (id, all) = (name(id), self.fields.all());
        let why = match newer.map(name) {
            Some(newer) => format!(
                "or this: {ids} in {all}, and messages of one differ in {newer}: infer --key {id} --newer {newer}"
            ),
            None => format!(
                "or this: {ids} in {all}, and messages of one are the same: infer --key {id}"
            ),
        };
        commented(&format!("# key = [{}]", quoted(id)), &why)
    }

    /// How the newest message of a key would count.
    fn on_conflict(&self, names: &[String]) -> String {
        let name = |at: usize| names.get(at).map_or("…", String::as_str);
        if let Some(newer) = self.newer {
            let newer = line("newer", name(newer), "an older message changes nothing");
            return line("on_conflict", "update", "a newer message replaces the row") + &newer;
        }
        let is_time = |item: &Item<'_>| matches!(item, Item::Column(column) if column.column_type == "timestamptz" && column.mask.is_none());
        let newer = match self.versioned {
            Some(Versioned {
                newer: Some(newer), ..
            }) => Some(newer),
            Some(_) | None => self.fields.items.iter().position(is_time),
        };
        let why = format!(
            "or \"update\", best with newer = {}",
            quoted(newer.map_or("…", name))
        );
        line("on_conflict", "ignore", &why)
    }
}

/// The names of the columns; nothing for what is omitted.
pub(super) fn names(items: &[Item<'_>]) -> Vec<String> {
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

impl Column<'_> {
    /// The column in the mapping, on one line.
    pub(super) fn text(&self, name: &str, has_masks: bool) -> String {
        let mut words = vec![
            format!("name = {}", quoted(name)),
            format!("type = {}", quoted(&self.column_type)),
        ];
        if let Spelling::Unix(unit) = self.spelling {
            words.push(format!("unit = {}", quoted(unit.as_str())));
        }
        words.extend(self.source(name, has_masks));
        let is_json = self.spelling == Spelling::JsonText;
        let is_text = self.column_type.starts_with("text") || self.mask.is_some();
        let strips_nul = self.has_nul && (is_text || is_json);
        let steps = [(strips_nul, "\"strip_nul\""), (is_json, "\"json\"")];
        let steps = steps.into_iter().filter(|(is_needed, _)| *is_needed);
        let steps = listed(steps.map(|(_, step)| step));
        if !steps.is_empty() {
            words.push(format!("transform = [{steps}]"));
        }
        if self.required {
            words.push("required = true".to_owned());
        }
        if let Some(mask) = self.mask {
            words.push(format!("mask = {}", quoted(&mask.to_string())));
        }
        let mention = self.mention.as_ref();
        let mention = mention.map(|why| format!("in plaintext, possibly personal: {why}"));
        let why: Vec<&str> = self
            .why
            .iter()
            .chain(&mention)
            .map(String::as_str)
            .collect();
        let why: Vec<&str> = why.into_iter().filter(|why| !why.is_empty()).collect();
        let comment = match why.is_empty() {
            true => String::new(),
            false => format!("  # {}", escaped(&why.join("; "))),
        };
        format!("  {{ {} }},{comment}\n", words.join(", "))
    }

    fn source(&self, name: &str, has_masks: bool) -> Vec<String> {
        match &self.from[..] {
            [from] if self.spelling == Spelling::UnixOrText => {
                let path = match from.strip_prefix("$.") {
                    Some(path) => format!("$body.{path}"),
                    None => format!(".{from}"),
                };
                let program = format!(
                    "{path} | if type == \"number\" then (floor | todate[:-1]) + (. - floor | tostring[1:]) + \"Z\" else . end"
                );
                let mut words = vec![format!("jq = {}", quoted(&program))];
                words.extend(has_masks.then(|| "clear = true".to_owned()));
                words
            }
            [from] if from == name => Vec::new(),
            [from] => vec![format!("from = {}", quoted(from))],
            several => {
                let several = listed(several.iter().map(|from| quoted(from)));
                vec![format!("from = [{several}]")]
            }
        }
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
