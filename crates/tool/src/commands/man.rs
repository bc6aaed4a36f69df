//! `man`: the man pages.

use clap::{Args, CommandFactory as _};

use crate::Cli;
use crate::cli::error::CliError;
use crate::cli::{Outcome, output};

/// Print the man page of the tool or of a command
///
/// To view it: sqs-to-postgres man check | man -l -
#[derive(Debug, Args)]
pub(crate) struct Man {
    /// The command; the tool as a whole if omitted
    command: Option<String>,
}

impl Man {
    pub(crate) fn run(self) -> Result<Outcome, CliError> {
        let mut tool = Cli::command();
        tool.build();
        let of = match self.command {
            None => &tool,
            Some(name) => tool.find_subcommand(&name).ok_or_else(|| {
                CliError::invalid(format!(
                    "unknown command {name:?}: see `sqs-to-postgres --help`"
                ))
            })?,
        };
        let mut page = Vec::new();
        clap_mangen::Man::new(of.clone()).render(&mut page)?;
        output::bytes(&page)
    }
}
