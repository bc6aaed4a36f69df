//! Columns → the text of a mapping, with a reason for each choice.

use sqs_to_postgres::message::{Envelope, Metadata};
use sqs_to_postgres::types::ColumnType;

use super::columns::{Column, Fields, Item, quoted};
use super::names::{Taken, short};
use super::shape::Shape;
use super::wrap::Wrap;
use crate::cli::output::{counted, escaped};
use crate::cli::samples::Sample;

/// The column at which comments begin.
const COMMENT_COLUMN: usize = 32;

/// How many columns are named that could be the key.
const MAX_CANDIDATES: usize = 3;

/// What the samples are.
pub(super) struct Observed<'s> {
    pub(super) samples: &'s [Sample],
    pub(super) envelope: Envelope,
    pub(super) wrap: Wrap,
    pub(super) bodies: Shape,
    pub(super) attributes: Shape,
}

/// A mapping, and what it leaves out.
pub(super) struct Proposal {
    pub(super) text: String,
    pub(super) left_out: Vec<String>,
}

impl Observed<'_> {
    /// The mapping for these samples.
    pub(super) fn propose(&self, table: &str) -> Proposal {
        let total = self.bodies.present;
        let mut fields = Fields::new(self.wrap, self.samples, total);
        fields.add_body(&self.bodies);
        fields.add_attributes(&self.attributes);
        let mut items = fields.items;
        let is_event_id = |item: &Item<'_>| matches!(item, Item::Column(column) if column.path == ["id"] && column.key_rank.is_some());
        let event_id = match self.wrap {
            Wrap::EventBridge => items.iter().position(is_event_id),
            _ => None,
        };
        let key = match event_id {
            Some(position) => items.remove(position),
            None => Item::Column(Column::of_id(self.envelope)),
        };
        items.insert(0, key);
        items.push(Item::Column(Column::of_metadata(
            ["sqs", "sent_at"],
            Metadata::SentAt,
            ColumnType::TimestampTz,
            "when SQS received it",
        )));
        let names = names(&items);
        let mut text = head(total);
        text += &line("table", table, "");
        text += &keys(&items, &names, total);
        text += &line("on_conflict", "ignore", &update(&items, &names));
        text += &line("envelope", &self.envelope.to_string(), self.why_envelope());
        let mut left_out = Vec::new();
        for (item, name) in items.iter().zip(&names) {
            match item {
                Item::Column(column) => text += &column.text(name, total),
                Item::LeftOut(what) => {
                    text += &format!("\n# Left out: {}.\n", escaped(what));
                    left_out.push(what.clone());
                }
            }
        }
        Proposal { text, left_out }
    }

    fn why_envelope(&self) -> &'static str {
        match (self.envelope, self.wrap) {
            (Envelope::Sns, _) => "the message is in a notification of SNS",
            (Envelope::None, Wrap::None) => "the body is the message",
            (Envelope::None, Wrap::EventBridge) => "the body is an event of EventBridge",
            (Envelope::None, Wrap::S3) => {
                "the body is a notification of S3: of several records the first is stored"
            }
        }
    }
}

fn head(total: usize) -> String {
    let messages = counted(total, "message");
    format!(
        "# Proposed by `sqs-to-postgres infer` for {messages}: review it before you deploy it. Types and\n\
         # widths fit the samples, with room to spare. Fields in every sample are required.\n\n"
    )
}

/// The names of the columns; of what is left out, nothing.
fn names(items: &[Item<'_>]) -> Vec<String> {
    let columns = items.iter().map(|item| match item {
        Item::Column(column) => (column.path.clone(), column.mask.is_some()),
        Item::LeftOut(_) => (Vec::new(), false),
    });
    let (paths, masked): (Vec<_>, Vec<_>) = columns.unzip();
    let mut taken = Taken::default();
    let named = short(&paths).into_iter().zip(masked);
    named
        .map(|(name, is_masked)| match (name.as_str(), is_masked) {
            ("", _) => name,
            (_, true) => taken.take(&format!("masked_{name}")),
            (_, false) => taken.take(&name),
        })
        .collect()
}

/// The key, and what it could be instead.
fn keys(items: &[Item<'_>], names: &[String], total: usize) -> String {
    let mut columns = items
        .iter()
        .zip(names)
        .filter_map(|(item, name)| match item {
            Item::Column(column) => Some((column, name)),
            Item::LeftOut(_) => None,
        });
    let key = |name: &str| format!("key = [{}]", quoted(name));
    let mut text = String::new();
    if let Some((column, name)) = columns.next() {
        let why = match column.why_from {
            "" => "EventBridge's id of the event",
            why => why,
        };
        text += &commented(&key(name), why);
    }
    let mut candidates: Vec<_> = columns
        .filter_map(|(column, name)| Some((column.key_rank?, name)))
        .filter(|_| total > 1)
        .collect();
    candidates.sort_by_key(|&(rank, _)| rank);
    for (_, name) in candidates.into_iter().take(MAX_CANDIDATES) {
        let why = format!("or this: unique in all {}", counted(total, "message"));
        text += &commented(&format!("# {}", key(name)), &why);
    }
    text
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
    fn text(&self, name: &str, total: usize) -> String {
        let mut text = format!("\n[[column]]\nname = {}\n", quoted(name));
        text += &line("type", &self.column_type, &self.why_type);
        if self.from != name {
            text += &line("from", &self.from, self.why_from);
        }
        if self.is_required {
            let why = format!("in all {}", counted(total, "message"));
            text += &commented("required = true", &why);
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
