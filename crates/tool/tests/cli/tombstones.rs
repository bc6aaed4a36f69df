//! Tombstones: what `ddl`, `check`, `explain`, `drain` and `forget` make of deleted rows that remain.

use serde_json::json;

use crate::ddl::create;
use crate::tool::Tool;
use testkit::batch::Batch;
use testkit::sqs_double::SqsDouble;
use testkit::{Database, Setup, assert_contains};

/// Customers with their visits. Somebody's name is in the row of the customer alone.
const MAPPING: &str = r#"
[[table]]
name = "customers"
key = ["id"]
on_conflict = "update"
newer = "version"
delete_when = { op = "d" }
deleted = "deleted_at"
column = [
  { name = "id", type = "bigint", required = true },
  { name = "version", type = "bigint", required = true },
  { name = "name", type = "text", required = true },
  { name = "city", type = "text", null_if = ["n/a", 0], on_null = "keep" },
  { name = "stored_by", type = "text", from = "@sender_id" },
  { name = "message_id", type = "uuid", from = "@message_id" },
]

[[table]]
name = "visits"
parent = "customers"
each = "visits"
key = ["id", "visit"]
column = [
  { name = "id", type = "bigint", from = "^.id", required = true },
  { name = "visit", type = "integer", from = "@index" },
  { name = "day", type = "date", required = true },
]
"#;

/// The first table alone.
fn alone() -> &'static str {
    MAPPING.split("\n\n").next().unwrap()
}

const PUT: &str = r#"{"op": "c", "id": 1, "version": 1, "name": "Ada", "city": "n/a", "visits": [{"day": "2026-11-02"}]}"#;
const DELETION: &str = r#"{"op": "d", "id": 1, "version": 2}"#;

#[tokio::test]
async fn ddl_adds_the_column_and_writes_not_null_only_where_a_tombstone_has_a_value() {
    let database = Database::new().await;
    let tool = Tool::on(&database).mapping(MAPPING);
    let ddl = tool.run("ddl").await.exits(0).out;
    let customers = "CREATE TABLE \"customers\" (\n    \"id\" bigint NOT NULL,\n    \"version\" bigint NOT NULL,\n    \
        \"name\" text,\n    \"city\" text,\n    \"stored_by\" text,\n    \"message_id\" uuid,\n    \
        \"deleted_at\" timestamptz,\n    PRIMARY KEY (\"id\")\n);";
    assert_contains(&ddl, customers);
    assert_contains(&ddl, "\"day\" date NOT NULL");
    assert_contains(&ddl, "-- \"deleted_at\": when the row was deleted");
    create(&tool, &database).await;
    assert_eq!(tool.run("ddl --diff").await.exits(0).out, "");
    tool.run("check").await.exits(0);
}

#[tokio::test]
async fn a_table_from_before_gets_the_column_and_check_names_what_keeps_a_tombstone_out() {
    let database = Database::new().await;
    let before = alone().replace("deleted = \"deleted_at\"\n", "");
    create(&Tool::on(&database).mapping(&before), &database).await;
    database
        .execute("ALTER TABLE customers ADD region text NOT NULL; CREATE DOMAIN town AS text NOT NULL; ALTER TABLE customers ALTER city TYPE town")
        .await;
    let tool = Tool::on(&database).mapping(alone());
    let checked = tool.run("check").await.exits(2).out;
    for said in [
        "deleted_at",
        "ALTER TABLE \"customers\" ADD COLUMN \"deleted_at\" timestamptz;",
        "not null in the table, but a tombstone has no value for it: Postgres refuses deletions",
        "ALTER TABLE \"customers\" ALTER COLUMN \"name\" DROP NOT NULL;",
        "ALTER TABLE \"customers\" ALTER COLUMN \"message_id\" DROP NOT NULL;",
        "ALTER TABLE \"customers\" ALTER COLUMN \"region\" DROP NOT NULL;",
        "ALTER DOMAIN town DROP NOT NULL;",
    ] {
        assert_contains(&checked, said);
    }
    database.execute("ALTER DOMAIN town DROP NOT NULL").await;
    let plan = tool.run("ddl --diff").await.exits(0).out;
    assert!(!plan.contains("SET NOT NULL"), "{plan}");
    database.execute(&plan).await;
    tool.run("check").await.exits(0);
    let mut function = Setup::on(&database).mapping(alone()).start().await;
    let batch = Batch::new().text("d", DELETION);
    function.invoke(&batch.event()).await.assert_none_failed();
    assert_eq!(
        database
            .count("customers WHERE deleted_at IS NOT NULL")
            .await,
        1
    );
}

