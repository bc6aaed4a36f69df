//! `infer`: a mapping that loads its own samples, with masks for personal data.

use serde_json::{Value, json};

use crate::ddl::create;
use crate::tool::Tool;
use testkit::batch::Batch;
use testkit::{Database, MASK_KEY, Setup, assert_contains};

const CANARY: &str = "c4n4ry";

/// The mapping inferred from these messages, one a line.
pub(crate) async fn inferred(lines: &str) -> String {
    let inferred = Tool::bare().input(lines).run("infer").await.exits(0);
    inferred.out
}

/// The words of each column of a mapping, one a line.
pub(crate) fn columns(mapping: &str) -> Vec<(toml::Table, String)> {
    let lines = mapping.lines().filter(|line| line.starts_with("  {"));
    let column = |line: &str| {
        let (words, why) = line.split_once("},").unwrap();
        let column: toml::Table = toml::from_str(&format!("column = {words}}}")).unwrap();
        let column = column["column"].as_table().unwrap().clone();
        (column, why.trim().trim_start_matches("# ").to_owned())
    };
    lines.map(column).collect()
}

/// The words of a mapping's column but for its name.
pub(crate) fn column(mapping: &str, name: &str) -> Vec<String> {
    let columns = columns(mapping);
    let column = columns
        .iter()
        .find(|(column, _)| column["name"].as_str() == Some(name));
    let (column, _) = column.unwrap_or_else(|| panic!("no {name}: {mapping}"));
    let words = ["type", "unit", "from", "transform", "required", "mask"];
    let words = words
        .iter()
        .filter_map(|word| Some((word, column.get(*word)?)));
    words
        .map(|(word, value)| format!("{word} = {value}"))
        .collect()
}

#[tokio::test]
async fn the_samples_load_and_their_personal_data_is_masked_unasked() {
    let database = Database::new().await;
    let file = format!("{}/events/logins.jsonl", testkit::ROOT);
    let inferred = Tool::bare()
        .run(&format!("infer --table logins {file}"))
        .await
        .exits(0);
    assert_contains(&inferred.err, "omitted: line 42: the message is not JSON");
    create(&Tool::on(&database).mapping(&inferred.out), &database).await;
    let mut function = Setup::on(&database).mapping(&inferred.out).start().await;
    let lines = include_str!("../../../../events/logins.jsonl")
        .lines()
        .zip(0..);
    let batch = lines.fold(Batch::new(), |batch, (line, number)| {
        batch.text(&format!("m{number}"), line)
    });
    let answer = function.invoke(&batch.event()).await;
    assert_eq!(
        (answer.failed_ids().len(), database.count("logins").await),
        (1, 99)
    );
    let masked =
        "logins WHERE length(masked_device_id) = 64 AND coalesce(length(masked_ip), 64) = 64";
    assert_eq!(database.count(masked).await, 99);
    let in_plaintext = "logins WHERE logins::text ~ '198\\.51\\.100|203\\.0\\.113|dev-'";
    assert_eq!(database.count(in_plaintext).await, 0);
}

#[tokio::test]
async fn types_are_those_of_the_values_and_of_what_may_follow() {
    let cases = [
        (json!([1, -2, 999_999_999, "-3"]), vec!["type = \"bigint\""]),
        (json!([1, 1_770_000_000_000_u64]), vec!["type = \"bigint\""]),
        (json!([1, 2.5]), vec!["type = \"double precision\""]),
        (
            json!([1, 0.123_456_789_012_345_67]),
            vec!["type = \"numeric\""],
        ),
        (json!([1, "2", null]), vec!["type = \"bigint\""]),
        (json!([1, "20.5"]), vec!["type = \"numeric\""]),
        (
            json!([18_446_744_073_709_551_615_u64]),
            vec!["type = \"numeric\""],
        ),
        (json!([true, null]), vec!["type = \"boolean\""]),
        (
            json!(["5e0d8f2a-0000-4000-8000-000000000001"]),
            vec!["type = \"uuid\""],
        ),
        (
            json!(["2026-11-21T00:00:00Z", null]),
            vec!["type = \"timestamptz\""],
        ),
        (json!(["2026-11-21"]), vec!["type = \"date\""]),
        (json!(["2026-11-21", "soon"]), vec!["type = \"text\""]),
        (json!(["x".repeat(17)]), vec!["type = \"text\""]),
        (json!(["é".repeat(32), ""]), vec!["type = \"text\""]),
        (json!(["x".repeat(600)]), vec!["type = \"text\""]),
        (json!(["007", 7]), vec!["type = \"text\""]),
        (json!([["a"], null]), vec!["type = \"text[]\""]),
        (json!([[1, 2], [3]]), vec!["type = \"bigint[]\""]),
        (json!([[1, "a", true]]), vec!["type = \"text[]\""]),
        (json!([[[1]]]), vec!["type = \"jsonb\""]),
        (json!(["12.30", "7.00"]), vec!["type = \"numeric\""]),
        (json!(["08:30"]), vec!["type = \"time\""]),
        (json!(["2026-11-21T08:30:00"]), vec!["type = \"timestamp\""]),
        (json!([{}, "a"]), vec!["type = \"jsonb\""]),
        (json!([null]), vec!["type = \"text\""]),
    ];
    for (values, expected) in cases {
        let bodies = values
            .as_array()
            .unwrap()
            .iter()
            .map(|value| json!({"v": value}).to_string());
        let mapping = inferred(&bodies.collect::<Vec<_>>().join("\n")).await;
        assert_eq!(column(&mapping, "v"), expected, "{values}");
    }
}

