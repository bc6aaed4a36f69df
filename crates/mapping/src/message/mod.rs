//! The payload of an invocation → [`Record`]s → [`Message`]s.
//!
//! `event` reads the payload, `record` is one message as Lambda delivers it. `envelope`, `s3_pointer`, `encoding` and
//! `format` are the way from its body to the JSON of the message, in this order. `metadata` has everything besides the body that a
//! mapping can read, and `origin` keeps the id and time that a message first had. `records` packs several records into a
//! body, and splits them. Pure: no I/O, no clock.

mod encoding;
mod envelope;
mod event;
mod format;
mod metadata;
pub(crate) mod origin;
mod record;
mod records;
mod s3_pointer;

use std::borrow::Cow;
use std::collections::BTreeMap;

pub use encoding::{Encoding, MAX_UNPACKED_BYTES, Packing};
pub use envelope::{Envelope, NotInEnvelope};
pub use event::{NotSqs, read_event};
pub use format::Format;
pub use metadata::Metadata;
pub(crate) use metadata::{MetadataValue, TypeCheck};
pub use record::{MessageAttribute, Record, Text};
pub use records::Records;
pub(crate) use s3_pointer::is_bucket;
pub use s3_pointer::{PointerFault, S3Pointer, is_s3_pointer};

use crate::jq::JqFault;
use crate::text::Word as _;
use envelope::Notification;

/// How the body of a record holds the message: in an envelope, perhaps moved to S3, packed, and there in a format of JSON.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wrapping {
    /// What is around it.
    pub envelope: Envelope,
    /// The buckets to which producers may have moved it. If there is none, pointers are not followed.
    pub s3_pointers: Vec<String>,
    /// How it is packed.
    pub encoding: Packing,
    /// What JSON it is.
    pub format: Format,
}

impl Wrapping {
    /// The words of a mapping that say this, with their values, in the order in which they apply.
    pub(crate) fn words(&self) -> Vec<(&'static str, String)> {
        let Self {
            envelope,
            s3_pointers,
            encoding,
            format,
        } = self;
        let words = [
            (
                "envelope",
                (*envelope != Envelope::default()).then(|| envelope.to_string()),
            ),
            (
                "s3_pointers",
                (!s3_pointers.is_empty()).then(|| s3_pointers.join(", ")),
            ),
            (
                "encoding",
                (*encoding != Packing::default()).then(|| encoding.to_string()),
            ),
            (
                "body",
                (*format != Format::default()).then(|| format.name().to_owned()),
            ),
        ];
        let set = words.into_iter();
        set.filter_map(|(word, value)| Some((word, value?)))
            .collect()
    }
}

/// Nothing else than an envelope.
impl From<Envelope> for Wrapping {
    fn from(envelope: Envelope) -> Self {
        Self {
            envelope,
            ..Self::default()
        }
    }
}

/// A message out of its wrapping, with everything that a mapping can read. It may be personal, so it cannot be printed.
pub struct Message<'a> {
    record: &'a Record<'a>,
    /// How the body was packed.
    encoding: Encoding,
    /// `None` if the program of the mapping left nothing of it.
    body: Option<Cow<'a, str>>,
    /// The wrapping of the body, if there is any.
    notification: Option<Notification<'a>>,
}

/// Why a record does not contain a message.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExtractError {
    /// The record has no body.
    BodyMissing,
    /// The body is not in the envelope that the mapping names.
    NotInEnvelope(NotInEnvelope),
    /// It was moved to S3, and the pointer does not lead to it.
    S3Pointer(PointerFault),
    /// The text is not packed as the mapping says.
    NotEncoded(Encoding),
    /// The attribute that says how the text is packed does not name an encoding.
    UnknownEncoding,
    /// It unpacks to more bytes than this.
    TooLarge(usize),
    /// The line of this number, from 1, is not one JSON value.
    LineNotJson(usize),
    /// The message is not one JSON value, which a program needs.
    NotJson,
    /// The program of the mapping makes no body of the one that was sent.
    Jq(JqFault),
}

impl<'a> Message<'a> {
    /// Takes the message of a record out of its wrapping.
    ///
    /// # Errors
    /// There is no body, or it is not wrapped in this way. Whether it is one JSON value is checked when its fields are
    /// picked, so that it is parsed only once.
    pub fn extract(record: &'a Record<'a>, wrapping: &Wrapping) -> Result<Self, ExtractError> {
        Self::extract_with(record, None, wrapping)
    }

