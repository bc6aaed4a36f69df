//! Values that are masked in one field and found in another: a mask is useless there.

use super::json::Json;
use super::pii::part_name;
use super::shape::Shape;

/// Shorter texts are found in much else.
const MIN_CHARS: usize = 4;

/// Digits alone must be longer.
const MIN_DIGITS: usize = 7;

/// At most this many values of a message are looked for.
const MAX_VALUES: usize = 32;

/// A masked value of a message, in lower case, and the name of its field.
type Masked = Vec<(String, String)>;

/// Notes for each field in how many of these messages it contains what another field of the same message masks.
pub(super) fn note<'j>(shape: &mut Shape, bodies: impl Iterator<Item = &'j Json>) {
    for body in bodies {
        let mut masked = Vec::new();
        collect(shape, "", body, &mut masked);
        masked.truncate(MAX_VALUES);
        if !masked.is_empty() {
            search(shape, "", body, &masked);
        }
    }
}

fn collect(shape: &Shape, name: &str, json: &Json, masked: &mut Masked) {
    match json {
        Json::Text(text) if is_telling(text) && !shape.is_always_the_same() => {
            if shape.copies.is_none() && shape.pii(name).is_some() {
                masked.push((text.to_lowercase(), name.to_owned()));
            }
        }
        Json::Text(_) | Json::Null | Json::Bool(_) | Json::Number(_) => {}
        Json::Array(items) => {
            if let Some(shape) = &shape.items {
                items
                    .iter()
                    .for_each(|item| collect(shape, name, item, masked));
            }
        }
        Json::Object(fields) => {
            for (key, value) in fields {
                if let Some(shape) = shape.keys.get(key) {
                    collect(shape, &part_name(name, key), value, masked);
                }
            }
        }
    }
}

fn search(shape: &mut Shape, name: &str, json: &Json, masked: &Masked) {
    match json {
        Json::Text(text) => {
            let text = text.to_lowercase();
            let is_found = |(value, _): &&(String, String)| contains(&text, value);
            if let Some((_, of)) = masked.iter().find(is_found)
                && (shape.copies.is_some() || shape.pii(name).is_none())
            {
                let (_, count) = shape.copies.get_or_insert_with(|| (of.clone(), 0));
                *count += 1;
            }
        }
        Json::Null | Json::Bool(_) | Json::Number(_) => {}
        Json::Array(items) => {
            if let Some(shape) = &mut shape.items {
                items
                    .iter()
                    .for_each(|item| search(shape, name, item, masked));
            }
        }
        Json::Object(fields) => {
            for (key, value) in fields {
                if let Some(shape) = shape.keys.get_mut(key) {
                    search(shape, &part_name(name, key), value, masked);
                }
            }
        }
    }
}

/// Whether a value is long enough to be recognised within another.
fn is_telling(value: &str) -> bool {
    let has_letter = value.contains(char::is_alphabetic);
    value.len() >= if has_letter { MIN_CHARS } else { MIN_DIGITS }
}

/// Whether a text contains a value as a word of its own.
fn contains(text: &str, value: &str) -> bool {
    text.match_indices(value).any(|(at, _)| {
        let before = text.get(..at).and_then(|before| before.chars().next_back());
        let after = text.get(at + value.len()..);
        let after = after.and_then(|after| after.chars().next());
        let is_end = |next: Option<char>| next.is_none_or(|next| !next.is_alphanumeric());
        is_end(before) && is_end(after)
    })
}
