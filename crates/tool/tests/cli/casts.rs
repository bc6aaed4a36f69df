//! `cast`, the types that Postgres reads from text: in `ddl`, `check`, `explain` and `forget`.

use dsql_lint::lint_sql;
use serde_json::json;

use crate::check::complaints;
use crate::ddl::create;
use crate::plan::statements;
use crate::tool::Tool;
use testkit::{Database, Mapping, assert_contains};

/// A mapping with a column of this cast.
fn cast(cast: &str) -> Mapping {
    mapped("text").with("cast", cast)
}

fn mapped(kind: &str) -> Mapping {
    let mapping = Mapping::of("t").key("k").column("k", "text");
    mapping.with("required", true).column("v", kind)
}

const TYPES: &str =
    "CREATE TYPE mood AS ENUM ('happy'); CREATE TYPE \"Mood; DROP TABLE t\" AS ENUM ('happy');
    CREATE DOMAIN code AS varchar(3); CREATE DOMAIN span AS interval(3)";

#[tokio::test]
async fn ddl_makes_the_types_and_check_and_explain_name_them() {
    let casts = [
        ("interval", "interval"),
        ("INTERVAL(3)", "interval(3)"),
        ("time(3) with time zone", "timetz(3)"),
        ("bit varying(5)", "varbit(5)"),
        ("mood[]", "mood[]"),
        ("\"Mood; DROP TABLE t\"", "\"Mood; DROP TABLE t\""),
        ("code", "code"),
        ("int4multirange", "int4multirange"),
    ];
    for (name, shown) in casts {
        let database = Database::new().await;
        database.execute(TYPES).await;
        let tool = Tool::on(&database).mapping(&cast(name));
        create(&tool, &database).await;
        let check = tool.run("check --json").await;
        assert_eq!(complaints(&check), [], "{name}: {}", check.out);
        assert_eq!(tool.run("ddl --diff").await.exits(0).out, "", "{name}");
        database.execute("ALTER TABLE t DROP v").await;
        let plan = tool.run("ddl --diff").await;
        database.execute(&plan.out).await;
        assert_eq!(tool.run("check").await.code, 0, "{}", plan.out);
        let tool = tool.input(&json!({"k": "a", "v": {"a": 1}}).to_string());
        let explained = tool.run("explain --show-values").await;
        assert_contains(&explained.out, shown);
        assert_contains(&explained.out, "{\"a\":1}");
        let explained = tool.run("explain --json").await;
        let columns = &explained.json()[0]["columns"];
        assert_eq!(columns[1]["type"], shown, "{}", explained.out);
    }
}

#[tokio::test]
async fn a_cast_is_compared_with_the_type_of_the_column_under_any_name() {
    let fits = [
        ("time with time zone", "timetz"),
        ("time(3) with time zone", "timetz(3)"),
        ("bit(3)", "bit(3)"),
        ("char(3)", "character(3)"),
        ("interval", "pg_catalog.interval"),
        ("interval day to second", "interval"),
        ("mood", "SCHEMA.mood"),
        ("SCHEMA.mood[]", "mood[]"),
        ("code", "code"),
        ("span", "interval"),
        ("span", "span"),
        ("varbit", "varbit(7)"),
    ];
    let faults = [
        (
            "timestamptz",
            "interval",
            "timestamptz in the table, but cast to interval",
            "write type = \"timestamptz\" without cast",
        ),
        (
            "text",
            "interval",
            "text in the table, but cast to interval",
            "write type = \"text\" without cast",
        ),
        (
            "tstzrange",
            "interval",
            "tstzrange in the table, but cast to interval",
            "cast = \"tstzrange\"",
        ),
        (
            "mood[]",
            "mood",
            "mood[] in the table, but cast to mood",
            "cast = \"mood[]\"",
        ),
        (
            "varbit(5)",
            "varbit(7)",
            "varbit(5) in the table is too narrow for varbit(7)",
            "cast = \"varbit(5)\"",
        ),
        (
            "code",
            "interval",
            "code in the table, but cast to interval",
            "without cast",
        ),
        (
            "interval",
            "nosuch",
            "cast to nosuch, and Postgres finds no such type",
            "cast = \"interval\"",
        ),
        (
            "interval",
            "nosuch.interval",
            "cast to nosuch.interval, and Postgres finds no such type",
            "cast = \"interval\"",
        ),
    ];
    let database = Database::new().await;
    database.execute(TYPES).await;
    let own = |text: &str| text.replace("SCHEMA", &database.schema);
    let fits = fits.map(|(live, name)| (live, name, "", ""));
    for (live, name, wrong, fix) in fits.into_iter().chain(faults) {
        let create = format!(
            "DROP TABLE IF EXISTS t; CREATE TABLE t (k text PRIMARY KEY, v {})",
            own(live)
        );
        database.execute(&create).await;
        let tool = Tool::on(&database).mapping(&cast(&own(name)));
        let (check, plan) = (tool.run("check --json").await, tool.run("ddl --diff").await);
        if wrong.is_empty() {
            assert_eq!(complaints(&check), [], "{live} {name}: {}", check.out);
            assert_eq!(plan.exits(0).out, "", "{live} {name}");
            continue;
        }
        let found = complaints(&check).remove(0);
        assert_eq!(
            (check.code, found.1.as_str()),
            (2, "failure"),
            "{}",
            check.out
        );
        assert!(
            found.2.contains(wrong) && found.2.contains(fix),
            "{found:?}"
        );
        assert!(
            plan.out.contains(wrong) && plan.out.contains(fix),
            "{}",
            plan.out
        );
        assert_eq!(statements(&plan), [], "{live} {name}");
    }
}

