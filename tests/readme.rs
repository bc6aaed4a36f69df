//! What the README says is so.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use sqs_to_postgres::extract::{Message, read_event};
use sqs_to_postgres::mask::MaskKey;
use sqs_to_postgres::pipeline::{Envelope, Pipeline};
use sqs_to_postgres::row::Rows;
use sqs_to_postgres::transform::Transformer;

const README: &str = include_str!("../README.md");

/// The fenced blocks of a language.
fn blocks(language: &str) -> Vec<&'static str> {
    let opening = format!("```{language}\n");
    let parts = README.split(opening.as_str()).skip(1);
    parts
        .map(|part| part.split("\n```").next().unwrap())
        .collect()
}

/// Whether a mapping takes a body.
fn takes(mapping: &str, body: &str) -> bool {
    let pipeline = Pipeline::parse("README.md", mapping).unwrap();
    let key = MaskKey::from_base64("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").unwrap();
    let transformer = Transformer::new("README.md", &pipeline, Some(&key)).unwrap();
    let id = "5e0d8f2a-0000-4000-8000-000000000001";
    let event = json!({"Records": [
        {"messageId": id, "body": body, "attributes": {"SentTimestamp": "1700000000000"}}]})
    .to_string();
    let mut is_taken = false;
    read_event(event.as_bytes(), |record| {
        let message = Message::extract(&record, Envelope::None).unwrap();
        let mut rows = Rows::new(pipeline.columns.len());
        is_taken = transformer.transform(&message, &mut rows).is_ok();
    })
    .unwrap();
    is_taken
}

#[test]
fn its_mapping_works_on_a_message_of_that_shape() {
    let order =
        json!({"order_id": 7, "customer": {"email": " A@B.example "}, "lines": [{"sku": "x"}]});
    for mapping in blocks("toml") {
        assert!(takes(mapping, &order.to_string()));
    }
}

#[test]
fn its_message_becomes_a_row_of_the_shipped_mapping() {
    let message = blocks("json")[0];
    assert!(takes(include_str!("../pipeline.toml"), message));
}

#[test]
fn its_log_lines_are_json() {
    for line in blocks("json")[1].lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert!(line["message"].is_string());
    }
}

#[test]
fn it_names_every_setting_and_no_other() {
    let config =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config.rs")).unwrap();
    let is_variable = |word: &&str| {
        word.len() > 5
            && word
                .bytes()
                .all(|byte| byte.is_ascii_uppercase() || byte == b'_')
            && word.contains('_')
    };
    let read: BTreeSet<&str> = config
        .split('"')
        .filter(is_variable)
        .filter(|name| {
            !name.starts_with("AWS_LAMBDA_FUNCTION") && *name != "AWS_LAMBDA_RUNTIME_API"
        })
        .collect();
    let section = README
        .split("## Settings")
        .nth(1)
        .unwrap()
        .split("The local stack reads")
        .next()
        .unwrap();
    let named: BTreeSet<&str> = section
        .lines()
        .filter(|line| line.starts_with("| `"))
        .flat_map(|line| {
            line.split('|')
                .nth(1)
                .unwrap()
                .split('`')
                .filter(is_variable)
        })
        .filter(|name| *name != "AWS_ENDPOINT_URL")
        .collect();
    assert_eq!(named, read);
}

#[test]
fn every_make_target_it_names_exists() {
    let makefile = include_str!("../Makefile");
    let named = README
        .split("`make ")
        .skip(1)
        .map(|rest| rest.split(['`', ' ', '|']).next().unwrap());
    for target in named.filter(|target| !target.is_empty()) {
        assert!(makefile.contains(&format!("\n{target}: ")), "make {target}");
    }
}
