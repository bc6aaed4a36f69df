//! The AWS of the tests: LocalStack, which `make test` starts and `AWS_ENDPOINT_URL` names.

use std::collections::{BTreeSet, HashSet};
use std::env;
use std::net::{SocketAddr, ToSocketAddrs as _};

use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_sqs::error::SdkError;
use aws_sdk_sqs::types::{Message, MessageSystemAttributeName, QueueAttributeName};
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::proxy::Proxy;
use crate::{Setup, clean_up, eventually};

const VARIABLES: [&str; 4] = [
    "AWS_ENDPOINT_URL",
    "AWS_DEFAULT_REGION",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
];

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run the tests by `make test`"))
}

/// Where LocalStack listens.
pub fn endpoint_address() -> SocketAddr {
    let endpoint = variable("AWS_ENDPOINT_URL");
    let server = endpoint.trim_start_matches("http://").trim_end_matches('/');
    let mut addresses = server.to_socket_addrs().unwrap();
    addresses.find(SocketAddr::is_ipv4).unwrap()
}

impl Setup {
    /// With access to LocalStack.
    pub fn on_aws(self) -> Self {
        VARIABLES
            .iter()
            .fold(self, |setup, name| setup.set(name, &variable(name)))
    }
}

/// The header by which the AWS SDK names a call, the same in each of its attempts.
/// Source: <https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html>.
const CALL: &str = "amz-sdk-invocation-id: ";

/// How often a client called this operation behind a proxy: a request that the AWS SDK sent again, because the answer
/// took long, is the same call.
pub fn calls(proxy: &Proxy, operation: &str) -> usize {
    let sent = proxy.sent().concat();
    let text = String::from_utf8_lossy(&sent);
    let requests = text.split("\r\n\r\n");
    let calls = requests.filter(|head| head.contains(operation));
    let ids = calls.filter_map(|head| head.split_once(CALL)?.1.lines().next());
    ids.collect::<BTreeSet<_>>().len()
}

/// The configuration of the test's own clients.
pub async fn config() -> SdkConfig {
    let http_client = Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .build_https();
    variable("AWS_ENDPOINT_URL");
    aws_config::defaults(BehaviorVersion::latest())
        .http_client(http_client)
        .load()
        .await
}

/// A name that no other test has.
pub fn unique(what: &str) -> String {
    format!("test-{what}-{:016x}", fastrand::u64(..))
}

/// A secret of Secrets Manager, deleted when it is dropped.
pub struct Secret {
    pub client: aws_sdk_secretsmanager::Client,
    pub id: String,
}

impl Secret {
    pub async fn new(text: &str) -> Self {
        let client = aws_sdk_secretsmanager::Client::new(&config().await);
        let id = unique("secret");
        let create = client.create_secret().name(&id).secret_string(text);
        create.send().await.unwrap();
        Self { client, id }
    }

    /// Replaces its text.
    pub async fn put(&self, text: &str) {
        let put = self.client.put_secret_value().secret_id(&self.id);
        put.secret_string(text).send().await.unwrap();
    }

    /// The user and password of a database, and these fields.
    pub async fn of_role(role: &str, password: &str, mut fields: Value) -> Self {
        fields["username"] = role.into();
        fields["password"] = password.into();
        Self::new(&fields.to_string()).await
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        let id = self.id.clone();
        clean_up(async {
            let client = aws_sdk_secretsmanager::Client::new(&config().await);
            let delete = client.delete_secret().secret_id(id);
            let deleted = delete.force_delete_without_recovery(true).send().await;
            deleted.map(drop)
        });
    }
}

/// The visibility timeout of a received message, unless it is changed.
const VISIBILITY_SECS: i32 = 60;

/// A queue of SQS, deleted when it is dropped.
pub struct Queue {
    pub client: aws_sdk_sqs::Client,
    pub url: String,
    pub arn: String,
}

impl Queue {
    pub async fn new() -> Self {
        Self::create(&unique("queue"), false).await
    }

    pub async fn fifo() -> Self {
        Self::create(&format!("{}.fifo", unique("queue")), true).await
    }

    async fn create(name: &str, is_fifo: bool) -> Self {
        let client = aws_sdk_sqs::Client::new(&config().await);
        let visibility = VISIBILITY_SECS.to_string();
        let create = client
            .create_queue()
            .queue_name(name)
            .attributes(QueueAttributeName::VisibilityTimeout, visibility);
        let create = if is_fifo {
            create.attributes(QueueAttributeName::FifoQueue, "true")
        } else {
            create
        };
        let url = create.send().await.unwrap().queue_url.unwrap();
        let mut queue = Self {
            client,
            url,
            arn: String::new(),
        };
        queue.arn = queue.attribute(QueueAttributeName::QueueArn).await;
        queue
    }

    /// Changes one of its attributes.
    pub async fn set(&self, name: QueueAttributeName, value: &str) {
        let set = self.client.set_queue_attributes().queue_url(&self.url);
        set.attributes(name, value).send().await.unwrap();
    }

