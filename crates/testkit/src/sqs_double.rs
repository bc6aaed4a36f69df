//! A queue in this process, for what SQS does not do on demand: to be faster than the drain, to fail to process some
//! entries, to refuse, not to answer, and to deliver messages in flight again. It speaks the part of SQS's JSON protocol
//! that the tool and the function use.
//! Source: <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_Operations.html>.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::batch::id;
use crate::http::{Answer, Request, serve};

/// What the queue holds, and how it is to behave from now on.
#[derive(Default)]
pub struct State {
    waiting: VecDeque<Message>,
    held: HashMap<String, Message>,
    /// How many further deletes of a message fail, by the fault of SQS.
    pub failing_deletes: usize,
    /// Whether every request to delete is refused.
    pub refuses_deletes: bool,
    /// Requests to delete are not answered yet.
    pub delays_deletes: bool,
    /// Received messages are delivered again at once.
    pub holds_none: bool,
    /// Delivered in every other receive, even after it was deleted.
    poison: Option<Message>,
    /// How long it takes to receive it.
    pub poison_delay: Duration,
    receives: usize,
    /// After this many receives further ones are refused.
    pub receives_until_refused: Option<usize>,
    /// After this many requests for the queue's attributes further ones fail, by the fault of SQS.
    pub attributes_until_down: Option<usize>,
    /// Receive requests are not answered.
    pub is_mute: bool,
    /// The number of receive requests, answered or not.
    pub asked: usize,
    receiving: usize,
    /// The most receive requests at a time.
    pub most_receiving: usize,
    /// Messages that are in flight elsewhere.
    pub hidden: usize,
    /// Comes when the first receive is answered.
    late: Option<Message>,
    /// Half of the first request to send arrives; after that all are refused.
    has_taken_half: bool,
    /// Instead: everything arrives but these bodies, which fail this many times by the fault of SQS.
    unlucky: HashMap<String, usize>,
    /// The answer to a request to send does not mention these bodies.
    unmentioned: Vec<String>,
    /// The bodies that arrived, in their order.
    pub arrived: Vec<String>,
    /// The id of the key that signed each request.
    pub signed_by: Vec<String>,
    /// Receipt handles with the visibility timeouts in seconds that they were given, in their order.
    pub backed_off: Vec<(String, u64)>,
    /// When messages were requested first, and deleted last.
    pub worked: Option<(Instant, Instant)>,
}

#[derive(Clone)]
struct Message {
    handle: String,
    /// As an answer to `ReceiveMessage` has it.
    text: String,
}

impl From<Value> for Message {
    fn from(message: Value) -> Self {
        Self {
            handle: message["ReceiptHandle"].as_str().unwrap().to_owned(),
            text: message.to_string(),
        }
    }
}

/// Source: <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html>.
const LONGEST_WAIT_SECS: u64 = 20;

/// The group of all messages.
const GROUP: &str = "anna";

/// A queue with messages in it.
pub struct SqsDouble {
    state: Arc<Mutex<State>>,
    pub endpoint: String,
}

impl SqsDouble {
    /// This many messages with this body.
    pub fn with(count: usize, body: &Value) -> Self {
        Self::of(vec![body.to_string(); count])
    }

    /// A message of each body, all of one group.
    pub fn of(bodies: Vec<String>) -> Self {
        let bodies = bodies.into_iter().enumerate();
        let messages = bodies.map(|(number, body)| message(&format!("{number:06}"), &body));
        Self::holding(messages, Duration::ZERO)
    }

