//! `drain`: every message is stored once and none is lost, however the drain ends.

use std::time::{Duration, Instant};

use aws_sdk_sqs::types::{QueueAttributeName, SendMessageBatchRequestEntry};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::ddl::create;
use crate::several_tables::reference;
use crate::tool::{Running, Tool};
use testkit::aws::{Queue, config};
use testkit::batch::{login, login_with};
use testkit::port::port_to_listen_on;
use testkit::proxy::Proxy;
use testkit::sqs_double::SqsDouble;
use testkit::yardstick::Yardstick;
use testkit::{
    Database, Mapping, PATIENCE, assert_contains, assert_ends, assert_starts, eventually,
    memory_kib, server_address,
};

/// Sends bodies, each with its group if it has one, and returns the ids in order.
async fn send(queue: &Queue, bodies: &[(Option<&str>, Value)]) -> Vec<String> {
    let mut ids = Vec::new();
    for (number, ten) in bodies.chunks(10).enumerate() {
        let entry = |(id, (group, body)): (usize, &(Option<&str>, Value))| {
            SendMessageBatchRequestEntry::builder()
                .id(id.to_string())
                .message_body(body.to_string())
                .set_message_group_id(group.map(str::to_owned))
                .set_message_deduplication_id(group.map(|_| format!("{number}-{id}")))
                .build()
                .unwrap()
        };
        let request = queue.client.send_message_batch().queue_url(&queue.url);
        let entries = ten.iter().enumerate().map(entry).collect();
        let sent = request.set_entries(Some(entries)).send().await.unwrap();
        assert_eq!(sent.successful.len(), ten.len());
        let mut sent = sent.successful;
        sent.sort_by_key(|entry| entry.id.parse::<usize>().unwrap());
        ids.extend(sent.into_iter().map(|entry| entry.message_id));
    }
    ids
}

async fn send_logins(queue: &Queue, count: usize) -> Vec<String> {
    send(queue, &vec![(None, login()); count]).await
}

/// The ids of the stored messages, one for each row.
async fn stored(database: &Database) -> Vec<String> {
    let rows = database.rows("SELECT message_id::text FROM user_logins ORDER BY 1");
    rows.await
        .into_iter()
        .map(|mut row| row.remove(0))
        .collect()
}

fn sorted(mut ids: Vec<String>) -> Vec<String> {
    ids.sort_unstable();
    ids
}

fn start(queue: &Queue, database: &Database, options: &str) -> Running {
    let drain = format!(
        "drain --wait-time-seconds 1 --queue-url {} {options}",
        queue.url
    );
    Tool::on(database).on_aws().start(&drain)
}

#[tokio::test]
async fn with_several_tables_the_summary_counts_rows() {
    let (queue, database) = (Queue::new().await, Database::new().await);
    let mapping = reference().to_owned() + "\n";
    let tool = Tool::on(&database).on_aws().mapping(&mapping);
    create(&tool, &database).await;
    let drain = format!("drain --wait-time-seconds 1 --queue-url {}", queue.url);
    let order = json!({"type": "order", "order_id": 7, "version": 1, "lines": [{"sku": "a"}, {"sku": "b"}]});
    send(&queue, &[(None, order), (None, json!({"type": "invoice"}))]).await;
    let drained = tool.run(&drain).await;
    assert_starts(&drained.out, "stored 3 rows in ");
    assert_ends(&drained.out, "; 1 skipped (they produce no row)\n");
    let deleted = json!({"type": "order.deleted", "order_id": 7, "version": 2});
    send(&queue, &[(None, deleted)]).await;
    let said = &tool.run(&format!("{drain} --json")).await.json()[0];
    assert_eq!((&said["stored"], &said["deleted"]), (&json!(0), &json!(3)));
}

