//! `transform`: the steps that clean a string before it is masked or converted.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use crate::text::Word;
use crate::types::ColumnType;

/// A step that cleans a string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Removes white space from both ends.
    Trim,
    /// Unicode lower case.
    Lowercase,
    /// Unicode upper case.
    Uppercase,
    /// An IP address in its canonical spelling.
    Ip,
    /// Removes what Postgres cannot store: U+0000 and lone surrogates.
    StripNul,
    /// First number of a version.
    Major,
    /// Second number of a version; null if it has none.
    Minor,
    /// Third number of a version; null if it has none.
    Patch,
    /// The value of JSON in a string. It is the last step, and the column converts what it gives.
    Json,
}

impl Word for Step {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("trim", Self::Trim),
        ("lowercase", Self::Lowercase),
        ("uppercase", Self::Uppercase),
        ("ip", Self::Ip),
        ("strip_nul", Self::StripNul),
        ("major", Self::Major),
        ("minor", Self::Minor),
        ("patch", Self::Patch),
        ("json", Self::Json),
    ];
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Whether these steps end with the value of JSON in a string.
pub(crate) fn reads_json(steps: &[Step]) -> bool {
    steps.last() == Some(&Step::Json)
}

pub(crate) enum Cleaned<'a> {
    Text(Cow<'a, str>),
    Null,
    /// The step does not work on this text.
    Unreadable,
}

impl Step {
    /// Whether a column of this type can store its result.
    pub(crate) fn fits(self, column_type: ColumnType) -> bool {
        use ColumnType as T;
        match self {
            Self::StripNul | Self::Json => true,
            Self::Trim | Self::Lowercase | Self::Uppercase => !column_type.is_nested(),
            Self::Ip => column_type.is_text() || column_type == T::Inet,
            Self::Major | Self::Minor | Self::Patch => {
                column_type.is_text() || column_type.is_number()
            }
        }
    }

    /// Whether JSON means the same after it.
    pub(crate) fn keeps_json(self) -> bool {
        match self {
            Self::Trim | Self::StripNul => true,
            Self::Lowercase | Self::Uppercase | Self::Ip | Self::Json => false,
            Self::Major | Self::Minor | Self::Patch => false,
        }
    }

    /// Whether its result is a number, however it is written: `01` in the version `2026.01`.
    pub(crate) fn gives_number(self) -> bool {
        matches!(self, Self::Major | Self::Minor | Self::Patch)
    }

    pub(crate) fn apply(self, text: Cow<'_, str>) -> Cleaned<'_> {
        match self {
            Self::Trim => part(text, |text| Some(text.trim())),
            Self::Lowercase => Cleaned::Text(Cow::Owned(text.to_lowercase())),
            Self::Uppercase => Cleaned::Text(Cow::Owned(text.to_uppercase())),
            Self::Ip => canonical_ip(&text),
            // Applied when the text is read, and when the result is.
            Self::StripNul | Self::Json => Cleaned::Text(text),
            Self::Major => version_number(text, 0),
            Self::Minor => version_number(text, 1),
            Self::Patch => version_number(text, 2),
        }
    }
}

/// A part of the text, borrowed if the text is.
fn part<'a>(text: Cow<'a, str>, find: impl Fn(&str) -> Option<&str>) -> Cleaned<'a> {
    let found = match text {
        Cow::Borrowed(text) => find(text).map(Cow::Borrowed),
        Cow::Owned(text) => find(&text).map(|found| Cow::Owned(found.to_owned())),
    };
    found.map_or(Cleaned::Null, Cleaned::Text)
}

/// One spelling for one address: IPv6 in short lower case (RFC 5952), IPv4-mapped IPv6 as IPv4.
fn canonical_ip(text: &str) -> Cleaned<'static> {
    let address: Result<IpAddr, _> = text.parse();
    address.map_or(Cleaned::Unreadable, |address| {
        Cleaned::Text(Cow::Owned(address.to_canonical().to_string()))
    })
}

/// A number of a version such as `2.3.0`, `v2` or `2.3.0-beta.1`; null if the version is shorter.
fn version_number(text: Cow<'_, str>, position: usize) -> Cleaned<'_> {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if numbers(&text).all(is_number) {
        part(text, |text| numbers(text).nth(position))
    } else {
        Cleaned::Unreadable
    }
}

fn numbers(version: &str) -> impl Iterator<Item = &str> {
    let digits = version.strip_prefix(['v', 'V']).unwrap_or(version);
    let end = digits.find(['-', '+', ' ']).unwrap_or(digits.len());
    // A list of characters: `memchr`, the search for a single one, does not pay for texts as short as versions.
    digits.get(..end).unwrap_or_default().split(['.'])
}
