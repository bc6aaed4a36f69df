use mapping::Refusal;
use serde_json::{Value, json};

use super::super::made::rows;
use super::*;
use crate::database::DatabaseError;

fn error() -> LoadError {
    DatabaseError::Late.into()
}

fn ambiguous() -> Failure {
    Failure::Refused(Refusal::default(), Some(error()))
}

/// A batch with these outcomes and counts, whose messages are tried one by one.
fn batch<'a>(
    rows: &'a MessageRows,
    groups: &'a [Option<usize>],
    outcomes: Vec<MessageOutcome>,
    tables: &[Stored],
) -> Batch<'a> {
    let parts = (0..outcomes.len()).map(|message| vec![message]).collect();
    Batch {
        rows,
        groups,
        loaded: Loaded {
            outcomes,
            tables: tables.to_vec(),
        },
        schedule: Schedule::new(parts, Lanes::new),
        blocked: HashSet::new(),
        ambiguous: Ambiguous::default(),
    }
}

fn rejected() -> MessageOutcome {
    MessageOutcome::Rejected(Box::default())
}

#[test]
fn whatever_a_message_fails_by_no_later_one_of_its_group_is_tried() {
    let failures = [
        Failure::Refused(Refusal::default(), None),
        ambiguous(),
        Failure::Table(error()),
        Failure::TryFewer(None),
        Failure::TryFewer(Some(error())),
    ];
    let groups = [Some(0), Some(1), Some(0), None, Some(0)];
    for (number, failure) in failures.into_iter().enumerate() {
        let rows = MessageRows::new([]);
        let mut batch = batch(&rows, &groups, vec![MessageOutcome::Unknown; 5], &[]);
        let first = batch.next().unwrap();
        assert_eq!(first.messages, [0]);
        batch.failed(first, failure);
        let mut tried = Vec::new();
        while let Some(part) = batch.next() {
            batch.stored(&part, &[]);
            tried.extend(part.messages);
        }
        assert_eq!(tried, [1, 3], "{number}");
        let (loaded, _) = batch.end(None);
        assert_eq!(loaded.outcomes[2], MessageOutcome::Blocked, "{number}");
        assert_eq!(loaded.outcomes[4], MessageOutcome::Blocked, "{number}");
    }
}

const TWO_TABLES: &str = r#"
    [[table]]
    name = "one"
    key = ["id"]
    when = { one = 1 }
    column = [{ name = "id", type = "text", from = "@message_id" }]

    [[table]]
    name = "two"
    key = ["id"]
    when = { two = 1 }
    column = [{ name = "id", type = "text", from = "@message_id" }]
"#;

/// Which messages are not blamed for a refusal that may be the fault of a table. The first has a row in the first
/// of two tables, the second one in the other, and the third one in both.
fn not_blamed(tables: [Stored; 2]) -> Vec<usize> {
    let bodies = [
        json!({"one": 1}),
        json!({"two": 1}),
        json!({"one": 1, "two": 1}),
    ];
    let (_, rows) = rows(TWO_TABLES, bodies);
    let outcomes = vec![rejected(), rejected(), rejected()];
    let mut batch = batch(&rows, &[], outcomes, &tables);
    for message in 0..3 {
        batch.ambiguous.outcome(message, ambiguous());
    }
    let (loaded, result) = batch.end(None);
    // Without a row that was stored, all of them fail as one.
    assert_eq!(result, Err(error()));
    let is_ambiguous = |message: &usize| match &loaded.outcomes[*message] {
        MessageOutcome::Rejected(refusal) => refusal.is_ambiguous,
        MessageOutcome::Stored | MessageOutcome::Blocked | MessageOutcome::Unknown => false,
    };
    (0..3).filter(is_ambiguous).collect()
}

#[test]
fn a_message_is_blamed_once_each_of_its_tables_has_changed_by_another_one_and_not_by_a_duplicate() {
    let none = Stored::default();
    let written = Stored { written: 1, ..none };
    let deleted = Stored { deleted: 1, ..none };
    let unchanged = Stored {
        duplicates: 7,
        stale: 7,
        ..none
    };
    assert_eq!(not_blamed([none, none]), [0, 1, 2]);
    assert_eq!(not_blamed([unchanged, written]), [0, 2]);
    assert_eq!(not_blamed([deleted, unchanged]), [1, 2]);
    assert_eq!(not_blamed([written, deleted]), [0_usize; 0]);
}

#[test]
fn a_fault_of_the_table_fails_a_batch_of_which_something_is_stored_and_one_of_the_server_does_not()
{
    let rows = MessageRows::new([]);
    let result = |failure: Failure, other: MessageOutcome| {
        let mut batch = batch(&rows, &[], vec![MessageOutcome::Unknown, other], &[]);
        let first = batch.next().unwrap();
        batch.failed(first, failure);
        batch.end(None).1
    };
    let of_server = || Failure::TryFewer(Some(error()));
    let of_row = Failure::Refused(Refusal::default(), None);
    assert_eq!(
        result(Failure::Table(error()), MessageOutcome::Stored),
        Err(error())
    );
    assert_eq!(result(of_server(), MessageOutcome::Stored), Ok(()));
    assert_eq!(result(of_server(), rejected()), Err(error()));
    assert_eq!(result(of_row, rejected()), Ok(()));
}

const ELEMENTS: &str = r#"
    [[table]]
    name = "t"
    each = "rows"
    key = ["id", "n"]
    column = [
        { name = "id", type = "text", from = "@message_id" },
        { name = "n", type = "integer", from = "@index" },
        { name = "v", type = "text" },
    ]
"#;

/// How many messages each part has, of messages with this many rows of this many bytes.
fn sizes(messages: &[(usize, usize)], limit: Option<TransactionLimit>) -> Vec<usize> {
    let bodies = messages.iter().map(|&(count, bytes)| {
        let row = json!({"v": "x".repeat(bytes)});
        json!({ "rows": Value::Array(vec![row; count]) })
    });
    let (_, rows) = rows(ELEMENTS, bodies);
    let parts = parts(&rows, limit);
    let in_order: Vec<usize> = parts.iter().flatten().copied().collect();
    assert_eq!(in_order, (0..messages.len()).collect::<Vec<_>>());
    let sizes = parts.iter().map(Vec::len);
    sizes.filter(|&size| size > 0).collect()
}

#[test]
fn a_transaction_has_no_more_rows_and_bytes_than_the_server_allows() {
    let limit = Some(TransactionLimit {
        rows: 30,
        bytes: 8_000,
    });
    let many = [(10, 1); 7];
    assert_eq!(sizes(&many, limit), [3, 3, 1]);
    assert_eq!(sizes(&many, None), [7]);
    let large = [(1, 3_000); 5];
    assert_eq!(sizes(&large, limit), [2, 2, 1]);
    assert_eq!(sizes(&large, None), [5]);
    // A message is not divided.
    assert_eq!(sizes(&[(2, 5_000), (1, 1), (1, 1)], limit), [1, 2]);
    assert_eq!(sizes(&[(1, 1), (31, 1), (1, 1)], limit), [1, 1, 1]);
}
