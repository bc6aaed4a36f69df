//! A JSON value, read with its keys in order.

use indexmap::IndexMap;
use serde::Deserialize;
use serde_json::Number;

/// A JSON value with the keys of its objects in their order; of several with the same key, the last counts.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Json {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    Array(Vec<Json>),
    Object(IndexMap<String, Json>),
}

impl Json {
    /// The keys of an object, and their values.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&String, &Self)> {
        let object = match self {
            Self::Object(object) => Some(object),
            _ => None,
        };
        object.into_iter().flatten()
    }

    pub(super) fn is_object(&self) -> bool {
        matches!(self, Self::Object(_))
    }

    /// The value of an object's key.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Object(object) => object.get(key),
            _ => None,
        }
    }
}
