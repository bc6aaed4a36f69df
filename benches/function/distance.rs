//! A database that is not on this machine: throughput, and the round trips of a warm batch.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use crate::Effort;
use crate::database::Database;
use crate::load::Watch;
use crate::messages::Workload;
use crate::process::{Function, Launch};
use crate::race::{Contender, OURS, race};
use crate::results::{Distance, RoundTrips, Spread};

pub(crate) const BATCH_SIZES: [usize; 3] = [10, 100, 1_000];
const ONE_WAY: Duration = Duration::from_micros(500);
const SAMPLES: usize = 15;

/// The round trip to a database as it is in the same region.
pub(crate) const FAR: Duration = Duration::from_micros(500);

/// The round trips of the distances.
const DISTANCES: [Duration; 2] = [FAR, Duration::from_millis(1)];

/// How much longer a sleep takes than it should, which adds up over the pieces of a large batch.
const SHORTEST_SLEEP: Duration = Duration::from_micros(60);

/// All contenders with the database farther away, the statement that tolerates duplicates first: it is the measure of
/// the others.
pub(crate) async fn distances(
    database: &Database,
    workload: &Workload,
    ours: &Launch,
    python: Option<&Path>,
    effort: Effort,
) -> Vec<Distance> {
    let mut races = Vec::new();
    for &distance in effort.some_of(&DISTANCES) {
        let url = url_through(&database.url, distance / 2, Arc::default());
        let contenders = all(&url, ours, python, &[workload]);
        for &size in effort.some_of(&BATCH_SIZES) {
            races.push(Distance {
                millis: distance.as_secs_f64() * 1e3,
                race: race(database, &contenders, size, effort).await,
            });
        }
    }
    races
}

/// The statement that tolerates duplicates, `COPY`, ours and the peers, by this URL.
pub(crate) fn all<'a>(
    url: &str,
    ours: &Launch,
    python: Option<&Path>,
    tables: &[&'a Workload],
) -> Vec<Contender<'a>> {
    let mut contenders = Vec::from(Contender::limits(url, tables));
    contenders.reverse();
    let ours = ours.clone().set("DATABASE_URL", url);
    contenders.push(Contender::function(OURS, ours, tables));
    if let Some(python) = python {
        contenders.extend(Contender::peers(python, url, tables));
    }
    contenders
}

/// Each batch size through a proxy that delays what passes and counts how often the function sends
/// something after it was answered.
pub(crate) async fn round_trips(
    database: &Database,
    workload: &Workload,
    ours: &Launch,
    effort: Effort,
) -> Vec<RoundTrips> {
    let trips = Arc::new(Trips::default());
    let far = url_through(&database.url, ONE_WAY, Arc::clone(&trips));
    let mut function = Function::start(&ours.clone().set("DATABASE_URL", &far));
    database.empty(workload).await;
    let mut sent = Vec::new();
    let mut results = Vec::new();
    for size in BATCH_SIZES {
        // The first batch of a size warms the function up for the others.
        let warm = workload.batches(1, size);
        warm.iter().for_each(|batch| _ = function.handle(batch));
        sent.extend(warm);
        let (mut counts, mut disturbances) = (Vec::new(), Vec::new());
        for _ in 0..effort.rounds {
            let watch = Watch::start(database.postmaster);
            let batches = workload.batches(SAMPLES, size);
            let before = trips.count.load(SeqCst);
            batches.iter().for_each(|batch| _ = function.handle(batch));
            counts.push((trips.count.load(SeqCst) - before) as f64 / SAMPLES as f64);
            disturbances.push(watch.finish());
            sent.extend(batches);
        }
        results.push(RoundTrips {
            batch: size,
            count: Spread::of(counts),
            disturbances,
        });
    }
    let messages = sent.iter().flat_map(|batch| &batch.messages);
    database.verify(workload, messages).await;
    results
}

/// How often the client sent something after the server.
#[derive(Default)]
pub(crate) struct Trips {
    count: AtomicUsize,
    server_spoke: AtomicBool,
}

/// The same database behind a proxy that serves until the end of the process.
pub(crate) fn url_through(url: &str, one_way: Duration, trips: Arc<Trips>) -> String {
    let (user, place) = url.split_once('@').unwrap();
    let (address, name) = place.split_once('/').unwrap();
    let server: SocketAddr = address.parse().expect("an address in DATABASE_URL");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming() {
            let (client, server) = (client.unwrap(), TcpStream::connect(server).unwrap());
            let of_client = Arc::clone(&trips);
            pass_on(&client, &server, one_way, move || {
                of_client.count.fetch_add(
                    usize::from(of_client.server_spoke.swap(false, SeqCst)),
                    SeqCst,
                );
            });
            let of_server = Arc::clone(&trips);
            pass_on(&server, &client, one_way, move || {
                of_server.server_spoke.store(true, SeqCst)
            });
        }
    });
    format!("{user}@{proxy}/{name}")
}

/// Passes bytes on after a delay, until either side closes. Delayed bytes do not hold up those behind them.
fn pass_on(from: &TcpStream, to: &TcpStream, one_way: Duration, noted: impl Fn() + Send + 'static) {
    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
    to.set_nodelay(true).unwrap();
    let (sender, under_way) = mpsc::channel::<(Instant, Vec<u8>)>();
    thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            noted();
            let due = Instant::now() + one_way;
            if sender.send((due, buffer[..count].to_vec())).is_err() {
                break;
            }
        }
    });
    thread::spawn(move || {
        for (due, bytes) in under_way {
            let early = due.saturating_duration_since(Instant::now());
            if early > SHORTEST_SLEEP {
                thread::sleep(early);
            }
            if to.write_all(&bytes).is_err() {
                break;
            }
        }
        // Fails if the peer was faster, which is fine.
        to.shutdown(std::net::Shutdown::Both).ok();
    });
}
