//! Picks the mapped fields out of a JSON body in one pass, without building a tree of it.
//!
//! Fields are slices of the body's text; unmapped ones are skipped. If a key occurs twice, the last one counts, as
//! in most parsers.

use std::collections::HashMap;
use std::fmt;

use foldhash::fast::FixedState;
use serde::Deserialize;
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::value::RawValue;
use smallvec::{SmallVec, smallvec};

use crate::pipeline::Path;

/// The paths that start at one place as a tree, so that each key of a body is looked up once.
#[derive(Debug, Default)]
pub(crate) struct Paths {
    root: Node,
}

/// Where the value of a path is kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slot(usize);

#[derive(Debug, Default)]
struct Node {
    /// The slot for the value at this step.
    slot: Option<Slot>,
    /// The next steps by their keys. All of them come from the mapping, so the hash need not withstand keys that
    /// are chosen to collide.
    children: HashMap<String, Node, FixedState>,
}

/// The JSON text of each path's value; `None` if the body does not have one.
pub(crate) struct Fields<'a>(SmallVec<[Option<&'a str>; INLINE_FIELDS]>);

/// Mappings of up to this many paths need no allocation per message.
const INLINE_FIELDS: usize = 16;

/// The body is not one JSON value.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotJson;

impl Paths {
    /// The slot of a path, the same for equal paths. There are `slots` so far, in these and other paths.
    pub(crate) fn slot(&mut self, path: &Path, slots: &mut usize) -> Slot {
        let mut node = &mut self.root;
        for step in &path.0 {
            node = node.children.entry(step.clone()).or_default();
        }
        *node.slot.get_or_insert_with(|| {
            *slots += 1;
            Slot(*slots - 1)
        })
    }

    /// Whether an array may have all of them: each begins with a position.
    pub(crate) fn are_positions(&self) -> bool {
        let is_position =
            |step: &String| !step.is_empty() && step.bytes().all(|byte| byte.is_ascii_digit());
        self.root.children.keys().all(is_position)
    }

    /// Reads one JSON value and fills the slots of these paths, whatever was in them.
    pub(crate) fn pick<'a>(&self, json: &'a str, fields: &mut Fields<'a>) -> Result<(), NotJson> {
        self.root.forget_below(fields);
        self.root.walk(json, fields).map_err(|_| NotJson)
    }
}

impl<'a> Fields<'a> {
    pub(crate) fn new(slots: usize) -> Self {
        Self(smallvec![None; slots])
    }

    pub(crate) fn get(&self, slot: Slot) -> Option<&'a str> {
        self.0.get(slot.0).copied().flatten()
    }

    fn set(&mut self, slot: Option<Slot>, json: Option<&'a str>) {
        if let Some(place) = slot.and_then(|slot| self.0.get_mut(slot.0)) {
            *place = json;
        }
    }
}

impl Node {
    /// Reads one JSON value and fills the slots below this node.
    fn walk<'a>(&self, json: &'a str, fields: &mut Fields<'a>) -> serde_json::Result<()> {
        let mut deserializer = serde_json::Deserializer::from_str(json);
        let walk = Walk { node: self, fields };
        match json.trim_ascii_start().as_bytes().first() {
            Some(b'{') => deserializer.deserialize_map(walk)?,
            Some(b'[') => deserializer.deserialize_seq(walk)?,
            _ => _ = IgnoredAny::deserialize(&mut deserializer)?,
        }
        deserializer.end()
    }

    /// Takes the value found for this node.
    fn fill<'a>(&self, value: &'a RawValue, fields: &mut Fields<'a>) -> serde_json::Result<()> {
        fields.set(self.slot, Some(value.get()));
        if self.children.is_empty() {
            return Ok(());
        }
        self.forget_below(fields);
        self.walk(value.get(), fields)
    }

    /// Clears what an earlier value has set: of the same key, or an earlier element.
    fn forget_below(&self, fields: &mut Fields<'_>) {
        for child in self.children.values() {
            fields.set(child.slot, None);
            child.forget_below(fields);
        }
    }
}

/// Fills the slots below a node from the object or array that stands there.
struct Walk<'n, 'f, 'a> {
    node: &'n Node,
    fields: &'f mut Fields<'a>,
}

impl<'a> Visitor<'a> for Walk<'_, '_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object or array")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(child) = map.next_key_seed(KeyVisitor(self.node))? {
            let Some(child) = child else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            child
                .fill(map.next_value()?, self.fields)
                .map_err(A::Error::custom)?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut array: A) -> Result<(), A::Error> {
        let mut position = 0_usize;
        while let Some(element) = array.next_element::<&RawValue>()? {
            if let Some(child) = self.node.children.get(&position.to_string()) {
                child.fill(element, self.fields).map_err(A::Error::custom)?;
            }
            position += 1;
        }
        Ok(())
    }
}

