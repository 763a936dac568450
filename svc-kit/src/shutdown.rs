//! Shutting down in order: one token, two signals, and no wait without a bound.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Tells everybody in the process that it is time to finish. Clones share one state; it never goes back.
#[derive(Debug, Clone, Default)]
pub struct Token {
    inner: CancellationToken,
}

impl Token {
    /// A token nobody has triggered yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins the shutdown. Doing so again changes nothing.
    pub fn trigger(&self) {
        self.inner.cancel();
    }

    /// Has the shutdown begun?
    #[must_use]
    pub fn is_triggered(&self) -> bool {
        self.inner.is_cancelled()
    }

    /// Resolves when the shutdown begins (at once if it has). The future owns its share of the token: long streams
    /// select on it to end in time.
    pub fn triggered(&self) -> WaitForCancellationFutureOwned {
        self.inner.clone().cancelled_owned()
    }

    /// A token that is triggered with this one, and can be triggered alone.
    #[must_use]
    pub fn child(&self) -> Self {
        Self {
            inner: self.inner.child_token(),
        }
    }
}

/// Work beside the calls that is waited for when the process ends. Clones share one set.
#[derive(Debug, Clone, Default)]
pub struct Background {
    tasks: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

impl Background {
    /// Sets work going that ends by itself once the shutdown begins. Must be called within a tokio runtime.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let task = tokio::spawn(work);
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).push(task);
    }

    /// Waits for all of it; work that panicked has ended.
    pub async fn finish(&self) {
        loop {
            let next = self.tasks.lock().unwrap_or_else(PoisonError::into_inner).pop();
            match next {
                Some(task) => drop(task.await),
                None => return,
            }
        }
    }
}

/// SIGTERM and SIGINT, heard from the moment this is made: a signal between two waits is not lost.
#[derive(Debug)]
pub struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    /// Begins to listen; the process no longer dies of these signals. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When the handlers cannot be installed.
    pub fn listen() -> std::io::Result<Self> {
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            Ok(Self {
                terminate: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
            })
        }
        #[cfg(not(unix))]
        Ok(Self {})
    }

    /// The name of the next signal.
    pub async fn next(&mut self) -> &'static str {
        #[cfg(unix)]
        {
            tokio::select! {
                _ = self.terminate.recv() => "SIGTERM",
                _ = self.interrupt.recv() => "SIGINT",
            }
        }
        #[cfg(not(unix))]
        {
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
            "SIGINT"
        }
    }

    /// Triggers `token` at the first signal and ends the process at the second, with exit code 130. Runs until then:
    /// spawn it.
    pub async fn trigger(mut self, token: Token) {
        let signal = self.next().await;
        tracing::info!(signal, "draining; a second signal exits at once");
        token.trigger();
        self.next().await;
        std::process::exit(130);
    }
}

/// The wait was longer than its bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not finished within {0:?}")]
pub struct TimedOut(pub Duration);

/// Waits for `work`, at most `limit`. What has not finished by then is dropped.
///
/// # Errors
/// [`TimedOut`] when the limit has passed.
pub async fn within<F: Future>(limit: Duration, work: F) -> Result<F::Output, TimedOut> {
    tokio::time::timeout(limit, work).await.map_err(|_| TimedOut(limit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_child_ends_with_its_parent_and_not_the_other_way() {
        let parent = Token::new();
        let (first, second) = (parent.child(), parent.child());
        first.trigger();
        assert!(first.is_triggered() && !parent.is_triggered() && !second.is_triggered());
        parent.trigger();
        second.triggered().await;
        assert!(second.is_triggered());
    }

    #[tokio::test]
    async fn background_work_is_waited_for_also_when_it_panics() {
        let (background, token) = (Background::default(), Token::new());
        let done = Arc::new(Mutex::new(false));
        let (shutdown, mark) = (token.triggered(), Arc::clone(&done));
        background.spawn(async move {
            shutdown.await;
            *mark.lock().unwrap() = true;
        });
        background.spawn(async { panic!("on purpose") });
        token.trigger();
        background.clone().finish().await;
        assert!(*done.lock().unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn waits_are_bounded() {
        let limit = Duration::from_secs(3);
        assert_eq!(within(limit, std::future::pending::<()>()).await, Err(TimedOut(limit)));
        assert_eq!(within(limit, async { 7 }).await, Ok(7));
    }
}
