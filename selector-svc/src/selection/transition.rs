//! How an event changes a selection, and what is to be done then.

use thiserror::Error;

use crate::curve::DataSize;
use crate::explain;
use crate::policy::{Exclusion, ExclusionReason};
use crate::selection::state::{Amendment, AttemptEnded};
use crate::selection::{
    Attempt, AttemptEnd, DecisionRecord, Ending, Event, Limits, Millis, Outcome, Phase, PlannedTrial, Prepared, Round,
    ScheduledAttempt, SelectionSpec, Spending, State, Trial, TrialStatus, Wait, WaitReason,
};

/// An event that cannot follow: a defect, or a record that was tampered with.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TransitionError {
    /// The first event is not a creation, or a later one is.
    #[error("event {sequence}: a selection begins with exactly one creation")]
    Creation {
        /// Number of the event.
        sequence: u64,
    },
    /// Not in this phase.
    #[error("event {sequence}: {event} cannot follow while the selection is {phase}")]
    WrongPhase {
        /// Number of the event.
        sequence: u64,
        /// Its kind.
        event: &'static str,
        /// The phase.
        phase: &'static str,
    },
    /// It speaks of a trial, an attempt or a contender that is not there, or that has ended.
    #[error("event {sequence}: {detail}")]
    Inconsistent {
        /// Number of the event.
        sequence: u64,
        /// What does not agree.
        detail: String,
    },
}

/// What is to be done. Derived from the state alone, so that a driver which starts anew does the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Ask the trainers, then record what they said.
    Prepare,
    /// Judge the last round, or open the first.
    Judge,
    /// Schedule these trials as slots and budget allow, in this order.
    Schedule {
        /// Positions.
        trials: Vec<usize>,
    },
    /// Schedule nothing before this time.
    WaitUntil {
        /// When the first of the waiting trials may be tried again.
        at: Millis,
    },
    /// See to it that this attempt is known to its trainer, and wait for its end.
    Attend {
        /// Position of the trial.
        trial: usize,
        /// Which attempt.
        attempt: u32,
    },
    /// End this attempt.
    Cancel {
        /// Position of the trial.
        trial: usize,
        /// Which attempt.
        attempt: u32,
    },
    /// Everything in hand has ended: record the end.
    Finish {
        /// How.
        ending: Ending,
    },
}

/// Applies the next event. `at`: the store's time of it. `None` is the state before creation.
///
/// # Errors
/// [`TransitionError`]; the state is lost then, which is why it is taken by value.
pub fn transition(state: Option<State>, event: Event, at: Millis) -> Result<(State, Vec<Action>), TransitionError> {
    let next = match (state, event) {
        (None, Event::Created { spec, nonce }) => created(*spec, nonce, at),
        (None, _) => return Err(TransitionError::Creation { sequence: 1 }),
        (Some(state), Event::Created { .. }) => {
            let sequence = state.sequence + 1;
            return Err(TransitionError::Creation { sequence });
        }
        (Some(mut state), event) => {
            state.sequence += 1;
            state.updated = at;
            state.apply(event, at)?;
            state
        }
    };
    let actions = due(&next, at);
    Ok((next, actions))
}

fn created(spec: SelectionSpec, nonce: String, at: Millis) -> State {
    let limits = Limits {
        deadline: spec.budget.wall_millis.map(|wall| at.saturating_add(wall)),
        ..Limits::default()
    };
    State {
        spec,
        nonce,
        phase: Phase::Preparing,
        paused: false,
        wait: Wait {
            reason: WaitReason::Owner,
            detail: String::new(),
        },
        prepared: None,
        limits,
        rounds: Vec::new(),
        trials: Vec::new(),
        withdrawn: Vec::new(),
        amendments: Vec::new(),
        spent: Spending::ZERO,
        wasted: Spending::ZERO,
        reserved: Spending::ZERO,
        saved: Spending::ZERO,
        created: at,
        updated: at,
        ended: None,
        sequence: 1,
    }
}

