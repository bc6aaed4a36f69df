//! `forget`: the rows and dead letters of a person are deleted, all others remain, and no value is in any output.

use aws_sdk_sqs::types::{MessageAttributeValue, QueueAttributeName};
use serde_json::{Value, json};
use tokio_postgres::types::Type;

use crate::tool::{Ended, Tool};
use testkit::aws::{Queue, Secret};
use testkit::batch::Batch;
use testkit::{Database, MASK_KEY, Setup, assert_contains, eventually, server_address};

/// Another key of 64 bytes.
pub(crate) const NEXT_KEY: &str =
    "QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFlaW1xdXl9gYWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXp7fH1+fw==";

/// The person to forget, in the spelling of a message and in another one.
pub(crate) const ADA: &str = "zq9canary.ada";
pub(crate) const ADA_AS_TYPED: &str = " ZQ9canary.Ada";
pub(crate) const BOB: &str = "bob";

/// A parent with hmac tokens, a child with aes-siv tokens of a person of its own, a child without the column, and an
/// independent table in plaintext.
pub(crate) const MAPPING: &str = r#"
unmatched = "skip"
[[table]]
name = "orders"
when = { kind = "order" }
key = ["order_id"]
column = [
  { name = "order_id", type = "bigint", required = true },
  { name = "user_id", type = "varchar(64)", transform = ["trim", "lowercase"], mask = "hmac-sha256" },
  { name = "key_id", type = "text", from = "@mask_key_id" },
]
[[table]]
name = "lines"
parent = "orders"
each = "lines"
key = ["order_id", "line"]
column = [
  { name = "order_id", type = "bigint", from = "^.order_id", required = true },
  { name = "line", type = "integer", from = "@index" },
  { name = "user_id", type = "text", from = "for", transform = ["trim", "lowercase"], mask = "aes-siv" },
]
[[table]]
name = "notes"
parent = "orders"
each = "notes"
key = ["order_id", "note"]
column = [
  { name = "order_id", type = "bigint", from = "^.order_id", required = true },
  { name = "note", type = "integer", from = "@index" },
]
[[table]]
name = "visits"
when = { kind = "visit" }
key = ["id"]
column = [
  { name = "id", type = "uuid", from = "@message_id" },
  { name = "user_id", type = "text", transform = ["trim", "lowercase"], clear = true },
]
"#;

/// The tables; foreign keys do not cascade.
const TABLES: &str = "
    CREATE TABLE orders (order_id bigint PRIMARY KEY, user_id varchar(64), key_id text);
    CREATE TABLE lines (order_id bigint REFERENCES orders, line integer, user_id text, PRIMARY KEY (order_id, line));
    CREATE TABLE notes (order_id bigint REFERENCES orders, note integer, PRIMARY KEY (order_id, note));
    CREATE TABLE visits (id uuid PRIMARY KEY, user_id text);";

fn ring(current: &str) -> String {
    json!({"mask_keys": {"": MASK_KEY, "2026": NEXT_KEY}, "current": current}).to_string()
}

pub(crate) fn order(id: i64, user: &str, lines: &[&str]) -> Value {
    let lines: Vec<_> = lines.iter().map(|user| json!({"for": user})).collect();
    json!({"kind": "order", "order_id": id, "user_id": user, "lines": lines, "notes": ["a", "b"]})
}

pub(crate) fn visit(user: &str) -> Value {
    json!({"kind": "visit", "user_id": user})
}

pub(crate) struct Stand {
    pub(crate) database: Database,
    pub(crate) secret: Secret,
    pub(crate) queue: Queue,
    pub(crate) dead: Queue,
}

impl Stand {
    /// Each person has orders under both keys, and visits.
    pub(crate) async fn new() -> Self {
        let database = Database::new().await;
        database.execute(TABLES).await;
        let secret = Secret::new(&ring("")).await;
        for (current, first) in [("", 1), ("2026", 3)] {
            secret.put(&ring(current)).await;
            let setup = Setup::on(&database).mapping(MAPPING).on_aws();
            let setup = setup.without("MASK_KEY").set("MASK_SECRET_ID", &secret.id);
            let mut function = setup.start().await;
            let batch = Batch::new()
                .body(&format!("a{first}"), order(first, ADA, &[BOB, ADA]))
                .body(&format!("b{first}"), order(first + 1, BOB, &[ADA, BOB]))
                .body(&format!("c{first}"), visit(ADA))
                .body(&format!("d{first}"), visit(BOB));
            let answer = function.invoke(&batch.event()).await;
            answer.assert_none_failed();
        }
        let (queue, dead) = (Queue::new().await, Queue::new().await);
        Self {
            database,
            secret,
            queue,
            dead,
        }
    }

