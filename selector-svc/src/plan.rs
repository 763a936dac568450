//! From the question and what the trainers say: who takes part, on which ladder, with which limits, at what cost. Pure: whoever
//! prepares a selection asks the trainers first ([`probe_sizes`]) and brings their answers ([`Told`]).

mod budget;
mod check;
mod line_up;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use self::budget::{Course, Plan, limits};
pub use self::check::check;
use self::line_up::LineUp;
use crate::curve::{DataSize, Loss};
use crate::error::InvalidParameter;
use crate::ports::{RunEstimate, TrainerDescription, TrainerFault};
use crate::selection::{BudgetSpec, Failure, Limits, Prepared, SelectionSpec, State, TrainerFacts};
use crate::simulate::NamedHistory;
use crate::store::KnownForecast;

/// A trainer's answers for one contender, by size.
pub type Estimates = Vec<(DataSize, Result<RunEstimate, TrainerFault>)>;

/// What was asked before anything is spent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Told {
    /// By name in the configuration. Empty with external work.
    pub trainers: Vec<(String, TrainerDescription)>,
    /// By contender and trainer, at [`probe_sizes`]; none for trainers that answer no estimates.
    pub estimates: BTreeMap<(usize, String), Estimates>,
    /// Final forecasts of earlier selections for [`Digests::model_keys`] on other data; empty without a warm start.
    pub forecasts: Vec<KnownForecast>,
}

/// What the trainers say that models and data are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Digests {
    /// Of the data, with that of held-out data where they are a file of their own; empty: not told.
    pub data: String,
    /// Of the models by contender; empty: not told.
    pub models: Vec<String>,
    /// [`model_key`] by contender; `None` where the digest is not told.
    pub model_keys: Vec<Option<String>>,
}

/// Sizes to ask estimates for: smallest and full. `data_examples`: what a trainer said that the data hold, where the spec does not
/// say. While the full size is unknown: 1 example.
#[must_use]
pub fn probe_sizes(spec: &SelectionSpec, data_examples: Option<u64>) -> Vec<DataSize> {
    let told = data_examples.and_then(|examples| DataSize::new(examples).ok());
    let Some(full) = spec.data_size_full.or(told).filter(|size| !size.is_zero()) else {
        return DataSize::new(1).into_iter().collect();
    };
    let ladder = ladder(spec, full);
    let mut sizes = vec![ladder.first().copied().unwrap_or(full), full];
    sizes.dedup();
    sizes
}

/// full, full/2, full/4, … down to the smallest size of the spec; ascending.
pub(crate) fn ladder(spec: &SelectionSpec, full: DataSize) -> Vec<DataSize> {
    let least = spec
        .data_size_min
        .map_or_else(|| (full.examples() / 4_096).max(32), DataSize::examples);
    let floor = DataSize::new(least).unwrap_or(full).min(full);
    crate::schedule::dyadic_ladder(full, floor)
}

/// What equal models, tuned alike, have in common across selections; `None` without a digest.
#[must_use]
pub fn model_key(spec: &SelectionSpec, contender: usize, model_digest: &str) -> Option<String> {
    let (_, method) = spec.contender(contender).filter(|_| !model_digest.is_empty())?;
    let parts = (model_digest, &method.method, &method.hyperparameters);
    let text = serde_json::to_string(&parts).ok()?;
    Some(crate::digest::hex(text.as_bytes()))
}

/// Digests of models and data, as told: what earlier losses and forecasts are looked up by.
#[must_use]
pub fn digests(spec: &SelectionSpec, told: &Told) -> Digests {
    let answers = || {
        told.estimates
            .values()
            .flatten()
            .filter_map(|(_, answer)| answer.as_ref().ok())
    };
    let given = spec.data.as_ref().map(|data| data.digest.clone()).unwrap_or_default();
    let data = answers()
        .map(|answer| answer.data_digest.clone())
        .find(|digest| !digest.is_empty());
    let data = data.unwrap_or(given);
    let data = match &spec.held_out {
        None => data,
        // The trainers' digest does not cover a held-out file of its own: without a digest, losses cannot be told to be the same.
        Some(held_out) if held_out.digest.is_empty() || data.is_empty() => String::new(),
        Some(held_out) => format!("{data}+{}", held_out.digest),
    };
    let models: Vec<String> = (0..spec.contenders()).map(|c| model_digest(spec, told, c)).collect();
    let keys = models.iter().enumerate().map(|(c, digest)| model_key(spec, c, digest));
    Digests {
        data,
        model_keys: keys.collect(),
        models,
    }
}

