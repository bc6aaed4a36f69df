//! `type`: the Postgres types that a column can have, by Postgres's names.

use std::fmt;
use std::mem::discriminant;
use std::str::FromStr;

use tokio_postgres::types::Type;

use crate::suggest::similar;

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
    /// Exact decimal of at most this many digits (the first number), of which this many (the second) are after
    /// the point.
    NumericOf(u16, u16),
    /// Calendar day.
    Date,
    /// Time of day, stored in microseconds.
    Time,
    /// Date and time of day without a time zone, stored in microseconds.
    Timestamp,
    /// Instant, stored in microseconds.
    TimestampTz,
    /// UUID.
    Uuid,
    /// IPv4 or IPv6 address, with or without a netmask.
    Inet,
    /// Bytes; base64 in the message.
    Bytea,
    /// Any JSON value, as it was written.
    Json,
    /// Any JSON value.
    Jsonb,
    /// An array of one dimension. The type of its elements lives as long as the process, as the mapping does.
    Array(&'static ColumnType),
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
    entry(T::NumericOf(1, 0), "numeric(p,s)", Type::NUMERIC, Type::NUMERIC_ARRAY, None),
    entry(T::Date, "date", Type::DATE, Type::DATE_ARRAY, Some("2026-11-21")),
    entry(T::Time, "time", Type::TIME, Type::TIME_ARRAY, Some("00:00:00.000001")),
    entry(T::Timestamp, "timestamp", Type::TIMESTAMP, Type::TIMESTAMP_ARRAY, Some("2026-11-21 00:00:00.000001")),
    entry(T::TimestampTz, "timestamptz", Type::TIMESTAMPTZ, Type::TIMESTAMPTZ_ARRAY, Some("2026-11-21 00:00:00.000001+00:00:00")),
    entry(T::Uuid, "uuid", Type::UUID, Type::UUID_ARRAY, Some("00000000-0000-0000-0000-000000000000")),
    entry(T::Inet, "inet", Type::INET, Type::INET_ARRAY, Some("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255/128")),
    entry(T::Bytea, "bytea", Type::BYTEA, Type::BYTEA_ARRAY, None),
    entry(T::Json, "json", Type::JSON, Type::JSON_ARRAY, None),
    entry(T::Jsonb, "jsonb", Type::JSONB, Type::JSONB_ARRAY, None),
];

/// What follows the name of a type in the name of an array of it.
const ARRAY: &str = "[]";

/// Names of types elsewhere, and the types that they mean here.
#[rustfmt::skip]
const ELSEWHERE: &[(&str, &str)] = &[
    ("int", "integer"), ("int4", "integer"), ("int32", "integer"), ("serial", "integer"),
    ("int2", "smallint"), ("int16", "smallint"), ("short", "smallint"), ("tinyint", "smallint"),
    ("int8", "bigint"), ("int64", "bigint"), ("long", "bigint"), ("bigserial", "bigint"), ("unsigned", "bigint"),
    ("float4", "real"), ("float", "double precision"), ("float8", "double precision"), ("double", "double precision"),
    ("decimal", "numeric"), ("number", "numeric"), ("numeric", "numeric(p,s)"), ("money", "numeric(p,s)"),
    ("bool", "boolean"),
    ("string", "text"), ("str", "text"), ("clob", "text"), ("longtext", "text"), ("citext", "text"), ("enum", "text"),
    ("varchar", "varchar(n)"), ("character varying", "varchar(n)"), ("nvarchar", "varchar(n)"),
    ("char", "varchar(n)"), ("character", "varchar(n)"),
    ("datetime", "timestamptz"), ("timestamp with time zone", "timestamptz"), ("timestamptz", "timestamptz"),
    ("instant", "timestamptz"), ("timestamp without time zone", "timestamp"), ("timestamp", "timestamp"),
    ("time without time zone", "time"), ("time", "time"), ("day", "date"),
    ("guid", "uuid"), ("ip", "inet"), ("cidr", "inet"), ("ipaddress", "inet"),
    ("bytes", "bytea"), ("binary", "bytea"), ("varbinary", "bytea"), ("blob", "bytea"),
    ("object", "jsonb"), ("map", "jsonb"), ("hstore", "jsonb"), ("array", "text[]"), ("list", "text[]"),
];

