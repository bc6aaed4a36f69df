//! Rows that Postgres refuses do not affect the others, and cost few statements.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use testkit::aws::{Queue, attribute};
use testkit::batch::{Batch, id, ids, login, login_with};
use testkit::{Database, Function, Mapping, Setup, assert_contains, server_address};

/// A table that refuses rows for every reason that concerns a single row.
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
        $$ BEGIN IF NEW.positive = 7 THEN RAISE EXCEPTION 'seven %', NEW.narrow; END IF;
            IF NEW.positive = 8 THEN RAISE EXCEPTION 'eight %', NEW.narrow USING ERRCODE = 'APP01'; END IF;
            IF NEW.positive = 90009 THEN EXECUTE 'INSERT INTO partition_of_nine DEFAULT VALUES'; END IF;
            IF NEW.positive = 90010 THEN RAISE EXCEPTION 'as an extension does' USING ERRCODE = 'XX000'; END IF; NEW.span := int4range(NEW.positive, NEW.positive + 1); RETURN NEW; END $$;
    CREATE TRIGGER no_seven BEFORE INSERT ON strict FOR EACH ROW EXECUTE FUNCTION no_seven();";

fn strict_mapping(database: &Database) -> Mapping {
    let columns = [
        ("positive", "integer"),
        ("parent", "text"),
        ("mood", "varchar(20)"),
        ("narrow", "text"),
        ("even", "integer"),
        ("present", "text"),
        ("sole", "text"),
    ];
    let mapping = Mapping::by_message_id("strict").within(database);
    columns
        .iter()
        .fold(mapping, |mapping, (name, column_type)| {
            mapping.column(name, column_type)
        })
}

/// A row that the table accepts; `positive` identifies it.
fn good(positive: usize) -> Value {
    json!({"positive": positive, "parent": "p", "mood": "happy", "narrow": "abc", "even": 2, "present": "x", "sole": positive.to_string()})
}

fn with(positive: usize, field: &str, value: Value) -> Value {
    let mut row = good(positive);
    row[field] = value;
    row
}

async fn start(database: &Database) -> Function {
    database.execute(STRICT).await;
    let mapping = strict_mapping(database);
    Setup::on(database).mapping(&mapping).start().await
}

#[tokio::test]
async fn a_row_that_postgres_refuses_does_not_affect_the_others() {
    let database = Database::new().await;
    let mut function = start(&database).await;
    let refused = [
        ("check", with(100, "positive", json!(-1)), "23514"),
        ("parent", with(101, "parent", json!("nobody")), "23503"),
        ("mood", with(102, "mood", json!("angry")), "22P02"),
        ("narrow", with(103, "narrow", json!("abcd")), "22001"),
        ("domain", with(104, "even", json!(3)), "23514"),
        ("null", with(105, "present", json!(null)), "23502"),
        ("unique", with(106, "sole", json!("1")), "23505"),
        ("overlap", with(1, "sole", json!("o")), "23P01"),
        ("trigger", with(7, "sole", json!("t")), "P0001"),
        ("owncode", with(8, "sole", json!("u")), "APP01"),
        ("notable", with(90009, "sole", json!("v")), "42P01"),
        ("internal", with(90010, "sole", json!("w")), "XX000"),
    ];
    let mut batch = Batch::new();
    for (number, (name, row, _)) in refused.iter().enumerate() {
        batch = batch
            .body(
                &format!("g{number}"),
                good(number + 1 + 10 * usize::from(number > 5)),
            )
            .body(name, row.clone());
    }
    let answer = function.invoke(&batch.event()).await;
    assert_eq!(
        answer.failed_ids(),
        ids(&refused.each_ref().map(|(name, ..)| *name))
    );
    assert_eq!(database.count("strict").await, refused.len() as i64);
    let failed = function.lines_of("message failed", refused.len()).await;
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
    assert!(!log.contains("angry"), "{}", log);
    assert!(!log.contains("nobody"), "{}", log);
    assert!(!log.contains("abcd"), "{}", log);
}

/// `1.0` and `1.00` are one key to Postgres, and no two rows of a statement may update one row.
#[tokio::test]
async fn keys_that_only_postgres_knows_to_be_equal_do_no_harm() {
    let database = Database::new().await;
    database
        .execute("CREATE TABLE t (k numeric PRIMARY KEY, v integer)")
        .await;
    let mapping = Mapping::of("t")
        .within(&database)
        .key("k")
        .set("on_conflict", "update");
    let mapping = mapping.column("k", "numeric").with("required", true);
    let mapping = mapping.column("v", "integer");
    let mut function = Setup::on(&database).mapping(&mapping).start().await;
    let batch = ["1.0", "2", "1.00", "3"].iter().enumerate();
    let batch = batch.fold(Batch::new(), |batch, (number, key)| {
        batch.body(&number.to_string(), json!({"k": key, "v": number}))
    });
    let answer = function.invoke(&batch.event()).await;
    answer.assert_none_failed();
    assert_eq!(
        database.rows("SELECT v::text FROM t ORDER BY k").await,
        [["2"], ["1"], ["3"]]
    );
}

