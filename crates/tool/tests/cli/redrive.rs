//! `redrive`: dead letters return to their queue, each with its original id, and none is lost.

use std::collections::BTreeSet;

use aws_sdk_sqs::types::{
    Message, MessageAttributeValue, MessageSystemAttributeName, QueueAttributeName,
};
use mapping::internals::Origin;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::several_tables::reference;
use crate::tool::{Ended, Tool};
use testkit::aws::{Queue, Secret, attribute};
use testkit::batch::login_with;
use testkit::port::Closed;
use testkit::sqs_double::SqsDouble;
use testkit::{
    Database, Function, MASK_KEY, Mapping, PATIENCE, Setup, TempFile, assert_contains, assert_ends,
    assert_starts, eventually, signed_origin,
};

/// Another key than the usual one.
const NEXT_KEY: &str =
    "QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFlaW1xdXl9gYWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXp7fH1+fw==";

/// A queue and its dead-letter queue.
pub(crate) struct Queues {
    pub(crate) queue: Queue,
    pub(crate) dead: Queue,
}

impl Queues {
    pub(crate) async fn new() -> Self {
        Self::of(Queue::new().await, Queue::new().await).await
    }

    pub(crate) async fn fifo() -> Self {
        Self::of(Queue::fifo().await, Queue::fifo().await).await
    }

    async fn of(queue: Queue, dead: Queue) -> Self {
        let policy = json!({"deadLetterTargetArn": dead.arn, "maxReceiveCount": 1});
        let name = QueueAttributeName::RedrivePolicy;
        queue.set(name, &policy.to_string()).await;
        Self { queue, dead }
    }

    /// Sends a dead letter with these attributes, as the function does.
    pub(crate) async fn dead_letter(&self, body: &str, attributes: &[(&str, &str)]) -> String {
        let send = self.dead.client.send_message().queue_url(&self.dead.url);
        let send = attributes.iter().fold(send, |send, (name, value)| {
            let value = MessageAttributeValue::builder()
                .data_type("String")
                .string_value(*value);
            send.message_attributes(*name, value.build().unwrap())
        });
        send.message_body(body)
            .send()
            .await
            .unwrap()
            .message_id
            .unwrap()
    }

    async fn dead_letters_of(&self, rule: &str, count: usize) {
        let reason = json!({"rule": rule}).to_string();
        for number in 0..count {
            self.dead_letter(&number.to_string(), &[("rejection", &reason)])
                .await;
        }
    }

    /// Sends logins to the dead-letter queue, which can be stored by now; returns their ids.
    async fn logins(&self, count: usize) -> BTreeSet<String> {
        let line = login_with("locale", json!("FR")).to_string();
        let file = TempFile::new(&format!("{line}\n").repeat(count));
        let send = format!(
            "send --json --queue-url {} {}",
            self.dead.url,
            file.0.display()
        );
        let sent = Tool::bare().on_aws().run(&send).await.json();
        let ids = sent
            .iter()
            .map(|line| line["message_id"].as_str().unwrap().to_owned());
        ids.collect()
    }

    /// Receives the messages of the queue until SQS has moved this many: the policy allows one receive.
    async fn wait_until_dead(&self, count: usize) {
        eventually("SQS moves them", async || {
            self.queue.receive(0).await;
            let (dead, _) = self.dead.counts().await;
            (dead == count).then_some(())
        })
        .await;
    }

    pub(crate) fn command(&self, arguments: &str) -> String {
        format!("redrive --queue-url {} {arguments}", self.queue.url)
    }

    async fn redrive(&self, arguments: &str) -> Ended {
        signing().run(&self.command(arguments)).await
    }

    /// Both queues have this many messages, all of them visible.
    pub(crate) async fn assert_visible(&self, in_queue: usize, dead: usize) {
        let invisible = [self.queue.counts().await.1, self.dead.counts().await.1];
        assert_eq!(invisible, [0, 0]);
        let in_queue_now = self.queue.take_all(in_queue).await;
        assert!(
            in_queue_now
                .iter()
                .all(|message| attribute(message, "origin").is_some())
        );
        self.dead.take_all(dead).await;
        assert!(self.queue.receive(1).await.is_empty() && self.dead.receive(1).await.is_empty());
    }
}

