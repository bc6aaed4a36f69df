//! Cold starts: from the start of the process to its first `/next`, and to its first answer.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::bench::{Bench, OURS};
use crate::database::Database;
use crate::http::serve;
use crate::load::Watch;
use crate::messages::{Batch, MASK_KEY, Workload};
use crate::process::{Function, Launch};
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
    let mut starts: Vec<(String, Launch, Duration)> = functions
        .map(|(name, launch)| (name.to_owned(), launch, Duration::ZERO))
        .collect();
    let name = format!("{OURS}, two secrets");
    starts.insert(1, (name, with_secrets, SECRETS_ANSWER_TIME));
    database.empty(workload).await;
    let (mut sent, mut rounds) = (Vec::new(), Vec::new());
    for _ in 0..=2 * bench.effort.rounds {
        let watch = Watch::start(database.postmaster);
        let mut figures = Vec::new();
        for (_, launch, taken_off) in &starts {
            let batch = workload.batch(BATCH);
            figures.push(start(launch, *taken_off, &batch));
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
        batch: BATCH,
    };
    let names: Vec<&str> = starts.iter().map(|(name, ..)| name.as_str()).collect();
    bench.record.add(&case, &names, &rounds);
}

fn start(launch: &Launch, taken_off: Duration, batch: &Batch) -> Figures {
    let started = Instant::now();
    let mut function = Function::start(launch);
    let next = started.elapsed() - taken_off;
    let cpu_before = function.cpu_secs();
    let took = function.handle(batch);
    let cpu = function.cpu_secs();
    vec![
        ("next_millis", next.as_secs_f64() * 1e3),
        ("answer_millis", (next + took).as_secs_f64() * 1e3),
        ("cpu_millis", cpu * 1e3),
        ("batch_cpu_millis", (cpu - cpu_before) * 1e3),
    ]
}

fn on_secrets_manager(ours: &Launch, database: &Database) -> Launch {
    let database = database.secret.clone();
    let endpoint = serve(SECRETS_ANSWER_TIME, move |question| {
        secret(&question.body, &database).to_string()
    });
    ours.clone()
        .without("DATABASE_URL")
        .without("MASK_KEY")
        .set("DB_SECRET_ID", "database")
        .set("DB_SSLMODE", "disable")
        .set("MASK_SECRET_ID", "mask-key")
        .set("AWS_ENDPOINT_URL", &endpoint)
        .set("AWS_REGION", "eu-central-1")
        .set("AWS_ACCESS_KEY_ID", "test")
        .set("AWS_SECRET_ACCESS_KEY", "test")
}

/// An answer of Secrets Manager.
/// Source: <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html>.
fn secret(question: &str, database: &str) -> Value {
    let question: Value = serde_json::from_str(question).unwrap();
    let id = question["SecretId"].as_str().unwrap();
    let text = match id {
        "database" => database.to_owned(),
        _ => json!({ "mask_key": MASK_KEY }).to_string(),
    };
    json!({"ARN": format!("arn:aws:secretsmanager:eu-central-1:123456789012:secret:{id}"), "Name": id,
        "VersionId": "1", "VersionStages": ["AWSCURRENT"], "SecretString": text})
}
