//! Every type: how JSON values are stored in Postgres, and which values reject their message.

use mapping::internals::Origin;
use serde_json::{Value, json};

use testkit::batch::{Batch, SENT_AT_MILLIS, id};
use testkit::{Database, Function, MASK_KEY, Mapping, Setup, signed_origin};

/// A mapping of one column `v` with these lines.
fn mapping(database: &Database, lines: &str) -> String {
    format!(
        "table = \"{}.t\"\nkey = [\"id\"]\n[[column]]\nname = \"id\"\ntype = \"uuid\"\nfrom = \"@message_id\"\n[[column]]\nname = \"v\"\n{lines}",
        database.schema
    )
}

async fn start(database: &Database, column_type: &str, lines: &str) -> Function {
    database
        .execute(&format!(
            "CREATE TABLE t (id uuid PRIMARY KEY, v {column_type})"
        ))
        .await;
    let mapping = mapping(database, &format!("type = \"{column_type}\"\n{lines}"));
    Setup::on(database).mapping(&mapping).start().await
}

fn rule_of(function: &Function, name: &str) -> Option<String> {
    let line = function
        .lines("message failed")
        .into_iter()
        .find(|line| line["message_id"] == id(name).as_str())?;
    Some(line["rule"].as_str().unwrap().to_owned())
}

/// Each JSON text of `accepted` must become the SQL literal beside it, each of `rejected` break the rule.
pub(crate) async fn check(column_type: &str, accepted: &[(&str, &str)], rejected: &[(&str, &str)]) {
    check_with(column_type, "", accepted, rejected).await;
}

async fn check_with(
    column_type: &str,
    lines: &str,
    accepted: &[(&str, &str)],
    rejected: &[(&str, &str)],
) {
    let database = Database::new().await;
    let mut function = start(&database, column_type, lines).await;
    let mut batch = Batch::new();
    for (number, (value, _)) in accepted.iter().chain(rejected).enumerate() {
        batch = batch.text(&number.to_string(), &format!("{{\"v\": {value}}}"));
    }
    let answer = function.invoke(&batch.event()).await;
    for (number, (value, literal)) in accepted.iter().enumerate() {
        let name = number.to_string();
        assert_eq!(rule_of(&function, &name), None, "{column_type}: {value}");
        // A cast would cut off what is too long.
        let base_type = column_type.replace("varchar(3)", "varchar");
        let sql = format!(
            "SELECT v::text, ({literal}::{base_type})::text FROM t WHERE id = '{}'",
            id(&name)
        );
        let rows = database.rows(&sql).await;
        assert_eq!(rows[0][0], rows[0][1], "{column_type}: {value}");
    }
    for (number, (value, rule)) in rejected.iter().enumerate() {
        let name = (accepted.len() + number).to_string();
        assert_eq!(
            rule_of(&function, &name).as_deref(),
            Some(*rule),
            "{column_type}: {value}"
        );
    }
    assert_eq!(answer.failed_ids().len(), rejected.len());
    assert_eq!(database.count("t").await, accepted.len() as i64);
}

