//! The race of a selection: the policy on what its events say.
//!
//! Everything is a function of the state: judging again gives the same answer until the decision is part of the state, and a process that
//! takes a selection up comes to where the last one was. The policy is brought there by replaying the rounds that were judged; what it
//! is told of round r is every loss of rounds 0..=r, who was withdrawn by then, what failed attempts cost, and the budget as amended
//! before r was judged.

mod record;
mod words;

use crate::curve::DataSize;
use crate::diagnostics::Warning;
use crate::error::SimulateError;
use crate::field::{Field, Losses};
use crate::policy::exhaustive::Profile;
use crate::policy::fitted::FittedForecasts;
use crate::policy::geometric::HistoryReport;
use crate::policy::{
    Action, AdaptivePolicy, ExclusionReason, FinalForecast, Observed, RankingPolicy, Step, Withdrawal,
};
use crate::ports::FitRequest;
use crate::selection::{Attempt, DecisionRecord, Ending, Failure, JudgedRecord, Outcome, Prepared, State, Trial};
use crate::simulate::SelectionPolicy;
use crate::table::Attributes;

/// What follows a judgement.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// Run these: contenders at sizes, in the order in which to begin. May be empty: then the round is complete at once.
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

/// The policy of a selection. Keeps nothing that the state does not say.
#[derive(Clone, Debug)]
pub struct Race {
    /// Contenders that take part, by the policy's position.
    pool: Vec<usize>,
}

/// The policy after some rounds.
struct Replay {
    policy: Box<dyn AdaptivePolicy>,
    observed: Observed,
    /// Its last answer.
    step: Step,
}

impl Race {
    /// The race of a prepared selection. Replays all judged rounds.
    ///
    /// # Errors
    /// [`SimulateError`]: the selection was not prepared, or the policy cannot begin with what was.
    pub fn new(state: &State) -> Result<Self, SimulateError> {
        let prepared = state.prepared.as_ref().ok_or(SimulateError::NoCandidates)?;
        let race = Self { pool: prepared.pool() };
        race.replay(state, judged(state), None)?;
        Ok(race)
    }

    /// What the fitter must answer before the last round can be judged; `None`: nothing.
    #[must_use]
    pub fn fit_request(&self, state: &State) -> Option<FitRequest> {
        let SelectionPolicy::Flat(ranking) = &state.spec.policy else {
            return None;
        };
        let (law, parameters) = ranking.law()?;
        let round = state
            .rounds
            .last()
            .filter(|round| round.decision.is_none() && round.fitted.is_none())?;
        if round.trials.is_empty() || !state.round_is_complete() {
            return None;
        }
        let observed = self.observed(state, state.rounds.len());
        let curves = self
            .pool
            .iter()
            .enumerate()
            .filter(|(c, _)| observed.withdrawal(*c) != Some(Withdrawal::Failed));
        let curves = curves.map(|(c, contender)| (state.spec.contender_name(*contender), observed.curve(c).to_vec()));
        Some(FitRequest {
            law,
            parameters: *parameters,
            curves: curves.filter(|(_, points)| !points.is_empty()).collect(),
            data_sizes: vec![state.prepared.as_ref()?.data_size_full],
            level: state.spec.interval_level,
            seed: state.spec.seed,
        })
    }

    /// Judges the last round, which must be complete; `fitted`: the answers to [`Race::fit_request`]. Changes nothing: until the decision is
    /// part of the state, the same call gives the same answer. The decision and the round or the end that follows belong into one write.
    pub fn judge(&mut self, state: &State, fitted: Option<&FittedForecasts>) -> Judgement {
        let (rounds, judged) = (state.rounds.len(), judged(state));
        let replay = match self.replay(state, rounds, fitted) {
            Ok(replay) => replay,
            Err(error) => {
                let failure = match error {
                    SimulateError::BudgetTooSmall { .. } => Failure::BudgetTooSmall,
                    _ => Failure::Internal,
                };
                let detail = error.to_string();
                let next = Next::Finish(Ending::Failed { failure, detail });
                return Judgement { decision: None, next };
            }
        };
        let decision = replay.step.decision.as_ref().filter(|_| judged < rounds);
        let decision = decision.map(|decision| self.record(state, &replay, decision));
        let next = match &replay.step.action {
            Action::Train(runs) => Next::Round(self.round(state, runs)),
            Action::Finish => Next::Finish(self.ending(state, &replay.step)),
        };
        Judgement { decision, next }
    }

