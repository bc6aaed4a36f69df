//! Values of one type in a column of another: whether the table stores what the mapping gives, and what a change of a
//! column's type does to what is stored.

use mapping::{Column, ColumnType, Mask};

use super::column::{LiveColumn, short};
use super::fix::Effect;

use ColumnType as T;
use Effect::{Adds, Loses, Rewrites};

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

const MAY_LOSE: Effect = Loses("may change stored values, or lose parts of them");
const CUTS: Effect = Loses("cuts off stored text that is longer");
const ROUNDS_STORED: Effect = Loses("rounds stored numbers to the digits of the new type");
const BY_TIME_ZONE: Effect = Loses("reads stored times in the time zone of the session");

/// What Postgres does with the values of a column that becomes one of the mapped type by an explicit cast. Whatever is
/// not known to keep them may lose them: a type that no mapping has, and any new pair of types.
///
/// Source: `\dC` of psql 18, and `ATColumnChangeRequiresRewrite` in
/// <https://github.com/postgres/postgres/blob/REL_18_STABLE/src/backend/commands/tablecmds.c>. A test runs all pairs.
pub(super) fn conversion(live: &LiveColumn, mapped: ColumnType) -> Effect {
    if live.domain.is_some() {
        return Loses("replaces the domain of the column, with its constraints");
    }
    let from = type_of(live);
    match (mapped, live.is_array, from) {
        // An address with a netmask is a network to cidr.
        (T::Inet, false, None) if live.type_name == "cidr" => Adds,
        (_, _, None) => MAY_LOSE,
        // Postgres builds each array anew.
        (T::Array(element), true, Some(from)) => of_scalar(from, element.into()).max(Rewrites),
        (T::Array(_), false, _) | (_, true, _) => MAY_LOSE,
        (scalar, false, Some(from)) => of_scalar(from, scalar),
    }
}

/// The type of the column, or of the elements of an array, if a mapping can have it. The precision of a time is
/// omitted, because no mapping has one, and a column only loses digits of the second by a smaller one.
pub(super) fn type_of(live: &LiveColumn) -> Option<ColumnType> {
    let full = short(&live.full_type);
    let element = full.strip_suffix("[]").unwrap_or(&full);
    match element {
        "varchar" => Some(T::Text),
        _ => element
            .parse()
            .or_else(|_| short(&live.type_name).parse())
            .ok(),
    }
}

fn of_scalar(from: ColumnType, to: ColumnType) -> Effect {
    match to {
        _ if from == to => Adds,
        T::Text if from.is_text() => Adds,
        T::Text if prints_exactly(from) => Rewrites,
        T::Varchar(chars) => to_varchar(from, chars),
        T::SmallInt | T::Integer | T::BigInt | T::Numeric | T::NumericOf(..) => to_exact(from, to),
        T::Real if from == T::SmallInt => Rewrites,
        T::DoublePrecision if matches!(from, T::SmallInt | T::Integer | T::Real) => Rewrites,
        T::Real | T::DoublePrecision if from.is_number() => ROUNDS_STORED,
        T::Date if matches!(from, T::Timestamp | T::TimestampTz) => Loses("drops the time of day"),
        T::Time if matches!(from, T::Timestamp | T::TimestampTz) => Loses("drops the day"),
        T::Timestamp if from == T::Date => Rewrites,
        T::Timestamp | T::TimestampTz if from.is_time() => BY_TIME_ZONE,
        T::Boolean if from.is_number() => Loses("keeps of a number only whether it is zero"),
        T::Text
        | T::Boolean
        | T::Real
        | T::DoublePrecision
        | T::Date
        | T::Time
        | T::Timestamp
        | T::TimestampTz
        | T::Uuid
        | T::Inet
        | T::Bytea
        | T::Json
        | T::Jsonb
        | T::Array(_) => MAY_LOSE,
    }
}

fn to_varchar(from: ColumnType, chars: usize) -> Effect {
    match (from, from.max_printed_chars()) {
        (T::Varchar(before), _) if before <= chars => Adds,
        (from, Some(longest)) if prints_exactly(from) && longest <= chars => Rewrites,
        _ => CUTS,
    }
}

/// To a type of exact numbers.
fn to_exact(from: ColumnType, to: ColumnType) -> Effect {
    let Some((before, after)) = digits(from) else {
        return match from.is_number() {
            true => ROUNDS_STORED,
            false => MAY_LOSE,
        };
    };
    let (fits, is_same_scale) = match to {
        T::Numeric => (true, true),
        T::NumericOf(precision, scale) => (
            precision - scale >= before && scale >= after,
            scale == after,
        ),
        _ => (after == 0 && before <= whole_digits(to), false),
    };
    match (fits, from) {
        (true, T::NumericOf(..)) if is_same_scale => Adds,
        (true, _) => Rewrites,
        (false, _) if is_wider_integer(from, to) => Rewrites,
        (false, _) => ROUNDS_STORED,
    }
}

/// The most digits of a value before the point, and after it; `None` if there is no limit, or if it is not exact. A type that
/// is not named here counts as one that may lose digits.
pub(super) fn digits(of: ColumnType) -> Option<(u16, u16)> {
    match of {
        T::SmallInt => Some((5, 0)),
        T::Integer => Some((10, 0)),
        T::BigInt => Some((19, 0)),
        T::NumericOf(precision, scale) => Some((precision - scale, scale)),
        // As above.
        _ => None,
    }
}

/// How many decimal digits an integer type can always store.
fn whole_digits(integer: ColumnType) -> u16 {
    match integer {
        T::SmallInt => 4,
        T::Integer => 9,
        T::BigInt => 18,
        // No integer.
        _ => 0,
    }
}

fn is_wider_integer(from: ColumnType, to: ColumnType) -> bool {
    whole_digits(from) > 0 && whole_digits(from) < whole_digits(to)
}

/// Whether the text of a value is the value, whatever the settings of the session: digits of floating-point numbers
/// depend on one.
fn prints_exactly(from: ColumnType) -> bool {
    match from {
        T::Boolean
        | T::SmallInt
        | T::Integer
        | T::BigInt
        | T::Numeric
        | T::NumericOf(..)
        | T::Date
        | T::Time
        | T::Timestamp
        | T::TimestampTz
        | T::Uuid
        | T::Inet
        | T::Json => true,
        T::Text
        | T::Varchar(_)
        | T::Real
        | T::DoublePrecision
        | T::Bytea
        | T::Jsonb
        | T::Array(_) => false,
    }
}

pub(super) fn is_number(live: &LiveColumn) -> bool {
    !live.is_array && type_of(live).is_some_and(ColumnType::is_number)
}

/// Whether Postgres compares values of the two types with each other, as a foreign key does.
/// Source: `pg_amop` of the btree families `integer_ops`, `text_ops`, `numeric_ops` and `datetime_ops`.
pub(super) fn are_comparable(live: &LiveColumn, mapped: ColumnType) -> bool {
    let family = |of: ColumnType| match of {
        T::SmallInt | T::Integer | T::BigInt => 1,
        T::Text | T::Varchar(_) => 2,
        T::Numeric | T::NumericOf(..) => 3,
        T::Date | T::Timestamp | T::TimestampTz => 4,
        // Compared with its own type alone, which needs no family.
        _ => 0,
    };
    let from = type_of(live).filter(|_| !live.is_array);
    from.is_some_and(|from| family(from) > 0 && family(from) == family(mapped))
}
