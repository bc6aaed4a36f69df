//! A fault of the table is not blamed on messages, and a fault of one row is not blamed on the table.

use serde_json::json;

use testkit::aws::Queue;
use testkit::batch::{Batch, id, ids, login, login_with};
use testkit::{Database, Function, Mapping, Setup, assert_contains, server_address};

/// A day and a word, under a key that begins with the day.
const DAYS: &str = r#"
    table = "t"
    key = ["day", "k"]
    [[column]]
    name = "day"
    type = "date"
    required = true
    [[column]]
    name = "k"
    type = "text"
    from = "@message_id"
    required = true"#;

async fn partitioned() -> Database {
    let database = Database::new().await;
    database
        .execute(
            "CREATE TABLE t (day date, k text, PRIMARY KEY (day, k)) PARTITION BY RANGE (day); \
             CREATE TABLE t_november PARTITION OF t FOR VALUES FROM ('2026-11-01') TO ('2026-12-01')",
        )
        .await;
    database
}

#[tokio::test]
async fn a_missing_partition_fails_the_invocation_and_blames_no_message() {
    let database = partitioned().await;
    let mut function = Setup::on(&database).mapping(DAYS).start().await;
    let batch = (0..100).fold(Batch::new(), |batch, number| {
        batch.body(&number.to_string(), json!({"day": "2026-12-01"}))
    });
    let error = function.invoke(&batch.event()).await.error();
    assert_contains(&error, "has no partition for some rows");
    assert_contains(&error, "t_default");
    assert!(function.lines("message failed").is_empty());
    database
        .execute("CREATE TABLE t_default PARTITION OF t DEFAULT")
        .await;
    function.invoke(&batch.event()).await.assert_none_failed();
    assert_eq!(database.count("t").await, 100);
}

#[tokio::test]
async fn rows_with_a_partition_are_stored_and_do_not_wait_for_those_without() {
    let database = partitioned().await;
    let mut function = Setup::on(&database).mapping(DAYS).start().await;
    let batch = (0..20).fold(Batch::new(), |batch, number| {
        let day = if number % 4 == 0 {
            "2026-12-01"
        } else {
            "2026-11-30"
        };
        batch.body(&number.to_string(), json!({"day": day}))
    });
    function.invoke(&batch.event()).await.error();
    assert!(function.lines("message failed").is_empty());
    assert_eq!(database.count("t").await, 15);
}

#[tokio::test]
async fn a_new_not_null_column_fails_the_invocation_and_blames_no_message() {
    let database = Database::with_user_logins().await;
    let mut function = Setup::on(&database).start().await;
    database
        .execute("ALTER TABLE user_logins ADD COLUMN region text NOT NULL")
        .await;
    let batch = (0..100).fold(Batch::new(), |batch, number| {
        batch.body(&number.to_string(), login())
    });
    let error = function.invoke(&batch.event()).await.error();
    assert_contains(&error, "is not null, has no default and is not mapped");
    assert_contains(&error, "DROP NOT NULL");
    assert!(function.lines("message failed").is_empty());
    database
        .execute("ALTER TABLE user_logins ALTER COLUMN region DROP NOT NULL")
        .await;
    function.invoke(&batch.event()).await.assert_none_failed();
}

/// A warm function that casts its values to an enum type.
async fn with_enum(database: &Database) -> Function {
    database
        .execute("CREATE TYPE mood AS ENUM ('a', 'b'); CREATE TABLE t (k text PRIMARY KEY, m mood)")
        .await;
    let mapping = r#"
        table = "t"
        key = ["k"]
        [[column]]
        name = "k"
        type = "text"
        from = "@message_id"
        required = true
        [[column]]
        name = "m"
        type = "text""#;
    let mut function = Setup::on(database).mapping(mapping).start().await;
    for name in ["1", "2"] {
        let batch = Batch::new().body(name, json!({"m": "a"})).event();
        function.invoke(&batch).await.assert_none_failed();
    }
    function
}

/// This is how values of an enum are removed.
#[tokio::test]
async fn a_replaced_enum_type_is_noticed() {
    let database = Database::new().await;
    let mut function = with_enum(&database).await;
    database
        .execute(
            "CREATE TYPE mood2 AS ENUM ('a', 'c'); \
             ALTER TABLE t ALTER COLUMN m TYPE mood2 USING m::text::mood2; DROP TYPE mood",
        )
        .await;
    let batch = Batch::new().body("3", json!({"m": "c"})).event();
    function.invoke(&batch).await.assert_none_failed();
    assert_eq!(database.count("t WHERE m = 'c'").await, 1);
}

#[tokio::test]
async fn a_column_that_is_no_longer_an_enum_accepts_any_text() {
    let database = Database::new().await;
    let mut function = with_enum(&database).await;
    database
        .execute("ALTER TABLE t ALTER COLUMN m TYPE text")
        .await;
    let batch = Batch::new().body("3", json!({"m": "anything"})).event();
    function.invoke(&batch).await.assert_none_failed();
    assert_eq!(database.count("t WHERE m = 'anything'").await, 1);
}

