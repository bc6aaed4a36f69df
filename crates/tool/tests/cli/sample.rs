//! `sample`: messages of a queue become samples and remain in it.

use std::collections::BTreeSet;
use std::time::Duration;

use aws_sdk_sqs::types::{MessageSystemAttributeName, QueueAttributeName};
use serde_json::{Value, json};

use crate::redrive::Queues;
use crate::tool::{Ended, Tool};
use testkit::aws::{Queue, attribute, endpoint_address};
use testkit::proxy::Proxy;
use testkit::sqs_double::SqsDouble;
use testkit::{Mapping, TempFile, assert_contains, eventually};

/// Every message has this attribute.
const TENANT: &str = "acme";

async fn fill(queue: &Queue, bodies: &[Value]) {
    let lines: Vec<String> = bodies.iter().map(Value::to_string).collect();
    let tool = Tool::bare().on_aws().input(&lines.join("\n"));
    let send = format!("send --queue-url {} --attribute tenant={TENANT}", queue.url);
    tool.run(&send).await.exits(0);
}

fn orders(count: usize) -> Vec<Value> {
    let order = |id| json!({"order_id": id, "note": "to be delivered"});
    (0..count).map(order).collect()
}

/// Runs the tool with access to LocalStack.
async fn run(command: String) -> Ended {
    Tool::bare().on_aws().run(&command).await
}

async fn sample(queue: &Queue, options: &str) -> Ended {
    let sample = format!("sample --queue-url {} {options}", queue.url);
    Tool::bare().on_aws().run(&sample).await
}

#[tokio::test]
async fn sampled_messages_keep_their_attributes_and_remain_in_the_queue() {
    let (queue, other) = (Queue::new().await, Queue::new().await);
    fill(&queue, &orders(25)).await;
    let sampled = sample(&queue, "-n 20").await.exits(0);
    let ids: BTreeSet<String> = sampled
        .json()
        .iter()
        .map(|record| record["messageId"].to_string())
        .collect();
    assert_eq!(ids.len(), 20);
    assert_contains(&sampled.err, "sampled 20 messages in ");
    assert_contains(&sampled.err, "; all are visible again\n");
    assert_eq!(queue.counts().await, (25, 0));

    let file = TempFile::new(&sampled.out);
    let file = file.0.display();
    let mapping = Mapping::of("orders").key("order_id");
    let mapping = mapping
        .column("order_id", "integer")
        .with("required", true)
        .column("tenant", "text")
        .with("from", "@attribute.tenant")
        .column("id", "uuid")
        .with("from", "@message_id");
    let tool = Tool::bare().on_aws().mapping(&mapping);
    let explain = format!("explain --json --show-values {file}");
    let explained = tool.run(&explain).await.exits(0).json();
    let of = |column: usize| -> BTreeSet<String> {
        let cells = explained.iter().map(|row| &row["columns"][column]["value"]);
        cells.map(Value::to_string).collect()
    };
    assert_eq!(of(1), BTreeSet::from([format!("{TENANT:?}")]));
    assert_eq!(of(2), ids);

    let inferred = tool.run(&format!("infer {file}")).await.exits(0);
    assert_contains(&inferred.out, "\"@attribute.tenant\"");
    let send = format!("send --queue-url {} {file}", other.url);
    tool.run(&send).await.exits(0);
    for message in other.receive_all(20).await {
        assert_contains(message.body().unwrap(), "to be delivered");
        assert_eq!(attribute(&message, "tenant").as_deref(), Some(TENANT));
    }
}

#[tokio::test]
async fn a_mapping_is_inferred_and_explained_from_the_messages_of_a_queue() {
    let queue = Queue::new().await;
    fill(&queue, &orders(12)).await;
    let tool = Tool::bare().on_aws();
    let infer = format!("infer --queue-url {}", queue.url);
    let inferred = tool.run(&infer).await.exits(0);
    for column in ["\"order_id\"", "\"note\"", "\"@attribute.tenant\""] {
        assert_contains(&inferred.out, column);
    }
    let tool = tool.mapping(&inferred.out);
    let name = queue.url.rsplit('/').next().unwrap();
    let explain = format!("explain --summary --queue-name {name}");
    let explained = tool.run(&explain).await.exits(0);
    assert_contains(&explained.out, "12 messages: 12 rows");
    assert_eq!(queue.counts().await, (12, 0));
    let both = format!("explain --queue-name {name} orders.jsonl");
    let both = tool.run(&both).await.exits(2);
    assert_contains(&both.err, "cannot be used with");
}

