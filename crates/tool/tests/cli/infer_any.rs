//! `infer`: properties of the mappings for any messages.

use std::io::Write as _;
use std::process::{Command, Stdio};

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::{Map, Value};

use crate::tool;

/// The number of samples that the mapping for these messages rejects; `None` without any object.
fn rejected_of(messages: &[Value]) -> Option<usize> {
    let mut infer = Command::new(tool::path())
        .arg("infer")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines: Vec<String> = messages.iter().map(Value::to_string).collect();
    let mut input = infer.stdin.take().unwrap();
    input.write_all(lines.join("\n").as_bytes()).unwrap();
    drop(input);
    let ended = infer.wait_with_output().unwrap();
    let (mapping, said) = (
        String::from_utf8(ended.stdout).unwrap(),
        String::from_utf8(ended.stderr).unwrap(),
    );
    if said.contains("no sample is a JSON object") {
        return None;
    }
    assert!(ended.status.success(), "{said}: {mapping}");
    let (counts, _) = said.split_once(" rejected\n").unwrap();
    let (_, rejected) = counts.rsplit_once(", ").unwrap();
    Some(rejected.parse().unwrap())
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        ".{0,12}",
        "[a-zA-Z_.@\"' -]{0,6}",
        "-?[0-9]{1,20}([.][0-9]{1,4})?",
        Just("type".to_owned()),
        Just("2026-11-21T10:00:00Z".to_owned()),
        Just("a@example.com".to_owned()),
    ]
}

fn any_json() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    scalar.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((text(), inner), 0..6).prop_map(|entries| Value::from(Map::from_iter(entries))),
        ]
    })
}

/// The kinds of values that a field of a well-behaved producer has, each with a generator.
fn of_kind(kind: u8) -> BoxedStrategy<Value> {
    match kind {
        0 => any::<i64>().prop_map(Value::from).boxed(),
        1 => (-1e9..1e9).prop_map(Value::from).boxed(),
        2 => "\\PC{1,40}".prop_map(Value::from).boxed(),
        3 => "[1-9][0-9]{0,7}[.][0-9]{2}".prop_map(Value::from).boxed(),
        4 => "20[0-9]{2}-0[1-9]-1[0-9]T1[0-9]:00:00Z"
            .prop_map(Value::from)
            .boxed(),
        5 => "20[0-9]{2}-0[1-9]-1[0-9]".prop_map(Value::from).boxed(),
        6 => any::<bool>().prop_map(Value::from).boxed(),
        7 => "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
            .prop_map(Value::from)
            .boxed(),
        8 => vec(any::<i32>(), 0..4).prop_map(Value::from).boxed(),
        9 => vec("[a-z]{0,9}", 0..4).prop_map(Value::from).boxed(),
        10 => "[a-z]{1,9}@example[.]com".prop_map(Value::from).boxed(),
        11 => vec(of_kind(2), 0..3)
            .prop_map(|names| {
                let object = |name| serde_json::json!({ "k": name, "l": [name] });
                names.iter().map(object).collect::<Vec<_>>().into()
            })
            .boxed(),
        _ => (of_kind(0), of_kind(2))
            .prop_map(|(id, name)| serde_json::json!({"id": id, "name": name}))
            .boxed(),
    }
}

/// Messages of one producer: each field has one kind, and may be null or missing.
fn conforming(names: &'static str) -> impl Strategy<Value = Vec<Value>> {
    let fields = btree_map(names, 0..13_u8, 1..8);
    fields.prop_flat_map(|fields| {
        let field = |(name, kind): (String, u8)| {
            let value = prop_oneof![
                8 => of_kind(kind).prop_map(Some),
                1 => Just(Some(Value::Null)),
                1 => Just(None),
            ];
            value.prop_map(move |value| value.map(|value| (name.clone(), value)))
        };
        let message = fields.into_iter().map(field).collect::<Vec<_>>();
        let message =
            message.prop_map(|fields| Value::from(Map::from_iter(fields.into_iter().flatten())));
        vec(message, 1..30)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn every_mapping_loads(messages in vec(any_json(), 1..8)) {
        rejected_of(&messages);
    }

    #[test]
    fn no_message_of_a_consistent_producer_is_rejected(messages in conforming("[a-zA-Z_.é]{1,12}")) {
        prop_assert_eq!(rejected_of(&messages), Some(0));
    }

    #[test]
    fn every_mapping_of_several_types_loads(types in vec(conforming("[a-h]"), 2..4)) {
        let types = types.into_iter().zip(["created", "paid", "gone"]);
        let messages: Vec<_> = types.flat_map(|(messages, name)| messages.into_iter().map(move |mut message| {
            message["type"] = name.into();
            message
        })).collect();
        rejected_of(&messages);
    }
}
