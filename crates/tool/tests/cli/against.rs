//! `explain --against`: how the rows of a changed mapping differ, without values.

use serde_json::json;

use crate::redrive::Queues;
use crate::tool::Tool;
use testkit::{Mapping, TempFile, assert_contains};

fn orders() -> Mapping {
    let mapping = Mapping::of("orders").key("id").column("id", "integer");
    let mapping = mapping.with("required", true).column("total", "text");
    mapping.column("note", "text")
}

fn messages() -> String {
    let order = |id: u32| json!({"id": id, "total": "24.50", "note": "to Ada", "city": "Bern"});
    let messages: Vec<_> = (0..5).map(|id| order(id).to_string()).collect();
    let odd = [
        json!({"id": 5, "total": "2 CHF"}),
        json!({"id": "x", "total": "1"}),
        json!({"id": 6, "total": "7", "note": "n"}),
    ];
    let odd: Vec<_> = odd.iter().map(ToString::to_string).collect();
    [messages, odd].concat().join("\n")
}

#[tokio::test]
async fn the_rows_that_another_mapping_would_make_are_counted_by_column_and_no_value_is_shown() {
    let old = TempFile::new(&orders().to_string());
    let changed = Mapping::of("orders").key("id").column("id", "integer");
    let changed = changed
        .with("required", true)
        .column("total", "numeric(12,2)");
    let changed = changed.column("city", "text");
    let against = format!("explain --against {}", old.0.display());
    let tool = Tool::bare().mapping(&changed).input(&messages());
    let differs = tool.run(&against).await.exits(1);
    for told in [
        "orders: 6 rows changed\n",
        "  city   5 null or absent before\n",
        "  note   6 null or absent now\n",
        "  total  1 with another value\n",
        "1 message stored before, rejected now by type (total) (line 6)\n",
        "8 messages: 6 rows differ, 1 message with another result\n",
    ] {
        assert_contains(&differs.out, told);
    }
    for value in ["Ada", "Bern", "24.50", "CHF"] {
        assert!(!differs.out.contains(value), "{}", differs.out);
    }
    let same = Tool::bare().mapping(&orders()).input(&messages());
    let same = same.run(&against).await.exits(0);
    assert_eq!(
        same.out,
        "8 messages: 0 rows differ, 0 messages with another result\n"
    );
}

#[tokio::test]
async fn the_result_of_a_fix_is_compared_on_the_dead_letters_themselves() {
    let queues = Queues::new().await;
    let reason = json!({"rule": "type", "column": "id", "path": "id"}).to_string();
    for id in ["A-1", "A-2"] {
        let body = json!({"id": id}).to_string();
        queues.dead_letter(&body, &[("rejection", &reason)]).await;
    }
    let old = TempFile::new(&orders().to_string());
    let fixed = Mapping::of("orders").key("id").column("id", "text");
    let fixed = fixed.with("required", true);
    let against = format!(
        "explain --against {} --queue-url {}",
        old.0.display(),
        queues.dead.url
    );
    let differs = Tool::bare()
        .on_aws()
        .mapping(&fixed)
        .run(&against)
        .await
        .exits(1);
    assert_contains(
        &differs.out,
        "2 messages rejected before by type (id), stored now (message ",
    );
    assert_eq!(queues.dead.counts().await, (2, 0));
}
