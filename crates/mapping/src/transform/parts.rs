//! The elements of an array and the fields of an object, one at a time: a list of them would take many times the memory
//! of their text, which can be 16 MiB.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer as _, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::fields::NotJson;

/// Why not all elements were visited.
pub(super) enum Unvisited<E> {
    /// The text is not an array.
    NotAnArray,
    /// A visit failed.
    By(E),
}

/// Visits the elements of an array, as JSON texts, until a visit fails.
pub(super) fn each_element<'a, E>(
    json: &'a str,
    visit: impl FnMut(&'a str) -> Result<(), E>,
) -> Result<(), Unvisited<E>> {
    let mut failure = None;
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let elements = Elements {
        visit,
        failure: &mut failure,
    };
    let read = deserializer.deserialize_seq(elements);
    let read = read.and_then(|()| deserializer.end());
    match (failure, read) {
        (Some(failure), _) => Err(Unvisited::By(failure)),
        (None, Err(_)) => Err(Unvisited::NotAnArray),
        (None, Ok(())) => Ok(()),
    }
}

/// Visits the fields of an object, as names and JSON texts, in their order.
pub(super) fn each_field<'a>(
    json: &'a str,
    visit: impl FnMut(&str, &'a str),
) -> Result<(), NotJson> {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let read = deserializer.deserialize_map(Fields { visit });
    let read = read.and_then(|()| deserializer.end());
    read.map_err(|_| NotJson)
}

struct Elements<'f, V, E> {
    visit: V,
    failure: &'f mut Option<E>,
}

impl<'de, V: FnMut(&'de str) -> Result<(), E>, E> Visitor<'de> for Elements<'_, V, E> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON array")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut array: A) -> Result<(), A::Error> {
        while let Some(element) = array.next_element::<&RawValue>()? {
            if let Err(failure) = (self.visit)(element.get()) {
                *self.failure = Some(failure);
                return Err(A::Error::custom("a visit failed"));
            }
        }
        Ok(())
    }
}

struct Fields<V> {
    visit: V,
}

#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de, V: FnMut(&str, &'de str)> Visitor<'de> for Fields<V> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut object: A) -> Result<(), A::Error> {
        while let Some((Name(name), value)) = object.next_entry::<Name<'_>, &RawValue>()? {
            (self.visit)(&name, value.get());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elements(json: &str) -> Result<Vec<&str>, Unvisited<String>> {
        let mut found = Vec::new();
        each_element(json, |element| match element {
            "\"stop\"" => Err("stopped".to_owned()),
            element => {
                found.push(element);
                Ok(())
            }
        })?;
        Ok(found)
    }

    #[test]
    fn the_elements_of_an_array_are_visited_until_a_visit_fails() {
        let found = elements(" [1.50, {\"a\": [2]} ,null, [] ] ").unwrap_or_default();
        assert_eq!(found, ["1.50", "{\"a\": [2]}", "null", "[]"]);
        assert!(elements("[]").is_ok_and(|found| found.is_empty()));
        let stopped = elements("[1, \"stop\", 2");
        assert!(matches!(stopped, Err(Unvisited::By(why)) if why == "stopped"));
        for text in ["{}", "1", "[1", "[1] 2", "[1,]", ""] {
            let refused = elements(text);
            assert!(matches!(refused, Err(Unvisited::NotAnArray)), "{text}");
        }
    }

    #[test]
    fn the_fields_of_an_object_are_visited_with_their_names() {
        let of = |json| {
            let mut found = Vec::new();
            let read = each_field(json, |name, value| found.push(format!("{name}={value}")));
            read.is_ok().then_some(found)
        };
        let found = of(r#"{"b": 1, "\u0061\"": [2 ], "b": null}"#);
        assert_eq!(found.unwrap(), ["b=1", "a\"=[2 ]", "b=null"]);
        for text in ["[]", "1", "{\"a\": 1", "{} {}", ""] {
            assert!(of(text).is_none(), "{text}");
        }
    }
}
