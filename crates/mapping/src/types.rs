//! `type`: the Postgres types that a column can have, by Postgres's names.

use std::fmt;
use std::str::FromStr;

use postgres_types::Type;

use crate::text::similar;
use crate::time::TimeType;

/// The longest `varchar(n)` that Postgres allows, in characters.
/// Source: <https://www.postgresql.org/docs/18/datatype-character.html>.
const MAX_VARCHAR_CHARS: usize = 10_485_760;

/// Maximum digits of a number before the point, and after it: the largest precision that a `numeric` column can
/// declare. Without a precision Postgres stores up to 131,072 and 16,383 digits, zeros in almost no space, and prints
/// every one of them whenever the table is read.
/// Source: <https://www.postgresql.org/docs/18/datatype-numeric.html#DATATYPE-NUMERIC-DECIMAL>.
pub(crate) const MAX_DIGITS: usize = 1_000;

struct Entry {
    column_type: ColumnType,
    /// Its name in the mapping and in DDL.
    name: &'static str,
    /// Its type and array type in the driver, which know their OIDs.
    element: Type,
    array: Type,
    /// The longest text that Postgres prints for a value; `None` if there is no limit.
    longest: Option<&'static str>,
    /// What a mapping for Aurora DSQL uses instead; `None` if DSQL stores it.
    instead_in_dsql: Option<&'static str>,
}