    pub(crate) fn tool(&self) -> Tool {
        self.tool_at(&self.database.url())
    }

    pub(crate) fn tool_at(&self, url: &str) -> Tool {
        let tool = Tool::bare().on_aws().mapping(MAPPING);
        let tool = tool.set("DATABASE_URL", url);
        tool.set("MASK_SECRET_ID", &self.secret.id)
    }

    pub(crate) fn command(&self, arguments: &str) -> String {
        self.command_on(&self.dead, arguments)
    }

    /// With another dead-letter queue.
    pub(crate) fn command_on(&self, dead: &Queue, arguments: &str) -> String {
        let (queue, dead) = (&self.queue.url, &dead.url);
        format!(
            "forget --column user_id --queue-url {queue} --dead-letter-queue-url {dead} {arguments}"
        )
    }

    pub(crate) async fn forget(&self, arguments: &str) -> Ended {
        let tool = self.tool().input(&format!("{ADA_AS_TYPED}\n"));
        silent(tool.run(&self.command(arguments)).await)
    }

    pub(crate) async fn counts(&self) -> [i64; 4] {
        let mut counts = [0; 4];
        for (count, table) in counts
            .iter_mut()
            .zip(["orders", "lines", "notes", "visits"])
        {
            *count = self.database.count(table).await;
        }
        counts
    }
}

/// Nothing that it writes contains the person.
pub(crate) fn silent(ended: Ended) -> Ended {
    let written = format!("{}{}", ended.out, ended.err).to_lowercase();
    assert!(!written.contains("zq9canary"), "{written}");
    ended
}

#[tokio::test]
async fn a_person_is_forgotten_in_every_table_and_in_the_dead_letter_queue() {
    let stand = Stand::new().await;
    let theirs = [
        order(9, ADA, &[]).to_string(),
        order(9, BOB, &[ADA]).to_string(),
        visit(ADA_AS_TYPED).to_string(),
        // The mapping rejects them, or makes no row.
        json!({"kind": "order", "order_id": "x", "user_id": ADA}).to_string(),
        json!({"kind": "order", "order_id": 9, "lines": [{"for": BOB}, {"for": ADA}], "notes": 5})
            .to_string(),
        json!({"kind": "other", "user_id": ADA}).to_string(),
    ];
    let others = [
        order(9, BOB, &[BOB]).to_string(),
        json!({"kind": "order", "order_id": "x", "user_id": BOB}).to_string(),
        json!({"kind": "visit", "user_id": BOB, "about": "ada"}).to_string(),
        "no JSON".to_owned(),
    ];
    for body in theirs.iter().chain(&others) {
        stand.dead.send(body).await;
    }
    let before = stand.counts().await;
    assert_eq!(before, [4, 8, 8, 4]);
    let dry = stand.forget("--accept unreadable --json").await.exits(0);
    assert_eq!(stand.counts().await, before);
    let receipt = &dry.json()[0];
    let rows: Vec<_> = receipt["tables"].as_array().unwrap().iter().collect();
    let counted: Vec<_> = rows
        .iter()
        .map(|table| table["rows"].as_u64().unwrap())
        .collect();
    assert_eq!(
        (counted, &receipt["dry_run"]),
        (vec![2, 6, 4, 2], &json!(true))
    );
    assert_eq!(receipt["dead_letters"]["found"], 6, "{receipt}");

    let done = stand.forget("--accept unreadable --json --yes").await;
    let receipt = &done.json()[0];
    assert_eq!(
        (done.code, &receipt["left"]),
        (0, &json!([])),
        "{}{}",
        done.out,
        done.err
    );
    assert_eq!(stand.counts().await, [2, 2, 4, 2]);
    assert_eq!(receipt["mask_key_id"], "2026");
    assert_eq!(receipt["digests"][0].as_str().unwrap().len(), 64);
    let letters = &receipt["dead_letters"];
    assert_eq!(
        (&letters["deleted"], &letters["unreadable"]),
        (&json!(6), &json!(1))
    );
    assert_eq!(
        (
            stand.dead.counts().await.1,
            stand.dead.receive_all(4).await.len()
        ),
        (0, 4)
    );

    // Others' messages are in flight now.
    let again = stand.forget("--yes").await.exits(1);
    assert_contains(&again.out, "left: 4 dead letters (were not received");
}

