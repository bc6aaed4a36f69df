//! The commands of the tool: for each its arguments and what it does.

mod check;
pub(crate) mod completions;
mod ddl;
mod drain;
mod explain;
mod forget;
mod health;
mod infer;
mod man;
mod preview;
mod redrive;
mod remask;
mod sample;
mod schema;
mod send;
mod test;
mod token;
mod unmask;

use clap::Subcommand;

use crate::cli::error::CliError;
use crate::cli::{Outcome, signals};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Check(check::Check),
    Ddl(ddl::Ddl),
    Drain(drain::Drain),
    Explain(explain::Explain),
    Forget(Box<forget::Forget>),
    Health(health::Health),
    Infer(infer::Infer),
    Preview(preview::Preview),
    Redrive(redrive::Redrive),
    Remask(remask::Remask),
    Sample(sample::Sample),
    Send(send::SendLines),
    Test(test::Test),
    Token(token::Token),
    Unmask(unmask::Unmask),
    Completions(completions::Completions),
    Man(man::Man),
    Schema(schema::Schema),
}

impl Command {
    /// Whether it handles signals itself, to finish what it has begun.
    fn takes_signals(&self) -> bool {
        match self {
            Self::Drain(_)
            | Self::Forget(_)
            | Self::Preview(_)
            | Self::Redrive(_)
            | Self::Remask(_)
            | Self::Sample(_)
            | Self::Send(_) => true,
            Self::Explain(explain) => explain.samples.is_queue() || explain.watch,
            Self::Infer(infer) => infer.samples.is_queue(),
            Self::Check(_)
            | Self::Ddl(_)
            | Self::Health(_)
            | Self::Test(_)
            | Self::Token(_)
            | Self::Unmask(_)
            | Self::Completions(_)
            | Self::Man(_)
            | Self::Schema(_) => false,
        }
    }

    /// Whether it changes something, rather than only print. Then it is not done when nobody reads its output any
    /// more, and its exit code says so.
    pub(crate) fn changes(&self) -> bool {
        match self {
            Self::Drain(_) | Self::Send(_) => true,
            Self::Forget(forget) => forget.yes,
            Self::Redrive(redrive) => redrive.moves(),
            Self::Remask(remask) => !remask.dry_run,
            Self::Test(test) => test.update,
            Self::Check(_)
            | Self::Ddl(_)
            | Self::Explain(_)
            | Self::Health(_)
            | Self::Infer(_)
            | Self::Preview(_)
            | Self::Sample(_)
            | Self::Token(_)
            | Self::Unmask(_)
            | Self::Completions(_)
            | Self::Man(_)
            | Self::Schema(_) => false,
        }
    }

    pub(crate) async fn run(self) -> Result<Outcome, CliError> {
        if !self.takes_signals() {
            signals::end_at_once()?;
        }
        match self {
            Self::Check(check) => check.run().await,
            Self::Ddl(ddl) => ddl.run().await,
            Self::Drain(drain) => drain.run().await,
            Self::Explain(explain) => explain.run().await,
            Self::Forget(forget) => forget.run().await,
            Self::Health(health) => health.run().await,
            Self::Infer(infer) => infer.run().await,
            Self::Preview(preview) => preview.run().await,
            Self::Redrive(redrive) => redrive.run().await,
            Self::Remask(remask) => remask.run().await,
            Self::Sample(sample) => sample.run().await,
            Self::Send(send) => send.run().await,
            Self::Test(test) => test.run(),
            Self::Token(token) => token.run().await,
            Self::Unmask(unmask) => unmask.run().await,
            Self::Completions(completions) => completions.run(),
            Self::Man(man) => man.run(),
            Self::Schema(schema) => schema.run(),
        }
    }
}
