//! The values of a path: counted, none of them kept.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, HashSet};
use std::hash::BuildHasher as _;

use indexmap::IndexMap;

use mapping::Unit;

use super::class::{Class, Digits};
use super::epoch::unit_of;
use super::json::Json;
use super::pii::{Pii, is_in, part_name, words};
use super::value::{KINDS, is_like_name_of_person};

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
    /// Whether a text has a character that Postgres does not store.
    pub(super) has_nul: bool,
    /// Whether a text of digits begins with a superfluous zero.
    pub(super) has_padded_digits: bool,
    /// The largest numbers of digits, in numbers and texts that hold one.
    pub(super) digits: Digits,
    /// The unit that all numbers have if they are times, as long as it is one.
    unit: Option<Unit>,
    /// How many numbers have none, or another one.
    not_in_unit: usize,
    /// The number of texts and numbers that look like each kind of personal data.
    suspects: BTreeMap<Pii, usize>,
    /// The number of texts that are written like the name of a person.
    like_names: usize,
    /// Whether the object that it is part of describes a person.
    is_of_person: bool,
    /// The field whose masked values its values contain, and in how many messages.
    pub(super) copies: Option<(String, usize)>,
    /// The values of JSON in texts.
    pub(super) inside: Option<Box<Shape>>,
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

/// Numbers, and texts that hold one.
pub(super) const NUMBERS: [Class; 4] = [
    Class::Integer,
    Class::Number,
    Class::IntegerText,
    Class::NumberText,
];

/// How many samples are named as examples.
const EXAMPLES: usize = 2;

/// The share of values, one in so many, that makes a field one that copies another.
const RARE_COPY: usize = 10;

