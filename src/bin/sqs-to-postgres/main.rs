//! The command line tool: the function's own library for the people around it.
//!
//! What a person types, what comes of it as an exit code, and nothing else; each command has a file
//! of its own.

mod check;
mod ddl;
mod drain;
mod error;
mod explain;
mod infer;
mod mask;
mod output;
mod progress;
mod redrive;
mod samples;
mod send;
mod settings;
mod signals;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use error::CliError;

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  some messages failed, or were left because the command was interrupted, or its output cut off
  2  the command line, a setting, the mapping or the table is wrong
  3  a system it needs is away

Settings are those of the function, from the environment; flags win over it.";

/// From an SQS queue of JSON messages into a Postgres table: the tools around it
#[derive(Debug, Parser)]
#[command(name = "sqs-to-postgres", version, after_help = EXIT_CODES, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Check(check::Check),
    Ddl(ddl::Ddl),
    Drain(drain::Drain),
    Explain(explain::Explain),
    Infer(infer::Infer),
    Redrive(redrive::Redrive),
    Send(send::Send),
    Token(mask::Token),
    Unmask(mask::Unmask),
    /// Print the completions of a shell
    ///
    /// For bash, in ~/.bashrc: source <(sqs-to-postgres completions bash)
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the man page, or that of a command
    ///
    /// To read it: sqs-to-postgres man check | man -l -
    Man {
        /// The command; none: the tool as a whole
        command: Option<String>,
    },
}

impl Command {
    /// Whether it finishes what it holds when a signal asks for an end.
    fn takes_signals(&self) -> bool {
        matches!(self, Self::Drain(_) | Self::Send(_) | Self::Redrive(_))
    }

    /// Whether it does more than to print.
    fn changes(&self) -> bool {
        match self {
            Self::Drain(_) | Self::Send(_) => true,
            Self::Redrive(redrive) => !redrive.dry_run,
            _ => false,
        }
    }
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// All is done.
    Done,
    /// Some messages failed, or were left.
    SomeFailed,
    /// Something has to be mended, and was said.
    ToMend,
    /// A system is away, and that was said.
    Away,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        Self::from(match outcome {
            Outcome::Done => 0,
            Outcome::SomeFailed => 1,
            Outcome::ToMend => 2,
            Outcome::Away => 3,
        })
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let command = Cli::parse().command;
    // What is only printed is done when nobody reads any more; what is changed is not.
    let unread = if command.changes() {
        Outcome::SomeFailed
    } else {
        Outcome::Done
    };
    match run(command).await {
        Ok(outcome) => outcome.into(),
        Err(error) if error.is_unread() => unread.into(),
        Err(error) => {
            eprintln!("error: {error}");
            error.outcome().into()
        }
    }
}

async fn run(command: Command) -> Result<Outcome, CliError> {
    if !command.takes_signals() {
        signals::end_at_once()?;
    }
    match command {
        Command::Check(check) => check.run().await,
        Command::Ddl(ddl) => ddl.run().await,
        Command::Drain(drain) => drain.run().await,
        Command::Explain(explain) => explain.run().await,
        Command::Infer(infer) => infer.run().await,
        Command::Redrive(redrive) => redrive.run().await,
        Command::Send(send) => send.run().await,
        Command::Token(token) => token.run().await,
        Command::Unmask(unmask) => unmask.run().await,
        Command::Completions { shell } => completions(shell),
        Command::Man { command } => man(command.as_deref()),
    }
}

fn completions(shell: clap_complete::Shell) -> Result<Outcome, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "sqs-to-postgres", &mut script);
    output::bytes(&script)
}

fn man(command: Option<&str>) -> Result<Outcome, CliError> {
    let mut tool = Cli::command();
    tool.build();
    let of = match command {
        None => &tool,
        Some(name) => tool
            .find_subcommand(name)
            .ok_or_else(|| CliError::UnknownCommand(name.to_owned()))?,
    };
    let mut page = Vec::new();
    clap_mangen::Man::new(of.clone()).render(&mut page)?;
    output::bytes(&page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
