//! `when` and `delete_when`: conditions on a message, all of which must hold.

use std::collections::BTreeMap;

use super::{Problem, Source};
use crate::message::{Envelope, Metadata};

/// A value, and what it must be one of.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    /// Where the value comes from.
    pub source: Source,
    /// What it may be.
    pub values: Vec<Scalar>,
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

/// What `word` says in the file: values, or one value, by where they come from.
pub(super) fn check(
    word: &'static str,
    conditions: BTreeMap<String, toml::Value>,
    envelope: Envelope,
) -> Result<Vec<Condition>, Problem> {
    let conditions = conditions.into_iter().map(|(from, values)| {
        let source = Source::parse(&from)?;
        source.check_envelope(envelope)?;
        let values = match values {
            toml::Value::Array(values) => values,
            value => vec![value],
        };
        let can_match = |value: &Scalar| source.can_be(value);
        let values: Option<Vec<_>> = values.into_iter().map(scalar).collect();
        match values.filter(|values| !values.is_empty() && values.iter().all(can_match)) {
            Some(values) => Ok(Condition { source, values }),
            None => Err(Problem::NeverMatches { word, from }),
        }
    });
    conditions.collect()
}

impl Source {
    fn can_be(&self, value: &Scalar) -> bool {
        let is_number = matches!(value, Scalar::Number(_));
        match self {
            Self::Path(_) | Self::Top(_) | Self::Parent(..) => true,
            Self::Element | Self::Jq(_) => true,
            Self::Index(_) | Self::Metadata(Metadata::ReceiveCount) => is_number,
            Self::Metadata(metadata) => metadata.is_text() && matches!(value, Scalar::Text(_)),
            Self::Rest => false,
        }
    }
}

fn scalar(value: toml::Value) -> Option<Scalar> {
    match value {
        toml::Value::String(text) => Some(Scalar::Text(text)),
        toml::Value::Boolean(is_true) => Some(Scalar::Bool(is_true)),
        toml::Value::Integer(number) => Some(Scalar::Number(number.to_string())),
        toml::Value::Float(number) if number.is_finite() => {
            Some(Scalar::Number(number.to_string()))
        }
        _ => None,
    }
}
