//! Ask and tell: trials for a caller's own launcher, and what came of them.
//!
//! Work is leased: what is not reported in time is given to somebody else, as the next attempt. An attempt counts against the budget
//! from the moment it is given out; one that is lost or fails has cost all that was set aside for it.

use super::command::Draft;
use super::{Desk, DeskError, View};
use crate::curve::Observation;
use crate::order;
use crate::policy::Exclusion;
use crate::selection::{
    Attempt, AttemptEnd, Event, Millis, Outcome, Phase, ScheduledAttempt, Spending, State, TrialStatus, WorkMode,
    trial_id,
};

/// Who asks, and for how much.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkWish {
    /// Name of the worker.
    pub worker: String,
    /// Trials at most.
    pub most: usize,
    /// How long it may take, milliseconds.
    pub lease_millis: Millis,
}

/// A trial that is given out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Its position.
    pub trial: usize,
    /// Which attempt.
    pub attempt: u32,
    /// Given to somebody else after it.
    pub until: Millis,
}

/// What a worker tells.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// Name of the trial.
    pub trial: String,
    /// Which attempt.
    pub attempt: u32,
    /// What came of it.
    pub finding: Finding,
    /// What it took, where told.
    pub device_seconds: Option<f64>,
}

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq)]
pub enum Finding {
    /// A loss.
    Observed(Observation),
    /// Why there is none, for people.
    Failed(String),
}

impl Desk {
    /// Gives out trials; none where nothing is to be done now.
    ///
    /// # Errors
    /// The selection is driven by trainers.
    pub async fn request_work(&self, id: &str, wish: &WorkWish) -> Result<(View, Vec<Offer>), DeskError> {
        self.command(id, |draft| offer(draft, wish)).await
    }

    /// Takes a report; the same report again changes nothing. Answers with the trial's position.
    ///
    /// # Errors
    /// There is no such trial, the loss is of another size, or the attempt is not the reporter's any more.
    pub async fn report_observation(&self, id: &str, told: &Told) -> Result<(View, usize), DeskError> {
        self.command(id, |draft| take(draft, told)).await
    }
}

fn only_ask_tell(draft: &Draft) -> Result<(), DeskError> {
    if draft.state.spec.work_mode == WorkMode::AskTell {
        return Ok(());
    }
    Err(DeskError::WrongState {
        id: draft.id().to_owned(),
        description: "the selection is driven by trainers: its work mode is not ask and tell".to_owned(),
    })
}

fn offer(draft: &mut Draft, wish: &WorkWish) -> Result<Vec<Offer>, DeskError> {
    only_ask_tell(draft)?;
    for end in expired(&draft.state, draft.now) {
        draft.push(Event::AttemptEnded(Box::new(end)))?;
    }
    let over = draft
        .state
        .limits
        .deadline
        .is_some_and(|deadline| deadline <= draft.now);
    if draft.state.phase != Phase::Running || draft.state.paused || over {
        return Ok(Vec::new());
    }
    for (trial, exclusion) in unaffordable(&draft.state) {
        // Giving one up may have taken its contender's other trials along.
        let waits = |trial: usize| matches!(draft.state.trials.get(trial), Some(found) if !found.has_ended());
        if waits(trial) {
            draft.push(Event::TrialGivenUp { trial, exclusion })?;
        }
    }
    let until = draft.now.saturating_add(wish.lease_millis);
    let attempts = scheduled(&draft.state, draft.id(), wish, until, draft.now);
    let offers = attempts.iter().map(|attempt| Offer {
        trial: attempt.trial,
        attempt: attempt.attempt,
        until,
    });
    let offers: Vec<Offer> = offers.collect();
    if !attempts.is_empty() {
        draft.push(Event::Scheduled { attempts })?;
    }
    Ok(offers)
}

/// Ends of attempts whose leases have run out.
#[must_use]
pub fn expired(state: &State, now: Millis) -> Vec<AttemptEnd> {
    let ends = state.trials.iter().enumerate().filter_map(|(index, trial)| {
        let (number, attempt) = trial.running()?;
        attempt.lease_until.filter(|until| *until <= now)?;
        Some(AttemptEnd {
            trial: index,
            attempt: number,
            outcome: Outcome::Lost,
            spent: attempt.reserved,
            detail: format!("{} did not report in time", attempt.trainer),
            retry_at: (number < state.spec.max_attempts).then_some(now),
        })
    });
    ends.collect()
}

/// Waiting trials that the budget cannot pay, whatever becomes of those in hand.
fn unaffordable(state: &State) -> Vec<(usize, Exclusion)> {
    let waiting = state.trials.iter().enumerate();
    let found = waiting.filter_map(|(index, trial)| {
        if !matches!(trial.status, TrialStatus::Waiting { .. }) {
            return None;
        }
        let price = state.price(trial.contender, trial.data_size);
        let unit = state.limits.allow(state.spent.plus(price)).err()?;
        Some((index, unit.unpaid(trial.data_size)))
    });
    found.collect()
}

