//! A race from its first round to its end on losses that are known: the driver's work without trainers, clock and store.

use super::WhatIfError;
use crate::curve::{DataSize, Observation};
use crate::policy::fitted::FittedForecasts;
use crate::policy::{Exclusion, ExclusionReason};
use crate::ports::FitRequest;
use crate::race::{Next, Race};
use crate::selection::{
    AttemptEnd, Event, Outcome, PlannedTrial, ScheduledAttempt, Spending, State, transition, trial_id,
};

/// More rounds than any policy plays.
const MAX_ROUNDS: usize = 2_048;

/// A loss with what it cost.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Measured {
    /// The loss.
    pub(crate) observation: Observation,
    /// Who measured it.
    pub(crate) trainer: String,
    /// At what cost.
    pub(crate) spent: Spending,
}

/// Plays to the end from a prepared state without rounds. `measure`: the loss of a contender at a size, where it is known; `fit`: the
/// fitter's answer, where the policy asks it. The second part of the answer lists what was not known.
///
/// # Errors
/// [`WhatIfError`]: the policy cannot begin, or asks for a fit that nobody has made.
pub(crate) fn replay(
    mut state: State,
    mut measure: impl FnMut(&State, usize, DataSize) -> Option<Measured>,
    mut fit: impl FnMut(&FitRequest) -> Option<FittedForecasts>,
) -> Result<(State, Vec<(usize, DataSize)>), WhatIfError> {
    let mut race = Race::new(&state)?;
    let mut missing = Vec::new();
    for _ in 0..MAX_ROUNDS {
        if let Some(request) = race.fit_request(&state) {
            let policy = state.spec.policy.name();
            let answer = fit(&request).ok_or(WhatIfError::NeedsFitter { policy })?;
            let forecasts = Box::new(answer);
            state = apply(state, Event::Fitted { forecasts })?;
        }
        let fitted = state.rounds.last().and_then(|round| round.fitted.clone());
        let judgement = race.judge(&state, fitted.as_ref());
        if let Some(decision) = judgement.decision {
            let decision = Box::new(decision);
            state = apply(state, Event::Judged { decision })?;
        }
        match judgement.next {
            Next::Finish(ending) => return Ok((apply(state, Event::Ended { ending })?, missing)),
            Next::Round(runs) => state = play_round(state, &runs, &mut measure, &mut missing)?,
        }
    }
    Err(crate::error::SimulateError::DidNotStop { rounds: MAX_ROUNDS }.into())
}

fn apply(state: State, event: Event) -> Result<State, WhatIfError> {
    let at = state.created;
    Ok(transition(Some(state), event, at)?.0)
}

fn play_round(
    mut state: State,
    runs: &[(usize, DataSize)],
    measure: &mut impl FnMut(&State, usize, DataSize) -> Option<Measured>,
    missing: &mut Vec<(usize, DataSize)>,
) -> Result<State, WhatIfError> {
    let planned = |(contender, data_size): &(usize, DataSize)| PlannedTrial {
        contender: *contender,
        data_size: *data_size,
        reused: None,
    };
    let first = state.trials.len();
    let trials = runs.iter().map(planned).collect();
    state = apply(state, Event::RoundOpened { trials })?;
    for (trial, (contender, size)) in (first..).zip(runs) {
        let measured = measure(&state, *contender, *size);
        if measured.is_none() {
            missing.push((*contender, *size));
        }
        // Cancelled: its contender lacks another run of this round.
        if state.trials.get(trial).is_none_or(crate::selection::Trial::has_ended) {
            continue;
        }
        state = if let Some(measured) = measured {
            run(state, trial, measured)?
        } else {
            let detail = format!("no loss was recorded at {}", crate::explain::examples(size.examples()));
            let exclusion = Exclusion::new(ExclusionReason::MissingData, detail);
            apply(state, Event::TrialGivenUp { trial, exclusion })?
        };
    }
    Ok(state)
}

/// Schedules and ends a run, where the budget pays for it.
fn run(mut state: State, trial: usize, measured: Measured) -> Result<State, WhatIfError> {
    let size = measured.observation.data_size();
    let contender = state.trials.get(trial).map_or(0, |trial| trial.contender);
    let reserved = state.price(contender, size);
    if let Err(unit) = state.limits.allow(state.spent.plus(reserved)) {
        let exclusion = unit.unpaid(size);
        return apply(state, Event::TrialGivenUp { trial, exclusion });
    }
    let attempt = ScheduledAttempt {
        trial,
        attempt: 1,
        trainer: measured.trainer,
        run_id: trial_id(contender, size),
        reserved,
        max_seconds: None,
        lease_until: None,
    };
    state = apply(
        state,
        Event::Scheduled {
            attempts: vec![attempt],
        },
    )?;
    let end = AttemptEnd {
        trial,
        attempt: 1,
        outcome: Outcome::Observed {
            observation: measured.observation,
            model_digest: String::new(),
            data_digest: String::new(),
        },
        spent: measured.spent,
        detail: String::new(),
        retry_at: None,
    };
    apply(state, Event::AttemptEnded(Box::new(end)))
}
