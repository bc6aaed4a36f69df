//! Cold starts: from the start of the process to its first `/next`, and to its first answer, at full speed and as on
//! Lambda.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Effort;
use crate::database::Database;
use crate::http::serve;
use crate::load::Watch;
use crate::messages::{Batch, MASK_KEY, Workload};
use crate::process::{Function, Launch};
use crate::race::{Contender, Kind};
use crate::report::{self, spread};
use crate::results::{ColdStart, ColdStarts, Spread};
use crate::throttle::Throttle;

const BATCH: usize = 10;

/// How long Secrets Manager takes to answer, which is subtracted once, since both secrets can be requested
/// concurrently.
const SECRETS_ANSWER_TIME: Duration = Duration::from_millis(5);

pub(crate) const WITH_SECRETS: &str = "sqs-to-postgres, two secrets";

/// The functions among the contenders, and ours with its secrets in Secrets Manager.
pub(crate) async fn cold_starts(
    database: &Database,
    workload: &Workload,
    ours: &Launch,
    contenders: &[Contender<'_>],
    effort: Effort,
) -> ColdStarts {
    let with_secrets = on_secrets_manager(ours, database);
    let mut starts: Vec<(&str, &Launch, Duration)> = vec![];
    for contender in contenders {
        if let Kind::Function(launch) = &contender.kind {
            starts.push((contender.name, launch, Duration::ZERO));
        }
    }
    starts.insert(1, (WITH_SECRETS, &with_secrets, SECRETS_ANSWER_TIME));
    let throttle = Throttle::new();
    let mut series: Vec<Series> = starts.iter().map(|_| Series::default()).collect();
    database.empty(workload).await;
    let (mut sent, mut disturbances) = (Vec::new(), Vec::new());
    for _ in 0..=2 * effort.rounds {
        let watch = Watch::start(database.postmaster);
        for ((_, launch, taken_off), series) in starts.iter().zip(&mut series) {
            let [first, second] = [(); 2].map(|()| workload.batch(BATCH));
            series.at_full_speed(launch, *taken_off, &first);
            series.throttled(launch, *taken_off, &second, &throttle);
            sent.extend([first, second].into_iter().flat_map(|batch| batch.messages));
        }
        disturbances.push(watch.finish());
    }
    database.verify(workload, &sent).await;
    let named = starts.iter().zip(series);
    ColdStarts {
        throttled: throttle.describe(),
        functions: named
            .map(|((name, ..), series)| series.figures(name))
            .collect(),
        disturbances,
    }
}

/// The starts of a function.
#[derive(Default)]
struct Series {
    next_millis: Vec<f64>,
    answer_millis: Vec<f64>,
    cpu_millis: Vec<f64>,
    batch_cpu_millis: Vec<f64>,
    throttled_millis: Vec<f64>,
}

impl Series {
    fn at_full_speed(&mut self, launch: &Launch, taken_off: Duration, batch: &Batch) {
        let started = Instant::now();
        let mut function = Function::start(launch);
        let next = started.elapsed() - taken_off;
        let cpu_before = function.cpu_secs();
        let took = function.handle(batch);
        let cpu = function.cpu_secs();
        self.next_millis.push(next.as_secs_f64() * 1e3);
        self.answer_millis.push((next + took).as_secs_f64() * 1e3);
        self.cpu_millis.push(cpu * 1e3);
        self.batch_cpu_millis.push((cpu - cpu_before) * 1e3);
    }

    /// As on Lambda: until its first `/next` at full speed, then with a share of a processor.
    fn throttled(
        &mut self,
        launch: &Launch,
        taken_off: Duration,
        batch: &Batch,
        throttle: &Throttle,
    ) {
        let started = Instant::now();
        let mut function = Function::start(launch);
        let next = started.elapsed() - taken_off;
        throttle.slow_down(function.id());
        let cpu_before = function.cpu_secs();
        let took = function.handle(batch);
        let secs = throttle.secs(took, function.cpu_secs() - cpu_before);
        self.throttled_millis
            .push((next.as_secs_f64() + secs) * 1e3);
    }

    fn figures(self, name: &str) -> ColdStart {
        ColdStart {
            name: name.to_owned(),
            next_millis: Spread::of(self.next_millis),
            answer_millis: Spread::of(self.answer_millis),
            cpu_millis: Spread::of(self.cpu_millis),
            batch_cpu_millis: Spread::of(self.batch_cpu_millis),
            throttled_millis: Spread::of(self.throttled_millis),
        }
    }
}

pub(crate) fn table(starts: &ColdStarts) -> String {
    let throttled = format!("to it at 0.15 of a core, {}", starts.throttled);
    let names = [
        "cold start",
        "to first /next",
        "to first answer",
        "CPU until then",
        "CPU for its batch of 10",
        &throttled,
    ];
    let mut rows = vec![names.map(str::to_owned).to_vec()];
    for start in &starts.functions {
        let millis = [
            start.next_millis,
            start.answer_millis,
            start.cpu_millis,
            start.batch_cpu_millis,
            start.throttled_millis,
        ];
        let mut row = vec![start.name.clone()];
        row.extend(millis.map(|millis| spread(millis, 1, " ms")));
        rows.push(row);
    }
    report::table(&rows) + &report::disturbed(&starts.disturbances)
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
