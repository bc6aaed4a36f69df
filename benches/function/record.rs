//! The figures of a run: a line of JSON for each measurement, and the same for people while it runs.

use std::cell::RefCell;
use std::fs::File;
use std::io::{IsTerminal as _, Write as _};
use std::time::Instant;

use serde::{Serialize, Serializer};

use crate::settings::FOLDER;

const NAME_WIDTH: usize = 30;
const LEAST_FIGURE_WIDTH: usize = 19;

/// The figures of a contender in one round, in the order in which they are shown.
pub(crate) type Figures = Vec<(&'static str, f64)>;

/// The least, the median and the most of all rounds.
type Spread = [f64; 3];

pub(crate) struct Round {
    /// Whether others used the processors.
    pub(crate) was_disturbed: bool,
    /// By contender.
    pub(crate) figures: Vec<Figures>,
}

/// What is measured: by `benches/chart.py` the name of a table, and of a row in it.
pub(crate) struct Case {
    pub(crate) what: &'static str,
    pub(crate) case: String,
}

#[derive(Serialize)]
struct Measurement<'a> {
    what: &'static str,
    case: &'a str,
    rounds: usize,
    disturbed_rounds: usize,
    figures: Vec<Contender<'a>>,
}

#[derive(Serialize)]
struct Contender<'a> {
    name: &'a str,
    #[serde(flatten, serialize_with = "in_order")]
    spreads: Vec<(&'static str, Spread)>,
}

fn in_order<S: Serializer>(
    spreads: &[(&'static str, Spread)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(spreads.iter().copied())
}

/// The file of a run.
pub(crate) struct Record {
    path: String,
    file: RefCell<File>,
    started: Instant,
    /// The names of figures that were shown last.
    head: RefCell<String>,
}

impl Record {
    pub(crate) fn create(name: &str) -> Self {
        let path = format!("{FOLDER}/{name}.jsonl");
        Self {
            file: RefCell::new(File::create(&path).unwrap()),
            path,
            started: Instant::now(),
            head: RefCell::default(),
        }
    }

    /// The figures of all contenders, which have these names.
    pub(crate) fn add(&self, case: &Case, names: &[&str], rounds: &[Round]) {
        let figures = names.iter().enumerate().map(|(place, name)| Contender {
            name,
            spreads: spreads(rounds, place),
        });
        let measurement = Measurement {
            what: case.what,
            case: &case.case,
            rounds: rounds.len(),
            disturbed_rounds: rounds.iter().filter(|round| round.was_disturbed).count(),
            figures: figures.collect(),
        };
        self.show(&measurement);
        self.line(&measurement);
    }

    /// People at a terminal see the figures only in the other form.
    pub(crate) fn line(&self, line: &impl Serialize) {
        let line = serde_json::to_string(line).unwrap();
        writeln!(self.file.borrow_mut(), "{line}").unwrap();
        if !std::io::stdout().is_terminal() {
            println!("{line}");
        }
    }

    pub(crate) fn finish(&self) {
        self.tell(&format!("done: {}", self.path));
    }

    fn tell(&self, what: &str) {
        eprintln!("{:>5.0} s  {what}", self.started.elapsed().as_secs_f64());
    }

    /// A limit has only the first figures.
    fn show(&self, measurement: &Measurement<'_>) {
        let names = |contender: &Contender<'_>| -> Vec<&str> {
            contender.spreads.iter().map(|(name, _)| *name).collect()
        };
        let names = measurement.figures.iter().map(names);
        let names = names.max_by_key(Vec::len).unwrap_or_default();
        let width = |place: usize| names[place].len().max(LEAST_FIGURE_WIDTH);
        let head = (0..).zip(&names);
        let head: String = head
            .map(|(place, name)| format!("  {name:>0$}", width(place)))
            .collect();
        if self.head.replace(head.clone()) != head {
            eprintln!("{:NAME_WIDTH$}{head}", "");
        }
        self.tell(&format!("{}, {}", measurement.what, measurement.case));
        for contender in &measurement.figures {
            let cells = (0..).zip(&contender.spreads);
            let cells: String = cells
                .map(|(place, (_, spread))| format!("  {:>1$}", readable(*spread), width(place)))
                .collect();
            eprintln!("{:<NAME_WIDTH$}{cells}", contender.name);
        }
    }
}

fn spreads(rounds: &[Round], contender: usize) -> Vec<(&'static str, Spread)> {
    let first = rounds[0].figures[contender].iter().enumerate();
    let spreads = first.map(|(place, (name, _))| {
        let rounds = rounds.iter();
        let figures = rounds.map(|round| round.figures[contender][place].1);
        (*name, spread(figures.collect()))
    });
    spreads.collect()
}

fn spread(mut figures: Vec<f64>) -> Spread {
    figures.sort_by(f64::total_cmp);
    [
        figures[0],
        figures[figures.len() / 2],
        figures[figures.len() - 1],
    ]
}

/// `39.8k (34.0k–42.5k)`
fn readable([least, median, most]: Spread) -> String {
    let short = |figure: f64| match figure {
        1e5.. => format!("{:.0}k", figure / 1e3),
        1e3.. => format!("{:.1}k", figure / 1e3),
        100.0.. => format!("{figure:.0}"),
        10.0.. => format!("{figure:.1}"),
        1.0.. => format!("{figure:.2}"),
        _ => format!("{figure:.4}"),
    };
    format!("{} ({}–{})", short(median), short(least), short(most))
}

/// `8,000`
pub(crate) fn grouped(number: usize) -> String {
    match number {
        0..1_000 => number.to_string(),
        _ => format!("{},{:03}", grouped(number / 1_000), number % 1_000),
    }
}
