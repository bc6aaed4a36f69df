//! What a database at a distance, and its owner, can expect.

use crate::race::INSERT;
use crate::results::{Race, Results, SideBySide};

use super::{PERCENT, TIMES, Target, grouped, ours, peers, times_best_peer};

const FUNCTIONS: usize = 8;

pub(super) fn targets(results: &Results) -> Vec<Target> {
    let near: Vec<&Race> = results.throughput.iter().collect();
    let distant = results.distances.iter().map(|distance| &distance.race);
    let together = results.side_by_side.iter().map(|all| &all.race);
    let (distant, together): (Vec<_>, Vec<_>) = (distant.collect(), together.collect());
    let mut targets = Vec::new();
    targets.extend(ahead_of_peers("on loopback", &near));
    targets.extend(ahead_of_peers("at a distance", &distant));
    targets.extend(ahead_of_peers("side by side", &together));
    targets.extend(cpu_below_peers(&[near, distant, together].concat()));
    for distance in results
        .distances
        .iter()
        .filter(|distance| distance.millis == 0.5)
    {
        let what = format!("share of {INSERT}, 0.5 ms away, at");
        targets.push(share_of_insert(&what, &distance.race));
    }
    for all in &results.side_by_side {
        if all.functions == 1 {
            targets.extend(cpu_of_postgres(&all.race));
        }
        if all.functions == FUNCTIONS && all.shares_table {
            let what = format!("share of {INSERT}, {FUNCTIONS} on one table, at");
            targets.push(share_of_insert(&what, &all.race));
        }
    }
    targets.extend(faults(&results.side_by_side));
    targets
}

/// The first contender is that statement.
fn share_of_insert(what: &str, race: &Race) -> Target {
    let what = format!("{what} {}", grouped(race.batch as f64));
    Target::at_least(&what, ours(race).share_percent, 90.0, PERCENT)
}

/// Where it is the least.
fn ahead_of_peers(what: &str, races: &[&Race]) -> Option<Target> {
    let times = races.iter().filter_map(|race| times_best_peer(race));
    let worst = times.min_by(|a, b| a.median.total_cmp(&b.median))?;
    let what = format!("against the best peer {what}, at worst");
    Some(Target::at_least(&what, worst, 1.0, TIMES))
}

fn cpu_of_postgres(race: &Race) -> Option<Target> {
    let what = format!(
        "CPU of Postgres, of that for {INSERT}, at {}",
        grouped(race.batch as f64)
    );
    let percent = ours(race).postgres_percent?;
    Some(Target::at_most(&what, percent, 90.0, PERCENT))
}

/// Against the one that needs the least, where that is the worst.
fn cpu_below_peers(races: &[&Race]) -> Option<Target> {
    let times = races.iter().filter_map(|race| {
        let of_peers = peers(race).filter_map(|peer| peer.postgres_secs_per_million);
        let least = of_peers.min_by(|a, b| a.median.total_cmp(&b.median))?;
        Some(ours(race).postgres_secs_per_million?.over(least))
    });
    let worst = times.max_by(|a, b| a.median.total_cmp(&b.median))?;
    let what = "CPU of Postgres against the best peer, at worst";
    Some(Target::at_most(what, worst, 1.0, TIMES))
}

fn faults(all: &[SideBySide]) -> Option<Target> {
    let retries = |all: &SideBySide| ours(&all.race).retries as u64;
    let count: u64 = all.iter().map(|all| all.deadlocks + retries(all)).sum();
    let is_measured = !all.is_empty();
    is_measured.then(|| Target::count("deadlocks and repeated statements, side by side", count))
}
