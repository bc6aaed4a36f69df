//! `ddl`: its output creates the table, or fixes it.

use crate::tool::Tool;
use testkit::{Database, assert_contains, server_address};

/// A mapping with a column of every type.
pub(crate) const EVERY_TYPE: &str = r#"
table = "every_type"
key = ["id"]
on_conflict = "update"
newer = "instant"
column = [
  { name = "id", type = "uuid", from = "@message_id" },
  { name = "select", type = "text" },
  { name = "a \"quoted\" name", type = "varchar(7)" },
  { name = "is_on", type = "boolean", default = false },
  { name = "small", type = "smallint" },
  { name = "middle", type = "integer", required = true },
  { name = "big", type = "bigint" },
  { name = "single", type = "real" },
  { name = "double", type = "double precision" },
  { name = "exact", type = "numeric" },
  { name = "price", type = "numeric(12,2)" },
  { name = "day", type = "date" },
  { name = "opens", type = "time" },
  { name = "local", type = "timestamp" },
  { name = "instant", type = "timestamptz" },
  { name = "address", type = "inet" },
  { name = "seal", type = "bytea" },
  { name = "sent", type = "json" },
  { name = "tree", type = "jsonb" },
  { name = "tags", type = "text[]" },
  { name = "prices", type = "numeric(12,2)[]" },
  { name = "flags", type = "boolean[]" },
  { name = "times", type = "timestamptz[]" },
  { name = "token", type = "varchar(64)", mask = "hmac-sha256" },
]
"#;

/// Creates the table of the tool's mapping.
pub(crate) async fn create(tool: &Tool, database: &Database) {
    let ddl = tool.run("ddl").await;
    assert_eq!((ddl.code, ddl.err.as_str()), (0, ""));
    database.execute(&ddl.out).await;
}

/// A mapping that stores in plaintext on purpose what it masks, and keeps the newest row of a key.
pub(crate) const IN_CLEAR: &str = r#"
table = "visits"
key = ["visitor"]
on_conflict = "update"
newer = "seen_at"
column = [
  { name = "visitor", type = "text", required = true },
  { name = "seen_at", type = "timestamptz" },
  { name = "masked_ip", type = "text", from = "client.ip", mask = "hmac-sha256" },
  { name = "the \nclient", type = "jsonb", from = "client", clear = true },
]
"#;

#[tokio::test]
async fn columns_in_plaintext_on_purpose_and_the_newer_column_are_comments() {
    let database = Database::new().await;
    let tool = Tool::on(&database).mapping(IN_CLEAR);
    let ddl = tool.run("ddl").await;
    let comments: Vec<_> = ddl.out.lines().take(2).collect();
    assert_eq!(
        comments,
        [
            "-- \"seen_at\": a row is replaced only by one in which this is equal or newer",
            "-- \"the \\nclient\": in plaintext on purpose, although \"masked_ip\" is masked",
        ]
    );
    database.execute(&ddl.out).await;
    assert_eq!(database.count("visits").await, 0);
    assert_eq!(tool.run("ddl --diff").await.out, "");
}

#[tokio::test]
async fn for_a_missing_table_diff_prints_the_whole_statement() {
    let database = Database::new().await;
    let tool = Tool::on(&database).mapping(EVERY_TYPE);
    let diff = tool.run("ddl --diff").await;
    let create = tool.run("ddl").await.out;
    let plan = format!("-- + \"every_type\" does not exist\n{create}");
    assert_eq!((diff.code, diff.out), (0, plan));
}