    pub async fn attribute(&self, name: QueueAttributeName) -> String {
        let get = self.client.get_queue_attributes().queue_url(&self.url);
        let answer = get.attribute_names(name.clone()).send().await.unwrap();
        answer.attributes.unwrap()[&name].clone()
    }

    /// How many messages can be received, and how many are invisible, by one request: between two, a message may
    /// become visible and be in neither number.
    pub async fn counts(&self) -> (usize, usize) {
        use QueueAttributeName as Name;
        let names = [
            Name::ApproximateNumberOfMessages,
            Name::ApproximateNumberOfMessagesNotVisible,
        ];
        let get = self.client.get_queue_attributes().queue_url(&self.url);
        let get = get.set_attribute_names(Some(names.to_vec()));
        let attributes = get.send().await.unwrap().attributes.unwrap();
        let [waiting, invisible] = names.map(|name| attributes[&name].parse().unwrap());
        (waiting, invisible)
    }

    pub async fn send(&self, body: &str) {
        let send = self.client.send_message().queue_url(&self.url);
        send.message_body(body).send().await.unwrap();
    }

    /// Receives at most ten messages, with this visibility timeout.
    pub async fn receive(&self, visibility_secs: i32) -> Vec<Message> {
        let receive = self.client.receive_message().queue_url(&self.url);
        let receive = receive
            .max_number_of_messages(10)
            .visibility_timeout(visibility_secs)
            .message_system_attribute_names(MessageSystemAttributeName::All)
            .message_attribute_names("All");
        receive.send().await.unwrap().messages.unwrap_or_default()
    }

    /// Receives this many messages, once they are there.
    pub async fn receive_all(&self, count: usize) -> Vec<Message> {
        let mut messages = Vec::new();
        eventually(&format!("{count} messages"), async || {
            messages.extend(self.receive(VISIBILITY_SECS).await);
            (messages.len() >= count).then_some(())
        })
        .await;
        assert_eq!(messages.len(), count);
        messages
    }

    /// Receives the function's dead letters of this many messages, once they are there. On a busy machine LocalStack
    /// may answer after the function's timeout; the AWS SDK then sends the same dead letters again.
    pub async fn dead_letters(&self, count: usize) -> Vec<Message> {
        let mut seen = HashSet::new();
        let mut dead_letters = Vec::new();
        eventually(&format!("{count} dead letters"), async || {
            for message in self.receive(VISIBILITY_SECS).await {
                if seen.insert(attribute(&message, "origin").unwrap()) {
                    dead_letters.push(message);
                }
            }
            (dead_letters.len() >= count).then_some(())
        })
        .await;
        assert_eq!(dead_letters.len(), count);
        dead_letters
    }

    /// The same, and deletes each: SQS delivers nothing of a FIFO group while one of its messages is in flight.
    pub async fn take_all(&self, count: usize) -> Vec<Message> {
        let mut messages = Vec::new();
        eventually(&format!("{count} messages"), async || {
            for message in self.receive(VISIBILITY_SECS).await {
                let receipt = message.receipt_handle.as_deref().unwrap();
                let delete = self.client.delete_message().queue_url(&self.url);
                delete.receipt_handle(receipt).send().await.unwrap();
                messages.push(message);
            }
            (messages.len() >= count).then_some(())
        })
        .await;
        assert_eq!(messages.len(), count);
        messages
    }

    /// The record in which Lambda passes a received message.
    pub fn record(&self, message: &Message) -> Value {
        let attributes = message.attributes.iter().flatten();
        let attributes: Map<String, Value> = attributes
            .map(|(name, value)| (name.as_str().to_owned(), json!(value)))
            .collect();
        json!({
            "messageId": message.message_id, "receiptHandle": message.receipt_handle, "body": message.body,
            "attributes": attributes, "messageAttributes": message_attributes(message), "eventSourceARN": self.arn,
        })
    }

    /// Before the end of the test.
    pub async fn delete(&self) {
        let delete = self.client.delete_queue().queue_url(&self.url);
        delete.send().await.unwrap();
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        let url = self.url.clone();
        clean_up(async {
            let client = aws_sdk_sqs::Client::new(&config().await);
            let deleted = client.delete_queue().queue_url(url).send().await;
            match deleted.map_err(SdkError::into_service_error) {
                // The test itself has deleted it.
                Err(error) if error.is_queue_does_not_exist() => Ok(()),
                deleted => deleted.map(drop),
            }
        });
    }
}

fn message_attributes(message: &Message) -> Map<String, Value> {
    let attributes = message.message_attributes.iter().flatten();
    let json = attributes.map(|(name, value)| {
        let bytes = value.binary_value.as_ref().map(|bytes| STANDARD.encode(bytes));
        let json = json!({"dataType": value.data_type, "stringValue": value.string_value, "binaryValue": bytes});
        (name.clone(), json)
    });
    json.collect()
}

/// The value of a message attribute; bytes in base64.
pub fn attribute(message: &Message, name: &str) -> Option<String> {
    let attribute = message.message_attributes.as_ref()?.get(name)?;
    let bytes = || Some(STANDARD.encode(attribute.binary_value.as_ref()?));
    attribute.string_value.clone().or_else(bytes)
}
