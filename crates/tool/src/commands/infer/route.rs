//! A field that names the type of a message, where messages of different types have different fields.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use indexmap::IndexMap;

use super::json::Json;
use super::keys::is_name;
use super::pii::{Pii, is_in, words};
use super::shape::is_most;
use super::wrap::Wrap;

/// Last words of fields that name the type of a message: `event_type`, `detail-type`, `op`.
const TYPES: &str = "action entity event kind op operation type";

/// More values than this are hardly types.
const MAX_TYPES: usize = 20;

/// The longest name of a type, in bytes.
const MAX_BYTES: usize = 60;

/// A field, and groups of its values: the messages of a group have much the same fields.
pub(super) struct Routes {
    pub(super) field: String,
    pub(super) groups: Vec<Vec<String>>,
}

impl Routes {
    /// The first field at the top of these bodies that names their type.
    pub(super) fn of(bodies: &[&Json], wrap: Wrap) -> Option<Self> {
        let mut counts: BTreeMap<&String, usize> = BTreeMap::new();
        for (key, _) in bodies.iter().flat_map(|body| body.entries()) {
            *counts.entry(key).or_default() += 1;
        }
        let is_type = |key: &&String| {
            let words = words(key);
            let last = words.last().map_or("", String::as_str);
            is_in(TYPES, last) && is_name(key) && Pii::of_name(key).is_none()
        };
        // Looking at a field takes all bodies, so it must be in most of them.
        counts.retain(|_, count| is_most(*count, bodies.len()));
        let mut keys = counts.into_keys().filter(is_type);
        keys.find_map(|key| Self::by(key, bodies, wrap))
            .filter(|_| wrap != Wrap::S3)
    }

    fn by(field: &str, bodies: &[&Json], wrap: Wrap) -> Option<Self> {
        let mut types: IndexMap<&str, Vec<&Json>> = IndexMap::new();
        for body in bodies {
            match body.get(field) {
                Some(Json::Text(text)) if is_label(text) => {
                    types.entry(text).or_default().push(body);
                }
                Some(Json::Null) | None => {}
                Some(_) => return None,
            }
        }
        let typed: usize = types.values().map(Vec::len).sum();
        let are_few = types.len() <= MAX_TYPES && types.len() * 2 <= typed;
        if !are_few || !is_most(typed, bodies.len()) {
            return None;
        }
        let mut groups: Vec<(BTreeSet<String>, Vec<String>)> = Vec::new();
        for (text, bodies) in types {
            let fields = usual_fields(&bodies, field, wrap);
            let alike = groups
                .iter_mut()
                .find(|(known, _)| are_alike(known, &fields));
            match alike {
                Some((_, values)) => values.push(text.to_owned()),
                None => groups.push((fields, vec![text.to_owned()])),
            }
        }
        let groups: Vec<_> = groups.into_iter().map(|(_, values)| values).collect();
        (groups.len() > 1).then(|| Self {
            field: field.to_owned(),
            groups,
        })
    }

    /// The group of a message; `None` if it has no type.
    pub(super) fn group(&self, body: &Json) -> Option<usize> {
        let Some(Json::Text(text)) = body.get(&self.field) else {
            return None;
        };
        let mut groups = self.groups.iter();
        groups.position(|values| values.contains(text))
    }
}

/// The name of a group: the words with which all of its values begin, or else the first value.
pub(super) fn name(values: &[String]) -> String {
    let mut all = values.iter().map(|value| words(value));
    let first = all.next().unwrap_or_default();
    let common = all.fold(first.len(), |common, words| {
        let same = first.iter().zip(&words).take(common);
        same.take_while(|(a, b)| a == b).count()
    });
    let common = if common == 0 { first.len() } else { common };
    first.get(..common).unwrap_or_default().join("_")
}

/// Whether a value can be the name of a type. It will be in the mapping, so it must not be data.
fn is_label(text: &str) -> bool {
    text.len() <= MAX_BYTES && is_name(&text.replace([' ', ':', '/'], "_"))
}

/// The fields that at least half of these bodies have, but for the one that names the type.
fn usual_fields(bodies: &[&Json], but: &str, wrap: Wrap) -> BTreeSet<String> {
    let mut counts: HashMap<String, usize> = HashMap::new();
    for body in bodies {
        let message = match wrap {
            Wrap::EventBridge => body.get("detail"),
            Wrap::None | Wrap::S3 => Some(*body),
        };
        let mut fields = BTreeSet::new();
        for (key, value) in message.into_iter().flat_map(Json::entries) {
            if key != but {
                add_fields(key, value, &mut fields);
            }
        }
        for field in fields {
            *counts.entry(field).or_default() += 1;
        }
    }
    let usual = counts
        .into_iter()
        .filter(|(_, count)| count * 2 >= bodies.len());
    usual.map(|(field, _)| field).collect()
}

fn add_fields(path: &str, value: &Json, fields: &mut BTreeSet<String>) {
    if !matches!(value, Json::Null | Json::Object(_)) {
        fields.insert(path.to_owned());
    }
    for (key, value) in value.entries() {
        add_fields(&format!("{path}\0{key}"), value, fields);
    }
}

/// Whether at least half of all fields are in both.
fn are_alike(a: &BTreeSet<String>, b: &BTreeSet<String>) -> bool {
    a.intersection(b).count() * 2 >= a.union(b).count()
}
