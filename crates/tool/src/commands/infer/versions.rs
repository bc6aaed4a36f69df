//! Several messages about one thing: an id that repeats, and what tells which of them is newer.

use std::collections::hash_map::DefaultHasher;
use std::collections::{HashMap, HashSet};
use std::hash::{Hash as _, Hasher as _};

use super::body::Body;
use super::json::Json;
use super::pii::{is_in, words};

/// At least one in so many messages has an id of its own, or the id is rather that of a customer, or of a shop.
const MAX_VERSIONS: usize = 3;

/// Last words of numbers that increase with every change.
const VERSIONS: &str = "lsn revision seq sequence version";

/// An id that several messages share, and the field by which they differ; none if these messages are the same.
pub(super) struct Versioned {
    /// The positions of both among the paths.
    pub(super) id: usize,
    pub(super) newer: Option<usize>,
    pub(super) ids: usize,
}

/// Whether a field of this name and type can say which of two messages is newer.
pub(super) fn is_newer(name: &str, column_type: &str) -> bool {
    let words = words(name);
    let is_version = words.last().is_some_and(|last| is_in(VERSIONS, last));
    match column_type {
        "timestamptz" | "timestamp" => true,
        "bigint" | "numeric" => is_version,
        _ => false,
    }
}

/// The id with the most values that repeats in these messages while one of the times differs. Both are paths.
pub(super) fn versioned(
    bodies: &[&Body],
    ids: &[(usize, Vec<&str>)],
    times: &[(usize, Vec<&str>)],
) -> Option<Versioned> {
    let mut best: Option<Versioned> = None;
    for (id, id_path) in ids {
        let mut messages: HashMap<u64, HashSet<u64>> = HashMap::new();
        for body in bodies {
            let key = body.json.at(id_path).map(digest);
            messages
                .entry(key.unwrap_or_default())
                .or_default()
                .insert(digest(&body.json));
        }
        let count = messages.len();
        let is_best = best.as_ref().is_none_or(|best| best.ids < count);
        if !is_best || count * MAX_VERSIONS < bodies.len() {
            continue;
        }
        if messages.values().all(|bodies| bodies.len() == 1) {
            best = Some(Versioned {
                id: *id,
                newer: None,
                ids: count,
            });
            continue;
        }
        let differs = |path: &[&str]| {
            let mut seen: HashMap<u64, HashSet<u64>> = HashMap::new();
            for body in bodies {
                let key = body.json.at(id_path).map(digest).unwrap_or_default();
                let time = body.json.at(path).map(digest).unwrap_or_default();
                seen.entry(key).or_default().insert(time);
            }
            let differ =
                |key| seen.get(key).map(HashSet::len) == messages.get(key).map(HashSet::len);
            messages.keys().all(differ)
        };
        let newer = times.iter().find(|(_, path)| differs(path));
        if let Some((newer, _)) = newer {
            best = Some(Versioned {
                id: *id,
                newer: Some(*newer),
                ids: count,
            });
        }
    }
    // One that never repeats is offered as it is.
    best.filter(|best| best.ids < bodies.len())
}

fn digest(json: &Json) -> u64 {
    let mut hasher = DefaultHasher::new();
    json.add_to(&mut hasher);
    hasher.finish()
}

impl Json {
    /// The value at a path of keys.
    fn at(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |json, key| json.get(key))
    }

    fn add_to(&self, hasher: &mut DefaultHasher) {
        std::mem::discriminant(self).hash(hasher);
        match self {
            Self::Null => {}
            Self::Bool(is_true) => is_true.hash(hasher),
            Self::Number(number) => number.to_string().hash(hasher),
            Self::Text(text) => text.hash(hasher),
            Self::Array(items) => items.iter().for_each(|item| item.add_to(hasher)),
            Self::Object(fields) => {
                for (key, value) in fields {
                    key.hash(hasher);
                    value.add_to(hasher);
                }
            }
        }
    }
}
