//! Orders with lines and discounts, and beside them payments, against a model of plain maps: random batches, with bad
//! elements, refused rows in every table, deletes, duplicates and redeliveries in any order.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use serde_json::{Value, json};

use crate::child_tables::{ORDERS, deletion, ignoring, order, started, stored, with_orders};
use testkit::batch::{Batch, id};
use testkit::{Database, Function};

const BATCHES: usize = 12;
const SIZES: [usize; 4] = [1, 10, 200, 2_000];
const MOST_LINES: usize = 50;

/// A table of its own, in which the first message of a key counts.
const PAYMENTS: &str = r#"
[[table]]
name = "payments"
when = { paid = true }
key = ["payment_id"]
column = [
  { name = "payment_id", type = "bigint", from = "payment.id", required = true },
  { name = "amount", type = "integer", from = "payment.amount" },
]
"#;

/// Each refuses a row of another table.
const CHECKS: &str = "CREATE TABLE payments (payment_id bigint PRIMARY KEY, amount integer CHECK (amount >= 0));
    ALTER TABLE orders ADD CHECK (note <> 'refused'); ALTER TABLE order_lines ADD CHECK (sku <> 'refused')";

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
    /// Postgres refuses its row in a table: an order, its last line, a discount of that, or its payment.
    Refused(&'static str),
}

/// What a message says about its order.
#[derive(Clone, PartialEq)]
enum Change {
    /// The discounts of each line.
    Lines(Vec<Vec<i64>>),
    Deleted,
    /// Nothing: it is about the payment alone.
    None,
}

#[derive(Clone)]
struct Message {
    key: i64,
    version: i64,
    change: Change,
    /// Its id and amount.
    payment: Option<(i64, i64)>,
    fault: Fault,
}

/// What an order should be.
struct Order {
    version: i64,
    lines: Vec<Vec<i64>>,
}

#[derive(Default)]
struct Model {
    orders: BTreeMap<i64, Order>,
    payments: BTreeMap<i64, i64>,
}

impl Message {
    fn body(&self) -> Value {
        let (key, version) = (self.key, self.version);
        let mut body = match &self.change {
            Change::None => json!({"type": "payment"}),
            Change::Deleted => deletion(key, version),
            Change::Lines(lines) => {
                let lines: Vec<_> = lines.iter().map(|percents| ("x", &percents[..])).collect();
                order(key, version, &lines)
            }
        };
        if let Some((id, amount)) = self.payment {
            body["paid"] = json!(true);
            body["payment"] = json!({"id": id, "amount": amount});
        }
        let last = body["lines"].as_array().map_or(0, Vec::len).max(1) - 1;
        match self.fault {
            Fault::None | Fault::Refused("payments") => {}
            Fault::Rejected => body["lines"][last]["sku"] = json!(null),
            Fault::Refused("orders") => body["note"] = json!("refused"),
            Fault::Refused("order_lines") => body["lines"][last]["sku"] = json!("refused"),
            Fault::Refused(_) => body["lines"][last]["discounts"] = json!([{"percent": 101}]),
        }
        body
    }

    /// Applies it as if it came alone.
    fn apply(&self, model: &mut Model, policy: Policy) {
        if self.fault != Fault::None {
            return;
        }
        if let Some((id, amount)) = self.payment {
            model.payments.entry(id).or_insert(amount);
        }
        let stored = model.orders.get(&self.key);
        let counts = match policy {
            Policy::Ignore => stored.is_none(),
            Policy::Update => true,
            Policy::Newer => stored.is_none_or(|stored| stored.version <= self.version),
        };
        match &self.change {
            Change::Deleted if counts => _ = model.orders.remove(&self.key),
            Change::Lines(lines) if counts => {
                let (version, lines) = (self.version, lines.clone());
                model.orders.insert(self.key, Order { version, lines });
            }
            _ => {}
        }
    }
}

struct Messages {
    random: Rng,
    policy: Policy,
    sent: Vec<Message>,
    /// Under `newer` the version of each order that was deleted last. No older message comes after it: the row is
    /// gone, and nothing tells any more that it is older.
    deleted: BTreeMap<i64, i64>,
    made: i64,
}

