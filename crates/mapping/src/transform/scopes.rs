//! Where rows begin in a body, and the values that are picked from there.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::HashSet;
use std::sync::Arc;

use jaq_json::Val;
use smallvec::{SmallVec, smallvec};

use super::fields::{Fields, NotJson, Paths, Slot};
use super::from_json;
use super::parts::each_field;
use super::text::{self, Unstorable};
use super::value::Value;
use crate::jq::{self, Inputs, JqFault, Output, Program, Work};
use crate::message::{Message, Metadata, MetadataValue};
use crate::pipeline::Path;
use crate::rejection::{Found, NotAnObject, Place, Rejection, Rule, Start};

/// The places where rows begin: the top of the body, `root`, and the elements of each array.
pub(super) struct Scopes {
    scopes: Vec<Scope>,
    /// How many values are picked in all of them.
    slots: usize,
    /// What `root` names.
    root: Option<(Slot, Path)>,
}

/// A place where rows begin, with the paths that start there.
#[derive(Default)]
struct Scope {
    paths: Paths,
    /// Where the array is, for the elements of one.
    array: Option<(usize, Path)>,
}

/// The values in each scope that the rows under way are made of.
pub(super) struct Frames<'a> {
    fields: Fields<'a>,
    frames: SmallVec<[Frame<'a>; 2]>,
    /// What programs may still do for this message.
    work: Work,
}

/// What a scope begins at.
#[derive(Clone, Default)]
struct Frame<'a> {
    /// Empty if there is nothing.
    json: &'a str,
    /// The position of the element, for the elements of an array.
    index: usize,
    /// Whether it is an object, or an array whose values are read by their positions.
    has_fields: bool,
    /// The same for programs, once one has read it.
    value: OnceCell<Val>,
}

/// A path, and the scope where it starts.
#[derive(Clone, Copy)]
pub(super) struct Field {
    pub(super) scope: usize,
    slot: Slot,
}

/// The array with an element for each row of a table.
#[derive(Clone, Copy)]
pub(super) enum Array {
    Field(Field),
    Body,
}

impl Array {
    /// Where it is looked for.
    pub(super) fn scope(self) -> usize {
        match self {
            Self::Field(field) => field.scope,
            Self::Body => Scopes::TOP,
        }
    }
}

/// Fields are read from this scope, which has none.
pub(super) struct NoFields(usize);

/// Why an input has no value.
pub(super) enum Unread {
    NoFields(NoFields),
    Rule(Rule),
}

impl From<NoFields> for Unread {
    fn from(no_fields: NoFields) -> Self {
        Self::NoFields(no_fields)
    }
}

impl From<Rule> for Unread {
    fn from(rule: Rule) -> Self {
        Self::Rule(rule)
    }
}

/// Where a column gets its value.
pub(super) enum Input {
    Field(Field),
    /// The whole body, as JSON.
    Body,
    /// The position of an element.
    Index(usize),
    /// The whole element of a scope.
    Element(usize),
    /// The fields of a scope but for these.
    Rest(usize, HashSet<String>),
    Metadata(Metadata),
    /// A value that is equal for every message.
    Text(String),
    Jq(Box<Calculation>),
}

/// A program, and the scopes that it reads.
pub(super) struct Calculation {
    pub(super) program: Arc<Program>,
    pub(super) own: usize,
    pub(super) body: Option<usize>,
    pub(super) parent: Option<usize>,
}

#[expect(clippy::indexing_slicing, reason = "a scope's number is its position")]
impl Scopes {
    pub(super) const TOP: usize = 0;

    pub(super) fn new(root: Option<&Path>) -> Self {
        let mut scopes = Self {
            scopes: vec![Scope::default()],
            slots: 0,
            root: None,
        };
        if let Some(path) = root {
            let Field { slot, .. } = scopes.field(Self::TOP, path);
            scopes.root = Some((slot, path.clone()));
            scopes.scopes.push(Scope::default());
        }
        scopes
    }

    /// Where the rows of messages begin.
    pub(super) fn message(&self) -> usize {
        usize::from(self.root.is_some())
    }

    /// The array with an element for each row of a table.
    pub(super) fn array(&mut self, outer: usize, path: &Path) -> Array {
        match path.is_body() {
            true => Array::Body,
            false => Array::Field(self.field(outer, path)),
        }
    }

