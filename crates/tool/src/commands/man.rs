//! `man`: the man pages.

use std::io;

use clap::{Arg, Args, Command, CommandFactory as _};
use clap_mangen::roff::{Roff, bold, roman};
use sqs_to_postgres::config::Settings;

use crate::cli::error::CliError;
use crate::cli::{Outcome, output};
use crate::{Cli, EXIT_CODES, NAME};

const EXAMPLES: &str = "\
Examples:
  sqs-to-postgres man check | man -l -
  sqs-to-postgres man > ~/.local/share/man/man1/sqs-to-postgres.1";

/// How the help of a flag names the variable that it overrides.
const VARIABLE: &str = "[env: ";

/// Print the man page of the tool or of a command
///
/// With every option, exit code and environment variable, and examples.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Man {
    /// The command; the tool as a whole if omitted
    command: Option<String>,
}

impl Man {
    pub(crate) fn run(self) -> Result<Outcome, CliError> {
        let mut tool = Cli::command();
        tool.build();
        let of = match &self.command {
            None => &tool,
            Some(name) => tool.find_subcommand(name).ok_or_else(|| {
                CliError::invalid(format!(
                    "unknown command {name:?}: see `sqs-to-postgres --help`"
                ))
            })?,
        };
        let mut page = Vec::new();
        write(of.clone(), &mut page)?;
        output::bytes(&page)
    }
}

fn write(mut command: Command, page: &mut Vec<u8>) -> io::Result<()> {
    let usage = command.render_usage().to_string();
    let examples = command.get_after_help().map(ToString::to_string);
    let is_tool = command.get_name() == NAME;
    let variables = match is_tool {
        true => all_variables(),
        false => variables(&command),
    };
    let man = clap_mangen::Man::new(command);
    man.render_title(page)?;
    man.render_name_section(page)?;
    section(page, "SYNOPSIS", |roff| {
        roff.text([bold(usage.trim_start_matches("Usage: "))]);
    })?;
    man.render_description_section(page)?;
    man.render_options_section(page)?;
    if is_tool {
        man.render_subcommands_section(page)?;
    }
    section(page, "EXIT STATUS", |roff| as_written(roff, EXIT_CODES))?;
    section(page, "ENVIRONMENT", |roff| {
        roff.text([roman(
            "Flags override variables. AWS credentials, profile and region are read as by every AWS SDK.",
        )]);
        for (name, flag) in &variables {
            roff.control("TP", []);
            roff.text([bold(name)]);
            roff.text([roman(flag)]);
        }
    })?;
    if let Some(examples) = examples.filter(|_| !is_tool) {
        section(page, "EXAMPLES", |roff| as_written(roff, &examples))?;
    }
    Ok(())
}

fn section(page: &mut Vec<u8>, name: &str, write: impl FnOnce(&mut Roff)) -> io::Result<()> {
    let mut roff = Roff::new();
    roff.control("SH", [name]);
    write(&mut roff);
    roff.to_writer(page)
}

/// The lines below a heading, as they are.
fn as_written(roff: &mut Roff, text: &str) {
    roff.control("nf", []);
    for line in text.lines().skip(1) {
        roff.text([roman(line)]);
    }
    roff.control("fi", []);
}

/// The variables that flags of a command override, with the flags.
fn variables(command: &Command) -> Vec<(String, String)> {
    let of_argument = |argument: &Arg| {
        let help = argument.get_help()?.to_string();
        let (_, named) = help.split_once(VARIABLE)?;
        let name = named.split([',', ';', ']']).next()?;
        let flag = argument.get_long()?;
        Some((name.to_owned(), format!("see --{flag}")))
    };
    let mut variables: Vec<_> = command.get_arguments().filter_map(of_argument).collect();
    variables.sort();
    variables.dedup();
    variables
}

/// The variables of all commands, and those that only the function reads.
fn all_variables() -> Vec<(String, String)> {
    let mut tool = Cli::command();
    tool.build();
    let mut all: Vec<(String, String)> = Vec::new();
    for command in tool.get_subcommands() {
        all.extend(variables(command));
    }
    for name in Settings::VARIABLES {
        if all.iter().all(|(known, _)| known != name) {
            all.push((name.to_owned(), "see docs/CONFIGURATION.md".to_owned()));
        }
    }
    all.sort();
    all.dedup_by(|one, next| one.0 == next.0);
    all
}
