//! A Postgres schema for one test, and the function as a process beside a Lambda Runtime API.

use std::collections::HashMap;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use serde_json::Value;
use sqs_to_postgres::mask::MaskKey;
use sqs_to_postgres::message::origin::Origins;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};
use tokio_postgres::config::Host;
use tokio_postgres::{Client, Config, NoTls};

/// 64 bytes, the mask key of every test.
pub(crate) const MASK_KEY: &str =
    "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Pw==";

/// Signs and verifies origins with a mask key in base64.
pub(crate) fn origins(mask_key: &str) -> Origins {
    let key = (!mask_key.is_empty()).then(|| MaskKey::from_base64(mask_key).unwrap());
    Origins::new(key.as_ref())
}
/// The id that the Runtime API gives the function as an extension.
const EXTENSION: &str = "extension";

/// A program as built by cargo, or where `make test` keeps it: a concurrent build for the local stack moves away what
/// cargo has built.
pub(crate) fn program(name: &str, built: &str) -> PathBuf {
    let kept = std::env::var_os("TESTED_PROGRAMS");
    kept.map_or_else(|| built.into(), |folder| PathBuf::from(folder).join(name))
}

/// How long a test waits for an answer before it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

/// The superuser's URL of the local Postgres.
pub(crate) fn database_url() -> String {
    std::env::var("DATABASE_URL").expect("DATABASE_URL is not set: run the tests by `make test`")
}

fn server() -> Config {
    database_url().parse().unwrap()
}

/// Where the local Postgres listens.
pub(crate) fn server_address() -> SocketAddr {
    let server = server();
    let Host::Tcp(host) = &server.get_hosts()[0] else {
        panic!("DATABASE_URL names no host")
    };
    let mut addresses = (host.as_str(), server.get_ports()[0])
        .to_socket_addrs()
        .unwrap();
    addresses.find(SocketAddr::is_ipv4).unwrap()
}

/// The name of the local database.
pub(crate) fn database_name() -> String {
    server().get_dbname().unwrap().to_owned()
}

/// The superuser's name and password.
pub(crate) fn superuser() -> (String, String) {
    let server = server();
    let password = String::from_utf8(server.get_password().unwrap().to_vec()).unwrap();
    (server.get_user().unwrap().to_owned(), password)
}

/// Repeats a check until it returns something, up to the patience of a test.
pub(crate) async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let patience = Instant::now() + PATIENCE;
    let mut pause = Duration::from_millis(10);
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < patience, "it never came true: {what}");
        tokio::time::sleep(pause).await;
        // Leaves time to the system that is polled.
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}

