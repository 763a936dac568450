//! A clock that wakes one thread at a moment that may come sooner.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The longest sleep at once.
const MAX_SLEEP: Duration = Duration::from_hours(1);

#[derive(Debug, Default)]
struct State {
    rung: bool,
    closed: bool,
}

/// Wakes the thread that [waits](Alarm::wait).
#[derive(Debug, Default)]
pub(super) struct Alarm {
    state: Mutex<State>,
    rings: Condvar,
}

impl Alarm {
    /// Look again: the next moment may have come nearer.
    pub(super) fn ring(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).rung = true;
        self.rings.notify_all();
    }

    /// There is nothing more to wait for.
    pub(super) fn close(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.rings.notify_all();
    }

    /// Waits for the moment or a ring. False: closed.
    pub(super) fn wait(&self, until: Option<Instant>) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if state.closed {
                return false;
            }
            let left = until.map_or(MAX_SLEEP, |until| until.saturating_duration_since(Instant::now()));
            if std::mem::take(&mut state.rung) || left.is_zero() {
                return true;
            }
            let waited = self.rings.wait_timeout(state, left.min(MAX_SLEEP));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
