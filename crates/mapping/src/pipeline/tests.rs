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

/// Each text breaks a mapping, whose error says what is wrong and how to fix it.
fn assert_refused(mapping_of: impl Fn(&str) -> String, cases: &[(&str, &str, &str)]) {
    for (text, wrong, fix) in cases {
        let sentence = refusal(&mapping_of(text));
        assert!(sentence.starts_with("pipeline.toml: "), "{sentence}");
        assert!(
            sentence.contains(wrong) && sentence.contains(fix),
            "{sentence}"
        );
        assert!(!sentence.contains('\n'), "{sentence}");
    }
}

#[test]
fn every_impossible_file_or_table_is_refused_with_the_place_and_the_fix() {
    let files = [
        ("table = 't", "line 1", "correct the line"),
        (
            "table = 't'\nkey = ['id']",
            "no column is mapped",
            "[[column]]",
        ),
    ];
    assert_refused(str::to_owned, &files);
    let long = format!("table = '{}'\nkey = ['id']", "x".repeat(64));
    let many: Vec<String> = (0..33).map(|column| format!("'c{column}'")).collect();
    let many = format!("key = [{}]", many.join(","));
    let heads = [
        (&*many, "more than 32 columns", "remove some"),
        ("colour = 1", "unknown field", "correct the line"),
        (
            "table = 'a.b.c'\nkey = ['id']",
            "too many parts",
            "schema.table",
        ),
        ("table = ''\nkey = ['id']", "table \"\"", "1 to 63 bytes"),
        (&long, "table \"xxx", "1 to 63 bytes"),
        ("key = []", "no key", "message_id"),
        ("key = ['nope']", "nope", "add the column"),
        ("key = ['id', 'id']", "column \"id\"", "once"),
        (
            "key = ['id']\nnewer = 'id'",
            "newer requires on_conflict = \"update\"",
            "on_conflict = \"update\"",
        ),
        (
            "key = ['id']\ntrust_origin = true",
            "has no effect",
            "remove it",
        ),
        (
            "key = ['id']\non_conflict = 'replace'",
            "replace",
            "ignore, update",
        ),
        ("key = ['id']\nenvelope = 'kafka'", "kafka", "none, sns"),
    ];
    assert_refused(|head| mapping(head, ""), &heads);
}