/// The tool with the function's mask key.
pub(crate) fn signing() -> Tool {
    Tool::bare().on_aws().set("MASK_KEY", MASK_KEY)
}

/// Passes the messages of the queue to the function, and deletes them.
pub(crate) async fn drain(queue: &Queue, function: &mut Function) {
    loop {
        let messages = queue.receive(30).await;
        if messages.is_empty() {
            return;
        }
        let records: Vec<_> = messages
            .iter()
            .map(|message| queue.record(message))
            .collect();
        let answer = function.invoke(&json!({"Records": records})).await;
        answer.assert_none_failed();
        for message in &messages {
            delete(queue, message).await;
        }
    }
}

async fn delete(queue: &Queue, message: &Message) {
    let delete = queue.client.delete_message().queue_url(&queue.url);
    let delete = delete.receipt_handle(message.receipt_handle.as_deref().unwrap());
    delete.send().await.unwrap();
}

/// The original ids of the stored messages.
async fn stored(database: &Database) -> Vec<String> {
    let sql = "SELECT message_id::text FROM user_logins ORDER BY message_id";
    database.rows(sql).await.into_iter().flatten().collect()
}

/// A table with a constraint that the test's message violates.
async fn strict() -> Database {
    let database = Database::with_user_logins().await;
    database
        .execute("ALTER TABLE user_logins ADD CONSTRAINT known CHECK (user_id <> 'refused')")
        .await;
    database
}

async fn refused(queues: &Queues, function: &mut Function) -> (Message, Vec<String>) {
    let body = login_with("user_id", json!("refused")).to_string();
    refused_of(queues, function, &body).await
}

/// Sends a message that a table refuses, and gives it to the function.
async fn refused_of(
    queues: &Queues,
    function: &mut Function,
    body: &str,
) -> (Message, Vec<String>) {
    queues.queue.send(body).await;
    given(queues, function).await
}

/// Gives the message of the queue to the function, for the third time as SQS says.
async fn given(queues: &Queues, function: &mut Function) -> (Message, Vec<String>) {
    let message = queues.queue.receive_all(1).await.remove(0);
    let mut record = queues.queue.record(&message);
    record["attributes"]["ApproximateReceiveCount"] = json!("3");
    let failed = function.invoke(&json!({"Records": [record]})).await;
    (message, failed.failed_ids())
}

/// A mapping without masks, which needs no key.
fn unmasked() -> Mapping {
    let mapping = Mapping::of("user_logins").key("message_id");
    let mapping = mapping
        .column("message_id", "uuid")
        .with("from", "@message_id");
    let mapping = mapping.column("user_id", "varchar(128)");
    let mapping = mapping
        .column("masked_ip", "varchar(256)")
        .with("from", "ip");
    let mapping = mapping
        .column("masked_device_id", "varchar(256)")
        .with("from", "device_id");
    mapping
        .column("create_date", "date")
        .with("from", "@sent_at")
}

#[tokio::test]
async fn a_message_that_the_function_dead_lettered_is_stored_once_under_its_original_id() {
    // Without a key on either side, with the same on both, and where only the function has it.
    for (function_key, tool_key) in [("", ""), (MASK_KEY, MASK_KEY), (MASK_KEY, "")] {
        let (database, queues) = (strict().await, Queues::new().await);
        let setup = Setup::on(&database).on_aws().mapping(&unmasked());
        let setup = setup.set("MASK_KEY", function_key);
        let mut function = setup
            .set("DEAD_LETTER_QUEUE_URL", &queues.dead.url)
            .start()
            .await;
        let (first, failed) = refused(&queues, &mut function).await;
        assert!(failed.is_empty(), "it is dead and acknowledged");
        delete(&queues.queue, &first).await;
        database
            .execute("ALTER TABLE user_logins DROP CONSTRAINT known")
            .await;
        // Twice: the second time there is nothing left to move.
        for expected in ["moved 1 message in", "no dead letters"] {
            let tool = Tool::bare().on_aws().set("MASK_KEY", tool_key);
            let redriven = tool.run(&queues.command("")).await.exits(0);
            assert_starts(&redriven.out, expected);
            assert_eq!(redriven.err, "");
        }
        let back = queues.queue.receive(0).await.remove(0);
        assert!(attribute(&back, "rejection").is_none());
        assert_ne!(back.message_id, first.message_id);
        let origin = Origin::parse(&attribute(&back, "origin").unwrap()).unwrap();
        let sent_at = system(&first, MessageSystemAttributeName::SentTimestamp);
        assert_eq!(origin.sent_at, sent_at.parse().ok());
        assert_eq!(origin.is_signed(), !function_key.is_empty());
        queues
            .queue
            .set(QueueAttributeName::RedrivePolicy, "")
            .await;
        drain(&queues.queue, &mut function).await;
        assert_eq!(stored(&database).await, [first.message_id.unwrap()]);
    }
}

