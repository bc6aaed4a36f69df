//! JSON texts → the values of a program → JSON texts.

use jaq_json::{Num, Val};

use super::{JqFault, MAX_DIGITS, MAX_NESTING, MAX_TEXT_BYTES};

/// Values up to here are printed without an exponent, as jq does.
const MAX_PLAIN_FLOAT: f64 = 1e17;

/// What a program gives, as the conversions take it.
pub(crate) enum Output {
    Null,
    Bool(bool),
    /// A number by its JSON text.
    Number(String),
    Text(String),
    /// An object or array by its JSON text.
    Nested(String),
}

/// The value of a JSON text; no text is null.
pub(crate) fn read(json: &str) -> Result<Val, JqFault> {
    if json.len() > MAX_TEXT_BYTES {
        return Err(JqFault::TooLarge(MAX_TEXT_BYTES));
    }
    if json.is_empty() {
        return Ok(Val::Null);
    }
    if !is_readable(json.as_bytes()) {
        return Err(JqFault::TooMuch);
    }
    // The text is JSON, and all that jaq does not read of it is half of a surrogate pair.
    jaq_json::read::parse_single(json.as_bytes()).map_err(|_| JqFault::LoneSurrogate)
}

/// Whether a text, if it is JSON, nests no deeper and has no longer numbers than a program may read.
pub(super) fn is_readable(json: &[u8]) -> bool {
    let (mut depth, mut digits) = (0_usize, 0_usize);
    let (mut is_string, mut is_escaped) = (false, false);
    for byte in json {
        if is_string {
            is_string = is_escaped || *byte != b'"';
            is_escaped = !is_escaped && *byte == b'\\';
            continue;
        }
        digits = if byte.is_ascii_digit() { digits + 1 } else { 0 };
        match byte {
            b'"' => is_string = true,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_NESTING || digits > MAX_DIGITS {
            return false;
        }
    }
    true
}

impl Output {
    pub(crate) fn of(value: &Val) -> Result<Self, JqFault> {
        Ok(match value {
            Val::Null => Self::Null,
            Val::Bool(is_true) => Self::Bool(*is_true),
            Val::Num(number) => Self::Number(text_of(number)?),
            Val::TStr(text) => Self::Text(utf8(text)?.to_owned()),
            Val::Arr(_) | Val::Obj(_) | Val::BStr(_) => Self::Nested(json_of(value)?),
        })
    }
}

/// The JSON text of a value.
pub(crate) fn json_of(value: &Val) -> Result<String, JqFault> {
    let mut json = String::new();
    write(value, &mut json)?;
    Ok(json)
}

fn write(value: &Val, json: &mut String) -> Result<(), JqFault> {
    match value {
        Val::Null => json.push_str("null"),
        Val::Bool(true) => json.push_str("true"),
        Val::Bool(false) => json.push_str("false"),
        Val::Num(number) => json.push_str(&text_of(number)?),
        Val::TStr(text) => write_text(utf8(text)?, json),
        Val::BStr(_) => return Err(JqFault::NotJson),
        Val::Arr(elements) => {
            json.push('[');
            for (position, element) in elements.iter().enumerate() {
                if position > 0 {
                    json.push(',');
                }
                write(element, json)?;
            }
            json.push(']');
        }
        Val::Obj(fields) => {
            json.push('{');
            for (position, (key, field)) in fields.iter().enumerate() {
                if position > 0 {
                    json.push(',');
                }
                // jaq has objects with keys of any type, JSON has not.
                let Val::TStr(key) = key else {
                    return Err(JqFault::NotJson);
                };
                write_text(utf8(key)?, json);
                json.push(':');
                write(field, json)?;
            }
            json.push('}');
        }
    }
    Ok(())
}

fn write_text(text: &str, json: &mut String) {
    json.push_str(&serde_json::Value::from(text).to_string());
}

fn utf8(text: &[u8]) -> Result<&str, JqFault> {
    std::str::from_utf8(text).map_err(|_| JqFault::NotJson)
}

/// A number that was read is written as it was; one that was calculated, as jq writes it.
fn text_of(number: &Num) -> Result<String, JqFault> {
    match number {
        Num::Int(_) | Num::BigInt(_) | Num::Dec(_) => Ok(number.to_string()),
        Num::Float(float) if !float.is_finite() => Err(JqFault::NotJson),
        Num::Float(float) if float.fract() == 0.0 && float.abs() < MAX_PLAIN_FLOAT => {
            Ok(format!("{float:.0}"))
        }
        Num::Float(float) => Ok(serde_json::Value::from(*float).to_string()),
    }
}
