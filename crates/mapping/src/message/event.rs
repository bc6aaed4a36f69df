//! The payload of an invocation → its records.

use serde::Deserialize;
use thiserror::Error;

use super::Record;

/// The payload is not an SQS event. Carries no details: serde's messages quote the value that they did not expect.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "the payload is not an SQS event: only an SQS event source mapping may invoke this function"
)]
pub struct NotSqs;

/// The payload of an invocation. Fields that nothing uses are skipped.
#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "Records", borrow)]
    records: Vec<Record<'a>>,
}

/// Reads the payload that an SQS event source mapping sends with one invocation.
///
/// ```json
/// {"Records": [{"messageId": "…", "body": "{\"ip\": …}", "attributes": {"SentTimestamp": "1700000000000"},
///   "messageAttributes": {}, "eventSourceARN": "arn:aws:sqs:…:login-queue"}]}
/// ```
/// The fields and their order: <https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html> (2026-11).
///
/// # Errors
/// The payload is something else.
pub fn read_event(payload: &[u8]) -> Result<Vec<Record<'_>>, NotSqs> {
    // Checking all of it at once is cheaper than checking every string.
    let payload = str::from_utf8(payload).map_err(|_| NotSqs)?;
    let event: Event<'_> = serde_json::from_str(payload).map_err(|_| NotSqs)?;
    Ok(event.records)
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use serde_json::json;

    use super::*;
    use crate::message::record::Text;

    #[test]
    fn a_body_that_is_not_json_does_not_fail_the_event() {
        let payload = json!({"Records": [
            {"messageId": "a", "body": "not json"}, {"messageId": "b", "body": null}, {"messageId": "c"}]})
        .to_string();
        assert_eq!(read_event(payload.as_bytes()).unwrap().len(), 3);
    }

    #[test]
    fn a_payload_that_is_not_an_sqs_event_is_refused_without_its_values() {
        for payload in [
            json!({"Records": "s3cret"}),
            json!({"detail": "s3cret"}),
            json!({"Records": [{"messageId": {"x": "s3cret"}}]}),
        ] {
            assert_eq!(
                read_event(payload.to_string().as_bytes()).err(),
                Some(NotSqs)
            );
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
            assert_eq!(read_event(payload).err(), Some(NotSqs));
        }
    }

    #[test]
    fn a_string_without_escapes_is_borrowed_from_the_payload() {
        let payload = br#"{"Records": [{"messageId": "m-1", "body": "plain"}, {"messageId": "m-2", "body": "\"a\\nb\""}]}"#;
        let records = read_event(payload).unwrap();
        let bodies = records.iter().map(|record| record.body.as_ref().unwrap());
        let bodies: Vec<_> = bodies
            .map(|Text(text)| (matches!(text, Cow::Borrowed(_)), &**text))
            .collect();
        assert_eq!(bodies, [(true, "plain"), (false, "\"a\\nb\"")]);
    }
}