async fn connect() -> Client {
    let (client, connection) = tokio_postgres::connect(&database_url(), NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    client
}

/// A schema for the test, dropped with everything in it if the test passes.
pub(crate) struct Database {
    pub(crate) client: Client,
    pub(crate) schema: String,
}

impl Database {
    pub(crate) async fn new() -> Self {
        let client = connect().await;
        let schema = format!("test_{:016x}", fastrand::u64(..));
        client
            .batch_execute(&format!(
                "CREATE SCHEMA {schema}; SET search_path = {schema}"
            ))
            .await
            .unwrap();
        Self { client, schema }
    }

    /// A database with the table of the shipped mapping.
    pub(crate) async fn with_user_logins() -> Self {
        let database = Self::new().await;
        database
            .execute(include_str!("../../localstack/schema.sql"))
            .await;
        database
    }

    pub(crate) async fn execute(&self, sql: &str) {
        self.client
            .batch_execute(sql)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    /// The rows of a query of text columns, with `∅` for null.
    pub(crate) async fn rows(&self, sql: &str) -> Vec<Vec<String>> {
        let rows = self
            .client
            .query(sql, &[])
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        let cell = |row: &tokio_postgres::Row, column| {
            row.get::<_, Option<String>>(column)
                .unwrap_or_else(|| "∅".to_owned())
        };
        rows.iter()
            .map(|row| (0..row.len()).map(|column| cell(row, column)).collect())
            .collect()
    }

    pub(crate) async fn count(&self, table: &str) -> i64 {
        self.client
            .query_one(&format!("SELECT count(*) FROM {table}"), &[])
            .await
            .unwrap()
            .get(0)
    }

    /// Locks the table until the returned client is dropped.
    pub(crate) async fn lock(&self, table: &str) -> Client {
        let client = connect().await;
        let sql = format!("BEGIN; LOCK TABLE {}.{table}", self.schema);
        client.batch_execute(&sql).await.unwrap();
        client
    }

    /// Locks these rows until the returned client is dropped.
    pub(crate) async fn lock_rows(&self, table: &str, condition: &str) -> Client {
        let client = connect().await;
        let sql = format!(
            "BEGIN; SELECT FROM {}.{table} WHERE {condition} FOR UPDATE",
            self.schema
        );
        client.batch_execute(&sql).await.unwrap();
        client
    }

    /// Waits until this many sessions wait for the table.
    pub(crate) async fn wait_for_waiting(&self, table: &str, count: i64) {
        let waiting = format!("pg_locks WHERE NOT granted AND relation = '{table}'::regclass");
        eventually(&format!("{count} wait for {table}"), async || {
            (self.count(&waiting).await == count).then_some(())
        })
        .await;
    }

    /// The URL by which the function finds the test's schema.
    pub(crate) fn url(&self) -> String {
        let separator = if database_url().contains('?') {
            '&'
        } else {
            '?'
        };
        format!(
            "{}{separator}options=-c%20search_path%3D{}",
            database_url(),
            self.schema
        )
    }

    /// The same through a proxy, as the superuser.
    pub(crate) fn url_through(&self, proxy: SocketAddr) -> String {
        let (user, password) = superuser();
        self.url_as(&user, &password, proxy)
    }

    /// The same as another role, through a proxy or not.
    pub(crate) fn url_as(&self, user: &str, password: &str, address: SocketAddr) -> String {
        format!(
            "postgresql://{user}:{password}@{address}/{}?sslmode=disable&options=-c%20search_path%3D{}",
            database_name(),
            self.schema
        )
    }

    /// A role with all privileges in the schema, to be dropped by `drop_role`.
    pub(crate) async fn role(&self, password: &str) -> String {
        let (schema, role) = (&self.schema, format!("{}_role", self.schema));
        self.execute(&format!(
            "CREATE ROLE {role} LOGIN PASSWORD '{password}'; GRANT USAGE ON SCHEMA {schema} TO {role};
             GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO {role}; ALTER ROLE {role} SET search_path = {schema}"
        ))
        .await;
        role
    }

    pub(crate) async fn drop_role(&self, role: &str) {
        self.execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}"))
            .await;
    }

    pub(crate) async fn drop(self) {
        self.execute(&format!("DROP SCHEMA {} CASCADE", self.schema))
            .await;
    }
}

/// A file that is removed when the test ends.
pub(crate) struct TempFile(pub(crate) std::path::PathBuf);

impl TempFile {
    pub(crate) fn new(text: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("sqs-to-postgres-{:016x}.toml", fastrand::u64(..)));
        std::fs::write(&path, text).unwrap();
        Self(path)
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).ok();
    }
}

/// How the function is started.
pub(crate) struct Setup {
    environment: HashMap<String, String>,
    mapping: Option<TempFile>,
    has_extensions: bool,
}

impl Setup {
    /// Only with the variables that Lambda sets.
    pub(crate) fn bare() -> Self {
        let lambda = [
            ("AWS_LAMBDA_FUNCTION_NAME", "sqs-to-postgres"),
            ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
            ("AWS_DEFAULT_REGION", "eu-west-1"),
            // Lambda has no such service, and other machines may.
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ];
        let environment = lambda
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Self {
            environment,
            mapping: None,
            has_extensions: true,
        }
    }

    /// The database and a mask key.
    pub(crate) fn on(database: &Database) -> Self {
        Self::bare()
            .set("DATABASE_URL", &database.url())
            .set("MASK_KEY", MASK_KEY)
    }

    /// A database that does not answer.
    pub(crate) fn away() -> Self {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!(
            "postgresql://u:p@{}/d?sslmode=disable",
            free.local_addr().unwrap()
        );
        Self::bare()
            .set("DATABASE_URL", &url)
            .set("MASK_KEY", MASK_KEY)
    }

    pub(crate) fn set(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.environment.remove(name);
        self
    }

    /// Replaces the shipped mapping.
    pub(crate) fn mapping(self, text: &str) -> Self {
        let file = TempFile::new(text);
        let path = file.0.display().to_string();
        Self {
            mapping: Some(file),
            ..self.set("PIPELINE_FILE", &path)
        }
    }

    /// With a Runtime API without extensions, like that of some emulators.
    pub(crate) fn without_extensions(self) -> Self {
        Self {
            has_extensions: false,
            ..self
        }
    }

    pub(crate) async fn start(self) -> Function {
        Function::start(self).await
    }

