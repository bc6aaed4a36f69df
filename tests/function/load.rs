//! How a batch is stored.

use serde_json::json;

use testkit::batch::{Batch, id, login};
use testkit::{Database, Mapping, Setup};

#[tokio::test]
async fn a_good_batch_is_stored_whole() {
    let database = Database::with_user_logins().await;
    let mut function = Setup::on(&database).start().await;
    let answer = function
        .invoke(&Batch::new().body("a", login()).body("b", login()).event())
        .await;
    answer.assert_none_failed();
    let rows = database.rows("SELECT message_id::text, user_id, device_type, locale, app_version::text, create_date::text FROM user_logins ORDER BY 1").await;
    let row = |name: &str| {
        [id(name).as_str(), "u-1", "ios", "DE", "2", "2026-01-31"]
            .map(str::to_owned)
            .to_vec()
    };
    assert_eq!(rows, [row("a"), row("b")]);
    let summary = &function.lines("batch")[0];
    assert_eq!(
        (
            &summary["received"],
            &summary["stored"],
            &summary["duplicates"],
            &summary["failed"]
        ),
        (&json!(2), &json!(2), &json!(0), &json!(0))
    );
    assert_eq!(
        summary["span"]["request_id"],
        "8476a536-e9f4-11e8-9739-2dfe598c3fcd"
    );
}

#[tokio::test]
async fn a_redelivered_message_is_stored_once() {
    let database = Database::with_user_logins().await;
    let mut function = Setup::on(&database).start().await;
    let first = Batch::new().body("a", login()).body("b", login());
    function.invoke(&first.event()).await;
    let answer = function
        .invoke(&first.body("b", login()).body("c", login()).event())
        .await;
    answer.assert_none_failed();
    assert_eq!(database.count("user_logins").await, 3);
    let summary = &function.lines("batch")[1];
    assert_eq!(
        (&summary["stored"], &summary["duplicates"]),
        (&json!(1), &json!(3))
    );
}

#[tokio::test]
async fn under_ignore_the_first_message_of_a_key_wins_and_under_update_the_last() {
    for (on_conflict, after_one_batch, after_two) in [("ignore", "1", "1"), ("update", "2", "4")] {
        let database = Database::new().await;
        database
            .execute("CREATE TABLE t (k text PRIMARY KEY, v integer)")
            .await;
        let mapping = Mapping::key_and_value(&database, on_conflict);
        let mut function = Setup::on(&database).mapping(&mapping).start().await;
        let batch = |first: i32| {
            Batch::new()
                .body("a", json!({"k": "x", "v": first}))
                .body("b", json!({"k": "x", "v": first + 1}))
        };
        function
            .invoke(&batch(1).event())
            .await
            .assert_none_failed();
        assert_eq!(
            database.rows("SELECT v::text FROM t").await,
            [[after_one_batch]]
        );
        function
            .invoke(&batch(3).event())
            .await
            .assert_none_failed();
        assert_eq!(database.rows("SELECT v::text FROM t").await, [[after_two]]);
    }
}

#[tokio::test]
async fn an_update_whose_last_row_is_refused_stores_the_one_before_it() {
    let database = Database::new().await;
    database
        .execute("CREATE TABLE t (k text PRIMARY KEY, v integer CHECK (v < 10))")
        .await;
    let mapping = Mapping::key_and_value(&database, "update");
    let mut function = Setup::on(&database).mapping(&mapping).start().await;
    let answer = function
        .invoke(
            &Batch::new()
                .body("a", json!({"k": "x", "v": 1}))
                .body("b", json!({"k": "x", "v": 10}))
                .event(),
        )
        .await;
    assert_eq!(answer.failed_ids(), [id("b")]);
    assert_eq!(database.rows("SELECT v::text FROM t").await, [["1"]]);
}

#[tokio::test]
async fn a_key_of_every_column_is_stored_under_update_too() {
    let database = Database::new().await;
    database
        .execute("CREATE TABLE t (k text PRIMARY KEY)")
        .await;
    let mapping = Mapping::of("t")
        .within(&database)
        .key("k")
        .set("on_conflict", "update");
    let mapping = mapping.column("k", "text").with("from", "@body_sha256");
    let mut function = Setup::on(&database).mapping(&mapping).start().await;
    let twice = Batch::new().text("a", "{}").text("b", "{}").text("c", "[]");
    function.invoke(&twice.event()).await.assert_none_failed();
    assert_eq!(database.count("t").await, 2);
}

#[tokio::test]
async fn names_that_need_quotes_are_quoted() {
    let database = Database::new().await;
    database
        .execute("CREATE TABLE \"select\" (\"order\" uuid PRIMARY KEY, \"a\"\"b c\" text)")
        .await;
    let mapping = Mapping::of("select").within(&database).key("order");
    let mapping = mapping.column("order", "uuid").with("from", "@message_id");
    let mapping = mapping.column("a\"b c", "text").with("from", "v");
    let mut function = Setup::on(&database).mapping(&mapping).start().await;
    function
        .invoke(&Batch::new().body("a", json!({"v": "x"})).event())
        .await
        .assert_none_failed();
    assert_eq!(
        database.rows("SELECT \"a\"\"b c\" FROM \"select\"").await,
        [["x"]]
    );
}
