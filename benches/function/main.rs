//! The function over the Lambda Runtime API, against the limit: the rate at which the same Postgres stores ready-made
//! rows in the same table.
//!
//! `make bench` starts Postgres and sets `DATABASE_URL`; `make bench-peers` adds the functions of `benches/peers/`,
//! run by the Python that `BENCH_PEERS` names. `BENCH_ROUNDS` and `BENCH_SECS` set the effort;
//! `BENCH_BINARIES` (`name=path …`) compares builds of the function instead. The contenders take
//! turns in rounds, and the table is verified after every turn. Figures go to stdout as tables and to
//! `.local/bench/bench.json`; `make chart` keeps them.
//!
//! - `messages`, `process`, `http`, `database`: what is sent, the function, its Runtime API, the limits;
//! - `race`, `orders`, `growth`, `distance`, `cold`, `compare`: what is measured;
//! - `results`, `machine`, `targets`, `report`, `chart`: what is said of it.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    missing_docs
)]

mod chart;
mod cold;
mod compare;
mod database;
mod distance;
mod growth;
mod http;
mod machine;
mod messages;
mod orders;
mod process;
mod race;
mod report;
mod results;
mod targets;

use std::path::{Path, PathBuf};
use std::time::Instant;

use database::Database;
use machine::Machine;
use messages::Workload;
use process::Launch;
use race::{BATCH_SIZES, Contender, OURS, race};
use results::{Race, Results};

/// The function that this package builds.
const OUR_PROGRAM: &str = env!("CARGO_BIN_EXE_bootstrap");

/// What a run writes.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/.local/bench");

/// What the function prints.
const LOG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/.local/bench/function.log");

/// How much is measured.
#[derive(Clone, Copy)]
struct Effort {
    rounds: usize,
    /// The approximate length of a turn.
    secs: f64,
}

impl Effort {
    fn read() -> Self {
        let setting = |name: &str, default: f64| {
            std::env::var(name).map_or(default, |value| value.parse().expect(name))
        };
        Self {
            rounds: setting("BENCH_ROUNDS", 7.0) as usize,
            secs: setting("BENCH_SECS", 0.5),
        }
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
    let mut contenders = Vec::from(Contender::limits(&database.url));
    contenders.push(Contender::function(OURS, ours.clone()));
    if let Some(python) = python {
        contenders.extend(Contender::peers(python, &database.url));
    }
    let started = Instant::now();
    let step = |what: &str| eprintln!("{:>4.0} s  {what}", started.elapsed().as_secs_f64());
    let mut throughput = Vec::new();
    for size in BATCH_SIZES {
        step(&format!("batches of {size}, {} rounds", effort.rounds));
        throughput.push(race(database, &logins, &contenders, size, effort).await);
    }
    step("orders with lines");
    let orders = orders::orders(database, &ours, effort).await;
    step("cold starts");
    let cold_starts = cold::cold_starts(database, &logins, &ours, &contenders, effort).await;
    step("round trips");
    let round_trips = distance::round_trips(database, &logins, &ours, effort).await;
    step("bad messages and duplicates");
    let bad_messages = growth::bad_messages(database, &logins, &ours, effort).await;
    step("wide mappings");
    let widths: Vec<Race> = growth::widths(database, &ours, effort).await;
    step("done");
    Results {
        machine: Machine::look(database, python).await,
        rounds: effort.rounds,
        binary_bytes: std::fs::metadata(OUR_PROGRAM).unwrap().len(),
        throughput,
        widths,
        orders,
        bad_messages,
        round_trips,
        cold_starts,
    }
}
