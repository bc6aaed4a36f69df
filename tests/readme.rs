//! The README and the documents match the code.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use mapping::{Compiled, MaskKey, Pipeline, read_event};
use serde_json::{Value, json};
use sqs_to_postgres::config::Settings;

const README: &str = include_str!("../README.md");
const MAPPING: &str = include_str!("../docs/MAPPING.md");
const CONFIGURATION: &str = include_str!("../docs/CONFIGURATION.md");
const OBSERVABILITY: &str = include_str!("../docs/OBSERVABILITY.md");
const GUARANTEES: &str = include_str!("../docs/GUARANTEES.md");

/// The length that people read before they try something.
const MAX_README_LINES: usize = 200;

/// What names a test rather than a setting.
const MIN_UNDERSCORES: usize = 4;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Path and text of each document.
fn documents() -> BTreeMap<PathBuf, String> {
    let folders = [
        "",
        "docs",
        "docs/compare",
        "docs/producers",
        "benches",
        "terraform",
    ];
    let folders = folders.map(|folder| root().join(folder));
    let files = folders
        .iter()
        .flat_map(|folder| fs::read_dir(folder).unwrap());
    let paths = files.map(|file| file.unwrap().path());
    let documents = paths.filter(|path| path.extension().is_some_and(|end| end == "md"));
    documents
        .map(|path| (path.clone(), fs::read_to_string(path).unwrap()))
        .collect()
}

/// The fenced blocks of a language.
fn blocks<'a>(document: &'a str, language: &str) -> Vec<&'a str> {
    let opening = format!("```{language}\n");
    let parts = document.split(opening.as_str()).skip(1);
    parts
        .map(|part| part.split("\n```").next().unwrap())
        .collect()
}

/// A document without its fenced blocks and inline code, in which there are no links.
fn prose(document: &str) -> String {
    let outside_blocks = document.split("\n```").step_by(2);
    outside_blocks
        .flat_map(|part| part.split('`').step_by(2))
        .collect()
}

/// The anchors that GitHub gives headings, and those that the document sets itself.
fn anchors(document: &str) -> BTreeSet<String> {
    let headings = document.split("\n```").step_by(2).flat_map(str::lines);
    let headings = headings.filter(|line| line.starts_with('#'));
    let of_heading = |heading: &str| -> String {
        let words = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = words.chars().filter(|&letter| {
            letter.is_alphanumeric() || letter == ' ' || letter == '-' || letter == '_'
        });
        kept.map(|letter| if letter == ' ' { '-' } else { letter })
            .collect()
    };
    let set = document.split("<a id=\"").skip(1);
    let set = set.map(|rest| rest.split('"').next().unwrap().to_owned());
    headings.map(of_heading).chain(set).collect()
}

/// Whether a mapping accepts a body.
fn takes(mapping: &str, body: &str) -> bool {
    let pipeline = Pipeline::parse("README.md", mapping).unwrap();
    let key = MaskKey::from_base64("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
        .unwrap()
        .into();
    let compiled = Compiled::new("README.md", &pipeline, Some(&key)).unwrap();
    let id = "5e0d8f2a-0000-4000-8000-000000000001";
    let event = json!({"Records": [
        {"messageId": id, "body": body, "attributes": {"SentTimestamp": "1700000000000"}}]})
    .to_string();
    let records = read_event(event.as_bytes()).unwrap();
    compiled.rows(&records[0]).is_ok()
}

#[test]
fn the_readme_is_short() {
    assert!(README.lines().count() <= MAX_README_LINES);
}

#[test]
fn the_mapping_of_the_readme_takes_its_message() {
    let [mapping] = blocks(README, "toml")[..] else {
        panic!("the README shows one mapping")
    };
    assert!(takes(mapping, blocks(README, "json")[0]));
}

#[test]
fn every_mapping_of_the_reference_works_on_a_message_of_that_shape() {
    let order = json!({
        "order_id": 7, "customer": {"email": " A@B.example "}, "lines": [{"sku": "x", "price": "2.50", "quantity": 2}],
        "version": 1, "status": "open", "kind": "reading", "value": 1.5, "tags": ["indoor"], "sensor": {"state": "on"},
        "t": 1_793_610_000_000_i64, "day": "02.11.2026", "opened_at": "2026-11-02 10:00",
        "logged_at": "02/Nov/2026:10:00:00 +0100", "closed_at": "2026-11-02T09:00:00",
        "subscription": "s-41", "version": 2, "changed_at": "2026-11-02T09:00:00Z", "plan": "team", "status": "active",
        "prefs": "{\"dark\": true}", "mail": {"destination": ["a@b.example"]},
        "device": "08:00:2b:01:02:03", "networks": ["10.0.0.0/8", null], "embedding": [0.25, -1, 3e-2],
    });
    let reference = MAPPING.replace(six_examples(), "");
    let mappings = blocks(&reference, "toml");
    assert!(!mappings.is_empty());
    for mapping in mappings {
        assert!(takes(mapping, &order.to_string()));
    }
}

fn six_examples() -> &'static str {
    let (_, examples) = MAPPING.split_once("\n## Six examples\n").unwrap();
    examples.split("\n## ").next().unwrap()
}

/// Whether a line is this one, in which `…` stands for any text.
fn is_shortened(shown: &str, line: &str) -> bool {
    let mut parts = shown.split('…');
    let Some(mut rest) = line.strip_prefix(parts.next().unwrap()) else {
        return false;
    };
    for part in parts {
        let Some((_, after)) = rest.split_once(part) else {
            return false;
        };
        rest = after;
    }
    rest.is_empty() || shown.ends_with('…')
}

