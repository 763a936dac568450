//! The plan of the geometric policy: where all start, and how many go on at each round.

use crate::curve::DataSize;
use crate::error::SimulateError;
use crate::schedule::ladder_cost;

/// Rungs a round climbs.
const STRIDE: usize = 2;
/// Share of the budget that the fallback's first stage may take.
const FALLBACK_SHARE: f64 = 0.6;

/// A plan that fits the budget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeometricPlan {
    rungs: Vec<DataSize>,
    /// Ascending indices of the sizes at which all are trained.
    initial: Vec<usize>,
    /// The keep list before it is filled.
    least: Vec<usize>,
    /// How many go on at round 1, 2, …
    keep: Vec<usize>,
    cost: u64,
}

impl GeometricPlan {
    /// Plans for K candidates on a non-empty ladder.
    pub(super) fn new(
        candidates: usize,
        rungs: Vec<DataSize>,
        budget: u64,
        keep_divisor: f64,
    ) -> Result<Self, SimulateError> {
        let mut plan = Self {
            rungs,
            initial: vec![0],
            least: keep_list(candidates, keep_divisor),
            keep: Vec::new(),
            cost: 0,
        };
        plan.keep.clone_from(&plan.least);
        let last = plan.last_rung();
        let fitting = (STRIDE..=last).rev().map(geometric_sizes).find(|initial| {
            plan.initial.clone_from(initial);
            plan.price(candidates, 1.0) <= budget
        });
        plan.initial = fitting.unwrap_or_else(|| plan.fallback(candidates, budget));
        let needed = plan.first_stage(candidates);
        if needed > budget {
            return Err(SimulateError::BudgetTooSmall { needed, budget });
        }
        let fill = largest_fill(|c| plan.price(candidates, c) <= budget);
        plan.keep = plan.least.iter().map(|k| filled(*k, fill, candidates)).collect();
        plan.cost = plan.price(candidates, fill).min(budget);
        Ok(plan)
    }

    /// Rungs 0 and n, n the larger of (2, 1) that leaves enough for later rounds, else 1; rung 0 on a ladder of one.
    fn fallback(&self, candidates: usize, budget: u64) -> Vec<usize> {
        let last = self.last_rung();
        if last == 0 {
            return vec![0];
        }
        let cost = |n: usize| (self.size(0).examples() + self.size(n).examples()).saturating_mul(candidates as u64);
        let fits = |n: &usize| *n <= last && cost(*n) as f64 <= FALLBACK_SHARE * budget as f64;
        vec![0, [2, 1].into_iter().find(fits).unwrap_or(1)]
    }

    fn first_stage(&self, candidates: usize) -> u64 {
        ladder_cost(&self.initial_sizes()).saturating_mul(candidates as u64)
    }

    /// `K·(initial sizes) + Σ ⌊c·k[r]⌋·s[min(n+2r, N)]`, ended by the full size.
    fn price(&self, candidates: usize, fill: f64) -> u64 {
        let rounds = self.price_from(0, self.start(), candidates, fill);
        self.first_stage(candidates).saturating_add(rounds)
    }

    /// What the rounds after `round` cost from a rung on.
    fn price_from(&self, round: usize, mut rung: usize, candidates: usize, fill: f64) -> u64 {
        let mut cost = 0_u64;
        for keep in self.least.iter().skip(round) {
            if rung >= self.last_rung() {
                break;
            }
            rung = (rung + STRIDE).min(self.last_rung());
            let runs = filled(*keep, fill, candidates) as u64;
            cost = cost.saturating_add(self.size(rung).examples().saturating_mul(runs));
        }
        cost
    }

    /// Fills the rounds that are yet to come from what is left of an amended budget.
    pub(super) fn refill(&mut self, round: usize, rung: usize, left: u64, candidates: usize) {
        let fill = largest_fill(|c| self.price_from(round, rung, candidates, c) <= left);
        for (keep, least) in self.keep.iter_mut().zip(&self.least).skip(round) {
            *keep = filled(*least, fill, candidates);
        }
    }

    /// Index of the largest initial rung (n).
    #[must_use]
    pub fn start(&self) -> usize {
        self.initial.last().copied().unwrap_or(0)
    }

    /// Index of the full size (N).
    #[must_use]
    pub fn last_rung(&self) -> usize {
        self.rungs.len().saturating_sub(1)
    }

