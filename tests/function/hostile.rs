//! Malicious messages: no panic, no value in an error, and bounded memory.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use mapping::{
    Compiled, Encoding, Envelope, Format, MaskKey, Message, Packing, Pipeline, Record, Rejection,
    TableRows, Wrapping, read_event,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

use testkit::batch::{Batch, login_with};
use testkit::{Database, MASK_KEY, Mapping, Setup, memory_kib};

pub(crate) const MEBIBYTE: usize = 1_048_576;

/// A value that no error may quote.
const CANARY: &str = "zq9canary";

/// Every type, transform and mask, and every kind of source; the fields a to q, and none required.
const COLUMNS: [&str; 19] = [
    "type = \"text\"",
    "type = \"varchar(9)\"\ntransform = [\"trim\", \"lowercase\"]",
    "type = \"boolean\"",
    "type = \"smallint\"",
    "type = \"integer\"\ntransform = [\"major\"]",
    "type = \"bigint\"",
    "type = \"real\"",
    "type = \"double precision\"",
    "type = \"numeric\"",
    "type = \"date\"",
    "type = \"timestamptz\"",
    "type = \"uuid\"",
    "type = \"inet\"\ntransform = [\"ip\"]",
    "type = \"jsonb\"",
    "type = \"jsonb\"\ntransform = [\"strip_nul\"]",
    "type = \"text\"\ntransform = [\"strip_nul\", \"uppercase\"]\nmask = \"aes-siv\"",
    "type = \"text\"\nmask = \"hmac-sha256\"",
    "type = \"text\"\nfrom = \"n.0.b\"",
    "type = \"jsonb\"\nfrom = \"@body\"\nclear = true",
];

fn field(number: usize) -> char {
    char::from(b'a' + number as u8)
}

/// The stages of a message up to its rows.
pub(crate) struct Way {
    compiled: Compiled,
    wrapping: Wrapping,
}

impl Way {
    fn every_column(wrapping: Wrapping) -> Self {
        let columns = COLUMNS.iter().enumerate();
        let columns: String = columns
            .map(|(number, column)| format!("[[column]]\nname = \"{}\"\n{column}\n", field(number)))
            .collect();
        let text = format!(
            "table = \"t\"\nkey = [\"id\"]\n[[column]]\nname = \"id\"\ntype = \"text\"\nfrom = \"@body_sha256\"\n{columns}"
        );
        Self::of(&text, wrapping)
    }

    pub(crate) fn of(mapping: &str, wrapping: Wrapping) -> Self {
        let pipeline = Pipeline::parse("hostile", mapping).unwrap();
        let key = MaskKey::from_base64(MASK_KEY).unwrap().into();
        let compiled = Compiled::new("hostile", &pipeline, Some(&key)).unwrap();
        Self { compiled, wrapping }
    }

    /// Runs a body through the stages; its rows are either complete or absent.
    pub(crate) fn go(&self, body: &str) -> Result<(), Rejection> {
        let event = json!({"Records": [{"messageId": "m", "body": body}]}).to_string();
        let mut rows = self.compiled.new_rows();
        let mut read = |record: &Record<'_>| -> Result<(), Rejection> {
            let message = Message::extract(record, &self.wrapping)?;
            let has_rows = self.compiled.transform(&message, &mut rows)?;
            assert!(has_rows);
            Ok(())
        };
        let result = read(&read_event(event.as_bytes()).unwrap()[0]);
        assert_eq!(rows.messages(), usize::from(result.is_ok()));
        assert_eq!(rows.tables()[0].rows.is_empty(), result.is_err());
        let is_empty = |table: &TableRows| table.rows.is_empty();
        assert!(result.is_ok() || rows.tables().iter().all(is_empty));
        if let Err(rejection) = &result {
            let texts = format!("{rejection} {rejection:?}");
            assert!(!texts.to_lowercase().contains(CANARY), "{texts}");
        }
        result
    }
}

