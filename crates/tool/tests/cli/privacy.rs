//! `explain --privacy`: the map of personal data, without a value.

use serde_json::{Value, json};

use crate::tool::Tool;
use testkit::{TempFile, assert_contains};

const CANARY: &str = "c4n4ry";

const WIDTH: usize = 80;

const MAPPING: &str = r#"
[[table]]
name = "people"
key = ["message_id"]
column = [
  { name = "message_id", type = "uuid", from = "@message_id" },
  { name = "masked_ip", type = "text", from = "client.ip", transform = ["ip"], mask = "hmac-sha256" },
  { name = "client", type = "jsonb", clear = true },
  { name = "contact", type = "text", from = ["customer.phone", "customer.contact.telephone_numbers.home.0"] },
  { name = "has_phone", type = "boolean", from = "phone" },
  { name = "plan", type = "text" },
  { name = "note", type = "text" },
  { name = "settings", type = "jsonb" },
  { name = "tags", type = "text[]" },
]

[[table]]
name = "orders_recipients"
parent = "people"
each = "mail.recipients"
key = ["message_id", "line"]
column = [
  { name = "message_id", type = "uuid", from = "@message_id" },
  { name = "line", type = "integer", from = "@index" },
  { name = "plan", type = "text", from = "^.plan" },
]
"#;

/// Table, column, state and reason of each column on the map.
fn entries(map: &Value) -> Vec<[String; 4]> {
    let columns = map["columns"].as_array().unwrap();
    let text = |column: &Value, key: &str| column[key].as_str().unwrap().to_owned();
    let entry = |column: &Value| ["table", "column", "state", "why"].map(|key| text(column, key));
    columns.iter().map(entry).collect()
}

async fn map_of(mapping: &str, samples: &str) -> Value {
    let tool = Tool::bare().mapping(mapping);
    let map = tool
        .run(&format!("explain --privacy --json {samples}"))
        .await;
    assert!(!(map.out.clone() + &map.err).contains(CANARY));
    map.json().remove(0)
}

#[tokio::test]
async fn the_mapping_alone_says_what_is_masked_in_plaintext_on_purpose_or_looks_personal() {
    let map = map_of(MAPPING, "").await;
    let expected = [
        ["people", "masked_ip", "masked", ""],
        [
            "people",
            "client",
            "plaintext",
            "on purpose, although \"masked_ip\" is masked",
        ],
        [
            "people",
            "contact",
            "not_masked",
            "its name suggests a phone number",
        ],
        ["people", "settings", "unknown", "it may hold anything"],
    ];
    assert_eq!(
        entries(&map),
        expected.map(|entry| entry.map(str::to_owned))
    );
    assert_eq!((&map["others"], &map["messages"]), (&json!(8), &json!(0)));
    let masked = &map["columns"][0];
    assert_eq!(
        (&masked["mask"], &masked["from"]),
        (&json!("hmac-sha256"), &json!(["client.ip"]))
    );
}

#[tokio::test]
async fn the_values_of_samples_show_what_the_names_hide() {
    let sample = json!({"plan": "basic", "note": format!("{CANARY}@example.org"), "tags": ["new", format!("{CANARY}@example.net")],
        "settings": {"deep": [{"of": format!("write to <{CANARY}@example.com>")}]}, "mail": {"recipients": ["x"]}});
    let file = TempFile::new(&format!("{sample}\n[]\n"));
    let map = map_of(MAPPING, &file.0.display().to_string()).await;
    let found = entries(&map);
    let reason = "1 of 1 values look like an e-mail address";
    for (column, why) in [
        ("note", reason),
        ("tags", "1 of 2 values look like an e-mail address"),
        (
            "settings",
            "something within it looks like an e-mail address",
        ),
    ] {
        let expected = ["people", column, "not_masked", why].map(str::to_owned);
        assert!(found.contains(&expected), "{found:?}");
    }
    assert!(!found.iter().any(|[_, column, ..]| column == "plan"));
    assert_eq!((&map["messages"], &map["rejected"]), (&json!(2), &json!(1)));
}

#[tokio::test]
async fn a_type_of_the_database_may_hold_anything() {
    let column = r#"{ name = "settings", type = "text", cast = "shop.settings" }"#;
    let mapping = MAPPING.replace(r#"{ name = "settings", type = "jsonb" }"#, column);
    let settings = |state: &str, why: &str| ["people", "settings", state, why].map(str::to_owned);
    let found = entries(&map_of(&mapping, "").await);
    assert!(
        found.contains(&settings("unknown", "it may hold anything")),
        "{found:?}"
    );
    let address = format!("{CANARY}@example.org");
    for (value, why) in [
        (
            json!({"of": address}),
            "something within it looks like an e-mail address",
        ),
        (json!(address), "1 of 1 values look like an e-mail address"),
    ] {
        let file = TempFile::new(&json!({"settings": value}).to_string());
        let found = entries(&map_of(&mapping, &file.0.display().to_string()).await);
        assert!(found.contains(&settings("not_masked", why)), "{found:?}");
    }
}

#[tokio::test]
async fn values_of_rejected_messages_are_not_passed_over_in_silence() {
    let file = TempFile::new("{}\n[]\n");
    let tool = Tool::bare().mapping(MAPPING);
    let map = tool
        .run(&format!("explain --privacy {}", file.0.display()))
        .await
        .exits(1);
    assert_contains(&map.err, "1 of 2 messages are rejected");
}

#[tokio::test]
async fn the_map_fits_into_a_terminal_of_80_columns() {
    let map = Tool::bare().mapping(MAPPING).run("explain --privacy").await;
    let reference = include_str!("../../../../docs/CLI.md");
    let (_, section) = reference.split_once("**Personal data.**").unwrap();
    let shown = section.split("```text\n").nth(1).unwrap();
    let expected = shown.split("```").next().unwrap();
    assert_eq!((map.code, map.out.as_str()), (0, expected));
    for name in ["shopify", "github", "ses", "audit", "debezium"] {
        let file = format!("{}/examples/{name}.toml", testkit::ROOT);
        let map = Tool::bare()
            .run(&format!("explain --privacy --pipeline {file}"))
            .await
            .exits(0);
        let widest = map.out.lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(WIDTH), "{}", map.out);
    }
}

#[tokio::test]
async fn a_name_that_a_terminal_would_obey_is_escaped() {
    let mapping = "table = \"t\"\nkey = [\"id\"]\ncolumn = [{ name = \"id\", type = \"text\", required = true },\n\
        { name = \"e-mail\\u001b[2J\\n\", type = \"text\", from = \"a\\u001bb\" }]";
    let map = Tool::bare()
        .mapping(mapping)
        .run("explain --privacy")
        .await
        .exits(0);
    assert_contains(&map.out, "e-mail\\u{1b}[2J\\n");
    assert_contains(&map.out, "from a\\u{1b}b: its name suggests");
    assert!(!map.out.contains('\u{1b}'));
}
