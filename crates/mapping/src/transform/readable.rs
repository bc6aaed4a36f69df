//! Cells → text, for people: what Postgres would print.

use std::fmt::{Display, LowerExp};

use jiff::SignedDuration;
use jiff::civil::{Date, DateTime};
use postgres_protocol::types as wire;
use uuid::Uuid;

use super::decimal::Numeric;
use crate::rows::ARRAY_HEAD_BYTES;
use crate::time::{EPOCH, MICROS_PER_DAY, MICROS_PER_SECOND};
use crate::types::ColumnType;

/// With at least this many digits before the point, a floating point number is printed with an exponent.
/// Source: <https://github.com/postgres/postgres/blob/REL_18_STABLE/src/common/d2s.c> (to_chars).
const REAL_DIGITS: i32 = 6;
const DOUBLE_DIGITS: i32 = 15;
const LEAST_PLAIN_EXPONENT: i32 = -4;

/// The text of a cell of this type, as Postgres prints it in UTC; `None` if the bytes are not of the type.
pub fn readable(column_type: ColumnType, cell: &[u8]) -> Option<String> {
    use ColumnType as T;
    Some(match column_type {
        T::Text | T::Varchar(_) => std::str::from_utf8(cell).ok()?.to_owned(),
        T::Boolean => (cell == [1]).to_string(),
        T::SmallInt => i16::from_be_bytes(cell.try_into().ok()?).to_string(),
        T::Integer => i32::from_be_bytes(cell.try_into().ok()?).to_string(),
        T::BigInt => i64::from_be_bytes(cell.try_into().ok()?).to_string(),
        T::Real => float(f32::from_be_bytes(cell.try_into().ok()?), REAL_DIGITS)?,
        T::DoublePrecision => float(f64::from_be_bytes(cell.try_into().ok()?), DOUBLE_DIGITS)?,
        T::Numeric | T::NumericOf(..) => Numeric::read(cell)?.text(),
        T::Date => date(i32::from_be_bytes(cell.try_into().ok()?))?.to_string(),
        T::Time => time_of_day(i64::from_be_bytes(cell.try_into().ok()?)),
        T::Timestamp => local(i64::from_be_bytes(cell.try_into().ok()?))?,
        T::TimestampTz => local(i64::from_be_bytes(cell.try_into().ok()?))? + "+00",
        T::Uuid => Uuid::from_slice(cell).ok()?.to_string(),
        T::Inet => inet(cell)?,
        T::Bytea => format!("\\x{}", base16ct::lower::encode_string(cell)),
        T::Json => std::str::from_utf8(cell).ok()?.to_owned(),
        T::Jsonb => std::str::from_utf8(cell.get(1..)?).ok()?.to_owned(),
        T::Array(element) => array(element.into(), cell)?,
    })
}

fn float<T: Display + LowerExp>(number: T, digits: i32) -> Option<String> {
    let scientific = format!("{number:e}");
    let (mantissa, exponent) = scientific.split_once('e')?;
    let exponent: i32 = exponent.parse().ok()?;
    if (LEAST_PLAIN_EXPONENT..digits).contains(&exponent) {
        return Some(number.to_string());
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    Some(format!("{mantissa}e{sign}{:02}", exponent.abs()))
}

fn date(days: i32) -> Option<Date> {
    date_of(i64::from(days).checked_mul(MICROS_PER_DAY)?)
}

fn date_of(micros: i64) -> Option<Date> {
    let since = SignedDuration::from_micros(micros);
    EPOCH.checked_add(since).ok().map(DateTime::date)
}

fn local(micros: i64) -> Option<String> {
    let time = time_of_day(micros.rem_euclid(MICROS_PER_DAY));
    Some(format!("{} {time}", date_of(micros)?))
}

/// Also 24:00:00, which Postgres has.
fn time_of_day(micros: i64) -> String {
    let seconds = micros / MICROS_PER_SECOND;
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    let fraction = match micros % MICROS_PER_SECOND {
        0 => String::new(),
        micros => format!(".{micros:06}").trim_end_matches('0').to_owned(),
    };
    format!("{hours:02}:{minutes:02}:{seconds:02}{fraction}")
}

/// Source: `array_out` in
/// <https://github.com/postgres/postgres/blob/REL_18_STABLE/src/backend/utils/adt/arrayfuncs.c>.
fn array(element: ColumnType, cell: &[u8]) -> Option<String> {
    let mut texts = Vec::new();
    for value in elements(cell) {
        texts.push(match (value?, element) {
            (None, _) => "NULL".to_owned(),
            // The cast to text has words where the output function has letters.
            (Some(value), ColumnType::Boolean) => if value == [1] { "t" } else { "f" }.to_owned(),
            (Some(value), _) => quoted(readable(element, value)?),
        });
    }
    Some(format!("{{{}}}", texts.join(",")))
}

/// The elements of an array, each `None` for a null; ends with `None` if the bytes are not of an array.
fn elements(cell: &[u8]) -> impl Iterator<Item = Option<Option<&[u8]>>> {
    let mut rest = cell.get(ARRAY_HEAD_BYTES..).unwrap_or_default();
    std::iter::from_fn(move || {
        let (length, after) = rest.split_first_chunk()?;
        rest = after;
        let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
            return Some(Some(None));
        };
        let split = after.split_at_checked(length);
        rest = split.map_or(&[], |(_, after)| after);
        Some(split.map(|(value, _)| Some(value)))
    })
}

/// How many characters Postgres prints of an array of decimals.
pub(super) fn numerics_chars(cell: &[u8]) -> usize {
    let chars = elements(cell).map(|value| {
        let number = value.flatten().and_then(Numeric::read);
        number.map_or("NULL".len(), |number| number.chars())
    });
    chars.map(|chars| chars + ",".len()).sum()
}

/// An element of an array, in quotes where it needs them.
fn quoted(text: String) -> String {
    const SPECIAL: &[char] = &[
        '"', '\\', '{', '}', ',', ' ', '\t', '\n', '\r', '\u{b}', '\u{c}',
    ];
    if !text.is_empty() && !text.eq_ignore_ascii_case("NULL") && !text.contains(SPECIAL) {
        return text;
    }
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn inet(cell: &[u8]) -> Option<String> {
    let inet = wire::inet_from_sql(cell).ok()?;
    let (address, bits) = (inet.addr(), inet.netmask());
    let is_host = bits == if address.is_ipv4() { 32 } else { 128 };
    Some(if is_host {
        address.to_string()
    } else {
        format!("{address}/{bits}")
    })
}
