//! FIFO queues: after a failed message no later one of its group is stored or acknowledged.

use serde_json::json;

use crate::support::batch::{Batch, id, ids, login, login_with};
use crate::support::{Database, Setup};

#[tokio::test]
async fn a_rejected_message_holds_back_its_group_and_no_other() {
    let database = Database::with_user_logins().await;
    let mut function = Setup::on(&database).start().await;
    let batch = Batch::fifo()
        .grouped("anna", "a1", login())
        .grouped("ben", "b1", login())
        .grouped("anna", "a2", login_with("ip", json!(null)))
        .grouped("ben", "b2", login())
        .grouped("anna", "a3", login());
    let answer = function.invoke(&batch.event()).await;
    assert_eq!(answer.failed_ids(), ids(&["a2", "a3"]));
    assert_eq!(
        database
            .rows("SELECT message_id::text FROM user_logins ORDER BY 1")
            .await,
        [[id("a1")], [id("b1")], [id("b2")]]
    );
    let rules: Vec<_> = function
        .lines("message failed")
        .iter()
        .map(|line| line["rule"].clone())
        .collect();
    assert_eq!(rules, [json!("required"), json!("group_held")]);
}

#[tokio::test]
async fn a_row_that_postgres_refuses_holds_back_its_group_and_no_other() {
    let database = Database::with_user_logins().await;
    database
        .execute("ALTER TABLE user_logins ADD CHECK (user_id <> 'refused')")
        .await;
    let mut function = Setup::on(&database).start().await;
    let batch = Batch::fifo()
        .grouped("anna", "a1", login())
        .grouped("anna", "a2", login_with("user_id", json!("refused")))
        .grouped("ben", "b1", login())
        .grouped("anna", "a3", login())
        .grouped("carl", "c1", login_with("user_id", json!("refused")))
        .grouped("ben", "b2", login())
        .grouped("carl", "c2", login());
    let answer = function.invoke(&batch.event()).await;
    assert_eq!(answer.failed_ids(), ids(&["a2", "a3", "c1", "c2"]));
    assert_eq!(
        database
            .rows("SELECT message_id::text FROM user_logins ORDER BY 1")
            .await,
        [[id("a1")], [id("b1")], [id("b2")]]
    );
}

#[tokio::test]
async fn a_group_id_on_a_standard_queue_orders_nothing() {
    let database = Database::with_user_logins().await;
    let mut function = Setup::on(&database).start().await;
    let batch = Batch::new()
        .grouped("anna", "a1", login_with("ip", json!(null)))
        .grouped("anna", "a2", login());
    assert_eq!(
        function.invoke(&batch.event()).await.failed_ids(),
        [id("a1")]
    );
    assert_eq!(database.count("user_logins").await, 1);
}
