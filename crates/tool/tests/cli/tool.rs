//! Runs the tool as a person would: `Tool::on(&database).run("check --json").await`.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Stdio;

use serde_json::Value;
use tokio::io::{
    AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader,
};
use tokio::process::{Child, Command};

use testkit::{Database, MASK_KEY, TempFile, eventually, program};

/// The tool itself.
pub(crate) fn path() -> PathBuf {
    program("sqs-to-postgres")
}

/// How the tool is started.
pub(crate) struct Tool {
    environment: HashMap<String, String>,
    input: Vec<u8>,
    _mapping: Option<TempFile>,
}

/// How it ended, and what it wrote.
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Tool {
    /// Without any setting.
    pub(crate) fn bare() -> Self {
        let bare = Self {
            environment: HashMap::new(),
            input: Vec::new(),
            _mapping: None,
        };
        // Other machines may have such a service.
        bare.set("AWS_EC2_METADATA_DISABLED", "true")
    }

    /// The database and a mask key.
    pub(crate) fn on(database: &Database) -> Self {
        let tool = Self::bare().set("DATABASE_URL", &database.url());
        tool.set("MASK_KEY", MASK_KEY)
    }

    /// With access to LocalStack.
    pub(crate) fn on_aws(self) -> Self {
        let is_aws = |name: &str| name.starts_with("AWS_");
        let variables = std::env::vars().filter(|(name, _)| is_aws(name));
        variables.fold(self, |tool, (name, value)| tool.set(&name, &value))
    }

    pub(crate) fn set(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Replaces the shipped mapping.
    pub(crate) fn mapping(self, mapping: &(impl ToString + ?Sized)) -> Self {
        let file = TempFile::new(&mapping.to_string());
        let path = file.0.display().to_string();
        Self {
            _mapping: Some(file),
            ..self.set("PIPELINE_FILE", &path)
        }
    }

    /// Its input on stdin.
    pub(crate) fn input(self, text: &(impl AsRef<[u8]> + ?Sized)) -> Self {
        Self {
            input: text.as_ref().to_owned(),
            ..self
        }
    }

    /// Runs it with these arguments, separated by spaces.
    pub(crate) async fn run(&self, arguments: &str) -> Ended {
        self.start(arguments).end().await
    }

    /// Starts it, for a test that does something in the meantime.
    pub(crate) fn start(&self, arguments: &str) -> Running {
        self.spawn(Command::new(path()), arguments)
    }

    /// Starts it as the first process of a container; `None` if this machine does not permit that.
    pub(crate) async fn start_in_container(&self, arguments: &str) -> Option<Running> {
        let unshare = || {
            let mut unshare = Command::new("unshare");
            unshare.args([
                "--user",
                "--map-root-user",
                "--pid",
                "--fork",
                "--kill-child",
            ]);
            unshare
        };
        let allowed = unshare().arg("true").status().await;
        let mut container = unshare();
        container.arg(path());
        let is_allowed = allowed.is_ok_and(|status| status.success());
        is_allowed.then(|| self.spawn(container, arguments))
    }

    fn spawn(&self, mut command: Command, arguments: &str) -> Running {
        let mut process = command
            .args(arguments.split_whitespace())
            // Where the shipped mapping is.
            .current_dir(testkit::ROOT)
            .env_clear()
            .envs(&self.environment)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let (mut stdin, input) = (process.stdin.take().unwrap(), self.input.clone());
        tokio::spawn(async move {
            // A command that does not read its input may close it.
            stdin.write_all(&input).await.ok();
        });
        Running {
            out: Box::new(BufReader::new(process.stdout.take().unwrap())),
            process,
        }
    }
}

/// The tool at work.
pub(crate) struct Running {
    process: Child,
    out: Box<dyn AsyncBufRead + Send + Unpin>,
}

impl Running {
    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.process.id().unwrap()
    }

    /// The next line that it writes.
    pub(crate) async fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).await.unwrap();
        line
    }

    /// What it writes to stderr, until this is in it.
    pub(crate) async fn error_until(&mut self, text: &str) -> String {
        let (mut seen, mut part) = (Vec::new(), [0; 1024]);
        loop {
            let err = self.process.stderr.as_mut().unwrap();
            let read = err.read(&mut part).await.unwrap();
            seen.extend(&part[..read]);
            let shown = String::from_utf8_lossy(&seen);
            if shown.contains(text) {
                return shown.into_owned();
            }
            assert!(read > 0, "{text:?} is not in: {shown}");
        }
    }

    /// Waits until it handles SIGTERM: before that the signal kills it, like any program.
    pub(crate) async fn handles_signals(&self) {
        const SIGTERM: u32 = 15;
        let status = format!("/proc/{}/status", self.id());
        eventually("it handles signals", async || {
            let status = std::fs::read_to_string(&status).ok()?;
            let caught = status
                .lines()
                .find_map(|line| line.strip_prefix("SigCgt:"))?;
            let caught = u64::from_str_radix(caught.trim(), 16).ok()?;
            (caught >> (SIGTERM - 1) & 1 == 1).then_some(())
        })
        .await;
    }

    /// Sends it a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        assert!(kill(name, &self.id().to_string()));
    }

    /// Sends a signal to the first process of its container again and again, until it ends.
    pub(crate) async fn signal_in_container(mut self, name: &str) {
        let id = self.id();
        let children = format!("/proc/{id}/task/{id}/children");
        eventually(&format!("{name} ends it"), async || {
            if let Ok(child) = std::fs::read_to_string(&children) {
                kill(name, child.trim());
            }
            self.process.try_wait().unwrap()
        })
        .await;
    }

    /// Waits until it ends; `None` if a signal ended it.
    pub(crate) async fn end_or_killed(mut self) -> Option<i32> {
        let mut stderr = self.process.stderr.take().unwrap();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let (_, _, status) = tokio::join!(
            self.out.read_to_end(&mut out),
            stderr.read_to_end(&mut err),
            self.process.wait()
        );
        status.unwrap().code()
    }

    /// Its current memory; `None` once it has ended.
    pub(crate) fn resident_bytes(&self) -> Option<u64> {
        const PAGE_BYTES: u64 = 4_096;
        let path = format!("/proc/{}/statm", self.process.id()?);
        let pages = std::fs::read_to_string(path).ok()?;
        let pages: u64 = pages.split_whitespace().nth(1)?.parse().ok()?;
        (pages > 0).then_some(pages * PAGE_BYTES)
    }

    /// Stops reading its output, and waits until it ends.
    pub(crate) async fn end_unread(mut self) -> Ended {
        self.out = Box::new(tokio::io::empty());
        self.end().await
    }

    /// Waits until it ends, and returns its unread output.
    pub(crate) async fn end(mut self) -> Ended {
        let mut err = String::new();
        let mut out = String::new();
        let mut stderr = self.process.stderr.take().unwrap();
        let (read_out, read_err, status) = tokio::join!(
            self.out.read_to_string(&mut out),
            stderr.read_to_string(&mut err),
            self.process.wait()
        );
        read_out.unwrap();
        read_err.unwrap();
        let code = status.unwrap().code().expect("it was killed");
        Ended { code, out, err }
    }
}

/// Whether the signal could be sent. By the shell itself, because a minimal system has no program for it.
fn kill(name: &str, id: &str) -> bool {
    let kill = std::process::Command::new("sh")
        .args(["-c", "kill -s \"$0\" \"$1\"", name, id])
        .stderr(Stdio::null())
        .status();
    kill.unwrap().success()
}

impl Ended {
    /// Fails if it ended with another code.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}{}", self.out, self.err);
        self
    }

    /// The JSON objects that it wrote, one per line.
    pub(crate) fn json(&self) -> Vec<Value> {
        let lines = self.out.lines();
        lines
            .map(|line| serde_json::from_str(line).expect(line))
            .collect()
    }
}
