//! `infer`: what is proposed for the messages of a day takes those of the next, too.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use crate::tool::Tool;
use testkit::{TempFile, assert_contains};

/// Producers with samples in `examples/`.
const PRODUCERS: [&str; 8] = [
    "github",
    "shopify",
    "stripe",
    "iot",
    "ses",
    "debezium",
    "cloudtrail",
    "audit",
];

/// Fields of free text, and of numbers without a limit.
const TEXTS: [&str; 16] = [
    "title",
    "body",
    "message",
    "description",
    "subject",
    "text",
    "note",
    "reason",
    "smtpResponse",
    "userAgent",
    "diagnosticCode",
    "city",
    "name",
    "sku",
    "label",
    "span",
];
const NUMBERS: [&str; 14] = [
    "amount",
    "amount_captured",
    "amount_refunded",
    "amount_due",
    "amount_paid",
    "total",
    "unit_amount",
    "size",
    "lsn",
    "txId",
    "n",
    "additions",
    "deletions",
    "rows",
];

/// A day's messages: the good ones of an example, several times, with values of their own.
struct Day {
    random: fastrand::Rng,
    /// Whether texts are longer and numbers larger than before.
    has_grown: bool,
}

impl Day {
    fn new(seed: u64, has_grown: bool) -> Self {
        let random = fastrand::Rng::with_seed(seed);
        Self { random, has_grown }
    }

    fn messages(&mut self, lines: &[String]) -> String {
        let rounds = lines.iter().cycle().take(lines.len() * 4);
        let messages = rounds.map(|line| match serde_json::from_str(line) {
            Ok(mut message) => {
                self.change(&mut message, "");
                message.to_string()
            }
            Err(_) => line.clone(),
        });
        let mut messages: Vec<String> = messages.collect();
        self.random.shuffle(&mut messages);
        messages.join("\n")
    }

    fn change(&mut self, value: &mut Value, key: &str) {
        match value {
            Value::Object(fields) => fields
                .iter_mut()
                .for_each(|(key, value)| self.change(value, key)),
            Value::Array(items) => items.iter_mut().for_each(|item| self.change(item, key)),
            Value::String(text) => *text = self.text(text, key),
            Value::Number(_) => self.number(value, key),
            Value::Null | Value::Bool(_) => {}
        }
    }

    fn text(&mut self, text: &str, key: &str) -> String {
        // JSON in a string, such as the message of a notification.
        if text.starts_with('{')
            && let Ok(mut inner) = serde_json::from_str::<Value>(text)
        {
            self.change(&mut inner, "");
            return inner.to_string();
        }
        let is_decimal = text.contains('.') && text.parse::<f64>().is_ok();
        let is_free = TEXTS.contains(&key) && !text.contains(['@', ':', '/']);
        match self.has_grown {
            true if is_decimal => format!("{}{text}", self.random.u32(1..900)),
            true if is_free => format!("{text} {}", "more ".repeat(self.random.usize(1..90))),
            _ => text.to_owned(),
        }
    }

    fn number(&mut self, value: &mut Value, key: &str) {
        let Some(number) = value.as_i64() else {
            let number = value.as_f64().unwrap();
            *value = json!(number + self.random.f64());
            return;
        };
        if NUMBERS.contains(&key) {
            let most = if self.has_grown { 1_000_000 } else { 10 };
            *value = json!(number.saturating_mul(self.random.i64(1..=most)));
        } else if number >= 1_000_000_000 {
            *value = json!(number + self.random.i64(0..100_000));
        }
    }
}

/// The lines of an example that its own mapping does not reject.
async fn good_lines(name: &str) -> Vec<String> {
    let example = format!("{}/examples/{name}", testkit::ROOT);
    let command = format!("explain --json --pipeline {example}.toml {example}.jsonl");
    let explained = Tool::bare().run(&command).await;
    let rejected: HashSet<String> = explained
        .json()
        .iter()
        .filter(|line| line["outcome"] == "rejected")
        .map(|line| line["message"].as_str().unwrap().to_owned())
        .collect();
    let text = std::fs::read_to_string(format!("{example}.jsonl")).unwrap();
    let lines = text.lines().zip(1..);
    let good = lines.filter(|(_, number)| !rejected.contains(&format!("line {number}")));
    good.map(|(line, _)| line.to_owned()).collect()
}

/// How many messages there are, and how many of them a mapping rejects.
async fn rejected(mapping: &str, messages: &str) -> (u64, u64, Value) {
    let explained = Tool::bare().mapping(mapping).input(messages);
    let summary = explained.run("explain --summary --json").await;
    let summary = summary.json().remove(0);
    let count = |name: &str| summary[name].as_u64().unwrap();
    let rejected = match &summary["rejected"] {
        Value::Object(rules) => rules
            .values()
            .map(|rule| rule.as_array().map_or(0, |lines| lines.len() as u64))
            .sum(),
        rejected => rejected.as_u64().unwrap_or_default(),
    };
    (count("messages"), rejected, summary)
}

