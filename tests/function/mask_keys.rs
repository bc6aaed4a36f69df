//! Several mask keys: a new one comes into use while batches flow.

use mapping::internals::Origin;
use serde_json::{Value, json};

use testkit::aws::Secret;
use testkit::batch::{Batch, id};
use testkit::{Database, Function, MASK_KEY, Mapping, Setup, assert_contains, signed_origin};

/// Another key of 64 bytes.
const NEXT_KEY: &str =
    "QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFlaW1xdXl9gYWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXp7fH1+fw==";

fn ring(current: &str) -> Value {
    json!({"mask_keys": {"": MASK_KEY, "2026": NEXT_KEY}, "current": current})
}

fn mapping(ip_type: &str) -> Mapping {
    let mapping = Mapping::of("t").key("id").column("id", "uuid");
    let mapping = mapping.with("from", "@message_id");
    let mapping = mapping.column("ip", ip_type).with("mask", "aes-siv");
    let mapping = mapping.column("hash", "varchar(64)").with("from", "ip");
    let mapping = mapping.with("mask", "hmac-sha256");
    mapping
        .column("key_id", "text")
        .with("from", "@mask_key_id")
}

async fn table() -> Database {
    let database = Database::new().await;
    let columns = "id uuid PRIMARY KEY, ip text, hash text, key_id text";
    database
        .execute(&format!("CREATE TABLE t ({columns})"))
        .await;
    database
}

/// A function with the mask keys of this secret.
fn with_secret(database: &Database, secret: &Secret, ip_type: &str) -> Setup {
    let setup = Setup::on(database).mapping(&mapping(ip_type)).on_aws();
    setup.without("MASK_KEY").set("MASK_SECRET_ID", &secret.id)
}

async fn store(function: &mut Function, name: &str) {
    let batch = Batch::new().body(name, json!({"ip": "198.51.100.7"}));
    function.invoke(&batch.event()).await.assert_none_failed();
}

#[tokio::test]
async fn a_new_mask_key_comes_into_use_without_a_failed_batch() {
    let database = table().await;
    let secret = Secret::new(&json!({"mask_key": MASK_KEY}).to_string()).await;
    let setup = with_secret(&database, &secret, "text");
    let mut function = setup.set("SECRET_TTL_SECS", "0").start().await;
    store(&mut function, "before").await;
    secret.put(&ring("").to_string()).await;
    store(&mut function, "known").await;
    secret.put(&ring("2026").to_string()).await;
    store(&mut function, "after").await;
    // What cannot be used does not stop the function.
    let mut no_current = ring("2026");
    no_current.as_object_mut().unwrap().remove("current");
    no_current["mask_key"] = json!(MASK_KEY);
    let mut no_text = ring("2026");
    no_text["mask_key"] = json!(MASK_KEY);
    no_text["mask_keys"]["2027"] = json!(null);
    let no_keys = json!({"mask_keys": {}, "current": "2026"});
    for broken in [no_keys, json!("no key"), no_current, no_text] {
        secret.put(&broken.to_string()).await;
        store(&mut function, &broken.to_string()).await;
    }
    let counted = "SELECT key_id, count(*)::text, count(DISTINCT ip)::text, count(DISTINCT hash)::text, bool_and(ip LIKE '2026.%')::text FROM t GROUP BY key_id ORDER BY key_id";
    assert_eq!(
        database.rows(counted).await,
        [
            ["", "2", "1", "1", "false"],
            ["2026", "5", "1", "1", "true"]
        ]
    );
    let reasons = function.lines("cannot refresh the mask keys: continuing with the current ones");
    assert_eq!(reasons.len(), 4, "{reasons:?}");
}

#[tokio::test]
async fn the_keys_are_not_read_again_for_every_batch() {
    let database = table().await;
    let secret = Secret::new(&ring("").to_string()).await;
    let setup = with_secret(&database, &secret, "text");
    let mut function = setup.start().await;
    store(&mut function, "first").await;
    secret.put(&ring("2026").to_string()).await;
    store(&mut function, "second").await;
    assert_eq!(database.count("t WHERE key_id = ''").await, 2);
}

#[tokio::test]
async fn a_column_that_is_too_narrow_for_tokens_with_the_id_of_their_key_stops_the_start() {
    let database = table().await;
    for (current, starts) in [("", true), ("2026", false)] {
        let secret = Secret::new(&ring(current).to_string()).await;
        let setup = with_secret(&database, &secret, "varchar(24)");
        if starts {
            setup.start().await.ready().await;
        } else {
            let (_, log) = setup.fail_to_start().await;
            let needed = "tokens of mask aes-siv have at least 28 characters";
            assert_contains(&log, needed);
        }
    }
}

/// Whoever knows a key that leaked could sign with it. `redrive` signs dead letters from before the change again.
#[tokio::test]
async fn a_retired_key_signs_no_origin() {
    let database = table().await;
    let secret = Secret::new(&ring("2026").to_string()).await;
    let setup = with_secret(&database, &secret, "text");
    let mut function = setup.start().await;
    let body = r#"{"ip": "198.51.100.7"}"#;
    for (name, key) in [("by the old key", MASK_KEY), ("by the new key", NEXT_KEY)] {
        let origin = Origin::new(&id("first"), None, "");
        let origin = signed_origin(key, origin, body);
        let record = json!({
            "messageId": id(name), "body": body,
            "messageAttributes": {"origin": {"stringValue": origin, "dataType": "String"}},
        });
        let batch = Batch::new().record(record);
        function.invoke(&batch.event()).await.assert_none_failed();
    }
    let mut expected = [[id("by the old key")], [id("first")]];
    expected.sort();
    let ids = database.rows("SELECT id::text FROM t ORDER BY id").await;
    assert_eq!(ids, expected);
    let ignored =
        function.lines("origin ignored: the message keeps the id and time that SQS gave it");
    assert_eq!(ignored.len(), 1, "{ignored:?}");
}
