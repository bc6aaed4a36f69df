//! In which order the parts of a batch are tried, and how much of the time each attempt may take. No I/O, no clock.
//!
//! A part that Postgres refuses is split in place, so that messages are stored in the order of arrival: under `ignore`
//! the first message of a key counts, under `update` the last or newest, and a failed message blocks the later ones of
//! its FIFO group. Two kinds of messages are tried later:
//!
//! - A part that timed out may wait for a lock that is not released in time. Its halves come after everything that has
//!   timed out less often, and no attempt takes the time that others need.
//! - The row that a refused foreign key needs may belong to a later message. The refused message comes last, and again
//!   as long as others are stored.
//!
//! Other messages overtake these, except those of the same FIFO group or key, which wait for them.

use std::cell::LazyCell;
use std::collections::{BTreeMap, HashMap};

/// For each message of a batch, the numbers of what it has in common with messages that must not overtake it.
pub(super) type Lanes = Vec<Vec<usize>>;

/// A part that never timed out may take this share of the time left: enough for a server that is slow, and for a
/// short lock.
const FIRST_SHARE: u32 = 3;

/// The parts of a batch that have no result yet.
pub(super) struct Schedule<'a> {
    pending: BTreeMap<Turn, Vec<usize>>,
    /// Refused messages that are tried again at the end.
    postponed: Vec<usize>,
    /// Whether anything was stored since the first of them was refused.
    has_stored_since: bool,
    has_timed_out: bool,
    /// Whether messages may be tried before earlier ones.
    is_reordered: bool,
    lanes: LazyCell<Lanes, Box<dyn FnOnce() -> Lanes + Send + 'a>>,
}

/// What decides which part is next, in this order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    /// How many parts with these messages have timed out.
    timeouts: u32,
    first_message: usize,
}

/// Messages of a batch in the order of arrival, which are stored all or none.
pub(super) struct Part {
    pub(super) messages: Vec<usize>,
    turn: Turn,
    /// How many parts are waiting for their turn.
    others: usize,
    is_after_timeout: bool,
    is_hopeless: bool,
}

impl Part {
    /// Whether a larger part with these messages timed out, or lost its connection.
    pub(super) fn is_suspect(&self) -> bool {
        self.turn.timeouts > 0
    }

    /// Whether any part of the batch timed out.
    pub(super) fn is_after_timeout(&self) -> bool {
        self.is_after_timeout
    }

    /// Whether these messages were refused, and nothing that could change the answer was stored since.
    pub(super) fn is_hopeless(&self) -> bool {
        self.is_hopeless
    }

    /// Into how many shares the remaining time is divided; one attempt may take one share. If this part contains one
    /// row that is locked, it times out once on each level of bisecting; one more share is for what is not locked, and
    /// for new connections. The last message takes all of it.
    pub(super) fn shares(&self) -> u32 {
        let messages = self.messages.len().max(1);
        if messages + self.others == 1 {
            return 1;
        }
        if !self.is_suspect() {
            return FIRST_SHARE;
        }
        let levels = messages.next_power_of_two().ilog2();
        let others = u32::try_from(self.others).unwrap_or(u32::MAX);
        others.saturating_add(2 + levels)
    }
}

impl<'a> Schedule<'a> {
    /// Tries these parts, which are in the order of arrival. `lanes` is called once at most.
    pub(super) fn new(parts: Vec<Vec<usize>>, lanes: impl FnOnce() -> Lanes + Send + 'a) -> Self {
        let mut schedule = Self {
            pending: BTreeMap::new(),
            postponed: Vec::new(),
            has_stored_since: false,
            has_timed_out: false,
            is_reordered: false,
            lanes: LazyCell::new(Box::new(lanes)),
        };
        for messages in parts {
            schedule.push(0, messages);
        }
        schedule
    }

