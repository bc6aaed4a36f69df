//! `cast`: values that Postgres reads from text as any of its types.

use mapping::Pipeline;
use serde_json::{Value, json};

use crate::child_tables::invoke;
use testkit::batch::{Batch, ids};
use testkit::hostile_path::hostile_schema;
use testkit::{Database, Function, Mapping, Setup, assert_contains};

/// A mapping of columns, each with its cast.
fn mapping(casts: &[(&str, &str)]) -> Mapping {
    let mapping = Mapping::by_message_id("t");
    casts.iter().fold(mapping, |mapping, (name, cast)| {
        mapping.column(name, "text").with("cast", *cast)
    })
}

/// A database with this table, and the function with a mapping.
async fn start(sql: &str, mapping: &impl ToString) -> (Database, Function) {
    let database = Database::new().await;
    database.execute(sql).await;
    let function = Setup::on(&database).mapping(mapping).start().await;
    (database, function)
}

const MOODS: &str = "CREATE TYPE mood AS ENUM ('happy', 'it''s \"so\" so');
    CREATE TABLE t (id uuid PRIMARY KEY, took interval, mood mood, moods mood[], sought tsquery)";

fn moods() -> Mapping {
    mapping(&[
        ("took", "interval"),
        ("mood", "mood"),
        ("moods", "mood[]"),
        ("sought", "tsquery"),
    ])
}

/// The reason why the message failed, and the whole log.
async fn refused(mut function: Function, batch: Batch, name: &str) -> (String, String) {
    assert_eq!(invoke(&mut function, batch).await, ids(&[name]));
    let line = function.lines_of("message failed", 1).await.remove(0);
    assert_eq!(line["rule"], "refused");
    let reason = line["reason"].as_str().unwrap().to_owned();
    (reason, function.end().await)
}

#[tokio::test]
async fn a_value_that_postgres_cannot_read_is_named_by_its_column_and_never_shown() {
    let labels = r#"as mood, whose labels are "happy", "it's \"so\" so""#;
    let cases = [
        ("took", json!("raging"), "22007", "as interval"),
        ("mood", json!("raging"), "22P02", labels),
        (
            "moods",
            json!(["happy", "raging"]),
            "22P02",
            r#"as mood[], whose labels are "happy", "#,
        ),
        ("moods", json!("raging"), "22P02", "as mood[]"),
        ("sought", json!("raging &"), "42601", "as tsquery"),
    ];
    for (column, value, sqlstate, expected) in cases {
        let (database, function) = start(MOODS, &moods()).await;
        let good = json!({"took": "1 day", "mood": "happy", "moods": ["happy", null]});
        let mut bad = good.clone();
        bad[column] = value;
        let batch = (0..9).fold(Batch::new(), |batch, number| {
            let body = if number == 5 {
                bad.clone()
            } else {
                good.clone()
            };
            batch.body(&number.to_string(), body)
        });
        let (reason, log) = refused(function, batch, "5").await;
        let place = format!(
            "refused the row with SQLSTATE {sqlstate} table \"t\" column {column:?}, because it cannot read the value {expected}"
        );
        assert_contains(&reason, &place);
        assert!(!log.contains("raging"), "{log}");
        assert_eq!(database.count("t").await, 8);
    }
}

#[tokio::test]
async fn a_label_that_an_enum_lacks_is_named_where_the_mapping_says_only_text_too() {
    let text = Mapping::by_message_id("t")
        .column("took", "text")
        .column("mood", "text");
    let sql = MOODS.replace("took interval", "took text");
    let (database, function) = start(&sql, &text).await;
    let batch = Batch::new()
        .body("a", json!({"mood": "happy"}))
        .body("b", json!({"mood": "raging"}));
    let (reason, log) = refused(function, batch, "b").await;
    assert_contains(
        &reason,
        "table \"t\" column \"mood\", because it cannot read the value as mood, whose labels are \"happy\"",
    );
    assert!(!log.contains("raging"), "{log}");
    assert_eq!(database.count("t").await, 1);
}

