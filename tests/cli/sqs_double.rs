//! A queue in this process, for what no SQS does on demand: to be faster than the drain, to have no luck
//! with a delete or half of what is sent, and to keep nothing away. It speaks SQS's JSON protocol, as far as the tool uses it.
//! Source: <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_Operations.html>.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

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
    /// The next so many deletes of a message fail, for no fault of the sender's.
    failing_deletes: usize,
    /// What is received can be received again at once.
    holds_none: bool,
    /// Handed out in every other receive, whatever is done with it.
    poison: Option<Value>,
    receives: usize,
    /// Of what is sent first half arrives; after that nothing more is taken.
    has_taken_half: bool,
}

/// A queue with messages in it.
#[derive(Clone)]
pub(crate) struct SqsDouble {
    messages: Arc<Mutex<Messages>>,
    pub(crate) endpoint: String,
}

impl SqsDouble {
    /// So many messages of this body.
    pub(crate) async fn with(count: usize, body: &Value) -> Self {
        let body = body.to_string();
        let message = |number: usize| {
            let name = format!("{number:06}");
            json!({
                "MessageId": id(&name), "ReceiptHandle": name, "Body": body, "MD5OfBody": "",
                "Attributes": {"SentTimestamp": "1769903999500", "ApproximateReceiveCount": "1"},
            })
        };
        let messages = Messages {
            waiting: (0..count).map(message).collect(),
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

    /// The next so many deletes of a message fail.
    pub(crate) fn fail_deletes(&self, count: usize) {
        self.messages.lock().unwrap().failing_deletes = count;
    }

    /// Every other receive brings this message, and it alone.
    pub(crate) fn poison(&self, body: &str) {
        let poison = json!({
            "MessageId": id("poison"), "ReceiptHandle": "poison", "Body": body, "MD5OfBody": "",
            "Attributes": {"SentTimestamp": "1769903999500", "ApproximateReceiveCount": "1"},
        });
        self.messages.lock().unwrap().poison = Some(poison);
    }

    /// From now on what is received can be received again at once.
    pub(crate) fn hold_none(&self) {
        self.messages.lock().unwrap().holds_none = true;
    }

    /// How many are neither received nor deleted, and how many are received.
    pub(crate) fn left(&self) -> (usize, usize) {
        let messages = self.messages.lock().unwrap();
        (messages.waiting.len(), messages.held.len())
    }
}

async fn answer(
    State(double): State<SqsDouble>,
    headers: HeaderMap,
    request: String,
) -> (StatusCode, String) {
    let request: Value = serde_json::from_str(&request).unwrap();
    let operation = headers["x-amz-target"].to_str().unwrap();
    let mut messages = double.messages.lock().unwrap();
    let entries = request["Entries"].as_array().cloned().unwrap_or_default();
    let answer = match operation.trim_start_matches("AmazonSQS.") {
        "GetQueueUrl" => json!({"QueueUrl": format!("{}/000000000000/double", double.endpoint)}),
        "GetQueueAttributes" => json!({"Attributes": {
            "QueueArn": format!("arn of {}", request["QueueUrl"]), "VisibilityTimeout": "30",
            "ApproximateNumberOfMessages": messages.waiting.len().to_string(),
            "ApproximateNumberOfMessagesNotVisible": messages.held.len().to_string(),
        }}),
        "ReceiveMessage"
            if messages.poison.is_some()
                && (messages.receives.is_multiple_of(2) || messages.waiting.is_empty()) =>
        {
            messages.receives += 1;
            json!({"Messages": [messages.poison]})
        }
        "ReceiveMessage" => {
            messages.receives += 1;
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
        "SendMessageBatch" if messages.has_taken_half => {
            let refused = json!({"__type": "com.amazonaws.sqs#AccessDenied"});
            return (StatusCode::FORBIDDEN, refused.to_string());
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
            let ids = entries.iter().map(|entry| json!({"Id": entry["Id"]}));
            json!({"Successful": ids.collect::<Vec<_>>(), "Failed": []})
        }
        other => panic!("nothing asks for {other}"),
    };
    (StatusCode::OK, answer.to_string())
}