/// Declares the types and their entries together, so that no type can lack its entry.
macro_rules! column_types {
    ($(
        $(#[$doc:meta])+
        $variant:ident $(($($part:ident: $field:ty),+ = $($example:expr),+))? :
        $name:literal, $element:ident, $array:ident, $longest:expr, $instead:expr;
    )+) => {
        /// The type of a column, as `pipeline.toml` writes it: `text`, `varchar(128)`, `integer`, …
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum ColumnType {
            $($(#[$doc])+ $variant $(($($field),+))?,)+
            /// An array of one dimension.
            Array(Element),
        }

        /// The type of the elements of an array: no array itself, so that a type is a plain value.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Element {
            $($(#[$doc])+ $variant $(($($field),+))?,)+
        }

        /// The place of each type in [`TYPES`].
        enum Place {
            $($variant,)+
        }

        /// The types in the order in which an error lists them.
        const TYPES: &[Entry] = &[$(Entry {
            column_type: ColumnType::$variant $(($($example),+))?,
            name: $name,
            element: Type::$element,
            array: Type::$array,
            longest: $longest,
            instead_in_dsql: $instead,
        },)+];

        impl From<Element> for ColumnType {
            fn from(element: Element) -> Self {
                match element {
                    $(Element::$variant $(($($part),+))? => Self::$variant $(($($part),+))?,)+
                }
            }
        }

        impl ColumnType {
            /// An array of values of this type; `None` if they are arrays themselves.
            fn array_of(self) -> Option<Self> {
                match self {
                    $(Self::$variant $(($($part),+))? => Some(Self::Array(Element::$variant $(($($part),+))?)),)+
                    Self::Array(_) => None,
                }
            }

            /// The entry of the type, or of the elements of an array.
            #[expect(clippy::indexing_slicing, reason = "this macro gives each type its place")]
            fn entry(self) -> &'static Entry {
                match self {
                    $(Self::$variant { .. } => &TYPES[Place::$variant as usize],)+
                    Self::Array(element) => Self::from(element).entry(),
                }
            }
        }
    };
}

// For each type: its name, its type and array type in the driver, the longest text that Postgres prints for a value, and
// what Aurora DSQL stores instead (numeric would become numeric(18, 6) there, and round).
// Source: <https://docs.aws.amazon.com/aurora-dsql/latest/userguide/working-with-postgresql-compatibility-supported-data-types.html> (2026-11).
column_types! {
    /// Text of any length.
    Text: "text", TEXT, TEXT_ARRAY, None, None;
    /// Text of at most this many characters (not bytes).
    Varchar(chars: usize = 0): "varchar(n)", VARCHAR, VARCHAR_ARRAY, None, None;
    /// `true` or `false`.
    Boolean: "boolean", BOOL, BOOL_ARRAY, Some("false"), None;
    /// 16-bit integer.
    SmallInt: "smallint", INT2, INT2_ARRAY, Some("-32768"), None;
    /// 32-bit integer.
    Integer: "integer", INT4, INT4_ARRAY, Some("-2147483648"), None;
    /// 64-bit integer.
    BigInt: "bigint", INT8, INT8_ARRAY, Some("-9223372036854775808"), None;
    /// 32-bit floating point.
    Real: "real", FLOAT4, FLOAT4_ARRAY, Some("-1.1754944e-38"), None;
    /// 64-bit floating point.
    DoublePrecision: "double precision", FLOAT8, FLOAT8_ARRAY, Some("-2.2250738585072014e-308"), None;
    /// Exact decimal of any precision that Postgres can store.
    Numeric: "numeric", NUMERIC, NUMERIC_ARRAY, None, Some("numeric(p, s)");
    /// Exact decimal with a precision (the first number: digits in total) and a scale (the second: digits after the
    /// point).
    NumericOf(precision: u16, scale: u16 = 1, 0): "numeric(p,s)", NUMERIC, NUMERIC_ARRAY, None, None;
    /// Calendar day.
    Date: "date", DATE, DATE_ARRAY, Some("2026-11-21"), None;
    /// Time of day, stored in microseconds.
    Time: "time", TIME, TIME_ARRAY, Some("00:00:00.000001"), None;
    /// Date and time of day without a time zone, stored in microseconds.
    Timestamp: "timestamp", TIMESTAMP, TIMESTAMP_ARRAY, Some("2026-11-21 00:00:00.000001"), None;
    /// Instant, stored in microseconds.
    TimestampTz: "timestamptz", TIMESTAMPTZ, TIMESTAMPTZ_ARRAY, Some("2026-11-21 00:00:00.000001+00:00:00"), None;
    /// UUID.
    Uuid: "uuid", UUID, UUID_ARRAY, Some("00000000-0000-0000-0000-000000000000"), None;
    /// IPv4 or IPv6 address, with or without a netmask.
    Inet: "inet", INET, INET_ARRAY, Some("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255/128"), Some("text");
    /// Bytes; base64 in the message.
    Bytea: "bytea", BYTEA, BYTEA_ARRAY, None, None;
    /// Any JSON value, as it was written.
    Json: "json", JSON, JSON_ARRAY, None, Some("jsonb");
    /// Any JSON value.
    Jsonb: "jsonb", JSONB, JSONB_ARRAY, None, None;
}

use ColumnType as T;

/// What the values of a type are, for those who treat several types alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text of any length.
    Text,
    /// Whole numbers.
    Integer,
    /// Floating point numbers.
    Float,
    /// Exact decimals.
    Decimal,
    /// A day or a point in time.
    Instant,
    /// JSON of any kind.
    Json,
    /// Arrays of any other type.
    Array,
    /// Values of a kind of their own.
    Other,
}

/// What follows the name of a type in the name of an array of it.
const ARRAY: &str = "[]";

/// Names of types elsewhere, and the types that they mean here.
#[rustfmt::skip]
const ELSEWHERE: &[(&str, &str)] = &[
    ("int", "integer"), ("int4", "integer"), ("int32", "integer"), ("serial", "integer"),
    ("int2", "smallint"), ("int16", "smallint"), ("short", "smallint"), ("tinyint", "smallint"),
    ("int8", "bigint"), ("int64", "bigint"), ("long", "bigint"), ("bigserial", "bigint"), ("unsigned", "bigint"),
    ("float4", "real"), ("float", "double precision"), ("float8", "double precision"), ("double", "double precision"),
    ("decimal", "numeric"), ("number", "numeric"), ("numeric", "numeric(p,s)"),
    ("bool", "boolean"),
    ("string", "text"), ("str", "text"), ("clob", "text"), ("longtext", "text"), ("enum", "text"),
    ("varchar", "varchar(n)"), ("character varying", "varchar(n)"), ("nvarchar", "varchar(n)"),
    ("char", "varchar(n)"), ("character", "varchar(n)"),
    ("datetime", "timestamptz"), ("timestamp with time zone", "timestamptz"), ("timestamptz", "timestamptz"),
    ("instant", "timestamptz"), ("timestamp without time zone", "timestamp"), ("timestamp", "timestamp"),
    ("time without time zone", "time"), ("time", "time"), ("day", "date"),
    ("guid", "uuid"), ("ip", "inet"), ("ipaddress", "inet"),
    ("bytes", "bytea"), ("binary", "bytea"), ("varbinary", "bytea"), ("blob", "bytea"),
    ("object", "jsonb"), ("map", "jsonb"), ("array", "text[]"), ("list", "text[]"),
];

/// The type is unknown, or its length or precision is out of range.
#[derive(Debug, PartialEq, Eq)]
pub struct UnknownType;

impl FromStr for ColumnType {
    type Err = UnknownType;

    fn from_str(name: &str) -> Result<Self, UnknownType> {
        if let Some(element) = name.strip_suffix(ARRAY) {
            let element: Self = element.parse()?;
            return match element.is_json() {
                true => Err(UnknownType),
                false => element.array_of().ok_or(UnknownType),
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
            Self::Array(_) => write!(f, "{}{ARRAY}", self.single()),
            other => f.write_str(other.entry().name),
        }
    }
}

impl ColumnType {
    /// The names of the types that are not arrays.
    pub(crate) fn names() -> impl Iterator<Item = &'static str> {
        TYPES.iter().map(|entry| entry.name)
    }

    /// The type of this name in the catalog, without a length.
    pub(crate) fn of_catalog(name: &str) -> Option<Self> {
        let found = TYPES.iter().find(|entry| entry.element.name() == name);
        found.map(|entry| entry.column_type)
    }

    pub(crate) fn list() -> String {
        let names: Vec<_> = Self::names().collect();
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

    /// What its values are.
    pub fn kind(self) -> Kind {
        match self {
            T::Text | T::Varchar(_) => Kind::Text,
            T::SmallInt | T::Integer | T::BigInt => Kind::Integer,
            T::Real | T::DoublePrecision => Kind::Float,
            T::Numeric | T::NumericOf(..) => Kind::Decimal,
            T::Date | T::Timestamp | T::TimestampTz => Kind::Instant,
            T::Json | T::Jsonb => Kind::Json,
            T::Array(_) => Kind::Array,
            T::Boolean | T::Time | T::Uuid | T::Inet | T::Bytea => Kind::Other,
        }
    }

    /// Whether its values are strings.
    pub fn is_text(self) -> bool {
        self.kind() == Kind::Text
    }

    /// The type of the elements of an array; of a single value the type itself.
    pub fn single(self) -> Self {
        match self {
            Self::Array(element) => element.into(),
            single => single,
        }
    }

    /// Whether its values are numbers.
    pub fn is_number(self) -> bool {
        match self.kind() {
            Kind::Integer | Kind::Float | Kind::Decimal => true,
            Kind::Text | Kind::Instant | Kind::Json | Kind::Array | Kind::Other => false,
        }
    }

    /// Whether its values are exact decimals.
    pub(crate) fn is_numeric(self) -> bool {
        matches!(self, Self::Numeric | Self::NumericOf(..))
    }

    /// Whether its values are days or points in time.
    pub fn is_time(self) -> bool {
        self.kind() == Kind::Instant
    }

    /// Which type of times it is.
    pub(crate) fn time_type(self) -> Option<TimeType> {
        match self {
            T::Date => Some(TimeType::Date),
            T::Time => Some(TimeType::Time),
            T::Timestamp => Some(TimeType::Timestamp),
            T::TimestampTz => Some(TimeType::TimestampTz),
            T::Text | T::Varchar(_) | T::Json | T::Jsonb | T::Boolean | T::Uuid | T::Inet => None,
            T::SmallInt | T::Integer | T::BigInt | T::Real | T::DoublePrecision => None,
            T::Numeric | T::NumericOf(..) | T::Bytea | T::Array(_) => None,
        }
    }

    /// Whether its values are JSON of any kind.
    pub(crate) fn is_json(self) -> bool {
        self.kind() == Kind::Json
    }

    /// Whether its values can be objects or arrays.
    pub fn is_nested(self) -> bool {
        self.is_json() || self.kind() == Kind::Array
    }

    /// The maximum number of characters; `None` if there is no limit.
    pub fn max_chars(self) -> Option<usize> {
        match self {
            Self::Varchar(chars) => Some(chars),
            _ => None,
        }
    }

    /// Maximum characters that Postgres prints for a value; `None` if there is no limit.
    pub fn max_printed_chars(self) -> Option<usize> {
        /// A sign, a zero before the point, and the point.
        const BESIDE_DIGITS: usize = 3;
        match self {
            Self::Varchar(chars) => Some(chars),
            Self::NumericOf(precision, _) => Some(usize::from(precision) + BESIDE_DIGITS),
            Self::Array(_) => None,
            _ => self.entry().longest.map(str::len),
        }
    }

    /// What a mapping for Aurora DSQL uses instead of the type; `None` if DSQL stores it.
    pub(crate) fn instead_in_dsql(self) -> Option<&'static str> {
        match self {
            Self::Array(_) => Some("jsonb"),
            single => single.entry().instead_in_dsql,
        }
    }

    /// The type of a value, as the driver knows it.
    pub fn element(self) -> Type {
        match self {
            Self::Array(_) => self.entry().array.clone(),
            scalar => scalar.entry().element.clone(),
        }
    }

    /// The type of the parameter that carries a column's values to Postgres: an array. It cannot hold arrays of
    /// different lengths, so these go as text.
    pub fn array(self) -> Type {
        match self {
            Self::Array(_) => Type::TEXT_ARRAY,
            scalar => scalar.entry().array.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
