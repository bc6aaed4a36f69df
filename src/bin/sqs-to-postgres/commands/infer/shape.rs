//! The values of a path: counted, none of them kept.

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::fmt;

use indexmap::IndexMap;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use sqs_to_postgres::transform::takes;
use sqs_to_postgres::types::ColumnType;

use super::pii::{Pii, part_name, words};
use super::value::KINDS;

/// A JSON value with the keys of its objects in their order.
pub(super) enum Json {
    Null,
    Bool,
    Integer(i64),
    /// Not an integer, or one of more than 64 bits.
    Number(f64),
    Text(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Json, E> {
        Ok(Json::Bool)
    }

    fn visit_i64<E>(self, number: i64) -> Result<Json, E> {
        Ok(Json::Integer(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Json, E> {
        Ok(i64::try_from(number).map_or(Json::Number(number as f64), Json::Integer))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Json, E> {
        Ok(Json::Number(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element()? {
            array.push(item);
        }
        Ok(Json::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
        let mut object = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            object.push(entry);
        }
        Ok(Json::Object(object))
    }
}

/// All values of one path.
#[derive(Default)]
pub(super) struct Shape {
    /// Values that are neither null nor empty.
    pub(super) present: usize,
    pub(super) bools: usize,
    pub(super) integers: usize,
    pub(super) numbers: usize,
    pub(super) texts: usize,
    pub(super) arrays: usize,
    pub(super) objects: usize,
    pub(super) empty_texts: usize,
    /// The longest text or number.
    pub(super) max_chars: usize,
    pub(super) largest: u64,
    /// The number of texts that fit each type.
    typed: BTreeMap<&'static str, usize>,
    /// The number of texts and numbers that look like each kind of personal data.
    suspects: BTreeMap<Pii, usize>,
    /// The values of an object's keys, in their order. Samples may have any number of keys.
    pub(super) keys: IndexMap<String, Shape, RandomState>,
    /// The values in arrays.
    items: Option<Box<Shape>>,
}

/// The types that texts are tested for, the narrowest first.
pub(super) const TEXT_TYPES: [(&str, ColumnType); 3] = [
    ("uuid", ColumnType::Uuid),
    ("timestamptz", ColumnType::TimestampTz),
    ("date", ColumnType::Date),
];

/// With at most this many keys an object counts as a record, even if most objects lack most of them.
const FEW_KEYS: usize = 12;

/// Length of a UUID with hyphens; other texts of 32 hexadecimal digits are probably hashes.
const UUID_CHARS: usize = 36;

impl Shape {
    /// Adds a value.
    pub(super) fn observe(&mut self, json: &Json) {
        self.present += 1;
        match json {
            Json::Null => self.present -= 1,
            Json::Bool => self.bools += 1,
            Json::Integer(number) => {
                self.integers += 1;
                self.largest = self.largest.max(number.unsigned_abs());
                self.observe_scalar(&number.to_string());
            }
            Json::Number(number) => {
                self.numbers += 1;
                self.observe_scalar(&number.to_string());
            }
            Json::Text(text) => self.observe_text(text),
            Json::Array(items) => {
                self.arrays += 1;
                let shape = self.items.get_or_insert_default();
                items.iter().for_each(|item| shape.observe(item));
            }
            Json::Object(entries) => {
                self.objects += 1;
                for (key, value) in entries {
                    self.key(key).observe(value);
                }
            }
        }
    }

    fn key(&mut self, key: &str) -> &mut Self {
        if !self.keys.contains_key(key) {
            self.keys.insert(key.to_owned(), Self::default());
        }
        &mut self.keys[key]
    }

    fn observe_text(&mut self, text: &str) {
        self.texts += 1;
        if text.trim().is_empty() {
            self.empty_texts += 1;
            self.present -= 1;
        }
        for (name, column_type) in TEXT_TYPES {
            let is_usual = column_type != ColumnType::Uuid || text.len() == UUID_CHARS;
            if is_usual && takes(column_type, text) {
                *self.typed.entry(name).or_default() += 1;
            }
        }
        self.observe_scalar(text);
    }

    fn observe_scalar(&mut self, text: &str) {
        self.max_chars = self.max_chars.max(text.chars().count());
        if let Some(kind) = KINDS.into_iter().find(|kind| kind.is_value(text)) {
            *self.suspects.entry(kind).or_default() += 1;
        }
    }

    /// Texts and numbers.
    pub(super) fn scalars(&self) -> usize {
        self.texts + self.integers + self.numbers
    }

    /// The number of texts that fit this type.
    pub(super) fn typed(&self, name: &str) -> usize {
        self.typed.get(name).copied().unwrap_or_default()
    }

    /// Whether every value is an object whose keys are names, not data: words, and mostly the same in all objects.
    pub(super) fn is_record(&self) -> bool {
        let others = self.bools + self.scalars() + self.arrays;
        let are_names = self.keys.iter().all(|(key, _)| is_name(key));
        let present: usize = self.keys.iter().map(|(_, shape)| shape.present).sum();
        let are_shared =
            self.keys.len() <= FEW_KEYS || present * 2 >= self.keys.len() * self.objects;
        others == 0 && !self.keys.is_empty() && are_names && are_shared
    }

    /// The kind of personal data that name and values suggest, with the reason.
    pub(super) fn pii(&self, name: &str) -> Option<(Pii, String)> {
        // Null may become anything; true or false is hardly personal.
        if self.scalars() == 0 && self.bools + self.arrays + self.objects > 0 {
            return None;
        }
        if let Some(kind) = Pii::of_name(name) {
            let values = self.suspects.get(&kind).copied().unwrap_or_default();
            return Some((kind, reason("its name", values, self.scalars(), kind)));
        }
        let is_version = words(name).iter().any(|word| word == "version");
        let suspect = |(&kind, &values): (&Pii, &usize)| {
            let enough = kind.is_distinct() || values * 2 > self.scalars();
            let mistaken = kind == Pii::IpAddress && is_version;
            (enough && !mistaken).then(|| (kind, reason("", values, self.scalars(), kind)))
        };
        self.suspects.iter().find_map(suspect)
    }

    /// The kind of personal data that a part suggests, at any depth.
    pub(super) fn pii_inside(&self, name: &str) -> Option<Pii> {
        let own = self.pii(name).map(|(kind, _)| kind);
        let of_key = |key: &str| KINDS.into_iter().find(|kind| kind.is_value(key));
        let of_part = |(key, shape): (&String, &Self)| {
            of_key(key).or_else(|| shape.pii_inside(&part_name(name, key)))
        };
        let of_keys = || self.keys.iter().find_map(of_part);
        let of_items = || self.items.as_ref().and_then(|items| items.pii_inside(name));
        own.or_else(of_keys).or_else(of_items)
    }
}

fn reason(name: &str, values: usize, all: usize, kind: Pii) -> String {
    let counted = format!("{values} of {all} values");
    match (name.is_empty(), values) {
        (true, _) => format!("{counted} look like {kind}"),
        (false, 0) => format!("{name} suggests {kind}"),
        (false, _) => format!("{name} suggests {kind}, and {counted} look like one"),
    }
}

/// Whether a key is a name, rather than data.
pub(super) fn is_name(key: &str) -> bool {
    let is_word = |character: char| character.is_alphanumeric() || "_-$.".contains(character);
    let has_letter = key.chars().any(char::is_alphabetic);
    let is_value = KINDS.into_iter().any(|kind| kind.is_value(key));
    has_letter
        && key.len() <= 40
        && key.strip_prefix('@').unwrap_or(key).chars().all(is_word)
        && !is_value
        && !takes(ColumnType::Uuid, key)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(super) mod tests {
    use super::*;

    /// Fails if the work for a key grows with the number of keys. Compares objects of 500 keys with objects of 32,000,
    /// the same number of keys in all: if each key were compared with all others, it would be 64 times the work.
    pub(in super::super) fn must_be_linear(work: impl Fn(usize)) {
        const ALL_KEYS: usize = 64_000;
        let least = |keys| {
            let took = (0..3).map(|_| {
                let before = processor_nanos();
                for _ in 0..ALL_KEYS / keys {
                    work(keys);
                }
                processor_nanos() - before
            });
            took.min().unwrap()
        };
        let (few, many) = (least(500), least(32_000));
        assert!(
            many < few * 8,
            "{few} ns in objects of 500 keys, {many} ns in objects of 32,000"
        );
    }

    /// Processor time of this thread, in nanoseconds.
    /// Source: <https://docs.kernel.org/scheduler/sched-stats.html>.
    fn processor_nanos() -> u64 {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
        text.split(' ').next().unwrap().parse().unwrap()
    }

    #[test]
    fn the_work_for_a_key_does_not_grow_with_the_number_of_keys() {
        must_be_linear(|keys| {
            let entries = (0..keys).map(|key| (format!("key_{key}"), Json::Null));
            let mut shape = Shape::default();
            shape.observe(&Json::Object(entries.collect()));
            assert_eq!(shape.keys.len(), keys);
        });
    }
}