#[test]
fn every_impossible_column_is_refused_with_the_place_and_the_fix() {
    let of_key = |lines: &str| {
        let column = format!("[[column]]\nname = 'c'\n{lines}");
        mapping("key = ['c']", &column)
    };
    let keys = [
        ("type = 'text'", "can be null", "required = true"),
        (
            "type = 'integer'\nfrom = '@receive_count'",
            "every delivery",
            "from the key",
        ),
        (
            "type = 'integer'\nfrom = ['a', '@receive_count']",
            "every delivery",
            "from the key",
        ),
        (
            "type = 'integer'\ndefault = 0",
            "would become one row",
            "required = true",
        ),
    ];
    assert_refused(of_key, &keys);
    let masked =
        "type = 'text'\n[[column]]\nname = 'd'\ntype = 'text'\nfrom = 'c'\nmask = 'sha256'";
    let twice = "type = 'text'\n[[column]]\nname = 'id'\ntype = 'text'";
    let columns = [
        (
            "type = 'text'\ncolor = 1",
            "unknown field",
            "correct the line",
        ),
        (
            "type = 'text'\nfrom = '@mask_key_id'",
            "the same for every row",
            "remove the column",
        ),
        ("type = 'text'\nclear = true", "has no effect", "remove it"),
        (
            masked,
            "stores in plaintext the value that column \"d\" masks",
            "clear = true",
        ),
        ("type = 'text'\nfrom = '\"a.b'", "quoted step", "close it"),
        (twice, "column \"id\"", "rename"),
        (
            "type = 'text'\n[[column]]\nname = 'xmin'\ntype = 'text'",
            "column \"xmin\": Postgres has a column of this name",
            "rename it and add from = \"xmin\"",
        ),
        ("type = 'int'", "column \"c\": type \"int\"", "bigint"),
        ("type = 'varchar(0)'", "varchar(0)", "varchar(n)"),
        ("type = 'text'\nfrom = 'a..b'", "empty step", "one dot"),
        ("type = 'text'\nfrom = '@now'", "@now", "@sent_at"),
        (
            "type = 'text'\nfrom = '@attribute.'",
            "unknown metadata",
            "@attribute.NAME",
        ),
        (
            "type = 'uuid'\nfrom = '@sent_at'",
            "does not fit type uuid",
            "timestamptz",
        ),
        (
            "type = 'varchar(63)'\nfrom = '@body_sha256'",
            "does not fit",
            "varchar(64)",
        ),
        (
            "type = 'text'\nfrom = '@sns.topic_arn'",
            "the envelope sns",
            "envelope = \"sns\"",
        ),
        (
            "type = 'text'\nrequired = true\ndefault = 'x'",
            "exclude each other",
            "keep one",
        ),
        ("type = 'text'\ntransform = ['rot13']", "rot13", "lowercase"),
        (
            "type = 'jsonb'\ntransform = ['trim']",
            "jsonb",
            "remove the transform",
        ),
        (
            "type = 'integer'\ntransform = ['ip']",
            "type integer",
            "change the type",
        ),
        (
            "type = 'uuid'\ntransform = ['major']",
            "type uuid",
            "change the type",
        ),
        (
            "type = 'date'\nfrom = '@sent_at'\ntransform = ['trim']",
            "@sent_at",
            "remove it",
        ),
        (
            "type = 'jsonb'\nfrom = '@rest'\ntransform = ['json']",
            "@rest",
            "remove it",
        ),
        (
            "type = 'jsonb'\ntransform = ['lowercase', 'json']",
            "only trim and strip_nul can come before it",
            "remove lowercase",
        ),
        (
            "type = 'text'\ntransform = ['json', 'trim']",
            "it is the last one",
            "move json to the end",
        ),
        ("type = 'text'\nmask = 'md5'", "md5", "aes-siv"),
        (
            "type = 'text'\nmask = 'base64'",
            "base64 is not a mask",
            "hmac-sha256",
        ),
        (
            "type = 'integer'\nmask = 'sha256'",
            "type integer",
            "varchar(n)",
        ),
        (
            "type = 'varchar(63)'\nmask = 'sha256'",
            "64 characters",
            "widen",
        ),
        (
            "type = 'varchar(127)'\nmask = 'sha512'",
            "128 characters",
            "widen",
        ),
        (
            "type = 'varchar(22)'\nmask = 'aes-siv'",
            "23 characters",
            "widen",
        ),
    ];
    assert_refused(column, &columns);
}

