//! `remask`: tokens of older keys become tokens of the current one, while functions store rows, and whatever happens to
//! the tool meanwhile.

use std::fmt::Write as _;

use bytes::BytesMut;
use mapping::internals::Masker;
use mapping::{KeyRing, Mask, MaskKey};
use serde_json::{Value, json};
use tokio_postgres::types::Type;

use crate::tool::{Ended, Tool};
use testkit::aws::Secret;
use testkit::batch::Batch;
use testkit::pgbouncer::PgBouncer;
use testkit::proxy::Proxy;
use testkit::{
    Database, MASK_KEY, Mapping, Setup, assert_contains, database_name, eventually, server_address,
    superuser,
};

/// Another key of 64 bytes.
pub(crate) const NEXT_KEY: &str =
    "QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFlaW1xdXl9gYWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXp7fH1+fw==";

/// Part of every value.
const CANARY: &str = "zq9canary";

/// The ids of the keys in front of tokens.
const NEW: &str = "2026.%";

/// Two keys; the second is the current one.
pub(crate) fn ring() -> Value {
    json!({"mask_keys": {"": MASK_KEY, "2026": NEXT_KEY}, "current": "2026"})
}

/// Makes and reads the tokens of one key.
pub(crate) fn masker(id: &str, key: &str) -> Masker {
    let key = MaskKey::from_base64(key).unwrap();
    let ring = match id {
        "" => key.into(),
        id => KeyRing::new([(id.to_owned(), key)].into(), id).unwrap(),
    };
    Masker::new(Mask::AesSiv, Some(&ring)).unwrap()
}

fn token_of(masker: &Masker, value: &str) -> String {
    let mut token = BytesMut::new();
    masker.write_token(value, &mut token).unwrap();
    String::from_utf8(token.to_vec()).unwrap()
}

pub(crate) fn old(value: &str) -> String {
    token_of(&masker("", MASK_KEY), value)
}

fn new(value: &str) -> String {
    token_of(&masker("2026", NEXT_KEY), value)
}

/// A number as the key, a masked name, and the id of the key.
fn people(database: &Database) -> Mapping {
    let mapping = Mapping::of("people").within(database).key("id");
    let mapping = mapping.set("on_conflict", "update");
    let mapping = mapping.column("id", "integer").with("required", true);
    let mapping = mapping.column("name", "text").with("mask", "aes-siv");
    mapping
        .column("key_id", "text")
        .with("from", "@mask_key_id")
}

/// The secret with both keys, a table of the mapping, and the tool.
struct Rotated {
    database: Database,
    secret: Secret,
    tool: Tool,
}

impl Rotated {
    async fn with(mapping: impl Fn(&Database) -> Mapping) -> Self {
        let database = Database::new().await;
        let mapping = mapping(&database);
        let ddl = Tool::on(&database).mapping(&mapping).run("ddl").await;
        database.execute(&ddl.out).await;
        let secret = Secret::new(&ring().to_string()).await;
        let tool = Tool::bare().on_aws().mapping(&mapping);
        let tool = tool.set("DATABASE_URL", &database.url());
        let tool = tool.set("MASK_SECRET_ID", &secret.id);
        Self {
            database,
            secret,
            tool,
        }
    }

    /// With rows of the old key: as many, whose values repeat after a thousand.
    async fn people(count: i64) -> Self {
        let rotated = Self::with(people).await;
        let tokens: Vec<String> = (0..1_000.min(count)).map(|at| old(&name(at))).collect();
        let sql = "INSERT INTO people SELECT n, ($1::text[])[1 + n % 1000], '' FROM generate_series(0, $2::bigint - 1) AS n";
        let client = &rotated.database.client;
        client
            .query_typed(sql, &[(&tokens, Type::TEXT_ARRAY), (&count, Type::INT8)])
            .await
            .unwrap();
        rotated.database.execute("ANALYZE people").await;
        rotated
    }