#[tokio::test]
async fn explain_shows_the_tombstone_and_what_a_missing_value_keeps() {
    let database = Database::new().await;
    let record = |body: &str| {
        let attributes = json!({"SentTimestamp": "1793610900000"});
        json!({"Records": [{"messageId": "00000000-0000-4000-8000-000000000001", "body": body, "attributes": attributes}]})
    };
    let input = format!("{}\n{}\n", record(PUT), record(DELETION));
    let tool = Tool::on(&database).mapping(MAPPING).input(&input);
    let explained = tool.run("explain --show-values").await.exits(0).out;
    let (put, deletion) = explained
        .split_once("a tombstone in \"customers\"")
        .unwrap();
    assert_contains(put, "a row of \"customers\"");
    assert_contains(put, "null, keeps a stored value: ");
    assert!(!put.contains("deleted_at"), "{put}");
    assert_contains(deletion, "2026-11-02 09:15:00+00");
    let (tombstone, _) = deletion.split_once("\n\n").unwrap();
    let names: Vec<_> = tombstone
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert_eq!(names, ["id", "version", "deleted_at"], "{tombstone}");
    let in_town = PUT.replace("n/a", "Bern");
    let stored = Tool::bare().mapping(MAPPING).input(&in_town);
    let stored = stored.run("explain").await.exits(0).out;
    assert_contains(&stored, "text from city, null if \"n/a\" or 0");
    let json = tool.run("explain --json").await.json();
    let [row, _] = &json[0]["rows"].as_array().unwrap()[..] else {
        panic!("{json:?}")
    };
    assert_eq!(
        (&row["deleted"], &row["tombstone"]),
        (&json!(false), &json!(null))
    );
    let city = &row["columns"][3];
    assert_eq!(
        (&city["null_if"], &city["on_null"]),
        (&json!(["n/a", 0]), &json!("keep"))
    );
    let row = &json[1]["rows"][0];
    assert_eq!(
        (&row["deleted"], &row["tombstone"]),
        (&json!(true), &json!(true))
    );
    let summary = tool.run("explain --summary").await.exits(0).out;
    assert_contains(&summary, "1 row of \"customers\", 1 tombstone\n");
    assert!(!summary.contains("deleted_at"), "{summary}");
    let alone = Tool::on(&database).mapping(alone()).input(&input);
    let json = &alone.run("explain --json --summary").await.json()[0];
    assert_eq!(
        (&json["deleted"], &json["tombstones"]),
        (&json!(1), &json!(1))
    );
    let json = alone.run("explain --json").await.json();
    assert_eq!(
        (&json[1]["deleted"], &json[1]["tombstone"]),
        (&json!(true), &json!(true))
    );
    assert_eq!(json[0]["deleted"], json!(null));
}

#[tokio::test]
async fn drain_counts_tombstones() {
    let database = Database::with_tables_of(MAPPING).await;
    let tool = Tool::on(&database).on_aws().mapping(MAPPING);
    let drain = async |bodies: &[&str], options: &str| {
        let double = SqsDouble::of(bodies.iter().map(|body| (*body).to_owned()).collect());
        let endpoint = &double.endpoint;
        let drain = format!("drain --queue-name double --endpoint-url {endpoint} {options}");
        tool.run(&drain).await.exits(0)
    };
    let said = drain(&[PUT, DELETION], "").await.out;
    assert_contains(&said, "; 1 tombstones written");
    let said = drain(&[DELETION, PUT], "--json").await.json();
    let counts = ["stored", "tombstones", "deleted", "stale"].map(|name| said[0][name].clone());
    assert_eq!(counts, [0, 1, 0, 1].map(|count| json!(count)));
}

/// The tombstone of their customer says no more whose visits they are.
#[tokio::test]
async fn forget_says_that_rows_below_tombstones_may_be_of_the_person_until_that_is_accepted() {
    let database = Database::with_tables_of(MAPPING).await;
    let mut function = Setup::on(&database).mapping(MAPPING).start().await;
    for body in [PUT, DELETION] {
        let batch = Batch::new().text("m", body);
        function.invoke(&batch.event()).await.assert_none_failed();
    }
    let forget = "forget --column name --json --yes --accept queue";
    let tool = Tool::on(&database).on_aws().mapping(MAPPING).input("Ada\n");
    let receipt = &tool.run(forget).await.exits(1).json()[0];
    let left = receipt["left"][0].as_str().unwrap();
    assert_contains(
        left,
        "1 row of \"visits\" below tombstones, in which name is null",
    );
    assert_contains(left, "--accept tombstones");
    let accepted = tool.run(&format!("{forget},tombstones")).await.exits(0);
    assert_contains(&accepted.out, "below tombstones");
    assert_eq!(database.count("visits").await, 1);
    // By the key they are found.
    let by_key = Tool::on(&database).on_aws().mapping(MAPPING).input("1\n");
    by_key
        .run("forget --column id --yes --accept queue")
        .await
        .exits(0);
    assert_eq!(
        database.count("visits").await + database.count("customers").await,
        0
    );
}
