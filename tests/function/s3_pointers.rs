//! Messages that an SQS extended client moved to S3, through the real function. What S3 does not do here, refuse and be
//! silent, a stand-in does.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;

use crate::child_tables::invoke;
use crate::hostile::{MEBIBYTE, peak_bytes};
use crate::wrapped::gzip;
use testkit::aws::Queue;
use testkit::batch::{Batch, ids};
use testkit::http::{Answer, serve};
use testkit::s3::{Bucket, pointer};
use testkit::{Database, Function, Setup};

/// The most that a message may be in S3, and unpacked.
const MOST_OF_AN_OBJECT: usize = 16 * MEBIBYTE;

/// Long enough for a batch without an outage.
const TIME: Duration = Duration::from_secs(12);

fn mapping(bucket: &str) -> String {
    format!(
        r#"
table = "events"
key = ["id"]
s3_pointers = ["{bucket}"]
column = [
  {{ name = "id", type = "bigint", required = true }},
  {{ name = "name", type = "text" }},
]
"#
    )
}

fn event(id: usize) -> String {
    json!({"id": id, "name": "Zo\u{eb} c4n4ry"}).to_string()
}

async fn started(database: &Database, mapping: &str) -> Function {
    Setup::on(database).on_aws().mapping(mapping).start().await
}

async fn stored(database: &Database) -> Vec<String> {
    let stored = "SELECT id::text FROM events ORDER BY id";
    database.rows(stored).await.concat()
}

async fn rules(function: &Function, count: usize) -> Vec<String> {
    let lines = function.lines_of("message failed", count).await;
    let rules = lines.iter().map(|line| line["rule"].as_str().unwrap());
    rules.map(str::to_owned).collect()
}

#[tokio::test]
async fn messages_in_s3_are_stored_and_one_that_cannot_be_read_there_fails_alone() {
    let (mut bucket, mut foreign) = (Bucket::new(), Bucket::new());
    let mapping = mapping(&bucket.name);
    let database = Database::with_tables_of(&mapping).await;
    let mut function = started(&database, &mapping).await;
    let java = bucket.moved("0a1b-2c3d", event(1));
    bucket.put("p", event(2));
    let python = format!(
        r#"["software.amazon.payloadoffloading.PayloadS3Pointer", {{"s3BucketName": "{}", "s3Key": "p"}}]"#,
        bucket.name
    );
    let former = bucket.moved("f", event(3)).replace(
        "software.amazon.payloadoffloading.PayloadS3Pointer",
        "com.amazon.sqs.javamessaging.MessageS3Pointer",
    );
    let special = bucket.moved("tenant/a b+c%20?d=1&e#f/\u{eb}~'(x).json", event(4));
    let batch = Batch::new()
        .text("java", &java)
        .text("python", &python)
        .text("former", &former)
        .text("special", &special)
        .text("foreign", &foreign.moved("k3y", event(11)))
        .text("missing", &pointer(&bucket.name, "k3y/missing"))
        .text("no key", &pointer(&bucket.name, ""))
        .text("binary", &bucket.moved("k3y/binary", b"\x1f\x8b\xff"))
        .text(
            "large",
            &bucket.moved("k3y/large", vec![b' '; MOST_OF_AN_OBJECT + 1]),
        )
        .text("not json", &bucket.moved("k3y/text", "c4n4ry"))
        .text("here", &event(5));
    let failed = invoke(&mut function, batch).await;
    let expected = [
        ("foreign", "s3_pointer"),
        ("missing", "s3_missing"),
        ("no key", "s3_pointer"),
        ("binary", "not_encoded"),
        ("large", "too_large"),
        ("not json", "body_not_json"),
    ];
    assert_eq!(failed, ids(&expected.map(|(name, _)| name)));
    assert_eq!(stored(&database).await, ["1", "2", "3", "4", "5"]);
    let rules = rules(&function, expected.len()).await;
    assert_eq!(rules, expected.map(|(_, rule)| rule));
    let log = function.end().await;
    for secret in ["c4n4ry", "k3y", &foreign.name] {
        assert!(!log.contains(secret), "{secret}: {log}");
    }
}