#[tokio::test]
async fn a_message_that_fails_again_after_redrive_keeps_its_first_id() {
    let (database, queues) = (strict().await, Queues::new().await);
    let setup = Setup::on(&database).on_aws().mapping(&unmasked());
    let setup = setup.set("DEAD_LETTER_QUEUE_URL", &queues.dead.url);
    let mut function = setup.start().await;
    let (first, _) = refused(&queues, &mut function).await;
    delete(&queues.queue, &first).await;
    let first_id = first.message_id.clone().unwrap();
    for _ in 0..2 {
        assert_eq!(queues.redrive("").await.code, 0);
        let (again, failed) = given(&queues, &mut function).await;
        assert!(failed.is_empty(), "it is dead and acknowledged");
        assert_ne!(again.message_id.as_deref(), Some(first_id.as_str()));
        delete(&queues.queue, &again).await;
        let dead = queues.dead.receive(0).await.remove(0);
        let origin = Origin::parse(&attribute(&dead, "origin").unwrap()).unwrap();
        let sent_at = system(&first, MessageSystemAttributeName::SentTimestamp);
        assert_eq!(
            (&origin.id, origin.sent_at),
            (&first_id, sent_at.parse().ok())
        );
    }
    database
        .execute("ALTER TABLE user_logins DROP CONSTRAINT known")
        .await;
    assert_eq!(queues.redrive("").await.code, 0);
    let policy = QueueAttributeName::RedrivePolicy;
    queues.queue.set(policy, "").await;
    drain(&queues.queue, &mut function).await;
    assert_eq!(stored(&database).await, [first_id]);
}

/// The function ignores what the old key has signed.
#[tokio::test]
async fn a_dead_letter_from_before_the_mask_key_was_changed_is_stored_under_its_first_id() {
    let (database, queues) = (strict().await, Queues::new().await);
    let with_keys = |current: &str| {
        let keys = json!({"mask_keys": {"": MASK_KEY, "2026": NEXT_KEY}, "current": current});
        keys.to_string()
    };
    let secret = Secret::new(&with_keys("")).await;
    let setup = Setup::on(&database).on_aws().mapping(&unmasked());
    let setup = setup.without("MASK_KEY").set("MASK_SECRET_ID", &secret.id);
    let setup = setup.set("SECRET_TTL_SECS", "0");
    let setup = setup.set("DEAD_LETTER_QUEUE_URL", &queues.dead.url);
    let mut function = setup.start().await;
    let (first, _) = refused(&queues, &mut function).await;
    delete(&queues.queue, &first).await;
    secret.put(&with_keys("2026")).await;
    database
        .execute("ALTER TABLE user_logins DROP CONSTRAINT known")
        .await;
    let tool = Tool::bare().on_aws().set("MASK_SECRET_ID", &secret.id);
    let redriven = tool.run(&queues.command("")).await;
    assert_eq!((redriven.code, redriven.err.as_str()), (0, ""));
    let policy = QueueAttributeName::RedrivePolicy;
    queues.queue.set(policy, "").await;
    drain(&queues.queue, &mut function).await;
    assert_eq!(stored(&database).await, [first.message_id.unwrap()]);
}

/// The function compares the queue that an origin names with the one that it comes from.
#[tokio::test]
async fn a_dead_letter_that_is_moved_to_another_queue_keeps_its_first_id() {
    let (database, queues) = (strict().await, Queues::new().await);
    let setup = Setup::on(&database).on_aws().mapping(&unmasked());
    let setup = setup.set("DEAD_LETTER_QUEUE_URL", &queues.dead.url);
    let mut function = setup.start().await;
    let (first, _) = refused(&queues, &mut function).await;
    database
        .execute("ALTER TABLE user_logins DROP CONSTRAINT known")
        .await;
    let other = Queue::new().await;
    let redrive = format!(
        "redrive --any-source --queue-url {} --dead-letter-queue-url {}",
        other.url, queues.dead.url
    );
    let redriven = signing().run(&redrive).await;
    assert_eq!((redriven.code, redriven.err.as_str()), (0, ""));
    drain(&other, &mut function).await;
    assert_eq!(stored(&database).await, [first.message_id.unwrap()]);
}

