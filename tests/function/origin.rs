//! The original id and time that a message claims count only if they are proven, and if SQS does not contradict them.

use mapping::internals::{Content, Origin};
use serde_json::{Value, json};

use testkit::batch::{Batch, SENT_AT_MILLIS, id};
use testkit::{Database, Function, MASK_KEY, Mapping, Setup, origins, signed_origin};

/// A key that is not the function's.
const OTHER_KEY: &str = "//8CAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// The queue of every batch.
const QUEUE: &str = "arn:aws:sqs:eu-west-1:123456789012:login-queue";

/// A function with this mask key, and a row for each id.
async fn start(database: &Database, on_conflict: &str, mask_key: &str) -> Function {
    database
        .execute("CREATE TABLE t (id text PRIMARY KEY, v text, sent_at timestamptz, tenant text, queue_group text)")
        .await;
    let mapping = Mapping::of("t").key("id").set("on_conflict", on_conflict);
    let mapping = mapping.column("id", "text").with("from", "@message_id");
    let mapping = mapping.column("v", "text");
    let mapping = mapping
        .column("sent_at", "timestamptz")
        .with("from", "@sent_at");
    let mapping = mapping
        .column("tenant", "text")
        .with("from", "@attribute.tenant");
    let mapping = mapping
        .column("queue_group", "text")
        .with("from", "@group_id");
    let setup = Setup::on(database).set("MASK_KEY", mask_key);
    setup.mapping(&mapping).start().await
}

fn of(name: &str) -> Origin {
    Origin::new(&id(name), Some(946_684_800_000), QUEUE)
}

/// A message with an attribute.
fn with(name: &str, body: &str, attribute: &str, text: &str) -> Value {
    let attributes = json!({attribute: {"stringValue": text, "dataType": "String"}});
    json!({"messageId": id(name), "body": body, "messageAttributes": attributes})
}

