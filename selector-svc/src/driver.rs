//! Drives selections: takes them up by lease, does what is due, writes down what happened.
//!
//! Every fact is in the store before anything is done about it: a run is scheduled with its reservation before it is created, and
//! its end is written before the policy sees it. Whoever takes a selection up later, here or in another process, finds all of it
//! there and goes on; runs are left as they are, and found again by their ids.
//!
//! - [`claims`]: which selections are ours. One task each:
//! - [`task`]: what is due, step by step. [`step`]: the events of one step. [`journal`]: the state and the store, in agreement.
//! - [`prepare`]: what the trainers are asked first. [`reserve`]: what is set aside for a run, and how long it may take for that.
//!   [`settle`]: what its end means and costs.
//! - [`together`]: which trials one run measures. [`attend`]: a run in a trainer's hands. [`slots`]: the trainers' slots, shared by all
//!   selections of this process.
//! - [`clock`]: the store's time between two answers of the store. [`early`]: answers of trainers from a creation.

mod attend;
mod claims;
mod clock;
mod early;
mod journal;
mod prepare;
mod reserve;
mod settle;
mod slots;
mod step;
mod task;
mod together;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use svc_kit::shutdown::Token;
use thiserror::Error;
use tokio::sync::{Notify, Semaphore, watch};

use self::early::Early;
use self::slots::Slots;
use crate::ports::{Fitter, RunProgress, Trainer, TrainerFault};
use crate::selection::{BudgetSpec, Failure, Prepared, SelectionSpec};
use crate::store::{Store, StoreError};

/// What a driver works with.
#[derive(Clone)]
pub struct Parts {
    /// Where selections are.
    pub store: Arc<dyn Store>,
    /// By their names in the configuration.
    pub trainers: BTreeMap<String, Arc<dyn Trainer>>,
    /// For the policies that fit laws.
    pub fitter: Arc<dyn Fitter>,
}

/// How a driver behaves. All times are > 0.
#[derive(Clone, Debug, PartialEq)]
pub struct DriverConfig {
    /// Who it is in the store: another one for every process, and for every start of it.
    pub owner: String,
    /// How long a selection is its own without renewal; it renews after a third of it.
    pub lease: Duration,
    /// How often it looks for selections that nobody drives.
    pub poll_interval: Duration,
    /// Selections driven at the same time, ≥ 1.
    pub max_selections: u32,
    /// Questions to trainers at the same time while selections are prepared, ≥ 1.
    pub estimates_in_flight: usize,
    /// First and longest pause before something that failed is tried again; it doubles from one to the other.
    pub backoff: (Duration, Duration),
    /// How long a trainer may stay away before the runs that it has count as lost, and before a selection is prepared without it.
    pub patience: Duration,
    /// Attempts beyond the first that a selection may make in all: so many, and
    pub retries: u32,
    /// so many for each of its trials, ≥ 0.
    pub retries_per_trial: f64,
}

impl DriverConfig {
    /// The defaults, for an owner of this name.
    #[must_use]
    pub fn of(owner: impl Into<String>) -> Self {
        Self {
            owner: owner.into(),
            lease: Duration::from_secs(15),
            poll_interval: Duration::from_secs(2),
            max_selections: 1_000,
            estimates_in_flight: 16,
            backoff: (Duration::from_millis(500), Duration::from_secs(30)),
            patience: Duration::from_mins(10),
            retries: 10,
            retries_per_trial: 0.5,
        }
    }
}

/// What a selection that is driven here is doing, between its events.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Live {
    /// Number of its newest event.
    pub sequence: u64,
    /// How far its runs are, by position of the trial.
    pub progress: BTreeMap<usize, RunProgress>,
}

