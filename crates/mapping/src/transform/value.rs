//! What a field of a message holds, between the message and its cell.

use std::borrow::Cow;

use super::decimal::{Decimal, Misfit, is_json_number};

/// A value on its way into a column. It may be personal, so it cannot be printed.
pub(crate) enum Value<'a> {
    /// Null or missing.
    Null,
    /// JSON `true` or `false`.
    Bool(bool),
    /// A number by its JSON text.
    Number(Cow<'a, str>),
    /// A string, free of escapes.
    Text(Cow<'a, str>),
    /// An object or array by its JSON text.
    Nested(Cow<'a, str>),
    /// An instant of SQS, in milliseconds since 1970.
    Millis(i64),
}

impl Value<'_> {
    /// The value of a text column; `None` for null, an object, an array or an instant.
    pub(crate) fn as_text(&self) -> Option<&str> {
        match self {
            Self::Bool(true) => Some("true"),
            Self::Bool(false) => Some("false"),
            Self::Number(text) => Some(text),
            Self::Text(text) => Some(text),
            Self::Null | Self::Nested(_) | Self::Millis(_) => None,
        }
    }

    /// The text of a string or number, from which the other types are read.
    pub(crate) fn as_literal(&self) -> Option<&str> {
        match self {
            Self::Number(text) => Some(text),
            Self::Text(text) => Some(text),
            Self::Null | Self::Bool(_) | Self::Nested(_) | Self::Millis(_) => None,
        }
    }

    /// The text of a string or number, for a type that is read from it.
    pub(super) fn literal(&self) -> Result<&str, Misfit> {
        self.as_literal().ok_or(Misfit::Type)
    }

    /// The text of a number. A string is a number only if that is how the number is written: `"0042"` and `"+42"` are
    /// codes, and a number would keep less than was sent.
    pub(super) fn number(&self) -> Result<&str, Misfit> {
        match self {
            Self::Number(text) => Ok(text),
            Self::Text(text) if is_json_number(text) => Ok(text),
            Self::Text(_) | Self::Null | Self::Bool(_) | Self::Nested(_) | Self::Millis(_) => {
                Err(Misfit::Type)
            }
        }
    }

    pub(super) fn decimal(&self) -> Result<Decimal, Misfit> {
        Decimal::parse(self.number()?).ok_or(Misfit::Type)
    }
}
