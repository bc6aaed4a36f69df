//! What tells messages with different fields apart: a field or a message attribute that names their type, or fields that
//! only messages of one type have.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use indexmap::IndexMap;
use mapping::Metadata;

use super::body::{Body, Label};
use super::json::Json;
use super::keys::is_name;
use super::names::{joined, quoted};
use super::pii::{Pii, is_in, words};
use super::shape::is_most;
use super::wrap::Wrap;
use crate::cli::output::listed;

/// Last words of fields that name the type of a message: `event_type`, `detail-type`, `op`.
const TYPES: &str = "action entity event k kind op operation type";

/// More values than this are hardly types.
const MAX_TYPES: usize = 20;

/// The first of more different types than this does not name all of them.
const MAX_DIFFERENT: usize = 3;

/// The longest name of a type, in bytes.
const MAX_BYTES: usize = 60;

/// Kinds that are not named have at least so many messages on average.
const MIN_MESSAGES: usize = 3;

/// More conditions than this on the fields of a message are hard to read.
const MAX_CONDITIONS: usize = 3;

/// Messages that become rows of one table.
pub(super) struct Route {
    /// What the name of the table ends with.
    pub(super) name: String,
    /// The conditions, as the mapping writes them.
    pub(super) when: String,
    test: Test,
}

enum Test {
    Named(Field, Vec<String>),
    /// Keys at the top of the body that have, or do not have, a value.
    Exist(Vec<(String, bool)>),
}

/// What may name the type of a message.
enum Field {
    Key(String),
    Attribute(String),
}

impl Field {
    fn of<'b>(&self, body: &'b Body) -> Label<'b> {
        match self {
            Self::Key(key) => body.json.get(key).into(),
            Self::Attribute(name) => body.attribute(name),
        }
    }

    /// As a condition names it.
    fn text(&self, wrap: Wrap) -> String {
        match self {
            Self::Key(key) => wrap.from(&[key]),
            Self::Attribute(name) => Metadata::Attribute(name.clone()).to_string(),
        }
    }

    fn is_key(&self, key: &str) -> bool {
        matches!(self, Self::Key(own) if own == key)
    }
}

impl Route {
    /// The routes of these messages; none if all have much the same fields.
    pub(super) fn all(bodies: &[Body], wrap: Wrap) -> Vec<Self> {
        if wrap == Wrap::S3 {
            return Vec::new();
        }
        let keys = candidates(bodies, |body| body.json.entries().map(|(key, _)| key));
        let attributes = candidates(bodies, |body| body.attributes.keys());
        let fields = keys.into_iter().map(Field::Key);
        let fields = fields.chain(attributes.into_iter().map(Field::Attribute));
        let mut named = fields.filter_map(|field| by_type(field, bodies, wrap));
        named
            .next()
            .or_else(|| by_fields(bodies, wrap))
            .unwrap_or_default()
    }

    pub(super) fn takes(&self, body: &Body) -> bool {
        match &self.test {
            Test::Named(field, values) => match field.of(body) {
                Label::Text(text) => values.iter().any(|value| value == text),
                Label::Nothing | Label::Other => false,
            },
            Test::Exist(tests) => tests.iter().all(|(key, exists)| has(body, key) == *exists),
        }
    }
}

