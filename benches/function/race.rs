//! Messages per second: the limits and the functions take turns with the same messages, so that all meet the same
//! conditions.

use std::sync::Arc;
use std::time::Duration;

use crate::bench::{Bench, COPY, INSERT, OURS, ours};
use crate::contender::{Contender, Turn};
use crate::limits::Limit;
use crate::load::Watch;
use crate::messages::{Batch, Workload};
use crate::order::LINES;
use crate::proxy::url_through;
use crate::record::{Case, Round, grouped};
use crate::wide::COLUMNS;

/// The largest is beyond any profile and `drain`: it shows where large batches lead.
const BATCH_SIZES: [usize; 4] = [10, 100, 1_000, 8_000];
const DISTANT_BATCH_SIZES: [usize; 3] = [10, 100, 1_000];
const WIDE_BATCH_SIZES: [usize; 2] = [100, 1_000];
const ORDERS: usize = 1_000;

/// Functions that store in one table at the same time.
const FUNCTIONS: usize = 8;

/// The round trip to a database as it is in the same region.
pub(crate) const FAR: Duration = Duration::from_micros(500);
const DISTANCES: [(&str, Duration); 2] = [
    ("0.5 ms away", FAR),
    ("1 ms away", Duration::from_millis(1)),
];

const TUNED: &str = "tuned statements";

/// Until a function has prepared its statements and Postgres has planned them for good.
const WARM_UP_BATCHES: usize = 10;
const WARM_UP_MESSAGES: usize = 10_000;

const MOST_BATCHES: f64 = 3_000.0;

/// The assumed messages per second of a contender before it was measured.
const FIRST_GUESS_PER_SEC: f64 = 5_000.0;

/// The statement that tolerates duplicates, in one round trip, is the measure of the others: a function must do so too.
const LIMITS: [(&str, Limit); 2] = [(INSERT, Limit::Insert), (COPY, Limit::Copy)];

/// On loopback.
pub(crate) async fn throughput(bench: &Bench, workload: &Workload) {
    let contenders = bench.contenders(&LIMITS, &bench.database.url, workload);
    for size in BATCH_SIZES {
        let case = format!("batch of {}", grouped(size));
        race(bench, "throughput", case, &contenders, size).await;
    }
}

/// With the database farther away.
pub(crate) async fn distances(bench: &Bench, workload: &Workload) {
    for &(place, distance) in bench.effort.some_of(&DISTANCES) {
        let url = url_through(&bench.database.url, distance, Arc::default());
        let contenders = bench.contenders(&LIMITS, &url, workload);
        for &size in bench.effort.some_of(&DISTANT_BATCH_SIZES) {
            let case = format!("batch of {}, {place}", grouped(size));
            race(bench, "distance", case, &contenders, size).await;
        }
    }
}

/// Several functions at the same time on one table, against as many sessions.
pub(crate) async fn functions(bench: &Bench, workload: &Workload) {
    let url = url_through(&bench.database.url, FAR, Arc::default());
    let contenders = bench.contenders(&LIMITS[..1], &url, workload);
    let contenders = contenders.into_iter();
    let contenders: Vec<_> = contenders
        .map(|contender| contender.times(FUNCTIONS))
        .collect();
    for &size in bench.effort.some_of(&DISTANT_BATCH_SIZES) {
        let case = format!(
            "{FUNCTIONS} on one table, batch of {}, 0.5 ms away",
            grouped(size)
        );
        race(bench, "functions", case, &contenders, size).await;
    }
}

/// Rows of many columns.
pub(crate) async fn wide(bench: &Bench) {
    let near = &bench.database.url;
    let far = url_through(near, FAR, Arc::default());
    let workload = Workload::wide();
    bench.database.create_tables(&workload).await;
    for (place, url) in [("loopback", near), ("0.5 ms away", &far)] {
        let setup = bench.ours.clone().set("DATABASE_URL", url);
        let contenders = [
            Contender::limit(INSERT, Limit::Insert, url, &workload),
            Contender::function(OURS, setup, &workload),
        ];
        for &size in bench.effort.some_of(&WIDE_BATCH_SIZES) {
            let case = format!("{COLUMNS} columns, batch of {}, {place}", grouped(size));
            race(bench, "wide", case, &contenders, size).await;
        }
    }
    bench.database.empty(&workload).await;
}