/// What is to be done in this state at this time.
#[must_use]
pub fn due(state: &State, now: Millis) -> Vec<Action> {
    match &state.phase {
        Phase::Ended(_) => Vec::new(),
        Phase::Preparing if state.paused => Vec::new(),
        Phase::Preparing => vec![Action::Prepare],
        Phase::Stopping(ending) => {
            let in_hand = attempts_in_hand(state);
            if in_hand.is_empty() {
                let ending = ending.clone();
                return vec![Action::Finish { ending }];
            }
            let cancel = |(trial, attempt)| Action::Cancel { trial, attempt };
            in_hand.into_iter().map(cancel).collect()
        }
        Phase::Running => due_while_running(state, now),
    }
}

fn due_while_running(state: &State, now: Millis) -> Vec<Action> {
    let attend = |(trial, attempt)| Action::Attend { trial, attempt };
    let mut actions: Vec<Action> = attempts_in_hand(state).into_iter().map(attend).collect();
    if state.paused {
        return actions;
    }
    if state.round_is_complete() {
        actions.push(Action::Judge);
        return actions;
    }
    let waiting = state
        .trials
        .iter()
        .enumerate()
        .filter_map(|(index, trial)| match trial.status {
            TrialStatus::Waiting { not_before } => Some((index, not_before)),
            _ => None,
        });
    let (ready, later): (Vec<_>, Vec<_>) = waiting.partition(|(_, not_before)| *not_before <= now);
    if !ready.is_empty() {
        let trials = ready.into_iter().map(|(index, _)| index).collect();
        actions.push(Action::Schedule { trials });
    }
    if let Some(at) = later.into_iter().map(|(_, not_before)| not_before).min() {
        actions.push(Action::WaitUntil { at });
    }
    actions
}

fn attempts_in_hand(state: &State) -> Vec<(usize, u32)> {
    let running = |(index, trial): (usize, &Trial)| trial.running().map(|(attempt, _)| (index, attempt));
    state.trials.iter().enumerate().filter_map(running).collect()
}

impl State {
    fn apply(&mut self, event: Event, at: Millis) -> Result<(), TransitionError> {
        self.check_phase(&event)?;
        match event {
            // Told apart by the caller.
            Event::Created { .. } => {}
            Event::Prepared { prepared } => self.take_prepared(*prepared),
            Event::Fitted { forecasts } => {
                if let Some(round) = self.rounds.last_mut() {
                    round.fitted = Some(*forecasts);
                }
            }
            Event::Judged { decision } => self.judge(*decision, at)?,
            Event::RoundOpened { trials } => self.open_round(trials)?,
            Event::Scheduled { attempts } => {
                for attempt in attempts {
                    self.schedule(attempt, at)?;
                }
            }
            Event::AttemptEnded(end) => self.end_attempt(*end, at)?,
            Event::TrialGivenUp { trial, exclusion } => {
                let sequence = self.sequence;
                let found = self.trials.get_mut(trial).filter(|trial| !trial.has_ended());
                let found = found.ok_or_else(|| inconsistent(sequence, format!("trial {trial} has no end to come")))?;
                found.status = TrialStatus::GivenUp(exclusion.clone());
                let (contender, round) = (found.contender, found.round);
                self.withdraw(contender, round, exclusion);
            }
            Event::Waiting { wait } => self.wait = wait,
            Event::Paused => self.paused = true,
            Event::Resumed => self.paused = false,
            Event::BudgetAmended {
                budget,
                limits,
                plan_examples,
            } => {
                let before = std::mem::replace(&mut self.spec.budget, budget);
                self.limits = limits;
                // Before preparation has ended there is no plan to change: it will be made by the new budget.
                if self.prepared.is_some() {
                    self.amendments.push(Amendment {
                        after_rounds: self.rounds.iter().filter(|round| round.decision.is_some()).count(),
                        opened: self.rounds.len(),
                        plan_examples,
                        before,
                        after: self.spec.budget.clone(),
                        limits: self.limits.clone(),
                        taken_examples: self.spent.plus(self.reserved).examples,
                    });
                }
            }
            Event::Stopping { ending } => self.stop(ending),
            Event::Ended { ending } => {
                self.stop(ending.clone());
                self.phase = Phase::Ended(ending);
                self.wait = Wait::default();
                self.ended = Some(at);
            }
        }
        Ok(())
    }

