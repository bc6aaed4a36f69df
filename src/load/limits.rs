//! How much of a batch one transaction may contain, where the server limits that: Aurora DSQL.

use crate::rows::{MessageRows, TableRows};

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

#[cfg(test)]
mod tests {
    use bytes::BufMut as _;

    use super::*;
    use crate::rows::RowKind;

    const MIB: usize = 1024 * 1024;

    /// How many messages each part has, of messages with this many rows of this many bytes.
    fn sizes(messages: &[(usize, usize)], is_dsql: bool) -> Vec<usize> {
        let mut rows = MessageRows::new([1]);
        for &(count, bytes) in messages {
            for _ in 0..count {
                let table = rows.table_mut(0);
                let written = table.rows.push_value(|out| {
                    out.put_bytes(0, bytes);
                    Ok::<_, ()>(())
                });
                written.unwrap();
                table.finish_row(None, RowKind::Full);
            }
            rows.finish_message();
        }
        let parts = parts(&rows, is_dsql);
        let in_order: Vec<usize> = parts.iter().flatten().copied().collect();
        assert_eq!(in_order, (0..messages.len()).collect::<Vec<_>>());
        let sizes = parts.iter().map(Vec::len);
        sizes.filter(|&size| size > 0).collect()
    }

    #[test]
    fn a_transaction_of_dsql_has_at_most_3000_rows_and_8_mebibytes() {
        let many = [(1_000, 1); 7];
        assert_eq!(sizes(&many, true), [3, 3, 1]);
        assert_eq!(sizes(&many, false), [7]);
        let large = [(1, 3 * MIB); 5];
        assert_eq!(sizes(&large, true), [2, 2, 1]);
        assert_eq!(sizes(&large, false), [5]);
        // A message is not divided.
        assert_eq!(sizes(&[(2, 5 * MIB), (1, 1), (1, 1)], true), [1, 2]);
        assert_eq!(sizes(&[(1, 1), (3_001, 1), (1, 1)], true), [1, 1, 1]);
    }
}
