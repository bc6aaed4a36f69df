//! Several tables: what `ddl`, `check` and `explain` make of such a mapping.

use serde_json::json;

use crate::ddl::create;
use crate::support::Database;
use crate::tool::Tool;

/// The mapping of the reference: orders with lines.
pub(crate) fn reference() -> &'static str {
    const PAGE: &str = include_str!("../../docs/MAPPING.md");
    let (_, section) = PAGE.split_once("## Several tables").unwrap();
    let (_, block) = section.split_once("```toml\n").unwrap();
    block.split_once("```").unwrap().0
}

#[tokio::test]
async fn ddl_creates_all_tables_with_their_foreign_keys_and_check_finds_them() {
    let database = Database::new().await;
    let tool = Tool::on(&database).mapping(reference());
    create(&tool, &database).await;
    assert_eq!(tool.run("ddl --diff").await.out, "");
    database
        .execute("INSERT INTO orders VALUES (7, 1); INSERT INTO order_lines VALUES (7, 0, 'x'); DELETE FROM orders")
        .await;
    assert_eq!(database.count("order_lines").await, 0);
    let check = tool.run("check").await;
    assert_eq!(check.code, 0, "{}{}", check.out, check.err);
    for table in ["\"orders\"", "\"order_lines\""] {
        assert!(check.out.contains(table), "{}", check.out);
    }
    database.execute("DROP TABLE order_lines").await;
    let missing = tool.run("ddl --diff").await.out;
    assert!(
        missing.contains(
            "FOREIGN KEY (\"order_id\") REFERENCES \"orders\" (\"order_id\") ON DELETE CASCADE"
        ),
        "{missing}"
    );
    assert_eq!(tool.run("check").await.code, 2);
    database.execute(&missing).await;
    assert_eq!(tool.run("check").await.code, 0);
}

#[tokio::test]
async fn explain_shows_all_rows_of_a_message_as_a_tree() {
    let database = Database::new().await;
    let order = json!({"type": "order", "order_id": 7, "version": 2, "lines": [{"sku": "A-1"}, {"sku": "B-2"}]});
    let bad = json!({"type": "order", "order_id": 8, "lines": [{"sku": "A-1"}, {}]});
    let deleted = json!({"type": "order.deleted", "order_id": 7, "version": 3});
    let other = json!({"type": "invoice"});
    let input = format!("{order}\n{bad}\n{deleted}\n{other}\n");
    let tool = Tool::on(&database).mapping(reference()).input(&input);
    let explained = tool.run("explain --show-values").await;
    assert_eq!(explained.code, 1, "{}", explained.err);
    let heads: Vec<_> = explained
        .out
        .lines()
        .filter(|line| line.contains("row of"))
        .collect();
    assert_eq!(
        heads[..4],
        [
            "line 1: a row of \"orders\"",
            "    line 1: a row of \"order_lines\"",
            "    line 1: a row of \"order_lines\"",
            "line 3: deletes the row of \"orders\"",
        ]
    );
    for expected in [
        "table \"order_lines\", column \"sku\" from \"lines[1].sku\"",
        "line 4: no row",
        "4 messages: 4 rows, 1 rejected, 1 without a row",
    ] {
        assert!(
            explained.out.contains(expected),
            "{expected}: {}",
            explained.out
        );
    }
    let json = tool.run("explain --json --show-values").await.json();
    assert_eq!(json[0]["rows"][2]["table"], "order_lines");
    assert_eq!(json[0]["rows"][2]["columns"][1]["value"], "1");
    assert_eq!(
        (&json[1]["table"], &json[1]["path"]),
        (&json!("order_lines"), &json!("lines[1].sku"))
    );
    assert_eq!(json[2]["rows"][0]["deleted"], true);
    assert_eq!(json[3]["rows"], json!([]));
}
