//! How fast a queue is received: how many requests at a time, and how many messages in a batch.

use std::cell::Cell;
use std::ops::RangeInclusive;
use std::time::Duration;

use sqs_to_postgres::sqs::batch::MAX_ENTRIES;

/// Requests at a time at first, and while the queue has too few messages for a batch.
const FEWEST_REQUESTS: usize = 8;

/// With a hundred, a drain was hardly faster and took a quarter more memory.
const MOST_REQUESTS: usize = 64;

/// So many messages make a batch, for each of the requests: an answer has ten at most.
const MESSAGES_PER_REQUEST: usize = 16;

/// A larger batch is not stored faster.
const MOST_MESSAGES: usize = 1_000;

/// A number that is given, or chosen as the queue demands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    Auto,
    Fixed(usize),
}

impl Choice {
    /// `auto`, or a number in this range.
    pub(super) fn parse(text: &str, range: RangeInclusive<usize>) -> Result<Self, String> {
        let number = || text.parse().ok().filter(|number| range.contains(number));
        match text {
            "auto" => Ok(Self::Auto),
            _ => number().map(Self::Fixed).ok_or_else(|| {
                format!(
                    "use auto, or a number from {} to {}",
                    range.start(),
                    range.end()
                )
            }),
        }
    }
}

/// The requests and messages of the next batch. More follow after each batch that was limited by how fast it was
/// received.
pub(super) struct Pace {
    requests: Choice,
    messages: Choice,
    chosen: Cell<usize>,
    most: Cell<usize>,
}

impl Pace {
    pub(super) fn new(requests: Choice, messages: Choice) -> Self {
        Self {
            requests,
            messages,
            chosen: Cell::new(FEWEST_REQUESTS),
            most: Cell::new(FEWEST_REQUESTS),
        }
    }

    /// The pace of a FIFO queue: with several requests at a time, messages of a group could change places.
    pub(super) fn of_fifo(messages: Choice) -> Self {
        let messages = match messages {
            Choice::Auto => Choice::Fixed(MOST_MESSAGES),
            given @ Choice::Fixed(_) => given,
        };
        Self::new(Choice::Fixed(1), messages)
    }

    /// The receive requests at a time.
    pub(super) fn requests(&self) -> usize {
        self.requests_of(self.chosen.get())
    }

    /// The maximum messages of a batch.
    pub(super) fn messages(&self) -> usize {
        self.messages_of(self.chosen.get())
    }

    fn requests_of(&self, chosen: usize) -> usize {
        match (self.requests, self.messages) {
            (Choice::Fixed(number), _) => number,
            // More would have no room for what they receive.
            (Choice::Auto, Choice::Fixed(messages)) => chosen.min(messages.div_ceil(MAX_ENTRIES)),
            (Choice::Auto, Choice::Auto) => chosen,
        }
    }

    fn messages_of(&self, chosen: usize) -> usize {
        match self.messages {
            Choice::Fixed(number) => number,
            Choice::Auto => {
                let messages = self.requests_of(chosen) * MESSAGES_PER_REQUEST;
                messages.min(MOST_MESSAGES)
            }
        }
    }

    /// Chooses by the last batch: whether it was full, how long it had to wait until earlier ones were stored and
    /// deleted, and how long it then took to receive it.
    pub(super) fn follow(&self, was_full: bool, waited: Duration, received: Duration) {
        let chosen = match was_full {
            false => FEWEST_REQUESTS,
            true if waited > received => self.chosen.get(),
            true => (2 * self.chosen.get()).min(MOST_REQUESTS),
        };
        self.chosen.set(chosen);
        self.most.set(self.most.get().max(chosen));
    }

    /// The most requests and messages so far.
    pub(super) fn most(&self) -> (usize, usize) {
        let most = self.most.get();
        (self.requests_of(most), self.messages_of(most))
    }

    /// The same, if they were chosen and are more than at first.
    pub(super) fn raised(&self) -> Option<(usize, usize)> {
        let first = (
            self.requests_of(FEWEST_REQUESTS),
            self.messages_of(FEWEST_REQUESTS),
        );
        Some(self.most()).filter(|most| *most != first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(1);
    const LONG: Duration = Duration::from_millis(2);

    #[test]
    fn requests_and_messages_grow_while_receiving_is_what_limits_a_full_batch() {
        let pace = Pace::new(Choice::Auto, Choice::Auto);
        let mut seen = vec![(pace.requests(), pace.messages())];
        for _ in 0..4 {
            pace.follow(true, SHORT, LONG);
            seen.push((pace.requests(), pace.messages()));
        }
        assert_eq!(
            seen,
            [(8, 128), (16, 256), (32, 512), (64, 1_000), (64, 1_000)]
        );
        pace.follow(true, LONG, SHORT);
        assert_eq!(pace.requests(), 64);
        pace.follow(false, SHORT, LONG);
        assert_eq!((pace.requests(), pace.raised()), (8, Some((64, 1_000))));
        pace.follow(true, LONG, SHORT);
        assert_eq!(pace.requests(), 8);
    }

    #[test]
    fn a_number_that_is_given_stays() {
        for (requests, messages, expected) in [
            (Choice::Fixed(4), Choice::Auto, (4, 64)),
            (Choice::Auto, Choice::Fixed(50), (5, 50)),
            (Choice::Auto, Choice::Fixed(1_000), (16, 1_000)),
            (Choice::Fixed(4), Choice::Fixed(50), (4, 50)),
        ] {
            let pace = Pace::new(requests, messages);
            pace.follow(true, SHORT, LONG);
            assert_eq!((pace.requests(), pace.messages()), expected);
        }
        let fixed = Pace::new(Choice::Fixed(4), Choice::Fixed(50));
        fixed.follow(true, SHORT, LONG);
        assert_eq!(fixed.raised(), None);
    }

    #[test]
    fn a_choice_is_auto_or_a_number_in_its_range() {
        assert_eq!(Choice::parse("auto", 1..=100), Ok(Choice::Auto));
        assert_eq!(Choice::parse("100", 1..=100), Ok(Choice::Fixed(100)));
        for text in ["0", "101", "-1", "many", ""] {
            let refused = Choice::parse(text, 1..=100);
            assert_eq!(
                refused,
                Err("use auto, or a number from 1 to 100".to_owned())
            );
        }
    }
}