#[tokio::test]
async fn whoever_is_forgotten_is_not_found_again() {
    let stand = Stand::new().await;
    assert_eq!(stand.forget("--yes").await.code, 0);
    let again = stand.forget("--yes --json").await;
    let receipt = &again.json()[0];
    let deleted = |table: &Value| table["deleted"].as_u64().unwrap();
    let deleted: u64 = receipt["tables"]
        .as_array()
        .unwrap()
        .iter()
        .map(deleted)
        .sum();
    assert_eq!((again.code, deleted), (0, 0), "{}", again.err);
}

#[tokio::test]
async fn a_token_finds_the_rows_that_its_value_finds() {
    let stand = Stand::new().await;
    let token = "SELECT user_id FROM lines WHERE order_id = 1 AND line = 1";
    let token = stand.database.rows(token).await[0][0].clone();
    let tool = stand.tool().input(&token);
    let found = silent(tool.run(&stand.command("--json")).await);
    let rows = |ended: &Ended| -> Vec<u64> {
        let tables = ended.json()[0]["tables"].as_array().unwrap().clone();
        tables
            .iter()
            .map(|table| table["rows"].as_u64().unwrap())
            .collect()
    };
    assert_eq!(rows(&found), [2, 6, 4, 2]);
    // The token of the value as the table holds it stands for that spelling.
    let digest = found.json()[0]["digests"][0].clone();
    let by_value = stand.tool().input(ADA).run(&stand.command("--json")).await;
    assert_eq!(by_value.json()[0]["digests"][0], digest);
    // A hash stands for itself, and says so.
    let hash = stand
        .database
        .rows("SELECT user_id FROM orders WHERE order_id = 1")
        .await;
    let found = stand
        .tool()
        .input(&hash[0][0])
        .run(&stand.command("--json"))
        .await;
    assert_eq!(rows(&found), [1, 2, 2, 0]);
    assert_contains(&found.err, "value 1 looks like a hash");
}

#[tokio::test]
async fn rows_from_before_a_column_was_masked_are_found() {
    let stand = Stand::new().await;
    let plain = format!("INSERT INTO orders VALUES (77, '{ADA}')");
    stand.database.execute(&plain).await;
    assert_eq!(stand.forget("--yes").await.code, 0);
    assert_eq!(stand.database.count("orders WHERE order_id = 77").await, 0);
}

#[tokio::test]
async fn without_the_privilege_nothing_is_deleted_and_the_grant_is_named() {
    let stand = Stand::new().await;
    let role = stand.database.role("p").await;
    let revoke = format!("REVOKE DELETE ON visits FROM {role}");
    stand.database.execute(&revoke).await;
    let url = stand.database.url_as(&role, "p", server_address());
    let tool = stand.tool_at(&url).input(ADA);
    let before = stand.counts().await;
    for arguments in ["", "--yes"] {
        let ended = silent(tool.run(&stand.command(arguments)).await);
        let grant = format!("GRANT DELETE ON \"visits\" TO \"{role}\";");
        assert!(ended.out.contains(&grant), "{}{}", ended.out, ended.err);
        assert_eq!((ended.code, stand.counts().await), (1, before));
    }
    let revoke = format!("REVOKE SELECT ON orders FROM {role}");
    stand.database.execute(&revoke).await;
    let ended = tool.run(&stand.command("--yes")).await.exits(2);
    assert_contains(&ended.err, "GRANT SELECT, DELETE ON \"orders\"");
}

#[tokio::test]
async fn rows_that_others_refer_to_stay_and_the_reference_is_named() {
    let stand = Stand::new().await;
    let invoices =
        "CREATE TABLE invoices (id int, order_id bigint CONSTRAINT of_order REFERENCES orders);
        INSERT INTO invoices VALUES (1, 1), (2, 2)";
    stand.database.execute(invoices).await;
    let before = stand.counts().await;
    for arguments in ["", "--yes"] {
        let ended = stand.forget(arguments).await;
        assert_eq!(
            (ended.code, stand.counts().await),
            (1, before),
            "{}",
            ended.err
        );
        assert_contains(&ended.out, "foreign key \"of_order\": 1 row of invoices");
    }
    stand
        .database
        .execute("DELETE FROM invoices WHERE id = 1")
        .await;
    assert_eq!(stand.forget("--yes").await.code, 0);
}

