//! What is set aside for a run, and how long it may take for that. Pure.
//!
//! A limit in device-seconds or money is not passed because no run costs more than was set aside for it: its trainer ends it when it
//! has run for [`ScheduledAttempt::max_seconds`](crate::selection::ScheduledAttempt::max_seconds). Every run gets its estimate. What
//! is left beyond the estimates of all that wait in the round is shared by the runs that may begin now, up to a headroom: an estimate
//! that was too low costs nobody its place while there is something left, and no run takes what another one needs.

use crate::curve::DataSize;
use crate::selection::{CostModel, Limits, Spending, State, TrialStatus, WorkMode};

/// A run may take so many times its estimate, where so much is left,
const HEADROOM: f64 = 2.0;
/// and so many seconds more than it at least: what runs do before their first step is part of few estimates.
const HEADROOM_SECONDS: f64 = 30.0;
/// What a run counts as of which nobody tells how long it takes, seconds. It has no bound on its headroom but its share.
const UNTOLD_SECONDS: f64 = 1.0;
/// Money that is kept back from a run's headroom for each of its trials, billionths: the product of time and price is rounded up.
const ROUNDING_NANOS: i64 = 2;

/// A run at a trainer, as it is expected to be.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Expected {
    model: CostModel,
    cost: Spending,
    /// Whether the trainer says how long it takes.
    told: bool,
}

/// What a run of a trial (by position) is expected to cost at a trainer. Where time or money is limited it takes some time, whatever
/// the trainer tells.
pub(super) fn expected(state: &State, trial: usize, trainer: &str) -> Spending {
    expectation(state, trial, trainer).cost
}

fn expectation(state: &State, trial: usize, trainer: &str) -> Expected {
    let planned = state.trials.get(trial);
    let (contender, size) = planned.map_or((0, DataSize::ZERO), |trial| (trial.contender, trial.data_size));
    let prepared = state.prepared.as_ref();
    let facts = prepared.and_then(|prepared| prepared.contenders.get(contender));
    let model = facts.and_then(|facts| facts.costs.get(trainer)).copied();
    let model = model.unwrap_or_default();
    let mut cost = model.of(size, facts.and_then(|facts| facts.parameters));
    let told = cost.device_seconds > 0.0;
    if !told && limits_time(state, &model) {
        cost.device_seconds = UNTOLD_SECONDS;
        cost.money_nanos = model.money(UNTOLD_SECONDS);
    }
    Expected { model, cost, told }
}

/// Whether a limit in force bounds the time of a run at this price. External work cannot be ended by us.
fn limits_time(state: &State, model: &CostModel) -> bool {
    let by_money = state.limits.money_nanos.is_some() && model.nanos_per_second > 0;
    state.spec.work_mode == WorkMode::Driven && (state.limits.device_seconds.is_some() || by_money)
}

/// What may still be set aside within one step.
#[derive(Debug)]
pub(super) struct Purse {
    limits: Limits,
    /// Settled and set aside before this step.
    taken: Spending,
    /// Set aside in this step.
    planned: Spending,
    /// What the trials that wait cost at their dearest trainers; only where time or money is limited.
    pledged: Spending,
    /// How many wait.
    waiting: usize,
    /// Runs that may begin now, by slots and parallelism.
    room: usize,
}

impl Purse {
    /// Of a state, before anything is scheduled in this step.
    pub(super) fn of(state: &State) -> Self {
        let waiting = || {
            let all = state.trials.iter().enumerate();
            all.filter(|(_, trial)| matches!(trial.status, TrialStatus::Waiting { .. }))
        };
        let in_hand = state.runs_in_hand().len();
        let slots = state.prepared.iter().flat_map(|prepared| &prepared.trainers);
        let slots = slots.fold(0_usize, |sum, trainer| sum.saturating_add(trainer.slots as usize));
        let parallelism = state.spec.parallelism.map_or(usize::MAX, |most| most.max(1) as usize);
        let mut purse = Self {
            limits: state.limits.clone(),
            taken: state.spent.plus(state.reserved),
            planned: Spending::ZERO,
            pledged: Spending::ZERO,
            waiting: waiting().count(),
            room: slots.min(parallelism).saturating_sub(in_hand),
        };
        if purse.limits.device_seconds.is_some() || purse.limits.money_nanos.is_some() {
            let pledged = waiting().map(|(trial, _)| dearest(state, trial));
            purse.pledged = pledged.fold(Spending::ZERO, Spending::plus);
        }
        purse
    }

    /// Set aside so far, by this step and before it.
    pub(super) fn taken(&self) -> Spending {
        self.taken.plus(self.planned)
    }

