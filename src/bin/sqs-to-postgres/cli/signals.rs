//! Ctrl-C and SIGTERM. Commands that hold something finish it first; all end within ten seconds, after which
//! Docker and Kubernetes kill.

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

/// The exit code of a command that left something because it was interrupted.
const INTERRUPTED: i32 = 1;

/// The process that the kernel starts first, in a container the command itself.
const FIRST_PROCESS: u32 = 1;

/// Lets a signal end a command that holds nothing. This is what signals do by themselves, except to the
/// first process of a container, for which the kernel drops a signal that nobody has asked for.
pub(crate) fn end_at_once() -> io::Result<()> {
    if std::process::id() == FIRST_PROCESS {
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        spawn(move || {
            if let Some(signal) = signals.forever().next() {
                exit(as_shells_say(signal));
            }
        });
    }
    Ok(())
}

/// What shells make of a process that a signal ended.
fn as_shells_say(signal: i32) -> i32 {
    128 + signal
}

/// Whether a person, the system or the command itself has asked for an end.
#[derive(Clone)]
pub(crate) struct Stop {
    sender: Arc<watch::Sender<bool>>,
    receiver: watch::Receiver<bool>,
}

impl Stop {
    /// Takes the signals over. The second one ends the process at once; so does the time, where something that
    /// is waited for does not answer.
    pub(crate) fn on_signal() -> io::Result<Self> {
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        let (sender, receiver) = watch::channel(false);
        let stop = Self {
            sender: Arc::new(sender),
            receiver,
        };
        let asking = stop.clone();
        spawn(move || {
            for (signal, is_first) in signals.forever().zip([true, false]) {
                if !is_first {
                    exit(as_shells_say(signal));
                }
                asking.ask();
                spawn(end_in_time);
            }
        });
        Ok(stop)
    }

    /// Asks for it.
    pub(crate) fn ask(&self) {
        self.sender.send_replace(true);
    }

    /// Whether it was asked for.
    pub(crate) fn is_asked(&self) -> bool {
        *self.receiver.borrow()
    }

    /// Does some work, unless an end is asked for meanwhile: then the work is given up.
    pub(crate) async fn or_done<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut stop = self.clone();
        tokio::select! {
            biased;
            () = stop.asked() => None,
            done = work => Some(done),
        }
    }

    /// Waits until it is asked for.
    pub(crate) async fn asked(&mut self) {
        // It fails without a sender, and there is one in here.
        _ = self.receiver.wait_for(|&asked| asked).await;
    }
}

fn end_in_time() {
    sleep(TIME_TO_END);
    let secs = TIME_TO_END.as_secs();
    eprintln!(
        "ended after {secs} seconds, because something did not answer: messages in flight come back after their visibility timeout"
    );
    exit(INTERRUPTED);
}