    async fn new_tokens(&self) -> i64 {
        let new = format!("people WHERE name LIKE '{NEW}' AND key_id = '2026'");
        self.database.count(&new).await
    }

    /// Waits until this many rows have the new key.
    async fn wait_for(&self, count: i64) {
        let what = format!("{count} rows have the new key");
        eventually(&what, async || {
            (self.new_tokens().await >= count).then_some(())
        })
        .await;
    }

    async fn name(&self, id: i64) -> String {
        let sql = format!("SELECT name FROM people WHERE id = {id}");
        self.database.rows(&sql).await.concat().concat()
    }

    /// The tool under another URL of the database.
    fn tool_at(&self, url: &str) -> Tool {
        let tool = Tool::bare().on_aws().mapping(&people(&self.database));
        let tool = tool.set("MASK_SECRET_ID", &self.secret.id);
        tool.set("DATABASE_URL", url)
    }
}

fn name(at: i64) -> String {
    format!("{CANARY}-{at}")
}

fn assert_done(ended: &Ended) {
    assert_eq!(ended.code, 0, "{}{}", ended.out, ended.err);
}

/// The reason for which it does not start.
async fn refusal(rotated: &Rotated) -> String {
    let ended = rotated.tool.run("remask").await;
    assert_eq!((ended.code, ended.out.as_str()), (2, ""), "{}", ended.err);
    ended.err
}

#[tokio::test]
async fn rows_are_re_encrypted_although_it_is_killed_twice_while_a_function_stores() {
    const ROWS: i64 = 100_000;
    /// Rows that the function adds, and as many that it replaces.
    const MANY: i64 = 5_000;
    let rotated = Rotated::people(ROWS).await;
    let setup = Setup::on(&rotated.database).mapping(&people(&rotated.database));
    let setup = setup.on_aws().without("MASK_KEY");
    let setup = setup.set("MASK_SECRET_ID", &rotated.secret.id);
    let mut function = setup.start().await;
    let (ended, end) = tokio::sync::oneshot::channel();
    let storing = tokio::spawn(async move {
        let (mut end, mut stored) = (end, 0);
        // New rows, and new values of rows that are waiting for their new tokens.
        while end.try_recv().is_err() {
            let ids = (stored..stored + 50).map(|at| at % MANY);
            let ids = ids.flat_map(|at| [ROWS + at, ROWS - 1 - at]);
            let batch = ids.fold(Batch::new(), |batch, id| {
                let body = json!({"id": id, "name": format!("{CANARY} by the function")});
                batch.body(&id.to_string(), body)
            });
            stored += 50;
            function.invoke(&batch.event()).await.assert_none_failed();
        }
        stored
    });
    for count in [10_000, 40_000] {
        let running = rotated.tool.start("remask");
        rotated.wait_for(count).await;
        running.signal("KILL");
        assert_eq!(running.end_or_killed().await, None);
        assert!(rotated.new_tokens().await < ROWS, "it was killed too late");
    }
    let last = rotated.tool.run("remask").await;
    assert_done(&last);
    ended.send(()).unwrap();
    storing.await.unwrap();
    assert_contains(&last.out, "re-encrypted");
    let rest = format!("people WHERE name NOT LIKE '{NEW}' OR key_id <> '2026'");
    assert_eq!(rotated.database.count(&rest).await, 0);
    assert_eq!(
        rotated
            .database
            .count(&format!("people WHERE id < {ROWS}"))
            .await,
        ROWS
    );
    let sample = format!(
        "SELECT id::text, name FROM people WHERE id < {ROWS} AND id % 97 = 0 OR id > {ROWS}"
    );
    let masker = masker("2026", NEXT_KEY);
    let mut by_function = 0;
    for row in rotated.database.rows(&sample).await {
        let (id, value) = (
            row[0].parse::<i64>().unwrap(),
            masker.value(&row[1]).unwrap(),
        );
        let is_by_function = value == format!("{CANARY} by the function");
        by_function += i64::from(is_by_function);
        assert!(is_by_function || value == name(id % 1_000), "{id}");
    }
    assert!(by_function > 0);
}

