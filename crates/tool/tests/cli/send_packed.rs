//! `send --pack`: several lines in one message, as the mapping reads them.

use mapping::{Compiled, Pipeline, Record};
use proptest::collection::vec;
use proptest::prelude::*;
use serde::Deserialize as _;
use serde_json::{Value, json};

use crate::tool::{Ended, Tool};
use testkit::aws::{Queue, attribute};
use testkit::sqs_double::SqsDouble;
use testkit::{TempFile, assert_contains, assert_ends, assert_starts};

/// SQS's limit of a message.
const MAX_BYTES: usize = 1_048_576;

/// A mapping with these words at its top and in its table.
fn mapping(top: &str, each: &str) -> String {
    format!(
        r#"
{top}
[[table]]
name = "readings"
{each}
key = ["id"]
column = [
  {{ name = "id", type = "bigint", required = true }},
  {{ name = "name", type = "text" }},
  {{ name = "rest", type = "jsonb", from = "@rest" }},
]
"#
    )
}

/// A queue in which all messages arrive.
fn double() -> SqsDouble {
    let double = SqsDouble::of(Vec::new());
    double.fail_sends("none of them", 0);
    double
}

async fn send(double: &SqsDouble, lines: &[String], options: &str) -> Ended {
    let file = TempFile::new(&lines.join("\n"));
    let name = if options.contains("--group-id-from") {
        "double.fifo"
    } else {
        "double"
    };
    let send = format!(
        "send --queue-name {name} --endpoint-url {} {options} {}",
        double.endpoint,
        file.0.display()
    );
    Tool::bare().on_aws().run(&send).await
}

/// The bytes of each value of each row, in the order of their ids.
fn rows(mapping: &str, bodies: &[String]) -> Vec<Vec<Option<Vec<u8>>>> {
    let pipeline = Pipeline::parse("test", mapping).unwrap();
    let compiled = Compiled::new("test", &pipeline, None).unwrap();
    let mut rows = Vec::new();
    for body in bodies {
        let record = Record::deserialize(json!({"messageId": "m-1", "body": body})).unwrap();
        let read = compiled.rows(&record).map_err(|why| why.to_string());
        let read = read.unwrap();
        let table = &read.tables()[0].rows;
        for row in 0..table.len() {
            let value = |column| table.value(row, column).map(<[u8]>::to_vec);
            rows.push((0..3).map(value).collect());
        }
    }
    rows.sort();
    rows
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn packed_lines_become_the_rows_that_they_become_alone(
        names in vec(any::<Option<String>>(), 1..40),
        pack in 1..9_usize,
        form in prop_oneof![Just("json"), Just("lines")],
        encoding in prop_oneof![Just("none"), Just("base64"), Just("gzip+base64"), Just("zstd+base64")],
    ) {
        let name = |name: &Option<String>| name.as_ref().map(|name| name.replace('\0', ""));
        let lines = names.iter().enumerate();
        let lines: Vec<String> = lines
            .map(|(id, text)| json!({"id": id, "name": name(text), "more": [1.50, {"ü": "\"\\"}]}).to_string())
            .collect();
        let packed = mapping(&format!("body = \"{form}\"\nencoding = \"{encoding}\""), "each = \"@body\"");
        let double = double();
        let file = TempFile::new(&packed);
        let options = format!("--pack {pack} --pipeline {}", file.0.display());
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let sent = runtime.block_on(send(&double, &lines, &options)).exits(0);
        let arrived = double.state().arrived.clone();
        let messages = lines.len().div_ceil(pack);
        prop_assert_eq!(arrived.len(), messages);
        let said = format!(", as {messages} message{}\n", if messages == 1 { "" } else { "s" });
        prop_assert!(sent.out.starts_with(&format!("sent {} record", lines.len())) && sent.out.ends_with(&said), "{}", sent.out);
        prop_assert_eq!(rows(&packed, &arrived), rows(&mapping("", ""), &lines));
    }
}