    fn check_phase(&self, event: &Event) -> Result<(), TransitionError> {
        let (fits, phase) = match &self.phase {
            Phase::Ended(_) => (false, "over"),
            Phase::Stopping(_) => (
                matches!(
                    event,
                    Event::AttemptEnded(_) | Event::Ended { .. } | Event::Stopping { .. } | Event::Waiting { .. }
                ),
                "stopping",
            ),
            Phase::Preparing => (
                matches!(
                    event,
                    Event::Prepared { .. }
                        | Event::Waiting { .. }
                        | Event::Paused
                        | Event::Resumed
                        | Event::BudgetAmended { .. }
                        | Event::Stopping { .. }
                        | Event::Ended { .. }
                ),
                "being prepared",
            ),
            Phase::Running => (!matches!(event, Event::Prepared { .. }), "running"),
        };
        if fits {
            return Ok(());
        }
        Err(TransitionError::WrongPhase {
            sequence: self.sequence,
            event: event.kind(),
            phase,
        })
    }

    fn take_prepared(&mut self, prepared: Prepared) {
        // A deadline counts from creation, whoever prepared.
        self.limits = Limits {
            deadline: self.limits.deadline,
            ..prepared.limits.clone()
        };
        self.prepared = Some(prepared);
        self.phase = Phase::Running;
        self.wait = Wait::default();
    }

    fn judge(&mut self, decision: DecisionRecord, at: Millis) -> Result<(), TransitionError> {
        let (sequence, spent, complete) = (self.sequence, self.spent, self.round_is_complete());
        match self
            .rounds
            .last_mut()
            .filter(|round| complete && round.decision.is_none())
        {
            Some(round) => {
                round.decision = Some((decision, at));
                round.spent = spent;
                Ok(())
            }
            None => Err(inconsistent(sequence, "a decision without a complete round".to_owned())),
        }
    }

    fn open_round(&mut self, planned: Vec<PlannedTrial>) -> Result<(), TransitionError> {
        let sequence = self.sequence;
        if self.rounds.last().is_some_and(|round| round.decision.is_none()) {
            return Err(inconsistent(
                sequence,
                "a round before the last one was judged".to_owned(),
            ));
        }
        let round = self.rounds.len();
        let mut trials = Vec::with_capacity(planned.len());
        for trial in planned {
            if trial.contender >= self.spec.contenders() || self.trial(trial.contender, trial.data_size).is_some() {
                let detail = format!(
                    "trial {}-{} is unknown or was planned before",
                    trial.contender, trial.data_size
                );
                return Err(inconsistent(sequence, detail));
            }
            let (status, reused_from) = match trial.reused {
                Some((point, from)) => {
                    self.saved = self.saved.plus(self.price(trial.contender, trial.data_size));
                    (TrialStatus::Observed(point), Some(from))
                }
                None => (TrialStatus::Waiting { not_before: 0 }, None),
            };
            trials.push(self.trials.len());
            self.trials.push(Trial {
                contender: trial.contender,
                data_size: trial.data_size,
                round,
                status,
                attempts: Vec::new(),
                reused_from,
            });
        }
        self.rounds.push(Round {
            trials,
            ..Round::default()
        });
        Ok(())
    }

    /// What a run is expected to cost, by the dearest of the trainers that can do it.
    #[must_use]
    pub fn price(&self, contender: usize, data_size: DataSize) -> Spending {
        let facts = self
            .prepared
            .as_ref()
            .and_then(|prepared| prepared.contenders.get(contender));
        let Some(facts) = facts else { return Spending::ZERO };
        let costs = facts.costs.values().map(|model| model.of(data_size, facts.parameters));
        let dearest = costs.max_by(|a, b| a.device_seconds.total_cmp(&b.device_seconds));
        dearest.unwrap_or_else(|| crate::selection::CostModel::default().of(data_size, facts.parameters))
    }

    fn schedule(&mut self, attempt: ScheduledAttempt, at: Millis) -> Result<(), TransitionError> {
        let sequence = self.sequence;
        let trial = self.trials.get_mut(attempt.trial).filter(|trial| {
            matches!(trial.status, TrialStatus::Waiting { .. }) && trial.attempts.len() + 1 == attempt.attempt as usize
        });
        let Some(trial) = trial else {
            let detail = format!("trial {} does not wait for attempt {}", attempt.trial, attempt.attempt);
            return Err(inconsistent(sequence, detail));
        };
        trial.status = TrialStatus::Running;
        trial.attempts.push(Attempt {
            trainer: attempt.trainer,
            run_id: attempt.run_id,
            reserved: attempt.reserved,
            max_seconds: attempt.max_seconds,
            lease_until: attempt.lease_until,
            started: at,
            end: None,
        });
        self.reserved = self.reserved.plus(attempt.reserved);
        Ok(())
    }

