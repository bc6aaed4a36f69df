//! `infer`: samples of which each has several records.

use serde_json::{Value, json};

use crate::infer::inferred;
use crate::tool::Tool;
use testkit::batch::Batch;
use testkit::{Database, Setup, TempFile, assert_contains};

/// A record with an array of objects in it.
fn record(n: usize) -> Value {
    let parts: Vec<Value> = (0..n % 3).map(|part| json!({"part": part})).collect();
    json!({"reading": n, "email": format!("{n}@example.org"), "parts": parts})
}

/// Bodies with three records each.
fn bodies(of: impl Fn(&[Value]) -> String) -> Vec<String> {
    let records: Vec<Value> = (0..12).map(record).collect();
    records.chunks(3).map(of).collect()
}

fn array(records: &[Value]) -> String {
    json!(records).to_string()
}

fn lines(records: &[Value]) -> String {
    let lines: Vec<String> = records.iter().map(Value::to_string).collect();
    lines.join("\n")
}

/// The event of a Lambda function.
fn event(bodies: &[String]) -> String {
    let mut batch = Batch::new();
    for (number, body) in bodies.iter().enumerate() {
        batch = batch.text(&number.to_string(), body);
    }
    batch.event().to_string()
}

/// What `aws sqs receive-message` prints.
fn received(bodies: &[String]) -> String {
    let message = |(number, body): (usize, &String)| {
        json!({
            "MessageId": format!("5e0d8f2a-0000-4000-8000-{number:012}"), "ReceiptHandle": "r", "MD5OfBody": "", "Body": body,
            "MessageAttributes": {"tenant": {"StringValue": "acme", "DataType": "String"}},
        })
    };
    let messages: Vec<Value> = bodies.iter().enumerate().map(message).collect();
    serde_json::to_string_pretty(&json!({"Messages": messages})).unwrap()
}

/// The samples of this text, explained with the mapping that is inferred from them.
async fn explained(samples: &str) -> (toml::Table, Vec<Value>) {
    let mapping = inferred(samples).await;
    let file = TempFile::new(samples);
    let tool = Tool::bare().mapping(&mapping);
    let explain = format!("explain --json {}", file.0.display());
    let explained = tool.run(&explain).await.exits(0);
    (toml::from_str(&mapping).unwrap(), explained.json())
}

#[tokio::test]
async fn each_record_of_an_array_or_of_lines_becomes_a_row() {
    for (samples, body) in [
        (event(&bodies(array)), None),
        (received(&bodies(array)), None),
        (bodies(array).join("\n"), None),
        (event(&bodies(lines)), Some("lines")),
        (received(&bodies(lines)), Some("lines")),
    ] {
        let (mapping, _) = explained(&samples).await;
        assert_eq!(mapping.get("body").and_then(|body| body.as_str()), body);
        let tables = mapping["table"].as_array().unwrap();
        let [readings, parts] = &tables[..] else {
            panic!("{mapping}")
        };
        assert_eq!(readings["each"].as_str(), Some("@body"));
        let names = |of: &toml::Value| -> Vec<String> {
            let names = of.as_array().unwrap().iter();
            names
                .map(|name| name.as_str().unwrap().to_owned())
                .collect()
        };
        assert_eq!(names(&readings["key"]), ["message_id", "index"]);
        assert_eq!(names(&parts["key"]).len(), 3);
        let columns = readings["column"].as_array().unwrap();
        let from = |name: &str| {
            let column = columns
                .iter()
                .find(|column| column["name"].as_str() == Some(name));
            column.and_then(|column| column.get("from")?.as_str())
        };
        assert_eq!(from("message_id"), Some("@message_id"));
        assert_eq!(from("index"), Some("@index"));
        assert_eq!(from("masked_email"), Some("email"));
    }
}

#[tokio::test]
async fn the_proposed_tables_store_the_records() {
    let bodies = bodies(lines);
    let mapping = inferred(&event(&bodies)).await;
    let database = Database::with_tables_of(&mapping).await;
    let mut function = Setup::on(&database).mapping(&mapping).start().await;
    let event: Value = serde_json::from_str(&event(&bodies)).unwrap();
    function.invoke(&event).await.assert_none_failed();
    assert_eq!(database.count("messages").await, 12, "{mapping}");
    assert_eq!(database.count("messages_parts").await, 12, "{mapping}");
}

#[tokio::test]
async fn messages_of_one_record_are_lines_too_if_others_have_several() {
    let mut bodies = bodies(lines);
    bodies.extend((12..30).map(|n| record(n).to_string()));
    let (mapping, _) = explained(&event(&bodies)).await;
    assert_eq!(mapping["body"].as_str(), Some("lines"));
    let alone: Vec<String> = (0..30).map(|n| record(n).to_string()).collect();
    let (mapping, _) = explained(&event(&alone)).await;
    assert!(!mapping.contains_key("body"), "{mapping}");
}

#[tokio::test]
async fn records_of_different_types_become_rows_of_different_tables() {
    let of = |n: usize| match n % 2 {
        0 => json!({"type": "reading", "value": n, "unit": "C", "sensor": "a"}),
        _ => json!({"type": "alarm", "level": n, "text": "x", "since": "2026-11-21T00:00:00Z"}),
    };
    let records: Vec<Value> = (0..12).map(of).collect();
    let bodies: Vec<String> = records.chunks(4).map(array).collect();
    let (mapping, explained) = explained(&event(&bodies)).await;
    let tables = mapping["table"].as_array().unwrap();
    assert_eq!(tables.len(), 2, "{mapping}");
    assert!(
        tables
            .iter()
            .all(|table| table["each"].as_str() == Some("@body"))
    );
    assert_eq!(explained.len(), 3);
}

#[tokio::test]
async fn a_message_that_is_not_packed_like_the_others_is_named() {
    let mut bodies = bodies(array);
    bodies.push(json!({"reading": 1}).to_string());
    bodies.push(json!([{"reading": 1, "email": "1@example.org", "parts": []}, 7]).to_string());
    let file = TempFile::new(&bodies.join("\n"));
    let infer = format!("infer {}", file.0.display());
    let inferred = Tool::bare().run(&infer).await.exits(0);
    let said = "omitted: line 5: the message is not an array, unlike most samples";
    assert_contains(&inferred.err, said);
    assert_contains(&inferred.err, "omitted: line 6: ");
}

/// Nothing that the tool does with samples needs a network.
#[tokio::test]
async fn a_sample_that_is_in_s3_is_named_with_what_to_take_instead() {
    let pointer = r#"["software.amazon.payloadoffloading.PayloadS3Pointer", {"s3BucketName": "logins", "s3Key": "k"}]"#;
    let sample = event(&[r#"{"id": 1}"#.to_owned(), pointer.to_owned()]);
    let inferred = Tool::bare().input(&sample).run("infer").await.exits(0);
    assert_contains(
        &inferred.err,
        "the message is in S3: take the content of the object as the sample",
    );
    let mapping = r#"
        table = "t"
        key = ["id"]
        s3_pointers = ["logins"]
        column = [{ name = "id", type = "integer", required = true }]
    "#;
    let tool = Tool::bare().mapping(mapping).input(&sample);
    let explained = tool.run("explain").await.exits(1);
    for said in [
        "a row of",
        "rejected by rule s3_pointer",
        "take the content of the object as the sample",
    ] {
        assert_contains(&explained.out, said);
    }
}
