//! Whether a value of a message is one that the mapping names.

use super::decimal::Decimal;
use super::value::Value;
use crate::pipeline::Scalar;

pub(super) fn is_equal(expected: &Scalar, value: &Value<'_>) -> bool {
    match (expected, value) {
        (Scalar::Text(expected), Value::Text(text)) => expected == text,
        (Scalar::Bool(expected), Value::Bool(found)) => expected == found,
        (Scalar::Number(expected), Value::Number(text)) => {
            expected == text || Decimal::parse(expected).is_some_and(|number| number.equals(text))
        }
        _ => false,
    }
}
