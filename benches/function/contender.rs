//! Who stores messages, and one turn of it: afterwards the tables are what was sent.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use testkit::Setup;

use crate::database::Database;
use crate::limits::{Limit, Session};
use crate::load::{cpu_secs_with_children, peak_mib, secs_of_threads};
use crate::messages::{Batch, Workload};
use crate::record::Figures;

pub(crate) struct Contender<'a> {
    pub(crate) name: &'static str,
    kind: Kind,
    /// How many of them share the batches at the same time.
    pub(crate) at_once: usize,
    pub(crate) workload: &'a Workload,
}

enum Kind {
    /// By this URL.
    Limit(Limit, String),
    Function(Setup),
}

pub(crate) struct Turn {
    pub(crate) messages_per_sec: f64,
    /// Of processor time of all Postgres's processes.
    postgres_secs_per_million: f64,
    usage: Option<Usage>,
}

/// The resources that a function used in a turn.
struct Usage {
    cpu_secs_per_million: f64,
    peak_mib: f64,
}

impl Turn {
    /// The share is of the limit's messages.
    pub(crate) fn figures(&self, limit: &Self) -> Figures {
        let share = 100.0 * self.messages_per_sec / limit.messages_per_sec;
        let mut figures = vec![
            ("messages_per_sec", self.messages_per_sec),
            ("share_percent", share),
            ("postgres_secs_per_million", self.postgres_secs_per_million),
        ];
        if let Some(usage) = &self.usage {
            figures.push(("cpu_secs_per_million", usage.cpu_secs_per_million));
            figures.push(("peak_mib", usage.peak_mib));
        }
        figures
    }
}

impl<'a> Contender<'a> {
    pub(crate) fn limit(
        name: &'static str,
        limit: Limit,
        url: &str,
        workload: &'a Workload,
    ) -> Self {
        Self {
            name,
            kind: Kind::Limit(limit, url.to_owned()),
            at_once: 1,
            workload,
        }
    }

    pub(crate) fn function(name: &'static str, setup: Setup, workload: &'a Workload) -> Self {
        Self {
            name,
            kind: Kind::Function(match &workload.mapping {
                Some(mapping) => setup.mapping(mapping),
                None => setup,
            }),
            at_once: 1,
            workload,
        }
    }

    /// So many at the same time.
    pub(crate) fn times(self, at_once: usize) -> Self {
        Self { at_once, ..self }
    }

    /// The first batches, whose number is `warm_up`, do not count: one-time work belongs to cold starts.
    pub(crate) async fn take_turn(
        &self,
        database: &Database,
        batches: &[Batch],
        warm_up: usize,
    ) -> Turn {
        database.empty(self.workload).await;
        let (first, counted) = batches.split_at(warm_up);
        let turn = self.run(database.postmaster, first, counted).await;
        let messages = batches.iter().flat_map(|batch| &batch.messages);
        database.verify(self.workload, messages).await;
        turn
    }

    /// Sessions and functions end after Postgres's processor time was read.
    async fn run(&self, postmaster: u32, first: &[Batch], batches: &[Batch]) -> Turn {
        let messages: usize = batches.iter().map(|batch| batch.messages.len()).sum();
        let per_million = |secs: f64| secs * 1e6 / messages as f64;
        let turn = |secs: f64, postgres_secs: f64, usage: Option<Usage>| Turn {
            messages_per_sec: messages as f64 / secs,
            postgres_secs_per_million: per_million(postgres_secs),
            usage,
        };
        let postgres = || cpu_secs_with_children(postmaster);
        let shares = |place: usize| [first, batches].map(|all| share(all, place, self.at_once));
        match &self.kind {
            // A session has a runtime of its own, which must not end in that of `main`.
            Kind::Limit(limit, url) => {
                // Passed when all are open, when the time starts, when all have ended, and when that is measured.
                let gate = Barrier::new(self.at_once + 1);
                thread::scope(|scope| {
                    let open = |place: usize| {
                        let ([first, batches], gate) = (shares(place), &gate);
                        scope.spawn(move || {
                            let session = Session::open(*limit, url, self.workload, first, batches);
                            gate.wait();
                            gate.wait();
                            session.run();
                            let ended = Instant::now();
                            gate.wait();
                            gate.wait();
                            ended
                        })
                    };
                    let sessions: Vec<_> = (0..self.at_once).map(open).collect();
                    gate.wait();
                    let (before, started) = (postgres(), Instant::now());
                    gate.wait();
                    gate.wait();
                    let postgres_secs = postgres() - before;
                    gate.wait();
                    let ended = sessions.into_iter().map(|session| session.join().unwrap());
                    let secs = (ended.max().unwrap() - started).as_secs_f64();
                    turn(secs, postgres_secs, None)
                })
            }
            Kind::Function(setup) => {
                let starting = (0..self.at_once).map(async |place| {
                    let [first, batches] = shares(place);
                    let mut function = setup.clone().start().await;
                    for batch in first {
                        function.handle(&batch.event).await;
                    }
                    (function, batches)
                });
                let mut functions = join_all(starting).await;
                let ids: Vec<u32> = functions
                    .iter()
                    .map(|(function, _)| function.id())
                    .collect();
                let cpu = || ids.iter().map(|&id| secs_of_threads(id)).sum::<f64>();
                let (cpu_before, before) = (cpu(), postgres());
                let handling = functions.iter_mut().map(async |(function, batches)| {
                    let mut took = Duration::ZERO;
                    for batch in *batches {
                        took += function.handle(&batch.event).await;
                    }
                    took
                });
                let took = join_all(handling).await.into_iter().max().unwrap();
                let postgres_secs = postgres() - before;
                let peaks = ids
                    .iter()
                    .map(|&id| peak_mib(id).expect("a running process"));
                let usage = Usage {
                    cpu_secs_per_million: per_million(cpu() - cpu_before),
                    peak_mib: peaks.fold(0.0, f64::max),
                };
                turn(took.as_secs_f64(), postgres_secs, Some(usage))
            }
        }
    }
}

/// The batches of one of several.
fn share(all: &[Batch], place: usize, of: usize) -> &[Batch] {
    &all[all.len() * place / of..all.len() * (place + 1) / of]
}