/// The object is what the body would be: the envelope is around the pointer, and the object is packed.
#[tokio::test]
async fn the_object_is_packed_as_encoding_says_and_the_pointer_may_come_through_sns() {
    let mut bucket = Bucket::new();
    let mapping = format!(
        "envelope = \"sns\"\nencoding = \"gzip+base64\"\n{}",
        mapping(&bucket.name)
    );
    let database = Database::with_tables_of(&mapping).await;
    let mut function = started(&database, &mapping).await;
    let notification = |message: &str| {
        json!({"Type": "Notification", "MessageId": "n", "TopicArn": "arn", "Message": message})
            .to_string()
    };
    let bomb = gzip(&" ".repeat(MEBIBYTE), 17);
    let batch = Batch::new()
        .text(
            "there",
            &notification(&bucket.moved("1", gzip(&event(1), 1))),
        )
        .text("here", &notification(&gzip(&event(2), 1)))
        .text("bomb", &notification(&bucket.moved("3", bomb)));
    assert_eq!(invoke(&mut function, batch).await, ids(&["bomb"]));
    assert_eq!(stored(&database).await, ["1", "2"]);
    assert_eq!(rules(&function, 1).await, ["too_large"]);
}

#[tokio::test]
async fn ten_messages_of_ten_mebibytes_are_stored_within_128_mebibytes() {
    const COUNT: usize = 10;
    const BYTES: usize = 10 * MEBIBYTE;
    const MOST: usize = 128 * MEBIBYTE;
    let mut bucket = Bucket::new();
    let mapping = mapping(&bucket.name);
    let database = Database::with_tables_of(&mapping).await;
    let mut function = started(&database, &mapping).await;
    let name = "x".repeat(BYTES);
    let batch = (0..COUNT).fold(Batch::new(), |batch, number| {
        let object = json!({"id": number, "name": name}).to_string();
        let id = number.to_string();
        batch.text(&id, &bucket.moved(&id, object))
    });
    // Without a deadline: a busy machine may take long to move 100 MiB.
    let time = Duration::from_secs(600);
    let answer = function.invoke_within(&batch.event(), time).await;
    answer.assert_none_failed();
    let large = format!("SELECT id::text FROM events WHERE length(name) = {BYTES}");
    assert_eq!(database.rows(&large).await.len(), COUNT);
    let peak = peak_bytes(function.id());
    assert!(peak < MOST, "{} MiB", peak / MEBIBYTE);
}

/// More messages than objects are read at once, between messages that are not in S3.
#[tokio::test]
async fn a_batch_of_hundreds_of_messages_in_s3_is_stored() {
    const COUNT: usize = 230;
    let mut bucket = Bucket::new();
    let mapping = mapping(&bucket.name);
    let database = Database::with_tables_of(&mapping).await;
    let mut function = started(&database, &mapping).await;
    let batch = (0..COUNT).fold(Batch::new(), |batch, number| {
        let id = number.to_string();
        match number % 10 {
            7 => batch.text(&id, &event(number)),
            _ => batch.text(&id, &bucket.moved(&id, event(number))),
        }
    });
    let time = Duration::from_secs(600);
    let answer = function.invoke_within(&batch.event(), time).await;
    answer.assert_none_failed();
    assert_eq!(stored(&database).await.len(), COUNT);
}

