//! `send`: every line becomes one message, in order on a FIFO queue.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aws_sdk_sqs::types::{Message, MessageSystemAttributeName};
use serde_json::json;

use crate::tool::{Ended, Tool};
use testkit::aws::{Queue, attribute};
use testkit::port::Closed;
use testkit::sqs_double::SqsDouble;
use testkit::{Database, TempFile, assert_contains, assert_ends, assert_starts};

#[tokio::test]
async fn every_line_becomes_one_message() {
    let queue = Queue::new().await;
    let lines: Vec<String> = (0..95)
        .map(|number| json!({"n": number}).to_string())
        .collect();
    // Windows line ends and empty lines are not part of the messages.
    let file = TempFile::new(&format!(
        "{}\r\n\n  \n{}\n",
        lines[0],
        lines[1..].join("\n")
    ));
    let send = format!("send --json --queue-url {} {}", queue.url, file.0.display());
    let sent = Tool::bare().on_aws().run(&send).await.exits(0);
    let ids: BTreeSet<String> = sent
        .json()
        .iter()
        .map(|line| line["message_id"].as_str().unwrap().to_owned())
        .collect();
    let received = queue.receive_all(95).await;
    let received_ids: BTreeSet<String> = received
        .iter()
        .map(|message| message.message_id.clone().unwrap())
        .collect();
    let bodies: BTreeSet<&str> = received
        .iter()
        .map(|message| message.body().unwrap())
        .collect();
    assert_eq!(received_ids, ids);
    assert_eq!(bodies, lines.iter().map(String::as_str).collect());
}

#[tokio::test]
async fn paths_are_written_as_in_a_mapping() {
    let queue = Queue::fifo().await;
    let line = json!({"a.b": "anna", "about": {"x.y": {"tenant": "acme"}}, "lines": ["carl"]});
    let tool = Tool::bare().on_aws().input(&line.to_string());
    let options = [
        r#"--group-id-from "a.b" --attributes-from about."x.y""#,
        "--group-id-from lines.0",
    ];
    for options in options {
        let send = format!("send --queue-url {} {options}", queue.url);
        tool.run(&send).await.exits(0);
    }
    let received = queue.take_all(2).await;
    let groups: BTreeSet<&str> = received.iter().map(group).collect();
    assert_eq!(groups, BTreeSet::from(["anna", "carl"]));
    let of_anna = received.iter().find(|message| group(message) == "anna");
    let tenant = attribute(of_anna.unwrap(), "tenant");
    assert_eq!(tenant.as_deref(), Some("acme"));
    let send = format!("send --queue-url {} --group-id-from a..b", queue.url);
    let refused = tool.run(&send).await.exits(2);
    assert_contains(&refused.err, "has an empty step");
}

#[tokio::test]
async fn a_line_that_sqs_does_not_mention_is_not_counted_as_sent() {
    let double = SqsDouble::of(Vec::new());
    double.never_mention("2");
    let tool = Tool::bare().on_aws().input("1\n2\n3\n");
    let send = format!(
        "send --queue-name double --endpoint-url {}",
        double.endpoint
    );
    let sent = tool.run(&send).await.exits(1);
    let said = "line 2 was not sent: SQS's answer does not mention it";
    assert_starts(&sent.out, "sent 2 messages");
    assert_contains(&sent.err, said);
}

/// SQS would have the message twice, and no consumer could know.
#[tokio::test]
async fn a_request_to_send_that_is_answered_late_is_not_made_again() {
    let double = SqsDouble::holding(std::iter::empty(), Duration::from_secs(9));
    double.fail_sends("none of them", 0);
    let tool = Tool::bare().on_aws().input("1\n");
    let endpoint = &double.endpoint;
    let send = format!("send --queue-url {endpoint}/0/double --endpoint-url {endpoint}");
    tool.run(&send).await.exits(0);
    assert_eq!(double.state().arrived, ["1"]);
}

