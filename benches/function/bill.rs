//! What a million records cost on Lambda: functions of 256 MB, each with its share of a core, 0.5 ms from the database.
//!
//! Prices are those of us-east-1 on x86_64, in US dollars, without the free tier, of November 2026.

use std::sync::Arc;
use std::time::Duration;

use testkit::Setup;

use crate::bench::{Bench, OURS};
use crate::load::Watch;
use crate::messages::{Batch, Workload};
use crate::proxy::url_through;
use crate::race::{FAR, shuffled};
use crate::record::{Case, Figures, Round, grouped};
use crate::throttle::Throttle;

/// Source: <https://aws.amazon.com/lambda/pricing/>.
const DOLLARS_PER_GB_SEC: f64 = 0.000_016_666_7;
const DOLLARS_PER_INVOCATION: f64 = 0.20 / 1e6;
const GB: f64 = 0.25;

/// Source: <https://aws.amazon.com/sqs/pricing/>; a request of up to 64 KB.
const DOLLARS_PER_SQS_REQUEST: f64 = 0.40 / 1e6;
/// A message is sent, received and deleted, ten at a time.
const SQS_REQUESTS_PER_MESSAGE: f64 = 3.0 / 10.0;

const BATCH_SIZES: [usize; 3] = [10, 100, 1_000];
/// Messages of a batch whose messages have several records.
const PACKED_BATCH: usize = 100;

/// Enough that connections are made and statements are planned.
const WARM_UP_BATCHES: usize = 10;

/// A turn is longer than others, because a throttled function is slow.
const TURNS: u32 = 4;

/// All functions by batch size, and ours with several records in a message.
pub(crate) async fn bills(bench: &Bench, workload: &Workload) {
    let throttle = match Throttle::create() {
        Ok(throttle) => throttle,
        Err(error) => {
            return eprintln!("the bill is not measured: no control group can be made ({error})");
        }
    };
    let url = url_through(&bench.database.url, FAR, Arc::default());
    let functions: Vec<(&str, Setup)> = bench.functions(&url).collect();
    for &size in bench.effort.some_of(&BATCH_SIZES) {
        let case = format!("batch of {}", grouped(size));
        bill(bench, &throttle, workload, case, &functions, size).await;
    }
    let packed = Workload::packed_logins();
    bench.database.create_tables(&packed).await;
    let ours = bench.ours.clone().set("DATABASE_URL", &url);
    let ours = match &packed.mapping {
        Some(mapping) => ours.mapping(mapping),
        None => ours,
    };
    let ours = [(OURS, ours)];
    let case = format!("batch of {PACKED_BATCH}, ten records in a message");
    bill(bench, &throttle, &packed, case, &ours, PACKED_BATCH).await;
    bench.database.empty(&packed).await;
}

async fn bill(
    bench: &Bench,
    throttle: &Throttle,
    workload: &Workload,
    case: String,
    functions: &[(&'static str, Setup)],
    size: usize,
) {
    let mut rounds = Vec::new();
    for _ in 0..bench.effort.rounds {
        let watch = Watch::start(bench.database.postmaster);
        let mut figures = vec![Figures::new(); functions.len()];
        for place in shuffled(functions.len()) {
            let (_, setup) = &functions[place];
            figures[place] = turn(bench, throttle, workload, setup, size).await;
        }
        rounds.push(Round {
            was_disturbed: watch.was_disturbed(),
            figures,
        });
    }
    let names: Vec<&str> = functions.iter().map(|(name, _)| *name).collect();
    let case = Case { what: "bill", case };
    bench.record.add(&case, &names, &rounds);
}

/// Batches one after the other, for the time of some turns. On Lambda a function starts with a whole core, so only what
/// follows is throttled.
async fn turn(
    bench: &Bench,
    throttle: &Throttle,
    workload: &Workload,
    setup: &Setup,
    size: usize,
) -> Figures {
    bench.database.empty(workload).await;
    let mut sent = workload.batches(WARM_UP_BATCHES, size);
    let mut function = setup.clone().start().await;
    for batch in &sent {
        function.handle(&batch.event).await;
    }
    throttle.add(function.id());
    let enough = Duration::from_secs_f64(bench.effort.secs) * TURNS;
    let (mut took, mut billed_millis) = (Duration::ZERO, 0.0);
    let mut invocations = 0;
    while took < enough {
        let batch = workload.batch(size);
        let duration = function.handle(&batch.event).await;
        took += duration;
        // Lambda rounds up to the next millisecond.
        billed_millis += (duration.as_secs_f64() * 1e3).ceil();
        invocations += 1;
        sent.push(batch);
    }
    let messages = sent.iter().flat_map(|batch| &batch.messages);
    bench.database.verify(workload, messages).await;
    let records = records(&sent[WARM_UP_BATCHES..]);
    per_million(f64::from(invocations), size, billed_millis, records)
}

fn records(batches: &[Batch]) -> f64 {
    let records: usize = batches.iter().map(|batch| batch.rows(0).count()).sum();
    records as f64
}

fn per_million(invocations: f64, size: usize, billed_millis: f64, records: f64) -> Figures {
    let per_million = 1e6 / records;
    let billed_secs = billed_millis / 1e3 * per_million;
    let sqs_requests = invocations * size as f64 * SQS_REQUESTS_PER_MESSAGE;
    vec![
        ("billed_secs", billed_secs),
        ("compute_dollars", billed_secs * GB * DOLLARS_PER_GB_SEC),
        (
            "request_dollars",
            invocations * per_million * DOLLARS_PER_INVOCATION,
        ),
        (
            "sqs_dollars",
            sqs_requests * per_million * DOLLARS_PER_SQS_REQUEST,
        ),
    ]
}