/// The dead letter has the pointer, so that it can be sent back once the object is there again.
#[tokio::test]
async fn a_pointer_to_a_missing_object_becomes_a_dead_letter_at_once_as_it_is() {
    let (mut bucket, dead) = (Bucket::new(), Queue::new().await);
    let mapping = mapping(&bucket.name);
    let database = Database::with_tables_of(&mapping).await;
    let setup = Setup::on(&database).on_aws().mapping(&mapping);
    let mut function = setup.set("DEAD_LETTER_QUEUE_URL", &dead.url).start().await;
    let missing = pointer(&bucket.name, "missing");
    let batch = Batch::new()
        .text("missing", &missing)
        .text("there", &bucket.moved("1", event(1)));
    let answer = function.invoke(&batch.event()).await;
    answer.assert_none_failed();
    let letters = dead.dead_letters(1).await;
    assert_eq!(letters[0].body(), Some(&*missing));
    assert_eq!(stored(&database).await, ["1"]);
}

/// A batch of a message that is in S3 and one that is not, on a late delivery, while S3 is like this. The first fails
/// by this rule, is no dead letter, and costs the second nothing.
async fn assert_waits(s3: SocketAddr, rule: &str, reason: &str) {
    let dead = Queue::new().await;
    let mapping = mapping("logins");
    let database = Database::with_tables_of(&mapping).await;
    let setup = Setup::on(&database)
        .on_aws()
        .set("AWS_ENDPOINT_URL_S3", &format!("http://{s3}"))
        .set("DEAD_LETTER_QUEUE_URL", &dead.url);
    let mut function = setup.mapping(&mapping).start().await;
    let batch = Batch::new()
        .text("there", &pointer("logins", "k3y"))
        .text("here", &event(1))
        .delivered(9);
    let answer = function.invoke_within(&batch.event(), TIME).await;
    assert_eq!(answer.failed_ids(), ids(&["there"]));
    assert_eq!(stored(&database).await, ["1"]);
    let line = &function.lines_of("message failed", 1).await[0];
    assert_eq!(line["rule"], rule);
    assert!(line["reason"].as_str().unwrap().contains(reason), "{line}");
    assert!(!function.end().await.contains("k3y"));
}

#[tokio::test]
async fn while_s3_refuses_fails_or_is_silent_its_messages_wait_and_others_are_stored() {
    let error = |status, code: &str| {
        let xml = format!("<Error><Code>{code}</Code><Key>k3y</Key></Error>");
        serve(move |_| Some(Answer::new(status, &xml)))
    };
    assert_waits(error(403, "AccessDenied"), "s3_denied", "s3:GetObject").await;
    assert_waits(error(404, "NoSuchBucket"), "s3_denied", "does not exist").await;
    assert_waits(error(503, "SlowDown"), "s3_unavailable", "SlowDown").await;
    assert_waits(serve(|_| None), "s3_unavailable", "no response in time").await;
}

/// The last attempt is dropped when its time is up, which says nothing about the cause: an engineer who reads "no
/// response" would look at the network.
#[tokio::test]
async fn an_attempt_that_is_dropped_does_not_hide_what_s3_said() {
    const DELAY: Duration = Duration::from_millis(1_200);
    let slow = serve(|_| {
        std::thread::sleep(DELAY);
        Some(Answer::new(503, "<Error><Code>SlowDown</Code></Error>"))
    });
    assert_waits(slow, "s3_unavailable", "SlowDown").await;
}

/// An answer can be lost.
#[tokio::test]
async fn a_request_that_fails_is_made_again() {
    let attempts = std::sync::atomic::AtomicUsize::new(0);
    let s3 = serve(move |_| {
        let attempt = attempts.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Some(match attempt {
            0 => Answer::new(500, "<Error><Code>InternalError</Code></Error>"),
            _ => Answer::new(200, event(1)),
        })
    });
    let mapping = mapping("logins");
    let database = Database::with_tables_of(&mapping).await;
    let setup = Setup::on(&database)
        .on_aws()
        .set("AWS_ENDPOINT_URL_S3", &format!("http://{s3}"));
    let mut function = setup.mapping(&mapping).start().await;
    let batch = Batch::new().text("a", &pointer("logins", "k"));
    function.invoke(&batch.event()).await.assert_none_failed();
    assert_eq!(stored(&database).await, ["1"]);
}