#[tokio::test]
async fn a_sample_names_what_it_could_not_read() {
    let queue = Queue::new().await;
    fill(&queue, &orders(2)).await;
    assert!(!queue.receive(600).await.is_empty());
    let in_flight = queue.counts().await.1;
    let send = queue.client.send_message().queue_url(&queue.url);
    let send = send.message_body("{}").delay_seconds(900);
    send.send().await.unwrap();
    let sampled = sample(&queue, "").await.exits(0);
    let expected = format!(
        "not sampled: {in_flight} in flight, received by another consumer or backed off, 1 delayed"
    );
    assert_contains(&sampled.err, &expected);
}

#[tokio::test]
async fn a_sample_of_a_fifo_queue_says_how_many_messages_are_behind_others_of_their_group() {
    let queue = Queue::fifo().await;
    let lines: Vec<String> = (0..25)
        .map(|n| json!({"n": n, "group": "a"}).to_string())
        .collect();
    let tool = Tool::bare().on_aws().input(&lines.join("\n"));
    let send = format!("send --queue-url {} --group-id-from group", queue.url);
    tool.run(&send).await.exits(0);
    let sampled = sample(&queue, "").await.exits(0);
    let numbers = sampled.json().len();
    assert!((1..25).contains(&numbers), "{}", sampled.out);
    let behind = format!(
        "not sampled: {} blocked behind an earlier message",
        25 - numbers
    );
    assert_contains(&sampled.err, &behind);
    let again = sample(&queue, "").await.exits(0).json();
    let bodies =
        |of: &[Value]| -> Vec<Value> { of.iter().map(|one| one["body"].clone()).collect() };
    assert_eq!(bodies(&again), bodies(&sampled.json()));
}

#[tokio::test]
async fn messages_sampled_of_a_fifo_queue_keep_their_groups_when_they_are_sent() {
    let (queue, other) = (Queue::fifo().await, Queue::fifo().await);
    let lines: Vec<String> = (0..8)
        .map(|n| json!({"n": n, "group": format!("g{}", n % 4)}).to_string())
        .collect();
    let tool = Tool::bare().on_aws().input(&lines.join("\n"));
    let send = format!("send --queue-url {} --group-id-from group", queue.url);
    tool.run(&send).await.exits(0);
    let sampled = sample(&queue, "").await.exits(0);
    let count = sampled.json().len();
    let tool = Tool::bare().on_aws().input(&sampled.out);
    let send = format!("send --queue-url {}", other.url);
    tool.run(&send).await.exits(0);
    for message in other.take_all(count).await {
        let body: Value = serde_json::from_str(message.body().unwrap()).unwrap();
        let attributes = message.attributes().unwrap();
        assert_eq!(
            body["group"],
            *attributes[&MessageSystemAttributeName::MessageGroupId]
        );
    }
    // A standard queue has no use for a group.
    let standard = Queue::new().await;
    let send = format!("send --queue-url {}", standard.url);
    tool.run(&send).await.exits(0);
    assert_eq!(standard.receive_all(count).await.len(), count);
}

#[tokio::test]
async fn a_sample_says_what_a_receive_costs_a_message() {
    let queues = Queues::new().await;
    queues.queue.send("{}").await;
    let refused = sample(&queues.queue, "").await.exits(2);
    assert_contains(&refused.err, "maxReceiveCount 1");
    let policy =
        |most: u32| json!({"deadLetterTargetArn": queues.dead.arn, "maxReceiveCount": most});
    let name = QueueAttributeName::RedrivePolicy;
    queues.queue.set(name, &policy(2).to_string()).await;
    let first = sample(&queues.queue, "").await.exits(0);
    assert_contains(
        &first.err,
        "raises the receive count of each message by one",
    );
    assert_contains(&first.err, "after 2 receives");
    assert!(
        !first.err.contains("reached maxReceiveCount"),
        "{}",
        first.err
    );
    let second = sample(&queues.queue, "").await.exits(0);
    assert_contains(&second.err, "1 message reached maxReceiveCount");
}

/// A queue that is so large and slow that sampling it takes long.
fn slow_queue() -> SqsDouble {
    let message = |number: usize| {
        json!({
            "MessageId": format!("00000000-0000-4000-8000-{number:012}"), "ReceiptHandle": number.to_string(),
            "Body": "{}", "MD5OfBody": "", "Attributes": {"ApproximateReceiveCount": "1"},
        })
    };
    SqsDouble::holding((0..10_000).map(message), Duration::from_millis(50))
}

fn command(double: &SqsDouble) -> String {
    let endpoint = &double.endpoint;
    format!("sample -n 10000 --queue-name double --endpoint-url {endpoint}")
}

/// The messages that were received are visible again.
fn assert_visible_again(double: &SqsDouble, sampled: usize) {
    let state = double.state();
    let visible = state.backed_off.iter().filter(|(_, timeout)| *timeout == 0);
    let visible: BTreeSet<&str> = visible.map(|(handle, _)| handle.as_str()).collect();
    assert_eq!(visible.len(), sampled);
}

