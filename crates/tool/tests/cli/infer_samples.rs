//! `infer`: the samples that it reads, and the ones that it omits.

use serde_json::{Value, json};

use crate::infer::{column, inferred};
use crate::tool::Tool;

#[tokio::test]
async fn the_mappings_of_the_examples_need_no_edit() {
    for (name, table, irregular) in [
        ("orders", "orders --key order_id", &[23, 47, 57][..]),
        ("telemetry", "telemetry", &[14, 44]),
        ("users-sns", "users", &[29, 55]),
    ] {
        let events = format!("{}/events/{name}", testkit::ROOT);
        let kept = std::fs::read_to_string(format!("{events}.toml")).unwrap();
        let infer = format!("infer --table {table} {events}.jsonl");
        let inferred = Tool::bare().run(&infer).await.exits(0);
        assert_eq!(
            inferred.out, kept,
            "write to events/{name}.toml what this proposes: {infer}"
        );
        let explained = Tool::bare().mapping(&kept);
        let explained = explained
            .run(&format!("explain --json {events}.jsonl"))
            .await;
        let explained = explained.json();
        let rejected: Vec<&str> = explained
            .iter()
            .filter(|line| line["outcome"] == "rejected")
            .map(|line| line["message"].as_str().unwrap())
            .collect();
        let expected: Vec<String> = irregular
            .iter()
            .map(|line| format!("line {line}"))
            .collect();
        assert_eq!(rejected, expected, "{name}");
        for line in expected {
            let named = |what: &str| inferred.err.contains(&format!("\n{what}: {line}: "));
            assert!(
                named("omitted") || named("rejected"),
                "{line}: {}",
                inferred.err
            );
        }
    }
}

#[tokio::test]
async fn attributes_become_columns() {
    let record = |id: &str, n: usize| {
        json!({"messageId": id, "body": json!({"kind": "k"}).to_string(), "messageAttributes": {
            "tenant": {"stringValue": "acme", "dataType": "String"},
            "kind": {"stringValue": n.to_string(), "dataType": "Number"},
            "origin": {"stringValue": "not that of a sender", "dataType": "String"},
            "contact": {"stringValue": "a@example.com", "dataType": "String"}}})
    };
    let records = [record("a", 1), record("b", 2)];
    let mapping = inferred(&json!({"Records": records}).to_string()).await;
    assert_eq!(
        column(&mapping, "tenant"),
        ["type = \"text\"", "from = \"@attribute.tenant\""]
    );
    let kind = column(&mapping, "attribute_kind");
    assert_eq!(kind[1], "from = \"@attribute.kind\"");
    assert_eq!(
        column(&mapping, "masked_contact")[1],
        "from = \"@attribute.contact\""
    );
    assert!(!mapping.contains("@attribute.origin"), "{mapping}");
    let sns = format!("{}/events/users-sns.jsonl", testkit::ROOT);
    let inferred = Tool::bare().run(&format!("infer {sns}")).await;
    assert_eq!(
        column(&inferred.out, "tenant")[1],
        "from = \"@attribute.tenant\""
    );
}

#[tokio::test]
async fn digits_beyond_those_of_any_number_are_text() {
    let digits = "9".repeat(1_200);
    let sample = json!({"price": format!("{digits}.25"), "total": format!("0.{digits}"), "serial": digits, "far": 1e308, "near": 1e-308});
    let inferred = Tool::bare().input(&sample.to_string()).run("infer").await;
    assert_eq!(inferred.err, "1 message: 1 row, 0 rejected\n");
    for name in ["price", "total", "serial"] {
        assert_eq!(column(&inferred.out, name)[0], "type = \"text\"");
    }
}

#[tokio::test]
async fn samples_may_be_laid_out_in_any_way() {
    let messages = [
        json!({"n": 1, "o": {"p": "x"}}),
        json!({"n": 2, "o": {"p": "y"}}),
    ];
    let pretty = messages.iter().map(|message| format!("{message:#}"));
    let pretty: Vec<String> = pretty.collect();
    let [first, second] = &messages;
    let record = |message: &Value| json!({"messageId": "m", "body": message.to_string()});
    let event = |message: &Value| json!({"Records": [record(message)]});
    let expected = inferred(&format!("{first}\n{second}\n")).await;
    for layout in [
        format!("{first}{second}"),
        format!("\u{feff}{first}\r\n\r\n{second}"),
        pretty.join("\n"),
        format!("[{}]", pretty.join(",")),
        json!({"Records": [record(first), record(second)]}).to_string(),
        format!("{}\n{}", event(first), event(second)),
        format!("[{}, {}]", event(first), event(second)),
    ] {
        assert_eq!(inferred(&layout).await, expected, "{layout}");
    }
}

#[tokio::test]
async fn each_line_that_is_omitted_is_named() {
    let lines =
        "{\"n\": 1}\nnonsense\n{\n  \"n\": 2\n}\n7\n{\"n\": 3} rest\n{\"n\": [\n{\"n\": 4}\n";
    let inferred = Tool::bare().input(lines).run("infer").await;
    let omitted: Vec<&str> = inferred
        .err
        .lines()
        .filter_map(|line| line.strip_prefix("omitted: "))
        .collect();
    let expected = [
        "line 2: the message is not JSON",
        "line 6: the message is not a JSON object",
        "line 7: the message is not JSON",
        "line 8: the message is not JSON",
    ];
    assert_eq!((inferred.code, omitted), (0, expected.to_vec()));
}
