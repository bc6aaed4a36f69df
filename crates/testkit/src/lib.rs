//! What the tests stand on: the function as a process beside a Lambda Runtime API, a schema of Postgres, queues and
//! secrets of LocalStack, and stand-ins for what cannot be made to fail. Whatever a test makes here is gone when it
//! ends, also when it fails.
#![allow(
    clippy::expect_used,
    clippy::new_without_default,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs,
    reason = "only tests use it"
)]

pub mod aws;
pub mod batch;
mod database;
pub mod dsql;
pub mod extensions;
mod function;
pub mod hostile_path;
pub mod http;
pub mod iam_front;
pub mod impostor;
mod mapping;
pub mod metrics;
pub mod pgbouncer;
pub mod port;
pub mod postgres;
pub mod protocol;
pub mod proxy;
mod runtime_api;
pub mod s3;
pub mod secrets_manager;
pub mod sqs_double;
pub mod statements;
pub mod tls_front;
pub mod yardstick;

use std::fmt::Debug;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use ::mapping::internals::{Content, Origin};
use ::mapping::{MaskKey, Origins};
use tokio::runtime::Builder;

pub use database::{Database, database_name, database_url, server_address, superuser};
pub use function::{Function, Setup};
pub use mapping::Mapping;
pub use runtime_api::{Asked, Outcome};

/// 64 bytes, the mask key of every test.
pub const MASK_KEY: &str =
    "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Pw==";

/// How long a test waits for an answer before it fails.
pub const PATIENCE: Duration = Duration::from_secs(600);

/// Signs and verifies origins with a mask key in base64.
pub fn origins(mask_key: &str) -> Origins {
    let key = (!mask_key.is_empty()).then(|| MaskKey::from_base64(mask_key).unwrap().into());
    Origins::new(key.as_ref())
}

/// The text of an origin that is signed with this key, for a message without a group and attributes of its own.
pub fn signed_origin(mask_key: &str, origin: Origin, body: &str) -> String {
    origins(mask_key).text(origin, &Content::new(body, None))
}

/// The folder of the repository, with events, examples and the shipped mapping.
pub const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// A program of this repository: where `make test` keeps it, because a concurrent build for the local stack moves away
/// what cargo has built; or beside the test, where cargo has built it.
pub fn program(name: &str) -> PathBuf {
    let kept = std::env::var_os("TESTED_PROGRAMS").map(PathBuf::from);
    let built = || {
        let test = std::env::current_exe().unwrap();
        test.ancestors().nth(2).unwrap().to_owned()
    };
    let program = kept.unwrap_or_else(built).join(name);
    assert!(
        program.exists(),
        "{}: build it first, with `cargo build --workspace`",
        program.display()
    );
    program
}

/// The memory of a process as Linux counts it under a name: `RssAnon` what it has allocated, `VmHWM` its peak.
/// Source: <https://man7.org/linux/man-pages/man5/proc_pid_status.5.html>.
pub fn memory_kib(process: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let mut lines = status.lines().filter_map(|line| line.split_once(':'));
    let (_, memory) = lines.find(|(found, _)| *found == name).unwrap();
    memory.trim().strip_suffix(" kB").unwrap().parse().unwrap()
}

/// Repeats a check until it returns something, up to the patience of a test.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
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

/// Fails, and shows the whole text, if it lacks this part.
#[track_caller]
pub fn assert_contains(text: &(impl AsRef<str> + ?Sized), part: &(impl AsRef<str> + ?Sized)) {
    let (text, part) = (text.as_ref(), part.as_ref());
    assert!(text.contains(part), "{part:?} is not in: {text}");
}

/// The same for its start.
#[track_caller]
pub fn assert_starts(text: &(impl AsRef<str> + ?Sized), start: &(impl AsRef<str> + ?Sized)) {
    let (text, start) = (text.as_ref(), start.as_ref());
    assert!(
        text.starts_with(start),
        "{start:?} is not at the start of: {text}"
    );
}

/// The same for its end.
#[track_caller]
pub fn assert_ends(text: &(impl AsRef<str> + ?Sized), end: &(impl AsRef<str> + ?Sized)) {
    let (text, end) = (text.as_ref(), end.as_ref());
    assert!(text.ends_with(end), "{end:?} is not at the end of: {text}");
}

/// Cleans up in a `drop`, whether the test failed or not, in a runtime of its own: the test's stands still meanwhile,
/// with all connections that were made in it. If it fails, so does a test that has not failed already.
fn clean_up<E: Debug>(work: impl Future<Output = Result<(), E>> + Send + 'static) {
    let runtime = Builder::new_current_thread().enable_all().build();
    let done = thread::spawn(move || runtime.unwrap().block_on(work).unwrap()).join();
    if !thread::panicking() {
        done.expect("what a test has made cannot be removed");
    }
}

/// A file that is removed when the test ends.
pub struct TempFile(pub std::path::PathBuf);

impl TempFile {
    pub fn new(text: &str) -> Self {
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
