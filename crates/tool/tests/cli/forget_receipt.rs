//! What a receipt of `forget` names, and what Postgres's log and statistics do not contain.

use serde_json::{Value, json};

use crate::forget::{ADA, ADA_AS_TYPED, Stand, silent};
use testkit::{Database, assert_contains, database_name, server_address, superuser};

#[tokio::test]
async fn the_receipt_says_where_with_what_and_what_was_not_searched() {
    let stand = Stand::new().await;
    let done = stand.forget("--json").await;
    let receipt = &done.json()[0];
    let address = server_address();
    let database = json!({
        "host": receipt["database"]["host"], "port": address.port(), "name": database_name(), "role": superuser().0,
    });
    assert_eq!(receipt["database"], database);
    assert!(!receipt["database"]["host"].as_str().unwrap().is_empty());
    for table in receipt["tables"].as_array().unwrap() {
        assert_eq!(table["schema"], json!(stand.database.schema));
    }
    assert_eq!(receipt["mapping_digest"].as_str().unwrap().len(), 16);
    assert_eq!(receipt["mask_key_ids"], json!(["2026", ""]));
    assert_eq!(receipt["version"], env!("CARGO_PKG_VERSION"));
    let queue = stand.queue.arn.rsplit(':').next().unwrap();
    assert_eq!(receipt["queue"], json!({"queue": queue, "messages": 0}));
    let text = stand.forget("").await;
    for part in [
        format!("\"orders\" in schema {}", stand.database.schema),
        format!("database {} on ", database_name()),
        "with mapping ".to_owned() + receipt["mapping_digest"].as_str().unwrap(),
        "mask keys \"2026\", \"\"".to_owned(),
        "not searched: other columns of \"orders\": key_id (another column in plaintext)"
            .to_owned(),
    ] {
        assert!(text.out.contains(&part), "{part}: {}", text.out);
    }
}

/// A table that no row of a person belongs to, and columns of every kind.
const WIDE: &str = r#"
[[table]]
name = "visits"
key = ["id"]
column = [
  { name = "id", type = "uuid", from = "@message_id" },
  { name = "user_id", type = "text" },
  { name = "rest", type = "jsonb", from = "@rest" },
  { name = "device", type = "text", mask = "sha256" },
]
[[table]]
name = "events"
when = { kind = "event" }
key = ["id"]
column = [{ name = "id", type = "uuid", from = "@message_id" }]
"#;

#[tokio::test]
async fn tables_and_columns_that_were_not_searched_are_named_with_the_reason() {
    let database = Database::with_tables_of(WIDE).await;
    let tool = crate::tool::Tool::on(&database).mapping(WIDE).input(ADA);
    let done = silent(
        tool.run("forget --column user_id --json --accept queue")
            .await,
    );
    let expected = json!([
        {"table": "\"visits\"", "why": null, "columns": [
            {"column": "rest", "why": "a nested value"}, {"column": "device", "why": "another masked column"},
        ]},
        {"table": "\"events\"", "why": "it has no such column", "columns": []},
    ]);
    assert_eq!(done.json()[0]["not_searched"], expected, "{}", done.err);
}

#[tokio::test]
async fn two_spellings_of_a_person_have_the_same_digest() {
    let stand = Stand::new().await;
    let digest = async |value: &str| {
        let tool = stand.tool().input(value);
        let done = tool.run(&stand.command("--json")).await;
        done.json()[0]["digests"][0].clone()
    };
    let digests = [digest(ADA).await, digest(ADA_AS_TYPED).await];
    assert_eq!(digests[0], digests[1]);
    assert_ne!(digests[0], digest("bob").await);
}

#[tokio::test]
async fn plans_and_audits_that_would_log_a_value_are_switched_off_or_refused() {
    let stand = Stand::new().await;
    let role = stand.database.role("p").await;
    let url = stand.database.url_as(&role, "p", server_address());
    for (setting, value, fix) in [
        ("auto_explain.log_min_duration", "0", "-1"),
        ("auto_explain.log_min_duration", "100ms", "-1"),
        ("pgaudit.log_parameter", "on", "off"),
    ] {
        let logging = format!("%20-c%20{setting}%3D{value}");
        let tool = stand.tool_at(&format!("{url}{logging}")).input(ADA);
        let refused = silent(tool.run(&stand.command("--yes")).await);
        let fix = format!("ALTER ROLE \"{role}\" SET {setting} = {fix};");
        assert!(
            refused.code == 2 && refused.err.contains(&fix),
            "{}{}",
            refused.out,
            refused.err
        );
        // A superuser switches it off.
        let url = stand.database.url() + &logging;
        let tool = stand.tool_at(&url).input(ADA);
        let found = silent(tool.run(&stand.command("")).await);
        assert_eq!(found.code, 0, "{setting}: {}", found.err);
    }
}

async fn statistics(stand: &Stand) -> Vec<Vec<String>> {
    let sql = format!(
        "SELECT most_common_vals::text FROM pg_stats WHERE schemaname = '{}' AND tablename = 'visits' AND attname = 'user_id'",
        stand.database.schema
    );
    stand.database.rows(&sql).await
}

#[tokio::test]
async fn the_statistics_of_postgres_lose_the_value_too_or_the_statement_is_named() {
    let stand = Stand::new().await;
    let many = format!(
        "INSERT INTO visits SELECT gen_random_uuid(), '{ADA}' FROM generate_series(1, 50); ANALYZE visits"
    );
    stand.database.execute(&many).await;
    assert!(statistics(&stand).await.concat().concat().contains(ADA));
    let role = stand.database.role("p").await;
    let url = stand.database.url_as(&role, "p", server_address());
    let tool = stand.tool_at(&url).input(ADA);
    let done = silent(tool.run(&stand.command("--yes --json")).await);
    let analyze = &done.json()[0]["analyze"];
    assert!(
        analyze
            .as_array()
            .unwrap()
            .contains(&json!("ANALYZE \"visits\";")),
        "{analyze}"
    );
    assert_contains(&done.err, "have the owner of the table run");
    stand.database.execute(&many).await;
    let done = stand.forget("--yes --json").await;
    assert_eq!(done.json()[0]["analyze"], Value::Array(Vec::new()));
    assert!(!statistics(&stand).await.concat().concat().contains(ADA));
    // Postgres keeps the statistics of an empty table.
    let alone = format!("TRUNCATE visits; {many}");
    stand.database.execute(&alone).await;
    let done = stand.forget("--yes --json").await;
    assert!(statistics(&stand).await.concat().concat().contains(ADA));
    assert_eq!(done.json()[0]["analyze"], json!(["ANALYZE \"visits\";"]));
}