/// Longer texts and larger numbers, from another seed.
#[tokio::test]
async fn of_the_next_day_at_most_2_in_100_messages_are_rejected() {
    for name in PRODUCERS {
        let mut lines = good_lines(name).await;
        // An array without a record.
        lines.retain(|line| line != "[]");
        for arguments in ["infer", "infer --from-scratch"] {
            if arguments != "infer" {
                // Only as a change of a table is a tombstone understood.
                lines.retain(|line| line != "null");
            }
            let today = Day::new(7, false).messages(&lines);
            let mapping = Tool::bare().input(&today).run(arguments).await.exits(0).out;
            let tomorrow = Day::new(8, true).messages(&lines);
            let (all, rejected, summary) = rejected(&mapping, &tomorrow).await;
            assert!(all > 80, "{name}: {all}");
            assert!(
                rejected * 50 <= all,
                "{name}, {arguments}: {rejected} of {all}\n{summary}\n{mapping}"
            );
        }
    }
}

/// A queue of a known producer needs no edit: the mapping is the one of its example.
#[tokio::test]
async fn a_known_producer_gets_the_mapping_that_was_written_for_it() {
    for (name, what) in [
        ("github", "webhooks of GitHub"),
        ("shopify", "orders of Shopify"),
        ("stripe", "events of Stripe"),
        ("ses", "events of Amazon SES"),
        ("cloudtrail", "files of CloudTrail"),
    ] {
        let example = format!("{}/examples/{name}", testkit::ROOT);
        let inferred = Tool::bare()
            .run(&format!("infer {example}.jsonl"))
            .await
            .exits(0);
        assert_contains(&inferred.out, what);
        let own = std::fs::read_to_string(format!("{example}.toml")).unwrap();
        assert!(inferred.out.ends_with(&own), "{name}: {}", inferred.out);
        let named = format!("infer --table raw {example}.jsonl");
        let named = Tool::bare().run(&named).await.exits(0).out;
        assert_contains(&named, "name = \"raw_");
        assert!(!named.contains(&format!("\"{name}.")), "{named}");
        let scratch = format!("infer --from-scratch {example}.jsonl");
        let scratch = Tool::bare().run(&scratch).await.exits(0).out;
        assert!(!scratch.contains("which look like"), "{scratch}");
    }
    let s3 = format!("infer {}/examples/s3.jsonl", testkit::ROOT);
    let s3 = Tool::bare().run(&s3).await.exits(0).out;
    assert_contains(&s3, "name = \"s3_objects\"");
}

/// The same through a topic.
#[tokio::test]
async fn a_known_producer_is_recognised_in_notifications_of_sns() {
    let lines = good_lines("github").await;
    let notification = |message: &String| {
        json!({"Type": "Notification", "MessageId": "37336f5d-b252-4d1f-af76-119a650241d9",
            "TopicArn": "arn:aws:sns:eu-central-1:123456789012:t", "Message": message, "Timestamp": "2026-11-02T09:00:00.000Z"})
    };
    let messages: Vec<String> = lines
        .iter()
        .map(|line| notification(line).to_string())
        .collect();
    let messages = messages.join("\n");
    let inferred = Tool::bare().input(&messages).run("infer").await.exits(0);
    assert_contains(&inferred.out, "\nenvelope = \"sns\"\n");
    assert_contains(&inferred.out, "webhooks of GitHub");
    assert_contains(&inferred.err, ", 0 rejected\n");
}

/// What Debezium and DMS capture is copied: each table with its deletions.
#[tokio::test]
async fn captured_changes_become_copies_of_their_tables() {
    let debezium = format!(
        "infer --table copy {}/examples/debezium.jsonl",
        testkit::ROOT
    );
    let debezium = Tool::bare().run(&debezium).await.exits(0).out;
    for expected in [
        "root = \"payload\"",
        "name = \"copy_customers\"",
        "when = { 'source.table' = \"customers\"",
        "delete_when = { \"op\" = \"d\" }",
        "from = [\"after.id\", \"before.id\"], required = true",
        "newer = \"lsn\"",
    ] {
        let expected = expected.replace('\'', "\"");
        assert_contains(&debezium, &expected);
    }
    let change = |operation: &str, id: usize, at: usize| {
        json!({"data": {"id": id, "city": "Bern", "paid": 12.5}, "metadata": {
            "timestamp": format!("2026-11-02T09:00:{at:02}.000000Z"), "record-type": "data", "operation": operation,
            "partition-key-type": "schema-table", "schema-name": "shop", "table-name": "orders", "transaction-id": 7}})
    };
    let changes = [
        change("load", 1, 1),
        change("insert", 2, 2),
        change("update", 2, 3),
        change("delete", 1, 4),
    ];
    let lines: Vec<String> = changes.iter().map(Value::to_string).collect();
    let lines = lines.join("\n");
    let dms = Tool::bare().input(&lines).run("infer").await.exits(0);
    for expected in [
        "changes captured by AWS DMS",
        "name = \"orders\"",
        "delete_when = { \"metadata.operation\" = \"delete\" }",
        "key = [\"id\"]",
        "newer = \"changed_at\"",
        "name = \"id\", type = \"bigint\", from = \"data.id\", required = true",
    ] {
        assert_contains(&dms.out, expected);
    }
    let explained = Tool::bare().mapping(&dms.out).input(&lines);
    explained.run("explain --summary").await.exits(0);
}

