//! Limits in examples and every other unit, and the largest plan that fits them all.

use crate::curve::{DataSize, Loss, Observation};
use crate::error::SimulateError;
use crate::explain;
use crate::field::{Field, Losses};
use crate::policy::exhaustive::Profile;
use crate::policy::{Action, MAX_ROUNDS, Observed, Run};
use crate::schedule::ladder_cost;
use crate::selection::spending::Unit;
use crate::selection::{BudgetSpec, ContenderFacts, CostModel, Failure, Limits, SelectionSpec, Spending};
use crate::simulate::NamedHistory;
use crate::table::Attributes;

/// Steps by which the search for the largest plan goes down before it bisects.
const DESCENT: f64 = 0.9;
/// Bisections.
const BISECTIONS: usize = 16;

/// The limits that a budget sets for so many contenders: of those in examples, the smallest.
pub(super) fn limits(budget: &BudgetSpec, contenders: usize, rungs: &[DataSize], currency: &str) -> Limits {
    let full = rungs.last().copied().unwrap_or(DataSize::ZERO);
    let count = contenders as f64;
    let relative = budget.relative.map(|(ratio, fraction)| {
        // 1/3 · 300 must not become 99 by rounding.
        let largest = ratio * full.examples() as f64 * (1.0 + 1e-12);
        let paid = rungs.iter().filter(|size| size.examples() as f64 <= largest);
        floor(fraction * count * paid.map(|size| size.examples() as f64).sum::<f64>())
    });
    let exhaustive = budget
        .exhaustive_fraction
        .map(|fraction| floor(fraction * count * full.examples() as f64));
    Limits {
        examples: [budget.examples, relative, exhaustive].into_iter().flatten().min(),
        example_parameters: budget.example_parameters,
        device_seconds: budget.device_seconds,
        money_nanos: budget.money.as_ref().map(|(nanos, _)| *nanos),
        currency: currency.to_owned(),
        deadline: None,
    }
}

fn floor(value: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the cast saturates"
    )]
    let whole = value.floor() as u64;
    whole
}

/// A plan in its worst case.
pub(super) struct Plan {
    /// Examples that the policy plans with.
    pub(super) examples: u64,
    /// What it spends at most.
    pub(super) cost: Spending,
    rounds: Vec<Vec<Run>>,
}

/// The policy, the ladder, and what everybody's runs cost.
pub(super) struct Course {
    spec: SelectionSpec,
    rungs: Vec<DataSize>,
    /// Those that take part, in the policy's order.
    pool: Vec<ContenderFacts>,
    /// Losses on other data.
    pub(super) history: Vec<NamedHistory>,
}

impl Course {
    pub(super) fn new(
        spec: &SelectionSpec,
        contenders: &[ContenderFacts],
        rungs: Vec<DataSize>,
        history: Vec<NamedHistory>,
    ) -> Self {
        let pool = contenders.iter().filter(|facts| facts.exclusion.is_none());
        Self {
            spec: spec.clone(),
            rungs,
            pool: pool.cloned().collect(),
            history,
        }
    }

    /// The most that can be spent within the limits: the largest number of examples whose plan, at its worst, keeps them all.
    pub(super) fn largest_plan(&self, limits: &Limits) -> Result<Plan, (Failure, String)> {
        let top = limits.examples.unwrap_or_else(|| self.exhaustive().examples);
        let refused = |error: SimulateError| self.refused(&error);
        let plan = self.plan(top).map_err(refused)?;
        if limits.allow(plan.cost).is_ok() {
            return Ok(plan);
        }
        let least = match self.plan(0) {
            Err(SimulateError::BudgetTooSmall { needed, .. }) => needed,
            _ => 0,
        };
        let mut best = self.plan(least).map_err(refused)?;
        if let Err(unit) = limits.allow(best.cost) {
            return Err((Failure::BudgetTooSmall, self.too_small(unit, &best.cost, limits)));
        }
        // More than every rung of everybody cannot be planned.
        let all = ladder_cost(&self.rungs).saturating_mul(self.pool.len() as u64);
        let mut fails = top.min(all);
        while fails > least {
            let next = floor(fails as f64 * DESCENT).max(least);
            let plan = self.plan(next).map_err(refused)?;
            if limits.allow(plan.cost).is_ok() {
                best = plan;
                break;
            }
            fails = next;
        }
        for _ in 0..BISECTIONS {
            let middle = best.examples.midpoint(fails);
            if middle <= best.examples {
                break;
            }
            match self.plan(middle) {
                Ok(plan) if limits.allow(plan.cost).is_ok() => best = plan,
                _ => fails = middle,
            }
        }
        Ok(best)
    }

