//! Ctrl-C and SIGTERM. Some commands finish what they have begun; all end within ten seconds, because Docker
//! kills after that.

use std::io;
use std::process::exit;
use std::sync::Arc;
use std::thread::{sleep, spawn};
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tokio::sync::watch;

/// How long a command may take to finish: less than the ten seconds.
const TIME_TO_END: Duration = Duration::from_secs(8);

/// The exit code of a command that was interrupted.
const INTERRUPTED: i32 = 1;

/// The id of the first process, which in a container is the command itself.
const FIRST_PROCESS: u32 = 1;

/// Lets signals end the command. They do so by themselves, except for the first process of a container: the
/// kernel drops its signals unless it handles them.
pub(crate) fn end_at_once() -> io::Result<()> {
    if std::process::id() == FIRST_PROCESS {
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        spawn(move || {
            if let Some(signal) = signals.forever().next() {
                exit(exit_code(signal));
            }
        });
    }
    Ok(())
}

/// The exit code that shells report for a process that a signal ended.
fn exit_code(signal: i32) -> i32 {
    128 + signal
}

/// A request to stop, by a user, the system or the command itself.
#[derive(Clone)]
pub(crate) struct Stop(Arc<watch::Sender<bool>>);

impl Stop {
    /// Handles the signals from now on. The first asks to stop; the second, or a time limit, ends the process.
    pub(crate) fn on_signal() -> io::Result<Self> {
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        let stop = Self(Arc::default());
        let asking = stop.clone();
        spawn(move || {
            for (signal, is_first) in signals.forever().zip([true, false]) {
                if !is_first {
                    exit(exit_code(signal));
                }
                asking.ask();
                spawn(end_in_time);
            }
        });
        Ok(stop)
    }

    /// Asks to stop.
    pub(crate) fn ask(&self) {
        self.0.send_replace(true);
    }

    /// Whether to stop.
    pub(crate) fn is_asked(&self) -> bool {
        *self.0.borrow()
    }

    /// The result of some work; `None` if a request to stop comes first, which drops the work.
    pub(crate) async fn or_done<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.asked() => None,
            done = work => Some(done),
        }
    }

    /// The result of work whose outcome must be known: a request to stop drops it only after this long.
    pub(crate) async fn or_given_up<T>(
        &self,
        grace: Duration,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        let given_up = async {
            self.asked().await;
            tokio::time::sleep(grace).await;
        };
        tokio::select! {
            biased;
            done = work => Some(done),
            () = given_up => None,
        }
    }

    /// Waits for a request to stop.
    pub(crate) async fn asked(&self) {
        // It fails only without a sender, and this type holds one.
        drop(self.0.subscribe().wait_for(|&asked| asked).await);
    }
}

fn end_in_time() {
    sleep(TIME_TO_END);
    let secs = TIME_TO_END.as_secs();
    eprintln!(
        "stopped after {secs} seconds because a system did not respond: messages in flight become visible again after their visibility timeout"
    );
    exit(INTERRUPTED);
}