fn system(message: &Message, name: MessageSystemAttributeName) -> &str {
    &message.attributes.as_ref().unwrap()[&name]
}

/// One of its lines is refused, at first: so nothing of it is stored, and after `redrive` everything, once.
#[tokio::test]
async fn an_order_that_was_dead_lettered_is_stored_whole_after_redrive() {
    let database = Database::with_tables_of(reference()).await;
    let queues = Queues::new().await;
    database
        .execute("ALTER TABLE order_lines ADD CONSTRAINT known CHECK (sku <> 'B-2')")
        .await;
    let setup = Setup::on(&database).on_aws().mapping(reference());
    let setup = setup.set("DEAD_LETTER_QUEUE_URL", &queues.dead.url);
    let mut function = setup.start().await;
    let order = json!({"type": "order", "order_id": 7, "version": 2, "lines": [{"sku": "A-1"}, {"sku": "B-2"}]});
    let (first, failed) = refused_of(&queues, &mut function, &order.to_string()).await;
    assert!(failed.is_empty(), "it is dead and acknowledged");
    delete(&queues.queue, &first).await;
    assert_eq!(database.count("orders").await, 0);
    database
        .execute("ALTER TABLE order_lines DROP CONSTRAINT known")
        .await;
    assert_eq!(queues.redrive("").await.code, 0);
    let policy = QueueAttributeName::RedrivePolicy;
    queues.queue.set(policy, "").await;
    drain(&queues.queue, &mut function).await;
    let lines = "SELECT line::text, sku, version::text FROM orders JOIN order_lines USING (order_id) ORDER BY 1";
    assert_eq!(
        database.rows(lines).await,
        [["0", "A-1", "2"], ["1", "B-2", "2"]]
    );
}

/// The attribute that says how it is packed goes with it.
#[tokio::test]
async fn a_packed_message_is_still_unpacked_as_a_dead_letter_and_after_redrive() {
    let mapping = "table = \"events\"\nkey = [\"id\"]\nencoding = \"@attribute.content-encoding\"\ncolumn = [\n\
        { name = \"id\", type = \"bigint\", required = true },\n{ name = \"name\", type = \"text\" }]";
    let database = Database::with_tables_of(mapping).await;
    let constraint = "ALTER TABLE events ADD CONSTRAINT known CHECK (name <> 'ada')";
    database.execute(constraint).await;
    let queues = Queues::new().await;
    let setup = Setup::on(&database).on_aws().mapping(mapping);
    let setup = setup.set("DEAD_LETTER_QUEUE_URL", &queues.dead.url);
    let mut function = setup.start().await;
    // {"id": 7, "name": "ada"}
    let body = "eyJpZCI6IDcsICJuYW1lIjogImFkYSJ9";
    let base64 = MessageAttributeValue::builder().data_type("String");
    let base64 = base64.string_value("base64").build().unwrap();
    let send = queues
        .queue
        .client
        .send_message()
        .queue_url(&queues.queue.url);
    let send = send.message_attributes("content-encoding", base64);
    send.message_body(body).send().await.unwrap();
    let (first, failed) = given(&queues, &mut function).await;
    assert!(failed.is_empty(), "it is dead and acknowledged");
    delete(&queues.queue, &first).await;

    let tool = signing()
        .mapping(mapping)
        .set("DATABASE_URL", &database.url());
    let urls = format!(
        "--queue-url {} --dead-letter-queue-url {}",
        queues.queue.url, queues.dead.url
    );
    for (person, found) in [("bob", 0), ("ada", 1)] {
        let receipt = tool
            .run(&format!("forget --column name --json {urls} {person}"))
            .await;
        assert_eq!(
            receipt.json()[0]["dead_letters"]["found"],
            found,
            "{person}"
        );
    }
    let explained = tool.run(&queues.command("--explain")).await.exits(0);
    assert_contains(&explained.out, "a row\nwould move 1 dead letter");

    database
        .execute("ALTER TABLE events DROP CONSTRAINT known")
        .await;
    let redriven = tool.run(&queues.command("")).await.exits(0);
    assert_starts(&redriven.out, "moved 1 message in");
    let policy = QueueAttributeName::RedrivePolicy;
    queues.queue.set(policy, "").await;
    drain(&queues.queue, &mut function).await;
    let stored = "SELECT id::text, name FROM events";
    assert_eq!(database.rows(stored).await, [["7", "ada"]]);
}