fn wrappings() -> impl Iterator<Item = Way> {
    let all = [Envelope::None, Envelope::Sns]
        .into_iter()
        .flat_map(|envelope| {
            use Encoding as E;
            let encodings = [E::None, E::Base64, E::GzipBase64, E::ZstdBase64].into_iter();
            encodings.flat_map(move |encoding| {
                [Format::Json, Format::Lines].map(|format| Wrapping {
                    envelope,
                    encoding: Packing::As(encoding),
                    format,
                    ..Wrapping::default()
                })
            })
        });
    all.map(Way::every_column)
}

/// Text of every plane, with the characters that are special in JSON and in our code.
pub(crate) fn text() -> impl Strategy<Value = String> {
    let meaningful = prop::sample::select(vec![
        "\"",
        "\\",
        "\\u0000",
        "\\ud800",
        "\\udc00",
        "\\u",
        "\0",
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "-",
        "1e9",
        ".",
        "null",
        CANARY,
        " ",
        "\u{10ffff}",
    ]);
    let piece = prop_oneof![
        any::<char>().prop_map(String::from),
        meaningful.prop_map(str::to_owned),
        "[0-9]{1,40}",
        ".{0,9}"
    ];
    vec(piece, 0..20).prop_map(|pieces| pieces.concat())
}

