//! `completions`: the completion script of a shell.

use clap::Args;
use clap_complete::Shell;
use clap_complete::env::Shells;

use crate::NAME;
use crate::cli::error::CliError;
use crate::cli::{Outcome, output};

/// The variable with which the script asks the tool what to propose.
pub(crate) const ASKS: &str = "COMPLETE";

const EXAMPLES: &str = "\
Examples:
  source <(sqs-to-postgres completions bash)
  sqs-to-postgres completions fish > ~/.config/fish/completions/sqs-to-postgres.fish";

/// Print the completion script of a shell
///
/// It completes commands, flags, files, rules, and columns of the mapping, for which it runs
/// the tool. For bash, write the first example into ~/.bashrc.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment, after_help = EXAMPLES)]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(self) -> Result<Outcome, CliError> {
        let shells = Shells::builtins();
        let mut script = Vec::new();
        if let Some(shell) = shells.completer(&self.shell.to_string()) {
            shell.write_registration(ASKS, NAME, NAME, NAME, &mut script)?;
        }
        output::bytes(&script)
    }
}
