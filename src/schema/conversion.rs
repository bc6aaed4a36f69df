//! What a change of a column's type does to the values that the column has.

use mapping::ColumnType;

use super::column::{LiveColumn, short};
use super::fix::Effect;

use ColumnType as T;
use Effect::{Adds, Loses, Rewrites};

const MAY_LOSE: Effect = Loses("may change stored values, or lose parts of them");
const CUTS: Effect = Loses("cuts off stored text that is longer");
const ROUNDS: Effect = Loses("rounds stored numbers to the digits of the new type");
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
        T::Real | T::DoublePrecision if from.is_number() => ROUNDS,
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
            true => ROUNDS,
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
        (false, _) => ROUNDS,
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
        _ => None,
    }
}

/// How many decimal digits an integer type can always store.
fn whole_digits(integer: ColumnType) -> u16 {
    match integer {
        T::SmallInt => 4,
        T::Integer => 9,
        T::BigInt => 18,
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
        _ => 0,
    };
    let from = type_of(live).filter(|_| !live.is_array);
    from.is_some_and(|from| family(from) > 0 && family(from) == family(mapped))
}
