//! Mappings that [`Pipeline::parse`] accepts, and those that it refuses.

use super::*;

/// A mapping with a valid key column, `head` above it and `columns` below it.
fn mapping(head: &str, columns: &str) -> String {
    let head = if head.is_empty() {
        "key = [\"id\"]"
    } else {
        head
    };
    let table = if head.contains("table =") {
        ""
    } else {
        "table = \"t\"\n"
    };
    format!(
        "{table}{head}\n[[column]]\nname = \"id\"\ntype = \"uuid\"\nfrom = \"@message_id\"\n{columns}"
    )
}

fn column(lines: &str) -> String {
    mapping("", &format!("[[column]]\nname = \"c\"\n{lines}"))
}

pub(super) fn refusal(text: &str) -> String {
    Pipeline::parse("pipeline.toml", text)
        .expect_err(text)
        .to_string()
}

#[test]
fn a_default_is_the_json_that_a_message_would_contain() {
    let text = column("type = \"jsonb\"\ndefault = {since = 2024-01-01, tags = [1, \"a\"]}");
    let pipeline = Pipeline::parse("p", &text).unwrap();
    assert_eq!(
        pipeline.tables[0].columns[1].default.as_deref(),
        Some(r#"{"since":"2024-01-01","tags":[1,"a"]}"#)
    );
}

#[test]
fn every_impossible_mapping_is_refused_with_the_place_and_the_fix() {
    let long = "x".repeat(64);
    let cases = [
        ("table = \"t", "line 1", "correct the line"),
        (
            &mapping("colour = 1", ""),
            "unknown field",
            "correct the line",
        ),
        (
            &column("type = \"text\"\ncolor = 1"),
            "unknown field",
            "correct the line",
        ),
        (
            &mapping("table = \"a.b.c\"\nkey = [\"id\"]", ""),
            "too many parts",
            "schema.table",
        ),
        (
            &mapping("table = \"\"\nkey = [\"id\"]", ""),
            "table \"\"",
            "1 to 63 bytes",
        ),
        (
            &mapping(&format!("table = \"{long}\"\nkey = [\"id\"]"), ""),
            "table \"xxx",
            "1 to 63 bytes",
        ),
        (
            "table = \"t\"\nkey = [\"id\"]",
            "no column is mapped",
            "[[column]]",
        ),
        (&mapping("key = []", ""), "no key", "message_id"),
        (&mapping("key = [\"nope\"]", ""), "nope", "add the column"),
        (
            &mapping("key = [\"id\", \"id\"]", ""),
            "column \"id\"",
            "once",
        ),
        (
            &mapping("key = [\"c\"]", "[[column]]\nname = \"c\"\ntype = \"text\""),
            "can be null",
            "required = true",
        ),
        (
            &mapping(
                "key = [\"c\"]",
                "[[column]]\nname = \"c\"\ntype = \"integer\"\nfrom = \"@receive_count\"",
            ),
            "every delivery",
            "from the key",
        ),
        (
            &mapping(
                "key = [\"c\"]",
                "[[column]]\nname = \"c\"\ntype = \"integer\"\ndefault = 0",
            ),
            "would become one row",
            "required = true",
        ),
        (
            &mapping("key = [\"id\"]\nnewer = \"id\"", ""),
            "newer needs rows that can be replaced",
            "on_conflict = \"update\"",
        ),
        (
            &mapping("key = [\"id\"]\ntrust_origin = true", ""),
            "has no effect",
            "remove it",
        ),
        (
            &column("type = \"text\"\nfrom = \"@mask_key_id\""),
            "the same for every row",
            "remove the column",
        ),
        (
            &column("type = \"text\"\nclear = true"),
            "has no effect",
            "remove it",
        ),
        (
            &column(
                "type = \"text\"\n[[column]]\nname = \"d\"\ntype = \"text\"\nfrom = \"c\"\nmask = \"sha256\"",
            ),
            "stores in clear what column \"d\" masks",
            "clear = true",
        ),
        (
            &column("type = \"text\"\nfrom = '\"a.b'"),
            "quoted step",
            "close it",
        ),
        (
            &mapping("", "[[column]]\nname = \"id\"\ntype = \"text\""),
            "column \"id\"",
            "rename",
        ),
        (
            &mapping("key = [\"id\"]\non_conflict = \"replace\"", ""),
            "replace",
            "ignore, update",
        ),
        (
            &mapping("key = [\"id\"]\nenvelope = \"kafka\"", ""),
            "kafka",
            "none, sns",
        ),
        (
            &column("type = \"int\""),
            "column \"c\": type \"int\"",
            "bigint",
        ),
        (&column("type = \"varchar(0)\""), "varchar(0)", "varchar(n)"),
        (
            &column("type = \"text\"\nfrom = \"a..b\""),
            "empty step",
            "one dot",
        ),
        (
            &column("type = \"text\"\nfrom = \"@now\""),
            "@now",
            "@sent_at",
        ),
        (
            &column("type = \"text\"\nfrom = \"@attribute.\""),
            "unknown metadata",
            "@attribute.NAME",
        ),
        (
            &column("type = \"uuid\"\nfrom = \"@sent_at\""),
            "does not fit type uuid",
            "timestamptz",
        ),
        (
            &column("type = \"varchar(63)\"\nfrom = \"@body_sha256\""),
            "does not fit",
            "varchar(64)",
        ),
        (
            &column("type = \"text\"\nfrom = \"@sns.topic_arn\""),
            "the envelope sns",
            "envelope = \"sns\"",
        ),
        (
            &column("type = \"text\"\nrequired = true\ndefault = \"x\""),
            "exclude each other",
            "keep one",
        ),
        (
            &column("type = \"text\"\ntransform = [\"rot13\"]"),
            "rot13",
            "lowercase",
        ),
        (
            &column("type = \"jsonb\"\ntransform = [\"trim\"]"),
            "jsonb",
            "remove the transform",
        ),
        (
            &column("type = \"integer\"\ntransform = [\"ip\"]"),
            "type integer",
            "change the type",
        ),
        (
            &column("type = \"uuid\"\ntransform = [\"major\"]"),
            "type uuid",
            "change the type",
        ),
        (
            &column("type = \"date\"\nfrom = \"@sent_at\"\ntransform = [\"trim\"]"),
            "@sent_at",
            "remove it",
        ),
        (&column("type = \"text\"\nmask = \"md5\""), "md5", "aes-siv"),
        (
            &column("type = \"text\"\nmask = \"base64\""),
            "base64 is not a mask",
            "hmac-sha256",
        ),
        (
            &column("type = \"integer\"\nmask = \"sha256\""),
            "type integer",
            "varchar(n)",
        ),
        (
            &column("type = \"varchar(63)\"\nmask = \"sha256\""),
            "64 characters",
            "widen",
        ),
        (
            &column("type = \"varchar(127)\"\nmask = \"sha512\""),
            "128 characters",
            "widen",
        ),
        (
            &column("type = \"varchar(22)\"\nmask = \"aes-siv\""),
            "23 characters",
            "widen",
        ),
    ];
    for (text, wrong, fix) in cases {
        let sentence = refusal(text);
        assert!(sentence.starts_with("pipeline.toml: "), "{sentence}");
        assert!(
            sentence.contains(wrong) && sentence.contains(fix),
            "{sentence}"
        );
        assert!(!sentence.contains('\n'), "{sentence}");
    }
}

#[test]
fn a_path_that_never_leads_to_a_value_is_refused() {
    let with = |outer: &str, from: &str| {
        mapping(
            "",
            &format!(
                "[[column]]\nname = \"a\"\ntype = \"{outer}\"\n[[column]]\nname = \"b\"\ntype = \"text\"\nfrom = \"{from}\"\n"
            ),
        )
    };
    for (outer, from) in [
        ("integer", "a.b"),
        ("text", "a.0"),
        ("text[]", "a.b"),
        ("text[]", "a.0.b"),
    ] {
        let refused = refusal(&with(outer, from));
        assert!(refused.contains("never leads to a value"), "{refused}");
    }
    for (outer, from) in [
        ("jsonb", "a.b"),
        ("json", "a.0.b"),
        ("text[]", "a.0"),
        ("integer", "ab.c"),
        ("integer", "a"),
    ] {
        assert!(
            Pipeline::parse("p", &with(outer, from)).is_ok(),
            "{outer} {from}"
        );
    }
    for name in ["my tenant", ".a", "a..b", "a."] {
        let refused = refusal(&column(&format!(
            "type = \"text\"\nfrom = \"@attribute.{name}\""
        )));
        assert!(refused.contains("SQS does not allow"), "{refused}");
    }
}
