//! What a value is, by its form.

use mapping::ColumnType;
use mapping::internals::takes;
use serde::de::IgnoredAny;

/// What a value is. `IntegerText` and `NumberText` are strings that hold a number as JSON writes it, `BoolText` is
/// `"true"` or `"false"`, `BoolWord` another word that a boolean column takes, such as `"yes"`, and `JsonText` an object or array as JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    Bool,
    Integer,
    Number,
    IntegerText,
    NumberText,
    BoolText,
    BoolWord,
    Uuid,
    TimestampTz,
    Timestamp,
    Date,
    Time,
    Empty,
    JsonText,
    Text,
    Array,
    Object,
}

/// Length of a UUID with hyphens; other texts of 32 hexadecimal digits are probably hashes.
const UUID_CHARS: usize = 36;

/// Length of a calendar day: 2026-11-21.
const DATE_CHARS: usize = 10;

impl Class {
    pub(super) fn is_scalar(self) -> bool {
        !matches!(self, Self::Array | Self::Object)
    }

    pub(super) fn of_text(text: &str) -> Self {
        let is_uuid = || text.len() == UUID_CHARS && takes(ColumnType::Uuid, text);
        let is_json =
            || text.starts_with(['{', '[']) && serde_json::from_str::<IgnoredAny>(text).is_ok();
        let is_date = || text.len() == DATE_CHARS && takes(ColumnType::Date, text);
        match text {
            _ if text.trim().is_empty() => Self::Empty,
            _ if Digits::of(text).is_some_and(|digits| digits.scale == 0) => Self::IntegerText,
            _ if Digits::of(text).is_some() => Self::NumberText,
            _ if ["true", "false"]
                .iter()
                .any(|word| text.eq_ignore_ascii_case(word)) =>
            {
                Self::BoolText
            }
            _ if takes(ColumnType::Boolean, text) => Self::BoolWord,
            _ if is_uuid() => Self::Uuid,
            _ if is_date() => Self::Date,
            _ if takes(ColumnType::TimestampTz, text) => Self::TimestampTz,
            _ if takes(ColumnType::Timestamp, text) => Self::Timestamp,
            _ if takes(ColumnType::Time, text) => Self::Time,
            _ if is_json() => Self::JsonText,
            _ => Self::Text,
        }
    }

    /// What makes one value, or several, a misfit in a column for another class.
    pub(super) fn misfit(self, wanted: Self) -> (&'static str, &'static str) {
        match (self, wanted) {
            (Self::Timestamp, Self::TimestampTz) => ("has no offset", "have no offset"),
            (Self::Bool, _) => ("is true or false", "are true or false"),
            (Self::Integer | Self::Number, _) => ("is a number", "are numbers"),
            (Self::Empty, _) => ("is empty", "are empty"),
            (Self::Array, _) => ("is an array", "are arrays"),
            (Self::Object, _) => ("is an object", "are objects"),
            (_, Self::Bool) => ("is not true or false", "are not true or false"),
            (_, Self::Number) => ("is not a number", "are not numbers"),
            (_, Self::Uuid) => ("is not a UUID", "are not UUIDs"),
            (_, Self::Time) => ("is not a time of day", "are not times of day"),
            (_, Self::Date) => ("is not a date", "are not dates"),
            (_, Self::TimestampTz | Self::Timestamp) => {
                ("is not a timestamp", "are not timestamps")
            }
            _ => ("is text", "are text"),
        }
    }
}

/// A text with more digits on a side of the point is hardly a number; a number of 64 bits has fewer.
const MAX_DIGITS: usize = 400;

/// How many digits a number has.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Digits {
    /// Before the point.
    pub(super) whole: usize,
    /// After it.
    pub(super) scale: usize,
}

impl Digits {
    /// The digits of a text that is a number as JSON writes it without an exponent: not of `007` or `+1`, which a
    /// number would not give back.
    pub(super) fn of(text: &str) -> Option<Self> {
        let unsigned = text.strip_prefix('-').unwrap_or(text);
        let (whole, fraction) = match unsigned.split_once('.') {
            Some((whole, fraction)) if !fraction.is_empty() => (whole, fraction),
            Some(_) => return None,
            None => (unsigned, ""),
        };
        let is_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        let is_canonical = whole == "0" || !whole.is_empty() && !whole.starts_with('0');
        let is_short = whole.len().max(fraction.len()) <= MAX_DIGITS;
        let is_number = is_canonical && is_short && is_digits(whole) && is_digits(fraction);
        (is_number && text != "-0").then_some(Self {
            whole: whole.len(),
            scale: fraction.len(),
        })
    }
}