#[tokio::test]
async fn text() {
    let accepted = [
        (r#""""#, "''"),
        (r#""é\ud83d\ude00\n\"""#, "U&'\\00e9\\+01F600\\000a\"'"),
        ("12.50", "'12.50'"),
        (r#""\\u0000""#, r"'\u0000'"),
        (r#""\\\\u0000 \\ud800""#, r"'\\u0000 \ud800'"),
        ("true", "'true'"),
        ("null", "NULL"),
    ];
    let rejected = [
        ("{}", "type"),
        ("[1]", "type"),
        (r#""a\u0000""#, "nul_character"),
        (r#""\ud800""#, "lone_surrogate"),
    ];
    check("text", &accepted, &rejected).await;
}

#[tokio::test]
async fn varchar_counts_characters_not_bytes() {
    let accepted = [
        (r#""éé\ud83d\ude00""#, "U&'\\00e9\\00e9\\+01F600'"),
        ("123", "'123'"),
    ];
    check(
        "varchar(3)",
        &accepted,
        &[(r#""abcd""#, "length"), ("1234", "length")],
    )
    .await;
}

#[tokio::test]
async fn boolean() {
    let accepted = [
        ("true", "true"),
        ("false", "false"),
        (r#""Yes""#, "true"),
        ("0", "false"),
        ("null", "NULL"),
    ];
    check(
        "boolean",
        &accepted,
        &[("2", "type"), (r#""maybe""#, "type"), ("[]", "type")],
    )
    .await;
}

#[tokio::test]
async fn smallint() {
    check(
        "smallint",
        &[("-32768", "'-32768'"), (r#""32767""#, "32767")],
        &[("32768", "range"), ("-32769", "range"), ("1.5", "type")],
    )
    .await;
}

#[tokio::test]
async fn integer() {
    let accepted = [
        ("2147483647", "2147483647"),
        (r#""-5""#, "'-5'"),
        ("2.0", "2"),
        ("1e3", "1000"),
        ("null", "NULL"),
    ];
    let rejected = [
        ("2147483648", "range"),
        ("2.5", "type"),
        (r#""""#, "type"),
        (r#"" 1""#, "type"),
        ("true", "type"),
        (r#""12a""#, "type"),
    ];
    check("integer", &accepted, &rejected).await;
}

#[tokio::test]
async fn bigint_is_exact_beyond_the_integers_of_a_float() {
    let accepted = [
        ("9007199254740993", "9007199254740993"),
        (r#""9223372036854775807""#, "9223372036854775807"),
        ("-9223372036854775808", "'-9223372036854775808'"),
        ("-0.0", "0"),
        (r#""5""#, "5"),
        ("120e-1", "12"),
        ("0e99999999999999999999", "0"),
    ];
    let rejected = [
        ("9223372036854775808", "range"),
        ("1e400", "range"),
        ("1e99999999999999999999", "range"),
        ("0.1", "type"),
        ("1e-99999999999999999999", "type"),
    ];
    check("bigint", &accepted, &rejected).await;
}

#[tokio::test]
async fn real_and_double_precision() {
    check(
        "real",
        &[
            ("1.5", "1.5"),
            (r#""-0.25""#, "'-0.25'"),
            ("1e38", "1e38"),
            ("-0.0e-99", "'-0'"),
        ],
        &[
            ("1e39", "range"),
            ("1e-50", "range"),
            (r#""NaN""#, "type"),
            (r#""inf""#, "type"),
        ],
    )
    .await;
    check(
        "double precision",
        &[("0.1", "0.1"), ("1e308", "1e308")],
        &[
            ("1e309", "range"),
            ("1e-400", "range"),
            (r#""Infinity""#, "type"),
            (r#""1,5""#, "type"),
        ],
    )
    .await;
}

#[tokio::test]
async fn numeric_keeps_every_digit_and_its_scale() {
    let numbers = [
        "0",
        "0.00",
        "-1",
        "1.50",
        "0.0001",
        "0.00012",
        "-0.000000000000000000012345",
        "9999",
        "10000",
        "10001",
        "12345678901234567890.123456789012345678901234567890",
        "1e3",
        "1.5e10",
        "1e-7",
        "123456e-3",
        "100000000",
        "-99999999.9999",
        "1e999",
        "1e-1000",
    ];
    let literals: Vec<String> = numbers.iter().map(|number| format!("'{number}'")).collect();
    let accepted: Vec<(&str, &str)> = numbers
        .iter()
        .copied()
        .zip(literals.iter().map(String::as_str))
        .collect();
    check(
        "numeric",
        &accepted,
        &[
            ("1e1000", "range"),
            ("1e-1001", "range"),
            ("0e-1001", "range"),
            ("1e999999999999", "range"),
            ("false", "type"),
        ],
    )
    .await;
}

#[tokio::test]
async fn other_texts_are_not_decimal_numbers() {
    let texts = [
        "", "-", ".", "e5", "1e", "1e+", "0x10", "1_000", "1,5", " 1", "NaN", "--1", "1.2.3", "١",
    ];
    let texts = texts.map(|text| format!("{text:?}"));
    check(
        "numeric",
        &[],
        &texts.each_ref().map(|text| (text.as_str(), "type")),
    )
    .await;
}

#[tokio::test]
async fn date() {
    let accepted = [
        (r#""2024-02-29""#, "'2024-02-29'"),
        (r#""1999-12-31""#, "'1999-12-31'"),
        (r#""0001-01-01""#, "'0001-01-01'"),
        (r#""2026-01-31T23:30:00-02:00""#, "'2026-02-01'"),
    ];
    check(
        "date",
        &accepted,
        &[
            (r#""2023-02-29""#, "type"),
            (r#""0000-12-31""#, "type"),
            (r#""-0044-03-15""#, "type"),
            (r#""31.01.2026""#, "type"),
            (r#""9999-12-31T23:59:59-01:00""#, "type"),
            ("20260131", "type"),
        ],
    )
    .await;
}

#[tokio::test]
async fn timestamptz() {
    let accepted = [
        (
            r#""2026-01-31T23:59:59.123456Z""#,
            "'2026-01-31 23:59:59.123456+00'",
        ),
        (r#""1969-07-20T20:17:40+02:00""#, "'1969-07-20 18:17:40+00'"),
        (
            r#""2026-01-31T23:59:59.1234567Z""#,
            "'2026-01-31 23:59:59.1234567+00'",
        ),
        (
            r#""1969-07-20T20:17:40.0000009Z""#,
            "'1969-07-20 20:17:40.0000009+00'",
        ),
    ];
    let rejected = [
        (r#""2026-01-31T23:59:59""#, "type"),
        (r#""2026-13-01T00:00:00Z""#, "type"),
        (r#""0000-12-31T23:59:59Z""#, "type"),
        ("1769903999", "type"),
        (r#""9999-12-31T23:59:59-01:00""#, "type"),
        (r#""9999-12-31T23:59:59.9999996Z""#, "type"),
        (r#""2026-01-31x23:59:59Z""#, "type"),
    ];
    check("timestamptz", &accepted, &rejected).await;
}

#[tokio::test]
async fn a_time_that_is_not_understood_rejects_its_message_and_no_other() {
    let lines = "format = \"%d.%m.%Y %H:%M\"\nzone = \"Europe/Zurich\"";
    let accepted = [
        (r#""29.03.2026 01:59""#, "'2026-03-29 00:59+00'"),
        (r#""29.03.2026 03:00""#, "'2026-03-29 01:00+00'"),
        (r#""25.10.2026 01:59""#, "'2026-10-24 23:59+00'"),
        (r#""25.10.2026 03:00""#, "'2026-10-25 02:00+00'"),
    ];
    let rejected = [
        (r#""29.03.2026 02:00""#, "local_time"),
        (r#""25.10.2026 02:59""#, "local_time"),
        (r#""2026-10-25 12:00""#, "type"),
        ("1793610000", "type"),
    ];
    check_with("timestamptz", lines, &accepted, &rejected).await;
    let accepted = [
        ("1793610000123", "'2026-11-02 09:00:00.123+00'"),
        (r#""1793610000123.4567""#, "'2026-11-02 09:00:00.123457+00'"),
        ("null", "NULL"),
    ];
    let rejected = [
        ("1793610000123456", "range"),
        ("-1", "range"),
        (r#""2026-11-02T09:00:00Z""#, "type"),
    ];
    check_with("timestamptz", "unit = \"ms\"", &accepted, &rejected).await;
}

#[tokio::test]
async fn numeric_with_a_scale_takes_what_fits_without_rounding() {
    let accepted = [
        ("9999999999.99", "9999999999.99"),
        ("-9999999999.99", "'-9999999999.99'"),
        (r#""12.5""#, "12.50"),
        ("1e9", "1000000000.00"),
        ("12.500", "12.50"),
        ("-0.0", "0.00"),
        ("0e99999999999", "0"),
        ("null", "NULL"),
    ];
    let rejected = [
        ("10000000000", "range"),
        ("0.001", "range"),
        ("1e-99999999999", "range"),
        ("1e99999999999", "range"),
        (r#""1,50""#, "type"),
        ("true", "type"),
    ];
    check("numeric(12,2)", &accepted, &rejected).await;
    let fractions = [("0.99", "0.99"), ("-0.01", "'-0.01'")];
    check("numeric(2,2)", &fractions, &[("1", "range")]).await;
    let rejected = [("1000", "range"), ("0.5", "range")];
    check("numeric(3,0)", &[("999.0", "999")], &rejected).await;
}

#[tokio::test]
async fn timestamp_takes_no_offset() {
    let accepted = [
        (
            r#""2026-01-31T23:59:59.123456""#,
            "'2026-01-31 23:59:59.123456'",
        ),
        (
            r#""2026-01-31 23:59:59.1234567""#,
            "'2026-01-31 23:59:59.1234567'",
        ),
        (r#""2026-01-31T09:30""#, "'2026-01-31 09:30'"),
        (r#""0001-01-01T00:00:00""#, "'0001-01-01 00:00:00'"),
        (
            r#""9999-12-31T23:59:59.999999""#,
            "'9999-12-31 23:59:59.999999'",
        ),
        ("null", "NULL"),
    ];
    let rejected = [
        (r#""2026-01-31T23:59:59Z""#, "type"),
        (r#""2026-01-31T23:59:59+01:00""#, "type"),
        (r#""2026-01-31T23:59+01""#, "type"),
        (r#""2026-01-31""#, "type"),
        (r#""2026-02-29T00:00:00""#, "type"),
        (r#""2026-01-31T24:00:00""#, "type"),
        (r#""2026-01-31x23:59:59""#, "type"),
        (r#""0000-12-31T23:59:59""#, "type"),
        (r#""9999-12-31T23:59:59.9999996""#, "type"),
        (r#""""#, "type"),
        ("1769903999", "type"),
    ];
    check("timestamp", &accepted, &rejected).await;
}

#[tokio::test]
async fn time() {
    let accepted = [
        (r#""00:00:00""#, "'00:00:00'"),
        (r#""23:59:59.999999""#, "'23:59:59.999999'"),
        (r#""23:59:59.9999996""#, "'23:59:59.9999996'"),
        (r#""24:00:00""#, "'24:00:00'"),
        (r#""09:30""#, "'09:30'"),
        ("null", "NULL"),
    ];
    let rejected = [
        (r#""24:00:01""#, "type"),
        (r#""9:30""#, "type"),
        (r#""09:30:00Z""#, "type"),
        (r#""09:30 PM""#, "type"),
        (r#""09:60""#, "type"),
        (r#""""#, "type"),
        ("930", "type"),
    ];
    check("time", &accepted, &rejected).await;
}

#[tokio::test]
async fn bytea_is_read_as_base64() {
    let accepted = [
        (r#""AAH/+w==""#, r"'\x0001fffb'"),
        (r#""AAH_-w""#, r"'\x0001fffb'"),
        (r#""""#, "''"),
        ("null", "NULL"),
    ];
    let rejected = [
        (r#""A""#, "type"),
        (r#""AAH/-w==""#, "type"),
        (r#""AB==""#, "type"),
        (r#""AAH/\n+w==""#, "type"),
        (r#""\\x00""#, "type"),
        (r#"["AAH"]"#, "type"),
    ];
    check("bytea", &accepted, &rejected).await;
}

#[tokio::test]
async fn json_keeps_the_text_that_was_sent() {
    let accepted = [
        (
            r#"{"b":1,  "a": 1e2, "b": 2}"#,
            r#"'{"b":1,  "a": 1e2, "b": 2}'"#,
        ),
        (r#""text""#, r#"'"text"'"#),
        ("false", "'false'"),
        ("null", "NULL"),
    ];
    let deep = "[".repeat(1_001) + &"]".repeat(1_001);
    let rejected = [
        (r#"{"a": "\u0000"}"#, "nul_character"),
        (deep.as_str(), "nesting"),
        ("1e1000", "range"),
    ];
    check("json", &accepted, &rejected).await;
}

#[tokio::test]
async fn an_array_of_text_keeps_every_element_as_it_is() {
    let accepted = [
        (
            r#"["a", "", "NULL", null, "b c", "{d,e}", "\"\\", "\n\t\u000b\f\r", "é\ud83d\ude00", 12.50, true]"#,
            r#"ARRAY['a', '', 'NULL', NULL, 'b c', '{d,e}', '"\', E'\n\t\x0b\f\r', U&'\00e9\+01F600', '12.50', 'true']"#,
        ),
        ("[]", "'{}'"),
        ("[null]", "'{NULL}'"),
        ("null", "NULL"),
    ];
    let rejected = [
        (r#""a""#, "type"),
        (r#"{"0": "a"}"#, "type"),
        (r#"[["a"]]"#, "type"),
        (r#"["a", {}]"#, "type"),
        (r#"["\u0000"]"#, "nul_character"),
        (r#"["\ud800"]"#, "lone_surrogate"),
    ];
    check("text[]", &accepted, &rejected).await;
    let short = (r#"["éé\ud83d\ude00"]"#, "'{éé\u{1F600}}'");
    check("varchar(3)[]", &[short], &[(r#"["abcd"]"#, "length")]).await;
    let stripped = [(r#"["a\u0000"]"#, "'{a}'")];
    check_with("text[]", "transform = [\"strip_nul\"]", &stripped, &[]).await;
    let default = [("null", "'{a,b c}'")];
    check_with("text[]", "default = [\"a\", \"b c\"]", &default, &[]).await;
}

#[tokio::test]
async fn an_array_of_any_scalar_type_has_the_elements_of_that_type() {
    #[rustfmt::skip]
    let cases: [(&str, &str, &str, (&str, &str)); 15] = [
        ("boolean", r#"[true, "f", null]"#, "'{t,f,NULL}'", ("[2]", "type")),
        ("smallint", r#"[-32768, "32767"]"#, "'{-32768,32767}'", ("[32768]", "range")),
        ("integer", "[-2147483648, 2.0]", "'{-2147483648,2}'", ("[1, 2.5]", "type")),
        ("bigint", "[9007199254740993]", "'{9007199254740993}'", ("[1e400]", "range")),
        ("real", "[1.5, 1e38]", "'{1.5,1e38}'", ("[1e39]", "range")),
        ("double precision", "[0.1, -1e308, 1e-5]", "'{0.1,-1e308,1e-5}'", (r#"["NaN"]"#, "type")),
        ("numeric", "[1.50, 1e9, -0.0001]", "'{1.50,1e9,-0.0001}'", ("[1e1000]", "range")),
        ("numeric(5,2)", "[1.5, 999.99]", "'{1.50,999.99}'", ("[0.001]", "range")),
        ("date", r#"["2024-02-29", "0001-01-01"]"#, "'{2024-02-29,0001-01-01}'", (r#"["2023-02-29"]"#, "type")),
        ("time", r#"["09:30", "24:00:00"]"#, "'{09:30,24:00:00}'", (r#"["25:00"]"#, "type")),
        ("timestamp", r#"["2026-01-31T23:59:59.5"]"#, "'{2026-01-31 23:59:59.5}'", (r#"["2026-01-31T00:00:00Z"]"#, "type")),
        ("timestamptz", r#"["2026-01-31T23:59:59+02:00"]"#, "'{2026-01-31 23:59:59+02}'", (r#"["2026-01-31T00:00:00"]"#, "type")),
        ("uuid", r#"["6C72164E-1b7a-446a-906d-fedb45d8f718"]"#, "'{6c72164e-1b7a-446a-906d-fedb45d8f718}'", ("[1]", "type")),
        ("inet", r#"["192.0.2.1/24", "::1"]"#, "'{192.0.2.1/24,::1}'", (r#"["host"]"#, "type")),
        ("bytea", r#"["AAH/", ""]"#, r"ARRAY['\x0001ff', '']", (r#"["?"]"#, "type")),
    ];
    for (element, value, literal, rejected) in cases {
        let accepted = [(value, literal), ("[]", "'{}'")];
        let rejected = [rejected, ("7", "type")];
        check(&format!("{element}[]"), &accepted, &rejected).await;
    }
}

#[tokio::test]
async fn an_array_is_assigned_to_a_column_of_another_type_as_its_elements_are() {
    let database = Database::new().await;
    let ddl = "CREATE TYPE mood AS ENUM ('sad', 'so so'); \
        CREATE TABLE t (id uuid PRIMARY KEY, moods mood[], numbers bigint[], texts text[], one text)";
    database.execute(ddl).await;
    let columns = [
        ("moods", "text[]"),
        ("numbers", "integer[]"),
        ("texts", "integer[]"),
        ("one", "text[]"),
    ];
    let columns = columns
        .map(|(name, of)| format!("\n[[column]]\nname = \"{name}\"\ntype = \"{of}\""))
        .concat();
    let mapping = mapping(&database, "type = \"text\"")
        .replace("\n[[column]]\nname = \"v\"\ntype = \"text\"", &columns);
    let mut function = Setup::on(&database).mapping(&mapping).start().await;
    let body =
        json!({"moods": ["sad", null, "so so"], "numbers": [1, 2], "texts": [3], "one": ["a b"]});
    let batch = Batch::new()
        .body("a", body)
        .body("bad", json!({"moods": ["glad"]}));
    let answer = function.invoke(&batch.event()).await;
    assert_eq!(answer.failed_ids(), [id("bad")]);
    let stored = "SELECT moods::text, numbers::text, texts::text, one FROM t";
    assert_eq!(
        database.rows(stored).await,
        [[r#"{sad,NULL,"so so"}"#, "{1,2}", "{3}", r#"{"a b"}"#]]
    );
}

#[tokio::test]
async fn a_value_of_every_type_is_the_same_whether_it_is_inserted_or_copied() {
    #[rustfmt::skip]
    let columns = [
        ("numeric(12,2)", json!("-9999999999.9")), ("timestamp", json!("2026-01-31T23:59:59.123456")),
        ("time", json!("24:00:00")), ("bytea", json!("AAH/+w==")), ("json", json!({"b": [1, "é"]})),
        ("text[]", json!(["a", "", null, "b \"c\\"])), ("varchar(9)[]", json!([])), ("boolean[]", json!([true, false])),
        ("smallint[]", json!([-32768])), ("integer[]", json!([1, null])), ("bigint[]", json!([i64::MIN])), ("real[]", json!([0.1])),
        ("double precision[]", json!([-1e300])), ("numeric[]", json!([1.25])), ("numeric(5,2)[]", json!([1])),
        ("date[]", json!(["0001-01-01"])), ("time[]", json!(["09:30"])), ("timestamp[]", json!(["2026-01-31T00:00"])),
        ("timestamptz[]", json!(["2026-01-31T00:00:00+05:30"])), ("uuid[]", json!(["6c72164e-1b7a-446a-906d-fedb45d8f718"])),
        ("inet[]", json!(["2001:db8::/32"])), ("bytea[]", json!(["", "AAH/"])),
    ];
    let database = Database::new().await;
    let numbered = || columns.iter().enumerate();
    let ddl: Vec<String> = numbered()
        .map(|(n, (of, _))| format!("c{n} {of} NOT NULL"))
        .collect();
    let key = "id, c0, c1, c3, c5";
    let ddl = format!(
        "CREATE TABLE t (id uuid, {}, PRIMARY KEY ({key}))",
        ddl.join(", ")
    );
    database.execute(&ddl).await;
    let toml: String = numbered()
        .map(|(n, (of, _))| {
            format!("\n[[column]]\nname = \"c{n}\"\ntype = \"{of}\"\nrequired = true")
        })
        .collect();
    let mapping = format!(
        "table = \"t\"\nkey = [{key:?}]\n[[column]]\nname = \"id\"\ntype = \"uuid\"\nfrom = \"@message_id\"{toml}"
    )
    .replace(", c", "\", \"c");
    let mut function = Setup::on(&database).mapping(&mapping).start().await;
    let body: Value = numbered()
        .map(|(n, (_, value))| (format!("c{n}"), value.clone()))
        .collect();
    for count in [1, 100] {
        // The first is there twice.
        let batch = (0..count).chain([0]).fold(Batch::new(), |batch, n| {
            batch.body(&format!("{count}-{n}"), body.clone())
        });
        let answer = function.invoke(&batch.event()).await;
        assert_eq!(answer.failed_ids(), Vec::<String>::new());
    }
    assert_eq!(database.count("t").await, 1 + 100);
    let texts: Vec<String> = numbered().map(|(n, _)| format!("c{n}::text")).collect();
    let different = format!("SELECT DISTINCT {} FROM t", texts.join(", "));
    let different = database.rows(&different).await;
    assert_eq!(different.len(), 1, "{different:?}");
}

#[tokio::test]
async fn uuid() {
    let accepted = [
        (
            r#""6C72164E-1b7a-446a-906d-fedb45d8f718""#,
            "'6c72164e-1b7a-446a-906d-fedb45d8f718'",
        ),
        (
            r#""6c72164e1b7a446a906dfedb45d8f718""#,
            "'6c72164e-1b7a-446a-906d-fedb45d8f718'",
        ),
    ];
    check(
        "uuid",
        &accepted,
        &[(r#""6c72164e""#, "type"), ("1", "type")],
    )
    .await;
}

#[tokio::test]
async fn inet() {
    let accepted = [
        (r#""192.0.2.1""#, "'192.0.2.1'"),
        (r#""2001:DB8::1""#, "'2001:db8::1'"),
        (r#""192.0.2.1/24""#, "'192.0.2.1/24'"),
        (r#""::/0""#, "'::/0'"),
    ];
    check(
        "inet",
        &accepted,
        &[
            (r#""192.0.2.256""#, "type"),
            (r#""192.0.2.1/33""#, "type"),
            (r#""host""#, "type"),
        ],
    )
    .await;
}

#[tokio::test]
async fn jsonb_keeps_any_value_as_it_is() {
    let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    let brackets = format!("[\"\\\"{}\"]", "[".repeat(1_001));
    let in_strings = r#"{"1e9999": "1e9999", "a\"1e9999": true}"#;
    let accepted = [
        (
            r#"{"b": [1, 2.50, {"é": "\u00e9"}], "a": null}"#,
            r#"'{"b": [1, 2.50, {"é": "é"}], "a": null}'"#,
        ),
        (r#""text""#, r#"'"text"'"#),
        ("12345678901234567890123", "'12345678901234567890123'"),
        ("false", "'false'"),
        ("null", "NULL"),
        (&nested(1_000), &format!("'{}'", nested(1_000))),
        (&brackets, &format!("'{brackets}'")),
        ("1e999", "'1e999'"),
        ("-1.5E+998", "'-1.5E+998'"),
        ("1e-1000", "'1e-1000'"),
        ("[1e308, 5e-324, 0e9999]", "'[1e308, 5e-324, 0e9999]'"),
        (in_strings, &format!("'{in_strings}'")),
        (r#""\\1e9999""#, r#"'"\\1e9999"'"#),
    ];
    let long = "1".repeat(1_001);
    let rejected = [
        (r#"{"a": [{"b": "\u0000"}]}"#, "nul_character"),
        (r#"{"a": [{"b\u0000": 1}]}"#, "nul_character"),
        (r#"["\\\u0000"]"#, "nul_character"),
        (r#"{"\ud800": 1}"#, "lone_surrogate"),
        (r#"["\uDFFF x"]"#, "lone_surrogate"),
        (r#"["\ud83d\u0041"]"#, "lone_surrogate"),
        (r#"["\ud83dx"]"#, "lone_surrogate"),
        (r#"["\ude00\ud83d"]"#, "lone_surrogate"),
        (r#"["\ud83d\ud83d\ude00"]"#, "lone_surrogate"),
        (&nested(1_001), "nesting"),
        ("1e1000", "range"),
        ("[1e-1001]", "range"),
        (r#"{"a": [0, -0.1e+9999]}"#, "range"),
        ("1e99999999999999999999", "range"),
        ("0e-1001", "range"),
        ("0e1073741824", "range"),
        ("0e99999999999999999999", "range"),
        (&long, "range"),
    ];
    check("jsonb", &accepted, &rejected).await;
}

#[tokio::test]
async fn strip_nul_removes_what_postgres_cannot_store() {
    check_with(
        "jsonb",
        "transform = [\"strip_nul\"]",
        &[
            (r#"{"a\u0000": ["\ud800x"]}"#, r#"'{"a": ["x"]}'"#),
            (
                r#"{"a\u0000": ["\u0000", "\ud83d\u0000\ude00"]}"#,
                r#"'{"a": ["", ""]}'"#,
            ),
        ],
        &[],
    )
    .await;
    check_with(
        "text",
        "transform = [\"strip_nul\", \"trim\"]",
        &[
            (r#""\u0000 a\u0000""#, "'a'"),
            (r#""a\u0000b\ud800c\ud83d\ude00""#, "'abc\u{1F600}'"),
        ],
        &[],
    )
    .await;
}

#[tokio::test]
async fn required_refuses_null_missing_and_empty() {
    let rejected = [
        ("null", "required"),
        (r#""""#, "required"),
        (r#"" ""#, "required"),
        (r#"1, "v": null"#, "required"),
    ];
    check_with(
        "text",
        "required = true\ntransform = [\"trim\"]",
        &[(r#"" a ""#, "'a'")],
        &rejected,
    )
    .await;
}

#[tokio::test]
async fn a_default_replaces_null_and_missing_and_is_processed_like_a_value() {
    let accepted = [("null", "'xy'"), (r#""AB""#, "'ab'"), (r#""""#, "''")];
    check_with(
        "text",
        "default = \"XY\"\ntransform = [\"lowercase\"]",
        &accepted,
        &[],
    )
    .await;
    check_with(
        "integer",
        "default = \"0.7\"\ntransform = [\"minor\"]",
        &[(r#""3.4""#, "4"), ("null", "7"), (r#""3""#, "7")],
        &[],
    )
    .await;
    check_with(
        "integer",
        "from = \"other\"\ndefault = 7",
        &[("1", "7")],
        &[],
    )
    .await;
    check_with(
        "jsonb",
        "default = {a = [1]}",
        &[("null", r#"'{"a": [1]}'"#)],
        &[],
    )
    .await;
}

#[tokio::test]
async fn transforms_run_in_order_and_read_a_number_as_its_text() {
    check_with(
        "integer",
        "transform = [\"trim\", \"major\"]",
        &[(r#"" 2.3.0""#, "2"), ("7.31", "7"), ("null", "NULL")],
        &[(r#""beta""#, "transform"), ("[]", "transform")],
    )
    .await;
}

#[tokio::test]
async fn a_transform_reads_true_and_false_as_their_text() {
    let cleans = "transform = [\"trim\", \"lowercase\"]";
    let flags = [("true", "true"), ("false", "false"), (r#"" YES ""#, "true")];
    check_with("boolean", cleans, &flags, &[("[]", "transform")]).await;
    let texts = [("true", "'true'"), (r#"" YES ""#, "'yes'")];
    check_with("text", cleans, &texts, &[("{}", "transform")]).await;
    let version = "transform = [\"major\"]";
    check_with("text", version, &[("2.5", "'2'")], &[("true", "transform")]).await;
}

#[tokio::test]
async fn white_space_and_case_are_those_of_unicode() {
    for (step, text, literal) in [
        ("trim", "\" \u{a0}a b\\n\"", "'a b'"),
        ("lowercase", "\"ÀSS\"", "'àss'"),
        ("uppercase", "\"straße\"", "'STRASSE'"),
    ] {
        let lines = format!("transform = [{step:?}]");
        check_with("text", &lines, &[(text, literal)], &[]).await;
    }
}

#[tokio::test]
async fn equal_addresses_get_one_spelling() {
    let accepted = [
        (r#""2001:DB8::1""#, "'2001:db8::1'"),
        (r#""2001:db8:0:0:0:0:0:1""#, "'2001:db8::1'"),
        (r#""2001:0db8::0001""#, "'2001:db8::1'"),
        (r#""::FFFF:192.0.2.1""#, "'192.0.2.1'"),
    ];
    let addresses = [
        "",
        "10.0.0",
        "10.0.0.256",
        "host",
        "10.0.0.1:80",
        "10.0.0.01",
    ];
    let rejected = addresses.map(|address| format!("{address:?}"));
    let rejected = rejected
        .each_ref()
        .map(|address| (address.as_str(), "transform"));
    for column_type in ["text", "inet"] {
        check_with(column_type, "transform = [\"ip\"]", &accepted, &rejected).await;
    }
}

#[tokio::test]
async fn a_version_has_up_to_three_numbers() {
    let versions = ["\"2.3.1\"", "\"0.96\"", "\"v7\"", "\"2.3.0-beta.1\""];
    let rejected = ["", "beta", "2.x", ".", "2..1", "-1"].map(|text| format!("{text:?}"));
    let rejected = rejected.each_ref().map(|text| (text.as_str(), "transform"));
    for (step, numbers) in [
        ("major", ["2", "0", "7", "2"]),
        ("minor", ["3", "96", "NULL", "3"]),
        ("patch", ["1", "NULL", "NULL", "0"]),
    ] {
        let accepted: Vec<_> = versions.into_iter().zip(numbers).collect();
        let lines = format!("transform = [{step:?}]");
        check_with("integer", &lines, &accepted, &rejected).await;
    }
}

#[tokio::test]
async fn metadata_is_stored_by_its_meaning() {
    let database = Database::new().await;
    let columns = [
        ("a", "uuid", "@message_id", id("m")),
        (
            "b",
            "timestamptz",
            "@sent_at",
            "2026-01-31 23:59:59.5+00".to_owned(),
        ),
        ("c", "date", "@sent_at", "2026-01-31".to_owned()),
        (
            "d",
            "bigint",
            "@first_received_at",
            SENT_AT_MILLIS.to_string(),
        ),
        ("e", "integer", "@receive_count", "1".to_owned()),
        ("f", "text", "@group_id", "fair".to_owned()),
        ("g", "text", "@sender_id", "AIDA".to_owned()),
        ("h", "varchar(9)", "@attribute.tenant", "acme".to_owned()),
        ("i", "jsonb", "@body", r#"{"v": [1, 2]}"#.to_owned()),
        ("j", "text", "@body", r#"{"v":[1,2]}"#.to_owned()),
        // printf '{"v":[1,2]}' | openssl dgst -sha256
        (
            "k",
            "varchar(64)",
            "@body_sha256",
            "e6b9d6ff8dd7d8e1bb2d1e3a2b2c2a3e".to_owned(),
        ),
        ("l", "integer", "v.1", "2".to_owned()),
    ];
    let ddl: Vec<String> = columns
        .iter()
        .map(|(name, column_type, ..)| format!("{name} {column_type}"))
        .collect();
    database
        .execute(&format!(
            "SET timezone = 'UTC'; CREATE TABLE t ({}, PRIMARY KEY (a))",
            ddl.join(", ")
        ))
        .await;
    let mapping = Mapping::of("t").within(&database).key("a");
    let mapping = columns
        .iter()
        .fold(mapping, |mapping, (name, column_type, from, _)| {
            mapping.column(name, column_type).with("from", *from)
        });
    let mut function = Setup::on(&database).mapping(&mapping).start().await;
    let record = json!({
        "messageId": id("m"), "body": r#"{"v":[1,2]}"#, "attributes": {"MessageGroupId": "fair"},
        "messageAttributes": {"tenant": {"stringValue": "acme", "dataType": "String"}},
    });
    let answer = function.invoke(&Batch::new().record(record).event()).await;
    answer.assert_none_failed();
    let select: Vec<String> = columns
        .iter()
        .map(|(name, ..)| format!("{name}::text"))
        .collect();
    let row = database
        .rows(&format!("SELECT {} FROM t", select.join(", ")))
        .await
        .remove(0);
    for ((name, _, _, expected), actual) in columns.iter().zip(&row) {
        if *name == "k" {
            let sha256 = database
                .rows("SELECT encode(sha256('{\"v\":[1,2]}'), 'hex')")
                .await;
            assert_eq!(actual, &sha256[0][0]);
        } else {
            assert_eq!(actual, expected, "{name}");
        }
    }
}

#[tokio::test]
async fn a_message_that_redrive_moved_keeps_its_first_id() {
    let database = Database::new().await;
    let mut function = start(&database, "text", "").await;
    let origin = signed_origin(MASK_KEY, Origin::new(&id("first"), None, ""), "{}");
    let attribute = json!({"origin": {"stringValue": origin, "dataType": "String"}});
    let moved = json!({"messageId": id("new"), "body": "{}", "messageAttributes": attribute});
    function
        .invoke(&Batch::new().text("first", "{}").event())
        .await;
    let answer = function.invoke(&Batch::new().record(moved).event()).await;
    answer.assert_none_failed();
    assert_eq!(
        database.rows("SELECT id::text FROM t").await,
        [[id("first")]]
    );
}

#[tokio::test]
async fn all_masks_produce_the_tokens_that_other_programs_compute() {
    let database = Database::new().await;
    let masks = ["sha256", "sha512", "hmac-sha256", "aes-siv"];
    let columns: Vec<String> = masks
        .iter()
        .map(|mask| format!("\"{mask}\" text"))
        .collect();
    database
        .execute(&format!(
            "CREATE TABLE t (id uuid PRIMARY KEY, {})",
            columns.join(", ")
        ))
        .await;
    let mapping = Mapping::by_message_id("t").within(&database);
    let mapping = masks.iter().fold(mapping, |mapping, mask| {
        mapping
            .column(mask, "text")
            .with("from", "ip")
            .with("mask", *mask)
    });
    let mut function = Setup::on(&database).mapping(&mapping).start().await;
    let answer = function
        .invoke(
            &Batch::new()
                .body("a", json!({"ip": "199.172.111.135"}))
                .body("null", json!({"ip": Value::Null}))
                .body("list", json!({"ip": []}))
                .event(),
        )
        .await;
    assert_eq!(answer.failed_ids(), [id("list")]);
    let hashes =
        "SELECT encode(sha256('199.172.111.135'), 'hex'), encode(sha512('199.172.111.135'), 'hex')";
    let expected = database.rows(hashes).await.remove(0);
    let stored = database
        .rows(&format!(
            "SELECT \"sha256\", \"sha512\", \"hmac-sha256\", \"aes-siv\" FROM t WHERE id = '{}'",
            id("a")
        ))
        .await
        .remove(0);
    assert_eq!(stored[..2], expected);
    // printf 199.172.111.135 | openssl dgst -sha256 -mac HMAC -macopt hexkey:000102…3f
    assert_eq!(stored[2], openssl_hmac("199.172.111.135"));
    // AESSIV(bytes(range(64))).encrypt(b"199.172.111.135", None) of Python's cryptography 46
    assert_eq!(stored[3], "NsoHpoT3-IAHosYEHswbLhh5ZFHBEw3Hs6VPw3M3lA");
}

fn openssl_hmac(value: &str) -> String {
    use std::io::Write as _;
    use std::process::{Command, Stdio};
    let hexkey: String = (0..64).map(|byte| format!("{byte:02x}")).collect();
    let arguments = [
        "dgst",
        "-r",
        "-sha256",
        "-mac",
        "HMAC",
        "-macopt",
        &format!("hexkey:{hexkey}"),
    ]
    .map(str::to_owned);
    let mut openssl = Command::new("openssl")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    openssl
        .stdin
        .take()
        .unwrap()
        .write_all(value.as_bytes())
        .unwrap();
    let output = String::from_utf8(openssl.wait_with_output().unwrap().stdout).unwrap();
    output.split(' ').next().unwrap().to_owned()
}
