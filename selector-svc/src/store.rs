//! Where selections are kept: events by selection, leases, and losses by what they were measured on.
//!
//! A store has one clock, its own: leases and the times of events are by it, whatever the clocks of the selectors say. Every write is
//! one transaction. A writer says after which event it writes; who comes late gets [`StoreError::Conflict`] (somebody else has
//! written, read again) or [`StoreError::Fenced`] (the selection is another selector's now, stop).
//!
//! One suite of tests runs on every store.

mod lease;
pub mod memory;
pub mod record;
#[cfg(feature = "server")]
pub mod sqlite;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::curve::Observation;
use crate::ports::BoxFuture;
use crate::selection::{Event, Millis, Phase, Spending, State, Wait};
use crate::store::record::RecordError;

/// An event with its place and time.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredEvent {
    /// 1, 2, 3, … without gaps.
    pub sequence: u64,
    /// By the store's clock; never before that of the event before it.
    pub at: Millis,
    /// What happened.
    pub event: Event,
}

/// What lists show of a selection without reading its events.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Where it is in its life.
    pub phase: Phase,
    /// Paused by a caller.
    pub paused: bool,
    /// What it waits for.
    pub wait: Wait,
    /// Candidates, methods.
    pub counts: (usize, usize),
    /// For people.
    pub display_name: String,
    /// Name of the policy.
    pub policy: String,
    /// The caller's marks.
    pub labels: BTreeMap<String, String>,
    /// Size of the whole data set, where known.
    pub data_size_full: Option<u64>,
    /// Rounds judged.
    pub rounds: usize,
    /// Settled.
    pub spent: Spending,
    /// Set aside.
    pub reserved: Spending,
    /// Not spent thanks to earlier losses.
    pub saved: Spending,
    /// Examples allowed, where known.
    pub budget_examples: Option<u64>,
    /// (candidate id, method id, predicted loss) of the choice.
    pub choice: Option<(String, String, Option<f64>)>,
    /// End.
    pub ended: Option<Millis>,
}

impl Summary {
    /// Of a state.
    #[must_use]
    pub fn of(state: &State) -> Self {
        let choice = state.choice().and_then(|contender| {
            let (candidate, method) = state.spec.contender(contender)?;
            let decisions = state.rounds.iter().rev().filter_map(|round| round.decision.as_ref());
            let judged = decisions.flat_map(|(decision, _)| &decision.contenders);
            let score = judged
                .filter(|judged| judged.contender == contender)
                .find_map(|judged| judged.log_score);
            Some((candidate.id.clone(), method.id.clone(), score.map(f64::exp)))
        });
        Self {
            phase: state.phase.clone(),
            paused: state.paused,
            wait: state.wait.clone(),
            counts: (state.spec.candidates.len(), state.spec.methods.len()),
            display_name: state.spec.display_name.clone(),
            policy: state.spec.policy.name().to_owned(),
            labels: state.spec.labels.clone(),
            data_size_full: state
                .prepared
                .as_ref()
                .map(|prepared| prepared.data_size_full.examples()),
            rounds: state.rounds.iter().filter(|round| round.decision.is_some()).count(),
            spent: state.spent,
            reserved: state.reserved,
            saved: state.saved,
            budget_examples: state.limits.examples,
            choice,
            ended: state.ended,
        }
    }
}

/// A selection to be stored.
#[derive(Clone, Debug, PartialEq)]
pub struct NewSelection {
    /// Its id.
    pub id: String,
    /// Digest of the spec as sent: the same id with the same digest is the same selection.
    pub spec_digest: String,
    /// Of the request, where the caller gave no id; empty: none.
    pub request_id: String,
    /// The creation.
    pub event: Event,
    /// Of the state after it.
    pub summary: Summary,
}

/// What became of a creation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Creation {
    /// It is new.
    Created {
        /// Its id.
        id: String,
    },
    /// The same selection (or one of the same request id) was there.
    Existing {
        /// Its id.
        id: String,
    },
    /// The id belongs to another spec.
    Taken,
}

/// A selection as stored.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredSelection {
    /// Its id.
    pub id: String,
    /// Creation.
    pub created: Millis,
    /// Last change.
    pub updated: Millis,
    /// Number of its newest event.
    pub sequence: u64,
    /// Who drives it; empty: nobody. Leases that have run out count as nobody.
    pub owner: String,
    /// For lists.
    pub summary: Summary,
}

/// Who writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Writer {
    /// The selector that drives it, by its claim.
    Owner(Claim),
    /// A caller's wish, at any selector.
    Caller,
}

/// A lease of a selection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The selection.
    pub id: String,
    /// Who has it.
    pub owner: String,
    /// Grows with every claim: writes with an older one are refused.
    pub fence: u64,
}

/// What a loss was measured on: equal keys give equal losses.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LossKey(pub String);

/// A loss that was measured.
#[derive(Clone, Debug, PartialEq)]
pub struct KnownLoss {
    /// On what.
    pub key: LossKey,
    /// The loss.
    pub observation: Observation,
    /// By which selection.
    pub selection: String,
}

/// What a selection that has ended forecast for one model on its data, for warm starts.
#[derive(Clone, Debug, PartialEq)]
pub struct KnownForecast {
    /// Digest of the data.
    pub data_digest: String,
    /// Digest of the model with its method, as the selection's driver writes it.
    pub model_key: String,
    /// Forecast (or measurement) of the loss at that selection's full size, nats.
    pub loss: f64,
    /// By which selection.
    pub selection: String,
}

