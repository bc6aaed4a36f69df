//! The rule `not_an_object`: fields are mapped of something that has none, and what to do about each kind of it.

use std::fmt;

use serde::de::IgnoredAny;

use crate::message::is_s3_pointer;

/// What is found where the mapping reads fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAnObject {
    /// Where fields are read.
    pub at: Start,
    /// What is there.
    pub found: Found,
}

/// A place where paths start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// The body.
    Body,
    /// The value that `root` leads to.
    Root,
    /// An element of the array that `each` names.
    Element,
}

/// What is not an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Missing,
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool,
    /// A number.
    Number,
    /// A string.
    Text,
    /// An object or array that was encoded once more, as a string.
    TextOfJson,
    /// An array.
    Array,
    /// What the SQS extended client sends in place of a body that it has moved to S3.
    S3Pointer,
}

impl Found {
    /// What a JSON text is that is not an object; no text is a missing value.
    pub(crate) fn of(json: &str) -> Self {
        let json = json.trim_ascii();
        match json.as_bytes().first() {
            None => Self::Missing,
            Some(b'n') => Self::Null,
            Some(b't' | b'f') => Self::Bool,
            Some(b'"') if is_text_of_json(json) => Self::TextOfJson,
            Some(b'"') => Self::Text,
            Some(b'[') if is_s3_pointer(json) => Self::S3Pointer,
            Some(b'[') => Self::Array,
            Some(_) => Self::Number,
        }
    }
}

fn is_text_of_json(json: &str) -> bool {
    let text = serde_json::from_str::<String>(json).unwrap_or_default();
    let has_parts = text.trim_ascii_start().starts_with(['{', '[']);
    has_parts && serde_json::from_str::<IgnoredAny>(&text).is_ok()
}

impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Body => "the body is",
            Self::Root => "root leads to",
            Self::Element => "the element is",
        })
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "nothing",
            Self::Null => "null",
            Self::Bool => "true or false",
            Self::Number => "a number",
            Self::Text => "a string",
            Self::TextOfJson => "a string that contains JSON",
            Self::Array => "an array",
            Self::S3Pointer => {
                "a pointer of the SQS extended client, which moved the message to S3"
            }
        })
    }
}

/// What was found, and the remedy.
impl fmt::Display for NotAnObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use {Found as F, Start as S};
        let remedy = match (self.at, self.found) {
            (_, F::S3Pointer) => {
                "name its bucket in s3_pointers, and allow the function to read it"
            }
            (S::Body | S::Element, F::TextOfJson) => {
                "have the producer encode it once instead of twice"
            }
            (S::Root, F::TextOfJson) => "have the producer encode it at most twice",
            (S::Body, F::Array) => {
                "make a row of each element by each = \"@body\", or send one message per record"
            }
            (S::Root, F::Array) => "name the array in each instead of root",
            (S::Element, F::Array) => {
                "read its values by their positions, for example from = \"0\""
            }
            (S::Body | S::Root, F::Null) => {
                "fix the producer, or set unmatched = \"skip\" and give every table without a parent a when, to skip tombstones"
            }
            (S::Root, _) => "correct root, or fix the producer",
            (S::Element, F::Text | F::Number | F::Bool) => {
                "read it by from = \"@element\", map the whole array to a column of an array type or jsonb, or fix the producer"
            }
            (S::Body | S::Element, _) => "have the producer send an object",
        };
        let contrast = match self.found {
            F::Missing | F::S3Pointer => "",
            F::Null | F::Bool | F::Number | F::Text | F::TextOfJson | F::Array => ", not an object",
        };
        write!(f, "{} {}{contrast}: {remedy}", self.at, self.found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_an_object_is_recognised_however_it_is_written() {
        for (json, found) in [
            ("", Found::Missing),
            (" null ", Found::Null),
            ("false", Found::Bool),
            ("-1.5e3", Found::Number),
            (r#""x""#, Found::Text),
            (r#""{x""#, Found::Text),
            (r#""42""#, Found::Text),
            (r#"" {\"a\": [1]}""#, Found::TextOfJson),
            (r#""[]""#, Found::TextOfJson),
            ("[]", Found::Array),
            (r#"[{"a": 1}]"#, Found::Array),
            (
                r#"[ "com.amazon.sqs.javamessaging.MessageS3Pointer", {"s3BucketName": "b", "s3Key": "k"}]"#,
                Found::S3Pointer,
            ),
            (
                r#"["software.amazon.payloadoffloading.PayloadS3Pointer",{"s3BucketName":"b","s3Key":"k"}]"#,
                Found::S3Pointer,
            ),
        ] {
            assert_eq!(Found::of(json), found, "{json}");
        }
    }
}