/// By a cast to `bit(3)` Postgres would cut the value off.
#[tokio::test]
async fn a_value_that_is_too_long_for_its_type_is_refused_rather_than_cut_off() {
    const SQL: &str = "CREATE DOMAIN code AS varchar(3); CREATE DOMAIN flags AS bit(3);
        CREATE TABLE t (id uuid PRIMARY KEY, bits bit(3), chars char(3), code code, flags flags, more varbit(3))";
    let columns = [
        ("bits", "bit(3)", "1011", "101"),
        ("chars", "char(3)", "abcd", "abc"),
        ("code", "code", "abcd", "abc"),
        ("flags", "flags", "1011", "101"),
        ("more", "varbit(3)", "1011", "101"),
    ];
    for (column, cast, long, short) in columns {
        let (database, function) = start(SQL, &mapping(&[(column, cast)])).await;
        let batch = Batch::new()
            .body("a", json!({column: short}))
            .body("b", json!({column: long}));
        let (reason, _) = refused(function, batch, "b").await;
        assert_contains(
            &reason,
            &format!("column {column:?}, because it cannot read the value"),
        );
        let sql = format!("SELECT {column}::text FROM t");
        assert_eq!(database.rows(&sql).await, [[short]], "{cast}");
    }
}

#[tokio::test]
async fn a_domain_whose_constraint_refuses_a_value_is_named_with_the_column() {
    let sql = "CREATE DOMAIN percent AS numeric CHECK (VALUE <= 100); CREATE TABLE t (id uuid PRIMARY KEY, share percent)";
    let (database, function) = start(sql, &mapping(&[("share", "percent")])).await;
    let batch = Batch::new()
        .body("a", json!({"share": 12.5}))
        .body("b", json!({"share": 101}));
    let (reason, _) = refused(function, batch, "b").await;
    assert_contains(
        &reason,
        "SQLSTATE 23514 table \"t\" column \"share\", because it cannot read the value as percent",
    );
    assert_eq!(database.rows("SELECT share::text FROM t").await, [["12.5"]]);
}

/// A mapping of the section of docs/MAPPING.md.
pub(crate) fn example(number: usize) -> &'static str {
    let page = include_str!("../../docs/MAPPING.md");
    let (_, section) = page.split_once("\n### Other types of Postgres\n").unwrap();
    let example = section.split("```toml\n").nth(number).unwrap();
    example.split("```").next().unwrap()
}

#[tokio::test]
async fn the_example_of_the_reference_stores_the_values_that_it_shows() {
    let database = Database::new().await;
    let mapping = example(1).replace("shop.", &format!("{}.", database.schema));
    let types =
        "CREATE TYPE mood AS ENUM ('happy'); CREATE DOMAIN settings AS jsonb; SET TIME ZONE 'UTC'";
    database.execute(types).await;
    let pipeline = Pipeline::parse("docs/MAPPING.md", &mapping).unwrap();
    database.execute(&pipeline.create_tables()).await;
    let mut function = Setup::on(&database).mapping(&mapping).start().await;
    let body = json!({
        "device": "08:00:2b:01:02:03", "took": "PT26H", "open": "[2026-11-02T09:00Z,2026-11-02T10:00Z)",
        "mood": "happy", "networks": ["10.0.0.0/8", null],
    });
    assert_eq!(
        invoke(&mut function, Batch::new().body("a", body)).await,
        ids(&[])
    );
    let sql = "SELECT device::text, took::text, open::text, mood::text, networks::text, settings::text FROM visits";
    let open = "[\"2026-11-02 09:00:00+00\",\"2026-11-02 10:00:00+00\")";
    let expected = [
        "08:00:2b:01:02:03",
        "26:00:00",
        open,
        "happy",
        "{10.0.0.0/8,NULL}",
        "{}",
    ];
    assert_eq!(database.rows(sql).await, [expected]);
}

/// Parents with children, whose keys Postgres compares as the type does.
const DEVICES: &str = r#"
[[table]]
name = "devices"
key = ["mac"]
on_conflict = "update"
newer = "v"
delete_when = { op = "d" }
column = [
  { name = "mac", type = "text", cast = "macaddr", required = true },
  { name = "v", type = "integer" },
]

[[table]]
name = "readings"
parent = "devices"
each = "readings"
key = ["mac", "took"]
column = [
  { name = "mac", type = "text", cast = "macaddr", from = "^.mac", required = true },
  { name = "took", type = "text", cast = "interval", required = true },
]
"#;

fn device(mac: &str, v: i64, readings: &[&str]) -> Value {
    let readings: Vec<_> = readings.iter().map(|took| json!({"took": took})).collect();
    json!({"mac": mac, "v": v, "readings": readings})
}

async fn devices(database: &Database) -> Vec<String> {
    let sql = "SELECT mac::text || ' v' || v FROM devices UNION ALL SELECT mac::text || ' ' || took FROM readings ORDER BY 1";
    database.rows(sql).await.concat()
}

