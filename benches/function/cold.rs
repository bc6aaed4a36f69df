//! Cold starts: from the start of the process to its first `/next`, and to its first answer.

use std::time::Duration;

use testkit::Setup;
use testkit::secrets_manager::{Mood, SecretsManager};

use crate::bench::{Bench, OURS};
use crate::database::Database;
use crate::load::{Watch, secs_of_threads};
use crate::messages::{Batch, Workload};
use crate::record::{Case, Figures, Round, grouped};

const BATCH: usize = 10;

/// How long Secrets Manager takes to answer, which is subtracted once, since both secrets can be requested
/// concurrently.
const SECRETS_ANSWER_TIME: Duration = Duration::from_millis(5);

/// All functions, and ours with its secrets in Secrets Manager.
pub(crate) async fn cold_starts(bench: &Bench, workload: &Workload) {
    let database = &bench.database;
    let with_secrets = on_secrets_manager(&bench.ours, database);
    let functions = bench.functions(&database.url);
    let mut starts: Vec<(String, Setup, Duration)> = functions
        .map(|(name, setup)| (name.to_owned(), setup, Duration::ZERO))
        .collect();
    let name = format!("{OURS}, two secrets");
    starts.insert(1, (name, with_secrets, SECRETS_ANSWER_TIME));
    database.empty(workload).await;
    let (mut sent, mut rounds) = (Vec::new(), Vec::new());
    for _ in 0..=2 * bench.effort.rounds {
        let watch = Watch::start(database.postmaster);
        let mut figures = Vec::new();
        for (_, setup, taken_off) in &starts {
            let batch = workload.batch(BATCH);
            figures.push(start(setup.clone(), *taken_off, &batch).await);
            sent.extend(batch.messages);
        }
        rounds.push(Round {
            was_disturbed: watch.was_disturbed(),
            figures,
        });
    }
    database.verify(workload, &sent).await;
    let case = Case {
        what: "cold start",
        case: format!("batch of {}", grouped(BATCH)),
    };
    let names: Vec<&str> = starts.iter().map(|(name, ..)| name.as_str()).collect();
    bench.record.add(&case, &names, &rounds);
}

async fn start(setup: Setup, taken_off: Duration, batch: &Batch) -> Figures {
    let mut function = setup.start().await;
    function.ready().await;
    let next = function.started.elapsed() - taken_off;
    let cpu_before = secs_of_threads(function.id());
    let took = function.handle(&batch.event).await;
    let cpu = secs_of_threads(function.id());
    vec![
        ("next_millis", next.as_secs_f64() * 1e3),
        ("answer_millis", (next + took).as_secs_f64() * 1e3),
        ("cpu_millis", cpu * 1e3),
        ("batch_cpu_millis", (cpu - cpu_before) * 1e3),
    ]
}

fn on_secrets_manager(ours: &Setup, database: &Database) -> Setup {
    let secrets = [("database", database.secret.clone())];
    let secrets = SecretsManager::with(Mood::AnswersIn(SECRETS_ANSWER_TIME), &secrets);
    let ours = ours.clone().mask_secret_at(secrets.address);
    ours.without("DATABASE_URL")
        .set("DB_SECRET_ID", "database")
        .set("DB_SSLMODE", "disable")
        .set("AWS_ACCESS_KEY_ID", "test")
        .set("AWS_SECRET_ACCESS_KEY", "test")
}
