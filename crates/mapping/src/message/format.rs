//! `body`: what JSON the text of a message is.

use std::borrow::Cow;

use serde::de::IgnoredAny;

use super::ExtractError;
use crate::text::Word;

/// What JSON the text of a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// One JSON value.
    #[default]
    Json,
    /// One JSON value on each line, which are the elements of `@body`. Source: <https://jsonlines.org>.
    Lines,
}

impl Word for Format {
    const NAMES: &'static [(&'static str, Self)] = &[("json", Self::Json), ("lines", Self::Lines)];
}

impl Format {
    /// These JSON values as one text.
    pub(super) fn join<'v>(self, values: impl IntoIterator<Item = &'v str>) -> String {
        let values: Vec<&str> = values.into_iter().collect();
        match self {
            Self::Json => format!("[{}]", values.join(",")),
            Self::Lines => values.join("\n"),
        }
    }

    /// The text as one JSON value: lines become an array. Whether a single value is JSON is checked when its fields
    /// are picked, so that it is parsed only once.
    pub(super) fn as_json(self, text: Cow<'_, str>) -> Result<Cow<'_, str>, ExtractError> {
        match self {
            Self::Json => Ok(text),
            Self::Lines => lines_as_array(&text).map(Cow::Owned),
        }
    }
}

fn lines_as_array(text: &str) -> Result<String, ExtractError> {
    let mut array = String::with_capacity(text.len() + 2);
    array.push('[');
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim_ascii().is_empty() {
            continue;
        }
        // A line of two values would otherwise become two elements.
        let is_value = serde_json::from_str::<IgnoredAny>(line).is_ok();
        if !is_value {
            return Err(ExtractError::LineNotJson(number));
        }
        if array.len() > 1 {
            array.push(',');
        }
        array.push_str(line);
    }
    array.push(']');
    Ok(array)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Cow<'_, str>, ExtractError> {
        Format::Lines.as_json(Cow::Borrowed(text))
    }

    #[test]
    fn each_line_with_a_value_is_an_element() {
        let text = "{\"a\": 1}\r\n\n \t\n[2, 3]\n\"x\"";
        let array: serde_json::Value = serde_json::from_str(&read(text).unwrap()).unwrap();
        assert_eq!(array, serde_json::json!([{"a": 1}, [2, 3], "x"]));
        assert_eq!(read("").unwrap(), "[]");
    }

    #[test]
    fn a_line_that_is_not_one_value_is_named() {
        for (text, line) in [("1,2", 1), ("1\n2 3", 2), ("{}\n\n]\n[", 3), ("{\n}", 1)] {
            assert_eq!(
                read(text).err(),
                Some(ExtractError::LineNotJson(line)),
                "{text}"
            );
        }
    }
}
