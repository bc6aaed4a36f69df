//! `unit`: times as numbers.

use std::fmt;

use crate::text::Word;

/// What the numbers of a column count: since 1970-01-01 in UTC, or in a column of type `time` since midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// `s`.
    Seconds,
    /// `ms`.
    Millis,
    /// `us`.
    Micros,
    /// `ns`.
    Nanos,
    /// `days`, whole ones.
    Days,
}

impl Word for Unit {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("s", Self::Seconds),
        ("ms", Self::Millis),
        ("us", Self::Micros),
        ("ns", Self::Nanos),
        ("days", Self::Days),
    ];
}

impl Unit {
    /// As the mapping writes it.
    pub fn as_str(self) -> &'static str {
        self.name()
    }

    /// The English word for many of them.
    pub(crate) fn plural(self) -> &'static str {
        match self {
            Self::Seconds => "seconds",
            Self::Millis => "milliseconds",
            Self::Micros => "microseconds",
            Self::Nanos => "nanoseconds",
            Self::Days => "whole days",
        }
    }

    /// The power of ten by which a number is one of microseconds; `None` for days, which are not a power of ten.
    pub(crate) fn exponent_of_micros(self) -> Option<i64> {
        match self {
            Self::Seconds => Some(6),
            Self::Millis => Some(3),
            Self::Micros => Some(0),
            Self::Nanos => Some(-3),
            Self::Days => None,
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
