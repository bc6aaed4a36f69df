//! How a batch is stored.

use serde_json::json;

use crate::batch::{Batch, id, ids, login, login_with};
use crate::support::{Database, Setup};

const NOTHING: [String; 0] = [];

#[tokio::test]
async fn a_good_batch_is_stored_whole() {
    let database = Database::with_user_logins().await;
    let mut function = Setup::on(&database).start().await;
    let answer = function
        .invoke(&Batch::new().body("a", login()).body("b", login()).event())
        .await;
    assert_eq!(answer.failed_ids(), NOTHING);
    let rows = database.rows("SELECT message_id::text, user_id, device_type, locale, app_version::text, create_date::text FROM user_logins ORDER BY 1").await;
    let row = |name: &str| {
        [id(name).as_str(), "u-1", "ios", "DE", "2", "2026-01-31"]
            .map(str::to_owned)
            .to_vec()
    };
    assert_eq!(rows, [row("a"), row("b")]);
    let summary = &function.lines("batch")[0];
    assert_eq!(
        (
            &summary["received"],
            &summary["stored"],
            &summary["duplicates"],
            &summary["failed"]
        ),
        (&json!(2), &json!(2), &json!(0), &json!(0))
    );
    assert_eq!(
        summary["span"]["request_id"],
        "8476a536-e9f4-11e8-9739-2dfe598c3fcd"
    );
    database.drop().await;
}

#[tokio::test]
async fn a_redelivered_message_is_stored_once() {
    let database = Database::with_user_logins().await;
    let mut function = Setup::on(&database).start().await;
    let first = Batch::new().body("a", login()).body("b", login());
    function.invoke(&first.event()).await;
    let answer = function
        .invoke(&first.body("b", login()).body("c", login()).event())
        .await;
    assert_eq!(answer.failed_ids(), NOTHING);
    assert_eq!(database.count("user_logins").await, 3);
    let summary = &function.lines("batch")[1];
    assert_eq!(
        (&summary["stored"], &summary["duplicates"]),
        (&json!(1), &json!(3))
    );
    database.drop().await;
}

#[tokio::test]
async fn under_ignore_the_first_message_of_a_key_wins_and_under_update_the_last() {
    for (on_conflict, after_one_batch, after_two) in [("ignore", "1", "1"), ("update", "2", "4")] {
        let database = Database::new().await;
        database
            .execute("CREATE TABLE t (k text PRIMARY KEY, v integer)")
            .await;
        let mapping = format!(
            "table = \"{}.t\"\nkey = [\"k\"]\non_conflict = \"{on_conflict}\"\n[[column]]\nname = \"k\"\ntype = \"text\"\nrequired = true\n[[column]]\nname = \"v\"\ntype = \"integer\"",
            database.schema
        );
        let mut function = Setup::on(&database).mapping(&mapping).start().await;
        let batch = |first: i32| {
            Batch::new()
                .body("a", json!({"k": "x", "v": first}))
                .body("b", json!({"k": "x", "v": first + 1}))
        };
        assert_eq!(
            function.invoke(&batch(1).event()).await.failed_ids(),
            NOTHING
        );
        assert_eq!(
            database.rows("SELECT v::text FROM t").await,
            [[after_one_batch]]
        );
        assert_eq!(
            function.invoke(&batch(3).event()).await.failed_ids(),
            NOTHING
        );
        assert_eq!(database.rows("SELECT v::text FROM t").await, [[after_two]]);
        database.drop().await;
    }
}

#[tokio::test]
async fn an_update_whose_last_row_is_refused_stores_the_one_before_it() {
    let database = Database::new().await;
    database
        .execute("CREATE TABLE t (k text PRIMARY KEY, v integer CHECK (v < 10))")
        .await;
    let mapping = format!(
        "table = \"{}.t\"\nkey = [\"k\"]\non_conflict = \"update\"\n[[column]]\nname = \"k\"\ntype = \"text\"\nrequired = true\n[[column]]\nname = \"v\"\ntype = \"integer\"",
        database.schema
    );
    let mut function = Setup::on(&database).mapping(&mapping).start().await;
    let answer = function
        .invoke(
            &Batch::new()
                .body("a", json!({"k": "x", "v": 1}))
                .body("b", json!({"k": "x", "v": 10}))
                .event(),
        )
        .await;
    assert_eq!(answer.failed_ids(), [id("b")]);
    assert_eq!(database.rows("SELECT v::text FROM t").await, [["1"]]);
    database.drop().await;
}

#[tokio::test]
async fn a_key_of_every_column_is_stored_under_update_too() {
    let database = Database::new().await;
    database
        .execute("CREATE TABLE t (k text PRIMARY KEY)")
        .await;
    let mapping = format!(
        "table = \"{}.t\"\nkey = [\"k\"]\non_conflict = \"update\"\n[[column]]\nname = \"k\"\ntype = \"text\"\nfrom = \"@body_sha256\"",
        database.schema
    );
    let mut function = Setup::on(&database).mapping(&mapping).start().await;
    let twice = Batch::new().text("a", "{}").text("b", "{}").text("c", "[]");
    assert_eq!(function.invoke(&twice.event()).await.failed_ids(), NOTHING);
    assert_eq!(database.count("t").await, 2);
    database.drop().await;
}

