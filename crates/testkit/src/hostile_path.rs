//! A schema of the search path in which somebody else has created what fits better than Postgres's own.
//!
//! Postgres prefers a function or operator whose parameters are of exactly the types of a call, wherever it is in the
//! search path. So whatever a statement leaves to the path is looked up here.
//! Source: <https://www.postgresql.org/docs/18/typeconv-func.html>, <https://www.postgresql.org/docs/18/typeconv-oper.html>.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::{Database, ROOT};

/// The types of columns, parameters and of the catalog.
const TYPES: [&str; 27] = [
    "text",
    "varchar",
    "bpchar",
    "name",
    "\"char\"",
    "oid",
    "regclass",
    "regtype",
    "int2",
    "int4",
    "int8",
    "numeric",
    "bool",
    "uuid",
    "date",
    "timestamp",
    "timestamptz",
    "jsonb",
    "int2vector",
    "text[]",
    "varchar[]",
    "name[]",
    "int2[]",
    "int4[]",
    "int8[]",
    "oid[]",
    "uuid[]",
];

const OPERATORS: &str = "= <> < <= > >= || ~ + - ->>";

/// A schema with every function that the sources name, and every operator between two types, unless Postgres has
/// exactly that. All of them fail. To be put in front of a test's own: `database.url_behind(&hostile)`.
pub async fn hostile_schema() -> Database {
    let database = Database::new().await;
    let functions = called(&database).await;
    let functions: Vec<_> = functions.iter().map(|name| format!("'{name}'")).collect();
    let types = TYPES.map(|name| format!("'{name}'"));
    let operators = OPERATORS.split(' ').map(|name| format!("'{name}'"));
    let sql = format!(
        "SET check_function_bodies = off;
         DO $do$ DECLARE fails text := 'LANGUAGE plpgsql AS $$ BEGIN RAISE ''called by the search path''; END $$';
             l text; r text; f text; o text; BEGIN
         FOREACH l IN ARRAY ARRAY[{types}] LOOP
             FOREACH f IN ARRAY ARRAY[{functions}] LOOP
                 IF to_regprocedure(format('pg_catalog.%I(%s)', f, l)) IS NULL THEN
                     EXECUTE format('CREATE FUNCTION %I(%s) RETURNS text %s', f, l, fails);
                 END IF;
             END LOOP;
             FOREACH r IN ARRAY ARRAY[{types}] LOOP
                 EXECUTE format('CREATE FUNCTION hostile(%s, %s) RETURNS bool %s', l, r, fails);
                 FOREACH o IN ARRAY ARRAY[{operators}] LOOP
                     IF to_regoperator(format('pg_catalog.%s(%s,%s)', o, l, r)) IS NULL THEN
                         EXECUTE format('CREATE OPERATOR %s (FUNCTION = hostile, LEFTARG = %s, RIGHTARG = %s)', o, l, r);
                     END IF;
                 END LOOP;
             END LOOP;
         END LOOP; END $do$",
        types = types.join(", "),
        functions = functions.join(", "),
        operators = operators.collect::<Vec<_>>().join(", "),
    );
    database.execute(&sql).await;
    database
}

/// The functions of Postgres that the sources name.
async fn called(database: &Database) -> BTreeSet<String> {
    let words = literals();
    let words = words.iter().flat_map(|literal| calls(literal));
    let words: BTreeSet<_> = words.map(|(_, name)| name.to_owned()).collect();
    let known = functions(database).await;
    words.intersection(&known).cloned().collect()
}

/// The names of Postgres's functions that are not words of SQL.
pub async fn functions(database: &Database) -> BTreeSet<String> {
    let sql = "SELECT DISTINCT proname::text FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace \
               AND proname NOT IN (SELECT word FROM pg_get_keywords() WHERE catcode <> 'U') \
               AND proname NOT IN (SELECT typname FROM pg_type WHERE typnamespace = 'pg_catalog'::regnamespace)";
    database.rows(sql).await.into_iter().flatten().collect()
}

/// What is called in an SQL text, and what is in front of its name.
pub fn calls(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let is_of_name = |char: char| char.is_ascii_alphanumeric() || char == '_';
    text.match_indices('(').filter_map(move |(end, _)| {
        let (before, _) = text.split_at(end);
        let start = before
            .rfind(|char| !is_of_name(char))
            .map_or(0, |at| at + 1);
        let (before, name) = before.split_at(start);
        (!name.is_empty()).then_some((before, name))
    })
}

/// The string literals of all sources but the tests in them.
pub fn literals() -> Vec<String> {
    let mut literals = Vec::new();
    for folder in ["src", "crates/mapping/src", "crates/tool/src"] {
        read(&Path::new(ROOT).join(folder), &mut literals);
    }
    literals
}

fn read(path: &Path, literals: &mut Vec<String>) {
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            read(&entry.unwrap().path(), literals);
        }
        return;
    }
    if path.extension().is_none_or(|extension| extension != "rs") {
        return;
    }
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]").next().unwrap();
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    let text = lines.collect::<Vec<_>>().join("\n").replace("'\"'", "");
    let mut rest = text.as_str();
    while let Some((_, after)) = rest.split_once('"') {
        let mut is_escaped = false;
        let end = after.find(|char| {
            let ends = char == '"' && !is_escaped;
            is_escaped = char == '\\' && !is_escaped;
            ends
        });
        let (literal, after) = after.split_at(end.unwrap_or(after.len()));
        literals.push(literal.to_owned());
        rest = after.get(1..).unwrap_or_default();
    }
}
