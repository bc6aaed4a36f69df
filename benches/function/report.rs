//! Figures as tables, in Markdown that is also readable in a terminal, and the files that keep them.

use std::path::Path;

use crate::results::{Race, Results, Spread, Standing};
use crate::targets::targets;
use crate::{chart, race::OURS};

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
    let file = Path::new(KEPT).join(format!("{}.json", results.machine.slug()));
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
    let tables = [
        throughput(&results.throughput),
        functions(results),
        growth(results),
    ];
    let machine = results.machine.describe();
    format!(
        "{}\nMedians of {} rounds, with the least and the most. {machine}.\n",
        tables.join("\n"),
        results.rounds
    )
}

fn throughput(races: &[Race]) -> String {
    throughput_table(races, |standing, _| {
        let share = standing.share_percent.median;
        format!("{} · {share:.0}%", thousands(standing.messages_per_sec))
    })
}

/// Builds against each other: of each the throughput, and its share of the first one's in the same round.
pub(crate) fn comparison(races: &[Race]) -> String {
    throughput_table(races, |standing, is_first| {
        let per_sec = thousands(standing.messages_per_sec);
        if is_first {
            per_sec
        } else {
            format!("{per_sec} · {}", spread(standing.share_percent, 1, "%"))
        }
    })
}

/// A row for each batch size, a column for each contender; `cell` is also told whether it is the limit.
fn throughput_table(races: &[Race], cell: impl Fn(&Standing, bool) -> String) -> String {
    let mut rows = vec![vec!["messages/s".to_owned()]];
    let contenders = &races[0].standings;
    rows[0].extend(contenders.iter().map(|standing| standing.name.clone()));
    for race in races {
        let mut row = vec![format!("batch of {}", grouped(race.batch as f64))];
        let cells = race.standings.iter().enumerate();
        row.extend(cells.map(|(place, standing)| cell(standing, place == 0)));
        rows.push(row);
    }
    table(&rows)
}

/// The resources that a function needs to start and to run.
fn functions(results: &Results) -> String {
    let names = [
        "function",
        "start to first /next",
        "to first answer",
        "CPU until then",
        "CPU per million at 8,000",
        "peak memory at 8,000",
    ];
    let mut rows = vec![names.map(str::to_owned).to_vec()];
    let largest = results.throughput.last().unwrap();
    for start in &results.cold_starts {
        let standing = largest.standing(&start.name);
        let figure = |of: fn(&Standing) -> Option<Spread>, decimals, unit| {
            let figure = standing.and_then(of);
            figure.map_or_else(String::new, |figure| spread(figure, decimals, unit))
        };
        rows.push(vec![
            start.name.clone(),
            spread(start.next_millis, 1, " ms"),
            spread(start.answer_millis, 1, " ms"),
            spread(start.cpu_millis, 1, " ms"),
            figure(|standing| standing.cpu_secs_per_million, 2, " s"),
            figure(|standing| standing.peak_mib, 0, " MiB"),
        ]);
    }
    table(&rows)
}

fn growth(results: &Results) -> String {
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
    let bad = &results.bad_messages;
    let batch = grouped(bad.batch as f64);
    add(
        format!("clean batch of {batch}"),
        spread(bad.clean_millis, 1, " ms"),
    );
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
    for trips in &results.round_trips {
        let what = format!(
            "batch of {}, database 1 ms away",
            grouped(trips.batch as f64)
        );
        add(what, spread(trips.count, 2, " round trips"));
    }
    table(&rows)
}

fn time_per_message(race: &Race) -> String {
    let per_sec = race.standing(OURS).unwrap().messages_per_sec;
    let micros = Spread {
        median: 1e6 / per_sec.median,
        least: 1e6 / per_sec.most,
        most: 1e6 / per_sec.least,
    };
    spread(micros, 2, " µs a message")
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
fn table(rows: &[Vec<String>]) -> String {
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
fn thousands(spread: Spread) -> String {
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
