//! Several functions at once on one database that is half a millisecond away.

use std::path::Path;
use std::sync::Arc;

use crate::Effort;
use crate::database::Database;
use crate::distance::{self, BATCH_SIZES, FAR, url_through};
use crate::messages::Workload;
use crate::process::Launch;
use crate::race::{POWERTOOLS, race};
use crate::results::SideBySide;

const FUNCTIONS: [usize; 4] = [1, 2, 4, 8];

/// The statement that tolerates duplicates first: it is the measure of the others.
pub(crate) async fn side_by_side(
    database: &Database,
    ours: &Launch,
    python: Option<&Path>,
    effort: Effort,
) -> Vec<SideBySide> {
    let far = url_through(&database.url, FAR / 2, Arc::default());
    let table = |number: usize| Workload::logins_in(&format!("logins_{number}"), "\"message_id\"");
    let workloads: Vec<Workload> = (0..FUNCTIONS[3]).map(table).collect();
    for workload in &workloads {
        database.create_tables(workload).await;
    }
    let mut races = Vec::new();
    for shares_table in [false, true] {
        for &functions in effort.some_of(&FUNCTIONS) {
            if shares_table && functions == 1 {
                continue;
            }
            let tables = match shares_table {
                true => vec![&workloads[0]; functions],
                false => workloads[..functions].iter().collect(),
            };
            // The slowest peer, one row at a time, says nothing more about the database.
            let mut contenders = distance::all(&far, ours, python, &tables);
            contenders.retain(|contender| contender.name != POWERTOOLS);
            for &size in effort.some_of(&BATCH_SIZES) {
                let deadlocks = deadlocks(database).await;
                let race = race(database, &contenders, size, effort).await;
                races.push(SideBySide {
                    functions,
                    shares_table,
                    deadlocks: self::deadlocks(database).await - deadlocks,
                    race,
                });
            }
        }
    }
    races
}

/// Since the statistics of the database were reset. A session reports them at its end.
async fn deadlocks(database: &Database) -> u64 {
    let count = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    database.show(count).await.parse().unwrap()
}
