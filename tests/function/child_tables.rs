//! Several tables: of each message all rows are stored, or none.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::join;

use testkit::batch::{Batch, id, ids};
use testkit::{Database, Function, Setup, assert_contains, eventually};

/// Orders with lines, and lines with discounts.
pub(crate) const ORDERS: &str = r#"
[[table]]
name = "orders"
when = { type = ["order", "order.deleted"] }
key = ["order_id"]
on_conflict = "update"
newer = "version"
delete_when = { type = "order.deleted" }
column = [
  { name = "order_id", type = "bigint", required = true },
  { name = "version", type = "integer" },
  { name = "note", type = "text" },
]

[[table]]
name = "order_lines"
parent = "orders"
each = "lines"
key = ["order_id", "line"]
column = [
  { name = "order_id", type = "bigint", from = "^.order_id", required = true },
  { name = "line", type = "integer", from = "@index" },
  { name = "sku", type = "text", required = true },
]

[[table]]
name = "discounts"
parent = "order_lines"
each = "discounts"
key = ["order_id", "line", "number"]
column = [
  { name = "order_id", type = "bigint", from = "^.^.order_id", required = true },
  { name = "line", type = "integer", from = "^.@index" },
  { name = "number", type = "integer", from = "@index" },
  { name = "percent", type = "integer" },
]
"#;

/// The mapping whose first message of an order counts.
pub(crate) fn ignoring(mapping: &str) -> String {
    mapping
        .replace("on_conflict = \"update\"\n", "")
        .replace("newer = \"version\"\n", "")
        .replace("delete_when = { type = \"order.deleted\" }\n", "")
}

/// Its tables as `ddl` creates them, with their foreign keys, and a CHECK that refuses rows.
pub(crate) async fn with_orders() -> Database {
    let database = Database::with_tables_of(ORDERS).await;
    database
        .execute("ALTER TABLE discounts ADD CHECK (percent <= 100)")
        .await;
    database
}

pub(crate) async fn started(database: &Database, mapping: &str) -> Function {
    Setup::on(database).mapping(mapping).start().await
}

/// An order of these lines, each with its discounts in percent.
pub(crate) fn order(id: i64, version: i64, lines: &[(&str, &[i64])]) -> Value {
    let lines: Vec<_> = lines
        .iter()
        .map(|(sku, discounts)| {
            let discounts: Vec<_> = discounts
                .iter()
                .map(|percent| json!({"percent": percent}))
                .collect();
            json!({"sku": sku, "discounts": discounts})
        })
        .collect();
    json!({"type": "order", "order_id": id, "version": version, "lines": lines})
}

pub(crate) fn deletion(id: i64, version: i64) -> Value {
    json!({"type": "order.deleted", "order_id": id, "version": version})
}

/// What is stored, a text for each row: orders as `1 v1`, lines as `1.0 a`, discounts as `1.0.0 5%`.
pub(crate) async fn stored(database: &Database) -> Vec<String> {
    let rows = database
        .rows(
            "SELECT order_id || ' v' || version FROM orders
             UNION ALL SELECT order_id || '.' || line || ' ' || sku FROM order_lines
             UNION ALL SELECT order_id || '.' || line || '.' || number || ' ' || percent || '%' FROM discounts
             ORDER BY 1",
        )
        .await;
    rows.into_iter().flatten().collect()
}

pub(crate) async fn invoke(function: &mut Function, batch: Batch) -> Vec<String> {
    function.invoke(&batch.event()).await.failed_ids()
}

#[tokio::test]
async fn a_message_becomes_rows_of_several_tables_and_a_redelivered_one_changes_nothing() {
    for mapping in [ORDERS.to_owned(), ignoring(ORDERS)] {
        let database = with_orders().await;
        let mut function = started(&database, &mapping).await;
        let batch = || {
            let batch = Batch::new().body("a", order(1, 1, &[("x", &[5, 6]), ("y", &[])]));
            batch.body("b", order(2, 1, &[]))
        };
        let expected = ["1 v1", "1.0 x", "1.0.0 5%", "1.0.1 6%", "1.1 y", "2 v1"];
        for _ in 0..3 {
            assert_eq!(invoke(&mut function, batch()).await, ids(&[]));
            assert_eq!(stored(&database).await, expected);
        }
    }
}

