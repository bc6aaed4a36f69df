//! The values that a command works on: arguments, or lines of stdin.

use std::io::{self, BufRead as _};

use clap::{Args, Command, CommandFactory as _};
use mapping::internals::did_you_mean;

use crate::Cli;
use crate::cli::error::CliError;

/// Editors on Windows begin a file with it.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// The arguments, or the lines of stdin if there are none.
#[derive(Debug, Args)]
pub(crate) struct Values {
    /// Values or tokens, after all flags; if omitted, one per line from stdin, which is visible neither in the
    /// shell's history nor to other users of this machine
    #[arg(allow_hyphen_values = true, value_parser = value)]
    values: Vec<String>,
    /// Values or tokens that may begin with two hyphens
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
        let mut lines = lines.map_err(|error| CliError::input("stdin", &error))?;
        if let Some(first) = lines.first_mut() {
            *first = first.trim_start_matches(BYTE_ORDER_MARK).to_owned();
        }
        Ok(lines)
    }
}

/// A value or token. One token in 64 begins with a hyphen, so hyphens are allowed. Two hyphens begin a flag: a
/// misspelt one, or one after the first value, must not count as a value.
fn value(text: &str) -> Result<String, String> {
    let flag = text.split_once('=').map_or(text, |(flag, _)| flag);
    if flag != "-h" && !flag.starts_with("--") {
        return Ok(text.to_owned());
    }
    let tool = Cli::command();
    let takes_values = |command: &&Command| {
        let mut arguments = command.get_arguments();
        arguments.any(|argument| argument.get_id() == "values")
    };
    let commands = tool.get_subcommands().filter(takes_values);
    let flags = commands.flat_map(Command::get_opts);
    let names = flags.filter_map(|flag| flag.get_long()).chain(["help"]);
    let names: Vec<String> = names.map(|name| format!("--{name}")).collect();
    let is_known = flag == "-h" || names.iter().any(|name| name == flag);
    let others = names.iter().map(String::as_str).filter(|_| !is_known);
    let meant = did_you_mean(flag, others);
    Err(format!(
        "unexpected flag: put flags before the values, and -- before values that begin with two hyphens{meant}"
    ))
}
