//! Why a message was set aside: the rule it broke and the place, never the value.

mod not_an_object;
mod refusal;
mod s3_fault;

use std::fmt;

use crate::jq::JqFault;
use crate::message::{Encoding, Envelope, ExtractError, NotInEnvelope};
use crate::steps::Step;
use crate::time::{LocalTime, Unit};
use crate::types::{ColumnType, MAX_DIGITS};
pub use not_an_object::{Found, NotAnObject, Start};
pub use refusal::{Refusal, RefusedValue};
pub use s3_fault::S3Fault;

/// A message that cannot be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The rule that it broke.
    pub rule: Rule,
    /// The value that broke it; `None` if the whole message is at fault.
    pub place: Option<Place>,
}

/// A column and where its value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The table's name, where the mapping has several.
    pub table: Option<String>,
    /// The column's name; `None` where the array that a table has its rows from, or an element of it, is at fault.
    pub column: Option<String>,
    /// The path in the body, with the positions of elements, or the metadata's name.
    pub path: String,
    /// Whether the column is part of the key, which cannot have a default.
    pub is_key: bool,
}

impl Place {
    /// A record of a body that is an array, or lines.
    pub(crate) fn of_record(index: usize) -> Self {
        Self {
            table: None,
            column: None,
            path: format!("[{index}]"),
            is_key: false,
        }
    }
}

/// Why a message cannot be unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotEncoded {
    /// It is not UTF-8 text in this encoding.
    As(Encoding),
    /// Its attribute does not name an encoding.
    Unknown,
    /// It was moved to S3, and is not UTF-8 text there.
    Object,
}

impl fmt::Display for NotEncoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::As(encoding) => write!(
                f,
                "the message is not UTF-8 text in {encoding}: correct encoding, or the producer"
            ),
            Self::Unknown => write!(
                f,
                "the attribute that names the encoding of the message has an unknown value: send one of {}, or correct encoding",
                Encoding::list_of_attribute()
            ),
            Self::Object => f.write_str(
                "the object in S3 is not UTF-8 text: have the producer send compressed messages in base64, as encoding names it",
            ),
        }
    }
}

/// The rules that a message can break.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// The record has no body.
    BodyMissing,
    /// The body is not one JSON value.
    BodyNotJson,
    /// The body is not in the envelope that the mapping names.
    NotInEnvelope(NotInEnvelope),
    /// The message was moved to S3, and cannot be read there.
    S3(S3Fault),
    /// The message is not packed as the mapping says.
    NotEncoded(NotEncoded),
    /// The line of this number, from 1, is not one JSON value.
    LineNotJson(usize),
    /// The program of the mapping gives no value.
    Jq(JqFault),
    /// The value is null, missing or empty, and the column is required.
    Required,
    /// The value is of another type than the column.
    Type(ColumnType),
    /// The value is not a number in the unit of the column.
    NotInUnit(Unit),
    /// The value is not a time of the type in the format of the column, of which this is an example.
    NotInFormat(ColumnType, Box<str>),
    /// The number is outside the range of the column's type, or has too many digits.
    Range(ColumnType),
    /// In the unit of the column, the number is a time before 1970 or after 2199. It may be of this other unit.
    OutsideYears(Option<Unit>),
    /// In this unit, the number is not a time of day.
    OutsideDay(Unit),
    /// The local time is not one instant in the zone of the column.
    LocalTime(LocalTime),
    /// More characters than this.
    Length(usize),
    /// Holds U+0000, which Postgres cannot store.
    NulCharacter,
    /// Holds half of a surrogate pair, which is not a character by itself.
    LoneSurrogate,
    /// Nested deeper than this.
    Nesting(usize),
    /// The transform does not work on the value.
    Transform(Step),
    /// No table matches the message.
    Unmatched,
    /// The value that a table has its rows from is not an array.
    NotAnArray,
    /// Fields are mapped of a value that is not an object.
    NotAnObject(NotAnObject),
    /// Two rows of one parent have the same key.
    RepeatedKey,
    /// The message expands to more rows than this.
    TooManyRows(usize),
    /// The message unpacks to more bytes than this, or expands to values of more.
    TooLarge(usize),
    /// Postgres refused the row.
    Refused(Box<Refusal>),
    /// FIFO: an earlier message of its group failed.
    GroupBlocked,
    /// Time ran out before the row was confirmed to be stored.
    OutOfTime,
    /// A panic in our own code while the message was read.
    Internal,
}

