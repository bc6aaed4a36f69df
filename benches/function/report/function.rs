//! Tables of what the function needs, and how that grows.

use crate::race::OURS;
use crate::results::{Race, Results};

use super::{disturbed, grouped, micros_per_message, rounds_of, spread, table, thousands};

/// The resources that a function needs.
pub(super) fn functions(races: &[Race]) -> String {
    let names = [
        "function",
        "CPU per million at 8,000",
        "peak memory at 8,000",
    ];
    let mut rows = vec![names.map(str::to_owned).to_vec()];
    for standing in races.last().iter().flat_map(|race| &race.standings) {
        let (cpu, peak) = (standing.cpu_secs_per_million, standing.peak_mib);
        if let (Some(cpu), Some(peak)) = (cpu, peak) {
            let name = standing.name.clone();
            rows.push(vec![name, spread(cpu, 2, " s"), spread(peak, 0, " MiB")]);
        }
    }
    table(&rows)
}

pub(super) fn growth(results: &Results) -> Option<String> {
    let mut rows = vec![
        ["growth", "median (least–most)"]
            .map(str::to_owned)
            .to_vec(),
    ];
    let mut add = |what: String, figure: String| rows.push(vec![what, figure]);
    for race in &results.throughput {
        let what = format!("batch of {}", grouped(race.batch as f64));
        add(what, time_per_message(race));
    }
    for race in &results.widths {
        let what = format!(
            "{} columns, batch of {}",
            race.columns,
            grouped(race.batch as f64)
        );
        let share = race.standing(OURS).unwrap().share_percent;
        let share = spread(share, 0, "% of its binary COPY");
        add(what, format!("{}, {share}", time_per_message(race)));
    }
    for orders in &results.orders {
        let ours = orders.race.standing(OURS).unwrap();
        let share = spread(ours.share_percent, 0, "% of two tuned statements");
        let per_sec = thousands(ours.messages_per_sec);
        add(orders.describe(), format!("{per_sec} messages/s, {share}"));
    }
    if let Some(bad) = &results.bad_messages {
        let batch = grouped(bad.batch as f64);
        let clean = spread(bad.clean_millis, 1, " ms");
        add(format!("clean batch of {batch}"), clean);
        for (what, times) in [
            ("with 1% invalid messages", bad.times_with_invalid),
            ("with 10 rows that a CHECK refuses", bad.times_with_refused),
            ("with 1% duplicates", bad.times_with_duplicates),
            (
                "1% duplicates in each of 20, against always tolerating them",
                bad.times_of_queue_with_duplicates,
            ),
        ] {
            add(format!("… {what}"), spread(times, 2, "×"));
        }
    }
    for trips in &results.round_trips {
        let what = format!(
            "batch of {}, database 1 ms away",
            grouped(trips.batch as f64)
        );
        add(what, spread(trips.count, 2, " round trips"));
    }
    let races = results.orders.iter().map(|orders| &orders.race);
    let rounds = rounds_of(races.chain(&results.widths));
    let bad = results
        .bad_messages
        .iter()
        .flat_map(|bad| &bad.disturbances);
    let trips = results
        .round_trips
        .iter()
        .flat_map(|trips| &trips.disturbances);
    (rows.len() > 1).then(|| table(&rows) + &disturbed(rounds.chain(bad).chain(trips)))
}

fn time_per_message(race: &Race) -> String {
    let ours = race.standing(OURS).unwrap();
    spread(micros_per_message(ours), 2, " µs a message")
}