#[tokio::test]
async fn a_newer_message_replaces_all_rows_of_the_older_one_and_an_older_one_none() {
    let database = with_orders().await;
    let mut function = started(&database, ORDERS).await;
    let first = order(1, 2, &[("x", &[5, 6]), ("y", &[7])]);
    assert_eq!(
        invoke(&mut function, Batch::new().body("a", first)).await,
        ids(&[])
    );
    let second = order(1, 3, &[("z", &[8])]);
    assert_eq!(
        invoke(&mut function, Batch::new().body("b", second)).await,
        ids(&[])
    );
    let expected = ["1 v3", "1.0 z", "1.0.0 8%"];
    assert_eq!(stored(&database).await, expected);
    let older = order(1, 1, &[("old", &[]), ("old", &[]), ("old", &[])]);
    assert_eq!(
        invoke(&mut function, Batch::new().body("c", older)).await,
        ids(&[])
    );
    assert_eq!(stored(&database).await, expected);
    let summary = function.lines_of("batch", 3).await.pop().unwrap();
    assert_eq!(summary["tables"]["orders"]["stale"], 1);
    assert_eq!(summary["tables"]["order_lines"]["stored"], 0);
}

#[tokio::test]
async fn of_two_messages_of_one_key_in_a_batch_one_counts_with_all_its_rows() {
    let batch = || {
        let newer = order(1, 2, &[("new", &[1])]);
        let older = order(1, 1, &[("old", &[2]), ("old", &[])]);
        Batch::new().body("a", newer).body("b", older)
    };
    let database = with_orders().await;
    let mut function = started(&database, ORDERS).await;
    assert_eq!(invoke(&mut function, batch()).await, ids(&[]));
    assert_eq!(stored(&database).await, ["1 v2", "1.0 new", "1.0.0 1%"]);
    let database = with_orders().await;
    let last = ORDERS.replace("newer = \"version\"\n", "");
    let mut function = started(&database, &last).await;
    assert_eq!(invoke(&mut function, batch()).await, ids(&[]));
    assert_eq!(
        stored(&database).await,
        ["1 v1", "1.0 old", "1.0.0 2%", "1.1 old"]
    );
}

#[tokio::test]
async fn a_message_that_deletes_takes_the_row_with_its_children() {
    let database = with_orders().await;
    let mut function = started(&database, ORDERS).await;
    let batch = Batch::new()
        .body("a", order(1, 2, &[("x", &[5])]))
        .body("b", order(2, 2, &[("y", &[6])]));
    assert_eq!(invoke(&mut function, batch).await, ids(&[]));
    // The second is older than the row.
    let batch = Batch::new()
        .body("c", deletion(1, 3))
        .body("d", deletion(2, 1));
    assert_eq!(invoke(&mut function, batch).await, ids(&[]));
    assert_eq!(stored(&database).await, ["2 v2", "2.0 y", "2.0.0 6%"]);
    let summary = function.lines_of("batch", 2).await.pop().unwrap();
    let orders = &summary["tables"]["orders"];
    let counts = ["stored", "deleted", "stale", "duplicates"];
    assert_eq!(
        counts.map(|name| orders[name].clone()),
        [0, 1, 1, 0].map(|count| json!(count))
    );
    assert_eq!(summary["tables"]["discounts"]["deleted"], 1);
}

pub(crate) async fn without_foreign_keys() -> Database {
    let database = Database::new().await;
    database
        .execute(
            "CREATE TABLE orders (order_id bigint PRIMARY KEY, version integer, note text);
             CREATE TABLE order_lines (order_id bigint, line integer, sku text, PRIMARY KEY (order_id, line));
             CREATE TABLE discounts (order_id bigint, line integer, number integer, percent integer, PRIMARY KEY (order_id, line, number))",
        )
        .await;
    database
}

#[tokio::test]
async fn children_are_deleted_also_without_foreign_keys() {
    let database = without_foreign_keys().await;
    let mut function = started(&database, ORDERS).await;
    let batch = Batch::new()
        .body("a", order(1, 1, &[("x", &[5, 6]), ("y", &[7])]))
        .body("b", order(2, 1, &[("x", &[5])]));
    assert_eq!(invoke(&mut function, batch).await, ids(&[]));
    let batch = Batch::new()
        .body("c", order(1, 2, &[("x", &[5])]))
        .body("d", deletion(2, 2));
    assert_eq!(invoke(&mut function, batch).await, ids(&[]));
    assert_eq!(stored(&database).await, ["1 v2", "1.0 x", "1.0.0 5%"]);
}