#[tokio::test]
async fn every_message_is_stored_and_deleted_and_a_bad_one_is_left() {
    let (queue, database) = (Queue::new().await, Database::with_user_logins().await);
    let good = send_logins(&queue, 25).await;
    send(&queue, &[(None, login_with("user_id", "".into()))]).await;
    let drained = start(&queue, &database, "--batch-size 10")
        .end()
        .await
        .exits(1);
    assert_starts(&drained.out, "stored 25 messages in ");
    assert_ends(
        &drained.out,
        "; 1 failed; 1 invisible in the queue: 1 failed in this run (visible again within 60 s)\n",
    );
    assert_contains(&drained.err, r#""rule":"required""#);
    assert!(!drained.out.contains("_aws") && !drained.err.contains("_aws"));
    assert_eq!(stored(&database).await, sorted(good));
    assert_eq!(queue.counts().await, (0, 1));
    let again = start(&queue, &database, "--json").end().await;
    let said = &again.json()[0];
    assert_eq!(
        (again.code, &said["received"], &said["stored"]),
        (1, &json!(0), &json!(0))
    );
    assert_eq!(said["invisible"], 1);
    let name = queue.url.rsplit('/').next().unwrap();
    let empty = Tool::on(&database).on_aws();
    let empty = empty
        .run(&format!("drain --wait-time-seconds 1 --queue-name {name}"))
        .await;
    assert_starts(&empty.out, "no messages");
}

#[tokio::test]
async fn a_message_that_is_older_than_its_row_is_deleted_and_counted() {
    let (queue, database) = (Queue::new().await, Database::new().await);
    database
        .execute("CREATE TABLE t (k integer PRIMARY KEY, at integer, v text); INSERT INTO t VALUES (1, 2, 'paid')")
        .await;
    let mapping = Mapping::of("t")
        .key("k")
        .set("on_conflict", "update")
        .set("newer", "at");
    let mapping = mapping.column("k", "integer").with("required", true);
    let mapping = mapping.column("at", "integer").column("v", "text");
    let older = json!({"k": 1, "at": 1, "v": "placed"});
    let drain = async |options: &str| {
        send(&queue, &[(None, older.clone())]).await;
        let drain = format!(
            "drain --wait-time-seconds 1 --queue-url {} {options}",
            queue.url
        );
        Tool::on(&database)
            .on_aws()
            .mapping(&mapping)
            .run(&drain)
            .await
            .exits(0)
    };
    let drained = drain("").await;
    assert_contains(&drained.out, "; 1 older than the stored row");
    let said = &drain("--json").await.json()[0];
    assert_eq!(
        [
            &said["received"],
            &said["stored"],
            &said["stale"],
            &said["failed"]
        ],
        [&json!(1), &json!(0), &json!(1), &json!(0)]
    );
    assert_eq!(database.count("t WHERE v = 'paid'").await, 1);
    assert_eq!(queue.counts().await, (0, 0));
}

#[tokio::test]
async fn stored_means_new_rows_and_duplicates_are_counted_apart() {
    let (queue, database) = (Queue::new().await, Database::new().await);
    database
        .execute("CREATE TABLE t (k integer PRIMARY KEY); INSERT INTO t VALUES (1), (2)")
        .await;
    let mapping = "table = \"t\"\nkey = [\"k\"]\n[[column]]\nname = \"k\"\ntype = \"integer\"\nrequired = true\n";
    let tool = Tool::on(&database).on_aws().mapping(mapping);
    let drain = format!("drain --wait-time-seconds 1 --queue-url {}", queue.url);
    let keys = |keys: [i32; 3]| keys.map(|key| (None, json!({"k": key})));
    send(&queue, &keys([1, 2, 3])).await;
    let drained = tool.run(&drain).await.exits(0);
    assert_starts(&drained.out, "stored 1 message in ");
    assert_ends(&drained.out, "; 2 whose key is already in the table\n");
    send(&queue, &keys([3, 4, 5])).await;
    let said = &tool.run(&format!("{drain} --json")).await.json()[0];
    let counts = ["received", "stored", "duplicates"].map(|name| said[name].as_u64().unwrap());
    assert_eq!(counts, [3, 2, 1]);
}

#[tokio::test]
async fn the_rate_leaves_out_the_wait_for_more_messages() {
    const WAIT: f64 = 3.0;
    let (queue, database) = (Queue::new().await, Database::with_user_logins().await);
    send_logins(&queue, 1).await;
    let began = Instant::now();
    let drain = format!(
        "drain --json --batch-window {WAIT} --wait-time-seconds {WAIT} --queue-url {}",
        queue.url
    );
    let said = &Tool::on(&database).on_aws().run(&drain).await.json()[0];
    let (took, worked) = (
        began.elapsed().as_secs_f64(),
        said["seconds"].as_f64().unwrap(),
    );
    // It waits twice: for a larger batch, and for another one.
    assert!(
        worked > 0.0 && worked < took - 2.0 * WAIT + 0.5,
        "{worked} of {took} s"
    );
}

#[tokio::test]
async fn messages_that_others_received_are_not_passed_over_in_silence() {
    let (queue, database) = (Queue::new().await, Database::with_user_logins().await);
    send_logins(&queue, 1).await;
    let held = queue.receive_all(1).await;
    let drained = start(&queue, &database, "").end().await;
    assert_eq!(
        (drained.code, drained.out.as_str()),
        (
            1,
            "no messages; 1 invisible in the queue: 1 received by another consumer or an earlier run, delayed, or backed off (visible again within 1080 s; --wait-invisible waits for them)\n"
        ),
        "{}",
        drained.err
    );
    let waiting = start(&queue, &database, "--wait-invisible");
    let change = queue
        .client
        .change_message_visibility()
        .queue_url(&queue.url);
    let handle = held[0].receipt_handle.as_deref().unwrap();
    change
        .receipt_handle(handle)
        .visibility_timeout(3)
        .send()
        .await
        .unwrap();
    let waited = waiting.end().await.exits(0);
    assert_starts(&waited.out, "stored 1 message in");
}

#[tokio::test]
async fn messages_that_failed_are_counted_apart_from_others_that_are_invisible() {
    let (queue, database) = (Queue::new().await, Database::with_user_logins().await);
    send_logins(&queue, 3).await;
    let _elsewhere = queue.receive_all(3).await;
    send(&queue, &[(None, json!("bad")), (None, json!("worse"))]).await;
    let drained = start(&queue, &database, "").end().await.exits(1);
    assert_ends(
        &drained.out,
        "; 2 failed; 5 invisible in the queue: 2 failed in this run (visible again within 60 s), 3 received by another consumer or an earlier run, delayed, or backed off (visible again within 1080 s; --wait-invisible waits for them)\n",
    );
}

#[tokio::test]
async fn a_drain_never_says_that_a_queue_is_empty_of_which_it_cannot_know() {
    let database = Database::with_user_logins().await;
    for (options, said) in [
        (
            "",
            "no messages; depth of the queue unknown (ServiceUnavailable)\n",
        ),
        (
            "--wait-invisible",
            "no messages; depth of the queue unknown (ServiceUnavailable)\n",
        ),
        ("--json", r#""depth_unknown":"ServiceUnavailable""#),
    ] {
        let double = SqsDouble::with(5, &login());
        double.hide_all();
        // It is asked once at the start.
        double.state().attributes_until_down = Some(1);
        let drain = drain_from(&double, &format!("--wait-time-seconds 1 {options}"));
        let drained = Tool::on(&database).on_aws().run(&drain).await;
        assert_eq!(drained.code, 3, "{options}: {}{}", drained.out, drained.err);
        assert!(drained.out.contains(said), "{options}: {}", drained.out);
    }
}

#[tokio::test]
async fn messages_with_the_key_of_another_message_are_not_said_to_be_stored() {
    let (queue, database) = (Queue::new().await, Database::new().await);
    database
        .execute("CREATE TABLE t (status text PRIMARY KEY)")
        .await;
    let mapping = Mapping::of("t").key("status").column("status", "text");
    let mapping = mapping.with("required", true);
    let tool = Tool::on(&database).on_aws().mapping(&mapping);
    let drain = format!("drain --wait-time-seconds 1 --queue-url {}", queue.url);
    let orders = |count: usize| {
        let status = |n: usize| ["paid", "open", "void"][n % 3];
        (0..count)
            .map(|n| (None, json!({"id": n, "status": status(n)})))
            .collect::<Vec<_>>()
    };
    // Twice, so that the second time the table has the keys too.
    let expected = [
        "; 6 with the key of another row of their batch\n",
        "; 3 whose key is already in the table; 6 with the key of another row of their batch\n",
    ];
    for expected in expected {
        send(&queue, &orders(9)).await;
        let drained = tool.run(&drain).await.exits(0);
        assert_ends(&drained.out, expected);
        let batch = drained
            .err
            .lines()
            .find(|line| line.contains(r#""message":"batch""#));
        let batch: Value = serde_json::from_str(batch.unwrap()).unwrap();
        assert_eq!(batch["duplicates_in_batch"], 6, "{batch}");
    }
}

#[tokio::test]
async fn a_message_that_is_delivered_again_is_stored_already_if_its_id_is_the_key() {
    let (queue, database) = (Queue::new().await, Database::new().await);
    let sent = send_logins(&queue, 1).await.remove(0);
    let table = "CREATE TABLE t (id uuid PRIMARY KEY); INSERT INTO t VALUES";
    database.execute(&format!("{table} ('{sent}')")).await;
    let tool = Tool::on(&database).on_aws();
    let tool = tool.mapping(&Mapping::by_message_id("t"));
    let drain = format!("drain --wait-time-seconds 1 --queue-url {}", queue.url);
    let drained = tool.run(&drain).await.exits(0);
    assert_ends(&drained.out, "; 1 stored already\n");
}

#[tokio::test]
async fn a_batch_of_which_no_message_produces_a_row_is_warned_of() {
    let (queue, database) = (Queue::new().await, Database::new().await);
    let tool = Tool::on(&database).on_aws().mapping(reference());
    create(&tool, &database).await;
    let drain = format!("drain --wait-time-seconds 1 --queue-url {}", queue.url);
    send(&queue, &vec![(None, json!({"type": "invoice"})); 3]).await;
    let drained = tool.run(&drain).await;
    let warning = r#""level":"WARN","message":"no message of the batch produced a row"#;
    assert_contains(&drained.err, warning);
    assert_ends(&drained.out, "; 3 skipped (they produce no row)\n");
    // One of them is enough.
    let order = json!({"type": "order", "order_id": 7, "version": 1, "lines": []});
    send(&queue, &[(None, order), (None, json!({"type": "invoice"}))]).await;
    let drained = tool.run(&drain).await;
    assert!(!drained.err.contains(warning), "{}", drained.err);
}

#[tokio::test]
async fn delayed_messages_are_not_passed_over_in_silence() {
    let (queue, database) = (Queue::new().await, Database::with_user_logins().await);
    queue.set(QueueAttributeName::DelaySeconds, "900").await;
    send_logins(&queue, 1).await;
    let drained = start(&queue, &database, "").end().await;
    let is_said = drained
        .out
        .starts_with("no messages; 1 invisible in the queue");
    assert!(
        drained.code == 1 && is_said,
        "{}{}",
        drained.out,
        drained.err
    );
}

#[tokio::test]
async fn a_dead_lettered_message_counts_as_failed_for_the_exit_code() {
    let (queue, database) = (Queue::new().await, Database::with_user_logins().await);
    let dead = Queue::new().await;
    send(&queue, &[(None, login()), (None, json!("bad"))]).await;
    let drained = start(
        &queue,
        &database,
        &format!("--dead-letter-queue-url {}", dead.url),
    )
    .end()
    .await
    .exits(1);
    assert_ends(&drained.out, "; 1 sent to the dead-letter queue\n");
    assert_eq!(
        (database.count("user_logins").await, dead.counts().await.0),
        (1, 1)
    );
}

#[tokio::test]
async fn under_a_wrong_mapping_a_queue_is_not_emptied_into_the_dead_letter_queue() {
    let (queue, database) = (Queue::new().await, Database::with_user_logins().await);
    let dead = Queue::new().await;
    let bad = || (None, json!("bad"));
    send(&queue, &[bad(), bad(), bad()]).await;
    let options = format!("--batch-size 2 --dead-letter-queue-url {}", dead.url);
    let drained = start(&queue, &database, &options).end().await;
    assert_eq!(drained.code, 1, "{}{}", drained.out, drained.err);
    assert_eq!(dead.counts().await.0, 0, "{}", drained.out);
}

#[tokio::test]
async fn without_a_terminal_each_row_that_a_constraint_refuses_has_a_line_of_the_log() {
    let (queue, database) = (Queue::new().await, Database::new().await);
    database
        .execute("CREATE TABLE t (id uuid PRIMARY KEY, n integer CONSTRAINT odd CHECK (n % 2 = 1))")
        .await;
    let mapping = Mapping::by_message_id("t").column("n", "integer");
    let sent = send(&queue, &[2, 4, 6, 8].map(|n| (None, json!({"n": n})))).await;
    let tool = Tool::on(&database).on_aws().mapping(&mapping);
    let drain = format!("drain --wait-time-seconds 1 --queue-url {}", queue.url);
    let drained = tool.run(&drain).await;
    let lines = drained.err.lines().map(serde_json::from_str::<Value>);
    let lines = lines.map(Result::unwrap);
    let failed = lines.filter(|line| line["message"] == "message failed");
    let ids = failed.map(|line| line["message_id"].as_str().unwrap().to_owned());
    assert_eq!(sorted(ids.collect()), sorted(sent), "{}", drained.err);
}

#[tokio::test]
async fn metadata_and_attributes_arrive_as_in_lambda() {
    let (queue, database) = (Queue::new().await, Database::new().await);
    let mapping = Mapping::by_message_id("t");
    let mapping = mapping
        .column("tenant", "text")
        .with("from", "@attribute.tenant");
    let mapping = mapping
        .column("bytes", "text")
        .with("from", "@attribute.bytes");
    let mapping = mapping
        .column("count", "integer")
        .with("from", "@receive_count");
    let mapping = mapping
        .column("sent", "timestamptz")
        .with("from", "@sent_at");
    database.execute("CREATE TABLE t (id uuid PRIMARY KEY, tenant text, bytes text, count integer, sent timestamptz)").await;
    let attribute = || aws_sdk_sqs::types::MessageAttributeValue::builder();
    let tenant = attribute()
        .data_type("String")
        .string_value("acme")
        .build()
        .unwrap();
    let bytes = aws_sdk_sqs::primitives::Blob::new([0_u8, 255]);
    let bytes = attribute()
        .data_type("Binary")
        .binary_value(bytes)
        .build()
        .unwrap();
    let send = queue
        .client
        .send_message()
        .queue_url(&queue.url)
        .message_body("{}");
    send.message_attributes("tenant", tenant)
        .message_attributes("bytes", bytes)
        .send()
        .await
        .unwrap();
    let tool = Tool::on(&database).on_aws().mapping(&mapping);
    tool.run(&format!(
        "drain --wait-time-seconds 1 --queue-url {}",
        queue.url
    ))
    .await
    .exits(0);
    let rows = database
        .rows("SELECT tenant, bytes, count::text, (now() - sent < '1 minute')::text FROM t")
        .await;
    assert_eq!(rows, [["acme", "AP8=", "1", "true"]]);
}

#[tokio::test]
async fn no_message_of_a_fifo_group_overtakes_one_that_failed() {
    let (queue, database) = (Queue::fifo().await, Database::with_user_logins().await);
    let body = |number: usize| {
        let user = if number == 30 { "" } else { "u" };
        (
            Some(["a", "b", "c"][number % 3]),
            login_with("user_id", user.into()),
        )
    };
    let ids = send(&queue, &(0..90).map(body).collect::<Vec<_>>()).await;
    start(&queue, &database, "").end().await.exits(1);
    let is_held = |number: usize| number.is_multiple_of(3) && number >= 30;
    let expected = (0..90)
        .filter(|&number| !is_held(number))
        .map(|number| ids[number].clone());
    assert_eq!(stored(&database).await, sorted(expected.collect()));
}

fn drain_from(double: &SqsDouble, options: &str) -> String {
    format!(
        "drain --queue-name double --endpoint-url {} {options}",
        double.endpoint
    )
}

/// So many messages; a request takes a twentieth of a second.
fn long_queue(messages: usize) -> SqsDouble {
    let messages = (0..messages).map(|number| {
        let id = format!("00000000-0000-4000-8000-{number:012}");
        json!({"MessageId": id, "ReceiptHandle": number.to_string(), "Body": login().to_string(), "MD5OfBody": "",
            "Attributes": {"SentTimestamp": "1769903999500"}})
    });
    SqsDouble::holding(messages, Duration::from_millis(50))
}

/// A batch of twenty needs two requests.
#[tokio::test]
async fn the_next_batch_is_requested_before_a_batch_is_full_and_released_when_the_drain_is_interrupted()
 {
    const MESSAGES: usize = 5_000;
    let database = Database::with_user_logins().await;
    let double = long_queue(MESSAGES);
    let options = "--batch-size 20 --concurrency 4";
    let tool = Tool::on(&database).on_aws();
    let drain = tool.start(&drain_from(&double, options));
    eventually("the next batch is requested", async || {
        (double.state().most_receiving == 4).then_some(())
    })
    .await;
    drain.signal("TERM");
    drain.end().await.exits(1);
    let (waiting, in_flight) = double.left();
    let stored = database.count("user_logins").await as usize;
    assert_eq!(stored, MESSAGES - waiting - in_flight);
    let released = double.state().backed_off.clone();
    assert!(released.iter().all(|(_, timeout)| *timeout == 0));
    assert_eq!(released.len(), in_flight);
}

/// Nothing is stored yet when the first full batch is received, so receiving it is what limits the drain.
#[tokio::test]
async fn a_long_queue_is_received_with_more_requests_which_the_summary_says() {
    let database = Database::with_user_logins().await;
    let tool = Tool::on(&database).on_aws();
    let drain = drain_from(&long_queue(300), "--wait-time-seconds 1");
    let drained = tool.run(&drain).await.exits(0);
    assert_contains(&drained.out, "; chose up to ");
    let double = long_queue(300);
    let drain = drain_from(&double, "--wait-time-seconds 1 --concurrency 12");
    let drained = tool.run(&drain).await.exits(0);
    assert!(!drained.out.contains("chose"), "{}", drained.out);
    let drain = drain_from(&double, "--wait-time-seconds 1 --concurrency 12 --json");
    let said = &tool.run(&drain).await.exits(0).json()[0];
    assert_eq!(
        (&said["concurrency"], &said["batch_size"]),
        (&json!(12), &json!(192))
    );
}

/// It is received with one request at a time, however long it is.
#[tokio::test]
async fn the_summary_of_a_fifo_queue_names_no_number_that_was_not_used() {
    let database = Database::with_user_logins().await;
    let tool = Tool::on(&database).on_aws();
    for (options, expected) in [
        ("", "stored 300 messages"),
        ("--json", "\"concurrency\":1,"),
    ] {
        let double = SqsDouble::with(300, &login());
        let drain = format!(
            "drain --queue-name double.fifo --endpoint-url {} --wait-time-seconds 1 {options}",
            double.endpoint
        );
        let drained = tool.run(&drain).await.exits(0);
        assert_contains(&drained.out, expected);
        assert!(!drained.out.contains("chose"), "{}", drained.out);
    }
}

#[tokio::test]
async fn a_long_batch_window_gathers_one_batch() {
    let database = Database::with_user_logins().await;
    let double = SqsDouble::with(25, &login());
    let options = "--batch-window 300 --batch-size 25 --wait-time-seconds 1";
    let tool = Tool::on(&database).on_aws();
    let drained = tool.run(&drain_from(&double, options)).await.exits(0);
    let batches = drained.err.matches(r#""message":"batch""#).count();
    assert_eq!(batches, 1, "{}", drained.err);
    assert_eq!(database.count("user_logins").await, 25);
}

#[tokio::test]
async fn an_error_that_ends_a_batch_window_is_logged_and_loses_nothing() {
    let database = Database::with_user_logins().await;
    let double = SqsDouble::with(25, &login());
    double.state().receives_until_refused = Some(1);
    let options = "--batch-window 20 --concurrency 1";
    let tool = Tool::on(&database).on_aws();
    let drained = tool.run(&drain_from(&double, options)).await.exits(2);
    assert_contains(&drained.err, "the batch does not wait for more");
    assert_eq!(
        (double.left(), database.count("user_logins").await),
        ((15, 0), 10)
    );
}

#[tokio::test]
async fn a_missing_table_ends_it_and_nothing_is_deleted() {
    let (queue, database) = (Queue::new().await, Database::new().await);
    send_logins(&queue, 12).await;
    let drained = start(&queue, &database, "--follow").end().await.exits(2);
    assert_contains(&drained.err, "CREATE TABLE");
    let (waiting, invisible) = queue.counts().await;
    assert_eq!(waiting + invisible, 12);
}

#[tokio::test]
async fn rows_that_were_stored_before_a_fault_of_the_table_ends_it_are_counted() {
    let database = Database::new().await;
    database
        .execute(
            "CREATE TABLE t (day date, k text, PRIMARY KEY (day, k)) PARTITION BY RANGE (day); \
             CREATE TABLE t_november PARTITION OF t FOR VALUES FROM ('2026-11-01') TO ('2026-12-01')",
        )
        .await;
    let mapping = Mapping::of("t").key("day").key("k").column("day", "date");
    let mapping = mapping.with("required", true).column("k", "text");
    let mapping = mapping.with("from", "@message_id");
    let days = ["2026-11-30", "2026-12-01", "2026-11-29", "2026-11-28"];
    let bodies = days.map(|day| json!({"day": day}).to_string());
    let double = SqsDouble::of(bodies.to_vec());
    let tool = Tool::on(&database).on_aws().mapping(&mapping);
    let drained = tool.run(&drain_from(&double, "--json")).await.exits(2);
    assert_contains(&drained.err, "has no partition");
    assert_eq!(database.count("t").await, 3);
    let said = &drained.json()[0];
    assert_eq!((&said["received"], &said["stored"]), (&json!(4), &json!(3)));
}

#[tokio::test]
async fn an_outage_uses_up_no_deliveries() {
    let (queue, database) = (Queue::new().await, Database::with_user_logins().await);
    let ids = send_logins(&queue, 12).await;
    let proxy = Proxy::before(server_address()).await;
    proxy.refuse(true);
    let tool = Tool::on(&database).on_aws();
    let tool = tool.set("DATABASE_URL", &database.url_through(proxy.address));
    let drain = format!("drain --wait-time-seconds 1 --queue-url {}", queue.url);
    tool.run(&drain).await.exits(3);
    let refused = proxy.refused();
    let following = tool.start(&format!("{drain} --follow"));
    eventually("it asks for the database", async || {
        (proxy.refused() > refused + 1).then_some(())
    })
    .await;
    assert_eq!(queue.counts().await, (12, 0));
    proxy.refuse(false);
    eventually("everything is stored", async || {
        (stored(&database).await.len() == ids.len()).then_some(())
    })
    .await;
    following.signal("TERM");
    assert_eq!(following.end().await.code, 0);
}

#[tokio::test]
async fn repeated_failures_do_not_keep_it_from_ending() {
    let (queue, database) = (Queue::new().await, Database::with_user_logins().await);
    queue.set(QueueAttributeName::VisibilityTimeout, "0").await;
    send(&queue, &[(None, json!("bad"))]).await;
    let drained = start(&queue, &database, "--batch-window 3")
        .end()
        .await
        .exits(1);
    assert_contains(&drained.out, "; 1 failed");
}

#[tokio::test]
async fn repeated_failures_do_not_block_other_messages() {
    let database = Database::with_user_logins().await;
    let double = SqsDouble::with(20, &login());
    double.poison("bad");
    let drain = format!(
        "drain --batch-size 1 --concurrency 1 --queue-name double --wait-time-seconds 1 --endpoint-url {}",
        double.endpoint
    );
    let drained = Tool::on(&database).on_aws().run(&drain).await.exits(1);
    assert_contains(&drained.out, "; 1 failed");
    assert_eq!(
        (double.left(), database.count("user_logins").await),
        ((0, 0), 20)
    );
}

#[tokio::test]
async fn a_failing_message_that_takes_long_to_receive_does_not_end_a_drain_before_the_others() {
    let database = Database::with_user_logins().await;
    let double = SqsDouble::with(3, &login());
    double.poison("bad");
    double.state().poison_delay = Duration::from_millis(1_500);
    let drain = drain_from(
        &double,
        "--batch-size 1 --concurrency 1 --wait-time-seconds 1",
    );
    Tool::on(&database).on_aws().run(&drain).await.exits(1);
    assert_eq!(
        (double.left(), database.count("user_logins").await),
        ((0, 0), 3)
    );
}

#[tokio::test]
async fn further_batches_are_stored_while_messages_are_deleted() {
    let database = Database::with_user_logins().await;
    let double = SqsDouble::with(30, &login());
    double.state().delays_deletes = true;
    let drain = drain_from(&double, "--batch-size 10 --wait-time-seconds 1");
    let draining = Tool::on(&database).on_aws().start(&drain);
    eventually("three batches are stored", async || {
        (database.count("user_logins").await == 30).then_some(())
    })
    .await;
    assert_eq!(double.left(), (0, 30));
    double.state().delays_deletes = false;
    draining.end().await.exits(0);
    assert_eq!(double.left(), (0, 0));
}

#[tokio::test]
async fn a_delete_that_sqs_fails_to_process_is_retried() {
    let database = Database::with_user_logins().await;
    let double = SqsDouble::with(30, &login());
    double.state().failing_deletes = 25;
    let drain = format!(
        "drain --queue-name double --wait-time-seconds 1 --endpoint-url {}",
        double.endpoint
    );
    Tool::on(&database).on_aws().run(&drain).await.exits(0);
    assert_eq!(
        (double.left(), database.count("user_logins").await),
        ((0, 0), 30)
    );
}

#[tokio::test]
async fn a_drain_that_follows_serves_its_metrics_and_its_health() {
    let (queue, database) = (Queue::new().await, Database::with_user_logins().await);
    let port = port_to_listen_on();
    let drain = start(
        &queue,
        &database,
        &format!("--follow --metrics-addr {port}"),
    );
    send(&queue, &[(None, login()), (None, json!("bad"))]).await;
    let expected = [
        "sqs_to_postgres_rows_stored_total 1\n",
        "sqs_to_postgres_messages_failed_total{rule=\"",
        "sqs_to_postgres_messages_deleted_total 1\n",
        "# TYPE sqs_to_postgres_queue_messages gauge\n",
    ];
    eventually("the metrics", async || {
        let metrics = http_get(port, "/metrics").await?;
        expected
            .iter()
            .all(|line| metrics.contains(line))
            .then_some(())
    })
    .await;
    let health = http_get(port, "/healthz").await.unwrap();
    assert_starts(&health, "HTTP/1.1 200");
    assert_ends(&health, "ok\n");
    queue.delete().await;
    let health = eventually("trouble with the queue", async || {
        let health = http_get(port, "/healthz").await?;
        health.starts_with("HTTP/1.1 503").then_some(health)
    })
    .await;
    let (_, body) = health.split_once("\r\n\r\n").unwrap();
    assert_eq!(body, "unavailable\n", "it tells the cause to every client");
    drain.signal("TERM");
    assert_eq!(drain.end().await.code, 0);
}

#[tokio::test]
async fn metrics_are_on_loopback_unless_an_address_is_given() {
    let (queue, database) = (Queue::new().await, Database::with_user_logins().await);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let port = address.port();
    for (given, error) in [
        (port.to_string(), format!("cannot listen on {address} (")),
        (format!(":{port}"), format!("cannot listen on {address} (")),
        (
            "localhost".to_owned(),
            "give a port, or an address".to_owned(),
        ),
    ] {
        let options = format!("--follow --metrics-addr {given}");
        let drained = start(&queue, &database, &options).end().await.exits(2);
        assert_contains(&drained.err, &error);
    }
}

/// A connection without a request, and one whose request never ends.
#[tokio::test]
async fn a_connection_with_an_unfinished_request_is_closed() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let (queue, database) = (Queue::new().await, Database::with_user_logins().await);
    let port = port_to_listen_on();
    let drain = start(
        &queue,
        &database,
        &format!("--follow --metrics-addr 0.0.0.0:{port}"),
    );
    eventually("it listens", async || http_get(port, "/healthz").await).await;
    let hung_up = async |beginning: &str| {
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port))
            .await
            .unwrap();
        stream.write_all(beginning.as_bytes()).await.unwrap();
        tokio::time::timeout(PATIENCE, stream.read_u8()).await
    };
    let unfinished = "GET /metrics HTTP/1.1\r\nHost: ";
    let (silent, slow) = tokio::join!(hung_up(""), hung_up(unfinished));
    assert!(silent.unwrap().is_err() && slow.unwrap().is_err());
    drain.signal("TERM");
    assert_eq!(drain.end().await.code, 0);
}

async fn http_get(port: u16, path: &str) -> Option<String> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port))
        .await
        .ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    Some(answer)
}

