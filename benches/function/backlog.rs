//! `drain` against a backlog, by receivers and batch size: how fast, with how much memory, and what the processors do.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::Effort;
use crate::database::Database;
use crate::load::{Watch, cpu_secs, cpu_secs_with_children};
use crate::messages::{MASK_KEY, Workload};
use crate::process::peak_mib as peak_mib_of;
use crate::race::shuffled;
use crate::report::{self, grouped, spread, thousands};
use crate::results::{Backlog, Backlogs, Spread};
use crate::sqs::Sqs;

/// Receivers, and messages in a batch.
const SETTINGS: [(usize, usize); 7] = [
    (1, 1_000),
    (8, 1_000),
    (32, 100),
    (32, 1_000),
    (32, 10_000),
    (64, 10_000),
    (64, 1_000),
];

/// How many messages make a turn of some seconds: the goal, or what a queue gives to few receivers.
const GOAL_PER_SEC: usize = 20_000;
const OF_A_RECEIVER_PER_SEC: usize = 1_000;
/// A turn is longer than others, because it has a start and an end.
const TURNS: f64 = 4.0;

const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Each setting in turn; `None` without the tool.
pub(crate) async fn backlogs(
    database: &Database,
    workload: &Workload,
    effort: Effort,
) -> Option<Backlogs> {
    // Cargo builds it beside the function.
    let tool = Path::new(crate::OUR_PROGRAM).with_file_name("sqs-to-postgres");
    if !tool.exists() {
        eprintln!("drain is not measured: build sqs-to-postgres-tool first, in the same profile");
        return None;
    }
    let sqs = Sqs::start();
    let settings = effort.some_of(&SETTINGS);
    let mut series = vec![Vec::new(); settings.len()];
    let mut disturbances = Vec::new();
    for _ in 0..effort.rounds {
        let watch = Watch::start(database.postmaster);
        for place in shuffled(settings.len()) {
            let turn = turn(
                database,
                workload,
                &tool,
                &sqs,
                settings[place],
                effort.secs,
            );
            series[place].push(turn.await);
        }
        disturbances.push(watch.finish());
    }
    let series = settings.iter().zip(series);
    let backlogs = series.map(|(&(receivers, batch), turns)| {
        let figure = |place: usize| Spread::of(turns.iter().map(|turn| turn[place]));
        Backlog {
            receivers,
            batch,
            messages_per_sec: figure(0),
            peak_mib: figure(1),
            cpu_secs: figure(2),
            postgres_cpu_secs: figure(3),
            queue_cpu_secs: figure(4),
        }
    });
    Some(Backlogs {
        backlogs: backlogs.collect(),
        disturbances,
    })
}

/// The figures of [`Backlog`], in their order.
async fn turn(
    database: &Database,
    workload: &Workload,
    tool: &Path,
    sqs: &Sqs,
    (receivers, size): (usize, usize),
    secs: f64,
) -> [f64; 5] {
    let per_sec = GOAL_PER_SEC.min(receivers * OF_A_RECEIVER_PER_SEC);
    let count = (per_sec as f64 * secs * TURNS) as usize;
    let messages = workload.batch(count).messages;
    database.empty(workload).await;
    let queue = sqs.fill(&messages);
    // The queue is in this process, which only waits.
    let used = || {
        [
            cpu_secs_with_children(database.postmaster),
            cpu_secs(std::process::id()),
        ]
    };
    let before = used();
    let arguments = [receivers, size].map(|number| number.to_string());
    let (peak_mib, drain_secs) = run(&mut drain(tool, sqs, &arguments, &database.url));
    let after = used();
    database.verify(workload, &messages).await;
    let per_million = |secs: f64| secs * 1e6 / count as f64;
    [
        count as f64 / queue.secs(),
        peak_mib,
        per_million(drain_secs),
        per_million(after[0] - before[0]),
        per_million(after[1] - before[1]),
    ]
}

fn drain(tool: &Path, sqs: &Sqs, [receivers, size]: &[String; 2], database_url: &str) -> Child {
    let log = std::fs::File::create(crate::LOG).unwrap();
    Command::new(tool)
        .args(["drain", "--wait-time-seconds", "1", "--json"])
        .args(["--queue-url", &format!("{}/backlog", sqs.endpoint)])
        .args(["--endpoint-url", &sqs.endpoint])
        .args(["--concurrency", receivers, "--batch-size", size])
        .env_clear()
        .env("DATABASE_URL", database_url)
        .env("MASK_KEY", MASK_KEY)
        .env("AWS_REGION", "eu-central-1")
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
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
    assert!(status.success(), "drain: {status}; see {}", crate::LOG);
    (peak_mib, cpu)
}

/// CPU time is in seconds per million messages.
pub(crate) fn table(backlogs: &Backlogs) -> String {
    let names = [
        "drain",
        "messages/s",
        "peak memory",
        "CPU per million",
        "of Postgres",
        "of the queue",
        "cores in use",
    ];
    let mut rows = vec![names.map(str::to_owned).to_vec()];
    for backlog in &backlogs.backlogs {
        let (per_sec, receivers) = (backlog.messages_per_sec, backlog.receivers);
        let cpu = [
            backlog.cpu_secs,
            backlog.postgres_cpu_secs,
            backlog.queue_cpu_secs,
        ];
        let per_million: f64 = cpu.iter().map(|secs| secs.median).sum();
        let mut row = vec![
            format!(
                "receivers {receivers}, batch of {}",
                grouped(backlog.batch as f64)
            ),
            thousands(per_sec),
            spread(backlog.peak_mib, 0, " MiB"),
        ];
        row.extend(cpu.map(|secs| spread(secs, 1, " s")));
        row.push(format!("{:.1}", per_million * per_sec.median / 1e6));
        rows.push(row);
    }
    report::table(&rows) + &report::disturbed(&backlogs.disturbances)
}
