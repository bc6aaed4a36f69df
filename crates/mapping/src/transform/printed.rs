//! The spellings of values that Postgres prints.

use std::fmt::{Display, LowerExp};

use jiff::SignedDuration;
use jiff::civil::{Date, DateTime};
use postgres_protocol::types as wire;

use super::decimal::Numeric;
use crate::rows::ARRAY_HEAD_BYTES;
use crate::time::{EPOCH, MICROS_PER_DAY, MICROS_PER_SECOND};

/// With at least this many digits before the point, a floating point number is printed with an exponent.
/// Source: <https://github.com/postgres/postgres/blob/REL_18_STABLE/src/common/d2s.c> (to_chars).
pub(super) const REAL_DIGITS: i32 = 6;
pub(super) const DOUBLE_DIGITS: i32 = 15;
const LEAST_PLAIN_EXPONENT: i32 = -4;

pub(super) fn float<T: Display + LowerExp>(number: T, digits: i32) -> Option<String> {
    let scientific = format!("{number:e}");
    let (mantissa, exponent) = scientific.split_once('e')?;
    let exponent: i32 = exponent.parse().ok()?;
    if (LEAST_PLAIN_EXPONENT..digits).contains(&exponent) {
        return Some(number.to_string());
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    Some(format!("{mantissa}e{sign}{:02}", exponent.abs()))
}

pub(super) fn date(days: i32) -> Option<Date> {
    date_of(i64::from(days).checked_mul(MICROS_PER_DAY)?)
}

fn date_of(micros: i64) -> Option<Date> {
    let since = SignedDuration::from_micros(micros);
    EPOCH.checked_add(since).ok().map(DateTime::date)
}

pub(super) fn local(micros: i64) -> Option<String> {
    let time = time_of_day(micros.rem_euclid(MICROS_PER_DAY));
    Some(format!("{} {time}", date_of(micros)?))
}

/// Also 24:00:00, which Postgres has.
pub(super) fn time_of_day(micros: i64) -> String {
    let seconds = micros / MICROS_PER_SECOND;
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    let fraction = match micros % MICROS_PER_SECOND {
        0 => String::new(),
        micros => format!(".{micros:06}").trim_end_matches('0').to_owned(),
    };
    format!("{hours:02}:{minutes:02}:{seconds:02}{fraction}")
}

/// The elements of an array, each `None` for a null; ends with `None` if the bytes are not of an array.
pub(super) fn elements(cell: &[u8]) -> impl Iterator<Item = Option<Option<&[u8]>>> {
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
pub(super) fn quoted(text: String) -> String {
    const SPECIAL: &[char] = &[
        '"', '\\', '{', '}', ',', ' ', '\t', '\n', '\r', '\u{b}', '\u{c}',
    ];
    if !text.is_empty() && !text.eq_ignore_ascii_case("NULL") && !text.contains(SPECIAL) {
        return text;
    }
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

pub(super) fn inet(cell: &[u8]) -> Option<String> {
    let inet = wire::inet_from_sql(cell).ok()?;
    let (address, bits) = (inet.addr(), inet.netmask());
    let is_host = bits == if address.is_ipv4() { 32 } else { 128 };
    Some(if is_host {
        address.to_string()
    } else {
        format!("{address}/{bits}")
    })
}