    /// These messages, with the time that a request takes at least.
    pub fn holding(messages: impl Iterator<Item = Value>, answer_time: Duration) -> Self {
        let state = Arc::new(Mutex::new(State {
            waiting: messages.map(Message::from).collect(),
            ..State::default()
        }));
        let shared = Arc::clone(&state);
        let address = serve(move |request| {
            let due = Instant::now() + answer_time;
            let receives = usize::from(request.operation() == "ReceiveMessage");
            {
                let mut state = shared.lock().unwrap();
                state.receiving += receives;
                state.most_receiving = state.most_receiving.max(state.receiving);
            }
            let answer = answer(&shared, request);
            sleep(due.saturating_duration_since(Instant::now()));
            shared.lock().unwrap().receiving -= receives;
            answer
        });
        Self {
            state,
            endpoint: format!("http://{address}"),
        }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Every other receive delivers this message alone.
    pub fn poison(&self, body: &str) {
        self.state().poison = Some(message("poison", body).into());
    }

    /// All waiting messages are in flight elsewhere.
    pub fn hide_all(&self) {
        let state = &mut *self.state();
        let hidden = state.waiting.drain(..);
        let hidden = hidden.map(|message| (message.handle.clone(), message));
        state.held.extend(hidden);
    }

    /// Sending this body fails this many times; all others arrive.
    pub fn fail_sends(&self, body: &str, times: usize) {
        self.state().unlucky.insert(body.to_owned(), times);
    }

    /// The answer to a request to send does not mention this body.
    pub fn never_mention(&self, body: &str) {
        self.state().unmentioned.push(body.to_owned());
    }

    /// A message with this body comes when the first receive is answered.
    pub fn receive_with_first(&self, body: &Value) {
        self.state().late = Some(message("late", &body.to_string()).into());
    }

    /// How many messages are waiting, and how many are in flight.
    pub fn left(&self) -> (usize, usize) {
        let state = self.state();
        (state.waiting.len(), state.held.len())
    }
}

fn message(name: &str, body: &str) -> Value {
    json!({
        "MessageId": id(name), "ReceiptHandle": name, "Body": body, "MD5OfBody": "",
        "Attributes": {"SentTimestamp": "1769903999500", "ApproximateReceiveCount": "1", "MessageGroupId": GROUP},
    })
}

impl State {
    fn is_poison_next(&self) -> bool {
        self.poison.is_some() && (self.receives.is_multiple_of(2) || self.waiting.is_empty())
    }

    fn receive(&mut self, most: u64) -> Vec<Message> {
        self.receives += 1;
        self.waiting.extend(self.late.take());
        let most = (most as usize).min(self.waiting.len());
        let received: Vec<Message> = self.waiting.drain(..most).collect();
        if self.holds_none {
            self.waiting.extend(received.iter().cloned());
        }
        let held = received.iter().cloned();
        self.held
            .extend(held.map(|message| (message.handle.clone(), message)));
        received
    }

    fn delete(&mut self, handle: &str) -> Fate {
        if let Some((_, last)) = &mut self.worked {
            *last = Instant::now();
        }
        if self.failing_deletes > 0 {
            self.failing_deletes -= 1;
            return Fate::Fails;
        }
        self.held.remove(handle);
        Fate::Succeeds
    }