    /// Starts the function and waits until it ends by itself.
    pub(crate) async fn fail_to_start(self) -> (ExitStatus, String) {
        let mut function = self.start().await;
        let status = function.ends().await;
        (status, function.whole_log().await)
    }
}

/// The function's answer to an invocation.
#[derive(Debug, PartialEq)]
pub(crate) enum Outcome {
    /// The response.
    Answer(Value),
    /// The error report.
    Error(Value),
}

impl Outcome {
    /// The ids in the answer, in order.
    pub(crate) fn failed_ids(&self) -> Vec<String> {
        let Self::Answer(answer) = self else {
            panic!("no answer: {self:?}")
        };
        let failures = answer["batchItemFailures"].as_array().unwrap();
        failures
            .iter()
            .map(|failure| failure["itemIdentifier"].as_str().unwrap().to_owned())
            .collect()
    }

    pub(crate) fn error(&self) -> String {
        let Self::Error(error) = self else {
            panic!("no error: {self:?}")
        };
        error.to_string()
    }
}

struct Invocation {
    payload: String,
    /// The time from its delivery until the deadline.
    time: Duration,
}

/// The requests of the function to the Runtime API, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// To register as an extension, with this number of kinds of events.
    Extension(usize),
    /// For the extension's next event.
    NextEvent,
    /// For the next invocation.
    Next,
}

/// The Runtime API as Lambda serves it to one environment.
/// Sources: <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>,
/// <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-extensions-api.html>.
struct RuntimeApi {
    invocations: tokio::sync::Mutex<mpsc::UnboundedReceiver<Invocation>>,
    outcomes: mpsc::UnboundedSender<Outcome>,
    asked: watch::Sender<Vec<Asked>>,
}

impl RuntimeApi {
    fn note(&self, asked: Asked) {
        self.asked.send_modify(|all| all.push(asked));
    }
}

async fn register(
    State(api): State<Arc<RuntimeApi>>,
    body: String,
) -> ([(&'static str, &'static str); 1], &'static str) {
    let body: Value = serde_json::from_str(&body).unwrap();
    api.note(Asked::Extension(body["events"].as_array().unwrap().len()));
    ([("lambda-extension-identifier", EXTENSION)], "{}")
}

/// There are no events for an extension without subscriptions.
async fn next_event(State(api): State<Arc<RuntimeApi>>, headers: HeaderMap) {
    assert_eq!(headers["lambda-extension-identifier"], EXTENSION);
    api.note(Asked::NextEvent);
    std::future::pending().await
}

async fn next(State(api): State<Arc<RuntimeApi>>) -> Result<(HeaderMap, String), StatusCode> {
    api.note(Asked::Next);
    let invocation = api
        .invocations
        .lock()
        .await
        .recv()
        .await
        .ok_or(StatusCode::GONE)?;
    let mut headers = HeaderMap::new();
    headers.insert(
        "lambda-runtime-aws-request-id",
        "8476a536-e9f4-11e8-9739-2dfe598c3fcd".parse().unwrap(),
    );
    let deadline = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + invocation.time;
    headers.insert(
        "lambda-runtime-deadline-ms",
        deadline.as_millis().to_string().parse().unwrap(),
    );
    headers.insert(
        "lambda-runtime-invoked-function-arn",
        "arn:aws:lambda:eu-west-1:123456789012:function:sqs-to-postgres"
            .parse()
            .unwrap(),
    );
    Ok((headers, invocation.payload))
}

async fn response(
    State(api): State<Arc<RuntimeApi>>,
    Path(_): Path<String>,
    body: String,
) -> StatusCode {
    api.outcomes
        .send(Outcome::Answer(serde_json::from_str(&body).unwrap()))
        .unwrap();
    StatusCode::ACCEPTED
}

async fn error(
    State(api): State<Arc<RuntimeApi>>,
    Path(_): Path<String>,
    body: String,
) -> StatusCode {
    api.outcomes
        .send(Outcome::Error(serde_json::from_str(&body).unwrap()))
        .unwrap();
    StatusCode::ACCEPTED
}

/// The real `bootstrap`, killed when the test ends.
pub(crate) struct Function {
    process: Child,
    invocations: mpsc::UnboundedSender<Invocation>,
    outcomes: mpsc::UnboundedReceiver<Outcome>,
    asked: watch::Receiver<Vec<Asked>>,
    log: Arc<Mutex<String>>,
    readers: Vec<tokio::task::JoinHandle<()>>,
    _mapping: Option<TempFile>,
}