#[tokio::test]
async fn names_that_need_quotes_are_quoted() {
    let database = Database::new().await;
    database
        .execute("CREATE TABLE \"select\" (\"order\" uuid PRIMARY KEY, \"a\"\"b c\" text)")
        .await;
    let mapping = format!(
        "table = \"{}.select\"\nkey = [\"order\"]\n[[column]]\nname = \"order\"\ntype = \"uuid\"\nfrom = \"@message_id\"\n[[column]]\nname = \"a\\\"b c\"\ntype = \"text\"\nfrom = \"v\"",
        database.schema
    );
    let mut function = Setup::on(&database).mapping(&mapping).start().await;
    assert_eq!(
        function
            .invoke(&Batch::new().body("a", json!({"v": "x"})).event())
            .await
            .failed_ids(),
        NOTHING
    );
    assert_eq!(
        database.rows("SELECT \"a\"\"b c\" FROM \"select\"").await,
        [["x"]]
    );
    database.drop().await;
}

/// A table that refuses rows in every way a row alone can be refused.
const STRICT: &str = "
    CREATE TYPE mood AS ENUM ('happy', 'sad');
    CREATE DOMAIN even AS integer CHECK (VALUE % 2 = 0);
    CREATE TABLE parent (name text PRIMARY KEY);
    INSERT INTO parent VALUES ('p');
    CREATE TABLE strict (
        id uuid PRIMARY KEY, positive integer CHECK (positive > 0), parent text REFERENCES parent, mood mood,
        narrow varchar(3), even even, present text NOT NULL, sole text UNIQUE, span int4range, EXCLUDE USING gist (span WITH &&)
    );
    CREATE FUNCTION no_seven() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN IF NEW.positive = 7 THEN RAISE EXCEPTION 'seven %', NEW.narrow; END IF; NEW.span := int4range(NEW.positive, NEW.positive + 1); RETURN NEW; END $$;
    CREATE TRIGGER no_seven BEFORE INSERT ON strict FOR EACH ROW EXECUTE FUNCTION no_seven();";

fn strict_mapping(schema: &str) -> String {
    let columns = [
        ("positive", "integer"),
        ("parent", "text"),
        ("mood", "varchar(20)"),
        ("narrow", "text"),
        ("even", "integer"),
        ("present", "text"),
        ("sole", "text"),
    ];
    let columns: Vec<String> = columns
        .iter()
        .map(|(name, column_type)| {
            format!("[[column]]\nname = \"{name}\"\ntype = \"{column_type}\"\n")
        })
        .collect();
    format!(
        "table = \"{schema}.strict\"\nkey = [\"id\"]\n[[column]]\nname = \"id\"\ntype = \"uuid\"\nfrom = \"@message_id\"\n{}",
        columns.concat()
    )
}

#[tokio::test]
async fn a_row_that_postgres_refuses_costs_only_itself() {
    let database = Database::new().await;
    database.execute(STRICT).await;
    let mut function = Setup::on(&database)
        .mapping(&strict_mapping(&database.schema))
        .start()
        .await;
    let good = |positive: i32| json!({"positive": positive, "parent": "p", "mood": "happy", "narrow": "abc", "even": 2, "present": "x", "sole": positive.to_string()});
    let with = |positive: i32, field: &str, value: serde_json::Value| {
        let mut row = good(positive);
        row[field] = value;
        row
    };
    let refused = [
        ("check", with(-1, "sole", json!("c")), "23514"),
        ("parent", with(101, "parent", json!("nobody")), "23503"),
        ("mood", with(102, "mood", json!("angry")), "22P02"),
        ("narrow", with(103, "narrow", json!("abcd")), "22001"),
        ("domain", with(104, "even", json!(3)), "23514"),
        ("null", with(105, "present", json!(null)), "23502"),
        ("unique", with(106, "sole", json!("1")), "23505"),
        ("overlap", with(1, "sole", json!("o")), "23P01"),
        ("trigger", with(7, "sole", json!("t")), "P0001"),
    ];
    let mut batch = Batch::new();
    for (number, (name, row, _)) in refused.iter().enumerate() {
        batch = batch
            .body(
                &format!("g{number}"),
                good(number as i32 + 1 + 10 * i32::from(number > 5)),
            )
            .body(name, row.clone());
    }
    let answer = function.invoke(&batch.event()).await;
    assert_eq!(
        answer.failed_ids(),
        ids(&refused.each_ref().map(|(name, ..)| *name))
    );
    assert_eq!(database.count("strict").await, refused.len() as i64);
    let failed = function.lines("message failed");
    for ((name, _, sqlstate), line) in refused.iter().zip(&failed) {
        assert_eq!(
            (line["rule"].as_str(), line["message_id"].as_str()),
            (Some("refused"), Some(id(name).as_str()))
        );
        assert!(
            line["reason"].as_str().unwrap().contains(sqlstate),
            "{name}: {line}"
        );
    }
    let log = function.end().await;
    assert!(
        !log.contains("angry") && !log.contains("nobody") && !log.contains("abcd"),
        "{log}"
    );
    database.drop().await;
}

#[tokio::test]
async fn a_large_batch_with_few_refused_rows_is_stored() {
    let database = Database::with_user_logins().await;
    database
        .execute("ALTER TABLE user_logins ADD CHECK (app_version < 100)")
        .await;
    let mut function = Setup::on(&database).start().await;
    let bad = [0, 1, 777, 1998, 1999];
    let mut batch = Batch::new();
    for number in 0..2_000 {
        let version = if bad.contains(&number) {
            "100.0"
        } else {
            "1.0"
        };
        batch = batch.body(
            &number.to_string(),
            login_with("app_version", json!(version)),
        );
    }
    let answer = function.invoke(&batch.event()).await;
    assert_eq!(
        answer.failed_ids(),
        bad.map(|number| id(&number.to_string()))
    );
    assert_eq!(database.count("user_logins").await, 1_995);
    database.drop().await;
}
