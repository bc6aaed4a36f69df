//! `check`: no complaints if everything is right, and every single mistake is named.

use serde_json::{Value, json};

use crate::ddl::{EVERY_TYPE, IN_CLEAR, create};
use crate::tool::{Ended, Tool};
use testkit::pgbouncer::PgBouncer;
use testkit::port::Closed;
use testkit::tls_front::{Authority, front};
use testkit::{
    Database, Mapping, assert_contains, assert_ends, assert_starts, database_name, server_address,
    superuser,
};

const USER_LOGINS: &str = include_str!("../../../../pipeline.toml");

/// The lines that are not ok, as name, status and text.
pub(crate) fn complaints(ended: &Ended) -> Vec<(String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let lines = ended
        .json()
        .into_iter()
        .filter(|line| line["status"] != "ok");
    lines
        .map(|line| {
            let said = format!("{} {}", text(&line["text"]), text(&line["fix"]));
            (text(&line["check"]), text(&line["status"]), said)
        })
        .collect()
}

#[tokio::test]
async fn a_table_made_by_ddl_passes() {
    for mapping in [USER_LOGINS, EVERY_TYPE] {
        let database = Database::new().await;
        let tool = Tool::on(&database).mapping(mapping);
        create(&tool, &database).await;
        let check = tool.run("check --json").await;
        assert_eq!(complaints(&check), [], "{}", check.out);
        assert_eq!(check.code, 0);
    }
}

