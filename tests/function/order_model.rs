//! The order inside a batch against a model: random batches with many messages of few keys, and refused rows anywhere.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use serde_json::json;

use testkit::batch::{Batch, id};
use testkit::{Database, Function, Mapping, Setup};

const MANY: usize = 1_000;
const BATCHES: usize = 8;

/// Keys with many messages in a batch.
const HOT_KEYS: i32 = 20;
const PERCENT_HOT: u32 = 10;
const FIRST_RARE_KEY: i32 = 1_000_000;
const MOST_REFUSED: usize = 4;

/// A message; its number, which also is its value, is greater than the numbers of the messages before it.
struct Message {
    number: i32,
    key: i32,
    is_refused: bool,
}

/// Makes batches, in which no number and no rare key comes twice.
struct Messages {
    random: Rng,
    made: i32,
}

impl Messages {
    fn batch(&mut self, number: usize) -> Vec<Message> {
        match number {
            0 => self.of(MANY, &[], 0),
            1 => {
                let refused = self.random.usize(0..MANY);
                self.of(MANY, &[refused], 1)
            }
            _ => {
                let most = [10, 100, MANY][self.random.usize(0..3)];
                let size = self.random.usize(1..most);
                let refused = self.random.usize(0..=MOST_REFUSED);
                let refused: Vec<_> = (0..refused).map(|_| self.random.usize(0..size)).collect();
                let hot = self.random.i32(0..4);
                self.of(size, &refused, hot)
            }
        }
    }

    /// A batch of this size, whose messages in these places are refused; `hot` selects the keys of which it has many.
    fn of(&mut self, size: usize, refused: &[usize], hot: i32) -> Vec<Message> {
        let message = |place| {
            self.made += 1;
            let is_hot = self.random.u32(0..100) < PERCENT_HOT;
            Message {
                number: self.made,
                key: if is_hot {
                    HOT_KEYS * hot + self.random.i32(0..HOT_KEYS)
                } else {
                    FIRST_RARE_KEY + self.made
                },
                is_refused: refused.contains(&place),
            }
        };
        (0..size).map(message).collect()
    }
}

/// Messages one after the other, as if each were a batch.
fn store(table: &mut BTreeMap<i32, i32>, batch: &[Message], on_conflict: &str) {
    for message in batch.iter().filter(|message| !message.is_refused) {
        let row = table.entry(message.key).or_insert(message.number);
        if on_conflict == "update" {
            *row = message.number;
        }
    }
}

async fn invoke(function: &mut Function, batch: &[Message]) -> BTreeSet<String> {
    let event = batch.iter().fold(Batch::new(), |event, message| {
        let value = if message.is_refused {
            -message.number
        } else {
            message.number
        };
        let body = json!({"k": message.key, "v": value});
        event.body(&message.number.to_string(), body)
    });
    let answer = function.invoke(&event.event()).await;
    answer.failed_ids().into_iter().collect()
}

async fn rows(database: &Database) -> BTreeMap<i32, i32> {
    let rows = database.client.query("SELECT k, v FROM t", &[]).await;
    let rows = rows.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// A refused message may be skipped instead, if there is another one of its key in its batch.
fn assert_only_refused_failed(batch: &[Message], failed: &BTreeSet<String>, said: &str) {
    for message in batch {
        let is_failed = failed.contains(&id(&message.number.to_string()));
        let is_alone = message.key > FIRST_RARE_KEY;
        let is_right = is_failed == message.is_refused || (!is_failed && !is_alone);
        assert!(is_right, "{said}: message {}", message.number);
    }
}

async fn batches_are_stored_as_in_the_model(on_conflict: &str) {
    let seed = fastrand::u64(..);
    let mut messages = Messages {
        random: Rng::with_seed(seed),
        made: 0,
    };
    let database = Database::new().await;
    database
        .execute("CREATE TABLE t (k integer PRIMARY KEY, v integer CHECK (v >= 0))")
        .await;
    let mapping = Mapping::of("t").key("k").set("on_conflict", on_conflict);
    let mapping = mapping.column("k", "integer").with("required", true);
    let mapping = mapping.column("v", "integer");
    let mut function = Setup::on(&database).mapping(&mapping).start().await;
    let mut model = BTreeMap::new();
    for number in 0..BATCHES {
        let batch = messages.batch(number);
        let said = format!("seed {seed}, batch {number}");
        store(&mut model, &batch, on_conflict);
        let failed = invoke(&mut function, &batch).await;
        assert_only_refused_failed(&batch, &failed, &said);
        let rows = rows(&database).await;
        assert_eq!(rows.len(), model.len(), "{said}");
        let different = model
            .iter()
            .find(|(key, value)| rows.get(key) != Some(value));
        assert_eq!(different, None, "{said}");
    }
}

#[tokio::test]
async fn under_ignore_the_first_message_of_a_key_is_stored_whatever_is_refused() {
    batches_are_stored_as_in_the_model("ignore").await;
}

#[tokio::test]
async fn under_update_the_last_message_of_a_key_is_stored_whatever_is_refused() {
    batches_are_stored_as_in_the_model("update").await;
}
