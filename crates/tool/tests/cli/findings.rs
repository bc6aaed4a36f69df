//! `explain`: mappings that lose or misread the samples are named, and end it with 1.

use mapping::internals::{Observation, Tested};
use mapping::{Compiled, MaskKey, Message, Pipeline, Record};
use serde::Deserialize as _;
use serde_json::{Value, json};

use crate::tool::{Ended, Tool};
use testkit::{Mapping, TempFile, assert_contains, assert_starts};

fn lines(messages: impl IntoIterator<Item = Value>) -> String {
    let lines = messages.into_iter().map(|message| message.to_string());
    lines.collect::<Vec<_>>().join("\n")
}

/// What is said about the mapping, without the counts of columns and rejections.
fn said(ended: &Ended) -> Vec<&str> {
    let is_said = |line: &&str| {
        let mut words = ["error: ", "warning: ", "note: "].iter();
        words.any(|word| line.starts_with(word))
    };
    ended.out.lines().filter(is_said).collect()
}

/// 52 different orders with three states.
fn paid_orders() -> String {
    let states = ["paid", "pending", "refunded"];
    lines((0..52).map(|n| json!({"id": n, "status": states[n % 3]})))
}

fn orders_by(key: &str, on_conflict: &str) -> Tool {
    let mapping = Mapping::of("t").key(key).set("on_conflict", on_conflict);
    let mapping = mapping.column("id", "bigint").with("required", true);
    let mapping = mapping.column("status", "text").with("required", true);
    Tool::bare().mapping(&mapping)
}

#[tokio::test]
async fn messages_that_share_a_key_are_counted_and_named() {
    let wrong = orders_by("status", "ignore").input(&paid_orders());
    let explained = wrong.run("explain --summary").await;
    let expected = "error: key (status): 3 different keys in 52 messages: 49 would not be stored \
        (line 1 and line 4 have the same): add the columns that distinguish them to key, or set on_conflict = \"update\" if the last one should win";
    assert_eq!((explained.code, said(&explained)), (1, vec![expected]));
    let right = orders_by("id", "ignore").input(&paid_orders());
    let explained = right.run("explain --summary").await;
    assert_eq!((explained.code, said(&explained)), (0, vec![]));
    // Whoever reads only the rows of messages sees it, too.
    let json = wrong.run("explain --json").await;
    assert_eq!((json.code, json.err), (1, format!("{expected}\n")));
    let json = wrong.run("explain --summary --json").await;
    let errors = json.json()[0]["errors"].clone();
    assert_eq!(errors, json!([expected.strip_prefix("error: ").unwrap()]));
}

#[tokio::test]
async fn a_message_that_was_delivered_twice_is_not_a_shared_key() {
    let twice = format!("{}\n{}", paid_orders(), paid_orders());
    for on_conflict in ["ignore", "update"] {
        let tool = orders_by("id", on_conflict).input(&twice);
        let explained = tool.run("explain --summary").await;
        assert_eq!((explained.code, said(&explained)), (0, vec![]));
    }
    // Messages of different files are different messages.
    let files = ["1", "2"].map(|n| TempFile::new(&format!("{{\"n\": {n}}}")));
    let [one, other] = files.each_ref().map(|file| file.0.display());
    let by_id = Mapping::by_message_id("t").column("n", "integer");
    let explained = Tool::bare().mapping(&by_id);
    let explained = explained.run(&format!("explain {one} {other}")).await;
    assert_eq!((explained.code, said(&explained)), (0, vec![]));
}