    /// Forecasts by position of the contender, from the rounds that were judged; `None`: not judged, or nothing can be said.
    #[must_use]
    pub fn forecasts(&self, state: &State) -> Vec<Option<FinalForecast>> {
        let mut forecasts = vec![None; state.spec.contenders()];
        let judged = judged(state);
        if judged == 0 {
            return forecasts;
        }
        let Ok(replay) = self.replay(state, judged, None) else {
            return forecasts;
        };
        if !replay.policy.forecasts_losses() {
            return forecasts;
        }
        let known = replay.policy.forecasts(&replay.observed);
        for (contender, forecast) in self.pool.iter().zip(known) {
            if let Some(slot) = forecasts.get_mut(*contender) {
                *slot = forecast.filter(|forecast| forecast.log_loss.is_finite());
            }
        }
        forecasts
    }

    /// The policy's own remarks after the rounds that were judged, and what became of a history (`chosen` is a contender here).
    #[must_use]
    pub fn remarks(&self, state: &State) -> (Vec<Warning>, Option<HistoryReport>) {
        let judged = judged(state);
        let Ok(replay) = self.replay(state, judged, None) else {
            return (Vec::new(), None);
        };
        let history = replay
            .policy
            .history_report()
            .filter(|_| judged > 0)
            .and_then(|report| {
                let chosen = *self.pool.get(report.chosen)?;
                Some(HistoryReport {
                    chosen,
                    ..report.clone()
                })
            });
        (replay.policy.warnings(), history)
    }

    /// The policy after so many rounds.
    fn replay(&self, state: &State, rounds: usize, fitted: Option<&FittedForecasts>) -> Result<Replay, SimulateError> {
        let prepared = state.prepared.as_ref().ok_or(SimulateError::NoCandidates)?;
        let fitted = fitted.or_else(|| state.rounds.last()?.fitted.as_ref());
        let mut policy = self
            .field(state, prepared)
            .policy(&state.spec.policy, &prepared.history, fitted)?;
        let mut amendments = state.amendments.iter().filter(|change| change.opened > 0).peekable();
        let mut observed = self.observed(state, 0);
        let mut step = policy.next(&observed);
        for round in 0..rounds {
            while let Some(change) = amendments.next_if(|change| change.after_rounds <= round) {
                policy.amend(change.plan_examples);
            }
            observed = self.observed(state, round + 1);
            step = policy.next(&observed);
        }
        Ok(Replay { policy, observed, step })
    }

    fn field(&self, state: &State, prepared: &Prepared) -> Field {
        let profile = |contender: &usize| {
            let (own, name) = (state.spec.contender(*contender), state.spec.contender_name(*contender));
            let own = own
                .map(|(candidate, _)| candidate.attributes.clone())
                .unwrap_or_default();
            let parameters = prepared.contenders.get(*contender).and_then(|facts| facts.parameters);
            Profile {
                name,
                attributes: Attributes::new(own.family().map(str::to_owned), parameters, own.other().clone()),
                zero_shot: None,
            }
        };
        let alias = |contender: &usize| {
            state
                .spec
                .contender(*contender)
                .map(|(candidate, _)| candidate.id.clone())
        };
        // Changes before the first round are the budget that it is planned with.
        let first = state.amendments.iter().rfind(|change| change.opened == 0);
        Field {
            profiles: self.pool.iter().map(profile).collect(),
            aliases: self
                .pool
                .iter()
                .map(|contender| alias(contender).unwrap_or_default())
                .collect(),
            rungs: prepared.data_sizes.clone(),
            budget: first.map_or(prepared.plan_examples, |change| change.plan_examples),
            seed: state.spec.seed,
            losses: Losses::Measured,
        }
    }

