//! A real PgBouncer in front of the local Postgres, in transaction mode.

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::process::Stdio;

use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::port::port_to_listen_on;
use crate::{database_name, eventually, superuser};

/// A PgBouncer with one connection to the server.
pub struct PgBouncer {
    address: SocketAddr,
    _process: Child,
    folder: std::path::PathBuf,
}

impl PgBouncer {
    /// `None` if the program is not installed, which is reported.
    pub async fn before(server: SocketAddr) -> Option<Self> {
        let address = SocketAddr::from(([127, 0, 0, 1], port_to_listen_on()));
        let folder = std::env::temp_dir().join(format!("pgbouncer-{:016x}", fastrand::u64(..)));
        fs::create_dir(&folder).unwrap();
        let file = folder.join("pgbouncer.ini");
        let ((user, password), name) = (superuser(), database_name());
        let settings = format!(
            "[databases]\n{name} = host={} port={} dbname={name} user={user} password={password}\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {}\nunix_socket_dir =\nauth_type = any\n\
             pool_mode = transaction\nmax_db_connections = 1\n",
            server.ip(),
            server.port(),
            address.port()
        );
        fs::write(&file, settings).unwrap();
        let mut command = Command::new("pgbouncer");
        if fs::metadata("/proc/self").is_ok_and(|owner| is_root(&owner)) {
            // It refuses to run as root.
            command.args(["--user", "nobody"]);
        }
        let process = command
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        let mut process = match process {
            Ok(process) => process,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                // Bypasses the test harness, which hides the output of tests that pass.
                let what = b"\nNOT RUN: a test of poolers: install pgbouncer\n";
                std::io::stderr().write_all(what).unwrap();
                return None;
            }
            Err(error) => panic!("pgbouncer: {error}"),
        };
        eventually("pgbouncer listens", async || {
            assert_eq!(process.try_wait().unwrap(), None, "pgbouncer ended");
            TcpStream::connect(address).await.ok()
        })
        .await;
        Some(Self {
            address,
            _process: process,
            folder,
        })
    }

    /// The URL of the test's database behind it.
    pub fn url(&self) -> String {
        let (address, name) = (self.address, database_name());
        format!("postgresql://anybody@{address}/{name}?sslmode=disable")
    }
}

fn is_root(owner: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    owner.uid() == 0
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.folder).ok();
    }
}
