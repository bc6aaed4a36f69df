//! The minimum of HTTP/1.1 that the Lambda Runtime API and the stand-ins for AWS need: without a framework, so that its
//! cost is negligible in the benchmarks.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use serde_json::Value;

/// Up to this size it is faster to copy a body behind its head than to send the two separately.
const PIECE_BYTES: usize = 1 << 18;

/// The request of a client.
pub struct Request {
    head: String,
    pub body: String,
}

impl Request {
    pub fn path(&self) -> &str {
        self.head.split(' ').nth(1).unwrap()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let headers = self.head.lines().filter_map(|line| line.split_once(": "));
        let mut values = headers.filter(|(found, _)| found.eq_ignore_ascii_case(name));
        Some(values.next()?.1)
    }

    /// Whether its headers or its body contain a text.
    pub fn shows(&self, text: &str) -> bool {
        self.head.contains(text) || self.body.contains(text)
    }

    /// The operation of AWS that it asks for.
    pub fn operation(&self) -> &str {
        let target = self.header("x-amz-target").unwrap();
        target.split_once('.').unwrap().1
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// The answer to a request.
pub struct Answer {
    status: u16,
    /// Whole lines.
    headers: String,
    body: String,
}

impl Answer {
    pub fn new(status: u16, body: impl ToString) -> Self {
        Self {
            status,
            headers: String::new(),
            body: body.to_string(),
        }
    }

    pub fn header(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        self.headers.push_str(&format!("{name}: {value}\r\n"));
        self
    }

    fn write(&self, mut to: &TcpStream) -> io::Result<()> {
        let (status, headers, length) = (self.status, &self.headers, self.body.len());
        let head = format!("HTTP/1.1 {status} \r\n{headers}content-length: {length}\r\n\r\n");
        // A small answer in one piece wakes the client once.
        if length <= PIECE_BYTES {
            return to.write_all((head + &self.body).as_bytes());
        }
        to.write_all(head.as_bytes())?;
        to.write_all(self.body.as_bytes())
    }
}

/// Answers until the end of the process, each connection on a thread of its own. A request without an answer never gets
/// one.
pub fn serve(answer: impl Fn(&Request) -> Option<Answer> + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for client in listener.incoming() {
            let (client, answer) = (client.unwrap(), Arc::clone(&answer));
            // A client that ends in the middle of a request is not a failure.
            thread::spawn(move || converse(&client, &*answer).ok());
        }
    });
    address
}

fn converse(client: &TcpStream, answer: impl Fn(&Request) -> Option<Answer>) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut reader = BufReader::new(client);
    while let Some(request) = read(&mut reader)? {
        if let Some(answer) = answer(&request) {
            answer.write(client)?;
        }
    }
    Ok(())
}

/// The next request; `None` if the client has closed.
fn read(from: &mut BufReader<&TcpStream>) -> io::Result<Option<Request>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if from.read_until(b'\n', &mut head)? == 0 {
            return Ok(None);
        }
    }
    let mut request = Request {
        head: String::from_utf8(head).unwrap(),
        body: String::new(),
    };
    let length = request.header("content-length").unwrap_or("0");
    let mut body = vec![0; length.parse().unwrap()];
    from.read_exact(&mut body)?;
    request.body = String::from_utf8(body).unwrap();
    Ok(Some(request))
}