#[tokio::test]
async fn update_without_newer_is_a_warning() {
    let mapping = Mapping::of("t").key("k").set("on_conflict", "update");
    let mapping = mapping
        .column("k", "text")
        .with("required", true)
        .column("v", "date");
    let database = Database::new().await;
    let tool = Tool::on(&database).mapping(&mapping);
    create(&tool, &database).await;
    let check = tool.run("check --json").await;
    let found = complaints(&check);
    assert_eq!((check.code, found.len()), (0, 1), "{}", check.out);
    let (name, status, said) = &found[0];
    assert_eq!((name.as_str(), status.as_str()), ("newer", "warning"));
    for part in [
        "stored last wins",
        "standard queues, outages and redrive",
        "set newer =",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let newer = mapping.set("newer", "v");
    let check = Tool::on(&database)
        .mapping(&newer)
        .run("check --json")
        .await;
    assert_eq!(complaints(&check), [], "{}", check.out);
    database.execute("ALTER TABLE t ALTER v TYPE text").await;
    let tool = Tool::on(&database).mapping(&newer);
    let check = tool.run("check --json").await;
    let found = complaints(&check);
    assert_eq!((check.code, found.len()), (2, 1), "{}", check.out);
    assert!(
        found[0].2.contains("text does not sort like times")
            && found[0].2.contains("ddl --diff --allow-loss"),
        "{found:?}"
    );
    let diff = tool.run("ddl --diff --allow-loss").await;
    database.execute(&diff.out).await;
    assert_eq!(complaints(&tool.run("check --json").await), []);
}

#[tokio::test]
async fn columns_in_plaintext_on_purpose_and_trusted_origins_have_a_line_each() {
    let database = Database::new().await;
    let trusting = Mapping::by_message_id("t").set("on_conflict", "update");
    let trusting = trusting.set("newer", "at").set("trust_origin", true);
    let trusting = trusting
        .column("at", "timestamptz")
        .with("from", "@sent_at")
        .to_string();
    let cases = [
        (IN_CLEAR, "plaintext", "masks (clear = true)"),
        (trusting.as_str(), "origin", "(trust_origin = true)"),
    ];
    for (mapping, name, expected) in cases {
        let tool = Tool::on(&database).mapping(mapping);
        create(&tool, &database).await;
        let check = tool.run("check --json").await;
        assert_eq!(complaints(&check), [], "{}", check.out);
        let lines = check.json();
        let line = lines.iter().find(|line| line["check"] == name).unwrap();
        assert!(line["text"].as_str().unwrap().contains(expected), "{line}");
    }
}

/// Runs SQL on the table of the shipped mapping, and returns what `check` then complains about.
async fn after(sql: &str) -> Vec<(String, String, String)> {
    let database = Database::new().await;
    let tool = Tool::on(&database).mapping(USER_LOGINS);
    create(&tool, &database).await;
    database.execute(sql).await;
    let check = tool.run("check --json").await;
    let found = complaints(&check);
    let is_failure = found.iter().any(|(_, status, _)| status == "failure");
    assert_eq!(check.code, if is_failure { 2 } else { 0 }, "{}", check.out);
    found
}

#[tokio::test]
async fn each_single_mistake_in_the_table_is_named_with_its_fix() {
    let failure = "failure";
    let mistakes = [
        (
            "DROP TABLE user_logins",
            "table",
            failure,
            "CREATE TABLE \"user_logins\" ( \"message_id\" uuid NOT NULL,",
        ),
        (
            "ALTER TABLE user_logins DROP COLUMN locale",
            "column locale",
            failure,
            "ADD COLUMN \"locale\" varchar(32);",
        ),
        (
            "ALTER TABLE user_logins ALTER user_id TYPE varchar(127)",
            "column user_id",
            failure,
            "varchar(127) in the table is too narrow for varchar(128): Postgres refuses values that do not fit ALTER TABLE \"user_logins\" ALTER COLUMN \"user_id\" TYPE varchar(128)",
        ),
        (
            "ALTER TABLE user_logins ALTER masked_ip TYPE varchar(63)",
            "column masked_ip",
            failure,
            "too narrow",
        ),
        (
            "ALTER TABLE user_logins ALTER app_version TYPE smallint",
            "column app_version",
            failure,
            "too narrow for integer",
        ),
        (
            "ALTER TABLE user_logins ALTER app_version TYPE boolean USING false",
            "column app_version",
            failure,
            "boolean in the table cannot store integer",
        ),
        (
            "ALTER TABLE user_logins ALTER create_date TYPE timestamptz",
            "column create_date",
            "warning",
            "midnight in the time zone",
        ),
        (
            "ALTER TABLE user_logins ALTER locale SET NOT NULL",
            "column locale",
            failure,
            "ALTER COLUMN \"locale\" DROP NOT NULL;",
        ),
        (
            "ALTER TABLE user_logins ADD CHECK (locale IS NOT NULL)",
            "column locale",
            failure,
            "may be null, but the constraint user_logins_locale_check of the table refuses that",
        ),
        (
            "ALTER TABLE user_logins ADD CONSTRAINT \"Given\" CHECK (coalesce(locale, '') <> '')",
            "column locale",
            failure,
            "may be null, but the constraint \"Given\" of the table refuses that",
        ),
        (
            "ALTER TABLE user_logins ADD other text NOT NULL",
            "column other",
            failure,
            "refuses every row ALTER TABLE \"user_logins\" ALTER COLUMN \"other\" DROP NOT NULL;",
        ),
        (
            "ALTER TABLE user_logins DROP COLUMN locale, ADD locale varchar(32) GENERATED ALWAYS AS ('x') STORED",
            "column locale",
            failure,
            "generated",
        ),
        (
            "ALTER TABLE user_logins DROP CONSTRAINT user_logins_pkey",
            "key",
            failure,
            "CREATE UNIQUE INDEX CONCURRENTLY ON \"user_logins\" (\"message_id\");",
        ),
        (
            "ALTER TABLE user_logins DROP CONSTRAINT user_logins_pkey; CREATE UNIQUE INDEX ON user_logins (message_id) WHERE locale IS NULL",
            "key",
            failure,
            "no unique index",
        ),
        (
            "ALTER TABLE user_logins DROP CONSTRAINT user_logins_pkey, ADD UNIQUE (message_id) DEFERRABLE",
            "key",
            failure,
            "no unique index",
        ),
        (
            "ALTER TABLE user_logins DROP CONSTRAINT user_logins_pkey, ADD PRIMARY KEY (message_id, user_id)",
            "key",
            failure,
            "no unique index",
        ),
        (
            "ALTER TABLE user_logins RENAME TO t; CREATE VIEW user_logins AS TABLE t",
            "table",
            failure,
            "is not a table",
        ),
    ];
    for (sql, name, status, said) in mistakes {
        let found = after(sql).await;
        let named = found.iter().find(|(check, ..)| check == name);
        let (_, found_status, found_said) = named.unwrap_or_else(|| panic!("{sql}: {found:?}"));
        assert_eq!(found_status, status, "{sql}: {found:?}");
        assert!(found_said.contains(said), "{sql}: {found_said}");
        let is_view = sql.contains("VIEW");
        assert!(found.len() == 1 || is_view, "{sql}: {found:?}");
    }
}

/// Postgres does so silently: https://www.postgresql.org/docs/18/datatype-numeric.html.
#[tokio::test]
async fn a_column_with_fewer_digits_is_reported_as_rounding() {
    let database = Database::new().await;
    let tool = Tool::on(&database).mapping(EVERY_TYPE);
    create(&tool, &database).await;
    for column in ["exact", "double"] {
        let narrow = format!("ALTER TABLE every_type ALTER {column} TYPE numeric(10, 2)");
        database.execute(&narrow).await;
    }
    let found = complaints(&tool.run("check --json").await);
    assert_eq!(found.len(), 2, "{found:?}");
    for (_, _, said) in found {
        assert_contains(&said, "rounds to the digits it stores");
    }
}

#[tokio::test]
async fn what_only_looks_like_a_mistake_is_not_reported() {
    let fine = [
        "ALTER TABLE user_logins ALTER user_id TYPE text",
        "ALTER TABLE user_logins ALTER app_version TYPE bigint",
        "ALTER TABLE user_logins ALTER app_version TYPE numeric(10, 0)",
        "ALTER TABLE user_logins ALTER masked_ip TYPE char(64)",
        "ALTER TABLE user_logins ADD other text NOT NULL DEFAULT '', ADD number integer GENERATED ALWAYS AS IDENTITY",
        "CREATE TYPE device AS ENUM ('ios', 'web'); ALTER TABLE user_logins ALTER device_type TYPE device USING NULL",
        "ALTER TABLE user_logins ADD CHECK (locale <> ''), ADD CHECK (user_id IS NOT NULL), ADD CHECK (locale IS NOT NULL OR app_version IS NULL)",
        "CREATE DOMAIN country AS varchar(32); ALTER TABLE user_logins ALTER locale TYPE country",
        "ALTER TABLE user_logins DROP CONSTRAINT user_logins_pkey; CREATE UNIQUE INDEX ON user_logins (message_id) INCLUDE (user_id)",
    ];
    for sql in fine {
        assert_eq!(after(sql).await, [], "{sql}");
    }
}

/// Messages with different keys would be stored as one row.
#[tokio::test]
async fn a_column_that_rounds_a_key_is_a_failure() {
    for rounds in ["timestamptz(0)", "date", "double precision"] {
        let database = Database::new().await;
        let mapped = if rounds.starts_with("double") {
            "numeric"
        } else {
            "timestamptz"
        };
        let mapping = Mapping::of("t").within(&database).key("at");
        let mapping = mapping.column("at", mapped).with("required", true);
        let sql = format!("CREATE TABLE t (at {rounds} PRIMARY KEY)");
        database.execute(&sql).await;
        let tool = Tool::on(&database).mapping(&mapping.to_string());
        let found = complaints(&tool.run("check --json").await);
        let [(name, status, _)] = &found[..] else {
            panic!("{rounds}: {found:?}");
        };
        assert_eq!((name.as_str(), status.as_str()), ("column at", "failure"));
    }
}

/// What a table with a precision of its own does to values, by Postgres's own casts:
/// https://www.postgresql.org/docs/18/datatype.html.
#[tokio::test]
async fn what_the_precision_of_a_column_changes_or_refuses_is_named() {
    let database = Database::new().await;
    let tool = Tool::on(&database).mapping(EVERY_TYPE);
    create(&tool, &database).await;
    let [ok, warning, failure] = ["", "warning", "failure"];
    let cases = [
        ("price", "numeric(14,4)", ok, ""),
        ("price", "numeric", ok, ""),
        ("price", "varchar(15)", ok, ""),
        ("price", "varchar(14)", failure, "refuses values"),
        ("price", "numeric(12,1)", failure, "rounds to the digits"),
        ("price", "numeric(11,2)", failure, "refuses values"),
        ("price", "double precision", warning, "rounds values"),
        ("price", "bigint", failure, "rounds to the digits"),
        // The column of `newer`: an older message would replace a row, or a newer one would not.
        ("instant", "timestamptz(3)", failure, "rounds values"),
        ("instant", "timestamptz(6)", ok, ""),
        ("local", "timestamp(0)", warning, "rounds values"),
        ("local", "timestamptz", warning, "time zone of the session"),
        ("local", "date", warning, "keeps only the day"),
        ("opens", "time(0)", warning, "rounds values"),
        ("opens", "varchar(15)", ok, ""),
        ("sent", "jsonb", ok, ""),
        ("tags", "varchar(9)[]", failure, "refuses values"),
        ("tags", "text", ok, ""),
        ("prices", "numeric(9,2)[]", failure, "numeric(9,2)[]"),
        ("prices", "numeric(14,3)[]", ok, ""),
        ("prices", "numeric(12,2)", failure, "numeric(12,2)[]"),
        ("times", "timestamptz(3)[]", warning, "timestamptz(3)[]"),
        ("flags", "integer[]", failure, "boolean[]"),
        ("seal", "text", ok, ""),
    ];
    for (column, of, status, said) in cases {
        let sql = format!(
            "ALTER TABLE every_type DROP COLUMN {column}; ALTER TABLE every_type ADD COLUMN {column} {of}"
        );
        database.execute(&sql).await;
        let found = complaints(&tool.run("check --json").await);
        let name = format!("column {column}");
        let found = found.iter().find(|(check, ..)| *check == name);
        let (found_status, text) = found.map_or(("", ""), |(_, status, text)| {
            (status.as_str(), text.as_str())
        });
        assert_eq!(found_status, status, "{column} {of}: {text}");
        assert!(text.contains(said), "{column} {of}: {text}");
    }
}

#[tokio::test]
async fn a_privilege_that_is_not_granted_is_named_with_its_grant() {
    let database = Database::new().await;
    let (schema, password) = (&database.schema, "p");
    let update = USER_LOGINS.replace(
        "on_conflict = \"ignore\"",
        "on_conflict = \"update\"\nnewer = \"create_date\"",
    );
    create(&Tool::on(&database).mapping(USER_LOGINS), &database).await;
    let role = database.role(password).await;
    let url = database.url_as(&role, password, server_address());
    let qualified =
        |mapping: &str| mapping.replace("\"user_logins\"", &format!("\"{schema}.user_logins\""));
    let grants = format!("REVOKE ALL ON user_logins FROM {role}; ");
    let cases = [
        (
            USER_LOGINS,
            "".to_owned(),
            "grants",
            "INSERT, SELECT not granted",
        ),
        (
            USER_LOGINS,
            format!("GRANT SELECT ON user_logins TO {role}"),
            "grants",
            "GRANT INSERT ON",
        ),
        (
            USER_LOGINS,
            format!("GRANT INSERT ON user_logins TO {role}"),
            "grants",
            "GRANT SELECT ON",
        ),
        (
            &update,
            format!("GRANT INSERT, SELECT ON user_logins TO {role}"),
            "grants",
            "GRANT UPDATE ON",
        ),
        (
            USER_LOGINS,
            format!("REVOKE USAGE ON SCHEMA {schema} FROM {role}"),
            "table",
            "GRANT USAGE ON SCHEMA",
        ),
    ];
    for (mapping, sql, name, said) in cases {
        database.execute(&format!("{grants}{sql}")).await;
        let tool = Tool::on(&database)
            .set("DATABASE_URL", &url)
            .mapping(&qualified(mapping));
        let found = complaints(&tool.run("check --json").await);
        let [(check, status, text)] = &found[..] else {
            panic!("{sql}: {found:?}")
        };
        assert_eq!(
            (check.as_str(), status.as_str()),
            (name, "failure"),
            "{sql}"
        );
        assert!(text.contains(said), "{sql}: {text}");
        // It names the role that connects, so it can be run unchanged.
        let mut found = found;
        while let Some((_, _, text)) = found.first() {
            let (_, grant) = text.split_once("GRANT").expect(text);
            database.execute(&format!("GRANT{grant}")).await;
            found = complaints(&tool.run("check --json").await);
        }
    }
    // Exactly the necessary privileges, column by column, are enough.
    let columns = "message_id, user_id, device_type, masked_ip, masked_device_id, locale, app_version, create_date";
    let enough = format!(
        "{grants}GRANT USAGE ON SCHEMA {schema} TO {role}; GRANT INSERT ({columns}), SELECT (message_id) ON user_logins TO {role}"
    );
    database.execute(&enough).await;
    let tool = Tool::on(&database)
        .set("DATABASE_URL", &url)
        .mapping(&qualified(USER_LOGINS));
    assert_eq!(complaints(&tool.run("check --json").await), []);
}

#[tokio::test]
async fn row_security_is_a_warning_whose_fix_names_the_role() {
    let database = Database::with_user_logins().await;
    let role = database.role("p").await;
    let enable = "ALTER TABLE user_logins ENABLE ROW LEVEL SECURITY";
    database.execute(enable).await;
    let url = database.url_as(&role, "p", server_address());
    let tool = Tool::on(&database).set("DATABASE_URL", &url);
    let found = complaints(&tool.run("check --json").await);
    let [(check, status, text)] = &found[..] else {
        panic!("{found:?}")
    };
    assert_eq!(
        (check.as_str(), status.as_str()),
        ("row security", "warning")
    );
    let (_, fix) = text.split_once("ALTER ROLE").expect(text);
    database.execute(&format!("ALTER ROLE{fix}")).await;
    assert_eq!(complaints(&tool.run("check --json").await), []);
}

#[tokio::test]
async fn a_schema_that_does_not_exist_is_named() {
    let database = Database::new().await;
    let mapping = USER_LOGINS.replace("\"user_logins\"", "\"nowhere.user_logins\"");
    let check = Tool::on(&database)
        .mapping(&mapping)
        .run("check --json")
        .await;
    let found = complaints(&check);
    assert_eq!(found[0].0, "table");
    assert!(
        found[0]
            .2
            .ends_with("CREATE SCHEMA IF NOT EXISTS \"nowhere\";"),
        "{found:?}"
    );
}

#[tokio::test]
async fn a_mapping_a_key_or_a_setting_that_cannot_work_is_named() {
    let database = Database::new().await;
    create(&Tool::on(&database), &database).await;
    let tool = Tool::on(&database).mapping("table = 1");
    let check = tool.run("check --json").await;
    assert_eq!(
        (check.code, complaints(&check)[0].0.as_str()),
        (2, "mapping")
    );
    let check = Tool::on(&database)
        .set("MASK_KEY", "")
        .run("check --json")
        .await;
    assert_eq!((check.code, complaints(&check)[0].0.as_str()), (2, "masks"));
    let check = Tool::bare()
        .set("MASK_KEY", testkit::MASK_KEY)
        .run("check --json")
        .await;
    assert_eq!(
        (check.code, complaints(&check)[0].0.as_str()),
        (2, "database")
    );
}

#[tokio::test]
async fn an_unavailable_database_has_its_own_exit_code() {
    let closed = Closed::new();
    let url = format!("postgresql://u:s3cret@{}/d", closed.address());
    let tool = Tool::bare().set("MASK_KEY", testkit::MASK_KEY);
    let check = tool.set("DATABASE_URL", &url).run("check").await.exits(3);
    assert!(!check.out.contains("s3cret") && !check.err.contains("s3cret"));
}

#[tokio::test]
async fn flags_override_the_environment() {
    let database = Database::new().await;
    create(&Tool::on(&database), &database).await;
    let tool = Tool::on(&database)
        .set("DATABASE_URL", "")
        .set("DB_SECRET_ID", "nowhere");
    let check = tool
        .run(&format!("check --json --database-url {}", database.url()))
        .await;
    assert_eq!(complaints(&check), [], "{}", check.out);
    assert_eq!(
        check.json()[0],
        json!({"check": "mapping", "status": "ok", "fix": null,
        "text": "pipeline.toml: 8 columns into \"user_logins\", key message_id"})
    );
}

/// The shipped mapping into partitions, by date, as shipped, or by time.
fn partitioned(by_instant: bool) -> String {
    let by_day = USER_LOGINS.replace(
        "key = [\"message_id\"]",
        "key = [\"message_id\", \"create_date\"]",
    );
    if by_instant {
        by_day.replace("type = \"date\"", "type = \"timestamptz\"")
    } else {
        by_day
    }
}

#[tokio::test]
async fn a_missing_next_partition_is_a_warning() {
    for by_instant in [false, true] {
        let database = Database::new().await;
        let tool = Tool::on(&database).mapping(&partitioned(by_instant));
        let ddl = tool.run("ddl --partition-by create_date").await;
        database.execute(&ddl.out).await;
        let months = database
            .rows("SELECT to_char(now(), 'YYYY_MM'), to_char(now() + interval '1 month', 'YYYY_MM'), to_char(now() + interval '1 month', 'YYYY-MM-01')")
            .await;
        let [this_month, next_month, next_day] = &months[0][..] else {
            panic!("{months:?}")
        };
        let steps = [
            ("DROP TABLE user_logins_default".to_owned(), None),
            (
                format!("DROP TABLE user_logins_{next_month}"),
                Some(format!("with create_date from {next_day}")),
            ),
            (
                format!("DROP TABLE user_logins_{this_month}"),
                Some("current rows (create_date 2".to_owned()),
            ),
            (
                "CREATE TABLE rest PARTITION OF user_logins FOR VALUES FROM (MINVALUE) TO (MAXVALUE)"
                    .to_owned(),
                None,
            ),
        ];
        for (sql, expected) in steps {
            if sql.starts_with("CREATE") {
                database.execute("DO $$ DECLARE part regclass; BEGIN FOR part IN SELECT inhrelid FROM pg_inherits WHERE inhparent = 'user_logins'::regclass LOOP EXECUTE 'DROP TABLE ' || part; END LOOP; END $$").await;
            }
            database.execute(&sql).await;
            let check = tool.run("check --json").await;
            let found = complaints(&check);
            let Some(expected) = expected else {
                assert_eq!(found, [], "{sql}");
                continue;
            };
            let [(name, status, said)] = &found[..] else {
                panic!("{sql}: {found:?}")
            };
            assert_eq!((name.as_str(), status.as_str()), ("partitions", "warning"));
            assert!(said.contains(&expected), "{sql}: {said}");
            assert_ends(
                &said,
                "CREATE TABLE \"user_logins_default\" PARTITION OF \"user_logins\" DEFAULT;",
            );
        }
    }
}

#[tokio::test]
async fn a_unique_index_of_a_partitioned_table_is_not_built_concurrently() {
    let database = Database::new().await;
    let tool = Tool::on(&database).mapping(&partitioned(false));
    let ddl = tool.run("ddl --partition-by create_date").await;
    database.execute(&ddl.out).await;
    database
        .execute("ALTER TABLE user_logins DROP CONSTRAINT user_logins_pkey")
        .await;
    let found = complaints(&tool.run("check --json").await);
    let fix = found[0].2.split_once("CREATE").unwrap().1;
    assert_eq!(
        fix,
        " UNIQUE INDEX ON \"user_logins\" (\"message_id\", \"create_date\");"
    );
    database.execute(&format!("CREATE{fix}")).await;
    assert_eq!(complaints(&tool.run("check --json").await), []);
}

#[tokio::test]
async fn a_server_that_can_lose_acknowledged_rows_is_a_warning() {
    let found = after("ALTER TABLE user_logins SET UNLOGGED").await;
    let [(name, status, said)] = &found[..] else {
        panic!("{found:?}")
    };
    assert_eq!((name.as_str(), status.as_str()), ("durability", "warning"));
    assert_ends(&said, "ALTER TABLE user_logins SET LOGGED;");
    let (found, _) = with_options("-c synchronous_commit=off").await;
    let [(name, status, said)] = &found[..] else {
        panic!("{found:?}")
    };
    assert_eq!((name.as_str(), status.as_str()), ("durability", "warning"));
    assert_contains(&said, "synchronous_commit is off");
    assert_contains(&said, "ALTER ROLE \"");
}

#[tokio::test]
async fn an_unlogged_partition_is_a_warning() {
    let database = Database::new().await;
    let tool = Tool::on(&database).mapping(&partitioned(false));
    let ddl = tool.run("ddl --partition-by create_date").await;
    database.execute(&ddl.out).await;
    database
        .execute("ALTER TABLE user_logins_default SET UNLOGGED")
        .await;
    let found = complaints(&tool.run("check --json").await);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].2.starts_with("user_logins_default is UNLOGGED"),
        "{found:?}"
    );
}