/// Killed and ended at random moments, and then four at once: the balance is the same as after one drain.
#[tokio::test]
async fn killed_and_concurrent_drains_store_every_message_once() {
    const MESSAGES: usize = 5_000;
    let (queue, database) = (Queue::new().await, Database::with_user_logins().await);
    queue.set(QueueAttributeName::VisibilityTimeout, "4").await;
    let mut ids = send_logins(&queue, MESSAGES / 2).await;
    for signal in ["TERM", "KILL", "TERM", "KILL", "TERM", "KILL"] {
        let drain = start(&queue, &database, "--follow --batch-size 100");
        drain.handles_signals().await;
        sleep(Duration::from_millis(fastrand::u64(0..600))).await;
        drain.signal(signal);
        let code = drain.end_or_killed().await;
        let expected = if signal == "KILL" { None } else { Some(0) };
        assert_eq!(code, expected, "{signal}");
    }
    // Messages that a killed drain had in flight become visible again.
    eventually("nothing is invisible", async || {
        (queue.counts().await.1 == 0).then_some(())
    })
    .await;
    ids.extend(send_logins(&queue, MESSAGES / 2).await);
    let lock = database.lock("user_logins").await;
    let four: Vec<_> = (0..4)
        .map(|_| start(&queue, &database, "--batch-size 100"))
        .collect();
    database.wait_for_waiting("user_logins", 4).await;
    drop(lock);
    for drain in four {
        let ended = drain.end().await;
        // One that ends while others have messages in flight says so.
        let expected = i32::from(ended.out.contains("received by another consumer"));
        assert_eq!(ended.code, expected, "{}{}", ended.out, ended.err);
        assert_starts(&ended.out, "stored");
    }
    assert_eq!(stored(&database).await, sorted(ids));
    assert_eq!(queue.counts().await, (0, 0));
}

