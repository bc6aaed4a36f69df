//! Why a message becomes the rows that it does: what `root`, `each`, `when` and `delete_when` find in it. For commands
//! that try a mapping on samples; the function does not use it.

use serde_json::value::RawValue;

use super::Compiled;
use super::scopes::Frames;
use super::table::{CompiledCondition, CompiledTable};
use super::value::Value;
use crate::message::Message;
use crate::pipeline::Scalar;

/// What is found in a message for one table. It contains values, so it cannot be printed.
pub enum Observation<'a> {
    /// The array of `each`.
    Array {
        /// The position of the table.
        table: usize,
        /// How many elements it has; `None` if it is missing or null.
        elements: Option<usize>,
        /// The JSON text in which it was looked for.
        within: &'a str,
    },
    /// A place where a row could begin: the body, its root, or an element.
    Place {
        /// The position of the table.
        table: usize,
        /// The JSON text there. Tables that look at the same place get the same part of the message.
        json: &'a str,
        /// What each condition of `when` finds, in the order of the mapping.
        when: Vec<Tested>,
        /// What each condition of `delete_when` finds; empty if `when` does not hold.
        delete_when: Vec<Tested>,
    },
}

/// What a condition finds.
#[derive(Clone, PartialEq)]
pub enum Tested {
    /// What it asks for.
    Holds,
    /// Null, or nothing.
    Missing,
    /// Another value.
    Other(Scalar),
    /// An object or array.
    Nested,
}

/// A message, its values, and who wants to know.
struct Watching<'w, 'a> {
    message: &'a Message<'a>,
    frames: Frames<'a>,
    see: &'w mut dyn FnMut(Observation<'_>),
}

impl Compiled {
    /// Passes to `see` what the mapping finds in a message, in the order in which
    /// [`transform`](Self::transform) looks for it, up to where the message is not JSON, or a place is not the object or array that is read.
    pub fn observe(&self, message: &Message<'_>, see: &mut dyn FnMut(Observation<'_>)) {
        if message.is_left_out() {
            return;
        }
        let body = if self.reads_json {
            message.body()
        } else {
            "null"
        };
        let mut root_text = String::new();
        let Ok(frames) = self.scopes.enter(body, &mut root_text) else {
            return;
        };
        let mut watching = Watching {
            message,
            frames,
            see,
        };
        for table in &self.tables {
            if table.parent.is_none() {
                self.observe_table(table, &mut watching);
            }
        }
    }

    fn observe_table(&self, table: &CompiledTable, watching: &mut Watching<'_, '_>) {
        let Some(array) = table.each else {
            return self.observe_place(table, watching);
        };
        let elements: Option<Vec<&RawValue>> = match watching.frames.array(array) {
            Err(_) => return,
            Ok(None) => None,
            Ok(Some(json)) => match serde_json::from_str(json) {
                Ok(elements) => Some(elements),
                Err(_) => return,
            },
        };
        (watching.see)(Observation::Array {
            table: table.position,
            elements: elements.as_ref().map(Vec::len),
            within: watching.frames.json_around(&self.scopes, table.scope),
        });
        for (index, element) in elements.into_iter().flatten().enumerate() {
            let frames = &mut watching.frames;
            let entered = frames.enter(&self.scopes, table.scope, index, element.get());
            if entered.is_ok() {
                self.observe_place(table, watching);
            }
        }
    }

    fn observe_place(&self, table: &CompiledTable, watching: &mut Watching<'_, '_>) {
        let when = watching.tested(&table.when);
        let is_taken = when.iter().all(Tested::holds);
        let delete_when = match is_taken {
            true => watching.tested(&table.delete_when),
            false => Vec::new(),
        };
        let is_deleted = !delete_when.is_empty() && delete_when.iter().all(Tested::holds);
        (watching.see)(Observation::Place {
            table: table.position,
            json: watching.frames.json(table.scope),
            when,
            delete_when,
        });
        if is_taken && !is_deleted {
            for child in self.children(table) {
                self.observe_table(child, watching);
            }
        }
    }
}

impl Watching<'_, '_> {
    fn tested(&self, conditions: &[CompiledCondition]) -> Vec<Tested> {
        let tested = conditions.iter().map(|condition| {
            // Where no value can be read, there is none.
            let value = condition.value(self.message, &self.frames);
            match value.unwrap_or(Value::Null) {
                value if condition.is_met_by(&value) => Tested::Holds,
                Value::Null => Tested::Missing,
                Value::Bool(is_true) => Tested::Other(Scalar::Bool(is_true)),
                Value::Number(text) => Tested::Other(Scalar::Number(text.into_owned())),
                Value::Text(text) => Tested::Other(Scalar::Text(text.into_owned())),
                Value::Nested(_) | Value::Millis(_) => Tested::Nested,
            }
        });
        tested.collect()
    }
}

impl Tested {
    /// Whether the condition holds.
    pub fn holds(&self) -> bool {
        *self == Self::Holds
    }
}
