//! Requests that cannot be met, as the contract tells them apart.

use std::time::Duration;

use thiserror::Error;

use crate::capability::Missing;
use crate::spec::Violation;
use crate::state::RunState;

/// A request that cannot be met.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// Fields are wrong.
    #[error("fields are wrong")]
    Invalid(Vec<Violation>),
    /// The id has another spec.
    #[error("the id belongs to a run with another spec")]
    Exists(String),
    /// Claims that are not made.
    #[error("the trainer does not claim what this needs")]
    Missing(Vec<Missing>),
    /// Not ready; try again after this time.
    #[error("the trainer is not ready")]
    NotReady(Duration),
    /// The queue is full.
    #[error("the queue is full")]
    QueueFull,
    /// No such run.
    #[error("no training run has this id")]
    NotFound(String),
    /// The state does not allow the call.
    #[error("the run is {}", state.name())]
    WrongState {
        /// Of the run.
        id: String,
        /// Its state.
        state: RunState,
    },
    /// It shuts down.
    #[error("the trainer is shutting down")]
    Draining,
    /// A defect, or what it runs on failed; for the log, not for the caller.
    #[error("{0}")]
    Internal(String),
}

impl Refusal {
    /// One wrong field.
    #[must_use]
    pub fn invalid(violation: Violation) -> Self {
        Self::Invalid(vec![violation])
    }
}
