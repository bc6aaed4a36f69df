//! Values → cells. Values are fully checked here, so that Postgres does not refuse them.

use std::borrow::Cow;
use std::net::IpAddr;
use std::ops::Range;
use std::str::FromStr;

use base64::Engine as _;
use bytes::{BufMut, BytesMut};
use postgres_protocol::types as wire;
use serde_json::value::RawValue;
use time::format_description::well_known::Rfc3339;
use time::macros::{date, format_description};
use time::{Date, Duration, OffsetDateTime, UtcOffset};
use uuid::Uuid;

use super::decimal::{Decimal, Misfit, is_json_number};
use super::jsonb::MAX_EXPANSION_BYTES;
use super::readable::numerics_chars;
use super::text::Unstorable;
use super::{from_json, jsonb};
use crate::rejection::Rule;
use crate::rows::{put_array_head, put_null, put_value};
use crate::text::{BASE64, BASE64_URL};
use crate::types::ColumnType;

/// Postgres counts days and microseconds from here.
/// Source: <https://www.postgresql.org/docs/18/datatype-datetime.html>, `POSTGRES_EPOCH_JDATE`.
pub(super) const POSTGRES_EPOCH: Date = date!(2000 - 01 - 01);
const POSTGRES_EPOCH_UNIX_MILLIS: i64 = 946_684_800_000;
const MILLIS_PER_DAY: i64 = 86_400_000;

/// The version byte before a binary jsonb.
const JSONB_VERSION: u8 = 1;

