//! Ports of this machine that nobody listens on.

use std::net::{SocketAddr, TcpListener};
use std::ops::Range;

use tokio::net::TcpSocket;

/// Below those that the system gives to connections and to whoever asks for any port, so that no other test gets one
/// of these before the program that is told to listen on it.
/// Source: `ip_local_port_range` in <https://docs.kernel.org/networking/ip-sysctl.html>.
const NEVER_GIVEN: Range<u16> = 10_000..32_768;

/// A port for a program to listen on.
pub fn port_to_listen_on() -> u16 {
    loop {
        let port = fastrand::u16(NEVER_GIVEN);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// An address that refuses connections, and that nobody else gets meanwhile.
pub struct Closed(TcpSocket);

impl Closed {
    pub fn new() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        Self(socket)
    }

    pub fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }
}
