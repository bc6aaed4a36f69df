//! Messages that can never succeed go to the dead-letter queue at once, with the reason. A message that Postgres
//! refuses gets two more deliveries, and so does every message while none fits the mapping.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_sqs::types::{Message, MessageSystemAttributeName};
use mapping::internals::{Content, Delivery, Origin};
use serde_json::{Value, json};

use testkit::aws::{Queue, attribute, calls, endpoint_address, unique};
use testkit::batch::{Batch, SENT_AT_MILLIS, id, ids, login, login_with};
use testkit::proxy::Proxy;
use testkit::sqs_double::SqsDouble;
use testkit::{Database, Function, MASK_KEY, Setup, origins};

const SOURCE_ARN: &str = "arn:aws:sqs:eu-west-1:123456789012:login-queue";

async fn with_check() -> Database {
    let database = Database::with_user_logins().await;
    database
        .execute("ALTER TABLE user_logins ADD CONSTRAINT known CHECK (user_id <> 'refused')")
        .await;
    database
}

async fn start(database: &Database, dead: &str) -> Function {
    let setup = Setup::on(database).on_aws();
    setup.set("DEAD_LETTER_QUEUE_URL", dead).start().await
}

/// A message with attributes of its own.
fn with_attributes(name: &str, body: &str) -> Value {
    json!({"messageId": id(name), "body": body, "messageAttributes": {
        "tenant": {"stringValue": "acme", "dataType": "String"}, "weight": {"stringValue": "1.50", "dataType": "Number.kg"},
        "raw": {"binaryValue": "AAH/", "dataType": "Binary"},
    }})
}

