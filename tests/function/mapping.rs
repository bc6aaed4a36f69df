//! Mappings that would lose messages or expose personal data prevent startup; the paths and bodies that a mapping can
//! read.

use serde_json::{Value, json};

use testkit::batch::{Batch, id};
use testkit::{Database, Mapping, Setup, assert_contains, database_url};

const ID: &str = "[[column]]\nname = \"id\"\ntype = \"uuid\"\nfrom = \"@message_id\"\n";

/// Why the function does not start with a mapping of this head and these columns.
async fn refusal(head: &str, columns: &str) -> String {
    let setup = Setup::bare().set("DATABASE_URL", &database_url());
    let setup = setup.mapping(&format!("table = \"t\"\n{head}\n{columns}"));
    let (status, log) = setup.fail_to_start().await;
    assert!(!status.success());
    let line: Value = serde_json::from_str(&log).unwrap_or_else(|_| panic!("{log}"));
    line["reason"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_key_with_a_default_prevents_startup() {
    for default in ["default = 0", "default = \"\"\ntransform = [\"trim\"]"] {
        let column_type = if default.contains('"') {
            "text"
        } else {
            "bigint"
        };
        let column =
            format!("[[column]]\nname = \"order_id\"\ntype = \"{column_type}\"\n{default}\n");
        let reason = refusal("key = [\"order_id\"]", &column).await;
        assert_contains(&reason, "column \"order_id\"");
        assert_contains(&reason, "would become one row");
    }
    let column = "[[column]]\nname = \"order_id\"\ntype = \"bigint\"\n";
    let reason = refusal("key = [\"order_id\"]", column).await;
    assert!(
        reason.ends_with("add required = true"),
        "a default is recommended: {reason}"
    );
}

#[tokio::test]
async fn a_message_without_its_key_is_rejected_and_no_default_is_recommended() {
    let database = Database::new().await;
    database
        .execute("CREATE TABLE t (k bigint PRIMARY KEY, v text NOT NULL)")
        .await;
    let mapping = Mapping::of("t").within(&database).key("k");
    let mapping = mapping.column("k", "bigint").with("required", true);
    let mapping = mapping.column("v", "text").with("required", true);
    let mut function = Setup::on(&database).mapping(&mapping).start().await;
    let batch = Batch::new()
        .body("a", json!({"v": "x"}))
        .body("b", json!({"k": 1}));
    let answer = function.invoke(&batch.event()).await;
    assert_eq!(answer.failed_ids(), [id("a"), id("b")]);
    let lines = function.lines_of("message failed", 2).await;
    let reasons = [0, 1].map(|line| lines[line]["reason"].as_str().unwrap());
    assert_eq!([&lines[0]["rule"], &lines[1]["rule"]], ["required"; 2]);
    assert!(!reasons[0].contains("default"), "{}", reasons[0]);
    assert_contains(&reasons[1], "default");
}

#[tokio::test]
async fn a_newer_column_without_an_order_prevents_startup() {
    let update = "key = [\"k\"]\non_conflict = \"update\"\nnewer = \"v\"";
    let ignore = "key = [\"k\"]\nnewer = \"v\"";
    let of = |lines: &str| {
        format!(
            "[[column]]\nname = \"k\"\ntype = \"integer\"\nrequired = true\n[[column]]\nname = \"v\"\n{lines}\n"
        )
    };
    let cases = [
        (ignore, of("type = \"integer\""), "on_conflict = \"update\""),
        (
            update,
            of("type = \"text\""),
            "date, timestamp, timestamptz or a number",
        ),
        (update, of("type = \"jsonb\""), "values of type jsonb"),
        (
            update,
            of("type = \"text\"\nmask = \"sha256\""),
            "values of type text",
        ),
        (
            update,
            of("type = \"integer\"\nfrom = \"@receive_count\""),
            "every delivery",
        ),
        (
            update,
            of("type = \"integer\"\nfrom = [\"v\", \"@receive_count\"]"),
            "every delivery",
        ),
        (
            &update.replace("\"v\"", "\"w\""),
            of("type = \"integer\""),
            "add the column",
        ),
        (
            &update.replace("\"v\"", "\"k\""),
            of("type = \"integer\""),
            "part of the key",
        ),
    ];
    for (head, columns, expected) in cases {
        let reason = refusal(head, &columns).await;
        assert!(reason.contains(expected), "{expected}: {reason}");
    }
}

#[tokio::test]
async fn a_column_that_exposes_what_another_masks_prevents_startup_unless_it_is_intended() {
    let masked = "[[column]]\nname = \"masked_ip\"\ntype = \"text\"\nfrom = \"client.ip\"\nmask = \"sha256\"\n";
    let other = |from: &str, lines: &str| {
        format!(
            "{ID}{masked}[[column]]\nname = \"other\"\ntype = \"jsonb\"\nfrom = \"{from}\"\n{lines}\n"
        )
    };
    let key = "key = [\"id\"]";
    for from in ["client", "client.ip", "@body"] {
        let reason = refusal(key, &other(from, "")).await;
        assert!(
            reason
                .contains("column \"other\": it stores in plaintext the value that column \"masked_ip\" masks: "),
            "{from}: {reason}"
        );
    }
    let reason = refusal(key, &other("client.name", "clear = true")).await;
    assert_contains(&reason, "clear = true has no effect");
    // With `clear = true` it is stored.
    let database = Database::new().await;
    database
        .execute("CREATE TABLE t (id uuid PRIMARY KEY, masked_ip text, other jsonb)")
        .await;
    let mapping = format!(
        "table = \"{}.t\"\n{key}\n{}",
        database.schema,
        other("client", "clear = true")
    );
    let mut function = Setup::on(&database).mapping(&mapping).start().await;
    let batch = Batch::new().body("a", json!({"client": {"ip": "192.0.2.1"}}));
    let answer = function.invoke(&batch.event()).await;
    answer.assert_none_failed();
    assert_eq!(
        database
            .rows("SELECT length(masked_ip)::text, other->>'ip' FROM t")
            .await,
        [["64", "192.0.2.1"]]
    );
}

#[tokio::test]
async fn an_id_that_anybody_can_claim_overwrites_no_row_unless_the_mapping_trusts_it() {
    let update = "key = [\"id\"]\non_conflict = \"update\"";
    let reason = refusal(update, ID).await;
    assert_contains(&reason, "column \"id\"");
    assert_contains(&reason, "trust_origin = true");
    // So is a time.
    let by_time = "key = [\"at\"]\non_conflict = \"update\"";
    let at =
        "[[column]]\nname = \"at\"\ntype = \"timestamptz\"\nfrom = \"@sent_at\"\nrequired = true\n";
    let reason = refusal(by_time, at).await;
    assert_contains(&reason, "column \"at\"");
    assert_contains(&reason, "trust_origin = true");
    let reason = refusal("key = [\"id\"]\ntrust_origin = true", ID).await;
    assert_contains(&reason, "trust_origin = true has no effect");
    let database = Database::new().await;
    database
        .execute("CREATE TABLE t (id uuid PRIMARY KEY, token text)")
        .await;
    let masked = "[[column]]\nname = \"token\"\ntype = \"text\"\nmask = \"hmac-sha256\"\n";
    let without_key = || Setup::bare().set("DATABASE_URL", &database.url());
    for (setup, columns) in [
        (without_key(), format!("trust_origin = true\n{ID}")),
        (Setup::on(&database), ID.to_owned()),
        (Setup::on(&database), format!("{ID}{masked}")),
    ] {
        let mapping = format!("table = \"{}.t\"\n{update}\n{columns}", database.schema);
        let mut function = setup.mapping(&mapping).start().await;
        let answer = function.invoke(&Batch::new().text("a", "{}").event()).await;
        assert!(answer.failed_ids().is_empty(), "{columns}");
    }
}

#[tokio::test]
async fn keys_with_dots_and_at_signs_are_read_by_quoted_steps() {
    let database = Database::new().await;
    database
        .execute("CREATE TABLE t (id uuid PRIMARY KEY, a text, b text, c text NOT NULL)")
        .await;
    let mapping = Mapping::by_message_id("t").within(&database);
    let mapping = mapping.column("a", "text").with("from", r#""a.b".c"#);
    let mapping = mapping.column("b", "text").with("from", r#""@type""#);
    let mapping = mapping.column("c", "text").with("required", true);
    let mapping = mapping.with("from", r#"x."say ""hi.""".1"#);
    let mut function = Setup::on(&database).mapping(&mapping).start().await;
    let body = |c: Value| json!({"a.b": {"c": "dotted"}, "a": {"b": {"c": "nested"}}, "@type": "at", "x": {"say \"hi.\"": c}});
    let batch = Batch::new()
        .body("a", body(json!([0, "quoted"])))
        .body("b", body(json!([])));
    let answer = function.invoke(&batch.event()).await;
    assert_eq!(answer.failed_ids(), [id("b")]);
    assert_eq!(
        database.rows("SELECT a, b, c FROM t").await,
        [["dotted", "at", "quoted"]]
    );
    let line = &function.lines_of("message failed", 1).await[0];
    assert_eq!(line["path"], "x.\"say \"\"hi.\"\"\".1");
    let broken =
        |from: &str| format!("{ID}[[column]]\nname = \"a\"\ntype = \"text\"\nfrom = '{from}'\n");
    for from in ["\"a.b", "\"a\"b", "x.\"a\"\"", "\"a\".", "a.\"b\"c.d"] {
        let reason = refusal("key = [\"id\"]", &broken(from)).await;
        assert!(reason.contains("column \"a\": from "), "{from}: {reason}");
    }
}

#[tokio::test]
async fn a_path_that_can_never_lead_to_a_value_prevents_startup() {
    let mapping = |outer: &str, from: &str| {
        let mapping = Mapping::by_message_id("t").column("detail", outer);
        mapping.column("element", "integer").with("from", from)
    };
    for (outer, from) in [
        ("text", "detail.battery"),
        ("bigint", "detail.0"),
        ("bigint[]", "detail.battery"),
        ("bigint[]", "detail.0.battery"),
    ] {
        let setup = Setup::bare().set("DATABASE_URL", &database_url());
        let (status, log) = setup.mapping(&mapping(outer, from)).fail_to_start().await;
        let line: Value = serde_json::from_str(&log).unwrap_or_else(|_| panic!("{log}"));
        let reason = line["reason"].as_str().unwrap();
        let expected = format!("column \"element\": from {from:?} can never have a value");
        assert!(!status.success() && reason.contains(&expected), "{reason}");
    }
    // An element of an array does have one.
    let database = Database::new().await;
    database
        .execute("CREATE TABLE t (id uuid PRIMARY KEY, detail bigint[], element integer)")
        .await;
    let mapping = mapping("bigint[]", "detail.1").within(&database);
    let mut function = Setup::on(&database).mapping(&mapping).start().await;
    let batch = Batch::new().body("a", json!({"detail": [7, 8]}));
    function.invoke(&batch.event()).await.assert_none_failed();
    assert_eq!(database.count("t WHERE element = 8").await, 1);
}

#[tokio::test]
async fn a_body_that_is_not_json_is_stored_if_no_column_reads_a_part_of_it() {
    let database = Database::new().await;
    database
        .execute("CREATE TABLE t (digest text PRIMARY KEY, body text, tree jsonb)")
        .await;
    let mapping = Mapping::of("t").within(&database).key("digest");
    let mapping = mapping
        .column("digest", "text")
        .with("from", "@body_sha256");
    let text = mapping.column("body", "text").with("from", "@body");
    let mut function = Setup::on(&database).mapping(&text).start().await;
    let bodies = ["<xml/>", "a,b\n1,2", "{\"half\": ", "[1]"];
    let named = ["a", "b", "c", "d"].into_iter().zip(bodies);
    let batch = named.fold(Batch::new(), |batch, (name, body)| batch.text(name, body));
    let answer = function.invoke(&batch.event()).await;
    answer.assert_none_failed();
    let stored = "SELECT body FROM t WHERE digest = encode(sha256(convert_to(body, 'UTF8')), 'hex') ORDER BY body COLLATE \"C\"";
    let mut expected = bodies;
    expected.sort_unstable();
    assert_eq!(database.rows(stored).await.concat(), expected);
    // For a jsonb column the body must be JSON.
    let tree = text.column("tree", "jsonb").with("from", "@body");
    let mut function = Setup::on(&database).mapping(&tree).start().await;
    let batch = Batch::new().text("bad", "<xml/>").text("good", "[2]");
    let answer = function.invoke(&batch.event()).await;
    assert_eq!(answer.failed_ids(), [id("bad")]);
    let line = &function.lines_of("message failed", 1).await[0];
    assert_eq!(line["rule"], "body_not_json");
    assert_eq!(database.count("t WHERE tree = '[2]'").await, 1);
}