    fn end_attempt(&mut self, end: AttemptEnd, at: Millis) -> Result<(), TransitionError> {
        let sequence = self.sequence;
        let stopping = matches!(self.phase, Phase::Stopping(_));
        let missing = || {
            inconsistent(
                sequence,
                format!("attempt {} of trial {} is not in hand", end.attempt, end.trial),
            )
        };
        let mut withdrawn = None;
        let exclusion = self.without_loss(&end);
        let trial = self.trials.get_mut(end.trial).ok_or_else(missing)?;
        if trial.running().map(|(attempt, _)| attempt) != Some(end.attempt) {
            return Err(missing());
        }
        let attempt = trial.attempts.last_mut().ok_or_else(missing)?;
        self.spent = self.spent.plus(end.spent);
        if !matches!(end.outcome, Outcome::Observed { .. }) {
            self.wasted = self.wasted.plus(end.spent);
        }
        trial.status = match (&end.outcome, end.retry_at) {
            (Outcome::Observed { observation, .. }, _) => TrialStatus::Observed(*observation),
            _ if stopping => TrialStatus::Cancelled,
            (_, Some(not_before)) => TrialStatus::Waiting { not_before },
            (_, None) => {
                withdrawn = Some((trial.contender, trial.round, exclusion.clone()));
                TrialStatus::GivenUp(exclusion)
            }
        };
        attempt.end = Some(AttemptEnded {
            outcome: end.outcome,
            spent: end.spent,
            detail: end.detail,
            at,
        });
        // Summed anew: differences of sums would leave a remainder in the last bits.
        let in_hand = self.trials.iter().filter_map(Trial::running);
        self.reserved = in_hand.fold(Spending::ZERO, |sum, (_, attempt)| sum.plus(attempt.reserved));
        if let Some((contender, round, exclusion)) = withdrawn {
            self.withdraw(contender, round, exclusion);
        }
        Ok(())
    }

    /// Why the contender is out if this was the last attempt at a size, and has ended without a loss.
    fn without_loss(&self, end: &AttemptEnd) -> Exclusion {
        let trial = self.trials.get(end.trial);
        let size = trial.map_or(DataSize::ZERO, |trial| trial.data_size);
        let attempt = trial
            .and_then(|trial| trial.attempts.last())
            .filter(|_| end.outcome.is_deadline());
        let paid = attempt.and_then(|attempt| Some((self.paid_seconds(attempt)?, self.sizes_of_run(&attempt.run_id))));
        let Some((paid, sizes)) = paid else {
            let detail = format!("attempt {} at {size} examples: {}", end.attempt, end.detail);
            return Exclusion::new(ExclusionReason::RunsFailed, detail);
        };
        let what = if sizes > 1 {
            explain::count(sizes, "size", "sizes")
        } else {
            explain::examples(size.examples())
        };
        let paid = explain::seconds(paid);
        let detail = format!(
            "its run for {what} was ended after {paid} of device time: the budget had no more set aside for it"
        );
        Exclusion::new(ExclusionReason::Budget, detail)
    }

    /// Takes a contender out of the race: nothing more of it is begun.
    fn withdraw(&mut self, contender: usize, round: usize, exclusion: Exclusion) {
        for trial in &mut self.trials {
            if trial.contender == contender && matches!(trial.status, TrialStatus::Waiting { .. }) {
                trial.status = TrialStatus::Cancelled;
            }
        }
        if !self.withdrawn.iter().any(|(out, ..)| *out == contender) {
            self.withdrawn.push((contender, round, exclusion));
        }
    }

    fn stop(&mut self, ending: Ending) {
        for trial in &mut self.trials {
            if matches!(trial.status, TrialStatus::Waiting { .. }) {
                trial.status = TrialStatus::Cancelled;
            }
        }
        self.phase = Phase::Stopping(ending);
    }
}

fn inconsistent(sequence: u64, detail: String) -> TransitionError {
    TransitionError::Inconsistent { sequence, detail }
}

#[cfg(test)]
mod tests;
