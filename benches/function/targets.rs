//! The targets, and whether the figures meet them.

mod database;

use crate::cold::WITH_SECRETS;
use crate::race::{COPY, INSERT, OURS};
use crate::report::{grouped, spread};
use crate::results::{Backlog, Backlogs, Orders, Race, Results, Spread, Standing};

/// Seconds of CPU that a million messages may cost, on a machine on which they cost the best peer this many: on
/// another machine only the ratio of the two is meaningful.
const CPU_SECS: f64 = 1.5;
const CPU_SECS_OF_BEST_PEER: f64 = 8.8;

pub(crate) struct Target {
    pub(crate) what: String,
    pub(crate) figure: String,
    pub(crate) limit: String,
    pub(crate) is_met: bool,
}

impl Target {
    fn at_most(what: &str, figure: Spread, limit: f64, unit: Unit) -> Self {
        Self::new(what, figure, "≤", limit, unit, figure.median <= limit)
    }

    fn at_least(what: &str, figure: Spread, limit: f64, unit: Unit) -> Self {
        Self::new(what, figure, "≥", limit, unit, figure.median >= limit)
    }

    /// Which must be zero.
    fn count(what: &str, count: u64) -> Self {
        Self {
            what: what.to_owned(),
            figure: count.to_string(),
            limit: "= 0".to_owned(),
            is_met: count == 0,
        }
    }

    fn new(what: &str, figure: Spread, sign: &str, limit: f64, unit: Unit, is_met: bool) -> Self {
        let Unit(name, decimals) = unit;
        Self {
            what: what.to_owned(),
            figure: spread(figure, decimals, name),
            limit: format!("{sign} {limit}{name}"),
            is_met,
        }
    }
}