#[tokio::test]
async fn sigterm_ends_it_after_the_page_in_progress() {
    let rotated = Rotated::people(3_000).await;
    let running = rotated.tool.start("remask --rate 200");
    rotated.wait_for(200).await;
    running.signal("TERM");
    let ended = running.end().await.exits(1);
    assert_contains(&ended.out, "not finished: run it again");
    assert!(rotated.new_tokens().await < 3_000);
    assert_done(&rotated.tool.run("remask").await);
    assert_eq!(rotated.new_tokens().await, 3_000);
}

#[tokio::test]
async fn a_dry_run_counts_the_tokens_of_each_key_and_changes_nothing() {
    let rotated = Rotated::people(1_500).await;
    let one = format!("UPDATE people SET name = '{}' WHERE id < 3", new("x"));
    rotated.database.execute(&one).await;
    let dry = rotated.tool.run("remask --dry-run").await;
    assert_done(&dry);
    for part in [
        "would re-encrypt 1500 of 1500 rows",
        "name: 1497 tokens of key \"\"",
        "name: 3 tokens of key \"2026\"",
    ] {
        assert!(dry.out.contains(part), "{part}: {}", dry.out);
    }
    assert_eq!(rotated.new_tokens().await, 0);
    let found = &rotated.tool.run("remask --dry-run --json").await.json()[0];
    assert_eq!(
        (&found["rows"], &found["dry_run"]),
        (&json!(1500), &json!(true))
    );
    assert_eq!(
        found["found"][0],
        json!({"column": "name", "found": "token", "key_id": "", "count": 1497})
    );
}

#[tokio::test]
async fn what_cannot_be_read_is_counted_and_stays_with_the_id_of_its_key() {
    let rotated = Rotated::people(10).await;
    let unknown = new("x").replace("2026.", "2019.");
    let damaged = old("x").replace(|c: char| c.is_ascii_digit(), "_");
    for (id, value) in [(1, unknown.as_str()), (2, &damaged), (3, CANARY), (4, "")] {
        let sql = format!("UPDATE people SET name = '{value}' WHERE id = {id}");
        rotated.database.execute(&sql).await;
    }
    rotated
        .database
        .execute("UPDATE people SET name = NULL WHERE id = 5")
        .await;
    for _ in 0..2 {
        let ended = rotated.tool.run("remask").await;
        assert_eq!((ended.code, ended.err.as_str()), (1, ""));
        for part in [
            "name: 1 token of key \"2019\" unchanged: the mask secret lacks this key",
            "name: 3 values unchanged: not aes-siv tokens of these keys",
        ] {
            assert!(ended.out.contains(part), "{part}: {}", ended.out);
        }
        assert!(!ended.out.contains(CANARY));
    }
    let unread = rotated
        .database
        .rows("SELECT name, key_id FROM people WHERE id BETWEEN 1 AND 5 ORDER BY id")
        .await;
    let expected = [
        [&unknown, ""],
        [&damaged, ""],
        [CANARY, ""],
        ["", ""],
        ["∅", "2026"],
    ];
    assert_eq!(unread, expected);
    assert_eq!(rotated.new_tokens().await, 5);
}

/// The statement waits for the table while the row gets another value.
#[tokio::test]
async fn a_row_that_is_replaced_between_reading_and_writing_is_not_overwritten() {
    let rotated = Rotated::people(10).await;
    let other = Database::new().await;
    let table = format!("{}.people", rotated.database.schema);
    other
        .execute(&format!("BEGIN; LOCK TABLE {table} IN SHARE MODE"))
        .await;
    let running = rotated.tool.start("remask");
    rotated.database.wait_for_waiting("people", 1).await;
    let (by_function, by_old_function) = (new("replaced"), old("replaced"));
    let replaced = format!(
        "UPDATE {table} SET name = '{by_function}', key_id = '2026' WHERE id = 7; \
         UPDATE {table} SET name = '{by_old_function}' WHERE id = 8; COMMIT"
    );
    other.execute(&replaced).await;
    assert_done(&running.end().await);
    assert_eq!(rotated.name(7).await, by_function);
    assert_eq!(rotated.name(8).await, new("replaced"));
    assert_eq!(rotated.new_tokens().await, 10);
}