/// JSON that our columns accept, or almost accept.
pub(crate) fn value() -> impl Strategy<Value = Value> {
    let number = prop_oneof![
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from)
    ];
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Value::from),
        number,
        text().prop_map(Value::from)
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::hash_map(text(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// A body whose fields are mapped, some of them twice.
fn body() -> impl Strategy<Value = String> {
    let field = (0..COLUMNS.len(), value())
        .prop_map(|(number, value)| format!("\"{}\":{value}", field(number)));
    vec(field, 0..4).prop_map(|fields| format!("{{{}}}", fields.join(",")))
}

/// The body with something inserted.
pub(crate) fn broken(body: &str, place: Index, insert: &str) -> String {
    let (mut broken, mut place) = (body.to_owned(), place.index(body.len()));
    while !broken.is_char_boundary(place) {
        place -= 1;
    }
    broken.insert_str(place, insert);
    broken
}

pub(crate) fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 1_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

#[test]
fn bytes_of_any_kind_become_a_row_or_a_rejection() {
    let ways: Vec<_> = wrappings().collect();
    proptest!(config(), |(bytes in vec(any::<u8>(), 0..300))| {
        for way in &ways {
            way.go(&String::from_utf8_lossy(&bytes)).ok();
        }
    });
}

#[test]
fn text_and_json_of_any_kind_become_a_row_or_a_rejection_without_a_value() {
    let ways: Vec<_> = wrappings().collect();
    proptest!(config(), |(text in text(), body in body(), cut in any::<Index>(), insert in text())| {
        let wrapped = json!({"Type": "Notification", "MessageId": text, "TopicArn": text, "Message": body}).to_string();
        let broken = broken(&body, cut, &insert);
        let packed = BASE64.encode(&body);
        for way in &ways {
            for body in [&text, &body, &broken, &wrapped, &packed] {
                way.go(body).ok();
            }
        }
    });
}

#[test]
fn an_event_of_any_kind_is_read_or_refused_without_a_value() {
    proptest!(config(), |(value in value(), text in text())| {
        let record = json!({"messageId": value, "body": text, "attributes": value, "messageAttributes": value});
        for payload in [value.clone(), json!({"Records": value}), json!({"Records": [record]})] {
            if let Err(error) = read_event(payload.to_string().as_bytes()) {
                prop_assert!(!error.to_string().contains(CANARY), "{}", error);
            }
        }
    });
}

/// Values of a quarter of a mebibyte, for any field.
fn giant_values() -> Vec<(&'static str, String)> {
    let fill = |unit: &str| unit.repeat(MEBIBYTE / 4 / unit.len());
    let quoted = |text: String| format!("\"{text}\"");
    vec![
        ("text", quoted(fill(CANARY))),
        ("astral", quoted(fill("\u{1F600}"))),
        ("escaped", quoted(fill("\\ud83d\\ude00"))),
        ("nul", quoted(fill("\\u0000"))),
        ("lone surrogates", quoted(fill("\\ud800"))),
        ("backslashes", quoted(fill("\\\\"))),
        ("digits", fill("7")),
        ("digits as text", quoted(fill("7"))),
        ("zeros", format!("0.{}1", fill("0"))),
        ("fraction", format!("0.{}", fill("3"))),
        ("exponent", format!("1e{}", fill("9"))),
        ("negative exponent", format!("-1e-{}", fill("9"))),
        ("large exponent", "1e999999999".to_owned()),
        ("dots as text", quoted(fill("1."))),
        ("colons as text", quoted(fill("1:"))),
        ("spaces as text", quoted(fill(" "))),
        ("a long array", format!("[{}0]", fill("0,"))),
        ("deep arrays", nested("[", "]")),
        ("deep objects", nested("{\"a\":", "}")),
    ]
}

pub(crate) fn nested(open: &str, close: &str) -> String {
    const LEVELS: usize = 100_000;
    format!("{}1{}", open.repeat(LEVELS), close.repeat(LEVELS))
}

/// Bodies that are huge as a whole, of a mebibyte.
fn giant_bodies() -> Vec<(&'static str, String)> {
    let fill = |unit: &str| unit.repeat(MEBIBYTE / unit.len());
    let keys: Vec<_> = (0..90_000).map(|key| format!("\"k{key}\":0")).collect();
    vec![
        ("deep arrays", nested("[", "]")),
        ("deep objects", nested("{\"a\":", "}")),
        ("deep and unclosed", "[".repeat(100_000)),
        (
            "one key again and again",
            format!("{{{}\"a\":1}}", fill("\"a\":{\"0\":1},")),
        ),
        ("many keys", format!("{{{}}}", keys.join(","))),
        ("quotes", fill("\"")),
        ("backslashes", format!("\"{}", fill("\\"))),
        ("spaces", fill(" ")),
    ]
}

/// The processor time of this thread, which does not depend on how busy the machine is.
fn worked() -> Duration {
    // Two fields after the name, in ticks: https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
    const TICK: Duration = Duration::from_millis(10);
    let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let ticks = fields.split_whitespace().skip(11).take(2);
    TICK * ticks.map(|ticks| ticks.parse::<u32>().unwrap()).sum()
}

/// The work on a mebibyte of harmless text.
fn work_on_plain_text(way: &Way) -> Duration {
    const TIMES: u32 = 20;
    let body = json!({"unmapped": "x".repeat(MEBIBYTE)}).to_string();
    let before = worked();
    for _ in 0..TIMES {
        way.go(&body).unwrap();
    }
    (worked() - before) / TIMES
}

#[test]
fn huge_messages_become_a_row_or_a_rejection_quickly() {
    const MULTIPLE: u32 = 50;
    let [bare, sns] =
        [Envelope::None, Envelope::Sns].map(|envelope| Way::every_column(envelope.into()));
    let most = MULTIPLE * work_on_plain_text(&bare);
    let check = |way: &Way, name: &str, body: &str| {
        let before = worked();
        way.go(body).ok();
        let work = worked() - before;
        assert!(work < most, "{name}: {work:?} instead of {most:?}");
    };
    for (name, body) in giant_bodies() {
        let wrapped =
            json!({"Type": "Notification", "MessageId": "n", "TopicArn": "t", "Message": body});
        check(&bare, name, &body);
        check(&sns, name, &body);
        check(&sns, name, &wrapped.to_string());
    }
    for (name, value) in giant_values() {
        for number in 0..COLUMNS.len() {
            let field = field(number);
            let name = format!("{name} in {field}");
            check(&bare, &name, &format!("{{\"{field}\":{value}}}"));
        }
    }
}

/// The peak memory of a process.
pub(crate) fn peak_bytes(process: u32) -> usize {
    usize::try_from(memory_kib(process, "VmHWM")).unwrap() * 1024
}

#[tokio::test]
async fn ten_thousand_messages_take_a_small_multiple_of_their_size() {
    const RECORDS: usize = 10_000;
    const MULTIPLE: usize = 4;
    let database = Database::with_user_logins().await;
    let mut function = Setup::on(&database).start().await;
    function
        .invoke(
            &Batch::new()
                .body("first", login_with("locale", json!("DE")))
                .event(),
        )
        .await;
    let padding = "x".repeat(200);
    let batch = (0..RECORDS).fold(Batch::new(), |batch, number| {
        batch.body(&number.to_string(), login_with("unmapped", json!(padding)))
    });
    let event = batch.event();
    let size = event.to_string().len();
    let before = peak_bytes(function.id());
    assert!(function.invoke(&event).await.failed_ids().is_empty());
    let grown = peak_bytes(function.id()) - before;
    assert!(
        grown < MULTIPLE * size,
        "{grown} bytes for an event of {size}"
    );
    assert_eq!(database.count("user_logins").await, RECORDS as i64 + 1);
}

/// Postgres stores `1e131071` in a few bytes and prints it as 131,072 digits: a message of 74 KB has more digits than
/// a text can hold.
#[tokio::test]
async fn a_message_with_numbers_that_would_expand_beyond_reading_is_rejected() {
    let database = Database::new().await;
    database
        .execute("CREATE TABLE t (id uuid PRIMARY KEY, j jsonb, n numeric)")
        .await;
    let mapping = Mapping::by_message_id("t").within(&database);
    let mapping = mapping.column("j", "jsonb").column("n", "numeric");
    let mut function = Setup::on(&database).mapping(&mapping).start().await;
    let of = |number: &str, count: usize| format!("[{}]", vec![number; count].join(","));
    let bad = [
        format!(r#"{{"j": {}}}"#, of("1e131071", 8_200)),
        format!(r#"{{"j": {}}}"#, of("1e-16383", 8_200)),
        // Each of these is small enough, but all together are not.
        format!(r#"{{"j": {}}}"#, of("1E+999", 2_000)),
        r#"{"j": {"a": [{"b": -1.5e1001}]}}"#.to_owned(),
        r#"{"j": 1e9999999999999999999999}"#.to_owned(),
        r#"{"n": 1e1001}"#.to_owned(),
        r#"{"n": "1e-1001"}"#.to_owned(),
    ];
    let good = [
        r#"{"j": [1e308, 4.9406564584124654e-324, true, false, null, "1e131071", {"1e9999": -0.0e-9}], "n": 1e308}"#.to_owned(),
        format!(r#"{{"j": {}}}"#, of("1e308", 2_000)),
        format!(r#"{{"j": {}}}"#, of("1.2345678", 90_000)),
        format!(r#"{{"n": -{}.{}}}"#, "9".repeat(1_000), "9".repeat(1_000)),
    ];
    let batch = bad
        .iter()
        .chain(&good)
        .zip(0..)
        .fold(Batch::new(), |batch, (body, number): (_, usize)| {
            batch.text(&number.to_string(), body)
        });
    let answer = function.invoke(&batch.event()).await;
    assert_eq!(answer.failed_ids().len(), bad.len());
    let failed = function.lines_of("message failed", bad.len()).await;
    assert!(
        failed.iter().all(|line| line["rule"] == "range"),
        "{failed:?}"
    );
    let readable = "SELECT max(length(j::text) + length(coalesce(n, 0)::text))::text FROM t";
    let longest: usize = database.rows(readable).await[0][0].parse().unwrap();
    assert!(longest < 3 * MEBIBYTE, "{longest}");
    assert_eq!(database.count("t").await, good.len() as i64);
}
