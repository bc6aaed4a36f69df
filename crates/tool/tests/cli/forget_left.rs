//! `forget` ends with 0 only if nothing of a person can be left: whatever it cannot find or exclude is in the receipt.

use serde_json::{Value, json};

use crate::forget::{ADA, ADA_AS_TYPED, BOB, MAPPING, NEXT_KEY, Stand, silent};
use crate::tool::{Ended, Tool};
use testkit::aws::Queue;
use testkit::sqs_double::SqsDouble;
use testkit::{Database, MASK_KEY, assert_contains, assert_starts, server_address};

/// A key that made no token.
const OTHER_KEY: &str =
    "gIGCg4SFhoeIiYqLjI2Oj5CRkpOUlZaXmJmam5ydnp+goaKjpKWmp6ipqqusra6vsLGys7S1tre4ubq7vL2+vw==";

fn rows(ended: &Ended) -> Vec<u64> {
    let tables = ended.json()[0]["tables"].as_array().unwrap().clone();
    tables
        .iter()
        .map(|table| table["rows"].as_u64().unwrap())
        .collect()
}

fn left(ended: &Ended) -> String {
    ended.json()[0]["left"].to_string()
}

/// With another mask key than the one of the rows.
async fn with_key(stand: &Stand, keys: &Value, arguments: &str) -> Ended {
    stand.secret.put(&keys.to_string()).await;
    let tool = stand.tool().input(ADA);
    silent(tool.run(&stand.command(arguments)).await)
}

#[tokio::test]
async fn rows_that_row_security_hides_are_not_taken_for_none() {
    let stand = Stand::new().await;
    let role = stand.database.role("p").await;
    stand
        .database
        .execute("ALTER TABLE visits ENABLE ROW LEVEL SECURITY")
        .await;
    let url = stand.database.url_as(&role, "p", server_address());
    let tool = stand.tool_at(&url).input(ADA);
    let refused = silent(tool.run(&stand.command("--yes")).await);
    assert_eq!((refused.code, refused.out.as_str()), (2, ""));
    let fix = format!("ALTER ROLE \"{role}\" BYPASSRLS;");
    assert_contains(&refused.err, "row security hides rows of \"visits\"");
    assert_contains(&refused.err, &fix);
    stand.database.execute(&fix).await;
    let done = silent(tool.run(&stand.command("--yes")).await);
    assert_eq!(done.code, 0, "{}{}", done.out, done.err);
}