    pub(super) fn field(&mut self, scope: usize, path: &Path) -> Field {
        let slot = self.scopes[scope].paths.slot(path, &mut self.slots);
        Field { scope, slot }
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
            work: Work::default(),
        };
        frames.enter(self, Self::TOP, 0, body)?;
        if let Some((root, _)) = self.root {
            self.enter_root(root, &mut frames, root_text)?;
        }
        Ok(frames)
    }

    fn enter_root<'a>(
        &self,
        root: Slot,
        frames: &mut Frames<'a>,
        text: &'a mut String,
    ) -> Result<(), Rule> {
        let top = &frames.frames[Self::TOP];
        if !top.has_fields {
            frames.frames[self.message()] = top.clone();
            return Ok(());
        }
        let Some(json) = frames.fields.get(root).map(str::trim_ascii) else {
            return Ok(());
        };
        if json.starts_with('"')
            && let Ok(inner) = serde_json::from_str(json)
        {
            *text = inner;
            if frames.enter(self, self.message(), 0, text).is_ok() {
                return Ok(());
            }
        }
        frames.enter(self, self.message(), 0, json)
    }

    /// Why a scope has no fields.
    pub(super) fn not_an_object(
        &self,
        NoFields(scope): NoFields,
        frames: &Frames<'_>,
        table: Option<&str>,
    ) -> Rejection {
        let place = |table: Option<&str>, path| Place {
            table: table.map(str::to_owned),
            column: None,
            path,
            is_key: false,
        };
        let (at, place) = match (&self.scopes[scope].array, &self.root) {
            (Some(_), _) => {
                let element = self.describe_element(scope, frames);
                (Start::Element, Some(place(table, element)))
            }
            (None, Some((_, root)))
                if scope != Self::TOP && frames.frames[Self::TOP].has_fields =>
            {
                (Start::Root, Some(place(None, root.to_string())))
            }
            (None, _) => (Start::Body, None),
        };
        let found = Found::of(frames.json(scope));
        Rejection {
            rule: Rule::NotAnObject(NotAnObject { at, found }),
            place,
        }
    }

    /// The path to a value below where a row begins, with the positions of the elements on it: `lines[3].sku`.
    pub(super) fn describe(&self, scope: usize, frames: &Frames<'_>, path: &str) -> String {
        match &self.scopes[scope].array {
            None => path.to_owned(),
            Some(_) => format!("{}.{path}", self.describe_element(scope, frames)),
        }
    }

    /// The path to an element of an array: `lines[3]`, or `[3]` of the body.
    pub(super) fn describe_element(&self, scope: usize, frames: &Frames<'_>) -> String {
        let is_of_body = matches!(&self.scopes[scope].array, Some((_, array)) if array.is_body());
        let array = match is_of_body {
            true => String::new(),
            false => self.describe_array(scope, frames),
        };
        format!("{array}[{}]", frames.index(scope))
    }

    /// The path to the array that a scope's elements are in.
    pub(super) fn describe_array(&self, scope: usize, frames: &Frames<'_>) -> String {
        let array = self.scopes[scope].array.as_ref();
        let described = array.map(|(outer, path)| self.describe(*outer, frames, &path.to_string()));
        described.unwrap_or_default()
    }
}

#[expect(clippy::indexing_slicing, reason = "each scope has a frame")]
impl<'a> Frames<'a> {
    /// Picks the values of a scope.
    pub(super) fn enter(
        &mut self,
        scopes: &Scopes,
        scope: usize,
        index: usize,
        json: &'a str,
    ) -> Result<(), Rule> {
        let paths = &scopes.scopes[scope].paths;
        self.frames[scope] = Frame {
            json,
            index,
            has_fields: match json.trim_ascii_start().as_bytes().first() {
                Some(b'{') => true,
                Some(b'[') => paths.are_positions(),
                _ => false,
            },
            value: OnceCell::new(),
        };
        let picked = paths.pick(json, &mut self.fields);
        picked.map_err(|NotJson| Rule::BodyNotJson)
    }

    fn index(&self, scope: usize) -> usize {
        self.frames[scope].index
    }

