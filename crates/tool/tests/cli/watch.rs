//! `explain --watch` shows the result again after each change, and ends cleanly.

use std::fs;

use crate::tool::{Running, Tool};
use testkit::{TempFile, assert_contains, assert_starts};

const MAPPING: &str = r#"
table = "orders"
key = ["id"]
column = [
  { name = "id", type = "bigint", required = true },
  { name = "city", type = "text" },
]
"#;
const MESSAGES: &str = "{\"id\": 1, \"city\": \"Bern\"}\n{\"id\": 2, \"city\": \"Chur\"}\n";

/// Reads lines until one begins like this.
async fn reads(running: &mut Running, start: &str) -> Vec<String> {
    let mut lines = Vec::new();
    loop {
        let line = running.line().await;
        assert!(!line.is_empty(), "{start:?} does not follow: {lines:?}");
        let is_last = line.starts_with(start);
        lines.push(line);
        if is_last {
            return lines;
        }
    }
}

#[tokio::test]
async fn each_change_of_the_mapping_or_the_messages_shows_the_result_again_until_ctrl_c() {
    let (mapping, messages) = (TempFile::new(MAPPING), TempFile::new(MESSAGES));
    let (mapping, messages) = (&mapping.0, &messages.0);
    let (map, lines) = (mapping.display(), messages.display());
    let watch = format!("explain --watch --pipeline {map} {lines}");
    let mut running = Tool::bare().start(&watch);
    reads(&mut running, "2 messages: 2 rows, 0 rejected").await;

    fs::write(messages, format!("{MESSAGES}{{}}\n")).unwrap();
    reads(&mut running, &format!("changed: {lines}")).await;
    reads(&mut running, "line 3: rejected by rule required").await;
    reads(&mut running, "3 messages: 2 rows, 1 rejected").await;

    fs::write(mapping, MAPPING.replace("\"text\"", "\"txt\"")).unwrap();
    reads(&mut running, &format!("changed: {map}")).await;
    let error = running.error_until("^^^^^").await;
    let mistake = "column \"city\": type \"txt\" is unknown";
    assert_starts(&error, &format!("error: {map}: {mistake}"));
    fs::write(mapping, MAPPING.replace("\"city\"", "\"town\"")).unwrap();
    reads(&mut running, &format!("changed: {map}")).await;
    let shown = reads(&mut running, "3 messages: 2 rows, 1 rejected").await;
    assert!(shown.iter().any(|line| line.contains("town")));
    assert!(!shown.iter().any(|line| line.contains("\x1b")));

    running.signal("INT");
    running.end().await.exits(0);
}

#[tokio::test]
async fn what_cannot_be_read_again_is_not_watched() {
    let mapping = TempFile::new(MAPPING);
    let watch = format!("explain --watch --pipeline {}", mapping.0.display());
    let ended = Tool::bare()
        .input(MESSAGES)
        .run(&format!("{watch} -"))
        .await;
    assert_contains(&ended.exits(2).err, "name their files instead of -");
    Tool::bare().input(MESSAGES).run(&watch).await.exits(2);
    let queue = format!("{watch} --queue-name orders");
    Tool::bare().run(&queue).await.exits(2);
}