/// A value on its way into a column. It may be personal, so it cannot be printed.
pub(crate) enum Value<'a> {
    /// Null or missing.
    Null,
    /// JSON `true` or `false`.
    Bool(bool),
    /// A number by its JSON text.
    Number(Cow<'a, str>),
    /// A string, free of escapes.
    Text(Cow<'a, str>),
    /// An object or array by its JSON text.
    Nested(Cow<'a, str>),
    /// An instant of SQS, in milliseconds since 1970.
    Millis(i64),
}

impl Value<'_> {
    /// The value of a text column; `None` for null, an object, an array or an instant.
    pub(crate) fn as_text(&self) -> Option<&str> {
        match self {
            Self::Bool(true) => Some("true"),
            Self::Bool(false) => Some("false"),
            Self::Number(text) => Some(text),
            Self::Text(text) => Some(text),
            Self::Null | Self::Nested(_) | Self::Millis(_) => None,
        }
    }

    /// The text of a string or number, from which the other types are read.
    pub(crate) fn as_literal(&self) -> Option<&str> {
        match self {
            Self::Number(text) => Some(text),
            Self::Text(text) => Some(text),
            Self::Null | Self::Bool(_) | Self::Nested(_) | Self::Millis(_) => None,
        }
    }
}

/// Writes the value as a cell of the type.
///
/// # Errors
/// The rule that it breaks. `out` may then contain part of a cell.
pub(crate) fn write(
    value: &Value<'_>,
    column_type: ColumnType,
    out: &mut BytesMut,
) -> Result<(), Rule> {
    match column_type {
        ColumnType::Text => write_text(value, None, out),
        ColumnType::Varchar(chars) => write_text(value, Some(chars), out),
        ColumnType::Json => write_json(value, column_type, out),
        ColumnType::Jsonb => {
            out.put_u8(JSONB_VERSION);
            write_json(value, column_type, out)
        }
        ColumnType::Array(element) => write_array(value, element, out, |value, out| {
            write(value, *element, out)
        }),
        _ => write_scalar(value, column_type, out).map_err(|misfit| match misfit {
            Misfit::Type => Rule::Type(column_type),
            Misfit::Range => Rule::Range(column_type),
        }),
    }
}

/// Whether a column of the type can store a text.
pub fn takes(column_type: ColumnType, text: &str) -> bool {
    let value = Value::Text(Cow::Borrowed(text));
    write(&value, column_type, &mut BytesMut::new()).is_ok()
}

fn write_text(value: &Value<'_>, max_chars: Option<usize>, out: &mut BytesMut) -> Result<(), Rule> {
    let text = value.as_text().ok_or(Rule::Type(ColumnType::Text))?;
    match max_chars {
        // A character has at least one byte, so short texts need not be counted.
        Some(max) if text.len() > max && text.chars().count() > max => Err(Rule::Length(max)),
        _ => {
            out.put_slice(text.as_bytes());
            Ok(())
        }
    }
}

fn write_json(value: &Value<'_>, column_type: ColumnType, out: &mut BytesMut) -> Result<(), Rule> {
    let json = match value {
        Value::Bool(true) => Cow::Borrowed("true"),
        Value::Bool(false) => Cow::Borrowed("false"),
        Value::Number(text) => Cow::Borrowed(&**text),
        Value::Nested(json) => Cow::Borrowed(&**json),
        Value::Text(text) => Cow::Owned(serde_json::Value::from(&**text).to_string()),
        Value::Null | Value::Millis(_) => return Err(Rule::Type(column_type)),
    };
    jsonb::check(&json)?;
    out.put_slice(json.as_bytes());
    Ok(())
}

/// Writes an array, each element except null by `write_element`.
pub(super) fn write_array(
    value: &Value<'_>,
    element: &'static ColumnType,
    out: &mut BytesMut,
    write_element: impl Fn(&Value<'_>, &mut BytesMut) -> Result<(), Rule>,
) -> Result<(), Rule> {
    let not_of_type = || Rule::Type(ColumnType::Array(element));
    let Value::Nested(json) = value else {
        return Err(not_of_type());
    };
    let elements: Vec<&RawValue> = serde_json::from_str(json).map_err(|_| not_of_type())?;
    let start = out.len();
    put_array_head(out, &element.element(), elements.len());
    for raw in elements {
        match from_json(raw.get(), Unstorable::Reject)? {
            Value::Null => put_null(out),
            value => {
                let written = put_value(out, |out| write_element(&value, out));
                written.map_err(|rule| match rule {
                    Rule::Type(_) => not_of_type(),
                    rule => rule,
                })?;
            }
        }
    }
    let sent_and_added = json.len() + MAX_EXPANSION_BYTES;
    match out.get(start..).map_or(0, numerics_chars) > sent_and_added && element.is_numeric() {
        true => Err(Rule::Range(ColumnType::Array(element))),
        false => Ok(()),
    }
}

fn write_scalar(
    value: &Value<'_>,
    column_type: ColumnType,
    out: &mut BytesMut,
) -> Result<(), Misfit> {
    match column_type {
        ColumnType::Boolean => wire::bool_to_sql(boolean(value)?, out),
        ColumnType::SmallInt => wire::int2_to_sql(integer(value)?, out),
        ColumnType::Integer => wire::int4_to_sql(integer(value)?, out),
        ColumnType::BigInt => wire::int8_to_sql(integer(value)?, out),
        ColumnType::Real => wire::float4_to_sql(float(value)?, out),
        ColumnType::DoublePrecision => wire::float8_to_sql(float(value)?, out),
        ColumnType::Numeric => decimal(value)?.write_numeric(out)?,
        ColumnType::NumericOf(precision, scale) => decimal(value)?
            .with_scale(precision, scale)?
            .write_numeric(out)?,
        ColumnType::Date => wire::date_to_sql(day(value).ok_or(Misfit::Type)?, out),
        ColumnType::Time => wire::time_to_sql(time_of_day(value).ok_or(Misfit::Type)?, out),
        ColumnType::Timestamp => {
            let micros = micros(value, local).ok_or(Misfit::Type)?;
            wire::timestamp_to_sql(micros, out);
        }
        ColumnType::TimestampTz => {
            let micros = micros(value, instant).ok_or(Misfit::Type)?;
            wire::timestamp_to_sql(micros, out);
        }
        ColumnType::Uuid => {
            let uuid = Uuid::try_parse(literal(value)?).map_err(|_| Misfit::Type)?;
            wire::uuid_to_sql(uuid.into_bytes(), out);
        }
        ColumnType::Inet => {
            let (address, netmask) = inet(literal(value)?).ok_or(Misfit::Type)?;
            wire::inet_to_sql(address, netmask, out);
        }
        ColumnType::Bytea => out.put_slice(&bytes(literal(value)?).ok_or(Misfit::Type)?),
        ColumnType::Text
        | ColumnType::Varchar(_)
        | ColumnType::Json
        | ColumnType::Jsonb
        | ColumnType::Array(_) => return Err(Misfit::Type),
    }
    Ok(())
}

fn literal<'v>(value: &'v Value<'_>) -> Result<&'v str, Misfit> {
    value.as_literal().ok_or(Misfit::Type)
}

/// The text of a number. A string is a number only if that is how the number is written: `"0042"` and `"+42"` are
/// codes, and a number would keep less than was sent.
fn number<'v>(value: &'v Value<'_>) -> Result<&'v str, Misfit> {
    match value {
        Value::Number(text) => Ok(text),
        Value::Text(text) if is_json_number(text) => Ok(text),
        Value::Text(_) | Value::Null | Value::Bool(_) | Value::Nested(_) | Value::Millis(_) => {
            Err(Misfit::Type)
        }
    }
}

fn decimal(value: &Value<'_>) -> Result<Decimal, Misfit> {
    Decimal::parse(number(value)?).ok_or(Misfit::Type)
}

/// Spellings that Postgres accepts, <https://www.postgresql.org/docs/18/datatype-boolean.html>: the words, and the
/// abbreviations that Postgres itself prints.
fn boolean(value: &Value<'_>) -> Result<bool, Misfit> {
    if let Value::Bool(value) = value {
        return Ok(*value);
    }
    let is_any_of =
        |text: &str, words: [&str; 5]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    match literal(value)? {
        text if is_any_of(text, ["true", "t", "yes", "on", "1"]) => Ok(true),
        text if is_any_of(text, ["false", "f", "no", "off", "0"]) => Ok(false),
        _ => Err(Misfit::Type),
    }
}

fn integer<T: TryFrom<i64>>(value: &Value<'_>) -> Result<T, Misfit> {
    let number = match value {
        Value::Millis(millis) => *millis,
        _ => match number(value)?.parse() {
            Ok(number) => number,
            Err(_) => decimal(value)?.to_i64()?,
        },
    };
    T::try_from(number).map_err(|_| Misfit::Range)
}

/// Like Postgres it refuses a number that would become infinite, or become zero without being zero.
fn float<T: FromStr + Into<f64> + Copy>(value: &Value<'_>) -> Result<T, Misfit> {
    let text = number(value)?;
    let number: T = text.parse().map_err(|_| Misfit::Type)?;
    let wide: f64 = number.into();
    let mut mantissa = text.bytes().take_while(|byte| !matches!(byte, b'e' | b'E'));
    let is_lost = wide == 0.0 && mantissa.any(|byte| matches!(byte, b'1'..=b'9'));
    match wide.is_finite() && !is_lost {
        true => Ok(number),
        false => Err(Misfit::Range),
    }
}

/// Days since 2000-01-01, from a calendar day or from the UTC day of an instant.
fn day(value: &Value<'_>) -> Option<i32> {
    if let Value::Millis(millis) = value {
        return i32::try_from((millis - POSTGRES_EPOCH_UNIX_MILLIS).div_euclid(MILLIS_PER_DAY))
            .ok();
    }
    let text = value.as_literal()?;
    let date = Date::parse(text, format_description!("[year]-[month]-[day]"))
        .ok()
        .or_else(|| Some(instant(text)?.date()))?;
    (date.year() >= 1).then(|| date.to_julian_day() - POSTGRES_EPOCH.to_julian_day())
}

/// Microseconds since 2000-01-01T00:00:00Z, from what `read` reads; `None` before the year 1 and after 9999.
fn micros(value: &Value<'_>, read: fn(&str) -> Option<OffsetDateTime>) -> Option<i64> {
    if let Value::Millis(millis) = value {
        return (millis - POSTGRES_EPOCH_UNIX_MILLIS).checked_mul(1_000);
    }
    let text = value.as_literal()?;
    let second = read(text)?.replace_nanosecond(0).ok()?;
    let instant = second.checked_add(Duration::microseconds(micros_of_second(text)?))?;
    let since = instant - POSTGRES_EPOCH.midnight().assume_utc();
    let micros = i64::try_from(since.whole_microseconds()).ok()?;
    (instant.year() >= 1).then_some(micros)
}

/// What a valid time has beyond its second, rounded as Postgres does: as a double, half to even. `None` for a fraction
/// of a leap second, which Postgres refuses.
/// Source: `ParseFraction` and `DecodeTime` in
/// <https://github.com/postgres/postgres/blob/REL_18_STABLE/src/backend/utils/adt/datetime.c>.
fn micros_of_second(text: &str) -> Option<i64> {
    const SECONDS: Range<usize> = 17..19;
    const MICROS: f64 = 1_000_000.0;
    let after = text.get(SECONDS.end..).unwrap_or_default();
    let end = after.find(|char: char| !matches!(char, '.' | '0'..='9'));
    let fraction: f64 = match after.get(..end.unwrap_or(after.len())) {
        None | Some("") => 0.0,
        Some(digits) => digits.parse().ok()?,
    };
    let micros = (fraction * MICROS).round_ties_even();
    // `time` reads a leap second as the last moment before it.
    match text.get(SECONDS) == Some("60") {
        true if micros > 0.0 => None,
        true => Some(MICROS as i64),
        false => Some(micros as i64),
    }
}

/// An instant with its offset (RFC 3339), in UTC; `None` also if it is after the year 9999 in UTC.
fn instant(text: &str) -> Option<OffsetDateTime> {
    // `time` takes any character for what separates day and time.
    const SEPARATOR: usize = 10;
    if !matches!(text.as_bytes().get(SEPARATOR)?, b'T' | b't' | b' ') {
        return None;
    }
    OffsetDateTime::parse(text, &Rfc3339)
        .ok()?
        .checked_to_offset(UtcOffset::UTC)
}

/// A date and time of day without an offset, as if in UTC; the seconds may be missing.
fn local(text: &str) -> Option<OffsetDateTime> {
    instant(&format!("{text}Z")).or_else(|| instant(&format!("{text}:00Z")))
}

/// Microseconds since midnight.
fn time_of_day(value: &Value<'_>) -> Option<i64> {
    match value.as_literal()? {
        "24:00" | "24:00:00" => Some(MILLIS_PER_DAY * 1_000),
        time => {
            let time = format!("{POSTGRES_EPOCH}T{time}");
            micros(&Value::Text(time.into()), local)
        }
    }
}

/// Bytes from base64 in the alphabet of either kind, with or without padding.
fn bytes(text: &str) -> Option<Vec<u8>> {
    let decoded = BASE64.decode(text);
    decoded.or_else(|_| BASE64_URL.decode(text)).ok()
}

/// An address, and the length of its network.
fn inet(text: &str) -> Option<(IpAddr, u8)> {
    let (address, length) = text
        .split_once('/')
        .map_or((text, None), |(address, length)| (address, Some(length)));
    let address: IpAddr = address.parse().ok()?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let length = length.map_or(Some(longest), |length| length.parse().ok())?;
    (length <= longest).then_some((address, length))
}
