//! A queue in this process, for what SQS does not do on demand: to be faster than the drain, to fail to process some
//! entries, to refuse, not to answer, and to deliver messages in flight again. It speaks the part of SQS's JSON protocol
//! that the tool and the function use.
//! Source: <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_Operations.html>.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::{Value, json};

use crate::batch::id;

#[derive(Default)]
struct Messages {
    waiting: VecDeque<Value>,
    held: HashMap<String, Value>,
    /// How many further deletes of a message fail, by the fault of SQS.
    failing_deletes: usize,
    /// Whether every request to delete is refused.
    refuses_deletes: bool,
    /// Requests to delete are not answered yet.
    delays_deletes: bool,
    /// Received messages are delivered again at once.
    holds_none: bool,
    /// Delivered in every other receive, even after it was deleted.
    poison: Option<Value>,
    /// How long it takes to receive it.
    poison_delay: Duration,
    receives: usize,
    /// After this many receives further ones are refused.
    receives_until_refused: Option<usize>,
    /// After this many requests for the queue's attributes further ones fail, by the fault of SQS.
    attributes_until_down: Option<usize>,
    /// Receive requests are not answered.
    is_mute: bool,
    /// The number of receive requests, answered or not.
    asked: usize,
    /// Messages that are in flight elsewhere.
    hidden: usize,
    /// Comes when the first receive is answered.
    late: Option<Value>,
    /// Half of the first request to send arrives; after that all are refused.
    has_taken_half: bool,
    /// Instead: everything arrives but these bodies, which fail this many times by the fault of SQS.
    unlucky: HashMap<String, usize>,
    /// The answer to a request to send does not mention these bodies.
    unmentioned: Vec<String>,
    /// The bodies that arrived, in their order.
    arrived: Vec<String>,
    /// The id of the key that signed each request.
    signed_by: Vec<String>,
    /// Receipt handles with the visibility timeouts in seconds that they were given, in their order.
    backed_off: Vec<(String, u64)>,
}

/// Source: <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html>.
const LONGEST_WAIT_SECS: u64 = 20;

/// The group of all messages.
const GROUP: &str = "anna";

/// A queue with messages in it.
#[derive(Clone)]
pub struct SqsDouble {
    messages: Arc<Mutex<Messages>>,
    pub endpoint: String,
}

impl SqsDouble {
    /// This many messages with this body.
    pub async fn with(count: usize, body: &Value) -> Self {
        Self::of(vec![body.to_string(); count]).await
    }

