//! Aurora DSQL, by the rules that AWS documents: a proxy refuses what DSQL refuses.

use dsql_lint::lint_sql;
use mapping::Pipeline;
use serde_json::json;

use crate::child_tables::{ORDERS, deletion, ignoring, invoke, order, stored};
use testkit::batch::{Batch, id, login, login_with};
use testkit::dsql::Dsql;
use testkit::{Database, Function, MASK_KEY, Mapping, Setup, assert_contains};

const HOST: &str = "foo0bar1baz2quux3quuux4.dsql.eu-west-1.on.aws";

fn setup(dsql: &Dsql, database: &Database, host: &str) -> Setup {
    let setup = Setup::bare().set("MASK_KEY", MASK_KEY);
    setup.set("DATABASE_URL", &dsql.url(database, host))
}

fn logins(prefix: &str, count: usize) -> Batch {
    (0..count).fold(Batch::new(), |batch, number| {
        batch.body(&format!("{prefix}{number}"), login())
    })
}

#[tokio::test]
async fn a_batch_is_stored_in_transactions_that_dsql_accepts_and_answered_once() {
    let (database, dsql) = (Database::with_user_logins().await, Dsql::new().await);
    let mut function = setup(&dsql, &database, HOST).start().await;
    for (batch, sizes) in [
        (logins("a", 7_000), vec![3_000, 3_000, 1_000]),
        (logins("b", 10), vec![10]),
        (logins("b", 20), vec![20]),
    ] {
        let before = dsql.transactions().len();
        function.invoke(&batch.event()).await.assert_none_failed();
        assert_eq!(dsql.transactions()[before..], sizes);
    }
    assert_eq!(database.count("user_logins").await, 7_020);
    assert_eq!(dsql.refused(), [] as [&str; 0]);
}

#[tokio::test]
async fn logins_that_dsql_throttles_are_named_and_tried_again() {
    let (database, dsql) = (Database::with_user_logins().await, Dsql::new().await);
    dsql.throttle(3);
    let mut function = setup(&dsql, &database, HOST).start().await;
    let event = logins("a", 1).event();
    function.invoke(&event).await.assert_none_failed();
    assert_eq!(database.count("user_logins").await, 1);
    let log = function.end().await;
    assert_contains(
        &log,
        "no more new connections in this second (SQLSTATE 53400)",
    );
}

#[tokio::test]
async fn a_server_of_another_name_gets_what_dsql_would_refuse() {
    let (database, dsql) = (Database::with_user_logins().await, Dsql::new().await);
    let mut function = setup(&dsql, &database, "db.internal").start().await;
    for batch in [logins("a", 10), logins("b", 10), logins("c", 7_000)] {
        function.invoke(&batch.event()).await;
    }
    for reason in ["a statement has a name", "transaction row limit exceeded"] {
        assert!(dsql.refused().contains(&reason), "{:?}", dsql.refused());
    }
}

#[tokio::test]
async fn no_transaction_is_larger_than_ten_mebibytes() {
    let (database, dsql) = (Database::new().await, Dsql::new().await);
    let sql = "CREATE TABLE texts (id uuid PRIMARY KEY, value text)";
    database.execute(sql).await;
    let mapping = Mapping::by_message_id("texts").column("value", "text");
    let setup = setup(&dsql, &database, HOST).mapping(&mapping);
    let mut function = setup.start().await;
    let text = "x".repeat(900 * 1024);
    let batch = (0..25).fold(Batch::new(), |batch, number| {
        batch.body(&number.to_string(), json!({"value": text}))
    });
    function.invoke(&batch.event()).await.assert_none_failed();
    // Ten messages are read at a time, of which nine fit into a transaction.
    assert_eq!(dsql.transactions(), [9, 1, 9, 1, 5]);
    assert_eq!(dsql.refused(), [] as [&str; 0]);
    assert_eq!(database.count("texts").await, 25);
}

#[tokio::test]
async fn a_conflict_is_retried_and_a_refused_row_fails_alone() {
    let (database, dsql) = (Database::with_user_logins().await, Dsql::new().await);
    let refuse = "ALTER TABLE user_logins ADD CHECK (user_id <> 'refused')";
    database.execute(refuse).await;
    let mut function = setup(&dsql, &database, HOST).start().await;
    dsql.conflict(3);
    let batch = logins("a", 3_500).body("bad", login_with("user_id", json!("refused")));
    let answer = function.invoke(&batch.event()).await;
    assert_eq!(answer.failed_ids(), [id("bad")]);
    let conflict = "change conflicts with another transaction, please retry: (OC000)";
    assert_eq!(dsql.refused(), [conflict; 3]);
    assert_eq!(database.count("user_logins").await, 3_500);
}

/// The tables of orders as `ddl --for dsql` creates them, and a function for them.
async fn orders(dsql: &Dsql, mapping: &str) -> (Database, Function) {
    let database = Database::new().await;
    let pipeline = Pipeline::parse("pipeline.toml", mapping).unwrap();
    database.execute(&pipeline.create_for_dsql().unwrap()).await;
    let setup = setup(dsql, &database, HOST).mapping(mapping);
    let function = setup.start().await;
    (database, function)
}

#[tokio::test]
async fn a_message_of_several_tables_is_stored_replaced_and_deleted_as_a_whole() {
    let dsql = Dsql::new().await;
    let (database, mut function) = orders(&dsql, ORDERS).await;
    let no_one: [&str; 0] = [];
    for (message, rows) in [
        (
            order(1, 1, &[("x", &[5, 6]), ("y", &[])]),
            &["1 v1", "1.0 x", "1.0.0 5%", "1.0.1 6%", "1.1 y"][..],
        ),
        (order(1, 2, &[("z", &[7])]), &["1 v2", "1.0 z", "1.0.0 7%"]),
        (order(1, 1, &[("old", &[])]), &["1 v2", "1.0 z", "1.0.0 7%"]),
        (deletion(1, 3), &no_one),
    ] {
        dsql.conflict(1);
        let failed = invoke(&mut function, Batch::new().body("a", message)).await;
        assert_eq!(failed, no_one);
        assert_eq!(stored(&database).await, rows);
    }
    assert_eq!(
        dsql.refused().len(),
        4,
        "the conflicts: {:?}",
        dsql.refused()
    );
    for statement in dsql.statements() {
        // The linter's parser knows ANY only after an operator without a schema.
        let statement = statement.replace("OPERATOR(pg_catalog.=) ANY", "= ANY");
        let complaints = lint_sql(&statement);
        assert!(complaints.is_empty(), "{complaints:?}\n{statement}");
    }
}

#[tokio::test]
async fn the_rows_of_all_tables_count_towards_the_limit_of_a_transaction() {
    let dsql = Dsql::new().await;
    let (database, mut function) = orders(&dsql, &ignoring(ORDERS)).await;
    let batch = (0..1_000).fold(Batch::new(), |batch, number| {
        let lines: [(&str, &[i64]); 4] = [("a", &[]), ("b", &[]), ("c", &[]), ("d", &[])];
        batch.body(&number.to_string(), order(number, 1, &lines))
    });
    assert_eq!(invoke(&mut function, batch).await, [] as [&str; 0]);
    // 600 orders and their 2,400 lines are 3,000 rows.
    assert_eq!(dsql.transactions(), [2_400, 1_600]);
    assert_eq!(dsql.refused(), [] as [&str; 0]);
    assert_eq!(database.count("order_lines").await, 4_000);
}
