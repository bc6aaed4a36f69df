//! The JSON Schema of `pipeline.toml`, which editors complete and check a mapping with, from the types that read it.
//!
//! It refuses less than the checks do: what depends on several words is theirs.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};

use super::Pipeline;
use super::check::{RawPipeline, RawShortForm};

impl Pipeline {
    /// The JSON Schema (draft 7, which Taplo and editors read) of a mapping in its short or long form.
    pub fn json_schema() -> Value {
        let mut generator = SchemaSettings::draft07().into_generator();
        let [short, long] = [
            properties(&RawShortForm::json_schema(&mut generator)),
            properties(&RawPipeline::json_schema(&mut generator)),
        ];
        let only = |own: &Map<String, Value>, other: &Map<String, Value>| {
            let is_only = |word: &&String| !other.contains_key(*word);
            let words = own.keys().filter(is_only);
            let refused: Map<_, _> = words.map(|word| (word.clone(), json!(false))).collect();
            json!({"properties": refused})
        };
        // One list of words, so that an editor names the wrong one: of several schemas none of which fits it cannot.
        let (not_short, not_long) = (only(&short, &long), only(&long, &short));
        let forms = [&short, &long].map(|form| form.get("table").cloned().unwrap_or_default());
        let mut words = short;
        words.extend(long);
        words.insert("table".to_owned(), json!({"anyOf": forms}));
        let mut schema = json!({
            "$schema": "http://json-schema.org/draft-07/schema#",
            "title": "A mapping of sqs-to-postgres",
            "type": "object",
            "properties": words,
            "additionalProperties": false,
            "required": ["table"],
            "if": {"properties": {"table": {"type": "array"}}, "required": ["table"]},
            "then": not_short,
            "else": not_long,
            "definitions": generator.take_definitions(true),
        });
        remove_null(&mut schema);
        schema
    }
}

/// A word that may be missing has no value `null`: TOML does not have it.
fn remove_null(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if let Some(Value::Array(types)) = fields.get_mut("type") {
                types.retain(|name| name != "null");
            }
            if fields.get("default") == Some(&Value::Null) {
                fields.remove("default");
            }
            fields.values_mut().for_each(remove_null);
        }
        Value::Array(values) => values.iter_mut().for_each(remove_null),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn properties(schema: &Schema) -> Map<String, Value> {
    let properties = schema.get("properties").and_then(Value::as_object);
    properties.cloned().unwrap_or_default()
}
