//! FIFO queues: after a failed message no later one of its group is stored or acknowledged.

use serde_json::json;

use crate::child_tables::ROUTES;
use testkit::batch::{Batch, id, ids, login, login_with};
use testkit::{Database, Setup};

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
    assert_eq!(rules, [json!("required"), json!("group_blocked")]);
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
async fn a_message_without_a_row_is_not_acknowledged_before_a_refused_one_of_its_group() {
    let database = Database::with_tables_of(ROUTES).await;
    database
        .execute("ALTER TABLE logins ADD CHECK (id <> 'refused')")
        .await;
    let mut function = Setup::on(&database).mapping(ROUTES).start().await;
    let login = |id| json!({"id": id, "detail-type": "login", "detail": {}});
    let skipped = || json!({"id": "e", "detail-type": "other", "detail": {}});
    let batch = || {
        Batch::fifo()
            .grouped("anna", "a1", skipped())
            .grouped("anna", "a2", login("refused"))
            .grouped("anna", "a3", skipped())
            .grouped("anna", "a4", login("later"))
            .grouped("ben", "b1", login("good"))
            .grouped("ben", "b2", skipped())
    };
    let answer = function.invoke(&batch().event()).await;
    assert_eq!(answer.failed_ids(), ids(&["a2", "a3", "a4"]));
    let summary = function.lines_of("batch", 1).await.pop().unwrap();
    assert_eq!(
        (&summary["skipped"], &summary["failed"]),
        (&json!(2), &json!(3))
    );
    // Nothing of a batch that fails as a whole is acknowledged, and so nothing is skipped.
    database.execute("DROP TABLE logins").await;
    function.invoke(&batch().event()).await;
    let line = function.lines_of("batch failed", 1).await.pop().unwrap();
    assert_eq!(line["MessagesReceived"], json!(6.0), "{line}");
    assert_eq!(line.get("MessagesSkipped"), None, "{line}");
}

#[tokio::test]
async fn after_a_failed_message_whose_group_is_not_named_no_other_such_message_is_stored() {
    let database = Database::with_user_logins().await;
    let mut function = Setup::on(&database).start().await;
    let batch = Batch::fifo()
        .body("1", login())
        .body("2", login_with("ip", json!(null)))
        .grouped("anna", "a1", login())
        .body("3", login());
    let answer = function.invoke(&batch.event()).await;
    assert_eq!(answer.failed_ids(), ids(&["2", "3"]));
    assert_eq!(database.count("user_logins").await, 2);
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