#[tokio::test]
async fn memory_does_not_grow_with_the_queue() {
    // 100 MB, half of it in a batch of the default size.
    const MESSAGES: usize = 2_000;
    const MOST_BYTES: u64 = 80 << 20;
    let database = Database::with_user_logins().await;
    let mut body = login();
    body["unmapped"] = "x".repeat(50_000).into();
    let double = SqsDouble::with(MESSAGES, &body);
    let drain = format!(
        "drain --concurrency 2 --queue-name double --wait-time-seconds 1 --endpoint-url {}",
        double.endpoint
    );
    let drain = Tool::on(&database).on_aws().start(&drain);
    let mut peak = 0;
    while let Some(bytes) = drain.resident_bytes() {
        peak = peak.max(bytes);
        sleep(Duration::from_millis(50)).await;
    }
    drain.end().await.exits(0);
    assert_eq!(database.count("user_logins").await, MESSAGES as i64);
    assert!(0 < peak && peak < MOST_BYTES, "{} MiB", peak >> 20);
}

#[tokio::test]
async fn twenty_thousand_batches_leave_no_memory_behind() {
    const BATCHES: usize = 20_000;
    // If 50 bytes of a batch remained, the memory would grow by this much.
    const TOLERATED_KIB: u64 = 1_000;
    let database = Database::with_user_logins().await;
    let double = SqsDouble::with(BATCHES, &login());
    let options = "--batch-size 1 --concurrency 1 --follow";
    let tool = Tool::on(&database).on_aws();
    let drain = tool.start(&drain_from(&double, options));
    let process = drain.id();
    let ended = tokio::spawn(drain.end());
    let mut memory = Vec::new();
    // In small steps, so that a busy machine only needs to make progress.
    for batches in (BATCHES / 100..=BATCHES).step_by(BATCHES / 100) {
        eventually(&format!("{batches} batches are stored"), async || {
            (database.count("user_logins").await >= batches as i64).then_some(())
        })
        .await;
        if batches % (BATCHES / 10) == 0 {
            memory.push(memory_kib(process, "RssAnon"));
        }
    }
    let is_flat = memory[9] < memory[0] + TOLERATED_KIB;
    assert!(is_flat, "KiB after each tenth: {memory:?}");
    ended.abort();
}