#[test]
fn the_examples_of_the_reference_are_those_of_the_files() {
    let examples = six_examples().split("\n### ").skip(1);
    let examples: Vec<_> = examples.collect();
    assert_eq!(examples.len(), 6);
    for example in examples {
        let name = example.split("(../examples/").nth(1).unwrap();
        let name = name.split('.').next().unwrap();
        let read = |extension: &str| {
            fs::read_to_string(root().join(format!("examples/{name}.{extension}"))).unwrap()
        };
        let mapping = read("toml");
        let [shown] = blocks(example, "toml")[..] else {
            panic!("{name} shows one mapping")
        };
        let without_comments = mapping.lines().skip_while(|line| line.starts_with('#'));
        let without_comments = without_comments.collect::<Vec<_>>().join("\n");
        assert_eq!(shown.trim(), without_comments.trim(), "{name}");
        let mut texts = blocks(example, "text");
        let rows = read("rows");
        let tables = rows.split("\nmessages without rows\n").next().unwrap();
        assert_eq!(texts.pop().unwrap(), tables.trim_end(), "{name}");
        let messages = read("jsonl");
        let shown = blocks(example, "json").into_iter().chain(texts);
        for line in shown.flat_map(str::lines) {
            let is_there = messages.lines().any(|message| is_shortened(line, message));
            assert!(is_there, "{name}: {line}");
        }
    }
}

#[test]
fn the_message_of_the_reference_becomes_a_row_of_the_shipped_mapping() {
    let messages = blocks(MAPPING, "json");
    let message = messages.last().unwrap();
    assert!(takes(include_str!("../pipeline.toml"), message));
}

#[test]
fn the_log_lines_of_the_reference_are_json() {
    for line in blocks(OBSERVABILITY, "json")[0].lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert!(line["message"].is_string());
    }
}

#[test]
fn the_reference_names_every_setting_and_no_other() {
    let section = CONFIGURATION.split("\n## Settings\n").nth(1).unwrap();
    let named: BTreeSet<&str> = section
        .split("\n## ")
        .next()
        .unwrap()
        .lines()
        .filter(|line| line.starts_with("| `"))
        .flat_map(|line| {
            line.split('|')
                .nth(1)
                .unwrap()
                .split('`')
                .skip(1)
                .step_by(2)
        })
        .filter(|name| *name != "AWS_ENDPOINT_URL")
        .collect();
    assert_eq!(named, Settings::VARIABLES.into());
}

#[test]
fn every_make_target_that_a_document_names_exists() {
    let makefile = include_str!("../Makefile");
    for (path, document) in documents() {
        let in_prose = document.split("`make ").skip(1);
        let typed = document.split("\n$ make ").skip(1);
        let named = in_prose
            .chain(typed)
            .map(|rest| rest.split(['`', ' ', '|', '\n']).next().unwrap());
        for target in named.filter(|target| !target.is_empty()) {
            let is_there = makefile.contains(&format!("\n{target}: "));
            assert!(is_there, "{}: make {target}", path.display());
        }
    }
}

#[test]
fn every_test_that_a_promise_names_exists() {
    let section = GUARANTEES.split("\n## Promises and their tests\n").nth(1);
    let section = section.unwrap().split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| "));
    let mut found = 0;
    let mut file_of_row = String::new();
    for name in rows.flat_map(|row| row.split('`').skip(1).step_by(2)) {
        if let Some((module, test)) = name.split_once("::") {
            let file = root().join(format!("tests/function/{module}.rs"));
            let source = fs::read_to_string(&file).expect(name);
            assert!(
                test == "*" || source.contains(&format!("fn {test}(")),
                "{name}"
            );
            found += 1;
        } else if name.starts_with("tests/") || name.starts_with("crates/") {
            file_of_row = fs::read_to_string(root().join(name)).unwrap_or_default();
            assert!(!file_of_row.is_empty(), "{name}");
            found += 1;
        } else if name.matches('_').count() >= MIN_UNDERSCORES {
            assert!(file_of_row.contains(&format!("fn {name}(")), "{name}");
            found += 1;
        }
    }
    assert!(found > 30, "{found} tests");
}

#[test]
fn every_link_within_the_repository_leads_somewhere() {
    let documents = documents();
    let mut followed = 0;
    for (path, document) in &documents {
        let prose = prose(document);
        let links = prose.split("](").skip(1);
        for link in links.map(|rest| rest.split(')').next().unwrap()) {
            if link.starts_with("https://") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() {
                path.clone()
            } else {
                let target = path.parent().unwrap().join(file);
                target
                    .canonicalize()
                    .unwrap_or_else(|_| panic!("{}: {link}", path.display()))
            };
            if !anchor.is_empty() {
                let target = documents.get(&target).expect(link);
                assert!(
                    anchors(target).contains(anchor),
                    "{}: {link}",
                    path.display()
                );
            }
            followed += 1;
        }
    }
    assert!(followed > 100, "{followed} links");
}

#[test]
fn every_document_is_in_the_index_of_the_readme() {
    for path in documents().keys() {
        let name = path.strip_prefix(root()).unwrap().to_str().unwrap();
        let is_linked = README.contains(&format!("]({name})")) || name == "README.md";
        assert!(is_linked, "{name}");
    }
}