#[tokio::test]
async fn without_a_mapping_a_message_is_an_array_of_the_lines() {
    let queue = Queue::new().await;
    let lines: Vec<String> = (0..25).map(|n| json!({"n": n}).to_string()).collect();
    let file = TempFile::new(&lines.join("\n\n"));
    let send = format!(
        "send --json --pack 10 --attribute tenant=acme --queue-url {} {}",
        queue.url,
        file.0.display()
    );
    let sent = Tool::bare().on_aws().run(&send).await.exits(0);
    assert_starts(&sent.err, "sent 25 records in ");
    assert_ends(&sent.err, ", as 3 messages\n");
    let received = queue.take_all(3).await;
    let mut bodies: Vec<String> = received
        .iter()
        .map(|message| message.body().unwrap().to_owned())
        .collect();
    bodies.sort_by_key(|body| body.len());
    let array = |lines: &[String]| format!("[{}]", lines.join(","));
    let expected = [&lines[20..], &lines[..10], &lines[10..20]].map(array);
    assert_eq!(bodies, expected);
    for message in &received {
        assert_eq!(attribute(message, "tenant").as_deref(), Some("acme"));
        let id = json!(message.message_id);
        let of_message = sent
            .json()
            .into_iter()
            .filter(|line| line["message_id"] == id);
        let lines: Vec<Value> = serde_json::from_str(message.body().unwrap()).unwrap();
        assert_eq!(of_message.count(), lines.len());
    }
}

#[tokio::test]
async fn a_message_has_at_most_a_mebibyte_and_a_line_that_is_larger_is_refused_alone() {
    let line = |bytes: usize| json!({"x": "x".repeat(bytes - 8)}).to_string();
    let third = line(300_000);
    let exact = line(MAX_BYTES - 2);
    let lines = [
        third.clone(),
        third.clone(),
        third.clone(),
        third.clone(),
        line(MAX_BYTES - 1),
        exact.clone(),
        third.clone(),
    ];
    let double = double();
    let sent = send(&double, &lines, "--pack 10").await.exits(1);
    assert_contains(&sent.err, "line 5 was not sent: it is larger than 1 MiB");
    assert_contains(&sent.out, "; 1 line not sent");
    let mut sizes: Vec<usize> = double.state().arrived.iter().map(String::len).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [300_002, 300_002, 900_004, MAX_BYTES]);
}

/// 3 MB, which gzip packs into a few kilobytes.
#[tokio::test]
async fn only_packing_shows_how_many_lines_a_message_has_room_for() {
    let line = |id: usize| json!({"id": id, "name": "x".repeat(300)}).to_string();
    let lines: Vec<String> = (0..10_000).map(line).collect();
    let packed = mapping("encoding = \"gzip+base64\"", "each = \"@body\"");
    let (double, file) = (double(), TempFile::new(&packed));
    let options = format!("--pack 10000 --pipeline {}", file.0.display());
    let sent = send(&double, &lines, &options).await.exits(0);
    assert_ends(&sent.out, ", as 1 message\n");
    assert_eq!(rows(&packed, &double.state().arrived.clone()).len(), 10_000);
}

#[tokio::test]
async fn a_message_has_lines_of_one_fifo_group_in_their_order_and_none_overtakes() {
    let line = |n: usize| json!({"g": n / 5 % 2, "n": n}).to_string();
    let lines: Vec<String> = (0..22).map(line).collect();
    let double = double();
    let options = "--pack 4 --group-id-from g";
    let sent = send(&double, &lines, options).await.exits(0);
    assert_ends(&sent.out, ", as 9 messages\n");
    let arrived = double.state().arrived.clone();
    let arrived: Vec<Vec<Value>> = arrived
        .iter()
        .map(|body| serde_json::from_str(body).unwrap())
        .collect();
    for group in [0, 1] {
        let of_group = arrived.iter().filter(|lines| lines[0]["g"] == group);
        let of_group: Vec<&Value> = of_group.flatten().collect();
        assert!(of_group.iter().all(|line| line["g"] == group));
        let numbers = of_group.iter().map(|line| line["n"].as_u64().unwrap());
        assert!(numbers.is_sorted(), "{of_group:?}");
    }
    assert_eq!(arrived.concat().len(), 22);
}

