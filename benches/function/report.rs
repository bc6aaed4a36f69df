//! Figures as tables, in Markdown that is also readable in a terminal, and the files that keep them.

mod database;
mod function;

use std::path::{Path, PathBuf};

use crate::load::Disturbance;
use crate::results::{Race, Results, Spread, Standing};
use crate::targets::targets;
use crate::{backlog, chart, cold};

/// The front page has a few figures, the benches' own page all.
const FRONT_PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/README.md");
const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/throughput.svg");
const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/results");

/// The figures of the last run that was optimised.
const FIGURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/.local/bench/bench.json");
/// The figures of the last unoptimised run, which mean nothing.
const DEBUG_FIGURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/.local/bench/debug.json");

/// On both pages the figures stand between these two lines.
const FROM: &str = "<!-- figures, written by `make chart` -->\n";
const TO: &str = "<!-- end of figures -->\n";

/// Prints the figures and writes them down.
pub(crate) fn show(results: &Results) {
    let json = serde_json::to_string_pretty(results).unwrap();
    let file = if results.machine.is_debug_build {
        DEBUG_FIGURES
    } else {
        FIGURES
    };
    std::fs::write(file, format!("{json}\n")).unwrap();
    println!("\n{}\n{}", figures(results), judgement(results));
    eprintln!("all figures: {file}");
}

/// Keeps the figures of the last run, draws the chart and writes the tables into both pages.
pub(crate) fn keep() {
    let json = std::fs::read_to_string(FIGURES)
        .expect("there are no figures: run `make bench-peers` first");
    let results: Results = serde_json::from_str(&json).unwrap();
    assert!(
        !results.throughput.is_empty(),
        "the last run did not measure throughput: run `make bench-peers` without BENCH_PARTS"
    );
    let file = file_for(&results.machine.slug(), &json);
    std::fs::create_dir_all(KEPT).unwrap();
    std::fs::write(&file, json).unwrap();
    std::fs::write(CHART, chart::draw(&results)).unwrap();
    write_between_markers(FRONT_PAGE, &summary(&results.throughput));
    write_between_markers(PAGE, &figures(&results));
    println!(
        "wrote {}, {CHART} and the tables of README.md and benches/README.md",
        file.display()
    );
}

/// Where these figures are kept. Further runs of a day are numbered.
fn file_for(slug: &str, json: &str) -> PathBuf {
    let mut names = (1..).map(|run| match run {
        1 => format!("{slug}.json"),
        _ => format!("{slug}-{run}.json"),
    });
    let is_free = |file: &PathBuf| std::fs::read_to_string(file).map_or(true, |kept| kept == json);
    let file = names.find_map(|name| Some(Path::new(KEPT).join(name)).filter(is_free));
    file.expect("there is always a next number")
}

fn write_between_markers(page: &str, tables: &str) {
    let text = std::fs::read_to_string(page).unwrap();
    let (head, rest) = text.split_once(FROM).expect(FROM);
    let (_, tail) = rest.split_once(TO).expect(TO);
    std::fs::write(page, format!("{head}{FROM}\n{tables}\n{TO}{tail}")).unwrap();
}

/// Throughput alone, without the spread.
fn summary(races: &[Race]) -> String {
    throughput_table(races, |standing, is_limit| {
        let per_sec = standing.messages_per_sec.median / 1e3;
        let share = standing.share_percent.median;
        if is_limit {
            format!("{per_sec:.1}k")
        } else {
            format!("{per_sec:.1}k · {share:.0}%")
        }
    })
}

fn figures(results: &Results) -> String {
    let cold_starts = results.cold_starts.as_ref();
    let backlogs = results.backlogs.as_ref();
    let tables = [
        measured(&results.throughput, throughput),
        measured(&results.throughput, function::functions),
        measured(&results.distances, database::distances),
        measured(&results.side_by_side, database::side_by_side),
        measured(&results.table_growth, database::table_growth),
        cold_starts.map(cold::table),
        backlogs.map(backlog::table),
        function::growth(results),
    ];
    let tables: Vec<String> = tables.into_iter().flatten().collect();
    let machine = results.machine.describe();
    format!(
        "{}\nMedians of {} rounds, with the least and the most. {machine}.\n",
        tables.join("\n"),
        results.rounds
    )
}

/// The table of a part, if it was measured.
fn measured<T>(figures: &[T], table: impl Fn(&[T]) -> String) -> Option<String> {
    (!figures.is_empty()).then(|| table(figures))
}

fn throughput(races: &[Race]) -> String {
    let table = throughput_table(races, |standing, _| speed_and_share(standing));
    table + &disturbed(rounds_of(races))
}

