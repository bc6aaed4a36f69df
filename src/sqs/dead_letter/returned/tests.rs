use aws_sdk_sqs::types::MessageAttributeValue;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mapping::internals::Records;
use mapping::{Compiled, Envelope, KeyRing, MaskKey, Pipeline, Record};
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::*;
use crate::sqs::dead_letter::text_attribute;

const QUEUE: &str = "arn:aws:sqs:eu-west-1:0:logins";
const FIFO: &str = "arn:aws:sqs:eu-west-1:0:logins.fifo";

fn text(value: &str) -> MessageAttributeValue {
    text_attribute(value).unwrap()
}

fn dead_letter(attributes: &[(&str, &str)]) -> DeadLetter {
    from_queue(QUEUE, attributes)
}

fn from_queue(arn: &str, attributes: &[(&str, &str)]) -> DeadLetter {
    let message = Message::builder().message_id("m-2").body("{}");
    let message = attributes.iter().fold(message, |message, (name, value)| {
        message.message_attributes(*name, text(value))
    });
    let message = message
        .attributes(Name::MessageGroupId, "anna")
        .attributes(Name::DeadLetterQueueSourceArn, arn)
        .attributes(Name::SentTimestamp, "1700000000123")
        .attributes(Name::AwsTraceHeader, "Root=1");
    DeadLetter::new(message.build())
}

fn mask_key(first: u8) -> MaskKey {
    let key = STANDARD.encode((first..first + 32).collect::<Vec<u8>>());
    MaskKey::from_base64(&key).unwrap()
}

fn keyed(first: u8) -> Origins {
    Origins::new(Some(&mask_key(first).into()))
}

/// The origin that a dead letter returns with, whether it counts in the queue, and the notes.
fn returned(dead: &DeadLetter, origins: &Origins) -> (Origin, bool, Vec<Note>) {
    let source = dead.source().unwrap_or(QUEUE).to_owned();
    returned_to(dead, origins, &source, origins)
}

/// The same, with the queue that it returns to, and the function's keys.
fn returned_to(
    dead: &DeadLetter,
    origins: &Origins,
    queue: &str,
    function: &Origins,
) -> (Origin, bool, Vec<Note>) {
    let returned = dead.returned(0, queue, origins).unwrap();
    let entry = &returned.message.entry;
    let attributes = entry.message_attributes().unwrap();
    let origin = Origin::parse(attributes[ORIGIN].string_value().unwrap()).unwrap();
    let content = content(entry.message_body(), entry.message_group_id(), attributes);
    let delivery = Delivery {
        sent_at: Some(1_700_000_000_123),
        queue: Some(queue),
    };
    let counts = function.check(&origin, &content, delivery).is_ok();
    (origin, counts, returned.notes)
}

/// The text of an origin for a message of the group "anna" with these attributes of its sender's own.
fn text_of(origins: &Origins, origin: Origin, attributes: &[(&str, &str)]) -> String {
    let mut content = Content::new("{}", Some("anna"));
    for (name, value) in attributes {
        content.add(name, "String", value.as_bytes());
    }
    origins.text(origin, &content)
}