fn model_digest(spec: &SelectionSpec, told: &Told, contender: usize) -> String {
    let mut answers = told.of(contender).filter_map(|(_, answer)| answer.as_ref().ok());
    let found = answers.find(|answer| !answer.model_digest.is_empty());
    let given = || {
        spec.contender(contender)?
            .0
            .model
            .as_ref()
            .map(|model| model.digest.clone())
    };
    let digest = found.map(|answer| answer.model_digest.clone());
    digest.or_else(given).unwrap_or_default()
}

impl Told {
    /// All answers for one contender.
    fn of(&self, contender: usize) -> impl Iterator<Item = &(DataSize, Result<RunEstimate, TrainerFault>)> {
        let of = self.estimates.iter().filter(move |((asked, _), _)| *asked == contender);
        of.flat_map(|(_, answers)| answers)
    }

    fn data_examples(&self) -> Option<u64> {
        let answers = self
            .estimates
            .values()
            .flatten()
            .filter_map(|(_, answer)| answer.as_ref().ok());
        answers
            .filter_map(|answer| answer.data_examples)
            .filter(|examples| *examples > 0)
            .max()
    }
}

/// Plans a selection. The spec is one that [`check`] finds nothing wrong with.
///
/// # Errors
/// Why it cannot begin, with a sentence for people that says what is needed.
pub fn prepare(spec: &SelectionSpec, told: &Told) -> Result<Prepared, (Failure, String)> {
    let full = full_size(spec, told)?;
    let rungs = ladder(spec, full);
    let digests = digests(spec, told);
    let line_up = LineUp::new(spec, told, full, &digests);
    let pool = line_up.pool();
    if pool.is_empty() {
        return Err((Failure::NoEligibleCandidate, line_up.nobody(spec)));
    }
    let limits = limits(&spec.budget, pool.len(), &rungs, &line_up.currency);
    let course = Course::new(
        spec,
        &line_up.contenders,
        rungs.clone(),
        warm_start(spec, told, &digests),
    );
    let plan = course.largest_plan(&limits)?;
    Ok(Prepared {
        data_size_full: full,
        data_sizes: rungs,
        data_digest: digests.data,
        wall_seconds: course.wall_seconds(&plan, slots(spec, &line_up.trainers)),
        exhaustive: course.exhaustive(),
        expected_relative_regret: expected_regret(spec, &plan, full, pool.len()),
        planned: plan.cost,
        plan_examples: plan.examples,
        history: course.history,
        contenders: line_up.contenders,
        trainers: line_up.trainers,
        limits,
        warnings: Vec::new(),
    })
}

/// Runs at the same time.
fn slots(spec: &SelectionSpec, trainers: &[TrainerFacts]) -> u32 {
    let all = trainers
        .iter()
        .fold(0_u32, |sum, trainer| sum.saturating_add(trainer.slots));
    spec.parallelism.map_or(all, |most| most.min(all))
}

/// How good the choice of a plan is likely to be; `None`: no replay is near enough.
fn expected_regret(spec: &SelectionSpec, plan: &Plan, full: DataSize, contenders: usize) -> Option<f64> {
    let in_full_runs = plan.cost.examples as f64 / full.examples() as f64;
    crate::regret::expected(spec.policy.name(), in_full_runs, contenders)
}

fn full_size(spec: &SelectionSpec, told: &Told) -> Result<DataSize, (Failure, String)> {
    let told = || told.data_examples().and_then(|examples| DataSize::new(examples).ok());
    let known = spec.data_size_full.or_else(told).filter(|size| !size.is_zero());
    known.ok_or_else(|| {
        let detail = "the size of the whole data set is not given, and no trainer tells it: set data_size_full";
        (Failure::FullSizeUnknown, detail.to_owned())
    })
}

/// Losses of the same models on other data, by data set; those of which at least two contenders are known.
fn warm_start(spec: &SelectionSpec, told: &Told, digests: &Digests) -> Vec<NamedHistory> {
    if !spec.warm_start {
        return Vec::new();
    }
    let mut sets: Vec<NamedHistory> = Vec::new();
    // The newest come first: a loss that is there already stays.
    for known in &told.forecasts {
        let Ok(loss) = Loss::new(known.loss) else { continue };
        if known.data_digest == digests.data {
            continue;
        }
        let of = |(_, key): &(usize, &Option<String>)| key.as_ref() == Some(&known.model_key);
        for (contender, _) in digests.model_keys.iter().enumerate().filter(of) {
            let name = spec.contender_name(contender);
            let at = sets
                .iter()
                .position(|set| set.data_set == known.data_digest)
                .unwrap_or_else(|| {
                    sets.push(NamedHistory {
                        data_set: known.data_digest.clone(),
                        losses: Vec::new(),
                    });
                    sets.len() - 1
                });
            if let Some(set) = sets.get_mut(at)
                && set.losses.iter().all(|(other, _)| *other != name)
            {
                set.losses.push((name, loss));
            }
        }
    }
    sets.retain(|set| set.losses.len() >= 2);
    sets
}

