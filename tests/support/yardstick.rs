//! What the machine itself takes: a test that measures time allows for it, so that it holds on a busy machine.
//!
//! Such tests are in modules named `alone`: `make test` runs them one at a time, after all others.

use std::hint::black_box;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// A nap and some work, as a program does that waits for others.
const NAP: Duration = Duration::from_millis(5);
const WORK: u64 = 20_000;

/// A thread that naps and works, round after round, and notes what each round took.
pub(crate) struct Yardstick {
    rounds: Arc<Mutex<Vec<Round>>>,
    _running: Sender<()>,
}

struct Round {
    ended: Instant,
    took: Duration,
}

impl Yardstick {
    pub(crate) fn start() -> Self {
        let (running, stopped) = channel();
        let rounds = Arc::default();
        let noted = Arc::clone(&rounds);
        thread::spawn(move || note_rounds(&stopped, &noted));
        Self {
            rounds,
            _running: running,
        }
    }

    /// What went by since then, without what the machine has withheld: by how much all rounds together were
    /// longer than if each had been as quick as the quickest.
    pub(crate) fn own_time_since(&self, started: Instant) -> Duration {
        let passed = started.elapsed();
        passed.saturating_sub(self.withheld_since(started))
    }

    /// What the machine has withheld since then.
    pub(crate) fn withheld_since(&self, started: Instant) -> Duration {
        self.wait_for_a_round_after(Instant::now());
        let rounds = self.rounds.lock().unwrap();
        let quickest = rounds.iter().map(|round| round.took).min().unwrap();
        rounds
            .iter()
            .filter(|round| round.ended > started)
            .map(|round| round.took - quickest)
            .sum()
    }

    /// The round that is under way may be the one in which the machine stood still.
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