#[tokio::test]
async fn timeouts_are_shown_and_short_ones_are_warnings() {
    let (found, check) = with_options("-c statement_timeout=30s -c lock_timeout=2s").await;
    assert_eq!(found, []);
    assert_eq!(
        line(&check, "timeouts")["text"],
        "lock_timeout 2s, statement_timeout 30s"
    );
    for (name, value) in [
        ("statement_timeout", "400ms"),
        ("lock_timeout", "10ms"),
        ("idle_in_transaction_session_timeout", "100ms"),
        ("transaction_timeout", "2s"),
    ] {
        let (found, _) = with_options(&format!("-c {name}={value}")).await;
        let [(check, status, said)] = &found[..] else {
            panic!("{name}: {found:?}")
        };
        assert_eq!((check.as_str(), status.as_str()), ("timeouts", "warning"));
        assert_starts(&said, &format!("{name} is {value}"));
        assert_contains(&said, "ALTER ROLE");
    }
}

/// The complaints and the whole output of `check`, for sessions with these options.
async fn with_options(options: &str) -> (Vec<(String, String, String)>, Ended) {
    let database = Database::new().await;
    create(&Tool::on(&database), &database).await;
    let url = database.url() + "%20" + &options.replace(' ', "%20").replace('=', "%3D");
    let check = Tool::on(&database)
        .set("DATABASE_URL", &url)
        .run("check --json")
        .await
        .exits(0);
    (complaints(&check), check)
}

