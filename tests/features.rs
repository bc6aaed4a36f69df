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

#[test]
fn the_function_and_the_tool_are_tested_with_the_features_with_which_they_are_released() {
    let tested = built(&["--workspace", "--edges", "normal,build,dev"]);
    for package in ["sqs-to-postgres", "sqs-to-postgres-tool"] {
        let shipped = built(&["--package", package, "--edges", "normal"]);
        assert!(shipped.len() > 100, "{} dependencies", shipped.len());
        for (dependency, features) in shipped {
            let tested = tested.get(&dependency);
            assert_eq!(tested, Some(&features), "{package}: {dependency}");
        }
    }
}