/// As after a restore: Postgres then expects that each order has very many lines.
#[tokio::test]
async fn replacing_lines_does_not_read_a_large_table_that_was_never_analysed() {
    const LINES: i64 = 100_000;
    const ORDERS_OF_BATCH: i64 = 100;
    const BATCHES: i64 = 4;
    let database = without_foreign_keys().await;
    database
        .execute(&format!(
            "ALTER TABLE order_lines SET (autovacuum_enabled = off); \
             INSERT INTO order_lines SELECT -id, 0, 'x' FROM generate_series(1, {LINES}) AS id"
        ))
        .await;
    let mut function = started(&database, ORDERS).await;
    // New orders, and then the same again.
    for version in 0..BATCHES {
        let add = |batch: Batch, id: i64| {
            let order = order(id, version, &[("a", &[]), ("b", &[])]);
            batch.body(&format!("{id}-{version}"), order)
        };
        let batch = (0..ORDERS_OF_BATCH).fold(Batch::new(), add);
        assert_eq!(invoke(&mut function, batch).await, ids(&[]));
    }
    function.end().await;
    let read = "SELECT seq_tup_read::text, (idx_scan > 0)::text FROM pg_stat_user_tables \
        WHERE relname = 'order_lines' AND schemaname = current_schema AND n_tup_upd >= ";
    let read = format!("{read}{}", 2 * ORDERS_OF_BATCH * (BATCHES - 1));
    let read = eventually("the statistics are complete", async || {
        database.rows(&read).await.pop()
    });
    assert_eq!(read.await, ["0", "true"]);
}

#[tokio::test]
async fn a_bad_element_rejects_its_message_and_no_other() {
    let database = with_orders().await;
    let mut function = started(&database, ORDERS).await;
    let mut bad = order(1, 1, &[("x", &[]), ("y", &[5])]);
    bad["lines"][1]["discounts"][0]["percent"] = json!("many");
    let batch = Batch::new()
        .body("bad", bad)
        .body("good", order(2, 1, &[("z", &[])]));
    assert_eq!(invoke(&mut function, batch).await, [id("bad")]);
    assert_eq!(stored(&database).await, ["2 v1", "2.0 z"]);
    let line = function.lines_of("message failed", 1).await.pop().unwrap();
    assert_eq!(line["table"], "discounts");
    assert_eq!(line["column"], "percent");
    assert_eq!(line["path"], "lines[1].discounts[0].percent");
}

#[tokio::test]
async fn an_element_has_no_field_of_the_element_before() {
    let database = with_orders().await;
    let mut function = started(&database, ORDERS).await;
    let of = |id: i64, lines: Value| json!({"type": "order", "order_id": id, "version": 1, "lines": lines});
    let discounted = json!({"sku": "x", "discounts": [{"percent": 5}, {}]});
    let batch = Batch::new()
        .body("whole", of(1, json!([discounted, {"sku": "y"}])))
        .body("no sku", of(2, json!([discounted, {}])))
        .body("no line", of(3, json!([discounted, "y"])));
    let failed = invoke(&mut function, batch).await;
    assert_eq!(failed, [id("no sku"), id("no line")]);
    let lines = "SELECT concat_ws(' ', order_id, sku, number, percent) FROM order_lines \
                 LEFT JOIN discounts USING (order_id, line) ORDER BY line, number";
    let expected = [["1 x 0 5"], ["1 x 1"], ["1 y"]];
    assert_eq!(database.rows(lines).await, expected);
}

#[tokio::test]
async fn a_row_that_postgres_refuses_in_any_table_rejects_its_message_and_no_other() {
    let database = with_orders().await;
    let mut function = started(&database, ORDERS).await;
    let mut batch = Batch::new();
    for number in 0..40 {
        let percent = if number == 17 { 101 } else { 7 };
        batch = batch.body(&number.to_string(), order(number, 1, &[("x", &[percent])]));
    }
    assert_eq!(invoke(&mut function, batch).await, [id("17")]);
    assert_eq!(database.count("orders").await, 39);
    assert_eq!(database.count("order_lines").await, 39);
    assert_eq!(database.count("discounts").await, 39);
    let line = function.lines_of("message failed", 1).await.pop().unwrap();
    assert_eq!(line["rule"], "refused");
}