/// Orders with lines. The limit is a transaction of tuned statements with ready-made rows, which do the same.
pub(crate) async fn orders(bench: &Bench) {
    let near = &bench.database.url;
    let far = url_through(near, FAR, Arc::default());
    for on_conflict in ["ignore", "update"] {
        let workload = Workload::orders(on_conflict);
        bench.database.create_tables(&workload).await;
        for (place, url) in [("loopback", near), ("database 0.5 ms away", &far)] {
            let setup = bench.ours.clone().set("DATABASE_URL", url);
            let contenders = [
                Contender::limit(TUNED, Limit::Insert, url, &workload),
                Contender::function(OURS, setup, &workload),
            ];
            let case = format!(
                "{} orders with {LINES} lines each, {on_conflict}, {place}",
                grouped(ORDERS)
            );
            race(bench, "orders", case, &contenders, ORDERS).await;
        }
        bench.database.empty(&workload).await;
    }
}

/// Builds of the function against each other: `binaries` are `name=path`, separated by spaces, and the first is the
/// measure of the others.
pub(crate) async fn compare(bench: &Bench, workload: &Workload, binaries: &str) {
    let near = &bench.database.url;
    let far = url_through(near, FAR, Arc::default());
    for (place, url) in [("loopback", near), ("0.5 ms away", &far)] {
        let contender = |binary: &str| {
            let (name, path) = binary.split_once('=').expect("BENCH_BINARIES: name=path …");
            Contender::function(name.to_owned().leak(), ours(path, url), workload)
        };
        let contenders: Vec<_> = binaries.split_whitespace().map(contender).collect();
        for size in BATCH_SIZES {
            let case = format!("batch of {}, {place}", grouped(size));
            race(bench, "builds", case, &contenders, size).await;
        }
    }
}

/// Every contender has a turn in every round. The first round only shows how many batches make a turn of the wanted
/// length.
async fn race(
    bench: &Bench,
    what: &'static str,
    case: String,
    contenders: &[Contender<'_>],
    size: usize,
) {
    let (database, effort) = (&bench.database, bench.effort);
    let mut speeds = vec![FIRST_GUESS_PER_SEC; contenders.len()];
    let mut rounds = Vec::new();
    let at_once = contenders[0].at_once;
    let warm_up = at_once
        * match effort.rounds {
            1 => 1,
            _ => (WARM_UP_MESSAGES / size).clamp(4, WARM_UP_BATCHES),
        };
    for round in 0..=effort.rounds {
        let watch = Watch::start(database.postmaster);
        let counts: Vec<usize> = speeds
            .iter()
            .map(|speed| (speed * effort.secs / size as f64).min(MOST_BATCHES) as usize)
            .map(|count| count.max(at_once))
            .collect();
        let most = warm_up + counts.iter().copied().max().unwrap_or(1);
        let batches: Vec<Batch> = contenders[0].workload.batches(most, size);
        let mut turns: Vec<Option<Turn>> = contenders.iter().map(|_| None).collect();
        for place in shuffled(contenders.len()) {
            let batches = &batches[..warm_up + counts[place]];
            let turn = contenders[place].take_turn(database, batches, warm_up);
            turns[place] = Some(turn.await);
        }
        let turns: Vec<Turn> = turns.into_iter().flatten().collect();
        speeds = turns.iter().map(|turn| turn.messages_per_sec).collect();
        if round > 0 {
            rounds.push(Round {
                was_disturbed: watch.was_disturbed(),
                figures: turns.iter().map(|turn| turn.figures(&turns[0])).collect(),
            });
        }
    }
    let names: Vec<&str> = contenders.iter().map(|contender| contender.name).collect();
    let case = Case { what, case };
    bench.record.add(&case, &names, &rounds);
}

/// In a different order every time, so that none always follows the same other one.
pub(crate) fn shuffled(count: usize) -> Vec<usize> {
    let mut places: Vec<usize> = (0..count).collect();
    fastrand::shuffle(&mut places);
    places
}
