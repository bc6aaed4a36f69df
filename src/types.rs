//! `type`: the Postgres types that a column can have, by Postgres's names.

use std::fmt;
use std::mem::discriminant;
use std::str::FromStr;

use tokio_postgres::types::Type;

/// The longest `varchar(n)` that Postgres allows, in characters.
/// Source: <https://www.postgresql.org/docs/18/datatype-character.html>.
const MAX_VARCHAR_CHARS: usize = 10_485_760;

/// Maximum digits of a number before the point, and after it: the largest precision that a `numeric` column can
/// declare. Without a precision Postgres stores up to 131,072 and 16,383 digits, zeros in almost no space, and prints
/// every one of them whenever the table is read.
/// Source: <https://www.postgresql.org/docs/18/datatype-numeric.html#DATATYPE-NUMERIC-DECIMAL>.
pub(crate) const MAX_DIGITS: usize = 1_000;

/// The type of a column, as `pipeline.toml` writes it: `text`, `varchar(128)`, `integer`, …
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnType {
    /// Text of any length.
    Text,
    /// Text of at most this many characters (not bytes).
    Varchar(usize),
    /// `true` or `false`.
    Boolean,
    /// 16-bit integer.
    SmallInt,
    /// 32-bit integer.
    Integer,
    /// 64-bit integer.
    BigInt,
    /// 32-bit floating point.
    Real,
    /// 64-bit floating point.
    DoublePrecision,
    /// Exact decimal of any precision that Postgres can store.
    Numeric,
    /// Calendar day.
    Date,
    /// Instant, stored in microseconds.
    TimestampTz,
    /// UUID.
    Uuid,
    /// IPv4 or IPv6 address, with or without a netmask.
    Inet,
    /// Any JSON value.
    Jsonb,
}

use ColumnType as T;

struct Entry {
    column_type: ColumnType,
    /// Its name in the mapping and in DDL.
    name: &'static str,
    /// Its type and array type in the driver, which know their OIDs.
    element: Type,
    array: Type,
    /// The longest text that Postgres prints for a value; `None` if there is no limit.
    longest: Option<&'static str>,
}

const fn entry(
    column_type: ColumnType,
    name: &'static str,
    element: Type,
    array: Type,
    longest: Option<&'static str>,
) -> Entry {
    Entry {
        column_type,
        name,
        element,
        array,
        longest,
    }
}

/// The types in the order in which an error lists them.
#[rustfmt::skip]
const TYPES: &[Entry] = &[
    entry(T::Text, "text", Type::TEXT, Type::TEXT_ARRAY, None),
    entry(T::Varchar(0), "varchar(n)", Type::VARCHAR, Type::VARCHAR_ARRAY, None),
    entry(T::Boolean, "boolean", Type::BOOL, Type::BOOL_ARRAY, Some("false")),
    entry(T::SmallInt, "smallint", Type::INT2, Type::INT2_ARRAY, Some("-32768")),
    entry(T::Integer, "integer", Type::INT4, Type::INT4_ARRAY, Some("-2147483648")),
    entry(T::BigInt, "bigint", Type::INT8, Type::INT8_ARRAY, Some("-9223372036854775808")),
    entry(T::Real, "real", Type::FLOAT4, Type::FLOAT4_ARRAY, Some("-1.1754944e-38")),
    entry(T::DoublePrecision, "double precision", Type::FLOAT8, Type::FLOAT8_ARRAY, Some("-2.2250738585072014e-308")),
    entry(T::Numeric, "numeric", Type::NUMERIC, Type::NUMERIC_ARRAY, None),
    entry(T::Date, "date", Type::DATE, Type::DATE_ARRAY, Some("2026-11-21")),
    entry(T::TimestampTz, "timestamptz", Type::TIMESTAMPTZ, Type::TIMESTAMPTZ_ARRAY, Some("2026-11-21 00:00:00.000001+00:00:00")),
    entry(T::Uuid, "uuid", Type::UUID, Type::UUID_ARRAY, Some("00000000-0000-0000-0000-000000000000")),
    entry(T::Inet, "inet", Type::INET, Type::INET_ARRAY, Some("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255/128")),
    entry(T::Jsonb, "jsonb", Type::JSONB, Type::JSONB_ARRAY, None),
];