    fn refused(&self, error: &SimulateError) -> (Failure, String) {
        let policy = self.spec.policy.name();
        let contenders = explain::count(self.pool.len(), "contender", "contenders");
        let failure = Failure::BudgetTooSmall;
        match error {
            SimulateError::BudgetTooSmall { needed, budget } => {
                let (needed, budget) = (explain::examples(*needed), explain::examples(*budget));
                (
                    failure,
                    format!("the smallest plan of {policy} for {contenders} needs {needed}, the budget pays {budget}"),
                )
            }
            SimulateError::NothingScored => {
                let detail = format!("{policy} needs two sizes at least, the ladder has one: lower data_size_min");
                (failure, detail)
            }
            other => (failure, other.to_string()),
        }
    }

    fn too_small(&self, unit: Unit, cost: &Spending, limits: &Limits) -> String {
        let policy = self.spec.policy.name();
        let money = |nanos: i64| format!("{:.2} {}", nanos as f64 / 1e9, limits.currency);
        let (needed, budget) = match unit {
            Unit::Examples => {
                let limit = limits.examples.unwrap_or_default();
                (explain::examples(cost.examples), explain::examples(limit))
            }
            Unit::ExampleParameters => {
                let limit = limits.example_parameters.unwrap_or_default();
                let text = |amount: f64| format!("{amount:.3e} examples times parameters");
                (text(cost.example_parameters), text(limit))
            }
            Unit::DeviceSeconds => {
                let text = |amount: f64| format!("{} of device time", explain::seconds(amount));
                (
                    text(cost.device_seconds),
                    text(limits.device_seconds.unwrap_or_default()),
                )
            }
            Unit::Money => (money(cost.money_nanos), money(limits.money_nanos.unwrap_or_default())),
        };
        let contenders = explain::count(self.pool.len(), "contender", "contenders");
        format!("the smallest plan of {policy} for {contenders} needs {needed}, the budget pays {budget}")
    }

    /// The rounds that the policy plans at worst, with what they cost: the first as it is, the later ones with the dearest contenders.
    fn plan(&self, examples: u64) -> Result<Plan, SimulateError> {
        let profile = |facts: &ContenderFacts| Profile {
            name: String::from("c"),
            attributes: Attributes::new(None, facts.parameters, std::collections::BTreeMap::new()),
            zero_shot: None,
        };
        let field = Field {
            profiles: self.pool.iter().map(profile).collect(),
            aliases: Vec::new(),
            rungs: self.rungs.clone(),
            budget: examples,
            seed: self.spec.seed,
            losses: Losses::Measured,
        };
        let mut policy = field.policy(&self.spec.policy, &[], None)?;
        // Equal losses stop nobody early.
        let mut observed = Observed::new(self.pool.len());
        let mut rounds: Vec<Vec<Run>> = Vec::new();
        let equal = Loss::new(1.0).map_err(|_| SimulateError::NothingScored)?;
        while let Action::Train(runs) = policy.next(&observed).action {
            for run in &runs {
                observed.insert(run.candidate, Observation::new(run.data_size, equal));
            }
            rounds.push(runs);
            if rounds.len() > MAX_ROUNDS {
                return Err(SimulateError::DidNotStop { rounds: rounds.len() });
            }
        }
        let costs = rounds
            .iter()
            .enumerate()
            .map(|(index, runs)| self.round_cost(index, runs));
        Ok(Plan {
            examples,
            cost: costs.fold(Spending::ZERO, Spending::plus),
            rounds,
        })
    }

