//! Measures how much time a busy machine withholds, so that tests that measure time can allow for it.
//!
//! Such tests are in modules named `quiet` or `alone`, which `make test` runs after all others.

use std::hint::black_box;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// A nap and some work, like a program that waits for others.
const NAP: Duration = Duration::from_millis(5);
const WORK: u64 = 20_000;

/// A thread that naps and works in rounds, and records the duration of each.
pub struct Yardstick {
    rounds: Arc<Mutex<Vec<Round>>>,
    _running: Sender<()>,
}

struct Round {
    ended: Instant,
    took: Duration,
}

impl Yardstick {
    pub fn start() -> Self {
        let (running, stopped) = channel();
        let rounds = Arc::default();
        let noted = Arc::clone(&rounds);
        thread::spawn(move || note_rounds(&stopped, &noted));
        Self {
            rounds,
            _running: running,
        }
    }

    /// The time since then, without the time that the machine has withheld: the excess of all rounds over the same
    /// number of the fastest.
    pub fn own_time_since(&self, started: Instant) -> Duration {
        let passed = started.elapsed();
        passed.saturating_sub(self.withheld_since(started))
    }

    /// The time that the machine has withheld since then.
    pub fn withheld_since(&self, started: Instant) -> Duration {
        self.excesses_since(started).iter().sum()
    }

    /// The time that it has withheld from one of these short rounds, in 95% of them at most.
    pub fn withheld_at_a_time_since(&self, started: Instant) -> Duration {
        let mut excesses = self.excesses_since(started);
        excesses.sort_unstable();
        excesses[(excesses.len() - 1) * 95 / 100]
    }

    /// By how much each round since then took longer than the fastest of all.
    fn excesses_since(&self, started: Instant) -> Vec<Duration> {
        self.wait_for_a_round_after(Instant::now());
        let rounds = self.rounds.lock().unwrap();
        let quickest = rounds.iter().map(|round| round.took).min().unwrap();
        let since = rounds.iter().filter(|round| round.ended > started);
        since.map(|round| round.took - quickest).collect()
    }

    /// The machine may have stood still in the current round.
    fn wait_for_a_round_after(&self, now: Instant) {
        let is_after = |round: &Round| round.ended > now;
        while !self.rounds.lock().unwrap().last().is_some_and(is_after) {
            thread::sleep(NAP);
        }
    }
}

fn note_rounds(stopped: &Receiver<()>, rounds: &Mutex<Vec<Round>>) {
    loop {
        let began = Instant::now();
        if stopped.recv_timeout(NAP) == Err(RecvTimeoutError::Disconnected) {
            return;
        }
        (0..WORK).for_each(|step| {
            black_box(step);
        });
        let ended = Instant::now();
        rounds.lock().unwrap().push(Round {
            ended,
            took: ended - began,
        });
    }
}
