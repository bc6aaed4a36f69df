//! `ddl --diff` is a plan: its statements change no stored value, and everything else is a comment until it is allowed.

use std::collections::BTreeMap;

use crate::tool::{Ended, Tool};
use testkit::{Database, Mapping, assert_contains};

/// Types of columns, and values that a conversion may change.
const LIVE: [(&str, &[&str]); 35] = [
    ("smallint", &["-32768", "7"]),
    ("integer", &["-2147483648", "7"]),
    ("bigint", &["-9223372036854775808", "7"]),
    ("real", &["0.1", "-3.4e38"]),
    ("double precision", &["0.1", "-1.7976931348623157e308"]),
    ("numeric", &["1.23456789012345678901234567890", "-5"]),
    ("numeric(4,0)", &["9999", "-5"]),
    ("numeric(6,2)", &["9999.99", "-0.01"]),
    ("numeric(12,4)", &["12345678.1234", "0"]),
    ("boolean", &["true", "false"]),
    ("text", &["0042", "2026-01-01 13:45", "  héllo "]),
    ("varchar", &["0042", "2026-01-01 13:45", "  héllo "]),
    ("varchar(3)", &["042", " é "]),
    ("varchar(128)", &["042", "a longer text"]),
    ("char(5)", &["ab", "12"]),
    ("name", &["ab", "12"]),
    ("date", &["2026-11-21", "0044-03-15 BC"]),
    ("time", &["23:59:59.999999", "00:00"]),
    (
        "timestamp",
        &["2026-01-01 13:45:10.123456", "2026-03-29 02:30"],
    ),
    (
        "timestamptz",
        &["2026-01-01 13:45:10.123456+02", "2026-10-25 00:30Z"],
    ),
    ("timestamptz(3)", &["2026-01-01 13:45:10.123Z"]),
    ("uuid", &["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"]),
    ("inet", &["10.1.2.3/8", "::1"]),
    ("cidr", &["10.0.0.0/8"]),
    ("bytea", &["\\x00ff5c"]),
    ("json", &["{\"b\": 1,  \"a\": 1, \"a\": 2}", "7"]),
    ("jsonb", &["{\"b\": 1}", "7"]),
    ("interval", &["1 month 3 days"]),
    ("money", &["1.24"]),
    ("point", &["(1,2)"]),
    ("macaddr", &["08:00:2b:01:02:03"]),
    ("int4range", &["[1,3)"]),
    ("text[]", &["{042,NULL,b}"]),
    ("varchar(3)[]", &["{042}"]),
    ("integer[]", &["{1,NULL,3}"]),
];

const MAPPED: [&str; 24] = [
    "text",
    "varchar(3)",
    "varchar(256)",
    "boolean",
    "smallint",
    "integer",
    "bigint",
    "real",
    "double precision",
    "numeric",
    "numeric(6,2)",
    "numeric(30,4)",
    "date",
    "time",
    "timestamp",
    "timestamptz",
    "uuid",
    "inet",
    "bytea",
    "json",
    "jsonb",
    "text[]",
    "varchar(256)[]",
    "numeric[]",
];

/// A table for each live type, with a column for each mapped type.
fn every_pair() -> (String, String) {
    let (mut mapping, mut sql) = (String::new(), String::new());
    for (number, (live, values)) in LIVE.iter().enumerate() {
        mapping += &format!(
            "[[table]]\nname = \"t{number}\"\nkey = [\"id\"]\n[[table.column]]\nname = \"id\"\ntype = \"uuid\"\nfrom = \"@message_id\"\n"
        );
        let mut columns = vec!["id uuid PRIMARY KEY DEFAULT gen_random_uuid()".to_owned()];
        for (at, mapped) in MAPPED.iter().enumerate() {
            mapping += &format!("[[table.column]]\nname = \"c{at}\"\ntype = \"{mapped}\"\n");
            columns.push(format!("c{at} {live}"));
        }
        sql += &format!("CREATE TABLE t{number} ({});", columns.join(", "));
        let names: Vec<_> = (0..MAPPED.len()).map(|at| format!("c{at}")).collect();
        for value in *values {
            let cells = vec![format!("'{value}'"); MAPPED.len()].join(", ");
            sql += &format!(
                "INSERT INTO t{number} ({}) VALUES ({cells});",
                names.join(", ")
            );
        }
    }
    (mapping, sql)
}

/// The mark of each statement of a plan, and the statement.
pub(crate) fn statements(plan: &Ended) -> Vec<(char, String)> {
    let mut found = Vec::new();
    let mut mark = ' ';
    for line in plan.out.lines() {
        match line.strip_prefix("-- ") {
            Some(comment) if comment.get(1..2) == Some(" ") => {
                mark = comment.chars().next().unwrap();
            }
            Some(_) => {}
            None => found.push((mark, line.to_owned())),
        }
    }
    found
}

/// The values of a column, read as the type that it had.
async fn values(database: &Database, table: &str, column: &str, as_type: &str) -> String {
    let sql = format!("SELECT string_agg({column}::{as_type}::text, '|' ORDER BY id) FROM {table}");
    database.rows(&sql).await.concat().concat()
}