fn group(message: &Message) -> &str {
    &message.attributes.as_ref().unwrap()[&MessageSystemAttributeName::MessageGroupId]
}

#[tokio::test]
async fn groups_of_a_fifo_queue_keep_their_order() {
    let queue = Queue::fifo().await;
    let line = |number: usize| json!({"user": {"id": number % 3}, "n": number}).to_string();
    let lines: Vec<String> = (0..60).map(line).collect();
    let tool = Tool::bare().on_aws().input(&lines.join("\n"));
    let without = tool
        .run(&format!("send --queue-url {}", queue.url))
        .await
        .exits(2);
    assert_contains(&without.err, "--group-id-from");
    let send = format!("send --queue-url {} --group-id-from user.id", queue.url);
    assert_eq!(tool.run(&send).await.code, 0);
    let mut groups: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for message in queue.take_all(60).await {
        let body: serde_json::Value = serde_json::from_str(message.body().unwrap()).unwrap();
        let group = groups
            .entry(body["user"]["id"].as_u64().unwrap())
            .or_default();
        group.push(body["n"].as_u64().unwrap());
    }
    assert_eq!(groups.len(), 3);
    assert!(
        groups
            .values()
            .all(|group| group.len() == 20 && group.is_sorted()),
        "{groups:?}"
    );
}

/// Sends these lines to a FIFO queue.
async fn send_in_groups(double: &SqsDouble, lines: &[String]) -> Ended {
    let send = format!(
        "send --json --queue-name double.fifo --group-id-from g --endpoint-url {}",
        double.endpoint
    );
    let tool = Tool::bare().on_aws().input(&lines.join("\n"));
    tool.run(&send).await
}

#[tokio::test]
async fn a_message_that_fails_for_a_while_is_not_overtaken_by_its_fifo_group() {
    let double = SqsDouble::with(0, &json!({}));
    let line = |number: usize| json!({"g": "anna", "n": number}).to_string();
    let lines: Vec<String> = (0..10).map(line).collect();
    double.fail_sends(&lines[3], 2);
    send_in_groups(&double, &lines).await.exits(0);
    assert_eq!(double.state().arrived, lines);
}

#[tokio::test]
async fn a_message_that_fails_holds_back_its_fifo_group_and_no_other() {
    let double = SqsDouble::with(0, &json!({}));
    let line = |number: usize| json!({"g": number % 2, "n": number}).to_string();
    let lines: Vec<String> = (0..30).map(line).collect();
    double.fail_sends(&lines[4], usize::MAX);
    let sent = send_in_groups(&double, &lines).await.exits(1);
    let is_sent = |number: &usize| number % 2 == 1 || *number < 4;
    let expected: Vec<String> = (0..30).filter(is_sent).map(line).collect();
    assert_eq!(double.state().arrived, expected);
    let unsent = sent
        .json()
        .into_iter()
        .filter(|line| !line["error"].is_null());
    let unsent: BTreeMap<u64, String> = unsent
        .map(|line| (line["line"].as_u64().unwrap(), line["error"].to_string()))
        .collect();
    let expected: Vec<u64> = (0..30)
        .filter(|n| !is_sent(n))
        .map(|n| n as u64 + 1)
        .collect();
    assert_eq!(unsent.keys().copied().collect::<Vec<_>>(), expected);
    assert_eq!(unsent[&5], "\"InternalError\"");
    assert!(unsent[&7].contains("an earlier message of its group"));
    assert_contains(&sent.err, "; 13 lines not sent");
}

#[tokio::test]
async fn a_pipe_given_as_the_file_is_read_once() {
    let queue = Queue::new().await;
    let send = format!("send --queue-url {} /dev/stdin", queue.url);
    let sent = Tool::bare()
        .on_aws()
        .input("a\nb\n")
        .run(&send)
        .await
        .exits(0);
    assert_starts(&sent.out, "sent 2 messages");
}

