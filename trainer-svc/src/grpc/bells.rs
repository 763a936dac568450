//! Bells: who watches a run hears when it has news.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use trainer_kit::event::Severity;

use crate::runs::Listener;

/// By run: those who watch it. A run that nobody watches has no bell.
#[derive(Debug, Default)]
pub(super) struct Bells {
    bells: Mutex<HashMap<u64, watch::Sender<()>>>,
}

impl Bells {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, watch::Sender<()>>> {
        self.bells.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hears of a run from now on.
    pub(super) fn listen(&self, key: u64) -> watch::Receiver<()> {
        self.lock().entry(key).or_default().subscribe()
    }
}

impl Listener for Bells {
    fn changed(&self, key: u64) {
        let mut bells = self.lock();
        if bells.get(&key).is_some_and(|bell| bell.send(()).is_err()) {
            // Nobody listens any more.
            bells.remove(&key);
        }
    }

    fn gone(&self, key: u64) {
        // Dropping the bell wakes its listeners.
        self.lock().remove(&key);
    }

    fn tell(&self, severity: Severity, text: &str) {
        match severity {
            Severity::Info => tracing::info!("{text}"),
            Severity::Warning => tracing::warn!("{text}"),
            Severity::Error => tracing::error!("{text}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn listeners_hear_of_news_and_of_the_end_and_leave_nothing_behind() {
        let bells = Bells::default();
        let mut listener = bells.listen(7);
        bells.changed(8);
        bells.changed(7);
        assert!(listener.changed().await.is_ok());
        drop(listener);
        bells.changed(7);
        assert!(bells.lock().is_empty());
        let mut listener = bells.listen(7);
        bells.gone(7);
        assert!(listener.changed().await.is_err());
    }
}