#[tokio::test]
async fn a_key_that_the_user_chooses_is_that_of_all_tables() {
    let order = |n: usize| {
        json!({"id": 100 + n % 9, "updated_at": format!("2026-11-02T09:00:{n:02}Z"), "total": n,
            "lines": [{"sku": "a"}, {"sku": "b"}]})
    };
    let lines: Vec<String> = (0..12).map(|n| order(n).to_string()).collect();
    let lines = lines.join("\n");
    let offered = Tool::bare().input(&lines).run("infer").await.exits(0).out;
    assert_contains(
        &offered,
        "# or this: 9 in 12 messages, and messages of one differ in updated_at: infer --key id --newer updated_at\n",
    );
    assert!(!offered.contains("# key = [\"updated_at\"]"), "{offered}");
    let chosen = Tool::bare().input(&lines);
    let chosen = chosen
        .run("infer --key id --newer updated_at")
        .await
        .exits(0)
        .out;
    let mapping: toml::Table = toml::from_str(&chosen).unwrap();
    let tables = mapping["table"].as_array().unwrap();
    assert_eq!(tables[0]["key"].as_array().unwrap().len(), 1);
    assert_eq!(tables[0]["on_conflict"].as_str(), Some("update"));
    assert_eq!(tables[0]["newer"].as_str(), Some("updated_at"));
    assert_contains(&chosen, "key = [\"id\", \"position\"]");
    let explained = Tool::bare().mapping(&chosen).input(&lines);
    explained.run("explain --summary").await.exits(0);
    let missing = Tool::bare().input(&lines).run("infer --key idd").await;
    assert_eq!(missing.code, 2);
    assert_contains(&missing.err, "no field of the samples is called \"idd\"");
}

#[tokio::test]
async fn times_as_numbers_get_their_unit_and_are_not_keys() {
    let message = |n: u64| {
        json!({"id": format!("a-{n}"), "created": 1_793_610_000 + n, "ts_ms": 1_793_610_000_000_u64 + n,
            "expires_at": (1_793_610_000_000_000 + n).to_string(), "order_number": 1_793_610_000 + n,
            "at": if n.is_multiple_of(2) { json!("2026-11-02T09:00:00Z") } else { json!(1_793_610_000 + n) }})
    };
    let lines: Vec<String> = (0..20).map(|n| message(n).to_string()).collect();
    let lines = lines.join("\n");
    let inferred = Tool::bare().input(&lines).run("infer").await.exits(0).out;
    for expected in [
        "{ name = \"created\", type = \"timestamptz\", unit = \"s\" }",
        "{ name = \"ts_ms\", type = \"timestamptz\", unit = \"ms\" }",
        "{ name = \"expires_at\", type = \"timestamptz\", unit = \"us\" }",
        "{ name = \"order_number\", type = \"bigint\" }",
        "jq = '.at | if type == \"number\" then (floor | todate[:-1]) + (. - floor | tostring[1:]) + \"Z\" else . end' },  # 10 of 20 are Unix times",
    ] {
        assert_contains(&inferred, expected);
    }
    assert!(!inferred.contains("# key = [\"created\"]"), "{inferred}");
    let explained = Tool::bare().mapping(&inferred).input(&lines);
    let explained = explained.run("explain --summary").await.exits(0);
    assert_contains(&explained.out, "20 messages: 20 rows, 0 rejected");
}

