//! A Postgres of Debian's packages, which have extensions that the local stack has not.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::{Child, Command};
use tokio_postgres::{Client, NoTls};

use crate::eventually;
use crate::port::port_to_listen_on;

/// Where Debian installs Postgres, and the files of its extensions; each has a folder for each version.
const PROGRAMS: &str = "/usr/lib/postgresql";
const FILES: &str = "/usr/share/postgresql";

/// The user `nobody`, and its group: Postgres refuses to run as root.
const NOBODY: u32 = 65_534;

/// A server that has these extensions in its database.
pub struct ExtensionServer {
    port: u16,
    _process: Child,
    folder: PathBuf,
}

impl ExtensionServer {
    /// `None` if a package is not installed, which is reported.
    pub async fn with(extensions: &[&str], packages: &str) -> Option<Self> {
        let Some(version) = version_with(extensions) else {
            left_out(packages);
            return None;
        };
        let programs = Path::new(PROGRAMS).join(version).join("bin");
        let folder = std::env::temp_dir().join(format!("extensions-{:016x}", fastrand::u64(..)));
        fs::create_dir(&folder).unwrap();
        let is_root = fs::metadata("/proc/self").is_ok_and(|owner| owner.uid() == 0);
        if is_root {
            chown(&folder, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let data = folder.join("data");
        let command = |name: &str| {
            let mut command = Command::new(programs.join(name));
            command.arg("-D").arg(&data).current_dir(&folder);
            command
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .kill_on_drop(true);
            if is_root {
                command.uid(NOBODY).gid(NOBODY);
            }
            command
        };
        let mut initdb = command("initdb");
        initdb.args([
            "-U",
            "postgres",
            "--auth=trust",
            "-E",
            "UTF8",
            "--locale=C.UTF-8",
            "-N",
        ]);
        assert!(initdb.status().await.unwrap().success(), "initdb failed");
        let port = port_to_listen_on();
        let mut postgres = command("postgres");
        postgres.args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
        postgres.args(["-c", "unix_socket_directories=", "-c", "fsync=off"]);
        let mut process = postgres.spawn().unwrap();
        eventually("a Postgres with extensions listens", async || {
            assert_eq!(process.try_wait().unwrap(), None, "postgres ended");
            try_connect(&url(port)).await
        })
        .await;
        let server = Self {
            port,
            _process: process,
            folder,
        };
        let client = connect(&server.url()).await;
        for extension in extensions {
            let create = format!("CREATE EXTENSION {extension}");
            client.batch_execute(&create).await.unwrap();
        }
        Some(server)
    }

    /// The URL of its database.
    pub fn url(&self) -> String {
        url(self.port)
    }
}

impl Drop for ExtensionServer {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.folder).ok();
    }
}

fn url(port: u16) -> String {
    format!("postgresql://postgres@127.0.0.1:{port}/postgres?sslmode=disable")
}

/// Types of columns that ignore case, of which Postgres itself has none, on a server [`ignoring_case`].
pub const CASELESS_TYPES: [&str; 2] = ["citext", "text COLLATE ci"];

/// A server that has them, and a client of it.
pub async fn ignoring_case() -> Option<(ExtensionServer, Client)> {
    let server = ExtensionServer::with(&["citext"], "postgresql").await?;
    let client = connect(&server.url()).await;
    let collation =
        "CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false)";
    client.batch_execute(collation).await.unwrap();
    Some((server, client))
}

/// Reports that a test was left out.
pub fn left_out(packages: &str) {
    // Bypasses the test harness, which hides the output of tests that pass.
    let what = format!("\nNOT RUN: a test of extensions: install {packages}\n");
    std::io::stderr().write_all(what.as_bytes()).unwrap();
}

pub async fn connect(url: &str) -> Client {
    try_connect(url).await.unwrap()
}

async fn try_connect(url: &str) -> Option<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.ok()?;
    tokio::spawn(connection);
    Some(client)
}

/// A version of Postgres that has all of the extensions.
fn version_with(extensions: &[&str]) -> Option<PathBuf> {
    let versions = fs::read_dir(PROGRAMS).ok()?;
    let names = versions.filter_map(|version| Some(PathBuf::from(version.ok()?.file_name())));
    let mut installed = names.filter(|version| {
        let files = Path::new(FILES).join(version).join("extension");
        let has = |extension: &&str| files.join(format!("{extension}.control")).exists();
        let program = Path::new(PROGRAMS).join(version).join("bin/postgres");
        program.exists() && extensions.iter().all(has)
    });
    installed.next()
}
