//! The function over the Lambda Runtime API, against the limit: the rate at which the same Postgres stores ready-made
//! rows in the same table.
//!
//! `make bench` starts Postgres and sets `DATABASE_URL`; `make bench-peers` adds the functions of `benches/peers/`,
//! run by the Python that `BENCH_PEERS` names. `BENCH_ROUNDS` and `BENCH_SECS` set the effort; `BENCH_PARTS`
//! (`distance cold …`, see [`PARTS`]) measures only these; `BENCH_BINARIES` (`name=path …`) compares builds of the
//! function instead. The contenders take turns in rounds, and the table is verified after every turn. Figures go to
//! stderr for people, and as a line of JSON for each measurement to `.local/bench/bench.jsonl`, and to stdout if it is
//! not a terminal. `make chart` (`benches/chart.py`) keeps them.
//!
//! Each module uses only those named before it:
//! - `settings`, `rows`, `load`, `proxy`, `throttle`, `record`: nothing of the function yet;
//! - `order`, `wide`, `messages`, `database`: what is sent, and where it is stored;
//! - `limits`, `contender`: the limits, and one turn of them or of a function;
//! - `bench`, `race`, `cold`, `backlog`, `round_trips`, `bill`: what is measured.
//!
//! The Runtime API and the stand-ins for SQS and Secrets Manager are those of the tests (`crates/testkit/`).
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    missing_docs
)]

mod backlog;
mod bench;
mod bill;
mod cold;
mod contender;
mod database;
mod limits;
mod load;
mod messages;
mod order;
mod proxy;
mod race;
mod record;
mod round_trips;
mod rows;
mod settings;
mod throttle;
mod wide;

use std::path::{Path, PathBuf};
use std::process::Command;

use bench::{Bench, ours};
use database::Database;
use messages::Workload;
use record::Record;
use serde_json::json;
use settings::{Effort, FOLDER};

/// The function that this package builds.
const OUR_PROGRAM: &str = env!("CARGO_BIN_EXE_bootstrap");

/// In the order in which they run.
const PARTS: [&str; 9] = [
    "throughput",
    "distance",
    "functions",
    "wide",
    "orders",
    "cold",
    "backlog",
    "round-trips",
    "bill",
];

const HARDWARE: &str = r#"echo "$(sed -n '/^model name/ { s/.*: //p; q }' /proc/cpuinfo), $(nproc) cores,\
 $(awk '/^MemTotal/ { printf "%.0f", $2 / 1048576 }' /proc/meminfo) GiB, Linux $(uname -r)""#;

const PEER_VERSIONS: &str = "import platform, importlib.metadata as m; print(', '.join(['Python ' + platform.python_version()] + \
     [f'{n} {m.version(n)}' for n in ('psycopg', 'orjson', 'aws-lambda-powertools')]))";

#[tokio::main(flavor = "current_thread")]
async fn main() {
    std::fs::create_dir_all(FOLDER).unwrap();
    let binaries = std::env::var("BENCH_BINARIES").ok();
    let file = match (&binaries, cfg!(debug_assertions)) {
        (Some(_), _) => "builds",
        // Its figures mean nothing, and must not be kept.
        (None, true) => "debug",
        (None, false) => "bench",
    };
    let database = Database::connect().await;
    let bench = Bench {
        ours: ours(OUR_PROGRAM, &database.url),
        database,
        python: std::env::var_os("BENCH_PEERS").map(PathBuf::from),
        effort: Effort::read(),
        record: Record::create(file),
    };
    let logins = Workload::logins();
    bench.database.create_tables(&logins).await;
    bench
        .record
        .line(&json!({"what": "run", "machine": machine(&bench).await}));
    match binaries {
        Some(binaries) => race::compare(&bench, &logins, &binaries).await,
        None => measure(&bench, &logins).await,
    }
    bench.database.remove().await;
    bench.record.finish();
}

async fn measure(bench: &Bench, logins: &Workload) {
    for part in wanted_parts() {
        match part.as_str() {
            "throughput" => race::throughput(bench, logins).await,
            "distance" => race::distances(bench, logins).await,
            "functions" => race::functions(bench, logins).await,
            "wide" => race::wide(bench).await,
            "orders" => race::orders(bench).await,
            "cold" => cold::cold_starts(bench, logins).await,
            "backlog" => backlog::backlogs(bench, logins).await,
            "round-trips" => round_trips::round_trips(bench, logins).await,
            "bill" => bill::bills(bench, logins).await,
            other => unreachable!("{other} is missing here"),
        }
    }
}

/// Those of `BENCH_PARTS`; all if it is not set.
fn wanted_parts() -> Vec<String> {
    let all = PARTS.join(" ");
    let wanted = std::env::var("BENCH_PARTS").unwrap_or_else(|_| all.clone());
    let wanted: Vec<String> = wanted.split_whitespace().map(str::to_owned).collect();
    let unknown = wanted.iter().find(|part| !PARTS.contains(&part.as_str()));
    assert!(
        unknown.is_none(),
        "BENCH_PARTS: {unknown:?} is not one of {all}"
    );
    wanted
}

/// The machine and the versions, without which figures mean little.
async fn machine(bench: &Bench) -> String {
    let postgres =
        "split_part(version(), ' on ', 1) || ' on loopback (fsync ' || current_setting('fsync')
        || ', synchronous_commit ' || current_setting('synchronous_commit') || ')'";
    let rustc = output(Path::new("rustc"), &["--version"]);
    let mut parts = vec![
        output(Path::new("sh"), &["-c", HARDWARE]),
        bench.database.show(postgres).await,
        rustc.split(" (").next().unwrap_or_default().to_owned(),
    ];
    if let Some(python) = &bench.python {
        parts.push(output(python, &["-c", PEER_VERSIONS]));
    }
    parts.push(bench.database.show("current_date").await);
    parts.join("; ")
}

fn output(program: &Path, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