/// A trigger for some rows may need other privileges than the statement.
#[tokio::test]
async fn a_privilege_or_index_that_only_a_trigger_needs_is_the_fault_of_its_row() {
    for code in ["42501", "42P10", "55000"] {
        let database = Database::with_user_logins().await;
        database
            .execute(&format!(
                "CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                     IF NEW.locale = 'DE' THEN RAISE EXCEPTION 'audit' USING ERRCODE = '{code}'; END IF; \
                     RETURN NEW; END $$; \
                 CREATE TRIGGER audit BEFORE INSERT ON user_logins FOR EACH ROW EXECUTE FUNCTION audit()"
            ))
            .await;
        let role = database.role("p").await;
        let url = database.url_as(&role, "p", server_address());
        let mut function = Setup::on(&database).set("DATABASE_URL", &url).start().await;
        let login = |locale: &str| login_with("locale", json!(locale));
        let batch = Batch::new()
            .body("a", login("RU"))
            .body("bad", login("DE"))
            .body("b", login("RU"));
        let answer = function.invoke(&batch.event()).await;
        assert_eq!(answer.failed_ids(), [id("bad")], "{code}");
        assert_eq!(database.count("user_logins").await, 2);
        drop(function);
    }
}

/// Two tables, each with messages of its own.
const ROUTES: &str = r#"
[[table]]
name = "xs"
when = { type = "x" }
key = ["k"]
column = [{ name = "k", type = "integer", required = true }]

[[table]]
name = "ys"
when = { type = "y" }
key = ["k"]
column = [{ name = "k", type = "integer", required = true }]
"#;

fn routed(messages: &[(&str, &str, i32)]) -> Batch {
    let body = |&(_, table, key): &(&str, &str, i32)| json!({"type": table, "k": key});
    let add = |batch: Batch, message| batch.body(message_name(message), body(message));
    messages.iter().fold(Batch::new(), add)
}

fn message_name<'m>((name, ..): &(&'m str, &str, i32)) -> &'m str {
    name
}

/// A duplicate runs no trigger, and a row of another table proves nothing of this one.
#[tokio::test]
async fn a_table_that_takes_no_new_row_makes_no_dead_letter_whatever_else_is_acknowledged() {
    let (database, dead) = (Database::with_tables_of(ROUTES).await, Queue::new().await);
    let setup = Setup::on(&database).on_aws().mapping(ROUTES);
    let setup = setup.set("DEAD_LETTER_QUEUE_URL", &dead.url);
    let mut function = setup.start().await;
    let stored = routed(&[("duplicate", "y", 1)]);
    function.invoke(&stored.event()).await.assert_none_failed();
    let trigger =
        "BEGIN IF NEW.k < 10 THEN INSERT INTO nowhere VALUES (1); END IF; RETURN NEW; END";
    database
        .execute(&format!(
            "CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$ {trigger} $$; \
             CREATE TRIGGER audit AFTER INSERT ON ys FOR EACH ROW EXECUTE FUNCTION audit()"
        ))
        .await;
    let refused = [("duplicate", "y", 1), ("other", "x", 1), ("new", "y", 2)];
    let event = routed(&refused).delivered(3).event();
    assert_eq!(function.invoke(&event).await.failed_ids(), [id("new")]);
    // Once the table takes another row, the refused one is at fault.
    let proven = [("new", "y", 2), ("fine", "y", 10)];
    let event = routed(&proven).delivered(4).event();
    function.invoke(&event).await.assert_none_failed();
    assert_eq!(dead.dead_letters(1).await.len(), 1);
}

/// Postgres names the partition, not the table of the mapping.
#[tokio::test]
async fn a_new_not_null_column_of_a_partitioned_table_blames_no_message_of_several_tables() {
    let database = Database::with_tables_of(ROUTES).await;
    database
        .execute(
            "DROP TABLE ys; CREATE TABLE ys (k integer PRIMARY KEY, more text NOT NULL) PARTITION BY RANGE (k); \
             CREATE TABLE ys_default PARTITION OF ys DEFAULT",
        )
        .await;
    let mut function = Setup::on(&database).mapping(ROUTES).start().await;
    let batch = routed(&[("x", "x", 1), ("y", "y", 1)]);
    let error = function.invoke(&batch.event()).await.error();
    assert_contains(&error, "more");
    assert_contains(&error, "is not mapped");
    assert!(function.lines("message failed").is_empty());
    assert_eq!(database.count("xs").await, 1);
}

/// A trigger may choose the code of a refused password.
#[tokio::test]
async fn a_row_that_a_trigger_refuses_as_a_server_refuses_a_password_does_not_affect_the_others() {
    let database = Database::with_tables_of(ROUTES).await;
    let trigger = "BEGIN IF NEW.k = 2 THEN RAISE EXCEPTION 'no' USING ERRCODE = '28000'; END IF; RETURN NEW; END";
    database
        .execute(&format!(
            "CREATE FUNCTION known() RETURNS trigger LANGUAGE plpgsql AS $$ {trigger} $$; \
             CREATE TRIGGER known BEFORE INSERT ON xs FOR EACH ROW EXECUTE FUNCTION known()"
        ))
        .await;
    let mut function = Setup::on(&database).mapping(ROUTES).start().await;
    let batch = routed(&[("a", "x", 1), ("bad", "x", 2), ("b", "x", 3)]);
    let answer = function.invoke(&batch.event()).await;
    assert_eq!(answer.failed_ids(), [id("bad")]);
    assert_eq!(database.count("xs").await, 2);
}

