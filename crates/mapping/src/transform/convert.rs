//! Values → cells. Values are fully checked here, so that Postgres does not refuse them.

use std::borrow::Cow;
use std::net::IpAddr;
use std::str::FromStr;

use base64::Engine as _;
use bytes::{BufMut, BytesMut};
use postgres_protocol::types as wire;
use uuid::Uuid;

use super::decimal::{Decimal, Misfit, is_json_number};
use super::jsonb::MAX_EXPANSION_BYTES;
use super::parts::{Unvisited, each_element};
use super::readable::numerics_chars;
use super::text::Unstorable;
use super::{MAX_BYTES, from_json, jsonb};
use crate::rejection::Rule;
use crate::rows::{put_array, put_null, put_value};
use crate::text::{BASE64, BASE64_URL};
use crate::time::{MICROS_PER_DAY, Misread, Moment, TimeSpelling, TimeType, Unit, plain};
use crate::types::{ColumnType, Element};

/// The first microsecond after the times that a number can stand for: nearly every number of another unit is beyond.
const UNIX_MICROS_OF_2200: i64 = 84_006 * MICROS_PER_DAY;
const UNIX_MICROS_OF_1990: i64 = 7_305 * MICROS_PER_DAY;

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
            write(value, element.into(), out)
        }),
        _ => write_scalar(value, column_type, out).map_err(|misfit| match misfit {
            Misfit::Type => Rule::Type(column_type),
            Misfit::Range => Rule::Range(column_type),
        }),
    }
}

/// Writes a value that is spelled as the column says as a cell of a type of times.
///
/// # Errors
/// The rule that it breaks. `out` may then contain part of a cell.
pub(crate) fn write_spelled(
    value: &Value<'_>,
    spelling: &TimeSpelling,
    column_type: ColumnType,
    out: &mut BytesMut,
) -> Result<(), Rule> {
    if let ColumnType::Array(element) = column_type {
        return write_array(value, element, out, |value, out| {
            write_spelled(value, spelling, element.into(), out)
        });
    }
    let time_type = match (value, column_type.time_type()) {
        (Value::Millis(_), _) | (_, None) => return write(value, column_type, out),
        (_, Some(time_type)) => time_type,
    };
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
    element: Element,
    out: &mut BytesMut,
    write_element: impl Fn(&Value<'_>, &mut BytesMut) -> Result<(), Rule>,
) -> Result<(), Rule> {
    let not_of_type = || Rule::Type(ColumnType::Array(element));
    let Value::Nested(json) = value else {
        return Err(not_of_type());
    };
    let start = out.len();
    let single = ColumnType::from(element);
    put_array(out, &single.element(), |out| {
        let mut elements = 0;
        let visited = each_element(json, |json| {
            // An element can take many times the bytes of its text.
            if out.len() - start > MAX_BYTES {
                return Err(Rule::TooLarge(MAX_BYTES));
            }
            elements += 1;
            match from_json(json, Unstorable::Reject)? {
                Value::Null => put_null(out),
                value => put_value(out, |out| write_element(&value, out))?,
            }
            Ok(())
        });
        visited
            .map(|()| elements)
            .map_err(|unvisited| match unvisited {
                Unvisited::NotAnArray | Unvisited::By(Rule::Type(_)) => not_of_type(),
                Unvisited::By(rule) => rule,
            })
    })?;
    let sent_and_added = json.len() + MAX_EXPANSION_BYTES;
    match out.get(start..).map_or(0, numerics_chars) > sent_and_added && single.is_numeric() {
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
        ColumnType::Date => write_time(value, TimeType::Date, out)?,
        ColumnType::Time => write_time(value, TimeType::Time, out)?,
        ColumnType::Timestamp => write_time(value, TimeType::Timestamp, out)?,
        ColumnType::TimestampTz => write_time(value, TimeType::TimestampTz, out)?,
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

/// Writes a time as Postgres writes it, or an instant of SQS.
fn write_time(value: &Value<'_>, time_type: TimeType, out: &mut BytesMut) -> Result<(), Misfit> {
    let moment = match value {
        Value::Millis(millis) => millis.checked_mul(1_000).and_then(Moment::of_unix_micros),
        _ => plain::read(literal(value)?, time_type),
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
    let number = decimal(value).map_err(|_| Rule::NotInUnit(unit))?;
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
