//! ^C while a run is followed: asks on a terminal what is meant, cancels elsewhere.

use std::io::IsTerminal as _;

use tokio::sync::mpsc;

use crate::command::complain;

/// What the caller wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// The run shall end.
    Cancel,
    /// The run shall go on unwatched.
    Detach,
    /// It was nothing.
    GoOn,
}

/// Listens to ^C, which from now on does not end the process.
#[derive(Debug)]
pub(super) struct Interrupts {
    heard: mpsc::Receiver<()>,
}

impl Interrupts {
    pub(super) fn listen() -> Self {
        let (sender, heard) = mpsc::channel(1);
        tokio::spawn(async move { while tokio::signal::ctrl_c().await.is_ok() && sender.send(()).await.is_ok() {} });
        Self { heard }
    }

    /// Waits for ^C. Dropping the future loses nothing.
    pub(super) async fn heard(&mut self) {
        if self.heard.recv().await.is_none() {
            // Signals cannot be heard here: there is nothing to wait for.
            std::future::pending::<()>().await;
        }
    }

    /// What is meant: asked on a terminal, elsewhere it is to cancel.
    pub(super) async fn wish(&mut self, id: &str) -> Wish {
        if std::io::stdin().is_terminal() && std::io::stderr().is_terminal() {
            self.ask(id).await
        } else {
            Wish::Cancel
        }
    }

    /// Asks; a second ^C is an answer, too.
    async fn ask(&mut self, id: &str) -> Wish {
        complain(&format!(
            "\ncancel the run {id}? [y: cancel, d: leave it running and detach, n: go on; ^C: cancel]"
        ));
        let (sender, mut answer) = mpsc::channel(1);
        // A thread of its own, which the process does not wait for: reading from a terminal cannot be given up.
        std::thread::spawn(move || {
            let mut line = String::new();
            let read = std::io::stdin().read_line(&mut line);
            let _ = sender.blocking_send(read.map(|_| line));
        });
        tokio::select! {
            () = self.heard() => Wish::Cancel,
            line = answer.recv() => line.and_then(Result::ok).map_or(Wish::GoOn, |line| meant(&line)),
        }
    }
}

fn meant(line: &str) -> Wish {
    match line.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Wish::Cancel,
        "d" | "detach" => Wish::Detach,
        _ => Wish::GoOn,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_understood() {
        assert_eq!(meant(" Y \n"), Wish::Cancel);
        assert_eq!(meant("d\n"), Wish::Detach);
        assert_eq!(meant(""), Wish::GoOn);
        assert_eq!(meant("what?"), Wish::GoOn);
    }
}
