//! `check` of what only samples or stored rows show: a mapping that loses messages, and values from before a mask.

use serde_json::json;

use crate::check::complaints;
use crate::ddl::create;
use crate::tool::Tool;
use testkit::{Database, Mapping, TempFile};

#[tokio::test]
async fn samples_show_that_a_mapping_loses_messages() {
    let mapping = |key: &str| {
        let mapping = Mapping::of("t").key(key).column("id", "bigint");
        let mapping = mapping.with("required", true).column("status", "text");
        mapping.with("required", true)
    };
    let states = ["paid", "pending"];
    let order = |n: usize| json!({"id": n, "status": states[n % 2]}).to_string();
    let orders: Vec<String> = (0..10).map(order).collect();
    let samples = TempFile::new(&orders.join("\n"));
    let bad = TempFile::new("{\"id\": 7}");
    for (key, found) in [
        ("id", vec![]),
        (
            "status",
            vec![(
                "samples".to_owned(),
                "failure".to_owned(),
                "key (status): 2 different keys in 10 messages: 8 would not be stored (line 1 and line 3 have the same) \
                 add the columns that distinguish them to key, or set on_conflict = \"update\" if the last one should win"
                    .to_owned(),
            )],
        ),
    ] {
        let database = Database::new().await;
        let tool = Tool::on(&database).mapping(&mapping(key));
        create(&tool, &database).await;
        let command = format!("check --json --samples {}", samples.0.display());
        let check = tool.run(&command).await;
        let code = if found.is_empty() { 0 } else { 2 };
        assert_eq!((complaints(&check), check.code), (found, code), "{}", check.out);
        assert!(check.out.contains("10 messages: 10 rows, 0 rejected, 0 without a row"));
        let rejected = format!("check --json --samples {}", bad.0.display());
        let rejected = complaints(&tool.run(&rejected).await);
        assert_eq!(rejected[0].1, "failure", "{rejected:?}");
        assert!(rejected[0].2.contains("1 rejected"), "{rejected:?}");
    }
}

#[tokio::test]
async fn values_from_before_a_column_was_masked_are_counted() {
    for (mask, token) in [
        ("sha256", "ab".repeat(32)),
        ("sha512", "ab".repeat(64)),
        ("hmac-sha256", "ab".repeat(32)),
    ] {
        let database = Database::new().await;
        let mapping = Mapping::of("t").key("id").column("id", "bigint");
        let mapping = mapping.with("required", true).column("ip", "text");
        let tool = Tool::on(&database).mapping(&mapping.with("mask", mask));
        create(&tool, &database).await;
        let insert = format!("INSERT INTO t SELECT n, '{token}' FROM generate_series(1, 40) n");
        database.execute(&insert).await;
        database.execute("INSERT INTO t VALUES (0, NULL)").await;
        let tokens = |found: Vec<(String, String, String)>| {
            let mut found = found.into_iter().filter(|(name, ..)| name == "tokens");
            found.next().map(|(_, status, said)| (status, said))
        };
        assert_eq!(tokens(complaints(&tool.run("check --json").await)), None);
        // One is as long as a token, and one is a token in other letters.
        let values = [
            "192.0.2.1".to_owned(),
            "x".repeat(token.len()),
            token.to_uppercase(),
        ];
        for (value, id) in values.iter().zip(50..) {
            let insert = format!("INSERT INTO t VALUES ({id}, '{value}')");
            database.execute(&insert).await;
        }
        let check = tool.run("check --json").await;
        let expected = format!(
            "column ip: 3 of 43 rows are not tokens of {mask} mask these values as the mapping does, or delete the rows"
        );
        let found = tokens(complaints(&check));
        assert_eq!(
            found,
            Some(("warning".to_owned(), expected)),
            "{}",
            check.out
        );
        assert!(!check.out.contains("192.0.2.1"));
    }
}

#[tokio::test]
async fn rows_with_elements_from_before_an_array_was_masked_are_counted() {
    let database = Database::new().await;
    let mapping = Mapping::of("t").key("id").column("id", "bigint");
    let mapping = mapping.with("required", true).column("ips", "text[]");
    let tool = Tool::on(&database).mapping(&mapping.with("mask", "sha256"));
    create(&tool, &database).await;
    let token = "ab".repeat(32);
    let arrays = [
        format!("'{{{token},NULL,{token}}}'"),
        "'{}'".to_owned(),
        "NULL".to_owned(),
    ];
    for (array, id) in arrays.iter().zip(1..) {
        let insert = format!("INSERT INTO t VALUES ({id}, {array})");
        database.execute(&insert).await;
    }
    let tokens = |found: Vec<(String, String, String)>| {
        let mut found = found.into_iter().filter(|(name, ..)| name == "tokens");
        found.next().map(|(_, status, said)| (status, said))
    };
    assert_eq!(tokens(complaints(&tool.run("check --json").await)), None);
    let before = format!("INSERT INTO t VALUES (9, '{{{token},192.0.2.1,192.0.2.2}}')");
    database.execute(&before).await;
    let check = tool.run("check --json").await;
    let expected = "column ips: 1 of 3 rows has elements that are not tokens of sha256 mask these values as the mapping does, or delete the rows";
    let expected = Some(("warning".to_owned(), expected.to_owned()));
    assert_eq!(tokens(complaints(&check)), expected, "{}", check.out);
    assert!(!check.out.contains("192.0.2.1"));
}
