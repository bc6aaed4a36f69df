//! Several records in one body: packed into it, and split into bodies of one record each, all as the mapping reads them.

use serde_json::value::RawValue;

use super::envelope::Around;
use super::{Encoding, Format, Message, Record, Wrapping};

/// The records of a message, each of which can become the body of another message.
pub struct Records {
    encoding: Encoding,
    format: Format,
    values: Vec<Box<RawValue>>,
    around: Around,
}

impl Wrapping {
    /// The text of a message with these JSON values, an array or lines, without its envelope. Of lines, none may have
    /// a line break. Where an attribute says how a message is packed, this one has none, so it is not.
    pub fn pack<'v>(&self, values: impl IntoIterator<Item = &'v str>) -> String {
        let encoding = self.encoding.without_attributes();
        encoding.pack(self.format.join(values))
    }
}

impl Records {
    /// The elements of a body that is an array, or its lines; `None` if it is neither, or is not wrapped in this way.
    pub fn of(record: &Record<'_>, wrapping: &Wrapping) -> Option<Self> {
        let message = Message::extract(record, wrapping).ok()?;
        Some(Self {
            encoding: message.encoding,
            format: wrapping.format,
            values: serde_json::from_str(message.body()).ok()?,
            around: wrapping.envelope.around(record.body.as_deref()?)?,
        })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// A body for each of them, as if it were the only one.
    pub fn bodies(&self) -> impl Iterator<Item = String> {
        self.values.iter().map(|value| {
            let text = self.encoding.pack(self.format.join([value.get()]));
            self.around.wrap(text)
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::record::tests::record;
    use super::super::{Envelope, Packing};
    use super::*;
    use crate::text::Word as _;

    const VALUES: [&str; 3] = [r#"{"n": 1.50, "t": "é \"x\""}"#, "[2]", "null"];

    fn wrappings() -> impl Iterator<Item = Wrapping> {
        Envelope::NAMES.iter().flat_map(|&(_, envelope)| {
            Encoding::NAMES.iter().flat_map(move |&(_, encoding)| {
                Format::NAMES.iter().map(move |&(_, format)| Wrapping {
                    envelope,
                    encoding: Packing::As(encoding),
                    format,
                    ..Wrapping::default()
                })
            })
        })
    }

    fn in_envelope(envelope: Envelope, text: String) -> String {
        match envelope {
            Envelope::None => text,
            Envelope::Sns => json!({
                "Type": "Notification", "MessageId": "n-1", "TopicArn": "arn", "Message": text,
                "MessageAttributes": {"tenant": {"Type": "String", "Value": "acme"}},
            })
            .to_string(),
        }
    }

    #[test]
    fn what_is_packed_is_read_by_the_same_mapping_and_each_record_alone_is_too() {
        for wrapping in wrappings() {
            let body = in_envelope(wrapping.envelope, wrapping.pack(VALUES));
            let whole = record(json!({"body": body}));
            let message = Message::extract(&whole, &wrapping).unwrap();
            let read: Vec<&RawValue> = serde_json::from_str(message.body()).unwrap();
            let read: Vec<&str> = read.iter().map(|value| value.get()).collect();
            assert_eq!(read, VALUES, "{wrapping:?}");
            let records = Records::of(&whole, &wrapping).unwrap();
            assert_eq!(records.len(), VALUES.len());
            for (body, value) in records.bodies().zip(VALUES) {
                let alone = record(json!({"body": body}));
                let message = Message::extract(&alone, &wrapping).unwrap();
                assert_eq!(message.body(), format!("[{value}]"), "{wrapping:?}");
                let attributes = message.attributes();
                let expected = (wrapping.envelope == Envelope::Sns).then_some("acme");
                assert_eq!(attributes.get("tenant").copied(), expected);
            }
        }
    }

    #[test]
    fn a_body_that_is_not_an_array_has_no_records() {
        for body in [
            json!({"n": 1}).to_string(),
            "[1".to_owned(),
            "1 2".to_owned(),
        ] {
            let whole = record(json!({"body": body}));
            assert!(
                Records::of(&whole, &Wrapping::default()).is_none(),
                "{body}"
            );
        }
        let empty = record(json!({"body": "[]"}));
        assert!(
            Records::of(&empty, &Wrapping::default())
                .unwrap()
                .is_empty()
        );
    }
}