/// Messages per second, and the share of the first contender's.
fn speed_and_share(standing: &Standing) -> String {
    let share = standing.share_percent.median;
    format!("{} · {share:.0}%", thousands(standing.messages_per_sec))
}

/// How many rounds others disturbed; nothing if that was not measured.
pub(crate) fn disturbed<'a>(rounds: impl IntoIterator<Item = &'a Disturbance>) -> String {
    let rounds: Vec<_> = rounds.into_iter().collect();
    let disturbed = rounds.iter().filter(|round| round.is_over_limit()).count();
    match rounds.len() {
        0 => String::new(),
        all => format!("\n{disturbed} of {all} rounds were disturbed.\n"),
    }
}

fn rounds_of<'a>(
    races: impl IntoIterator<Item = &'a Race>,
) -> impl Iterator<Item = &'a Disturbance> {
    races.into_iter().flat_map(|race| &race.disturbances)
}

/// Builds against each other: of each the throughput, and its share of the first one's in the same round.
pub(crate) fn comparison(races: &[Race]) -> String {
    let table = throughput_table(races, |standing, is_first| {
        let per_sec = thousands(standing.messages_per_sec);
        if is_first {
            per_sec
        } else {
            format!("{per_sec} · {}", spread(standing.share_percent, 1, "%"))
        }
    });
    table + &disturbed(rounds_of(races))
}

/// A row for each batch size.
fn throughput_table(races: &[Race], cell: impl Fn(&Standing, bool) -> String) -> String {
    let label = |race: &Race| format!("batch of {}", grouped(race.batch as f64));
    let races: Vec<_> = races.iter().map(|race| (label(race), race)).collect();
    standings_table("messages/s", &races, cell)
}

/// A row for each race, a column for each contender; `cell` is also told whether it is the measure of the others.
fn standings_table(
    head: &str,
    races: &[(String, &Race)],
    cell: impl Fn(&Standing, bool) -> String,
) -> String {
    let mut rows = vec![vec![head.to_owned()]];
    let contenders = &races[0].1.standings;
    rows[0].extend(contenders.iter().map(|standing| standing.name.clone()));
    for (label, race) in races {
        let mut row = vec![label.clone()];
        let cells = race.standings.iter().enumerate();
        row.extend(cells.map(|(place, standing)| cell(standing, place == 0)));
        rows.push(row);
    }
    table(&rows)
}

fn micros_per_message(standing: &Standing) -> Spread {
    let per_sec = standing.messages_per_sec;
    Spread {
        median: 1e6 / per_sec.median,
        least: 1e6 / per_sec.most,
        most: 1e6 / per_sec.least,
    }
}

fn judgement(results: &Results) -> String {
    let mut rows = vec![
        ["target", "figure", "limit", ""]
            .map(str::to_owned)
            .to_vec(),
    ];
    for target in targets(results) {
        let verdict = match (results.machine.is_debug_build, target.is_met) {
            (true, _) => "not optimised",
            (false, true) => "met",
            (false, false) => "missed",
        };
        let verdict = verdict.to_owned();
        rows.push(vec![target.what, target.figure, target.limit, verdict]);
    }
    table(&rows)
}

/// Rows of equal length, the first of them the head; all columns but the first to the right.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate();
        let cells = cells.map(|(column, (cell, &width))| match column {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
    };
    let rule = widths
        .iter()
        .enumerate()
        .map(|(column, width)| match column {
            0 => "-".repeat(width + 2),
            _ => format!("{}:", "-".repeat(width + 1)),
        });
    let rule = format!("|{}|\n", rule.collect::<Vec<_>>().join("|"));
    let body: String = rows[1..].iter().map(line).collect();
    line(&rows[0]) + &rule + &body
}

/// `12.3 ms (11.9–14.0)`
pub(crate) fn spread(spread: Spread, decimals: usize, unit: &str) -> String {
    let Spread {
        median,
        least,
        most,
    } = spread;
    format!("{median:.decimals$}{unit} ({least:.decimals$}–{most:.decimals$})")
}

/// `98.4k (91–104)`
pub(crate) fn thousands(spread: Spread) -> String {
    let [median, least, most] = [spread.median, spread.least, spread.most].map(|n| n / 1e3);
    let decimals = usize::from(median < 10.0);
    format!("{median:.1}k ({least:.decimals$}–{most:.decimals$})")
}

/// `8,000`
pub(crate) fn grouped(number: f64) -> String {
    let number = number as u64;
    if number < 1_000 {
        return number.to_string();
    }
    format!("{},{:03}", grouped((number / 1_000) as f64), number % 1_000)
}
