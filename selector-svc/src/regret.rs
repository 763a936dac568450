//! How good a policy's choice is likely to be at a budget: what replays on published curves gave.

/// Expected relative regret of the choice: its loss over that of the best contender, minus 1. `budget_in_full_runs`: examples of the
/// budget over the full size. `None`: no replay is near enough.
#[must_use]
pub fn expected(_policy: &str, _budget_in_full_runs: f64, _contenders: usize) -> Option<f64> {
    None
}
