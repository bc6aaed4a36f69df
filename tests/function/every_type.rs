//! One value of each type of Postgres, through the function and back. The table of docs/COMPATIBILITY.md is made here.

use std::fs;
use std::path::Path;

use mapping::Pipeline;
use serde_json::{Value, json};
use sqs_to_postgres::schema::LiveTable;

use crate::child_tables::invoke;
use testkit::batch::{Batch, ids};
use testkit::{Database, Setup};

/// A type of a column, the type or cast by which it is mapped, and a value as a message has it; and what Postgres
/// prints of it, if that differs.
struct Case(
    &'static str,
    &'static str,
    &'static str,
    Option<&'static str>,
);

const OWN_TYPES: &str = "
    CREATE TYPE mood AS ENUM ('happy', 'sad');
    CREATE TYPE pair AS (a integer, b text);
    CREATE DOMAIN percent AS numeric CHECK (VALUE BETWEEN 0 AND 100);
    CREATE DOMAIN settings AS jsonb CHECK (jsonb_typeof(VALUE) = 'object')";

/// The types of the mapping, and those that Postgres reads from text.
#[rustfmt::skip]
const CASES: &[Case] = &[
    Case("text", "text", r#""a text""#, None),
    Case("varchar(20)", "varchar(20)", r#""a text""#, None),
    Case("boolean", "boolean", "true", Some("true")),
    Case("smallint", "smallint", "-32768", None),
    Case("integer", "integer", "2147483647", None),
    Case("bigint", "bigint", "9007199254740993", None),
    Case("real", "real", "0.25", None),
    Case("double precision", "double precision", "0.1", None),
    Case("numeric", "numeric", "12345678901234567890.125", None),
    Case("numeric(12,2)", "numeric(12,2)", "1234567890.25", None),
    Case("date", "date", r#""2026-11-02""#, None),
    Case("time", "time", r#""09:30:00.5""#, None),
    Case("timestamp", "timestamp", r#""2026-11-02 09:30:00.5""#, None),
    Case("timestamptz", "timestamptz", r#""2026-11-02T10:30:00+01:00""#, Some("2026-11-02 09:30:00+00")),
    Case("uuid", "uuid", r#""a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11""#, None),
    Case("inet", "inet", r#""192.0.2.7/24""#, None),
    Case("bytea", "bytea", r#""AP8=""#, Some("\\x00ff")),
    Case("json", "json", r#"{"b":1,"a":[2]}"#, None),
    Case("jsonb", "jsonb", r#"{"a": [2], "b": 1}"#, None),
    Case("text[]", "text[]", r#"["a","b c",null]"#, Some(r#"{a,"b c",NULL}"#)),
    Case("integer[]", "integer[]", "[1,2]", Some("{1,2}")),
    Case("timestamptz[]", "timestamptz[]", r#"["2026-11-02T09:30:00Z"]"#, Some(r#"{"2026-11-02 09:30:00+00"}"#)),
    Case("char(5)", "cast char(5)", r#""ab""#, Some("ab")),
    Case("bit(3)", "cast bit(3)", r#""101""#, None),
    Case("bit varying(8)", "cast bit varying(8)", r#""10111""#, None),
    Case("interval", "cast interval", r#""1 day 02:03:04""#, None),
    Case("time with time zone", "cast time with time zone", r#""09:30:00+02""#, None),
    Case("money", "cast money", r#""$1,234.50""#, None),
    Case("cidr", "cast cidr", r#""192.0.2.0/24""#, None),
    Case("macaddr", "cast macaddr", r#""08:00:2b:01:02:03""#, None),
    Case("macaddr8", "cast macaddr8", r#""08:00:2b:01:02:03:04:05""#, None),
    Case("point", "cast point", r#""(1,2)""#, None),
    Case("line", "cast line", r#""{1,-1,0}""#, None),
    Case("lseg", "cast lseg", r#""[(0,0),(1,1)]""#, None),
    Case("box", "cast box", r#""(1,1),(0,0)""#, None),
    Case("path", "cast path", r#""[(0,0),(1,1),(2,0)]""#, None),
    Case("polygon", "cast polygon", r#""((0,0),(1,1),(2,0))""#, None),
    Case("circle", "cast circle", r#""<(0,0),2>""#, None),
    Case("int4range", "cast int4range", r#""[1,5)""#, None),
    Case("int8range", "cast int8range", r#""[1,9007199254740993)""#, None),
    Case("numrange", "cast numrange", r#""[1.5,2.5]""#, None),
    Case("daterange", "cast daterange", r#""[2026-11-02,2026-11-05)""#, None),
    Case("tsrange", "cast tsrange", r#""[\"2026-11-02 09:00:00\",)""#, None),
    Case("tstzrange", "cast tstzrange", r#""[\"2026-11-02 09:00:00+00\",\"2026-11-02 10:00:00+00\")""#, None),
    Case("int4multirange", "cast int4multirange", r#""{[1,3),[5,8)}""#, None),
    Case("nummultirange", "cast nummultirange", r#""{[1.5,2.5]}""#, None),
    Case("datemultirange", "cast datemultirange", r#""{[2026-11-02,2026-11-05)}""#, None),
    Case("tstzmultirange", "cast tstzmultirange", r#""{[\"2026-11-02 09:00:00+00\",\"2026-11-02 10:00:00+00\")}""#, None),
    Case("tsvector", "cast tsvector", r#""'fat' 'rat'""#, None),
    Case("tsquery", "cast tsquery", r#""'fat' & 'rat'""#, None),
    Case("jsonpath", "cast jsonpath", r#""$.\"a\"[*]""#, None),
    Case("pg_lsn", "cast pg_lsn", r#""16/B374D848""#, None),
    Case("xid8", "cast xid8", r#""42""#, None),
    Case("oid", "cast oid", "4294967295", None),
    Case("mood", "cast mood", r#""happy""#, None),
    Case("pair", "cast pair", r#""(1,b)""#, None),
    Case("percent", "cast percent", "12.5", None),
    Case("settings", "cast settings", r#"{"a": [2], "b": 1}"#, None),
    Case("interval[]", "cast interval[]", r#"["1 day",null]"#, Some(r#"{"1 day",NULL}"#)),
    Case("mood[]", "cast mood[]", r#"["sad","happy"]"#, Some("{sad,happy}")),
    Case("cidr[]", "cast cidr[]", r#"["10.0.0.0/8"]"#, Some("{10.0.0.0/8}")),
    Case("box[]", "cast box[]", r#"["(1,1),(0,0)","(3,3),(2,2)"]"#, Some("{(1,1),(0,0);(3,3),(2,2)}")),
    Case("jsonb[]", "cast jsonb[]", r#"[{"a":1},[2]]"#, Some(r#"{"{\"a\": 1}",[2]}"#)),
];

/// The types of the mapping, each of which is compared with each type of a column.
const NATIVE: [&str; 21] = [
    "text",
    "varchar(20)",
    "boolean",
    "smallint",
    "integer",
    "bigint",
    "real",
    "double precision",
    "numeric",
    "numeric(12,2)",
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
    "integer[]",
];

impl Case {
    /// The type and the cast of its column.
    fn words(&self) -> String {
        match self.1.strip_prefix("cast ") {
            Some(cast) => format!("type = \"text\", cast = \"{cast}\""),
            None => format!("type = \"{}\"", self.1),
        }
    }

    /// What Postgres prints of the value.
    fn printed(&self) -> String {
        match (self.3, serde_json::from_str(self.2).unwrap()) {
            (Some(printed), _) => printed.to_owned(),
            (None, Value::String(text)) => text,
            (None, _) => self.2.to_owned(),
        }
    }
}

fn mapping_of(table: &str, words: impl Fn(&Case) -> String) -> String {
    let head = format!(
        "table = \"{table}\"\nkey = [\"id\"]\ncolumn = [{{ name = \"id\", type = \"uuid\", from = \"@message_id\" }},\n"
    );
    let columns = CASES.iter().enumerate();
    let columns = columns.map(|(at, case)| format!("{{ name = \"c{at}\", {} }},\n", words(case)));
    head + &columns.collect::<String>() + "]"
}

/// A database with a table of all types, made by `ddl` or from the names of the types themselves.
async fn database(is_by_ddl: bool) -> Database {
    let database = Database::new().await;
    database.execute(OWN_TYPES).await;
    database.execute("SET TIME ZONE 'UTC'").await;
    let columns = CASES.iter().enumerate();
    let columns = columns.map(|(at, case)| format!(", c{at} {}", case.0));
    let by_hand = format!(
        "CREATE TABLE t (id uuid PRIMARY KEY{})",
        columns.collect::<String>()
    );
    let pipeline = Pipeline::parse("p", &mapping_of("t", Case::words)).unwrap();
    match is_by_ddl {
        true => database.execute(&pipeline.create_tables()).await,
        false => database.execute(&by_hand).await,
    }
    database
}

#[tokio::test]
async fn one_value_of_each_type_of_postgres_is_stored_and_read_back_equal() {
    assert!(CASES.len() >= 45);
    for is_by_ddl in [true, false] {
        let database = database(is_by_ddl).await;
        let mut function = Setup::on(&database)
            .mapping(&mapping_of("t", Case::words))
            .start()
            .await;
        let fields = CASES.iter().enumerate();
        let fields = fields.map(|(at, case)| format!("\"c{at}\": {}", case.2));
        let body = format!("{{{}}}", fields.collect::<Vec<_>>().join(", "));
        // The second statement is one for rows that are not in the table.
        let batch = Batch::new().text("a", &body).body("null", json!({}));
        assert_eq!(
            invoke(&mut function, batch).await,
            ids(&[]),
            "{}",
            function.log()
        );
        let batch = Batch::new().text("b", &body).text("a", &body);
        assert_eq!(
            invoke(&mut function, batch).await,
            ids(&[]),
            "{}",
            function.log()
        );
        let cells = (0..CASES.len()).map(|at| format!("c{at}::text"));
        let cells = cells.collect::<Vec<_>>().join(", ");
        let sql = format!("SELECT {cells} FROM t WHERE c0 IS NOT NULL");
        let rows = database.rows(&sql).await;
        assert_eq!(rows.len(), 2);
        for row in rows {
            for (case, cell) in CASES.iter().zip(row) {
                assert_eq!(cell.trim_end(), case.printed(), "{}", case.0);
            }
        }
        let null = format!("SELECT num_nonnulls({cells})::text FROM t WHERE c0 IS NULL");
        assert_eq!(database.rows(&null).await, [["0"]]);
    }
}

/// The types of the mapping whose values each column stores, all and unchanged.
async fn fitting(database: &Database) -> Vec<Vec<&'static str>> {
    let mut fitting = vec![Vec::new(); CASES.len()];
    for native in NATIVE {
        let mapping = mapping_of("t", |_| format!("type = \"{native}\""));
        let pipeline = Pipeline::parse("p", &mapping).unwrap();
        let live = LiveTable::read(&database.client, &pipeline.tables[0]).await;
        let differences = live.unwrap().differences(&pipeline.tables[0]);
        for (at, fitting) in fitting.iter_mut().enumerate() {
            let name = format!("c{at}");
            if differences
                .iter()
                .all(|difference| difference.column != name)
            {
                fitting.push(native);
            }
        }
    }
    fitting
}

#[tokio::test]
async fn the_table_of_types_is_what_is_stored_and_what_check_says() {
    const START: &str = "<!-- types -->\n";
    const END: &str = "<!-- end of types -->\n";
    let database = database(false).await;
    let mut table = "| column of the table | in the mapping | value in JSON | as Postgres prints it | other types of the mapping that it stores unchanged |\n|---|---|---|---|---|\n".to_owned();
    let code = |text: &str| format!("`{}`", text.replace('|', "\\|"));
    for (case, fitting) in CASES.iter().zip(fitting(&database).await) {
        let others = fitting.into_iter().filter(|native| *native != case.1);
        let others: Vec<_> = others.map(code).collect();
        let [column, words, value, printed] =
            [case.0, &case.words(), case.2, &case.printed()].map(code);
        table += &format!(
            "| {column} | {words} | {value} | {printed} | {} |\n",
            others.join(", ")
        );
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/COMPATIBILITY.md");
    let page = fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(START).unwrap();
    let (documented, after) = rest.split_once(END).unwrap();
    if std::env::var_os("WRITE_TABLES").is_some() {
        fs::write(&path, [before, START, &table, END, after].concat()).unwrap();
        return;
    }
    assert_eq!(documented, table, "WRITE_TABLES=1 writes the table");
}
