//! How many round trips to the database a warm batch waits for.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use crate::bench::{Bench, OURS};
use crate::load::Watch;
use crate::messages::Workload;
use crate::proxy::{Trips, url_through};
use crate::record::{Case, Round, grouped};

const BATCH_SIZES: [usize; 3] = [10, 100, 1_000];
const SAMPLES: usize = 15;
const DISTANCE: Duration = Duration::from_millis(1);

pub(crate) async fn round_trips(bench: &Bench, workload: &Workload) {
    let database = &bench.database;
    let trips = Arc::new(Trips::default());
    let far = url_through(&database.url, DISTANCE, Arc::clone(&trips));
    let setup = bench.ours.clone().set("DATABASE_URL", &far);
    let mut function = setup.start().await;
    database.empty(workload).await;
    let mut sent = Vec::new();
    for size in BATCH_SIZES {
        // The first batch of a size warms the function up for the others.
        let warm = workload.batches(1, size);
        function.handle(&warm[0].event).await;
        sent.extend(warm);
        let mut rounds = Vec::new();
        for _ in 0..bench.effort.rounds {
            let watch = Watch::start(database.postmaster);
            let batches = workload.batches(SAMPLES, size);
            let before = trips.count.load(SeqCst);
            for batch in &batches {
                function.handle(&batch.event).await;
            }
            let count = trips.count.load(SeqCst) - before;
            rounds.push(Round {
                was_disturbed: watch.was_disturbed(),
                figures: vec![vec![("round_trips", count as f64 / SAMPLES as f64)]],
            });
            sent.extend(batches);
        }
        let case = Case {
            what: "round trips",
            case: format!("batch of {}, 1 ms away", grouped(size)),
        };
        bench.record.add(&case, &[OURS], &rounds);
    }
    let messages = sent.iter().flat_map(|batch| &batch.messages);
    database.verify(workload, messages).await;
}