impl Messages {
    /// One of those before, whichever, or a new one.
    fn message(&mut self) -> Message {
        if self.random.u32(0..100) < 20 && !self.sent.is_empty() {
            let message = self.sent[self.random.usize(0..self.sent.len())].clone();
            let is_late = matches!(message.change, Change::Lines(_))
                && self.oldest(message.key) > message.version;
            if !is_late {
                return message;
            }
        }
        let message = self.new_message();
        if message.change == Change::Deleted && self.policy == Policy::Newer {
            self.deleted.insert(message.key, message.version);
        }
        self.sent.push(message.clone());
        message
    }

    /// The version that an order has at least.
    fn oldest(&self, key: i64) -> i64 {
        self.deleted.get(&key).map_or(0, |version| version + 1)
    }

    fn new_message(&mut self) -> Message {
        let keys = if self.random.bool() { 10 } else { 3_000 };
        let key = self.random.i64(0..keys);
        self.made += 1;
        let change = match self.random.u32(0..100) {
            0..10 if self.policy != Policy::Ignore => Change::Deleted,
            10..15 => Change::None,
            _ => Change::Lines(self.lines()),
        };
        let version = match change {
            Change::Deleted => self.made,
            _ => self.random.i64(self.oldest(key)..=self.made),
        };
        // Also those of other orders.
        let is_paid = change == Change::None || self.random.u32(0..100) < 30;
        let payment = is_paid.then(|| (self.random.i64(0..2_000), self.made));
        let has_lines = matches!(&change, Change::Lines(lines) if !lines.is_empty());
        let fault = match self.random.u32(0..200) {
            0 | 1 if has_lines => Fault::Rejected,
            2 => Fault::Refused("payments"),
            3 if has_lines => Fault::Refused("orders"),
            4 if has_lines => Fault::Refused("order_lines"),
            5 if has_lines => Fault::Refused("discounts"),
            _ => Fault::None,
        };
        let payment = match fault {
            // Of a payment that is not known yet, so that Postgres sees it.
            Fault::Refused("payments") => Some((10_000 + self.made, -1)),
            // If another message of its order counts, nothing refuses it, and its payment would be stored.
            Fault::Refused(_) => None,
            _ => payment,
        };
        Message {
            key,
            version,
            change,
            payment,
            fault,
        }
    }

    /// Mostly a few.
    fn lines(&mut self) -> Vec<Vec<i64>> {
        let is_long = self.random.u32(0..50) == 0;
        let most = if is_long { MOST_LINES } else { 4 };
        let count = self.random.usize(0..=most);
        (0..count).map(|_| self.discounts()).collect()
    }

    fn discounts(&mut self) -> Vec<i64> {
        (0..self.random.usize(0..3))
            .map(|_| self.random.i64(0..=100))
            .collect()
    }
}

fn expected(model: &Model) -> BTreeSet<String> {
    let payments = model.payments.iter();
    let mut rows: BTreeSet<_> = payments
        .map(|(id, amount)| format!("payment {id} {amount}"))
        .collect();
    for (key, order) in &model.orders {
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

async fn all_stored(database: &Database) -> BTreeSet<String> {
    let payments = "SELECT 'payment ' || payment_id || ' ' || amount FROM payments";
    let payments = database.rows(payments).await.concat();
    stored(database).await.into_iter().chain(payments).collect()
}

async fn tables_equal_the_model(policy: Policy) {
    let seed = fastrand::u64(..);
    let mut messages = Messages {
        random: Rng::with_seed(seed),
        policy,
        sent: Vec::new(),
        deleted: BTreeMap::new(),
        made: 0,
    };
    let mapping = match policy {
        Policy::Ignore => ignoring(ORDERS),
        Policy::Update => ORDERS.replace("newer = \"version\"\n", ""),
        Policy::Newer => ORDERS.to_owned(),
    };
    let database = with_orders().await;
    database.execute(CHECKS).await;
    let mut function = started(&database, &(mapping + PAYMENTS)).await;
    let mut model = Model::default();
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
                Fault::Rejected | Fault::Refused("payments") => {
                    assert!(is_failed, "{said}: message {number}");
                }
                // It may be skipped for another one of its order.
                Fault::Refused(_) => {}
            }
        }
        let stored = all_stored(&database).await;
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
