//! `ddl --history`: the view of every version of a key, from when until when it is valid.

use fastrand::Rng;

use crate::tool::Tool;
use testkit::batch::Batch;
use testkit::hostile_path::hostile_schema;
use testkit::{Database, Setup, assert_contains};

const ORDERS: usize = 6;

/// The mapping of the example in the schema of the test.
fn example() -> String {
    include_str!("../../../../examples/history.toml").replace("\"shop.", "\"")
}

/// The section of the reference.
fn reference() -> &'static str {
    let mapping = include_str!("../../../../docs/MAPPING.md");
    let (_, section) = mapping.split_once("\n## History\n").unwrap();
    section.split("\n## ").next().unwrap()
}

/// Its blocks of a language.
fn shown(language: &str) -> Vec<&'static str> {
    let opening = format!("```{language}\n");
    let mut parts = reference().split(opening.as_str());
    parts.next();
    parts
        .map(|part| part.split("```").next().unwrap())
        .collect()
}

/// A database with the table of a mapping and its view.
async fn with_view(mapping: &str, history: &str) -> Database {
    let database = Database::new().await;
    let tool = Tool::on(&database).mapping(mapping);
    database.execute(&tool.run("ddl").await.out).await;
    let view = tool.run(history).await.exits(0);
    database.execute(&view.out).await;
    database.execute("SET TIME ZONE 'UTC'").await;
    database
}

/// The cells of the rows that psql draws.
fn cells(drawn: &str) -> Vec<Vec<String>> {
    let lines = drawn.lines().skip(2);
    let cells = lines.map(|line| line.split('|').map(|cell| cell.trim().to_owned()));
    cells.map(Iterator::collect).collect()
}

/// The rows of the query of the reference, as psql shows their cells.
async fn history(database: &Database) -> Vec<Vec<String>> {
    let query = shown("sql")[1].replace("shop.", "");
    let query = query.trim().strip_prefix("SELECT ").unwrap();
    let (columns, from) = query.trim_end_matches(';').split_once("\nFROM ").unwrap();
    let texts = columns
        .split(", ")
        .map(|name| format!("format('%s', {name})"));
    let texts = texts.collect::<Vec<_>>().join(", ");
    database.rows(&format!("SELECT {texts} FROM {from}")).await
}

#[tokio::test]
async fn the_history_of_the_reference_is_the_same_in_any_order_of_arrival() {
    let database = with_view(&example(), "ddl --history").await;
    let mut function = Setup::on(&database).mapping(&example()).start().await;
    let messages = include_str!("../../../../examples/history.jsonl");
    let mut messages: Vec<_> = messages.lines().collect();
    let expected = cells(shown("text")[0]);
    let mut random = Rng::with_seed(32);
    for _ in 0..ORDERS {
        random.shuffle(&mut messages);
        let size = random.usize(1..=messages.len());
        for part in messages.chunks(size) {
            let number = |(at, message): (usize, &&str)| (at.to_string(), message.to_string());
            let batch = part.iter().enumerate().map(number);
            let batch = batch.fold(Batch::new(), |batch, (name, message)| {
                batch.text(&name, &message)
            });
            function.invoke(&batch.event()).await;
        }
        assert_eq!(history(&database).await, expected, "{messages:?}");
        database.execute("TRUNCATE subscriptions").await;
    }
}

#[tokio::test]
async fn the_view_of_the_reference_is_what_the_tool_prints() {
    let file = format!("{}/examples/history.toml", testkit::ROOT);
    let printed = Tool::bare()
        .run(&format!("ddl --history --pipeline {file}"))
        .await
        .exits(0);
    assert_eq!(printed.out, shown("sql")[0]);
    let mapping = include_str!("../../../../examples/history.toml");
    let without_comment = mapping.lines().skip_while(|line| line.starts_with('#'));
    let without_comment: Vec<_> = without_comment.collect();
    assert_eq!(shown("toml")[0].trim(), without_comment.join("\n").trim());
}

#[tokio::test]
async fn at_any_time_the_newest_version_that_has_begun_is_the_only_valid_one() {
    let database = with_view(&example(), "ddl --history").await;
    // Times that do not increase with the versions, and equal ones.
    database
        .execute(
            "SELECT setseed(0.32);
             INSERT INTO subscriptions SELECT 's-' || s, v, timestamptz '2026-01-01Z' + floor(random() * 40) * interval '1 day', NULL, 'p', v, 'active'
             FROM generate_series(1, 50) AS s, generate_series(1, 8) AS v WHERE random() < 0.8",
        )
        .await;
    assert!(database.count("subscriptions").await > 200);
    let wrong = "generate_series(timestamptz '2025-12-31Z', '2026-02-15Z', '12 hours') AS t, (SELECT DISTINCT subscription FROM subscriptions) AS s
         WHERE (SELECT array_agg(version) FROM subscriptions_history AS h
                WHERE h.subscription = s.subscription AND valid_from <= t AND (valid_to > t OR valid_to IS NULL))
             IS DISTINCT FROM (SELECT array_agg(version) FROM (SELECT version FROM subscriptions AS b
                WHERE b.subscription = s.subscription AND changed_at <= t ORDER BY version DESC LIMIT 1) AS newest)";
    assert_eq!(database.count(wrong).await, 0);
    let not_current = "subscriptions_history AS h WHERE is_current <> (version = (SELECT max(version) FROM subscriptions AS b WHERE b.subscription = h.subscription))
         OR is_current <> (valid_to IS NULL) OR valid_to < valid_from";
    assert_eq!(database.count(not_current).await, 0);
}

