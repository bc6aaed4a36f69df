//! How the time grows with the number of columns, with bad messages, and with duplicates.

use std::time::Duration;

use crate::Effort;
use crate::database::Database;
use crate::load::Watch;
use crate::messages::{Batch, Flaw, Message, Workload};
use crate::process::{Function, Launch};
use crate::race::{Contender, OURS, race, shuffled};
use crate::results::{BadMessages, Race, Spread};

const WIDTHS: [usize; 4] = [8, 15, 30, 60];
const WIDE_BATCH: usize = 1_000;

const LARGE_BATCH: usize = 8_000;
const REFUSED_ROWS: usize = 10;
/// Of a batch in a round, of which the median counts.
const SAMPLES: usize = 3;
const BATCHES_OF_A_QUEUE: usize = 20;
/// With few rounds the queue is shorter too.
const BATCHES_A_ROUND: usize = 3;

/// The function against the limit, by number of columns.
pub(crate) async fn widths(database: &Database, ours: &Launch, effort: Effort) -> Vec<Race> {
    let mut races = Vec::new();
    for columns in WIDTHS {
        let workload = Workload::wide(columns);
        database.create_tables(&workload).await;
        let tables = [&workload];
        let [copy, _] = Contender::limits(&database.url, &tables);
        let contenders = [copy, Contender::function(OURS, ours.clone(), &tables)];
        races.push(race(database, &contenders, WIDE_BATCH, effort).await);
        database.empty(&workload).await;
    }
    races
}

/// The faults in a batch.
#[derive(Clone, Copy)]
enum Fault {
    None,
    /// Of 1 message in 100 a required field is missing.
    Invalid,
    /// The table's CHECK refuses ten rows.
    Refused,
    /// The row of 1 message in 100 already exists.
    Duplicates,
}

/// Large batches with faults against large batches without.
pub(crate) async fn bad_messages(
    database: &Database,
    workload: &Workload,
    ours: &Launch,
    effort: Effort,
) -> BadMessages {
    let faults = [
        Fault::None,
        Fault::Invalid,
        Fault::Refused,
        Fault::Duplicates,
    ];
    let mut series = [const { Vec::new() }; 4];
    let (mut queue, mut disturbances) = (Vec::new(), Vec::new());
    database.add_check().await;
    for _ in 0..effort.rounds {
        let watch = Watch::start(database.postmaster);
        for place in shuffled(faults.len()) {
            let mut secs = Vec::new();
            for _ in 0..SAMPLES.min(effort.rounds) {
                secs.push(sample(database, workload, ours, faults[place]).await);
            }
            series[place].push(Spread::of(secs).median);
        }
        queue.push(queue_with_duplicates(database, workload, ours, effort).await);
        disturbances.push(watch.finish());
    }
    let [clean, invalid, refused, duplicates] = series;
    let times = |faulty: Vec<f64>| {
        let rounds = faulty.iter().zip(&clean);
        Spread::of(rounds.map(|(faulty, clean)| faulty / clean))
    };
    BadMessages {
        batch: LARGE_BATCH,
        clean_millis: Spread::of(clean.iter().map(|secs| secs * 1e3)),
        times_with_invalid: times(invalid),
        times_with_refused: times(refused),
        times_with_duplicates: times(duplicates),
        times_of_queue_with_duplicates: Spread::of(queue),
        disturbances,
    }
}

/// Seconds for one batch, in a function that has handled only one clean batch before.
async fn sample(database: &Database, workload: &Workload, ours: &Launch, fault: Fault) -> f64 {
    database.empty(workload).await;
    let first = workload.batch(LARGE_BATCH);
    let second = faulty(workload, &first.messages, fault);
    let mut function = Function::start(ours);
    function.handle(&first);
    let took = function.handle(&second);
    let sent = first.messages.iter().chain(&second.messages);
    database.verify(workload, sent).await;
    took.as_secs_f64()
}

fn faulty(workload: &Workload, stored: &[Message], fault: Fault) -> Batch {
    let message = |place: usize| match fault {
        Fault::Invalid if place % 100 == 50 => workload.message(Flaw::Invalid),
        Fault::Refused if place % (LARGE_BATCH / REFUSED_ROWS) == 400 => {
            workload.message(Flaw::Refused)
        }
        Fault::Duplicates if place % 100 == 50 => stored[place].clone(),
        _ => workload.message(Flaw::Nothing),
    };
    Batch::new((0..LARGE_BATCH).map(message).collect())
}

/// The time for a queue with duplicates in every batch, relative to a function that always tolerates them: on a table
/// for which it never inserts without `ON CONFLICT`.
async fn queue_with_duplicates(
    database: &Database,
    workload: &Workload,
    ours: &Launch,
    effort: Effort,
) -> f64 {
    let count = BATCHES_OF_A_QUEUE.min(BATCHES_A_ROUND * effort.rounds);
    let first = workload.batch(LARGE_BATCH);
    let batches: Vec<Batch> = (0..count)
        .map(|_| faulty(workload, &first.messages, Fault::Duplicates))
        .collect();
    let took = empty_queue(database, workload, ours, &first, &batches).await;
    database.forbid_optimistic_inserts().await;
    let took_without_optimism = empty_queue(database, workload, ours, &first, &batches).await;
    database.allow_optimistic_inserts().await;
    took.as_secs_f64() / took_without_optimism.as_secs_f64()
}

async fn empty_queue(
    database: &Database,
    workload: &Workload,
    ours: &Launch,
    first: &Batch,
    batches: &[Batch],
) -> Duration {
    database.empty(workload).await;
    let mut function = Function::start(ours);
    function.handle(first);
    let took = batches.iter().map(|batch| function.handle(batch)).sum();
    let messages = batches.iter().flat_map(|batch| &batch.messages);
    database
        .verify(workload, messages.chain(&first.messages))
        .await;
    took
}