/// More different texts than this are not the values of an enumeration.
const FEW_NAMES: usize = 8;

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
            Json::Text(text) => {
                let class = Class::of_text(text);
                self.observe_scalar(class, text, sample);
                if class == Class::JsonText
                    && let Ok(inside) = serde_json::from_str(text)
                {
                    self.inside.get_or_insert_default().observe(&inside, sample);
                }
            }
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
        if let Some(digits) = Digits::of(text) {
            self.digits.whole = self.digits.whole.max(digits.whole);
            self.digits.scale = self.digits.scale.max(digits.scale);
        }
        self.has_nul |= text.contains('\0');
        let is_digits = text.bytes().all(|byte| byte.is_ascii_digit());
        self.has_padded_digits |= is_digits && text.len() > 1 && text.starts_with('0');
        if let Some(kind) = KINDS.into_iter().find(|kind| kind.is_value(text)) {
            *self.suspects.entry(kind).or_default() += 1;
        }
        self.observe_unit(class, text);
        self.like_names += usize::from(is_like_name_of_person(text));
        let hash = self.distinct.hasher().hash_one(text);
        self.distinct.insert(hash);
    }

    fn observe_unit(&mut self, class: Class, text: &str) {
        if !NUMBERS.contains(&class) {
            return;
        }
        let unit = text.parse().ok().and_then(unit_of);
        self.unit = self.unit.or(unit);
        self.not_in_unit += usize::from(unit.is_none() || unit != self.unit);
    }

    /// What its numbers count since 1970, if most of them can be times, and how many cannot.
    pub(super) fn unit(&self) -> Option<(Unit, usize)> {
        let is_usual = is_most(
            self.of(&NUMBERS).saturating_sub(self.not_in_unit),
            self.of(&NUMBERS),
        );
        self.unit
            .filter(|_| is_usual)
            .map(|unit| (unit, self.not_in_unit))
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

    /// Whether several texts or numbers are all the same.
    pub(super) fn is_always_the_same(&self) -> bool {
        self.distinct.len() == 1 && self.texts_and_numbers() > FEW_NAMES
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

    /// Notes which fields are called `name` in an object that describes a person, in all objects of these values.
    pub(super) fn note_persons(&mut self, name: &str) {
        let is_persons = |(key, shape): (&String, &Self)| {
            matches!(
                shape.pii(key),
                Some((
                    Pii::Email
                        | Pii::Phone
                        | Pii::Birth
                        | Pii::Name
                        | Pii::Login
                        | Pii::Address
                        | Pii::National
                        | Pii::Circumstance,
                    _
                ))
            )
        };
        let is_thing = Pii::is_thing(name);
        let is_of_person = !is_thing && self.keys.iter().any(is_persons);
        for (key, shape) in &mut self.keys {
            shape.is_of_person = is_of_person && key.eq_ignore_ascii_case("name");
            shape.note_persons(key);
        }
        let nested = [&mut self.items, &mut self.inside, &mut self.beyond];
        for shape in nested.into_iter().flatten() {
            shape.note_persons(name);
        }
    }

    /// The kind of personal data that name and values suggest, with the reason.
    pub(super) fn pii(&self, name: &str) -> Option<(Pii, String)> {
        // Null may become anything; true or false is hardly personal.
        if self.texts_and_numbers() == 0 && self.all() > 0 {
            return None;
        }
        let by_name = Pii::of_name(name).filter(|kind| match kind {
            // A number, or a UUID, stands for a person, and does not name one.
            Pii::Name | Pii::Login => self.all() == 0 || self.named() > 0,
            _ => true,
        });
        if let Some(kind) = by_name {
            let values = self.suspects.get(&kind).copied().unwrap_or_default();
            return Some((
                kind,
                reason("its name", values, self.texts_and_numbers(), kind),
            ));
        }
        if self.is_of_person && self.named() > 0 {
            return Some((
                Pii::Name,
                "beside personal data, it is the name of a person".to_owned(),
            ));
        }
        let words = words(name);
        let is_version = words.iter().any(|word| word == "version");
        let suspect = |(&kind, &values): (&Pii, &usize)| {
            let enough = kind.is_distinct() || values * 2 > self.texts_and_numbers();
            let mistaken = kind == Pii::IpAddress && is_version;
            (enough && !mistaken)
                .then(|| (kind, reason("", values, self.texts_and_numbers(), kind)))
        };
        if let Some(found) = self.suspects.iter().find_map(suspect) {
            return Some(found);
        }
        let is_name = words.last().is_some_and(|last| last == "name");
        if is_name && self.are_like_names() {
            let why = reason("", self.like_names, self.texts_and_numbers(), Pii::Name);
            return Some((Pii::Name, why));
        }
        let copied = self
            .copies
            .as_ref()
            .filter(|(_, values)| values * RARE_COPY >= self.all());
        copied.map(|(of, values)| {
            let all = self.texts_and_numbers();
            (
                Pii::Copy,
                format!("{values} of {all} values contain a value of {of:?}, which is masked"),
            )
        })
    }

    /// What an unmasked field of this name may tell of a person.
    pub(super) fn mention(&self, name: &str) -> Option<String> {
        if self.of(&[Class::Text]) == 0 {
            return None;
        }
        if let Some((of, values)) = &self.copies {
            let all = self.texts_and_numbers();
            return Some(format!(
                "{values} of {all} values contain a value of {of:?}, which is masked"
            ));
        }
        let is_type = || {
            words(name)
                .last()
                .is_some_and(|last| is_in("action event kind status type", last))
        };
        match self.are_like_names() && !is_type() {
            _ if Pii::is_possible(name) => Some("its name suggests so".to_owned()),
            true => Some(reason(
                "",
                self.like_names,
                self.texts_and_numbers(),
                Pii::Name,
            )),
            false => None,
        }
    }

    /// Whether nearly all texts are written like different names of persons.
    fn are_like_names(&self) -> bool {
        self.like_names > 0 && is_most(self.like_names, self.scalars()) && {
            self.distinct.len() * 2 > self.like_names || self.distinct.len() > FEW_NAMES
        }
    }

    /// Values that can name a person.
    fn named(&self) -> usize {
        let others = [Class::Uuid, Class::Empty];
        self.scalars() - self.of(&NUMBERS) - self.of(&others) - self.of(&[Class::Bool])
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
        let of_inside = || {
            self.inside
                .as_ref()
                .and_then(|inside| inside.pii_inside(""))
        };
        own.or_else(of_keys)
            .or_else(of_items)
            .or_else(of_inside)
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
