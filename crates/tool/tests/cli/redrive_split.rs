//! `redrive --split`: each record of a dead letter returns as a message of its own, and is stored once.

use aws_sdk_sqs::types::QueueAttributeName;
use mapping::internals::Origin;
use serde_json::{Value, json};

use crate::redrive::{Queues, drain, signing};
use crate::tool::{Ended, Running, Tool};
use testkit::aws::{Queue, attribute};
use testkit::sqs_double::SqsDouble;
use testkit::{
    Database, MASK_KEY, Setup, assert_contains, assert_ends, assert_starts, eventually,
    signed_origin,
};

/// Another key than the usual one.
const OTHER_KEY: &str =
    "QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFlaW1xdXl9gYWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXp7fH1+fw==";

/// Records with a value of this type, in messages with these words at the top of the mapping.
fn readings(top: &str, value: &str) -> String {
    format!(
        r#"
{top}
[[table]]
name = "readings"
each = "@body"
key = ["message_id", "line"]
column = [
  {{ name = "message_id", type = "uuid", from = "@message_id" }},
  {{ name = "line", type = "integer", from = "@index" }},
  {{ name = "value", type = "{value}", required = true }},
]
"#
    )
}

const ROWS: &str =
    "SELECT message_id::text, line::text, value::text FROM readings ORDER BY readings.line";

async fn split(queues: &Queues, mapping: &str, options: &str) -> Ended {
    let tool = signing().mapping(mapping);
    tool.run(&queues.command(&format!("--split {options}")))
        .await
}

/// A split of which some records have arrived, but not all.
async fn begun(queues: &Queues, mapping: &str) -> Running {
    let tool = signing().mapping(mapping);
    let running = tool.start(&queues.command("--split --rate 20"));
    eventually("some records arrive", async || {
        let (arrived, _) = queues.queue.counts().await;
        (arrived > 0).then_some(())
    })
    .await;
    running
}

/// Without it, SQS would move what the tests receive.
async fn without_policy(queue: &Queue) {
    queue.set(QueueAttributeName::RedrivePolicy, "").await;
}

async fn function(database: &Database, queues: &Queues, mapping: &str) -> testkit::Function {
    let setup = Setup::on(database).on_aws().mapping(mapping);
    let setup = setup.set("DEAD_LETTER_QUEUE_URL", &queues.dead.url);
    setup.start().await
}

