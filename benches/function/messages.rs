//! Messages, each with its expected rows in Postgres's binary format.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use mapping::Pipeline;
use serde_json::{Value, json};
use sha2::Sha256;
use uuid::Uuid;

use crate::order;
use crate::rows::Row;
use crate::wide;
use testkit::MASK_KEY;

/// 2000-01-01, where Postgres's calendar starts, in days since 1970.
const POSTGRES_EPOCH_DAYS: i32 = 10_957;
const SECS_OF_DAY: u64 = 86_400;

/// The shipped mapping.
const SHIPPED: &str = include_str!("../../pipeline.toml");

/// How many logins a packed message has.
const PACKED: usize = 10;

/// A message, and its rows table by table.
pub(crate) struct Message {
    pub(crate) id: Uuid,
    pub(crate) rows: Vec<Vec<Row>>,
    pub(crate) body: String,
    pub(crate) sent_at_millis: u128,
}

/// The messages of one invocation.
pub(crate) struct Batch {
    pub(crate) messages: Vec<Message>,
    pub(crate) event: String,
}

impl Batch {
    pub(crate) fn new(messages: Vec<Message>) -> Self {
        let records: Vec<String> = messages.iter().map(Message::record).collect();
        Self {
            event: format!(r#"{{"Records":[{}]}}"#, records.join(",")),
            messages,
        }
    }

    /// The rows of all messages in the table at this position.
    pub(crate) fn rows(&self, table: usize) -> impl Iterator<Item = &Row> + Clone {
        let messages = self.messages.iter();
        messages.flat_map(move |message| &message.rows[table])
    }
}

impl Message {
    /// As SQS delivers it the first time. Its receipt handle begins with its place.
    pub(crate) fn received(&self, place: usize) -> Value {
        let sent_at = self.sent_at_millis.to_string();
        json!({"MessageId": self.id.to_string(), "ReceiptHandle": format!("{place}-{}", receipt()), "Body": self.body,
            "MD5OfBody": "e4e68fb7bd0e697a0ae8f1bb342846b3",
            "Attributes": {"SenderId": "AIDAIENQZJOLO23YVJ4VO", "SentTimestamp": sent_at,
                "ApproximateReceiveCount": "1", "ApproximateFirstReceiveTimestamp": sent_at}})
    }

    /// As Lambda delivers it.
    fn record(&self) -> String {
        let (id, sent_at) = (self.id, self.sent_at_millis);
        let receipt = receipt();
        let body = serde_json::to_string(&self.body).unwrap();
        format!(
            r#"{{"messageId":"{id}","receiptHandle":"{receipt}","body":{body},"attributes":{{"ApproximateReceiveCount":"1","SentTimestamp":"{sent_at}","SenderId":"AIDAIENQZJOLO23YVJ4VO","ApproximateFirstReceiveTimestamp":"{sent_at}"}},"messageAttributes":{{}},"md5OfBody":"e4e68fb7bd0e697a0ae8f1bb342846b3","eventSource":"aws:sqs","eventSourceARN":"arn:aws:sqs:eu-central-1:123456789012:login-queue","awsRegion":"eu-central-1"}}"#
        )
    }
}

/// As long as those of SQS.
fn receipt() -> String {
    "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a".repeat(6)
}

/// A mapping and its messages.
pub(crate) struct Workload {
    pub(crate) pipeline: Pipeline,
    /// `None` for the shipped mapping.
    pub(crate) mapping: Option<String>,
    bodies: Bodies,
    mac: Hmac<Sha256>,
}

enum Bodies {
    Logins,
    /// Several in a message, as an array.
    PackedLogins,
    Orders,
    Wide,
}

impl Workload {
    /// The shipped mapping.
    pub(crate) fn logins() -> Self {
        let pipeline = Pipeline::parse("bench", SHIPPED).unwrap();
        Self::new(pipeline, None, Bodies::Logins)
    }

