//! One row per key: `ON CONFLICT` cannot handle several in one statement.

use std::cmp::Ordering;

use mapping::internals::{Kind, Numeric};
use mapping::{ColumnType, OnConflict, Rows, TableMapping};

/// The rows of one table that are to be stored.
pub(super) struct Deduplicated {
    /// One per key, sorted by key, so that concurrent batches take locks in the same order.
    pub(super) unique: Vec<usize>,
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
            unique: Vec::new(),
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

/// The rows that one batch would store of these: one per key.
pub fn one_per_key(mapping: &TableMapping, rows: &Rows, candidates: &[usize]) -> Vec<usize> {
    deduplicate(mapping, rows, candidates).unique
}

/// Chooses among the rows of each key as if they came one by one: the first under `ignore`; under
/// `update` the newest, and of those the last.
pub(super) fn deduplicate(
    mapping: &TableMapping,
    rows: &Rows,
    candidates: &[usize],
) -> Deduplicated {
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
    unique.dedup_by(|other, preferred| {
        let is_same_key = other.0 == preferred.0 && key(other.1).eq(key(preferred.1));
        if is_same_key {
            match by_age(other.1, preferred.1) {
                Ordering::Less => older += 1,
                Ordering::Equal | Ordering::Greater => repeated += 1,
            }
        }
        is_same_key
    });
    Deduplicated {
        unique: unique.into_iter().map(|(_, row)| row).collect(),
        candidates: candidates.len() as u64,
        repeated,
        older,
        has_newer: mapping.newer.is_some(),
    }
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
        let rows = &rows.tables()[0].rows;
        let all: Vec<usize> = (0..rows.len()).collect();
        let deduplicated = deduplicate(&pipeline.tables[0], rows, &all);
        let stale = deduplicated.stale(0);
        (deduplicated.unique, stale)
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