#[tokio::test]
async fn messages_that_wait_for_the_database_stay_invisible_until_they_are_stored() {
    let (queue, database) = (Queue::new().await, Database::with_user_logins().await);
    queue.set(QueueAttributeName::VisibilityTimeout, "12").await;
    let ids = send_logins(&queue, 40).await;
    let lock = database.lock("user_logins").await;
    let drain = start(&queue, &database, "");
    database.wait_for_waiting("user_logins", 1).await;
    let until = Instant::now() + Duration::from_secs(30);
    while Instant::now() < until {
        assert!(queue.receive(1).await.is_empty(), "somebody else got one");
        sleep(Duration::from_millis(500)).await;
    }
    drop(lock);
    drain.end().await.exits(0);
    assert_eq!(stored(&database).await, sorted(ids));
}

/// Tests that measure time, or need the stack to themselves.
mod alone {
    use super::*;

    #[tokio::test]
    async fn sigterm_and_ctrl_c_release_the_messages_that_cannot_be_finished() {
        let cases = [("TERM", "", 1), ("INT", "--follow", 0)];
        let cases = cases.map(async |(signal, options, code)| {
            let (queue, database) = (Queue::new().await, Database::with_user_logins().await);
            send_logins(&queue, 60).await;
            let lock = database.lock("user_logins").await;
            let drain = start(&queue, &database, &format!("--batch-size 20 {options}"));
            database.wait_for_waiting("user_logins", 1).await;
            let (yardstick, began) = (Yardstick::start(), Instant::now());
            drain.signal(signal);
            let ended = drain.end().await;
            let took = yardstick.own_time_since(began);
            assert!(took < Duration::from_secs(9), "{took:?}");
            assert_eq!(ended.code, code, "{}{}", ended.out, ended.err);
            assert_contains(&ended.out, "released to the queue");
            assert_contains(&ended.out, "interrupted");
            assert_eq!(queue.counts().await, (60, 0));
            drop(lock);
        });
        join_all(cases).await;
    }