#[tokio::test]
async fn a_message_that_sqs_moved_is_stored_once_under_its_original_id() {
    let (database, queues) = (strict().await, Queues::new().await);
    let mut function = Setup::on(&database).start().await;
    let (first, failed) = refused(&queues, &mut function).await;
    let id = first.message_id.clone().unwrap();
    assert_eq!(failed, std::slice::from_ref(&id));
    let again = queues
        .queue
        .client
        .change_message_visibility()
        .queue_url(&queues.queue.url);
    let again = again
        .receipt_handle(first.receipt_handle.unwrap())
        .visibility_timeout(0);
    again.send().await.unwrap();
    queues.wait_until_dead(1).await;
    database
        .execute("ALTER TABLE user_logins DROP CONSTRAINT known")
        .await;
    let redriven = queues.redrive("--json").await.exits(0);
    assert_eq!(redriven.json()[0]["message_id"], json!(id));
    drain(&queues.queue, &mut function).await;
    assert_eq!(stored(&database).await, [id]);
    assert!(queues.dead.receive(0).await.is_empty());
}

#[tokio::test]
async fn without_the_mask_key_unsigned_original_ids_are_reported() {
    let queues = Queues::new().await;
    queues.dead_letters_of("type", 2).await;
    for arguments in ["--dry-run", ""] {
        let tool = Tool::bare().on_aws();
        let redriven = tool.run(&queues.command(arguments)).await;
        let said = "the original ids of 2 messages are not signed";
        assert!(
            redriven.code == 0 && redriven.err.contains(said),
            "{}",
            redriven.err
        );
    }
    queues.assert_visible(2, 0).await;
}

#[tokio::test]
async fn only_messages_of_the_rule_are_moved_and_the_others_become_visible_at_once() {
    let queues = Queues::new().await;
    queues.dead_letters_of("required", 12).await;
    queues.dead_letters_of("type", 15).await;
    queues.dead_letter("moved by SQS", &[]).await;
    let redriven = queues.redrive("--rule type").await.exits(0);
    assert_starts(&redriven.out, "moved 15 messages");
    assert_ends(
        &redriven.out,
        "12 skipped: broke another rule; 1 skipped: no rule, because SQS itself moved them\n",
    );
    queues.assert_visible(15, 13).await;
}

#[tokio::test]
async fn a_dry_run_counts_by_reason_and_moves_nothing() {
    let queues = Queues::new().await;
    queues.dead_letters_of("type", 11).await;
    let reason = r#"{"rule": "required", "column": "masked_ip", "path": "ip"}"#;
    queues.dead_letter("{}", &[("rejection", reason)]).await;
    queues.dead_letter("moved by SQS", &[]).await;
    let dry = queues.redrive("--dry-run").await.exits(0);
    let words: Vec<String> = dry
        .out
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(words[..2], ["messages rule column path", "11 type - -"]);
    assert_eq!(
        words[2..4]
            .iter()
            .map(String::as_str)
            .collect::<BTreeSet<_>>(),
        BTreeSet::from(["1 (moved by SQS itself) - -", "1 required masked_ip ip"])
    );
    assert_eq!(words[4], "would move 13 dead letters");
    let json = queues
        .redrive("--dry-run --json --rule required")
        .await
        .json();
    assert!(
        json.len() == 1 && json[0]["column"] == "masked_ip",
        "{json:?}"
    );
    queues.assert_visible(0, 13).await;
}

#[tokio::test]
async fn a_rule_that_does_not_exist_is_refused_with_the_one_that_was_meant() {
    let refused = Tool::bare()
        .run("redrive --rule typ --dry-run")
        .await
        .exits(2);
    assert_contains(&refused.err, "possible values: body_missing,");
    assert_contains(&refused.err, "'type'");
}

