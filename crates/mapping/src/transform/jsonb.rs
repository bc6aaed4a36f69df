//! Whether a JSON value can be stored as jsonb, and read back by every client.
//!
//! Postgres stores `1e131071` in a few bytes and prints it as 131,072 digits: a small message could create a value
//! that no client can read, and with it a table that cannot be dumped.

use std::collections::BTreeMap;

use bytes::BytesMut;
use serde_json::value::RawValue;

use super::decimal::{Decimal, Numeric};
use crate::rejection::Rule;
use crate::types::{ColumnType, MAX_DIGITS};

/// Maximum nesting of a jsonb value. Postgres itself fails at about 6,000 levels, depending on `max_stack_depth`;
/// nobody writes a thousand by hand.
const MAX_NESTING: usize = 1_000;

/// How much longer all numbers of a value, or of an array, can become together when Postgres prints them: the size of
/// the largest SQS message, so that a value is never printed as more than two or three such messages.
pub(super) const MAX_EXPANSION_BYTES: usize = 1 << 20;

/// Postgres reads no larger exponent, not even for a zero.
/// Source: `set_var_from_str` in <https://github.com/postgres/postgres/blob/REL_18_STABLE/src/backend/utils/adt/numeric.c>.
const MAX_EXPONENT: i32 = i32::MAX / 2;

const OUT_OF_RANGE: Rule = Rule::Range(ColumnType::Jsonb);

/// A jsonb value as Postgres prints it: keys by their length and then by their bytes, the last of equal ones, and numbers
/// without exponents. `None` if it is not JSON.
/// Source: `JsonbToCStringWorker` and `lengthCompareJsonbString` in
/// <https://github.com/postgres/postgres/blob/REL_18_STABLE/src/backend/utils/adt/>.
pub fn printed_jsonb(json: &str) -> Option<String> {
    let json = json.trim_ascii();
    match json.as_bytes().first()? {
        b'{' => {
            let fields: BTreeMap<String, &RawValue> = serde_json::from_str(json).ok()?;
            let mut fields: Vec<_> = fields.into_iter().collect();
            fields.sort_by_key(|(key, _)| key.len());
            let fields = fields.into_iter().map(|(key, value)| {
                let key = serde_json::to_string(&key).ok()?;
                Some(format!("{key}: {}", printed_jsonb(value.get())?))
            });
            Some(format!(
                "{{{}}}",
                fields.collect::<Option<Vec<_>>>()?.join(", ")
            ))
        }
        b'[' => {
            let elements: Vec<&RawValue> = serde_json::from_str(json).ok()?;
            let elements = elements.iter().map(|element| printed_jsonb(element.get()));
            Some(format!(
                "[{}]",
                elements.collect::<Option<Vec<_>>>()?.join(", ")
            ))
        }
        b'"' => {
            let text: String = serde_json::from_str(json).ok()?;
            serde_json::to_string(&text).ok()
        }
        b'-' | b'0'..=b'9' => {
            let mut bytes = BytesMut::new();
            Decimal::parse(json)?.write_numeric(&mut bytes).ok()?;
            Some(Numeric::read(&bytes)?.text())
        }
        _ => Some(json.to_owned()),
    }
}

pub(crate) fn check(json: &str) -> Result<(), Rule> {
    let bytes = json.as_bytes();
    let (mut depth, mut expansion, mut at) = (0_usize, 0, 0);
    while let Some(byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'"' => at = end_of_string(bytes, at),
            b'{' | b'[' if depth == MAX_NESTING => return Err(Rule::Nesting(MAX_NESTING)),
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'-' | b'0'..=b'9' => {
                let number = number_from(json, at - 1);
                at += number.len().saturating_sub(1);
                expansion += expansion_of(number)?;
                if expansion > MAX_EXPANSION_BYTES {
                    return Err(OUT_OF_RANGE);
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// The end of the string that contains this position.
fn end_of_string(bytes: &[u8], mut at: usize) -> usize {
    while let Some(rest) = bytes.get(at..)
        && let Some(found) = memchr::memchr2(b'"', b'\\', rest)
    {
        if rest.get(found) == Some(&b'"') {
            return at + found + 1;
        }
        at += found + 2;
    }
    bytes.len()
}

fn number_from(json: &str, start: usize) -> &str {
    let is_of_number = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
    let rest = json.get(start..).unwrap_or_default();
    let length = rest.bytes().take_while(is_of_number).count();
    rest.get(..length).unwrap_or_default()
}

/// How many more bytes Postgres prints of a number than were sent.
fn expansion_of(number: &str) -> Result<usize, Rule> {
    let has_exponent = number.bytes().any(|byte| matches!(byte, b'e' | b'E'));
    if !has_exponent && number.len() <= MAX_DIGITS {
        return Ok(0);
    }
    let exponent = number.split_once(['e', 'E']).map_or("0", |(_, e)| e);
    if !exponent.parse().is_ok_and(|e: i32| e <= MAX_EXPONENT) {
        return Err(OUT_OF_RANGE);
    }
    let decimal = Decimal::parse(number).ok_or(OUT_OF_RANGE)?;
    let digits = decimal.digits_within_bounds().ok_or(OUT_OF_RANGE)?;
    Ok(digits.saturating_sub(number.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_expansion_of_all_numbers_together_is_limited_and_digits_that_were_sent_do_not_count() {
        let many = |number: &str, count: usize| format!("[{}]", vec![number; count].join(","));
        let added = 1_000 - "1e999".len();
        let most = MAX_EXPANSION_BYTES / added;
        assert_eq!(check(&many("1e999", most)), Ok(()));
        assert_eq!(check(&many("1e999", most + 1)), Err(OUT_OF_RANGE));
        assert_eq!(check(&many("123456.25", 200_000)), Ok(()));
    }
}