#[tokio::test]
async fn on_a_fifo_queue_the_lines_before_one_that_is_not_json_are_sent_and_none_after_it() {
    let mut lines: Vec<String> = (0..9)
        .map(|n| json!({"g": "a", "n": n}).to_string())
        .collect();
    lines[6] = "no json c4n4ry".to_owned();
    let double = double();
    let options = "--pack 4 --group-id-from g";
    let sent = send(&double, &lines, options).await.exits(1);
    assert_contains(&sent.err, "line 7 was not sent: it is not JSON");
    assert_starts(&sent.out, "sent 6 records");
    let arrived = double.state().arrived.concat();
    assert!(arrived.contains("\"n\":5") && !arrived.contains("\"n\":7"));
}

#[tokio::test]
async fn a_line_that_is_not_json_is_not_packed_and_does_not_affect_the_others() {
    let lines = ["{\"n\": 1}", "1 2", "{\"n\": 3}"].map(str::to_owned);
    let double = double();
    let sent = send(&double, &lines, "--pack 3").await.exits(1);
    assert_contains(&sent.err, "line 2 was not sent: it is not JSON");
    let mut arrived = double.state().arrived.clone();
    arrived.sort();
    assert_eq!(arrived, ["[{\"n\": 1}]", "[{\"n\": 3}]"]);
}

#[tokio::test]
async fn a_mapping_that_reads_one_record_of_a_message_is_refused() {
    let file = TempFile::new(&mapping("", ""));
    let options = format!("--pack 10 --pipeline {}", file.0.display());
    let refused = send(&double(), &["{}".to_owned()], &options).await.exits(2);
    assert_contains(&refused.err, "each = \"@body\"");
    let alone = format!("--pipeline {}", file.0.display());
    let refused = send(&double(), &["{}".to_owned()], &alone).await.exits(2);
    assert_contains(&refused.err, "--pack");
}

#[tokio::test]
async fn packed_messages_may_come_through_sns() {
    let lines: Vec<String> = (0..5)
        .map(|id| json!({"id": id, "name": "\"\\"}).to_string())
        .collect();
    let packed = mapping(
        "envelope = \"sns\"\nencoding = \"base64\"\nbody = \"lines\"",
        "each = \"@body\"\nwhen = { \"@attribute.tenant\" = \"acme\" }",
    );
    let (double, file) = (double(), TempFile::new(&packed));
    let options = format!(
        "--pack 2 --sns arn:aws:sns:eu-west-1:0:readings --attribute tenant=acme --pipeline {}",
        file.0.display()
    );
    let sent = send(&double, &lines, &options).await.exits(0);
    assert_ends(&sent.out, ", as 3 messages\n");
    let arrived = double.state().arrived.clone();
    assert_eq!(rows(&packed, &arrived), rows(&mapping("", ""), &lines));
}

#[tokio::test]
async fn a_message_has_lines_with_the_same_attributes() {
    let line = |n: usize| json!({"n": n, "meta": {"tenant": n / 3}}).to_string();
    let lines: Vec<String> = (0..9).map(line).collect();
    let double = double();
    let sent = send(&double, &lines, "--pack 5 --attributes-from meta");
    assert_ends(&sent.await.exits(0).out, ", as 3 messages\n");
    let mut arrived = double.state().arrived.clone();
    arrived.sort();
    let expected: Vec<String> = lines
        .chunks(3)
        .map(|lines| format!("[{}]", lines.join(",")))
        .collect();
    assert_eq!(arrived, expected);
}