    /// A message of each body, all of one group.
    pub async fn of(bodies: Vec<String>) -> Self {
        let message = |(number, body): (usize, String)| {
            let name = format!("{number:06}");
            json!({
                "MessageId": id(&name), "ReceiptHandle": name, "Body": body, "MD5OfBody": "",
                "Attributes": {"SentTimestamp": "1769903999500", "ApproximateReceiveCount": "1", "MessageGroupId": GROUP},
            })
        };
        let messages = Messages {
            waiting: bodies.into_iter().enumerate().map(message).collect(),
            ..Messages::default()
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let double = Self {
            messages: Arc::new(Mutex::new(messages)),
            endpoint: format!("http://{}", listener.local_addr().unwrap()),
        };
        let routes = Router::new()
            .route("/", post(answer))
            .with_state(double.clone());
        // On a thread of its own, as a service would be.
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            let listener = listener.into_std().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                axum::serve(listener, routes).await.unwrap();
            });
        });
        double
    }

    /// The next `count` deletes of a message fail.
    pub fn fail_deletes(&self, count: usize) {
        self.messages.lock().unwrap().failing_deletes = count;
    }

    /// From now on requests to delete are refused.
    pub fn refuse_deletes(&self) {
        self.messages.lock().unwrap().refuses_deletes = true;
    }

    /// Whether requests to delete wait for their answer.
    pub fn delay_deletes(&self, delays: bool) {
        self.messages.lock().unwrap().delays_deletes = delays;
    }

    /// Every other receive delivers this message alone.
    pub fn poison(&self, body: &str) {
        let poison = json!({
            "MessageId": id("poison"), "ReceiptHandle": "poison", "Body": body, "MD5OfBody": "",
            "Attributes": {"SentTimestamp": "1769903999500", "ApproximateReceiveCount": "1"},
        });
        self.messages.lock().unwrap().poison = Some(poison);
    }

    /// How long each receive of that message takes.
    pub fn delay_poison(&self, delay: Duration) {
        self.messages.lock().unwrap().poison_delay = delay;
    }

    /// After this many receives further ones are refused.
    pub fn refuse_receives_after(&self, count: usize) {
        self.messages.lock().unwrap().receives_until_refused = Some(count);
    }

    /// After this many requests for the queue's attributes further ones fail, by the fault of SQS.
    pub fn fail_attributes_after(&self, count: usize) {
        self.messages.lock().unwrap().attributes_until_down = Some(count);
    }

    /// All waiting messages are in flight elsewhere.
    pub fn hide_all(&self) {
        let mut messages = self.messages.lock().unwrap();
        let hidden: Vec<_> = messages.waiting.drain(..).collect();
        for message in hidden {
            let handle = message["ReceiptHandle"].as_str().unwrap().to_owned();
            messages.held.insert(handle, message);
        }
    }

    /// From now on receive requests are not answered.
    pub fn mute(&self) {
        self.messages.lock().unwrap().is_mute = true;
    }

    /// The number of receive requests, answered or not.
    pub fn asked(&self) -> usize {
        self.messages.lock().unwrap().asked
    }

    /// Sending this body fails this many times; all others arrive.
    pub fn fail_sends(&self, body: &str, times: usize) {
        let mut messages = self.messages.lock().unwrap();
        messages.unlucky.insert(body.to_owned(), times);
    }

    /// The answer to a request to send does not mention this body.
    pub fn never_mention(&self, body: &str) {
        let mut messages = self.messages.lock().unwrap();
        messages.unmentioned.push(body.to_owned());
    }

    /// The bodies that were sent to it, in their order.
    pub fn arrived(&self) -> Vec<String> {
        self.messages.lock().unwrap().arrived.clone()
    }

    /// The ids of the keys that signed the requests, in their order.
    pub fn signed_by(&self) -> Vec<String> {
        self.messages.lock().unwrap().signed_by.clone()
    }

    /// The visibility timeouts in seconds that messages were given, by their receipt handles, in their order.
    pub fn backed_off(&self) -> Vec<(String, u64)> {
        self.messages.lock().unwrap().backed_off.clone()
    }

    /// This many further messages are in flight elsewhere.
    pub fn hide(&self, count: usize) {
        self.messages.lock().unwrap().hidden = count;
    }

    /// A message with this body comes when the first receive is answered.
    pub fn receive_with_first(&self, body: &Value) {
        let late = json!({
            "MessageId": id("late"), "ReceiptHandle": "late", "Body": body.to_string(), "MD5OfBody": "",
            "Attributes": {"SentTimestamp": "1769903999500", "ApproximateReceiveCount": "1"},
        });
        self.messages.lock().unwrap().late = Some(late);
    }

    /// From now on received messages are delivered again at once.
    pub fn hold_none(&self) {
        self.messages.lock().unwrap().holds_none = true;
    }

    /// How many messages are waiting, and how many are in flight.
    pub fn left(&self) -> (usize, usize) {
        let messages = self.messages.lock().unwrap();
        (messages.waiting.len(), messages.held.len())
    }
}

impl SqsDouble {
    fn sign(&self, key_id: &str) {
        let mut messages = self.messages.lock().unwrap();
        messages.signed_by.push(key_id.to_owned());
    }

    /// Waits as an empty queue does, for as long as the request says.
    async fn wait(&self, request: &Value) {
        let (is_mute, is_empty, delay) = {
            let mut messages = self.messages.lock().unwrap();
            messages.asked += 1;
            let is_empty = messages.waiting.is_empty() && messages.poison.is_none();
            let delay = match messages.is_poison_next() {
                true => messages.poison_delay,
                false => Duration::ZERO,
            };
            (messages.is_mute, is_empty, delay)
        };
        tokio::time::sleep(delay).await;
        if is_mute {
            std::future::pending::<()>().await;
        }
        if is_empty {
            let secs = request["WaitTimeSeconds"].as_u64().unwrap_or_default();
            tokio::time::sleep(Duration::from_secs(secs)).await;
        }
    }
}

impl Messages {
    fn is_poison_next(&self) -> bool {
        self.poison.is_some() && (self.receives.is_multiple_of(2) || self.waiting.is_empty())
    }

    /// Accepts messages, except those that are set to fail.
    fn take_in(&mut self, entries: &[Value]) -> Value {
        let (mut successful, mut failed) = (Vec::new(), Vec::new());
        for entry in entries {
            let body = entry["MessageBody"].as_str().unwrap();
            if self
                .unmentioned
                .iter()
                .any(|unmentioned| unmentioned == body)
            {
                continue;
            }
            match self.unlucky.get_mut(body) {
                Some(times) if *times > 0 => {
                    *times -= 1;
                    failed.push(
                        json!({"Id": entry["Id"], "SenderFault": false, "Code": "InternalError"}),
                    );
                }
                _ => {
                    self.arrived.push(body.to_owned());
                    successful
                        .push(json!({"Id": entry["Id"], "MessageId": "m", "MD5OfMessageBody": ""}));
                }
            }
        }
        json!({"Successful": successful, "Failed": failed})
    }
}

fn refused(status: StatusCode, code: &str) -> (StatusCode, String) {
    let refused = json!({"__type": format!("com.amazonaws.sqs#{code}")});
    (status, refused.to_string())
}

