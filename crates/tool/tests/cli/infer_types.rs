//! `infer`: types that lose nothing of the next message either, and structure by the majority of the samples.

use serde_json::{Value, json};

use crate::infer::{column, inferred};
use crate::tool::Tool;
use testkit::{assert_contains, assert_ends};

fn lines(messages: impl IntoIterator<Item = Value>) -> String {
    let lines = messages.into_iter().map(|message| message.to_string());
    lines.collect::<Vec<_>>().join("\n")
}

/// The line of a mapping that begins like this, with its comment.
fn line<'m>(mapping: &'m str, start: &str) -> &'m str {
    let mut lines = mapping.lines();
    let found = lines.find(|line| line.starts_with(start));
    found.unwrap_or_else(|| panic!("no {start}: {mapping}"))
}

/// The line of the column that is read from a field.
fn column_of(mapping: &str, field: &str) -> String {
    let mut lines = mapping.lines();
    let is_its = |line: &&str| {
        line.contains(&format!("name = \"{field}\""))
            || line.contains(&format!("from = \"{field}\""))
    };
    let found = lines.find(is_its);
    found
        .unwrap_or_else(|| panic!("no {field}: {mapping}"))
        .to_owned()
}

#[tokio::test]
async fn digits_in_strings_stay_text_unless_the_name_says_a_quantity() {
    let codes = [
        "last4",
        "routing_number",
        "mcc",
        "sku",
        "zip_file",
        "version",
    ];
    let ids = [
        "cost_center",
        "hs_tariff",
        "serial",
        "employee",
        "lot",
        "color",
        "reference",
        "customer_no",
        "order_number",
        "order_id",
        "sha",
        "code",
        "isbn",
        "amount_id",
    ];
    for name in codes.into_iter().chain(ids) {
        let mapping = inferred(&lines(
            (4211..4231).map(|n: usize| json!({name: n.to_string()})),
        ))
        .await;
        let found = column_of(&mapping, name);
        let is_offered = found.ends_with("# bigint would fit");
        let is_code = codes.contains(&name) || ["code", "isbn"].contains(&name);
        assert_eq!(is_offered, !is_code, "{name}: {found}");
        assert_contains(&found, "type = \"text\"");
    }
    for (name, value, column_type) in [
        ("count", "12", "bigint"),
        ("amount", "1200", "numeric"),
        ("unitPrice", "7", "numeric"),
        ("total", "12345678901", "numeric"),
        ("qty", "3", "bigint"),
        ("amount_chf", "3", "numeric"),
        ("amount", "0012", "text"),
        ("ratio", "0.5", "numeric"),
        ("plus", "+1", "text"),
    ] {
        let mapping = inferred(&json!({name: value}).to_string()).await;
        assert_contains(&mapping, &format!("type = \"{column_type}\""));
    }
    // One padded value is enough: the others are the same kind of thing.
    let amounts = (0..20).map(
        |n: usize| json!({"amount": if n == 7 { "007".to_owned() } else { (n + 10).to_string() }}),
    );
    assert_eq!(
        column(&inferred(&lines(amounts)).await, "amount")[0],
        "type = \"text\""
    );
    // Beside numbers they are numbers.
    let mixed = lines([json!({"seats": 4}), json!({"seats": "5"})]);
    assert_eq!(
        column(&inferred(&mixed).await, "seats")[0],
        "type = \"bigint\""
    );
}

#[tokio::test]
async fn words_for_true_and_false_are_boolean_where_the_function_takes_them() {
    let of = |values: &[Value]| {
        lines(
            values
                .iter()
                .cycle()
                .take(40)
                .map(|value| json!({"ok": value})),
        )
    };
    for values in [
        &[json!("true"), json!("False")][..],
        &[json!("true"), json!(true)],
        &[json!(true), json!("yes"), json!("off")],
    ] {
        let input = of(values);
        let mapping = inferred(&input).await;
        assert_eq!(
            column(&mapping, "ok")[0],
            "type = \"boolean\"",
            "{values:?}"
        );
        let explained = Tool::bare().mapping(&mapping).input(&input);
        let explained = explained.run("explain --summary").await;
        assert_contains(&explained.out, "40 messages: 40 rows, 0 rejected");
    }
    let words = inferred(&of(&[json!("yes"), json!("no")])).await;
    let found = column_of(&words, "ok");
    assert!(found.ends_with("# boolean would fit"), "{found}");
}

#[tokio::test]
async fn most_messages_decide_what_is_a_table_and_the_others_are_named() {
    let message = |n: usize| {
        let reading = json!({"t": n, "v": 1.5});
        match n {
            12 => json!({"n": n, "readings": reading}),
            20 => json!({"n": n, "readings": [reading, "broken"]}),
            30 => json!({"n": n, "readings": null}),
            _ => json!({"n": n, "readings": [reading, reading]}),
        }
    };
    let input = lines((1..=50).map(message));
    let mapping = inferred(&input).await;
    let each = line(&mapping, "each = \"readings\"");
    assert_ends(
        &each,
        "# a row for each object: up to 2 in the samples; line 12 is an object; elements: line 20 is text",
    );
    assert_contains(&mapping, "name = \"v\", type = \"double precision\"");
    let explained = Tool::bare().mapping(&mapping).input(&input);
    let explained = explained.run("explain --json").await.json();
    let rejected = explained
        .iter()
        .filter(|line| line["outcome"] == "rejected");
    let rejected: Vec<&str> = rejected
        .map(|line| line["message"].as_str().unwrap())
        .collect();
    assert_eq!(rejected, ["line 12", "line 20"]);
    // Without a majority the column says what there is.
    let mixed = (0..4).map(|n| json!({"new": if n == 2 { json!([1]) } else { json!("a") }}));
    let found = inferred(&lines(mixed)).await;
    let found = column_of(&found, "new");
    assert_ends(&found, "# an array: 1 of 4; line 3 is an array");
    let half = (0..4)
        .map(|n| json!({"v": if n % 2 == 0 { json!("2026-11-21T00:00:00Z") } else { json!(7) }}));
    let found = inferred(&lines(half)).await;
    let found = column_of(&found, "v");
    assert_ends(&found, "# only 2 of 4 are bigint and as many timestamptz");
}