#[tokio::test]
async fn keys_are_compared_as_their_type_compares_them() {
    let (database, mut function) = Function::with_tables_of(DEVICES).await;
    let (a, same) = ("08:00:2b:01:02:03", "08-00-2B-01-02-03");
    let batch = Batch::new()
        .body("a", device(a, 1, &["1 day", "2 hours"]))
        .body("b", device("08:00:2b:01:02:04", 1, &[]));
    assert_eq!(invoke(&mut function, batch).await, ids(&[]));
    // One of the children is the same in another spelling, and the other is gone.
    let batch = Batch::new().body("c", device(same, 2, &["24:00:00", "1 mon"]));
    assert_eq!(invoke(&mut function, batch).await, ids(&[]));
    let kept = format!("{a} 1 mon");
    let written = devices(&database).await;
    assert!(
        written.contains(&kept) && written.contains(&format!("{a} v2")),
        "{written:?}"
    );
    assert_eq!(written.len(), 4, "{written:?}");
    let deletion = json!({"op": "d", "mac": "0800.2b01.0203", "v": 3});
    let batch = Batch::new().body("d", deletion);
    assert_eq!(invoke(&mut function, batch).await, ids(&[]));
    assert_eq!(devices(&database).await, ["08:00:2b:01:02:04 v1"]);
}

#[tokio::test]
async fn a_refused_value_of_a_child_table_rejects_its_message_alone_and_is_named() {
    let (database, function) = Function::with_tables_of(DEVICES).await;
    let batch = Batch::new()
        .body("a", device("08:00:2b:01:02:03", 1, &["1 day"]))
        .body("b", device("08:00:2b:01:02:04", 1, &["2 days", "raging"]));
    let (reason, log) = refused(function, batch, "b").await;
    assert_contains(
        &reason,
        "table \"readings\" column \"took\", because it cannot read the value as interval",
    );
    assert!(!log.contains("raging"), "{log}");
    assert_eq!(database.count("readings").await, 1);
}

#[tokio::test]
async fn of_two_spellings_of_one_key_in_a_batch_one_row_is_stored() {
    let mapping = Mapping::of("t").key("mac").set("on_conflict", "update");
    let mapping = mapping.column("mac", "text").with("cast", "macaddr");
    let mapping = mapping.with("required", true).column("v", "integer");
    let sql = "CREATE TABLE t (mac macaddr PRIMARY KEY, v integer)";
    let (database, mut function) = start(sql, &mapping).await;
    let batch = ["08:00:2b:01:02:03", "08-00-2b-01-02-03", "0800.2b01.0203"];
    let batch = batch
        .iter()
        .enumerate()
        .fold(Batch::new(), |batch, (v, mac)| {
            batch.body(&v.to_string(), json!({"mac": mac, "v": v}))
        });
    assert_eq!(invoke(&mut function, batch).await, ids(&[]));
    assert_eq!(database.rows("SELECT v::text FROM t").await, [["2"]]);
}

#[tokio::test]
async fn a_default_and_json_of_any_kind_go_as_text() {
    let sql = "CREATE DOMAIN settings AS jsonb; CREATE TABLE t (id uuid PRIMARY KEY, took interval, settings settings, spans interval[], notes jsonb[])";
    let mapping = mapping(&[
        ("settings", "settings"),
        ("spans", "interval[]"),
        ("notes", "jsonb[]"),
        ("took", "interval"),
    ]);
    let mapping = mapping.with("default", "1 day");
    let (database, mut function) = start(sql, &mapping).await;
    let body = json!({
        "settings": {"a": [1, {"b": "ü\"\\"}]},
        "spans": ["1 day", null, "2 days"],
        "notes": [{"q": "say \"{hi}\", \\ all"}, [1, [2]], 3, true],
    });
    let batch = Batch::new()
        .body("a", body)
        .body("b", json!({"settings": true, "took": "2 hours"}));
    assert_eq!(invoke(&mut function, batch).await, ids(&[]));
    let sql = "SELECT took::text, settings::text, spans::text, notes[1] ->> 'q', array_to_string(notes[2:], ' ') FROM t ORDER BY 1";
    assert_eq!(
        database.rows(sql).await,
        [
            ["02:00:00", "true", "∅", "∅", "∅"],
            [
                "1 day",
                "{\"a\": [1, {\"b\": \"ü\\\"\\\\\"}]}",
                "{\"1 day\",NULL,\"2 days\"}",
                "say \"{hi}\", \\ all",
                "[1, [2]] 3 true"
            ],
        ]
    );
}