    /// What is known after the first so many rounds.
    fn observed(&self, state: &State, rounds: usize) -> Observed {
        let mut observed = Observed::new(self.pool.len());
        let mut wasted = 0_u64;
        for trial in state.trials.iter().filter(|trial| trial.round < rounds) {
            wasted = trial
                .attempts
                .iter()
                .fold(wasted, |sum, attempt| sum.saturating_add(waste(trial, attempt)));
            if let (Some(point), Ok(candidate)) = (trial.observation(), self.pool.binary_search(&trial.contender)) {
                observed.insert(candidate, *point);
            }
        }
        observed.set_wasted(wasted);
        for (contender, round, exclusion) in &state.withdrawn {
            if let Ok(candidate) = self.pool.binary_search(contender)
                && *round < rounds
            {
                let unpaid = exclusion.reason == ExclusionReason::Budget;
                observed.withdraw(candidate, if unpaid { Withdrawal::Unpaid } else { Withdrawal::Failed });
            }
        }
        observed
    }

    /// Runs of a round as contenders at sizes, the longest first: the last ones to end are short.
    fn round(&self, state: &State, runs: &[crate::policy::Run]) -> Vec<(usize, DataSize)> {
        let named = runs
            .iter()
            .filter_map(|run| Some((*self.pool.get(run.candidate)?, run.data_size)));
        let new = named.filter(|(contender, size)| state.trial(*contender, *size).is_none());
        let mut round: Vec<(usize, DataSize)> = new.collect();
        round.sort_by_key(|(_, size)| std::cmp::Reverse(*size));
        round
    }

    fn ending(&self, state: &State, step: &Step) -> Ending {
        let unpaid = |exclusion: &crate::policy::Exclusion| exclusion.reason == ExclusionReason::Budget;
        let given_up = state
            .withdrawn
            .iter()
            .map(|(.., exclusion)| exclusion)
            .find(|exclusion| unpaid(exclusion));
        let last = state.rounds.last().and_then(|round| round.decision.as_ref());
        let leads = step
            .decision
            .as_ref()
            .is_some_and(|decision| decision.leader().is_some());
        if leads || last.is_some_and(|(decision, _)| decision.contenders.iter().any(JudgedRecord::may_be_chosen)) {
            return given_up.map_or(Ending::Succeeded, |exclusion| Ending::BudgetExhausted {
                detail: exclusion.detail.clone(),
            });
        }
        match given_up {
            Some(exclusion) => Ending::Failed {
                failure: Failure::BudgetTooSmall,
                detail: format!("no contender has a score: {}", exclusion.detail),
            },
            None => Ending::Failed {
                failure: Failure::AllRunsFailed,
                detail: words::nobody(state, self.pool.len()),
            },
        }
    }
}

/// Rounds that were judged; they come first.
fn judged(state: &State) -> usize {
    state.rounds.iter().filter(|round| round.decision.is_some()).count()
}

/// Examples of an attempt that no loss stands for.
fn waste(trial: &Trial, attempt: &Attempt) -> u64 {
    let Some(end) = &attempt.end else { return 0 };
    match end.outcome {
        Outcome::Observed { .. } => end.spent.examples.saturating_sub(trial.data_size.examples()),
        _ => end.spent.examples,
    }
}

/// Whether a policy's scores stand for something else than the loss at the full size.
fn is_stand_in(policy: &SelectionPolicy) -> bool {
    matches!(
        policy,
        SelectionPolicy::ZeroShot
            | SelectionPolicy::Random
            | SelectionPolicy::Flat(RankingPolicy::ZeroShot | RankingPolicy::SubTuning | RankingPolicy::ModelSize)
    ) || policy.name() == "halving_current"
}