#[tokio::test]
async fn on_a_fifo_queue_nothing_is_sent_after_a_line_without_a_group() {
    let queue = Queue::fifo().await;
    let lines: Vec<String> = (0..40)
        .map(|number| json!({"g": "g", "n": number}).to_string())
        .collect();
    let input = format!(
        "{}\nno json c4n4ry\n{}",
        lines[..15].join("\n"),
        lines[15..].join("\n")
    );
    let send = format!("send --queue-url {} --group-id-from g", queue.url);
    let sent = Tool::bare()
        .on_aws()
        .input(&input)
        .run(&send)
        .await
        .exits(1);
    assert_contains(&sent.err, "line 16 was not sent: it is not JSON");
    assert_starts(&sent.out, "sent 15 messages");
    assert_ends(
        &sent.out,
        "1 line not sent; the remaining lines were not sent\n",
    );
    assert!(!sent.err.contains("c4n4ry"), "{}", sent.err);
    queue.take_all(15).await;
    assert!(queue.receive(1).await.is_empty());
}

#[tokio::test]
async fn a_line_that_cannot_be_sent_does_not_affect_others() {
    let queue = Queue::new().await;
    let large = "x".repeat(1_048_577);
    let half = "y".repeat(600_000);
    let input = format!("a\n{large}\n{half}\n{half}\nb\n");
    let sent = Tool::bare()
        .on_aws()
        .input(&input)
        .run(&format!("send --queue-url {}", queue.url))
        .await;
    assert_eq!(
        (sent.code, sent.err.as_str()),
        (1, "line 2 was not sent: it is larger than 1 MiB\n")
    );
    assert_starts(&sent.out, "sent 4 messages");
    assert_ends(&sent.out, "1 line not sent\n");
    queue.receive_all(4).await;
}

#[tokio::test]
async fn a_line_that_is_not_utf8_does_not_affect_others() {
    let queue = Queue::new().await;
    let sent = Tool::bare()
        .on_aws()
        .input(b"a\nc4n4ry \xff\nb\n\xfe\nc\n")
        .run(&format!("send --queue-url {}", queue.url))
        .await
        .exits(1);
    let said = |one, other| {
        let reason = "it is not UTF-8: convert it with iconv";
        format!("line {one} was not sent: {reason}\n1 more line not sent ({other}): {reason}\n")
    };
    // Requests are concurrent.
    let either = [said(2, 4), said(4, 2)];
    assert!(either.contains(&sent.err), "{}", sent.err);
    assert_starts(&sent.out, "sent 3 messages");
    assert_ends(&sent.out, "; 2 lines not sent\n");
    queue.receive_all(3).await;
}