#[tokio::test]
async fn a_type_of_the_search_path_does_not_replace_one_of_postgres() {
    let (database, hostile) = (Database::new().await, hostile_schema().await);
    hostile
        .execute("CREATE FUNCTION no() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'called by the search path'; END $$;
            CREATE DOMAIN interval AS text CHECK (no()); CREATE DOMAIN macaddr AS text CHECK (no()); CREATE DOMAIN mood AS text CHECK (no())")
        .await;
    let columns = format!(
        "took pg_catalog.interval, mac pg_catalog.macaddr, mood {}.mood",
        database.schema
    );
    database
        .execute(&format!(
            "CREATE TYPE mood AS ENUM ('happy'); CREATE TABLE t (id uuid PRIMARY KEY, {columns})"
        ))
        .await;
    let mood = format!("{}.mood", database.schema);
    let mapping = mapping(&[("took", "interval"), ("mac", "macaddr"), ("mood", &mood)]);
    let url = database.url_behind(&hostile) + ",pg_catalog";
    let setup = Setup::on(&database).set("DATABASE_URL", &url);
    let mut function = setup.mapping(&mapping).start().await;
    let body = json!({"took": "1 day", "mac": "08:00:2b:01:02:03", "mood": "happy"});
    let batch = Batch::new().body("a", body);
    assert_eq!(invoke(&mut function, batch).await, ids(&[]));
    assert_eq!(
        database.rows("SELECT took::text, mood::text FROM t").await,
        [["1 day", "happy"]]
    );
}

#[tokio::test]
async fn keys_are_compared_without_an_operator_of_the_search_path() {
    let hostile = hostile_schema().await;
    let database = Database::with_tables_of(DEVICES).await;
    let setup = Setup::on(&database).set("DATABASE_URL", &database.url_behind(&hostile));
    let mut function = setup.mapping(DEVICES).start().await;
    let deletion = json!({"op": "d", "mac": "0800.2b01.0203", "v": 3});
    let bodies = [
        device("08:00:2b:01:02:03", 1, &["1 day"]),
        device("08-00-2b-01-02-03", 2, &["1 mon"]),
        deletion,
    ];
    for body in bodies {
        let batch = Batch::new()
            .body("a", body)
            .body("b", device("08:00:2b:01:02:04", 1, &[]));
        assert_eq!(invoke(&mut function, batch).await, ids(&[]));
    }
    assert_eq!(devices(&database).await, ["08:00:2b:01:02:04 v1"]);
}

#[tokio::test]
async fn a_table_without_the_type_of_the_mapping_is_named_and_no_message_is_blamed() {
    let cases = [
        (
            "tstzrange",
            "interval",
            "column \"v\" of table \"t\" is tstzrange but mapped as interval: write type = \"text\" and cast = \"tstzrange\"",
        ),
        (
            "integer",
            "interval",
            "is integer but mapped as interval: write type = \"integer\" without cast",
        ),
        (
            "interval",
            "nosuch.kind",
            "is cast to nosuch.kind, and Postgres finds no such type: write type = \"text\" and cast = \"interval\"",
        ),
    ];
    for (column_type, cast, expected) in cases {
        let sql = format!("CREATE TABLE t (id uuid PRIMARY KEY, v {column_type})");
        let (_database, mut function) = start(&sql, &mapping(&[("v", cast)])).await;
        let batch = Batch::new().body("a", json!({"v": "1 day"}));
        let error = function.invoke(&batch.event()).await.error();
        assert_contains(&error.replace("\\\"", "\""), expected);
    }
}

#[tokio::test]
async fn a_column_whose_type_changes_while_the_function_is_warm_is_cast_to_the_new_one() {
    let sql = "CREATE DOMAIN span AS interval; CREATE TABLE t (id uuid PRIMARY KEY, v span)";
    let (database, mut function) = start(sql, &mapping(&[("v", "interval")])).await;
    for (number, alter) in [
        "SELECT",
        "ALTER TABLE t ALTER v TYPE interval",
        "ALTER TABLE t ALTER v TYPE interval(0)",
    ]
    .iter()
    .enumerate()
    {
        database.execute(alter).await;
        let batch = Batch::new().body(&number.to_string(), json!({"v": "1 day"}));
        assert_eq!(invoke(&mut function, batch).await, ids(&[]));
    }
    assert_eq!(
        database.rows("SELECT DISTINCT v::text FROM t").await,
        [["1 day"]]
    );
}
