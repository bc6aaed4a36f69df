//! One row per key: `ON CONFLICT` cannot handle several in one statement.
//!
//! A row that keeps stored values where it has none (`on_null = "keep"`) may need those of an earlier row of its key. It
//! then comes in a later step, with a statement of its own: only Postgres knows whether the earlier row still counts,
//! or is older than the stored one.

use std::cmp::Ordering;

use mapping::internals::{Kind, Numeric};
use mapping::{ColumnType, OnConflict, TableMapping, TableRows};

/// The rows of one table that are to be stored.
pub(super) struct Deduplicated {
    /// The rows of each step, one per key, sorted by key, so that concurrent batches take locks in the same order. The
    /// first step has a row of each key, so that the others need no further locks.
    pub(super) steps: Vec<Vec<usize>>,
    /// How many there were to select from.
    pub(super) candidates: u64,
    /// How many were skipped because another one has their key and is not older.
    pub(super) repeated: u64,
    /// How many were skipped because another one of their key is newer.
    older: u64,
    has_newer: bool,
}

impl Deduplicated {
    /// Takes off as many of the rows that were selected.
    pub(super) fn split_off(&mut self, selected: u64) -> Self {
        self.candidates = self.candidates.saturating_sub(selected);
        Self {
            steps: Vec::new(),
            candidates: selected,
            repeated: 0,
            older: 0,
            has_newer: self.has_newer,
        }
    }

    /// How many rows are stale, where Postgres has skipped this many: under `newer`, those that are older than the row
    /// in the table.
    pub(super) fn stale(&self, unwritten: u64) -> u64 {
        self.older + if self.has_newer { unwritten } else { 0 }
    }
}

/// The rows that one batch would store of these, in the order in which it stores them: one per key, or several where
/// columns keep stored values.
pub fn selected(mapping: &TableMapping, table: &TableRows, candidates: &[usize]) -> Vec<usize> {
    deduplicate(mapping, table, candidates).steps.concat()
}

/// Chooses among the rows of each key as if they came one by one: the first under `ignore`; under
/// `update` the newest, and of those the last.
pub(super) fn deduplicate(
    mapping: &TableMapping,
    table: &TableRows,
    candidates: &[usize],
) -> Deduplicated {
    let rows = &table.rows;
    let key = |row: usize| {
        mapping
            .key
            .iter()
            .map(move |&column| rows.cell(row, column))
    };
    let by_age = |a: usize, b: usize| match mapping.newer.zip(mapping.newer_column()) {
        Some((position, column)) => {
            let [a, b] = [a, b].map(|row| rows.value(row, position));
            compare(column.column_type, a, b)
        }
        None => Ordering::Equal,
    };
    let first_of_key = mapping.key.first().copied().unwrap_or_default();
    let with_prefix = |&row: &usize| (rows.prefix(row, first_of_key), row);
    let mut unique: Vec<(u64, usize)> = candidates.iter().map(with_prefix).collect();
    unique.sort_unstable_by(|a, b| {
        let preferred_first = || match mapping.on_conflict {
            OnConflict::Ignore => a.1.cmp(&b.1),
            OnConflict::Update => by_age(b.1, a.1).then(b.1.cmp(&a.1)),
        };
        a.0.cmp(&b.0)
            .then_with(|| key(a.1).cmp(key(b.1)))
            .then_with(preferred_first)
    });
    let (mut repeated, mut older) = (0, 0);
    let mut skip = |row: usize, preferred: usize| match by_age(row, preferred) {
        Ordering::Less => older += 1,
        Ordering::Equal | Ordering::Greater => repeated += 1,
    };
    let is_same_key = |a: &(u64, usize), b: &(u64, usize)| a.0 == b.0 && key(a.1).eq(key(b.1));
    let kept: Vec<usize> = mapping.kept().collect();
    let steps = if kept.is_empty() {
        unique.dedup_by(|other, preferred| {
            let is_same_key = is_same_key(other, preferred);
            if is_same_key {
                skip(other.1, preferred.1);
            }
            is_same_key
        });
        vec![unique.into_iter().map(|(_, row)| row).collect()]
    } else {
        steps(unique.chunk_by(is_same_key), &kept, table, skip)
    };
    Deduplicated {
        steps,
        candidates: candidates.len() as u64,
        repeated,
        older,
        has_newer: mapping.newer.is_some(),
    }
}

