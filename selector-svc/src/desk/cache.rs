//! States that were asked about last.

use std::collections::HashMap;
use std::sync::Arc;

use crate::report::ReportedChoice;
use crate::selection::State;

/// A bounded set of states; the one that was asked about longest ago goes first.
#[derive(Debug)]
pub(super) struct Cache {
    most: usize,
    ticks: u64,
    kept: HashMap<String, Kept>,
}

#[derive(Debug)]
struct Kept {
    state: Arc<State>,
    /// Computed for this very state; absent: not yet, or there is none.
    choice: Option<ReportedChoice>,
    used: u64,
}

impl Cache {
    /// Of so many states, at least 1.
    pub(super) fn new(most: usize) -> Self {
        Self {
            most: most.max(1),
            ticks: 0,
            kept: HashMap::new(),
        }
    }

    /// The newest known state of a selection.
    pub(super) fn get(&mut self, id: &str) -> Option<Arc<State>> {
        self.ticks += 1;
        let kept = self.kept.get_mut(id)?;
        kept.used = self.ticks;
        Some(Arc::clone(&kept.state))
    }

    /// Keeps a state, unless a newer one of the same selection is there.
    pub(super) fn keep(&mut self, id: &str, state: Arc<State>) {
        self.ticks += 1;
        let newer = |kept: &Kept| kept.state.created == state.created && kept.state.sequence >= state.sequence;
        if self.kept.get(id).is_some_and(newer) {
            return;
        }
        if self.kept.len() >= self.most && !self.kept.contains_key(id) {
            let oldest = self.kept.iter().min_by_key(|(_, kept)| kept.used);
            if let Some(oldest) = oldest.map(|(id, _)| id.clone()) {
                self.kept.remove(&oldest);
            }
        }
        let kept = Kept {
            state,
            choice: None,
            used: self.ticks,
        };
        self.kept.insert(id.to_owned(), kept);
    }

    /// The choice that was computed for this very state.
    pub(super) fn choice(&self, id: &str, state: &State) -> Option<ReportedChoice> {
        self.kept.get(id).filter(|kept| kept.is(state))?.choice.clone()
    }

    /// Keeps a choice beside its state.
    pub(super) fn keep_choice(&mut self, id: &str, state: &State, choice: Option<ReportedChoice>) {
        if let Some(kept) = self.kept.get_mut(id).filter(|kept| kept.is(state)) {
            kept.choice = choice;
        }
    }

    /// Forgets a selection.
    pub(super) fn remove(&mut self, id: &str) {
        self.kept.remove(id);
    }
}

impl Kept {
    fn is(&self, state: &State) -> bool {
        self.state.created == state.created && self.state.sequence == state.sequence
    }
}
