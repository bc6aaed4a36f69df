//! Masks of arrays: what is stored is the token of each element, in its place.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

use mapping::internals::readable;
use mapping::{ColumnType, Compiled, KeyRing, MaskKey, Pipeline, Record};
use proptest::prelude::*;
use serde::Deserialize as _;
use serde_json::{Value, json};

const MASKS: [&str; 4] = ["hmac-sha256", "aes-siv", "sha256", "sha512"];

/// 64 bytes.
const KEY: &str =
    "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Pw==";

fn compiled(columns: &str) -> Compiled {
    let text = format!(
        "table = 't'\nkey = ['id']\n[[column]]\nname = 'id'\ntype = 'uuid'\nfrom = '@message_id'\n{columns}"
    );
    let pipeline = Pipeline::parse("p", &text).unwrap_or_else(|error| panic!("{error}"));
    let key: KeyRing = MaskKey::from_base64(KEY).unwrap().into();
    Compiled::new("p", &pipeline, Some(&key)).unwrap_or_else(|error| panic!("{error}"))
}

fn column(of_type: &str, mask: &str) -> Compiled {
    compiled(&format!(
        "[[column]]\nname = 'c'\ntype = '{of_type}'\nmask = '{mask}'"
    ))
}

/// What Postgres prints of the cell of a value, or the rule that it breaks.
fn stored(
    compiled: &Compiled,
    of_type: &str,
    value: &Value,
) -> Result<Option<String>, &'static str> {
    let body = json!({"c": value}).to_string();
    let record = json!({"messageId": "0b8f8ca5-9bbf-4b1d-8e22-3a9b9a7b1a0e", "body": body});
    let record = Record::deserialize(record).unwrap();
    let rows = compiled
        .rows(&record)
        .map_err(|rejection| rejection.rule.name())?;
    let of_type: ColumnType = of_type.parse().unwrap();
    let cell = rows.tables()[0].rows.value(0, 1);
    Ok(cell.map(|cell| readable(of_type, cell).unwrap()))
}

fn element() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
        Just(json!("NULL")),
        Just(json!("{a,\"b\"}")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn an_array_is_masked_element_by_element(
        elements in prop::collection::vec(element(), 0..6),
        mask in prop::sample::select(&MASKS[..]),
    ) {
        let single = column("text", mask);
        let tokens = elements.iter().map(|element| {
            let token = stored(&single, "text", element).unwrap();
            token.unwrap_or_else(|| "NULL".to_owned())
        });
        let expected = format!("{{{}}}", tokens.collect::<Vec<_>>().join(","));
        for of_type in ["text[]", "varchar(128)[]"] {
            let array = stored(&column(of_type, mask), of_type, &json!(elements));
            prop_assert_eq!(array, Ok(Some(expected.clone())), "{} {}", of_type, mask);
        }
    }
}

#[test]
fn what_is_not_an_array_of_single_values_breaks_the_rule_type() {
    for mask in MASKS {
        let array = column("text[]", mask);
        for value in [
            json!("a"),
            json!(1),
            json!({}),
            json!([["a"]]),
            json!(["a", {}]),
        ] {
            assert_eq!(stored(&array, "text[]", &value), Err("type"), "{value}");
        }
        assert_eq!(stored(&array, "text[]", &Value::Null), Ok(None));
        assert_eq!(
            stored(&array, "text[]", &json!(["a\u{0}"])),
            Err("nul_character")
        );
    }
}

/// Tokens are longer than what they stand for: a message of 1 MiB would become 34 MB of them.
#[test]
fn tokens_of_more_than_16_mebibytes_reject_their_message() {
    let elements = |count: usize| json!(vec!["a"; count]);
    let sha512 = column("text[]", "sha512");
    let many = stored(&sha512, "text[]", &elements(120_000)).unwrap();
    assert_eq!(many.map(|text| text.len()), Some(120_000 * 129 + 1));
    assert_eq!(
        stored(&sha512, "text[]", &elements(250_000)),
        Err("too_large")
    );
}

#[test]
fn an_array_too_narrow_for_tokens_is_refused_and_so_is_one_of_another_type() {
    let refusal = |of_type: &str| {
        let text = format!(
            "table = 't'\nkey = ['id']\n[[column]]\nname = 'id'\ntype = 'uuid'\nfrom = '@message_id'\n\
             [[column]]\nname = 'c'\ntype = '{of_type}'\nmask = 'sha256'"
        );
        Pipeline::parse("p", &text).unwrap_err().to_string()
    };
    assert!(
        refusal("varchar(63)[]").contains("have at least 64 characters"),
        "{}",
        refusal("varchar(63)[]")
    );
    for of_type in ["integer[]", "jsonb", "uuid[]"] {
        assert!(
            refusal(of_type).contains("or to text[] for an array of texts"),
            "{}",
            refusal(of_type)
        );
    }
}

/// Each mapping masks recipients in one column, and stores them in plaintext in another.
#[test]
fn a_column_that_stores_elements_of_a_masked_array_in_plaintext_is_refused() {
    let masked = "{ name = 'm', type = 'text[]', from = 'to', mask = 'sha256' }";
    let id = "{ name = 'id', type = 'uuid', from = '@message_id' }";
    let child = |column: &str| {
        format!(
            "[[table]]\nname = 'p'\nkey = ['id']\ncolumn = [{id}, {masked}]\n\
             [[table]]\nname = 't'\nparent = 'p'\neach = 'to'\nkey = ['id', 'n']\n\
             column = [{id}, {{ name = 'n', type = 'integer', from = '@index' }}, {column}]"
        )
    };
    let beside =
        |column: &str| format!("table = 't'\nkey = ['id']\ncolumn = [{id}, {masked}, {column}]");
    for exposing in [
        beside("{ name = 'c', type = 'text', from = 'to.0' }"),
        beside("{ name = 'c', type = 'jsonb', from = 'to' }"),
        beside("{ name = 'c', type = 'text[]', from = 'to' }"),
        beside("{ name = 'c', type = 'text', from = '@body' }"),
        child("{ name = 'c', type = 'text', from = '@element' }"),
    ] {
        let refused = Pipeline::parse("p", &exposing).unwrap_err().to_string();
        assert!(
            refused.contains("stores in plaintext the value that column \"m\" masks"),
            "{refused}"
        );
        let clear = exposing.replace("name = 'c',", "name = 'c', clear = true,");
        Pipeline::parse("p", &clear).unwrap();
    }
    for safe in [
        beside("{ name = 'c', type = 'text', from = 'subject' }"),
        beside("{ name = 'c', type = 'jsonb', from = '@rest' }"),
        child("{ name = 'c', type = 'text', from = '@element', mask = 'sha256' }"),
    ] {
        Pipeline::parse("p", &safe).unwrap();
    }
}