/// Messages that no field names are distinguished by an attribute, or by what they have.
#[tokio::test]
async fn messages_are_divided_by_an_attribute_or_by_the_fields_that_they_have() {
    let body = |n: usize| match n % 2 {
        0 => json!({"sender": "x", "push": {"ref": "a", "size": n, "forced": false}}),
        _ => json!({"sender": "x", "issue": {"number": n, "state": "open", "locked": true}}),
    };
    let lines: Vec<String> = (0..12).map(|n| body(n).to_string()).collect();
    let inferred = Tool::bare()
        .input(&lines.join("\n"))
        .run("infer")
        .await
        .exits(0);
    assert_contains(&inferred.out, "when = { \"push\" = { exists = true } }");
    assert_contains(&inferred.out, "when = { \"issue\" = { exists = true } }");
    assert_contains(&inferred.err, "12 messages: 12 rows, 0 rejected");
    let record = |n: usize| {
        let event = if n.is_multiple_of(2) {
            "push"
        } else {
            "issues"
        };
        json!({"messageId": format!("5e0d8f2a-0000-4000-8000-{n:012}"), "body": body(n).to_string(),
            "attributes": {"SentTimestamp": "1793610000000"}, "messageAttributes": {
            "X-GitHub-Event": {"stringValue": event, "dataType": "String"}}})
    };
    let records: Vec<Value> = (0..12).map(record).collect();
    let event = json!({"Records": records}).to_string();
    let inferred = Tool::bare().input(&event).run("infer").await.exits(0);
    assert_contains(
        &inferred.out,
        "when = { \"@attribute.X-GitHub-Event\" = [\"push\"] }",
    );
    assert_contains(&inferred.err, "12 messages: 12 rows, 0 rejected");
}

#[tokio::test]
async fn a_name_with_capitals_is_read_word_by_word() {
    let names = [
        ("MFAUsed", "mfa_used"),
        ("ARNPrefix", "arn_prefix"),
        ("eventID", "event_id"),
        ("requestIDs", "request_ids"),
        ("TLSVersion", "tls_version"),
    ];
    let fields = names.map(|(name, _)| (name.to_owned(), json!("x")));
    let input = Value::Object(Map::from_iter(fields)).to_string();
    let inferred = Tool::bare().input(&input).run("infer").await.exits(0);
    for (from, name) in names {
        let expected = format!("name = \"{name}\", type = \"text\", from = \"{from}\"");
        assert_contains(&inferred.out, &expected);
    }
}

#[tokio::test]
async fn json_in_a_string_becomes_jsonb_and_what_has_no_column_may_have_one() {
    let message = |n: usize| json!({"n": n, "prefs": json!({"dark": true}).to_string()});
    let lines: Vec<String> = (0..5).map(|n| message(n).to_string()).collect();
    let inferred = Tool::bare()
        .input(&lines.join("\n"))
        .run("infer")
        .await
        .exits(0);
    assert_contains(
        &inferred.out,
        "{ name = \"prefs\", type = \"jsonb\", transform = [\"json\"] }",
    );
    let commented = "  # { name = \"rest\", type = \"jsonb\", from = \"@rest\" },";
    assert_contains(&inferred.out, commented);
    let with_rest = inferred
        .out
        .replace(commented, &commented.replace("# ", ""));
    let file = TempFile::new("{\"n\": 1, \"new\": 2}");
    let explain = format!("explain --unmapped {}", file.0.display());
    let explained = Tool::bare()
        .mapping(&with_rest)
        .run(&explain)
        .await
        .exits(0);
    assert_contains(&explained.out, "0 paths that no column reads");
}

#[tokio::test]
async fn a_difference_between_new_samples_and_the_mapping_is_named() {
    let message = |n: usize| json!({"id": n, "at": "2026-11-02T09:00:00Z", "code": "a"});
    let lines: Vec<String> = (0..5).map(|n| message(n).to_string()).collect();
    let mapping = Tool::bare()
        .input(&lines.join("\n"))
        .run("infer")
        .await
        .exits(0)
        .out;
    let mapping = TempFile::new(&mapping);
    let diff = format!("infer --diff {}", mapping.0.display());
    let same = Tool::bare()
        .input(&lines.join("\n"))
        .run(&diff)
        .await
        .exits(0);
    assert_eq!(
        same.out,
        "5 messages: 0 paths that no column reads, 0 rejected, 0 columns typed otherwise\n"
    );
    let new = |n: usize| {
        json!({"id": n, "at": if n == 3 { "soon" } else { "2026-11-02T09:00:00Z" }, "tenant": "c4n4ry", "code": n,
            "by_user": {"c4n4ry": 1}})
    };
    let lines: Vec<String> = (0..5).map(|n| new(n).to_string()).collect();
    let new = Tool::bare()
        .input(&lines.join("\n"))
        .run(&diff)
        .await
        .exits(1);
    for expected in [
        "paths that no column reads\n",
        "  tenant   5 of 5 messages\n",
        "messages that it rejects\n",
        "column \"at\" from \"at\"",
        "line 4\n",
        "\"code\" of \"messages\"  text, and the samples suggest bigint\n",
        "5 messages: 2 paths that no column reads, 1 rejected, 1 column typed otherwise\n",
    ] {
        assert_contains(&new.out, expected);
    }
    assert!(!new.out.contains("c4n4ry"), "{}", new.out);
}
