//! A database that is not on this machine: behind a proxy that delays what passes.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// How much longer a sleep takes than it should, which adds up over the pieces of a large batch.
const SHORTEST_SLEEP: Duration = Duration::from_micros(60);

/// How often the client sent something after the server.
#[derive(Default)]
pub(crate) struct Trips {
    pub(crate) count: AtomicUsize,
    server_spoke: AtomicBool,
}

/// The same database, so far away that a round trip takes this long, until the end of the process.
pub(crate) fn url_through(url: &str, round_trip: Duration, trips: Arc<Trips>) -> String {
    let one_way = round_trip / 2;
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
