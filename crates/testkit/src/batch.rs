//! Builds the event of a batch: `Batch::new().body("a", …).event()`.

use serde_json::{Value, json};

/// When SQS received the first message of every batch: 2026-01-31T23:59:59.500Z.
pub const SENT_AT_MILLIS: i64 = 1_769_903_999_500;

/// The records of one invocation.
#[derive(Clone)]
pub struct Batch {
    queue: &'static str,
    records: Vec<Value>,
}

/// The id of the message that a test calls `name`: a UUID, like the ids of SQS.
pub fn id(name: &str) -> String {
    let number = name
        .bytes()
        .fold(0_u64, |number, byte| number << 8 | u64::from(byte));
    format!(
        "00000000-0000-4000-{:04x}-{:012x}",
        number >> 48,
        number & 0xffff_ffff_ffff
    )
}

/// The ids of several messages.
pub fn ids(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| id(name)).collect()
}

/// A login that the shipped mapping stores.
pub fn login() -> Value {
    json!({"user_id": "u-1", "app_version": "2.3.0", "device_type": "ios", "ip": "192.0.2.1", "locale": "DE", "device_id": "d-1"})
}

/// A login with one field changed; `null` removes it.
pub fn login_with(field: &str, value: Value) -> Value {
    let mut login = login();
    login[field] = value;
    login
}

impl Batch {
    /// A batch of a standard queue.
    pub fn new() -> Self {
        Self {
            queue: "login-queue",
            records: Vec::new(),
        }
    }

    /// A batch of a FIFO queue.
    pub fn fifo() -> Self {
        Self {
            queue: "login-queue.fifo",
            records: Vec::new(),
        }
    }

    /// A message with a JSON body.
    pub fn body(self, name: &str, body: Value) -> Self {
        self.text(name, &body.to_string())
    }

    /// A message with any body.
    pub fn text(self, name: &str, body: &str) -> Self {
        self.record(json!({"messageId": id(name), "body": body}))
    }

    /// A message of a group.
    pub fn grouped(self, group: &str, name: &str, body: Value) -> Self {
        self.record(json!({"messageId": id(name), "body": body.to_string(), "attributes": {"MessageGroupId": group}}))
    }

    /// A record with these fields and the usual others.
    pub fn record(mut self, fields: Value) -> Self {
        let mut record = json!({
            "receiptHandle": "receipt-handle", "attributes": {}, "messageAttributes": {}, "eventSource": "aws:sqs",
            "eventSourceARN": format!("arn:aws:sqs:eu-west-1:123456789012:{}", self.queue), "awsRegion": "eu-west-1",
        });
        merge(&mut record, fields);
        let sent_at = SENT_AT_MILLIS.to_string();
        let mut attributes = json!({"SentTimestamp": sent_at, "ApproximateFirstReceiveTimestamp": sent_at, "ApproximateReceiveCount": "1", "SenderId": "AIDA"});
        merge(&mut attributes, record["attributes"].take());
        record["attributes"] = attributes;
        self.records.push(record);
        self
    }

    /// The message on a later delivery, as SQS counts deliveries for each message.
    pub fn delivered(mut self, times: usize) -> Self {
        for record in &mut self.records {
            record["attributes"]["ApproximateReceiveCount"] = json!(times.to_string());
        }
        self
    }

    /// The payload of the invocation.
    pub fn event(&self) -> Value {
        json!({"Records": self.records})
    }
}

fn merge(into: &mut Value, fields: Value) {
    let Value::Object(fields) = fields else {
        panic!("no object")
    };
    for (name, value) in fields {
        into[name] = value;
    }
}
