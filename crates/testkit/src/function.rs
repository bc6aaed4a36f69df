//! The function as a process beside a Runtime API: `Setup::on(&database).mapping(&mapping).start().await`.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};

use crate::port::Closed;
use crate::runtime_api::{Asked, Invocation, Outcome, Served, serve};
use crate::{Database, MASK_KEY, PATIENCE, ROOT, TempFile, eventually, program};

/// Until the deadline of an invocation.
const TIME: Duration = Duration::from_secs(180);

/// The message of the log line of messages that are backed off.
const BACKED_OFF: &str = "visibility timeout extended";

/// The status with which the Runtime API accepts an answer.
const ACCEPTED: u16 = 202;

/// How often a start that a busy machine has delayed is repeated.
const MAX_STARTS: usize = 10;

/// How the function is started.
#[derive(Clone)]
pub struct Setup {
    command: Vec<PathBuf>,
    environment: HashMap<String, String>,
    _mapping: Option<Arc<TempFile>>,
    has_extensions: bool,
    _closed: Option<Arc<Closed>>,
}

impl Setup {
    /// Only with the variables that Lambda sets.
    pub fn bare() -> Self {
        let lambda = [
            ("AWS_LAMBDA_FUNCTION_NAME", "sqs-to-postgres"),
            ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
            ("AWS_DEFAULT_REGION", "eu-west-1"),
            // Beside the function is the shipped mapping.
            ("LAMBDA_TASK_ROOT", ROOT),
            // Lambda has no such service, and other machines may.
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ];
        let environment = lambda
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Self {
            command: Vec::new(),
            environment,
            _mapping: None,
            has_extensions: true,
            _closed: None,
        }
    }

    /// The database and a mask key.
    pub fn on(database: &Database) -> Self {
        Self::bare()
            .set("DATABASE_URL", &database.url())
            .set("MASK_KEY", MASK_KEY)
    }

    /// A database that refuses connections.
    pub fn unavailable() -> Self {
        let closed = Closed::new();
        let url = format!("postgresql://u:p@{}/d?sslmode=disable", closed.address());
        let setup = Self::bare().set("DATABASE_URL", &url);
        Self {
            _closed: Some(closed.into()),
            ..setup.set("MASK_KEY", MASK_KEY)
        }
    }

    /// Another function, or another build of it: a program with its arguments.
    pub fn command(self, command: Vec<PathBuf>) -> Self {
        Self { command, ..self }
    }

    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.environment.remove(name);
        self
    }

    /// Replaces the shipped mapping.
    pub fn mapping(self, mapping: &(impl ToString + ?Sized)) -> Self {
        let file = TempFile::new(&mapping.to_string());
        let path = file.0.display().to_string();
        Self {
            _mapping: Some(file.into()),
            ..self.set("PIPELINE_FILE", &path)
        }
    }

    /// With a Runtime API without extensions, like some emulators.
    pub fn without_extensions(self) -> Self {
        Self {
            has_extensions: false,
            ..self
        }
    }

    pub async fn start(self) -> Function {
        Function::start(self).await
    }

    /// Starts the function and waits until it ends by itself. If the machine is too busy to connect in the time of a
    /// start, that is left to the first batch: then it is started again.
    pub async fn fail_to_start(mut self) -> (ExitStatus, String) {
        for _ in 0..MAX_STARTS {
            let mut function = self.start().await;
            let goes_on = function.asks_for_an_invocation();
            tokio::select! {
                status = function.process.wait() => return (status.unwrap(), function.log()),
                () = goes_on => {}
            }
            let log = function.log();
            assert!(
                log.contains("retry with the first batch"),
                "it started: {log}"
            );
            self = function.setup;
        }
        panic!("each of {MAX_STARTS} starts is left to the first batch");
    }
}

/// The real `bootstrap`, killed when the test ends.
pub struct Function {
    process: Child,
    invocations: std::sync::mpsc::Sender<Invocation>,
    outcomes: mpsc::UnboundedReceiver<Outcome>,
    asked: watch::Receiver<Vec<Asked>>,
    handled: mpsc::UnboundedReceiver<Duration>,
    output: Output,
    setup: Setup,
    /// When its process was started.
    pub started: Instant,
}

impl Function {
    /// A database with the tables of a mapping, and the function with it.
    pub async fn with_tables_of(mapping: &str) -> (Database, Self) {
        let database = Database::with_tables_of(mapping).await;
        let function = Setup::on(&database).mapping(mapping).start().await;
        (database, function)
    }

    async fn start(setup: Setup) -> Self {
        let Served {
            address,
            invocations,
            outcomes,
            asked,
            handled,
        } = serve(setup.has_extensions);
        let output = Output::new();
        let command = match &setup.command[..] {
            [] => vec![program("bootstrap")],
            command => command.to_vec(),
        };
        let started = Instant::now();
        let process = Command::new(&command[0])
            .args(&command[1..])
            .env_clear()
            .envs(&setup.environment)
            .env("AWS_LAMBDA_RUNTIME_API", address.to_string())
            .stdin(Stdio::null())
            .stdout(output.stdio())
            .stderr(output.stdio())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self {
            process,
            invocations,
            outcomes,
            asked,
            handled,
            output,
            setup,
            started,
        }
    }