#[tokio::test]
async fn diff_fixes_a_table_that_has_rows() {
    let database = Database::new().await;
    let tool = Tool::on(&database).mapping(EVERY_TYPE);
    let old = "CREATE TABLE every_type (id uuid NOT NULL, \"select\" varchar(3) NOT NULL, small text, big integer,
        exact numeric(4, 1), price numeric(9, 2), tags varchar(3)[], local timestamp(3), day timestamptz, double real DEFAULT 2.5, is_on smallint, \"else\" text NOT NULL, n text NOT NULL DEFAULT '');
        INSERT INTO every_type (id, \"select\", small, big, exact, is_on, \"else\") VALUES (gen_random_uuid(), 'abc', '7', 8, 1.5, 1, '')";
    database.execute(old).await;
    let difference = tool
        .run("ddl --diff --allow-rewrite --allow-loss")
        .await
        .exits(0);
    // A text column stores numbers too.
    assert!(!difference.out.contains("\"small\""), "{}", difference.out);
    // One by one, as psql does: an index cannot be built concurrently within a transaction.
    for statement in difference.out.split_inclusive(";\n") {
        database.execute(statement).await;
    }
    let rest = tool.run("ddl --diff").await;
    assert_eq!(rest.out, "", "{}", rest.out);
    assert_eq!(rest.err, "\"every_type\" fits the mapping\n");
    assert_eq!(
        database
            .count("every_type WHERE big = 8 AND double = 2.5 AND is_on")
            .await,
        1
    );
    assert_eq!(tool.run("check").await.code, 0);
}

#[tokio::test]
async fn a_schema_that_the_mapping_names_is_created_first() {
    let database = Database::new().await;
    let schema = format!("{}_shop", database.schema);
    let mapping = IN_CLEAR.replace("\"visits\"", &format!("\"{schema}.visits\""));
    let tool = Tool::on(&database).mapping(&mapping);
    let create = format!("CREATE SCHEMA IF NOT EXISTS \"{schema}\";\n");
    let ddl = tool.run("ddl").await.out;
    let partitioned = IN_CLEAR.replace("key = [\"visitor\"]", "key = [\"visitor\", \"seen_at\"]");
    let partitioned = partitioned.replace("newer = \"seen_at\"\n", "").replace(
        "type = \"timestamptz\"",
        "type = \"timestamp\", required = true",
    );
    let partitioned = partitioned.replace("\"visits\"", &format!("\"{schema}.parts\""));
    let by_time = Tool::on(&database).mapping(&partitioned);
    let parts = by_time.run("ddl --partition-by seen_at").await.out;
    for out in [&ddl, &tool.run("ddl --diff").await.out, &parts] {
        let first = out.lines().find(|line| !line.starts_with("--"));
        assert_eq!(first, Some(create.trim_end()), "{out}");
    }
    // The second finds the schema there.
    database.execute(&ddl).await;
    database.execute(&parts).await;
    assert_eq!(tool.run("ddl --diff").await.out, "");
    assert_eq!(by_time.run("check").await.code, 0);
}

#[tokio::test]
async fn a_privilege_that_is_not_granted_is_granted_to_the_role_that_is_logged_in() {
    let database = Database::new().await;
    let (schema, password) = (&database.schema, "p");
    let mapping = IN_CLEAR.replace("\"visits\"", &format!("\"{schema}.visits\""));
    let owner = Tool::on(&database).mapping(&mapping);
    create(&owner, &database).await;
    let role = database.role(password).await;
    database
        .execute(&format!("REVOKE ALL ON visits FROM {role}"))
        .await;
    let url = database.url_as(&role, password, server_address());
    let tool = Tool::on(&database)
        .set("DATABASE_URL", &url)
        .mapping(&mapping);
    let difference = tool.run("ddl --diff").await.out;
    let grant = format!("GRANT INSERT, SELECT, UPDATE ON \"{schema}\".\"visits\" TO \"{role}\";");
    assert_contains(&difference, &grant);
    database.execute(&difference).await;
    assert_eq!(tool.run("ddl --diff").await.out, "");
}

#[tokio::test]
async fn a_partitioned_table_stores_rows_of_every_time() {
    let database = Database::new().await;
    let mapping = include_str!("../../../../pipeline.toml");
    let by_day = mapping.replace(
        "key = [\"message_id\"]",
        "key = [\"message_id\", \"create_date\"]",
    );
    let by_instant = by_day
        .replace("\"user_logins\"", "\"instants\"")
        .replace("type = \"date\"", "type = \"timestamptz\"");
    for (table, text) in [("user_logins", &by_day), ("instants", &by_instant)] {
        let tool = Tool::on(&database).mapping(text);
        let ddl = tool.run("ddl --partition-by create_date").await.exits(0);
        database.execute(&ddl.out).await;
        let insert = "(message_id, user_id, masked_ip, masked_device_id, create_date) SELECT gen_random_uuid(), '', '', '', day
            FROM unnest(ARRAY[now() - interval '5 years', now(), now() + interval '1 month', now() + interval '5 years']) AS day";
        database
            .execute(&format!("INSERT INTO {table} {insert}"))
            .await;
        let rows = format!(
            "SELECT count(*)::text, (count(*) FILTER (WHERE tableoid = '{table}_default'::regclass))::text FROM {table}"
        );
        assert_eq!(database.rows(&rows).await, [["4", "2"]]);
        let check = tool.run("check").await.exits(0);
        assert_contains(&check.out, "4 partitions");
    }
}

#[tokio::test]
async fn a_column_that_cannot_partition_the_table_is_refused() {
    for (column, expected) in [
        ("create_date", "add \"create_date\" to the key"),
        ("created", "column \"created\" is not mapped"),
        (
            "locale",
            "column \"locale\" is varchar(32), and partitions are months",
        ),
    ] {
        let ddl = Tool::bare()
            .run(&format!("ddl --partition-by {column}"))
            .await;
        assert_eq!((ddl.code, ddl.out.as_str()), (2, ""));
        assert_contains(&ddl.err, expected);
    }
}