#[tokio::test]
async fn the_view_can_be_created_again_and_has_a_column_that_was_added() {
    let database = with_view(&example(), "ddl --history").await;
    let longer = example().replace("\n]", "\n  { name = \"country\", type = \"text\" },\n]");
    let tool = Tool::on(&database).mapping(&longer);
    let change = tool.run("ddl --diff").await.exits(0);
    database.execute(&change.out).await;
    let view = tool.run("ddl --history").await.exits(0).out;
    for _ in 0..2 {
        database.execute(&view).await;
    }
    let columns = "SELECT string_agg(attname, ' ' ORDER BY attnum)::text FROM pg_attribute WHERE attrelid = 'subscriptions_history'::regclass";
    let expected = "subscription version valid_from valid_to is_current changed_at email plan seats status country";
    assert_eq!(database.rows(columns).await, [[expected]]);
    assert_eq!(tool.run("ddl --diff").await.exits(0).out, "");
    assert_eq!(tool.run("check").await.code, 0);
}

#[tokio::test]
async fn the_view_uses_no_function_or_operator_of_the_search_path() {
    let (database, hostile) = (Database::new().await, hostile_schema().await);
    let tool = Tool::bare().mapping(&example());
    database.execute(&tool.run("ddl").await.out).await;
    let rows = "INSERT INTO subscriptions VALUES ('s', 1, '2026-01-01Z', NULL, 'p', 1, ''), ('s', 2, '2026-02-01Z', NULL, 'p', 1, '')";
    database.execute(rows).await;
    let view = tool.run("ddl --history").await.out;
    let (schema, behind) = (&database.schema, &hostile.schema);
    let path = format!("SET search_path = {behind}, {schema}");
    let create = view.replace(
        "\"subscriptions_history\"",
        &format!("{schema}.\"history\""),
    );
    database
        .execute(&format!("{path}; {create} SET search_path = {schema}"))
        .await;
    assert_eq!(database.count("history WHERE is_current").await, 1);
    assert_eq!(database.count("history WHERE valid_to IS NULL").await, 1);
}

#[tokio::test]
async fn a_person_who_is_forgotten_has_no_history() {
    let database = with_view(&example(), "ddl --history").await;
    let mut function = Setup::on(&database).mapping(&example()).start().await;
    let messages = include_str!("../../../../examples/history.jsonl").lines();
    let batch = messages
        .enumerate()
        .fold(Batch::new(), |batch, (at, message)| {
            batch.text(&at.to_string(), message)
        });
    function.invoke(&batch.event()).await;
    let tool = Tool::on(&database).mapping(&example());
    let accept = "--yes --accept hashes,queue";
    let by_address = tool.input("Noah@example.org\n");
    let forget = format!("forget --column email {accept}");
    by_address.run(&forget).await.exits(0);
    let of = async |name: &str| {
        let rows = format!("subscriptions_history WHERE subscription = '{name}'");
        database.count(&rows).await
    };
    assert_eq!((of("s-42").await, of("s-41").await), (0, 4));
    // She has changed her address: it is not that of every version.
    let by_key = Tool::on(&database).mapping(&example()).input("s-41\n");
    let forget = format!("forget --column subscription {accept}");
    by_key.run(&forget).await.exits(0);
    assert_eq!(database.count("subscriptions_history").await, 0);
    assert_eq!(database.count("subscriptions").await, 0);
}