/// Counts statements, even those that are rolled back, because a sequence is not.
const COUNTER: &str = "
    CREATE SEQUENCE statements;
    CREATE FUNCTION count_statement() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM nextval('statements'); RETURN NULL; END $$;
    CREATE TRIGGER count_statement BEFORE INSERT ON strict FOR EACH STATEMENT EXECUTE FUNCTION count_statement();";

/// Refused rows of every kind, one after the other.
fn refused_row(kind: usize, positive: usize) -> Value {
    match kind % 7 {
        0 => with(positive, "positive", json!(0)),
        1 => with(positive, "parent", json!("nobody")),
        2 => with(positive, "mood", json!("angry")),
        3 => with(positive, "narrow", json!("abcd")),
        4 => with(positive, "even", json!(3)),
        5 => with(positive, "present", json!(null)),
        _ => with(7, "sole", json!(positive.to_string())),
    }
}

/// The maximum number of statements for bisecting: two per refused row on every level below the whole.
fn most_statements(rows: usize, refused: usize) -> i64 {
    let levels = rows.next_power_of_two().trailing_zeros() as usize;
    (1 + 2 * refused * levels) as i64
}

#[tokio::test]
async fn refused_rows_of_a_large_batch_are_found_in_few_statements() {
    const ROWS: usize = 10_000;
    let database = Database::new().await;
    let mut function = start(&database).await;
    database.execute(COUNTER).await;
    for count in [0, 1, 5, 10] {
        let mut places = BTreeMap::new();
        while places.len() < count {
            places.insert(fastrand::usize(..ROWS), places.len());
        }
        let batch = (0..ROWS).fold(Batch::new(), |batch, number| {
            let positive = number + 9;
            let row = places
                .get(&number)
                .map_or_else(|| good(positive), |kind| refused_row(*kind, positive));
            batch.body(&number.to_string(), row)
        });
        let answer = function.invoke(&batch.event()).await;
        let refused: Vec<_> = places
            .keys()
            .map(|number| id(&number.to_string()))
            .collect();
        assert_eq!(answer.failed_ids(), refused, "{places:?}");
        assert_eq!(database.count("strict").await, (ROWS - count) as i64);
        let statements = database
            .client
            .query_one(
                "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM statements",
                &[],
            )
            .await
            .unwrap()
            .get::<_, i64>(0);
        assert!(
            (1..=most_statements(ROWS, count)).contains(&statements),
            "{statements} statements for {places:?}"
        );
        database
            .execute("TRUNCATE strict; ALTER SEQUENCE statements RESTART")
            .await;
    }
}

/// Its SQLSTATE is also used for a missing privilege, which is not the fault of a row.
#[tokio::test]
async fn a_row_that_a_row_security_policy_refuses_does_not_affect_the_others() {
    let database = Database::with_user_logins().await;
    let role = database.role("p").await;
    database
        .execute(
            "ALTER TABLE user_logins ENABLE ROW LEVEL SECURITY; \
             CREATE POLICY known ON user_logins USING (true) WITH CHECK (locale = 'RU')",
        )
        .await;
    let url = database.url_as(&role, "p", server_address());
    let mut function = Setup::on(&database).set("DATABASE_URL", &url).start().await;
    let login = |locale: &str| login_with("locale", json!(locale));
    let batch = Batch::new()
        .body("first", login("RU"))
        .body("foreign", login("DE"))
        .body("last", login("RU"));
    let answer = function.invoke(&batch.event()).await;
    assert_eq!(answer.failed_ids(), [id("foreign")]);
    assert_eq!(database.count("user_logins").await, 2);
    let failed = &function.lines("message failed")[0];
    let reason = failed["reason"].as_str().unwrap();
    assert_contains(&reason, "SQLSTATE 42501 by a row-level security policy");
}

/// As long as nothing shows that the table takes any row.
#[tokio::test]
async fn a_policy_that_refuses_every_row_of_a_batch_rejects_each() {
    let database = Database::with_user_logins().await;
    let role = database.role("p").await;
    database
        .execute(
            "ALTER TABLE user_logins ENABLE ROW LEVEL SECURITY; \
             CREATE POLICY none ON user_logins USING (true) WITH CHECK (false)",
        )
        .await;
    let url = database.url_as(&role, "p", server_address());
    let mut function = Setup::on(&database).set("DATABASE_URL", &url).start().await;
    let batch = Batch::new().body("a", login()).body("b", login());
    let answer = function.invoke(&batch.event()).await;
    assert_eq!(answer.failed_ids(), ids(&["a", "b"]));
    for failed in function.lines_of("message failed", 2).await {
        assert_eq!(failed["rule"], "refused");
    }
}