    /// Sets aside for one run of trials of a contender that wait, which must be within the limits by their estimates: for each of them,
    /// in their order. The second part is the longest time that this pays of the run, seconds; absent where nothing limits time.
    pub(super) fn set_aside(&mut self, state: &State, trials: &[usize], trainer: &str) -> (Vec<Spending>, Option<f64>) {
        let run: Vec<Expected> = trials.iter().map(|trial| expectation(state, *trial, trainer)).collect();
        let runs = self.room.min(self.waiting).max(1);
        for trial in trials {
            self.pledged = self.pledged.minus(dearest(state, *trial));
        }
        self.waiting = self.waiting.saturating_sub(trials.len());
        self.room = self.room.saturating_sub(1);
        let model = run
            .first()
            .map(|trial| trial.model)
            .filter(|model| limits_time(state, model));
        let (reserved, longest) = match model {
            Some(model) => {
                let reserved = self.with_headroom(&run, &model, runs);
                let longest = reserved.iter().map(|each| each.device_seconds).sum();
                (reserved, Some(longest))
            }
            None => (run.iter().map(|trial| trial.cost).collect(), None),
        };
        self.planned = reserved.iter().copied().fold(self.planned, Spending::plus);
        (reserved, longest)
    }

    /// The headroom of a run is divided among its trials by their estimates.
    fn with_headroom(&self, run: &[Expected], model: &CostModel, runs: usize) -> Vec<Spending> {
        let cost = run.iter().fold(Spending::ZERO, |sum, trial| sum.plus(trial.cost));
        let needed = self.taken().plus(cost).plus(self.pledged);
        let mut more = if run.iter().any(|trial| trial.told) {
            (cost.device_seconds * (HEADROOM - 1.0)).max(HEADROOM_SECONDS)
        } else {
            f64::INFINITY
        };
        if let Some(limit) = self.limits.device_seconds {
            more = more.min((limit - needed.device_seconds).max(0.0) / runs as f64);
        }
        let rate = model.nanos_per_second;
        if let Some(limit) = self.limits.money_nanos.filter(|_| rate > 0) {
            let whole = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
            let spare = limit.saturating_sub(needed.money_nanos).max(0) / whole(runs);
            let spare = spare.saturating_sub(ROUNDING_NANOS.saturating_mul(whole(run.len())));
            more = more.min(spare.max(0) as f64 / rate as f64);
        }
        let with_more = |trial: &Expected| {
            let seconds = trial.cost.device_seconds + more * (trial.cost.device_seconds / cost.device_seconds);
            Spending {
                device_seconds: seconds,
                money_nanos: model.money(seconds),
                ..trial.cost
            }
        };
        run.iter().map(with_more).collect()
    }
}