    /// Takes the message of a record out of its wrapping. If its body is a pointer that is followed, `object` is the
    /// text that it leads to.
    pub(crate) fn extract_with(
        record: &'a Record<'a>,
        object: Option<String>,
        wrapping: &Wrapping,
    ) -> Result<Self, ExtractError> {
        let body = record.body.as_deref().ok_or(ExtractError::BodyMissing)?;
        let opened = wrapping.envelope.open(body);
        let (text, notification) = opened.map_err(ExtractError::NotInEnvelope)?;
        let text = match S3Pointer::of(&text, &wrapping.s3_pointers) {
            None => text,
            Some(Err(fault)) => return Err(ExtractError::S3Pointer(fault)),
            Some(Ok(_)) => {
                let not_read = ExtractError::S3Pointer(PointerFault::NotRead);
                Cow::Owned(object.ok_or(not_read)?)
            }
        };
        let attribute = |name: &str| attribute(record, notification.as_ref(), name);
        let encoding = wrapping.encoding.of(attribute)?;
        let body = wrapping.format.as_json(encoding.unpack(text)?)?;
        Ok(Self {
            record,
            encoding,
            body: Some(body),
            notification,
        })
    }

    /// Where the body of a record is, if it was moved to S3; `None` if it was not, or nothing may be read there.
    pub(crate) fn s3_pointer(record: &Record<'_>, wrapping: &Wrapping) -> Option<S3Pointer> {
        if wrapping.s3_pointers.is_empty() {
            return None;
        }
        let (text, _) = wrapping.envelope.open(record.body.as_deref()?).ok()?;
        S3Pointer::of(&text, &wrapping.s3_pointers)?.ok()
    }

    /// The message with another body, or none.
    pub(crate) fn with_body(self, body: Option<String>) -> Self {
        Self {
            body: body.map(Cow::Owned),
            ..self
        }
    }

    /// Whether the program of the mapping left nothing of it.
    pub(crate) fn is_left_out(&self) -> bool {
        self.body.is_none()
    }

    /// The JSON text of the message; empty if the program of the mapping left nothing of it.
    pub fn body(&self) -> &str {
        self.body.as_deref().unwrap_or_default()
    }

    /// The position of the first element of a body that is an array, in the array that it was split off.
    pub(crate) fn first_index(&self) -> usize {
        self.record.split_index().map_or(0, |index| index as usize)
    }

    /// What a column from `@attribute.NAME` receives, by name: SQS's own attributes take precedence over those in the
    /// envelope.
    pub fn attributes(&self) -> BTreeMap<&str, &str> {
        let own = self.record.message_attributes.keys();
        let own = own.filter_map(|name| Some((name.as_str(), self.record.attribute(name)?)));
        let wrapped = self.notification.iter().flat_map(Notification::attributes);
        wrapped.chain(own).collect()
    }
}

