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

/// What only the tool is shipped with: a function has a role, and does not sign in as people do. A build of the whole
/// workspace, as for the tests, gives them to the function too.
const OF_TOOL: (&str, [&str; 3]) = (
    "aws-config ",
    ["credentials-login", "credentials-process", "sso"],
);

#[test]
fn the_function_and_the_tool_are_tested_with_the_features_with_which_they_are_released() {
    let tested = built(&["--workspace", "--edges", "normal,build,dev"]);
    for package in ["sqs-to-postgres", "sqs-to-postgres-tool"] {
        let shipped = built(&["--package", package, "--edges", "normal"]);
        assert!(shipped.len() > 100, "{} dependencies", shipped.len());
        for (dependency, mut features) in shipped {
            let (with_sign_in, sign_in) = OF_TOOL;
            if package == "sqs-to-postgres" && dependency.starts_with(with_sign_in) {
                let added = sign_in.map(|feature| features.insert(feature.to_owned()));
                assert_eq!(added, [true; 3], "the function can sign in: {features:?}");
            }
            let tested = tested.get(&dependency);
            assert_eq!(tested, Some(&features), "{package}: {dependency}");
        }
    }
}
