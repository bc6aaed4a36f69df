//! Orders with lines and discounts against a model of plain maps: random batches, with bad elements, refused rows,
//! deletes, duplicates and redeliveries.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use serde_json::{Value, json};

use crate::families::{ORDERS, ignoring, order, stored, with_orders};
use crate::support::batch::{Batch, id};
use crate::support::{Function, Setup};

const BATCHES: usize = 12;
const SIZES: [usize; 4] = [1, 10, 200, 2_000];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Policy {
    /// The first message of an order counts.
    Ignore,
    /// The last one.
    Update,
    /// The newest one, and of those the last.
    Newer,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// The mapping rejects it for one of its elements.
    Rejected,
    /// Postgres refuses one of its rows.
    Refused,
}

#[derive(Clone)]
struct Message {
    key: i64,
    version: i64,
    /// The discounts of each line; `None` deletes the order.
    lines: Option<Vec<Vec<i64>>>,
    fault: Fault,
}

/// What an order should be.
struct Order {
    version: i64,
    lines: Vec<Vec<i64>>,
}

type Model = BTreeMap<i64, Order>;

impl Message {
    fn body(&self) -> Value {
        let Some(lines) = &self.lines else {
            return json!({"type": "order.deleted", "order_id": self.key, "version": self.version});
        };
        let lines: Vec<_> = lines
            .iter()
            .map(|discounts| ("x", &discounts[..]))
            .collect();
        let mut body = order(self.key, self.version, &lines);
        let last = lines.len().saturating_sub(1);
        match self.fault {
            Fault::None => {}
            Fault::Rejected => body["lines"][last]["sku"] = json!(null),
            Fault::Refused => body["lines"][last]["discounts"] = json!([{"percent": 101}]),
        }
        body
    }

    /// Applies it as if it came alone.
    fn apply(&self, model: &mut Model, policy: Policy) {
        let stored = model.get(&self.key);
        let counts = match policy {
            Policy::Ignore => stored.is_none(),
            Policy::Update => true,
            Policy::Newer => stored.is_none_or(|stored| stored.version <= self.version),
        };
        match &self.lines {
            _ if self.fault != Fault::None || !counts => {}
            None => _ = model.remove(&self.key),
            Some(lines) => {
                let (version, lines) = (self.version, lines.clone());
                model.insert(self.key, Order { version, lines });
            }
        }
    }
}

struct Messages {
    random: Rng,
    policy: Policy,
    sent: Vec<Message>,
    /// The version of each order that was deleted last. A message that is older is not made: the row is gone, and
    /// nothing tells any more that it is older.
    deleted: BTreeMap<i64, i64>,
    next_version: i64,
}

impl Messages {
    fn message(&mut self) -> Message {
        let redelivered = self.random.u32(0..100) < 20 && !self.sent.is_empty();
        if redelivered {
            let message = self.sent[self.random.usize(0..self.sent.len())].clone();
            if !self.deleted.contains_key(&message.key) {
                return message;
            }
        }
        let keys = if self.random.bool() { 10 } else { 3_000 };
        let key = self.random.i64(0..keys);
        self.next_version += 1;
        let is_deleted = self.policy != Policy::Ignore && self.random.u32(0..100) < 10;
        let oldest = self.deleted.get(&key).map_or(0, |version| version + 1);
        let version = match is_deleted {
            true => self.next_version,
            false => self.random.i64(oldest..=self.next_version),
        };
        if is_deleted {
            self.deleted.insert(key, version);
            return Message {
                key,
                version,
                lines: None,
                fault: Fault::None,
            };
        }
        let most = if self.random.u32(0..50) == 0 { 50 } else { 4 };
        let lines = (0..self.random.usize(0..=most))
            .map(|_| self.discounts())
            .collect::<Vec<_>>();
        let fault = match self.random.u32(0..100) {
            0 if !lines.is_empty() => Fault::Rejected,
            1 if !lines.is_empty() => Fault::Refused,
            _ => Fault::None,
        };
        let message = Message {
            key,
            version,
            lines: Some(lines),
            fault,
        };
        self.sent.push(message.clone());
        message
    }

    fn discounts(&mut self) -> Vec<i64> {
        (0..self.random.usize(0..3))
            .map(|_| self.random.i64(0..=100))
            .collect()
    }
}

fn expected(model: &Model) -> BTreeSet<String> {
    let mut rows = BTreeSet::new();
    for (key, order) in model {
        rows.insert(format!("{key} v{}", order.version));
        for (line, discounts) in order.lines.iter().enumerate() {
            rows.insert(format!("{key}.{line} x"));
            let numbered = discounts.iter().enumerate();
            rows.extend(
                numbered.map(|(number, percent)| format!("{key}.{line}.{number} {percent}%")),
            );
        }
    }
    rows
}

async fn invoke(function: &mut Function, batch: &[Message]) -> BTreeSet<String> {
    let event = batch
        .iter()
        .enumerate()
        .fold(Batch::new(), |event, (number, message)| {
            event.body(&number.to_string(), message.body())
        });
    function
        .invoke(&event.event())
        .await
        .failed_ids()
        .into_iter()
        .collect()
}

async fn tables_equal_the_model(policy: Policy) {
    let seed = fastrand::u64(..);
    let mut messages = Messages {
        random: Rng::with_seed(seed),
        policy,
        sent: Vec::new(),
        deleted: BTreeMap::new(),
        next_version: 0,
    };
    let mapping = match policy {
        Policy::Ignore => ignoring(ORDERS),
        Policy::Update => ORDERS.replace("newer = \"version\"\n", ""),
        Policy::Newer => ORDERS.to_owned(),
    };
    let database = with_orders().await;
    let mut function = Setup::on(&database).mapping(&mapping).start().await;
    let mut model = Model::new();
    for number in 0..BATCHES {
        let size = messages.random.usize(1..=SIZES[number % SIZES.len()]);
        let batch: Vec<_> = (0..size).map(|_| messages.message()).collect();
        let said = format!("seed {seed}, {policy:?}, batch {number} of {size}");
        for message in &batch {
            message.apply(&mut model, policy);
        }
        let failed = invoke(&mut function, &batch).await;
        for (number, message) in batch.iter().enumerate() {
            let is_failed = failed.contains(&id(&number.to_string()));
            match message.fault {
                Fault::None => assert!(!is_failed, "{said}: message {number}"),
                Fault::Rejected => assert!(is_failed, "{said}: message {number}"),
                // It may be left out for another one of its order.
                Fault::Refused => {}
            }
        }
        let stored: BTreeSet<_> = stored(&database).await.into_iter().collect();
        let expected = expected(&model);
        let different: Vec<_> = stored.symmetric_difference(&expected).take(5).collect();
        assert_eq!(different, Vec::<&String>::new(), "{said}");
    }
}

#[tokio::test]
async fn under_ignore_the_tables_equal_the_model_after_every_batch() {
    tables_equal_the_model(Policy::Ignore).await;
}

#[tokio::test]
async fn under_update_the_tables_equal_the_model_after_every_batch() {
    tables_equal_the_model(Policy::Update).await;
}

#[tokio::test]
async fn under_newer_the_tables_equal_the_model_after_every_batch() {
    tables_equal_the_model(Policy::Newer).await;
}
