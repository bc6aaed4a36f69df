//! What the tests stand on: the function as a process beside a Lambda Runtime API, a schema of Postgres, queues and
//! secrets of LocalStack, and stand-ins for what cannot be made to fail. Whatever a test makes here is gone when it
//! ends, also when it fails.
#![allow(
    dead_code,
    unused_imports,
    reason = "each test program uses a part of it"
)]

pub(crate) mod aws;
pub(crate) mod batch;
mod database;
pub(crate) mod dsql;
mod function;
pub(crate) mod hostile_path;
pub(crate) mod iam_front;
pub(crate) mod impostor;
mod mapping;
pub(crate) mod metrics;
pub(crate) mod pgbouncer;
pub(crate) mod port;
pub(crate) mod protocol;
pub(crate) mod proxy;
mod runtime_api;
pub(crate) mod secrets_manager;
pub(crate) mod sqs_double;
pub(crate) mod statements;
pub(crate) mod tls_front;
pub(crate) mod yardstick;

use std::fmt::Debug;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use ::mapping::internals::{Content, Origin};
use ::mapping::{MaskKey, Origins};
use tokio::runtime::Builder;

pub(crate) use database::{Database, database_name, database_url, server_address, superuser};
pub(crate) use function::{Function, Setup};
pub(crate) use mapping::Mapping;
pub(crate) use runtime_api::{Asked, Outcome};

/// 64 bytes, the mask key of every test.
pub(crate) const MASK_KEY: &str =
    "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Pw==";

/// How long a test waits for an answer before it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(600);

/// Signs and verifies origins with a mask key in base64.
pub(crate) fn origins(mask_key: &str) -> Origins {
    let key = (!mask_key.is_empty()).then(|| MaskKey::from_base64(mask_key).unwrap().into());
    Origins::new(key.as_ref())
}

/// The text of an origin that is signed with this key, for a message without a group and attributes of its own.
pub(crate) fn signed_origin(mask_key: &str, origin: Origin, body: &str) -> String {
    origins(mask_key).text(origin, &Content::new(body, None))
}

/// A program as built by cargo, or where `make test` keeps it: a concurrent build for the local stack moves away what
/// cargo has built.
pub(crate) fn program(name: &str, built: &str) -> PathBuf {
    let kept = std::env::var_os("TESTED_PROGRAMS");
    kept.map_or_else(|| built.into(), |folder| PathBuf::from(folder).join(name))
}

/// The memory of a process as Linux counts it under a name: `RssAnon` what it has allocated, `VmHWM` its peak.
/// Source: <https://man7.org/linux/man-pages/man5/proc_pid_status.5.html>.
pub(crate) fn memory_kib(process: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let mut lines = status.lines().filter_map(|line| line.split_once(':'));
    let (_, memory) = lines.find(|(found, _)| *found == name).unwrap();
    memory.trim().strip_suffix(" kB").unwrap().parse().unwrap()
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
