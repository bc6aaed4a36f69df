//! `when`: which messages it takes, compared with the same patterns evaluated on parsed JSON.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

use mapping::{Compiled, Pipeline, Record};
use proptest::prelude::*;
use serde::Deserialize as _;
use serde_json::{Value, json};

/// A mapping whose only table takes the messages for which `when` holds.
fn compiled(when: &str) -> Compiled {
    let text = format!(
        "unmatched = 'skip'\n[[table]]\nname = 't'\nkey = ['id']\nwhen = {when}\n\
         [[table.column]]\nname = 'id'\ntype = 'uuid'\nfrom = '@message_id'"
    );
    let pipeline = Pipeline::parse("p", &text).unwrap_or_else(|error| panic!("{error}"));
    Compiled::new("p", &pipeline, None).unwrap_or_else(|error| panic!("{error}"))
}

/// Whether the mapping takes a message; or else the rule that the message breaks.
fn takes(compiled: &Compiled, body: &Value, attributes: &Value) -> Result<bool, &'static str> {
    let record = json!({
        "messageId": "0b8f8ca5-9bbf-4b1d-8e22-3a9b9a7b1a0e", "body": body.to_string(), "messageAttributes": attributes,
    });
    let record = Record::deserialize(record).unwrap();
    let rows = compiled.rows(&record);
    let rows = rows.map_err(|rejection| rejection.rule.name())?;
    Ok(!rows.tables()[0].rows.is_empty())
}

/// What the documentation of a pattern says, on a parsed value.
fn expected(pattern: &Value, value: &Value) -> bool {
    match pattern {
        Value::Array(patterns) => patterns.iter().any(|pattern| expected(pattern, value)),
        Value::Object(word) => {
            let (word, argument) = word.iter().next().unwrap();
            match word.as_str() {
                "exists" => *argument == json!(!value.is_null()),
                "prefix" => match argument {
                    Value::Array(prefixes) => prefixes.iter().any(|prefix| begins(value, prefix)),
                    prefix => begins(value, prefix),
                },
                "anything-but" => {
                    let is_scalar = value.is_string() || value.is_number() || value.is_boolean();
                    is_scalar && !expected(argument, value)
                }
                other => panic!("{other}"),
            }
        }
        scalar => match (scalar.as_f64(), value.as_f64()) {
            (Some(scalar), Some(value)) => scalar == value,
            _ => scalar == value,
        },
    }
}

fn begins(value: &Value, prefix: &Value) -> bool {
    let prefix = prefix.as_str().unwrap();
    value.as_str().is_some_and(|text| text.starts_with(prefix))
}

fn text() -> impl Strategy<Value = Value> {
    prop::sample::select(vec![
        "a", "ab", "abc", "b", "ba", "Zoë", "Zo", "true", "1", "*",
    ])
    .prop_map(Value::from)
}

fn scalar() -> impl Strategy<Value = Value> {
    let number = prop::sample::select(vec![json!(0), json!(1), json!(1.0), json!(1.5), json!(-2)]);
    prop_oneof![text(), number, any::<bool>().prop_map(Value::from)]
}

fn value() -> impl Strategy<Value = Value> {
    let nested = prop::sample::select(vec![json!({}), json!([]), json!({"a": 1}), json!(["a"])]);
    prop_oneof![6 => scalar(), 1 => Just(Value::Null), 1 => nested]
}

fn one_or_several(of: impl Strategy<Value = Value> + Clone) -> impl Strategy<Value = Value> {
    let several = prop::collection::vec(of.clone(), 1..4).prop_map(Value::from);
    prop_oneof![of, several]
}

fn prefix() -> impl Strategy<Value = Value> + Clone {
    let prefixes = std::rc::Rc::new(one_or_several(text().boxed()).boxed());
    prefixes
        .prop_map(|prefix| json!({"prefix": prefix}))
        .boxed()
}

fn test() -> impl Strategy<Value = Value> {
    let excluded = one_or_several(prop_oneof![scalar(), prefix()].boxed());
    prop_oneof![
        scalar(),
        any::<bool>().prop_map(|exists| json!({"exists": exists})),
        prefix(),
        excluded.prop_map(|excluded| json!({"anything-but": excluded})),
    ]
}