#[tokio::test]
async fn interrupted_or_unread_or_refused_a_sample_leaves_all_messages_visible() {
    let double = slow_queue();
    let mut running = Tool::bare().on_aws().start(&command(&double));
    running.line().await;
    running.signal("INT");
    let interrupted = running.end().await.exits(1);
    assert_contains(&interrupted.err, "; all are visible again; interrupted\n");
    // The first line was read before.
    assert_visible_again(&double, interrupted.json().len() + 1);

    let double = slow_queue();
    let running = Tool::bare().on_aws().start(&command(&double));
    running.end_unread().await.exits(0);
    let received = double.left().1;
    assert!(received > 0);
    assert_visible_again(&double, received);

    let double = slow_queue();
    double.state().receives_until_refused = Some(2);
    let refused = Tool::bare().on_aws().run(&command(&double)).await.exits(2);
    assert_contains(&refused.err, "AccessDenied");
    assert_eq!(refused.json().len(), 20);
    assert_visible_again(&double, 20);
}

#[tokio::test]
async fn a_request_that_is_not_answered_is_made_again() {
    let queue = Queue::new().await;
    fill(&queue, &orders(3)).await;
    let proxy = Proxy::before(endpoint_address()).await;
    proxy.freeze_next();
    let endpoint = format!("http://{}", proxy.address);
    let sampled = sample(&queue, &format!("--endpoint-url {endpoint}")).await;
    assert_eq!(sampled.exits(0).json().len(), 3);
}

#[tokio::test]
async fn what_the_aws_command_prints_is_read_as_messages_whole_or_message_by_message() {
    let message = |n: usize| {
        json!({
            "MessageId": format!("5e0d8f2a-0000-4000-8000-{n:012}"), "ReceiptHandle": "r", "MD5OfBody": "",
            "Body": json!({"n": n}).to_string(),
            "MessageAttributes": {"tenant": {"DataType": "String", "StringValue": TENANT}},
        })
    };
    let messages: Vec<Value> = (0..3).map(message).collect();
    let one_by_one: Vec<String> = messages.iter().map(Value::to_string).collect();
    let mapping = Mapping::by_message_id("t").column("n", "integer");
    let mapping = mapping
        .column("tenant", "text")
        .with("from", "@attribute.tenant");
    for printed in [
        json!({"Messages": messages}).to_string(),
        one_by_one.join("\n"),
        one_by_one[0].clone() + "\n",
    ] {
        let tool = Tool::bare().mapping(&mapping).input(&printed);
        let rows = tool.run("explain --json --show-values").await.exits(0);
        for (n, row) in rows.json().iter().enumerate() {
            let values = row["columns"].as_array().unwrap().iter();
            let values: Vec<_> = values.map(|column| column["value"].clone()).collect();
            let id = &messages[n]["MessageId"];
            assert_eq!(values, [id.clone(), json!(n.to_string()), json!(TENANT)]);
        }
    }
}

#[tokio::test]
async fn a_dead_letter_is_shown_with_its_reason_and_its_values_only_on_request() {
    let queues = Queues::new().await;
    let reason = json!({"rule": "required", "column": "total", "path": "amount.total"}).to_string();
    let body = json!({"customer": "Ada \u{1b}[2J Lovelace"}).to_string();
    let attributes = [("rejection", &*reason), ("tenant", TENANT)];
    queues.dead_letter(&body, &attributes).await;
    let hidden = run(queues.command("--show")).await.exits(0);
    for told in [
        "rejected by rule required, column \"total\", from \"amount.total\"\n",
        "  attributes: tenant\n",
        "  body: (hidden, ",
        "\n1 dead letter\n",
    ] {
        assert_contains(&hidden.out, told);
    }
    assert!(
        !hidden.out.contains("Lovelace") && !hidden.out.contains(TENANT),
        "{}",
        hidden.out
    );
    let shown = run(queues.command("--show --show-values")).await.exits(0);
    assert_contains(
        &shown.out,
        "  attribute tenant: acme\n  body: {\"customer\":\"Ada \\u",
    );
    assert!(!shown.out.contains('\u{1b}'));
    let json = run(queues.command("--show --show-values --json"))
        .await
        .exits(0);
    let json = json.json();
    assert_eq!(
        (&json[0]["rule"], &json[0]["body"]),
        (&json!("required"), &json!(body))
    );
    let other = run(queues.command("--show --rule type")).await.exits(0);
    assert_contains(&other.out, "1 skipped: broke another rule");
    eventually("it is visible again", async || {
        (queues.dead.counts().await == (1, 0)).then_some(())
    })
    .await;
}
