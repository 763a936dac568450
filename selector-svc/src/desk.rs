//! What callers may do with selections, whatever carries their calls: commands and questions on the store.
//!
//! A command is an event that is appended as a caller's wish; the selector that drives the selection reads it and goes on from there.
//! A question is answered from the events, replayed. Nothing here knows a transport.
//!
//! - [`create`]: new selections. [`command`]: pause, resume, cancel, amend. [`work`]: ask and tell.
//! - [`feed`]: a selection's events as they come.
//! - [`token`]: places in lists.

mod cache;
mod command;
mod create;
pub mod feed;
pub mod token;
pub mod work;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use thiserror::Error;

use self::cache::Cache;
use crate::certificate::{self, Certificate, Verification};
use crate::constraint::Constraints;
use crate::curve::DataSize;
use crate::driver::{Driver, PrepareError};
use crate::ports::RunProgress;
use crate::report::{Report, ReportedChoice};
use crate::selection::{BudgetSpec, Prepared, SelectionSpec, State, TransitionError, transition};
use crate::simulate::SelectionPolicy;
use crate::store::{ListKey, ListQuery, Store, StoreError, StoredSelection};
use crate::what_if::{WhatIfError, what_if};

pub use self::create::CreateWish;
pub(crate) use self::create::draw;

/// Events that are read at once.
const PAGE: u32 = 256;

/// How a desk behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeskConfig {
    /// Contenders of one selection, ≥ 1.
    pub max_contenders: usize,
    /// States kept of selections that were asked about last, ≥ 1.
    pub cached_states: usize,
    /// How long a creation waits for the trainers to say what it would cost; 0: it does not ask.
    pub create_wait: Duration,
    /// How often a watch asks the store for a selection that is driven elsewhere.
    pub watch_poll: Duration,
}

impl Default for DeskConfig {
    fn default() -> Self {
        Self {
            max_contenders: crate::selection::spec::MAX_CONTENDERS,
            cached_states: 128,
            create_wait: Duration::from_secs(5),
            watch_poll: Duration::from_millis(200),
        }
    }
}

/// A selection as it stands.
#[derive(Clone, Debug)]
pub struct View {
    /// Its id.
    pub id: String,
    /// Who drives it; empty: nobody.
    pub owner: String,
    /// What its events add up to.
    pub state: Arc<State>,
    /// How far its runs are, where this process drives it; by position of the trial.
    pub progress: BTreeMap<usize, RunProgress>,
    /// The choice with its forecast, once it has ended with one.
    pub choice: Option<ReportedChoice>,
}

/// A page of a list.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    /// At most so many, ≥ 1.
    pub limit: u32,
    /// Only those after this place (newest first).
    pub before: Option<ListKey>,
    /// Names of [`crate::store::phase_name`]; empty: all.
    pub phases: Vec<String>,
    /// Only with all of these.
    pub labels: BTreeMap<String, String>,
}

/// Why a caller's wish was not fulfilled.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum DeskError {
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A field is wrong that only the selection can judge.
    #[error("{field}: {description}")]
    Invalid {
        /// Its path in the request.
        field: String,
        /// What is wrong.
        description: String,
    },
    /// More than is accepted here.
    #[error("{field}: {description}")]
    LimitExceeded {
        /// Its path in the request.
        field: String,
        /// What is accepted.
        description: String,
    },
    /// The id belongs to another spec.
    #[error("the id {id:?} belongs to a selection with another spec")]
    Taken {
        /// The id.
        id: String,
    },
    /// The selection's state does not allow it.
    #[error("{description}")]
    WrongState {
        /// The selection.
        id: String,
        /// What it would need.
        description: String,
    },
    /// The attempt is not the reporter's any more.
    #[error("{description}")]
    StaleAttempt {
        /// What became of it.
        description: String,
    },
    /// It was changed by others again and again.
    #[error("selection {id:?} is being changed by others all the time")]
    Contended {
        /// The selection.
        id: String,
    },
    /// The trainers cannot be asked, or there is no plan.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// There is no answer to the what-if.
    #[error(transparent)]
    WhatIf(#[from] WhatIfError),
    /// Its events contradict each other: a defect, or a store that was tampered with.
    #[error("selection {id:?} cannot be replayed: {error}")]
    Replay {
        /// The selection.
        id: String,
        /// Which event, and how.
        error: TransitionError,
    },
}

/// Takes callers' wishes. Clones are the same one.
#[derive(Clone)]
pub struct Desk {
    store: Arc<dyn Store>,
    driver: Driver,
    config: DeskConfig,
    cache: Arc<Mutex<Cache>>,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Desk {
    /// A desk on a store, beside the driver of this process.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, driver: Driver, config: DeskConfig) -> Self {
        let cache = Arc::new(Mutex::new(Cache::new(config.cached_states)));
        Self {
            store,
            driver,
            config,
            cache,
        }
    }

    /// A selection as it stands.
    ///
    /// # Errors
    /// The id is unknown, or the store cannot be read; so for all questions below.
    pub async fn get(&self, id: &str) -> Result<View, DeskError> {
        let (stored, state) = self.load(id).await?;
        Ok(self.view(stored.id, stored.owner, state))
    }