#[tokio::test]
async fn what_looks_personal_is_masked_by_its_name_or_its_values() {
    let mask = "mask = \"hmac-sha256\"";
    let cases = [
        ("clientIp", json!("unknown"), "masked_client_ip"),
        ("origin", json!("192.0.2.1"), "masked_origin"),
        ("contact", json!("a@example.org"), "masked_contact"),
        ("caller", json!("+41 44 668 18 00"), "masked_caller"),
        ("deviceId", json!(7), "masked_device_id"),
        (
            "payment",
            json!(4_111_111_111_111_111_u64),
            "masked_payment",
        ),
        ("code", json!("078-05-1120"), "masked_code"),
        (
            "x_forwarded_for",
            json!("192.0.2.1, 198.51.100.7"),
            "masked_x_forwarded_for",
        ),
        ("note", json!("ask Anna <a@example.org>"), "masked_note"),
        ("firstName", json!("Anna"), "masked_first_name"),
        ("birthDate", json!("1999-12-31"), "masked_birth_date"),
        ("zip", json!("8001"), "masked_zip"),
        ("latitude", json!(46.948), "masked_latitude"),
        ("session_id", json!("s"), "masked_session_id"),
        ("email", json!(null), "masked_email"),
        ("device", json!({"id": "d"}), "masked_device_id"),
        ("name", json!({"first": "Anna"}), "masked_name_first"),
    ];
    for (name, value, expected) in cases {
        let mapping = inferred(&json!({name: value}).to_string()).await;
        assert!(
            column(&mapping, expected).contains(&mask.to_owned()),
            "{name}: {mapping}"
        );
    }
    for (name, value) in [
        ("app_version", json!("1.2.3.4")),
        ("device_type", json!("ios")),
        ("email_verified", json!(true)),
        ("event_name", json!("login")),
        ("name", json!("login")),
        ("address_count", json!(2)),
        ("session_count", json!(2)),
    ] {
        let mapping = inferred(&json!({name: value}).to_string()).await;
        assert!(!mapping.contains("mask ="), "{name}: {mapping}");
    }
}

#[tokio::test]
async fn objects_become_columns_and_maps_of_data_do_not() {
    let nested = json!({"user": {"id": 7, "geo": {"city": "Bern", "ip": "192.0.2.1"}}, "tags": ["a"], "a.b": {"@type": 1}, "a b": 1, "ids": {"a b": 1}});
    let mapping = inferred(&nested.to_string()).await;
    assert_eq!(column(&mapping, "user_id")[1..], ["from = \"user.id\""]);
    assert_eq!(column(&mapping, "masked_ip")[1], "from = \"user.geo.ip\"");
    assert_eq!(column(&mapping, "ids"), ["type = \"jsonb\""]);
    assert_contains(&mapping, "# an object with keys that look like data");
    assert_contains(
        &mapping,
        "# Omitted: a key in message that looks like data.",
    );
    assert_eq!(
        column(&mapping, "a_b_type")[1..],
        ["from = '\"a.b\".\"@type\"'"]
    );
    // An array of texts is masked element by element.
    let recipients = json!({"a": 1, "recipients": ["zoe@example.org", null], "labels": ["a"]});
    let mapping = inferred(&recipients.to_string()).await;
    let masked = column(&mapping, "masked_recipients");
    assert_eq!(
        masked[..2],
        ["type = \"varchar(64)[]\"", "from = \"recipients\""]
    );
    let is_mask = |line: &String| line == "mask = \"hmac-sha256\"";
    assert!(masked.iter().any(is_mask), "{mapping}");
    assert_eq!(column(&mapping, "labels")[0], "type = \"text[]\"");
    // Fields that cannot be masked are omitted.
    let inside = json!({"a": 1, "people": [[{"email": CANARY}]], "by_mail": {"x@example.org": 1}})
        .to_string();
    let mapping = inferred(&inside).await;
    assert_contains(
        &mapping,
        "# Omitted: \"people\", which seems to contain an e-mail address: jsonb cannot be masked.",
    );
    assert_contains(&mapping, "# Omitted: \"by_mail\"");
    assert!(!mapping.contains("name = \"people\""), "{mapping}");
}

#[tokio::test]
async fn messages_that_came_through_sns_are_unwrapped() {
    let file = format!("{}/events/sns-batch.json", testkit::ROOT);
    let inferred = Tool::bare().run(&format!("infer {file}")).await;
    assert_contains(&inferred.out, "envelope = \"sns\"");
    assert_contains(&inferred.out, "masked_ip");
}

