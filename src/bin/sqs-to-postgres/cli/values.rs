//! The values for `token` and `unmask`: arguments, or lines of stdin.

use std::io::{self, BufRead as _};

use clap::Args;
use sqs_to_postgres::suggest::did_you_mean;

use crate::cli::error::CliError;

/// The flags of both commands.
const FLAGS: [&str; 6] = [
    "--column",
    "--current",
    "--json",
    "--pipeline",
    "--mask-secret-id",
    "--help",
];

/// The arguments, or the lines of stdin if there are none.
#[derive(Debug, Args)]
pub(crate) struct Values {
    /// Values or tokens, after all flags; if omitted, one per line from stdin, which is visible neither in the
    /// shell's history nor to other users of this machine
    #[arg(allow_hyphen_values = true, value_parser = value)]
    values: Vec<String>,
    /// The same, even if they begin with two hyphens
    #[arg(last = true, value_name = "VALUES")]
    any: Vec<String>,
}

impl Values {
    /// All of them, in order.
    pub(crate) fn read(self) -> Result<Vec<String>, CliError> {
        let arguments = [self.values, self.any].concat();
        if !arguments.is_empty() {
            return Ok(arguments);
        }
        let lines: io::Result<Vec<String>> = io::stdin().lock().lines().collect();
        lines.map_err(|error| CliError::input("stdin", &error))
    }
}

/// A value or token. One token in 64 begins with a hyphen, so hyphens are allowed. Two hyphens begin a flag: a
/// misspelt one, or one after the first value, must not count as a value.
fn value(text: &str) -> Result<String, String> {
    let flag = text.split_once('=').map_or(text, |(flag, _)| flag);
    let is_known = flag == "-h" || FLAGS.contains(&flag);
    let meant = did_you_mean(flag, FLAGS.into_iter().filter(|_| !is_known));
    match is_known || flag.starts_with("--") {
        true => Err(format!(
            "not a flag here: flags come before the values, and -- before values that begin with two hyphens{meant}"
        )),
        false => Ok(text.to_owned()),
    }
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