#[tokio::test]
async fn under_update_a_key_that_messages_share_is_only_noted() {
    let updated = lines((0..5).map(|n| json!({"id": n % 3, "status": n.to_string()})));
    let tool = orders_by("id", "update").input(&updated);
    let explained = tool.run("explain --summary").await;
    let expected = "note: key (id): 3 different keys in 5 messages: 2 would replace the row of another, or be older than that row \
        (line 1 and line 4 have the same): to keep a row for each, add the columns that distinguish them to key";
    assert_eq!((explained.code, said(&explained)), (0, vec![expected]));
    // Elements of one message are not updates of each other.
    let mapping = "[[table]]\nname = \"t\"\neach = \"lines\"\nkey = [\"sku\"]\non_conflict = \"update\"\n\
        column = [{ name = \"sku\", type = \"text\", required = true }, { name = \"n\", type = \"integer\" }]";
    let element = |sku: &str, n: usize| json!({"sku": sku, "n": n});
    let message = json!({"lines": [element("a", 1), element("b", 1), element("a", 2)]});
    let explained = Tool::bare().mapping(mapping).input(&message.to_string());
    let explained = explained.run("explain --summary").await;
    let expected = "error: key (sku): 2 different keys in 3 elements: 1 has the key of another element of the same message \
        (message has two of them): add the columns that distinguish them to key, for example @index";
    assert_eq!((explained.code, said(&explained)), (1, vec![expected]));
}

/// A table of events that `when` chooses, and one of pings.
fn events(when: &str) -> Tool {
    let mapping = format!(
        "unmatched = \"skip\"\n\
         [[table]]\nname = \"charges\"\nkey = [\"id\"]\nwhen = {when}\n\
         column = [{{ name = \"id\", type = \"bigint\", required = true }}]\n\
         [[table]]\nname = \"pings\"\nkey = [\"id\"]\nwhen = {{ type = \"ping\" }}\n\
         column = [{{ name = \"id\", type = \"bigint\", required = true }}]"
    );
    Tool::bare().mapping(&mapping)
}

fn charges() -> String {
    let kind = |n: usize| match n % 3 {
        0 => json!("c4n4ry.succeeded"),
        1 => json!("c4n4ry.failed"),
        _ => json!("ping"),
    };
    lines((0..30).map(|n| json!({"id": n, "type": kind(n), "source": {"livemode": n % 2 == 0}})))
}

#[tokio::test]
async fn a_condition_that_never_holds_is_named_with_what_is_there_instead() {
    let no_row = "\"charges\": no row: when holds for no message: ";
    for (when, instead) in [
        (
            "{ type = [\"charge.failed\"] }",
            "\"type\" has 3 other values: correct when, or add a message for this table to the samples",
        ),
        (
            "{ type = [\"c4n4ry.*\"] }",
            "\"type\" has 3 other values: write whole values in when, or { prefix = \"…\" }, but no '*'",
        ),
        (
            "{ type = [\"*.failed\"] }",
            "\"type\" has 3 other values: write whole values in when, or { prefix = \"…\" }, but no '*'",
        ),
        (
            "{ type = { prefix = \"C4n4ry.\" } }",
            "\"type\" has 3 other values, differs only in upper and lower case in 20 of 30 messages: correct when, or add a message for this table to the samples",
        ),
        (
            "{ id = { prefix = \"7\" } }",
            "\"id\" has 30 other values, none of them a string: correct when, or add a message for this table to the samples",
        ),
        (
            "{ type = { anything-but = [\"ping\", { prefix = \"c4n4ry.\" }] } }",
            "\"type\" has 3 excluded values: correct when, or add a message for this table to the samples",
        ),
        (
            "{ kind = { anything-but = \"ping\" } }",
            "\"kind\" is missing or null in all of 30 messages: correct when, or add a message for this table to the samples",
        ),
        (
            "{ \"source.kind\" = { exists = true } }",
            "\"source.kind\" is missing or null in all of 30 messages: correct when, or add a message for this table to the samples",
        ),
        (
            "{ source = { exists = false } }",
            "\"source\" has a value in all of 30 messages: correct when, or add a message for this table to the samples",
        ),
        (
            "{ type = [\"C4n4ry.Failed\"] }",
            "\"type\" has 3 other values, differs only in upper and lower case in 10 of 30 messages: correct when, or add a message for this table to the samples",
        ),
        (
            "{ kind = \"c4n4ry.failed\" }",
            "\"kind\" is missing or null in all of 30 messages: correct when, or add a message for this table to the samples",
        ),
        (
            "{ source = \"live\" }",
            "\"source\" is an object or array in all of 30 messages: correct when, or add a message for this table to the samples",
        ),
        (
            "{ id = \"7\" }",
            "\"id\" has 30 other values, none of them a string: correct when, or add a message for this table to the samples",
        ),
        (
            "{ type = \"c4n4ry.failed\", id = 3 }",
            "its conditions never hold together: correct when, or add a message for this table to the samples",
        ),
    ] {
        let tool = events(when).input(&charges());
        let explained = tool.run("explain").await;
        let expected = format!("error: {no_row}{instead}");
        assert_eq!(said(&explained), [expected], "{when}");
        assert_eq!(explained.code, 1);
        assert!(!explained.out.contains("c4n4ry"), "{}", explained.out);
    }
    let tool = events("{ type = \"charge.failed\" }").input(&charges());
    let explained = tool.run("explain --summary --show-values").await;
    let shown = "\"type\" has 3 other values (\"c4n4ry.failed\", \"c4n4ry.succeeded\", \"ping\")";
    assert_contains(&explained.out, shown);
}