#[tokio::test]
async fn a_mask_without_a_key_is_a_warning() {
    let database = Database::new().await;
    let mapping = USER_LOGINS.replacen("hmac-sha256", "sha256", 1);
    let tool = Tool::on(&database).mapping(&mapping);
    create(&tool, &database).await;
    let check = tool.run("check --json").await;
    let found = complaints(&check);
    let [(name, status, said)] = &found[..] else {
        panic!("{found:?}")
    };
    assert_eq!((name.as_str(), status.as_str()), ("masks", "warning"));
    assert_contains(&said, "sha256 of column masked_ip has no key");
    assert_eq!(check.code, 0);
}

/// The lines of a check by their name.
fn line(ended: &Ended, name: &str) -> Value {
    let lines = ended.json();
    let line = lines.into_iter().find(|line| line["check"] == name);
    line.unwrap_or_else(|| panic!("no line {name}: {}", ended.out))
}

#[tokio::test]
async fn tls_says_what_is_verified_and_when_the_certificate_expires() {
    let database = Database::new().await;
    create(&Tool::on(&database), &database).await;
    let (ours, others) = (Authority::new(), Authority::new());
    let (user, password) = superuser();
    let tls = async |last_year: i32, options: &str| {
        let front = front(ours.identity("localhost", last_year)).await;
        let path = format!(
            "{}?options=-c%20search_path%3D{}",
            database_name(),
            database.schema
        );
        let url = format!(
            "postgresql://{user}:{password}@localhost:{}/{path}&{options}",
            front.port()
        );
        let check = Tool::on(&database)
            .set("DATABASE_URL", &url)
            .run("check --json")
            .await;
        (
            check.code,
            line(&check, if check.code == 3 { "database" } else { "tls" }),
        )
    };
    let verified = format!("sslmode=verify-full&sslrootcert={}", ours.path());
    let (code, found) = tls(2100, &verified).await;
    assert_eq!((code, &found["status"]), (0, &json!("ok")), "{found}");
    let text = found["text"].as_str().unwrap();
    assert_contains(&text, "verified; certificate valid until Dec 31");
    assert_contains(&text, "2100");
    let (_, unverified) = tls(2100, "sslmode=require").await;
    assert_eq!(unverified["status"], "warning");
    assert!(
        unverified["fix"].as_str().unwrap().contains("verify-full"),
        "{unverified}"
    );
    let this_year: i32 = database.rows("SELECT extract(year FROM now())::text").await[0][0]
        .parse()
        .unwrap();
    let (_, ended) = tls(this_year - 1, "sslmode=prefer").await;
    assert!(
        ended["text"].as_str().unwrap().contains("expired on"),
        "{ended}"
    );
    let wrong = format!("sslmode=verify-full&sslrootcert={}", others.path());
    assert_eq!(tls(2100, &wrong).await.0, 3);
}

