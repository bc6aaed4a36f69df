//! The minimum of HTTP/1.1 that the Lambda Runtime API and Secrets Manager need, so that its cost is negligible.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;

/// Up to this size it is faster to copy a body behind its head than to send the two separately.
const PIECE_BYTES: usize = 1 << 18;

/// The request of a client.
pub(crate) struct Request {
    pub(crate) path: String,
    pub(crate) body: String,
}

/// A connection that a client has opened and keeps open.
pub(crate) struct Connection(BufReader<TcpStream>);

impl Connection {
    pub(crate) fn new(stream: TcpStream) -> Self {
        stream.set_nonblocking(false).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(BufReader::new(stream))
    }

    /// The next request; `None` if the client has closed.
    pub(crate) fn read(&mut self) -> Option<Request> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if self.0.read_until(b'\n', &mut head).ok()? == 0 {
                return None;
            }
        }
        let mut head = String::from_utf8(head).unwrap();
        let path = head.split(' ').nth(1)?.to_owned();
        head.make_ascii_lowercase();
        let length = head
            .split_once("content-length: ")
            .map_or(0, |(_, rest)| rest.lines().next().unwrap().parse().unwrap());
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).ok()?;
        let body = String::from_utf8(body).unwrap();
        Some(Request { path, body })
    }

    /// `headers` are whole lines.
    pub(crate) fn answer(&mut self, status: &str, headers: &str, body: &str) {
        let mut first = format!(
            "HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n",
            body.len()
        );
        // A small answer in one piece wakes the client once.
        let (with_head, rest) = body.split_at(if body.len() > PIECE_BYTES {
            0
        } else {
            body.len()
        });
        first.push_str(with_head);
        let stream = self.0.get_mut();
        stream.write_all(first.as_bytes()).unwrap();
        stream.write_all(rest.as_bytes()).unwrap();
    }
}