#[test]
fn a_path_that_may_lead_to_a_value_is_accepted_and_an_impossible_attribute_refused() {
    let with = |outer: &str, from: &str| {
        mapping(
            "",
            &format!(
                "[[column]]\nname = \"a\"\ntype = \"{outer}\"\n[[column]]\nname = \"b\"\ntype = \"text\"\nfrom = \"{from}\"\n"
            ),
        )
    };
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

#[test]
fn a_column_in_plaintext_of_what_another_table_masks_is_refused() {
    let table = |name: &str, column: &str| {
        let id = "{ name = 'id', type = 'bigint', required = true }";
        format!("[[table]]\nname = '{name}'\nkey = ['id']\ncolumn = [{id}, {{ {column} }}]\n")
    };
    let masked = "name = 'email', type = 'text', mask = 'sha256'";
    for exposing in [
        "name = 'mail', type = 'text', from = 'email'",
        "name = 'mail', type = 'text', from = '$.email'",
        "name = 'whole', type = 'jsonb', from = '@body'",
    ] {
        let tables = [table("orders", masked), table("contacts", exposing)];
        for text in [tables.concat(), tables.iter().rev().cloned().collect()] {
            let refused = refusal(&text);
            let expected = "it stores in plaintext the value that column \"email\" masks";
            assert!(refused.contains(expected), "{exposing}: {refused}");
            assert!(refused.contains("table \"contacts\""), "{refused}");
        }
    }
}

#[test]
fn only_times_and_numbers_say_which_row_is_newer() {
    let of = |column_type: &str| {
        let head = "key = [\"id\"]\non_conflict = \"update\"\nnewer = \"v\"";
        let column = format!("[[column]]\nname = \"v\"\ntype = \"{column_type}\"");
        Pipeline::parse("p", &mapping(head, &column)).is_ok()
    };
    let ordered = [
        "smallint",
        "integer",
        "bigint",
        "real",
        "double precision",
        "numeric",
        "numeric(9,2)",
        "date",
        "timestamp",
        "timestamptz",
    ];
    let others = [
        "text",
        "varchar(9)",
        "boolean",
        "uuid",
        "inet",
        "bytea",
        "json",
        "jsonb",
        "integer[]",
    ];
    assert!(ordered.iter().all(|column_type| of(column_type)));
    assert!(!others.iter().any(|column_type| of(column_type)));
}

/// Without a mask key the id and time that a message claims are not signed.
#[test]
fn without_a_mask_key_no_row_is_replaced_by_a_claimed_id_or_time_unless_the_mapping_trusts_it() {
    let is_accepted = |lines: &str, key: &str| {
        let column = format!("[[column]]\nname = \"k\"\nrequired = true\n{key}");
        let head = format!("key = [\"k\"]\n{lines}");
        let pipeline = Pipeline::parse("p", &mapping(&head, &column)).unwrap();
        pipeline.check_unsigned_origin().is_ok()
    };
    let update = "on_conflict = \"update\"";
    let trusted = "on_conflict = \"update\"\ntrust_origin = true";
    let claimed = [
        "type = \"text\"\nfrom = \"@message_id\"",
        "type = \"timestamptz\"\nfrom = \"@sent_at\"",
        "type = \"text\"\nfrom = [\"id\", \"@message_id\"]",
    ];
    for key in claimed {
        let accepted = ["", update, trusted].map(|lines| is_accepted(lines, key));
        assert_eq!(accepted, [true, false, true], "{key}");
    }
    let of_body = "type = \"text\"\nfrom = \"id\"";
    assert!(is_accepted(update, of_body));
    let by_time = format!("{update}\nnewer = \"at\"");
    let at = "[[column]]\nname = \"at\"\ntype = \"timestamptz\"\nfrom = \"@sent_at\"";
    assert!(is_accepted(&by_time, &format!("{of_body}\n{at}")));
}

#[test]
fn an_impossible_program_is_refused_with_the_place_and_the_fix() {
    let columns = [
        (
            "type = 'text'\njq = '.a |'",
            "column \"c\": jq: it cannot be read at \"its end\"",
            "correct the program",
        ),
        (
            "type = 'text'\njq = 'now'",
            "now/0 is not available",
            "use a function",
        ),
        (
            "type = 'text'\njq = '.a'\nfrom = 'b'",
            "jq and from exclude each other",
            "in the program",
        ),
        (
            "type = 'text'\njq = '$parent.a'",
            "\"$parent\" goes up more levels",
            "name the parent",
        ),
    ];
    assert_refused(column, &columns);
    let heads = [(
        "key = ['id']\njq = 'input'",
        "jq: input/0 is not available",
        "use a function",
    )];
    assert_refused(|head| mapping(head, ""), &heads);
}

#[test]
fn a_program_beside_a_mask_must_be_marked_as_clear() {
    let with = |column: &str, masked: &str| {
        mapping(
            "",
            &format!(
                "[[column]]\nname = 'c'\ntype = 'text'\n{column}\n[[column]]\nname = 'm'\ntype = 'text'\nmask = 'sha256'\n{masked}"
            ),
        )
    };
    let is_exposed = |column, masked| {
        let parsed = Pipeline::parse("p", &with(column, masked));
        parsed.is_err_and(|error| matches!(error.problem, Problem::StoredInClear(_)))
    };
    for (column, masked) in [
        ("jq = '.a'", "from = 'email'"),
        ("jq = '.a'", "jq = '.email'"),
        ("from = 'email'", "jq = '.email | ascii_downcase'"),
        ("from = 'user.email'", "jq = '.user | .email'"),
        ("from = 'user'", "jq = '.user.email'"),
        ("from = 'user'", "jq = 'first(.. | .email? // empty)'"),
        ("from = 'user'", "jq = 'first(.[] | .email?)'"),
        ("from = '@body'", "jq = '.email'"),
    ] {
        assert!(is_exposed(column, masked), "{column} {masked}");
        let marked = format!("{column}\nclear = true");
        Pipeline::parse("p", &with(&marked, masked)).unwrap();
    }
    for (column, masked) in [
        ("jq = '.a'", "from = '@attribute.user'"),
        ("from = 'id'", "jq = '.email'"),
        ("from = 'user.id'", "jq = '.user.email'"),
        ("from = '@body_sha256'", "jq = '.email'"),
        ("jq = '.a'\nmask = 'sha256'", "jq = '.email'"),
    ] {
        Pipeline::parse("p", &with(column, masked)).unwrap();
    }
}

#[test]
fn every_impossible_cast_is_refused_with_what_to_write_instead() {
    let casts = [
        (
            "type = 'text'\ncast = 'interval; --'",
            "cast \"interval; --\" is not the name of a type",
            "as Postgres does",
        ),
        (
            "type = 'text'\ncast = 'int4'",
            "cast \"int4\" is not needed",
            "write type = \"integer\" without cast",
        ),
        (
            "type = 'text'\ncast = 'timestamp(3) with time zone'",
            "is not needed",
            "write type = \"timestamptz\" without cast",
        ),
        (
            "type = 'jsonb'\ncast = 'interval'",
            "cast is for values that go to Postgres as text",
            "set type = \"text\" in place of jsonb",
        ),
        (
            "type = 'text'\ncast = 'citext'\nmask = 'sha256'",
            "Postgres would read them as citext",
            "remove cast",
        ),
        (
            "type = 'text'\ncast = 'interval'\nunit = 's'",
            "unit is for times",
            "change the type",
        ),
        (
            "type = 'text'\ncast = 'interval'\nfrom = '@sent_at'",
            "does not fit type text",
            "timestamptz",
        ),
        (
            "type = 'interval'",
            "type \"interval\" is unknown",
            "write type = \"text\" and cast = \"interval\"",
        ),
        (
            "type = 'vector(3)'",
            "is unknown",
            "and cast = \"vector(3)\"",
        ),
        (
            "type = 'shop.\"Mood\"'",
            "is unknown",
            "and cast = '\"shop\".\"Mood\"'",
        ),
        ("type = 'money'", "is unknown", "and cast = \"money\""),
        (
            "type = 'enum'",
            "did you mean \"text\"?",
            "with the name of any other type of Postgres",
        ),
        (
            "type = 'char(3)'",
            "did you mean \"varchar(3)\"?",
            "with the name of any other type of Postgres",
        ),
    ];
    assert_refused(column, &casts);
    let newer = "[[column]]\nname = 'v'\ntype = 'text'\ncast = 'pg_lsn'";
    let head = "key = ['id']\non_conflict = 'update'\nnewer = 'v'";
    let sentence = refusal(&mapping(head, newer));
    assert!(sentence.contains("values of type pg_lsn"), "{sentence}");
}

#[test]
fn fields_of_an_object_that_goes_to_postgres_as_json_can_be_mapped_too() {
    let columns = "[[column]]\nname = 'a'\ntype = 'text'\ncast = 'hstore'\n[[column]]\nname = 'b'\ntype = 'text'\nfrom = 'a.b'";
    assert!(Pipeline::parse("p", &mapping("", columns)).is_ok());
}