#[tokio::test]
async fn no_value_is_in_the_log_of_postgres() {
    let stand = Stand::new().await;
    let logged = async |text: &str| {
        let sql = "SELECT position($1::text::bytea IN pg_read_binary_file('/proc/self/fd/2')) > 0";
        let row = stand
            .database
            .client
            .query_typed_one(sql, &[(&text, Type::TEXT)])
            .await;
        row.unwrap().get::<_, bool>(0)
    };
    // The log is kept, and shared.
    let person = &format!("{ADA}.{:016x}", fastrand::u64(..));
    let visits = format!("INSERT INTO visits VALUES (gen_random_uuid(), '{person}')");
    stand.database.execute(&visits).await;
    let verbose =
        stand.database.url() + "%20-c%20log_statement%3Dall%20-c%20log_min_duration_statement%3D0";
    let tool = stand.tool_at(&verbose).input(person);
    let done = silent(tool.run(&stand.command("--yes")).await);
    assert_eq!(done.code, 0, "{}", done.err);
    let schema = &stand.database.schema;
    assert!(
        logged("DELETE FROM \"orders\" AS t WHERE").await && !logged(person).await,
        "{schema}"
    );
    // Another role cannot keep them out of the log.
    let role = stand.database.role("p").await;
    let verbose = format!("ALTER ROLE {role} SET log_min_duration_statement = 0");
    stand.database.execute(&verbose).await;
    let url = stand.database.url_as(&role, "p", server_address());
    let tool = stand.tool_at(&url).input(person);
    let refused = tool.run(&stand.command("--yes")).await;
    let fix = format!("ALTER ROLE \"{role}\" SET log_parameter_max_length = 0;");
    assert!(
        refused.code == 2 && refused.err.contains(&fix),
        "{}",
        refused.err
    );
    stand.database.execute(&fix).await;
    assert_eq!(silent(tool.run(&stand.command("--yes")).await).code, 0);
    assert!(!logged(person).await);
    // If it is in the log, this test finds it.
    stand.database.execute("SET log_statement = 'all'").await;
    let typed = format!("SELECT '{person}'");
    stand.database.execute(&typed).await;
    assert!(logged(person).await);
}

#[tokio::test]
async fn only_dead_letters_of_the_queue_are_searched_if_it_is_named() {
    let stand = Stand::new().await;
    let queue = Queue::new().await;
    let policy = json!({"deadLetterTargetArn": stand.dead.arn, "maxReceiveCount": 3});
    queue
        .set(QueueAttributeName::RedrivePolicy, &policy.to_string())
        .await;
    stand.dead.send(&visit(ADA).to_string()).await;
    let origin = json!({"id": "m", "queue": "arn:aws:sqs:eu-west-1:0:other"}).to_string();
    let origin = MessageAttributeValue::builder()
        .data_type("String")
        .string_value(origin);
    let send = stand.dead.client.send_message().queue_url(&stand.dead.url);
    let send = send.message_attributes("origin", origin.build().unwrap());
    send.message_body(visit(ADA).to_string())
        .send()
        .await
        .unwrap();
    queue.send(&visit(ADA).to_string()).await;
    let tool = stand.tool().input(ADA);
    let command = format!("forget --column user_id --queue-url {} --yes", queue.url);
    let done = silent(tool.run(&format!("{command} --json")).await);
    let receipt = &done.json()[0];
    let letters = &receipt["dead_letters"];
    assert_eq!(letters["deleted"], 1, "{}{}", done.out, done.err);
    assert_eq!(letters["of_other_queues"], json!({"other": 1}));
    // What the queue itself has can become a row.
    assert_eq!((done.code, &receipt["queue"]["messages"]), (1, &json!(1)));
    let left = receipt["left"].to_string();
    assert_contains(&left, "1 message in queue");
    let accepted = silent(tool.run(&format!("{command} --accept queue")).await);
    assert_eq!(accepted.code, 0, "{}{}", accepted.out, accepted.err);
    for line in [
        "accepted: 1 message in queue",
        "not searched: 1 dead letter of queue other",
    ] {
        assert_contains(&accepted.out, line);
    }
}