#[tokio::test]
async fn rows_that_others_keep_locked_are_left_and_reported() {
    let rotated = Rotated::people(10).await;
    let lock = rotated.database.lock_rows("people", "id IN (4, 5)").await;
    let ended = rotated.tool.run("remask").await.exits(1);
    assert_contains(
        &ended.out,
        "2 rows skipped because they were locked: run it again",
    );
    assert_eq!(rotated.new_tokens().await, 8);
    drop(lock);
    assert_done(&rotated.tool.run("remask").await);
    assert_eq!(rotated.new_tokens().await, 10);
}

#[tokio::test]
async fn a_deadlock_and_a_lost_connection_are_retried() {
    let rotated = Rotated::people(2_500).await;
    let deadlock = "CREATE SEQUENCE tries; CREATE FUNCTION deadlock() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         IF nextval('tries') IN (1, 700) THEN RAISE EXCEPTION 'x' USING ERRCODE = '40P01'; END IF; RETURN NEW; END $$; \
         CREATE TRIGGER deadlock BEFORE UPDATE ON people FOR EACH ROW EXECUTE FUNCTION deadlock()";
    rotated.database.execute(deadlock).await;
    let proxy = Proxy::before(server_address()).await;
    let tool = rotated.tool_at(&rotated.database.url_through(proxy.address));
    let running = tool.start("remask --rate 500");
    rotated.wait_for(500).await;
    proxy.cut();
    assert_done(&running.end().await);
    assert!(proxy.opened() > 1);
    assert_eq!(rotated.new_tokens().await, 2_500);
}

#[tokio::test]
async fn if_an_answer_is_lost_the_number_of_changed_rows_is_a_minimum() {
    let (rotated, key) = (Rotated::people(10).await, fastrand::u32(..));
    let slow = format!(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock({key}); RETURN NEW; END $$; \
         CREATE TRIGGER slow BEFORE UPDATE ON people FOR EACH ROW EXECUTE FUNCTION slow(); SELECT pg_advisory_lock({key})"
    );
    rotated.database.execute(&slow).await;
    let proxy = Proxy::before(server_address()).await;
    let tool = rotated.tool_at(&rotated.database.url_through(proxy.address));
    let running = tool.start("remask");
    let waiting = format!("pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid = {key}");
    eventually("it changes rows", async || {
        (rotated.database.count(&waiting).await == 1).then_some(())
    })
    .await;
    proxy.lose_next_answer();
    let unlock = format!("SELECT pg_advisory_unlock({key})");
    rotated.database.execute(&unlock).await;
    let ended = running.end().await;
    assert_done(&ended);
    assert_eq!(rotated.new_tokens().await, 10);
    assert_contains(&ended.out, "re-encrypted at least");
}

#[tokio::test]
async fn an_interrupt_during_an_outage_still_says_what_was_changed() {
    let rotated = Rotated::people(3_000).await;
    let proxy = Proxy::before(server_address()).await;
    let tool = rotated.tool_at(&rotated.database.url_through(proxy.address));
    let running = tool.start("remask --rate 200");
    rotated.wait_for(200).await;
    proxy.refuse(true);
    proxy.cut();
    eventually("it connects again", async || {
        (proxy.refused() > 0).then_some(())
    })
    .await;
    running.signal("TERM");
    let ended = running.end().await;
    assert_ne!(ended.code, 0);
    assert_contains(&ended.out, "not finished: run it again");
}

#[tokio::test]
async fn a_pooler_in_transaction_mode_works() {
    let Some(pooler) = PgBouncer::before(server_address()).await else {
        return;
    };
    let rotated = Rotated::people(2_500).await;
    assert_done(&rotated.tool_at(&pooler.url()).run("remask").await);
    assert_eq!(rotated.new_tokens().await, 2_500);
}