/// The name is not that of a known type, or its length or precision is out of range.
#[derive(Debug, PartialEq, Eq)]
pub struct UnknownType;

impl FromStr for ColumnType {
    type Err = UnknownType;

    fn from_str(name: &str) -> Result<Self, UnknownType> {
        if let Some(element) = name.strip_suffix(ARRAY) {
            let element: Self = element.parse()?;
            return if element.is_nested() {
                Err(UnknownType)
            } else {
                Ok(Self::Array(Box::leak(Box::new(element))))
            };
        }
        if let Some(length) = name.strip_prefix("varchar(") {
            return varchar(length).ok_or(UnknownType);
        }
        if let Some(digits) = name.strip_prefix("numeric(") {
            return numeric(digits).ok_or(UnknownType);
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

/// A `numeric` with a precision and perhaps a scale, from what follows the parenthesis.
fn numeric(digits: &str) -> Option<ColumnType> {
    let digits = digits.strip_suffix(')')?;
    let (precision, scale) = digits.split_once(',').unwrap_or((digits, "0"));
    let (precision, scale) = (precision.trim().parse().ok()?, scale.trim().parse().ok()?);
    let is_allowed = (1..=MAX_DIGITS).contains(&usize::from(precision)) && scale <= precision;
    is_allowed.then_some(ColumnType::NumericOf(precision, scale))
}

impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Varchar(chars) => write!(f, "varchar({chars})"),
            Self::NumericOf(precision, scale) => write!(f, "numeric({precision},{scale})"),
            Self::Array(element) => write!(f, "{element}{ARRAY}"),
            other => f.write_str(other.entry().map_or("", |entry| entry.name)),
        }
    }
}

impl ColumnType {
    pub(crate) fn list() -> String {
        let names: Vec<_> = TYPES.iter().map(|entry| entry.name).collect();
        format!("{}, or an array such as text{ARRAY}", names.join(", "))
    }

    /// What was probably meant by the name of an unknown type.
    pub(crate) fn meant(name: &str) -> Option<String> {
        let name = name.trim().to_lowercase();
        if let Ok(known) = name.parse::<Self>() {
            return Some(known.to_string());
        }
        if let Some(element) = name.strip_suffix(ARRAY) {
            let element = Self::meant(element)?;
            let array = format!("{element}{ARRAY}");
            return Some(array.parse::<Self>().map_or(element, |_| array));
        }
        let (base, arguments) = name.split_once('(').unwrap_or((&name, ""));
        let is_it = |(there, _): &&(&str, &str)| *there == base.trim_end();
        let Some((_, here)) = ELSEWHERE.iter().find(is_it) else {
            let known = TYPES.iter().map(|entry| entry.name);
            return similar(&name, known).map(str::to_owned);
        };
        let with_arguments = format!(
            "{}({arguments}",
            here.trim_end_matches("(n)").trim_end_matches("(p,s)")
        );
        let known = with_arguments.parse::<Self>().ok();
        Some(known.map_or((*here).to_owned(), |known| known.to_string()))
    }

