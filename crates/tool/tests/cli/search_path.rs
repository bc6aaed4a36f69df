//! Another role may create objects in a schema of the search path: no command uses them, and `check` warns.

use crate::remask::{old, ring};
use crate::tool::Tool;
use testkit::aws::Secret;
use testkit::extensions::{CASELESS_TYPES, ignoring_case};
use testkit::hostile_path::hostile_schema;
use testkit::{Database, MASK_KEY, Mapping, assert_contains};

/// A parent with a masked column, a child, and a table that is partitioned.
const MAPPING: &str = r#"
[[table]]
name = "people"
when = { kind = "person" }
key = ["email", "region"]
on_conflict = "update"
newer = "version"
column = [
  { name = "email", type = "varchar(80)", required = true },
  { name = "region", type = "integer", required = true },
  { name = "version", type = "integer" },
  { name = "name", type = "text", mask = "aes-siv" },
  { name = "key_id", type = "text", from = "@mask_key_id" },
]

[[table]]
name = "visits"
parent = "people"
each = "visits"
key = ["email", "region", "visit"]
column = [
  { name = "email", type = "varchar(80)", from = "^.email", required = true },
  { name = "region", type = "integer", from = "^.region", required = true },
  { name = "visit", type = "integer", from = "@index" },
  { name = "badge", type = "text" },
]

[[table]]
name = "events"
when = { kind = "event" }
key = ["day", "id"]
column = [
  { name = "day", type = "date", required = true },
  { name = "id", type = "uuid", from = "@message_id" },
]
"#;

async fn with_tables() -> Database {
    let database = Database::new().await;
    let ddl = Tool::on(&database).mapping(MAPPING).run("ddl").await;
    database.execute(&ddl.out).await;
    let token = old("Ada");
    database
        .execute(&format!(
            "DROP TABLE events; CREATE TABLE events (day date NOT NULL, id uuid NOT NULL, PRIMARY KEY (day, id)) PARTITION BY RANGE (day);
             CREATE TABLE events_now PARTITION OF events FOR VALUES FROM ('2000-01-01') TO ('2100-01-01');
             CREATE UNIQUE INDEX strict ON visits (badge);
             CREATE TABLE badges (email varchar(80), region integer, FOREIGN KEY (email, region) REFERENCES people);
             INSERT INTO people VALUES ('ada@example.org', 1, 1, '{token}', ''), ('ada@example.org', 2, 1, '{token}', ''), ('bob@example.org', 1, 1, '{token}', '');
             INSERT INTO visits VALUES ('ada@example.org', 1, 0), ('bob@example.org', 1, 0);
             INSERT INTO badges VALUES ('ada@example.org', 1)"
        ))
        .await;
    database
}

/// An output without the names of temporary files, and times.
fn lasting(out: &str) -> String {
    let words = out.split_inclusive(char::is_whitespace);
    let passing = |word: &&str| !word.contains(".toml:") && !word.starts_with("20");
    words.filter(passing).collect()
}

#[tokio::test]
async fn no_command_uses_a_function_or_operator_of_the_search_path() {
    let (database, hostile) = (with_tables().await, hostile_schema().await);
    let secret = Secret::new(&ring().to_string()).await;
    let tool = || {
        let tool = Tool::bare().on_aws().mapping(MAPPING);
        let tool = tool.set("MASK_SECRET_ID", &secret.id);
        tool.input("ada@example.org\n")
    };
    let plain = tool().set("DATABASE_URL", &database.url());
    let tool = tool().set("DATABASE_URL", &database.url_behind(&hostile));
    for command in ["check", "ddl --diff", "forget --column email"] {
        let (expected, ended) = (plain.run(command).await, tool.run(command).await);
        let [out, expected_out] = [&ended.out, &expected.out].map(|out| lasting(out));
        assert_eq!(out, expected_out, "{command}: {}", ended.err);
        assert_eq!(ended.code, expected.code, "{command}");
    }
    tool.run("remask --rate 1").await.exits(0);
    assert_eq!(database.count("people WHERE name LIKE '2026.%'").await, 3);
    let refused = tool.run("forget --column email --yes").await;
    assert_contains(&refused.out, "badges");
    database.execute("DELETE FROM badges").await;
    let forgotten = tool.run("forget --column email --yes").await;
    assert_eq!(database.count("people").await, 1, "{}", forgotten.err);
    assert_eq!(database.count("visits").await, 1);
}