#[tokio::test]
async fn tokens_of_a_key_that_the_secret_lacks_are_left_until_they_are_accepted() {
    let stand = Stand::new().await;
    let old_only = json!({"mask_keys": {"": MASK_KEY}, "current": ""});
    let ended = with_key(&stand, &old_only, "--json").await;
    assert_eq!((ended.code, rows(&ended)), (1, vec![1, 3, 2, 2]));
    let receipt = &ended.json()[0]["left"];
    let [hashes, tokens] = [&receipt[0], &receipt[1]].map(|left| left.as_str().unwrap());
    assert_starts(
        &hashes,
        "2 tokens in column user_id of \"orders\" of key \"2026\"",
    );
    assert_starts(
        &tokens,
        "4 tokens in column user_id of \"lines\" of key \"2026\"",
    );
    assert!(tokens.ends_with("or --accept unknown-keys"), "{tokens}");
    let accepted = with_key(&stand, &old_only, "--json --accept unknown-keys").await;
    assert_eq!((accepted.code, left(&accepted)), (0, "[]".to_owned()));
    assert_eq!(accepted.json()[0]["accepted"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn tokens_that_another_key_of_the_same_id_made_are_left() {
    let stand = Stand::new().await;
    let other = json!({"mask_keys": {"": OTHER_KEY, "2026": NEXT_KEY}, "current": "2026"});
    let ended = with_key(&stand, &other, "--yes --json").await.exits(1);
    let left = left(&ended);
    assert_contains(
        &left,
        "tokens in column user_id of \\\"lines\\\" of key \\\"\\\"",
    );
}

/// Without a column of `@mask_key_id`.
const HASHES: &str = r#"
table = "logins"
key = ["id"]
column = [
  { name = "id", type = "uuid", from = "@message_id" },
  { name = "ip", type = "text", transform = ["ip"], mask = "hmac-sha256" },
]
"#;

#[tokio::test]
async fn hashes_do_not_say_their_key_so_they_are_left_until_they_are_accepted() {
    let database = Database::with_tables_of(HASHES).await;
    let others = "INSERT INTO logins SELECT gen_random_uuid(), encode(sha256(n::text::bytea), 'hex') FROM generate_series(1, 3) AS n";
    database.execute(others).await;
    let tool = Tool::on(&database).mapping(HASHES).input("192.0.2.1");
    let command = "forget --column ip --json --accept queue";
    let ended = tool.run(command).await;
    let text = left(&ended);
    assert!(
        ended.code == 1
            && text.contains(
                "3 hashed values in column ip of \\\"logins\\\": a hash does not identify its key"
            ),
        "{text}{}",
        ended.err
    );
    let accepted = tool.run(&format!("{command},hashes")).await;
    assert_eq!((accepted.code, left(&accepted)), (0, "[]".to_owned()));
}

#[tokio::test]
async fn a_value_that_the_column_refuses_is_refused_with_its_rule() {
    let database = Database::with_tables_of(HASHES).await;
    let tool = Tool::on(&database).mapping(HASHES);
    let refused = silent(
        tool.input("zq9canary.ada")
            .run("forget --column ip --accept queue")
            .await,
    );
    assert_eq!(
        (refused.code, refused.out.as_str()),
        (2, ""),
        "{}",
        refused.err
    );
    assert_contains(&refused.err, "value 1 cannot be in column \"ip\": ");
}

#[tokio::test]
async fn rows_are_found_under_every_mask_and_from_before_a_transform_was_added() {
    let stand = Stand::new().await;
    let database = &stand.database;
    let tokens = "INSERT INTO visits SELECT gen_random_uuid(), user_id FROM orders WHERE order_id IN (1, 3)
        UNION ALL SELECT gen_random_uuid(), user_id FROM lines WHERE order_id IN (1, 3) AND line = 1";
    database.execute(tokens).await;
    for value in [ADA, ADA_AS_TYPED, ADA_AS_TYPED.trim()] {
        let hashes = format!(
            "INSERT INTO visits VALUES (gen_random_uuid(), encode(sha256('{value}'), 'hex')),
                 (gen_random_uuid(), encode(sha512('{value}'), 'hex'))"
        );
        database.execute(&hashes).await;
    }
    let raw = format!("INSERT INTO visits VALUES (gen_random_uuid(), '{ADA_AS_TYPED}')");
    database.execute(&raw).await;
    let masked = MAPPING.replace("clear = true", "mask = \"sha512\"");
    for mapping in [MAPPING, &masked] {
        let tool = stand
            .tool()
            .mapping(mapping)
            .input(&format!("{ADA_AS_TYPED}\n"));
        let found = silent(tool.run(&stand.command("--json")).await);
        assert_eq!(rows(&found), [2, 6, 4, 2 + 4 + 6 + 1], "{}", found.err);
    }
    let done = stand.forget("--yes").await;
    assert_eq!(
        (done.code, database.count("visits").await),
        (0, 2),
        "{}{}",
        done.out,
        done.err
    );
}

#[tokio::test]
async fn dead_letters_that_cannot_be_read_are_left_and_searched_however_they_spell_the_value() {
    let stand = Stand::new().await;
    for body in [
        r#"{"user_id": "ZQ9CANARY.Ada"#.to_owned(),
        r#"{"user_id": "zq9canary\u002eada""#.to_owned(),
        r#"{"body": "{\"user_id\": \"zq9canary\\u002Eada\""#.to_owned(),
        format!("no JSON, but of {BOB}"),
        // The message is in S3, where nobody looks.
        r#"["software.amazon.payloadoffloading.PayloadS3Pointer", {"s3BucketName": "b", "s3Key": "k"}]"#.to_owned(),
    ] {
        stand.dead.send(&body).await;
    }
    let ended = stand.forget("--yes").await.exits(1);
    for left in [
        "left: 3 dead letters (cannot be parsed, and contain one of the values",
        "left: 2 dead letters (cannot be parsed: inspect them, and delete them by hand), or --accept unreadable",
    ] {
        assert_contains(&ended.out, left);
    }
    let accepted = stand.forget("--yes --accept unreadable").await.exits(1);
    assert_contains(&accepted.out, "accepted: 2 dead letters (cannot be parsed");
}

const NUMBERS: &str = r#"
table = "accounts"
key = ["id"]
column = [
  { name = "id", type = "uuid", from = "@message_id" },
  { name = "number", type = "numeric" },
  { name = "count", type = "integer", required = true },
]
"#;

#[tokio::test]
async fn numbers_are_compared_as_numbers_also_in_dead_letters() {
    let (database, dead) = (Database::with_tables_of(NUMBERS).await, Queue::new().await);
    let stored =
        "INSERT INTO accounts VALUES (gen_random_uuid(), 5.0, 1), (gen_random_uuid(), 50, 1)";
    database.execute(stored).await;
    let bodies = [
        json!({"number": "5.0", "count": 1}),
        json!({"number": "5.00"}),
        json!({"number": 5, "count": 1}),
        json!({"number": 50, "count": 1}),
        json!({"number": 0.5}),
    ];
    for body in bodies {
        dead.send(&body.to_string()).await;
    }
    let tool = Tool::on(&database).on_aws().mapping(NUMBERS).input("5");
    let command = format!(
        "forget --column number --yes --json --accept queue --dead-letter-queue-url {}",
        dead.url
    );
    let done = tool.run(&command).await;
    assert_eq!(
        (done.code, rows(&done)),
        (0, vec![1]),
        "{}{}",
        done.out,
        done.err
    );
    assert_eq!(done.json()[0]["dead_letters"]["deleted"], 3, "{}", done.out);
}

#[tokio::test]
async fn a_byte_order_mark_is_not_part_of_the_first_value() {
    let stand = Stand::new().await;
    let tool = stand.tool().input(&format!("\u{feff}{ADA}\r\n"));
    let found = silent(tool.run(&stand.command("--json")).await);
    assert_eq!(rows(&found), [2, 6, 4, 2], "{}", found.err);
}

#[tokio::test]
async fn a_dead_letter_that_comes_in_the_meantime_does_not_hide_one_that_was_not_received() {
    let database = Database::with_tables_of(NUMBERS).await;
    let other = json!({"number": 7, "count": 1});
    let double = SqsDouble::with(1, &other);
    double.state().hidden = 1;
    double.receive_with_first(&other);
    let tool = Tool::on(&database).on_aws().mapping(NUMBERS).input("5");
    let tool = tool.set("AWS_ENDPOINT_URL", &double.endpoint);
    let command = format!(
        "forget --column number --json --accept queue --dead-letter-queue-url {}/0/dead",
        double.endpoint
    );
    let ended = tool.run(&command).await;
    let receipt = &ended.json()[0];
    assert_eq!(receipt["dead_letters"]["searched"], 2, "{receipt}");
    assert!(
        ended.code == 1 && left(&ended).contains("1 dead letter (were not received"),
        "{receipt}"
    );
}
