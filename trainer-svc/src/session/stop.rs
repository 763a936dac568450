//! Ending a running program from another thread.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ort::session::RunOptions;

/// Says "stop" to programs that run with it, from any thread. Clones are one token; once stopped it stays so.
#[derive(Clone, Default)]
pub struct StopToken(Arc<State>);

#[derive(Default)]
struct State {
    stopped: AtomicBool,
    running: Mutex<Vec<Arc<RunOptions>>>,
}

impl StopToken {
    /// A token that nobody has stopped.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends the runs that are under way with this token, and refuses further ones. On CPU a run ends within its present node.
    pub fn stop(&self) {
        self.0.stopped.store(true, Ordering::SeqCst);
        for options in self.running().iter() {
            // The call only sets a flag; it has no way to fail.
            let _ = options.terminate();
        }
    }

    /// Was [`Self::stop`] called?
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.0.stopped.load(Ordering::SeqCst)
    }

    /// Takes up a run, until the guard is dropped; `None` when the token is stopped.
    pub(super) fn enter(&self, options: &Arc<RunOptions>) -> Option<Running<'_>> {
        self.running().push(Arc::clone(options));
        let running = Running {
            token: self,
            options: Arc::clone(options),
        };
        // Looked at only now: a stop before this line is seen here, a later one finds the options in the list.
        (!self.is_stopped()).then_some(running)
    }

    fn running(&self) -> MutexGuard<'_, Vec<Arc<RunOptions>>> {
        self.0.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for StopToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StopToken")
            .field("stopped", &self.is_stopped())
            .finish_non_exhaustive()
    }
}

/// A run under way.
pub(super) struct Running<'a> {
    token: &'a StopToken,
    options: Arc<RunOptions>,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.token
            .running()
            .retain(|options| !Arc::ptr_eq(options, &self.options));
    }
}
