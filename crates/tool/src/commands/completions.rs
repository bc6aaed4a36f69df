//! `completions`: the completion script of a shell.

use clap::{Args, CommandFactory as _};

use crate::Cli;
use crate::cli::error::CliError;
use crate::cli::{Outcome, output};

/// Print the completion script of a shell
///
/// For bash, in ~/.bashrc: source <(sqs-to-postgres completions bash)
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell
    shell: clap_complete::Shell,
}

impl Completions {
    pub(crate) fn run(self) -> Result<Outcome, CliError> {
        let mut script = Vec::new();
        clap_complete::generate(
            self.shell,
            &mut Cli::command(),
            "sqs-to-postgres",
            &mut script,
        );
        output::bytes(&script)
    }
}
