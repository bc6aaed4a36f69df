//! What is tested is what is shipped.
#![allow(clippy::expect_used, clippy::unwrap_used, missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// What cargo builds of each dependency: by name and version its features.
fn built(options: &[&str]) -> BTreeMap<String, BTreeSet<String>> {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline"])
        .args(["--prefix", "none", "--format", "{p}|{f}"])
        .args(options)
        .output()
        .unwrap();
    let text = String::from_utf8(tree.stdout).unwrap();
    let mut built: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in text.lines() {
        // Where it was listed before, this follows.
        let line = line.trim_end_matches(" (*)");
        let Some((package, features)) = line.split_once('|') else {
            continue;
        };
        let features = features.split(',').map(str::to_owned);
        built
            .entry(package.to_owned())
            .or_default()
            .extend(features);
    }
    let reason = String::from_utf8_lossy(&tree.stderr);
    assert!(!built.is_empty(), "cargo lists no dependencies: {reason}");
    built
}

/// What a build of the whole workspace, as for the tests, gives to a dependency of a package besides what it is shipped
/// with.
const ADDED: [(&str, &str, &[&str]); 4] = [
    // Only the tool is shipped with these: a function has a role, and does not sign in as people do.
    (
        "sqs-to-postgres",
        "aws-config ",
        &["credentials-login", "credentials-process", "sso"],
    ),
    // A name for `std` alone, which the spans of the tool turn on.
    ("sqs-to-postgres", "futures-executor ", &["default"]),
    ("sqs-to-postgres", "regex-automata ", OF_CRITERION),
    ("sqs-to-postgres-tool", "regex-automata ", OF_CRITERION),
];

/// For the regular expressions of the benches. What is shipped only searches in automata that were built before.
const OF_CRITERION: &[&str] = &[
    "alloc",
    "meta",
    "nfa-pikevm",
    "nfa-thompson",
    "std",
    "syntax",
];

#[test]
fn the_function_and_the_tool_are_tested_with_the_features_with_which_they_are_released() {
    let tested = built(&["--workspace", "--edges", "normal,build,dev"]);
    for package in ["sqs-to-postgres", "sqs-to-postgres-tool"] {
        let shipped = built(&["--package", package, "--edges", "normal"]);
        assert!(shipped.len() > 100, "{} dependencies", shipped.len());
        for (dependency, mut features) in shipped {
            for (of, with, added) in ADDED {
                if of == package && dependency.starts_with(with) {
                    let is_new = |feature: &&str| features.insert((*feature).to_owned());
                    assert!(added.iter().all(is_new), "{package}: {dependency}");
                }
            }
            let tested = tested.get(&dependency);
            assert_eq!(tested, Some(&features), "{package}: {dependency}");
        }
    }
}
