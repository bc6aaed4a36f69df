//! The values of a path: counted, none of them kept.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, HashSet};
use std::hash::BuildHasher as _;

use indexmap::IndexMap;

use super::class::{Class, Digits};
use super::json::Json;
use super::pii::{Pii, part_name, words};
use super::value::KINDS;

/// All values of one path.
#[derive(Default)]
pub(super) struct Shape {
    /// Values that are neither null nor empty.
    pub(super) present: usize,
    /// How many objects have its key, also with null.
    pub(super) occurs: usize,
    /// Where its key was first seen, by the position of the sample.
    pub(super) first: usize,
    /// Values other than null, by what they are.
    pub(super) seen: BTreeMap<Class, Seen>,
    /// The longest text or number.
    pub(super) max_chars: usize,
    /// Whether a text of digits begins with a superfluous zero.
    pub(super) has_padded_digits: bool,
    /// The largest numbers of digits, in numbers and texts that hold one.
    pub(super) digits: Digits,
    /// Whether all of the latter that have a point have as many digits after it.
    pub(super) has_one_scale: bool,
    /// The number of texts and numbers that look like each kind of personal data.
    suspects: BTreeMap<Pii, usize>,
    /// The hashes of texts and numbers.
    distinct: HashSet<u64>,
    /// The values of an object's keys, in their order: of the first [`MAX_KEYS`].
    pub(super) keys: IndexMap<String, Shape, RandomState>,
    /// The values of all other keys.
    pub(super) beyond: Option<Box<Shape>>,
    /// What one of these keys looks like.
    beyond_pii: Option<Pii>,
    /// The values in arrays.
    pub(super) items: Option<Box<Shape>>,
    /// The length of the longest array.
    pub(super) max_items: usize,
    /// The number of values in arrays, null too.
    elements: usize,
}

/// Values of one class.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) count: usize,
    /// The positions of the first samples with one.
    pub(super) first: Vec<usize>,
}

/// How many samples are named as examples.
const EXAMPLES: usize = 2;

/// How many different keys of the objects at one path are looked at.
pub(super) const MAX_KEYS: usize = 2_000;