    fn round_cost(&self, index: usize, runs: &[Run]) -> Spending {
        if index == 0 {
            let cost = |run: &Run| self.pool.get(run.candidate).map(|facts| dearest(facts, run.data_size));
            return runs.iter().filter_map(cost).fold(Spending::ZERO, Spending::plus);
        }
        let mut sum = Spending::ZERO;
        for (size, count) in sizes(runs) {
            let costs: Vec<Spending> = self.pool.iter().map(|facts| dearest(facts, size)).collect();
            sum = sum.plus(Spending {
                examples: size.examples().saturating_mul(count as u64),
                example_parameters: largest(costs.iter().map(|cost| cost.example_parameters), count),
                device_seconds: largest(costs.iter().map(|cost| cost.device_seconds), count),
                money_nanos: {
                    let mut money: Vec<i64> = costs.iter().map(|cost| cost.money_nanos).collect();
                    money.sort_unstable_by(|a, b| b.cmp(a));
                    money.into_iter().take(count).fold(0, i64::saturating_add)
                },
            });
        }
        sum
    }

    /// Everybody at the full size.
    pub(super) fn exhaustive(&self) -> Spending {
        let full = self.rungs.last().copied().unwrap_or(DataSize::ZERO);
        let costs = self.pool.iter().map(|facts| dearest(facts, full));
        costs.fold(Spending::ZERO, Spending::plus)
    }

    /// Time until the plan is through with so many runs at once, the longest first; `None` where no trainer tells device time.
    pub(super) fn wall_seconds(&self, plan: &Plan, slots: u32) -> Option<f64> {
        let timed = |facts: &ContenderFacts| !facts.costs.is_empty() && facts.costs.values().all(takes_time);
        if slots == 0 || !self.pool.iter().all(timed) {
            return None;
        }
        let longest = |size: DataSize| {
            let seconds = self.pool.iter().map(|facts| dearest(facts, size).device_seconds);
            seconds.fold(0.0, f64::max)
        };
        let round = |(index, runs): (usize, &Vec<Run>)| {
            let at_least = sizes(runs)
                .into_iter()
                .map(|(size, _)| longest(size))
                .fold(0.0, f64::max);
            (self.round_cost(index, runs).device_seconds / f64::from(slots)).max(at_least)
        };
        Some(plan.rounds.iter().enumerate().map(round).sum())
    }
}

fn takes_time(cost: &CostModel) -> bool {
    cost.fixed_seconds + cost.seconds_per_example > 0.0
}

/// How many runs there are of each size.
fn sizes(runs: &[Run]) -> Vec<(DataSize, usize)> {
    let mut counts = std::collections::BTreeMap::new();
    for run in runs {
        *counts.entry(run.data_size).or_insert(0) += 1;
    }
    counts.into_iter().collect()
}

/// The sum of the `count` largest.
fn largest(amounts: impl Iterator<Item = f64>, count: usize) -> f64 {
    let mut amounts: Vec<f64> = amounts.collect();
    amounts.sort_unstable_by(|a, b| b.total_cmp(a));
    amounts.into_iter().take(count).sum()
}

/// What a run costs at most, unit by unit, whichever of its trainers does it.
fn dearest(facts: &ContenderFacts, size: DataSize) -> Spending {
    let none = CostModel::default().of(size, facts.parameters);
    let costs = facts.costs.values().map(|cost| cost.of(size, facts.parameters));
    costs.fold(none, |most, cost| Spending {
        device_seconds: most.device_seconds.max(cost.device_seconds),
        money_nanos: most.money_nanos.max(cost.money_nanos),
        ..most
    })
}
