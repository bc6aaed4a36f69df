//! Messages per second by batch size, as an SVG for light and dark backgrounds.

use std::fmt::Write as _;

use crate::report::grouped;
use crate::results::{Race, Results};

const WIDTH: f64 = 800.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 8.0;
const TOP: f64 = 76.0;
const BOTTOM: f64 = 78.0;
/// The share of a batch size's width that its bars take up.
const FILLED: f64 = 0.86;
const GRID_STEP: f64 = 100_000.0;
/// About how many characters of the note fit on a line.
const NOTE_CHARS: usize = 140;

/// The limits in gray, ours in blue, the peers in warm colours; each in light and in dark.
const COLOURS: [(&str, &str); 5] = [
    ("#6e7781", "#8b949e"),
    ("#afb8c1", "#545d68"),
    ("#0969da", "#4493f8"),
    ("#bc6c00", "#e3a13b"),
    ("#b3324b", "#ff7b8a"),
];

pub(crate) fn draw(results: &Results) -> String {
    let races = &results.throughput;
    let fastest = races.iter().flat_map(|race| &race.standings);
    let fastest = fastest.map(|standing| standing.messages_per_sec.median);
    let top = (fastest.fold(0.0, f64::max) / GRID_STEP).ceil() * GRID_STEP;
    let mut svg = head(results);
    grid(&mut svg, top);
    for (place, race) in races.iter().enumerate() {
        group(&mut svg, race, place, races.len(), top);
    }
    legend(&mut svg, &races[0]);
    note(&mut svg, &results.machine.describe());
    svg + "</svg>\n"
}

fn head(results: &Results) -> String {
    let title = "Messages per second by batch size";
    let (mut light, mut dark) = (String::new(), String::new());
    for (number, (on_light, on_dark)) in COLOURS.iter().enumerate() {
        // Writing to a String cannot fail.
        _ = write!(light, ".c{number}{{fill:{on_light}}}");
        _ = write!(dark, ".c{number}{{fill:{on_dark}}}");
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-labelledby=\"title\">\n\
         <title id=\"title\">{title}: {}</title>\n\
         <style>text{{font:12px system-ui,sans-serif;fill:#1f2328}}.big{{font-size:15px;font-weight:600}}.small{{font-size:10.5px}}\
         line{{stroke:#d1d9e0}}{light}@media(prefers-color-scheme:dark){{text{{fill:#e6edf3}}line{{stroke:#3d444d}}{dark}}}</style>\n\
         <text class=\"big\" x=\"{LEFT}\" y=\"22\">{title}</text>\n",
        in_words(results)
    )
}

/// The description for screen readers.
fn in_words(results: &Results) -> String {
    let races = results.throughput.iter().map(|race| {
        let standings = race.standings.iter().map(|standing| {
            let figure = label(standing.messages_per_sec.median);
            format!("{} {figure}", standing.name)
        });
        let standings = standings.collect::<Vec<_>>().join(", ");
        format!("batch of {}: {standings}", grouped(race.batch as f64))
    });
    races.collect::<Vec<_>>().join("; ")
}

fn height_of(per_sec: f64, top: f64) -> f64 {
    (HEIGHT - TOP - BOTTOM) * per_sec / top
}

fn grid(svg: &mut String, top: f64) {
    for step in 0..=(top / GRID_STEP) as usize {
        let per_sec = step as f64 * GRID_STEP;
        let y = HEIGHT - BOTTOM - height_of(per_sec, top);
        _ = writeln!(
            svg,
            "<line x1=\"{LEFT}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 6.0,
            y + 4.0,
            label(per_sec)
        );
    }
}

fn group(svg: &mut String, race: &Race, place: usize, groups: usize, top: f64) {
    let room = (WIDTH - LEFT - RIGHT) / groups as f64;
    let bar = room * FILLED / race.standings.len() as f64;
    let start = LEFT + room * place as f64 + room * (1.0 - FILLED) / 2.0;
    for (number, standing) in race.standings.iter().enumerate() {
        let per_sec = standing.messages_per_sec.median;
        let (x, height) = (start + bar * number as f64, height_of(per_sec, top));
        let y = HEIGHT - BOTTOM - height;
        _ = writeln!(
            svg,
            "<rect class=\"c{number}\" x=\"{:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{height:.1}\"/>\
             <text class=\"small\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            x + 1.0,
            bar - 2.0,
            x + bar / 2.0,
            y - 4.0,
            label(per_sec)
        );
    }
    _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">batch of {}</text>",
        LEFT + room * (place as f64 + 0.5),
        HEIGHT - BOTTOM + 18.0,
        grouped(race.batch as f64)
    );
}

fn legend(svg: &mut String, race: &Race) {
    let mut x = LEFT;
    for (number, standing) in race.standings.iter().enumerate() {
        let name = match number {
            0 | 1 => format!("limit: {}", standing.name),
            _ => standing.name.clone(),
        };
        _ = writeln!(
            svg,
            "<rect class=\"c{number}\" x=\"{x:.1}\" y=\"36\" width=\"11\" height=\"11\"/><text x=\"{:.1}\" y=\"46\">{name}</text>",
            x + 16.0
        );
        x += 36.0 + 6.6 * name.chars().count() as f64;
    }
}

/// The machine and the versions, wrapped.
fn note(svg: &mut String, machine: &str) {
    let mut lines = vec![String::new()];
    for part in machine.split_inclusive(' ') {
        if lines
            .last()
            .is_some_and(|line| line.len() + part.len() > NOTE_CHARS)
        {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            line.push_str(part);
        }
    }
    for (number, line) in lines.iter().enumerate() {
        let y = HEIGHT - BOTTOM + 42.0 + 14.0 * number as f64;
        _ = writeln!(
            svg,
            "<text class=\"small\" x=\"{LEFT}\" y=\"{y}\">{}</text>",
            line.trim_end()
        );
    }
}

/// `0`, `4.2k`, `384k`
fn label(per_sec: f64) -> String {
    if per_sec == 0.0 {
        return "0".to_owned();
    }
    let thousands = per_sec / 1e3;
    let decimals = usize::from(thousands < 10.0);
    format!("{thousands:.decimals$}k")
}
