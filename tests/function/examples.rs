//! The examples of `examples/`: their messages become the rows that are shown, all in one batch, and one by one.

use std::fs;
use std::path::{Path, PathBuf};

use mapping::Pipeline;

use testkit::batch::{Batch, ids};
use testkit::{Database, Function, Setup};

/// Name, the lines that are rejected, and the number of lines without a row.
const EXAMPLES: [(&str, &[&str], u64); 6] = [
    ("cloudevents", &["4"], 0),
    ("debezium", &[], 3),
    ("eventbridge", &["4"], 1),
    ("orders", &["3"], 0),
    ("rest", &["4"], 0),
    ("s3", &[], 1),
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
    database: Database,
    pipeline: Pipeline,
    function: Function,
}

impl Example {
    async fn start(name: &str) -> Self {
        let database = Database::new().await;
        let mapping = read(name, "toml").replace("\"shop.", "\"");
        let pipeline = Pipeline::parse(name, &mapping).unwrap();
        database.execute(&pipeline.create_tables()).await;
        let function = Setup::on(&database).mapping(&mapping).start().await;
        Self {
            database,
            pipeline,
            function,
        }
    }

    /// The tables as `psql` shows them: their names, their columns, and their rows in the order of the key.
    async fn stored(&self) -> Vec<Vec<Vec<String>>> {
        let mut shown = Vec::new();
        for table in &self.pipeline.tables {
            let columns: Vec<_> = table
                .columns
                .iter()
                .map(|column| column.name.clone())
                .collect();
            let texts: Vec<_> = columns
                .iter()
                .map(|name| format!("coalesce({name}::text, '')"))
                .collect();
            let key: Vec<_> = table.key_names().map(|name| format!("t.{name}")).collect();
            let (texts, key) = (texts.join(", "), key.join(", "));
            let name = &table.table;
            let rows = format!("SELECT {texts} FROM {name} AS t ORDER BY {key}");
            let mut lines = vec![vec![format!("shop.{}", table.table.name)], columns];
            lines.extend(self.database.rows(&rows).await);
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
        assert_eq!(answer.failed_ids(), ids(bad), "{name}");
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
