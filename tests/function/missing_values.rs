//! `null_if` and `on_null`: values that mean that there is none, and columns that keep what is stored.

use std::collections::BTreeMap;

use fastrand::Rng;
use serde_json::{Value, json};

use crate::reference::Example;
use testkit::batch::{Batch, ids};
use testkit::{Database, Function, Setup};

const SEEDS: u64 = 200;

fn event<'b>(bodies: impl IntoIterator<Item = &'b Value>) -> Value {
    let numbered = bodies.into_iter().enumerate();
    let batch = numbered.fold(Batch::new(), |batch, (number, body)| {
        batch.body(&number.to_string(), body.clone())
    });
    batch.event()
}

#[tokio::test]
async fn the_messages_of_the_reference_become_its_rows_one_by_one_and_in_one_batch_in_any_order() {
    let example = Example::of("Missing values", "articles");
    let (database, mut function) = Function::with_tables_of(&example.mapping).await;
    let forward: Vec<usize> = (0..example.messages.len()).collect();
    let backward: Vec<usize> = forward.iter().rev().copied().collect();
    for (order, size) in [(&forward, 1), (&forward, 2), (&forward, 4), (&backward, 4)] {
        database.execute("TRUNCATE articles").await;
        for batch in order.chunks(size) {
            let answer = function.invoke(&example.batch(batch)).await;
            answer.assert_none_failed();
        }
        let said = format!("{order:?} in batches of {size}");
        example.assert_stored(&database, &said).await;
    }
}

#[tokio::test]
async fn a_value_that_means_missing_is_found_as_it_was_sent_and_is_missing_in_every_respect() {
    const MAPPING: &str = r#"
table = "t"
key = ["k"]
column = [
  { name = "k", type = "integer", required = true },
  { name = "required", type = "text", required = true, null_if = ["n/a"] },
  { name = "defaulted", type = "text", default = "none", null_if = ["n/a"] },
  { name = "first", type = "text", from = ["a", "b"], null_if = ["n/a", "", 0, false] },
  { name = "cleaned", type = "text", transform = ["lowercase"], null_if = ["N/A"] },
  { name = "masked", type = "text", mask = "sha256", null_if = ["n/a"] },
  { name = "json", type = "jsonb", transform = ["json"], null_if = ["n/a"] },
  { name = "number", type = "integer", null_if = [-1] },
]
"#;
    let (database, mut function) = Function::with_tables_of(MAPPING).await;
    let body = |k: i32, more: Value| {
        let mut body = json!({"k": k, "required": "x"});
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        body
    };
    let bodies = [
        body(0, json!({"required": "n/a"})),
        body(
            1,
            json!({"defaulted": "n/a", "masked": "n/a", "json": "n/a", "number": -1.0}),
        ),
        body(2, json!({"a": "n/a", "b": "b"})),
        body(3, json!({"a": 0, "b": "b"})),
        body(4, json!({"a": false, "b": ""})),
        body(5, json!({"a": "0", "cleaned": "n/a"})),
        body(
            6,
            json!({"cleaned": "N/A", "json": "{\"n/a\": 1}", "number": "-1"}),
        ),
        body(7, json!({"number": -1, "masked": "N/A"})),
    ];
    let answer = function.invoke(&event(&bodies)).await;
    // A number is not a text, also where it means missing: "-1" is no integer.
    assert_eq!(answer.failed_ids(), ids(&["0"]));
    let rows = "SELECT k::text, defaulted, first, cleaned, length(masked)::text, json::text, number::text FROM t ORDER BY k";
    let expected = [
        ["1", "none", "∅", "∅", "∅", "∅", "∅"],
        ["2", "none", "b", "∅", "∅", "∅", "∅"],
        ["3", "none", "b", "∅", "∅", "∅", "∅"],
        ["4", "none", "∅", "∅", "∅", "∅", "∅"],
        ["5", "none", "0", "n/a", "∅", "∅", "∅"],
        ["6", "none", "∅", "∅", "∅", "{\"n/a\": 1}", "-1"],
        ["7", "none", "∅", "∅", "64", "∅", "∅"],
    ];
    assert_eq!(database.rows(rows).await, expected);
}

/// What a table does with deletions and with older messages.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Table {
    /// The last message of a key counts.
    Last,
    /// The newest one, and of those the last.
    Newest,
    /// So, and messages may delete rows.
    Deleting,
    /// So, and deleted rows remain.
    Tombstones,
}

impl Table {
    fn mapping(self) -> String {
        let head = match self {
            Self::Last => "",
            Self::Newest => "newer = 'version'",
            Self::Deleting => "newer = 'version'\ndelete_when = { deleted = true }",
            Self::Tombstones => {
                "newer = 'version'\ndelete_when = { deleted = true }\ndeleted = 'deleted_at'"
            }
        };
        format!(
            "[[table]]\nname = 't'\nkey = ['k']\non_conflict = 'update'\n{head}\ncolumn = [\n\
             {{ name = 'k', type = 'integer', required = true }}, {{ name = 'version', type = 'integer' }},\n\
             {{ name = 'a', type = 'text', on_null = 'keep' }}, {{ name = 'b', type = 'text', on_null = 'keep', null_if = ['-'] }},\n\
             {{ name = 'c', type = 'text' }}]"
        )
    }

    fn has_order(self) -> bool {
        self != Self::Last
    }
}

