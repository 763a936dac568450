//! Telling a running thread to stop, and why.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Why a run is to stop. A later reason replaces an earlier one only when it is stronger: they are in ascending order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StopReason {
    /// A caller pauses it: save a checkpoint, then stop. Nothing is to be cut short for it.
    Pause,
    /// The process ends: as [`Pause`](Self::Pause), and soon.
    Drain,
    /// `max_duration` was reached: stop at once, nothing more is needed.
    Deadline,
    /// It showed no sign of life: stop at once.
    Stalled,
    /// A caller cancelled it, or what it reports cannot be kept: stop at once.
    Cancel,
}

impl StopReason {
    /// Is a checkpoint wanted first?
    #[must_use]
    pub fn wants_checkpoint(self) -> bool {
        matches!(self, Self::Pause | Self::Drain)
    }
}

type Callback = Arc<dyn Fn(StopReason) + Send + Sync>;

#[derive(Default)]
struct State {
    reason: Option<StopReason>,
    callbacks: Vec<(u64, Callback)>,
    next: u64,
}

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    changed: Condvar,
}

/// Asks a run to stop. Clones are the same one.
#[derive(Clone, Default)]
pub struct Stop {
    inner: Arc<Inner>,
}

impl fmt::Debug for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Stop").field(&self.reason()).finish()
    }
}

/// Unregisters a callback when it is dropped.
#[derive(Debug)]
#[must_use]
pub struct Registered {
    stop: Stop,
    id: u64,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.stop.lock().callbacks.retain(|(id, _)| *id != self.id);
    }
}

impl Stop {
    /// Nobody wants anything to stop yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why it is to stop; `None`: it is not.
    #[must_use]
    pub fn reason(&self) -> Option<StopReason> {
        self.lock().reason
    }

    /// Asks for it. A reason that is not stronger than the one before changes nothing.
    pub fn request(&self, reason: StopReason) {
        let callbacks: Vec<Callback> = {
            let mut state = self.lock();
            if state.reason.is_some_and(|before| before >= reason) {
                return;
            }
            state.reason = Some(reason);
            state
                .callbacks
                .iter()
                .map(|(_, callback)| Arc::clone(callback))
                .collect()
        };
        self.inner.changed.notify_all();
        for callback in callbacks {
            callback(reason);
        }
    }

    /// Calls back at every request that changes the reason, on the thread that asks; at once, if there is one already. The
    /// callback must be quick and must not report to the desk: it is for ending a running step from outside.
    pub fn on_stop(&self, callback: impl Fn(StopReason) + Send + Sync + 'static) -> Registered {
        let callback: Callback = Arc::new(callback);
        let (id, reason) = {
            let mut state = self.lock();
            state.next += 1;
            let id = state.next;
            state.callbacks.push((id, Arc::clone(&callback)));
            (id, state.reason)
        };
        if let Some(reason) = reason {
            callback(reason);
        }
        Registered { stop: self.clone(), id }
    }

    /// Sleeps, unless there is a reason to stop; says which.
    #[must_use]
    pub fn sleep(&self, time: Duration) -> Option<StopReason> {
        let end = Instant::now().checked_add(time);
        let mut state = self.lock();
        while state.reason.is_none() {
            let left = end.map_or(Duration::MAX, |end| end.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                break;
            }
            let waited = self
                .inner
                .changed
                .wait_timeout(state, left.min(Duration::from_hours(1)));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.reason
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stronger_reasons_replace_weaker_ones_and_callbacks_hear_of_each() {
        let stop = Stop::new();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let listen = |stop: &Stop| {
            let heard = Arc::clone(&heard);
            stop.on_stop(move |reason| heard.lock().unwrap().push(reason))
        };
        let registered = listen(&stop);
        assert_eq!(stop.sleep(Duration::ZERO), None);
        for reason in [
            StopReason::Drain,
            StopReason::Pause,
            StopReason::Drain,
            StopReason::Cancel,
            StopReason::Stalled,
        ] {
            stop.request(reason);
        }
        assert_eq!(stop.reason(), Some(StopReason::Cancel));
        assert_eq!(*heard.lock().unwrap(), [StopReason::Drain, StopReason::Cancel]);
        drop(registered);
        let _late = listen(&stop);
        assert_eq!(heard.lock().unwrap().len(), 3, "told at once");
        assert_eq!(stop.sleep(Duration::MAX), Some(StopReason::Cancel));
    }

    #[test]
    fn a_sleeper_is_woken() {
        let stop = Stop::new();
        let sleeper = std::thread::spawn({
            let stop = stop.clone();
            move || stop.sleep(Duration::from_hours(2))
        });
        stop.request(StopReason::Pause);
        assert_eq!(sleeper.join().unwrap(), Some(StopReason::Pause));
    }
}
