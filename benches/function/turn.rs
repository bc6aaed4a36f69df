//! One turn of a contender: its sessions store at the same time, and then the tables are what was sent.

use std::thread;
use std::time::Duration;

use crate::database::Database;
use crate::limits::Session;
use crate::load::cpu_secs_with_children;
use crate::messages::{Batch, Workload};
use crate::process::Function;
use crate::race::{Contender, Kind};

pub(crate) struct Turn {
    /// Of all sessions, until the last has finished.
    pub(crate) messages_per_sec: f64,
    /// Of processor time of all Postgres's processes.
    pub(crate) postgres_secs_per_million: f64,
    pub(crate) usage: Option<Usage>,
    pub(crate) retries: usize,
}

/// The resources that functions used in a turn.
#[derive(Clone, Copy)]
pub(crate) struct Usage {
    /// Of all of them.
    pub(crate) cpu_secs_per_million: f64,
    /// Of the one with the most.
    pub(crate) peak_mib: f64,
}

/// `batches` are those of each session; the first of them, whose number is `warm_up`, do not count.
pub(crate) async fn take_turn(
    database: &Database,
    contender: &Contender<'_>,
    batches: &[&[Batch]],
    warm_up: usize,
) -> Turn {
    let tables = &contender.tables;
    for table in distinct(tables) {
        database.empty(table).await;
    }
    // Sessions have a runtime of their own, which must not end in that of `main`.
    let turn = thread::scope(|scope| {
        let turn = scope.spawn(|| Lane::all_run(database.postmaster, contender, batches, warm_up));
        turn.join().unwrap()
    });
    for table in distinct(tables) {
        let lanes = tables.iter().zip(batches);
        let lanes = lanes.filter(|(other, _)| other.table().table == table.table().table);
        let batches = lanes.flat_map(|(_, batches)| *batches);
        let messages = batches.flat_map(|batch| &batch.messages);
        database.verify(table, messages).await;
    }
    turn
}

fn distinct<'a>(tables: &[&'a Workload]) -> Vec<&'a Workload> {
    let mut tables = tables.to_vec();
    tables.dedup_by_key(|table| table.table().table.to_string());
    tables
}

/// A session of a contender.
enum Lane {
    Session(Session),
    Function(Function),
}

impl Lane {
    /// All are warm before one starts, and end after Postgres's processor time was read.
    fn all_run(
        postmaster: u32,
        contender: &Contender<'_>,
        batches: &[&[Batch]],
        warm_up: usize,
    ) -> Turn {
        let open = |lane: usize| Self::open(contender, lane, batches[lane].split_at(warm_up));
        let mut lanes = at_once(0..batches.len(), open);
        let batches: Vec<&[Batch]> = batches.iter().map(|lane| &lane[warm_up..]).collect();
        let functions_before = total_cpu_secs(&lanes);
        let postgres_before = cpu_secs_with_children(postmaster);
        let took = at_once(lanes.iter_mut().zip(&batches), |(lane, batches)| {
            lane.run(batches)
        });
        let postgres_secs = cpu_secs_with_children(postmaster) - postgres_before;
        let function_secs = total_cpu_secs(&lanes) - functions_before;
        let batches = batches.into_iter().flatten();
        let messages: usize = batches.map(|batch| batch.messages.len()).sum();
        let functions = || lanes.iter().filter_map(Self::function);
        let peak_mib = functions().map(Function::peak_mib).reduce(f64::max);
        Turn {
            messages_per_sec: messages as f64 / took.into_iter().fold(0.0, f64::max),
            postgres_secs_per_million: postgres_secs * 1e6 / messages as f64,
            usage: peak_mib.map(|peak_mib| Usage {
                cpu_secs_per_million: function_secs * 1e6 / messages as f64,
                peak_mib,
            }),
            retries: functions().map(Function::retries).sum(),
        }
    }

    /// One-time work belongs to cold starts: it is done for the first batches.
    fn open(
        contender: &Contender<'_>,
        lane: usize,
        (first, batches): (&[Batch], &[Batch]),
    ) -> Self {
        let table = contender.tables[lane];
        match &contender.kind {
            Kind::Limit(limit, url) => {
                Self::Session(Session::open(*limit, url, table, first, batches))
            }
            Kind::Function(launch) => {
                let mut function = Function::start(&launch.of_lane(lane, table));
                first.iter().for_each(|batch| _ = function.handle(batch));
                Self::Function(function)
            }
        }
    }

    /// Seconds.
    fn run(&mut self, batches: &[Batch]) -> f64 {
        match self {
            Self::Session(session) => session.run(),
            Self::Function(function) => {
                let took = batches.iter().map(|batch| function.handle(batch));
                took.sum::<Duration>().as_secs_f64()
            }
        }
    }

    fn function(&self) -> Option<&Function> {
        match self {
            Self::Session(_) => None,
            Self::Function(function) => Some(function),
        }
    }
}

fn total_cpu_secs(lanes: &[Lane]) -> f64 {
    let functions = lanes.iter().filter_map(Lane::function);
    functions.map(Function::cpu_secs).sum()
}

/// Each in a thread of its own.
fn at_once<T: Send, R: Send>(
    items: impl Iterator<Item = T>,
    work: impl Fn(T) -> R + Sync,
) -> Vec<R> {
    let work = &work;
    thread::scope(|scope| {
        let threads: Vec<_> = items.map(|item| scope.spawn(move || work(item))).collect();
        let done = threads.into_iter().map(|thread| thread.join().unwrap());
        done.collect()
    })
}
