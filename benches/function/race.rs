//! Messages per second: the limits and the functions take turns with the same messages, so that all meet the same
//! conditions.

use std::path::Path;
use std::time::Duration;

use crate::Effort;
use crate::database::Database;
use crate::messages::{Batch, Workload};
use crate::process::{Function, Launch};
use crate::results::{Race, Spread, Standing};

pub(crate) const BATCH_SIZES: [usize; 4] = [10, 100, 1_000, 8_000];

/// The names under which figures are kept.
pub(crate) const COPY: &str = "binary COPY";
pub(crate) const INSERT: &str = "INSERT … unnest";
pub(crate) const OURS: &str = "sqs-to-postgres";

const MOST_BATCHES: f64 = 3_000.0;

/// The assumed messages per second of a contender before it was measured.
const FIRST_GUESS_PER_SEC: f64 = 5_000.0;

pub(crate) struct Contender {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
}

pub(crate) enum Kind {
    Copy,
    /// By this URL.
    Insert(String),
    Function(Launch),
}

impl Contender {
    pub(crate) fn limits(database_url: &str) -> [Self; 2] {
        let copy = Self {
            name: COPY,
            kind: Kind::Copy,
        };
        [copy, Self::insert(INSERT, database_url)]
    }

    pub(crate) fn insert(name: &'static str, database_url: &str) -> Self {
        Self {
            name,
            kind: Kind::Insert(database_url.to_owned()),
        }
    }

    /// The functions of `benches/peers/`.
    pub(crate) fn peers(python: &Path, database_url: &str) -> [Self; 2] {
        [
            ("tuned Python", "tuned.py"),
            ("Powertools for Python", "powertools.py"),
        ]
        .map(|(name, script)| Self::function(name, Launch::peer(python, script, database_url)))
    }

    pub(crate) fn function(name: &'static str, launch: Launch) -> Self {
        Self {
            name,
            kind: Kind::Function(launch),
        }
    }
}

/// One turn of one contender.
struct Turn {
    secs: f64,
    usage: Option<Usage>,
}

/// The resources that a function used in one turn.
#[derive(Clone, Copy)]
struct Usage {
    cpu_secs_per_million: f64,
    peak_mib: f64,
}

/// The results of a contender in all its turns.
#[derive(Default)]
struct Record {
    messages_per_sec: Vec<f64>,
    share_percent: Vec<f64>,
    cpu_secs_per_million: Vec<f64>,
    peak_mib: Vec<f64>,
}

/// In a different order every time, so that none always follows the same other one.
pub(crate) fn shuffled(count: usize) -> Vec<usize> {
    let mut places: Vec<usize> = (0..count).collect();
    fastrand::shuffle(&mut places);
    places
}

/// Every contender has a turn in every round. The first round only shows how many batches make a turn
/// of the wanted length.
pub(crate) async fn race(
    database: &Database,
    workload: &Workload,
    contenders: &[Contender],
    size: usize,
    effort: Effort,
) -> Race {
    let mut speeds = vec![FIRST_GUESS_PER_SEC; contenders.len()];
    let mut records: Vec<Record> = contenders.iter().map(|_| Record::default()).collect();
    for round in 0..=effort.rounds {
        let counts: Vec<usize> = speeds
            .iter()
            .map(|speed| (speed * effort.secs / size as f64).clamp(1.0, MOST_BATCHES) as usize)
            .collect();
        let batches = workload.batches(counts.iter().copied().max().unwrap_or(1), size);
        let mut usages = vec![None; contenders.len()];
        for place in shuffled(contenders.len()) {
            let batches = &batches[..counts[place]];
            let turn = contenders[place]
                .take_turn(database, workload, batches)
                .await;
            speeds[place] = (batches.len() * size) as f64 / turn.secs;
            usages[place] = turn.usage;
        }
        if round > 0 {
            for (place, record) in records.iter_mut().enumerate() {
                record.add(speeds[place], speeds[0], usages[place]);
            }
        }
    }
    let standings = contenders.iter().zip(records);
    Race {
        batch: size,
        columns: workload.table().columns.len(),
        standings: standings
            .map(|(contender, record)| record.standing(contender.name))
            .collect(),
    }
}

impl Contender {
    async fn take_turn(&self, database: &Database, workload: &Workload, batches: &[Batch]) -> Turn {
        database.empty(workload).await;
        let mut sent: Vec<&Batch> = batches.iter().collect();
        let warm_up = workload.batch(1);
        let turn = match &self.kind {
            Kind::Copy => Turn {
                secs: database.copy(workload, batches).await,
                usage: None,
            },
            Kind::Insert(url) => Turn {
                secs: database.insert(url, workload, batches).await,
                usage: None,
            },
            Kind::Function(launch) => {
                sent.push(&warm_up);
                drive(launch, &warm_up, batches)
            }
        };
        let messages = sent.iter().flat_map(|batch| &batch.messages);
        database.verify(workload, messages).await;
        turn
    }
}

fn drive(launch: &Launch, warm_up: &Batch, batches: &[Batch]) -> Turn {
    let mut function = Function::start(launch);
    // One-time work belongs to cold starts.
    function.handle(warm_up);
    let cpu_before = function.cpu_secs();
    let took: Duration = batches.iter().map(|batch| function.handle(batch)).sum();
    let messages: usize = batches.iter().map(|batch| batch.messages.len()).sum();
    let usage = Usage {
        cpu_secs_per_million: (function.cpu_secs() - cpu_before) * 1e6 / messages as f64,
        peak_mib: function.peak_mib(),
    };
    Turn {
        secs: took.as_secs_f64(),
        usage: Some(usage),
    }
}

impl Record {
    fn add(&mut self, per_sec: f64, limit_per_sec: f64, usage: Option<Usage>) {
        self.messages_per_sec.push(per_sec);
        self.share_percent.push(100.0 * per_sec / limit_per_sec);
        if let Some(usage) = usage {
            self.cpu_secs_per_million.push(usage.cpu_secs_per_million);
            self.peak_mib.push(usage.peak_mib);
        }
    }

    fn standing(self, name: &str) -> Standing {
        Standing {
            name: name.to_owned(),
            messages_per_sec: Spread::of(self.messages_per_sec),
            share_percent: Spread::of(self.share_percent),
            cpu_secs_per_million: spread_of_some(self.cpu_secs_per_million),
            peak_mib: spread_of_some(self.peak_mib),
        }
    }
}

/// Limits do not have the figures of a function.
fn spread_of_some(figures: Vec<f64>) -> Option<Spread> {
    (!figures.is_empty()).then(|| Spread::of(figures))
}
