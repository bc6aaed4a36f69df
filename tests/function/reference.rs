//! The examples of docs/MAPPING.md that show messages and rows.

use serde_json::Value;

use testkit::Database;
use testkit::batch::Batch;

const REFERENCE: &str = include_str!("../../docs/MAPPING.md");

/// When the messages were sent: 2026-11-02T09:15:00Z.
const SENT_AT_MILLIS: i64 = 1_793_610_900_000;

/// A mapping, messages, and the rows they become.
pub(crate) struct Example {
    pub(crate) mapping: String,
    pub(crate) messages: Vec<Value>,
    /// Their columns, and their cells.
    table: Vec<Vec<String>>,
    name: &'static str,
}

impl Example {
    /// The example of the section with this title, whose table has this name.
    pub(crate) fn of(section: &str, name: &'static str) -> Self {
        let title = format!("\n### {section}\n");
        let section = REFERENCE.split(&title).nth(1).unwrap();
        let section = section.split("\n### ").next().unwrap();
        let block = |language: &str| {
            let begin = format!("\n```{language}\n");
            let block = section.split(&begin).nth(1).unwrap();
            block.split("\n```").next().unwrap()
        };
        let messages = block("json").lines();
        let lines = block("text").lines();
        let lines = lines.filter(|line| !line.starts_with("---"));
        let cells = |line: &str| line.split('|').map(|cell| cell.trim().to_owned()).collect();
        Self {
            mapping: block("toml").to_owned(),
            messages: messages
                .map(|line| serde_json::from_str(line).unwrap())
                .collect(),
            table: lines.map(cells).collect(),
            name,
        }
    }

    /// Some of the messages, by their positions.
    pub(crate) fn batch(&self, positions: &[usize]) -> Value {
        let add = |batch: Batch, position: &usize| {
            batch.record(serde_json::json!({
                "messageId": testkit::batch::id(&position.to_string()),
                "body": self.messages[*position].to_string(),
                "attributes": {"SentTimestamp": SENT_AT_MILLIS.to_string()},
            }))
        };
        positions.iter().fold(Batch::new(), add).event()
    }

    pub(crate) async fn assert_stored(&self, database: &Database, said: &str) {
        let columns = self.table[0].iter();
        let columns: Vec<_> = columns
            .map(|name| format!("format('%s', {name})"))
            .collect();
        let name = self.name;
        let sql = format!("SELECT {} FROM {name} ORDER BY 1", columns.join(", "));
        database.execute("SET TIME ZONE 'UTC'").await;
        assert_eq!(database.rows(&sql).await, self.table[1..], "{said}");
    }
}