#[tokio::test]
async fn a_column_of_a_type_that_the_mapping_has_only_by_cast_is_kept() {
    let database = Database::new().await;
    database.execute(TYPES).await;
    let cases = [
        ("interval", "text", "cast = \"interval\""),
        ("interval(3)", "text", "cast = \"interval(3)\""),
        ("interval day to second", "text", "cast = \"interval\""),
        ("int4range", "jsonb", "cast = \"int4range\""),
        ("money", "numeric", "cast = \"money\""),
        ("mood", "integer", "cast = \"mood\""),
        ("cidr[]", "text[]", "cast = \"cidr[]\""),
    ];
    for (live, kind, expected) in cases {
        let create =
            format!("DROP TABLE IF EXISTS t; CREATE TABLE t (k text PRIMARY KEY, v {live})");
        database.execute(&create).await;
        let tool = Tool::on(&database).mapping(&mapped(kind));
        let plan = tool.run("ddl --diff --allow-rewrite --allow-loss").await;
        assert_eq!((statements(&plan), plan.code), (Vec::new(), 1), "{live}");
        assert_contains(&plan.out, &format!("write type = \"text\" and {expected}"));
        let check = tool.run("check").await;
        assert_contains(&check.out, expected);
        assert!(!check.out.contains("ALTER"), "{}", check.out);
    }
}

#[tokio::test]
async fn forget_finds_the_rows_of_a_value_in_any_spelling_of_its_type() {
    let cases = [
        (
            "macaddr",
            "'08:00:2b:01:02:03'",
            "0800.2B01.0203",
            "08:00:2b:01:02:04",
        ),
        ("mood", "'happy'", "happy", "sad"),
        ("int4range", "'[1,3)'", "[1,2]", "[1,2)"),
        ("point", "'(1,2)'", "(1,2)", "(1,3)"),
    ];
    for (name, stored, value, other) in cases {
        let database = Database::new().await;
        database.execute(TYPES).await;
        let tool = Tool::on(&database).mapping(&cast(name));
        create(&tool, &database).await;
        database
            .execute(&format!(
                "INSERT INTO t VALUES ('a', {stored}), ('b', NULL)"
            ))
            .await;
        tool.input(other).run("forget --column v --yes").await;
        assert_eq!(database.count("t").await, 2, "{name}");
        let tool = Tool::on(&database).mapping(&cast(name)).input(value);
        let forgotten = tool.run("forget --column v --yes").await;
        assert_eq!(
            database.rows("SELECT k FROM t").await,
            [["b"]],
            "{name}: {}",
            forgotten.err
        );
    }
}

#[tokio::test]
async fn what_a_cast_cannot_be_used_for_is_said() {
    let database = Database::new().await;
    let tool = Tool::on(&database).mapping(&cast("tstzrange"));
    let partitioned = tool.run("ddl --partition-by v").await;
    assert_contains(
        &partitioned.err,
        "column \"v\" is tstzrange, and partitions are months",
    );
    let dsql = tool.run("ddl --for dsql").await;
    assert_contains(
        &dsql.err,
        "column \"v\" is tstzrange, which Aurora DSQL does not store: map it as text, without cast",
    );
    for name in ["interval", "char(3)", "time with time zone"] {
        let tool = Tool::on(&database).mapping(&cast(name));
        let ddl = tool.run("ddl --for dsql").await.exits(0);
        assert_eq!(lint_sql(&ddl.out).len(), 0, "{}", ddl.out);
    }
    let arrays = Tool::on(&database)
        .mapping(&cast("cidr[]"))
        .input("10.0.0.0/8");
    let forget = arrays.run("forget --column v").await;
    assert_contains(
        &forget.err,
        "column \"v\" of table \"t\" is cidr[], but only columns of single values",
    );
}