    /// Selections, newest first, without their events; and where the next page begins, if there is one.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn list(&self, filter: Filter) -> Result<(Vec<StoredSelection>, Option<ListKey>), DeskError> {
        let limit = filter.limit.max(1);
        let query = ListQuery {
            // One more tells whether there is a further page.
            limit: limit.saturating_add(1),
            before: filter.before,
            phases: filter.phases,
            labels: filter.labels,
        };
        let mut found = self.store.list(query).await?;
        let more = found.len() > limit as usize;
        found.truncate(limit as usize);
        let next = found
            .last()
            .filter(|_| more)
            .map(|last| (last.created, last.id.clone()));
        Ok((found, next))
    }

    /// Forgets a selection.
    ///
    /// # Errors
    /// It has not ended.
    pub async fn delete(&self, id: &str) -> Result<(), DeskError> {
        self.store.delete(id).await?;
        self.cached().remove(id);
        Ok(())
    }

    /// What a selection would take.
    ///
    /// # Errors
    /// There is no plan, or no trainer answers.
    pub async fn estimate(&self, spec: &SelectionSpec) -> Result<Prepared, DeskError> {
        self.accept(spec)?;
        Ok(self.driver.prepare(spec).await?)
    }

    /// What came of it, or is known so far.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn report(&self, id: &str) -> Result<(Report, Arc<State>), DeskError> {
        let (_, state) = self.load(id).await?;
        let now = self.store.now().await?;
        Ok((Report::of(id, &state, now), state))
    }

    /// Canonical JSON and its digest.
    ///
    /// # Errors
    /// It has not ended with a choice.
    pub async fn certificate(&self, id: &str) -> Result<(String, String), DeskError> {
        let (_, state) = self.load(id).await?;
        let json = Certificate::of(id, &state).ok_or_else(|| DeskError::WrongState {
            id: id.to_owned(),
            description: "only a selection that has ended with a choice has a certificate".to_owned(),
        })?;
        let digest = certificate::digest(&json);
        Ok((json, digest))
    }

    /// Recomputes a certificate's ranking. Computes for a while.
    #[must_use]
    pub fn verify(json: &str, digest: &str) -> Verification {
        certificate::verify(json, digest)
    }

    /// Decides once more; the second part are the runs that were never made.
    ///
    /// # Errors
    /// [`WhatIfError`].
    pub async fn what_if(
        &self,
        id: &str,
        budget: Option<BudgetSpec>,
        policy: Option<SelectionPolicy>,
        constraints: Option<Constraints>,
    ) -> Result<(Report, Vec<(usize, DataSize)>, Arc<State>), DeskError> {
        let (_, state) = self.load(id).await?;
        let now = self.store.now().await?;
        let (report, missing) = what_if(id, &state, budget, policy, constraints, now)?;
        Ok((report, missing, state))
    }

    /// The driver of this process.
    #[must_use]
    pub fn driver(&self) -> &Driver {
        &self.driver
    }

    fn cached(&self) -> std::sync::MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn view(&self, id: String, owner: String, state: Arc<State>) -> View {
        let progress = self.driver.live(&id).map(|live| live.borrow().progress.clone());
        View {
            choice: self.choice(&id, &state),
            id,
            owner,
            state,
            progress: progress.unwrap_or_default(),
        }
    }

    /// The choice of a selection that has ended; its forecast is computed once.
    fn choice(&self, id: &str, state: &State) -> Option<ReportedChoice> {
        state.choice()?;
        let known = self.cached().choice(id, state);
        if known.is_some() {
            return known;
        }
        let choice = Report::of(id, state, state.updated).choice;
        self.cached().keep_choice(id, state, choice.clone());
        choice
    }

    /// A selection with the state that its events add up to.
    async fn load(&self, id: &str) -> Result<(StoredSelection, Arc<State>), DeskError> {
        let stored = self.store.get(id).await?;
        // The same id with another creation is another selection.
        let known = self.cached().get(id).filter(|state| state.created == stored.created);
        if let Some(state) = known.clone().filter(|state| state.sequence >= stored.sequence) {
            return Ok((stored, state));
        }
        let state = match self.replay(id, known.as_deref().cloned(), stored.sequence).await {
            // What was kept may be of a selection that is gone.
            Err(DeskError::Replay { .. }) if known.is_some() => self.replay(id, None, stored.sequence).await?,
            found => found?,
        };
        let state = Arc::new(state);
        self.cached().keep(id, Arc::clone(&state));
        Ok((stored, state))
    }

    /// Reads events on top of a state, up to a sequence at least.
    async fn replay(&self, id: &str, from: Option<State>, until: u64) -> Result<State, DeskError> {
        let mut state = from;
        loop {
            let after = state.as_ref().map_or(0, |state| state.sequence);
            if let Some(state) = state.take_if(|state| state.sequence >= until) {
                return Ok(state);
            }
            let events = self.store.events(id, after, PAGE).await?;
            if events.is_empty() {
                // It was deleted meanwhile.
                return state.ok_or_else(|| StoreError::NotFound { id: id.to_owned() }.into());
            }
            for stored in events {
                let (next, _) = transition(state, stored.event, stored.at).map_err(|error| DeskError::Replay {
                    id: id.to_owned(),
                    error,
                })?;
                state = Some(next);
            }
        }
    }
}