/// A mapping of versions by time, of versions by number with two times, and of what has none.
const SEVERAL: &str = r#"
unmatched = "skip"
[[table]]
name = "prices"
when = { kind = "price" }
key = ["sku", "valid_from"]
column = [
  { name = "sku", type = "text", required = true },
  { name = "valid_from", type = "date", required = true },
  { name = "price", type = "numeric(12,2)" },
]
[[table]]
name = "contracts"
when = { kind = "contract" }
key = ["region", "id", "revision"]
column = [
  { name = "region", type = "text", required = true },
  { name = "id", type = "bigint", required = true },
  { name = "revision", type = "bigint", required = true },
  { name = "signed_at", type = "timestamptz", required = true },
  { name = "received_at", type = "timestamptz", from = "@sent_at" },
  { name = "ended_at", type = "timestamptz" },
]
[[table]]
name = "clauses"
parent = "contracts"
each = "clauses"
key = ["region", "id", "revision", "line"]
column = [
  { name = "region", type = "text", from = "^.region", required = true },
  { name = "id", type = "bigint", from = "^.id", required = true },
  { name = "revision", type = "bigint", from = "^.revision", required = true },
  { name = "line", type = "integer", from = "@index" },
  { name = "changed_at", type = "timestamptz", required = true },
]
[[table]]
name = "events"
when = { kind = "event" }
key = ["message_id", "day"]
column = [
  { name = "message_id", type = "uuid", from = "@message_id" },
  { name = "day", type = "date", from = "@sent_at" },
]
[[table]]
name = "items"
when = { kind = "items" }
each = "items"
key = ["sku", "line"]
column = [
  { name = "sku", type = "text", required = true },
  { name = "line", type = "integer", from = "@index" },
  { name = "at", type = "timestamptz", required = true },
]
[[table]]
name = "stock"
when = { kind = "stock" }
key = ["sku", "version"]
on_conflict = "update"
column = [
  { name = "sku", type = "text", required = true },
  { name = "version", type = "integer", required = true },
  { name = "at", type = "timestamptz", required = true },
]
"#;

#[tokio::test]
async fn each_table_that_keeps_versions_has_a_view_and_no_other() {
    let database = with_view(SEVERAL, "ddl --history signed_at").await;
    let views =
        "SELECT viewname::text FROM pg_views WHERE schemaname = current_schema() ORDER BY 1";
    let expected = [["contracts_history"], ["prices_history"]];
    assert_eq!(database.rows(views).await, expected);
    database
        .execute(
            "INSERT INTO prices VALUES ('a', '2026-02-01', 2), ('a', '2026-01-01', 1);
             INSERT INTO contracts VALUES ('ch', 1, 1, '2026-01-01Z', now()), ('ch', 1, 3, '2026-03-01Z', now()), ('de', 1, 2, '2026-02-01Z', now())",
        )
        .await;
    let prices = "SELECT valid_from::text, valid_to::text, is_current::text, price::text FROM prices_history ORDER BY 1";
    assert_eq!(
        database.rows(prices).await,
        [
            ["2026-01-01", "2026-02-01", "false", "1.00"],
            ["2026-02-01", "∅", "true", "2.00"]
        ]
    );
    let contracts =
        "SELECT region, revision::text, valid_to::date::text FROM contracts_history ORDER BY 1, 2";
    assert_eq!(
        database.rows(contracts).await,
        [
            ["ch", "1", "2026-03-01"],
            ["ch", "3", "∅"],
            ["de", "2", "∅"]
        ]
    );
}

#[tokio::test]
async fn a_mapping_without_versions_or_without_a_time_is_refused_with_the_fix() {
    let of = |columns: &str| {
        format!(
            "table = \"t\"\nkey = [\"id\", \"v\"]\ncolumn = [\n{{ name = \"id\", type = \"text\", required = true }},\n{{ name = \"v\", type = \"integer\", required = true }},\n{columns}]\n"
        )
    };
    let at = |more: &str| format!("{{ name = \"at\", type = \"timestamptz\"{more} }},\n");
    let required = at(", required = true");
    let taken = "{ name = \"valid_to\", type = \"date\" },\n";
    let long = of(&required).replace("\"t\"", &format!("\"{}\"", "t".repeat(56)));
    let shipped = include_str!("../../../../pipeline.toml");
    let cases = [
        (
            shipped.to_owned(),
            "",
            "set on_conflict = \"ignore\" and a key that ends with a version",
        ),
        (
            of(""),
            "",
            "map a date, timestamp or timestamptz with required = true",
        ),
        (
            of(&at("")),
            "",
            "map a date, timestamp or timestamptz with required = true",
        ),
        (of(&at("")), "at", "column \"at\" may be null"),
        (of(&required), "v", "has a column \"v\" of type date"),
        (
            of(&(required.clone() + taken)),
            "",
            "the view has a column \"valid_to\" of its own",
        ),
        (
            SEVERAL.to_owned(),
            "",
            "name one of \"signed_at\", \"received_at\" with --history",
        ),
        (long, "", "shorten the name of table"),
    ];
    for (mapping, column, expected) in cases {
        let tool = Tool::bare().mapping(&mapping);
        let refused = tool.run(&format!("ddl --history {column}")).await.exits(2);
        assert_contains(&refused.err, expected);
        assert_eq!(refused.err.lines().count(), 1, "{}", refused.err);
        assert_eq!(refused.out, "");
    }
    for other in ["--for dsql", "--diff", "--partition-by at"] {
        let tool = Tool::bare().mapping(&of(&required));
        for print in ["--history", "--comments"] {
            tool.run(&format!("ddl {print} {other}")).await.exits(2);
        }
    }
}
