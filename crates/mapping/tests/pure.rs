//! The mapping reads no file, no clock and no socket: what it is built from cannot.
#![allow(clippy::expect_used, clippy::unwrap_used, missing_docs)]

use std::process::Command;

/// Crates that reach the network, run threads or talk to a service, by how their names begin.
const IMPURE: [&str; 11] = [
    "async-",
    "aws",
    "axum",
    "futures-",
    "hyper",
    "lambda",
    "mio",
    "native-tls",
    "openssl",
    "rustls",
    "tokio",
];

#[test]
fn the_mapping_is_built_without_network_and_runtime() {
    let tree = Command::new(env!("CARGO"))
        .args([
            "tree",
            "-p",
            env!("CARGO_PKG_NAME"),
            "-e",
            "normal",
            "--prefix",
            "none",
        ])
        .args(["--locked", "--offline", "--format", "{p} {f}"])
        .output()
        .unwrap();
    let text = String::from_utf8(tree.stdout).unwrap();
    let names: Vec<_> = text
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    let reason = String::from_utf8_lossy(&tree.stderr).into_owned();
    assert!(
        names.contains(&"postgres-types"),
        "cargo lists no dependencies: {reason}"
    );
    let impure = |name: &&&str| {
        name.starts_with("socket2") || IMPURE.iter().any(|impure| name.starts_with(impure))
    };
    assert_eq!(names.iter().find(impure), None);
    let jiff = text
        .lines()
        .find(|line| line.starts_with("jiff v"))
        .unwrap();
    // jaq-std also turns on what reads the zones of the machine. Only functions use that which no program can call.
    assert!(jiff.contains("tzdb-bundle-always"), "{jiff}");
}
