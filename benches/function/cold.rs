//! Cold starts: from the start of the process to its first `/next`, and to its first answer.

use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Effort;
use crate::database::Database;
use crate::http::Connection;
use crate::messages::{MASK_KEY, Workload};
use crate::process::{Function, Launch};
use crate::race::{Contender, Kind};
use crate::results::{ColdStart, Spread};

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
) -> Vec<ColdStart> {
    let with_secrets = on_secrets_manager(ours, database);
    let mut starts: Vec<(&str, &Launch, Duration)> = vec![];
    for contender in contenders {
        if let Kind::Function(launch) = &contender.kind {
            starts.push((contender.name, launch, Duration::ZERO));
        }
    }
    starts.insert(1, (WITH_SECRETS, &with_secrets, SECRETS_ANSWER_TIME));
    let mut series: Vec<[Vec<f64>; 3]> = starts.iter().map(|_| Default::default()).collect();
    database.empty(workload).await;
    let mut sent = Vec::new();
    for _ in 0..=2 * effort.rounds {
        for ((_, launch, taken_off), [next, answer, cpu]) in starts.iter().zip(&mut series) {
            let batch = workload.batch(BATCH);
            let started = Instant::now();
            let millis = || (started.elapsed() - *taken_off).as_secs_f64() * 1e3;
            let mut function = Function::start(launch);
            next.push(millis());
            function.handle(&batch);
            answer.push(millis());
            cpu.push(function.cpu_secs() * 1e3);
            sent.extend(batch.messages);
        }
    }
    database.verify(workload, &sent).await;
    let named = starts.iter().zip(series);
    named
        .map(|((name, ..), [next, answer, cpu])| ColdStart {
            name: (*name).to_owned(),
            next_millis: Spread::of(next),
            answer_millis: Spread::of(answer),
            cpu_millis: Spread::of(cpu),
        })
        .collect()
}

fn on_secrets_manager(ours: &Launch, database: &Database) -> Launch {
    let endpoint = serve_secrets(database.secret.clone());
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

/// A stand-in for Secrets Manager with a known answer time, until the end of the process.
/// Source: <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html>.
fn serve_secrets(database: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for client in listener.incoming() {
            let (mut connection, database) = (Connection::new(client.unwrap()), database.clone());
            thread::spawn(move || {
                while let Some(question) = connection.read() {
                    thread::sleep(SECRETS_ANSWER_TIME);
                    let answer = secret(&question.body, &database).to_string();
                    let headers = "content-type: application/x-amz-json-1.1\r\n";
                    connection.answer("200 OK", headers, &answer);
                }
            });
        }
    });
    endpoint
}

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