#[tokio::test]
async fn what_cannot_be_rows_is_rejected_by_its_rule() {
    let database = with_orders().await;
    let mut function = started(&database, ORDERS).await;
    let with_lines = |lines: Value| {
        let mut order = order(1, 1, &[]);
        order["lines"] = lines;
        order
    };
    let many = vec![json!({"sku": "x"}); 100_000];
    let batch = Batch::new()
        .body("object", with_lines(json!({"sku": "x"})))
        .body("text", with_lines(json!("x")))
        .body("many", with_lines(json!(many)))
        .body("scalars", with_lines(json!([1, "x", null])))
        .body("null", with_lines(json!(null)))
        .body("unmatched", json!({"type": "invoice"}));
    let failed = invoke(&mut function, batch).await;
    assert_eq!(
        failed,
        ids(&["object", "text", "many", "scalars", "unmatched"])
    );
    let lines = function.lines_of("message failed", 5).await;
    let rules: Vec<_> = lines
        .iter()
        .map(|line| line["rule"].as_str().unwrap())
        .collect();
    assert_eq!(
        rules,
        [
            "not_an_array",
            "not_an_array",
            "too_many_rows",
            "not_an_object",
            "unmatched"
        ]
    );
    assert_eq!(stored(&database).await, ["1 v1"]);
}

#[tokio::test]
async fn two_rows_of_one_parent_with_the_same_key_reject_their_message() {
    let mapping = ORDERS.replace(
        "key = [\"order_id\", \"line\"]",
        "key = [\"order_id\", \"sku\"]",
    );
    let (mapping, _) = mapping
        .split_once("[[table]]\nname = \"discounts\"")
        .unwrap();
    let database = with_orders().await;
    database
        .execute("ALTER TABLE order_lines DROP CONSTRAINT order_lines_pkey CASCADE, ADD PRIMARY KEY (order_id, sku)")
        .await;
    let mut function = started(&database, mapping).await;
    let batch = Batch::new()
        .body("bad", order(1, 1, &[("x", &[]), ("x", &[])]))
        .body("good", order(2, 1, &[("x", &[]), ("y", &[])]));
    assert_eq!(invoke(&mut function, batch).await, [id("bad")]);
    assert_eq!(stored(&database).await, ["2 v1", "2.0 x", "2.1 y"]);
    let line = function.lines_of("message failed", 1).await.pop().unwrap();
    assert_eq!(line["rule"], "repeated_key");
}

pub(crate) const ROUTES: &str = r#"
root = "detail"
unmatched = "skip"

[[table]]
name = "logins"
when = { "$.detail-type" = "login" }
key = ["id"]
column = [
  { name = "id", type = "text", from = "$.id", required = true },
  { name = "user_id", type = "text", from = ["user_id", "user.id"] },
  { name = "rest", type = "jsonb", from = "@rest", except = ["secret"] },
]

[[table]]
name = "objects"
each = "Records"
when = { bucket = ["a", "b"] }
key = ["bucket", "key"]
column = [
  { name = "bucket", type = "text", required = true },
  { name = "key", type = "text", required = true },
  { name = "event_id", type = "text", from = "$.id" },
]
"#;