/// The rows of each step, where columns keep stored values; the first of each key is the preferred one.
fn steps<'u>(
    keys: impl Iterator<Item = &'u [(u64, usize)]>,
    kept: &[usize],
    table: &TableRows,
    mut skip: impl FnMut(usize, usize),
) -> Vec<Vec<usize>> {
    let mut steps = vec![Vec::new()];
    for of_key in keys {
        let Some(&(_, preferred)) = of_key.first() else {
            continue;
        };
        let needed = needed(of_key.iter().map(|(_, row)| *row), kept, table);
        for (_, row) in of_key.iter().filter(|(_, row)| !needed.contains(row)) {
            skip(*row, preferred);
        }
        for (step, row) in needed.into_iter().rev().enumerate() {
            match steps.get_mut(step) {
                Some(rows) => rows.push(row),
                None => steps.push(vec![row]),
            }
        }
    }
    steps
}

/// Of the rows of a key, the newest first, those without which another row would be stored: the first, and those with
/// a value that it and all between them lack. A deletion has a say about all of them.
fn needed(of_key: impl Iterator<Item = usize>, kept: &[usize], table: &TableRows) -> Vec<usize> {
    let mut missing = kept.to_vec();
    let mut needed = Vec::new();
    for row in of_key {
        let before = missing.len();
        match table.is_deleted(row) {
            true => missing.clear(),
            false => missing.retain(|&column| table.rows.value(row, column).is_none()),
        }
        if needed.is_empty() || missing.len() < before {
            needed.push(row);
        }
        if missing.is_empty() {
            break;
        }
    }
    needed
}

/// Which of two values, in Postgres's binary form, is less. Null is the least, as in the statement. Values of types
/// that `newer` cannot have are equal.
pub fn compare(column_type: ColumnType, a: Option<&[u8]>, b: Option<&[u8]>) -> Ordering {
    let (a, b) = match (a, b) {
        (Some(a), Some(b)) => (a, b),
        _ => return a.is_some().cmp(&b.is_some()),
    };
    match column_type.kind() {
        Kind::Integer | Kind::Instant => integer(a).cmp(&integer(b)),
        Kind::Float => {
            // No value is NaN.
            float(a).partial_cmp(&float(b)).unwrap_or(Ordering::Equal)
        }
        Kind::Decimal => {
            // The transform writes no other bytes.
            let numbers = Numeric::read(a).zip(Numeric::read(b));
            numbers.map_or(Ordering::Equal, |(a, b)| a.compare(&b))
        }
        // No mapping has a `newer` of another kind.
        Kind::Text | Kind::Json | Kind::Array | Kind::Other => Ordering::Equal,
    }
}

/// An integer of 16 to 64 bits, or the days or microseconds of a date or an instant.
fn integer(bytes: &[u8]) -> i64 {
    let is_negative = bytes.first().is_some_and(|byte| byte & 0x80 != 0);
    let sign = if is_negative { -1 } else { 0 };
    bytes
        .iter()
        .fold(sign, |value, &byte| value << 8 | i64::from(byte))
}

