//! The examples of `examples/`: their messages become the rows that are shown, all in one batch, and one by one.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use mapping::Pipeline;

use testkit::batch::{Batch, ids};
use testkit::{Database, Function, Setup};

/// Begins what is expected of messages that become no row.
const WITHOUT_ROWS: &str = "\nmessages without rows\n";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

fn file(name: &str, extension: &str) -> PathBuf {
    folder().join(format!("{name}.{extension}"))
}

fn read(name: &str, extension: &str) -> String {
    fs::read_to_string(file(name, extension)).unwrap()
}

/// An example in a schema of its own.
struct Example {
    shown_schema: String,
    database: Database,
    pipeline: Pipeline,
    function: Function,
}

impl Example {
    async fn start(name: &str) -> Self {
        let database = Database::new().await;
        let mapping = read(name, "toml");
        let shown = Pipeline::parse(name, &mapping).unwrap();
        let shown_schema = shown.tables[0].table.schema.clone().unwrap();
        let mapping = mapping.replace(&format!("\"{shown_schema}."), "\"");
        let pipeline = Pipeline::parse(name, &mapping).unwrap();
        database.execute(&pipeline.create_tables()).await;
        let function = Setup::on(&database).mapping(&mapping).start().await;
        Self {
            shown_schema,
            database,
            pipeline,
            function,
        }
    }

    /// The tables as `psql` shows them: their names, their columns, and their rows in the order of the key. Tokens are
    /// numbered, because they depend on the mask key: equal numbers are equal tokens.
    async fn stored(&self) -> Vec<Vec<Vec<String>>> {
        let mut shown = Vec::new();
        let mut tokens = HashMap::new();
        for table in &self.pipeline.tables {
            let columns: Vec<_> = table
                .columns
                .iter()
                .map(|column| column.name.clone())
                .collect();
            let texts: Vec<_> = columns
                .iter()
                .map(|name| format!("format('%s', {name})"))
                .collect();
            let key: Vec<_> = table.key_names().map(|name| format!("t.{name}")).collect();
            let (texts, key) = (texts.join(", "), key.join(", "));
            let name = &table.table;
            let rows = format!("SELECT {texts} FROM {name} AS t ORDER BY {key}");
            let title = format!("{}.{}", self.shown_schema, table.table.name);
            let mut lines = vec![vec![title], columns];
            for mut row in self.database.rows(&rows).await {
                for (column, value) in table.columns.iter().zip(&mut row) {
                    if column.mask.is_some() && !value.is_empty() {
                        let number = tokens.len() + 1;
                        let number = *tokens.entry(value.clone()).or_insert(number);
                        *value = format!("token {number}");
                    }
                }
                lines.push(row);
            }
            shown.push(lines);
        }
        shown
    }
}

/// The names of all examples.
fn examples() -> Vec<String> {
    let files = fs::read_dir(folder()).unwrap();
    let files = files.map(|file| file.unwrap().path());
    let mappings = files.filter(|file| file.extension().is_some_and(|end| end == "toml"));
    let names = mappings.map(|file| file.file_stem().unwrap().to_str().unwrap().to_owned());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

/// What a file expects.
struct Expected {
    tables: Vec<Vec<Vec<String>>>,
    /// The numbers of the messages that are rejected.
    rejected: Vec<String>,
    /// How many messages have no row.
    skipped: u64,
}

impl Expected {
    fn of(name: &str) -> Self {
        let text = read(name, "rows");
        let (tables, without) = text.split_once(WITHOUT_ROWS).unwrap_or((&text, ""));
        let lines = |table: &str| -> Vec<Vec<String>> {
            let lines = table.lines().filter(|line| !line.starts_with("---"));
            let cells = |line: &str| line.split('|').map(|cell| cell.trim().to_owned()).collect();
            lines.map(cells).collect()
        };
        let without = lines(without).into_iter().skip(1);
        let (skipped, rejected): (Vec<_>, Vec<_>) = without.partition(|row| row[1] == "skipped");
        let number = |row: &Vec<String>| row[0].strip_prefix("line ").unwrap().to_owned();
        Self {
            tables: tables.split("\n\n").map(lines).collect(),
            rejected: rejected.iter().map(number).collect(),
            skipped: skipped.len() as u64,
        }
    }
}

#[tokio::test]
async fn the_messages_of_each_example_become_the_rows_that_are_shown() {
    for name in &examples() {
        let (messages, expected) = (read(name, "jsonl"), Expected::of(name));
        let mut numbered = Batch::new();
        for (number, message) in (1..).zip(messages.lines()) {
            numbered = numbered.text(&number.to_string(), message);
        }
        let mut example = Example::start(name).await;
        let answer = example.function.invoke(&numbered.event()).await;
        let bad: Vec<_> = expected.rejected.iter().map(String::as_str).collect();
        assert_eq!(answer.failed_ids(), ids(&bad), "{name}");
        assert_eq!(example.stored().await, expected.tables, "{name}");
        let summary = example.function.lines_of("batch", 1).await.remove(0);
        assert_eq!(summary["skipped"], expected.skipped, "{name}");
        let mut example = Example::start(name).await;
        for message in messages.lines() {
            let event = Batch::new().text("one", message).event();
            example.function.invoke(&event).await;
        }
        assert_eq!(example.stored().await, expected.tables, "{name}");
    }
}

#[test]
fn every_example_is_tried() {
    let mut files: Vec<_> = fs::read_dir(folder())
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    let names = examples();
    assert!(names.len() >= 13);
    let expected = names
        .iter()
        .flat_map(|name| ["jsonl", "rows", "toml"].map(|extension| file(name, extension)));
    assert_eq!(files, expected.collect::<Vec<_>>());
}