/// Its name, and the decimals that are shown.
#[derive(Clone, Copy)]
struct Unit(&'static str, usize);

const PERCENT: Unit = Unit("%", 0);
const TIMES: Unit = Unit("×", 2);
const MILLIS: Unit = Unit(" ms", 1);

pub(crate) fn targets(results: &Results) -> Vec<Target> {
    let mut targets = throughput(&results.throughput);
    targets.extend(database::targets(results));
    targets.extend(orders(&results.orders));
    targets.extend(resources(results));
    targets.extend(cold_starts(results));
    targets.extend(results.backlogs.iter().flat_map(backlogs));
    targets.extend(growth(results));
    for trips in &results.round_trips {
        let what = format!("round trips of a batch of {}", grouped(trips.batch as f64));
        let is_one = trips.count.median.round() <= 1.0;
        targets.push(Target::new(
            &what,
            trips.count,
            "=",
            1.0,
            Unit("", 2),
            is_one,
        ));
    }
    targets
}

fn throughput(races: &[Race]) -> Vec<Target> {
    let mut targets = Vec::new();
    for race in races {
        let what = format!("share of binary COPY at {}", grouped(race.batch as f64));
        targets.push(Target::at_least(
            &what,
            ours(race).share_percent,
            60.0,
            PERCENT,
        ));
    }
    for race in races.iter().filter(|race| race.batch >= 1_000) {
        if let Some(times) = times_best_peer(race) {
            let what = format!("against the best peer at {}", grouped(race.batch as f64));
            targets.push(Target::at_least(&what, times, 3.0, TIMES));
        }
    }
    targets
}

/// Under `update` the function does more than the two statements: it also deletes lines that are gone.
fn orders(races: &[Orders]) -> Vec<Target> {
    let compared = races.iter().filter(|orders| orders.on_conflict == "ignore");
    compared
        .map(|orders| {
            let share = ours(&orders.race).share_percent;
            Target::at_least(&orders.describe(), share, 60.0, PERCENT)
        })
        .collect()
}

fn ours(race: &Race) -> &Standing {
    race.standing(OURS).unwrap()
}

fn peers(race: &Race) -> impl Iterator<Item = &Standing> {
    let is_peer = |standing: &&Standing| ![COPY, INSERT, OURS].contains(&standing.name.as_str());
    race.standings.iter().filter(is_peer)
}

fn times_best_peer(race: &Race) -> Option<Spread> {
    let peers = peers(race).map(|peer| peer.messages_per_sec);
    let best = peers.max_by(|a, b| a.median.total_cmp(&b.median))?;
    Some(ours(race).messages_per_sec.over(best))
}

fn cpu_over_best_peer(race: &Race) -> Option<Spread> {
    let peers = peers(race).filter_map(|peer| peer.cpu_secs_per_million);
    let best = peers.min_by(|a, b| a.median.total_cmp(&b.median))?;
    Some(ours(race).cpu_secs_per_million?.over(best))
}

fn resources(results: &Results) -> Vec<Target> {
    let Some(largest) = results.throughput.last() else {
        return Vec::new();
    };
    let (cpu, peak) = (
        ours(largest).cpu_secs_per_million.unwrap(),
        ours(largest).peak_mib.unwrap(),
    );
    let mut targets = vec![Target::at_most(
        "CPU per million at 8,000",
        cpu,
        CPU_SECS,
        Unit(" s", 2),
    )];
    if let Some(times) = cpu_over_best_peer(largest) {
        let limit = CPU_SECS / CPU_SECS_OF_BEST_PEER;
        targets.push(Target::at_most(
            "CPU against the best peer at 8,000",
            times,
            (limit * 100.0).round() / 100.0,
            TIMES,
        ));
    }
    targets.push(Target::at_most(
        "peak memory at 8,000",
        peak,
        40.0,
        Unit(" MiB", 1),
    ));
    targets
}

fn cold_starts(results: &Results) -> Vec<Target> {
    let start = |name: &str| {
        let mut starts = results.cold_starts.iter().flat_map(|cold| &cold.functions);
        starts.find(|start| start.name == name)
    };
    let (Some(url), Some(secrets)) = (start(OURS), start(WITH_SECRETS)) else {
        return Vec::new();
    };
    let megabytes = results.binary_bytes as f64 / 1e6;
    let size = Spread {
        median: megabytes,
        least: megabytes,
        most: megabytes,
    };
    vec![
        Target::at_most(
            "start to answer, DATABASE_URL",
            url.answer_millis,
            15.0,
            MILLIS,
        ),
        Target::at_most(
            "CPU until the answer, two secrets",
            secrets.cpu_millis,
            30.0,
            MILLIS,
        ),
        Target::at_most(
            "CPU for the first batch of 10",
            url.batch_cpu_millis,
            2.0,
            MILLIS,
        ),
        Target::at_most("size of the program", size, 15.0, Unit(" MB", 1)),
    ]
}

fn backlogs(backlogs: &Backlogs) -> Vec<Target> {
    let largest = |figure: fn(&Backlog) -> Spread| {
        let figures = backlogs.backlogs.iter().map(figure);
        figures
            .max_by(|a, b| a.median.total_cmp(&b.median))
            .unwrap()
    };
    let speed = largest(|backlog| backlog.messages_per_sec);
    let peak = largest(|backlog| backlog.peak_mib);
    vec![
        Target::at_least("drain, messages/s", speed, 20_000.0, Unit("", 0)),
        Target::at_most("peak memory of drain", peak, 100.0, Unit(" MiB", 1)),
    ]
}

fn growth(results: &Results) -> Vec<Target> {
    let mut targets = Vec::new();
    let mut at_most = |what: &str, figure: Spread, limit: f64| {
        targets.push(Target::at_most(what, figure, limit, TIMES));
    };
    let steps = results.throughput.windows(2).map(|pair| {
        let [smaller, larger] = [&pair[0], &pair[1]].map(|race| ours(race).messages_per_sec);
        smaller.over(larger)
    });
    if let Some(worst) = steps.max_by(|a, b| a.median.total_cmp(&b.median)) {
        at_most("time per message in the next larger batch", worst, 1.05);
    }
    if let Some(bad) = &results.bad_messages {
        let queue = bad.times_of_queue_with_duplicates;
        at_most("1% of 8,000 invalid", bad.times_with_invalid, 1.05);
        at_most(
            "10 of 8,000 refused by a CHECK",
            bad.times_with_refused,
            4.0,
        );
        at_most("1% of 8,000 duplicates", bad.times_with_duplicates, 3.0);
        at_most("queue with duplicates in every batch", queue, 1.1);
    }
    if let Some(widest) = results.widths.last() {
        let what = "time per value, 60 columns against 15";
        at_most(what, per_value(results), 1.1);
        let (what, share) = (
            "share of binary COPY, 60 columns",
            ours(widest).share_percent,
        );
        targets.push(Target::at_least(what, share, 50.0, PERCENT));
    }
    targets
}

/// A mapping has a cost per message, so the narrowest one says little.
fn per_value(results: &Results) -> Spread {
    let secs = |columns: usize| {
        let mut races = results.widths.iter();
        let race = races.find(|race| race.columns == columns).unwrap();
        let per_sec = ours(race).messages_per_sec;
        let columns = columns as f64;
        (
            1.0 / (per_sec.median * columns),
            1.0 / (per_sec.most * columns),
            1.0 / (per_sec.least * columns),
        )
    };
    let ((wide, wide_least, wide_most), (narrow, narrow_least, narrow_most)) = (secs(60), secs(15));
    Spread {
        median: wide / narrow,
        least: wide_least / narrow_most,
        most: wide_most / narrow_least,
    }
}
