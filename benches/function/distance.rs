//! Round trips: what a warm batch takes longer when the database is a millisecond away.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::Effort;
use crate::database::Database;
use crate::messages::{Batch, Workload};
use crate::process::{Function, Launch};
use crate::results::{RoundTrips, Spread};

const BATCH_SIZES: [usize; 3] = [10, 100, 1_000];
const ONE_WAY: Duration = Duration::from_micros(500);
const SAMPLES: usize = 15;

/// A sleep takes so much longer than it should, which adds up over the pieces of a large batch.
const SHORTEST_SLEEP: Duration = Duration::from_micros(60);

/// Each batch size through a proxy that delays what passes, and through one that does not. Postgres
/// waits for no disk meanwhile, which would take longer than what is measured.
pub(crate) async fn round_trips(
    database: &Database,
    workload: &Workload,
    ours: &Launch,
    effort: Effort,
) -> Vec<RoundTrips> {
    let near = url_through(&database.url, Duration::ZERO);
    let far = url_through(&database.url, ONE_WAY);
    database.wait_for_disk(false).await;
    let mut functions =
        [&near, &far].map(|url| Function::start(&ours.clone().set("DATABASE_URL", url)));
    database.empty(workload).await;
    let mut sent = Vec::new();
    let mut results = Vec::new();
    for size in BATCH_SIZES {
        let mut counts = Vec::new();
        for _ in 0..effort.rounds {
            let batches = workload.batches(2 * SAMPLES, size);
            let [near_secs, far_secs] = time_in_turn(&mut functions, &batches);
            counts.push((far_secs - near_secs) / (2.0 * ONE_WAY.as_secs_f64()));
            sent.extend(batches);
        }
        results.push(RoundTrips {
            batch: size,
            count: Spread::of(counts),
        });
    }
    database.wait_for_disk(true).await;
    let messages = sent.iter().flat_map(|batch| &batch.messages);
    database.verify(workload, messages).await;
    results
}

fn time_in_turn(functions: &mut [Function; 2], batches: &[Batch]) -> [f64; 2] {
    let mut secs = [const { Vec::new() }; 2];
    for pair in batches.chunks(2) {
        for (place, batch) in pair.iter().enumerate() {
            secs[place].push(functions[place].time(batch).as_secs_f64());
        }
    }
    secs.map(|secs| Spread::of(secs).median)
}

/// The same database behind a proxy that serves until the end of the process.
fn url_through(url: &str, one_way: Duration) -> String {
    let (user, place) = url.split_once('@').unwrap();
    let (address, name) = place.split_once('/').unwrap();
    let server: SocketAddr = address.parse().expect("an address in DATABASE_URL");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming() {
            let (client, server) = (client.unwrap(), TcpStream::connect(server).unwrap());
            pass_on(&client, &server, one_way);
            pass_on(&server, &client, one_way);
        }
    });
    format!("{user}@{proxy}/{name}")
}

/// Passes on what comes, so much later, until either side closes. What is under way does not hold up
/// what follows.
fn pass_on(from: &TcpStream, to: &TcpStream, one_way: Duration) {
    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
    to.set_nodelay(true).unwrap();
    let (sender, under_way) = mpsc::channel::<(Instant, Vec<u8>)>();
    thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
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
        // Fails where the peer was quicker, which is as good.
        to.shutdown(std::net::Shutdown::Both).ok();
    });
}
