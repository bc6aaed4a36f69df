//! `s3_pointers`: what an SQS extended client sends in place of a body that it has stored in S3.

use serde::Deserialize;
use serde::de::IgnoredAny;

/// Where the body of a message is. The key may be personal, so it cannot be printed.
#[derive(Clone, PartialEq, Eq)]
pub struct S3Pointer {
    /// One of the buckets that the mapping lists.
    pub bucket: String,
    /// The key of the object.
    pub key: String,
}

/// Why a pointer does not lead to a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PointerFault {
    /// It does not name a bucket and a valid key.
    Malformed,
    /// It names a bucket that the mapping does not list.
    ForeignBucket,
    /// The object was not read, because there is no access to S3 here.
    NotRead,
}

/// The class that a pointer names first, under its current and its former name. The clients for Java and Python write
/// the same array, and differ in its white space. The attribute with the size of the body, `ExtendedPayloadSize` or
/// `SQSLargePayloadSize`, is not needed to recognise it, and may be lost where a message is moved.
/// Sources: <https://github.com/awslabs/payload-offloading-java-common-lib-for-aws>,
/// <https://github.com/awslabs/amazon-sqs-python-extended-client-lib> (2026-11).
const CLASSES: [&str; 2] = [
    "\"software.amazon.payloadoffloading.PayloadS3Pointer\"",
    "\"com.amazon.sqs.javamessaging.MessageS3Pointer\"",
];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fields {
    s3_bucket_name: String,
    s3_key: String,
}

/// Whether a JSON text begins like a pointer.
pub fn is_s3_pointer(json: &str) -> bool {
    let inside = json.trim_ascii_start().strip_prefix('[');
    let first = inside.unwrap_or_default().trim_ascii_start();
    CLASSES.iter().any(|class| first.starts_with(class))
}

impl S3Pointer {
    /// The pointer that a text is, if its bucket is one of these; `None` if it is not a pointer, or pointers are not
    /// read.
    pub(super) fn of(text: &str, buckets: &[String]) -> Option<Result<Self, PointerFault>> {
        if buckets.is_empty() || !is_s3_pointer(text) {
            return None;
        }
        let Ok((IgnoredAny, fields)) = serde_json::from_str::<(IgnoredAny, Fields)>(text) else {
            return Some(Err(PointerFault::Malformed));
        };
        let pointer = Self {
            bucket: fields.s3_bucket_name,
            key: fields.s3_key,
        };
        Some(if !buckets.contains(&pointer.bucket) {
            Err(PointerFault::ForeignBucket)
        } else if is_key(&pointer.key) {
            Ok(pointer)
        } else {
            Err(PointerFault::Malformed)
        })
    }
}

/// Whether S3 can have an object of this key: it refuses a longer one, as if the bucket could not be read. And whether a
/// request for it cannot lead out of the bucket: S3 takes the steps `.` and `..` literally, but a proxy or another server
/// may resolve them.
/// Source: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html> (2026-11).
fn is_key(key: &str) -> bool {
    const MAX_BYTES: usize = 1024;
    let is_possible = (1..=MAX_BYTES).contains(&key.len());
    is_possible && !key.split('/').any(|step| matches!(step, "." | ".."))
}

/// Whether S3 allows a bucket of this name. It becomes a part of the host that is asked.
/// Source: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html> (2026-11).
pub(crate) fn is_bucket(name: &str) -> bool {
    let is_inside = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.');
    let is_end = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    (3..=63).contains(&name.len())
        && name.bytes().all(is_inside)
        && is_end(name.bytes().next())
        && is_end(name.bytes().next_back())
        && !name.contains("..")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<Result<(String, String), PointerFault>> {
        let read = S3Pointer::of(text, &["logins".to_owned(), "my.bucket".to_owned()])?;
        Some(read.map(|pointer| (pointer.bucket, pointer.key)))
    }

    #[test]
    fn the_pointers_of_java_and_python_are_recognised_under_both_class_names() {
        let java = r#"["software.amazon.payloadoffloading.PayloadS3Pointer",{"s3BucketName":"logins","s3Key":"a/b c"}]"#;
        let python = r#"["software.amazon.payloadoffloading.PayloadS3Pointer", {"s3BucketName": "logins", "s3Key": "a/b c"}]"#;
        let old = r#" [ "com.amazon.sqs.javamessaging.MessageS3Pointer", {"s3Key": "a/b c", "s3BucketName": "logins"} ]"#;
        for text in [java, python, old] {
            let expected = ("logins".to_owned(), "a/b c".to_owned());
            assert_eq!(of(text), Some(Ok(expected)), "{text}");
        }
        assert!(S3Pointer::of(java, &[]).is_none(), "no bucket is listed");
    }

    #[test]
    fn what_is_not_a_pointer_is_a_message() {
        for text in [
            "",
            "{}",
            "[]",
            "[1]",
            r#"["a", {"s3BucketName": "logins", "s3Key": "k"}]"#,
            r#"{"s3BucketName": "logins", "s3Key": "k"}"#,
            r#""software.amazon.payloadoffloading.PayloadS3Pointer""#,
        ] {
            assert_eq!(of(text), None, "{text}");
        }
    }

    #[test]
    fn a_pointer_without_a_usable_bucket_and_key_is_refused() {
        for (rest, fault) in [
            ("", PointerFault::Malformed),
            (r#", {"s3BucketName": "logins"}"#, PointerFault::Malformed),
            (
                r#", {"s3BucketName": "logins", "s3Key": 7}"#,
                PointerFault::Malformed,
            ),
            (
                r#", {"s3BucketName": "logins", "s3Key": ""}"#,
                PointerFault::Malformed,
            ),
            (
                r#", {"s3BucketName": "logins", "s3Key": "../secrets/k"}"#,
                PointerFault::Malformed,
            ),
            (
                r#", {"s3BucketName": "logins", "s3Key": "k"}, 1"#,
                PointerFault::Malformed,
            ),
            (
                r#", {"s3BucketName": "other", "s3Key": "k"}"#,
                PointerFault::ForeignBucket,
            ),
            (
                r#", {"s3BucketName": "logins.attacker.example", "s3Key": "k"}"#,
                PointerFault::ForeignBucket,
            ),
        ] {
            let text = format!(r#"["software.amazon.payloadoffloading.PayloadS3Pointer"{rest}]"#);
            assert_eq!(of(&text), Some(Err(fault)), "{text}");
        }
    }

    #[test]
    fn a_key_has_at_most_the_bytes_that_s3_allows() {
        let with_key = |key: String| {
            let fields = serde_json::json!({"s3BucketName": "logins", "s3Key": key});
            of(&format!(
                r#"["software.amazon.payloadoffloading.PayloadS3Pointer", {fields}]"#
            ))
        };
        assert!(with_key("é".repeat(512)).is_some_and(|pointer| pointer.is_ok()));
        let longer = with_key("k".repeat(1025));
        assert_eq!(longer, Some(Err(PointerFault::Malformed)));
    }

    #[test]
    fn only_names_that_s3_allows_are_buckets() {
        for name in ["abc", "my.bucket-7", "3rd"] {
            assert!(is_bucket(name), "{name}");
        }
        let long = "a".repeat(64);
        for name in [
            "",
            "ab",
            &long,
            "Logins",
            "a_b",
            "a/b",
            "-abc",
            "abc.",
            "a..b",
            "a@b",
            "a:b",
            "äbc",
            "arn:aws:s3:::logins",
        ] {
            assert!(!is_bucket(name), "{name}");
        }
    }
}
