//! Messages, each with its expected rows in Postgres's binary format.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use mapping::{Pipeline, TableMapping};
use serde_json::{Value, json};
use sha2::Sha256;
use uuid::Uuid;

use crate::orders;

pub(crate) const MASK_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// The CHECK of the table refuses it.
pub(crate) const REFUSED_DEVICE: &str = "toaster";

/// 2000-01-01, where Postgres's calendar starts, in days since 1970.
const POSTGRES_EPOCH_DAYS: i32 = 10_957;
/// 2024-01-01 in Postgres's calendar.
const FIRST_OF_2024_DAYS: i32 = 8_766;
const SECS_OF_DAY: u64 = 86_400;

/// All the types of a mapping, in the order in which a wide one uses them.
const TYPES: [&str; 14] = [
    "text",
    "varchar(64)",
    "boolean",
    "smallint",
    "integer",
    "bigint",
    "real",
    "double precision",
    "numeric",
    "date",
    "timestamptz",
    "uuid",
    "inet",
    "jsonb",
];

/// The flaw of a message.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    Nothing,
    /// A required field is missing.
    Invalid,
    /// The table's CHECK refuses its row.
    Refused,
}

/// One cell for each column, in Postgres's binary form.
pub(crate) type Row = Vec<Vec<u8>>;

/// A message, and its rows table by table.
#[derive(Clone)]
pub(crate) struct Message {
    pub(crate) id: Uuid,
    pub(crate) rows: Vec<Vec<Row>>,
    pub(crate) is_stored: bool,
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

    /// Whether the response names the messages that must fail, and no other.
    pub(crate) fn is_answered_by(&self, response: &str) -> bool {
        let response: Value = serde_json::from_str(response).unwrap();
        let Some(failures) = response["batchItemFailures"].as_array() else {
            return false;
        };
        let named = failures
            .iter()
            .filter_map(|failure| failure["itemIdentifier"].as_str());
        let mut named: Vec<String> = named.map(str::to_owned).collect();
        let failing = self.messages.iter().filter(|message| !message.is_stored);
        let mut failing: Vec<String> = failing.map(|message| message.id.to_string()).collect();
        named.sort();
        failing.sort();
        named == failing
    }
}

impl Message {
    /// As Lambda delivers it.
    fn record(&self) -> String {
        let (id, sent_at) = (self.id, self.sent_at_millis);
        let receipt = "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a".repeat(6);
        let body = serde_json::to_string(&self.body).unwrap();
        format!(
            r#"{{"messageId":"{id}","receiptHandle":"{receipt}","body":{body},"attributes":{{"ApproximateReceiveCount":"1","SentTimestamp":"{sent_at}","SenderId":"AIDAIENQZJOLO23YVJ4VO","ApproximateFirstReceiveTimestamp":"{sent_at}"}},"messageAttributes":{{}},"md5OfBody":"e4e68fb7bd0e697a0ae8f1bb342846b3","eventSource":"aws:sqs","eventSourceARN":"arn:aws:sqs:eu-central-1:123456789012:login-queue","awsRegion":"eu-central-1"}}"#
        )
    }
}

/// A mapping and its messages.
pub(crate) struct Workload {
    pub(crate) pipeline: Pipeline,
    /// `None` for the shipped mapping.
    pub(crate) mapping_file: Option<PathBuf>,
    /// Which rows of its table are from messages; `None` for all.
    pub(crate) condition: Option<String>,
    bodies: Bodies,
    mac: Hmac<Sha256>,
}

enum Bodies {
    Logins,
    Wide,
    Orders,
}

impl Workload {
    /// The only table, or the first one.
    pub(crate) fn table(&self) -> &TableMapping {
        &self.pipeline.tables[0]
    }

    /// The shipped mapping.
    pub(crate) fn logins() -> Self {
        Self::new(include_str!("../../pipeline.toml"), None, Bodies::Logins)
    }

