//! Where rows begin in a body, and the values that are picked from there.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};

use serde_json::value::RawValue;
use smallvec::{SmallVec, smallvec};

use super::convert::Value;
use super::fields::{Fields, NotJson, Paths, Slot};
use super::from_json;
use super::text::{self, Unstorable};
use crate::message::{Message, Metadata, MetadataValue};
use crate::pipeline::Path;
use crate::rejection::Rule;

/// The places where rows begin: the top of the body, `root`, and the elements of each array.
pub(super) struct Scopes {
    scopes: Vec<Scope>,
    /// How many values are picked in all of them.
    slots: usize,
    /// What `root` names.
    root: Option<Slot>,
}

/// A place where rows begin, with the paths that start there.
#[derive(Default)]
struct Scope {
    paths: Paths,
    /// Of an element: where its array is.
    array: Option<(usize, Path)>,
}

/// The values in each scope that the rows under way are made of.
pub(super) struct Frames<'a> {
    fields: Fields<'a>,
    frames: SmallVec<[Frame<'a>; 2]>,
}

/// What a scope begins at.
#[derive(Clone, Default)]
struct Frame<'a> {
    json: &'a str,
    /// Of an element: its position.
    index: usize,
}

/// Where a column gets its value.
pub(super) enum Input {
    Field(Slot),
    /// The whole body, as JSON.
    Body,
    /// The position of an element.
    Index(usize),
    /// The fields of a scope but for these.
    Rest(usize, HashSet<String>),
    Metadata(Metadata),
    /// The same for every message.
    Text(String),
}

impl Scopes {
    pub(super) const TOP: usize = 0;

    pub(super) fn new(root: Option<&Path>) -> Self {
        let mut scopes = Self {
            scopes: vec![Scope::default()],
            slots: 0,
            root: None,
        };
        if let Some(path) = root {
            scopes.root = Some(scopes.slot(Self::TOP, path));
            scopes.scopes.push(Scope::default());
        }
        scopes
    }

    /// Where the rows of messages begin.
    pub(super) fn message(&self) -> usize {
        usize::from(self.root.is_some())
    }

    pub(super) fn slot(&mut self, scope: usize, path: &Path) -> Slot {
        self.scopes[scope].paths.slot(path, &mut self.slots)
    }

    /// The scope of the elements of an array.
    pub(super) fn add_element(&mut self, outer: usize, array: &Path) -> usize {
        self.scopes.push(Scope {
            paths: Paths::default(),
            array: Some((outer, array.clone())),
        });
        self.scopes.len() - 1
    }

    /// Picks the values of a body. `root_text` has room for what `root` names, where that is JSON within a string.
    pub(super) fn enter<'a>(
        &self,
        body: &'a str,
        root_text: &'a mut String,
    ) -> Result<Frames<'a>, Rule> {
        let mut frames = Frames {
            fields: Fields::new(self.slots),
            frames: smallvec![Frame::default(); self.scopes.len()],
        };
        frames.enter(self, Self::TOP, 0, body)?;
        if let Some(root) = self.root {
            let mut json = frames.field(root).unwrap_or("null").trim_ascii();
            if json.starts_with('"') {
                *root_text = serde_json::from_str(json).map_err(|_| Rule::BodyNotJson)?;
                json = root_text;
            }
            frames.enter(self, self.message(), 0, json)?;
        }
        Ok(frames)
    }

    /// The way to a value below where a row begins, with the positions of the elements on it: `lines[3].sku`.
    pub(super) fn describe(&self, scope: usize, frames: &Frames<'_>, path: &str) -> String {
        match &self.scopes[scope].array {
            None => path.to_owned(),
            Some((outer, array)) => {
                let array = self.describe(*outer, frames, &array.to_string());
                format!("{array}[{}].{path}", frames.frames[scope].index)
            }
        }
    }

    /// The way to the array that a scope's elements are in.
    pub(super) fn describe_array(&self, scope: usize, frames: &Frames<'_>) -> String {
        let array = self.scopes[scope].array.as_ref();
        let described = array.map(|(outer, path)| self.describe(*outer, frames, &path.to_string()));
        described.unwrap_or_default()
    }
}

impl<'a> Frames<'a> {
    /// Picks the values of a scope.
    pub(super) fn enter(
        &mut self,
        scopes: &Scopes,
        scope: usize,
        index: usize,
        json: &'a str,
    ) -> Result<(), Rule> {
        self.frames[scope] = Frame { json, index };
        let picked = scopes.scopes[scope].paths.pick(json, &mut self.fields);
        picked.map_err(|NotJson| Rule::BodyNotJson)
    }

    /// The JSON text where the rows of a scope begin.
    pub(super) fn json(&self, scope: usize) -> &'a str {
        self.frames[scope].json
    }

    /// The JSON text in which the array of a scope's elements is looked for.
    pub(super) fn json_around(&self, scopes: &Scopes, scope: usize) -> &'a str {
        let array = scopes.scopes[scope].array.as_ref();
        self.json(array.map_or(scope, |(outer, _)| *outer))
    }

    /// The JSON text of a value, unless it is missing or null.
    pub(super) fn field(&self, slot: Slot) -> Option<&'a str> {
        self.fields.get(slot).filter(|json| *json != "null")
    }
}

impl Input {
    pub(super) fn value<'a>(
        &self,
        message: &'a Message<'_>,
        frames: &Frames<'a>,
        unstorable: Unstorable,
    ) -> Result<Value<'a>, Rule> {
        match self {
            Self::Field(slot) => match frames.field(*slot) {
                Some(json) => from_json(json, unstorable),
                None => Ok(Value::Null),
            },
            Self::Body => from_json(message.body(), unstorable),
            Self::Index(scope) => Ok(Value::Number(Cow::Owned(
                frames.frames[*scope].index.to_string(),
            ))),
            Self::Text(text) => Ok(Value::Text(Cow::Owned(text.clone()))),
            Self::Rest(scope, left_out) => rest(frames.frames[*scope].json, left_out, unstorable),
            Self::Metadata(metadata) => match metadata.value(message) {
                None => Ok(Value::Null),
                Some(MetadataValue::Millis(millis)) => Ok(Value::Millis(millis)),
                Some(MetadataValue::Number(text)) => Ok(Value::Number(Cow::Borrowed(text))),
                Some(MetadataValue::Text(text)) => text::plain(text, unstorable).map(Value::Text),
            },
        }
    }
}

/// An object without some of its fields; of anything else, an empty one.
fn rest(
    json: &str,
    left_out: &HashSet<String>,
    unstorable: Unstorable,
) -> Result<Value<'static>, Rule> {
    let mut fields: BTreeMap<String, &RawValue> = serde_json::from_str(json).unwrap_or_default();
    fields.retain(|name, _| !left_out.contains(name));
    let json = serde_json::to_string(&fields).map_err(|_| Rule::Internal)?;
    let storable = text::storable(&json, unstorable)?.into_owned();
    Ok(Value::Nested(Cow::Owned(storable)))
}