#[tokio::test]
async fn a_type_of_messages_that_the_samples_lack_is_not_a_mistake() {
    let tool = events("{ type = \"charge.failed\" }").input(r#"{"id": 1, "type": "ping"}"#);
    let explained = tool.run("explain").await;
    let expected = "warning: \"charges\": no row: when holds for no message: \"type\" has 1 other value: add a message for this table to the samples";
    assert_eq!((explained.code, said(&explained)), (0, vec![expected]));
}

#[tokio::test]
async fn a_message_without_a_row_says_why() {
    let mapping = "unmatched = \"skip\"\n\
        [[table]]\nname = \"a\"\nkey = [\"id\"]\nwhen = { type = \"a\", \"$.live\" = true }\ncolumn = [{ name = \"id\", type = \"bigint\", required = true }]\n\
        [[table]]\nname = \"b\"\nkey = [\"id\"]\neach = \"items\"\nwhen = { type = \"b\" }\ncolumn = [{ name = \"id\", type = \"bigint\", required = true }]";
    let input = lines([
        json!({"id": 1, "type": "c4n4ry"}),
        json!({"id": 1, "type": "a", "live": "c4n4ry", "items": []}),
        json!({"id": 1, "type": {}, "live": true, "items": [{"type": null}, {"type": null}]}),
    ]);
    let tool = Tool::bare().mapping(mapping).input(&input);
    let explained = tool.run("explain").await;
    let expected = "line 1: no row
  \"a\": when: \"$.live\" is missing or null, \"type\" has another value
  \"b\": each: \"items\" is missing or null

line 2: no row
  \"a\": when: \"$.live\" has another value
  \"b\": each: \"items\" is empty

line 3: no row
  \"a\": when: \"type\" is an object or array
  \"b\": when: \"type\" is missing or null
";
    assert_starts(&explained.out, expected);
    assert_eq!(explained.code, 1);
    let json = tool.run("explain --json --show-values").await.json();
    let why = json!([
        "\"a\": when: \"$.live\" is \"c4n4ry\"",
        "\"b\": each: \"items\" is empty"
    ]);
    assert_eq!(json[1]["why"], why);
    let rejecting = mapping.replace("\"skip\"", "\"reject\"");
    let rejected = Tool::bare().mapping(&rejecting).input(&input);
    let rejected = rejected.run("explain --rejected").await;
    assert_eq!(
        rejected.out.matches("rejected by rule unmatched\n").count(),
        3
    );
    assert_contains(&rejected.out, "\n  \"b\": each: \"items\" is empty\n");
}

#[tokio::test]
async fn a_body_whose_array_is_empty_is_called_by_its_name() {
    let mapping = "[[table]]\nname = \"a\"\nkey = [\"id\"]\neach = \"@body\"\ncolumn = [{ name = \"id\", type = \"bigint\", required = true }]";
    let explained = Tool::bare()
        .mapping(mapping)
        .input("[]")
        .run("explain")
        .await;
    assert_contains(&explained.out, "each: \"@body\" is empty");
    assert_eq!(
        said(&explained),
        [
            "warning: no row: the array at \"@body\" is always empty: add a message with elements to the samples"
        ]
    );
}

/// Orders with lines.
fn with_lines(each: &str, more: &str) -> Tool {
    let mapping = format!(
        "[[table]]\nname = \"orders\"\nkey = [\"id\"]\non_conflict = \"update\"\n{more}\n\
         column = [{{ name = \"id\", type = \"bigint\", required = true }}, {{ name = \"note\", type = \"text\" }}]\n\
         [[table]]\nname = \"lines\"\nparent = \"orders\"\neach = \"{each}\"\nkey = [\"id\", \"at\"]\n\
         column = [{{ name = \"id\", type = \"bigint\", from = \"^.id\", required = true }}, {{ name = \"at\", type = \"integer\", from = \"@index\" }}]"
    );
    Tool::bare().mapping(&mapping)
}

#[tokio::test]
async fn an_array_that_is_never_there_is_named_with_the_one_that_is_meant() {
    let order =
        json!({"id": 1, "note": "n", "line_items": [{"sku": "a"}], "tags": ["x"]}).to_string();
    let no_array =
        |each: &str| format!("\"lines\": no row: no row of \"orders\" has an array at \"{each}\"");
    for each in ["line_item", "positions"] {
        let explained = with_lines(each, "")
            .input(&order)
            .run("explain --summary")
            .await;
        let expected = format!("error: {}: did you mean \"line_items\"?", no_array(each));
        assert_eq!((explained.code, said(&explained)), (1, vec![&*expected]));
    }
    // Nothing at all is stored of these messages.
    let mapping = "unmatched = \"skip\"\n[[table]]\nname = \"t\"\nkey = [\"id\"]\neach = \"positions\"\nwhen = { kind = \"x\" }\n\
        column = [{ name = \"id\", type = \"bigint\", required = true }]";
    let two = json!({"taxes": [{"id": 1}], "line_items": [{"id": 1}]}).to_string();
    let tool = Tool::bare().mapping(mapping).input(&two);
    let explained = tool.run("explain --summary").await;
    let expected = "error: no row: no message has an array at \"positions\": correct each, or add a message with one to the samples";
    assert_eq!((explained.code, said(&explained)), (1, vec![expected]));
    // Nothing shows that the messages have lines at all.
    let none = json!({"id": 1, "note": "n"}).to_string();
    let explained = with_lines("lines", "")
        .input(&none)
        .run("explain --summary")
        .await;
    let expected = format!(
        "warning: {}: add a message with one to the samples",
        no_array("lines")
    );
    assert_eq!((explained.code, said(&explained)), (0, vec![&*expected]));
    let empty = json!({"id": 1, "note": "n", "lines": []}).to_string();
    let explained = with_lines("lines", "")
        .input(&empty)
        .run("explain --summary")
        .await;
    let expected = "warning: \"lines\": no row: the array at \"lines\" is always empty: add a message with elements to the samples";
    assert_eq!((explained.code, said(&explained)), (0, vec![expected]));
}

#[tokio::test]
async fn deletions_that_are_not_recognised_are_an_error_and_none_in_the_samples_a_warning() {
    let found = async |message: Value| {
        let kept = json!({"id": 1, "op": "c", "note": "n", "lines": [{}]});
        let tool = with_lines("lines", "delete_when = { op = [\"D\", \"remove\"] }");
        let explained = tool
            .input(&lines([kept, message]))
            .run("explain --summary")
            .await;
        (explained.code, said(&explained).join("\n"))
    };
    let (code, said) = found(json!({"id": 2, "op": "u", "note": "m"})).await;
    let expected = "warning: \"orders\": delete_when holds for no message: \"op\" has 2 other values: add a message that deletes a row to the samples";
    assert_eq!((code, &*said), (0, expected));
    let (code, said) = found(json!({"id": 2, "op": "d", "note": "m"})).await;
    let expected = "error: \"orders\": delete_when holds for no message: \"op\" has 2 other values, differs only in upper and lower case in 1 of 2 messages: correct delete_when";
    assert_eq!((code, &*said), (1, expected));
    let (code, said) = found(json!({"id": 2, "op": "deleted"})).await;
    let expected = "error: \"orders\": delete_when holds for no message: \"op\" has 2 other values; 1 row would store only a key, as deletions do: correct delete_when";
    assert_eq!((code, &*said), (1, expected));
    assert_eq!(found(json!({"id": 2, "op": "D"})).await, (0, String::new()));
}

#[tokio::test]
async fn a_root_that_is_never_there_is_named() {
    let mapping = "root = \"payloda\"\nunmatched = \"skip\"\n[[table]]\nname = \"t\"\nkey = [\"id\"]\nwhen = { op = \"c\" }\n\
        column = [{ name = \"id\", type = \"bigint\", required = true }]";
    let message = json!({"payload": {"id": 1, "op": "c"}}).to_string();
    let tool = Tool::bare().mapping(mapping).input(&message);
    let explained = tool.run("explain --summary").await;
    let expected = "error: root: no message has a value at \"payloda\": did you mean \"payload\"?";
    assert_eq!((explained.code, said(&explained)), (1, vec![expected]));
    // A tombstone says nothing about it.
    let tombstone = Tool::bare().mapping(&mapping.replace("payloda", "payload"));
    tombstone
        .input("null\nnull")
        .run("explain --summary")
        .await
        .exits(0);
}

/// The names of the mappings in `examples/`.
fn examples() -> Vec<String> {
    let files = std::fs::read_dir(format!("{}/examples", testkit::ROOT)).unwrap();
    let files = files.map(|file| file.unwrap().path());
    let mappings = files.filter(|file| file.extension().is_some_and(|end| end == "toml"));
    let names = mappings.map(|file| file.file_stem().unwrap().to_str().unwrap().to_owned());
    names.collect()
}

#[tokio::test]
async fn the_examples_lose_nothing() {
    for name in examples() {
        let example = format!("{}/examples/{name}", testkit::ROOT);
        let command = format!("explain --summary --json --pipeline {example}.toml {example}.jsonl");
        let tool = Tool::bare().set("MASK_KEY", testkit::MASK_KEY);
        let summary = tool.run(&command).await.json().remove(0);
        assert_eq!(
            (&summary["errors"], &summary["warnings"]),
            (&json!([]), &json!([])),
            "{name}"
        );
    }
}

/// What conditions and arrays find is looked up apart from the rows.
#[test]
fn a_place_where_a_row_begins_by_the_findings_has_one() {
    let key = MaskKey::from_base64(testkit::MASK_KEY).unwrap().into();
    for name in examples() {
        let read = |kind: &str| {
            let path = format!("{}/examples/{name}.{kind}", testkit::ROOT);
            std::fs::read_to_string(path).unwrap()
        };
        let pipeline = Pipeline::parse(&name, &read("toml")).unwrap();
        let compiled = Compiled::new(&name, &pipeline, Some(&key)).unwrap();
        for line in read("jsonl").lines() {
            let record = Record::deserialize(json!({"messageId": "m", "body": line})).unwrap();
            let Ok(message) = Message::extract(&record, &pipeline.wrapping) else {
                continue;
            };
            let mut rows = compiled.new_rows();
            if compiled.transform(&message, &mut rows).is_err() {
                continue;
            }
            let mut begun = vec![0; pipeline.tables.len()];
            compiled.observe(&message, &mut |observation| {
                if let Observation::Place { table, when, .. } = observation {
                    begun[table] += usize::from(when.iter().all(Tested::holds));
                }
            });
            let stored = rows.tables().iter().map(|table| table.rows.len());
            assert_eq!(begun, stored.collect::<Vec<_>>(), "{name}: {line}");
        }
    }
}

#[tokio::test]
async fn a_file_that_is_one_array_is_read_as_several_messages_and_says_so() {
    let mapping = Mapping::by_message_id("t").column("n", "integer");
    let tool = Tool::bare()
        .mapping(&mapping)
        .input("[{\"n\": 1}, {\"n\": 2}]");
    let explained = tool.run("explain --summary").await;
    let expected = "note: the input is an array: each of its 2 elements was read as a message: if the array itself is the message, give several, one per line";
    assert_eq!((explained.code, said(&explained)), (0, vec![expected]));
}
