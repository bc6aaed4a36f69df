//! Tables of what the database and its distance cost.

use crate::results::{Distance, Race, SideBySide, Spread, Standing, TableGrowth};

use super::{
    disturbed, grouped, micros_per_message, rounds_of, speed_and_share, spread, standings_table,
};

/// Messages per second, and the share of the first contender's.
pub(super) fn distances(distances: &[Distance]) -> String {
    let rows = distances.iter().map(|Distance { millis, race }| {
        let batch = grouped(race.batch as f64);
        (format!("batch of {batch}, {millis} ms away"), race)
    });
    let rows: Vec<(String, &Race)> = rows.collect();
    let table = standings_table("messages/s", &rows, |standing, _| speed_and_share(standing));
    table + &disturbed(rounds_of(distances.iter().map(|distance| &distance.race)))
}

/// Messages per second in all, the share of the first contender's, and what Postgres needs for them.
pub(super) fn side_by_side(all: &[SideBySide]) -> String {
    let rows = all.iter().map(|side_by_side| {
        let table = match (side_by_side.functions, side_by_side.shares_table) {
            (1, _) => "1 function".to_owned(),
            (count, true) => format!("{count} on one table"),
            (count, false) => format!("{count} with a table each"),
        };
        let race = &side_by_side.race;
        let batch = grouped(race.batch as f64);
        (format!("batch of {batch}, {table}"), race)
    });
    let rows: Vec<(String, &Race)> = rows.collect();
    let head = "messages/s in all · CPU of Postgres per million";
    let table = standings_table(head, &rows, |standing, _| {
        format!("{} · {}", speed_and_share(standing), of_postgres(standing))
    });
    let deadlocks: u64 = all.iter().map(|side_by_side| side_by_side.deadlocks).sum();
    let standings = all
        .iter()
        .flat_map(|side_by_side| &side_by_side.race.standings);
    let retries: usize = standings.map(|standing| standing.retries).sum();
    let faults = format!("\n{deadlocks} deadlocks, {retries} repeated statements.\n");
    table + &faults + &disturbed(rounds_of(all.iter().map(|side_by_side| &side_by_side.race)))
}

/// The time of a message, and what Postgres needs for a million.
pub(super) fn table_growth(sizes: &[TableGrowth]) -> String {
    let rows = sizes.iter().map(|TableGrowth { rows, race }| {
        let batch = grouped(race.batch as f64);
        (
            format!("batch of {batch}, {} rows", grouped(*rows as f64)),
            race,
        )
    });
    let rows: Vec<(String, &Race)> = rows.collect();
    let head = "time of a message · CPU of Postgres per million";
    let table = standings_table(head, &rows, |standing, _| {
        let micros = spread(micros_per_message(standing), 2, " µs");
        format!("{micros} · {}", of_postgres(standing))
    });
    table + &disturbed(rounds_of(sizes.iter().map(|size| &size.race)))
}

fn of_postgres(standing: &Standing) -> String {
    let secs = standing.postgres_secs_per_million;
    secs.map_or_else(String::new, |secs: Spread| spread(secs, 1, " s"))
}
