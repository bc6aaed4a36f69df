//! The figures of a run, as they are kept: `bench.json` and `benches/results/`.

use serde::{Deserialize, Serialize};

use crate::machine::Machine;
use crate::orders::LINES;
use crate::report::grouped;

/// All measurements.
#[derive(Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) machine: Machine,
    pub(crate) rounds: usize,
    pub(crate) binary_bytes: u64,
    /// By batch size.
    pub(crate) throughput: Vec<Race>,
    /// By number of columns.
    pub(crate) widths: Vec<Race>,
    pub(crate) orders: Vec<Orders>,
    pub(crate) bad_messages: BadMessages,
    pub(crate) round_trips: Vec<RoundTrips>,
    pub(crate) cold_starts: Vec<ColdStart>,
}

/// Contenders that took turns with the same messages.
#[derive(Serialize, Deserialize)]
pub(crate) struct Race {
    pub(crate) batch: usize,
    pub(crate) columns: usize,
    pub(crate) standings: Vec<Standing>,
}

/// Orders with lines, under a policy, with the database at a place: the function against ready-made rows.
#[derive(Serialize, Deserialize)]
pub(crate) struct Orders {
    pub(crate) on_conflict: String,
    pub(crate) place: String,
    pub(crate) race: Race,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Standing {
    pub(crate) name: String,
    pub(crate) messages_per_sec: Spread,
    /// Of the first contender in the same round, which is the limit.
    pub(crate) share_percent: Spread,
    /// For functions only.
    pub(crate) cpu_secs_per_million: Option<Spread>,
    pub(crate) peak_mib: Option<Spread>,
}

/// How long a batch takes against a clean one of the same size, in the same round.
#[derive(Serialize, Deserialize)]
pub(crate) struct BadMessages {
    pub(crate) batch: usize,
    pub(crate) clean_millis: Spread,
    pub(crate) times_with_invalid: Spread,
    pub(crate) times_with_refused: Spread,
    pub(crate) times_with_duplicates: Spread,
    /// Of a queue with duplicates in every batch, against always tolerating them.
    pub(crate) times_of_queue_with_duplicates: Spread,
}

/// Round trips to the database that a warm batch waits for.
#[derive(Serialize, Deserialize)]
pub(crate) struct RoundTrips {
    pub(crate) batch: usize,
    pub(crate) count: Spread,
}

/// Milliseconds from the start of the process.
#[derive(Serialize, Deserialize)]
pub(crate) struct ColdStart {
    pub(crate) name: String,
    pub(crate) next_millis: Spread,
    pub(crate) answer_millis: Spread,
    /// Of processor time until then: all but the waits for others.
    pub(crate) cpu_millis: Spread,
}

impl Orders {
    pub(crate) fn describe(&self) -> String {
        let batch = grouped(self.race.batch as f64);
        let Self {
            on_conflict, place, ..
        } = self;
        format!("{batch} orders with {LINES} lines each, {on_conflict}, {place}")
    }
}

impl Race {
    pub(crate) fn standing(&self, name: &str) -> Option<&Standing> {
        self.standings.iter().find(|standing| standing.name == name)
    }
}

/// A median and its extremes.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Spread {
    /// Of at least one figure.
    pub(crate) fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = figures.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        Self {
            median: sorted[sorted.len() / 2],
            least: sorted[0],
            most: sorted[sorted.len() - 1],
        }
    }

    /// The ratio to another one, in the worst and in the best case.
    pub(crate) fn over(self, other: Self) -> Self {
        Self {
            median: self.median / other.median,
            least: self.least / other.most,
            most: self.most / other.least,
        }
    }
}