fn float(bytes: &[u8]) -> f64 {
    match (<[u8; 4]>::try_from(bytes), <[u8; 8]>::try_from(bytes)) {
        (Ok(single), _) => f32::from_be_bytes(single).into(),
        (_, Ok(double)) => f64::from_be_bytes(double),
        // The transform writes no other.
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::made::rows;
    use super::*;

    /// The rows that remain of messages with a key `k` and a value `v`, and how many are stale.
    fn deduplicated(head: &str, v: &str, bodies: &[String]) -> (Vec<usize>, u64) {
        let text = format!(
            "table = \"t\"\nkey = [\"k\"]\n{head}\n[[column]]\nname = \"k\"\ntype = \"integer\"\nrequired = true\n\
             [[column]]\nname = \"v\"\ntype = \"{v}\""
        );
        let (pipeline, rows) = rows(&text, bodies);
        let table = &rows.tables()[0];
        let all: Vec<usize> = (0..table.rows.len()).collect();
        let deduplicated = deduplicate(&pipeline.tables[0], table, &all);
        let stale = deduplicated.stale(0);
        (deduplicated.steps.concat(), stale)
    }

    /// However many messages a key has, it needs at most one more step than it has columns that keep values.
    #[test]
    fn only_rows_without_which_another_one_would_be_stored_come_in_steps_of_their_own() {
        let text = "[[table]]\nname = 't'\nkey = ['k']\non_conflict = 'update'\nnewer = 'v'\n\
            delete_when = { op = 'd' }\ncolumn = [{ name = 'k', type = 'integer', required = true }, \
            { name = 'v', type = 'integer' }, { name = 'a', type = 'text', on_null = 'keep' }, \
            { name = 'b', type = 'text', on_null = 'keep' }]";
        let none: &[usize] = &[];
        // Each is a message of its own version, of one key: the columns that it has, or `d` if it deletes.
        for (messages, expected) in [
            (&["ab"][..], vec![&[0][..]]),
            (&["ab", "ab"], vec![&[1]]),
            (&["ab", ""], vec![&[0], &[1]]),
            (&["a", "a", "b", "b"], vec![&[1], &[3]]),
            (&["ab", "a", "", "b", ""], vec![&[1], &[3], &[4]]),
            (&["ab", "d", ""], vec![&[1], &[2]]),
            (&["ab", "d", "ab"], vec![&[2]]),
            (&["ab", "d"], vec![&[1]]),
            (&["", "", ""], vec![&[2]]),
            (&[], vec![none]),
        ] {
            let bodies = messages.iter().enumerate().map(|(version, columns)| {
                let mut body = serde_json::json!({"k": 1, "v": version, "op": columns});
                for column in columns.chars() {
                    body[column.to_string()] = "x".into();
                }
                body
            });
            let (pipeline, rows) = rows(text, bodies);
            let all: Vec<usize> = (0..messages.len()).collect();
            let deduplicated = deduplicate(&pipeline.tables[0], &rows.tables()[0], &all);
            assert_eq!(deduplicated.steps, expected, "{messages:?}");
            let stored = deduplicated.steps.concat().len();
            assert_eq!(
                deduplicated.stale(0) as usize,
                messages.len() - stored,
                "{messages:?}"
            );
        }
    }

    fn bodies(rows: &[(i32, &str)]) -> Vec<String> {
        rows.iter()
            .map(|(k, v)| format!("{{\"k\": {k}, \"v\": {v}}}"))
            .collect()
    }

    const NEWER: &str = "on_conflict = \"update\"\nnewer = \"v\"";

    #[test]
    fn values_of_every_type_are_compared_by_their_meaning() {
        let cases = [
            ("smallint", "-32768 -1 0 255 256 32767"),
            ("integer", "-2147483648 -1 0 65536 2147483647"),
            ("bigint", "-9223372036854775808 -1 0 9007199254740993"),
            ("real", "null -1e38 -0.5 0.25 1 1e38"),
            ("double precision", "null -1e300 -0.5 0.25 1e300"),
            (
                "numeric",
                "null -10000 -9999.5 -1e-9 0 1e-9 0.0001 0.1 1 9 10 9999 9999.00001 10000 1e20",
            ),
            ("date", r#""0001-01-01" "1999-12-31" "2000-01-02""#),
            (
                "timestamptz",
                r#""0001-01-01T00:00:00Z" "2026-01-01T09:00:00.000001Z" "2026-01-01T10:00:00Z" "2026-01-01T09:30:00-01:00""#,
            ),
        ];
        for (column_type, values) in cases {
            let values: Vec<_> = values.split(' ').collect();
            for pair in values.windows(2) {
                let rows = bodies(&[(1, pair[1]), (1, pair[0]), (2, pair[0]), (2, pair[1])]);
                assert_eq!(
                    deduplicated(NEWER, column_type, &rows),
                    (vec![0, 3], 2),
                    "{column_type}: {pair:?}"
                );
            }
        }
    }

    /// The number as whole units of the smallest place that any of them has.
    fn units(whole: i64, fraction: u32) -> i128 {
        let sign = if whole < 0 { -1 } else { 1 };
        i128::from(whole) * 1_000_000_000 + sign * i128::from(fraction)
    }

    /// How the values of two messages with the same key compare, by which of them is stored.
    fn compared(a: &str, b: &str) -> Ordering {
        match deduplicated(NEWER, "numeric", &bodies(&[(1, a), (1, b)])) {
            (_, 0) => Ordering::Equal,
            (stored, _) if stored == [0] => Ordering::Greater,
            _ => Ordering::Less,
        }
    }

    proptest! {
        #[test]
        fn numerics_sort_as_the_numbers_that_they_are(
            a in (-1_000_000_000_000_i64..1_000_000_000_000, 0_u32..1_000_000_000),
            b in (-20_000_i64..20_000, 0_u32..1_000_000_000),
            scale in 0_u32..10,
        ) {
            let short = |(whole, fraction): (i64, u32)| {
                let unit = 10_u32.pow(scale.min(9));
                (whole / i64::from(unit), fraction / unit * unit)
            };
            for (a, b) in [(a, b), (b, a), (short(a), b), (short(a), short(b)), (b, b)] {
                let [left, right] = [a, b].map(|(whole, fraction)| format!("{whole}.{fraction:09}"));
                prop_assert_eq!(compared(&left, &right), units(a.0, a.1).cmp(&units(b.0, b.1)), "{:?} {:?}", a, b);
            }
        }
    }
}