/// A message attribute: SQS's own attributes take precedence over those in the envelope.
fn attribute<'m>(
    record: &'m Record<'_>,
    notification: Option<&'m Notification<'_>>,
    name: &str,
) -> Option<&'m str> {
    record
        .attribute(name)
        .or_else(|| notification?.attribute(name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::origin::{Content, ORIGIN, Origin, Origins};
    use super::record::tests::record;
    use super::*;

    /// What a column from this metadata receives.
    fn value(message: &Message<'_>, from: &str) -> String {
        match Metadata::parse(from).unwrap().value(message).unwrap() {
            MetadataValue::Millis(millis) => millis.to_string(),
            MetadataValue::Number(text) => text.to_owned(),
            MetadataValue::Text(text) => text.into_owned(),
        }
    }

    #[test]
    fn metadata_is_read_from_an_sns_notification() {
        let body = json!({
            "Type": "Notification", "MessageId": "n-1", "TopicArn": "arn", "Message": "{}",
            "MessageAttributes": {"tenant": {"Type": "String", "Value": "acme"}},
        });
        let record = record(json!({"body": body.to_string()}));
        let message = Message::extract(&record, &Envelope::Sns.into()).unwrap();
        assert_eq!(value(&message, "@sns.message_id"), "n-1");
        assert_eq!(value(&message, "@sns.topic_arn"), "arn");
        assert_eq!(value(&message, "@attribute.tenant"), "acme");
    }

    #[test]
    fn the_attribute_that_names_the_encoding_may_be_in_the_notification() {
        let wrapping = Wrapping {
            envelope: Envelope::Sns,
            encoding: Packing::Attribute("content-encoding".to_owned()),
            ..Wrapping::default()
        };
        let body = |attributes: serde_json::Value| {
            json!({
                "Type": "Notification", "MessageId": "n-1", "TopicArn": "arn", "Message": "eyJhIjogMX0=",
                "MessageAttributes": attributes,
            })
        };
        let base64 = json!({"content-encoding": {"Type": "String", "Value": "base64"}});
        let own =
            |value: &str| json!({"content-encoding": {"stringValue": value, "dataType": "String"}});
        for (wrapped, own, unpacked) in [
            (base64.clone(), json!({}), Ok(r#"{"a": 1}"#)),
            (json!({}), own("base64"), Ok(r#"{"a": 1}"#)),
            (base64.clone(), own("identity"), Ok("eyJhIjogMX0=")),
            (json!({}), json!({}), Ok("eyJhIjogMX0=")),
            (base64, own("br"), Err(ExtractError::UnknownEncoding)),
        ] {
            let record =
                record(json!({"body": body(wrapped).to_string(), "messageAttributes": own}));
            let message = Message::extract(&record, &wrapping);
            let message = message.map(|message| message.body().to_owned());
            assert_eq!(message, unpacked.map(str::to_owned));
        }
    }

    /// The object is packed as a body would be; a notification can hold the pointer.
    #[test]
    fn the_object_of_a_pointer_is_read_in_place_of_the_body() {
        const POINTER: &str = r#"["software.amazon.payloadoffloading.PayloadS3Pointer", {"s3BucketName": "logins", "s3Key": "k"}]"#;
        let notification = json!({"Type": "Notification", "MessageId": "n-1", "TopicArn": "arn", "Message": POINTER});
        let bodies = [
            (Envelope::None, POINTER.to_owned()),
            (Envelope::Sns, notification.to_string()),
        ];
        for (envelope, body) in bodies {
            let wrapping = Wrapping {
                envelope,
                s3_pointers: vec!["logins".to_owned()],
                encoding: Packing::As(Encoding::Base64),
                ..Wrapping::default()
            };
            let record = record(json!({ "body": body }));
            let pointer = Message::s3_pointer(&record, &wrapping).unwrap();
            assert_eq!((&*pointer.bucket, &*pointer.key), ("logins", "k"));
            let object = Some("eyJhIjogMX0=".to_owned());
            let message = Message::extract_with(&record, object, &wrapping).unwrap();
            assert_eq!(message.body(), r#"{"a": 1}"#);
            let not_read = Message::extract(&record, &wrapping).err();
            assert_eq!(
                not_read,
                Some(ExtractError::S3Pointer(PointerFault::NotRead))
            );
            let elsewhere = Wrapping {
                s3_pointers: vec!["others".to_owned()],
                ..wrapping
            };
            assert!(Message::s3_pointer(&record, &elsewhere).is_none());
            let foreign = Message::extract(&record, &elsewhere).err();
            assert_eq!(
                foreign,
                Some(ExtractError::S3Pointer(PointerFault::ForeignBucket))
            );
        }
    }

    #[test]
    fn the_id_and_time_of_an_origin_take_precedence_over_sqss_own_unless_sqs_contradicts_them() {
        let with = |origin: &str| {
            let mut record = record(json!({
                "attributes": {"SentTimestamp": "1700000000123"},
                "messageAttributes": {ORIGIN: {"stringValue": origin, "dataType": "String"}}}));
            record.apply_origin(&Origins::new(None));
            let message = Message::extract(&record, &Wrapping::default()).unwrap();
            ["@message_id", "@sent_at"].map(|from| value(&message, from))
        };
        let whole = Origin::new("m-0", Some(1_600_000_000_456), "");
        let untimed = Origin::new("m-0", None, "");
        let text = |origin| Origins::new(None).text(origin, &Content::new("", None));
        let [whole, untimed] = [whole, untimed].map(text);
        assert_eq!(with(&whole), ["m-0", "1600000000456"]);
        assert_eq!(with(&untimed), ["m-0", "1700000000123"]);
        assert_eq!(with("web"), ["m-1", "1700000000123"]);
        let later = Origin::new("m-0", Some(1_700_000_000_124), "");
        let elsewhere = Origin::new("m-0", None, "arn:aws:sqs:eu-west-1:0:other");
        for ignored in [later, elsewhere] {
            assert_eq!(with(&text(ignored)), ["m-1", "1700000000123"]);
        }
    }
}