impl Function {
    async fn start(setup: Setup) -> Self {
        let (invocations, receiver) = mpsc::unbounded_channel();
        let (sender, outcomes) = mpsc::unbounded_channel();
        let (asking, asked) = watch::channel(Vec::new());
        let api = RuntimeApi {
            invocations: tokio::sync::Mutex::new(receiver),
            outcomes: sender,
            asked: asking,
        };
        let extensions = if setup.has_extensions {
            Router::new()
                .route("/2020-01-01/extension/register", post(register))
                .route("/2020-01-01/extension/event/next", get(next_event))
        } else {
            Router::new()
        };
        let routes = extensions
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route(
                "/2018-06-01/runtime/invocation/{id}/response",
                post(response),
            )
            .route("/2018-06-01/runtime/invocation/{id}/error", post(error))
            .with_state(Arc::new(api));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        let mut process = Command::new(program("bootstrap", env!("CARGO_BIN_EXE_bootstrap")))
            .env_clear()
            .envs(&setup.environment)
            .env("AWS_LAMBDA_RUNTIME_API", address.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let readers = vec![
            tokio::spawn(collect(process.stdout.take().unwrap(), Arc::clone(&log))),
            tokio::spawn(collect(process.stderr.take().unwrap(), Arc::clone(&log))),
        ];
        Self {
            process,
            invocations,
            outcomes,
            asked,
            log,
            readers,
            _mapping: setup.mapping,
        }
    }

    pub(crate) async fn invoke(&mut self, event: &Value) -> Outcome {
        self.invoke_within(event, Duration::from_secs(120)).await
    }

    /// Invokes with this much time until the deadline, which begins when the function has started.
    pub(crate) async fn invoke_within(&mut self, event: &Value, time: Duration) -> Outcome {
        self.send(event, time);
        tokio::select! {
            outcome = self.outcomes.recv() => outcome.unwrap(),
            status = self.process.wait() => panic!("the function ended with {status:?}: {}", self.log()),
            () = tokio::time::sleep(PATIENCE) => panic!("no answer: {}", self.log()),
        }
    }

    /// Queues an invocation without waiting for the answer.
    pub(crate) fn send(&self, event: &Value, time: Duration) {
        let payload = event.to_string();
        self.invocations.send(Invocation { payload, time }).unwrap();
    }

    /// Waits until it has requested its first invocation.
    pub(crate) async fn ready(&mut self) {
        let mut asked = self.asked.clone();
        let mut ready = pin!(asked.wait_for(|asked| asked.contains(&Asked::Next)));
        tokio::select! {
            ready = &mut ready => drop(ready.unwrap()),
            status = self.process.wait() => panic!("the function ended with {status:?}: {}", self.log()),
            () = tokio::time::sleep(PATIENCE) => panic!("it asks for no invocation: {}", self.log()),
        }
    }

    /// Its requests to the Runtime API so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.borrow().clone()
    }

    /// Sends it a signal by its name.
    pub(crate) async fn signal(&self, name: &str) {
        let mut kill = Command::new("kill");
        kill.args(["-s", name, &self.id().to_string()]);
        assert!(kill.status().await.unwrap().success());
    }

    /// Waits until it ends by itself.
    pub(crate) async fn ends(&mut self) -> ExitStatus {
        let ended = tokio::time::timeout(PATIENCE, self.process.wait()).await;
        ended.expect("the function goes on").unwrap()
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.process.id().unwrap()
    }

    /// Its output so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// The JSON lines with this message.
    pub(crate) fn lines(&self, message: &str) -> Vec<Value> {
        let lines = self.log();
        let json = lines
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        json.filter(|line| line["message"] == message).collect()
    }

    /// The JSON lines with this message, once there are this many: they do not arrive with the answer.
    pub(crate) async fn lines_of(&self, message: &str, count: usize) -> Vec<Value> {
        eventually(&format!("{count} lines {message:?}"), async || {
            Some(self.lines(message)).filter(|lines| lines.len() >= count)
        })
        .await
    }

    /// All its output, once it has ended.
    async fn whole_log(&mut self) -> String {
        for reader in self.readers.drain(..) {
            reader.await.unwrap();
        }
        self.log()
    }

    /// Ends it and returns all its output.
    pub(crate) async fn end(mut self) -> String {
        self.process.start_kill().unwrap();
        self.process.wait().await.unwrap();
        self.whole_log().await
    }
}

async fn collect(output: impl AsyncRead + Unpin, log: Arc<Mutex<String>>) {
    let mut lines = BufReader::new(output).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let mut log = log.lock().unwrap();
        log.push_str(&line);
        log.push('\n');
    }
}
