//! The race of a selection: the policy on what its events say. Rebuilt from the state at any time, with the same result.

use crate::curve::DataSize;
use crate::error::SimulateError;
use crate::policy::FinalForecast;
use crate::policy::fitted::FittedForecasts;
use crate::ports::FitRequest;
use crate::selection::{DecisionRecord, Ending, Failure, State};

/// What follows a judgement.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// Run these: contenders at sizes, the most wanted first. May be empty: then the round is complete at once.
    Round(Vec<(usize, DataSize)>),
    /// End.
    Finish(Ending),
}

/// The policy's answer to a complete round.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// The decision to record; absent before the first round, and where the last round was judged before: only what follows is
    /// to be recorded then.
    pub decision: Option<DecisionRecord>,
    /// What follows.
    pub next: Next,
}

/// The policy of a selection, brought to where its events stand.
#[derive(Clone, Debug)]
pub struct Race {}

impl Race {
    /// Replays all judged rounds.
    ///
    /// # Errors
    /// [`SimulateError`]: the policy cannot begin with what was prepared.
    pub fn new(_state: &State) -> Result<Self, SimulateError> {
        Ok(Self {})
    }

    /// What the fitter must answer before the last round can be judged; `None`: nothing.
    #[must_use]
    pub fn fit_request(&self, _state: &State) -> Option<FitRequest> {
        None
    }

    /// Judges the last round, which must be complete. Does not change what it says: until the decision is part of the state, the same
    /// call gives the same answer.
    pub fn judge(&mut self, _state: &State, _fitted: Option<&FittedForecasts>) -> Judgement {
        Judgement {
            decision: None,
            next: Next::Finish(Ending::Failed {
                failure: Failure::Internal,
                detail: String::new(),
            }),
        }
    }

    /// Forecasts by position of the contender, from the rounds that were judged; `None`: not judged, or nothing can be said.
    #[must_use]
    pub fn forecasts(&self, _state: &State) -> Vec<Option<FinalForecast>> {
        Vec::new()
    }
}
