//! Ctrl-C and SIGTERM, for commands that hold something which they have to finish.

use std::io;
use std::sync::Arc;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tokio::sync::watch;

/// Whether a person, the system or the command itself has asked for an end.
#[derive(Clone)]
pub(crate) struct Stop {
    sender: Arc<watch::Sender<bool>>,
    receiver: watch::Receiver<bool>,
}

impl Stop {
    /// Takes the signals over. The second one ends the process at once.
    pub(crate) fn on_signal() -> io::Result<Self> {
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        let (sender, receiver) = watch::channel(false);
        let stop = Self {
            sender: Arc::new(sender),
            receiver,
        };
        let asking = stop.clone();
        std::thread::spawn(move || {
            for (signal, is_first) in signals.forever().zip([true, false]) {
                if !is_first {
                    // What shells make of a process that a signal ended.
                    std::process::exit(128 + signal);
                }
                asking.ask();
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

    /// Waits until it is asked for.
    pub(crate) async fn asked(&mut self) {
        // It fails without a sender, and there is one in here.
        _ = self.receiver.wait_for(|&asked| asked).await;
    }
}
