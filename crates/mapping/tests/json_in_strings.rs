//! `transform = ["json"]`: what a column stores of JSON in a string is what it stores of the value itself.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

use mapping::{Compiled, MessageRows, Pipeline, Record};
use proptest::prelude::*;
use serde::Deserialize as _;
use serde_json::{Value, json};

fn compiled(column: &str) -> Compiled {
    let text = format!(
        "table = 't'\nkey = ['id']\n[[column]]\nname = 'id'\ntype = 'uuid'\nfrom = '@message_id'\n\
         [[column]]\nname = 'c'\n{column}"
    );
    let pipeline = Pipeline::parse("p", &text).unwrap_or_else(|error| panic!("{error}"));
    Compiled::new("p", &pipeline, None).unwrap_or_else(|error| panic!("{error}"))
}

fn rows(compiled: &Compiled, body: &str) -> Result<MessageRows, &'static str> {
    let record = json!({
        "messageId": "0b8f8ca5-9bbf-4b1d-8e22-3a9b9a7b1a0e", "body": body,
        "messageAttributes": {"a": {"stringValue": "[1, null]", "dataType": "String"}},
    });
    let record = Record::deserialize(record).unwrap();
    let rows = compiled.rows(&record);
    rows.map_err(|rejection| rejection.rule.name())
}

/// The cell of a value, or the rule that it breaks.
fn cell(compiled: &Compiled, value: &Value) -> Result<Option<Vec<u8>>, &'static str> {
    let rows = rows(compiled, &json!({"c": value}).to_string())?;
    Ok(rows.tables()[0].rows.value(0, 1).map(<[u8]>::to_vec))
}

fn json_value() -> impl Strategy<Value = Value> {
    let text = prop::sample::select(vec![
        "", "a", " b ", "Zo\u{eb}", "\"", "\\", "7", "true", "{}",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        prop::sample::select(vec![json!(1.5), json!(1e300)]),
        text.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 3, move |inner| {
        let array = prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from);
        let object = prop::collection::btree_map("[a-c]", inner, 0..3);
        prop_oneof![array, object.prop_map(|fields| json!(fields))]
    })
}

proptest! {
    #[test]
    fn json_in_a_string_is_stored_like_the_value_itself(value in json_value()) {
        for of_type in ["jsonb", "json", "text", "text[]", "integer", "integer[]", "boolean", "double precision"] {
            let plain = compiled(&format!("type = '{of_type}'"));
            let json = compiled(&format!("type = '{of_type}'\ntransform = ['json']"));
            let expected = cell(&plain, &value);
            let spaced = format!(" {value}\n");
            prop_assert_eq!(cell(&json, &Value::from(spaced)), expected.clone(), "{} {}", of_type, value);
            if !value.is_string() {
                prop_assert_eq!(cell(&json, &value), expected, "{} {}", of_type, value);
            }
        }
    }
}

#[test]
fn a_string_that_is_not_one_json_value_breaks_the_rule_transform() {
    let json = compiled("type = 'jsonb'\ntransform = ['json']");
    for text in [
        "", "{", "{} {}", "1,2", "nul", "'a'", "\u{a0}{}", "[1,]", "abc",
    ] {
        assert_eq!(cell(&json, &json!(text)), Err("transform"), "{text}");
    }
}

/// Each case: the type, the other transforms, the string, and what is stored or the rule that is broken.
#[test]
fn what_jsonb_cannot_hold_is_found_in_strings_too() {
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    for (transforms, text, expected) in [
        ("'json'", r#"{"a": "x\u0000y"}"#, Err("nul_character")),
        ("'json'", r#"["\ud800"]"#, Err("lone_surrogate")),
        ("'json'", "[\"x\u{0}\"]", Err("nul_character")),
        (
            "'strip_nul', 'json'",
            r#"{"a": "x\u0000y"}"#,
            Ok(Some("{\"a\": \"xy\"}")),
        ),
        ("'strip_nul', 'json'", "[\"x\u{0}\"]", Ok(Some("[\"x\"]"))),
        ("'trim', 'json'", "\u{a0}[1]\u{2003}", Ok(Some("[1]"))),
        ("'json'", "null", Ok(None)),
        ("'json'", "1e999", Ok(Some("1e999"))),
        ("'json'", "1e1000", Err("range")),
        ("'json'", &deep(1_000), Ok(Some(&deep(1_000)))),
        ("'json'", &deep(1_001), Err("nesting")),
        ("'json'", &deep(100_000), Err("nesting")),
    ] {
        let json = compiled(&format!("type = 'jsonb'\ntransform = [{transforms}]"));
        let stored = cell(&json, &json!(text));
        let stored =
            stored.map(|cell| cell.map(|cell| String::from_utf8(cell[1..].to_vec()).unwrap()));
        assert_eq!(
            stored,
            expected.map(|text| text.map(str::to_owned)),
            "{transforms}"
        );
    }
}

#[test]
fn null_in_a_string_is_null_for_default_and_required() {
    let with_default = compiled("type = 'integer[]'\ntransform = ['json']\ndefault = '[1]'");
    let one = cell(&with_default, &json!("[1]"));
    assert!(one.is_ok());
    assert_eq!(cell(&with_default, &json!("null")), one);
    let required = compiled("type = 'text'\ntransform = ['json']\nrequired = true");
    for text in ["null", "\"\"", ""] {
        assert_eq!(cell(&required, &json!(text)), Err("required"), "{text}");
    }
}

#[test]
fn attributes_and_bodies_of_text_are_read_as_json_too() {
    let array = compiled("type = 'integer[]'\ntransform = ['json']");
    let expected = cell(&array, &json!([1, null])).unwrap();
    for from in ["@attribute.a", "@body"] {
        let column = format!("type = 'integer[]'\ntransform = ['json']\nfrom = '{from}'");
        let rows = rows(&compiled(&column), "[1, null]").unwrap();
        assert_eq!(
            rows.tables()[0].rows.value(0, 1),
            expected.as_deref(),
            "{from}"
        );
    }
    let jsonb = compiled("type = 'jsonb'\ntransform = ['json']\nfrom = '@body'");
    let rows = rows(&jsonb, "[1, null]").unwrap();
    assert_eq!(
        rows.tables()[0].rows.value(0, 1),
        Some(&b"\x01[1, null]"[..])
    );
}