    #[tokio::test]
    async fn sigterm_ends_a_drain_within_ten_seconds_whatever_it_waits_for() {
        let database = Database::with_user_logins().await;
        let tool = Tool::on(&database).on_aws();
        // An empty queue; a batch that has begun; an SQS that does not answer.
        let waits = [
            (0, false, 1, "--wait-time-seconds 20"),
            (1, false, 2, "--batch-window 300"),
            (0, true, 1, "--follow"),
        ];
        let waits = waits.map(async |(messages, is_mute, receives, options)| {
            let double = SqsDouble::with(messages, &login());
            if is_mute {
                double.state().is_mute = true;
            }
            let drain = tool.start(&drain_from(&double, options));
            eventually("it waits", async || {
                (double.state().asked >= receives).then_some(())
            })
            .await;
            let (yardstick, began) = (Yardstick::start(), Instant::now());
            drain.signal("TERM");
            let ended = drain.end().await;
            let took = yardstick.own_time_since(began);
            assert!(took < Duration::from_secs(10), "{options}: {took:?}");
            assert_eq!(ended.code, 1, "{options}: {}", ended.err);
            let said = if is_mute {
                "because a system did not respond"
            } else {
                "interrupted"
            };
            let all = format!("{}{}", ended.out, ended.err);
            assert!(all.contains(said), "{options}: {all}");
        });
        join_all(waits).await;
    }

