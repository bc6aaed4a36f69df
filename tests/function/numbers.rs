//! Digits are not numbers: a string is a number only if it is how the number is written.

use serde_json::json;

use crate::child_tables::invoke;
use crate::types::check;
use testkit::batch::{Batch, id, ids};
use testkit::{Database, Mapping, Setup, assert_contains};

/// Codes that consist of digits, and what other languages read as numbers.
const CODES: [&str; 14] = [
    r#""0042""#,
    r#""+42""#,
    r#""-007""#,
    r#""00""#,
    r#""-00.5""#,
    r#""00e1""#,
    r#"".5""#,
    r#""5.""#,
    r#""5.e1""#,
    r#""1e""#,
    r#"" 42""#,
    r#""42\n""#,
    r#""0x2A""#,
    r#""1_000""#,
];

#[tokio::test]
async fn a_string_of_digits_that_is_not_how_the_number_is_written_is_rejected() {
    let rejected = CODES.map(|code| (code, "type"));
    let whole = [
        (r#""42""#, "42"),
        (r#""0""#, "0"),
        (r#""-7""#, "'-7'"),
        (r#""1e3""#, "1000"),
        (r#""1E+3""#, "1000"),
        (r#""2.0""#, "2"),
        ("42", "42"),
    ];
    let fractions = [
        (r#""0.5""#, "0.5"),
        (r#""-0.5""#, "'-0.5'"),
        (r#""5e-1""#, "0.5"),
    ];
    for number in ["smallint", "integer", "bigint"] {
        check(number, &whole, &rejected).await;
    }
    let accepted = [&whole[..], &fractions].concat();
    for number in ["numeric", "numeric(12,2)", "real", "double precision"] {
        let scale_counts = number == "numeric";
        // `1e3` and `2.0` as Postgres reads them.
        let accepted = accepted
            .iter()
            .filter(|(json, _)| !scale_counts || *json != r#""2.0""#);
        check(number, &accepted.copied().collect::<Vec<_>>(), &rejected).await;
    }
    let elements: Vec<_> = CODES.iter().map(|code| format!("[1, {code}]")).collect();
    let elements: Vec<_> = elements
        .iter()
        .map(|json| (json.as_str(), "type"))
        .collect();
    check("integer[]", &[(r#"["42"]"#, "'{42}'")], &elements).await;
    check("numeric[]", &[(r#"["0.5"]"#, "'{0.5}'")], &elements).await;
}

#[tokio::test]
async fn three_spellings_of_a_key_are_not_one_row() {
    let database = Database::new().await;
    database
        .execute("CREATE TABLE t (k bigint PRIMARY KEY, version integer)")
        .await;
    let mapping = Mapping::of("t").within(&database).key("k");
    let mapping = mapping.set("on_conflict", "update").set("newer", "version");
    let mapping = mapping.column("k", "bigint").with("required", true);
    let mapping = mapping.column("version", "integer");
    let mut function = Setup::on(&database).mapping(&mapping).start().await;
    let batch = Batch::new()
        .body("a", json!({"k": "0042", "version": 1}))
        .body("b", json!({"k": "42", "version": "7"}))
        .body("c", json!({"k": "+42", "version": 9}))
        .body("d", json!({"k": "43", "version": "08"}));
    assert_eq!(invoke(&mut function, batch).await, ids(&["a", "c", "d"]));
    let rows = database.rows("SELECT k::text, version::text FROM t").await;
    assert_eq!(rows, [["42", "7"]]);
}

#[tokio::test]
async fn a_default_is_a_number_only_if_it_is_written_as_one() {
    let database = Database::new().await;
    for (default, is_number) in [("0042", false), ("+42", false), ("42", true)] {
        let mapping = Mapping::by_message_id("t").within(&database);
        let mapping = mapping.column("n", "integer").with("default", default);
        let setup = Setup::on(&database).mapping(&mapping);
        if is_number {
            setup.start().await.ready().await;
            continue;
        }
        let (status, log) = setup.fail_to_start().await;
        assert!(!status.success());
        assert_contains(&log, "column \\\"n\\\"");
    }
}

/// What a transform makes of a value counts, and parts of versions are numbers by what they are.
#[tokio::test]
async fn trimmed_numbers_and_parts_of_versions_are_numbers() {
    let database = Database::new().await;
    database
        .execute("CREATE TABLE t (id uuid PRIMARY KEY, n integer, minor integer, minor_text text, weight numeric)")
        .await;
    let mapping = Mapping::by_message_id("t").within(&database);
    let minor = ["minor"].map(str::to_owned).to_vec();
    let mapping = mapping
        .column("n", "integer")
        .with("transform", vec!["trim".to_owned()])
        .column("minor", "integer")
        .with("from", "version")
        .with("transform", minor.clone())
        .column("minor_text", "text")
        .with("from", "version")
        .with("transform", minor)
        .column("weight", "numeric")
        .with("from", "@attribute.weight");
    let mut function = Setup::on(&database).mapping(&mapping).start().await;
    let weighing = |name: &str, weight: &str| {
        let attributes = json!({"weight": {"stringValue": weight, "dataType": "Number"}});
        json!({"messageId": id(name), "body": r#"{"n": " 42 ", "version": "2026.01.3"}"#, "messageAttributes": attributes})
    };
    let batch = Batch::new()
        .record(weighing("a", "1.50"))
        .record(weighing("b", "01.50"));
    assert_eq!(invoke(&mut function, batch).await, ids(&["b"]));
    let rows = "SELECT n::text, minor::text, minor_text, weight::text FROM t";
    assert_eq!(database.rows(rows).await, [["42", "1", "01", "1.50"]]);
}
