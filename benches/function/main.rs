//! The function over the Lambda Runtime API, against the limit: the rate at which the same Postgres stores ready-made
//! rows in the same table.
//!
//! `make bench` starts Postgres and sets `DATABASE_URL`; `make bench-peers` adds the functions of `benches/peers/`,
//! run by the Python that `BENCH_PEERS` names. `BENCH_ROUNDS`, `BENCH_SECS` and `BENCH_ROWS` (of the largest
//! table) set the effort; `BENCH_PARTS` (`distance side-by-side …`, see [`PARTS`]) measures only these;
//! `BENCH_BINARIES` (`name=path …`) compares builds of the function instead. The contenders take
//! turns in rounds, and the table is verified after every turn. Figures go to stdout as tables and to
//! `.local/bench/bench.json`; `make chart` keeps them.
//!
//! - `messages`, `process`, `throttle`, `http`, `sqs`, `database`, `limits`: what is sent, the function, its share of a
//!   processor, its Runtime API, a queue, the tables, the limits;
//! - `race`, `turn`, `load`: how it is measured;
//! - `distance`, `side_by_side`, `table_growth`, `orders`, `growth`, `cold`, `backlog`, `compare`: what is measured;
//! - `results`, `machine`, `targets`, `report`, `chart`: what is said of it.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    missing_docs
)]

mod backlog;
mod chart;
mod cold;
mod compare;
mod database;
mod distance;
mod growth;
mod http;
mod limits;
mod load;
mod machine;
mod messages;
mod orders;
mod process;
mod race;
mod report;
mod results;
mod side_by_side;
mod sqs;
mod table_growth;
mod targets;
mod throttle;
mod turn;

use std::path::{Path, PathBuf};
use std::time::Instant;

use backlog::backlogs;
use database::Database;
use distance::{distances, round_trips};
use machine::Machine;
use messages::Workload;
use process::Launch;
use race::{BATCH_SIZES, race};
use results::Results;
use side_by_side::side_by_side;
use table_growth::table_growth;

/// The function that this package builds.
const OUR_PROGRAM: &str = env!("CARGO_BIN_EXE_bootstrap");

/// What a run writes.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/.local/bench");

/// What the function prints.
const LOG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/.local/bench/function.log");

/// In the order in which they run.
const PARTS: [&str; 10] = [
    "throughput",
    "distance",
    "side-by-side",
    "table-growth",
    "orders",
    "cold",
    "backlog",
    "round-trips",
    "bad-messages",
    "widths",
];

/// Of the largest table, if `BENCH_ROWS` is not set. Without optimisation the figures mean nothing anyway.
const ROWS: f64 = if cfg!(debug_assertions) { 2e4 } else { 2e7 };

/// How much is measured.
#[derive(Clone, Copy)]
struct Effort {
    rounds: usize,
    /// The approximate length of a turn.
    secs: f64,
    /// Of the largest table.
    rows: u64,
}

impl Effort {
    fn read() -> Self {
        let setting = |name: &str, default: f64| {
            std::env::var(name).map_or(default, |value| value.parse().expect(name))
        };
        Self {
            rounds: setting("BENCH_ROUNDS", 7.0) as usize,
            secs: setting("BENCH_SECS", 0.5),
            rows: setting("BENCH_ROWS", ROWS) as u64,
        }
    }

    /// A single round only shows that everything works: the last is enough.
    fn some_of<T>(self, all: &[T]) -> &[T] {
        match self.rounds {
            1 => &all[all.len() - 1..],
            _ => all,
        }
    }
}

/// Which parts are measured, and since when.
struct Parts {
    wanted: Vec<String>,
    started: Instant,
}

impl Parts {
    /// Those of `BENCH_PARTS`; all if it is not set.
    fn read() -> Self {
        let all = PARTS.join(" ");
        let wanted = std::env::var("BENCH_PARTS").unwrap_or_else(|_| all.clone());
        let wanted: Vec<String> = wanted.split_whitespace().map(str::to_owned).collect();
        let unknown = wanted.iter().find(|part| !PARTS.contains(&part.as_str()));
        assert!(
            unknown.is_none(),
            "BENCH_PARTS: {unknown:?} is not one of {all}"
        );
        Self {
            wanted,
            started: Instant::now(),
        }
    }

    /// Whether it is wanted.
    fn start(&self, part: &str) -> bool {
        assert!(PARTS.contains(&part), "{part} is missing in PARTS");
        let is_wanted = self.wanted.iter().any(|wanted| wanted == part);
        if is_wanted {
            self.tell(part);
        }
        is_wanted
    }

    fn tell(&self, what: &str) {
        eprintln!("{:>4.0} s  {what}", self.started.elapsed().as_secs_f64());
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    if std::env::args().any(|argument| argument == "chart") {
        return report::keep();
    }
    std::fs::create_dir_all(FOLDER).unwrap();
    let python = std::env::var_os("BENCH_PEERS").map(PathBuf::from);
    let database = Database::connect().await;
    if let Ok(binaries) = std::env::var("BENCH_BINARIES") {
        compare::compare(&database, &binaries, Effort::read()).await;
        return database.remove().await;
    }
    let results = measure(&database, python.as_deref(), Effort::read()).await;
    database.remove().await;
    report::show(&results);
}

async fn measure(database: &Database, python: Option<&Path>, effort: Effort) -> Results {
    let logins = Workload::logins();
    database.create_tables(&logins).await;
    let ours = Launch::ours(OUR_PROGRAM, &database.url);
    let mut contenders = distance::all(&database.url, &ours, python, &[&logins]);
    // Here `COPY` is the measure of the others.
    contenders.swap(0, 1);
    let mut results = Results {
        machine: Machine::look(database, python).await,
        rounds: effort.rounds,
        binary_bytes: std::fs::metadata(OUR_PROGRAM).unwrap().len(),
        ..Results::default()
    };
    let parts = Parts::read();
    if parts.start("throughput") {
        for size in BATCH_SIZES {
            let race = race(database, &contenders, size, effort).await;
            results.throughput.push(race);
        }
    }
    if parts.start("distance") {
        results.distances = distances(database, &logins, &ours, python, effort).await;
    }
    if parts.start("side-by-side") {
        results.side_by_side = side_by_side(database, &ours, python, effort).await;
    }
    if parts.start("table-growth") {
        results.table_growth = table_growth(database, &ours, effort).await;
    }
    if parts.start("orders") {
        results.orders = orders::orders(database, &ours, effort).await;
    }
    if parts.start("cold") {
        let starts = cold::cold_starts(database, &logins, &ours, &contenders, effort).await;
        results.cold_starts = Some(starts);
    }
    if parts.start("backlog") {
        results.backlogs = backlogs(database, &logins, effort).await;
    }
    if parts.start("round-trips") {
        results.round_trips = round_trips(database, &logins, &ours, effort).await;
    }
    if parts.start("bad-messages") {
        let bad_messages = growth::bad_messages(database, &logins, &ours, effort).await;
        results.bad_messages = Some(bad_messages);
    }
    if parts.start("widths") {
        results.widths = growth::widths(database, &ours, effort).await;
    }
    parts.tell("done");
    results
}