    /// The same in another table, with this key.
    pub(crate) fn logins_in(table: &str, key: &str) -> Self {
        let shipped = include_str!("../../pipeline.toml");
        let mapping = shipped
            .replace("table = \"user_logins\"", &format!("table = \"{table}\""))
            .replace("key = [\"message_id\"]", &format!("key = [{key}]"));
        assert!(mapping.contains(table) && mapping.contains(key));
        Self::of_file(table, &mapping, Bodies::Logins)
    }

    /// Orders with lines, in a table each.
    pub(crate) fn orders(on_conflict: &str) -> Self {
        let mapping = orders::mapping(on_conflict);
        Self::of_file(&format!("orders_{on_conflict}"), &mapping, Bodies::Orders)
    }

    /// A key and columns of all types in turn, the first two of them masked as in the shipped mapping.
    pub(crate) fn wide(columns: usize) -> Self {
        let table = format!("wide_{columns}");
        let mut mapping = format!(
            "table = \"{table}\"\nkey = [\"message_id\"]\n\n\
             [[column]]\nname = \"message_id\"\ntype = \"uuid\"\nfrom = \"@message_id\"\n"
        );
        for (number, column_type) in (1..columns).zip(TYPES.iter().cycle()) {
            let mask = if number <= 2 {
                "mask = \"hmac-sha256\"\n"
            } else {
                ""
            };
            mapping +=
                &format!("\n[[column]]\nname = \"c{number}\"\ntype = \"{column_type}\"\n{mask}");
        }
        Self::of_file(&table, &mapping, Bodies::Wide)
    }

    fn of_file(name: &str, mapping: &str, bodies: Bodies) -> Self {
        let file = PathBuf::from(crate::FOLDER).join(format!("{name}.toml"));
        std::fs::write(&file, mapping).unwrap();
        Self::new(mapping, Some(file), bodies)
    }

    fn new(mapping: &str, mapping_file: Option<PathBuf>, bodies: Bodies) -> Self {
        let key = STANDARD.decode(MASK_KEY).unwrap();
        Self {
            pipeline: Pipeline::parse("bench", mapping).unwrap(),
            mapping_file,
            condition: None,
            bodies,
            mac: Hmac::new_from_slice(&key).unwrap(),
        }
    }

    pub(crate) fn batches(&self, count: usize, size: usize) -> Vec<Batch> {
        (0..count).map(|_| self.batch(size)).collect()
    }

    pub(crate) fn batch(&self, size: usize) -> Batch {
        Batch::new((0..size).map(|_| self.message(Flaw::Nothing)).collect())
    }

    pub(crate) fn message(&self, flaw: Flaw) -> Message {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let id = Uuid::from_u128(fastrand::u128(..));
        let of_one_table = |(body, row)| (body, vec![vec![row]]);
        let (body, rows) = match self.bodies {
            Bodies::Logins => {
                let day = (now.as_secs() / SECS_OF_DAY) as i32 - POSTGRES_EPOCH_DAYS;
                of_one_table(self.login(id, day, flaw))
            }
            Bodies::Wide => of_one_table(self.wide_message(id)),
            Bodies::Orders => orders::order(),
        };
        Message {
            id,
            rows,
            is_stored: flaw == Flaw::Nothing,
            body,
            sent_at_millis: now.as_millis(),
        }
    }

    fn login(&self, id: Uuid, day: i32, flaw: Flaw) -> (String, Row) {
        let [a, b, c] = [(); 3].map(|()| fastrand::u8(..));
        let user = Uuid::from_u128(fastrand::u128(..)).to_string();
        let ip = format!("198.{a}.{b}.{c}");
        let device = format!("{a:03}-{:02}-{:04}", b % 100, fastrand::u16(..9999));
        let kind = match flaw {
            Flaw::Refused => REFUSED_DEVICE,
            _ => "android",
        };
        let mut body = format!(
            r#"{{"user_id":"{user}","app_version":"2.3.0","device_type":"{kind}","ip":"{ip}","locale":"RU","device_id":"{device}"}}"#
        );
        if flaw == Flaw::Invalid {
            body = body.replace("\"ip\":", "\"no_ip\":");
        }
        let row = vec![
            id.as_bytes().to_vec(),
            user.into_bytes(),
            kind.into(),
            self.token(&ip),
            self.token(&device),
            b"RU".to_vec(),
            2_i32.to_be_bytes().to_vec(),
            day.to_be_bytes().to_vec(),
        ];
        (body, row)
    }