#[tokio::test]
async fn an_explained_dead_letter_shows_its_result_and_is_not_moved() {
    let queues = Queues::new().await;
    let mapping = "table = \"t\"\nkey = [\"id\"]\n[[column]]\nname = \"id\"\ntype = \"uuid\"\nfrom = \"@message_id\"\n\
        [[column]]\nname = \"total\"\ntype = \"integer\"\n";
    let reason = r#"{"rule": "required", "column": "total", "path": "total"}"#;
    let now_null = queues.dead_letter("{}", &[("rejection", reason)]).await;
    queues.dead_letter("{\"total\": \"c4n4ry\"}", &[]).await;
    let redrive = |options: &str| {
        let (queue, dead) = (&queues.queue.url, &queues.dead.url);
        format!("redrive --queue-url {queue} --dead-letter-queue-url {dead} --explain {options}")
    };
    let tool = Tool::bare().on_aws().mapping(mapping);
    let explained = tool.run(&redrive("")).await.exits(1);
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let lines: BTreeSet<String> = explained.out.lines().map(words).collect();
    let expected = [
        "messages rule column path now",
        "1 required total total a row",
        "1 (moved by SQS itself) - - rejected: type (total)",
        "would move 2 dead letters; 1 would be rejected again",
    ];
    assert_eq!(lines, expected.map(str::to_owned).into());
    assert!(!explained.out.contains("c4n4ry"));
    let json = tool.run(&redrive("--json --rule required")).await;
    let [said] = &json.json()[..] else {
        panic!("{}", json.out)
    };
    assert_eq!(
        (json.code, &said["message_id"], &said["now"]["outcome"]),
        (0, &now_null.into(), &"row".into())
    );
    queues.assert_visible(0, 2).await;
}

#[tokio::test]
async fn at_most_the_requested_number_is_moved() {
    let queues = Queues::new().await;
    queues.dead_letters_of("type", 30).await;
    let redriven = queues.redrive("--max 17").await.exits(0);
    assert_starts(&redriven.out, "moved 17 messages");
    queues.assert_visible(17, 13).await;
}

#[tokio::test]
async fn messages_of_a_fifo_queue_keep_their_group_and_order() {
    let queues = Queues::fifo().await;
    for number in 0..12 {
        let send = queues
            .queue
            .client
            .send_message()
            .queue_url(&queues.queue.url);
        let send = send
            .message_group_id("anna")
            .message_deduplication_id(format!("d-{number}"));
        send.message_body(number.to_string()).send().await.unwrap();
    }
    queues.wait_until_dead(12).await;
    let redriven = queues.redrive("").await.exits(0);
    assert_starts(&redriven.out, "moved 12 messages");
    let reset = "SQS reset the time of 12 messages when it moved them";
    assert_contains(&redriven.err, reset);
    let back = queues.queue.take_all(12).await;
    let bodies: Vec<usize> = back
        .iter()
        .map(|message| message.body().unwrap().parse().unwrap())
        .collect();
    assert_eq!(bodies, (0..12).collect::<Vec<_>>());
    let group = |message: &Message| {
        message.attributes.as_ref().unwrap()[&MessageSystemAttributeName::MessageGroupId].clone()
    };
    assert!(back.iter().all(|message| group(message) == "anna"));
}

#[tokio::test]
async fn a_killed_redrive_loses_no_message_and_none_is_stored_twice() {
    let (database, queues) = (Database::with_user_logins().await, Queues::new().await);
    let ids = queues.logins(300).await;
    assert_eq!(ids.len(), 300);
    for _ in 0..2 {
        let mut running = signing().start(&queues.command("--json"));
        running.line().await;
        running.signal("KILL");
        running.end_or_killed().await;
    }
    eventually("no dead letter is left", async || {
        assert_eq!(queues.redrive("").await.code, 0);
        (queues.dead.counts().await == (0, 0)).then_some(())
    })
    .await;
    let mut function = Setup::on(&database).start().await;
    drain(&queues.queue, &mut function).await;
    assert_eq!(stored(&database).await, ids.into_iter().collect::<Vec<_>>());
}

#[tokio::test]
async fn ctrl_c_and_sigterm_leave_no_message_invisible() {
    for signal in ["INT", "TERM"] {
        let queues = Queues::new().await;
        queues.dead_letters_of("type", 60).await;
        queues.dead_letters_of("required", 20).await;
        let mut running = Tool::bare()
            .on_aws()
            .start(&queues.command("--json --rate 20 --rule type"));
        running.line().await;
        running.signal(signal);
        let ended = running.end().await.exits(1);
        assert_contains(&ended.err, "interrupted");
        let moved = ended.json().len() + 1;
        assert!(moved < 60);
        queues.assert_visible(moved, 80 - moved).await;
    }
}

