//! Values → cells of days and points in time.

use bytes::BytesMut;
use postgres_protocol::types as wire;

use super::decimal::{Decimal, Misfit};
use super::value::Value;
use crate::rejection::Rule;
use crate::time::{MICROS_PER_DAY, Misread, Moment, TimeSpelling, TimeType, Unit, plain};
use crate::types::ColumnType;

/// The first microsecond after the times that a number can stand for: nearly every number of another unit is beyond.
const UNIX_MICROS_OF_2200: i64 = 84_006 * MICROS_PER_DAY;
const UNIX_MICROS_OF_1990: i64 = 7_305 * MICROS_PER_DAY;

/// Writes a time that is spelled as the column says.
///
/// # Errors
/// The rule that it breaks.
pub(super) fn write_spelled(
    value: &Value<'_>,
    spelling: &TimeSpelling,
    time_type: TimeType,
    column_type: ColumnType,
    out: &mut BytesMut,
) -> Result<(), Rule> {
    let other_spelling = || match spelling {
        TimeSpelling::Unit(unit) => Rule::NotInUnit(*unit),
        TimeSpelling::Format(format) => Rule::NotInFormat(column_type, format.example().into()),
        TimeSpelling::Zone(_) => Rule::Type(column_type),
    };
    let literal = value.as_literal().ok_or_else(other_spelling)?;
    let moment = match spelling {
        TimeSpelling::Unit(unit) => return write_number(value, *unit, time_type, out),
        TimeSpelling::Format(format) => format.read(literal, time_type),
        TimeSpelling::Zone(zone) => plain::instant_in(zone, literal),
    };
    let moment = moment.map_err(|misread| match misread {
        Misread::Spelling => other_spelling(),
        Misread::LocalTime(local_time) => Rule::LocalTime(local_time),
    })?;
    put_moment(moment, time_type, out).ok_or_else(other_spelling)
}

/// Writes a time as Postgres writes it, or an instant of SQS.
pub(super) fn write(
    value: &Value<'_>,
    time_type: TimeType,
    out: &mut BytesMut,
) -> Result<(), Misfit> {
    let moment = match value {
        Value::Millis(millis) => millis.checked_mul(1_000).and_then(Moment::of_unix_micros),
        _ => plain::read(value.literal()?, time_type),
    };
    let written = moment.and_then(|moment| put_moment(moment, time_type, out));
    written.ok_or(Misfit::Type)
}

/// Adds the cell of a moment; `None` if it is before the year 1 or after 9999.
fn put_moment(moment: Moment, time_type: TimeType, out: &mut BytesMut) -> Option<()> {
    match time_type {
        TimeType::Date => wire::date_to_sql(moment.day()?, out),
        TimeType::Time => wire::time_to_sql(moment.micros()?, out),
        TimeType::Timestamp | TimeType::TimestampTz => {
            wire::timestamp_to_sql(moment.micros()?, out);
        }
    }
    Some(())
}

/// Writes a number in a unit as a time since 1970, or since midnight.
fn write_number(
    value: &Value<'_>,
    unit: Unit,
    time_type: TimeType,
    out: &mut BytesMut,
) -> Result<(), Rule> {
    let number = value.decimal().map_err(|_| Rule::NotInUnit(unit))?;
    let micros = match unit.exponent_of_micros() {
        Some(exponent) => number.to_i64_with(exponent),
        None => match number.to_i64() {
            Ok(days) => days.checked_mul(MICROS_PER_DAY),
            Err(Misfit::Range) => None,
            Err(Misfit::Type) => return Err(Rule::NotInUnit(unit)),
        },
    };
    let within = |end: i64| micros.filter(|micros| (0..end).contains(micros));
    let moment = match time_type {
        TimeType::Time => within(MICROS_PER_DAY + 1).map(Moment::of_micros),
        TimeType::Date | TimeType::Timestamp | TimeType::TimestampTz => {
            within(UNIX_MICROS_OF_2200).and_then(Moment::of_unix_micros)
        }
    };
    let written = moment.and_then(|moment| put_moment(moment, time_type, out));
    written.ok_or_else(|| match time_type {
        TimeType::Time => Rule::OutsideDay(unit),
        TimeType::Date | TimeType::Timestamp | TimeType::TimestampTz => {
            Rule::OutsideYears(looks_like(&number))
        }
    })
}

/// The coarsest unit in which a number would be a time of this age. A time of 9999, which stands for no end, would in a
/// finer unit be one soon after 1970: that is not what its producer means.
fn looks_like(number: &Decimal) -> Option<Unit> {
    let units = [Unit::Seconds, Unit::Millis, Unit::Micros, Unit::Nanos];
    units.into_iter().find(|unit| {
        let micros = unit.exponent_of_micros();
        let micros = micros.and_then(|exponent| number.to_i64_with(exponent));
        micros.is_some_and(|micros| (UNIX_MICROS_OF_1990..UNIX_MICROS_OF_2200).contains(&micros))
    })
}
