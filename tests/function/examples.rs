//! The examples of `examples/`: their messages become the rows that are shown, all in one batch, and one by one.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use mapping::Pipeline;

use testkit::batch::{Batch, ids};
use testkit::{Database, Function, Setup};

/// Name, the lines that are rejected, and the number of lines without a row.
const EXAMPLES: [(&str, &[u32], u64); 15] = [
    ("audit", &[31, 32, 33, 34, 35, 36, 37, 38, 39, 40], 3),
    ("cloudevents", &[4], 0),
    ("cloudtrail", &[30, 34, 35, 36, 37, 38, 39], 4),
    ("debezium", &[17, 18, 23, 24, 29], 10),
    ("dms", &[13, 15], 2),
    ("eventbridge", &[4], 1),
    ("github", &[34, 35, 36, 37, 38], 0),
    ("history", &[6], 0),
    ("iot", &[23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34], 2),
    ("orders", &[3], 0),
    ("rest", &[4], 0),
    ("s3", &[], 1),
    ("ses", &[31, 32, 33, 34, 35, 36, 37, 38, 39], 0),
    ("shopify", &[23, 24, 25, 26, 27, 29], 5),
    ("stripe", &[33, 34, 35, 36, 37, 38], 0),
];

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

/// The rows of a file.
fn expected(name: &str) -> Vec<Vec<Vec<String>>> {
    let text = read(name, "rows");
    let tables = text.split("\n\n").map(|table| {
        let lines = table.lines().filter(|line| !line.starts_with("---"));
        let cells = |line: &str| line.split('|').map(|cell| cell.trim().to_owned()).collect();
        lines.map(cells).collect()
    });
    tables.collect()
}

#[tokio::test]
async fn the_messages_of_each_example_become_the_rows_that_are_shown() {
    for (name, bad, skipped) in EXAMPLES {
        let messages = read(name, "jsonl");
        let mut numbered = Batch::new();
        for (number, message) in (1..).zip(messages.lines()) {
            numbered = numbered.text(&number.to_string(), message);
        }
        let mut example = Example::start(name).await;
        let answer = example.function.invoke(&numbered.event()).await;
        let bad: Vec<_> = bad.iter().map(u32::to_string).collect();
        let bad: Vec<_> = bad.iter().map(String::as_str).collect();
        assert_eq!(answer.failed_ids(), ids(&bad), "{name}");
        assert_eq!(example.stored().await, expected(name), "{name}");
        let summary = example.function.lines_of("batch", 1).await.remove(0);
        assert_eq!(summary["skipped"], skipped, "{name}");
        let mut example = Example::start(name).await;
        for message in messages.lines() {
            let event = Batch::new().text("one", message).event();
            example.function.invoke(&event).await;
        }
        assert_eq!(example.stored().await, expected(name), "{name}");
    }
}

#[test]
fn every_example_is_tried() {
    let mut files: Vec<_> = fs::read_dir(folder())
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    let expected = EXAMPLES
        .iter()
        .flat_map(|(name, ..)| ["jsonl", "rows", "toml"].map(|extension| file(name, extension)));
    assert_eq!(files, expected.collect::<Vec<_>>());
}