    /// The shipped mapping, for messages of ten logins each.
    pub(crate) fn packed_logins() -> Self {
        let table =
            "name = \"packed_logins\"\neach = \"@body\"\nkey = [\"message_id\", \"place\"]\n";
        let place = "[[column]]\nname = \"place\"\ntype = \"integer\"\nfrom = \"@index\"\n";
        let (_, columns) = SHIPPED.split_once("[[column]]").unwrap();
        let columns =
            format!("[[column]]{columns}{place}").replace("[[column]]", "[[table.column]]");
        let mapping = format!("[[table]]\n{table}{columns}");
        let pipeline = Pipeline::parse("bench", &mapping).unwrap();
        Self::new(pipeline, Some(mapping), Bodies::PackedLogins)
    }

    /// Orders with lines, in a table each.
    pub(crate) fn orders(on_conflict: &str) -> Self {
        let mapping = order::mapping(on_conflict);
        let pipeline = Pipeline::parse("bench", &mapping).unwrap();
        Self::new(pipeline, Some(mapping), Bodies::Orders)
    }

    /// Rows of many columns.
    pub(crate) fn wide() -> Self {
        let mapping = wide::mapping();
        let pipeline = Pipeline::parse("bench", &mapping).unwrap();
        Self::new(pipeline, Some(mapping), Bodies::Wide)
    }

    fn new(pipeline: Pipeline, mapping: Option<String>, bodies: Bodies) -> Self {
        let key = STANDARD.decode(MASK_KEY).unwrap();
        Self {
            pipeline,
            mapping,
            bodies,
            mac: Hmac::new_from_slice(&key).unwrap(),
        }
    }

    pub(crate) fn batches(&self, count: usize, size: usize) -> Vec<Batch> {
        (0..count).map(|_| self.batch(size)).collect()
    }

    pub(crate) fn batch(&self, size: usize) -> Batch {
        Batch::new((0..size).map(|_| self.message()).collect())
    }

    fn message(&self) -> Message {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let id = Uuid::from_u128(fastrand::u128(..));
        let day = (now.as_secs() / SECS_OF_DAY) as i32 - POSTGRES_EPOCH_DAYS;
        let (body, rows) = match self.bodies {
            Bodies::Logins => {
                let (body, row) = self.login(id, day);
                (body, vec![vec![row]])
            }
            Bodies::PackedLogins => {
                let (bodies, mut rows): (Vec<_>, Vec<_>) =
                    (0..PACKED).map(|_| self.login(id, day)).unzip();
                let places = rows.iter_mut().zip(0_i32..);
                places.for_each(|(row, place)| row.push(place.to_be_bytes().to_vec()));
                (format!("[{}]", bodies.join(",")), vec![rows])
            }
            Bodies::Orders => order::order(),
            Bodies::Wide => wide::message(id),
        };
        Message {
            id,
            rows,
            body,
            sent_at_millis: now.as_millis(),
        }
    }

    fn login(&self, id: Uuid, day: i32) -> (String, Row) {
        let [a, b, c] = [(); 3].map(|()| fastrand::u8(..));
        let user = Uuid::from_u128(fastrand::u128(..)).to_string();
        let ip = format!("198.{a}.{b}.{c}");
        let device = format!("{a:03}-{:02}-{:04}", b % 100, fastrand::u16(..9999));
        let body = format!(
            r#"{{"user_id":"{user}","app_version":"2.3.0","device_type":"android","ip":"{ip}","locale":"RU","device_id":"{device}"}}"#
        );
        let row = vec![
            id.as_bytes().to_vec(),
            user.into_bytes(),
            b"android".to_vec(),
            self.token(&ip),
            self.token(&device),
            b"RU".to_vec(),
            2_i32.to_be_bytes().to_vec(),
            day.to_be_bytes().to_vec(),
        ];
        (body, row)
    }

    fn token(&self, value: &str) -> Vec<u8> {
        let mut mac = self.mac.clone();
        mac.update(value.as_bytes());
        base16ct::lower::encode_string(&mac.finalize().into_bytes()).into_bytes()
    }
}
