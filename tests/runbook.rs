//! The runbook describes every alarm, rule and error, and nothing else.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

use std::collections::BTreeSet;
use std::fmt::Display;
use std::iter::successors;

use mapping::{Refusal, Rule};
use sqs_to_postgres::aws::AwsError;
use sqs_to_postgres::database::DatabaseError;
use sqs_to_postgres::schema::TableError;
use sqs_to_postgres::secret::SecretError;
use sqs_to_postgres::sign_in::SignInError;
use sqs_to_postgres::telemetry::messages::{
    BATCH, BATCH_FAILED, CANNOT_START, MASK_KEYS_NOT_REFRESHED, MESSAGE_FAILED,
    MORE_MESSAGES_FAILED, ORIGIN_IGNORED, PANIC, RETRYING,
};

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

/// Stands in an error for what differs each time.
const VARIES: &str = "…";

/// The sentence of each error. Each is made after the one before it, in a match of all: the compiler asks for those
/// that are new.
fn sentences_from<E: Display>(first: E, next: fn(&E) -> Option<E>) -> Vec<String> {
    let errors = successors(Some(first), next);
    errors.map(|error| error.to_string()).collect()
}

fn after_database(error: &DatabaseError) -> Option<DatabaseError> {
    use DatabaseError as E;
    let refusal = || Refusal {
        sqlstate: VARIES.into(),
        ..Refusal::default()
    };
    let root_cert = || E::RootCert {
        path: VARIES.into(),
        reason: VARIES.into(),
    };
    Some(match error {
        E::Unreachable(_) => E::Late,
        E::Late => E::Lost(VARIES.into()),
        E::Lost(_) => E::Server(refusal()),
        E::Server(_) => E::Credentials(VARIES.into()),
        E::Credentials(_) => E::UrlCredentials(VARIES.into()),
        E::UrlCredentials(_) => E::Token {
            user: VARIES.into(),
            sqlstate: VARIES.into(),
            advice: VARIES,
        },
        E::Token { .. } => E::Unsigned,
        E::Unsigned => E::Full,
        E::Full => E::Throttled,
        E::Throttled => E::Aws(SignInError::NoCredentials.into()),
        E::Aws(AwsError::SignIn(SignInError::NoCredentials)) => {
            E::Aws(SignInError::NoProfile(VARIES.into()).into())
        }
        E::Aws(AwsError::SignIn(SignInError::NoProfile(_))) => {
            let remedy = VARIES.into();
            let reason = VARIES;
            E::Aws(SignInError::Failed { reason, remedy }.into())
        }
        E::Aws(_) => E::NoDatabase(VARIES.into()),
        E::NoDatabase(_) => E::Url(VARIES),
        E::Url(_) => root_cert(),
        // The errors of secrets have a function of their own.
        E::RootCert { .. } | E::Secret(_) => return None,
    })
}

fn after_secret(error: &SecretError) -> Option<SecretError> {
    use SecretError as E;
    let id = VARIES.to_owned();
    Some(match error {
        E::NotFound { .. } => E::Denied {
            id,
            code: VARIES.into(),
        },
        E::Denied { .. } => E::Unavailable {
            id,
            reason: VARIES.into(),
        },
        E::Unavailable { .. } => E::Unsigned {
            id,
            error: SignInError::NoCredentials.into(),
        },
        E::Unsigned { .. } => E::NotJson {
            id,
            expected: VARIES,
        },
        E::NotJson { .. } => E::MissingField {
            id,
            field: VARIES,
            variable: VARIES,
        },
        E::MissingField { .. } => return None,
    })
}

fn after_table(error: &TableError) -> Option<TableError> {
    use TableError as E;
    let [table, column, ddl] = [VARIES; 3].map(str::to_owned);
    Some(match error {
        E::Missing { .. } => E::ColumnMissing { table, column, ddl },
        E::ColumnMissing { .. } => E::ColumnType {
            table,
            column,
            actual: VARIES.into(),
            mapped: VARIES.into(),
            ddl,
        },
        E::ColumnType { .. } => E::NoType {
            table,
            column,
            mapped: VARIES.into(),
            ddl,
        },
        E::NoType { .. } => E::NoPartition { table, ddl },
        E::NoPartition { .. } => E::UnmappedNotNull { table, column, ddl },
        E::UnmappedNotNull { .. } => E::NotNullTombstone { table, column, ddl },
        E::NotNullTombstone { .. } => E::NoUniqueIndex { table, ddl },
        E::NoUniqueIndex { .. } => E::KeyChanged { tables: table },
        E::KeyChanged { .. } => E::NoPrivilege { table, ddl },
        E::NoPrivilege { .. } => E::Other {
            table,
            sqlstate: VARIES.into(),
            ddl,
        },
        E::Other { .. } => return None,
    })
}

/// The longest part of a sentence that is the same every time, of what happened.
fn constant(sentence: &str) -> &str {
    let happened = sentence.split(": ").next().unwrap();
    let outside = happened
        .split('(')
        .map(|part| part.rsplit(')').next().unwrap());
    let parts = outside.flat_map(|part| part.split(VARIES));
    let parts = parts.map(|part| part.trim_matches('"'));
    parts.max_by_key(|part| part.len()).unwrap().trim()
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
    let unreachable = DatabaseError::Unreachable(VARIES.into());
    let [table, id, ddl] = [VARIES; 3].map(str::to_owned);
    let sentences = [
        sentences_from(unreachable, after_database),
        sentences_from(SecretError::NotFound { id }, after_secret),
        sentences_from(TableError::Missing { table, ddl }, after_table),
    ]
    .concat();
    for sentence in sentences {
        let constant = constant(&sentence);
        assert!(RUNBOOK.contains(&format!("`{constant}`")), "{constant}");
    }
}

/// The texts of log lines that a document or program looks for, behind `word`.
fn sought<'d>(document: &'d str, word: &str) -> Vec<&'d str> {
    let before = format!("message {word} \"");
    let behind = document.split(&before).skip(1);
    behind.filter_map(|rest| rest.split('"').next()).collect()
}

#[test]
fn queries_look_for_log_lines_that_the_function_writes() {
    let lines = [BATCH, BATCH_FAILED, MESSAGE_FAILED, RETRYING, PANIC];
    let documents = [RUNBOOK, include_str!("../template.yaml")];
    for document in documents {
        for text in sought(document, "=") {
            assert!(lines.contains(&text), "{text}");
        }
        for text in sought(document, "like") {
            assert!(lines.iter().any(|line| line.starts_with(text)), "{text}");
        }
    }
    for line in [
        CANNOT_START,
        "origin ignored",
        "cannot refresh the mask keys",
    ] {
        assert!(RUNBOOK.contains(&format!("`{line}`")), "{line}");
    }
    assert!(ORIGIN_IGNORED.starts_with("origin ignored"));
    assert!(MASK_KEYS_NOT_REFRESHED.starts_with("cannot refresh the mask keys"));
}

/// `make logs` is a program of its own.
#[test]
fn make_logs_knows_the_lines_that_it_aligns() {
    let program = include_str!("../localstack/stack/logs.py");
    for line in [
        BATCH,
        BATCH_FAILED,
        MESSAGE_FAILED,
        MORE_MESSAGES_FAILED,
        RETRYING,
    ] {
        assert!(program.contains(&format!("\"{line}\"")), "{line}");
    }
}
