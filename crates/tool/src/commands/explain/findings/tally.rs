//! What a condition of `when` or `delete_when` finds in the samples.

use std::collections::BTreeSet;

use mapping::internals::Tested;
use mapping::{Condition, Pattern, Scalar, Test};

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
    /// Values for which it does not hold, as JSON. They may be personal.
    others: BTreeSet<String>,
    is_cut: bool,
    /// How often the value differs from what it asks for only in upper and lower case.
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
                let value = value.json();
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
        let from = condition.source.to_string();
        if wants_nothing(condition) {
            return format!("{from:?} has a value {}", of(self.tested - self.holds));
        }
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
        format!("{from:?} {}", listed(parts))
    }

    fn others(&self, condition: &Condition, shows_values: bool) -> String {
        let more = if self.is_cut { "more than " } else { "" };
        let kind = match excludes(condition) {
            true => "excluded value",
            false => "other value",
        };
        let mut text = format!("has {more}{}", counted(self.others.len(), kind));
        let are_texts = |are: bool| self.others.iter().all(|json| json.starts_with('"') == are);
        let wanted: Vec<_> = wanted(condition).collect();
        if wanted.len() == condition.tests.len() {
            if wanted.iter().all(|pattern| is_text(pattern)) && are_texts(false) {
                text += ", none of them a string";
            } else if !wanted.iter().any(|pattern| is_text(pattern)) && are_texts(true) {
                text += ", all of them strings";
            }
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
        Tested::Other(value) if shows_values => format!("{from} is {}", value.json()),
        Tested::Other(_) if wants_nothing(condition) => format!("{from} has a value"),
        Tested::Other(_) if excludes(condition) => format!("{from} has an excluded value"),
        Tested::Other(_) => format!("{from} has another value"),
    }
}

/// Whether a condition names something like `charge.*`. Values are compared as a whole.
pub(super) fn has_pattern(condition: &Condition) -> bool {
    wanted(condition).any(|pattern| match pattern {
        Pattern::Equals(Scalar::Text(text)) | Pattern::Prefix(text) => text.contains('*'),
        Pattern::Equals(Scalar::Number(_) | Scalar::Bool(_)) => false,
    })
}

/// The values for which a condition holds, as far as it names them.
fn wanted(condition: &Condition) -> impl Iterator<Item = &Pattern> {
    condition.tests.iter().filter_map(|test| match test {
        Test::Is(pattern) => Some(pattern),
        Test::Exists(_) | Test::AnythingBut(_) => None,
    })
}

fn is_text(pattern: &Pattern) -> bool {
    match pattern {
        Pattern::Equals(Scalar::Text(_)) | Pattern::Prefix(_) => true,
        Pattern::Equals(Scalar::Number(_) | Scalar::Bool(_)) => false,
    }
}

/// Whether a condition holds only where there is no value.
fn wants_nothing(condition: &Condition) -> bool {
    condition
        .tests
        .iter()
        .all(|test| *test == Test::Exists(false))
}

/// Whether a value for which a condition does not hold is one that it excludes.
fn excludes(condition: &Condition) -> bool {
    let excludes = |test: &Test| matches!(test, Test::AnythingBut(_));
    condition.tests.iter().any(excludes)
}

/// Whether a text differs from what the condition asks for only in upper and lower case.
fn is_in_other_case(condition: &Condition, value: &Scalar) -> bool {
    let Scalar::Text(text) = value else {
        return false;
    };
    let text = text.to_lowercase();
    wanted(condition).any(|pattern| match pattern {
        Pattern::Equals(Scalar::Text(wanted)) => wanted.to_lowercase() == text,
        Pattern::Equals(Scalar::Number(_) | Scalar::Bool(_)) => false,
        Pattern::Prefix(prefix) => text.starts_with(&prefix.to_lowercase()),
    })
}
