//! The body of a message as lines of JSON, with its values or what they are.

use std::collections::BTreeSet;

use indexmap::IndexMap;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::cli::output::{counted, set};
use crate::commands::infer::FieldNames;

/// How many lines are shown.
const MAX_LINES: usize = 2_000;

/// How deep objects and arrays are shown.
const MAX_DEPTH: usize = 32;

/// The steps to a value; `None` stands for the elements of an array.
type Steps = Vec<Option<String>>;

/// What the mapping does with the values of a body.
#[derive(Default)]
pub(super) struct Marks {
    /// Which columns read a value.
    pub(super) read: Vec<(Steps, String)>,
    /// What no column reads.
    pub(super) unread: BTreeSet<Steps>,
}

pub(super) struct Body<'n> {
    names: &'n FieldNames,
    shows_values: bool,
    marks: Marks,
    lines: Vec<Value>,
}

/// Where a value is.
#[derive(Clone, Default)]
struct At {
    /// With `None` for elements.
    pattern: Steps,
    /// With the positions of elements.
    exact: Vec<String>,
}

impl At {
    fn key(&self, key: &str) -> Self {
        self.step(Some(key.to_owned()), key.to_owned())
    }

    fn element(&self, position: usize) -> Self {
        self.step(None, position.to_string())
    }

    fn step(&self, pattern: Option<String>, exact: String) -> Self {
        let mut at = self.clone();
        at.pattern.push(pattern);
        at.exact.push(exact);
        at
    }

    fn is_at(&self, steps: &Steps) -> bool {
        let pairs = self.pattern.iter().zip(&self.exact).zip(steps);
        let mut is_same = pairs.map(|((pattern, exact), step)| match step {
            None => pattern.is_none(),
            Some(step) => step == exact,
        });
        steps.len() == self.exact.len() && is_same.all(|same| same)
    }
}

impl<'n> Body<'n> {
    pub(super) fn new(names: &'n FieldNames, shows_values: bool, marks: Marks) -> Self {
        Self {
            names,
            shows_values,
            marks,
            lines: Vec::new(),
        }
    }

    pub(super) fn lines(mut self, body: &str) -> Vec<Value> {
        match serde_json::from_str::<&RawValue>(body) {
            Ok(value) => self.add(None, value, &At::default()),
            Err(_) if self.shows_values => self.lines.push(json!({"depth": 0, "value": body})),
            Err(_) => {
                let chars = counted(body.chars().count(), "character");
                let hidden = format!("not JSON, {chars}");
                self.lines.push(json!({"depth": 0, "hidden": hidden}));
            }
        }
        self.lines
    }

    fn add(&mut self, key: Option<&str>, value: &RawValue, at: &At) {
        let depth = at.exact.len();
        if self.lines.len() >= MAX_LINES {
            if self.lines.len() == MAX_LINES {
                self.lines
                    .push(json!({"depth": 0, "hidden": "the other lines are not shown"}));
            }
            return;
        }
        let columns = self.marks.read.iter();
        let columns = columns.filter(|(steps, _)| at.is_at(steps));
        let columns: Vec<&str> = columns.map(|(_, column)| column.as_str()).collect();
        let mut line = json!({
            "depth": depth, "key": key, "columns": columns, "unread": self.marks.unread.contains(&at.pattern),
        });
        let text = value.get();
        let is_shallow = depth < MAX_DEPTH;
        if is_shallow && let Ok(fields) = serde_json::from_str::<IndexMap<String, &RawValue>>(text)
        {
            return self.nested(line, ("{", "}"), depth, fields.is_empty(), |body| {
                for (key, value) in &fields {
                    let at = at.key(key);
                    let shown = match body.shows_values {
                        true => key.clone(),
                        false => body.names.last(&at.pattern).unwrap_or_default(),
                    };
                    body.add(Some(&shown), value, &at);
                }
            });
        }
        if is_shallow && let Ok(elements) = serde_json::from_str::<Vec<&RawValue>>(text) {
            return self.nested(line, ("[", "]"), depth, elements.is_empty(), |body| {
                for (position, value) in elements.iter().enumerate() {
                    body.add(None, value, &at.element(position));
                }
            });
        }
        match self.shows_values || text == "null" {
            true => set(&mut line, "value", text),
            false => set(&mut line, "hidden", kind(text)),
        }
        self.lines.push(line);
    }

    fn nested(
        &mut self,
        mut line: Value,
        (open, close): (&str, &str),
        depth: usize,
        is_empty: bool,
        add: impl FnOnce(&mut Self),
    ) {
        if is_empty {
            set(&mut line, "value", format!("{open}{close}"));
            return self.lines.push(line);
        }
        set(&mut line, "open", open);
        self.lines.push(line);
        add(self);
        self.lines.push(json!({"depth": depth, "close": close}));
    }
}

/// What a hidden value is.
fn kind(json: &str) -> String {
    match json.as_bytes().first() {
        Some(b'"') => {
            let text: String = serde_json::from_str(json).unwrap_or_default();
            counted(text.chars().count(), "character")
        }
        Some(b't' | b'f') => "boolean".to_owned(),
        Some(b'{' | b'[') => "nested deeper".to_owned(),
        Some(_) | None => "number".to_owned(),
    }
}
