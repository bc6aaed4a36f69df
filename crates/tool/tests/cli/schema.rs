//! `schema`: the JSON Schema of mappings. tests/stack/test_schema.py compares it with the mappings of the repository.

use serde_json::Value;

use crate::tool::Tool;
use testkit::assert_contains;

/// The words of the objects in a schema, each with its own schema.
fn words<'s>(schema: &'s Value, found: &mut Vec<(&'s String, &'s Value)>) {
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        found.extend(properties);
    }
    match schema {
        Value::Object(fields) => fields.values().for_each(|inner| words(inner, found)),
        Value::Array(values) => values.iter().for_each(|inner| words(inner, found)),
        _ => {}
    }
}

#[tokio::test]
async fn an_editor_shows_the_documentation_of_every_word() {
    let schema = Tool::bare().run("schema").await.exits(0);
    let mut schema: Value = serde_json::from_str(&schema.out).unwrap();
    // The words of conditions, and those that the other form of a mapping does not have, are without.
    for word in ["then", "else", "if"] {
        schema[word].take();
    }
    let mut found = Vec::new();
    words(&schema, &mut found);
    let conditions = ["exists", "prefix", "anything-but"];
    found.retain(|(name, _)| !conditions.contains(&name.as_str()) && *name != "table");
    for (name, schema) in &found {
        assert!(schema["description"].is_string(), "{name}: {schema}");
    }
    let names: Vec<_> = found.iter().map(|(name, _)| name.as_str()).collect();
    for expected in ["root", "key", "delete_when", "type", "mask", "trust_origin"] {
        assert!(names.contains(&expected), "{names:?}");
    }
    assert!(!schema.to_string().contains("\"null\""));
}

#[tokio::test]
async fn a_proposed_mapping_names_the_schema_in_its_first_line() {
    let inferred = Tool::bare()
        .input("{\"id\": 1}")
        .run("infer")
        .await
        .exits(0);
    let first = inferred.out.lines().next();
    assert_eq!(first, Some("#:schema ./pipeline.schema.json"));
    assert_contains(
        &inferred.out,
        "`sqs-to-postgres schema > pipeline.schema.json`",
    );
}
