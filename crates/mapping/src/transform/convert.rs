//! Values → cells → text, by type. Values are fully checked here, so that Postgres does not refuse them; the text is
//! what Postgres would print.

use std::borrow::Cow;
use std::net::IpAddr;
use std::str::FromStr;

use base64::Engine as _;
use bytes::{BufMut, BytesMut};
use postgres_protocol::types as wire;
use uuid::Uuid;

use super::decimal::{Misfit, Numeric};
use super::jsonb::MAX_EXPANSION_BYTES;
use super::parts::{Unvisited, each_element};
use super::text::Unstorable;
use super::value::Value;
use super::{MAX_BYTES, from_json, jsonb, printed, times};
use crate::rejection::Rule;
use crate::rows::{put_array, put_null, put_value};
use crate::text::{BASE64, BASE64_URL};
use crate::time::{TimeSpelling, TimeType};
use crate::types::{ColumnType, Element};

/// The version byte before a binary jsonb.
const JSONB_VERSION: u8 = 1;

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
        // The others, each by its name.
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
    times::write_spelled(value, spelling, time_type, column_type, out)
}

/// Whether a column of the type can store a text.
pub fn takes(column_type: ColumnType, text: &str) -> bool {
    let value = Value::Text(Cow::Borrowed(text));
    write(&value, column_type, &mut BytesMut::new()).is_ok()
}

/// The text of a cell of this type, as Postgres prints it in UTC; `None` if the bytes are not of the type.
pub fn readable(column_type: ColumnType, cell: &[u8]) -> Option<String> {
    use ColumnType as T;
    Some(match column_type {
        T::Text | T::Varchar(_) => std::str::from_utf8(cell).ok()?.to_owned(),
        T::Boolean => (cell == [1]).to_string(),
        T::SmallInt => i16::from_be_bytes(cell.try_into().ok()?).to_string(),
        T::Integer => i32::from_be_bytes(cell.try_into().ok()?).to_string(),
        T::BigInt => i64::from_be_bytes(cell.try_into().ok()?).to_string(),
        T::Real => printed::float(
            f32::from_be_bytes(cell.try_into().ok()?),
            printed::REAL_DIGITS,
        )?,
        T::DoublePrecision => printed::float(
            f64::from_be_bytes(cell.try_into().ok()?),
            printed::DOUBLE_DIGITS,
        )?,
        T::Numeric | T::NumericOf(..) => Numeric::read(cell)?.text(),
        T::Date => printed::date(i32::from_be_bytes(cell.try_into().ok()?))?.to_string(),
        T::Time => printed::time_of_day(i64::from_be_bytes(cell.try_into().ok()?)),
        T::Timestamp => printed::local(i64::from_be_bytes(cell.try_into().ok()?))?,
        T::TimestampTz => printed::local(i64::from_be_bytes(cell.try_into().ok()?))? + "+00",
        T::Uuid => Uuid::from_slice(cell).ok()?.to_string(),
        T::Inet => printed::inet(cell)?,
        T::Bytea => format!("\\x{}", base16ct::lower::encode_string(cell)),
        T::Json => std::str::from_utf8(cell).ok()?.to_owned(),
        T::Jsonb => std::str::from_utf8(cell.get(1..)?).ok()?.to_owned(),
        T::Array(element) => readable_array(element.into(), cell)?,
    })
}

/// Source: `array_out` in
/// <https://github.com/postgres/postgres/blob/REL_18_STABLE/src/backend/utils/adt/arrayfuncs.c>.
fn readable_array(element: ColumnType, cell: &[u8]) -> Option<String> {
    let mut texts = Vec::new();
    for value in printed::elements(cell) {
        texts.push(match (value?, element) {
            (None, _) => "NULL".to_owned(),
            // The cast to text has words where the output function has letters.
            (Some(value), ColumnType::Boolean) => if value == [1] { "t" } else { "f" }.to_owned(),
            (Some(value), _) => printed::quoted(readable(element, value)?),
        });
    }
    Some(format!("{{{}}}", texts.join(",")))
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
    match out.get(start..).map_or(0, printed::numerics_chars) > sent_and_added
        && single.is_numeric()
    {
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
        ColumnType::Numeric => value.decimal()?.write_numeric(out)?,
        ColumnType::NumericOf(precision, scale) => value
            .decimal()?
            .with_scale(precision, scale)?
            .write_numeric(out)?,
        ColumnType::Date => times::write(value, TimeType::Date, out)?,
        ColumnType::Time => times::write(value, TimeType::Time, out)?,
        ColumnType::Timestamp => times::write(value, TimeType::Timestamp, out)?,
        ColumnType::TimestampTz => times::write(value, TimeType::TimestampTz, out)?,
        ColumnType::Uuid => {
            let uuid = Uuid::try_parse(value.literal()?).map_err(|_| Misfit::Type)?;
            wire::uuid_to_sql(uuid.into_bytes(), out);
        }
        ColumnType::Inet => {
            let (address, netmask) = inet(value.literal()?).ok_or(Misfit::Type)?;
            wire::inet_to_sql(address, netmask, out);
        }
        ColumnType::Bytea => out.put_slice(&bytes(value.literal()?).ok_or(Misfit::Type)?),
        ColumnType::Text
        | ColumnType::Varchar(_)
        | ColumnType::Json
        | ColumnType::Jsonb
        | ColumnType::Array(_) => return Err(Misfit::Type),
    }
    Ok(())
}

/// Spellings that Postgres accepts, <https://www.postgresql.org/docs/18/datatype-boolean.html>: the words, and the
/// abbreviations that Postgres itself prints.
fn boolean(value: &Value<'_>) -> Result<bool, Misfit> {
    if let Value::Bool(value) = value {
        return Ok(*value);
    }
    let is_any_of =
        |text: &str, words: [&str; 5]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    match value.literal()? {
        text if is_any_of(text, ["true", "t", "yes", "on", "1"]) => Ok(true),
        text if is_any_of(text, ["false", "f", "no", "off", "0"]) => Ok(false),
        _ => Err(Misfit::Type),
    }
}

fn integer<T: TryFrom<i64>>(value: &Value<'_>) -> Result<T, Misfit> {
    let number = match value {
        Value::Millis(millis) => *millis,
        _ => match value.number()?.parse() {
            Ok(number) => number,
            Err(_) => value.decimal()?.to_i64()?,
        },
    };
    T::try_from(number).map_err(|_| Misfit::Range)
}

/// Like Postgres it refuses a number that would become infinite, or become zero without being zero.
fn float<T: FromStr + Into<f64> + Copy>(value: &Value<'_>) -> Result<T, Misfit> {
    let text = value.number()?;
    let number: T = text.parse().map_err(|_| Misfit::Type)?;
    let wide: f64 = number.into();
    let mut mantissa = text.bytes().take_while(|byte| !matches!(byte, b'e' | b'E'));
    let is_lost = wide == 0.0 && mantissa.any(|byte| matches!(byte, b'1'..=b'9'));
    match wide.is_finite() && !is_lost {
        true => Ok(number),
        false => Err(Misfit::Range),
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