#[derive(Debug, Clone, PartialEq)]
struct Message {
    k: i32,
    version: i32,
    a: Option<String>,
    b: Option<String>,
    c: Option<String>,
    is_deleted: bool,
}

impl Message {
    fn random(random: &mut Rng, table: Table, number: usize) -> Self {
        let value = |random: &mut Rng| random.bool().then(|| number.to_string());
        Self {
            k: random.i32(0..4),
            version: random.i32(0..8),
            a: value(random),
            b: value(random),
            c: value(random),
            is_deleted: matches!(table, Table::Deleting | Table::Tombstones)
                && random.u32(0..5) == 0,
        }
    }

    fn body(&self) -> Value {
        let b = self.b.as_deref().unwrap_or("-");
        json!({"k": self.k, "version": self.version, "a": self.a, "b": b, "c": self.c, "deleted": self.is_deleted})
    }

    /// Applies it as if it came alone.
    fn apply(&self, table: Table, rows: &mut BTreeMap<i32, Self>) {
        let stored = rows.get(&self.k);
        if table.has_order() && stored.is_some_and(|stored| stored.version > self.version) {
            return;
        }
        if self.is_deleted && table == Table::Deleting {
            rows.remove(&self.k);
            return;
        }
        let kept = |own: &Option<String>, of: fn(&Self) -> &Option<String>| match self.is_deleted {
            true => None,
            false => own.clone().or_else(|| of(stored?).clone()),
        };
        let row = Self {
            a: kept(&self.a, |row| &row.a),
            b: kept(&self.b, |row| &row.b),
            c: self.c.clone().filter(|_| !self.is_deleted),
            ..self.clone()
        };
        rows.insert(self.k, row);
    }

    fn row(&self, table: Table) -> Vec<String> {
        let text = |value: &Option<String>| value.clone().unwrap_or("∅".to_owned());
        let mut row = vec![self.k.to_string(), self.version.to_string()];
        row.extend([&self.a, &self.b, &self.c].map(text));
        row.extend((table == Table::Tombstones).then(|| self.is_deleted.to_string()));
        row
    }
}

async fn rows(database: &Database, table: Table) -> Vec<Vec<String>> {
    let deleted = match table {
        Table::Tombstones => ", (deleted_at IS NOT NULL)::text",
        Table::Last | Table::Newest | Table::Deleting => "",
    };
    let sql = format!("SELECT k::text, version::text, a, b, c{deleted} FROM t ORDER BY t.k");
    database.rows(&sql).await
}

/// What a batch stores equals what its messages store one by one: in the order of `newer` where there is one, otherwise
/// as they came.
async fn batches_are_stored_like_their_messages(table: Table) {
    let mapping = table.mapping();
    let database = Database::with_tables_of(&mapping).await;
    let mut function = Setup::on(&database).mapping(&mapping).start().await;
    let base = fastrand::u64(..u64::MAX - SEEDS);
    for seed in base..base + SEEDS {
        database.execute("TRUNCATE t").await;
        let mut random = Rng::with_seed(seed);
        let mut model = BTreeMap::new();
        for number in 0..random.usize(1..4) {
            let size = random.usize(1..12);
            let batch = (0..size).map(|at| Message::random(&mut random, table, 100 * number + at));
            let batch: Vec<_> = batch.collect();
            let bodies: Vec<_> = batch.iter().map(Message::body).collect();
            function.invoke(&event(&bodies)).await.assert_none_failed();
            let mut sorted = batch.clone();
            if table.has_order() {
                sorted.sort_by_key(|message| message.version);
            }
            for message in &sorted {
                message.apply(table, &mut model);
            }
            let expected: Vec<_> = model.values().map(|row| row.row(table)).collect();
            let said = format!("seed {seed}, {table:?}, batch {number}: {batch:?}");
            assert_eq!(rows(&database, table).await, expected, "{said}");
        }
    }
}

#[tokio::test]
async fn a_batch_stores_what_its_messages_would_one_by_one() {
    batches_are_stored_like_their_messages(Table::Last).await;
}

#[tokio::test]
async fn a_batch_stores_what_its_messages_would_in_the_order_of_newer() {
    batches_are_stored_like_their_messages(Table::Newest).await;
}

#[tokio::test]
async fn a_batch_with_deletions_stores_what_its_messages_would_in_the_order_of_newer() {
    batches_are_stored_like_their_messages(Table::Deleting).await;
}

#[tokio::test]
async fn a_batch_with_tombstones_stores_what_its_messages_would_in_the_order_of_newer() {
    batches_are_stored_like_their_messages(Table::Tombstones).await;
}

/// A value that is older than the stored row must not come back with a newer message that lacks it.
#[tokio::test]
async fn a_value_that_is_older_than_the_row_is_not_stored_with_a_newer_message_of_its_batch() {
    let mapping = Table::Newest.mapping();
    let (database, mut function) = Function::with_tables_of(&mapping).await;
    let message = |version: i32, a: Value| json!({"k": 1, "version": version, "a": a});
    let first = message(5, json!("of 5"));
    function.invoke(&event([&first])).await.assert_none_failed();
    let batch = [message(6, json!(null)), message(4, json!("of 4"))];
    function.invoke(&event(&batch)).await.assert_none_failed();
    let row = "SELECT version::text, a FROM t";
    assert_eq!(database.rows(row).await, [["6", "of 5"]]);
    let line = function.lines_of("batch", 2).await.pop().unwrap();
    assert_eq!((&line["stored"], &line["stale"]), (&json!(1), &json!(1)));
}