#[tokio::test]
async fn a_forged_origin_overwrites_no_row() {
    let database = Database::new().await;
    let mut function = start(&database, "update", MASK_KEY).await;
    let (good, bad) = (r#"{"v": "good"}"#, r#"{"v": "bad"}"#);
    let victim = Batch::new().text("victim", good).event();
    function.invoke(&victim).await.assert_none_failed();
    let unsigned = signed_origin("", of("victim"), bad);
    let forged = [
        ("origin", unsigned.clone()),
        ("origin", unsigned.replace('}', ",\"hmac\":\"\"}")),
        ("origin", signed_origin(OTHER_KEY, of("victim"), bad)),
        // Copied from a message in the dead-letter queue to another message.
        ("origin", signed_origin(MASK_KEY, of("victim"), good)),
        ("original_message_id", id("victim")),
    ];
    let mut batch = Batch::new();
    for (number, (name, text)) in forged.iter().enumerate() {
        batch = batch.record(with(&number.to_string(), bad, name, text));
    }
    function.invoke(&batch.event()).await.assert_none_failed();
    let rows = database
        .rows("SELECT v, count(*)::text, (min(sent_at) > '2020-01-01')::text FROM t GROUP BY v ORDER BY v")
        .await;
    assert_eq!(rows, [["bad", "5", "true"], ["good", "1", "true"]]);
}

/// It was read in the dead-letter queue, and sent again with the same body.
#[tokio::test]
async fn a_signed_origin_overwrites_no_row_with_another_attribute_group_queue_or_time() {
    let database = Database::new().await;
    let mut function = start(&database, "update", MASK_KEY).await;
    let mut content = Content::new("{}", Some("g1"));
    content.add("tenant", "String", "acme".as_bytes());
    let signed = |sent_at, queue| {
        let origin = Origin::new(&id("victim"), Some(sent_at), queue);
        origins(MASK_KEY).text(origin, &content)
    };
    let message = |name: &str, tenant: &str, group: &str, origin: &str| {
        let text = |text: &str| json!({"stringValue": text, "dataType": "String"});
        json!({
            "messageId": id(name), "body": "{}", "attributes": {"MessageGroupId": group},
            "messageAttributes": {"tenant": text(tenant), "origin": text(origin)},
        })
    };
    let genuine = signed(SENT_AT_MILLIS, QUEUE);
    let elsewhere = format!("{QUEUE}-2");
    let other_queue = signed(SENT_AT_MILLIS, &elsewhere);
    let later = signed(SENT_AT_MILLIS + 1, QUEUE);
    let earlier = (SENT_AT_MILLIS - 1).to_string();
    let earlier = genuine.replace(&SENT_AT_MILLIS.to_string(), &earlier);
    let batch = Batch::new()
        .record(message("again", "acme", "g1", &genuine))
        .record(message("1", "EVIL", "g1", &genuine))
        .record(message("2", "acme", "EVIL", &genuine))
        .record(message("3", "acme", "g1", &other_queue))
        .record(message("4", "acme", "g1", &later))
        .record(message("5", "acme", "g1", &earlier));
    function.invoke(&batch.event()).await.assert_none_failed();
    let victim = format!(
        "SELECT tenant, queue_group FROM t WHERE id = '{}'",
        id("victim")
    );
    assert_eq!(database.rows(&victim).await, [["acme", "g1"]]);
    assert_eq!(database.count("t").await, 6);
    let ignored =
        function.lines("origin ignored: the message keeps the id and time that SQS gave it");
    let reasons: Vec<_> = ignored
        .iter()
        .map(|line| (line["messages"].as_u64(), line["reason"].as_str().unwrap()))
        .collect();
    let expected = [
        (
            3,
            "is not signed with the current mask key, or the message was changed",
        ),
        (1, "names another queue"),
        (1, "is later than the time at which SQS received"),
    ];
    assert_eq!(reasons.len(), expected.len(), "{reasons:?}");
    for ((messages, reason), (count, part)) in reasons.into_iter().zip(expected) {
        assert!(messages == Some(count) && reason.contains(part), "{reason}");
    }
}

#[tokio::test]
async fn a_genuine_origin_sets_the_original_id_and_time_with_a_key_and_without() {
    for key in [MASK_KEY, ""] {
        let database = Database::new().await;
        let mut function = start(&database, "ignore", key).await;
        let body = r#"{"v": "é"}"#;
        let first = Batch::new().text("first", body).event();
        let origin = signed_origin(key, of("first"), body);
        let moved = Batch::new().record(with("second", body, "origin", &origin));
        for event in [moved.event(), first] {
            function.invoke(&event).await.assert_none_failed();
        }
        let rows = database.rows("SELECT id, sent_at::date::text FROM t").await;
        assert_eq!(rows, [[id("first"), "2000-01-01".to_owned()]]);
    }
}

/// Without a mask key every origin counts that has the form of one.
#[tokio::test]
async fn an_attribute_that_cannot_be_an_origin_leaves_its_message_with_its_own_id() {
    let database = Database::new().await;
    let mut function = start(&database, "ignore", "").await;
    let others = [
        "web",
        "{}",
        r#"{"id": "", "queue": ""}"#,
        r#"{"id": "a\u0000b", "queue": ""}"#,
        r#"{"id": "a\nb", "queue": ""}"#,
        r#"{"id": "claimed", "queue": "a\u0007b"}"#,
        r#"{"id": "claimed", "queue": "", "sent_at": -1}"#,
        r#"{"id": "claimed", "queue": "", "sent_at": 253402300800000}"#,
    ];
    let names: Vec<String> = (0..others.len()).map(|number| number.to_string()).collect();
    let batch = names
        .iter()
        .zip(others)
        .fold(Batch::new(), |batch, (name, text)| {
            batch.record(with(name, "{}", "origin", text))
        });
    function.invoke(&batch.event()).await.assert_none_failed();
    let own: Vec<_> = names.iter().map(|name| [id(name)]).collect();
    assert_eq!(database.rows("SELECT id FROM t ORDER BY id").await, own);
}

/// Without a mask key anyone can claim a time.
#[tokio::test]
async fn a_claimed_time_in_the_future_freezes_no_row() {
    let database = Database::new().await;
    database
        .execute("CREATE TABLE t (k integer PRIMARY KEY, v text, at timestamptz)")
        .await;
    let mapping = Mapping::of("t").key("k").set("on_conflict", "update");
    let mapping = mapping.set("newer", "at").column("k", "integer");
    let mapping = mapping.with("required", true).column("v", "text");
    let mapping = mapping.column("at", "timestamptz").with("from", "@sent_at");
    let setup = Setup::bare().set("DATABASE_URL", &database.url());
    let mut function = setup.mapping(&mapping).start().await;
    let latest = Origin::new("x", Some(253_402_300_799_999), QUEUE);
    let claimed = signed_origin("", latest, "");
    let evil = with("evil", r#"{"k": 1, "v": "evil"}"#, "origin", &claimed);
    let sent_at = (SENT_AT_MILLIS + 1).to_string();
    let genuine = json!({
        "messageId": id("genuine"), "body": r#"{"k": 1, "v": "good"}"#, "attributes": {"SentTimestamp": sent_at},
    });
    for record in [evil, genuine] {
        let batch = Batch::new().record(record);
        function.invoke(&batch.event()).await.assert_none_failed();
    }
    assert_eq!(database.rows("SELECT v FROM t").await, [["good"]]);
}