    pub async fn invoke(&mut self, event: &Value) -> Outcome {
        self.invoke_within(event, TIME).await
    }

    /// Invokes with this much time until the deadline, which begins when the function has started.
    pub async fn invoke_within(&mut self, event: &Value, time: Duration) -> Outcome {
        self.send(event, time);
        self.outcome().await
    }

    /// Invokes it, as SQS delivers again, until SQS has backed off every message that it should: a busy machine's
    /// LocalStack can need longer than the time that an invocation leaves to it. Returns the log line too.
    pub async fn invoke_until_backed_off(
        &mut self,
        event: &Value,
        time: Duration,
    ) -> (Outcome, Value) {
        let patience = Instant::now() + PATIENCE;
        loop {
            let before = self.lines(BACKED_OFF).len();
            let outcome = self.invoke_within(event, time).await;
            let after = self.lines(BACKED_OFF).split_off(before);
            if let Some(line) = after.into_iter().find(|line| line["failed"] == 0) {
                return (outcome, line);
            }
            assert!(Instant::now() < patience, "not backed off: {}", self.log());
        }
    }

    /// The time that it takes for a batch, from its delivery until it asks for the next one.
    pub async fn handle(&mut self, payload: &str) -> Duration {
        self.deliver(payload.to_owned(), TIME, ACCEPTED);
        self.outcome().await.assert_none_failed();
        self.handled.recv().await.unwrap()
    }

    async fn outcome(&mut self) -> Outcome {
        tokio::select! {
            biased; // It may end after its answer.
            outcome = self.outcomes.recv() => outcome.unwrap(),
            status = self.process.wait() => panic!("the function ended with {status:?}: {}", self.log()),
            () = tokio::time::sleep(PATIENCE) => panic!("no answer: {}", self.log()),
        }
    }

    /// Queues an invocation without waiting for the answer.
    pub fn send(&self, event: &Value, time: Duration) {
        self.deliver(event.to_string(), time, ACCEPTED);
    }

    /// Invokes it, and answers its answer with this status.
    pub async fn invoke_and_answer(&mut self, event: &Value, status: u16) -> Outcome {
        self.deliver(event.to_string(), TIME, status);
        self.outcome().await
    }

    fn deliver(&self, payload: String, time: Duration, accepted: u16) {
        let invocation = Invocation {
            payload,
            time,
            accepted,
        };
        self.invocations.send(invocation).unwrap();
    }

    /// Waits until it has requested its first invocation.
    pub async fn ready(&mut self) {
        let ready = self.asks_for_an_invocation();
        tokio::select! {
            () = ready => {}
            status = self.process.wait() => panic!("the function ended with {status:?}: {}", self.log()),
            () = tokio::time::sleep(PATIENCE) => panic!("it asks for no invocation: {}", self.log()),
        }
    }

    fn asks_for_an_invocation(&self) -> impl Future<Output = ()> + use<> {
        let mut asked = self.asked.clone();
        async move { drop(asked.wait_for(|asked| asked.contains(&Asked::Next)).await) }
    }

    /// Its requests to the Runtime API so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.borrow().clone()
    }

    /// Sends it a signal by its name. By the shell itself, because a minimal system has no program for it.
    pub async fn signal(&self, name: &str) {
        let mut kill = Command::new("sh");
        kill.args(["-c", "kill -s \"$0\" \"$1\"", name, &self.id().to_string()]);
        assert!(kill.status().await.unwrap().success());
    }

    /// Waits until it ends by itself.
    pub async fn ends(&mut self) -> ExitStatus {
        let ended = tokio::time::timeout(PATIENCE, self.process.wait()).await;
        ended.expect("the function goes on").unwrap()
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id().unwrap()
    }

    /// Its output so far.
    pub fn log(&self) -> String {
        self.output.text()
    }

    /// The JSON lines with this message.
    pub fn lines(&self, message: &str) -> Vec<Value> {
        let lines = self.log();
        let json = lines
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        json.filter(|line| line["message"] == message).collect()
    }

    /// The JSON lines with this message, once there are this many: some are written after the answer.
    pub async fn lines_of(&self, message: &str, count: usize) -> Vec<Value> {
        eventually(&format!("{count} lines {message:?}"), async || {
            Some(self.lines(message)).filter(|lines| lines.len() >= count)
        })
        .await
    }

    /// Ends it and returns all its output.
    pub async fn end(mut self) -> String {
        self.process.start_kill().unwrap();
        self.process.wait().await.unwrap();
        self.log()
    }
}

/// What a program writes: in a file without a name, not a pipe, so that whatever it wrote before it answered is there
/// when the answer comes.
struct Output(File);

impl Output {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("output-{:016x}", fastrand::u64(..)));
        let mut options = OpenOptions::new();
        let file = options.read(true).append(true).create_new(true).open(&path);
        std::fs::remove_file(&path).unwrap();
        Self(file.unwrap())
    }

    fn stdio(&self) -> Stdio {
        self.0.try_clone().unwrap().into()
    }

    fn text(&self) -> String {
        let mut bytes = vec![0; self.0.metadata().unwrap().len() as usize];
        self.0.read_exact_at(&mut bytes, 0).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}