async fn answer(
    State(double): State<SqsDouble>,
    headers: HeaderMap,
    request: String,
) -> (StatusCode, String) {
    let request: Value = serde_json::from_str(&request).unwrap();
    let operation = headers["x-amz-target"].to_str().unwrap();
    let signature = headers["authorization"].to_str().unwrap();
    let (_, key) = signature.split_once("Credential=").unwrap();
    let (key_id, _) = key.split_once('/').unwrap();
    double.sign(key_id);
    if operation.ends_with("ReceiveMessage") {
        if request["WaitTimeSeconds"].as_u64() > Some(LONGEST_WAIT_SECS) {
            return refused(StatusCode::BAD_REQUEST, "InvalidParameterValue");
        }
        double.wait(&request).await;
    }
    let is_delayed = || double.messages.lock().unwrap().delays_deletes;
    while operation.ends_with("DeleteMessageBatch") && is_delayed() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut messages = double.messages.lock().unwrap();
    let entries = request["Entries"].as_array().cloned().unwrap_or_default();
    let answer = match operation.trim_start_matches("AmazonSQS.") {
        "GetQueueUrl" => {
            let name = request["QueueName"].as_str().unwrap();
            json!({"QueueUrl": format!("{}/000000000000/{name}", double.endpoint)})
        }
        "GetQueueAttributes" if messages.attributes_until_down == Some(0) => {
            return refused(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable");
        }
        "GetQueueAttributes" => {
            if let Some(left) = &mut messages.attributes_until_down {
                *left -= 1;
            }
            json!({"Attributes": {
                "QueueArn": format!("arn of {}", request["QueueUrl"].as_str().unwrap()), "VisibilityTimeout": "30",
                "ApproximateNumberOfMessages": messages.waiting.len().to_string(),
                "ApproximateNumberOfMessagesNotVisible": (messages.held.len() + messages.hidden).to_string(),
                "ApproximateNumberOfMessagesDelayed": "0",
            }})
        }
        "ReceiveMessage" if messages.is_poison_next() => {
            messages.receives += 1;
            json!({"Messages": [messages.poison]})
        }
        "ReceiveMessage"
            if messages
                .receives_until_refused
                .is_some_and(|count| messages.receives >= count) =>
        {
            return refused(StatusCode::FORBIDDEN, "AccessDenied");
        }
        "ReceiveMessage" => {
            messages.receives += 1;
            let late = messages.late.take();
            messages.waiting.extend(late);
            let most = request["MaxNumberOfMessages"].as_u64().unwrap() as usize;
            let most = most.min(messages.waiting.len());
            let received: Vec<Value> = messages.waiting.drain(..most).collect();
            if messages.holds_none {
                messages.waiting.extend(received.iter().cloned());
            }
            for message in &received {
                let handle = message["ReceiptHandle"].as_str().unwrap().to_owned();
                messages.held.insert(handle, message.clone());
            }
            json!({"Messages": received})
        }
        "DeleteMessageBatch" if messages.refuses_deletes => {
            return refused(StatusCode::FORBIDDEN, "AccessDenied");
        }
        "DeleteMessageBatch" => {
            let (mut successful, mut failed) = (Vec::new(), Vec::new());
            for entry in entries {
                if messages.failing_deletes > 0 {
                    messages.failing_deletes -= 1;
                    failed.push(
                        json!({"Id": entry["Id"], "SenderFault": false, "Code": "InternalError"}),
                    );
                    continue;
                }
                messages
                    .held
                    .remove(entry["ReceiptHandle"].as_str().unwrap());
                successful.push(json!({"Id": entry["Id"]}));
            }
            json!({"Successful": successful, "Failed": failed})
        }
        "SendMessageBatch" if !messages.unlucky.is_empty() || !messages.unmentioned.is_empty() => {
            messages.take_in(&entries)
        }
        "SendMessageBatch" if messages.has_taken_half => {
            return refused(StatusCode::FORBIDDEN, "AccessDenied");
        }
        "SendMessageBatch" => {
            messages.has_taken_half = true;
            let (taken, failed) = entries.split_at(entries.len() / 2);
            let taken = taken
                .iter()
                .map(|entry| json!({"Id": entry["Id"], "MessageId": "m", "MD5OfMessageBody": ""}));
            let failed = failed.iter().map(
                |entry| json!({"Id": entry["Id"], "SenderFault": false, "Code": "InternalError"}),
            );
            json!({"Successful": taken.collect::<Vec<_>>(), "Failed": failed.collect::<Vec<_>>()})
        }
        "ChangeMessageVisibilityBatch" => {
            let timeouts = entries.iter().map(|entry| {
                let handle = entry["ReceiptHandle"].as_str().unwrap().to_owned();
                (handle, entry["VisibilityTimeout"].as_u64().unwrap())
            });
            messages.backed_off.extend(timeouts);
            let ids = entries.iter().map(|entry| json!({"Id": entry["Id"]}));
            json!({"Successful": ids.collect::<Vec<_>>(), "Failed": []})
        }
        other => panic!("nothing asks for {other}"),
    };
    (StatusCode::OK, answer.to_string())
}