    fn wide_message(&self, id: Uuid) -> (String, Row) {
        let mut fields = Vec::with_capacity(self.table().columns.len());
        let mut row = vec![id.as_bytes().to_vec()];
        for (column, kind) in self.table().columns[1..].iter().zip((0..14).cycle()) {
            let (json, mut cell) = value(kind);
            if column.mask.is_some() {
                cell = self.token(std::str::from_utf8(&cell).unwrap());
            }
            fields.push(format!("\"{}\":{json}", column.name));
            row.push(cell);
        }
        (format!("{{{}}}", fields.join(",")), row)
    }

    fn token(&self, value: &str) -> Vec<u8> {
        let mut mac = self.mac.clone();
        mac.update(value.as_bytes());
        base16ct::lower::encode_string(&mac.finalize().into_bytes()).into_bytes()
    }
}

/// A value of the type at this place of [`TYPES`], as JSON and in Postgres's binary form.
/// Source: the `…_send` functions in <https://github.com/postgres/postgres/tree/REL_18_STABLE/src/backend/utils/adt>.
fn value(kind: usize) -> (String, Vec<u8>) {
    let number = fastrand::i16(1..10_000);
    let (day, micros) = (fastrand::u8(1..29), fastrand::i64(0..1_000_000));
    let days = FIRST_OF_2024_DAYS + i32::from(day) - 1;
    match TYPES[kind] {
        "text" | "varchar(64)" => {
            let text = format!("a value like {number}");
            (format!("\"{text}\""), text.into_bytes())
        }
        "boolean" => ((day % 2 == 0).to_string(), vec![u8::from(day % 2 == 0)]),
        "smallint" => (number.to_string(), number.to_be_bytes().to_vec()),
        "integer" => {
            let number = i32::from(number) * 1_000;
            (number.to_string(), number.to_be_bytes().to_vec())
        }
        "bigint" => (micros.to_string(), micros.to_be_bytes().to_vec()),
        "real" => {
            let number = f32::from(number) + 0.5;
            (number.to_string(), number.to_be_bytes().to_vec())
        }
        "double precision" => {
            let number = f64::from(number) + 0.25;
            (number.to_string(), number.to_be_bytes().to_vec())
        }
        "numeric" => {
            // Digits to the base of 10,000: how many, the weight of the first, the sign, decimals shown.
            let tenths = i16::from(day) % 9 + 1;
            let parts = [2, 0, 0, 1, number, tenths * 1_000];
            let bytes = parts.iter().flat_map(|part: &i16| part.to_be_bytes());
            (format!("{number}.{tenths}"), bytes.collect())
        }
        "date" => (format!("\"2024-01-{day:02}\""), days.to_be_bytes().to_vec()),
        "timestamptz" => {
            let instant = (i64::from(days) * SECS_OF_DAY as i64 + 45_296) * 1_000_000 + micros;
            let text = format!("\"2024-01-{day:02}T12:34:56.{micros:06}Z\"");
            (text, instant.to_be_bytes().to_vec())
        }
        "uuid" => {
            let id = Uuid::from_u128(fastrand::u128(..));
            (format!("\"{id}\""), id.as_bytes().to_vec())
        }
        "inet" => {
            // The family, the bits of the netmask, whether it is a cidr, the length, the address.
            let bytes = vec![2, 32, 0, 4, 198, 51, 100, day];
            (format!("\"198.51.100.{day}\""), bytes)
        }
        _ => {
            let text = json!({ "n": number }).to_string().replace(':', ": ");
            let bytes = [&[1], text.as_bytes()].concat();
            (text, bytes)
        }
    }
}