/// Why a spec cannot be prepared (now).
#[derive(Clone, Debug, PartialEq, Error)]
pub enum PrepareError {
    /// A trainer of this name is not configured.
    #[error("no trainer is called {name:?}; there are: {}", known.join(", "))]
    UnknownTrainer {
        /// As asked for.
        name: String,
        /// All names.
        known: Vec<String>,
    },
    /// No trainer that could be asked answers; later one may.
    #[error(transparent)]
    Trainer(#[from] TrainerFault),
    /// It cannot succeed.
    #[error("{detail}")]
    Failed {
        /// Why.
        failure: Failure,
        /// For people.
        detail: String,
    },
    /// The store cannot be asked for earlier forecasts.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Drives selections. Clones are the same one.
#[derive(Clone)]
pub struct Driver {
    shared: Arc<Shared>,
}

/// What the tasks of a driver have in common.
struct Shared {
    parts: Parts,
    config: DriverConfig,
    slots: Slots,
    /// Bounds what trainers are asked at the same time.
    questions: Semaphore,
    /// What trainers said of selections that were just created.
    early: Early,
    /// A selection was created, or changed.
    claim_now: Notify,
    driven: Mutex<HashMap<String, Driven>>,
}

/// A selection that is driven here, as others see it.
struct Driven {
    live: watch::Sender<Live>,
    nudge: Arc<Notify>,
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver")
            .field("config", &self.shared.config)
            .finish_non_exhaustive()
    }
}

impl Driver {
    /// A driver of these parts; [`run`](Self::run) sets it to work.
    #[must_use]
    pub fn new(parts: Parts, config: DriverConfig) -> Self {
        let shared = Shared {
            parts,
            slots: Slots::default(),
            early: Early::default(),
            questions: Semaphore::new(config.estimates_in_flight.max(1)),
            claim_now: Notify::new(),
            driven: Mutex::default(),
            config,
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Takes selections up and drives them until the shutdown begins; then gives them back and leaves their runs as they are.
    /// Dropping the future drops everything at once, as a crash would.
    pub async fn run(&self, shutdown: Token) {
        claims::run(&self.shared, shutdown).await;
    }

    /// Says that a selection was created or changed: its new events are read now.
    pub fn nudge(&self, id: &str) {
        let driven = self.shared.driven();
        match driven.get(id) {
            Some(driven) => driven.nudge.notify_one(),
            None => self.shared.claim_now.notify_one(),
        }
    }

    /// What a selection is doing; `None` when it is not driven here (now). The sender is dropped when it is not any more.
    #[must_use]
    pub fn live(&self, id: &str) -> Option<watch::Receiver<Live>> {
        self.shared.driven().get(id).map(|driven| driven.live.subscribe())
    }

    /// Names of the trainers.
    pub fn trainers(&self) -> impl Iterator<Item = &str> {
        self.shared.parts.trainers.keys().map(String::as_str)
    }

    /// Asks the trainers what a selection would take. Changes nothing.
    ///
    /// # Errors
    /// [`PrepareError`]; a trainer that does not answer is one only when none does.
    pub async fn prepare(&self, spec: &SelectionSpec) -> Result<Prepared, PrepareError> {
        prepare::prepare(&self.shared, spec).await
    }

    /// Asks the trainers about a selection that is to be created. Changes nothing. `None`: one of them does not answer now, later it
    /// may, and the plan could be another one then.
    ///
    /// # Errors
    /// [`PrepareError`].
    pub async fn prepare_with_all(&self, spec: &SelectionSpec) -> Result<Option<Prepared>, PrepareError> {
        let asked = prepare::ask(&self.shared, spec).await?;
        if !asked.away.is_empty() {
            return Ok(None);
        }
        prepare::conclude(spec, asked.told).await.map(Some)
    }

    /// Keeps for a moment what [`prepare_with_all`](Self::prepare_with_all) said of a selection that is created now: the trainers are
    /// not asked again if it is driven here. `budget`: the one that it was planned by.
    pub fn keep_prepared(&self, id: &str, nonce: &str, budget: BudgetSpec, prepared: Prepared) {
        self.shared.early.keep(id, nonce, (budget, prepared));
    }
}

impl Shared {
    fn driven(&self) -> std::sync::MutexGuard<'_, HashMap<String, Driven>> {
        self.driven.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
