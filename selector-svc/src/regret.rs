//! How good a policy's choice is likely to be at a budget: what replays on published curves gave.
//!
//! [`ROWS`] holds mean relative regrets (loss of the choice over that of the best contender, minus 1, at the full size) of 80 replays
//! each: 40 pools drawn without replacement from the 30 checkpoints of each of two published data sets (FLAN and WMT19 of Lin et
//! al., ICML 2024, arXiv 2402.02314; full size 1,638,400 examples, sizes from 200 in doublings). Along the budget they are made
//! non-increasing by averaging neighbours that are not (pool adjacent violators), since noise alone lets them rise.
//!
//! What it is not: two data sets with two distinct winners say little about other data, models or ladders; differences below .01 are
//! noise. It tells a hopeless budget from a sufficient one. Nothing is said outside the range that was replayed.
//!
//! The table is written by the test `the_table_is_what_the_replays_give` with `FINEPICK_UPDATE_GOLDEN=1`.

mod table;

pub use self::table::ROWS;

/// Budgets of the table in full-size runs in all (examples / full size), ascending.
pub const BUDGETS: [f64; 11] = [0.0625, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0];
/// Contenders of the table's pools, ascending.
pub const POOLS: [usize; 5] = [2, 4, 8, 16, 24];
/// Largest pool that is answered, by the largest of [`POOLS`]: the published data have no more checkpoints.
pub const LARGEST_POOL: usize = 30;

/// One policy with one size of pool.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// Name of the policy, as [`crate::simulate::SelectionPolicy::name`] has it.
    pub policy: &'static str,
    /// Size of the pool.
    pub contenders: usize,
    /// How many of the smallest [`BUDGETS`] do not pay for its smallest plan.
    pub refused: usize,
    /// Mean relative regret at the others, not increasing.
    pub regrets: &'static [f64],
}

impl Row {
    /// At a budget between two of the table, linear in its logarithm.
    fn at(&self, log_budget: f64) -> Option<f64> {
        let known = BUDGETS
            .iter()
            .skip(self.refused)
            .map(|budget| budget.ln())
            .zip(self.regrets.iter().copied());
        let known: Vec<(f64, f64)> = known.collect();
        between(&known, log_budget)
    }
}

/// Expected relative regret of the choice: its loss over that of the best contender, minus 1. `budget_in_full_runs`: examples of the
/// budget over the full size. `None`: no replay is near enough (unknown policy, more than [`LARGEST_POOL`] contenders, a budget
/// below the policy's smallest plan or outside [`BUDGETS`]).
#[must_use]
pub fn expected(policy: &str, budget_in_full_runs: f64, contenders: usize) -> Option<f64> {
    if contenders == 0 || contenders > LARGEST_POOL || !(budget_in_full_runs.is_finite() && budget_in_full_runs > 0.0) {
        return None;
    }
    if contenders == 1 {
        // Nothing can be chosen wrongly.
        return rows(policy).next().map(|_| 0.0);
    }
    let pool = contenders.min(*POOLS.last()?) as f64;
    let log_budget = budget_in_full_runs.ln();
    let below = rows(policy).filter(|row| row.contenders as f64 <= pool).last()?;
    let above = rows(policy).find(|row| row.contenders as f64 >= pool)?;
    let ends = [below, above].map(|row| Some(((row.contenders as f64).ln(), row.at(log_budget)?)));
    let [Some(below), Some(above)] = ends else { return None };
    between(&[below, above], pool.ln())
}

/// The policy's rows, by ascending pools.
fn rows(policy: &str) -> impl Iterator<Item = &'static Row> {
    ROWS.iter().filter(move |row| row.policy == policy)
}

/// Linear interpolation through ascending points; `None` outside them.
fn between(points: &[(f64, f64)], x: f64) -> Option<f64> {
    // Budgets are computed: 1/3 · 3 full runs are 1.
    let near = |a: f64| (a - x).abs() < 1e-9;
    if let Some((_, y)) = points.iter().find(|(at, _)| near(*at)) {
        return Some(*y);
    }
    points.windows(2).find_map(|pair| match pair {
        [(x0, y0), (x1, y1)] if *x0 < x && x < *x1 => Some(y0 + (y1 - y0) * (x - x0) / (x1 - x0)),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_complete_and_does_not_increase() {
        for policy in [
            "geometric",
            "halving",
            "ats_online",
            "exhaustive",
            "random",
            "zero_shot_control",
            "ats",
        ] {
            let pools: Vec<usize> = rows(policy).map(|row| row.contenders).collect();
            assert_eq!(pools, POOLS, "{policy}");
        }
        for row in ROWS {
            assert_eq!(row.refused + row.regrets.len(), BUDGETS.len(), "{row:?}");
            assert!(
                row.regrets.iter().all(|regret| regret.is_finite() && *regret >= 0.0),
                "{row:?}"
            );
            assert!(row.regrets.is_sorted_by(|a, b| a >= b), "{row:?}");
        }
    }

    #[test]
    fn nodes_are_answered_exactly_and_what_lies_between_lies_between() {
        let row = rows("geometric").find(|row| row.contenders == 8).unwrap();
        let last = *row.regrets.last().unwrap();
        assert_eq!(expected("geometric", 64.0, 8), Some(last));
        let at = |budget, pool| expected("geometric", budget, pool).unwrap();
        let middle = at(3.0, 8);
        assert!(at(4.0, 8) <= middle && middle <= at(2.0, 8));
        let (small, large) = (at(2.0, 8), at(2.0, 16));
        let middle = at(2.0, 12);
        assert!(small.min(large) <= middle && middle <= small.max(large));
        assert_eq!(at(2.0, 24).to_bits(), at(2.0, 30).to_bits());
    }

    #[test]
    fn more_budget_is_never_expected_to_be_worse() {
        for row in ROWS {
            let mut last = f64::INFINITY;
            for step in 0..200 {
                let budget = 0.0625 * 2.0_f64.powf(f64::from(step) / 20.0);
                if let Some(regret) = expected(row.policy, budget, row.contenders) {
                    assert!(regret <= last + 1e-12, "{row:?} at {budget}");
                    last = regret;
                }
            }
        }
    }

    #[test]
    fn outside_the_replays_nothing_is_said() {
        assert_eq!(expected("geometric", 65.0, 8), None);
        assert_eq!(expected("geometric", 0.06, 8), None);
        assert_eq!(expected("geometric", 1.0, 31), None);
        assert_eq!(expected("geometric", 1.0, 0), None);
        assert_eq!(expected("geometric", f64::NAN, 8), None);
        assert_eq!(expected("unknown", 1.0, 8), None);
        assert_eq!(expected("exhaustive", 4.0, 8), None);
        assert_eq!(expected("exhaustive", 8.0, 8), Some(0.0));
        assert_eq!(
            (expected("geometric", 1.0, 1), expected("unknown", 1.0, 1)),
            (Some(0.0), None)
        );
    }
}
