//! Whether to bet that no row of a batch is in the table yet, as on most queues: to store the batch costs
//! Postgres about a third less then. A bet that is lost costs a statement in vain.

/// How many batches go without a bet after one that was lost; doubled after the next one, up to the
/// most. On a queue that often has duplicates next to nothing is lost so.
const FEWEST_SKIPPED: u32 = 8;
const MOST_SKIPPED: u32 = 128;

pub(super) struct Bet {
    is_on: bool,
    skip: u32,
    skip_next: u32,
}

impl Bet {
    pub(super) fn new() -> Self {
        Self {
            is_on: true,
            skip: 0,
            skip_next: FEWEST_SKIPPED,
        }
    }

    /// Decides for a new batch.
    pub(super) fn place(&mut self) {
        self.is_on = self.skip == 0;
        self.skip = self.skip.saturating_sub(1);
    }

    pub(super) fn is_on(&self) -> bool {
        self.is_on
    }

    /// Rows were stored by it.
    pub(super) fn win(&mut self) {
        self.skip_next = FEWEST_SKIPPED;
    }

    /// A row was in the table, or seems to have been.
    pub(super) fn lose(&mut self) {
        self.is_on = false;
        self.skip = self.skip_next;
        self.skip_next = (2 * self.skip_next).min(MOST_SKIPPED);
    }
}