#[tokio::test]
async fn an_authority_alone_is_not_enough_beyond_this_machine() {
    let database = Database::new().await;
    create(&Tool::on(&database), &database).await;
    let authority = Authority::new();
    let front = front(authority.identity("elsewhere", 2100)).await;
    let (user, password) = superuser();
    // Only the resolver considers the first to be loopback.
    for (host, expected) in [("127.1", "warning"), ("localhost", "ok")] {
        let url = format!(
            "postgresql://{user}:{password}@{host}:{}/{}?options=-c%20search_path%3D{}&sslmode=verify-ca&sslrootcert={}",
            front.port(),
            database_name(),
            database.schema,
            authority.path()
        );
        let tool = Tool::on(&database).set("DATABASE_URL", &url);
        let found = line(&tool.run("check --json").await, "tls");
        assert_eq!(found["status"], expected, "{found}");
        assert!(
            found["text"]
                .as_str()
                .unwrap()
                .starts_with("authority verified, but not the host name"),
            "{found}"
        );
    }
}

#[tokio::test]
async fn a_pooler_in_between_is_noticed() {
    let database = Database::new().await;
    create(&Tool::on(&database), &database).await;
    let direct = Tool::on(&database).run("check --json").await;
    assert_eq!(line(&direct, "pooler")["text"], "none");
    let Some(pooler) = PgBouncer::before(server_address()).await else {
        return;
    };
    let check = Tool::on(&database)
        .set("DATABASE_URL", &pooler.url())
        .run("check --json")
        .await;
    let text = line(&check, "pooler")["text"].to_string();
    assert_contains(&text, "detected: ");
}