/// A server that logs all it can, to its client too, and a proxy that hears both.
#[tokio::test]
async fn no_value_travels_or_is_in_an_output_or_in_the_log_of_postgres() {
    let rotated = Rotated::people(1_500).await;
    rotated
        .database
        .execute("UPDATE people SET name = 'cannot be read' WHERE id = 1")
        .await;
    let proxy = Proxy::before(server_address()).await;
    let (user, password) = superuser();
    let options = [
        format!("search_path={}", rotated.database.schema),
        "log_statement=all".into(),
        "log_min_duration_statement=0".into(),
        "log_parameter_max_length_on_error=-1".into(),
        "client_min_messages=log".into(),
    ];
    let options = options.iter().fold(String::new(), |mut text, option| {
        write!(text, "-c%20{}%20", option.replace('=', "%3D")).unwrap();
        text
    });
    let url = format!(
        "postgresql://{user}:{password}@{}/{}?sslmode=disable&options={options}",
        proxy.address,
        database_name()
    );
    let tool = rotated.tool_at(&url).set("AWS_LAMBDA_LOG_LEVEL", "TRACE");
    let tool = tool.set("RUST_LOG", "trace");
    let mut heard = String::new();
    for arguments in ["--dry-run", "--dry-run --json", "", "--json"] {
        let ended = tool.run(&format!("remask {arguments}")).await.exits(1);
        heard += &(ended.out + &ended.err);
    }
    let travelled = [proxy.sent().concat(), proxy.answered()].concat();
    heard += &String::from_utf8_lossy(&travelled);
    assert!(
        heard.contains("FOR NO KEY UPDATE") && heard.contains("duration: "),
        "Postgres does not log"
    );
    assert!(!heard.contains(CANARY));
    for key in [MASK_KEY, NEXT_KEY] {
        assert!(!heard.contains(key));
    }
    assert_eq!(rotated.new_tokens().await, 1_499);
}

#[tokio::test]
async fn rows_of_child_tables_are_re_encrypted_too() {
    let mapping = r#"
        [[table]]
        name = "SCHEMA.orders"
        key = ["id"]
        on_conflict = "update"
        column = [
          { name = "id", type = "bigint", required = true },
          { name = "email", type = "varchar(100)", mask = "aes-siv" },
        ]
        [[table]]
        name = "SCHEMA.lines"
        parent = "SCHEMA.orders"
        each = "lines"
        key = ["id", "line"]
        column = [
          { name = "id", type = "bigint", from = "^.id", required = true },
          { name = "line", type = "integer", from = "@index" },
          { name = "recipient", type = "text", mask = "aes-siv" },
        ]
    "#;
    let database = Database::new().await;
    let mapping = mapping.replace("SCHEMA", &database.schema);
    let secret = Secret::new(&json!({"mask_key": MASK_KEY}).to_string()).await;
    let tool = Tool::on(&database).on_aws().mapping(&mapping);
    database.execute(&tool.run("ddl").await.out).await;
    let mut function = Setup::on(&database).mapping(&mapping).start().await;
    let order = |id: i64| json!({"id": id, "email": "a@example.com", "lines": [{"recipient": "b"}, {"recipient": "c"}]});
    let batch = (0..20).fold(Batch::new(), |batch, id| {
        batch.body(&id.to_string(), order(id))
    });
    function.invoke(&batch.event()).await.assert_none_failed();
    secret.put(&ring().to_string()).await;
    let ended = Tool::bare()
        .on_aws()
        .mapping(&mapping)
        .set("DATABASE_URL", &database.url());
    let ended = ended
        .set("MASK_SECRET_ID", &secret.id)
        .run("remask --json")
        .await;
    assert_done(&ended);
    let changed: Vec<_> = ended
        .json()
        .iter()
        .map(|table| table["changed"].clone())
        .collect();
    assert_eq!(changed, [json!(20), json!(40)]);
    assert_eq!(
        database
            .count(&format!("orders WHERE email = '{}'", new("a@example.com")))
            .await,
        20
    );
    for value in ["b", "c"] {
        assert_eq!(
            database
                .count(&format!("lines WHERE recipient = '{}'", new(value)))
                .await,
            20
        );
    }
}

