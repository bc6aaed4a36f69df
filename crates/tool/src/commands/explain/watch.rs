//! `--watch`: the result again after each change of a file that it is made from.

use std::collections::BTreeSet;
use std::io::IsTerminal as _;
use std::path::Path;
use std::time::Duration;

use tokio::time::sleep;

use super::Explain;
use crate::cli::Outcome;
use crate::cli::error::CliError;
use crate::cli::output::{escaped, line, listed};
use crate::cli::signals::Stop;
use crate::cli::snippet;
use crate::cli::watch::Watched;

/// How often the files are looked at.
const PAUSE: Duration = Duration::from_millis(300);

/// Moves to the top of the screen and clears it.
/// Source: <https://www.ecma-international.org/publications-and-standards/standards/ecma-48/>.
const CLEAR: &str = "\x1b[H\x1b[2J";

impl Explain {
    pub(super) async fn watch(&self) -> Result<Outcome, CliError> {
        let Some(files) = self.samples.files() else {
            return Err(CliError::invalid(
                "--watch reads messages several times: name their files instead of -",
            ));
        };
        let stop = Stop::on_signal()?;
        let files = files.iter().cloned().chain([self.mapping.file()]);
        let mut watched = Watched::new(files.chain(self.against.clone()));
        let is_terminal = std::io::stdout().is_terminal();
        if is_terminal {
            print!("{CLEAR}");
        }
        loop {
            self.show_again().await?;
            if is_terminal {
                eprintln!("\nCtrl-C ends this");
            }
            let Some(changed) = stop.or_done(change(&mut watched)).await else {
                return Ok(Outcome::Done);
            };
            match is_terminal {
                true => print!("{CLEAR}"),
                false => line(&format!("\nchanged: {changed}"))?,
            }
        }
    }

    /// A mistake, which the next change may correct, ends nothing.
    async fn show_again(&self) -> Result<(), CliError> {
        match self.once().await {
            Err(error) if error.is_unread() => Err(error),
            Err(error) => {
                snippet::report(&error);
                Ok(())
            }
            Ok(_) => Ok(()),
        }
    }
}

/// Waits until files have changed and then no longer do: a file that is being written may be empty. Returns their names.
async fn change(watched: &mut Watched) -> String {
    let mut names = BTreeSet::new();
    loop {
        sleep(PAUSE).await;
        let changed = watched.changed();
        if changed.is_empty() && !names.is_empty() {
            return listed(names);
        }
        let name = |file: &Path| escaped(&file.display().to_string());
        names.extend(changed.into_iter().map(name));
    }
}