/// The values of messages are parameters of the function's statements.
#[tokio::test]
async fn settings_that_write_values_into_the_log_of_the_server_are_named_with_their_fix() {
    let database = Database::new().await;
    let mapping = Mapping::key_and_value(&database, "ignore");
    create(&Tool::on(&database).mapping(&mapping), &database).await;
    let check = async |url: &str| {
        let tool = Tool::on(&database).set("DATABASE_URL", url);
        complaints(&tool.mapping(&mapping).run("check --json").await)
    };
    let cases = [
        (
            "log_min_duration_statement=1000",
            "log_parameter_max_length = 0",
        ),
        (
            "auto_explain.log_min_duration=1s",
            "auto_explain.log_min_duration = -1",
        ),
        ("log_statement=mod", "log_parameter_max_length = 0"),
        ("log_duration=on", "log_parameter_max_length = 0"),
        (
            "log_parameter_max_length_on_error=-1",
            "log_parameter_max_length_on_error = 0",
        ),
    ];
    for (setting, fixed) in cases {
        let url = format!(
            "{}%20-c%20{}",
            database.url(),
            setting.replacen('=', "%3D", 1)
        );
        let found = check(&url).await;
        let [(name, status, said)] = &found[..] else {
            panic!("{setting}: {found:?}");
        };
        assert_eq!((name.as_str(), status.as_str()), ("server log", "warning"));
        let fix = format!("SET {fixed};");
        assert_contains(&said, "ALTER ROLE");
        assert_contains(&said, &fix);
        let quiet = format!("{url}%20-c%20{}", fixed.replace(" = ", "%3D"));
        assert_eq!(check(&quiet).await, [], "{setting}");
    }
}
