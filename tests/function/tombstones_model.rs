//! Tombstones against a model: messages that create, update and delete, in every order, in any batches, delivered
//! again, and stored by two functions at once. Each row is what the newest message of its key says.

use std::collections::{BTreeMap, BTreeSet};
use std::iter::once;

use fastrand::Rng;
use serde_json::Value;
use tokio::join;

use crate::child_tables::{deletion, order};
use crate::tombstones::orders;
use testkit::batch::Batch;
use testkit::{Database, Function, Setup};

const SEEDS: u64 = 200;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Change {
    Put,
    Delete,
}

use Change::{Delete, Put};

#[derive(Debug, Clone, Copy)]
struct Message {
    key: i64,
    version: i64,
    change: Change,
}

impl Message {
    /// An order has lines that tell its version.
    fn body(&self) -> Value {
        let sku = format!("of v{}", self.version);
        let lines = vec![(sku.as_str(), &[][..]); self.version as usize % 3];
        match self.change {
            Put => order(self.key, self.version, &lines),
            Delete => deletion(self.key, self.version),
        }
    }
}

/// Two functions, and the database of both.
struct Stage {
    database: Database,
    functions: [Function; 2],
}

impl Stage {
    async fn new() -> Self {
        let mapping = orders();
        let database = Database::with_tables_of(&mapping).await;
        let [a, b] = [(); 2].map(|()| Setup::on(&database).mapping(&mapping));
        let functions = [a.start().await, b.start().await];
        Self {
            database,
            functions,
        }
    }

    /// Stores a batch in each of the functions, at once.
    async fn store(&mut self, batches: [&[Message]; 2], said: &str) {
        let [a, b] = batches.map(event);
        let [first, second] = &mut self.functions;
        let (a, b) = join!(first.invoke(&a), second.invoke(&b));
        for answer in [a, b] {
            assert_eq!(answer.failed_ids(), Vec::<String>::new(), "{said}");
        }
    }

    /// The orders of some keys, and the lines of those that are not tombstones.
    async fn rows(&self, from: i64, to: i64) -> BTreeSet<String> {
        let is_one = format!("order_id BETWEEN {from} AND {to}");
        let sql = format!(
            "SELECT order_id || ' v' || version || CASE WHEN deleted_at IS NULL THEN '' ELSE ' deleted' END FROM orders WHERE {is_one}
             UNION ALL SELECT order_id || '.' || line || ' ' || sku FROM order_lines JOIN orders USING (order_id)
             WHERE {is_one} AND deleted_at IS NULL"
        );
        self.database
            .rows(&sql)
            .await
            .into_iter()
            .flatten()
            .collect()
    }
}

fn event(messages: &[Message]) -> Value {
    let numbered = messages.iter().enumerate();
    let batch = numbered.fold(Batch::new(), |batch, (number, message)| {
        batch.body(&number.to_string(), message.body())
    });
    batch.event()
}

/// The rows of the newest message of each key.
fn expected(messages: &[Message]) -> BTreeSet<String> {
    let mut newest: BTreeMap<i64, Message> = BTreeMap::new();
    for message in messages {
        let stored = newest.entry(message.key).or_insert(*message);
        if stored.version < message.version {
            *stored = *message;
        }
    }
    let rows = newest.values().flat_map(|message| {
        let (key, version) = (message.key, message.version);
        let (row, lines) = match message.change {
            Delete => (format!("{key} v{version} deleted"), 0),
            Put => (format!("{key} v{version}"), version % 3),
        };
        let lines = (0..lines).map(move |line| format!("{key}.{line} of v{version}"));
        once(row).chain(lines)
    });
    rows.collect()
}

fn permutations(of: &[usize]) -> Vec<Vec<usize>> {
    let Some((last, others)) = of.split_last() else {
        return vec![Vec::new()];
    };
    let shorter = permutations(others);
    let positions = 0..=others.len();
    let insert = |order: &Vec<usize>, position| {
        let mut order = order.clone();
        order.insert(position, *last);
        order
    };
    shorter
        .iter()
        .flat_map(|order| {
            positions
                .clone()
                .map(move |position| insert(order, position))
        })
        .collect()
}

/// Which of the batches each message is in: every way to divide a row of messages.
fn divisions(messages: usize) -> impl Iterator<Item = Vec<usize>> {
    let cuts = messages as u32 - 1;
    (0..2_u32.pow(cuts)).map(move |cut| {
        let is_cut = move |at: u32| (cut >> at & 1) as usize;
        let mut batch = 0;
        let later = (0..cuts).map(move |at| {
            batch += is_cut(at);
            batch
        });
        once(0).chain(later).collect()
    })
}

/// Every order and every division has a key of its own, so that few batches try them all.
#[tokio::test]
async fn in_every_order_and_division_into_batches_the_newest_message_counts() {
    let mut stage = Stage::new().await;
    let mut key = 0;
    for changes in [
        &[Put, Put, Delete][..],
        &[Put, Delete, Put],
        &[Delete, Put, Put],
        &[Put, Delete, Delete],
        &[Put, Put, Delete, Put],
        &[Delete, Put, Put, Delete],
    ] {
        let first = key + 1;
        let mut batches = vec![Vec::new(); changes.len()];
        let all: Vec<usize> = (0..changes.len()).collect();
        for order in permutations(&all) {
            for division in divisions(changes.len()) {
                key += 1;
                for (position, batch) in order.iter().zip(division) {
                    let (version, change) = (*position as i64 + 1, changes[*position]);
                    batches[batch].push(Message {
                        key,
                        version,
                        change,
                    });
                }
            }
        }
        for batch in &batches {
            // The same messages at once, as if they were redelivered.
            stage.store([batch, batch], &format!("{changes:?}")).await;
        }
        let stored = stage.rows(first, key).await;
        let expected = expected(&batches.concat());
        let different: Vec<_> = stored.symmetric_difference(&expected).take(5).collect();
        assert_eq!(different, Vec::<&String>::new(), "{changes:?}");
    }
}

/// Messages of a few keys, some of them twice, in a random order.
fn messages(random: &mut Rng, first_key: i64) -> Vec<Message> {
    let mut messages = Vec::new();
    for key in first_key..first_key + random.i64(1..6) {
        for version in 1..=random.i64(1..6) {
            let change = if random.u32(0..3) == 0 { Delete } else { Put };
            let message = Message {
                key,
                version,
                change,
            };
            let copies = if random.u32(0..4) == 0 { 2 } else { 1 };
            messages.extend(vec![message; copies]);
        }
    }
    random.shuffle(&mut messages);
    messages
}

#[tokio::test]
async fn two_functions_at_once_store_the_same_table_whatever_the_order() {
    const KEYS: i64 = 10;
    let base = fastrand::u64(..u64::MAX - SEEDS);
    let mut stage = Stage::new().await;
    for (seed, first_key) in (base..base + SEEDS).zip((0..).step_by(KEYS as usize)) {
        let mut random = Rng::with_seed(seed);
        let messages = messages(&mut random, first_key);
        let said = format!("seed {seed}");
        let mut rest = &messages[..];
        while !rest.is_empty() {
            let [a, b] = [(); 2].map(|()| {
                let (batch, after) = rest.split_at(random.usize(0..=rest.len().min(8)));
                rest = after;
                batch
            });
            stage.store([a, b], &said).await;
        }
        let stored = stage.rows(first_key, first_key + KEYS - 1).await;
        assert_eq!(stored, expected(&messages), "{said}: {messages:?}");
    }
}