#[tokio::test]
async fn tokens_that_are_part_of_a_key_are_refused() {
    let rotated = Rotated::with(|database| {
        let mapping = Mapping::of("people").within(database).key("name");
        let mapping = mapping.column("name", "text").with("mask", "aes-siv");
        mapping.with("required", true)
    });
    let refused = refusal(&rotated.await).await;
    assert_contains(&refused, "\"name\" is part of the key");
    assert_contains(&refused, "redelivered");
}

#[tokio::test]
async fn a_mapping_without_tokens_that_can_be_re_encrypted_is_refused() {
    let rotated = Rotated::with(|database| {
        let mapping = Mapping::of("people").within(database).key("id");
        let mapping = mapping.column("id", "integer").with("required", true);
        mapping.column("name", "text").with("mask", "hmac-sha256")
    });
    let refused = refusal(&rotated.await).await;
    assert_contains(&refused, "no column with mask = \"aes-siv\"");
}

/// The id names the key of the hashes, since tokens name their own.
#[tokio::test]
async fn the_id_of_the_key_of_hashes_remains() {
    let with_hash = |database: &Database| {
        let mapping = people(database).column("hash", "text").with("from", "name");
        mapping.with("mask", "hmac-sha256")
    };
    let rotated = Rotated::with(with_hash).await;
    let insert = format!("INSERT INTO people VALUES (1, '{}', '', 'hash')", old("x"));
    rotated.database.execute(&insert).await;
    let ended = rotated.tool.run("remask").await;
    assert_done(&ended);
    assert_contains(&ended.err, "note: hash of");
    assert_contains(&ended.err, "hmac-sha256");
    let row = rotated
        .database
        .rows("SELECT name, key_id FROM people")
        .await;
    assert_eq!(row, [[new("x"), String::new()]]);
}

#[tokio::test]
async fn a_token_that_would_not_fit_its_column_is_unchanged() {
    let rotated = Rotated::with(|database| {
        let mapping = Mapping::of("people").within(database).key("id");
        let mapping = mapping.column("id", "integer").with("required", true);
        mapping
            .column("name", "varchar(30)")
            .with("mask", "aes-siv")
    })
    .await;
    let insert = format!(
        "INSERT INTO people VALUES (1, '{}'), (2, '{}')",
        old("x"),
        old("xxxxxx")
    );
    rotated.database.execute(&insert).await;
    let ended = rotated.tool.run("remask").await.exits(1);
    assert_contains(
        &ended.out,
        "name: 1 token unchanged: too long for the column",
    );
    assert_eq!(
        [rotated.name(1).await, rotated.name(2).await],
        [new("x"), old("xxxxxx")]
    );
}

#[tokio::test]
async fn a_missing_table_key_or_privilege_is_named() {
    let rotated = Rotated::people(5).await;
    let role = rotated.database.role("password").await;
    rotated
        .database
        .execute(&format!("REVOKE UPDATE ON people FROM {role}"))
        .await;
    let url = rotated.database.url_as(&role, "password", server_address());
    let denied = rotated.tool_at(&url).run("remask").await.exits(2);
    assert_contains(&denied.err, "GRANT SELECT, UPDATE ON");
    rotated
        .database
        .execute("ALTER TABLE people DROP CONSTRAINT people_pkey")
        .await;
    assert!(refusal(&rotated).await.contains("no unique index"));
    rotated
        .database
        .execute("ALTER TABLE people ALTER id DROP NOT NULL; CREATE UNIQUE INDEX ON people (id)")
        .await;
    assert!(
        refusal(&rotated)
            .await
            .contains("ALTER COLUMN \"id\" SET NOT NULL")
    );
    rotated.database.execute("DROP TABLE people").await;
    assert!(refusal(&rotated).await.contains("is missing"));
}

