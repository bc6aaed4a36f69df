//! The minimum of HTTP/1.1 that the Lambda Runtime API and the doubles of AWS need, so that its cost is negligible.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Up to this size it is faster to copy a body behind its head than to send the two separately.
const PIECE_BYTES: usize = 1 << 18;

/// The request of a client.
pub(crate) struct Request {
    pub(crate) path: String,
    /// Which operation of AWS it asks for, in lower case.
    pub(crate) operation: String,
    pub(crate) body: String,
}

/// A stand-in for a service of AWS, until the end of the process: where it is. Each answer takes this long at least.
pub(crate) fn serve(
    answer_time: Duration,
    answer: impl Fn(&Request) -> String + Send + Sync + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for client in listener.incoming() {
            let mut connection = Connection::new(client.unwrap());
            let answer = Arc::clone(&answer);
            thread::spawn(move || {
                while let Some(request) = connection.read() {
                    let due = Instant::now() + answer_time;
                    let body = answer(&request);
                    thread::sleep(due.saturating_duration_since(Instant::now()));
                    connection.answer(
                        "200 OK",
                        "content-type: application/x-amz-json-1.0\r\n",
                        &body,
                    );
                }
            });
        }
    });
    endpoint
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
        let value = |name: &str| Some(head.split_once(name)?.1.lines().next().unwrap());
        let length = value("content-length: ").map_or(0, |length| length.parse().unwrap());
        let target = value("x-amz-target: ").and_then(|target| target.split_once('.'));
        let operation = target.map_or("", |(_, operation)| operation).to_owned();
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).ok()?;
        let body = String::from_utf8(body).unwrap();
        Some(Request {
            path,
            operation,
            body,
        })
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
