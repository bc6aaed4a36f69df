//! Which keys of objects are names of fields, and which are data: `{"by_user": {"adalovelace": 1}}`.

use std::collections::BTreeSet;

use mapping::internals::takes;
use mapping::{ColumnType, Path};

use super::class::Class;
use super::json::Json;
use super::pii::words;
use super::shape::Shape;
use super::value::KINDS;

/// With more keys than this, objects whose keys differ are maps of data, whatever their values.
const FEW_KEYS: usize = 12;

/// With more keys than this, those that few objects have are data.
const MANY_KEYS: usize = 500;

/// The share of objects, one in so many, that has the names among many keys.
const RARE: usize = 100;

impl Shape {
    /// Whether one of its keys is data, although others may be names.
    pub(super) fn is_data(&self, key: &str) -> bool {
        let objects = self.of(&[Class::Object]);
        let occurs = self.keys.get(key).map_or(0, |shape| shape.occurs);
        let is_rare = objects > 1 && occurs <= 1.max(objects / RARE);
        !is_name(key) || self.keys.len() > MANY_KEYS && is_rare
    }

    /// Whether the keys of these objects, in a field of this name, are data: they differ from object to object and their
    /// values are alike; or there is one object only, with many such keys; or the field is called like a map.
    pub(super) fn is_map(&self, name: &str) -> bool {
        let objects = self.of(&[Class::Object]);
        let is_rare = |shape: &Self| shape.occurs * 2 <= objects;
        let all: usize = self.keys.values().map(|shape| shape.occurs).sum();
        let is_large = self.keys.len() > FEW_KEYS;
        let do_differ = objects > 1 && self.keys.len() > 1 && self.keys.values().all(is_rare);
        is_large && all * 2 < self.keys.len() * objects
            || (do_differ || is_large && objects == 1 || is_map_name(name))
                && self.has_like_values()
    }

    /// Whether the values of all keys are of one kind; objects must have most keys in common.
    fn has_like_values(&self) -> bool {
        let kinds = self.keys.values().filter(|shape| shape.all() > 0);
        let kinds: BTreeSet<Class> = kinds.filter_map(Self::kind).collect();
        if kinds.len() != 1 {
            return false;
        }
        let parts = self.keys.values().flat_map(|shape| shape.keys.keys());
        let (count, distinct) = (parts.clone().count(), parts.collect::<BTreeSet<_>>().len());
        !kinds.contains(&Class::Object) || self.keys.len() == 1 || distinct * 2 <= count
    }

    /// What most values are, without differences among texts and among numbers.
    fn kind(&self) -> Option<Class> {
        let most = self.seen.iter().max_by_key(|(_, seen)| seen.count);
        most.map(|(class, _)| match class {
            Class::Integer | Class::Number => Class::Number,
            Class::Bool | Class::Array | Class::Object => *class,
            _ => Class::Text,
        })
    }
}

/// Whether a field is called like a map: `by_user`, `votes_per_country`; but not `created_by` or `updated_by_user`.
fn is_map_name(name: &str) -> bool {
    let words = words(name);
    let is_before_key = |pair: &[String]| match pair {
        [before, by] => matches!(by.as_str(), "by" | "per") && !before.ends_with("ed"),
        _ => false,
    };
    let begins = matches!(&words[..], [by, _, ..] if by == "by" || by == "per");
    let inner = words
        .get(..words.len().saturating_sub(1))
        .unwrap_or_default();
    begins || inner.windows(2).any(is_before_key)
}

/// Whether a key is a name, rather than data.
pub(crate) fn is_name(key: &str) -> bool {
    let is_word = |character: char| character.is_alphanumeric() || "_-$.".contains(character);
    let has_letter = key.chars().any(char::is_alphabetic);
    let is_value = KINDS.into_iter().any(|kind| kind.is_value(key));
    has_letter
        && key.len() <= 40
        && key.strip_prefix('@').unwrap_or(key).chars().all(is_word)
        && !is_value
        && !takes(ColumnType::Uuid, key)
}

/// The fields of samples by the names that may be shown.
#[derive(Default)]
pub(crate) struct FieldNames(Shape);

impl FieldNames {
    /// Adds a body.
    pub(crate) fn see(&mut self, body: &str) {
        if let Ok(body) = serde_json::from_str(body) {
            self.0.observe(&opened(body), 0);
        }
    }

    /// The path to a value: `lines[].sku`. A key that looks like data is `*`.
    pub(crate) fn path(&self, steps: &[Option<String>]) -> String {
        let mut text = String::new();
        for name in self.names(steps) {
            match name {
                None => text += "[]",
                Some(name) if text.is_empty() => text += &name,
                Some(name) => text += &format!(".{name}"),
            }
        }
        text
    }

    /// The name of the last step: of a key that looks like data, `*`; of an element, `None`.
    pub(crate) fn last(&self, steps: &[Option<String>]) -> Option<String> {
        self.names(steps).pop().flatten()
    }

    fn names(&self, steps: &[Option<String>]) -> Vec<Option<String>> {
        let mut names = Vec::with_capacity(steps.len());
        let (mut shape, mut name) = (Some(&self.0), "");
        for step in steps {
            let Some(key) = step else {
                names.push(None);
                shape = shape.and_then(|shape| shape.items.as_deref());
                name = "";
                continue;
            };
            // The body itself is not a map: some of its keys are names.
            let is_top = names.is_empty();
            let is_data =
                shape.is_none_or(|shape| shape.is_data(key) || !is_top && shape.is_map(name));
            names.push(Some(match is_data {
                true => "*".to_owned(),
                false => Path(vec![key.clone()]).to_string(),
            }));
            shape = shape.and_then(|shape| shape.keys.get(key));
            name = key;
        }
        names
    }
}

/// A body with the objects in its strings, which `root` may lead into.
fn opened(json: Json) -> Json {
    match json {
        Json::Text(text) if text.starts_with('{') => {
            serde_json::from_str(&text).unwrap_or(Json::Text(text))
        }
        Json::Object(object) => {
            let opened = object.into_iter().map(|(key, value)| (key, opened(value)));
            Json::Object(opened.collect())
        }
        other => other,
    }
}
