//! The payload of an invocation → its records.

use std::fmt;

use serde::Deserialize;
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use thiserror::Error;

use super::Record;

/// The payload is not an SQS event. Carries no details: serde's messages quote the value that they did not expect.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "the payload is not an SQS event: connect the function to an SQS queue and to nothing else"
)]
pub struct NotSqs;

/// Reads the payload that an SQS event source mapping sends with one invocation, and passes each record to
/// `each` as soon as it is read, while its bytes are still in the cache: an event can have 6 MB.
///
/// ```json
/// {"Records": [{"messageId": "…", "body": "{\"ip\": …}", "attributes": {"SentTimestamp": "1700000000000"},
///   "messageAttributes": {}, "eventSourceARN": "arn:aws:sqs:…:login-queue"}]}
/// ```
/// The fields and their order: <https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html> (2026-11).
///
/// # Errors
/// The payload is something else. `each` may have been called with records by then.
pub fn read_event<'a>(payload: &'a [u8], each: impl FnMut(Record<'a>)) -> Result<(), NotSqs> {
    // Checking all of it at once is cheaper than checking every string.
    let payload = str::from_utf8(payload).map_err(|_| NotSqs)?;
    let mut deserializer = serde_json::Deserializer::from_str(payload);
    deserializer
        .deserialize_map(EventVisitor(each))
        .and_then(|()| deserializer.end())
        .map_err(|_| NotSqs)
}

struct EventVisitor<F>(F);

#[derive(Deserialize)]
enum EventField {
    Records,
    #[serde(other)]
    Other,
}

impl<'de, F: FnMut(Record<'de>)> Visitor<'de> for EventVisitor<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an SQS event")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut event: A) -> Result<(), A::Error> {
        let mut has_records = false;
        while let Some(field) = event.next_key()? {
            match field {
                EventField::Other => _ = event.next_value::<IgnoredAny>()?,
                EventField::Records if has_records => {
                    return Err(A::Error::duplicate_field("Records"));
                }
                EventField::Records => {
                    event.next_value_seed(RecordsSeed(&mut self.0))?;
                    has_records = true;
                }
            }
        }
        if has_records {
            Ok(())
        } else {
            Err(A::Error::missing_field("Records"))
        }
    }
}

struct RecordsSeed<'f, F>(&'f mut F);

impl<'de, F: FnMut(Record<'de>)> DeserializeSeed<'de> for RecordsSeed<'_, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, F: FnMut(Record<'de>)> Visitor<'de> for RecordsSeed<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of records")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut records: A) -> Result<(), A::Error> {
        while let Some(record) = records.next_element()? {
            (self.0)(record);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use serde_json::json;

    use super::*;
    use crate::message::record::Text;

    fn records(payload: &[u8]) -> Result<Vec<Record<'_>>, NotSqs> {
        let mut records = Vec::new();
        read_event(payload, |record| records.push(record)).map(|()| records)
    }

    #[test]
    fn a_body_that_is_not_json_does_not_fail_the_event() {
        let payload = json!({"Records": [
            {"messageId": "a", "body": "not json"}, {"messageId": "b", "body": null}, {"messageId": "c"}]})
        .to_string();
        assert_eq!(records(payload.as_bytes()).unwrap().len(), 3);
    }

    #[test]
    fn a_payload_that_is_not_an_sqs_event_is_refused_without_its_values() {
        for payload in [
            json!({"Records": "s3cret"}),
            json!({"detail": "s3cret"}),
            json!({"Records": [{"messageId": {"x": "s3cret"}}]}),
        ] {
            assert_eq!(records(payload.to_string().as_bytes()).err(), Some(NotSqs));
        }
        let twice = br#"{"Records": [], "Records": []}"#;
        for payload in [
            &twice[..],
            b"",
            b"[]",
            b"{\"Records\": []} x",
            b"{\"Records\": [{}]}",
            b"\xff",
        ] {
            assert_eq!(records(payload).err(), Some(NotSqs));
        }
    }

    #[test]
    fn a_string_without_escapes_is_borrowed_from_the_payload() {
        let payload = br#"{"Records": [{"messageId": "m-1", "body": "plain"}, {"messageId": "m-2", "body": "\"a\\nb\""}]}"#;
        let records = records(payload).unwrap();
        let bodies = records.iter().map(|record| record.body.as_ref().unwrap());
        let bodies: Vec<_> = bodies
            .map(|Text(text)| (matches!(text, Cow::Borrowed(_)), &**text))
            .collect();
        assert_eq!(bodies, [(true, "plain"), (false, "\"a\\nb\"")]);
    }
}
