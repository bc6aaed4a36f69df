//! Optimistic insert: assume no row exists yet and omit `ON CONFLICT`, which saves Postgres about a third
//! of the work. A wrong guess costs one failed statement.

/// Batches that are stored with `ON CONFLICT` after a wrong guess. Doubles with each further one, up to the maximum,
/// so that a queue with many duplicates loses almost nothing.
const FEWEST_SKIPPED: u32 = 8;
const MAX_SKIPPED: u32 = 128;

pub(super) struct Optimistic {
    is_on: bool,
    skip: u32,
    skip_next: u32,
}

impl Optimistic {
    pub(super) fn new() -> Self {
        Self {
            is_on: true,
            skip: 0,
            skip_next: FEWEST_SKIPPED,
        }
    }

    pub(super) fn begin_batch(&mut self) {
        self.is_on = self.skip == 0;
        self.skip = self.skip.saturating_sub(1);
    }

    pub(super) fn is_on(&self) -> bool {
        self.is_on
    }

    /// The guess was right.
    pub(super) fn hit(&mut self) {
        self.skip_next = FEWEST_SKIPPED;
    }

    /// A row was in the table, or seems to have been.
    pub(super) fn miss(&mut self) {
        self.is_on = false;
        self.skip = self.skip_next;
        self.skip_next = (2 * self.skip_next).min(MAX_SKIPPED);
    }
}