    /// Size of a rung; the full size beyond the last.
    #[must_use]
    pub fn size(&self, rung: usize) -> DataSize {
        self.rungs.get(rung).copied().unwrap_or_else(|| self.full())
    }

    /// The full size.
    #[must_use]
    pub fn full(&self) -> DataSize {
        self.rungs.last().copied().unwrap_or(DataSize::ZERO)
    }

    /// Sizes at which all candidates are trained, ascending.
    #[must_use]
    pub fn initial_sizes(&self) -> Vec<DataSize> {
        self.initial.iter().map(|rung| self.size(*rung)).collect()
    }

    /// How many go on at round 1, 2, …
    #[must_use]
    pub fn keep(&self) -> &[usize] {
        &self.keep
    }

    /// What it costs in examples; later rounds shrink where they do not fit, so it is at most the budget.
    #[must_use]
    pub const fn cost(&self) -> u64 {
        self.cost
    }
}

/// `s[n]`, `s[n−2]`, `s[n−4]`, those that exist; ascending.
fn geometric_sizes(n: usize) -> Vec<usize> {
    [2 * STRIDE, STRIDE, 0]
        .into_iter()
        .filter_map(|back| n.checked_sub(back))
        .collect()
}

/// `k[0] = K`, `k[r] = max(2, ⌈k[r−1]/divisor⌉)` until 2; where that does not shrink, `k[r−1] − 1`. Without `k[0]`.
fn keep_list(candidates: usize, divisor: f64) -> Vec<usize> {
    let mut keep = Vec::new();
    let mut live = candidates;
    while live > 2 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "live ≤ 10 000 and divisor > 1"
        )]
        let next = ((live as f64 / divisor).ceil() as usize).max(2);
        live = next.min(live - 1);
        keep.push(live);
    }
    keep
}

/// The largest c in {3.00, 2.95, …, 1.05} that fits, else 1.
fn largest_fill(fits: impl Fn(f64) -> bool) -> f64 {
    let mut factors = (0..40_u32).map(|i| f64::from(300 - 5 * i) / 100.0);
    factors.find(|c| fits(*c)).unwrap_or(1.0)
}

/// ⌊c·k⌋, at most K.
fn filled(keep: usize, fill: f64, candidates: usize) -> usize {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "keep ≤ 10 000 and fill ≤ 3"
    )]
    let count = (fill * keep as f64 + 1e-9).floor() as usize;
    count.min(candidates)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ladder(n: u32) -> Vec<DataSize> {
        (0..n).map(|i| DataSize::new(100 << i).unwrap()).collect()
    }

    #[test]
    fn keep_lists_end_at_two_and_always_shrink() {
        assert_eq!(keep_list(30, 4.0), [8, 2]);
        assert_eq!(keep_list(4, 1.01), [3, 2]);
        assert_eq!(keep_list(3, 4.0), [2]);
        assert!(keep_list(2, 4.0).is_empty() && keep_list(1, 4.0).is_empty());
    }

    #[test]
    fn initial_sizes_skip_a_rung() {
        assert_eq!(geometric_sizes(6), [2, 4, 6]);
        assert_eq!(geometric_sizes(3), [1, 3]);
        assert_eq!(geometric_sizes(2), [0, 2]);
    }

    #[test]
    fn the_budget_is_filled_but_not_exceeded() {
        // 30·(100 + 400 + 1600) + 8·6400 + 2·25600 = 165 400.
        let plan = GeometricPlan::new(30, ladder(14), 165_400, 4.0).unwrap();
        assert_eq!(
            (plan.start(), plan.keep(), plan.cost()),
            (4, [8, 2].as_slice(), 165_400)
        );
        let plan = GeometricPlan::new(30, ladder(14), 165_400 + 6_400, 4.0).unwrap();
        assert_eq!((plan.keep(), plan.cost()), ([9, 2].as_slice(), 171_800));
    }

    #[test]
    fn small_budgets_fall_back_to_two_sizes() {
        let plan = GeometricPlan::new(30, ladder(14), 23_250, 4.0).unwrap();
        assert_eq!(
            plan.initial_sizes().iter().map(|s| s.examples()).collect::<Vec<_>>(),
            [100, 200]
        );
        assert!(plan.cost() <= 23_250);
    }
}