    /// Accepts a message, except those that are set to fail.
    fn take_in(&mut self, body: &str) -> Fate {
        if self.unmentioned.iter().any(|silent| silent == body) {
            return Fate::IsNotMentioned;
        }
        match self.unlucky.get_mut(body) {
            Some(times) if *times > 0 => {
                *times -= 1;
                Fate::Fails
            }
            _ => {
                self.arrived.push(body.to_owned());
                Fate::Succeeds
            }
        }
    }
}

/// What becomes of an entry of a request.
enum Fate {
    Succeeds,
    Fails,
    IsNotMentioned,
}

/// The answer to a request of several entries.
fn each(request: &Value, mut fate: impl FnMut(&Value) -> Fate) -> Answer {
    let (mut successful, mut failed) = (Vec::new(), Vec::new());
    for entry in request["Entries"].as_array().unwrap() {
        let id = &entry["Id"];
        match fate(entry) {
            Fate::Succeeds => {
                successful.push(json!({"Id": id, "MessageId": "m", "MD5OfMessageBody": ""}));
            }
            Fate::Fails => {
                failed.push(json!({"Id": id, "SenderFault": false, "Code": "InternalError"}));
            }
            Fate::IsNotMentioned => {}
        }
    }
    Answer::new(200, json!({"Successful": successful, "Failed": failed}))
}

fn refused(status: u16, code: &str) -> Answer {
    Answer::new(
        status,
        json!({"__type": format!("com.amazonaws.sqs#{code}")}),
    )
}

/// Waits as an empty queue does, for as long as the request says. `None` if it is not answered.
fn wait(state: &Mutex<State>, secs: u64) -> Option<()> {
    let (is_mute, is_empty, delay) = {
        let mut state = state.lock().unwrap();
        state.asked += 1;
        let now = Instant::now();
        state.worked.get_or_insert((now, now));
        let is_empty = state.waiting.is_empty() && state.poison.is_none();
        let delay = match state.is_poison_next() {
            true => state.poison_delay,
            false => Duration::ZERO,
        };
        (state.is_mute, is_empty, delay)
    };
    sleep(delay);
    if is_empty && !is_mute {
        sleep(Duration::from_secs(secs));
    }
    (!is_mute).then_some(())
}

/// Source: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-authentication-methods.html> (2026-11).
fn key_id(request: &Request) -> String {
    let signature = request.header("authorization").unwrap_or_default();
    let (_, key) = signature.split_once("Credential=").unwrap_or_default();
    key.split('/').next().unwrap_or_default().to_owned()
}

fn answer(shared: &Mutex<State>, request: &Request) -> Option<Answer> {
    shared.lock().unwrap().signed_by.push(key_id(request));
    let (operation, host, request) = (request.operation(), request.header("host"), request.json());
    if operation == "ReceiveMessage" {
        let secs = request["WaitTimeSeconds"].as_u64().unwrap_or_default();
        if secs > LONGEST_WAIT_SECS {
            return Some(refused(400, "InvalidParameterValue"));
        }
        wait(shared, secs)?;
    }
    while operation == "DeleteMessageBatch" && shared.lock().unwrap().delays_deletes {
        sleep(Duration::from_millis(10));
    }
    let state = &mut *shared.lock().unwrap();
    let text = |name: &str| request[name].as_str().unwrap().to_owned();
    Some(match operation {
        "GetQueueUrl" => {
            let url = format!(
                "http://{}/000000000000/{}",
                host.unwrap(),
                text("QueueName")
            );
            Answer::new(200, json!({"QueueUrl": url}))
        }
        "GetQueueAttributes" if state.attributes_until_down == Some(0) => {
            refused(503, "ServiceUnavailable")
        }
        "GetQueueAttributes" => {
            state.attributes_until_down = state.attributes_until_down.map(|left| left - 1);
            let answer = json!({"Attributes": {
                "QueueArn": format!("arn of {}", text("QueueUrl")), "VisibilityTimeout": "30",
                "ApproximateNumberOfMessages": state.waiting.len().to_string(),
                "ApproximateNumberOfMessagesNotVisible": (state.held.len() + state.hidden).to_string(),
                "ApproximateNumberOfMessagesDelayed": "0",
            }});
            Answer::new(200, answer)
        }
        "ReceiveMessage" => {
            let received = if state.is_poison_next() {
                state.receives += 1;
                state.poison.iter().cloned().collect()
            } else if (state.receives_until_refused).is_some_and(|most| state.receives >= most) {
                return Some(refused(403, "AccessDenied"));
            } else {
                state.receive(request["MaxNumberOfMessages"].as_u64().unwrap())
            };
            let texts: Vec<String> = received.into_iter().map(|message| message.text).collect();
            Answer::new(200, format!("{{\"Messages\":[{}]}}", texts.join(",")))
        }
        "DeleteMessageBatch" if state.refuses_deletes => refused(403, "AccessDenied"),
        "DeleteMessageBatch" => each(&request, |entry| {
            state.delete(entry["ReceiptHandle"].as_str().unwrap())
        }),
        "SendMessageBatch" if !state.unlucky.is_empty() || !state.unmentioned.is_empty() => {
            each(&request, |entry| {
                state.take_in(entry["MessageBody"].as_str().unwrap())
            })
        }
        "SendMessageBatch" if state.has_taken_half => refused(403, "AccessDenied"),
        "SendMessageBatch" => {
            state.has_taken_half = true;
            let mut left = request["Entries"].as_array().unwrap().len() / 2;
            each(&request, |_| {
                let is_taken = left > 0;
                left = left.saturating_sub(1);
                if is_taken {
                    Fate::Succeeds
                } else {
                    Fate::Fails
                }
            })
        }
        "ChangeMessageVisibilityBatch" => each(&request, |entry| {
            let handle = entry["ReceiptHandle"].as_str().unwrap().to_owned();
            let timeout = entry["VisibilityTimeout"].as_u64().unwrap();
            state.backed_off.push((handle, timeout));
            Fate::Succeeds
        }),
        other => panic!("nothing asks for {other}"),
    })
}