    #[tokio::test]
    async fn a_drain_beside_the_live_function_stores_every_message_once() {
        let client = aws_sdk_sqs::Client::new(&config().await);
        let url = std::env::var("QUEUE_URL").expect("run the tests by `make test`");
        // It is not this test's, so it must not be deleted at the end.
        let live = std::mem::ManuallyDrop::new(Queue {
            client,
            url,
            arn: String::new(),
        });
        let database = Database::new().await;
        // The function's own table.
        database.execute("SET search_path = public").await;
        let url = std::env::var("DATABASE_URL").unwrap();
        let tool = Tool::on(&database).set("DATABASE_URL", &url).on_aws();
        let options = "--follow --batch-size 10 --concurrency 1";
        let drain = tool.start(&format!("drain {options} --queue-url {}", live.url));
        let are = |ids: &[String]| {
            let ids = ids.join(",");
            format!("FROM user_logins WHERE message_id = ANY ('{{{ids}}}')")
        };
        // Their mask keys differ, and so do their tokens of the one address.
        let mut ids = Vec::new();
        eventually("both of them have stored messages", async || {
            ids.extend(send_logins(&live, 100).await);
            let tokens = format!("SELECT DISTINCT masked_ip {}", are(&ids));
            (database.rows(&tokens).await.len() == 2).then_some(())
        })
        .await;
        let all = format!("SELECT message_id::text {}", are(&ids));
        eventually("every message is in the table", async || {
            (database.rows(&all).await.len() == ids.len()).then_some(())
        })
        .await;
        drain.signal("TERM");
        drain.end().await.exits(0);
        database.execute(&format!("DELETE {}", are(&ids))).await;
    }
}