/// What `check` says about keys: status and text.
async fn keys_of_check(rotated: &Rotated) -> Vec<(String, String)> {
    let check = rotated.tool.run("check --json").await;
    let lines = check.json().into_iter();
    let lines = lines.filter(|line| line["check"] == "mask keys");
    let text = |line: &Value, field: &str| line[field].as_str().unwrap().to_owned();
    lines
        .map(|line| (text(&line, "status"), text(&line, "text")))
        .collect()
}

#[tokio::test]
async fn check_counts_the_tokens_of_each_key_and_warns_of_keys_that_the_ring_lacks() {
    let rotated = Rotated::people(10).await;
    let unknown = new("x").replace("2026.", "2019.");
    let rows = [(1, new("x")), (2, unknown), (3, CANARY.to_owned())];
    for (id, value) in rows {
        let sql = format!("UPDATE people SET name = '{value}' WHERE id = {id}");
        rotated.database.execute(&sql).await;
    }
    rotated
        .database
        .execute("UPDATE people SET key_id = '2019' WHERE id = 2")
        .await;
    let found = keys_of_check(&rotated).await;
    let lacks = "of key \"2019\", which the mask secret lacks";
    let expected = [
        ("ok", "column key_id has 9 rows of key \"\"".to_owned()),
        ("warning", format!("column key_id has 1 row {lacks}")),
        ("ok", "column name has 7 tokens of key \"\"".to_owned()),
        ("warning", format!("column name has 1 token {lacks}")),
        ("ok", "column name has 1 token of key \"2026\"".to_owned()),
        (
            "warning",
            "column name has 1 value not encrypted by aes-siv".to_owned(),
        ),
    ];
    let expected = expected.map(|(status, text)| (status.to_owned(), text));
    assert_eq!(found, expected);
}

/// Arrays of tokens: two columns, one of which has room for tokens that do not name their key.
fn mails(database: &Database) -> Mapping {
    let mapping = Mapping::of("mails").within(database).key("id");
    let mapping = mapping.set("on_conflict", "update");
    let mapping = mapping.column("id", "integer").with("required", true);
    let mapping = mapping.column("to", "text[]").with("mask", "aes-siv");
    let mapping = mapping
        .column("cc", "varchar(60)[]")
        .with("mask", "aes-siv");
    mapping
        .column("key_id", "text")
        .with("from", "@mask_key_id")
}

