//! What would have come of a selection with another budget, policy or other constraints, as far as its recorded losses reach.
//!
//! The race is run once more from its first round, on the recorded losses alone. A run that was made costs what it has cost; one
//! whose loss was taken from an earlier selection costs what it would have. A run that was never made is listed as missing, and its
//! contender takes no further part from that round on: it cannot be judged at that size, and a guess from its smaller sizes would
//! compare a long forecast with short ones. All missing runs of a round are listed, also of contenders that are out by then; later
//! rounds would depend on them. With the missing runs the answer could be another.
//!
//! Failed attempts are not repeated: the question is what the choice would be, not what would go wrong.

mod replay;

use std::collections::HashMap;

use thiserror::Error;

pub(crate) use self::replay::{Measured, replay};

use crate::constraint::Constraints;
use crate::curve::{DataSize, LearningCurve};
use crate::diagnostics::{Warning, WarningCode};
use crate::error::{InvalidParameter, SimulateError};
use crate::explain;
use crate::plan;
use crate::policy::fitted::FittedForecasts;
use crate::policy::{Exclusion, ExclusionReason};
use crate::ports::FitRequest;
use crate::race::Race;
use crate::report::Report;
use crate::selection::state::Amendment;
use crate::selection::{
    BudgetSpec, ContenderFacts, Millis, Phase, Prepared, SelectionSpec, Spending, State, TransitionError, Wait,
};
use crate::simulate::SelectionPolicy;
use crate::table::{Attributes, Candidate};

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum WhatIfError {
    /// The changed question is wrong.
    #[error("{field}: {description}")]
    Spec {
        /// Path below the spec.
        field: String,
        /// What is wrong with it.
        description: String,
    },
    /// The budget cannot be planned with.
    #[error("{0}")]
    Parameter(#[from] InvalidParameter),
    /// The selection has no plan yet.
    #[error("the selection is not prepared yet: there is nothing to decide anew")]
    NotPrepared,
    /// The policy cannot play: its budget is too small, or nobody is left.
    #[error("{0}")]
    Policy(#[from] SimulateError),
    /// Only the fitter could say.
    #[error("the policy {policy} needs fits that were not made for this selection")]
    NeedsFitter {
        /// Its name.
        policy: &'static str,
    },
    /// A defect of finepick.
    #[error("the replay broke its own rules: {0}")]
    Broken(#[from] TransitionError),
}

/// Decides once more. The second part lists runs (contender, size) that would be needed and were never made.
///
/// # Errors
/// [`WhatIfError`].
pub fn what_if(
    id: &str,
    state: &State,
    budget: Option<BudgetSpec>,
    policy: Option<SelectionPolicy>,
    constraints: Option<Constraints>,
    now: Millis,
) -> Result<(Report, Vec<(usize, DataSize)>), WhatIfError> {
    let prepared = state.prepared.as_ref().ok_or(WhatIfError::NotPrepared)?;
    let mut spec = state.spec.clone();
    spec.budget = budget.unwrap_or(spec.budget);
    spec.policy = policy.unwrap_or(spec.policy);
    let reconsidered = constraints.is_some();
    spec.constraints = constraints.unwrap_or(spec.constraints);
    if let Some((field, description)) = plan::check(&spec).into_iter().next() {
        return Err(WhatIfError::Spec { field, description });
    }
    let mut prepared = prepared.clone();
    if reconsidered {
        reconsider(&spec, &mut prepared);
    }
    let beginning = beginning(state, spec, prepared)?;
    let recorded = Recorded::new(state);
    let measure = |hypothetical: &State, contender, size| recorded.measured(hypothetical, contender, size);
    let (played, missing) = replay(beginning, measure, |request| recorded.fits(request))?;
    let mut report = Report::of(id, &played, now);
    report.accuracy = None;
    report.crossovers = crate::crossover::crossovers(state);
    if !missing.is_empty() {
        report.warnings.push(as_far_as_the_losses_reach(&played, &missing));
    }
    Ok((report, missing))
}

fn as_far_as_the_losses_reach(state: &State, missing: &[(usize, DataSize)]) -> Warning {
    let runs: Vec<String> = missing
        .iter()
        .map(|(contender, size)| {
            format!(
                "{} at {}",
                state.spec.contender_name(*contender),
                explain::grouped(size.examples())
            )
        })
        .collect();
    let detail = format!(
        "{} would have been needed and never made ({}): the answer reaches as far as the recorded losses, with them it could be another",
        explain::count(missing.len(), "run", "runs"),
        explain::list(&runs, 3)
    );
    Warning::new(WarningCode::TooFewPoints, detail)
}

/// Checks the new constraints; exclusions for other reasons stay.
fn reconsider(spec: &SelectionSpec, prepared: &mut Prepared) {
    for (contender, facts) in prepared.contenders.iter_mut().enumerate() {
        let by_constraint = |exclusion: &Exclusion| {
            matches!(
                exclusion.reason,
                ExclusionReason::Family
                    | ExclusionReason::Parameters
                    | ExclusionReason::Memory
                    | ExclusionReason::Attribute
            )
        };
        if facts.exclusion.as_ref().is_none_or(by_constraint) {
            facts.exclusion = excluded(spec, contender, facts);
        }
    }
}

/// The first constraint that rules a contender out. Memory by the trainers' estimates where they tell, else by the formula.
fn excluded(spec: &SelectionSpec, contender: usize, facts: &ContenderFacts) -> Option<Exclusion> {
    let (candidate, _) = spec.contender(contender)?;
    let given = &candidate.attributes;
    let attributes = Attributes::new(
        given.family().map(str::to_owned),
        given.parameters().or(facts.parameters),
        given.other().clone(),
    );
    let candidate = Candidate::new(candidate.id.clone(), attributes, LearningCurve::default()).ok()?;
    let told = facts
        .costs
        .values()
        .map(|model| model.memory_bytes)
        .filter(|bytes| *bytes > 0)
        .min();
    let mut constraints = spec.constraints.clone();
    if let (Some(bytes), Some(limit)) = (told, constraints.memory_limit) {
        if bytes > limit.bytes {
            let gibibytes = |bytes: u64| bytes as f64 / (1_u64 << 30) as f64;
            let detail = format!(
                "the trainer says that it takes {:.1} GiB, the limit is {:.1} GiB",
                gibibytes(bytes),
                gibibytes(limit.bytes)
            );
            return Some(Exclusion::new(ExclusionReason::Memory, detail));
        }
        constraints.memory_limit = None;
    }
    constraints.check(&candidate).err()
}

/// The selection before its first round, with the limits and the plan of the changed question. Time does not pass in a replay: there
/// is no deadline.
fn beginning(state: &State, spec: SelectionSpec, prepared: Prepared) -> Result<State, WhatIfError> {
    let prepared = plan::anew(&spec, prepared)?;
    Ok(State {
        spec,
        nonce: state.nonce.clone(),
        phase: Phase::Running,
        paused: false,
        wait: Wait::default(),
        limits: prepared.limits.clone(),
        prepared: Some(prepared),
        rounds: Vec::new(),
        trials: Vec::new(),
        withdrawn: Vec::new(),
        amendments: Vec::<Amendment>::new(),
        spent: Spending::ZERO,
        wasted: Spending::ZERO,
        reserved: Spending::ZERO,
        saved: Spending::ZERO,
        created: state.created,
        updated: state.created,
        ended: None,
        sequence: 1,
    })
}

/// Losses and fits that the selection has.
struct Recorded<'a> {
    state: &'a State,
    trials: HashMap<(usize, DataSize), usize>,
    fits: Vec<(FitRequest, &'a FittedForecasts)>,
}

impl<'a> Recorded<'a> {
    fn new(state: &'a State) -> Self {
        let observed = state
            .trials
            .iter()
            .enumerate()
            .filter(|(_, trial)| trial.observation().is_some());
        Self {
            trials: observed
                .map(|(index, trial)| ((trial.contender, trial.data_size), index))
                .collect(),
            fits: fits(state),
            state,
        }
    }

    fn measured(&self, hypothetical: &State, contender: usize, size: DataSize) -> Option<Measured> {
        let trial = self.state.trials.get(*self.trials.get(&(contender, size))?)?;
        let observation = *trial.observation()?;
        let attempt = trial.attempts.last();
        let end = attempt.and_then(|attempt| attempt.end.as_ref());
        Some(Measured {
            observation,
            trainer: attempt.map_or_else(String::new, |attempt| attempt.trainer.clone()),
            spent: end.map_or_else(|| hypothetical.price(contender, size), |end| end.spent),
        })
    }

    /// The recorded answer to the very same question.
    fn fits(&self, request: &FitRequest) -> Option<FittedForecasts> {
        let same = self.fits.iter().find(|(asked, _)| asked == request);
        same.map(|(_, answer)| (*answer).clone())
    }
}

/// What the fitter was asked before each judgement, and what it said.
fn fits(state: &State) -> Vec<(FitRequest, &FittedForecasts)> {
    let mut found = Vec::new();
    for (index, round) in state.rounds.iter().enumerate() {
        let Some(answer) = &round.fitted else { continue };
        let mut then = state.clone();
        then.rounds.truncate(index + 1);
        if let Some(last) = then.rounds.last_mut() {
            (last.decision, last.fitted) = (None, None);
        }
        then.trials.retain(|trial| trial.round <= index);
        then.withdrawn.retain(|(_, out_in, _)| *out_in <= index);
        let asked = Race::new(&then).ok().and_then(|race| race.fit_request(&then));
        found.extend(asked.map(|request| (request, answer)));
    }
    found
}

#[cfg(test)]
mod tests;