#[test]
fn a_dead_letter_of_the_function_returns_as_it_was_with_its_origin() {
    for origins in [keyed(0), Origins::new(None)] {
        let origin = Origin::new("m-1", Some(1_600_000_000_456), FIFO);
        let origin = text_of(&origins, origin, &[("tenant", "acme")]);
        let attributes = [
            (REJECTION, r#"{"rule": "type", "column": "ip"}"#),
            (ORIGIN, &origin),
            ("tenant", "acme"),
        ];
        let sent_by_function = from_queue(FIFO, &attributes);
        let back = sent_by_function.returned(7, FIFO, &origins).unwrap();
        assert_eq!(back.notes, []);
        let entry = back.message.entry;
        let expected = [
            (ORIGIN.to_owned(), text(&origin)),
            ("tenant".to_owned(), text("acme")),
        ];
        assert_eq!(
            entry.message_attributes().unwrap(),
            &HashMap::from(expected)
        );
        assert_eq!((entry.id(), entry.message_body()), ("7", "{}"));
        assert_eq!(entry.message_system_attributes, trace(Some("Root=1")));
        assert_eq!(
            (entry.message_group_id(), entry.message_deduplication_id()),
            (Some("anna"), Some("redrive-m-2"))
        );
    }
}

#[test]
fn the_origin_of_a_message_that_sqs_moved_is_its_own_id_and_time() {
    let expected = Origin::new("m-2", Some(1_700_000_000_123), QUEUE);
    let (origin, _, notes) = returned(&dead_letter(&[]), &Origins::new(None));
    assert_eq!((origin, notes), (expected, vec![Note::Unsigned]));
    let (origin, counts, notes) = returned(&dead_letter(&[]), &keyed(0));
    assert_eq!(origin.id, "m-2");
    assert!(counts && origin.is_signed() && notes.is_empty());
    let back = dead_letter(&[])
        .returned(0, QUEUE, &Origins::new(None))
        .unwrap();
    assert_eq!(back.message.entry.message_deduplication_id(), None);
}

#[test]
fn a_message_that_sqs_moved_from_a_fifo_queue_is_noted_for_its_reset_time() {
    let (_, _, notes) = returned(&from_queue(FIFO, &[]), &keyed(0));
    assert_eq!(notes, [Note::TimeReset]);
    let origins = keyed(0);
    let origin = Origin::new("m-1", Some(1_600_000_000_456), FIFO);
    let origin = text_of(&origins, origin, &[]);
    let moved_before = from_queue(FIFO, &[(ORIGIN, &origin)]);
    assert_eq!(returned(&moved_before, &origins).2, []);
}

#[test]
fn a_forged_origin_does_not_become_a_signed_one() {
    let forged = || Origin::new("victim", Some(1), QUEUE);
    let unsigned = text_of(&Origins::new(None), forged(), &[]);
    let (origin, counts, _) = returned(&dead_letter(&[(ORIGIN, &unsigned)]), &keyed(0));
    assert_eq!((origin.id.as_str(), counts), ("m-2", true));
    // It may be signed with another key: only the function knows.
    let of_another_key = text_of(&keyed(1), forged(), &[]);
    let (origin, counts, notes) = returned(&dead_letter(&[(ORIGIN, &of_another_key)]), &keyed(0));
    assert_eq!((origin.id.as_str(), counts), ("victim", false));
    assert_eq!(notes, [Note::Unverified]);
}

/// It was read in the dead-letter queue of one queue, and sent to another with other attributes, or later than it
/// says.
#[test]
fn an_origin_that_was_copied_from_another_message_is_not_signed_again() {
    let origins = keyed(0);
    let copied = |sent_at, queue, attributes: &[(&str, &str)]| {
        let origin = Origin::new("victim", Some(sent_at), queue);
        let signed = text_of(&origins, origin, attributes);
        let (origin, ..) = returned(&dead_letter(&[(ORIGIN, &signed)]), &origins);
        origin.id
    };
    assert_eq!(copied(1, QUEUE, &[]), "victim");
    assert_eq!(copied(1, FIFO, &[]), "m-2");
    assert_eq!(copied(1_700_000_000_124, QUEUE, &[]), "m-2");
    let other = text_of(
        &origins,
        Origin::new("victim", None, QUEUE),
        &[("tenant", "acme")],
    );
    let dead = dead_letter(&[(ORIGIN, &other), ("tenant", "evil")]);
    assert!(!returned(&dead, &origins).1);
}

#[test]
fn an_origin_of_a_retired_key_is_signed_again_with_the_current_one() {
    let keys = [("old", 0), ("new", 1)];
    let keys = keys.map(|(id, first)| (id.to_owned(), mask_key(first)));
    let ring = KeyRing::new(keys.into(), "new").unwrap();
    let signed = text_of(&keyed(0), Origin::new("m-1", Some(1), QUEUE), &[]);
    let dead = dead_letter(&[(ORIGIN, &signed)]);
    let [tool, function] = [
        Origins::with_retired(Some(&ring)),
        Origins::new(Some(&ring)),
    ];
    let (origin, counts, notes) = returned_to(&dead, &tool, QUEUE, &function);
    assert_eq!((origin.id.as_str(), counts, notes), ("m-1", true, vec![]));
}

#[test]
fn an_origin_is_signed_again_for_another_queue_if_there_is_a_key() {
    let signed = text_of(&keyed(0), Origin::new("m-1", Some(1), QUEUE), &[]);
    let dead = dead_letter(&[(ORIGIN, &signed)]);
    let other = "arn:aws:sqs:eu-west-1:0:other";
    let (origin, counts, notes) = returned_to(&dead, &keyed(0), other, &keyed(0));
    assert_eq!((origin.id.as_str(), counts, notes), ("m-1", true, vec![]));
    let (_, counts, notes) = returned_to(&dead, &Origins::new(None), other, &keyed(0));
    assert_eq!((counts, notes), (false, vec![Note::Unsigned]));
}

/// The origin of the record at a position, whether it counts, and its deduplication id.
fn split_off(
    dead: &DeadLetter,
    position: usize,
    origins: &Origins,
) -> Result<(Origin, bool, Option<String>), Unsendable> {
    let returned = dead.returned_record(position, "[1]", FIFO, origins)?;
    let entry = returned.message.entry;
    let attributes = entry.message_attributes().unwrap();
    let origin = Origin::parse(attributes[ORIGIN].string_value().unwrap()).unwrap();
    let content = content(entry.message_body(), entry.message_group_id(), attributes);
    let counts = origins
        .check(&origin, &content, Delivery::default())
        .is_ok();
    assert_eq!(entry.message_body(), "[1]");
    let deduplication = entry.message_deduplication_id().map(str::to_owned);
    Ok((origin, counts, deduplication))
}

#[test]
fn a_record_that_is_split_off_keeps_id_time_and_position_however_often_it_is() {
    for origins in [keyed(0), Origins::new(None)] {
        let origin = Origin::new("m-1", Some(1_600_000_000_456), FIFO);
        for (first, index) in [(None, 3), (Some(4), 7)] {
            let text = text_of(&origins, origin.clone().with_index(first), &[]);
            let dead = from_queue(FIFO, &[(ORIGIN, &text)]);
            let (sent, counts, deduplication) = split_off(&dead, 3, &origins).unwrap();
            assert_eq!((&*sent.id, sent.sent_at), ("m-1", origin.sent_at));
            assert_eq!((sent.index, counts), (Some(index), true));
            assert_eq!(deduplication.as_deref(), Some("redrive-m-2-3"));
        }
        let (sent, counts, _) = split_off(&from_queue(FIFO, &[]), 2, &origins).unwrap();
        assert_eq!((&*sent.id, sent.index, counts), ("m-2", Some(2), true));
    }
}

#[test]
fn a_record_whose_origin_cannot_be_signed_is_not_split_off() {
    let origin = Origin::new("m-1", Some(1), FIFO);
    let dead = from_queue(FIFO, &[(ORIGIN, &text_of(&keyed(0), origin, &[]))]);
    for origins in [Origins::new(None), keyed(1)] {
        let refused = split_off(&dead, 0, &origins).map(|_| ());
        assert_eq!(refused, Err(Unsendable::Signed));
    }
}

/// The values of each row.
type Cells = Vec<Vec<Option<Vec<u8>>>>;

/// The rows of a message as the function receives it.
fn rows(compiled: &Compiled, message: Value) -> Cells {
    let mut record = Record::deserialize(message).unwrap();
    assert_eq!(record.apply_origin(compiled.origins()), None);
    let read = compiled.rows(&record).map_err(|why| why.to_string());
    let read = read.unwrap();
    let table = &read.tables()[0].rows;
    let value = |row, column| table.value(row, column).map(<[u8]>::to_vec);
    let row = |row| (0..4).map(|column| value(row, column)).collect();
    (0..table.len()).map(row).collect()
}

#[test]
fn the_rows_of_records_that_were_split_off_are_the_rows_of_the_whole_message() {
    let keys = KeyRing::from(mask_key(0));
    for top in [
        "",
        "body = \"lines\"",
        "encoding = \"gzip+base64\"",
        "envelope = \"sns\"\nencoding = \"zstd+base64\"\nbody = \"lines\"",
    ] {
        let mapping = format!(
            r#"
            {top}
            [[table]]
            name = "readings"
            each = "@body"
            key = ["message_id", "line"]
            column = [
              {{ name = "message_id", type = "text", from = "@message_id" }},
              {{ name = "line", type = "integer", from = "@index" }},
              {{ name = "at", type = "timestamptz", from = "@sent_at" }},
              {{ name = "value", type = "numeric" }},
            ]"#
        );
        let pipeline = Pipeline::parse("test", &mapping).unwrap();
        let compiled = Compiled::new("test", &pipeline, Some(&keys)).unwrap();
        let values = ["{\"value\": 1.50}", "{}", "{\"value\": \"7\"}"];
        let text = pipeline.wrapping.pack(values);
        let body = match pipeline.wrapping.envelope {
            Envelope::None => text,
            Envelope::Sns => {
                let wrapped = json!({"Type": "Notification", "MessageId": "n", "TopicArn": "a", "Message": text});
                wrapped.to_string()
            }
        };
        let message = |body: &str, attributes: Value| {
            json!({
                "messageId": "m-2", "body": body, "eventSourceARN": QUEUE, "messageAttributes": attributes,
                "attributes": {"SentTimestamp": "1700000000123", "MessageGroupId": "anna"},
            })
        };
        let whole = rows(&compiled, message(&body, json!({})));
        let mut dead = dead_letter(&[]).message;
        dead.body = Some(body.clone());
        let dead = DeadLetter::new(dead);
        let received = Record::deserialize(message(&body, json!({}))).unwrap();
        let records = Records::of(&received, &pipeline.wrapping).unwrap();
        let mut split = Cells::new();
        for (position, body) in records.bodies().enumerate() {
            let returned = dead.returned_record(position, &body, QUEUE, compiled.origins());
            let attributes = returned.unwrap().message.entry.message_attributes.unwrap();
            let origin =
                json!({"dataType": "String", "stringValue": attributes[ORIGIN].string_value()});
            split.extend(rows(&compiled, message(&body, json!({ORIGIN: origin}))));
        }
        assert_eq!(split, whole, "{top}");
        assert_eq!(whole.len(), values.len());
    }
}