#[tokio::test]
async fn a_message_that_cannot_be_read_and_names_the_person_is_reported() {
    let stand = Stand::new().await;
    stand.dead.send(&format!("{{\"user_id\": \"{ADA}\"")).await;
    let tool = stand.tool().input(ADA);
    let done = silent(tool.run(&stand.command("--yes")).await);
    assert_eq!(done.code, 1);
    assert_contains(&done.out, "left: 1 dead letter (cannot be parsed");
    stand.dead.receive_all(1).await;
}

/// The mapping may have changed since, or the producer forgot to say it.
#[tokio::test]
async fn a_message_that_is_packed_although_the_mapping_does_not_say_so_and_names_the_person_is_reported()
 {
    let stand = Stand::new().await;
    // {"user_id": "zq9canary.ada"}
    stand
        .dead
        .send("eyJ1c2VyX2lkIjogInpxOWNhbmFyeS5hZGEifQ==")
        .await;
    let tool = stand.tool().input(ADA);
    let done = silent(tool.run(&stand.command("--accept unreadable --yes")).await);
    assert_eq!(done.code, 1, "{}", done.out);
    assert_contains(&done.out, "left: 1 dead letter (cannot be parsed");
    stand.dead.receive_all(1).await;
}

#[tokio::test]
async fn what_cannot_be_searched_for_is_refused() {
    let stand = Stand::new().await;
    let cases = [
        (
            "--column nobody x",
            "no table of the mapping has a column \"nobody\"",
        ),
        (
            "--column order_id zq9canary",
            "value 1 cannot be in column \"order_id\"",
        ),
        ("--column user_id --yes --dry-run x", "cannot be used with"),
        ("--column user_id x --yes", "put flags before the values"),
    ];
    for (arguments, said) in cases {
        let ended = silent(stand.tool().run(&format!("forget {arguments}")).await);
        assert_eq!((ended.code, ended.out.as_str()), (2, ""), "{arguments}");
        assert!(ended.err.contains(said), "{arguments}: {}", ended.err);
    }
    let nothing = stand
        .tool()
        .run("forget --column user_id --yes")
        .await
        .exits(2);
    assert_contains(&nothing.err, "no value given");
    stand
        .tool()
        .input("\n")
        .run("forget --column user_id --yes")
        .await
        .exits(2);
}

#[tokio::test]
async fn rows_that_are_stored_in_the_meantime_are_reported() {
    let stand = Stand::new().await;
    let trigger = format!(
        "CREATE FUNCTION again() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             INSERT INTO visits VALUES (gen_random_uuid(), '{ADA}'); RETURN NULL; END $$;
         CREATE TRIGGER again AFTER DELETE ON orders FOR EACH STATEMENT EXECUTE FUNCTION again()"
    );
    stand.database.execute(&trigger).await;
    let done = stand.forget("--yes").await.exits(1);
    let left = "left: 1 row of \"visits\", stored during the run: run it again";
    assert_contains(&done.out, left);
    stand.database.execute("DROP TRIGGER again ON orders").await;
    assert_eq!(stand.forget("--yes").await.code, 0);
}

/// Without foreign keys, so that Postgres itself does not keep the new line from losing its order.
#[tokio::test]
async fn a_child_that_comes_with_a_replaced_parent_is_deleted_too() {
    let stand = Stand::new().await;
    let free = "ALTER TABLE lines DROP CONSTRAINT lines_order_id_fkey";
    stand.database.execute(free).await;
    let replacing = stand.database.lock_rows("orders", "order_id = 1").await;
    let holder: i32 = replacing
        .query_one("SELECT pg_backend_pid()", &[])
        .await
        .unwrap()
        .get(0);
    let tool = stand.tool().input(ADA);
    let forgetting = tool.start(&stand.command("--yes"));
    let waiting = format!("pg_stat_activity WHERE {holder} = ANY (pg_blocking_pids(pid))");
    eventually("it waits for the order", async || {
        (stand.database.count(&waiting).await > 0).then_some(())
    })
    .await;
    let schema = &stand.database.schema;
    let replace = format!(
        "UPDATE {schema}.orders SET user_id = user_id WHERE order_id = 1;
         INSERT INTO {schema}.lines VALUES (1, 9, NULL); COMMIT"
    );
    replacing.batch_execute(&replace).await.unwrap();
    let done = silent(forgetting.end().await);
    assert_eq!(done.code, 0, "{}{}", done.out, done.err);
    assert_eq!(stand.database.count("lines WHERE order_id = 1").await, 0);
}