#[tokio::test]
async fn a_message_that_fails_again_is_not_moved_again() {
    let queues = Queues::new().await;
    queues.dead_letters_of("type", 30).await;
    let refuse_all = async {
        loop {
            for message in queues.queue.receive(30).await {
                let origin = attribute(&message, "origin").unwrap();
                delete(&queues.queue, &message).await;
                let again = [("rejection", r#"{"rule": "type"}"#), ("origin", &origin)];
                queues.dead_letter(message.body().unwrap(), &again).await;
            }
        }
    };
    let redriven = tokio::select! {
        redriven = queues.redrive("--rate 10") => redriven,
        () = refuse_all => unreachable!("it never ends"),
    };
    assert!(
        redriven.code == 1 && redriven.out.contains("failed again after they were moved"),
        "{}{}",
        redriven.out,
        redriven.err
    );
    assert_starts(&redriven.out, "moved 30 messages");
    assert_eq!(queues.dead.counts().await.1, 0);
}

#[tokio::test]
async fn a_message_that_cannot_be_moved_stays_and_does_not_affect_others() {
    let queues = Queues::new().await;
    let names: Vec<String> = (0..10).map(|number| format!("a{number}")).collect();
    let ten: Vec<_> = names.iter().map(|name| (name.as_str(), "x")).collect();
    let full = queues.dead_letter("full", &ten).await;
    let large = queues.dead_letter(&"x".repeat(1_048_576), &[]).await;
    let named = queues.dead_letter("named", &[("origin", "web")]).await;
    queues
        .dead_letter("foreign", &[("origin", &of_another_queue())])
        .await;
    queues.dead_letter("good", &ten[..9]).await;
    let redriven = queues.redrive("").await.exits(1);
    assert_starts(&redriven.out, "moved 1 message in");
    assert_ends(
        &redriven.out,
        "1 skipped: from another queue (--any-source moves them too); 3 messages not moved\n",
    );
    for id in [full, large, named] {
        let said = format!("message {id} was not moved: it has");
        assert_contains(&redriven.err, &said);
    }
    queues.assert_visible(1, 4).await;
}

/// An origin that names another queue, as any sender can write it.
fn of_another_queue() -> String {
    let origin = Origin::new("m-1", None, "arn:aws:sqs:eu-west-1:0:other");
    signed_origin("", origin, "")
}

#[tokio::test]
async fn a_forged_source_queue_does_not_prevent_a_move() {
    let queues = Queues::new().await;
    // The sender of a message that SQS moves can write any origin.
    let value = MessageAttributeValue::builder().data_type("String");
    let value = value.string_value(of_another_queue()).build().unwrap();
    let send = queues.queue.client.send_message();
    let send = send.queue_url(&queues.queue.url).message_body("{}");
    send.message_attributes("origin", value)
        .send()
        .await
        .unwrap();
    queues.wait_until_dead(1).await;
    let redriven = queues.redrive("").await.exits(0);
    assert_starts(&redriven.out, "moved 1 message in");
    queues.assert_visible(1, 0).await;
    // So can every sender to the dead-letter queue itself.
    queues
        .dead_letter("{}", &[("origin", &of_another_queue())])
        .await;
    let left = queues.redrive("").await;
    assert_starts(&left.out, "moved 0 messages in");
    assert_contains(&left.out, "--any-source");
    let moved = queues.redrive("--any-source").await;
    assert_starts(&moved.out, "moved 1 message in");
    queues.assert_visible(1, 0).await;
}

#[tokio::test]
async fn an_origin_that_is_not_a_message_group_does_not_prevent_a_move_to_a_fifo_queue() {
    let (queue, dead) = (Queue::fifo().await, Queue::new().await);
    let queues = Queues { queue, dead };
    let origin = Origin::new("no group: é", None, "");
    let origin = signed_origin("", origin, "");
    queues.dead_letter("{}", &[("origin", &origin)]).await;
    let arguments = format!("--dead-letter-queue-url {}", queues.dead.url);
    let redriven = queues.redrive(&arguments).await.exits(0);
    assert_starts(&redriven.out, "moved 1 message in");
}

#[tokio::test]
async fn a_message_that_cannot_be_moved_holds_back_its_fifo_group() {
    let double = SqsDouble::of((0..10).map(|number| number.to_string()).collect());
    double.fail_sends("3", usize::MAX);
    let redrive = format!(
        "redrive --json --queue-name double.fifo --dead-letter-queue-url http://double/dead.fifo --endpoint-url {}",
        double.endpoint
    );
    let redriven = Tool::bare().on_aws().run(&redrive).await.exits(1);
    assert_eq!(double.state().arrived, ["0", "1", "2"]);
    let errors: Vec<String> = redriven
        .json()
        .iter()
        .filter_map(|line| Some(line["error"].as_str()?.to_owned()))
        .collect();
    assert_eq!(errors.len(), 7);
    assert_eq!(errors[0], "InternalError");
    assert!(
        errors[1..]
            .iter()
            .all(|error| error.contains("an earlier message of its group"))
    );
    let (waiting, held) = double.left();
    assert_eq!(waiting + held, 7);
}

#[tokio::test]
async fn messages_that_arrived_before_an_error_are_moved() {
    let double = SqsDouble::with(10, &json!({}));
    let redrive = format!(
        "redrive --queue-name double --dead-letter-queue-url http://double/dead --endpoint-url {}",
        double.endpoint
    );
    let redriven = Tool::bare().on_aws().run(&redrive).await.exits(2);
    assert_starts(&redriven.out, "moved 5 messages");
    let (waiting, held) = double.left();
    assert_eq!(waiting + held, 5);
}

#[tokio::test]
async fn messages_that_were_sent_but_cannot_be_deleted_are_reported() {
    let double = SqsDouble::with(3, &json!({}));
    double.fail_sends("none of them", 0);
    double.state().refuses_deletes = true;
    let redrive = format!(
        "redrive --json --queue-name double --dead-letter-queue-url http://double/dead --endpoint-url {}",
        double.endpoint
    );
    let redriven = Tool::bare().on_aws().run(&redrive).await.exits(2);
    assert_contains(&redriven.err, "AccessDenied");
    let lines = redriven.json();
    let is_reported = |line: &Value| line["error"].as_str().unwrap().contains("it was sent");
    assert!(
        lines.len() == 3 && lines.iter().all(is_reported),
        "{lines:?}"
    );
}

#[tokio::test]
async fn messages_that_reappear_do_not_keep_it_from_ending() {
    let double = SqsDouble::with(60, &json!({}));
    double.state().holds_none = true;
    let redrive = format!(
        "redrive --dry-run --queue-name double --dead-letter-queue-url http://double/dead --endpoint-url {}",
        double.endpoint
    );
    let tool = Tool::bare().on_aws();
    let dry = timeout(PATIENCE, tool.run(&redrive)).await;
    let dry = dry.expect("it ends");
    assert_eq!(dry.code, 0, "{}", dry.err);
    assert_ends(&dry.out, "would move 60 dead letters\n");
}

#[tokio::test]
async fn a_closed_stdout_of_a_redrive_is_reported_as_incomplete() {
    let queues = Queues::new().await;
    queues.dead_letters_of("type", 60).await;
    let mut running = signing().start(&queues.command("--json --rate 20"));
    running.line().await;
    let ended = running.end_unread().await.exits(1);
    let said = ended.err.split_whitespace().nth(1).unwrap();
    let moved: usize = said.parse().expect(&ended.err);
    queues.assert_visible(moved, 60 - moved).await;
}

#[tokio::test]
async fn without_a_dead_letter_queue_it_says_which_option_names_one() {
    let (queue, tool) = (Queue::new().await, Tool::bare().on_aws());
    let redrive = format!("redrive --queue-url {}", queue.url);
    let none = tool.run(&redrive).await.exits(2);
    assert_contains(&none.err, "--dead-letter-queue-url");
    let itself = tool
        .run(&format!("{redrive} --dead-letter-queue-url {}", queue.url))
        .await
        .exits(2);
    assert_contains(&itself.err, "is the queue itself");
    let closed = Closed::new();
    let away = format!("{redrive} --endpoint-url http://{}", closed.address());
    assert_eq!(tool.run(&away).await.code, 3);
}
