//! `drain` against a backlog, by receivers and batch size: how fast, with how much memory, and what the processors do.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::bench::Bench;
use crate::database::Database;
use crate::load::{Watch, cpu_secs, cpu_secs_with_children, peak_mib as peak_mib_of};
use crate::messages::Workload;
use crate::race::shuffled;
use crate::record::{Case, Figures, Round, grouped};
use crate::settings::LOG;
use testkit::MASK_KEY;
use testkit::sqs_double::SqsDouble;

/// Receivers, and messages in a batch; what `drain` chooses itself if nothing is given.
const SETTINGS: [Option<(usize, usize)>; 5] = [
    Some((1, 1_000)),
    Some((8, 1_000)),
    Some((32, 100)),
    Some((64, 1_000)),
    None,
];

/// How many messages make a turn of some seconds: the goal, or what a queue gives to few receivers.
const GOAL_PER_SEC: usize = 45_000;
const OF_A_RECEIVER_PER_SEC: usize = 1_000;
/// A turn is longer than others, because it has a start and an end.
const TURNS: f64 = 4.0;

/// How long SQS takes for a request: the order of magnitude on AWS. LocalStack takes longer than `drain` for its
/// messages, so the queue is in this process, where nothing else limits it.
const REQUEST_TIME: Duration = Duration::from_millis(10);

const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Each setting in turn, if the tool is built.
pub(crate) async fn backlogs(bench: &Bench, workload: &Workload) {
    // Cargo builds it beside the function.
    let tool = Path::new(crate::OUR_PROGRAM).with_file_name("sqs-to-postgres");
    if !tool.exists() {
        eprintln!("drain is not measured: build sqs-to-postgres-tool first, in the same profile");
        return;
    }
    let (database, secs) = (&bench.database, bench.effort.secs);
    let settings = bench.effort.some_of(&SETTINGS);
    let mut rounds = Vec::new();
    for _ in 0..bench.effort.rounds {
        let watch = Watch::start(database.postmaster);
        let mut figures = vec![Figures::new(); settings.len()];
        for place in shuffled(settings.len()) {
            let turn = turn(database, workload, &tool, settings[place], secs);
            figures[place] = turn.await;
        }
        rounds.push(Round {
            was_disturbed: watch.was_disturbed(),
            figures,
        });
    }
    let name = |setting: &Option<(usize, usize)>| match setting {
        Some((receivers, batch)) => format!("receivers {receivers}, batch of {}", grouped(*batch)),
        None => "as it chooses itself".to_owned(),
    };
    let names: Vec<String> = settings.iter().map(name).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let case = Case {
        what: "drain",
        case: "a queue that answers in 10 ms".to_owned(),
    };
    bench.record.add(&case, &names, &rounds);
}

/// CPU time is in seconds per million messages.
async fn turn(
    database: &Database,
    workload: &Workload,
    tool: &Path,
    setting: Option<(usize, usize)>,
    secs: f64,
) -> Figures {
    let per_sec = setting.map_or(GOAL_PER_SEC, |(receivers, _)| {
        GOAL_PER_SEC.min(receivers * OF_A_RECEIVER_PER_SEC)
    });
    let count = (per_sec as f64 * secs * TURNS) as usize;
    let messages = workload.batch(count).messages;
    database.empty(workload).await;
    let received = messages.iter().enumerate();
    let received = received.map(|(place, message)| message.received(place));
    let sqs = SqsDouble::holding(received, REQUEST_TIME);
    // The queue is in this process, which only waits.
    let used = || {
        [
            cpu_secs_with_children(database.postmaster),
            cpu_secs(std::process::id()),
        ]
    };
    let before = used();
    let (peak_mib, drain_secs) = run(&mut drain(tool, &sqs, setting, &database.url));
    let after = used();
    database.verify(workload, &messages).await;
    assert_eq!(sqs.left(), (0, 0));
    let (began, ended) = sqs.state().worked.unwrap();
    let secs = (ended + REQUEST_TIME - began).as_secs_f64();
    let per_million = |secs: f64| secs * 1e6 / count as f64;
    vec![
        ("messages_per_sec", count as f64 / secs),
        ("peak_mib", peak_mib),
        ("cpu_secs", per_million(drain_secs)),
        ("postgres_cpu_secs", per_million(after[0] - before[0])),
        ("queue_cpu_secs", per_million(after[1] - before[1])),
    ]
}

fn drain(
    tool: &Path,
    sqs: &SqsDouble,
    setting: Option<(usize, usize)>,
    database_url: &str,
) -> Child {
    let log = std::fs::File::create(LOG).unwrap();
    let mut command = Command::new(tool);
    command
        .args(["drain", "--wait-time-seconds", "1", "--json"])
        // The last batch would wait for more messages.
        .args(["--batch-window", "0"])
        .args(["--queue-url", &format!("{}/backlog", sqs.endpoint)])
        .args(["--endpoint-url", &sqs.endpoint])
        .env_clear()
        .env("DATABASE_URL", database_url)
        .env("MASK_KEY", MASK_KEY)
        .env("AWS_REGION", "eu-central-1")
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log);
    if let Some((receivers, size)) = setting {
        let [receivers, size] = [receivers, size].map(|number| number.to_string());
        command.args(["--concurrency", &receivers, "--batch-size", &size]);
    }
    command
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}", tool.display()))
}

/// Waits for the end of a process: its peak memory in MiB, and its seconds on a processor.
fn run(process: &mut Child) -> (f64, f64) {
    let mut peak_mib = 0.0;
    while let Some(peak) = peak_mib_of(process.id()) {
        peak_mib = peak;
        thread::sleep(POLL_INTERVAL);
    }
    let cpu = cpu_secs(process.id());
    let status = process.wait().unwrap();
    assert!(status.success(), "drain: {status}; see {}", LOG);
    (peak_mib, cpu)
}
