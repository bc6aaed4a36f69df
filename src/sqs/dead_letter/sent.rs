//! Into the dead-letter queue: sent by the function.

use std::collections::HashSet;

use aws_sdk_sqs::primitives::Blob;
use aws_sdk_sqs::types::{MessageAttributeValue, SendMessageBatchRequestEntry};
use futures_util::{StreamExt as _, stream};
use mapping::internals::{MessageAttribute, ORIGIN, Origin, REJECTION};
use mapping::{Origins, Record, Rejection};
use tokio::time::{Instant, timeout_at};

use super::{Reason, Unsendable, content, senders, trace, with_ours};
use crate::sqs::batch::{CONCURRENT_REQUESTS, Outgoing, Request, packed};
use crate::sqs::{Disposition, Queue, Sqs};

impl Sqs {
    /// Sends the messages that are due to the dead-letter queue, and returns the positions in `rejected` of those that
    /// arrived.
    pub async fn dead_letter(
        &self,
        rejected: &[(&Record<'_>, Rejection)],
        dispositions: &[Disposition],
        origins: &Origins,
        until: Instant,
    ) -> HashSet<usize> {
        let mut arrived = HashSet::new();
        let Some(url) = self.dead_letter_queue_url.as_deref() else {
            return arrived;
        };
        let queue = Queue::new(self.client().await, url);
        let due = rejected
            .iter()
            .zip(dispositions)
            .enumerate()
            .filter(|(_, (_, disposition))| **disposition == Disposition::DeadLetter);
        // SQS's own redrive moves the messages that cannot be sent.
        let messages = due.filter_map(|(position, ((record, rejection), _))| {
            dead_letter(position, record, rejection, origins, queue.is_fifo()).ok()
        });
        let mut sending = stream::iter(packed(messages))
            .map(|request| send(&queue, request))
            .buffer_unordered(CONCURRENT_REQUESTS);
        let all = async {
            while let Some(positions) = sending.next().await {
                arrived.extend(positions);
            }
        };
        // What was sent before time ran out still counts.
        if timeout_at(until, all).await.is_err() {
            tracing::warn!("dead letters could not be sent in time: they remain in the queue");
        }
        arrived
    }
}

/// Sends a request, and returns the numbers of the messages that arrived.
async fn send(queue: &Queue, request: Request) -> Vec<usize> {
    match queue.send(&request.into_messages()).await {
        Ok(answer) => {
            if !answer.failed.is_empty() {
                tracing::warn!(
                    messages = answer.failed.len(),
                    "dead letters were refused: they remain in the queue"
                );
            }
            let sent = answer.successful.iter();
            sent.filter_map(|sent| sent.id.parse().ok()).collect()
        }
        Err(error) => {
            tracing::warn!(
                reason = error.reason(),
                "dead letters could not be sent: they remain in the queue"
            );
            Vec::new()
        }
    }
}

/// The message as it was, with its origin and the reason of its failure. It keeps its group in any kind of queue,
/// since a column may be mapped from it.
fn dead_letter(
    position: usize,
    record: &Record<'_>,
    rejection: &Rejection,
    origins: &Origins,
    is_fifo: bool,
) -> Result<Outgoing, Unsendable> {
    let body = record.body.as_deref().filter(|body| !body.is_empty());
    let body = body.ok_or(Unsendable::NoBody)?;
    let origin = Origin::new(
        record.original_id(),
        record.original_sent_at_millis(),
        &record.event_source_arn,
    )
    .with_index(record.split_index());
    let of_message = record.message_attributes.iter();
    let of_message =
        of_message.filter_map(|(name, value)| Some((name.clone(), sent_along(value)?)));
    let attributes = senders(of_message);
    let group = record.group_id();
    let group = group.or_else(|| is_fifo.then_some(&*record.message_id));
    let ours = [
        (
            ORIGIN,
            origins.text(origin, &content(body, group, &attributes)),
        ),
        (REJECTION, Reason::of(rejection).text()),
    ];
    let deduplication = is_fifo.then_some(&*record.message_id);
    let entry = SendMessageBatchRequestEntry::builder()
        .message_body(body)
        .set_message_attributes(Some(with_ours(attributes, &ours)?))
        .set_message_system_attributes(trace(record.aws_trace_header()))
        .set_message_group_id(group.map(str::to_owned))
        .set_message_deduplication_id(deduplication.map(str::to_owned));
    Outgoing::new(position, entry).ok_or(Unsendable::NoBody)
}

/// The attribute as it is sent; `None` if it has no value.
fn sent_along(attribute: &MessageAttribute) -> Option<MessageAttributeValue> {
    let sent = MessageAttributeValue::builder().data_type(&attribute.data_type);
    let sent = match &attribute.string_value {
        Some(text) => sent.string_value(text),
        None => sent.binary_value(Blob::new(attribute.value()?)),
    };
    sent.build().ok()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use mapping::{Place, Refusal, RefusedValue, Rule};
    use serde::Deserialize as _;
    use serde_json::json;

    use super::*;

    fn record(body: &str) -> Record<'static> {
        Record::deserialize(json!({
            "messageId": "m-1", "body": body, "eventSourceARN": "arn:aws:sqs:eu-west-1:0:logins.fifo",
            "attributes": {"MessageGroupId": "anna", "SentTimestamp": "1700000000123"},
            "messageAttributes": {"tenant": {"stringValue": "acme", "dataType": "String"}, "raw": {"binaryValue": "AAE=", "dataType": "Binary"}},
        }))
        .unwrap()
    }

    fn rejection() -> Rejection {
        Rejection {
            rule: Rule::Required,
            place: Some(Place {
                table: None,
                column: Some("masked_ip".into()),
                path: "ip".into(),
                is_key: false,
            }),
        }
    }

    fn dead_letter_of(record: &Record<'_>, rejection: &Rejection) -> Result<Outgoing, Unsendable> {
        dead_letter(7, record, rejection, &Origins::new(None), false)
    }

    fn attribute<'m>(sent: &'m Outgoing, name: &str) -> &'m str {
        let attributes = sent.entry.message_attributes().unwrap();
        attributes[name].string_value().unwrap()
    }

    #[test]
    fn a_message_without_a_body_cannot_be_a_dead_letter() {
        assert!(dead_letter_of(&record(""), &rejection()).is_err());
    }

    #[test]
    fn a_dead_letter_keeps_its_group_in_any_kind_of_queue_and_a_fifo_queue_requires_one() {
        let alone = json!({"messageId": "m-1", "body": "{}"});
        let alone = Record::deserialize(alone).unwrap();
        let cases = [
            (record("{}"), false, Some("anna"), None),
            (record("{}"), true, Some("anna"), Some("m-1")),
            (alone, true, Some("m-1"), Some("m-1")),
        ];
        for (record, is_fifo, group, deduplication) in cases {
            let origins = Origins::new(None);
            let sent = dead_letter(7, &record, &rejection(), &origins, is_fifo).unwrap();
            assert_eq!(sent.entry.message_group_id(), group);
            assert_eq!(sent.entry.message_deduplication_id(), deduplication);
        }
    }

    fn with_texts<'a>(texts: impl Iterator<Item = (String, &'a str)>) -> Record<'static> {
        let mut record = record("{}");
        let texts = texts
            .map(|(name, text)| (name, json!({"stringValue": text, "dataType": "String"})))
            .collect();
        record.message_attributes = serde_json::from_value(texts).unwrap();
        record
    }

    #[test]
    fn a_message_without_room_for_two_attributes_is_left_to_sqs() {
        let has_room = |count: usize| {
            let record = with_texts((0..count).map(|number| (format!("a{number}"), "x")));
            dead_letter_of(&record, &rejection()).is_ok()
        };
        assert_eq!([has_room(8), has_room(9)], [true, false]);
    }

    #[test]
    fn an_attribute_of_the_sender_is_not_overwritten() {
        for name in [ORIGIN, REJECTION] {
            let record = with_texts([(name.to_owned(), "web")].into_iter());
            let sent = dead_letter_of(&record, &rejection()).map(|_| ());
            assert_eq!(sent, Err(Unsendable::NameTaken), "{name}");
        }
    }

    #[test]
    fn a_record_that_was_split_off_keeps_its_position() {
        let origins = Origins::new(None);
        let origin = Origin::new("m-0", Some(1), "").with_index(Some(3));
        let text = origins.text(origin.clone(), &content("{}", None, &HashMap::new()));
        let mut record = with_texts([(ORIGIN.to_owned(), &*text)].into_iter());
        assert_eq!(record.apply_origin(&origins), None);
        let dead = dead_letter_of(&record, &rejection()).unwrap();
        let sent = Origin::parse(attribute(&dead, ORIGIN)).unwrap();
        assert_eq!((sent.id, sent.index), (origin.id, Some(3)));
    }

    #[test]
    fn the_reason_names_the_column_whose_value_postgres_cannot_read() {
        let value = RefusedValue {
            table: "shop.t".into(),
            column: "mood".into(),
            type_name: "mood".into(),
            labels: vec!["happy".into()],
        };
        let refusal = Refusal {
            sqlstate: "22P02".into(),
            value: Some(Box::new(value)),
            ..Refusal::default()
        };
        let rejection = Rule::Refused(Box::new(refusal)).into();
        let dead = dead_letter_of(&with_texts([].into_iter()), &rejection).unwrap();
        assert_eq!(
            attribute(&dead, REJECTION),
            r#"{"rule":"refused","table":"shop.t","column":"mood"}"#
        );
    }

    #[test]
    fn the_reason_of_an_earlier_failure_is_replaced() {
        let earlier = r#"{"rule": "type", "path": "old"}"#;
        let record = with_texts([(REJECTION.to_owned(), earlier)].into_iter());
        let refusal = Refusal {
            sqlstate: "23502".into(),
            column: Some("locale".into()),
            ..Refusal::default()
        };
        let rejection = Rule::Refused(Box::new(refusal)).into();
        let dead = dead_letter_of(&record, &rejection).unwrap();
        assert_eq!(
            attribute(&dead, REJECTION),
            r#"{"rule":"refused","column":"locale"}"#
        );
    }
}