/// Attempts at waiting trials, in their order, as budget and parallelism allow.
fn scheduled(state: &State, id: &str, wish: &WorkWish, until: Millis, now: Millis) -> Vec<ScheduledAttempt> {
    let in_hand = state.trials.iter().filter(|trial| trial.running().is_some()).count();
    let parallel = state.spec.parallelism.map_or(usize::MAX, |most| most as usize);
    let most = wish.most.min(parallel.saturating_sub(in_hand));
    let mut total = state.spent.plus(state.reserved);
    let mut attempts = Vec::new();
    for (index, trial) in state.trials.iter().enumerate() {
        if attempts.len() >= most {
            break;
        }
        if !matches!(trial.status, TrialStatus::Waiting { not_before } if not_before <= now) {
            continue;
        }
        let price = state.price(trial.contender, trial.data_size);
        if state.limits.allow(total.plus(price)).is_err() {
            continue;
        }
        total = total.plus(price);
        let attempt = u32::try_from(trial.attempts.len())
            .unwrap_or(u32::MAX)
            .saturating_add(1);
        attempts.push(ScheduledAttempt {
            trial: index,
            attempt,
            trainer: wish.worker.clone(),
            run_id: order::run_id(state, id, index, attempt),
            reserved: price,
            max_seconds: None,
            lease_until: Some(until),
        });
    }
    attempts
}

fn take(draft: &mut Draft, told: &Told) -> Result<usize, DeskError> {
    only_ask_tell(draft)?;
    let named = |trial: &crate::selection::Trial| trial_id(trial.contender, trial.data_size) == told.trial;
    let found = draft.state.trials.iter().position(named);
    let wrong = |field: &str, description: String| DeskError::Invalid {
        field: field.to_owned(),
        description,
    };
    let index = found.ok_or_else(|| wrong("trial_id", format!("{:?} is no trial of this selection", told.trial)))?;
    let Some(trial) = draft.state.trials.get(index) else {
        return Ok(index);
    };
    let place = (told.attempt as usize).checked_sub(1);
    let Some(attempt) = place.and_then(|place| trial.attempts.get(place)) else {
        let given = trial.attempts.len();
        let description = format!("attempt {} was never given out, only {given} were", told.attempt);
        return Err(wrong("attempt", description));
    };
    if let Finding::Observed(point) = &told.finding
        && point.data_size() != trial.data_size
    {
        let description = format!("must be {}, is {}", trial.data_size, point.data_size());
        return Err(wrong("observation.data_size", description));
    }
    if let Some(end) = &attempt.end {
        return if said_before(&end.outcome, &end.detail, &told.finding) {
            Ok(index)
        } else {
            Err(stale(told, &end.outcome))
        };
    }
    let end = ended(draft, told, index, attempt);
    draft.push(Event::AttemptEnded(Box::new(end)))?;
    Ok(index)
}

fn said_before(outcome: &Outcome, detail: &str, finding: &Finding) -> bool {
    match (outcome, finding) {
        (Outcome::Observed { observation, .. }, Finding::Observed(point)) => observation == point,
        (Outcome::Failed { .. }, Finding::Failed(text)) => detail == text,
        _ => false,
    }
}

fn stale(told: &Told, outcome: &Outcome) -> DeskError {
    let became = match outcome {
        Outcome::Observed { .. } | Outcome::Failed { .. } => "has been reported otherwise",
        Outcome::Lost => "was not reported in time and has been given to somebody else, or will be",
        _ => "has been ended",
    };
    DeskError::StaleAttempt {
        description: format!("attempt {} of trial {} {became}", told.attempt, told.trial),
    }
}

fn ended(draft: &Draft, told: &Told, trial: usize, attempt: &Attempt) -> AttemptEnd {
    let spent = Spending {
        device_seconds: told.device_seconds.unwrap_or(0.0),
        ..attempt.reserved
    };
    let (outcome, detail, retry_at) = match &told.finding {
        Finding::Observed(point) => {
            let outcome = Outcome::Observed {
                observation: *point,
                model_digest: String::new(),
                data_digest: String::new(),
            };
            (outcome, String::new(), None)
        }
        Finding::Failed(text) => {
            let outcome = Outcome::Failed {
                failure: "UNSPECIFIED".to_owned(),
            };
            let again = told.attempt < draft.state.spec.max_attempts;
            (outcome, text.clone(), again.then_some(draft.now))
        }
    };
    AttemptEnd {
        trial,
        attempt: told.attempt,
        outcome,
        spent,
        detail,
        retry_at,
    }
}