/// While an index of the key is rebuilt, Postgres may raise a violation of it in spite of `ON CONFLICT`.
#[tokio::test]
async fn a_violation_of_the_key_itself_is_retried() {
    let database = Database::new().await;
    database
        .execute(
            "CREATE TABLE t (k text CONSTRAINT t_key PRIMARY KEY); CREATE SEQUENCE tries; \
             CREATE FUNCTION violate() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                 IF nextval(TG_TABLE_SCHEMA || '.tries') < 3 THEN \
                     RAISE unique_violation USING CONSTRAINT = 't_key', TABLE = 't', SCHEMA = TG_TABLE_SCHEMA; END IF; \
                 RETURN NEW; END $$; \
             CREATE TRIGGER violate BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION violate()",
        )
        .await;
    let mapping = Mapping::of("t").key("k").column("k", "text");
    let mapping = mapping.with("required", true);
    let mut function = Setup::on(&database).mapping(&mapping).start().await;
    let batch = Batch::new().body("a", json!({"k": "a"})).event();
    function.invoke(&batch).await.assert_none_failed();
    assert_eq!(database.count("t").await, 1);
}

/// A table whose trigger refuses rows of the locale `DE` as Postgres refuses a role without privileges, and counts the
/// statements.
async fn refusing_like_a_table() -> Database {
    let database = Database::with_user_logins().await;
    database
        .execute(
            "CREATE SEQUENCE statements; \
             CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                 IF TG_LEVEL = 'STATEMENT' THEN PERFORM nextval(TG_TABLE_SCHEMA || '.statements'); RETURN NULL; END IF; \
                 IF NEW.locale = 'DE' THEN RAISE EXCEPTION 'no' USING ERRCODE = '42501'; END IF; RETURN NEW; END $$; \
             CREATE TRIGGER first BEFORE INSERT ON user_logins FOR EACH STATEMENT EXECUTE FUNCTION refuse(); \
             CREATE TRIGGER refuse BEFORE INSERT ON user_logins FOR EACH ROW EXECUTE FUNCTION refuse()",
        )
        .await;
    database
}

fn logins(count: usize, is_bad: impl Fn(usize) -> bool) -> Batch {
    (0..count).fold(Batch::new(), |batch, number| {
        let locale = if is_bad(number) { "DE" } else { "RU" };
        batch.body(&number.to_string(), login_with("locale", json!(locale)))
    })
}

#[tokio::test]
async fn rows_at_the_front_that_are_refused_like_a_table_do_not_affect_those_behind_them() {
    for bad in [8, 15, 19] {
        let database = refusing_like_a_table().await;
        let mut function = Setup::on(&database).start().await;
        let answer = function
            .invoke(&logins(20, |number| number < bad).event())
            .await;
        let refused: Vec<_> = (0..bad).map(|number| id(&number.to_string())).collect();
        assert_eq!(answer.failed_ids(), refused);
        assert_eq!(database.count("user_logins").await, 20 - bad as i64);
    }
}

#[tokio::test]
async fn a_fault_of_the_table_fails_the_invocation_after_a_few_statements() {
    let database = refusing_like_a_table().await;
    let mut function = Setup::on(&database).start().await;
    let error = function
        .invoke(&logins(1_000, |_| true).event())
        .await
        .error();
    assert_contains(&error, "42501");
    let statements = database
        .rows("SELECT last_value::text FROM statements")
        .await;
    let statements: i64 = statements[0][0].parse().unwrap();
    assert!(statements < 50, "{statements}");
    assert!(function.lines("message failed").is_empty());
}

/// Lambda sends the records of one queue, but other callers can send any.
#[tokio::test]
async fn records_of_a_fifo_queue_and_of_another_in_one_event_are_stored() {
    let database = Database::with_user_logins().await;
    let mut function = Setup::on(&database).start().await;
    let first = Batch::fifo().grouped("anna", "a1", login());
    let bad = login_with("ip", json!(null));
    let then = Batch::new()
        .body("b1", bad.clone())
        .body("b2", login())
        .body("b3", login());
    let last = Batch::fifo()
        .grouped("anna", "a2", bad)
        .grouped("anna", "a3", login());
    let records: Vec<_> = [first, then, last]
        .iter()
        .flat_map(|batch| {
            batch.event()["Records"]
                .as_array()
                .cloned()
                .unwrap_or_default()
        })
        .collect();
    let answer = function.invoke(&json!({"Records": records})).await;
    assert_eq!(answer.failed_ids(), ids(&["b1", "a2", "a3"]));
    assert_eq!(database.count("user_logins").await, 3);
}
