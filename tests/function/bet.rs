//! Postgres is not asked to look for duplicates where there are none, and nothing that is promised
//! changes.

use serde_json::{Value, json};

use crate::batch::{Batch, id, login, login_with};
use crate::copy::{SAFE, SKIPPED, counted, noted, noting_database};
use crate::support::{Database, Function, Setup};

const NOTHING: [String; 0] = [];
const PLAIN: &str = "INSERT";

fn batch(name: &str) -> Value {
    Batch::new().body(name, login()).event()
}

/// A function that has stored two batches, with the second of which it learned of the key's constraint.
async fn warm() -> (Database, Function) {
    let database = noting_database().await;
    let mut function = Setup::on(&database).start().await;
    for name in ["first", "second"] {
        assert_eq!(function.invoke(&batch(name)).await.failed_ids(), NOTHING);
    }
    (database, function)
}

#[tokio::test]
async fn new_messages_are_inserted_without_a_look_for_duplicates() {
    let (database, mut function) = warm().await;
    for name in ["a", "b"] {
        assert_eq!(function.invoke(&batch(name)).await.failed_ids(), NOTHING);
    }
    assert_eq!(noted(&database).await, [SAFE, SAFE, PLAIN, PLAIN]);
    assert_eq!(counted(&function, 3), [json!(1), json!(0), json!(0)]);
    assert_eq!(database.count("user_logins").await, 4);
    database.drop().await;
}

#[tokio::test]
async fn a_redelivered_message_is_stored_once_and_the_next_batches_look_for_duplicates() {
    let (database, mut function) = warm().await;
    let again = Batch::new().body("first", login()).body("new", login());
    assert_eq!(function.invoke(&again.event()).await.failed_ids(), NOTHING);
    assert_eq!(counted(&function, 2), [json!(1), json!(1), json!(0)]);
    for number in 0..=SKIPPED {
        function.invoke(&batch(&number.to_string())).await;
    }
    let mut expected = vec![SAFE; 3 + SKIPPED];
    expected.push(PLAIN);
    assert_eq!(noted(&database).await, expected);
    assert_eq!(database.count("user_logins").await as usize, 4 + SKIPPED);
    database.drop().await;
}

#[tokio::test]
async fn a_row_that_postgres_refuses_costs_only_itself_without_a_look_for_duplicates_too() {
    let (database, mut function) = warm().await;
    database
        .execute("ALTER TABLE user_logins ADD CHECK (user_id <> 'refused')")
        .await;
    let mixed = Batch::new()
        .body("a", login())
        .body("bad", login_with("user_id", json!("refused")))
        .body("b", login());
    assert_eq!(
        function.invoke(&mixed.event()).await.failed_ids(),
        [id("bad")]
    );
    assert_eq!(noted(&database).await, [SAFE, SAFE, PLAIN, PLAIN]);
    assert_eq!(database.count("user_logins").await, 4);
    database.drop().await;
}

#[tokio::test]
async fn a_key_that_lost_its_constraint_is_noticed() {
    let (database, mut function) = warm().await;
    database
        .execute("ALTER TABLE user_logins DROP CONSTRAINT user_logins_pkey")
        .await;
    let error = function.invoke(&batch("first")).await.error();
    assert!(error.contains("no unique index on its key"), "{error}");
    assert_eq!(database.count("user_logins").await, 2);
    database.drop().await;
}

#[tokio::test]
async fn another_table_of_the_same_name_is_noticed() {
    let (database, mut function) = warm().await;
    database
        .execute("ALTER TABLE user_logins RENAME TO older; CREATE TABLE user_logins (LIKE older)")
        .await;
    let error = function.invoke(&batch("first")).await.error();
    assert!(error.contains("no unique index on its key"), "{error}");
    assert_eq!(database.count("user_logins").await, 0);
    database.drop().await;
}

/// It can be dropped under a statement that counts on it.
#[tokio::test]
async fn a_key_that_an_index_alone_makes_unique_is_always_looked_for() {
    let database = noting_database().await;
    database
        .execute("ALTER TABLE user_logins DROP CONSTRAINT user_logins_pkey; CREATE UNIQUE INDEX ON user_logins (message_id)")
        .await;
    let mut function = Setup::on(&database).start().await;
    for name in ["a", "b", "b"] {
        assert_eq!(function.invoke(&batch(name)).await.failed_ids(), NOTHING);
    }
    assert_eq!(noted(&database).await, [SAFE; 3]);
    assert_eq!(database.count("user_logins").await, 2);
    database.drop().await;
}
