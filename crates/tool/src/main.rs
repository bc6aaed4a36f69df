//! The command-line tool: the library of the function, for people.
//!
//! [`commands`] has a file or folder for each command, [`cli`] what several of them need, [`sqs`] what only
//! the tool does with a queue.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod cli;
mod commands;
mod sqs;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser};
use clap_complete::CompleteEnv;

use cli::Outcome;
use cli::snippet;
use commands::Command;
use commands::completions::ASKS;

/// The name of the program.
const NAME: &str = "sqs-to-postgres";

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  some messages failed, became dead letters or are still invisible; or test found other rows
     than expected; or ddl --diff, forget or remask did not do everything; or drain, forget,
     redrive, remask or send was interrupted, or its output was cut off; or sample was interrupted
  2  the command line, a setting, the mapping or the table is wrong
  3  a system it needs is unavailable, or drain cannot know whether the queue is empty

The tool reads the same environment variables as the function; flags override them.";

/// Load JSON messages from an SQS queue into Postgres tables
#[derive(Debug, Parser)]
#[command(name = NAME, version, after_help = EXIT_CODES, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    // Ends the process if a shell asks what to propose.
    CompleteEnv::with_factory(Cli::command).var(ASKS).complete();
    run(Cli::parse().command)
}

#[tokio::main(flavor = "current_thread")]
async fn run(command: Command) -> ExitCode {
    // A command that only prints is done when its reader is; one that changes something is not.
    let unread = Outcome::done_if(!command.changes());
    match command.run().await {
        Ok(outcome) => outcome.into(),
        Err(error) if error.is_unread() => unread.into(),
        Err(error) => {
            snippet::report(&error);
            error.outcome().into()
        }
    }
}
