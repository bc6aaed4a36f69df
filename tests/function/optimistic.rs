//! Batches are inserted without `ON CONFLICT` as long as there are no duplicates, and no promise changes.

use serde_json::{Value, json};

use crate::support::batch::{Batch, id, login, login_with};
use crate::support::statements::{SAFE, SKIPPED, counted, noted, noting_database};
use crate::support::{Database, Function, Setup};

const PLAIN: &str = "INSERT";

fn batch(name: &str) -> Value {
    Batch::new().body(name, login()).event()
}

/// How many batches a warm function has stored, and how: with the second it read the key's constraint, and with the
/// third it prepared its statement.
const WARM: usize = 4;
const HOW: [&str; WARM] = [SAFE, SAFE, PLAIN, PLAIN];

async fn warm() -> (Database, Function) {
    let database = noting_database().await;
    let mut function = Setup::on(&database).start().await;
    warm_up(&mut function).await;
    (database, function)
}

async fn warm_up(function: &mut Function) {
    for number in 0..WARM {
        let batch = batch(&format!("warm{number}"));
        function.invoke(&batch).await.assert_none_failed();
    }
}

fn then(later: &[&'static str]) -> Vec<&'static str> {
    [&HOW, later].concat()
}

#[tokio::test]
async fn new_messages_are_inserted_without_on_conflict() {
    let (database, mut function) = warm().await;
    for name in ["a", "b"] {
        function.invoke(&batch(name)).await.assert_none_failed();
    }
    assert_eq!(noted(&database).await, then(&[PLAIN, PLAIN]));
    assert_eq!(counted(&function, WARM + 1), [json!(1), json!(0), json!(0)]);
    assert_eq!(database.count("user_logins").await as usize, WARM + 2);
}

#[tokio::test]
async fn a_redelivered_message_is_stored_once_and_the_next_batches_use_on_conflict() {
    let (database, mut function) = warm().await;
    let again = Batch::new().body("warm0", login()).body("new", login());
    function.invoke(&again.event()).await.assert_none_failed();
    assert_eq!(counted(&function, WARM), [json!(1), json!(1), json!(0)]);
    for number in 0..=SKIPPED {
        function.invoke(&batch(&number.to_string())).await;
    }
    let mut later = vec![SAFE; 1 + SKIPPED];
    later.push(PLAIN);
    assert_eq!(noted(&database).await, then(&later));
    assert_eq!(
        database.count("user_logins").await as usize,
        WARM + 2 + SKIPPED
    );
}

#[tokio::test]
async fn a_row_that_postgres_refuses_does_not_affect_the_others_without_on_conflict() {
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
    assert_eq!(noted(&database).await, then(&[PLAIN, PLAIN]));
    assert_eq!(database.count("user_logins").await as usize, WARM + 2);
}

#[tokio::test]
async fn a_key_that_lost_its_constraint_is_noticed() {
    let (database, mut function) = warm().await;
    database
        .execute("ALTER TABLE user_logins DROP CONSTRAINT user_logins_pkey")
        .await;
    let error = function.invoke(&batch("warm0")).await.error();
    assert!(error.contains("no unique index on its key"), "{error}");
    assert_eq!(database.count("user_logins").await as usize, WARM);
}

#[tokio::test]
async fn another_table_of_the_same_name_is_noticed() {
    let (database, mut function) = warm().await;
    database
        .execute("ALTER TABLE user_logins RENAME TO older; CREATE TABLE user_logins (LIKE older)")
        .await;
    let error = function.invoke(&batch("warm0")).await.error();
    assert!(error.contains("no unique index on its key"), "{error}");
    assert_eq!(database.count("user_logins").await, 0);
}

#[tokio::test]
async fn a_table_that_is_earlier_in_the_search_path_is_noticed() {
    let (database, before) = (noting_database().await, Database::new().await);
    let setup = Setup::on(&database).set("DATABASE_URL", &database.url_behind(&before));
    let mut function = setup.start().await;
    warm_up(&mut function).await;
    let like = format!("(LIKE {}.user_logins INCLUDING ALL)", database.schema);
    before
        .execute(&format!("CREATE TABLE user_logins {like}"))
        .await;
    for name in ["a", "b"] {
        function.invoke(&batch(name)).await.assert_none_failed();
    }
    assert_eq!(before.count("user_logins").await, 2);
    assert_eq!(database.count("user_logins").await as usize, WARM);
}

/// The index can be dropped while a statement relies on it.
#[tokio::test]
async fn a_key_with_only_a_unique_index_always_uses_on_conflict() {
    let database = noting_database().await;
    database
        .execute("ALTER TABLE user_logins DROP CONSTRAINT user_logins_pkey; CREATE UNIQUE INDEX ON user_logins (message_id)")
        .await;
    let mut function = Setup::on(&database).start().await;
    for name in ["a", "b", "b"] {
        function.invoke(&batch(name)).await.assert_none_failed();
    }
    assert_eq!(noted(&database).await, [SAFE; 3]);
    assert_eq!(database.count("user_logins").await, 2);
}