    /// The JSON text where the rows of a scope begin.
    pub(super) fn json(&self, scope: usize) -> &'a str {
        self.frames[scope].json
    }

    /// The JSON text of an array, unless it is missing or null.
    pub(super) fn array(&self, array: Array) -> Result<Option<&'a str>, NoFields> {
        match array {
            Array::Field(field) => self.field(field),
            Array::Body => {
                Ok(Some(self.json(Scopes::TOP)).filter(|json| json.trim_ascii() != "null"))
            }
        }
    }

    /// The JSON text in which the array of a scope's elements is looked for.
    pub(super) fn json_around(&self, scopes: &Scopes, scope: usize) -> &'a str {
        let array = scopes.scopes[scope].array.as_ref();
        self.json(array.map_or(scope, |(outer, _)| *outer))
    }

    /// The JSON text of a value, unless it is missing or null.
    pub(super) fn field(&self, field: Field) -> Result<Option<&'a str>, NoFields> {
        if !self.frames[field.scope].has_fields {
            return Err(NoFields(field.scope));
        }
        Ok(self.fields.get(field.slot).filter(|json| *json != "null"))
    }

    /// What a program reads where a scope begins.
    fn value(&self, scope: usize, unstorable: Unstorable) -> Result<Val, Rule> {
        let Frame { json, value, .. } = &self.frames[scope];
        if let Some(value) = value.get() {
            return Ok(value.clone());
        }
        match jq::read(json.trim_ascii()) {
            Ok(read) => Ok(value.get_or_init(|| read).clone()),
            Err(JqFault::LoneSurrogate) if unstorable == Unstorable::Strip => {
                Ok(jq::read(text::storable(json, unstorable)?.trim_ascii())?)
            }
            Err(fault) => Err(fault.into()),
        }
    }

    /// What a program makes of the scopes that it reads.
    fn calculate<'v>(&self, jq: &Calculation, unstorable: Unstorable) -> Result<Value<'v>, Rule> {
        let value = |scope: Option<usize>| match scope {
            Some(scope) => self.value(scope, unstorable),
            None => Ok(Val::default()),
        };
        let inputs = Inputs {
            own: value(Some(jq.own))?,
            body: value(jq.body)?,
            parent: value(jq.parent)?,
        };
        let Some(given) = jq.program.value(inputs, &self.work)? else {
            return Ok(Value::Null);
        };
        Ok(match Output::of(&given)? {
            Output::Null => Value::Null,
            Output::Bool(is_true) => Value::Bool(is_true),
            Output::Number(number) => Value::Number(Cow::Owned(number)),
            Output::Text(text) => Value::Text(text::plain(Cow::Owned(text), unstorable)?),
            Output::Nested(json) => {
                Value::Nested(Cow::Owned(text::storable(&json, unstorable)?.into_owned()))
            }
        })
    }

    /// Whether a scope begins at `null`.
    pub(super) fn begins_at_null(&self, scope: usize) -> bool {
        self.json(scope).trim_ascii() == "null"
    }
}

impl Input {
    pub(super) fn value<'a>(
        &self,
        message: &'a Message<'_>,
        frames: &Frames<'a>,
        unstorable: Unstorable,
    ) -> Result<Value<'a>, Unread> {
        Ok(match self {
            Self::Field(field) => match frames.field(*field)? {
                Some(json) => from_json(json, unstorable)?,
                None => Value::Null,
            },
            Self::Body => from_json(message.body(), unstorable)?,
            Self::Index(scope) => Value::Number(Cow::Owned(frames.index(*scope).to_string())),
            Self::Element(scope) => from_json(frames.json(*scope), unstorable)?,
            Self::Text(text) => Value::Text(Cow::Owned(text.clone())),
            Self::Jq(jq) => frames.calculate(jq, unstorable)?,
            Self::Rest(scope, left_out) => {
                let json = frames.json(*scope).trim_ascii_start();
                if !json.starts_with('{') {
                    return Err(NoFields(*scope).into());
                }
                rest(json, left_out, unstorable)?
            }
            Self::Metadata(metadata) => match metadata.value(message) {
                None => Value::Null,
                Some(MetadataValue::Millis(millis)) => Value::Millis(millis),
                Some(MetadataValue::Number(text)) => Value::Number(Cow::Borrowed(text)),
                Some(MetadataValue::Text(text)) => Value::Text(text::plain(text, unstorable)?),
            },
        })
    }
}

/// An object without some of its fields.
fn rest(
    json: &str,
    left_out: &HashSet<String>,
    unstorable: Unstorable,
) -> Result<Value<'static>, Rule> {
    let mut fields = String::from("{");
    let read = each_field(json, |name, value| {
        if left_out.contains(name) {
            return;
        }
        let comma = if fields.len() > 1 { "," } else { "" };
        let name = serde_json::Value::from(name);
        fields.extend([comma, &name.to_string(), ":", value]);
    });
    read.map_err(|NotJson| Rule::BodyNotJson)?;
    fields.push('}');
    let storable = text::storable(&fields, unstorable)?.into_owned();
    Ok(Value::Nested(Cow::Owned(storable)))
}
