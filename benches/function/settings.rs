//! How much is measured, and where output goes.

/// Everything that a run writes.
pub(crate) const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/.local/bench");

/// The output of the function.
pub(crate) const LOG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/.local/bench/function.log");

#[derive(Clone, Copy)]
pub(crate) struct Effort {
    pub(crate) rounds: usize,
    /// The approximate length of a turn.
    pub(crate) secs: f64,
}

impl Effort {
    pub(crate) fn read() -> Self {
        let setting = |name: &str, default: f64| {
            std::env::var(name).map_or(default, |value| value.parse().expect(name))
        };
        Self {
            rounds: setting("BENCH_ROUNDS", 7.0) as usize,
            secs: setting("BENCH_SECS", 0.5),
        }
    }

    /// A single round only shows that everything works: the last is enough.
    pub(crate) fn some_of<T>(self, all: &[T]) -> &[T] {
        match self.rounds {
            1 => &all[all.len() - 1..],
            _ => all,
        }
    }
}
