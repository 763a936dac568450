//! A run's events, as those who watch it read them: without the manager's lock, which is held while lines are written to the disk.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use trainer_kit::event::{Event, EventLog};

#[derive(Debug)]
struct State {
    events: EventLog,
    ended: bool,
    gone: bool,
}

/// The events of a run. Clones are the same one.
#[derive(Debug, Clone)]
pub struct RunLog {
    key: u64,
    state: Arc<Mutex<State>>,
}

impl RunLog {
    pub(super) fn new(key: u64, retained: usize) -> Self {
        let state = State {
            events: EventLog::new(retained),
            ended: false,
            gone: false,
        };
        Self {
            key,
            state: Arc::new(Mutex::new(state)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Key of the run: what a [`Listener`](super::Listener) is called with.
    #[must_use]
    pub fn key(&self) -> u64 {
        self.key
    }

    /// Number of the newest event.
    #[must_use]
    pub fn last_sequence(&self) -> i64 {
        self.lock().events.last_sequence()
    }

    /// At most `limit` events after a cursor, the number of the newest, and whether the run has ended with it. `None`: the run is
    /// gone.
    #[must_use]
    pub fn read(&self, cursor: i64, limit: usize) -> Option<(Vec<Event>, i64, bool)> {
        let state = self.lock();
        if state.gone {
            return None;
        }
        Some((
            state.events.after(cursor, limit),
            state.events.last_sequence(),
            state.ended,
        ))
    }

    pub(super) fn add(&self, event: Event, ended: bool) {
        let mut state = self.lock();
        state.events.add(event);
        state.ended = ended;
    }

    pub(super) fn go(&self) {
        self.lock().gone = true;
    }
}
