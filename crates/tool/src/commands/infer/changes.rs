//! Changes of tables of a database, captured by Debezium or AWS DMS: each table is copied, with its deletions.

use indexmap::IndexMap;
use mapping::{ColumnType, Envelope, Unit};

use super::choice::Spelling;
use super::class::Class;
use super::columns::{Column, Item};
use super::json::Json;
use super::mapping::{Proposal, Wanted, names};
use super::names::{joined, quoted};
use super::pii::{ends_with_identifier, is_in, words};
use super::route::is_label;
use super::shape::{Shape, is_most};
use crate::cli::output::{counted, escaped, listed};
use crate::cli::samples::Sample;

/// How a program writes changes.
struct Dialect {
    what: &'static str,
    /// Where the change is, if not at the top of the message.
    root: Option<&'static str>,
    table: [&'static str; 2],
    operation: &'static [&'static str],
    operations: &'static [&'static str],
    deletion: &'static str,
    /// The row after the change, and before it.
    after: &'static str,
    before: &'static str,
    /// Whether a deletion has the row in `before` only.
    is_before_deletion: bool,
    /// What says which of two changes is newer, the best first: its name, path, type and unit.
    newer: &'static [Newer],
}

struct Newer {
    name: [&'static str; 2],
    path: [&'static str; 2],
    column_type: ColumnType,
    unit: Option<Unit>,
}

const LSN: Newer = Newer {
    name: ["source", "lsn"],
    path: ["source", "lsn"],
    column_type: ColumnType::BigInt,
    unit: None,
};

const fn changed_at(path: [&'static str; 2], unit: Option<Unit>) -> Newer {
    Newer {
        name: ["changed", "at"],
        path,
        column_type: ColumnType::TimestampTz,
        unit,
    }
}

const DEBEZIUM: Dialect = Dialect {
    what: "changes captured by Debezium",
    root: None,
    table: ["source", "table"],
    operation: &["op"],
    operations: &["r", "c", "u", "d"],
    deletion: "d",
    after: "after",
    before: "before",
    is_before_deletion: true,
    newer: &[
        LSN,
        changed_at(["source", "ts_us"], Some(Unit::Micros)),
        changed_at(["source", "ts_ms"], Some(Unit::Millis)),
    ],
};

/// The programs whose changes are known.
/// Sources: <https://debezium.io/documentation/reference/stable/connectors/postgresql.html#postgresql-events>,
/// <https://docs.aws.amazon.com/dms/latest/userguide/CHAP_Target.Kinesis.html> (2026-11).
const DIALECTS: [Dialect; 3] = [
    DEBEZIUM,
    Dialect {
        root: Some("payload"),
        ..DEBEZIUM
    },
    Dialect {
        what: "changes captured by AWS DMS",
        root: None,
        table: ["metadata", "table-name"],
        operation: &["metadata", "operation"],
        operations: &["load", "insert", "update", "delete"],
        deletion: "delete",
        after: "data",
        before: "before",
        is_before_deletion: false,
        newer: &[changed_at(["metadata", "timestamp"], None)],
    },
];

/// The rows of a table, as they were before and after changes.
#[derive(Default)]
struct Rows {
    changes: usize,
    shape: Shape,
}

/// The mapping for samples that are changes, if most of them are.
pub(super) fn known(
    samples: &[Sample],
    bodies: &[Option<Json>],
    envelope: Envelope,
    table: Option<&str>,
    wanted: &Wanted,
) -> Option<Proposal> {
    let objects = || {
        let all = bodies.iter().zip(0..);
        all.filter_map(|(body, at)| Some((body.as_ref().filter(|body| body.is_object())?, at)))
    };
    let is_most_of = |dialect: &&Dialect| {
        let changes = objects().filter(|(body, _)| dialect.table_of(body).is_some());
        let (changes, all) = (changes.count(), objects().count());
        changes * 2 > all
    };
    let dialect = DIALECTS.iter().find(is_most_of)?;
    let mut tables: IndexMap<&str, Rows> = IndexMap::new();
    for (body, at) in objects() {
        if let Some(name) = dialect.table_of(body) {
            tables.entry(name).or_default().observe(dialect, body, at);
        }
    }
    let newer = dialect.newer.iter().find(|newer| {
        let mut changes = objects().filter(|(body, _)| dialect.table_of(body).is_some());
        changes.all(|(body, _)| dialect.value(body, &newer.path).is_some())
    })?;
    let messages = counted(samples.len(), "message");
    let mut proposal = Proposal {
        text: format!(
            "# Proposed by `sqs-to-postgres infer` for {messages}, which look like {}: each table is\n\
             # copied. Review it before you deploy it, and compare each key with the primary key of its table.\n\
             envelope = {}\n",
            dialect.what,
            quoted(&envelope.to_string())
        ),
        omitted: Vec::new(),
        mentioned: Vec::new(),
    };
    if let Some(root) = dialect.root {
        proposal.text += &format!("root = {}\n", quoted(root));
    }
    proposal.text += "unmatched = \"skip\"   # tombstones, and changes of other tables\n";
    for (source, rows) in &mut tables {
        rows.shape.note_persons(source);
        let name = match table {
            Some(table) => format!("{table}_{}", words(source).join("_")),
            None => words(source).join("_"),
        };
        rows.add_to(
            &mut proposal,
            dialect,
            (source, &name),
            newer,
            (samples, wanted),
        );
    }
    Some(proposal)
}

impl Dialect {
    fn value<'j>(&self, body: &'j Json, path: &[&str]) -> Option<&'j Json> {
        let path = self.root.iter().chain(path);
        let value = path.copied().try_fold(body, |json, key| json.get(key))?;
        (!matches!(value, Json::Null)).then_some(value)
    }

    /// The name of the table that a message changes.
    fn table_of<'j>(&self, body: &'j Json) -> Option<&'j str> {
        let Some(Json::Text(operation)) = self.value(body, self.operation) else {
            return None;
        };
        match self.value(body, &self.table) {
            Some(Json::Text(name)) if is_label(name) && is_in_list(self.operations, operation) => {
                Some(name)
            }
            _ => None,
        }
    }

    /// Where a column is read from; a column of the key also of a deletion.
    fn from(&self, column: &str, is_key: bool) -> Vec<String> {
        let after = joined(&[self.after, column]);
        match is_key && self.is_before_deletion {
            true => vec![after, joined(&[self.before, column])],
            false => vec![after],
        }
    }
}

