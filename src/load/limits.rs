//! How much of a batch one transaction may contain, where the server limits that: Aurora DSQL.

use mapping::{MessageRows, TableRows};

/// Source: <https://docs.aws.amazon.com/aurora-dsql/latest/userguide/CHAP_quotas.html> (2026-11).
const MAX_ROWS: usize = 3_000;

/// DSQL's 10 MiB are those of the rows and of a message of the protocol, which contain more than the values.
/// Source: as above.
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// All messages in their order, in parts that are stored one after the other. A message is never divided: one that is
/// too large by itself is refused by the server.
pub(super) fn parts(rows: &MessageRows, is_dsql: bool) -> Vec<Vec<usize>> {
    if !is_dsql {
        return vec![(0..rows.messages()).collect()];
    }
    let mut parts = vec![Vec::new()];
    let mut used = (0, 0);
    for message in 0..rows.messages() {
        let (count, bytes) = size(rows.tables(), message);
        used = (used.0 + count, used.1 + bytes);
        if used.0 > MAX_ROWS || used.1 > MAX_BYTES {
            parts.push(Vec::new());
            used = (count, bytes);
        }
        if let Some(part) = parts.last_mut() {
            part.push(message);
        }
    }
    parts
}

/// The number of the message's rows, and their bytes.
fn size(tables: &[TableRows], message: usize) -> (usize, usize) {
    let of_table = |table: &TableRows| {
        let range = table.of_message(message);
        let bytes = range.clone().map(|row| table.rows.row(row).len());
        (range.len(), bytes.sum::<usize>())
    };
    let sizes = tables.iter().map(of_table);
    sizes.fold((0, 0), |sum, size| (sum.0 + size.0, sum.1 + size.1))
}
