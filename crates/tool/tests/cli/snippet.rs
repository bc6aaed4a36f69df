//! A mistake in a mapping is shown in its line, below the sentence that the function writes too.

use crate::tool::Tool;
use testkit::{TempFile, assert_contains};

const MAPPING: &str = r#"# The orders.
[[table]]
name = "orders"
key = ["id"]
column = [
  { name = "id", type = "uuid", from = "@message_id" },
  { name = "total", type = "numeric" },
]

[[table]]
name = "lines"
parent = "orders"
each = "lines"
key = ["id", "line"]
column = [
  { name = "id", type = "uuid", from = "^.@message_id" },
  { name = "line", type = "integer", from = "@index" },
  { name = "ip", type = "text", mask = "hmac-sha256" },
]
"#;

/// The lines below the sentence, without the path.
async fn shown(mapping: &str) -> Vec<String> {
    let file = TempFile::new(mapping);
    let path = file.0.display().to_string();
    let refused = Tool::bare()
        .run(&format!("ddl --pipeline {path}"))
        .await
        .exits(2);
    let mut lines = refused.err.lines();
    assert_contains(lines.next().unwrap(), &format!("error: {path}: "));
    let lines = lines.map(|line| line.replace(&path, "FILE").trim_end().to_owned());
    lines.collect()
}

#[tokio::test]
async fn the_line_of_a_mistake_is_shown_with_a_caret_below_its_place() {
    let valid = MAPPING.replace("^.@message_id", "@message_id");
    let file = TempFile::new(&valid);
    let path = file.0.display();
    Tool::bare()
        .run(&format!("ddl --pipeline {path}"))
        .await
        .exits(0);
    let cases = [
        ("\"numeric\"", "\"number\"", 7, "\"number\""),
        ("parent = \"orders\"", "parent = \"order\"", 12, "\"order\""),
        ("\"hmac-sha256\"", "\"base64\"", 18, "\"base64\""),
        (
            "key = [\"id\", \"line\"]",
            "key = [\"line\"]",
            14,
            "[\"line\"]",
        ),
        ("mask = ", "maks = ", 18, "maks"),
        ("each = \"lines\"", "each = \"lines\"\neach = 1", 14, "each"),
        ("name = \"lines\"", "name = \"orders\"", 11, "\"orders\""),
        ("from = \"@index\"", "from = \"@idx\"", 17, "\"@idx\""),
        // What is missing belongs beside the name.
        (", from = \"@index\"", "", 17, "\"line\""),
        ("# The orders.", "unmatched = \"skip\"", 1, "\"skip\""),
    ];
    for (right, wrong, line, place) in cases {
        let mapping = valid.replacen(right, wrong, 1);
        let shown = shown(&mapping).await;
        let text = mapping.lines().nth(line - 1).unwrap();
        let column = text.find(place).unwrap() + 1;
        let caret = "^".repeat(place.len());
        let blank = " ".repeat(line.to_string().len());
        let expected = [
            format!("{blank}--> FILE:{line}:{column}"),
            format!("{blank} |"),
            format!("{line} | {text}"),
            format!("{blank} | {}{caret}", " ".repeat(column - 1)),
        ];
        assert_eq!(shown, expected, "{wrong}");
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_named_without_a_line() {
    let refused = Tool::bare()
        .run("ddl --pipeline /nowhere.toml")
        .await
        .exits(2);
    assert_eq!(refused.err.lines().count(), 1, "{}", refused.err);
}

#[tokio::test]
async fn a_terminal_does_not_obey_a_line_that_is_shown() {
    let name =
        "table = \"t\"\nkey = [\"i\"]\ncolumn = [{ name = \"i\", type = \"\u{9b}2J\u{202e}\" }]";
    let shown = shown(name).await.join("\n");
    assert!(!shown.contains(['\u{9b}', '\u{202e}']), "{shown:?}");
}