    /// Whether no part is waiting for its turn.
    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// The part to try next. Its result must be reported.
    pub(super) fn next(&mut self) -> Option<Part> {
        if !self.is_reordered {
            let (turn, messages) = self.pending.pop_first()?;
            return Some(self.part(turn, messages));
        }
        let turns: Vec<Turn> = self.pending.keys().copied().collect();
        for turn in turns {
            let Some(messages) = self.pending.remove(&turn) else {
                continue;
            };
            let (free, waiting) = self.divide(&messages);
            self.push(turn.timeouts, waiting);
            if !free.is_empty() {
                return Some(self.part(turn, free));
            }
        }
        let is_hopeless = !std::mem::take(&mut self.has_stored_since);
        let mut messages = std::mem::take(&mut self.postponed);
        messages.sort_unstable();
        let turn = Turn {
            timeouts: 0,
            first_message: *messages.first()?,
        };
        Some(Part {
            is_hopeless,
            ..self.part(turn, messages)
        })
    }

    /// Notes that a part is stored.
    pub(super) fn stored(&mut self) {
        self.has_stored_since |= !self.postponed.is_empty();
    }

    /// Splits a part in the middle.
    pub(super) fn halve(&mut self, mut part: Part, has_timed_out: bool) {
        let later = part.messages.split_off(part.messages.len() / 2);
        if has_timed_out {
            self.timed_out();
        }
        let timeouts = part.turn.timeouts + u32::from(has_timed_out);
        for messages in [part.messages, later] {
            self.push(timeouts, messages);
        }
    }

    /// Notes that a part timed out.
    pub(super) fn timed_out(&mut self) {
        self.has_timed_out = true;
        self.is_reordered = true;
    }

    /// Tries refused messages again once all others have been tried.
    pub(super) fn postpone(&mut self, part: Part) {
        self.is_reordered = true;
        self.postponed.extend(part.messages);
    }

    /// One message from the middle of the largest part, to be tried before all others.
    pub(super) fn probe(&mut self) -> Option<Part> {
        let turns: Vec<Turn> = self.pending.keys().copied().collect();
        let free = turns.into_iter().filter_map(|turn| {
            let messages = self.pending.remove(&turn)?;
            let (free, _) = self.divide(&messages);
            self.pending.insert(turn, messages);
            Some((turn, free))
        });
        let (turn, free) = free.max_by_key(|(_, free)| free.len())?;
        let message = *free.get(free.len() / 2)?;
        let messages = self.pending.remove(&turn)?;
        let (before, after): (Vec<_>, Vec<_>) = messages
            .into_iter()
            .filter(|&other| other != message)
            .partition(|&other| other < message);
        for messages in [before, after] {
            self.push(turn.timeouts, messages);
        }
        Some(self.part(turn, vec![message]))
    }

    fn push(&mut self, timeouts: u32, messages: Vec<usize>) {
        if let Some(&first_message) = messages.first() {
            let turn = Turn {
                timeouts,
                first_message,
            };
            self.pending.insert(turn, messages);
        }
    }

    fn part(&self, turn: Turn, messages: Vec<usize>) -> Part {
        Part {
            messages,
            turn,
            others: self.pending.len() + usize::from(!self.postponed.is_empty()),
            is_after_timeout: self.has_timed_out,
            is_hopeless: false,
        }
    }

    /// The messages that can be tried now, and those that would overtake one without a result.
    fn divide(&self, messages: &[usize]) -> (Vec<usize>, Vec<usize>) {
        let mut earliest = HashMap::new();
        let others = self.pending.values().flatten().chain(&self.postponed);
        for &other in others {
            self.note(other, &mut earliest);
        }
        let (mut free, mut waiting) = (Vec::new(), Vec::new());
        for &message in messages {
            let mut before = self
                .lanes_of(message)
                .iter()
                .filter_map(|lane| earliest.get(lane));
            if before.any(|&earlier| earlier < message) {
                waiting.push(message);
                self.note(message, &mut earliest);
            } else {
                free.push(message);
            }
        }
        (free, waiting)
    }

    fn note(&self, message: usize, earliest: &mut HashMap<usize, usize>) {
        for &lane in self.lanes_of(message) {
            let first = earliest.entry(lane).or_insert(message);
            *first = message.min(*first);
        }
    }

    fn lanes_of(&self, message: usize) -> &[usize] {
        self.lanes.get(message).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests;