impl Shape {
    /// Adds a value of the sample at a position.
    pub(super) fn observe(&mut self, json: &Json, sample: usize) {
        match json {
            Json::Null => {}
            Json::Bool(_) => self.count(Class::Bool, sample),
            Json::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
                Some(float) if float.fract() == 0.0 => {
                    self.observe_scalar(Class::Number, &format!("{float}.0"), sample);
                }
                Some(float) => self.observe_scalar(Class::Number, &float.to_string(), sample),
                None => self.observe_scalar(Class::Integer, &number.to_string(), sample),
            },
            Json::Text(text) => self.observe_scalar(Class::of_text(text), text, sample),
            Json::Array(items) => {
                self.count(Class::Array, sample);
                self.max_items = self.max_items.max(items.len());
                self.elements += items.len();
                let shape = self.items.get_or_insert_default();
                items.iter().for_each(|item| shape.observe(item, sample));
            }
            Json::Object(object) => {
                self.count(Class::Object, sample);
                for (key, value) in object {
                    self.key(key, sample).observe(value, sample);
                }
            }
        }
    }

    /// The values of a key, which the sample at a position has.
    pub(super) fn key(&mut self, key: &str, sample: usize) -> &mut Self {
        if self.keys.len() >= MAX_KEYS && !self.keys.contains_key(key) {
            self.beyond_pii = self.beyond_pii.or_else(|| of_key(key));
            return self.beyond.get_or_insert_default();
        }
        let shape = self.keys.entry(key.to_owned()).or_insert_with(|| Self {
            first: sample,
            ..Self::default()
        });
        shape.occurs += 1;
        shape
    }

    fn count(&mut self, class: Class, sample: usize) {
        let seen = self.seen.entry(class).or_default();
        seen.count += 1;
        if seen.first.len() < EXAMPLES && seen.first.last() != Some(&sample) {
            seen.first.push(sample);
        }
        self.present += usize::from(class != Class::Empty);
    }

    fn observe_scalar(&mut self, class: Class, text: &str, sample: usize) {
        self.count(class, sample);
        self.max_chars = self.max_chars.max(text.chars().count());
        if let Some(digits) = Digits::of(text) {
            let is_first = self.digits.scale == 0;
            let is_same = digits.scale == 0 || digits.scale == self.digits.scale;
            self.has_one_scale = is_first || self.has_one_scale && is_same;
            self.digits.whole = self.digits.whole.max(digits.whole);
            self.digits.scale = self.digits.scale.max(digits.scale);
        }
        let is_digits = text.bytes().all(|byte| byte.is_ascii_digit());
        self.has_padded_digits |= is_digits && text.len() > 1 && text.starts_with('0');
        if let Some(kind) = KINDS.into_iter().find(|kind| kind.is_value(text)) {
            *self.suspects.entry(kind).or_default() += 1;
        }
        let hash = self.distinct.hasher().hash_one(text);
        self.distinct.insert(hash);
    }

    /// The number of values of these classes.
    pub(super) fn of(&self, classes: &[Class]) -> usize {
        let seen = classes.iter().filter_map(|class| self.seen.get(class));
        seen.map(|seen| seen.count).sum()
    }

    /// Values other than null.
    pub(super) fn all(&self) -> usize {
        self.seen.values().map(|seen| seen.count).sum()
    }

    /// Whether there are this many values, all of them different texts or numbers.
    pub(super) fn is_unique(&self, count: usize) -> bool {
        self.present == count && self.distinct.len() == count && self.texts_and_numbers() == count
    }

    /// Whether all values are the same text or number, or empty arrays.
    pub(super) fn is_constant(&self) -> bool {
        let arrays = self.of(&[Class::Array]);
        self.distinct.len() <= 1
            && self.texts_and_numbers() + arrays == self.all()
            && self.max_items == 0
    }

    /// Values other than null, arrays and objects.
    pub(super) fn scalars(&self) -> usize {
        self.all() - self.of(&[Class::Array, Class::Object])
    }

    fn texts_and_numbers(&self) -> usize {
        self.scalars() - self.of(&[Class::Bool])
    }

    /// Whether the values are objects whose keys are names, not data; they are in a field of this name.
    pub(super) fn is_record(&self, name: &str) -> bool {
        let are_objects = is_most(self.of(&[Class::Object]), self.all());
        let is_data = |(key, _): (&String, &Self)| self.is_data(key);
        are_objects && !self.keys.is_empty() && !self.is_map(name) && !self.keys.iter().any(is_data)
    }

    /// The values at a path below these.
    pub(super) fn at(&self, path: &[&str]) -> Option<&Self> {
        path.iter()
            .try_fold(self, |shape, key| shape.keys.get(*key))
    }

    /// The elements, if most values are arrays, and most of their elements records.
    pub(super) fn records(&self) -> Option<&Self> {
        let items = self.items.as_deref()?;
        let are_arrays = is_most(self.of(&[Class::Array]), self.all());
        let are_objects = is_most(items.of(&[Class::Object]), self.elements);
        (are_arrays && are_objects && items.is_record("")).then_some(items)
    }

    /// Whether all values are arrays, of nothing but single values.
    pub(super) fn is_array_of_scalars(&self) -> bool {
        let items = self.items.as_ref();
        let are_scalars = items.is_none_or(|items| items.scalars() == items.all());
        self.of(&[Class::Array]) == self.all() && are_scalars
    }

    /// The kind of personal data that name and values suggest, with the reason.
    pub(super) fn pii(&self, name: &str) -> Option<(Pii, String)> {
        // Null may become anything; true or false is hardly personal.
        if self.texts_and_numbers() == 0 && self.all() > 0 {
            return None;
        }
        if let Some(kind) = Pii::of_name(name) {
            let values = self.suspects.get(&kind).copied().unwrap_or_default();
            return Some((
                kind,
                reason("its name", values, self.texts_and_numbers(), kind),
            ));
        }
        let is_version = words(name).iter().any(|word| word == "version");
        let suspect = |(&kind, &values): (&Pii, &usize)| {
            let enough = kind.is_distinct() || values * 2 > self.texts_and_numbers();
            let mistaken = kind == Pii::IpAddress && is_version;
            (enough && !mistaken)
                .then(|| (kind, reason("", values, self.texts_and_numbers(), kind)))
        };
        self.suspects.iter().find_map(suspect)
    }

    /// The kind of personal data that a part suggests, at any depth.
    pub(super) fn pii_inside(&self, name: &str) -> Option<Pii> {
        let own = self.pii(name).map(|(kind, _)| kind);
        let of_part = |(key, shape): (&String, &Self)| {
            of_key(key).or_else(|| shape.pii_inside(&part_name(name, key)))
        };
        let of_keys = || self.keys.iter().find_map(of_part);
        let of_items = || self.items.as_ref().and_then(|items| items.pii_inside(name));
        let of_others = || {
            self.beyond
                .as_ref()
                .and_then(|beyond| beyond.pii_inside(""))
        };
        let of_other_keys = || self.beyond_pii;
        own.or_else(of_keys)
            .or_else(of_items)
            .or_else(of_other_keys)
            .or_else(of_others)
    }
}

fn of_key(key: &str) -> Option<Pii> {
    KINDS.into_iter().find(|kind| kind.is_value(key))
}

fn reason(name: &str, values: usize, all: usize, kind: Pii) -> String {
    let counted = format!("{values} of {all} values");
    match (name.is_empty(), values) {
        (true, _) => format!("{counted} look like {kind}"),
        (false, 0) => format!("{name} suggests {kind}"),
        (false, _) => format!("{name} suggests {kind}, and {counted} look like one"),
    }
}

/// Whether this many values decide the type of all: at least nine in ten.
pub(super) fn is_most(count: usize, all: usize) -> bool {
    (all - count.min(all)) * 10 <= all
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
            shape.observe(&Json::Object(entries.collect()), 0);
            assert_eq!(shape.keys.len(), keys.min(MAX_KEYS));
        });
    }
}
