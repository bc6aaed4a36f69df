//! The machine and the versions, without which figures mean little.

use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::database::Database;

#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) date: String,
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) memory_gib: f64,
    pub(crate) kernel: String,
    pub(crate) rustc: String,
    pub(crate) postgres: String,
    /// `fsync` and `synchronous_commit`.
    pub(crate) durability: String,
    /// Of the peers, where they ran.
    pub(crate) peers: Option<String>,
    /// Whether the function was built without optimisation, so that its figures mean nothing.
    pub(crate) is_debug_build: bool,
}

impl Machine {
    pub(crate) async fn look(database: &Database, python: Option<&Path>) -> Self {
        let durability = "'fsync ' || current_setting('fsync') || ', synchronous_commit ' || current_setting('synchronous_commit')";
        Self {
            date: database.show("current_date").await,
            cpu: field_of("/proc/cpuinfo", "model name"),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_gib: kib_of(&field_of("/proc/meminfo", "MemTotal")) / f64::from(1 << 20),
            kernel: format!(
                "Linux {}",
                std::fs::read_to_string("/proc/sys/kernel/osrelease")
                    .unwrap_or_default()
                    .trim()
            ),
            rustc: output(Command::new("rustc").arg("--version")),
            postgres: database.show("split_part(version(), ' on ', 1)").await,
            durability: database.show(durability).await,
            peers: python.map(peer_versions),
            is_debug_build: cfg!(debug_assertions),
        }
    }

    /// For the name of a file: `2026-11-21-amd-epyc`.
    pub(crate) fn slug(&self) -> String {
        let name = format!("{}-{}", self.date, self.cpu).to_lowercase();
        let words: Vec<&str> = name
            .split(|letter: char| !letter.is_ascii_alphanumeric())
            .filter(|word| !word.is_empty())
            .collect();
        words.join("-")
    }

    /// In a sentence.
    pub(crate) fn describe(&self) -> String {
        let peers = self.peers.as_deref();
        format!(
            "{}, {} cores, {:.0} GiB, {}; {} on loopback ({}); {}{}; {}",
            self.cpu,
            self.cores,
            self.memory_gib,
            self.kernel,
            self.postgres,
            self.durability,
            self.rustc.split(" (").next().unwrap_or_default(),
            peers
                .map(|versions| format!("; {versions}"))
                .unwrap_or_default(),
            self.date
        )
    }
}

/// The value of the first such line of a file of `/proc`.
fn field_of(file: &str, name: &str) -> String {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let value = line.and_then(|rest| rest.split_once(':'));
    value
        .map_or("unknown", |(_, value)| value.trim())
        .to_owned()
}

fn kib_of(text: &str) -> f64 {
    text.split_whitespace()
        .next()
        .and_then(|number| number.parse().ok())
        .unwrap_or_default()
}

fn peer_versions(python: &Path) -> String {
    let script = "import platform, importlib.metadata as m; print(', '.join(['Python ' + platform.python_version()] + \
                  [f'{n} {m.version(n)}' for n in ('psycopg', 'orjson', 'aws-lambda-powertools')]))";
    output(Command::new(python).args(["-c", script]))
}

fn output(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
