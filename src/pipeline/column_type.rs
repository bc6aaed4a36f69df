//! The Postgres types a column can have, by the names Postgres gives them.

use std::fmt;
use std::str::FromStr;

use tokio_postgres::types::Type;

/// The longest `varchar(n)` that Postgres allows, in characters.
/// Source: <https://www.postgresql.org/docs/18/datatype-character.html>.
const MAX_VARCHAR_CHARS: usize = 10_485_760;

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
    /// Exact decimal of any precision that Postgres can hold.
    Numeric,
    /// Calendar day.
    Date,
    /// Instant, kept in microseconds.
    TimestampTz,
    /// UUID.
    Uuid,
    /// IPv4 or IPv6 address, with or without a netmask.
    Inet,
    /// Any JSON value.
    Jsonb,
}

/// The types in the order in which a sentence lists them.
pub(crate) const KNOWN_TYPES: &str = "text, varchar(n), boolean, smallint, integer, bigint, real, \
    double precision, numeric, date, timestamptz, uuid, inet, jsonb";

/// The name is none of the known types, or the length of a `varchar` is out of range.
#[derive(Debug, PartialEq, Eq)]
pub struct UnknownType;

impl FromStr for ColumnType {
    type Err = UnknownType;

    fn from_str(name: &str) -> Result<Self, UnknownType> {
        Ok(match name {
            "text" => Self::Text,
            "boolean" => Self::Boolean,
            "smallint" => Self::SmallInt,
            "integer" => Self::Integer,
            "bigint" => Self::BigInt,
            "real" => Self::Real,
            "double precision" => Self::DoublePrecision,
            "numeric" => Self::Numeric,
            "date" => Self::Date,
            "timestamptz" => Self::TimestampTz,
            "uuid" => Self::Uuid,
            "inet" => Self::Inet,
            "jsonb" => Self::Jsonb,
            other => Self::Varchar(varchar_length(other).ok_or(UnknownType)?),
        })
    }
}

fn varchar_length(name: &str) -> Option<usize> {
    let length = name.strip_prefix("varchar(")?.strip_suffix(')')?;
    let chars: usize = length.trim().parse().ok()?;
    (1..=MAX_VARCHAR_CHARS).contains(&chars).then_some(chars)
}

impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Varchar(chars) => return write!(f, "varchar({chars})"),
            Self::Text => "text",
            Self::Boolean => "boolean",
            Self::SmallInt => "smallint",
            Self::Integer => "integer",
            Self::BigInt => "bigint",
            Self::Real => "real",
            Self::DoublePrecision => "double precision",
            Self::Numeric => "numeric",
            Self::Date => "date",
            Self::TimestampTz => "timestamptz",
            Self::Uuid => "uuid",
            Self::Inet => "inet",
            Self::Jsonb => "jsonb",
        })
    }
}

impl ColumnType {
    /// Whether a token of a mask can be stored in it.
    pub fn is_text(self) -> bool {
        matches!(self, Self::Text | Self::Varchar(_))
    }

    /// Whether it holds numbers and nothing else.
    pub(crate) fn is_number(self) -> bool {
        use ColumnType as T;
        matches!(
            self,
            T::SmallInt | T::Integer | T::BigInt | T::Real | T::DoublePrecision | T::Numeric
        )
    }

    /// How many characters fit; `None` where there is no limit.
    pub fn max_chars(self) -> Option<usize> {
        match self {
            Self::Varchar(chars) => Some(chars),
            _ => None,
        }
    }

    /// The element type of the array that carries a column's values to Postgres.
    pub(crate) fn element(self) -> Type {
        match self {
            Self::Text => Type::TEXT,
            Self::Varchar(_) => Type::VARCHAR,
            Self::Boolean => Type::BOOL,
            Self::SmallInt => Type::INT2,
            Self::Integer => Type::INT4,
            Self::BigInt => Type::INT8,
            Self::Real => Type::FLOAT4,
            Self::DoublePrecision => Type::FLOAT8,
            Self::Numeric => Type::NUMERIC,
            Self::Date => Type::DATE,
            Self::TimestampTz => Type::TIMESTAMPTZ,
            Self::Uuid => Type::UUID,
            Self::Inet => Type::INET,
            Self::Jsonb => Type::JSONB,
        }
    }

    /// The array type whose elements are [`element`](Self::element)s.
    pub(crate) fn array(self) -> Type {
        match self {
            Self::Text => Type::TEXT_ARRAY,
            Self::Varchar(_) => Type::VARCHAR_ARRAY,
            Self::Boolean => Type::BOOL_ARRAY,
            Self::SmallInt => Type::INT2_ARRAY,
            Self::Integer => Type::INT4_ARRAY,
            Self::BigInt => Type::INT8_ARRAY,
            Self::Real => Type::FLOAT4_ARRAY,
            Self::DoublePrecision => Type::FLOAT8_ARRAY,
            Self::Numeric => Type::NUMERIC_ARRAY,
            Self::Date => Type::DATE_ARRAY,
            Self::TimestampTz => Type::TIMESTAMPTZ_ARRAY,
            Self::Uuid => Type::UUID_ARRAY,
            Self::Inet => Type::INET_ARRAY,
            Self::Jsonb => Type::JSONB_ARRAY,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_read_as_it_is_written() {
        for name in KNOWN_TYPES.split(", ") {
            let name = name.replace("(n)", "(12)");
            let parsed: ColumnType = name.parse().unwrap();
            assert_eq!(parsed.to_string(), name);
        }
    }

    #[test]
    fn a_type_postgres_does_not_have_or_a_length_it_refuses_is_unknown() {
        for name in [
            "int",
            "VARCHAR(3)",
            "varchar",
            "varchar()",
            "varchar(0)",
            "varchar(-1)",
            "varchar(10485761)",
        ] {
            assert_eq!(name.parse::<ColumnType>(), Err(UnknownType), "{name}");
        }
    }
}
