//! Shutting down in order: one token, two signals, and no wait without a bound.

use std::future::Future;
use std::time::Duration;

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
    #[must_use]
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

/// Resolves with the name of the signal (`SIGTERM` or `SIGINT`) once one arrives. Each call listens anew: the second
/// wait hears the second signal.
///
/// # Errors
/// When the handler cannot be installed.
pub async fn signal() -> std::io::Result<&'static str> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        Ok(tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        })
    }
    #[cfg(not(unix))]
    {
        tokio::signal::ctrl_c().await?;
        Ok("SIGINT")
    }
}

/// Triggers `token` at the first signal and ends the process at the second, with exit code 130. Runs until then:
/// spawn it.
pub async fn on_signals(token: Token) {
    match signal().await {
        Ok(name) => tracing::info!(signal = name, "draining; a second signal exits at once"),
        Err(error) => {
            tracing::warn!(%error, "cannot listen to signals");
            return;
        }
    }
    token.trigger();
    if signal().await.is_ok() {
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

    #[tokio::test(start_paused = true)]
    async fn waits_are_bounded() {
        let limit = Duration::from_secs(3);
        assert_eq!(within(limit, std::future::pending::<()>()).await, Err(TimedOut(limit)));
        assert_eq!(within(limit, async { 7 }).await, Ok(7));
    }
}