/// One column from an attribute, the other from within a text that is JSON.
const ELSEWHERE: &str = r#"
root = "detail"
[[table]]
name = "visits"
key = ["id"]
column = [
  { name = "id", type = "uuid", from = "@message_id" },
  { name = "user_id", type = "text", from = ["@attribute.user", "people.1.id"] },
  { name = "count", type = "integer", required = true },
]
"#;

#[tokio::test]
async fn a_dead_letter_that_the_mapping_rejects_is_found_wherever_the_column_is_read_from() {
    let database = Database::with_tables_of(ELSEWHERE).await;
    let dead = Queue::new().await;
    let user = MessageAttributeValue::builder().data_type("String");
    let user = user.string_value(ADA).build().unwrap();
    let send = dead.client.send_message().queue_url(&dead.url);
    let send = send.message_attributes("user", user);
    send.message_body("{}").send().await.unwrap();
    for (first, second) in [(BOB, ADA), (ADA, BOB)] {
        let people = json!({"people": [{"id": first}, {"id": second}]});
        dead.send(&json!({"detail": people.to_string()}).to_string())
            .await;
    }
    let tool = Tool::on(&database).on_aws().mapping(ELSEWHERE).input(ADA);
    let command = format!(
        "forget --column user_id --yes --json --accept queue --dead-letter-queue-url {}",
        dead.url
    );
    let done = silent(tool.run(&command).await);
    let letters = &done.json()[0]["dead_letters"];
    assert_eq!(
        (done.code, &letters["deleted"]),
        (0, &json!(2)),
        "{}{}",
        done.out,
        done.err
    );
    dead.receive_all(1).await;
}

#[tokio::test]
async fn without_a_queue_and_a_mask_key_the_receipt_says_what_it_lacks() {
    let database = Database::with_tables_of(ELSEWHERE).await;
    let tool = Tool::bare().set("DATABASE_URL", &database.url());
    let done = silent(
        tool.mapping(ELSEWHERE)
            .input(ADA)
            .run("forget --column user_id")
            .await,
    );
    assert_eq!(done.code, 1, "{}", done.err);
    assert_contains(
        &done.out,
        "left: the messages of the queue (it is not named",
    );
    for note in [
        "no dead-letter queue was searched",
        "without a mask key the receipt has no digests",
    ] {
        assert_contains(&done.err, note);
    }
    assert_contains(&done.out, "value 1: no digest");
}

#[tokio::test]
async fn a_delayed_dead_letter_is_reported() {
    let (stand, dead) = (Stand::new().await, Queue::new().await);
    dead.set(QueueAttributeName::DelaySeconds, "900").await;
    dead.send(&visit(ADA).to_string()).await;
    let command = stand.command_on(&dead, "--yes --json");
    let done = silent(stand.tool().input(ADA).run(&command).await);
    let left = done.json()[0]["left"].to_string();
    assert!(
        done.code == 1 && left.contains("in flight elsewhere, or delayed"),
        "{left}"
    );
}

/// Behind ten messages of a group SQS delivers no other one of it until these are deleted or visible again.
#[tokio::test]
async fn messages_of_a_fifo_queue_that_are_not_received_are_reported() {
    let stand = Stand::new().await;
    let dead = Queue::fifo().await;
    let send = async |group: &str, user: &str| {
        let id = format!("{:016x}", fastrand::u64(..));
        let send = dead.client.send_message().queue_url(&dead.url);
        let send = send.message_group_id(group).message_deduplication_id(id);
        send.message_body(visit(user).to_string())
            .send()
            .await
            .unwrap();
    };
    for _ in 0..15 {
        send("theirs", ADA).await;
    }
    let command = stand.command_on(&dead, "--yes --json");
    let tool = stand.tool().input(ADA);
    let done = silent(tool.run(&command).await);
    let letters = &done.json()[0]["dead_letters"];
    assert_eq!(
        (done.code, &letters["deleted"]),
        (0, &json!(15)),
        "{}{}",
        done.out,
        done.err
    );
    for _ in 0..11 {
        send("others", BOB).await;
    }
    send("others", ADA).await;
    let done = silent(tool.run(&command).await);
    let left = done.json()[0]["left"].to_string();
    assert!(
        done.code == 1 && left.contains("behind ten messages of their group"),
        "{left}"
    );
}