    /// The entry of the type, or of the elements of an array.
    fn entry(self) -> Option<&'static Entry> {
        let scalar = if let Self::Array(element) = self {
            *element
        } else {
            self
        };
        let is_same = |entry: &&Entry| discriminant(&entry.column_type) == discriminant(&scalar);
        TYPES.iter().find(is_same)
    }

    /// Whether its values are strings.
    pub fn is_text(self) -> bool {
        matches!(self, Self::Text | Self::Varchar(_))
    }

    pub(crate) fn is_number(self) -> bool {
        matches!(
            self,
            T::SmallInt
                | T::Integer
                | T::BigInt
                | T::Real
                | T::DoublePrecision
                | T::Numeric
                | T::NumericOf(..)
        )
    }

    /// Whether its values are exact decimals.
    pub(crate) fn is_numeric(self) -> bool {
        matches!(self, Self::Numeric | Self::NumericOf(..))
    }

    pub(crate) fn is_time(self) -> bool {
        matches!(self, Self::Date | Self::Timestamp | Self::TimestampTz)
    }

    /// Whether its values are JSON of any kind.
    pub(crate) fn is_json(self) -> bool {
        matches!(self, Self::Json | Self::Jsonb)
    }

    /// Whether its values can be objects or arrays.
    pub fn is_nested(self) -> bool {
        self.is_json() || matches!(self, Self::Array(_))
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
        /// A sign, a zero before the point, and the point.
        const BESIDE_DIGITS: usize = 3;
        match self {
            Self::Varchar(chars) => Some(chars),
            Self::NumericOf(precision, _) => Some(usize::from(precision) + BESIDE_DIGITS),
            Self::Array(_) => None,
            _ => self.entry()?.longest.map(str::len),
        }
    }

    /// The type of a value, as the driver knows it.
    pub(crate) fn element(self) -> Type {
        let of = |entry: &Entry| match self {
            Self::Array(_) => entry.array.clone(),
            _ => entry.element.clone(),
        };
        self.entry().map_or(Type::UNKNOWN, of)
    }

    /// The type of the parameter that carries a column's values to Postgres: an array. It cannot hold arrays of
    /// different lengths, so these go as text.
    pub fn array(self) -> Type {
        match self {
            Self::Array(_) => Type::TEXT_ARRAY,
            _ => self
                .entry()
                .map_or(Type::UNKNOWN, |entry| entry.array.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_written_as_it_is_read() {
        for entry in TYPES {
            let name = entry.name.replace("(n)", "(12)").replace("(p,s)", "(12,2)");
            let parsed: ColumnType = name.parse().unwrap();
            assert_eq!(parsed.to_string(), name);
            assert_eq!(parsed.element(), entry.element);
            let array: Result<ColumnType, _> = format!("{name}[]").parse();
            assert_eq!(array.is_err(), parsed.is_json(), "{name}[]");
            if let Ok(array) = array {
                assert_eq!(
                    (array.to_string(), array.element()),
                    (format!("{name}[]"), entry.array.clone())
                );
            }
        }
        assert_eq!("numeric(12, 2)".parse(), Ok(T::NumericOf(12, 2)));
        assert_eq!("numeric(5)".parse(), Ok(T::NumericOf(5, 0)));
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
            "numeric()",
            "numeric(0)",
            "numeric(2,3)",
            "numeric(1001)",
            "numeric(3,-1)",
            "text[][]",
            "jsonb[]",
            "[]",
        ] {
            assert_eq!(name.parse::<ColumnType>(), Err(UnknownType), "{name}");
        }
    }

    #[test]
    fn what_a_type_is_called_elsewhere_is_understood() {
        let cases = [
            ("int", "integer"),
            ("VARCHAR(3)", "varchar(3)"),
            ("varchar", "varchar(n)"),
            ("varchar(0)", "varchar(n)"),
            ("character varying(20)", "varchar(20)"),
            ("decimal(10, 2)", "numeric(10,2)"),
            ("decimal", "numeric"),
            ("numeric(2,3)", "numeric(p,s)"),
            ("string", "text"),
            ("bool", "boolean"),
            ("float", "double precision"),
            ("double", "double precision"),
            ("datetime", "timestamptz"),
            ("timestamptz(3)", "timestamptz"),
            ("JSONB", "jsonb"),
            ("jsonb[]", "jsonb"),
            ("int[]", "integer[]"),
            ("array", "text[]"),
            ("timestamtz", "timestamptz"),
        ];
        for (there, here) in cases {
            assert_eq!(ColumnType::meant(there).as_deref(), Some(here), "{there}");
        }
        assert_eq!(ColumnType::meant("tsvector"), None);
        for (there, here) in ELSEWHERE {
            let here = here.replace("(n)", "(1)").replace("(p,s)", "(1,0)");
            assert!(here.parse::<ColumnType>().is_ok(), "{there}");
        }
    }
}