#[tokio::test]
async fn check_warns_of_a_schema_of_the_search_path_in_which_others_may_create() {
    let database = with_tables().await;
    let tool = Tool::on(&database).mapping(MAPPING);
    let schema = &database.schema;
    let warning = async || {
        let lines = tool.run("check --json").await.json();
        let line = lines
            .into_iter()
            .find(|line| line["check"] == "search path");
        line.map(|line| (line["status"].clone(), line["fix"].clone()))
    };
    assert_eq!(warning().await, None);
    let grant = format!("GRANT CREATE ON SCHEMA {schema} TO PUBLIC");
    database.execute(&grant).await;
    let (status, fix) = warning().await.unwrap();
    let revoke = format!("REVOKE CREATE ON SCHEMA {schema} FROM PUBLIC;");
    assert_eq!((status, fix.clone()), ("warning".into(), revoke.into()));
    database.execute(fix.as_str().unwrap()).await;
    assert_eq!(warning().await, None);
}

#[tokio::test]
async fn check_names_a_unique_index_whose_values_siblings_cannot_exchange() {
    let database = with_tables().await;
    let tool = Tool::on(&database).mapping(MAPPING);
    let constraint = "ALTER TABLE visits ADD CONSTRAINT once UNIQUE (badge, region)";
    database.execute(constraint).await;
    let fixes = async || {
        let lines = tool.run("check --json").await.json();
        let lines = lines.into_iter().filter(|line| line["check"] == "siblings");
        let fixes = lines.map(|line| line["fix"].as_str().unwrap().to_owned());
        fixes.collect::<Vec<_>>()
    };
    let found = fixes().await;
    let expected = [
        "ALTER TABLE \"visits\" DROP CONSTRAINT \"once\", ADD CONSTRAINT \"once\" UNIQUE (badge, region) DEFERRABLE;",
        "ALTER TABLE \"visits\" ADD CONSTRAINT \"strict\" UNIQUE USING INDEX \"strict\" DEFERRABLE;",
    ];
    assert_eq!(found, expected);
    for fix in found {
        database.execute(&fix).await;
    }
    assert_eq!(fixes().await, [""; 0]);
    database
        .execute("CREATE UNIQUE INDEX few ON visits (badge) WHERE visit > 5")
        .await;
    assert!(fixes().await.concat().starts_with("replace it"));
}

#[tokio::test]
async fn a_person_is_found_by_what_the_type_of_the_column_counts_as_equal() {
    let database = with_tables().await;
    database
        .execute(
            "DROP TABLE badges; ALTER TABLE visits DROP CONSTRAINT visits_email_region_fkey; \
             ALTER TABLE people ALTER email TYPE char(20); ALTER TABLE visits ALTER email TYPE char(20)",
        )
        .await;
    let tool = Tool::on(&database)
        .mapping(MAPPING)
        .input("ada@example.org \n");
    let forgotten = tool.run("forget --column email --yes").await;
    assert_eq!(database.count("people").await, 1, "{}", forgotten.err);
    assert_eq!(database.count("visits").await, 1, "{}", forgotten.err);
}

#[tokio::test]
async fn a_person_is_found_in_any_case_where_the_type_or_the_collation_ignores_it() {
    let Some((server, client)) = ignoring_case().await else {
        return;
    };
    let mapping = Mapping::of("people").key("email").column("email", "text");
    let mapping = mapping.with("required", true);
    for key_type in CASELESS_TYPES {
        client
            .batch_execute(&format!(
                "DROP TABLE IF EXISTS people; CREATE TABLE people (email {key_type} PRIMARY KEY); \
                 INSERT INTO people VALUES ('Ada@example.org'), ('bob@example.org')"
            ))
            .await
            .unwrap();
        let tool = Tool::bare()
            .set("DATABASE_URL", &server.url())
            .set("MASK_KEY", MASK_KEY)
            .mapping(&mapping)
            .input("ada@EXAMPLE.org\n");
        let forgotten = tool.run("forget --column email --yes").await;
        let rows = client.query("SELECT email::text FROM people", &[]).await;
        let left: Vec<String> = rows.unwrap().iter().map(|row| row.get(0)).collect();
        assert_eq!(left, ["bob@example.org"], "{key_type}: {}", forgotten.err);
    }
}