/// The limits of an amended budget, and the examples that the policy plans with from then on (0 while the selection is being
/// prepared: preparation plans then).
///
/// A budget below what is spent already is no error: nothing more is begun then.
///
/// # Errors
/// The field of the budget that is wrong, or that does not pay for the smallest plan while no round was opened.
pub fn amend(state: &State, budget: &BudgetSpec) -> Result<(Limits, u64), InvalidParameter> {
    let deadline = budget.wall_millis.map(|wall| state.created.saturating_add(wall));
    let Some(prepared) = &state.prepared else {
        checked(budget)?;
        let limits = Limits {
            deadline,
            ..Limits::default()
        };
        return Ok((limits, 0));
    };
    let begun = !state.rounds.is_empty();
    let taken = begun.then(|| state.spent.plus(state.reserved).examples);
    let (limits, examples) = budgeted(&state.spec, prepared, budget, taken)?;
    Ok((Limits { deadline, ..limits }, examples))
}

/// The limits of a budget (but for its deadline) and the examples that the policy plans with. `taken`: examples that are spent or set
/// aside; absent: no round was opened.
///
/// # Errors
/// As [`amend`].
pub(crate) fn budgeted(
    spec: &SelectionSpec,
    prepared: &Prepared,
    budget: &BudgetSpec,
    taken: Option<u64>,
) -> Result<(Limits, u64), InvalidParameter> {
    let (limits, course) = replan(spec, prepared, budget)?;
    match (course.largest_plan(&limits), taken) {
        (Ok(plan), _) => Ok((limits, plan.examples)),
        (Err((_, detail)), None) => Err(InvalidParameter::new("budget", detail)),
        (Err(_), Some(bound)) => {
            let examples = limits.examples.map_or(bound, |limit| limit.min(bound));
            Ok((limits, examples))
        }
    }
}

/// What was prepared, for another question to the same contenders and trainers: limits (without a deadline), plan and whatever is
/// expected of it are those of the spec's budget and policy and of the contenders that are not excluded.
///
/// # Errors
/// The field of the budget that is wrong, or that does not pay for the smallest plan.
pub fn anew(spec: &SelectionSpec, prepared: Prepared) -> Result<Prepared, InvalidParameter> {
    let (limits, course) = replan(spec, &prepared, &spec.budget)?;
    let plan = course.largest_plan(&limits);
    let plan = plan.map_err(|(_, detail)| InvalidParameter::new("budget", detail))?;
    let expected_relative_regret = expected_regret(spec, &plan, prepared.data_size_full, prepared.pool().len());
    Ok(Prepared {
        wall_seconds: course.wall_seconds(&plan, slots(spec, &prepared.trainers)),
        exhaustive: course.exhaustive(),
        expected_relative_regret,
        planned: plan.cost,
        plan_examples: plan.examples,
        limits,
        ..prepared
    })
}

fn checked(budget: &BudgetSpec) -> Result<(), InvalidParameter> {
    match check::check_budget(budget).into_iter().next() {
        Some((field, description)) => Err(InvalidParameter::new(field, description)),
        None => Ok(()),
    }
}

/// Limits of another budget, without a deadline, and the course to plan within them.
fn replan(
    spec: &SelectionSpec,
    prepared: &Prepared,
    budget: &BudgetSpec,
) -> Result<(Limits, Course), InvalidParameter> {
    checked(budget)?;
    let currency = &prepared.limits.currency;
    if let Some((_, wanted)) = &budget.money
        && wanted != currency
    {
        let known = if currency.is_empty() { "no prices" } else { currency };
        let description = format!("is in {wanted}, the trainers of this selection tell {known}");
        return Err(InvalidParameter::new("budget.money", description));
    }
    let rungs = prepared.data_sizes.clone();
    let limits = limits(budget, prepared.pool().len(), &rungs, currency);
    let course = Course::new(spec, &prepared.contenders, rungs, prepared.history.clone());
    Ok((limits, course))
}