/// What a trial costs at most, unit by unit, whichever of its trainers runs it.
fn dearest(state: &State, trial: usize) -> Spending {
    let prepared = state.prepared.as_ref();
    let facts = state
        .trials
        .get(trial)
        .and_then(|trial| prepared?.contenders.get(trial.contender));
    let trainers = facts.into_iter().flat_map(|facts| facts.costs.keys());
    trainers.fold(Spending::ZERO, |most, trainer| {
        let cost = expected(state, trial, trainer);
        Spending {
            device_seconds: most.device_seconds.max(cost.device_seconds),
            money_nanos: most.money_nanos.max(cost.money_nanos),
            ..cost
        }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixture::{ready, spec};
    use crate::selection::{Event, PlannedTrial, transition};
    use crate::simulate::SelectionPolicy;

    /// So many contenders wait at 1,000 examples: 12 s by the fixture's trainer, which has two slots.
    fn waiting(contenders: usize, model: CostModel, device_seconds: Option<f64>, money_nanos: Option<i64>) -> State {
        let policy = SelectionPolicy::from_name("geometric").unwrap();
        let mut state = ready(spec(contenders, &["full"], policy, 1_000_000));
        if let Some(prepared) = &mut state.prepared {
            for facts in &mut prepared.contenders {
                facts.costs.insert("local".to_owned(), model);
            }
        }
        (state.limits.device_seconds, state.limits.money_nanos) = (device_seconds, money_nanos);
        let planned = |contender| PlannedTrial {
            contender,
            data_size: DataSize::new(1_000).unwrap(),
            reused: None,
        };
        let trials = (0..contenders).map(planned).collect();
        transition(Some(state), Event::RoundOpened { trials }, 0).unwrap().0
    }

    const TIMED: CostModel = CostModel {
        fixed_seconds: 2.0,
        seconds_per_example: 0.01,
        nanos_per_second: 0,
        nanos_per_run: 0,
        memory_bytes: 0,
    };

    fn all(state: &State) -> Vec<(Spending, Option<f64>)> {
        let mut purse = Purse::of(state);
        let each = |trial| {
            let (reserved, longest) = purse.set_aside(state, &[trial], "local");
            (reserved[0], longest)
        };
        (0..state.trials.len()).map(each).collect()
    }

    fn times(state: &State) -> Vec<f64> {
        all(state).into_iter().filter_map(|(_, longest)| longest).collect()
    }

    #[test]
    fn without_a_limit_on_time_nothing_ends_a_run() {
        assert_eq!(times(&waiting(3, TIMED, None, None)), Vec::<f64>::new());
        // A price of a run is known before.
        let by_run = CostModel {
            nanos_per_run: 5,
            ..TIMED
        };
        let state = waiting(2, by_run, None, Some(1_000));
        assert_eq!(times(&state), Vec::<f64>::new());
        assert_eq!(all(&state)[0].0.money_nanos, 5);
    }

    #[test]
    fn headroom_is_what_nobody_else_of_the_round_needs() {
        // Plenty: 30 s more than the 12 that are expected.
        assert_eq!(times(&waiting(3, TIMED, Some(1_000.0), None)), [42.0; 3]);
        // Exactly what is expected.
        assert_eq!(times(&waiting(3, TIMED, Some(36.0), None)), [12.0; 3]);
        // 20 s to spare, shared by the two that may begin; the third is left its 12 s and nothing more.
        assert_eq!(times(&waiting(3, TIMED, Some(56.0), None)), [22.0, 22.0, 12.0]);
        let long = CostModel {
            fixed_seconds: 90.0,
            ..TIMED
        };
        assert_eq!(times(&waiting(1, long, Some(1_000.0), None)), [200.0], "twice");
    }

    #[test]
    fn money_pays_time_at_the_trainers_price() {
        let priced = CostModel {
            nanos_per_second: 1_000_000_000,
            nanos_per_run: 500_000_000,
            ..TIMED
        };
        let state = waiting(2, priced, None, Some(40_000_000_000));
        // 40 − 2 · 12.5 = 15 to spare, half for each.
        for (reserved, longest) in all(&state) {
            assert!((longest.unwrap() - 19.5).abs() < 1e-6 && reserved.money_nanos <= 20_000_000_000);
        }
        // The tighter one of two limits.
        let both = waiting(2, priced, Some(24.0), Some(40_000_000_000));
        assert_eq!(times(&both), [12.0, 12.0]);
    }

    #[test]
    fn what_takes_an_unknown_time_shares_what_is_left() {
        let untold = CostModel::default();
        let state = waiting(3, untold, Some(101.0), None);
        assert!((expected(&state, 0, "local").device_seconds - UNTOLD_SECONDS).abs() < f64::EPSILON);
        assert_eq!(times(&state), [50.0, 50.0, 1.0]);
        assert!(expected(&waiting(3, untold, None, None), 0, "local").device_seconds < f64::EPSILON);
    }

    proptest! {
        #[test]
        fn what_is_set_aside_is_the_estimate_at_least_and_never_passes_a_limit(
            contenders in 1_usize..20,
            fixed in 0.0..100.0_f64,
            each in 0.0..0.1_f64,
            (second, run) in (0_i64..3_000_000_000, 0_i64..2_000_000_000),
            room in 0.2..5.0_f64,
            (by_time, by_money) in (any::<bool>(), any::<bool>()),
            together in 1_usize..4,
        ) {
            let model = CostModel {
                fixed_seconds: fixed,
                seconds_per_example: each,
                nanos_per_second: second,
                nanos_per_run: run,
                memory_bytes: 0,
            };
            let all = model.of(DataSize::new(1_000).unwrap(), None);
            let time = (all.device_seconds * contenders as f64 * room).max(1.0);
            let money = model.money(time).max(1);
            let state = waiting(contenders, model, by_time.then_some(time), by_money.then_some(money));
            let mut purse = Purse::of(&state);
            for trial in 0..contenders {
                // One run for a few of them, where there are more.
                let members: Vec<usize> = (trial..contenders).take(together).collect();
                if trial % together != 0 {
                    continue;
                }
                let wanted = members.iter().map(|trial| expected(&state, *trial, "local"));
                let wanted = wanted.fold(Spending::ZERO, Spending::plus);
                if state.limits.allow(purse.taken().plus(wanted)).is_err() {
                    break;
                }
                let (reserved, longest) = purse.set_aside(&state, &members, "local");
                prop_assert_eq!(reserved.len(), members.len());
                let reserved = reserved.into_iter().fold(Spending::ZERO, Spending::plus);
                prop_assert!(reserved.device_seconds >= wanted.device_seconds * (1.0 - 1e-12));
                prop_assert!(reserved.money_nanos >= wanted.money_nanos);
                prop_assert_eq!(state.limits.allow(purse.taken()), Ok(()));
                prop_assert_eq!(longest.is_some(), by_time || (by_money && second > 0));
                if let Some(longest) = longest {
                    prop_assert!(longest > 0.0);
                    prop_assert!(model.money(longest) <= reserved.money_nanos);
                }
            }
        }
    }
}