async fn file(database: &Database, table: &str) -> String {
    let sql = format!("SELECT pg_relation_filenode('{table}')::text");
    database.rows(&sql).await.concat().concat()
}

/// Tests every pair of types, through real tables with rows.
#[tokio::test]
async fn a_statement_does_to_stored_values_what_its_mark_says() {
    let database = Database::new().await;
    let (mapping, sql) = every_pair();
    database.execute(&sql).await;
    let tool = Tool::on(&database).mapping(&mapping);
    let safe = tool.run("ddl --diff").await.exits(1);
    assert!(statements(&safe).iter().all(|(mark, _)| *mark == '+'));
    let plan = tool.run("ddl --diff --allow-rewrite --allow-loss").await;
    let mut marks = BTreeMap::new();
    for (mark, statement) in statements(&plan) {
        *marks.entry(mark).or_insert(0) += 1;
        let mut words = statement.split('"');
        let (table, column) = (words.nth(1).unwrap(), words.nth(1).unwrap());
        let number: usize = table.trim_start_matches('t').parse().unwrap();
        let (live, _) = LIVE[number];
        let before = values(&database, table, column, live).await;
        let file_before = file(&database, table).await;
        match (mark, database.client.batch_execute(&statement).await) {
            ('!', Ok(())) => continue,
            // A stored value is not one of the new type.
            ('!', Err(error)) => {
                let code = error.code().unwrap().code();
                assert!(code.starts_with("22"), "{live}: {statement} {code}");
                continue;
            }
            (_, Err(error)) => panic!("{live}: {statement}: {error:?}"),
            (_, Ok(())) => {}
        }
        let after = values(&database, table, column, live).await;
        assert_eq!(after, before, "{live}: {statement}");
        let is_same_file = file(&database, table).await == file_before;
        assert_eq!(is_same_file, mark == '+', "{live}: {statement}");
    }
    assert!(
        marks[&'+'] >= 8 && marks[&'~'] > 50 && marks[&'!'] > 100,
        "{marks:?}"
    );
}

#[tokio::test]
async fn ddl_diff_piped_to_psql_changes_no_stored_value_until_that_is_allowed() {
    let database = Database::new().await;
    let mapping = Mapping::of("prices").key("id").column("id", "bigint");
    let mapping = mapping.with("required", true).column("at", "date");
    let mapping = mapping
        .column("price", "numeric(10,2)")
        .column("added", "text");
    let create =
        "CREATE TABLE prices (id integer PRIMARY KEY, at timestamptz, price double precision);
        INSERT INTO prices VALUES (1, '2026-01-01 13:45:10Z', 1.23951)";
    database.execute(create).await;
    let tool = Tool::on(&database).mapping(&mapping);
    let rows = async || {
        let sql = "SELECT id::text, (at AT TIME ZONE 'UTC')::text, price::text FROM prices";
        database.rows(sql).await.concat()
    };
    let plan = tool.run("ddl --diff").await;
    database.execute(&plan.out).await;
    assert_eq!(rows().await, ["1", "2026-01-01 13:45:10", "1.23951"]);
    let left = "changes skipped: 1 that rewrite a table (--allow-rewrite), 2 that can lose stored values (--allow-loss)";
    assert_eq!(plan.out.lines().last().unwrap(), format!("-- {left}"));
    assert_eq!((plan.code, plan.err), (1, format!("{left}\n")));
    for expected in [
        "-- + \"prices\", column \"added\": the table has no such column\nALTER TABLE \"prices\" ADD COLUMN \"added\" text;\n",
        "; the statement rewrites the table, and blocks reads and writes meanwhile\n-- ALTER TABLE \"prices\" ALTER COLUMN \"id\" TYPE bigint",
        "; the statement drops the time of day\n-- ALTER TABLE \"prices\" ALTER COLUMN \"at\" TYPE date",
        "; the statement rounds stored numbers to the digits of the new type\n-- ALTER TABLE",
    ] {
        assert!(plan.out.contains(expected), "{expected}: {}", plan.out);
    }
    let marks: String = plan
        .out
        .lines()
        .filter_map(|line| line.strip_prefix("-- ")?.split(" \"prices\"").next())
        .filter(|mark| mark.len() == 1)
        .collect();
    assert_eq!(marks, "+~!!", "{}", plan.out);
    // check names the flag instead of a statement that loses something.
    let check = tool.run("check").await.out;
    assert_contains(
        &check,
        "`sqs-to-postgres ddl --diff --allow-loss` prints the statement, which drops the time of day",
    );
    assert!(!check.contains("TYPE date"), "{check}");
    let rewrite = tool.run("ddl --diff --allow-rewrite").await;
    database.execute(&rewrite.out).await;
    assert_eq!((rewrite.code, rows().await[2].as_str()), (1, "1.23951"));
    let loss = tool.run("ddl --diff --allow-loss").await;
    assert_eq!((loss.code, loss.err.as_str()), (0, ""));
    database.execute(&loss.out).await;
    assert_eq!(tool.run("ddl --diff").await.out, "");
    let lost = "SELECT id::text, at::text, price::text FROM prices";
    assert_eq!(
        database.rows(lost).await.concat(),
        ["1", "2026-01-01", "1.24"]
    );
}
