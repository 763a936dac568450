//! What the trainers said while a selection was being created: whoever drives it here need not ask them again.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::selection::{BudgetSpec, Prepared};

/// Most selections of which it is kept; each is taken up within moments, or by another process.
const KEPT: usize = 64;
/// How long it holds.
const FRESH: Duration = Duration::from_mins(1);

/// What is kept of one.
struct Kept {
    /// Id and nonce, for an id may be used anew.
    creation: (String, String),
    since: Instant,
    /// With the budget that it was planned by.
    planned: (BudgetSpec, Prepared),
}

/// Answers by the creation that they belong to.
#[derive(Default)]
pub(super) struct Early(Mutex<VecDeque<Kept>>);

impl Early {
    pub(super) fn keep(&self, id: &str, nonce: &str, planned: (BudgetSpec, Prepared)) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT {
            kept.pop_front();
        }
        kept.push_back(Kept {
            creation: (id.to_owned(), nonce.to_owned()),
            since: Instant::now(),
            planned,
        });
    }

    /// Once, while it holds.
    pub(super) fn take(&self, id: &str, nonce: &str) -> Option<(BudgetSpec, Prepared)> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|one| one.since.elapsed() < FRESH);
        let place = kept
            .iter()
            .position(|one| one.creation.0 == id && one.creation.1 == nonce)?;
        kept.remove(place).map(|one| one.planned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{ready, spec};
    use crate::simulate::SelectionPolicy;

    fn prepared() -> (BudgetSpec, Prepared) {
        let policy = SelectionPolicy::from_name("geometric").unwrap();
        let prepared = ready(spec(2, &["full"], policy, 20_000)).prepared.unwrap();
        (BudgetSpec::default(), prepared)
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_taken_once_by_its_own_creation_and_does_not_outlive_a_minute() {
        let early = Early::default();
        early.keep("a", "1", prepared());
        assert_eq!(early.take("a", "2"), None);
        assert_eq!(early.take("a", "1"), Some(prepared()));
        assert_eq!(early.take("a", "1"), None);
        early.keep("a", "1", prepared());
        tokio::time::advance(FRESH).await;
        assert_eq!(early.take("a", "1"), None);
        for id in 0..=KEPT {
            early.keep(&id.to_string(), "", prepared());
        }
        assert_eq!(early.take("0", ""), None, "the oldest is gone");
        assert!(early.take(&KEPT.to_string(), "").is_some());
    }
}