/// The bodies of bad messages, and the attributes that say why: rule, column and path.
fn bad() -> Vec<(String, [Option<&'static str>; 3])> {
    let kinds = [
        (
            "{\"user_id\": ".to_owned(),
            [Some("body_not_json"), None, None],
        ),
        (
            login_with("ip", json!(null)).to_string(),
            [Some("required"), Some("masked_ip"), Some("ip")],
        ),
        (
            login_with("user_id", json!({})).to_string(),
            [Some("type"), Some("user_id"), Some("user_id")],
        ),
        (
            login_with("user_id", json!("refused")).to_string(),
            [Some("refused"), None, None],
        ),
        // The body is unchanged, whatever its characters and spaces.
        (
            " {\"user_id\":\t\"é\u{1F600}\\u0041\"}\n".to_owned(),
            [Some("required"), Some("masked_ip"), Some("ip")],
        ),
    ];
    kinds.iter().cycle().take(23).cloned().collect()
}

/// The origin of a dead letter.
fn origin(message: &Message) -> Origin {
    Origin::parse(&attribute(message, "origin").unwrap()).unwrap()
}

/// The reason of a dead letter's failure.
fn rejection(message: &Message) -> Value {
    serde_json::from_str(&attribute(message, "rejection").unwrap()).unwrap()
}

fn group(message: &Message) -> Option<&String> {
    let attributes = message.attributes.as_ref().unwrap();
    attributes.get(&MessageSystemAttributeName::MessageGroupId)
}

fn by_original_id(messages: Vec<Message>) -> HashMap<String, Message> {
    messages
        .into_iter()
        .map(|message| (origin(&message).id, message))
        .collect()
}

#[tokio::test]
async fn bad_messages_arrive_with_their_body_and_the_reason_and_are_acknowledged() {
    let (database, dead) = (with_check().await, Queue::new().await);
    let aws = Proxy::before(endpoint_address()).await;
    let setup = Setup::on(&database)
        .on_aws()
        .set("AWS_ENDPOINT_URL", &format!("http://{}", aws.address));
    let mut function = setup.set("DEAD_LETTER_QUEUE_URL", &dead.url).start().await;
    let bad = bad();
    let mut batch = Batch::new().body("good", login());
    for (number, (body, _)) in bad.iter().enumerate() {
        batch = batch.record(with_attributes(&number.to_string(), body));
    }
    let batch = batch.body("also", login()).delivered(3);
    let answer = function.invoke(&batch.event()).await;
    answer.assert_none_failed();
    assert_eq!(database.count("user_logins").await, 2);
    let messages = by_original_id(dead.dead_letters(bad.len()).await);
    for (number, (body, reason)) in bad.iter().enumerate() {
        let message = &messages[&id(&number.to_string())];
        assert_eq!(message.body.as_ref(), Some(body));
        let said = rejection(message);
        let said = ["rule", "column", "path"].map(|name| said[name].as_str());
        assert_eq!(said, *reason);
        let origin = origin(message);
        assert_eq!(
            (origin.sent_at, origin.queue()),
            (Some(SENT_AT_MILLIS), Some(SOURCE_ARN))
        );
        let mut content = Content::new(body, None);
        content.add("tenant", "String", "acme".as_bytes());
        content.add("weight", "Number.kg", "1.50".as_bytes());
        content.add("raw", "Binary", &[0, 1, 255][..]);
        let delivery = Delivery {
            sent_at: Some(SENT_AT_MILLIS),
            queue: Some(SOURCE_ARN),
        };
        let checked = origins(MASK_KEY).check(&origin, &content, delivery);
        assert_eq!(checked, Ok(()));
        let own = ["tenant", "weight", "raw"].map(|name| attribute(message, name).unwrap());
        assert_eq!(own, ["acme", "1.50", "AAH/"]);
        let types = message.message_attributes.as_ref().unwrap();
        assert_eq!(types["weight"].data_type, "Number.kg");
    }
    let requests = calls(&aws, "AmazonSQS.SendMessageBatch");
    assert_eq!(requests, 3, "23 messages in requests of 10");
    let summary = &function.lines_of("batch", 1).await[0];
    assert_eq!(
        (&summary["failed"], &summary["dead_lettered"]),
        (&json!(23), &json!(23))
    );
}

#[tokio::test]
async fn a_dead_letter_continues_the_trace_of_its_message() {
    let (database, dead) = (Database::with_user_logins().await, Queue::new().await);
    let mut function = start(&database, &dead.url).await;
    let trace = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";
    let attributes = json!({"AWSTraceHeader": trace});
    let traced = json!({"messageId": id("a"), "body": "x", "attributes": attributes});
    let batch = Batch::new().record(traced).text("b", "y");
    let batch = batch.body("good", login());
    function.invoke(&batch.event()).await.assert_none_failed();
    let messages = by_original_id(dead.dead_letters(2).await);
    let header = |name| {
        let attributes = messages[&id(name)].attributes.as_ref().unwrap();
        let header = attributes.get(&MessageSystemAttributeName::AwsTraceHeader);
        header.map(String::as_str)
    };
    assert_eq!((header("a"), header("b")), (Some(trace), None));
}

#[tokio::test]
async fn bad_messages_that_cannot_be_sent_stay_in_their_queue() {
    let (database, dead) = (with_check().await, Queue::new().await);
    let nowhere = dead.url.replace("test-queue-", &unique("nowhere"));
    for url in [nowhere.as_str(), "http://127.0.0.1:1/000000000000/dead"] {
        let mut function = start(&database, url).await;
        let batch = Batch::new()
            .text("a", "x")
            .body("b", login())
            .body("c", login_with("user_id", json!("refused")));
        let answer = function.invoke(&batch.delivered(3).event()).await;
        assert_eq!(answer.failed_ids(), ids(&["a", "c"]), "{url}");
        assert!(
            function
                .end()
                .await
                .contains("dead letters could not be sent")
        );
    }
}

#[tokio::test]
async fn an_entry_that_sqs_fails_stays_in_the_queue() {
    let (database, sqs) = (with_check().await, SqsDouble::of(Vec::new()));
    sqs.fail_sends("unlucky", 1);
    let dead = format!("{}/000000000000/dead", sqs.endpoint);
    let setup = Setup::on(&database).on_aws();
    let setup = setup.set("AWS_ENDPOINT_URL", &sqs.endpoint);
    let mut function = setup.set("DEAD_LETTER_QUEUE_URL", &dead).start().await;
    let batch = Batch::new().text("a", "lucky").text("b", "unlucky");
    let batch = batch.body("good", login());
    let answer = function.invoke(&batch.event()).await;
    assert_eq!(answer.failed_ids(), [id("b")]);
    assert_eq!(sqs.state().arrived, ["lucky"]);
    let again = Batch::new().text("b", "unlucky").delivered(2);
    function.invoke(&again.event()).await.assert_none_failed();
    assert_eq!(sqs.state().arrived, ["lucky", "unlucky"]);
}

#[tokio::test]
async fn a_message_that_sqs_refuses_does_not_affect_others() {
    let (database, dead) = (with_check().await, Queue::new().await);
    let mut function = start(&database, &dead.url).await;
    // The maximum size, so no attribute fits beside it.
    let large = "x".repeat(1_048_576);
    let batch = Batch::new()
        .text("a", "x")
        .text("large", &large)
        .text("empty", "")
        .text("b", "y")
        .body("good", login());
    let answer = function.invoke(&batch.event()).await;
    assert_eq!(answer.failed_ids(), ids(&["large", "empty"]));
    let messages = by_original_id(dead.dead_letters(2).await);
    assert!(messages.contains_key(&id("a")) && messages.contains_key(&id("b")));
}

/// SQS refuses a request with more than 1 MiB as a whole.
#[tokio::test]
async fn dead_letters_with_large_attributes_are_divided_into_requests_that_sqs_accepts() {
    let (database, dead) = (Database::with_user_logins().await, Queue::new().await);
    let mut function = start(&database, &dead.url).await;
    let large = || "x".repeat(200 * 1024);
    let names = ["a", "b", "c", "d"];
    let batch = Batch::new().body("good", login());
    let batch = names.iter().fold(batch, |batch, name| {
        let attribute = json!({"stringValue": large(), "dataType": "String"});
        let attributes = json!({"tenant": attribute, "note": attribute});
        batch.record(json!({"messageId": id(name), "body": "x", "messageAttributes": attributes}))
    });
    function.invoke(&batch.event()).await.assert_none_failed();
    let messages = by_original_id(dead.dead_letters(names.len()).await);
    assert!(names.iter().all(|name| messages.contains_key(&id(name))));
}

/// Then the mapping may be at fault, and there is time to correct it.
#[tokio::test]
async fn if_all_messages_of_a_batch_break_one_rule_they_become_dead_letters_on_their_third_delivery()
 {
    let (database, dead) = (Database::with_user_logins().await, Queue::new().await);
    let mut function = start(&database, &dead.url).await;
    let names = ["a", "b", "c"];
    let batch = || {
        let bad = |batch: Batch, name: &&str| batch.body(name, login_with("ip", json!(null)));
        names.iter().fold(Batch::new(), bad)
    };
    for delivery in [1, 2] {
        let answer = function.invoke(&batch().delivered(delivery).event()).await;
        assert_eq!(answer.failed_ids(), ids(&names));
    }
    let third = batch().delivered(3).event();
    function.invoke(&third).await.assert_none_failed();
    let messages = by_original_id(dead.dead_letters(names.len()).await);
    assert!(names.iter().all(|name| messages.contains_key(&id(name))));
    // Beside a message that fits the mapping, they are at fault.
    let beside = batch().body("good", login()).event();
    function.invoke(&beside).await.assert_none_failed();
    dead.dead_letters(names.len()).await;
}

/// A batch of a quiet queue often has one message.
#[tokio::test]
async fn a_bad_message_alone_becomes_a_dead_letter_at_once_and_the_next_waits_until_one_is_stored()
{
    let (database, dead) = (Database::with_user_logins().await, Queue::new().await);
    let mut function = start(&database, &dead.url).await;
    for (name, is_bad, is_reported) in [
        ("a", true, false),
        ("b", true, true),
        ("c", true, true),
        ("good", false, false),
        ("d", true, false),
    ] {
        let body = if is_bad { json!("x") } else { login() };
        let alone = Batch::new().body(name, body).event();
        let answer = function.invoke(&alone).await;
        let reported: &[&str] = if is_reported { &[name] } else { &[] };
        assert_eq!(answer.failed_ids(), ids(reported), "{name}");
    }
    let messages = by_original_id(dead.dead_letters(2).await);
    assert!(messages.contains_key(&id("a")) && messages.contains_key(&id("d")));
    assert_eq!(stored(&database).await, [id("good")]);
}

#[tokio::test]
async fn a_refusal_that_passes_does_not_make_a_dead_letter() {
    let (database, dead) = (Database::with_user_logins().await, Queue::new().await);
    database
        .execute("CREATE TABLE users (id text PRIMARY KEY); ALTER TABLE user_logins ADD FOREIGN KEY (user_id) REFERENCES users")
        .await;
    let mut function = start(&database, &dead.url).await;
    // A message that breaks the mapping becomes a dead letter at once.
    let first = Batch::new()
        .body("early", login_with("user_id", json!("anna")))
        .body("lost", login_with("user_id", json!("nobody")))
        .text("bad", "x");
    let answer = function.invoke(&first.delivered(1).event()).await;
    assert_eq!(answer.failed_ids(), ids(&["early", "lost"]));
    database.execute("INSERT INTO users VALUES ('anna')").await;
    let again = || {
        Batch::new()
            .body("early", login_with("user_id", json!("anna")))
            .body("lost", login_with("user_id", json!("nobody")))
    };
    let answer = function.invoke(&again().delivered(2).event()).await;
    assert_eq!(answer.failed_ids(), [id("lost")]);
    let answer = function.invoke(&again().delivered(3).event()).await;
    answer.assert_none_failed();
    assert_eq!(stored(&database).await, [id("early")]);
    let messages = by_original_id(dead.dead_letters(2).await);
    assert_eq!(rejection(&messages[&id("lost")])["rule"], "refused");
    assert_eq!(rejection(&messages[&id("bad")])["rule"], "body_not_json");
}

#[tokio::test]
async fn a_refused_message_holds_back_its_fifo_group_until_it_is_a_dead_letter() {
    let (database, dead) = (with_check().await, Queue::fifo().await);
    let mut function = start(&database, &dead.url).await;
    let batch = || {
        Batch::fifo()
            .grouped("anna", "a1", login_with("user_id", json!("refused")))
            .grouped("anna", "a2", login_with("ip", json!(null)))
            .grouped("anna", "a3", login())
            .grouped("ben", "b1", login())
    };
    for delivery in [1, 2] {
        let answer = function.invoke(&batch().delivered(delivery).event()).await;
        assert_eq!(answer.failed_ids(), ids(&["a1", "a2", "a3"]));
        assert_eq!(stored(&database).await, [id("b1")]);
    }
    let answer = function.invoke(&batch().delivered(3).event()).await;
    assert_eq!(answer.failed_ids(), ids(&["a2", "a3"]));
    assert_eq!(origin(&dead.dead_letters(1).await[0]).id, id("a1"));
}

#[tokio::test]
async fn a_dead_letter_of_a_standard_queue_keeps_its_group_id() {
    let (database, dead) = (with_check().await, Queue::new().await);
    let mut function = start(&database, &dead.url).await;
    let batch = Batch::new()
        .grouped("anna", "grouped", login_with("ip", json!(null)))
        .text("alone", "x");
    function.invoke(&batch.event()).await.assert_none_failed();
    let messages = by_original_id(dead.dead_letters(2).await);
    let groups = ["grouped", "alone"].map(|name| group(&messages[&id(name)]));
    assert_eq!(groups, [Some(&"anna".to_owned()), None]);
}

#[tokio::test]
async fn a_dead_letter_of_a_fifo_queue_keeps_the_order_of_its_group() {
    let (database, dead) = (with_check().await, Queue::fifo().await);
    let mut function = start(&database, &dead.url).await;
    let refused = || login_with("user_id", json!("refused"));
    let batch = Batch::fifo()
        .grouped("anna", "a1", login())
        .grouped("ben", "b1", refused())
        .grouped("anna", "a2", login_with("ip", json!(null)))
        .grouped("anna", "a3", refused())
        .grouped("ben", "b2", login())
        .grouped("carl", "c1", login())
        .grouped("anna", "a4", login());
    let answer = function.invoke(&batch.delivered(3).event()).await;
    assert_eq!(answer.failed_ids(), ids(&["a3", "b2", "a4"]));
    assert_eq!(stored(&database).await, ids(&["a1", "c1"]));
    let again = Batch::fifo()
        .grouped("anna", "a3", refused())
        .grouped("ben", "b2", login())
        .grouped("anna", "a4", login());
    let answer = function.invoke(&again.delivered(4).event()).await;
    assert_eq!(answer.failed_ids(), [id("a4")]);
    let last = Batch::fifo().grouped("anna", "a4", login());
    function.invoke(&last.event()).await.assert_none_failed();
    assert_eq!(stored(&database).await, ids(&["a1", "a4", "b2", "c1"]));
    let messages = dead.dead_letters(3).await;
    let of_anna = messages
        .iter()
        .filter(|message| group(message).unwrap() == "anna");
    let of_anna: Vec<_> = of_anna.map(|message| origin(message).id).collect();
    assert_eq!(of_anna, ids(&["a2", "a3"]));
}

#[tokio::test]
async fn only_the_first_failure_of_a_fifo_group_can_become_a_dead_letter() {
    let (database, dead) = (with_check().await, Queue::fifo().await);
    let mut function = start(&database, &dead.url).await;
    // Postgres refuses the first, but before that the mapping rejects the second.
    let two = Batch::fifo()
        .grouped("anna", "a1", login_with("user_id", json!("refused")))
        .grouped("anna", "a2", login_with("ip", json!(null)));
    let answer = function.invoke(&two.delivered(3).event()).await;
    assert_eq!(answer.failed_ids(), [id("a2")]);
    // Whether the first is stored is not known in time, so the second must not overtake it.
    let lock = database.lock("user_logins").await;
    let unsure = Batch::fifo().grouped("ben", "b1", login()).grouped(
        "ben",
        "b2",
        login_with("ip", json!(null)),
    );
    let time = Duration::from_secs(6);
    let answer = function.invoke_within(&unsure.event(), time).await;
    assert_eq!(answer.failed_ids(), ids(&["b1", "b2"]));
    drop(lock);
    let messages = dead.dead_letters(1).await;
    assert_eq!(origin(&messages[0]).id, id("a1"));
}

async fn stored(database: &Database) -> Vec<String> {
    let sql = "SELECT message_id::text FROM user_logins ORDER BY message_id";
    database.rows(sql).await.into_iter().flatten().collect()
}

/// Tests that measure how long the function waits.
mod quiet {
    use super::*;

    #[tokio::test]
    async fn a_message_that_may_succeed_later_does_not_become_a_dead_letter() {
        let (database, dead) = (with_check().await, Queue::new().await);
        let mut function = start(&database, &dead.url).await;
        let lock = database.lock("user_logins").await;
        let batch = Batch::new().body("late", login()).text("bad", "x");
        let time = Duration::from_secs(6);
        let answer = function.invoke_within(&batch.event(), time).await;
        assert_eq!(answer.failed_ids(), [id("late")]);
        drop(lock);
        assert_eq!(dead.dead_letters(1).await[0].body.as_deref(), Some("x"));
    }
}
