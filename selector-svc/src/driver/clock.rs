//! The store's time between two answers of the store.

use std::time::Duration;

use tokio::time::Instant;

use crate::selection::Millis;

/// Follows the store's clock by the monotonic one of this process: between two answers of the store neither jumps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    at: Millis,
    heard: Instant,
}

impl Clock {
    /// As just heard from the store.
    pub(super) fn new(at: Millis) -> Self {
        Self {
            at,
            heard: Instant::now(),
        }
    }

    /// The store's time now, as far as can be told.
    pub(super) fn now(&self) -> Millis {
        let elapsed = i64::try_from(self.heard.elapsed().as_millis()).unwrap_or(i64::MAX);
        self.at.saturating_add(elapsed)
    }

    /// When it will be so late by the store's clock.
    pub(super) fn instant(&self, at: Millis) -> Instant {
        let ahead = u64::try_from(at.saturating_sub(self.at)).unwrap_or(0);
        // Far times are looked at again before they come.
        let ahead = Duration::from_millis(ahead).min(Duration::from_hours(24));
        self.heard + ahead
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_goes_on_between_two_answers() {
        let clock = Clock::new(1_000);
        tokio::time::advance(Duration::from_millis(250)).await;
        assert_eq!(clock.now(), 1_250);
        assert_eq!(clock.instant(1_300) - Instant::now(), Duration::from_millis(50));
        assert!(clock.instant(5) <= Instant::now());
        assert!(clock.instant(i64::MAX) > Instant::now());
    }
}
