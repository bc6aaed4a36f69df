//! The figures of a run, as they are kept: `bench.json` and `benches/results/`.

use serde::{Deserialize, Serialize};

use crate::load::Disturbance;
use crate::machine::Machine;
use crate::orders::LINES;
use crate::report::grouped;

/// All measurements; those of parts that did not run are empty.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) machine: Machine,
    pub(crate) rounds: usize,
    pub(crate) binary_bytes: u64,
    /// By batch size.
    #[serde(default)]
    pub(crate) throughput: Vec<Race>,
    /// By distance and batch size.
    #[serde(default)]
    pub(crate) distances: Vec<Distance>,
    /// By the tables, the number of functions and batch size.
    #[serde(default)]
    pub(crate) side_by_side: Vec<SideBySide>,
    /// By the number of rows and batch size.
    #[serde(default)]
    pub(crate) table_growth: Vec<TableGrowth>,
    /// By number of columns.
    #[serde(default)]
    pub(crate) widths: Vec<Race>,
    #[serde(default)]
    pub(crate) orders: Vec<Orders>,
    pub(crate) bad_messages: Option<BadMessages>,
    #[serde(default)]
    pub(crate) round_trips: Vec<RoundTrips>,
    pub(crate) cold_starts: Option<ColdStarts>,
    pub(crate) backlogs: Option<Backlogs>,
}

/// Contenders that took turns with the same messages.
#[derive(Serialize, Deserialize)]
pub(crate) struct Race {
    pub(crate) batch: usize,
    pub(crate) columns: usize,
    pub(crate) standings: Vec<Standing>,
    /// By round.
    #[serde(default)]
    pub(crate) disturbances: Vec<Disturbance>,
}

/// Orders with lines, under a policy, with the database at a place: the function against ready-made rows.
#[derive(Serialize, Deserialize)]
pub(crate) struct Orders {
    pub(crate) on_conflict: String,
    pub(crate) place: String,
    pub(crate) race: Race,
}

/// With the database this far away.
#[derive(Serialize, Deserialize)]
pub(crate) struct Distance {
    pub(crate) millis: f64,
    pub(crate) race: Race,
}

/// Functions, or sessions with ready-made rows, at the same time, all in one table or each in its own.
#[derive(Serialize, Deserialize)]
pub(crate) struct SideBySide {
    pub(crate) functions: usize,
    pub(crate) shares_table: bool,
    pub(crate) deadlocks: u64,
    pub(crate) race: Race,
}

/// The function, by the key of a table that holds this many rows.
#[derive(Serialize, Deserialize)]
pub(crate) struct TableGrowth {
    pub(crate) rows: u64,
    pub(crate) race: Race,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Standing {
    pub(crate) name: String,
    pub(crate) messages_per_sec: Spread,
    /// Of the first contender in the same round, which is the limit.
    pub(crate) share_percent: Spread,
    /// Of Postgres's processors.
    pub(crate) postgres_secs_per_million: Option<Spread>,
    /// Of the first contender's in the same round.
    pub(crate) postgres_percent: Option<Spread>,
    /// For functions only.
    pub(crate) cpu_secs_per_million: Option<Spread>,
    pub(crate) peak_mib: Option<Spread>,
    /// Statements that were repeated, in all turns.
    #[serde(default)]
    pub(crate) retries: usize,
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
    #[serde(default)]
    pub(crate) disturbances: Vec<Disturbance>,
}

/// Round trips to the database that a warm batch waits for.
#[derive(Serialize, Deserialize)]
pub(crate) struct RoundTrips {
    pub(crate) batch: usize,
    pub(crate) count: Spread,
    #[serde(default)]
    pub(crate) disturbances: Vec<Disturbance>,
}

/// The cold starts of all functions.
#[derive(Serialize, Deserialize)]
pub(crate) struct ColdStarts {
    /// How a function got its share of a processor.
    pub(crate) throttled: String,
    pub(crate) functions: Vec<ColdStart>,
    /// By round.
    pub(crate) disturbances: Vec<Disturbance>,
}

/// Milliseconds from the start of the process.
#[derive(Serialize, Deserialize)]
pub(crate) struct ColdStart {
    pub(crate) name: String,
    pub(crate) next_millis: Spread,
    pub(crate) answer_millis: Spread,
    /// Of processor time until then: all but the waits for others.
    pub(crate) cpu_millis: Spread,
    /// Of processor time for the first batch alone.
    pub(crate) batch_cpu_millis: Spread,
    /// To the first answer, with a share of a processor from the first `/next` on.
    pub(crate) throttled_millis: Spread,
}

/// By receivers and batch size.
#[derive(Serialize, Deserialize)]
pub(crate) struct Backlogs {
    pub(crate) backlogs: Vec<Backlog>,
    /// By round.
    pub(crate) disturbances: Vec<Disturbance>,
}

/// `drain` on a queue in which every request takes the same time.
#[derive(Serialize, Deserialize)]
pub(crate) struct Backlog {
    pub(crate) receivers: usize,
    pub(crate) batch: usize,
    pub(crate) messages_per_sec: Spread,
    pub(crate) peak_mib: Spread,
    /// Per million messages.
    pub(crate) cpu_secs: Spread,
    pub(crate) postgres_cpu_secs: Spread,
    pub(crate) queue_cpu_secs: Spread,
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