/// The rules and their names, as one table, to which each envelope adds its own.
macro_rules! names {
    ($($rule:pat => $name:literal,)*) => {
        impl Rule {
            /// The names of all rules.
            pub fn names() -> impl Iterator<Item = &'static str> {
                let of_envelopes = Envelope::all().filter_map(Envelope::mismatch);
                [$($name),*].into_iter().chain(of_envelopes.map(|mismatch| mismatch.rule))
            }

            /// Its name in logs, metrics and dead letters: a word that does not change.
            pub fn name(&self) -> &'static str {
                match self {
                    $($rule => $name,)*
                    Self::NotInEnvelope(mismatch) => mismatch.rule,
                }
            }
        }
    };
}

names! {
    Rule::BodyMissing => "body_missing",
    Rule::BodyNotJson => "body_not_json",
    Rule::S3(S3Fault::Pointer(_)) => "s3_pointer",
    Rule::S3(S3Fault::Missing(_)) => "s3_missing",
    Rule::S3(S3Fault::NoBucket(_) | S3Fault::OtherRegion { .. } | S3Fault::Denied { .. }) => "s3_denied",
    Rule::S3(S3Fault::Unavailable { .. }) => "s3_unavailable",
    Rule::NotEncoded(_) => "not_encoded",
    Rule::LineNotJson(_) => "line_not_json",
    Rule::Jq(_) => "jq",
    Rule::Required => "required",
    Rule::Type(_) | Rule::NotInUnit(_) | Rule::NotInFormat(..) => "type",
    Rule::Range(_) | Rule::OutsideYears(_) | Rule::OutsideDay(_) => "range",
    Rule::LocalTime(_) => "local_time",
    Rule::Length(_) => "length",
    Rule::NulCharacter => "nul_character",
    Rule::LoneSurrogate => "lone_surrogate",
    Rule::Nesting(_) => "nesting",
    Rule::Transform(_) => "transform",
    Rule::Unmatched => "unmatched",
    Rule::NotAnArray => "not_an_array",
    Rule::NotAnObject(_) => "not_an_object",
    Rule::RepeatedKey => "repeated_key",
    Rule::TooManyRows(_) => "too_many_rows",
    Rule::TooLarge(_) => "too_large",
    Rule::Refused(_) => "refused",
    Rule::GroupBlocked => "group_blocked",
    Rule::OutOfTime => "out_of_time",
    Rule::Internal => "internal",
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BodyMissing => f.write_str("the record has no body: check the producer"),
            Self::BodyNotJson => f.write_str("the body is not one JSON value: check the producer"),
            Self::NotInEnvelope(mismatch) => f.write_str(mismatch.reason),
            Self::S3(fault) => fault.fmt(f),
            Self::NotEncoded(why) => why.fmt(f),
            Self::LineNotJson(line) => write!(f, "line {line} of the message is not one JSON value: check the producer"),
            Self::Jq(fault) => fault.fmt(f),
            Self::Required => f.write_str("the value is null, missing or empty: send one, or map the column with a default"),
            Self::Type(expected) => match expected.time_type() {
                Some(time_type) => write!(f, "the value is not a valid {expected}, such as {:?}: send one, or set unit for numbers, or format for other texts", time_type.example()),
                None => write!(f, "the value is not a valid {expected}: send one, or change the column type"),
            },
            Self::NotInUnit(unit) => write!(f, "the column has unit = \"{unit}\", and the value is not a number of {}: send one, or correct unit", unit.plural()),
            Self::NotInFormat(expected, example) => write!(f, "the value is not a valid {expected} in the column's format, such as {example:?}: send one, or correct format"),
            Self::OutsideYears(Some(unit)) => write!(f, "the time is outside 1970–2200: it looks like {}, set unit = \"{unit}\"", unit.plural()),
            Self::OutsideYears(None) => f.write_str("the time is outside 1970–2200: fix the producer, or correct unit"),
            Self::OutsideDay(unit) => write!(f, "the number of {} since midnight is outside 00:00–24:00: fix the producer, or correct unit", unit.plural()),
            Self::LocalTime(LocalTime::Skipped) => f.write_str("the local time does not exist in the column's zone, because the clocks were set forward over it: have the producer send UTC, or the offset"),
            Self::LocalTime(LocalTime::Repeated) => f.write_str("the local time occurs twice in the column's zone, because the clocks were set back: have the producer send UTC, or the offset"),
            Self::Range(ColumnType::Numeric) => write!(f, "the number has more than {MAX_DIGITS} digits before or after the point: fix the producer, or change the column type to text"),
            Self::Range(ColumnType::Jsonb | ColumnType::Array(_)) => write!(f, "a number in the value expands to more than {MAX_DIGITS} digits before or after the point, or all numbers together expand by more than 1 MiB: fix the producer"),
            Self::Range(expected @ ColumnType::NumericOf(..)) => write!(f, "the number does not fit {expected} without rounding: fix the producer, round it in the jq of the column, or change the column type to numeric"),
            Self::Range(expected) => write!(f, "the value is outside the range of {expected}: use a wider column type"),
            Self::Length(chars) => write!(f, "the value has more than {chars} characters: widen the column"),
            Self::NulCharacter => f.write_str("the value contains U+0000, which Postgres cannot store: add the transform strip_nul"),
            Self::LoneSurrogate => f.write_str("the value contains half of a surrogate pair: fix the producer, or add the transform strip_nul"),
            Self::Nesting(depth) => write!(f, "the value is nested more than {depth} levels deep: reduce the nesting"),
            Self::Transform(transform) => write!(f, "transform {transform} cannot read the value: fix the producer, or remove the transform"),
            Self::Unmatched => f.write_str("no table matches it: add a table whose when matches it, or set unmatched = \"skip\""),
            Self::NotAnObject(found) => found.fmt(f),
            Self::NotAnArray => f.write_str("the value is not an array: correct its producer, or the table's each"),
            Self::RepeatedKey => f.write_str("two rows of one parent have the same key: correct the producer, or add a column to the key, for example from \"@index\""),
            Self::TooManyRows(rows) => write!(f, "the message expands to more than {rows} rows: split it"),
            Self::TooLarge(bytes) => write!(f, "the message unpacks or expands to more than {} MiB: split it, or repeat less of it in each row", bytes >> 20),
            Self::Refused(refusal) if refusal.value.is_some() => write!(f, "Postgres refused the row with {refusal}: fix the producer, or change the type of the column"),
            Self::Refused(refusal) => write!(f, "Postgres refused the row with {refusal}: fix the producer, or relax the constraint"),
            Self::GroupBlocked => f.write_str("an earlier message of its group failed: it will be redelivered in order"),
            Self::OutOfTime => f.write_str("the deadline passed before the row was confirmed to be stored: the message will be redelivered"),
            Self::Internal => f.write_str("internal error on this message: report it with the structure of the message"),
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            if let Some(table) = &place.table {
                write!(f, "table {table:?}, ")?;
            }
            if let Some(column) = &place.column {
                write!(f, "column {column:?} ")?;
            }
            write!(f, "from {:?}: ", place.path)?;
            if place.is_key && self.rule == Rule::Required {
                return f.write_str("the value is null, missing or empty, and it is part of the key: fix the producer");
            }
        }
        self.rule.fmt(f)
    }
}

impl From<ExtractError> for Rule {
    fn from(error: ExtractError) -> Self {
        match error {
            ExtractError::BodyMissing => Self::BodyMissing,
            ExtractError::NotInEnvelope(mismatch) => Self::NotInEnvelope(mismatch),
            ExtractError::S3Pointer(fault) => Self::S3(S3Fault::Pointer(fault)),
            ExtractError::NotEncoded(encoding) => Self::NotEncoded(NotEncoded::As(encoding)),
            ExtractError::UnknownEncoding => Self::NotEncoded(NotEncoded::Unknown),
            ExtractError::TooLarge(bytes) => Self::TooLarge(bytes),
            ExtractError::LineNotJson(line) => Self::LineNotJson(line),
            ExtractError::NotJson => Self::BodyNotJson,
            ExtractError::Jq(fault) => Self::Jq(fault),
        }
    }
}

impl From<JqFault> for Rule {
    fn from(fault: JqFault) -> Self {
        Self::Jq(fault)
    }
}

impl From<ExtractError> for Rejection {
    fn from(error: ExtractError) -> Self {
        Rule::from(error).into()
    }
}

impl From<Rule> for Rejection {
    fn from(rule: Rule) -> Self {
        Self { rule, place: None }
    }
}
