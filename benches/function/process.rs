//! A function as a process, and the Lambda Runtime API that drives it.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::http::Connection;
use crate::load::secs_on_processor;
use crate::messages::{Batch, MASK_KEY, Workload};
use crate::settings::LOG;

/// How long a function may take to ask for its first invocation.
const PATIENCE: Duration = Duration::from_secs(30);

/// The pause between two checks for a connection.
const POLL_INTERVAL: Duration = Duration::from_micros(20);

/// The command and environment of a function.
#[derive(Clone)]
pub(crate) struct Launch {
    program: PathBuf,
    arguments: Vec<PathBuf>,
    environment: Vec<(String, String)>,
}

impl Launch {
    /// A build of the function.
    pub(crate) fn ours(program: &str, database_url: &str) -> Self {
        Self::of(program.into(), Vec::new(), database_url)
    }

    /// A script of `benches/peers/`.
    pub(crate) fn peer(python: &Path, script: &str, database_url: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers");
        Self::of(python.to_owned(), vec![folder.join(script)], database_url)
    }

    fn of(program: PathBuf, arguments: Vec<PathBuf>, database_url: &str) -> Self {
        let launch = Self {
            program,
            arguments,
            environment: Vec::new(),
        };
        launch
            .set("AWS_LAMBDA_FUNCTION_NAME", "bench")
            .set("AWS_LAMBDA_FUNCTION_VERSION", "1")
            .set("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
            .set("AWS_EC2_METADATA_DISABLED", "true")
            .set("LAMBDA_TASK_ROOT", env!("CARGO_MANIFEST_DIR"))
            .set("DATABASE_URL", database_url)
            .set("MASK_KEY", MASK_KEY)
    }

    /// Replaces an earlier value.
    pub(crate) fn set(self, name: &str, value: &str) -> Self {
        let mut launch = self.without(name);
        launch.environment.push((name.to_owned(), value.to_owned()));
        launch
    }

    /// With the mapping of this workload.
    pub(crate) fn storing(&self, workload: &Workload) -> Self {
        let launch = self.clone();
        match &workload.mapping_file {
            Some(file) => launch.set("PIPELINE_FILE", &file.display().to_string()),
            None => launch,
        }
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.environment.retain(|(set, _)| set != name);
        self
    }
}

/// The answer to a batch without failed messages.
const NONE_FAILED: &str = r#"{"batchItemFailures":[]}"#;

/// Where a function registers itself as an extension.
/// Source: <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-extensions-api.html>.
const EXTENSIONS: &str = "/2020-01-01/extension";

/// A running function, killed at the end.
pub(crate) struct Function {
    process: Child,
    listener: TcpListener,
    connection: Option<Connection>,
}

impl Function {
    /// Returns when it has requested its first invocation.
    pub(crate) fn start(launch: &Launch) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let log = std::fs::File::create(LOG).unwrap();
        let process = Command::new(&launch.program)
            .args(&launch.arguments)
            .env_clear()
            .envs(launch.environment.iter().cloned())
            .env(
                "AWS_LAMBDA_RUNTIME_API",
                listener.local_addr().unwrap().to_string(),
            )
            .stdin(Stdio::null())
            .stdout(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", launch.program.display()));
        let mut function = Self {
            process,
            listener,
            connection: None,
        };
        function.read();
        function
    }

    /// How long it takes to answer a batch. That the answer names no failed message is checked afterwards.
    pub(crate) fn handle(&mut self, batch: &Batch) -> Duration {
        let started = Instant::now();
        let response = self.invoke(&batch.event);
        let took = started.elapsed();
        assert!(
            response == NONE_FAILED,
            "a wrong answer to {} messages: {response}; see {}",
            batch.messages.len(),
            LOG
        );
        took
    }

    /// Answers its `/next` with the event, and returns its response.
    fn invoke(&mut self, event: &str) -> String {
        let deadline = (SystemTime::now() + Duration::from_secs(60))
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_millis();
        let headers = format!(
            "lambda-runtime-aws-request-id: id\r\nlambda-runtime-deadline-ms: {deadline}\r\n\
             lambda-runtime-invoked-function-arn: arn\r\n"
        );
        self.answer("200 OK", &headers, event);
        let response = self.read();
        self.answer("202 Accepted", "", "");
        self.read();
        response
    }

    fn answer(&mut self, status: &str, headers: &str, body: &str) {
        let connection = self.connection.as_mut().expect("it has sent a request");
        connection.answer(status, headers, body);
    }

    /// The body of its next request, on whichever connection it sends it. There are no extensions here.
    fn read(&mut self) -> String {
        loop {
            match self.connection.as_mut().and_then(Connection::read) {
                Some(request) if request.path.starts_with(EXTENSIONS) => {
                    self.answer("404 Not Found", "", "");
                    self.connection = Some(self.accept());
                }
                Some(request) => return request.body,
                None => self.connection = Some(self.accept()),
            }
        }
    }

    fn accept(&mut self) -> Connection {
        let patience = Instant::now() + PATIENCE;
        loop {
            if let Ok((stream, _)) = self.listener.accept() {
                return Connection::new(stream);
            }
            let ended = self.process.try_wait().unwrap();
            assert!(
                ended.is_none() && Instant::now() < patience,
                "the function asks for no invocation ({ended:?}): see {}",
                LOG
            );
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// Seconds that its threads have run on a processor, for the user and the system.
    pub(crate) fn cpu_secs(&self) -> f64 {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.process.id())).unwrap();
        let secs = threads.map(|thread| secs_on_processor(&thread.unwrap().path()));
        secs.sum()
    }

    pub(crate) fn peak_mib(&self) -> f64 {
        peak_mib(self.process.id()).expect("a running process")
    }
}

/// Until the process has ended.
pub(crate) fn peak_mib(process: u32) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let (_, peak) = status.split_once("VmHWM:")?;
    let kib: f64 = peak.split_whitespace().next()?.parse().ok()?;
    Some(kib / 1024.0)
}

impl Drop for Function {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}