#[tokio::test]
async fn messages_are_routed_by_their_content_and_what_nobody_takes_is_skipped() {
    let database = Database::with_tables_of(ROUTES).await;
    let mut function = started(&database, ROUTES).await;
    let records = json!([{"bucket": "a", "key": "1"}, {"bucket": "c", "key": "2"}, {"bucket": "b", "key": "3"}]);
    // The second detail is JSON within a string.
    let detail = json!({"user": {"id": "v"}, "new": [1], "secret": 2}).to_string();
    let batch = Batch::new()
        .body(
            "a",
            json!({"id": "e1", "detail-type": "login", "detail": {"user_id": "u", "new": true}}),
        )
        .body(
            "b",
            json!({"id": "e2", "detail-type": "login", "detail": detail}),
        )
        .body("c", json!({"id": "e3", "detail": {"Records": records}}))
        .body(
            "d",
            json!({"id": "e4", "detail-type": "other", "detail": {}}),
        );
    assert_eq!(invoke(&mut function, batch).await, ids(&[]));
    let logins = "SELECT id, user_id, rest::text FROM logins ORDER BY 1";
    assert_eq!(
        database.rows(logins).await,
        [
            ["e1", "u", r#"{"new": true}"#],
            ["e2", "v", r#"{"new": [1]}"#]
        ]
    );
    let objects = "SELECT bucket, key, event_id FROM objects ORDER BY 1";
    assert_eq!(
        database.rows(objects).await,
        [["a", "1", "e3"], ["b", "3", "e3"]]
    );
    let summary = function.lines_of("batch", 1).await.pop().unwrap();
    assert_eq!(
        (&summary["skipped"], &summary["stored"]),
        (&json!(1), &json!(4))
    );
}

#[tokio::test]
async fn a_condition_on_text_is_not_met_by_a_number_or_a_truth_value_with_the_same_spelling() {
    let table = |name: &str, value: &str| {
        format!(
            "[[table]]\nname = \"{name}\"\nwhen = {{ code = {value} }}\nkey = [\"id\"]\n\
             column = [{{ name = \"id\", type = \"text\", required = true }}]\n"
        )
    };
    let tables = [
        ("digits", "\"1\""),
        ("words", "\"true\""),
        ("numbers", "1"),
        ("flags", "true"),
    ];
    let mapping: String = tables.map(|(name, value)| table(name, value)).concat();
    let mapping = format!("unmatched = \"skip\"\n{mapping}");
    let database = Database::with_tables_of(&mapping).await;
    let mut function = started(&database, &mapping).await;
    let codes = [
        ("a", json!("1")),
        ("b", json!("true")),
        ("c", json!(1)),
        ("d", json!(1.0)),
        ("e", json!(true)),
        ("f", json!("1.0")),
    ];
    let batch = codes.iter().fold(Batch::new(), |batch, (id, code)| {
        batch.body(id, json!({"id": id, "code": code}))
    });
    assert_eq!(invoke(&mut function, batch).await, ids(&[]));
    for (table, expected) in [
        ("digits", "a"),
        ("words", "b"),
        ("numbers", "c d"),
        ("flags", "e"),
    ] {
        let stored = format!("SELECT string_agg(id, ' ' ORDER BY id) FROM {table}");
        assert_eq!(database.rows(&stored).await, [[expected]], "{table}");
    }
}

#[tokio::test]
async fn a_table_at_fault_is_named_and_nothing_of_the_batch_is_stored() {
    let database = with_orders().await;
    let mut function = started(&database, ORDERS).await;
    database.execute("ALTER TABLE discounts DROP percent").await;
    let batch = Batch::new().body("a", order(1, 1, &[("x", &[5])]));
    let error = function.invoke(&batch.event()).await.error();
    assert_contains(&error, "discounts");
    assert_contains(&error, "ADD COLUMN");
    assert_eq!(database.count("orders").await, 0);
}

/// Each order says in `note` how many lines it has.
#[tokio::test]
async fn orders_that_two_functions_replace_at_the_same_time_keep_no_line_of_another_version() {
    const ROUNDS: i64 = 60;
    const KEYS: i64 = 5;
    let database = with_orders().await;
    let mapping = ORDERS.replace("newer = \"version\"\n", "");
    let (mut one, mut other) = join!(started(&database, &mapping), started(&database, &mapping));
    for round in 0..ROUNDS {
        let batch = |offset: i64| {
            (0..KEYS).fold(Batch::new(), |batch, key| {
                let lines = vec![("x", &[1_i64][..]); ((round * 7 + offset + key) % 6) as usize];
                let mut order = order(key, round, &lines);
                order["note"] = json!(lines.len().to_string());
                batch.body(&key.to_string(), order)
            })
        };
        let (batch_of_one, batch_of_other) = (batch(0).event(), batch(3).event());
        let time = Duration::from_secs(60);
        let (first, second) = join!(
            one.invoke_within(&batch_of_one, time),
            other.invoke_within(&batch_of_other, time)
        );
        assert_eq!(
            (first.failed_ids(), second.failed_ids()),
            (ids(&[]), ids(&[]))
        );
        let mixed = "SELECT order_id::text, note, count(line)::text FROM orders LEFT JOIN order_lines USING (order_id)
            GROUP BY 1, 2 HAVING note <> count(line)::text";
        assert_eq!(database.rows(mixed).await, [[""; 0]; 0], "round {round}");
    }
}

#[tokio::test]
async fn after_a_failed_message_no_later_one_of_its_fifo_group_is_stored() {
    let database = with_orders().await;
    let mut function = started(&database, ORDERS).await;
    let batch = Batch::fifo()
        .grouped("anna", "a1", order(1, 1, &[("x", &[5])]))
        .grouped("anna", "a2", order(2, 1, &[("x", &[101])]))
        .grouped("ben", "b1", order(3, 1, &[("x", &[])]))
        .grouped("anna", "a3", order(4, 1, &[]));
    assert_eq!(invoke(&mut function, batch).await, ids(&["a2", "a3"]));
    assert_eq!(
        stored(&database).await,
        ["1 v1", "1.0 x", "1.0.0 5%", "3 v1", "3.0 x"]
    );
}