/// A write after some event.
#[derive(Clone, Debug, PartialEq)]
pub struct Append {
    /// Number of the newest event that the writer has seen.
    pub after: u64,
    /// In order, at least one.
    pub events: Vec<Event>,
    /// Of the state after them.
    pub summary: Summary,
    /// Losses that they hold.
    pub losses: Vec<KnownLoss>,
    /// Forecasts, where they end the selection.
    pub forecasts: Vec<KnownForecast>,
}

/// Which page of a list.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ListQuery {
    /// At most so many, ≥ 1.
    pub limit: u32,
    /// Only those before this place in the order (newest first); absent: from the newest.
    pub before: Option<ListKey>,
    /// Only of these kinds; empty: all. Names of [`phase_name`].
    pub phases: Vec<String>,
    /// Only with all of these, by the summary at creation: labels do not change.
    pub labels: BTreeMap<String, String>,
}

/// A place in the order of a list: creation, then id.
pub type ListKey = (Millis, String);

/// A phase's name in `snake_case`, with `paused` for a running one that is; what lists filter by.
#[must_use]
pub fn phase_name(phase: &Phase, paused: bool) -> &'static str {
    use crate::selection::Ending;
    match phase {
        Phase::Preparing | Phase::Running if paused => "paused",
        Phase::Preparing => "preparing",
        Phase::Running => "running",
        Phase::Stopping(_) => "cancelling",
        Phase::Ended(Ending::Succeeded) => "succeeded",
        Phase::Ended(Ending::BudgetExhausted { .. }) => "budget_exhausted",
        Phase::Ended(Ending::Failed { .. }) => "failed",
        Phase::Ended(Ending::Cancelled { .. }) => "cancelled",
    }
}

/// Why a store did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StoreError {
    /// No selection has this id.
    #[error("no selection has the id {id:?}")]
    NotFound {
        /// The id.
        id: String,
    },
    /// It has not ended, and cannot be deleted.
    #[error("selection {id:?} has not ended")]
    NotEnded {
        /// The id.
        id: String,
    },
    /// Somebody else has written meanwhile.
    #[error("selection {id:?} has been changed: its newest event is {sequence}")]
    Conflict {
        /// The id.
        id: String,
        /// Number of its newest event.
        sequence: u64,
    },
    /// The claim is not in force any more.
    #[error("selection {id:?} belongs to another selector now, or its lease has run out")]
    Fenced {
        /// The id.
        id: String,
    },
    /// The disk is full.
    #[error("the store's disk is full: {detail}")]
    Full {
        /// For the log.
        detail: String,
    },
    /// It is locked, or its file cannot be reached now.
    #[error("the store cannot be used now: {detail}")]
    Unavailable {
        /// For the log.
        detail: String,
    },
    /// It was written by a newer version.
    #[error("the store has version {found}; this program knows versions up to {known}")]
    Newer {
        /// Its version.
        found: u32,
        /// The newest that is known.
        known: u32,
    },
    /// What it holds cannot be read.
    #[error("the store is damaged: {detail}")]
    Corrupt {
        /// Where and how.
        detail: String,
    },
    /// One record of one selection cannot be read, or what was to be written cannot be; the rest of the store is well. Trying again
    /// does not help.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// Keeps selections.
pub trait Store: Debug + Send + Sync {
    /// Its clock.
    fn now(&self) -> BoxFuture<'_, Result<Millis, StoreError>>;

    /// Stores a new selection, unless it is there.
    fn create(&self, new: NewSelection) -> BoxFuture<'_, Result<Creation, StoreError>>;

    /// What [`create`](Self::create) would say of a selection that is there already, changing nothing; `None`: it would be new.
    fn existing<'a>(
        &'a self,
        id: &'a str,
        request_id: &'a str,
        spec_digest: &'a str,
    ) -> BoxFuture<'a, Result<Option<Creation>, StoreError>>;

    /// A selection without its events.
    fn get<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<StoredSelection, StoreError>>;

    /// At most `limit` events after a sequence, in order.
    fn events<'a>(&'a self, id: &'a str, after: u64, limit: u32)
    -> BoxFuture<'a, Result<Vec<StoredEvent>, StoreError>>;

    /// Writes events, with what belongs to them, in one transaction. Answers with the time that they got.
    fn append<'a>(&'a self, id: &'a str, writer: Writer, append: Append) -> BoxFuture<'a, Result<Millis, StoreError>>;

    /// A page, newest first.
    fn list(&self, query: ListQuery) -> BoxFuture<'_, Result<Vec<StoredSelection>, StoreError>>;

    /// Forgets a selection that has ended; the losses that it measured stay known.
    fn delete<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Leases at most `limit` selections that have not ended and that nobody holds, the longest untouched first.
    fn claim<'a>(
        &'a self,
        owner: &'a str,
        lease: Duration,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<Claim>, StoreError>>;

    /// Extends leases; answers with those that are lost.
    fn renew<'a>(&'a self, claims: &'a [Claim], lease: Duration) -> BoxFuture<'a, Result<Vec<Claim>, StoreError>>;

    /// Gives leases back, so that another selector need not wait for their end.
    fn release<'a>(&'a self, claims: &'a [Claim]) -> BoxFuture<'a, Result<(), StoreError>>;

    /// What is known of these losses.
    fn known_losses<'a>(&'a self, keys: &'a [LossKey]) -> BoxFuture<'a, Result<Vec<KnownLoss>, StoreError>>;

    /// Forecasts for these models on other data than this, of the newest selections first, at most `limit`.
    fn known_forecasts<'a>(
        &'a self,
        model_keys: &'a [String],
        not_on: &'a str,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<KnownForecast>, StoreError>>;
}
