//! Builds of the function against each other, on this machine and with the database half a millisecond away.

use std::sync::Arc;

use crate::Effort;
use crate::database::Database;
use crate::distance::{FAR, url_through};
use crate::messages::Workload;
use crate::process::Launch;
use crate::race::{BATCH_SIZES, Contender, race};
use crate::report;

/// `binaries` are `name=path`, separated by spaces; the first is the measure of the others in every round.
pub(crate) async fn compare(database: &Database, binaries: &str, effort: Effort) {
    let logins = Workload::logins();
    database.create_tables(&logins).await;
    let far = url_through(&database.url, FAR / 2, Arc::default());
    for (place, url) in [("loopback", &database.url), ("0.5 ms away", &far)] {
        let contender = |binary: &str| {
            let (name, path) = binary.split_once('=').expect("BENCH_BINARIES: name=path …");
            Contender::function(name.to_owned().leak(), Launch::ours(path, url), &[&logins])
        };
        let contenders: Vec<_> = binaries.split_whitespace().map(contender).collect();
        let mut races = Vec::new();
        for size in BATCH_SIZES {
            eprintln!("{place}, batches of {size}, {} rounds", effort.rounds);
            races.push(race(database, &contenders, size, effort).await);
        }
        println!("\ndatabase: {place}\n\n{}", report::comparison(&races));
    }
}