#[tokio::test]
async fn arrays_of_tokens_are_re_encrypted_element_by_element() {
    let rotated = Rotated::with(mails).await;
    let long = "x".repeat(28);
    let rows = [
        (1, vec![Some(old("a")), None, Some(new("b"))], Some(vec![])),
        (2, vec![Some(new("a"))], None),
        (3, vec![], Some(vec![Some(old("c"))])),
        // One of them has no room for its new token, and one was never a token.
        (
            4,
            vec![Some(old("d"))],
            Some(vec![Some(old(&long)), Some(old("e"))]),
        ),
        (
            5,
            vec![Some("a\\ \"b\", NULL".to_owned()), Some(old("f"))],
            None,
        ),
    ];
    for (id, to, cc) in &rows {
        let sql = "INSERT INTO mails VALUES ($1, $2, $3, '')";
        let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 3] = [
            (id, Type::INT4),
            (to, Type::TEXT_ARRAY),
            (cc, Type::VARCHAR_ARRAY),
        ];
        let inserted = rotated.database.client.query_typed(sql, &parameters).await;
        inserted.unwrap();
    }
    // What no mapping stores is not touched.
    let nested = "INSERT INTO mails VALUES (6, '{{x},{y}}', ARRAY[$$OLD$$], '')";
    let nested = nested.replace("OLD", &old("g"));
    rotated.database.execute(&nested).await;

    let dry = rotated.tool.run("remask --dry-run").await.exits(1);
    assert_contains(&dry.out, "would re-encrypt 6 of 6 rows");
    let counted = keys_of_check(&rotated).await;
    let count = |column: &str, what: &str| {
        let said = format!("column {column} has {what}");
        assert!(
            counted.iter().any(|(_, text)| *text == said),
            "{said}: {counted:?}"
        );
    };
    count("to", "3 tokens of key \"\"");
    count("to", "2 tokens of key \"2026\"");
    count("to", "3 values not encrypted by aes-siv");
    count("cc", "4 tokens of key \"\"");

    let done = rotated.tool.run("remask").await.exits(1);
    for part in [
        "re-encrypted 6 of 6 rows",
        "cc: 1 token unchanged: too long for the column",
        "to: 2 values unchanged: not aes-siv tokens of these keys",
    ] {
        assert_contains(&done.out, part);
    }
    let masker = masker("2026", NEXT_KEY);
    let is_of = |token: &str, value: &str| {
        assert_eq!(masker.value(token).as_deref(), Ok(value), "{token}");
    };
    let shown = "SELECT id::text, coalesce(to_json(\"to\")::text, ''), coalesce(to_json(cc)::text, ''), key_id FROM mails ORDER BY id";
    let after = rotated.database.rows(shown).await;
    let elements = |text: &str| -> Vec<Option<String>> { serde_json::from_str(text).unwrap() };
    let first = elements(&after[0][1]);
    is_of(first[0].as_deref().unwrap(), "a");
    assert_eq!(first[1], None);
    is_of(first[2].as_deref().unwrap(), "b");
    assert_eq!(after[0][2..], ["[]", "2026"]);
    assert_eq!(
        after[1][1..],
        [
            format!("[\"{}\"]", new("a")),
            String::new(),
            "2026".to_owned()
        ]
    );
    assert_eq!(after[2][1], "[]");
    is_of(elements(&after[2][2])[0].as_deref().unwrap(), "c");
    let fourth = elements(&after[3][2]);
    assert_eq!(fourth[0].as_deref(), Some(&*old(&long)));
    is_of(fourth[1].as_deref().unwrap(), "e");
    let fifth = elements(&after[4][1]);
    assert_eq!(fifth[0].as_deref(), Some("a\\ \"b\", NULL"));
    is_of(fifth[1].as_deref().unwrap(), "f");
    assert_eq!(after[5][1], "[[\"x\"],[\"y\"]]");
    is_of(elements(&after[5][2])[0].as_deref().unwrap(), "g");
    // Rows with a token of the old key, or with something other than a token, do not say that they have the new key.
    assert_eq!([&after[3][3], &after[4][3], &after[5][3]], ["", "", ""]);
    let again = rotated.tool.run("remask").await.exits(1);
    assert_contains(&again.out, "re-encrypted 0 of 6 rows");
}

/// A lock stands for a large table.
#[tokio::test]
async fn check_says_if_counting_takes_too_long() {
    let rotated = Rotated::people(30).await;
    let _locked = rotated.database.lock("people").await;
    let check = rotated.tool.run("check").await;
    assert_contains(&check.out, "not counted within 5 seconds");
}

#[tokio::test]
async fn rows_that_row_security_hides_may_need_the_old_key() {
    let rotated = Rotated::people(3).await;
    let role = rotated.database.role("password").await;
    let hide = "ALTER TABLE people ENABLE ROW LEVEL SECURITY";
    rotated.database.execute(hide).await;
    let url = rotated.database.url_as(&role, "password", server_address());
    let tool = rotated.tool_at(&url);
    for command in ["remask", "remask --dry-run"] {
        let refused = tool.run(command).await;
        assert_eq!((refused.code, refused.out.as_str()), (2, ""));
        assert_contains(&refused.err, "row security hides rows of");
    }
    let check = tool.run("check").await;
    assert_contains(&check.out, "not counted: row security hides rows");
}
