//! A TCP proxy in front of a server that breaks connections on request.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;

/// The end of a Postgres server's answer to a statement whose transaction is over: ReadyForQuery, idle.
/// Source: <https://www.postgresql.org/docs/18/protocol-message-formats.html>.
const READY: [u8; 6] = [b'Z', 0, 0, 0, 5, b'I'];

/// The answer to a COMMIT.
/// Source: as above (CommandComplete).
const COMMITTED: [u8; 12] = *b"C\0\0\0\x0bCOMMIT\0";

/// So small that a proxy that stops reading soon stops its peer from sending.
const RECEIVE_BUFFER_BYTES: u32 = 16 * 1024;

/// The faults of connections, by their number in the order of arrival.
#[derive(Debug, Clone, Copy, Default)]
struct Faults {
    opened: usize,
    refused: usize,
    refuses: bool,
    cut_below: usize,
    frozen_below: usize,
    loses_answer: bool,
    loses_commit: bool,
}

/// The proxy, which runs until the test ends.
pub struct Proxy {
    pub address: SocketAddr,
    faults: watch::Sender<Faults>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// The local ports of the connections to the server, by which it knows them.
    ports: Mutex<Vec<u16>>,
    /// What each connection's client sent.
    sent: Mutex<Vec<Vec<u8>>>,
    /// What the server sent to all of them.
    answered: Mutex<Vec<u8>>,
}

impl Proxy {
    /// A proxy that passes everything on to `server`.
    pub async fn before(server: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(128).unwrap();
        let address = listener.local_addr().unwrap();
        let faults = watch::Sender::new(Faults::default());
        let shared = Arc::new(Shared::default());
        let (state, store) = (faults.clone(), Arc::clone(&shared));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if state.borrow().refuses {
                    state.send_modify(|faults| faults.refused += 1);
                    continue;
                }
                let number = state.borrow().opened;
                state.send_modify(|faults| faults.opened += 1);
                store.sent.lock().unwrap().push(Vec::new());
                let link = Link {
                    number,
                    faults: state.clone(),
                    shared: Arc::clone(&store),
                };
                tokio::spawn(link.run(client, server));
            }
        });
        Self {
            address,
            faults,
            shared,
        }
    }

    /// How many connections were accepted so far.
    pub fn opened(&self) -> usize {
        self.faults.borrow().opened
    }

    /// How many connections were closed at once so far.
    pub fn refused(&self) -> usize {
        self.faults.borrow().refused
    }

    /// Closes all open connections.
    pub fn cut(&self) {
        self.faults
            .send_modify(|faults| faults.cut_below = faults.opened);
    }

    /// Closes new connections at once, or stops doing so.
    pub fn refuse(&self, refuses: bool) {
        self.faults.send_modify(|faults| faults.refuses = refuses);
    }

    /// Stops reading from the open connections without closing them, and serves new ones.
    pub fn freeze(&self) {
        self.faults
            .send_modify(|faults| faults.frozen_below = faults.opened);
    }

    /// Reads nothing from the next connection, and serves those after it.
    pub fn freeze_next(&self) {
        self.faults
            .send_modify(|faults| faults.frozen_below = faults.opened + 1);
    }

    /// Stops reading from all connections, including new ones.
    pub fn freeze_all(&self) {
        self.faults
            .send_modify(|faults| faults.frozen_below = usize::MAX);
    }

    /// Reads from all connections again.
    pub fn thaw_all(&self) {
        self.faults.send_modify(|faults| faults.frozen_below = 0);
    }

    /// Lets the next statement run, and cuts its connection instead of passing on the answer.
    pub fn lose_next_answer(&self) {
        self.faults.send_modify(|faults| faults.loses_answer = true);
    }

    /// Passes on all answers before that to the next COMMIT, and cuts its connection instead of that one.
    pub fn lose_next_commit(&self) {
        self.faults.send_modify(|faults| faults.loses_commit = true);
    }

    /// The condition on `pg_stat_activity` that picks the connections through this proxy.
    pub fn backends(&self) -> String {
        let ports = self.shared.ports.lock().unwrap();
        let ports: Vec<_> = ports.iter().map(u16::to_string).collect();
        format!("client_port IN ({})", ports.join(", "))
    }

    /// What the client of each connection sent.
    pub fn sent(&self) -> Vec<Vec<u8>> {
        self.shared.sent.lock().unwrap().clone()
    }

    /// What the server sent.
    pub fn answered(&self) -> Vec<u8> {
        self.shared.answered.lock().unwrap().clone()
    }
}

/// One connection.
#[derive(Clone)]
struct Link {
    number: usize,
    faults: watch::Sender<Faults>,
    shared: Arc<Shared>,
}

impl Link {
    async fn run(self, client: TcpStream, server: SocketAddr) {
        let Ok(server) = TcpStream::connect(server).await else {
            return;
        };
        let port = server.local_addr().unwrap().port();
        self.shared.ports.lock().unwrap().push(port);
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        tokio::select! {
            _ = self.pass_on(from_client, to_server, false) => {}
            _ = self.pass_on(from_server, to_client, true) => {}
            () = self.wait_for(|number, faults| number < faults.cut_below) => {}
        }
    }

    async fn wait_for(&self, condition: impl Fn(usize, &Faults) -> bool) {
        let mut faults = self.faults.subscribe();
        let changed = faults.wait_for(|faults| condition(self.number, faults));
        changed.await.unwrap();
    }

    /// Until one side closes, or the answer that was to be lost is complete.
    async fn pass_on(
        &self,
        mut from: OwnedReadHalf,
        mut to: OwnedWriteHalf,
        is_answer: bool,
    ) -> std::io::Result<()> {
        let mut buffer = [0; RECEIVE_BUFFER_BYTES as usize];
        loop {
            let count = from.read(&mut buffer).await?;
            let bytes = &buffer[..count];
            self.wait_for(|number, faults| number >= faults.frozen_below)
                .await;
            if is_answer && self.faults.borrow().loses_answer {
                if count == 0 || bytes.ends_with(&READY) {
                    self.faults
                        .send_modify(|faults| faults.loses_answer = false);
                    return Ok(());
                }
                continue;
            }
            if count == 0 {
                return Ok(());
            }
            if is_answer && self.faults.borrow().loses_commit {
                let mut windows = bytes.windows(COMMITTED.len());
                if let Some(end) = windows.position(|window| window == COMMITTED) {
                    self.faults
                        .send_modify(|faults| faults.loses_commit = false);
                    return to.write_all(&bytes[..end]).await;
                }
            }
            if is_answer {
                let mut answered = self.shared.answered.lock().unwrap();
                answered.extend_from_slice(bytes);
            } else {
                self.shared.sent.lock().unwrap()[self.number].extend_from_slice(bytes);
            }
            to.write_all(bytes).await?;
        }
    }
}