fn is_in_list(list: &[&str], word: &str) -> bool {
    list.contains(&word)
}

impl Rows {
    fn observe(&mut self, dialect: &Dialect, body: &Json, at: usize) {
        self.changes += 1;
        for row in [dialect.after, dialect.before] {
            if let Some(row) = dialect.value(body, &[row]) {
                self.shape.observe(row, at);
            }
        }
    }

    /// The columns that are probably the primary key of the table.
    fn key(&self, table: &str, wanted: &Wanted) -> Vec<String> {
        let has = |name: &String| self.shape.keys.contains_key(name);
        if !wanted.key.is_empty() && wanted.key.iter().all(has) {
            return wanted.key.clone();
        }
        let table = table.to_lowercase();
        let rank = |name: &str| {
            let words = words(name);
            let own = words
                .first()
                .is_some_and(|first| table.starts_with(first.as_str()));
            match &words[..] {
                [id] if is_in("id uuid", id) => 0,
                [_, id] if own && is_in("id uuid no number code", id) => 1,
                _ if ends_with_identifier(name) && words.len() == 1 => 2,
                _ if ends_with_identifier(name) => 3,
                _ => 4,
            }
        };
        let names = self.shape.keys.iter();
        let is_usual = |(name, shape): &(&String, &Shape)| match rank(name) {
            // Broken changes have no id.
            0..4 => shape.present * 2 > self.shape.present,
            _ => is_most(shape.present, self.shape.present),
        };
        let full = names.filter(is_usual);
        let best = full.map(|(name, _)| name).min_by_key(|name| rank(name));
        best.into_iter().cloned().collect()
    }

