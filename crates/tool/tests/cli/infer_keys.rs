//! `infer` and `explain --unmapped`: keys of objects that are data are not printed, and very many are not looked at.

use serde_json::{Map, Value, json};

use crate::infer::inferred;
use crate::tool::Tool;
use testkit::{Mapping, assert_contains};

fn lines(messages: impl IntoIterator<Item = Value>) -> String {
    let lines = messages.into_iter().map(|message| message.to_string());
    lines.collect::<Vec<_>>().join("\n")
}

/// `ada` and a letter: words in lower case, like the names of fields.
fn person(n: usize) -> String {
    let letter = |n: usize| char::from(b'a' + (n % 26) as u8);
    format!("ada{}{}{}", letter(n), letter(n / 26), letter(n / 676))
}

fn people(numbers: impl IntoIterator<Item = usize>) -> Value {
    let entries = numbers.into_iter().map(|n| (person(n), json!(n)));
    Value::Object(entries.collect::<Map<_, _>>())
}

#[tokio::test]
async fn keys_that_are_data_are_not_printed() {
    let visits = |n: usize| json!({"visits": n, "last": "x"});
    let nested =
        |n: usize| json!({"id": n, "team": {person(n): visits(n), person(n + 7): visits(n)}});
    for (what, input, path) in [
        (
            "a name that says so",
            lines([json!({"id": 1, "by_user": {person(1): 1}})]),
            "by_user.*",
        ),
        (
            "… anywhere",
            lines([json!({"id": 1, "votes_per_member": {person(1): 1}})]),
            "votes_per_member.*",
        ),
        (
            "keys that differ",
            lines((0..4).map(|n| json!({"id": n, "scores": people([n, n + 9])}))),
            "scores.*",
        ),
        (
            "very many keys",
            lines([json!({"id": 1, "scores": people(0..20)})]),
            "scores.*",
        ),
        (
            "objects that are alike",
            lines((0..5).map(nested)),
            "team.*",
        ),
        (
            "rare ones among very many",
            lines((0..600).map(|n| json!({"id": n, person(n): n}))),
            "*",
        ),
    ] {
        let proposed = Tool::bare().input(&input).run("infer").await.exits(0);
        let mapping = Mapping::by_message_id("t");
        // Something below is read, so that each path is shown down to its end.
        let mapping = mapping
            .column("x", "text")
            .with("from", path.replace('*', "nobody"));
        let tool = Tool::bare().mapping(&mapping).input(&input);
        let unmapped = tool.run("explain --unmapped").await;
        for text in [&proposed.out, &proposed.err, &unmapped.out, &unmapped.err] {
            assert!(!text.contains("ada"), "{what}: {text}");
        }
        assert!(
            unmapped.out.contains(&format!("\n  {path} ")),
            "{what}: {}",
            unmapped.out
        );
    }
}

#[tokio::test]
async fn keys_that_are_names_remain_columns() {
    let payment = |n: usize| match n % 3 {
        0 => json!({"card": {"brand": "b", "month": 7}}),
        1 => json!({"sepa": {"bank": "b", "country": "CH"}}),
        _ => json!({"invoice": {"days": 30, "number": "n"}}),
    };
    let message = |n: usize| {
        json!({"payment": payment(n), "created_by": {"id": n, "role": "r"}, "changed_by_role": {"id": n, "since": "s"},
            "load": {"cpu": 1, "memory": 2, "disk": 3}})
    };
    let mapping = inferred(&lines((0..12).map(message))).await;
    for from in [
        "payment.card.brand",
        "created_by.role",
        "changed_by_role.since",
        "load.memory",
    ] {
        assert!(
            mapping.contains(&format!("from = \"{from}\"")),
            "{from}: {mapping}"
        );
    }
}

#[tokio::test]
async fn samples_with_very_many_keys_say_what_is_not_looked_at() {
    let many = |n: usize| (0..20).map(move |k| (format!("k{}", n * 20 + k), json!(k)));
    let message = |n: usize| {
        let fields = many(n).chain([
            ("id".to_owned(), json!(n)),
            ("mail".to_owned(), json!({"k": 1})),
        ]);
        Value::Object(fields.collect())
    };
    let proposed = Tool::bare()
        .input(&lines((0..300).map(message)))
        .run("infer")
        .await;
    let expected = "omitted: keys beyond the first 2000 different ones, which infer ignores";
    assert_contains(&proposed.err, expected);
    assert_contains(&proposed.out, "# Omitted: keys beyond the first 2000");
    assert_contains(&proposed.out, "name = \"id\"");
    assert!(!proposed.out.contains("\"k1\""), "{}", proposed.out);
    // What is not a column is still searched for personal data.
    let maps = (0..300).map(|n| {
        let address = format!("{n}@example.org");
        let last = if n == 299 { address } else { "x".to_owned() };
        json!({"id": n, "map": Value::Object(many(n).chain([(format!("z{n}"), json!(last))]).collect())})
    });
    let proposed = Tool::bare().input(&lines(maps)).run("infer").await;
    let expected = "\"map\", which seems to contain an e-mail address";
    assert_contains(&proposed.out, expected);
}
