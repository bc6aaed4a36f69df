//! A Postgres server of a test's own, for what must not happen to the server that all tests share.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::{Child, Command};
use tokio_postgres::{Client, NoTls};

use crate::port::port_to_listen_on;
use crate::{Database, eventually};

/// The name of the superuser, and of its database.
const SUPERUSER: &str = "postgres";

/// A server that listens on the loopback interface only. It is gone when it is dropped.
pub struct Postgres {
    programs: PathBuf,
    folder: PathBuf,
    port: u16,
    password: String,
    options: Vec<&'static str>,
    process: Option<Child>,
}

impl Postgres {
    /// Starts the programs of the server that `DATABASE_URL` names, with these settings (`max_connections=10`). `None`
    /// if this machine does not have them, or does not permit to run them; this is reported.
    pub async fn start(options: &[&'static str]) -> Option<Self> {
        let Some(programs) = programs().await else {
            // Bypasses the test harness, which hides the output of tests that pass.
            let what = b"\nNOT RUN: a test with a Postgres of its own: the programs of the server are not here\n";
            std::io::stderr().write_all(what).unwrap();
            return None;
        };
        let folder = std::env::temp_dir().join(format!("postgres-{:016x}", fastrand::u64(..)));
        fs::create_dir(&folder).unwrap();
        let mut postgres = Self {
            programs,
            folder,
            port: port_to_listen_on(),
            password: format!("{:016x}", fastrand::u64(..)),
            options: options.to_vec(),
            process: None,
        };
        postgres.init().await;
        postgres.run().await;
        Some(postgres)
    }

    /// Ends it as a crash does, and starts it again.
    pub async fn restart(&mut self) {
        let mut process = self.process.take().unwrap();
        let id = process.id().unwrap().to_string();
        // Postgres's immediate shutdown.
        let mut kill = Command::new("sh");
        kill.args(["-c", "kill -s QUIT \"$0\"", &id]);
        assert!(kill.status().await.unwrap().success());
        process.wait().await.unwrap();
        self.run().await;
    }

    /// The URL of its database.
    pub fn url(&self, user: &str, password: &str) -> String {
        let port = self.port;
        format!("postgresql://{user}:{password}@127.0.0.1:{port}/{SUPERUSER}?sslmode=disable")
    }

    /// The URL for its superuser.
    pub fn superuser_url(&self) -> String {
        self.url(SUPERUSER, &self.password)
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap()
    }

    /// A connection of its superuser.
    pub async fn client(&self) -> Client {
        self.connect().await.unwrap()
    }

    async fn connect(&self) -> Result<Client, tokio_postgres::Error> {
        let (client, connection) = tokio_postgres::connect(&self.superuser_url(), NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    async fn init(&self) {
        let file = self.folder.join("password");
        fs::write(&file, &self.password).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let mut initdb = unprivileged(&self.programs.join("initdb"));
        initdb
            .args([
                "--auth=scram-sha-256",
                "--no-locale",
                "--encoding=UTF8",
                "--username",
            ])
            .args([SUPERUSER, "--pwfile"])
            .args([&file, Path::new("--pgdata"), &self.folder.join("data")])
            .stdout(Stdio::null());
        assert!(initdb.status().await.unwrap().success(), "initdb");
    }

    async fn run(&mut self) {
        let mut server = unprivileged(&self.programs.join("postgres"));
        server.arg("-D").arg(self.folder.join("data"));
        server.args(["-p", &self.port.to_string()]);
        let always = [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "logging_collector=off",
        ];
        for option in always.iter().chain(&self.options) {
            server.args(["-c", option]);
        }
        let log = fs::File::options()
            .append(true)
            .create(true)
            .open(self.folder.join("log"));
        server.stderr(log.unwrap()).kill_on_drop(true);
        self.process = Some(server.spawn().unwrap());
        eventually("the Postgres of the test answers", async || {
            self.connect().await.ok()
        })
        .await;
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Its processes end with it.
        drop(self.process.take());
        fs::remove_dir_all(&self.folder).ok();
    }
}

/// The folder of the programs of the server that all tests share.
async fn programs() -> Option<PathBuf> {
    let database = Database::new().await;
    let sql = "SELECT setting FROM pg_catalog.pg_config WHERE name = 'BINDIR'";
    let rows = database.rows(sql).await;
    let folder = PathBuf::from(&rows[0][0]);
    let mut version = unprivileged(&folder.join("postgres"));
    let version = version.arg("--version").stdout(Stdio::null()).status();
    let runs = version.await.is_ok_and(|status| status.success());
    runs.then_some(folder)
}

/// A program that refuses to run as root: in a user namespace it sees another user id.
fn unprivileged(program: &Path) -> Command {
    if !fs::metadata("/proc/self").is_ok_and(|owner| owner.uid() == 0) {
        return Command::new(program);
    }
    let mut unshare = Command::new("unshare");
    unshare.args(["--user", "--map-user=1000"]).arg(program);
    unshare
}