    fn add_to(
        &self,
        proposal: &mut Proposal,
        dialect: &Dialect,
        (source, name): (&str, &str),
        newer: &Newer,
        (samples, wanted): (&[Sample], &Wanted),
    ) {
        let key = self.key(source, wanted);
        let mut items: Vec<Item<'_>> = Vec::new();
        let in_key = |name: &String| key.contains(name);
        let keys = self.shape.keys.iter();
        let (first, others): (Vec<_>, Vec<_>) = keys.partition(|(name, _)| in_key(name));
        for (name, shape) in first.into_iter().chain(others) {
            if self.shape.is_data(name) {
                items.push(Item::LeftOut(
                    "a column whose name looks like data".to_owned(),
                ));
                continue;
            }
            let mut column = Column::of(name, &[shape], samples);
            let is_single = shape.of(&[Class::Object]) == 0;
            let can_be_masked = column.column_type != "jsonb" && is_single;
            if column.mask.is_none()
                && !can_be_masked
                && let Some(kind) = shape.pii_inside(name)
            {
                let what =
                    format!("{name:?}, which seems to contain {kind}: jsonb cannot be masked");
                items.push(Item::LeftOut(what));
                continue;
            }
            if is_day(name, shape) && column.mask.is_none() {
                column.column_type = ColumnType::Date.to_string();
                column.spelling = Spelling::Unix(Unit::Days);
            }
            column.path = vec![name];
            column.from = dialect.from(name, in_key(name));
            column.required = in_key(name);
            items.push(Item::Column(column));
        }
        let mut order = Column::of_metadata(newer.name, joined(&newer.path), newer.column_type, "");
        order.required = true;
        if let Some(unit) = newer.unit {
            order.spelling = Spelling::Unix(unit);
        }
        items.push(Item::Column(order));
        let names = names(&items);
        let has_masks = items
            .iter()
            .filter_map(Item::column)
            .any(|column| column.mask.is_some());
        let operation = quoted(&joined(dialect.operation));
        let operations = listed(dialect.operations.iter().map(|operation| quoted(operation)));
        let quoted_key = names.iter().take(key.len()).map(|name| quoted(name));
        proposal.text += &format!(
            "\n[[table]]\nname = {}\nwhen = {{ {} = {}, {operation} = [{operations}] }}   # {}\n\
             delete_when = {{ {operation} = {} }}\nkey = [{}]   # the primary key of the table?\n\
             on_conflict = \"update\"\nnewer = {}\ncolumn = [\n",
            quoted(name),
            quoted(&joined(&dialect.table)),
            quoted(source),
            counted(self.changes, "change"),
            quoted(dialect.deletion),
            listed(quoted_key),
            quoted(names.last().map_or("", String::as_str)),
        );
        for (item, column_name) in items.iter().zip(&names) {
            match item {
                Item::Column(column) => {
                    proposal.text += &column.text(column_name, has_masks);
                    if let Some(why) = &column.mention {
                        proposal
                            .mentioned
                            .push(format!("{column_name:?} of {name:?}: {why}"));
                    }
                }
                Item::LeftOut(what) => {
                    proposal.text += &format!("  # Omitted: {}.\n", escaped(what));
                    proposal.omitted.push(what.clone());
                }
            }
        }
        proposal.text += "]\n";
    }
}

/// Whether a column holds days since 1970, as Debezium writes dates.
fn is_day(name: &str, shape: &Shape) -> bool {
    const DAYS: &str = "birthday born date day on";
    let is_named = words(name).last().is_some_and(|last| is_in(DAYS, last));
    let are_integers = shape.of(&[Class::Integer]) == shape.all();
    is_named && shape.all() > 0 && are_integers && shape.digits.whole <= 5
}