#[tokio::test]
async fn lines_that_are_not_sent_for_one_reason_are_listed_together() {
    let queue = Queue::new().await;
    let send = format!("send --queue-url {} --group-id-from user.i", queue.url);
    let lines = |json: &str| format!("{json}\n").repeat(30);
    let input = format!("{}no JSON\n", lines(r#"{"user": {"id": "a"}}"#));
    let sent = Tool::bare()
        .on_aws()
        .input(&input)
        .run(&send)
        .await
        .exits(1);
    let said: Vec<&str> = sent.err.lines().collect();
    let of_path = "it has no text or number at the path given by --group-id-from";
    assert_eq!(said.len(), 3, "{}", sent.err);
    assert!(said.contains(&"line 31 was not sent: it is not JSON, so it has no group"));
    assert!(said[2].starts_with("29 more lines not sent (") && said[2].ends_with(of_path));
    assert!(sent.out.ends_with("; 31 lines not sent\n"), "{}", sent.out);
}

#[tokio::test]
async fn a_read_error_ends_the_command_and_says_that_the_rest_was_not_tried() {
    let double = SqsDouble::with(0, &json!({}));
    // A folder can be opened, but not read.
    let send = format!(
        "send --queue-name double --endpoint-url {} {}",
        double.endpoint,
        testkit::ROOT
    );
    let sent = Tool::bare().on_aws().run(&send).await.exits(2);
    assert_starts(&sent.err, "error: cannot read line 1");
    assert_ends(&sent.out, "; the remaining lines were not sent\n");
}

#[tokio::test]
async fn a_name_where_a_url_belongs_is_refused_before_anything_is_sent() {
    let tool = Tool::bare().on_aws().input("a\n");
    let said = "\"orders\" is not a queue URL";
    for command in [
        "send --queue-url orders",
        "redrive --queue-name q --dead-letter-queue-url orders",
        "drain --queue-name q --dead-letter-queue-url orders",
    ] {
        let ended = tool.run(command).await;
        assert!(
            ended.code == 2 && ended.err.contains(said),
            "{command}: {}",
            ended.err
        );
    }
    let of_variable = tool.set("QUEUE_URL", "orders").run("send").await.exits(2);
    assert_contains(&of_variable.err, &format!("QUEUE_URL: {said}"));
}

#[tokio::test]
async fn without_credentials_or_a_region_it_says_what_to_set() {
    let queue = "send --queue-url https://sqs.eu-west-1.amazonaws.com/0/q";
    let tool = || Tool::bare().set("HOME", "/nonexistent").input("a\n");
    let key = |tool: Tool| {
        tool.set("AWS_ACCESS_KEY_ID", "a")
            .set("AWS_SECRET_ACCESS_KEY", "b")
    };
    let cases = [
        (
            tool().set("AWS_REGION", "eu-west-1"),
            "no AWS credentials can be loaded: set AWS_PROFILE",
        ),
        (key(tool()), "no AWS region is set: set AWS_REGION"),
    ];
    for (tool, said) in cases {
        let ended = tool.run(queue).await;
        assert!(ended.code == 2 && ended.err.contains(said), "{}", ended.err);
    }
}

#[tokio::test]
async fn a_missing_queue_and_an_unreachable_sqs_have_different_exit_codes() {
    let tool = Tool::bare().on_aws().input("a\n");
    let unnamed = tool.run("send").await.exits(2);
    assert_contains(&unnamed.err, "no queue given");
    let nowhere = tool.run("send --queue-name nowhere").await.exits(2);
    assert_contains(
        &nowhere.err,
        "queue \"nowhere\" does not exist: check its name",
    );
    let closed = Closed::new();
    let away = format!(
        "send --queue-name q --endpoint-url http://{}",
        closed.address()
    );
    assert_eq!(tool.run(&away).await.code, 3);
}

#[tokio::test]
async fn the_rate_is_kept() {
    let queue = Queue::new().await;
    let lines = "a\n".repeat(60);
    let began = std::time::Instant::now();
    let sent = Tool::bare()
        .on_aws()
        .input(&lines)
        .run(&format!("send --rate 100 --queue-url {}", queue.url))
        .await;
    // The last ten are sent half a second after the first.
    assert!(
        sent.code == 0 && began.elapsed().as_millis() >= 500,
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn ctrl_c_and_sigterm_finish_the_current_requests() {
    for signal in ["INT", "TERM"] {
        let queue = Queue::new().await;
        let lines: Vec<String> = (0..500).map(|number| number.to_string()).collect();
        let send = format!("send --json --rate 50 --queue-url {}", queue.url);
        let mut running = Tool::bare().on_aws().input(&lines.join("\n")).start(&send);
        running.line().await;
        running.signal(signal);
        let ended = running.end().await.exits(1);
        assert_contains(&ended.err, "interrupted");
        // It sent the messages that it reported, and no others.
        let said = ended.json().len() + 1;
        assert!(said < 500);
        queue.receive_all(said).await;
        assert!(queue.receive(1).await.is_empty());
    }
}

#[tokio::test]
async fn messages_that_arrived_before_an_error_are_listed() {
    let double = SqsDouble::with(0, &json!({}));
    let send = format!(
        "send --json --queue-name double --endpoint-url {}",
        double.endpoint
    );
    let tool = Tool::bare().on_aws().input(&"a\n".repeat(10));
    let sent = tool.run(&send).await.exits(2);
    assert_contains(&sent.err, "sent 5 messages");
    assert_contains(&sent.err, "AccessDenied");
    let lines: Vec<_> = sent
        .json()
        .iter()
        .map(|line| line["line"].clone())
        .collect();
    assert_eq!(lines, [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn a_closed_stdout_is_reported_as_incomplete() {
    let queue = Queue::new().await;
    let send = format!("send --json --rate 50 --queue-url {}", queue.url);
    let input = "a\n".repeat(500);
    let mut running = Tool::bare().on_aws().input(&input).start(&send);
    running.line().await;
    let ended = running.end_unread().await.exits(1);
    let said = ended.err.split_whitespace().nth(1).unwrap();
    queue.receive_all(said.parse().expect(&ended.err)).await;
    assert!(queue.receive(1).await.is_empty());
}

/// The row that `drain` makes of what `send` sent with these options.
async fn row_of(options: &str, mapping: &str, envelope: &str) -> Vec<Vec<String>> {
    let (queue, database) = (Queue::new().await, Database::new().await);
    database
        .execute("CREATE TABLE t (tenant text, priority text, name text PRIMARY KEY, topic text)")
        .await;
    let mapping = format!(
        "table = \"t\"\nkey = [\"name\"]\nenvelope = \"{envelope}\"\n\
         [[column]]\nname = \"name\"\ntype = \"text\"\nrequired = true\n\
         [[column]]\nname = \"tenant\"\ntype = \"text\"\nfrom = \"@attribute.tenant\"\n\
         [[column]]\nname = \"priority\"\ntype = \"text\"\nfrom = \"@attribute.priority\"\n{mapping}"
    );
    let tool = Tool::on(&database).on_aws().mapping(&mapping);
    let tool = tool.input("{\"name\": \"a\", \"about\": {\"priority\": 7, \"none\": null}}\n");
    tool.run(&format!("send --queue-url {} {options}", queue.url))
        .await
        .exits(0);
    tool.run(&format!(
        "drain --wait-time-seconds 1 --queue-url {}",
        queue.url
    ))
    .await
    .exits(0);
    database
        .rows("SELECT name, tenant, coalesce(priority, '-'), coalesce(topic, '-') FROM t")
        .await
}

#[tokio::test]
async fn attributes_are_columns_of_the_mapping() {
    let rows = row_of("--attribute tenant=a=b --attributes-from about", "", "none").await;
    assert_eq!(rows, [["a", "a=b", "7", "-"]]);
}

#[tokio::test]
async fn messages_that_seem_to_come_through_sns_are_read_with_the_envelope() {
    let topic = "arn:aws:sns:eu-west-1:123456789012:users";
    let column = "[[column]]\nname = \"topic\"\ntype = \"text\"\nfrom = \"@sns.topic_arn\"\n";
    let options = format!("--sns {topic} --attribute tenant=acme --attributes-from about");
    assert_eq!(
        row_of(&options, column, "sns").await,
        [["a", "acme", "7", topic]]
    );
}

#[tokio::test]
async fn an_attribute_that_cannot_be_sent_is_refused() {
    let flag = Tool::bare()
        .run("send --queue-url https://q --attribute tenant")
        .await
        .exits(2);
    assert_contains(&flag.err, "write name=value");
    let queue = Queue::new().await;
    let tool = Tool::bare()
        .on_aws()
        .input("{\"a\": {\"b\": []}}\n{\"a\": 1}\n");
    let sent = tool
        .run(&format!(
            "send --attributes-from a --queue-url {}",
            queue.url
        ))
        .await
        .exits(1);
    assert_contains(
        &sent.err,
        "line 1 was not sent: an attribute at --attributes-from is not a text",
    );
    assert_contains(
        &sent.err,
        "line 2 was not sent: it has no object at the path",
    );
}
