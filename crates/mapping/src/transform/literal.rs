//! Values → the text from which Postgres reads the type of a `cast`.

use bytes::{BufMut as _, BytesMut};
use serde_json::value::RawValue;

use super::text::Unstorable;
use super::value::Value;
use super::{from_json, jsonb};
use crate::cast::Cast;
use crate::rejection::Rule;
use crate::types::ColumnType;

/// Writes a value as text: objects and arrays as their JSON; but for an array type, a JSON array as Postgres writes an
/// array.
pub(super) fn write(value: &Value<'_>, cast: &Cast, out: &mut BytesMut) -> Result<(), Rule> {
    if let Value::Nested(json) = value {
        jsonb::check(json)?;
        if cast.is_array() && json.starts_with('[') {
            return write_array(json, cast.delimiter(), out);
        }
    }
    out.put_slice(text(value)?.as_bytes());
    Ok(())
}

fn text<'v>(value: &'v Value<'_>) -> Result<&'v str, Rule> {
    let text = match value {
        Value::Nested(json) => Some(&**json),
        other => other.as_text(),
    };
    text.ok_or(Rule::Type(ColumnType::Text))
}

/// Source: <https://www.postgresql.org/docs/18/arrays.html#ARRAYS-IO>.
fn write_array(json: &str, delimiter: char, out: &mut BytesMut) -> Result<(), Rule> {
    let elements: Result<Vec<&RawValue>, _> = serde_json::from_str(json);
    let elements = elements.map_err(|_| Rule::Type(ColumnType::Text))?;
    let mut literals = Vec::new();
    for element in elements {
        literals.push(match from_json(element.get(), Unstorable::Reject)? {
            Value::Null => "NULL".to_owned(),
            value => quoted(text(&value)?),
        });
    }
    let literals = literals.join(&delimiter.to_string());
    out.put_slice(format!("{{{literals}}}").as_bytes());
    Ok(())
}

/// In quotes, within which no element has a meaning of its own.
fn quoted(element: &str) -> String {
    format!("\"{}\"", element.replace('\\', "\\\\").replace('"', "\\\""))
}
