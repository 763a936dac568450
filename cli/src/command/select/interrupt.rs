//! ^C while a selection is followed.

use tokio::sync::mpsc;

use crate::args::OnInterrupt;

/// Exit status of a command that was ended by its second ^C, as shells have it.
const STATUS_OF_SIGINT: i32 = 130;

/// Listens to ^C and SIGTERM. The first one is heard; the second ends the process.
#[derive(Debug)]
pub(super) struct Interrupts {
    heard: mpsc::Receiver<()>,
}

impl Interrupts {
    pub(super) fn listen() -> Self {
        let (sender, heard) = mpsc::channel(1);
        tokio::spawn(async move {
            let Ok(mut signals) = svc_kit::shutdown::Signals::listen() else {
                return;
            };
            signals.next().await;
            let _ = sender.send(()).await;
            signals.next().await;
            std::process::exit(STATUS_OF_SIGINT);
        });
        Self { heard }
    }

    /// Waits for the first ^C. Dropping the future loses nothing.
    pub(super) async fn heard(&mut self) {
        if self.heard.recv().await.is_none() {
            // Signals cannot be heard here, or have been: there is nothing to wait for.
            std::future::pending::<()>().await;
        }
    }
}

/// What the first ^C is said to have meant.
pub(super) fn words(wish: OnInterrupt, id: &str) -> String {
    match wish {
        OnInterrupt::Leave => format!("leaving selection {id}; ^C again: at once"),
        OnInterrupt::Cancel => format!("cancelling selection {id}; ^C again: out at once"),
    }
}