#[tokio::test]
async fn names_are_short_and_do_not_clash() {
    let clash = json!({"message_id": "m", "sent_at": 1, "a": {"b": 1}, "a_b": 2, "aB": 3, "x".repeat(70): 4,
        "order": {"customer": {"city": "Bern", "id": "c"}, "id": 7}});
    let mapping = inferred(&clash.to_string()).await;
    for (name, from) in [
        ("sqs_message_id", "@message_id"),
        ("sqs_sent_at", "@sent_at"),
        ("b", "a.b"),
        ("a_b", "aB"),
        ("a_b_2", "a_b"),
        ("city", "order.customer.city"),
        ("customer_id", "order.customer.id"),
        ("order_id", "order.id"),
    ] {
        let from = format!("from = \"{from}\"");
        assert_eq!(column(&mapping, name)[1], from);
    }
    for name in ["message_id", "sent_at"] {
        let words = column(&mapping, name);
        assert!(
            !words.iter().any(|word| word.starts_with("from")),
            "{words:?}"
        );
    }
}

#[tokio::test]
async fn records_that_are_not_those_of_sqs_are_part_of_a_message() {
    let of_s3 = json!({"Records": [{"eventSource": "aws:s3", "s3": {"object": {"size": 7}}}]});
    let inferred = Tool::bare()
        .input(&of_s3.to_string())
        .run("infer")
        .await
        .exits(0);
    assert_eq!(inferred.err, "1 message: 1 row, 0 rejected\n");
    assert_eq!(
        column(&inferred.out, "object_size")[1],
        "from = \"Records.0.s3.object.size\""
    );
}

#[tokio::test]
async fn no_value_of_a_sample_is_written() {
    let value = |suffix: &str| json!(format!("{CANARY}{suffix}"));
    let message = json!({"a": value(""), "ip": value(""), "mail": value("@example.org"), "n": {"b": value("")}, "l": [value("")],
        "o": [{"email": value("@example.org")}], "m": {format!("{CANARY}@example.org"): 1}});
    for input in [
        format!("{message}\n{CANARY}\n"),
        CANARY.to_owned(),
        format!("{{\"{CANARY}\""),
    ] {
        let inferred = Tool::bare()
            .set("MASK_KEY", MASK_KEY)
            .input(&input)
            .run("infer")
            .await;
        assert!(!inferred.out.contains(CANARY), "{}", inferred.out);
        assert!(!inferred.err.contains(CANARY), "{}", inferred.err);
    }
    let nothing: Value = json!([1]);
    let nothing = Tool::bare().input(&nothing.to_string()).run("infer").await;
    assert_eq!((nothing.code, nothing.out.as_str()), (2, ""));
}

#[tokio::test]
async fn most_values_decide_the_type_and_the_others_are_named() {
    let of = |values: Vec<Value>| {
        let bodies = values
            .into_iter()
            .map(|value| json!({"v": value}).to_string());
        bodies.collect::<Vec<_>>().join("\n")
    };
    let with = |usual: Value, others: &[Value]| {
        let mut values = vec![usual; 20];
        values[2..2 + others.len()].clone_from_slice(others);
        of(values)
    };
    let cases = [
        (
            with(
                json!("2026-11-21T00:00:00Z"),
                &[json!("2026-11-21T00:00:00")],
            ),
            "timestamptz",
            "timestamptz: 19 of 20; line 3 has no offset",
        ),
        (
            with(json!(7), &[json!("n/a"), json!("7")]),
            "bigint",
            "bigint: 19 of 20; line 3 is not a number",
        ),
        (
            with(json!("2026-11-21"), &[json!(""), json!(5)]),
            "text",
            "only 18 of 20 are date",
        ),
        (
            with(json!("a"), &[json!({}), json!([])]),
            "text",
            "text: 18 of 20; line 4 is an array; line 3 is an object",
        ),
        (
            with(
                json!("2026-11-21"),
                &[json!("soon"), json!("late"), json!("never")],
            ),
            "text",
            "only 17 of 20 are date",
        ),
    ];
    for (lines, column_type, why) in cases {
        let mapping = inferred(&lines).await;
        let expected = format!("type = \"{column_type}\" }},  # {why}\n");
        assert!(mapping.contains(&expected), "{expected}: {mapping}");
    }
}

#[tokio::test]
async fn fields_that_are_unique_are_named_as_keys() {
    let message = |n: usize| {
        json!({"n": n, "at": "2026-11-21T00:00:00Z", "half": n as f64 / 3.0, "email": format!("{n}@example.com"),
        "id": format!("5e0d8f2a-0000-4000-8000-{n:012}"), "same": 1, "maybe": if n > 1 { Some(n) } else { None }})
    };
    let lines: Vec<String> = (1..=3).map(|n| message(n).to_string()).collect();
    let mapping = inferred(&lines.join("\n")).await;
    let keys: Vec<&str> = mapping
        .lines()
        .filter(|line| line.contains("key = "))
        .collect();
    let start = |line: &&str| line.split(" #").next().unwrap().trim().to_owned();
    let keys: Vec<String> = keys.iter().map(start).collect();
    let expected = [
        "key = [\"message_id\"]",
        "# key = [\"id\"]",
        "# key = [\"n\"]",
    ];
    assert_eq!(keys, expected);
}
