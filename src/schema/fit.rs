//! Whether a column of the table stores the values of the mapping, and stores them unchanged.

use mapping::{Column, ColumnType, Mask};

use super::column::{LiveColumn, short};
use super::conversion::digits;

/// How a column of the table stores the values of a mapped one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    /// All, unchanged.
    Whole,
    /// All, but changed.
    Changed(&'static str),
    /// Some are refused or changed.
    Narrow(&'static str),
    /// None: Postgres refuses the statement.
    Never,
}

const REFUSES: Fit = Fit::Narrow("refuses values that do not fit");
const ROUNDS_OR_REFUSES: Fit =
    Fit::Narrow("rounds to the digits it stores, and refuses values that are too large");

const ROUNDS: Fit = Fit::Changed("rounds values to its precision");

/// What happens to values of the mapped type when Postgres assigns them to the column.
pub(super) fn fit(column: &Column, live: &LiveColumn) -> Fit {
    let mapped = column.column_type;
    let token = column.mask.and_then(Mask::max_token_chars);
    let longest = |single: ColumnType| token.or_else(|| single.max_printed_chars());
    match (mapped, live.is_array) {
        // Element by element.
        (ColumnType::Array(element), true) => {
            let single = element.into();
            fit_of_type(single, longest(single), live)
        }
        (_, true) => Fit::Never,
        (ColumnType::Array(_), false) => fit_of_type(mapped, None, live),
        (_, false) => fit_of_type(mapped, longest(mapped), live),
    }
}

/// Source: `\dCS` of psql 18; any type can be assigned to a string type.
fn fit_of_type(mapped: ColumnType, longest: Option<usize>, live: &LiveColumn) -> Fit {
    use ColumnType as T;
    match (live.type_name.as_str(), mapped) {
        _ if live.is_string => fit_of_string(longest, live),
        (_, T::Text | T::Varchar(_)) if live.is_enum => Fit::Whole,
        ("numeric", number) if number.is_number() => fit_of_numeric(number, live),
        // The same type, for times perhaps with fewer digits of the second.
        (name, mapped) if short(name) == mapped.to_string() => match live.type_modifier {
            ..0 | MICROSECOND_DIGITS.. => Fit::Whole,
            _ => ROUNDS,
        },
        ("integer", T::SmallInt) | ("bigint", T::SmallInt | T::Integer) => Fit::Whole,
        ("smallint", T::Integer | T::BigInt) | ("integer", T::BigInt) => REFUSES,
        ("smallint", T::NumericOf(..=4, 0))
        | ("integer", T::NumericOf(..=9, 0))
        | ("bigint", T::NumericOf(..=18, 0)) => Fit::Whole,
        ("smallint" | "integer" | "bigint", number) if number.is_number() => ROUNDS_OR_REFUSES,
        ("real", T::SmallInt) => Fit::Whole,
        ("real", T::Integer | T::BigInt) => ROUNDS,
        ("real", T::DoublePrecision | T::Numeric | T::NumericOf(..)) => ROUNDS_OR_REFUSES,
        ("double precision", T::SmallInt | T::Integer | T::Real) => Fit::Whole,
        ("double precision", T::BigInt | T::Numeric | T::NumericOf(..)) => ROUNDS,
        ("timestamp without time zone", T::Date) => Fit::Whole,
        ("timestamp with time zone", T::Date) => {
            Fit::Changed("turns dates into midnight in the time zone of the session")
        }
        ("timestamp with time zone", T::Timestamp) => {
            Fit::Changed("interprets times in the time zone of the session")
        }
        ("timestamp without time zone", T::TimestampTz) => {
            Fit::Changed("stores times in the time zone of the session")
        }
        ("date", T::TimestampTz) => {
            Fit::Changed("keeps only the day, in the time zone of the session")
        }
        ("date", T::Timestamp) => Fit::Changed("keeps only the day"),
        ("time without time zone", T::Timestamp) => Fit::Changed("keeps only the time of day"),
        ("json", T::Jsonb) | ("jsonb", T::Json) => Fit::Whole,
        ("cidr", T::Inet) => Fit::Changed("keeps only the network of an address"),
        // Every type is named, so that the compiler asks what else stores a new one.
        (
            _,
            T::Text
            | T::Varchar(_)
            | T::Boolean
            | T::SmallInt
            | T::Integer
            | T::BigInt
            | T::Real
            | T::DoublePrecision
            | T::Numeric
            | T::NumericOf(..)
            | T::Date
            | T::Time
            | T::Timestamp
            | T::TimestampTz
            | T::Uuid
            | T::Inet
            | T::Bytea
            | T::Json
            | T::Jsonb
            | T::Array(_),
        ) => Fit::Never,
    }
}

/// The digits of a second after the point that times have without a precision.
const MICROSECOND_DIGITS: i32 = 6;

/// A type modifier includes a header of 4 bytes.
const MODIFIER_HEADER: i32 = 4;

/// `longest` is the maximum number of characters of a value as text; `None` if there is no limit.
fn fit_of_string(longest: Option<usize>, live: &LiveColumn) -> Fit {
    const NAME_BYTES: usize = 63;
    let room = match live.type_name.as_str() {
        "name" => Some(NAME_BYTES),
        _ => usize::try_from(live.type_modifier - MODIFIER_HEADER).ok(),
    };
    match (room, longest) {
        (None, _) => Fit::Whole,
        (Some(room), Some(longest)) if longest <= room => Fit::Whole,
        _ => REFUSES,
    }
}

/// A numeric column, with or without a limit on the digits before and after the point.
/// Source: `numeric_typmod_precision` and `numeric_typmod_scale` in
/// <https://github.com/postgres/postgres/blob/REL_18_STABLE/src/backend/utils/adt/numeric.c>.
fn fit_of_numeric(mapped: ColumnType, live: &LiveColumn) -> Fit {
    if live.type_modifier < 0 {
        return Fit::Whole;
    }
    let modifier = live.type_modifier - MODIFIER_HEADER;
    let (precision, scale) = (modifier >> 16, ((modifier & 0x7ff) ^ 1024) - 1024);
    let Some((before, after)) = digits(mapped) else {
        return ROUNDS_OR_REFUSES;
    };
    let (before, after) = (i32::from(before), i32::from(after));
    match (precision - scale >= before, scale >= after) {
        (true, true) => Fit::Whole,
        (false, true) => REFUSES,
        (_, false) => ROUNDS_OR_REFUSES,
    }
}
