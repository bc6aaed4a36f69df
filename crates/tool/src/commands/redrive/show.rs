//! A dead letter, for a person or as JSON: why it failed, and what it holds, with its values only on request.

use std::collections::BTreeMap;

use aws_sdk_sqs::types::MessageAttributeValue;
use serde_json::{Value, json};
use sqs_to_postgres::sqs::dead_letter::{DeadLetter, Reason, is_senders};
use sqs_to_postgres::sqs::name_of;

use crate::cli::output::{counted, escaped, listed};

/// The message, with its reason in the first line. Every sender to the queue can write any part of it.
pub(super) fn text(message: &DeadLetter, shows_values: bool) -> String {
    let why = message.reason().map_or_else(
        || "moved by SQS itself, without a reason: `redrive --explain` reads it again".to_owned(),
        reason,
    );
    let mut lines = vec![format!("message {}: {why}", message.original_id())];
    if let Some(arn) = message.source() {
        lines.push(format!("  from: {}", name_of(arn)));
    }
    if let Some(group) = message.group().filter(|_| shows_values) {
        lines.push(format!("  group: {group}"));
    }
    let attributes = attributes(message);
    match shows_values {
        true => {
            let shown = attributes.iter();
            lines.extend(shown.map(|(name, value)| format!("  attribute {name}: {value}")));
            lines.push(format!("  body: {}", body(message)));
        }
        false => {
            if !attributes.is_empty() {
                lines.push(format!("  attributes: {}", listed(attributes.keys())));
            }
            let size = counted(body(message).chars().count(), "character");
            lines.push(format!("  body: (hidden, {size})"));
        }
    }
    let lines: Vec<_> = lines.iter().map(|line| escaped(line)).collect();
    lines.join("\n") + "\n"
}

pub(super) fn json(message: &DeadLetter, shows_values: bool) -> Value {
    let source = message.source().map(name_of);
    let attributes = attributes(message);
    match shows_values {
        true => {
            json!({"from": source, "group": message.group(), "attributes": attributes, "body": body(message)})
        }
        false => json!({"from": source, "attributes": attributes.keys().collect::<Vec<_>>()}),
    }
}

fn body(message: &DeadLetter) -> &str {
    message.message().body().unwrap_or_default()
}

fn reason(reason: &Reason) -> String {
    let mut text = format!("rejected by rule {}", reason.rule);
    let places = [
        ("table", &reason.table),
        ("column", &reason.column),
        ("from", &reason.path),
    ];
    for (what, name) in places {
        if let Some(name) = name {
            text += &format!(", {what} {name:?}");
        }
    }
    text
}

/// The sender's own attributes, bytes by their number.
fn attributes(message: &DeadLetter) -> BTreeMap<&str, String> {
    let all = message.message().message_attributes().into_iter().flatten();
    let senders =
        all.filter(|(name, value)| is_senders(name, value.string_value().unwrap_or_default()));
    senders
        .map(|(name, value)| (name.as_str(), shown(value)))
        .collect()
}

fn shown(value: &MessageAttributeValue) -> String {
    match (value.string_value(), value.binary_value()) {
        (Some(text), _) => text.to_owned(),
        (None, Some(bytes)) => counted(bytes.as_ref().len(), "byte"),
        (None, None) => String::new(),
    }
}
