//! Messages per second: the limits and the functions take turns with the same messages, so that all meet the same
//! conditions.

use std::path::Path;

use crate::Effort;
use crate::database::Database;
use crate::limits::Limit;
use crate::load::Watch;
use crate::messages::{Batch, Workload};
use crate::process::Launch;
use crate::results::{Race, Spread, Standing};
use crate::turn::{Turn, take_turn};

pub(crate) const BATCH_SIZES: [usize; 4] = [10, 100, 1_000, 8_000];

/// The names under which figures are kept.
pub(crate) const COPY: &str = "binary COPY";
pub(crate) const INSERT: &str = "INSERT … unnest";
pub(crate) const OURS: &str = "sqs-to-postgres";
pub(crate) const POWERTOOLS: &str = "Powertools for Python";

/// Until a function has prepared its statements and Postgres has planned them for good.
const WARM_UP_BATCHES: usize = 10;
const WARM_UP_MESSAGES: usize = 10_000;

const MOST_BATCHES: f64 = 3_000.0;

/// The assumed messages per second of a contender before it was measured.
const FIRST_GUESS_PER_SEC: f64 = 5_000.0;

pub(crate) struct Contender<'a> {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// Where each of its sessions stores; those at the same time may share a table.
    pub(crate) tables: Vec<&'a Workload>,
}

pub(crate) enum Kind {
    /// By this URL.
    Limit(Limit, String),
    Function(Launch),
}

impl<'a> Contender<'a> {
    pub(crate) fn limits(database_url: &str, tables: &[&'a Workload]) -> [Self; 2] {
        [(COPY, Limit::Copy), (INSERT, Limit::Insert)]
            .map(|(name, limit)| Self::limit(name, limit, database_url, tables))
    }

    pub(crate) fn limit(
        name: &'static str,
        limit: Limit,
        database_url: &str,
        tables: &[&'a Workload],
    ) -> Self {
        Self {
            name,
            kind: Kind::Limit(limit, database_url.to_owned()),
            tables: tables.to_vec(),
        }
    }

    /// The functions of `benches/peers/`.
    pub(crate) fn peers(python: &Path, database_url: &str, tables: &[&'a Workload]) -> [Self; 2] {
        [("tuned Python", "tuned.py"), (POWERTOOLS, "powertools.py")].map(|(name, script)| {
            Self::function(name, Launch::peer(python, script, database_url), tables)
        })
    }

    pub(crate) fn function(name: &'static str, launch: Launch, tables: &[&'a Workload]) -> Self {
        Self {
            name,
            kind: Kind::Function(launch),
            tables: tables.to_vec(),
        }
    }
}

/// The results of a contender in all its turns.
#[derive(Default)]
struct Record {
    messages_per_sec: Vec<f64>,
    share_percent: Vec<f64>,
    postgres_secs_per_million: Vec<f64>,
    postgres_percent: Vec<f64>,
    cpu_secs_per_million: Vec<f64>,
    peak_mib: Vec<f64>,
    retries: usize,
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
    contenders: &[Contender<'_>],
    size: usize,
    effort: Effort,
) -> Race {
    let workloads = &contenders[0].tables;
    let mut speeds = vec![FIRST_GUESS_PER_SEC / workloads.len() as f64; contenders.len()];
    let mut records: Vec<Record> = contenders.iter().map(|_| Record::default()).collect();
    let mut disturbances = Vec::new();
    let warm_up = match effort.rounds {
        1 => 1,
        _ => (WARM_UP_MESSAGES / size).clamp(4, WARM_UP_BATCHES),
    };
    for round in 0..=effort.rounds {
        let watch = Watch::start(database.postmaster);
        let counts: Vec<usize> = speeds
            .iter()
            .map(|speed| (speed * effort.secs / size as f64).clamp(1.0, MOST_BATCHES) as usize)
            .collect();
        let most = warm_up + counts.iter().copied().max().unwrap_or(1);
        let batches: Vec<Vec<Batch>> = workloads
            .iter()
            .map(|workload| workload.batches(most, size))
            .collect();
        let mut turns: Vec<Option<Turn>> = contenders.iter().map(|_| None).collect();
        for place in shuffled(contenders.len()) {
            let batches = batches.iter().map(|lane| &lane[..warm_up + counts[place]]);
            let batches: Vec<&[Batch]> = batches.collect();
            let turn = take_turn(database, &contenders[place], &batches, warm_up).await;
            speeds[place] = turn.messages_per_sec / workloads.len() as f64;
            turns[place] = Some(turn);
        }
        let turns: Vec<Turn> = turns.into_iter().flatten().collect();
        if round > 0 {
            disturbances.push(watch.finish());
            for (record, turn) in records.iter_mut().zip(&turns) {
                record.add(turn, &turns[0]);
            }
        }
    }
    let standings = contenders.iter().zip(records);
    Race {
        batch: size,
        columns: workloads[0].table().columns.len(),
        standings: standings
            .map(|(contender, record)| record.standing(contender.name))
            .collect(),
        disturbances,
    }
}

impl Record {
    fn add(&mut self, turn: &Turn, limit: &Turn) {
        let percent = |figure: f64, of: f64| 100.0 * figure / of;
        self.messages_per_sec.push(turn.messages_per_sec);
        self.share_percent
            .push(percent(turn.messages_per_sec, limit.messages_per_sec));
        self.postgres_secs_per_million
            .push(turn.postgres_secs_per_million);
        self.postgres_percent.push(percent(
            turn.postgres_secs_per_million,
            limit.postgres_secs_per_million,
        ));
        if let Some(usage) = turn.usage {
            self.cpu_secs_per_million.push(usage.cpu_secs_per_million);
            self.peak_mib.push(usage.peak_mib);
        }
        self.retries += turn.retries;
    }

    fn standing(self, name: &str) -> Standing {
        Standing {
            name: name.to_owned(),
            messages_per_sec: Spread::of(self.messages_per_sec),
            share_percent: Spread::of(self.share_percent),
            postgres_secs_per_million: spread_of_some(self.postgres_secs_per_million),
            postgres_percent: spread_of_some(self.postgres_percent),
            cpu_secs_per_million: spread_of_some(self.cpu_secs_per_million),
            peak_mib: spread_of_some(self.peak_mib),
            retries: self.retries,
        }
    }
}

/// Limits do not have the figures of a function.
fn spread_of_some(figures: Vec<f64>) -> Option<Spread> {
    (!figures.is_empty()).then(|| Spread::of(figures))
}
