//! Who stores messages, and one turn of it: afterwards the tables are what was sent.

use std::thread;
use std::time::Duration;

use testkit::Setup;

use crate::database::Database;
use crate::limits::{Limit, Session};
use crate::load::{cpu_secs_with_children, peak_mib, secs_of_threads};
use crate::messages::{Batch, Workload};
use crate::record::Figures;

pub(crate) struct Contender<'a> {
    pub(crate) name: &'static str,
    kind: Kind,
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
            workload,
        }
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

    /// A session and a function end after Postgres's processor time was read.
    async fn run(&self, postmaster: u32, first: &[Batch], batches: &[Batch]) -> Turn {
        let messages: usize = batches.iter().map(|batch| batch.messages.len()).sum();
        let per_million = |secs: f64| secs * 1e6 / messages as f64;
        let turn = |secs: f64, postgres_secs: f64, usage: Option<Usage>| Turn {
            messages_per_sec: messages as f64 / secs,
            postgres_secs_per_million: per_million(postgres_secs),
            usage,
        };
        let postgres = || cpu_secs_with_children(postmaster);
        match &self.kind {
            // A session has a runtime of its own, which must not end in that of `main`.
            Kind::Limit(limit, url) => thread::scope(|scope| {
                let run = scope.spawn(|| {
                    let session = Session::open(*limit, url, self.workload, first, batches);
                    let before = postgres();
                    let secs = session.run();
                    turn(secs, postgres() - before, None)
                });
                run.join().unwrap()
            }),
            Kind::Function(setup) => {
                let mut function = setup.clone().start().await;
                for batch in first {
                    function.handle(&batch.event).await;
                }
                let process = function.id();
                let (cpu_before, before) = (secs_of_threads(process), postgres());
                let mut took = Duration::ZERO;
                for batch in batches {
                    took += function.handle(&batch.event).await;
                }
                let postgres_secs = postgres() - before;
                let usage = Usage {
                    cpu_secs_per_million: per_million(secs_of_threads(process) - cpu_before),
                    peak_mib: peak_mib(process).expect("a running process"),
                };
                turn(took.as_secs_f64(), postgres_secs, Some(usage))
            }
        }
    }
}
