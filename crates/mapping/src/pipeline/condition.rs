//! `when` and `delete_when`: conditions on a message, all of which must hold.
//!
//! The words are those of EventBridge's patterns: `exists`, `prefix`, `anything-but`. Null counts as missing here, as
//! everywhere in a mapping, and `exists` is about objects and arrays too.
//! Source: <https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-event-patterns-content-based-filtering.html>.

use std::collections::BTreeMap;

use super::{Problem, Source};
use crate::message::{Envelope, Metadata};

/// A value, and what it must be.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    /// Where the value comes from.
    pub source: Source,
    /// One of these must hold.
    pub tests: Vec<Test>,
}

impl Condition {
    /// Whether it depends on more than whether there is a value.
    pub(crate) fn reads_value(&self) -> bool {
        let asks = |test: &Test| matches!(test, Test::Exists(_));
        !self.tests.iter().all(asks)
    }
}

/// What a value may be.
#[derive(Debug, Clone, PartialEq)]
pub enum Test {
    /// One such value.
    Is(Pattern),
    /// Anything but null, also an object or array; or, if `false`, null or missing.
    Exists(bool),
    /// A string, number or boolean that is none of these. A value that is missing is not, as in EventBridge, where an
    /// event must have every field of its pattern.
    /// Source: <https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-pattern.html>.
    AnythingBut(Vec<Pattern>),
}

/// Strings, numbers or booleans.
#[derive(Debug, Clone, PartialEq)]
pub enum Pattern {
    /// This value.
    Equals(Scalar),
    /// Strings that begin with this one.
    Prefix(String),
}

/// A value of JSON that is neither null nor has parts.
#[derive(Debug, Clone, PartialEq)]
pub enum Scalar {
    /// A string.
    Text(String),
    /// A number in decimal digits.
    Number(String),
    /// `true` or `false`.
    Bool(bool),
}

impl Scalar {
    /// The value as JSON.
    pub fn json(&self) -> String {
        match self {
            Self::Text(text) => serde_json::Value::from(text.as_str()).to_string(),
            Self::Number(digits) => digits.clone(),
            Self::Bool(is_true) => is_true.to_string(),
        }
    }
}

const EXISTS: &str = "exists";
const PREFIX: &str = "prefix";
const ANYTHING_BUT: &str = "anything-but";

pub(super) const WORDS: [&str; 3] = [EXISTS, PREFIX, ANYTHING_BUT];

/// What `word` says in the file: what the values may be, by where they come from.
pub(super) fn check(
    word: &'static str,
    conditions: BTreeMap<String, toml::Value>,
    envelope: Envelope,
) -> Result<Vec<Condition>, Problem> {
    let conditions = conditions.into_iter().map(|(from, value)| {
        let source = Source::parse(&from)?;
        source.check_envelope(envelope)?;
        let reader = Reader { word, from: &from };
        let mut tests = Vec::new();
        for value in listed(value) {
            reader.read(value, &mut tests)?;
        }
        match !tests.is_empty() && tests.iter().all(|test| source.can_pass(test)) {
            true => Ok(Condition { source, tests }),
            false => Err(Problem::NeverMatches { word, from }),
        }
    });
    conditions.collect()
}

/// Reads what the value from one place may be.
struct Reader<'a> {
    word: &'static str,
    from: &'a str,
}