#[tokio::test]
async fn a_record_that_cannot_be_stored_keeps_only_itself_from_being_stored() {
    for (top, body) in [
        ("", r#"[{"value": 1}, {"value": "x"}, {"value": 3.50}]"#),
        (
            "body = \"lines\"",
            "{\"value\": 1}\n\n{\"value\": \"x\"}\n{\"value\": 3.50}\n",
        ),
    ] {
        let (numbers, texts) = (readings(top, "numeric"), readings(top, "text"));
        let database = Database::with_tables_of(&numbers).await;
        let queues = Queues::new().await;
        let id = queues.dead_letter(body, &[]).await;
        let moved = split(&queues, &numbers, "--json").await.exits(0);
        assert_starts(&moved.err, "moved 1 dead letter in ");
        assert_ends(&moved.err, ", as 3 messages\n");
        assert_eq!(moved.json()[0]["sent_as"].as_array().unwrap().len(), 3);
        let dead = format!("--dead-letter-queue-url {}", queues.dead.url);
        without_policy(&queues.queue).await;
        let mut storing = function(&database, &queues, &numbers).await;
        drain(&queues.queue, &mut storing).await;
        assert_eq!(
            database.rows(ROWS).await,
            [[&id, "0", "1"], [&id, "2", "3.50"]]
        );
        // The record that fails again still has its position, and is not another message's.
        let again = split(&queues, &numbers, &dead).await.exits(0);
        assert_ends(&again.out, ", as 1 message\n");
        let database = Database::with_tables_of(&texts).await;
        let mut storing = function(&database, &queues, &texts).await;
        drain(&queues.queue, &mut storing).await;
        assert_eq!(database.rows(ROWS).await, [[&id, "1", "x"]]);
    }
}

#[tokio::test]
async fn a_split_that_is_killed_and_repeated_stores_each_record_once() {
    const RECORDS: usize = 60;
    let mapping = readings("encoding = \"gzip+base64\"", "integer");
    let database = Database::with_tables_of(&mapping).await;
    let queues = Queues::new().await;
    let values: Vec<Value> = (0..RECORDS).map(|value| json!({"value": value})).collect();
    let packed = packed_by_gzip(&json!(values).to_string());
    let id = queues.dead_letter(&packed, &[]).await;
    let running = begun(&queues, &mapping).await;
    running.signal("KILL");
    running.end_or_killed().await;
    eventually("the dead letter is split", async || {
        split(&queues, &mapping, "").await.exits(0);
        (queues.dead.counts().await == (0, 0)).then_some(())
    })
    .await;
    without_policy(&queues.queue).await;
    let mut storing = function(&database, &queues, &mapping).await;
    drain(&queues.queue, &mut storing).await;
    let expected: Vec<[String; 3]> = (0..RECORDS)
        .map(|line| [id.clone(), line.to_string(), line.to_string()])
        .collect();
    assert_eq!(database.rows(ROWS).await, expected);
}

/// A text as the program `gzip` packs it.
fn packed_by_gzip(text: &str) -> String {
    let file = testkit::TempFile::new(text);
    let script = format!("gzip -c {} | base64 -w0", file.0.display());
    let run = std::process::Command::new("sh")
        .args(["-c", &script])
        .output();
    String::from_utf8(run.unwrap().stdout).unwrap()
}

#[tokio::test]
async fn an_interrupted_split_keeps_the_dead_letter_and_makes_it_visible() {
    let queues = Queues::new().await;
    let body = json!(vec![json!({"value": 1}); 200]).to_string();
    queues.dead_letter(&body, &[]).await;
    let running = begun(&queues, &readings("", "integer")).await;
    running.signal("INT");
    let ended = running.end().await.exits(1);
    assert_starts(&ended.out, "moved 0 dead letters in ");
    assert_contains(&ended.out, " sent of dead letters that remain; interrupted");
    assert_eq!(queues.dead.take_all(1).await[0].body(), Some(body.as_str()));
}

#[tokio::test]
async fn the_original_id_and_the_position_of_a_record_are_signed() {
    let queues = Queues::new().await;
    let body = r#"[{"value": 1},{"value": 2}]"#;
    let origin = Origin::new("059f36b4-87a3-44ab-83d2-661975830a7d", Some(1), "");
    let signed = signed_origin(MASK_KEY, origin, body);
    queues.dead_letter(body, &[("origin", &signed)]).await;
    let mapping = readings("", "integer");
    for tool in [
        Tool::bare().on_aws(),
        Tool::bare().on_aws().set("MASK_KEY", OTHER_KEY),
    ] {
        let refused = tool.mapping(&mapping).run(&queues.command("--split")).await;
        let refused = refused.exits(1);
        assert_contains(&refused.err, "set the mask key that signed it");
        assert!(queues.queue.receive(0).await.is_empty());
    }
    split(&queues, &mapping, "").await.exits(0);
    without_policy(&queues.queue).await;
    let database = Database::with_tables_of(&mapping).await;
    let mut storing = function(&database, &queues, &mapping).await;
    drain(&queues.queue, &mut storing).await;
    let id = "059f36b4-87a3-44ab-83d2-661975830a7d";
    assert_eq!(database.rows(ROWS).await, [[id, "0", "1"], [id, "1", "2"]]);
}

#[tokio::test]
async fn each_record_is_explained_and_none_is_moved() {
    let queues = Queues::new().await;
    let reason = r#"{"rule": "type", "column": "value", "path": "[1].value"}"#;
    let body = r#"[{"value": 1}, {"value": "c4n4ry"}, {"value": 3}]"#;
    queues.dead_letter(body, &[("rejection", reason)]).await;
    let mapping = readings("", "integer");
    let dry = split(&queues, &mapping, "--dry-run --rule type")
        .await
        .exits(0);
    assert_ends(&dry.out, "would move 1 dead letter as 3 messages\n");
    let explained = split(&queues, &mapping, "--explain --json").await.exits(1);
    assert!(!explained.out.contains("c4n4ry"));
    assert_ends(&explained.err, "as 3 messages; 1 would be rejected again\n");
    let lines = explained.json();
    let of: Vec<_> = lines
        .iter()
        .map(|line| {
            (
                line["record"].as_u64().unwrap(),
                line["now"]["path"].as_str(),
            )
        })
        .collect();
    assert_eq!(of, [(0, None), (1, Some("[1].value")), (2, None)]);
    queues.assert_visible(0, 1).await;
}

#[tokio::test]
async fn what_is_not_several_records_remains_and_what_is_one_is_moved_unchanged() {
    let queues = Queues::new().await;
    let one = "[ {\"value\": 1} ]";
    for body in ["{\"value\": 1}", "no json", one] {
        queues.dead_letter(body, &[]).await;
    }
    let moved = split(&queues, &readings("", "integer"), "").await.exits(1);
    assert_contains(&moved.err, "move it without --split");
    assert_contains(&moved.out, ", as 1 message; 2 messages not moved");
    let arrived = queues.queue.take_all(1).await;
    assert_eq!(arrived[0].body(), Some(one));
    queues.dead.take_all(2).await;
}

#[tokio::test]
async fn a_mapping_with_other_rows_than_those_of_records_is_refused() {
    let queues = Queues::new().await;
    let other = "[[table]]\nname = \"raw\"\nkey = [\"id\"]\ncolumn = [{ name = \"id\", type = \"uuid\", from = \"@message_id\" }]\n";
    let mapping = readings("", "integer") + other;
    let refused = split(&queues, &mapping, "").await.exits(2);
    assert_contains(&refused.err, "every table without a parent");
}

/// A dead letter of 25 records, of which SQS refuses one, and then nothing of its group is sent.
#[tokio::test]
async fn a_dead_letter_remains_if_one_of_its_records_does_not_arrive() {
    let values: Vec<Value> = (0..25).map(|value| json!({"value": value})).collect();
    let redrive = |double: &SqsDouble, name: &str| {
        format!(
            "redrive --split --queue-name {name} --dead-letter-queue-url http://double/{name} --endpoint-url {}",
            double.endpoint
        )
    };
    let mapping = readings("", "integer");
    let tool = Tool::bare().on_aws().mapping(&mapping);
    for name in ["dead", "dead.fifo"] {
        let double = SqsDouble::of(vec![json!(values).to_string()]);
        double.fail_sends("[{\"value\":12}]", usize::MAX);
        let queue = name.replace("dead", "double");
        let command = redrive(&double, name).replacen(name, &queue, 1);
        let ended = tool.run(&command).await.exits(1);
        assert_contains(&ended.err, "was not moved: InternalError");
        assert_contains(&ended.out, "1 message not moved");
        let (waiting, held) = double.left();
        assert_eq!(waiting + held, 1);
        let arrived = double.state().arrived.clone();
        let expected: Vec<String> = (0..if queue == "double" { 20 } else { 12 })
            .filter(|value| *value != 12)
            .map(|value| format!("[{{\"value\":{value}}}]"))
            .collect();
        assert_eq!(arrived, expected, "{name}");
    }
}

/// SQS delivers them in the order in which they were sent.
#[tokio::test]
async fn records_of_a_fifo_queue_keep_their_group_and_order() {
    let queues = Queues::fifo().await;
    let send = queues
        .dead
        .client
        .send_message()
        .queue_url(&queues.dead.url);
    let body = json!(
        (0..12)
            .map(|value| json!({"value": value}))
            .collect::<Vec<_>>()
    );
    let send = send.message_body(body.to_string()).message_group_id("anna");
    send.message_deduplication_id("first").send().await.unwrap();
    let moved = split(&queues, &readings("", "integer"), "").await.exits(0);
    assert_ends(&moved.out, ", as 12 messages\n");
    let arrived = queues.queue.take_all(12).await;
    let bodies: Vec<&str> = arrived
        .iter()
        .map(|message| message.body().unwrap())
        .collect();
    let expected: Vec<String> = (0..12)
        .map(|value| format!("[{{\"value\":{value}}}]"))
        .collect();
    assert_eq!(bodies, expected);
    assert!(
        arrived
            .iter()
            .all(|message| attribute(message, "origin").is_some())
    );
}
