//! FIFO queues against a model: random batches, failures anywhere in any group.

use std::cell::RefCell;
use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use testkit::batch::{Batch, id, login, login_with};
use testkit::{Database, Function, Setup};

const CASES: u32 = 64;
const GROUPS: [&str; 4] = ["anna", "ben", "carl", "dora"];

/// What is wrong with a message.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// The mapping rejects it.
    Rejected,
    /// The table refuses it.
    Refused,
}

#[derive(Debug, Clone)]
struct Message {
    group: &'static str,
    fault: Fault,
}

impl Message {
    fn body(&self) -> Value {
        match self.fault {
            Fault::None => login(),
            Fault::Rejected => login_with("ip", json!(null)),
            Fault::Refused => login_with("user_id", json!("refused")),
        }
    }
}

fn messages() -> impl Strategy<Value = Vec<Message>> {
    let fault =
        prop_oneof![8 => Just(Fault::None), 1 => Just(Fault::Rejected), 1 => Just(Fault::Refused)];
    let message = (prop::sample::select(&GROUPS[..]), fault)
        .prop_map(|(group, fault)| Message { group, fault });
    vec(message, 1..40)
}

/// Which messages must be stored: of each group, those before its first failure.
fn model(messages: &[Message]) -> Vec<bool> {
    let mut failed = BTreeSet::new();
    let stored = messages.iter().map(|message| {
        if message.fault != Fault::None {
            failed.insert(message.group);
        }
        !failed.contains(message.group)
    });
    stored.collect()
}

/// The ids of the messages that were stored, or were not.
fn ids_where(stored: &[bool], wanted: bool) -> Vec<String> {
    let numbers = (0..stored.len()).filter(|number| stored[*number] == wanted);
    numbers.map(|number| id(&number.to_string())).collect()
}

async fn check(database: &Database, function: &mut Function, messages: &[Message]) {
    database.execute("TRUNCATE user_logins").await;
    let batch = messages
        .iter()
        .enumerate()
        .fold(Batch::fifo(), |batch, (number, message)| {
            batch.grouped(message.group, &number.to_string(), message.body())
        });
    let answer = function.invoke(&batch.event()).await;
    let stored = model(messages);
    assert_eq!(answer.failed_ids(), ids_where(&stored, false));
    let rows = database
        .rows("SELECT message_id::text FROM user_logins")
        .await;
    let rows: BTreeSet<String> = rows.into_iter().flatten().collect();
    assert_eq!(rows, ids_where(&stored, true).into_iter().collect());
}

#[test]
fn of_each_group_a_prefix_is_stored_and_acknowledged_and_other_groups_complete() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (database, function) = runtime.block_on(async {
        let database = Database::with_user_logins().await;
        database
            .execute("ALTER TABLE user_logins ADD CHECK (user_id <> 'refused')")
            .await;
        let function = Setup::on(&database).start().await;
        (database, RefCell::new(function))
    });
    let config = Config {
        cases: CASES,
        failure_persistence: None,
        ..Config::default()
    };
    let result = TestRunner::new(config).run(&messages(), |messages| {
        runtime.block_on(check(&database, &mut function.borrow_mut(), &messages));
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}