/// Fields that most messages have and that are called like the type of a message.
fn candidates<'b, I: Iterator<Item = &'b String>>(
    bodies: &'b [Body],
    names: impl Fn(&'b Body) -> I,
) -> Vec<String> {
    let mut counts: BTreeMap<&String, usize> = BTreeMap::new();
    for name in bodies.iter().flat_map(names) {
        *counts.entry(name).or_default() += 1;
    }
    let is_type = |name: &&String| {
        let words = words(name);
        let last = words.last().map_or("", String::as_str);
        is_in(TYPES, last) && is_name(name) && Pii::of_name(name).is_none()
    };
    // Looking at a field takes all bodies, so it must be in most of them.
    counts.retain(|_, count| is_most(*count, bodies.len()));
    counts.into_keys().filter(is_type).cloned().collect()
}

fn by_type(field: Field, bodies: &[Body], wrap: Wrap) -> Option<Vec<Route>> {
    let mut types: IndexMap<&str, Vec<&Body>> = IndexMap::new();
    for body in bodies {
        match field.of(body) {
            Label::Text(text) if is_label(text) => types.entry(text).or_default().push(body),
            Label::Nothing => {}
            Label::Text(_) | Label::Other => return None,
        }
    }
    let typed: usize = types.values().map(Vec::len).sum();
    let are_few = types.len() <= MAX_TYPES && types.len() * 2 <= typed;
    if !are_few || !is_most(typed, bodies.len()) {
        return None;
    }
    let types = types.into_iter().map(|(text, bodies)| {
        let fields = usual_fields(&bodies, |key| field.is_key(key), wrap);
        (fields, text.to_owned())
    });
    let groups = alike(types)?;
    let text = quoted(&field.text(wrap));
    let fields = groups.iter().map(|_| match &field {
        Field::Key(key) => Field::Key(key.clone()),
        Field::Attribute(name) => Field::Attribute(name.clone()),
    });
    let fields: Vec<_> = fields.collect();
    let routes = groups.into_iter().zip(fields).map(|(values, field)| {
        let types = listed(values.iter().map(|value| quoted(value)));
        Route {
            name: name(&values),
            when: format!("{{ {text} = [{types}] }}"),
            test: Test::Named(field, values),
        }
    });
    let routes: Vec<_> = routes.collect();
    (routes.len() > 1).then_some(routes)
}

/// Puts items with much the same fields into one group; `None` if these are more than types can be.
fn alike<T>(items: impl Iterator<Item = (BTreeSet<String>, T)>) -> Option<Vec<Vec<T>>> {
    let mut groups: Vec<(BTreeSet<String>, Vec<T>)> = Vec::new();
    for (fields, item) in items {
        let is_full = groups.len() == MAX_TYPES;
        let known = groups
            .iter_mut()
            .find(|(known, _)| are_alike(known, &fields));
        match known {
            Some((_, items)) => items.push(item),
            None if is_full => return None,
            None => groups.push((fields, vec![item])),
        }
    }
    Some(groups.into_iter().map(|(_, items)| items).collect())
}

/// Routes by the keys that all messages of one kind have, and none of another.
fn by_fields(bodies: &[Body], wrap: Wrap) -> Option<Vec<Route>> {
    if wrap != Wrap::None {
        return None;
    }
    let mut kinds: IndexMap<BTreeSet<&str>, Vec<&Body>> = IndexMap::new();
    for body in bodies {
        let keys = body.json.entries().map(|(key, _)| key.as_str());
        let keys = keys.filter(|key| has(body, key) && is_name(key));
        kinds.entry(keys.collect()).or_default().push(body);
    }
    let kinds = kinds.into_values().map(|bodies| {
        let fields = usual_fields(&bodies, |_| false, wrap);
        (fields, bodies)
    });
    let groups: Vec<Vec<&Body>> = alike(kinds)?
        .into_iter()
        .map(|kinds| kinds.concat())
        .collect();
    if groups.len() < 2 || groups.len() * MIN_MESSAGES > bodies.len() {
        return None;
    }
    let routes = groups.iter().enumerate().map(|(own, group)| {
        let others: Vec<_> = groups
            .iter()
            .enumerate()
            .filter(|(at, _)| *at != own)
            .collect();
        let others: Vec<&Vec<&Body>> = others.into_iter().map(|(_, group)| group).collect();
        let tests = distinguishing(group, &others)?;
        let condition = |(key, exists): &(String, bool)| {
            format!("{} = {{ exists = {exists} }}", quoted(&joined(&[key])))
        };
        let named = tests.iter().find(|(_, exists)| *exists).or(tests.first());
        Some(Route {
            name: words(named.map_or("", |(key, _)| key)).join("_"),
            when: format!("{{ {} }}", listed(tests.iter().map(condition))),
            test: Test::Exist(tests),
        })
    });
    routes.collect()
}

/// Which keys exist, or do not, in all of these messages, so that none of the others is like them.
fn distinguishing(group: &[&Body], others: &[&Vec<&Body>]) -> Option<Vec<(String, bool)>> {
    let count = |bodies: &[&Body], key: &str| bodies.iter().filter(|body| has(body, key)).count();
    let keys = others.iter().copied().flatten().chain(group);
    let keys: IndexMap<&String, ()> = keys
        .flat_map(|body| body.json.entries())
        .map(|(key, _)| (key, ()))
        .collect();
    let mut tests: Vec<(&String, bool)> = Vec::new();
    for key in keys.into_keys().filter(|key| is_name(key)) {
        match count(group, key) {
            0 => tests.push((key, false)),
            all if all == group.len() => tests.push((key, true)),
            _ => {}
        }
    }
    // What is there is easier to read than what is not.
    tests.sort_by_key(|(_, exists)| !exists);
    let excludes = |(key, exists): &(&String, bool), other: &Vec<&Body>| {
        count(other, key) == if *exists { 0 } else { other.len() }
    };
    let mut left: Vec<&Vec<&Body>> = others.to_vec();
    let mut chosen = Vec::new();
    while !left.is_empty() {
        let best = tests
            .iter()
            .rev()
            .max_by_key(|test| left.iter().filter(|other| excludes(test, other)).count())?;
        let before = left.len();
        left.retain(|other| !excludes(best, other));
        chosen.push((best.0.clone(), best.1));
        if left.len() == before || chosen.len() > MAX_CONDITIONS {
            return None;
        }
    }
    Some(chosen)
}

/// Whether a condition that asks whether a key exists holds.
fn has(body: &Body, key: &str) -> bool {
    !matches!(body.json.get(key), Some(Json::Null) | None)
}

/// The name of a group: the words with which all of its values begin, or else the first value; nothing if they are many.
fn name(values: &[String]) -> String {
    let mut all = values.iter().map(|value| words(value));
    let first = all.next().unwrap_or_default();
    let common = all.fold(first.len(), |common, words| {
        let same = first.iter().zip(&words).take(common);
        same.take_while(|(a, b)| a == b).count()
    });
    let common = match common {
        0 if values.len() > MAX_DIFFERENT => return String::new(),
        0 => first.len(),
        _ => common,
    };
    first.get(..common).unwrap_or_default().join("_")
}

/// Whether a value can be the name of a type. It will be in the mapping, so it must not be data.
pub(super) fn is_label(text: &str) -> bool {
    text.len() <= MAX_BYTES && is_name(&text.replace([' ', ':', '/'], "_"))
}

/// The fields that at least half of these bodies have, but for the one that names the type.
fn usual_fields(bodies: &[&Body], is_type: impl Fn(&str) -> bool, wrap: Wrap) -> BTreeSet<String> {
    let mut counts: HashMap<String, usize> = HashMap::new();
    for body in bodies {
        let message = match wrap.root() {
            Some(root) => body.json.get(root),
            None => Some(&body.json),
        };
        let mut fields = BTreeSet::new();
        for (key, value) in message.into_iter().flat_map(Json::entries) {
            if !is_type(key) {
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

#[cfg(test)]
mod tests {
    use super::super::shape::tests::must_be_linear;
    use super::*;

    #[test]
    fn the_work_for_a_message_does_not_grow_with_the_number_of_kinds() {
        const KEYS: usize = 10;
        must_be_linear(|keys| {
            let messages = (0..keys / KEYS).map(|sample| {
                let entries =
                    (0..KEYS).map(|key| (format!("key_{sample}_{key}"), Json::Bool(true)));
                Body {
                    json: Json::Object(entries.collect()),
                    attributes: IndexMap::new(),
                    sample,
                }
            });
            let bodies: Vec<_> = messages.collect();
            assert!(Route::all(&bodies, Wrap::None).is_empty());
        });
    }
}