/// A producer that adds a field is noticed. Keys that are data are not printed, and values neither.
#[tokio::test]
async fn paths_that_no_column_reads_are_counted_and_named() {
    let added = |n: usize| {
        let mut login = login();
        login["tenant"] = json!("c4n4ry");
        login["votes"] = json!({format!("c4n4ry {n}"): 1});
        login.to_string()
    };
    let options = "--wait-time-seconds 1 --batch-size 10";
    let database = Database::with_user_logins().await;
    let double = SqsDouble::of((0..25).map(added).collect());
    let tool = Tool::on(&database).on_aws();
    let drained = tool.run(&drain_from(&double, options)).await.exits(0);
    let said = "2 paths that no column reads, by one message of each batch: tenant, votes\n";
    assert_contains(&drained.err, said);
    assert!(!drained.err.contains("c4n4ry"), "{}", drained.err);
    let double = SqsDouble::of((0..25).map(added).collect());
    let drain = drain_from(&double, &format!("{options} --json"));
    let drained = tool.run(&drain).await.exits(0);
    assert_eq!(drained.json()[0]["paths_unread"], 2);
    let double = SqsDouble::with(25, &login());
    let drained = tool.run(&drain_from(&double, options)).await.exits(0);
    assert!(!drained.err.contains("no column reads"), "{}", drained.err);
}
