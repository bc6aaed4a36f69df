//! The runbook describes every alarm, rule and error, and nothing else.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

use std::collections::BTreeSet;

use sqs_to_postgres::rejection::Rule;

const RUNBOOK: &str = include_str!("../docs/RUNBOOK.md");

/// Title and text of each section of a chapter.
fn sections(chapter: &str) -> Vec<(&'static str, &'static str)> {
    let chapter = RUNBOOK.split(&format!("\n## {chapter}\n")).nth(1).unwrap();
    let sections = chapter
        .split("\n## ")
        .next()
        .unwrap()
        .split("\n### ")
        .skip(1);
    sections
        .map(|section| section.split_once('\n').unwrap())
        .collect()
}

fn titles(chapter: &str) -> BTreeSet<&'static str> {
    let titles = sections(chapter).into_iter();
    titles.map(|(title, _)| title.trim_matches('`')).collect()
}

/// The logical ids of a template's alarms.
fn alarms(template: &str) -> BTreeSet<&str> {
    let lines: Vec<_> = template.lines().collect();
    let alarms = lines
        .windows(2)
        .filter(|pair| pair[1].trim() == "Type: AWS::CloudWatch::Alarm");
    alarms
        .map(|pair| pair[0].trim().trim_end_matches(':'))
        .collect()
}

/// For each sentence of an error type, its longest constant part.
fn sentences(source: &str) -> Vec<String> {
    let attributes = source
        .split("#[error(")
        .skip(1)
        .map(|rest| rest.split(")]").next().unwrap());
    let texts = attributes.filter_map(|attribute| attribute.trim().strip_prefix('"'));
    let happened = texts.map(|text| text.split(": ").next().unwrap().to_owned());
    happened.map(|text| longest_constant(&text)).collect()
}

fn longest_constant(text: &str) -> String {
    let outside = text
        .split(['{', '('])
        .map(|part| part.rsplit(['}', ')']).next().unwrap());
    outside
        .max_by_key(|part| part.len())
        .unwrap()
        .trim()
        .to_owned()
}

#[test]
fn every_rule_has_its_section_and_no_other_has_one() {
    let names = Rule::names().collect();
    assert_eq!(titles("Rules"), names);
}

#[test]
fn every_alarm_of_the_template_has_its_section_and_no_other_has_one() {
    let sample = "Resources:\n  Queue:\n    Type: AWS::SQS::Queue\n  LagAlarm:\n    Type: AWS::CloudWatch::Alarm\n";
    assert_eq!(alarms(sample), BTreeSet::from(["LagAlarm"]));
    let alarms = alarms(include_str!("../template.yaml"));
    assert!(
        alarms.is_empty() || alarms == titles("Alarms"),
        "{alarms:?}"
    );
}

#[test]
fn every_section_says_what_it_means_how_to_see_it_what_to_do_and_how_to_replay() {
    for (title, text) in ["Alarms", "Rules"]
        .iter()
        .flat_map(|chapter| sections(chapter))
    {
        for part in ["**Means**: ", "**See**: ", "**Do**: ", "**Replay**: "] {
            assert_eq!(
                text.matches(&format!("\n- {part}")).count(),
                1,
                "{title}: {part}"
            );
        }
    }
}

#[test]
fn every_error_of_a_whole_batch_is_explained() {
    let sources = [
        include_str!("../src/database/error.rs"),
        include_str!("../src/schema/error.rs"),
        include_str!("../src/secret.rs"),
    ];
    let sentences: Vec<_> = sources
        .iter()
        .flat_map(|source| sentences(source))
        .collect();
    assert!(
        sentences.contains(&"Postgres cannot be reached".to_owned()),
        "{sentences:#?}"
    );
    for sentence in sentences {
        assert!(RUNBOOK.contains(&format!("`{sentence}`")), "{sentence}");
    }
}
