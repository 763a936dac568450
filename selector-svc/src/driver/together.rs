//! Which trials of a contender are measured by one run.
//!
//! A trainer that claims `nested_subsets` reports a loss for each of several sizes in one run: model and data are read once, and it may
//! make more of it. What is measured is the same either way, so this is a matter of time alone, and it is not done where it could cost
//! any: a run of several sizes holds one slot, and a selection with fewer contenders waiting than slots would leave others empty.

use std::collections::BTreeMap;

use super::Shared;
use crate::selection::{Outcome, Spending, State, TrialStatus};

/// Most sizes of a run, by the plugin contract.
const MAX_SIZES: usize = 64;

/// Trials that wait and were not scheduled in this step, by contender.
pub(super) struct Together<'a> {
    state: &'a State,
    waiting: BTreeMap<usize, Vec<usize>>,
    /// Several sizes may go into one run.
    allowed: bool,
}

impl<'a> Together<'a> {
    /// Of trials that may begin now (by position).
    pub(super) fn new(state: &'a State, shared: &Shared, trials: impl Iterator<Item = usize>) -> Self {
        let mut waiting: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for index in trials {
            if let Some(trial) = state.trials.get(index) {
                waiting.entry(trial.contender).or_default().push(index);
            }
        }
        let allowed = waiting.len() >= slots(state, shared) && all_can_be_paid(state);
        Self {
            state,
            waiting,
            allowed,
        }
    }

    /// Whether a trial still waits.
    pub(super) fn waits(&self, trial: usize) -> bool {
        self.of_contender(trial).is_some_and(|others| others.contains(&trial))
    }

    fn of_contender(&self, trial: usize) -> Option<&Vec<usize>> {
        self.waiting.get(&self.state.trials.get(trial)?.contender)
    }

    /// Trials that go into one run of this trainer together with the given one, ascending by size, that one included; `may` says of
    /// each of the others whether that trainer may run it. They wait no more.
    pub(super) fn take(&mut self, trial: usize, trainer: &str, mut may: impl FnMut(usize) -> bool) -> Vec<usize> {
        let state = self.state;
        let mut members = vec![trial];
        if self.allowed && self.takes_several(trainer) && self.may_share(trial) {
            let others = self.of_contender(trial).into_iter().flatten().copied();
            let others = others.filter(|other| *other != trial && self.may_share(*other) && may(*other));
            members.extend(others.take(MAX_SIZES - 1));
        }
        let contender = state.trials.get(trial);
        if let Some(others) = contender.and_then(|trial| self.waiting.get_mut(&trial.contender)) {
            others.retain(|other| !members.contains(other));
        }
        members.sort_by_key(|member| state.trials.get(*member).map(|trial| trial.data_size));
        members
    }

    fn takes_several(&self, trainer: &str) -> bool {
        let trainers = self.state.prepared.iter().flat_map(|prepared| &prepared.trainers);
        let mut named = trainers.filter(|facts| facts.name == trainer);
        named.any(|facts| facts.nested_subsets)
    }

    /// Whose run has failed is tried alone from then on: whatever size it failed at, the others get their losses. Runs that were lost
    /// or preempted have failed at nothing.
    fn may_share(&self, trial: usize) -> bool {
        let attempts = self.state.trials.get(trial).map(|trial| trial.attempts.as_slice());
        let mut ends = attempts
            .into_iter()
            .flatten()
            .filter_map(|attempt| attempt.end.as_ref());
        !ends.any(|end| matches!(end.outcome, Outcome::Failed { .. } | Outcome::Refused))
    }
}

/// Runs that the selection could have at the same time: as many as its trainers have slots, as far as its parallelism goes.
fn slots(state: &State, shared: &Shared) -> usize {
    let trainers = state.prepared.iter().flat_map(|prepared| &prepared.trainers);
    let here = trainers.filter(|facts| shared.parts.trainers.contains_key(&facts.name));
    let slots = here.fold(0_u32, |sum, facts| sum.saturating_add(facts.slots.max(1)));
    let most = state.spec.parallelism.map_or(u32::MAX, |most| most.max(1));
    slots.min(most) as usize
}

/// Whether the budget pays for everything that waits. Where it does not, the order of the plan decides who is paid, and a small size
/// must not overtake another contender's large one.
fn all_can_be_paid(state: &State) -> bool {
    let waiting = state
        .trials
        .iter()
        .filter(|trial| matches!(trial.status, TrialStatus::Waiting { .. }));
    let prices = waiting.map(|trial| state.price(trial.contender, trial.data_size));
    let all = prices.fold(state.spent.plus(state.reserved), Spending::plus);
    state.limits.allow(all).is_ok()
}