/// The name is not that of a known type, or the length of a `varchar` is out of range.
#[derive(Debug, PartialEq, Eq)]
pub struct UnknownType;

impl FromStr for ColumnType {
    type Err = UnknownType;

    fn from_str(name: &str) -> Result<Self, UnknownType> {
        if let Some(length) = name.strip_prefix("varchar(") {
            return varchar(length).ok_or(UnknownType);
        }
        let found = TYPES.iter().find(|entry| entry.name == name);
        found.map(|entry| entry.column_type).ok_or(UnknownType)
    }
}

/// A `varchar`, from what follows the parenthesis.
fn varchar(length: &str) -> Option<ColumnType> {
    let chars: usize = length.strip_suffix(')')?.trim().parse().ok()?;
    let is_allowed = (1..=MAX_VARCHAR_CHARS).contains(&chars);
    is_allowed.then_some(ColumnType::Varchar(chars))
}

impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Varchar(chars) => write!(f, "varchar({chars})"),
            other => f.write_str(other.entry().map_or("", |entry| entry.name)),
        }
    }
}

impl ColumnType {
    pub(crate) fn list() -> String {
        let names: Vec<_> = TYPES.iter().map(|entry| entry.name).collect();
        names.join(", ")
    }

    fn entry(self) -> Option<&'static Entry> {
        let is_same = |entry: &&Entry| discriminant(&entry.column_type) == discriminant(&self);
        TYPES.iter().find(is_same)
    }

    /// Whether its values are strings.
    pub fn is_text(self) -> bool {
        matches!(self, Self::Text | Self::Varchar(_))
    }

    pub(crate) fn is_number(self) -> bool {
        matches!(
            self,
            T::SmallInt | T::Integer | T::BigInt | T::Real | T::DoublePrecision | T::Numeric
        )
    }

    pub(crate) fn is_time(self) -> bool {
        matches!(self, Self::Date | Self::TimestampTz)
    }

    /// The maximum number of characters; `None` if there is no limit.
    pub fn max_chars(self) -> Option<usize> {
        match self {
            Self::Varchar(chars) => Some(chars),
            _ => None,
        }
    }

    /// Maximum characters that Postgres prints for a value; `None` if there is no limit.
    pub(crate) fn max_printed_chars(self) -> Option<usize> {
        let longest = || self.entry()?.longest.map(str::len);
        self.max_chars().or_else(longest)
    }

    /// The type of a value, as the driver knows it.
    pub(crate) fn element(self) -> Type {
        self.entry()
            .map_or(Type::UNKNOWN, |entry| entry.element.clone())
    }

    /// The type of the array that carries a column's values to Postgres.
    pub(crate) fn array(self) -> Type {
        self.entry()
            .map_or(Type::UNKNOWN, |entry| entry.array.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_written_as_it_is_read() {
        for entry in TYPES {
            let name = entry.name.replace("(n)", "(12)");
            let parsed: ColumnType = name.parse().unwrap();
            assert_eq!(parsed.to_string(), name);
            assert_eq!(parsed.element(), entry.element);
        }
    }

    /// In postgres_types an array of `int4` is `_int4`.
    #[test]
    fn every_array_type_is_that_of_its_element() {
        for Entry { element, array, .. } in TYPES {
            assert_eq!(array.name(), format!("_{}", element.name()));
        }
    }

    #[test]
    fn a_type_that_postgres_does_not_have_or_a_length_that_it_refuses_is_unknown() {
        for name in [
            "int",
            "VARCHAR(3)",
            "varchar",
            "varchar()",
            "varchar(0)",
            "varchar(-1)",
            "varchar(10485761)",
            "varchar(n)",
        ] {
            assert_eq!(name.parse::<ColumnType>(), Err(UnknownType), "{name}");
        }
    }
}