impl Reader<'_> {
    fn read(&self, value: toml::Value, tests: &mut Vec<Test>) -> Result<(), Problem> {
        let toml::Value::Table(table) = value else {
            tests.push(Test::Is(self.pattern(value)?));
            return Ok(());
        };
        match self.only_word(table)? {
            (EXISTS, toml::Value::Boolean(exists)) => tests.push(Test::Exists(exists)),
            (EXISTS, _) => return Err(self.wrong_value("exists takes true or false")),
            (PREFIX, prefixes) => {
                tests.extend(self.prefixes(prefixes)?.into_iter().map(Test::Is));
            }
            (_, excluded) => tests.push(Test::AnythingBut(self.excluded(excluded)?)),
        }
        Ok(())
    }

    /// What a table says: one of the three words, and its value.
    fn only_word(&self, table: toml::Table) -> Result<(&'static str, toml::Value), Problem> {
        let mut entries = table.into_iter();
        let (Some((name, value)), None) = (entries.next(), entries.next()) else {
            let (word, from) = (self.word, self.from.to_owned());
            return Err(Problem::NotOneWord { word, from });
        };
        match WORDS.into_iter().find(|word| *word == name) {
            Some(word) => Ok((word, value)),
            None => Err(Problem::UnknownWord {
                word: self.word,
                from: self.from.to_owned(),
                name: name.into(),
            }),
        }
    }

    fn excluded(&self, value: toml::Value) -> Result<Vec<Pattern>, Problem> {
        let mut patterns = Vec::new();
        for value in listed(value) {
            let toml::Value::Table(table) = value else {
                patterns.push(self.pattern(value)?);
                continue;
            };
            match self.only_word(table)? {
                (PREFIX, prefixes) => patterns.extend(self.prefixes(prefixes)?),
                _ => {
                    return Err(self.wrong_value("anything-but takes values or { prefix = \"…\" }"));
                }
            }
        }
        match patterns.is_empty() {
            true => Err(self.wrong_value("anything-but takes at least one value")),
            false => Ok(patterns),
        }
    }

    fn prefixes(&self, value: toml::Value) -> Result<Vec<Pattern>, Problem> {
        let prefixes = listed(value).into_iter().map(|value| match value {
            toml::Value::String(prefix) if !prefix.is_empty() => Ok(Pattern::Prefix(prefix)),
            _ => {
                Err(self.wrong_value("prefix takes a string that is not empty, or a list of them"))
            }
        });
        let prefixes: Vec<_> = prefixes.collect::<Result<_, _>>()?;
        match prefixes.is_empty() {
            true => Err(self.wrong_value("prefix takes at least one string")),
            false => Ok(prefixes),
        }
    }

    fn pattern(&self, value: toml::Value) -> Result<Pattern, Problem> {
        let (word, from) = (self.word, self.from.to_owned());
        let scalar = scalar(value).ok_or(Problem::NeverMatches { word, from })?;
        Ok(Pattern::Equals(scalar))
    }

    fn wrong_value(&self, takes: &'static str) -> Problem {
        let (word, from) = (self.word, self.from.to_owned());
        Problem::WordTakes { word, from, takes }
    }
}

/// The value of JSON that TOML writes like this.
pub(super) fn scalar(value: toml::Value) -> Option<Scalar> {
    match value {
        toml::Value::String(text) => Some(Scalar::Text(text)),
        toml::Value::Boolean(is_true) => Some(Scalar::Bool(is_true)),
        toml::Value::Integer(number) => Some(Scalar::Number(number.to_string())),
        toml::Value::Float(number) if number.is_finite() => {
            Some(Scalar::Number(number.to_string()))
        }
        toml::Value::Float(_) | toml::Value::Datetime(_) => None,
        toml::Value::Array(_) | toml::Value::Table(_) => None,
    }
}

/// The values of a list, or the only one.
fn listed(value: toml::Value) -> Vec<toml::Value> {
    match value {
        toml::Value::Array(values) => values,
        value => vec![value],
    }
}

impl Source {
    /// Whether the test holds for any value of this source, and each of its patterns is one that the value can be.
    fn can_pass(&self, test: &Test) -> bool {
        match test {
            Test::Is(pattern) => self.can_be(pattern),
            Test::AnythingBut(patterns) => patterns.iter().all(|pattern| self.can_be(pattern)),
            Test::Exists(true) => *self != Self::Rest,
            Test::Exists(false) => !self.is_never_null(),
        }
    }

    /// Whether a value of this source can be one of the pattern.
    pub(super) fn can_be(&self, pattern: &Pattern) -> bool {
        let is_number = matches!(pattern, Pattern::Equals(Scalar::Number(_)));
        let is_text = match pattern {
            Pattern::Prefix(_) | Pattern::Equals(Scalar::Text(_)) => true,
            Pattern::Equals(Scalar::Number(_) | Scalar::Bool(_)) => false,
        };
        match self {
            Self::Path(_) | Self::Top(_) | Self::Parent(..) => true,
            Self::Element | Self::Jq(_) => true,
            Self::Index(_) | Self::Metadata(Metadata::ReceiveCount) => is_number,
            Self::Metadata(metadata) => metadata.is_text() && is_text,
            Self::Rest => false,
        }
    }
}