/// Finds the step below a node that an object's key leads to.
struct KeyVisitor<'n>(&'n Node);

impl<'n, 'de> DeserializeSeed<'de> for KeyVisitor<'n> {
    type Value = Option<&'n Node>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'n> Visitor<'_> for KeyVisitor<'n> {
    type Value = Option<&'n Node>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.children.get(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pick<'a>(paths: &[&str], body: &'a str) -> Result<Vec<Option<&'a str>>, NotJson> {
        let mut tree = Paths::default();
        let mut slots = 0;
        for path in paths {
            let path = Path(path.split('.').map(str::to_owned).collect());
            tree.slot(&path, &mut slots);
        }
        let mut fields = Fields::new(slots);
        tree.pick(body, &mut fields)?;
        Ok(fields.0.into_vec())
    }

    fn assert_picked(paths: &[&str], body: &str, expected: &[Option<&str>]) {
        assert_eq!(pick(paths, body).unwrap(), expected, "{paths:?} {body}");
    }

    #[test]
    fn fields_are_slices_of_the_body() {
        let body = r#"{"a": "x", "skipped": {"a": [1, {"b": 2}]}, "n": 1.50, "o": {"k": [1]}}"#;
        let expected = [Some("1.50"), Some("\"x\""), Some(r#"{"k": [1]}"#), None];
        assert_picked(&["n", "a", "o", "none"], body, &expected);
    }

    #[test]
    fn dots_lead_into_objects_and_arrays() {
        let body = r#"{"c": {"ip": "i", "tags": ["t0", {"name": "t1"}]}}"#;
        let paths = ["c.ip", "c.tags.0", "c.tags.1.name", "c.tags.2"];
        let expected = [Some("\"i\""), Some("\"t0\""), Some("\"t1\""), None];
        assert_picked(&paths, body, &expected);
        assert_picked(&["0.a"], r#"[{"a": 1}]"#, &[Some("1")]);
        assert_picked(&["a.0"], r#"{"a": {"0": 1}}"#, &[Some("1")]);
    }

    #[test]
    fn a_path_can_end_where_another_continues() {
        let expected = [Some(r#"{"ip": 1}"#), Some("1")];
        assert_picked(
            &["client", "client.ip", "client"],
            r#"{"client": {"ip": 1}}"#,
            &expected,
        );
    }

    #[test]
    fn the_last_of_equal_keys_counts_with_all_below_it() {
        assert_picked(&["a"], r#"{"a": 1, "a": 2}"#, &[Some("2")]);
        assert_picked(&["a.b"], r#"{"a": {"b": 1}, "a": {}}"#, &[None]);
        assert_picked(&["a.b"], r#"{"a": {"b": 1}, "a": null}"#, &[None]);
    }

    #[test]
    fn fields_are_found_in_any_order() {
        for keys in ["abc", "abc", "cba", "bxac", "xcab", "aabbcc", "cab"] {
            let fields: Vec<_> = keys
                .chars()
                .map(|key| format!("\"{key}\": \"{key}\""))
                .collect();
            let body = format!("{{{}}}", fields.join(", "));
            let expected = ["\"a\"", "\"b\"", "\"c\""].map(Some);
            assert_picked(&["a", "b", "c"], &body, &expected);
        }
    }

    #[test]
    fn a_key_is_found_however_it_is_escaped() {
        assert_eq!(pick(&["ip"], r#"{"\u0069p": 1}"#).unwrap(), [Some("1")]);
    }

    #[test]
    fn a_json_value_that_is_not_an_object_has_no_fields() {
        for body in ["1e999", "\"x\"", "null", "true", " [1] ", "{}"] {
            assert_eq!(pick(&["a.b"], body), Ok(vec![None]), "{body}");
        }
    }

    #[test]
    fn a_text_that_is_not_one_json_value_is_refused() {
        for body in [
            "",
            " ",
            "{",
            "{\"a\":1} x",
            "{'a': 1}",
            "{\"a\": 01}",
            "[1,]",
            "\u{a0}{}",
            "{\"x\": \"\t\"}",
            "NaN",
        ] {
            assert_eq!(pick(&["a"], body), Err(NotJson), "{body:?}");
        }
    }

    #[test]
    fn nesting_of_any_depth_does_not_overflow_the_stack() {
        let deep = format!("{{\"a\": {}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(pick(&["a"], &deep).unwrap()[0].is_some());
        assert!(pick(&["b"], &deep).unwrap()[0].is_none());
    }
}
