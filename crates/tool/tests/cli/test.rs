//! `test`: the rows that it computes are those that the function stores.

use std::fs;
use std::path::PathBuf;

use fastrand::Rng;
use mapping::Pipeline;
use serde_json::{Value, json};

use crate::tool::{Ended, Tool};
use testkit::aws::unique;
use testkit::batch::{Batch, id};
use testkit::{Database, Setup, assert_contains};

/// A mapping and its messages in a folder of its own, deleted when it is dropped.
struct Folder(PathBuf);

impl Folder {
    fn of(mapping: &str, messages: &[String]) -> Self {
        let folder = Self(std::env::temp_dir().join(unique("mapping")));
        fs::create_dir(&folder.0).unwrap();
        folder.write("orders.toml", mapping);
        folder.write("orders.jsonl", &messages.join("\n"));
        folder
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.join(name), text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap()
    }

    async fn test(&self, options: &str) -> Ended {
        let mapping = self.0.join("orders.toml");
        let test = format!("test {options} {}", mapping.display());
        Tool::bare().run(&test).await
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

/// The function stores these rows: its own test compares them with the same files.
#[tokio::test]
async fn the_messages_of_each_example_become_the_rows_beside_it() {
    let examples = fs::read_dir(format!("{}/examples", testkit::ROOT)).unwrap();
    let examples = examples.map(|file| file.unwrap().path());
    let mappings = examples.filter(|file| file.extension().is_some_and(|end| end == "toml"));
    let mappings: Vec<String> = mappings.map(|file| file.display().to_string()).collect();
    let tested = Tool::bare()
        .run(&format!("test {}", mappings.join(" ")))
        .await
        .exits(0);
    assert!(mappings.len() >= 13);
    assert_eq!(
        tested.out.matches(": ok\n").count(),
        mappings.len(),
        "{}",
        tested.out
    );
}

const ORDERS: &str = r#"
unmatched = "skip"
[[table]]
name = "orders"
key = ["order_id"]
when = { kind = ["order", "deleted"] }
delete_when = { kind = "deleted" }
on_conflict = "update"
newer = "version"
column = [
  { name = "order_id", type = "numeric", required = true },
  { name = "version", type = "integer" },
  { name = "paid", type = "boolean" },
  { name = "total", type = "numeric(12,2)" },
  { name = "more", type = "jsonb" },
  { name = "email", type = "text", mask = "sha256" },
]
[[table]]
name = "lines"
parent = "orders"
each = "lines"
key = ["order_id", "line"]
column = [
  { name = "order_id", type = "numeric", from = "^.order_id", required = true },
  { name = "line", type = "integer", from = "@index" },
  { name = "sku", type = "text" },
]
[[table]]
name = "discounts"
parent = "lines"
each = "discounts"
key = ["order_id", "line", "code"]
column = [
  { name = "order_id", type = "numeric", from = "^.^.order_id", required = true },
  { name = "line", type = "integer", from = "^.@index" },
  { name = "code", type = "text", required = true },
]
[[table]]
name = "visits"
each = "visits"
when = { "$.kind" = ["order", "deleted"] }
key = ["page", "day"]
column = [
  { name = "page", type = "text", required = true },
  { name = "day", type = "date", required = true },
  { name = "seen", type = "timestamptz", from = "$.at" },
  { name = "sent_at", type = "timestamptz", from = "@sent_at" },
]
"#;

fn message(rng: &mut Rng) -> Value {
    let lines = |rng: &mut Rng| -> Vec<Value> {
        let line = |rng: &mut Rng| {
            let codes = ["a", "b", "c"];
            let discounts = codes.iter().filter(|_| rng.bool());
            let discounts: Vec<_> = discounts.map(|code| json!({"code": code})).collect();
            json!({"sku": format!("s-{}", rng.u8(0..9)), "discounts": discounts})
        };
        (0..rng.usize(0..4)).map(|_| line(rng)).collect()
    };
    let visits = |rng: &mut Rng| -> Vec<Value> {
        let pages = ["/a", "/B", "/ä"];
        let visit = |rng: &mut Rng| json!({"page": pages[rng.usize(0..pages.len())], "day": format!("2026-01-0{}", rng.u8(1..4))});
        (0..rng.usize(0..3)).map(|_| visit(rng)).collect()
    };
    let kinds = ["order", "order", "order", "deleted", "other"];
    let ids = ["1", "2", "2.0", "10", "3e0"];
    let id = serde_json::from_str::<Value>(ids[rng.usize(0..ids.len())]).unwrap();
    let version = match rng.u8(0..8) {
        0 => Value::Null,
        1 => json!("no number"),
        version => json!(version),
    };
    let kind = kinds[rng.usize(0..kinds.len())];
    let total = rng
        .bool()
        .then(|| format!("{}.{}", rng.u8(..), rng.u8(0..10)));
    json!({
        "kind": kind, "order_id": id, "version": version, "paid": rng.bool(),
        "total": total,
        "more": {"zz": [1, 2.50, null], "a": {"b\"": "ü\n"}, "n": rng.u8(..)},
        "email": format!("{}@example.org", rng.u8(0..3)), "lines": lines(rng), "visits": visits(rng),
        "at": "2026-01-31T09:00:00.5+01:00",
    })
}

/// The rows of a table in a file of expected rows, sorted, without their tokens.
fn expected(text: &str, table: &str) -> Vec<String> {
    let section = text
        .split("\n\n")
        .find(|section| section.starts_with(&format!("{table}\n")));
    let rows = section.unwrap().lines().skip(3);
    let cells = rows.map(|row| {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        cells.join("|").replace("\\\\", "\\")
    });
    let mut rows: Vec<String> = cells.collect();
    rows.sort();
    rows
}

/// What `test` takes for the time at which it was sent, in milliseconds since 1970.
fn sent_at(position: usize) -> String {
    (1_767_225_601_000 + 1_000 * position).to_string()
}

/// The same, with tombstones in place of deletions, and values that are kept.
fn orders_with_tombstones() -> String {
    let deleted = "delete_when = { kind = \"deleted\" }";
    let total = "name = \"total\"";
    assert!(ORDERS.contains(deleted) && ORDERS.contains(total));
    ORDERS
        .replace(deleted, &format!("{deleted}\ndeleted = \"deleted_at\""))
        .replace(total, &format!("{total}, on_null = \"keep\""))
}

/// Without masks, because the function has another key.
#[tokio::test]
async fn the_rows_are_those_that_the_function_stores_of_the_same_messages() {
    for (seed, mapping) in [ORDERS, &orders_with_tombstones()]
        .iter()
        .flat_map(|mapping| (1..=4).map(move |seed| (seed, mapping)))
    {
        let mut rng = Rng::with_seed(seed);
        let messages: Vec<String> = (0..80).map(|_| message(&mut rng).to_string()).collect();
        let plain = mapping.replace(", mask = \"sha256\"", "");
        let folder = Folder::of(&plain, &messages);
        folder.test("--update").await.exits(0);
        let computed = folder.read("orders.rows");
        let database = Database::new().await;
        let pipeline = Pipeline::parse("orders.toml", &plain).unwrap();
        database.execute(&pipeline.create_tables()).await;
        let mut function = Setup::on(&database).mapping(&plain).start().await;
        for (position, message) in messages.iter().enumerate() {
            let attributes = json!({"SentTimestamp": sent_at(position)});
            let record = json!({"messageId": id("one"), "body": message, "attributes": attributes});
            function.invoke(&Batch::new().record(record).event()).await;
        }
        let mut all = 0;
        for table in &pipeline.tables {
            let columns: Vec<_> = table
                .column_names()
                .map(|name| format!("format('%s', {name})"))
                .collect();
            let select = format!("SELECT {} FROM {}", columns.join(", "), table.table);
            let stored = database
                .rows(&select)
                .await
                .into_iter()
                .map(|row| row.join("|"));
            let mut stored: Vec<String> = stored.collect();
            stored.sort();
            all += stored.len();
            assert_eq!(
                expected(&computed, &table.table.name),
                stored,
                "seed {seed}"
            );
        }
        assert!(all > 10, "seed {seed}: {computed}");
        assert_contains(&computed, "\nmessages without rows\n");
        folder.test("").await.exits(0);
    }
}

fn order(id: u32, total: &str) -> String {
    json!({"kind": "order", "order_id": id, "version": 1, "total": total, "email": "ada@example.org"}).to_string()
}

#[tokio::test]
async fn a_changed_row_and_a_message_that_is_rejected_anew_fail_the_test_with_what_differs() {
    let folder = Folder::of(
        ORDERS,
        &[order(1, "1.00"), order(2, "2.00"), order(3, "3.00")],
    );
    let missing = folder.test("").await.exits(2);
    assert_contains(&missing.err, "orders.rows");
    assert_contains(&missing.err, "write it with --update");
    assert_contains(
        &folder.test("--update").await.exits(0).out,
        "orders.rows: written\n",
    );
    assert_contains(
        &folder.test("--update").await.exits(0).out,
        "orders.rows: unchanged\n",
    );
    let rows = folder.read("orders.rows");
    assert_contains(&rows, "token 1");
    assert!(!rows.contains("ada@"), "{rows}");
    assert_contains(&folder.test("").await.exits(0).out, "orders.toml: ok\n");

    let changed = [order(1, "1.00"), order(2, "2.50"), order(3, "x<3")];
    folder.write("orders.jsonl", &changed.join("\n"));
    let junit = folder.0.join("report.xml");
    let failed = folder
        .test(&format!("--junit {}", junit.display()))
        .await
        .exits(1);
    for difference in [
        "orders.toml: 4 differences (- expected, + now)\n",
        "\n  - 2 | 1 |  | 2.00 |  | token 1\n",
        "\n  - 3 | 1 |  | 3.00 |  | token 1\n",
        "\n  + 2 | 1 |  | 2.50 |  | token 1\n",
        "\nmessages without rows\n  + line 3 | type | total | total\n",
    ] {
        assert_contains(&failed.out, difference);
    }
    let report = folder.read("report.xml");
    assert_contains(&report, "tests=\"5\" failures=\"2\"");
    assert_contains(&report, "name=\"lines\"/>");
    assert_contains(&report, "<failure message=");
    folder.test("--update").await.exits(0);
    folder.test("").await.exits(0);
}