/// A pattern as the file writes it: TOML's inline tables have `=` where JSON has a colon.
fn toml(pattern: &Value) -> String {
    match pattern {
        Value::Object(words) => {
            let words = words
                .iter()
                .map(|(word, argument)| format!("{word} = {}", toml(argument)));
            format!("{{ {} }}", words.collect::<Vec<_>>().join(", "))
        }
        Value::Array(patterns) => {
            let patterns: Vec<_> = patterns.iter().map(toml).collect();
            format!("[{}]", patterns.join(", "))
        }
        scalar => scalar.to_string(),
    }
}

proptest! {
    #[test]
    fn a_condition_takes_exactly_the_messages_that_its_pattern_describes(
        pattern in one_or_several(test().boxed()),
        values in prop::collection::vec(value(), 8),
    ) {
        let compiled = compiled(&format!("{{ f = {} }}", toml(&pattern)));
        for value in values {
            let body = json!({"f": value});
            prop_assert_eq!(takes(&compiled, &body, &json!({})), Ok(expected(&pattern, &value)), "{} {}", pattern, value);
        }
        prop_assert_eq!(takes(&compiled, &json!({}), &json!({})), Ok(expected(&pattern, &Value::Null)), "{}", pattern);
    }
}

#[test]
fn attributes_and_metadata_are_compared_like_fields() {
    let attribute = |value: &str| json!({"kind": {"stringValue": value, "dataType": "String"}});
    for (when, of_temp, of_none) in [
        ("{ '@attribute.kind' = { exists = true } }", true, false),
        ("{ '@attribute.kind' = { exists = false } }", false, true),
        ("{ '@attribute.kind' = { prefix = 'temp.' } }", true, false),
        (
            "{ '@attribute.kind' = { anything-but = 'ping' } }",
            true,
            false,
        ),
        (
            "{ '@attribute.kind' = { anything-but = { prefix = 'temp' } } }",
            false,
            false,
        ),
        (
            "{ '@attribute.kind' = ['ping', { exists = false }] }",
            false,
            true,
        ),
        ("{ '@message_id' = { prefix = '0b8f' } }", true, true),
        ("{ '@sent_at' = { exists = true } }", false, false),
    ] {
        let compiled = compiled(when);
        let takes = |attributes: &Value| takes(&compiled, &json!({}), attributes).unwrap();
        assert_eq!(
            [takes(&attribute("temp.in")), takes(&json!({}))],
            [of_temp, of_none],
            "{when}"
        );
    }
}

/// Whether a field exists can be said only of an object.
#[test]
fn a_body_that_is_not_an_object_is_rejected_whatever_the_condition_asks() {
    for when in ["{ f = { exists = false } }", "{ f = { anything-but = 1 } }"] {
        for body in [json!([]), json!("text"), json!(1)] {
            assert_eq!(
                takes(&compiled(when), &body, &json!({})),
                Err("not_an_object"),
                "{when} {body}"
            );
        }
        assert_eq!(
            takes(&compiled(when), &Value::Null, &json!({})),
            Ok(false),
            "{when}"
        );
    }
}

/// No field is lost because a condition asks for it.
#[test]
fn a_field_that_a_condition_only_asks_for_stays_in_the_rest() {
    let text = "[[table]]\nname = 't'\nkey = ['id']\n\
        when = { pull = { exists = true }, push = { exists = false }, kind = [{ prefix = 'a' }, { exists = false }] }\n\
        column = [{ name = 'id', type = 'uuid', from = '@message_id' }, { name = 'rest', type = 'jsonb', from = '@rest' }]";
    let pipeline = Pipeline::parse("p", text).unwrap();
    let compiled = Compiled::new("p", &pipeline, None).unwrap();
    let body = json!({"pull": {"number": 1}, "push": null, "kind": "ab", "n": 2});
    let record =
        json!({"messageId": "0b8f8ca5-9bbf-4b1d-8e22-3a9b9a7b1a0e", "body": body.to_string()});
    let rows = compiled.rows(&Record::deserialize(record).unwrap());
    let rows = rows.unwrap_or_else(|rejection| panic!("{rejection}"));
    let rest: Value =
        serde_json::from_slice(&rows.tables()[0].rows.value(0, 1).unwrap()[1..]).unwrap();
    assert_eq!(rest, json!({"pull": {"number": 1}, "push": null, "n": 2}));
}
