//! Names in the catalog and in a mapping belong to others: they neither run as SQL nor control a terminal.

use crate::tool::{Ended, Tool};
use testkit::{Database, Mapping, assert_contains};

/// Ends a comment, and begins a statement that would run.
const INJECTED: &str = "\nCREATE TABLE pwned (); --\r\u{1b}[31m\u{202e}";

fn quoted(name: &str) -> String {
    format!("\"{name}{INJECTED}\"")
}

/// Whether nothing in the text has an effect on a terminal.
fn is_plain(text: &str) -> bool {
    !text.contains(['\u{1b}', '\r', '\u{202e}'])
}

/// Runs what the tool printed, as psql does, and looks for what a name would have made.
async fn run_as_psql(database: &Database, printed: &Ended) {
    database.execute(&printed.out).await;
    let made = "SELECT coalesce(to_regclass('pwned')::text, '')";
    assert_eq!(database.rows(made).await, [[""]], "{}", printed.out);
}

#[tokio::test]
async fn hostile_names_in_the_catalog_do_not_run_as_sql_and_do_not_control_the_terminal() {
    let database = Database::new().await;
    let [kind, domain, view, other, index] = ["e", "d", "v", "o", "i"].map(quoted);
    database
        .execute(&format!(
            "CREATE TYPE {kind} AS ENUM ('a'); CREATE DOMAIN {domain} AS text NOT NULL;
             CREATE TABLE t (k text NOT NULL, v {kind}, w {domain}, x integer, {other} text NOT NULL, CONSTRAINT {index} UNIQUE (k));
             CREATE VIEW {view} AS SELECT x FROM t; INSERT INTO t VALUES ('k', 'a', 'w', 7, '')"
        ))
        .await;
    let name = format!("c{INJECTED}");
    let mapping = Mapping::of("t")
        .key("k")
        .column("k", "text")
        .with("required", true);
    let mapping = mapping
        .column("v", "integer")
        .column("w", "text")
        .column("x", "bigint");
    let mapping = mapping.column("added", "text").column(&name, "bigint");
    let mapping = mapping.with("from", "c");
    database
        .execute(&format!("ALTER TABLE t ADD {} integer", quoted("c")))
        .await;
    let tool = Tool::on(&database).mapping(&mapping);
    let check = tool.run("check").await;
    assert_contains(&check.out, "unique index i\\n");
    assert!(is_plain(&check.out), "{}", check.out);
    for flags in ["", " --allow-rewrite --allow-loss"] {
        let plan = tool.run(&format!("ddl --diff{flags}")).await.exits(1);
        assert!(is_plain(&plan.err), "{}", plan.err);
        run_as_psql(&database, &plan).await;
    }
    let rest = tool.run("ddl --diff").await;
    assert!(
        rest.out.contains("rule _RETURN on view") && is_plain(&rest.out),
        "{}",
        rest.out
    );
    database.execute("ALTER TABLE t RENAME TO before").await;
    run_as_psql(&database, &tool.run("ddl").await).await;
}

#[tokio::test]
async fn hostile_keys_and_file_names_do_not_control_the_terminal() {
    let key = toml::Value::from("k\u{1b}[31m\u{202e}").to_string();
    let mappings = [
        format!("{key} = 1\n"),
        Mapping::of("t")
            .key("k\u{1b}\u{202e}")
            .column("k", "text")
            .to_string(),
        Mapping::of("t")
            .key("k")
            .column("k", "text\u{1b}[31m")
            .to_string(),
    ];
    for mapping in mappings {
        for command in ["check", "ddl", "explain /dev/null"] {
            let ended = Tool::bare().mapping(&mapping).run(command).await;
            assert_eq!(ended.code, 2, "{mapping}");
            let said = ended.out + &ended.err;
            assert!(said.contains("\\u{1b}") && is_plain(&said), "{said:?}");
        }
    }
    for command in ["ddl", "explain", "infer"] {
        let named = match command {
            "infer" => "infer no\u{1b}[31mfile",
            "ddl" => "ddl --pipeline no\u{1b}[31mfile",
            _ => "explain no\u{1b}[31mfile",
        };
        let ended = Tool::bare().run(named).await.exits(2);
        assert!(
            ended.err.contains("no\\u{1b}[31mfile") && is_plain(&ended.err),
            "{:?}",
            ended.err
        );
    }
}
