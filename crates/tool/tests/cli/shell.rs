//! `man` and `completions`.

use std::path::Path;

use tokio::process::Command;

use crate::tool::{self, Tool};
use testkit::{TempFile, assert_contains};

const COMMANDS: [&str; 17] = [
    "check",
    "completions",
    "ddl",
    "drain",
    "explain",
    "forget",
    "health",
    "infer",
    "man",
    "redrive",
    "remask",
    "sample",
    "schema",
    "send",
    "test",
    "token",
    "unmask",
];

/// `man` builds all commands, and clap checks in a debug build that they are consistent.
#[tokio::test]
async fn a_man_page_has_every_option_exit_code_and_variable_and_examples() {
    for command in COMMANDS {
        let page = Tool::bare()
            .run(&format!("man {command}"))
            .await
            .exits(0)
            .out;
        let page = page.replace("\\-", "-");
        let help = Tool::bare()
            .run(&format!("{command} --help"))
            .await
            .exits(0)
            .out;
        let flags = help
            .lines()
            .map(str::trim_start)
            .filter(|line| line.starts_with('-'));
        for flag in
            flags.filter_map(|line| line.split([' ', '[']).find(|word| word.starts_with("--")))
        {
            assert!(page.contains(flag), "{command}: {flag}");
        }
        for section in [
            "NAME",
            "SYNOPSIS",
            "DESCRIPTION",
            "EXIT STATUS",
            "ENVIRONMENT",
            "EXAMPLES",
        ] {
            let heading =
                format!(".SH {section}").replace(".SH EXIT STATUS", ".SH \"EXIT STATUS\"");
            assert!(page.contains(&heading), "{command}: {heading}");
        }
        let (_, examples) = page.split_once(".SH EXAMPLES").unwrap();
        assert!(
            examples.contains("sqs-to-postgres "),
            "{command}: {examples}"
        );
        assert!(
            page.contains("3  a system it needs is unavailable"),
            "{command}"
        );
        assert!(!page.contains("EXTRA"), "{command}");
    }
    let page = Tool::bare().run("man ddl").await.out.replace("\\-", "-");
    assert_contains(&page, "DATABASE_URL");
    assert_contains(&page, "see --database-url");
    let all = Tool::bare()
        .run("man")
        .await
        .exits(0)
        .out
        .replace("\\-", "-");
    let variables = sqs_to_postgres::config::Settings::VARIABLES;
    for word in COMMANDS.into_iter().chain(variables) {
        assert_contains(&all, word);
    }
    let unknown = Tool::bare().run("man dance").await.exits(2);
    let reason = "error: unknown command \"dance\": see `sqs-to-postgres --help`\n";
    assert_eq!(unknown.err, reason);
}

/// What bash proposes for the last word of a command line.
async fn proposed(line: &str, folder: &Path) -> Vec<String> {
    let script = r#"
        source <(sqs-to-postgres completions bash)
        COMP_LINE=$1 COMP_POINT=${#1}
        read -ra COMP_WORDS <<< "$1"
        [[ $1 == *" " ]] && COMP_WORDS+=("")
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        complete=$(complete -p sqs-to-postgres)
        [[ $complete =~ -F\ ([^ ]+) ]]
        "${BASH_REMATCH[1]}" sqs-to-postgres "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let tool = tool::path();
    let path = format!(
        "{}:{}",
        tool.parent().unwrap().display(),
        std::env::var("PATH").unwrap()
    );
    let mut bash = Command::new("bash");
    let bash = bash
        .args(["--norc", "-c", script, "bash", line])
        .current_dir(folder);
    let done = bash.env_clear().env("PATH", path).output().await.unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(said.is_empty(), "{said}");
    let words = String::from_utf8(done.stdout).unwrap();
    words.lines().map(|word| word.trim().to_owned()).collect()
}

#[tokio::test]
async fn a_shell_completes_commands_flags_rules_and_the_columns_of_the_mapping_that_is_named() {
    let root = Path::new(testkit::ROOT);
    let mapping = "table = \"t\"\nkey = [\"id\"]\ncolumn = [\n\
        { name = \"id\", type = \"text\", required = true },\n\
        { name = \"masked_ip\", type = \"text\", from = \"ip\", mask = \"hmac-sha256\" },\n]";
    let file = TempFile::new(mapping);
    let named = file.0.display();
    for (line, expected) in [
        ("sqs-to-postgres drai".to_owned(), &["drain"][..]),
        ("sqs-to-postgres redrive --rul".to_owned(), &["--rule"]),
        (
            "sqs-to-postgres redrive --rule not_an_".to_owned(),
            &["not_an_array", "not_an_object"],
        ),
        (
            format!("sqs-to-postgres forget --pipeline {named} --column "),
            &["id", "masked_ip"],
        ),
        (
            format!("sqs-to-postgres token --pipeline {named} --column "),
            &["masked_ip"],
        ),
        (
            "sqs-to-postgres token --column masked_".to_owned(),
            &["masked_ip", "masked_device_id"],
        ),
        (
            "sqs-to-postgres ddl --partition-by create_".to_owned(),
            &["create_date"],
        ),
        (
            "sqs-to-postgres forget --pipeline /nowhere.toml --column ".to_owned(),
            &[],
        ),
    ] {
        let proposed = proposed(&line, root).await;
        let proposed: Vec<&str> = proposed
            .iter()
            .map(String::as_str)
            .filter(|word| !word.is_empty())
            .collect();
        assert_eq!(proposed, expected, "{line}");
    }
}

#[tokio::test]
async fn every_shell_gets_a_script() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = Tool::bare()
            .run(&format!("completions {shell}"))
            .await
            .exits(0);
        assert_contains(&script.out, "sqs-to-postgres");
    }
}
