//! What is counted of a batch: what became of its rows, and what storing them took.

use serde::Serialize;

/// What became of the rows in a table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Stored {
    /// Rows written to the table, new or updated; without tombstones.
    #[serde(rename = "stored")]
    pub written: u64,
    /// Rows whose key was already in the table or in another row of the batch. Rows of a child table count with the row
    /// of their parent.
    pub duplicates: u64,
    /// Duplicates whose key was already in another row of the batch.
    #[serde(skip_serializing_if = "is_zero")]
    pub duplicates_in_batch: u64,
    /// Rows skipped because there is a newer one of their key, in the table or in the batch.
    pub stale: u64,
    /// Rows deleted.
    pub deleted: u64,
    /// Rows written as tombstones of deleted ones.
    #[serde(skip_serializing_if = "is_zero")]
    pub tombstones: u64,
}

/// Retries, reconnects and secret refreshes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Statements that were retried.
    pub retries: u64,
    /// Connections that replaced an earlier one.
    pub reconnects: u64,
    /// Repeated reads of the secret.
    pub secret_refreshes: u64,
}

impl Stored {
    /// Rows that Postgres wrote or deleted.
    pub fn changed(&self) -> u64 {
        self.written + self.deleted + self.tombstones
    }

    /// The sum of both.
    pub fn plus(self, other: &Self) -> Self {
        Self {
            written: self.written + other.written,
            duplicates: self.duplicates + other.duplicates,
            duplicates_in_batch: self.duplicates_in_batch + other.duplicates_in_batch,
            stale: self.stale + other.stale,
            deleted: self.deleted + other.deleted,
            tombstones: self.tombstones + other.tombstones,
        }
    }
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}
