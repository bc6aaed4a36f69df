//! The values for `token` and `unmask`: arguments, or lines of stdin.

use std::io::{self, BufRead as _};

use crate::cli::error::CliError;

/// The flags of both commands.
const FLAGS: [&str; 6] = [
    "--column",
    "--json",
    "--pipeline",
    "--mask-secret-id",
    "--help",
    "-h",
];

/// A value or token. One token in 64 begins with a hyphen, so hyphens are allowed; but a flag after the first
/// value would count as a value, and is refused.
pub(crate) fn value(text: &str) -> Result<String, &'static str> {
    let flag = text.split_once('=').map_or(text, |(flag, _)| flag);
    match FLAGS.contains(&flag) {
        true => Err("flags must come before the values"),
        false => Ok(text.to_owned()),
    }
}

/// The arguments, or the lines of stdin if there are none.
pub(crate) fn given(arguments: Vec<String>) -> Result<Vec<String>, CliError> {
    if !arguments.is_empty() {
        return Ok(arguments);
    }
    let lines: io::Result<Vec<String>> = io::stdin().lock().lines().collect();
    lines.map_err(|error| CliError::input("stdin", &error))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::Cli;

    #[test]
    fn a_flag_does_not_count_as_a_value() {
        let tool = Cli::command();
        let commands = ["token", "unmask"].map(|name| tool.find_subcommand(name).unwrap());
        let flags = commands.iter().flat_map(|command| command.get_opts());
        for flag in flags {
            let flag = format!("--{}", flag.get_long().unwrap());
            assert!(
                value(&flag).is_err() && value(&format!("{flag}=x")).is_err(),
                "{flag}"
            );
        }
        assert!(value("-h").is_err() && value("-hA-_").is_ok());
    }
}
