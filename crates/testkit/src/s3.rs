//! A bucket of LocalStack's S3. Without the SDK's client, so that the tests do not build it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::aws::{endpoint_address, unique};

/// LocalStack learns from it which service is meant, and does not verify the signature.
const AUTHORIZATION: &str = "AWS4-HMAC-SHA256 Credential=test/20261102/eu-west-1/s3/aws4_request, SignedHeaders=host, Signature=0";

/// A bucket, deleted with its objects when it is dropped.
pub struct Bucket {
    pub name: String,
    paths: Vec<String>,
}

impl Bucket {
    pub fn new() -> Self {
        let name = unique("bucket");
        let region = "<CreateBucketConfiguration><LocationConstraint>eu-west-1</LocationConstraint></CreateBucketConfiguration>";
        send("PUT", &format!("/{name}"), region.as_bytes());
        Self {
            name,
            paths: Vec::new(),
        }
    }

    /// Stores an object.
    pub fn put(&mut self, key: &str, content: impl AsRef<[u8]>) {
        let path = format!("/{}/{}", self.name, encoded(key));
        send("PUT", &path, content.as_ref());
        self.paths.push(path);
    }

    /// Stores an object, and makes the message that the client for Java sends in its place.
    pub fn moved(&mut self, key: &str, content: impl AsRef<[u8]>) -> String {
        self.put(key, content);
        pointer(&self.name, key)
    }
}

impl Default for Bucket {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            for path in &self.paths {
                send("DELETE", path, &[]);
            }
            send("DELETE", &format!("/{}", self.name), &[]);
        }
    }
}

/// The message that the client for Java sends in place of one that it moved.
pub fn pointer(bucket: &str, key: &str) -> String {
    serde_json::json!([
        "software.amazon.payloadoffloading.PayloadS3Pointer",
        {"s3BucketName": bucket, "s3Key": key},
    ])
    .to_string()
}

fn encoded(key: &str) -> String {
    let encoded = key.bytes().map(|byte| match byte {
        b'/' => "/".to_owned(),
        byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    });
    encoded.collect()
}

fn send(method: &str, path: &str, body: &[u8]) {
    let address = endpoint_address();
    let mut server = TcpStream::connect(address).unwrap();
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: {AUTHORIZATION}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
    );
    server.write_all(head.as_bytes()).unwrap();
    server.write_all(body).unwrap();
    let mut answer = String::new();
    server.read_to_string(&mut answer).unwrap();
    let is_done = answer
        .split(' ')
        .nth(1)
        .is_some_and(|status| status.starts_with('2'));
    assert!(is_done, "{method} {path}: {answer}");
}