/// Nodes that refer to another node, or to none.
async fn with_nodes() -> (Database, Function) {
    let database = Database::new().await;
    database
        .execute("CREATE TABLE nodes (name text PRIMARY KEY, next text REFERENCES nodes)")
        .await;
    let mapping = Mapping::of("nodes").within(&database).key("name");
    let mapping = mapping.set("on_conflict", "update").column("name", "text");
    let mapping = mapping.with("required", true).column("next", "text");
    let function = Setup::on(&database).mapping(&mapping).start().await;
    (database, function)
}

fn node(name: &str, next: Option<&str>) -> Value {
    json!({"name": name, "next": next})
}

async fn nodes(database: &Database) -> Vec<String> {
    let rows = database.rows("SELECT name || ' → ' || coalesce(next, '') FROM nodes ORDER BY name");
    rows.await.concat()
}

#[tokio::test]
async fn a_bad_message_does_not_affect_one_that_refers_to_a_later_message() {
    let (database, mut function) = with_nodes().await;
    let batch = Batch::new()
        .body("first", node("first", Some("second")))
        .body("second", node("second", Some("last")))
        .body("bad", node("bad", Some("nowhere")))
        .body("last", node("last", None));
    let answer = function.invoke(&batch.event()).await;
    assert_eq!(answer.failed_ids(), [id("bad")]);
    assert_eq!(
        nodes(&database).await,
        ["first → second", "last → ", "second → last"]
    );
}

#[tokio::test]
async fn of_messages_with_the_same_key_the_last_counts_even_if_an_earlier_one_had_to_wait() {
    let (database, mut function) = with_nodes().await;
    let batch = Batch::new()
        .body("early", node("a", Some("last")))
        .body("bad", node("bad", Some("nowhere")))
        .body("late", node("a", None))
        .body("last", node("last", None));
    let answer = function.invoke(&batch.event()).await;
    assert_eq!(answer.failed_ids(), [id("bad")]);
    assert_eq!(nodes(&database).await, ["a → ", "last → "]);
}

#[tokio::test]
async fn a_message_that_waits_for_a_later_one_is_not_overtaken_by_its_fifo_group() {
    let (database, mut function) = with_nodes().await;
    let batch = Batch::fifo()
        .grouped("anna", "a1", node("a1", Some("b1")))
        .grouped("anna", "a2", node("a2", Some("a1")))
        .grouped("anna", "bad", node("bad", Some("nowhere")))
        .grouped("anna", "a3", node("a3", None))
        .grouped("ben", "b1", node("b1", None));
    let answer = function.invoke(&batch.event()).await;
    assert_eq!(answer.failed_ids(), ids(&["bad", "a3"]));
    assert_eq!(nodes(&database).await, ["a1 → b1", "a2 → a1", "b1 → "]);
}

/// A trigger can give any value as the name of a constraint, a column or a table.
#[tokio::test]
async fn names_that_a_trigger_chooses_are_neither_logged_nor_in_dead_letters() {
    let (database, dead) = (Database::with_user_logins().await, Queue::new().await);
    database
        .execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                 IF NEW.locale <> 'RU' THEN RAISE EXCEPTION 'no %', NEW.user_id USING \
                 CONSTRAINT = NEW.user_id, COLUMN = NEW.user_id, TABLE = NEW.user_id; END IF; RETURN NEW; END $$; \
             CREATE TRIGGER refuse BEFORE INSERT ON user_logins FOR EACH ROW EXECUTE FUNCTION refuse()",
        )
        .await;
    let setup = Setup::on(&database).on_aws();
    let setup = setup.set("DEAD_LETTER_QUEUE_URL", &dead.url);
    let mut function = setup.start().await;
    let batch = Batch::new()
        .body("good", login_with("locale", json!("RU")))
        .body("bad", login_with("locale", json!("DE")));
    let answer = function.invoke(&batch.delivered(3).event()).await;
    answer.assert_none_failed();
    let letters = dead.dead_letters(1).await;
    assert_eq!(
        attribute(&letters[0], "rejection").unwrap(),
        r#"{"rule":"refused"}"#
    );
    let failed = function.lines_of("message failed", 1).await.pop().unwrap();
    let reason = failed["reason"].as_str().unwrap();
    assert_contains(&reason, "SQLSTATE P0001: fix");
    let user = login()["user_id"].as_str().unwrap().to_owned();
    let log = function.end().await;
    assert!(!log.contains(&user), "{log}");
}

/// A fault of the table must not fill the dead-letter queue.
#[tokio::test]
async fn a_refusal_of_every_row_fails_the_invocation_and_no_message() {
    for code in ["42P01", "XX000"] {
        let database = Database::with_user_logins().await;
        database
            .execute(&format!(
                "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                     RAISE EXCEPTION 'broken' USING ERRCODE = '{code}'; END $$; \
                 CREATE TRIGGER fail BEFORE INSERT ON user_logins FOR EACH ROW EXECUTE FUNCTION fail()"
            ))
            .await;
        let mut function = Setup::on(&database).start().await;
        let batch = (0..100).fold(Batch::new(), |batch, number| {
            batch.body(&number.to_string(), login_with("locale", json!("RU")))
        });
        let error = function.invoke(&batch.event()).await.error();
        assert_contains(&error, code);
    }
}
