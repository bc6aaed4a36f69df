//! What a condition of `when` or `delete_when` finds in the samples.

use std::collections::BTreeSet;

use mapping::internals::Tested;
use mapping::{Condition, Scalar};

use crate::cli::output::{counted, listed};

/// How many different values of a field are counted, and how many are shown.
const MAX_VALUES: usize = 1_000;
const MAX_SHOWN: usize = 10;

/// Counts over the places at which a condition was tested.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) holds: usize,
    tested: usize,
    missing: usize,
    nested: usize,
    /// Values that it does not name, as JSON. They may be personal.
    others: BTreeSet<String>,
    is_cut: bool,
    /// How often the value differs from one that it names only in upper and lower case.
    pub(super) other_case: usize,
}

impl Tally {
    pub(super) fn add(&mut self, condition: &Condition, tested: &Tested) {
        self.tested += 1;
        match tested {
            Tested::Holds => self.holds += 1,
            Tested::Missing => self.missing += 1,
            Tested::Nested => self.nested += 1,
            Tested::Other(value) => {
                self.other_case += usize::from(is_in_other_case(condition, value));
                let value = json(value);
                match self.others.len() < MAX_VALUES || self.others.contains(&value) {
                    true => _ = self.others.insert(value),
                    false => self.is_cut = true,
                }
            }
        }
    }

    /// What the field has instead, without values unless they may be shown: `"type" has 9 other values`.
    pub(super) fn instead(&self, condition: &Condition, noun: &str, shows_values: bool) -> String {
        let of = |count: usize| match count == self.tested {
            true => format!("in all of {}", counted(count, noun)),
            false => format!("in {count} of {}", counted(self.tested, noun)),
        };
        let mut parts = Vec::new();
        if !self.others.is_empty() {
            parts.push(self.others(condition, shows_values));
        }
        if self.other_case > 0 {
            let of = of(self.other_case);
            parts.push(format!("differs only in upper and lower case {of}"));
        }
        if self.missing > 0 {
            parts.push(format!("is missing or null {}", of(self.missing)));
        }
        if self.nested > 0 {
            parts.push(format!("is an object or array {}", of(self.nested)));
        }
        format!("{:?} {}", condition.source.to_string(), listed(parts))
    }

    fn others(&self, condition: &Condition, shows_values: bool) -> String {
        let more = if self.is_cut { "more than " } else { "" };
        let mut text = format!("has {more}{}", counted(self.others.len(), "other value"));
        let is_text = |value: &Scalar| matches!(value, Scalar::Text(_));
        let wants_text = condition.values.iter().all(is_text);
        let are_texts = |are: bool| self.others.iter().all(|json| json.starts_with('"') == are);
        if wants_text && are_texts(false) {
            text += ", none of them a string";
        } else if !condition.values.iter().any(is_text) && are_texts(true) {
            text += ", all of them strings";
        }
        if shows_values {
            let shown = self.others.iter().take(MAX_SHOWN);
            let more = match self.others.len() > MAX_SHOWN {
                true => ", …",
                false => "",
            };
            text += &format!(" ({}{more})", listed(shown));
        }
        text
    }
}

/// What one message has instead, where a condition does not hold.
pub(super) fn one_instead(condition: &Condition, tested: &Tested, shows_values: bool) -> String {
    let from = format!("{:?}", condition.source.to_string());
    match tested {
        Tested::Holds => format!("{from} holds"),
        Tested::Missing => format!("{from} is missing or null"),
        Tested::Nested => format!("{from} is an object or array"),
        Tested::Other(value) if shows_values => format!("{from} is {}", json(value)),
        Tested::Other(_) => format!("{from} has another value"),
    }
}

/// Whether a condition names something like `charge.*`. Values are compared as a whole.
pub(super) fn has_pattern(condition: &Condition) -> bool {
    let is_pattern = |value: &Scalar| matches!(value, Scalar::Text(text) if text.contains('*'));
    condition.values.iter().any(is_pattern)
}

fn is_in_other_case(condition: &Condition, value: &Scalar) -> bool {
    let lower = |value: &Scalar| match value {
        Scalar::Text(text) => Some(text.to_lowercase()),
        Scalar::Number(_) | Scalar::Bool(_) => None,
    };
    let value = lower(value);
    value.is_some() && condition.values.iter().any(|named| lower(named) == value)
}

fn json(value: &Scalar) -> String {
    match value {
        Scalar::Text(text) => serde_json::Value::from(text.as_str()).to_string(),
        Scalar::Number(digits) => digits.clone(),
        Scalar::Bool(is_true) => is_true.to_string(),
    }
}
