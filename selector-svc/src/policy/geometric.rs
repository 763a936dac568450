//! Geometric: halving on the forecast of a local linear trend that skips sizes, so that most of the budget goes to few
//! large runs. The best policy known for this problem.
//!
//! Rungs `s[0] < … < s[N]` = D of ratio 2, K candidates, a budget in examples.
//! 1. Keep list: `k[0]` = K, `k[r] = max(2, ⌈k[r−1]/4⌉)` until 2.
//! 2. n = the largest rung ≥ 2 whose plan `K·(s[n] + s[n−2] + s[n−4]) + Σ k[r]·s[min(n+2r, N)]` fits (the sizes that exist).
//!    If none does: sizes `s[0]` and `s[n]`, n the larger of (2, 1) that costs at most .6 of the budget, else n = 1.
//! 3. Fill: the largest c in {3.00, 2.95, …, 1.05} for which the plan with `⌊c·k[r]⌋` (at most K) still fits.
//! 4. Train all at the initial sizes; μ = the mean slope per doubling.
//! 5. Forecast: the trend of [`crate::trend`] started with slope μ; at D the observed loss.
//! 6. Keep the best `k[r]`, train them two rungs on, dropping the worst while the bill does not fit; if fewer than two fit,
//!    try one rung on; if still fewer, stop. Rescore, repeat. The answer is the best of the last kept. The budget is never
//!    exceeded: where not even the smallest plan fits, [`Geometric::new`] refuses. Whose run was not paid for (an attempt failed,
//!    and nothing was left for another) is trained no more, and takes part in the last judgement with the forecast that it has.
//!    When the budget is amended, the rounds to come are filled anew (step 3) from what is left.

mod history;
mod plan;

pub use history::{History, HistoryReport, HistorySet};
pub use plan::GeometricPlan;

use crate::curve::{DataSize, Observation};
use crate::diagnostics::{Warning, WarningCode};
use crate::error::{InvalidParameter, SimulateError};
use crate::policy::local_trend::validate_sd;
use crate::policy::{
    Action, AdaptivePolicy, Decision, FinalForecast, Observed, Step, order_by_score, runs_of, still_racing, with_unpaid,
};
use crate::trend::{Reach, TrendForecast, TrendState, TrendVariances, is_far, mean_slope};

/// Keep divisor, noise model and warm start.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct GeometricParameters {
    /// The keep list divides by this, 1.01..=1000. Default 4.
    pub keep_divisor: f64,
    /// √q of the slope's drift per doubling when ranking. Default .010.
    pub drift_sd: f64,
    /// √r of one ln loss; an observation's own standard error counts where it is larger. Default .007.
    pub noise_sd: f64,
    /// Least rank correlation of history and first forecasts for history to be used, −1..=1. Default .2.
    pub history_guard: f64,
}

impl Default for GeometricParameters {
    fn default() -> Self {
        Self {
            keep_divisor: 4.0,
            drift_sd: 0.010,
            noise_sd: 0.007,
            history_guard: 0.2,
        }
    }
}

impl GeometricParameters {
    /// # Errors
    /// The first parameter out of its range.
    pub fn validate(&self) -> Result<(), InvalidParameter> {
        InvalidParameter::unless_within("keep_divisor", self.keep_divisor, 1.01, 1000.0)?;
        validate_sd("drift_standard_deviation", Some(self.drift_sd))?;
        validate_sd("noise_standard_deviation", Some(self.noise_sd))?;
        InvalidParameter::unless_within("history_guard_correlation", self.history_guard, -1.0, 1.0)
    }

    fn variances(&self) -> TrendVariances {
        TrendVariances {
            slope: self.drift_sd.powi(2),
            observation: self.noise_sd.powi(2),
        }
    }

    /// The variances to quote intervals with: the drift is widened by 1.4 in the far range, as .014 is to .010.
    fn quoted(&self, far: bool) -> TrendVariances {
        let widening = if far {
            TrendVariances::QUOTE_FAR.slope / TrendVariances::RANK.slope
        } else {
            1.0
        };
        let ranked = self.variances();
        TrendVariances {
            slope: ranked.slope * widening,
            ..ranked
        }
    }
}

/// Geometric as an incremental state machine.
#[derive(Clone, Debug)]
pub struct Geometric {
    parameters: GeometricParameters,
    plan: GeometricPlan,
    budget: u64,
    /// The budget was amended since the last round was planned.
    amended: bool,
    candidates: usize,
    history: Option<History>,
    /// After the first stage: pool slope, and what became of the history.
    first_stage: Option<FirstStage>,
    live: Vec<usize>,
    /// Sizes that the live candidates were last sent to; empty before the first call.
    sent: Vec<DataSize>,
    /// Index of the rung they reached.
    rung: usize,
    /// Rounds played after the first stage.
    round: usize,
    finished: bool,
}

#[derive(Clone, Debug)]
struct FirstStage {
    slope: f64,
    /// Shrinkage target and its deviation s, where the guard let history in.
    prior: Option<(Vec<f64>, f64)>,
    report: Option<HistoryReport>,
}

impl Geometric {
    /// For `candidates` ≥ 1 on an ascending, non-empty ladder whose last rung is the full size; budget in examples.
    ///
    /// # Errors
    /// [`SimulateError::BudgetTooSmall`] when not even the smallest first stage fits.
    pub fn new(
        candidates: usize,
        rungs: Vec<DataSize>,
        budget: u64,
        parameters: GeometricParameters,
        history: Option<History>,
    ) -> Result<Self, SimulateError> {
        let plan = GeometricPlan::new(candidates, rungs, budget, parameters.keep_divisor)?;
        Ok(Self {
            rung: plan.start(),
            plan,
            parameters,
            budget,
            amended: false,
            candidates,
            history,
            first_stage: None,
            live: (0..candidates).collect(),
            sent: Vec::new(),
            round: 0,
            finished: false,
        })
    }

    /// What the plan is.
    #[must_use]
    pub const fn plan(&self) -> &GeometricPlan {
        &self.plan
    }

    fn trend(&self, curve: &[Observation], variances: TrendVariances) -> Option<TrendForecast> {
        let slope = self.first_stage.as_ref().map_or(0.0, |stage| stage.slope);
        let state = TrendState::filter(curve, slope, variances, &mut 0.0)?;
        Some(state.forecast(self.plan.full().log2(), variances))
    }

    /// Trend forecasts of all candidates; `None` for those without observations.
    fn trends(&self, observed: &Observed) -> Vec<Option<TrendForecast>> {
        (0..self.candidates)
            .map(|c| self.trend(observed.curve(c), self.parameters.variances()))
            .collect()
    }

    fn start_stage(&mut self, observed: &Observed) {
        let slope = mean_slope(observed.curves());
        self.first_stage = Some(FirstStage {
            slope,
            prior: None,
            report: None,
        });
        let Some(history) = &self.history else { return };
        let (prior, report) = history.judge(&self.trends(observed), self.parameters.history_guard);
        self.first_stage = Some(FirstStage {
            slope,
            prior,
            report: Some(report),
        });
    }

    /// Scores of all candidates: the forecast, drawn to the history where it takes part; at D the observation.
    fn scores(&self, observed: &Observed) -> Vec<f64> {
        let trends = self.trends(observed);
        let prior = self.first_stage.as_ref().and_then(|stage| stage.prior.as_ref());
        let mut scores: Vec<f64> = match prior {
            Some((offsets, sd)) => history::shrink(&trends, offsets, *sd),
            None => trends.iter().map(|t| t.map_or(f64::INFINITY, |t| t.mean)).collect(),
        };
        for (c, score) in scores.iter_mut().enumerate() {
            if let Some(point) = self.at_full(observed, c) {
                *score = point.log_loss();
            }
        }
        scores
    }

    fn at_full<'a>(&self, observed: &'a Observed, candidate: usize) -> Option<&'a Observation> {
        observed
            .curve(candidate)
            .last()
            .filter(|point| point.data_size() == self.plan.full())
    }

    /// How many of `wanted` can be paid at a rung with what is left; 0 where fewer than two.
    fn affordable(&self, wanted: usize, rung: usize, left: u64) -> usize {
        let price = self.plan.size(rung).examples().max(1);
        let fits = usize::try_from(left / price).unwrap_or(usize::MAX).min(wanted);
        if fits < 2 { 0 } else { fits }
    }

    /// The next round: (rung, how many go on, how many the plan wants to); `None` to stop.
    fn next_round(&self, live: usize, left: u64) -> Option<(usize, usize, usize)> {
        let last = self.plan.last_rung();
        if self.rung >= last {
            return None;
        }
        let wanted = (*self.plan.keep().get(self.round)?).min(live);
        let two_on = (self.rung + 2).min(last);
        let fits = self.affordable(wanted, two_on, left);
        if fits > 0 {
            return Some((two_on, fits, wanted));
        }
        let fits = self.affordable(wanted, self.rung + 1, left);
        (fits > 0).then_some((self.rung + 1, fits, wanted))
    }
}

impl AdaptivePolicy for Geometric {
    fn name(&self) -> &'static str {
        "geometric"
    }

    fn planned_examples(&self) -> u64 {
        self.plan.cost()
    }

    fn next(&mut self, observed: &Observed) -> Step {
        if self.finished {
            return Step::FINISHED;
        }
        if self.sent.is_empty() {
            self.sent = self.plan.initial_sizes();
            return Step::begin(runs_of(&self.live, &self.sent));
        }
        if self.first_stage.is_none() {
            self.start_stage(observed);
        }
        let left = self.budget.saturating_sub(observed.spent());
        if std::mem::take(&mut self.amended) {
            self.plan.refill(self.round, self.rung, left, self.candidates);
        }
        let scores = self.scores(observed);
        let score = |c: &usize| (*c, scores.get(*c).copied().unwrap_or(f64::INFINITY));
        let has_score = |c: usize| scores.get(c).is_some_and(|score| score.is_finite());
        let (racing, goes_on) = still_racing(&self.live, observed, has_score);
        let ordered = |of: &[usize]| order_by_score(of.iter().map(score).filter(|(_, score)| score.is_finite()));
        let trained = std::mem::take(&mut self.sent);
        let mut decision = Decision::last(self.plan.size(self.rung), trained, ordered(&racing));
        let next = self.next_round(decision.scores.len(), left).filter(|_| goes_on);
        let Some((rung, kept, wanted)) = next else {
            self.finished = true;
            decision.scores = ordered(&with_unpaid(&racing, observed, has_score));
            return Step::end(decision);
        };
        decision.kept = kept;
        decision.wanted = (wanted > kept).then_some(wanted);
        (self.rung, self.round) = (rung, self.round + 1);
        self.live = decision.scores.iter().take(kept).map(|(c, _)| *c).collect();
        self.sent = vec![self.plan.size(rung)];
        Step {
            decision: Some(decision),
            action: Action::Train(runs_of(&self.live, &self.sent)),
        }
    }

    fn amend(&mut self, budget: u64) {
        (self.budget, self.amended) = (budget, true);
    }

    fn history_report(&self) -> Option<&HistoryReport> {
        self.first_stage.as_ref()?.report.as_ref()
    }

    fn forecasts(&self, observed: &Observed) -> Vec<Option<FinalForecast>> {
        let scores = self.scores(observed);
        let full = self.plan.full();
        let forecast = |(c, score): (usize, f64)| {
            if self.at_full(observed, c).is_some() {
                return Some(FinalForecast {
                    log_loss: score,
                    sd: Some(0.0),
                    reach: Some(Reach::even(0.0)),
                });
            }
            let curve = observed.curve(c);
            let sd = self.trend(curve, self.parameters.variances())?.variance.sqrt();
            let far = curve.last().is_some_and(|point| is_far(point.data_size(), full));
            let quoted = self.trend(curve, self.parameters.quoted(far))?.variance.sqrt();
            Some(FinalForecast {
                log_loss: score,
                sd: Some(sd),
                reach: Some(Reach::even(quoted)),
            })
        };
        scores.into_iter().enumerate().map(forecast).collect()
    }

    fn warnings(&self) -> Vec<Warning> {
        match self.history_report() {
            Some(report) if !report.used => {
                let correlation = report
                    .rank_correlation
                    .map_or_else(|| "undefined".to_owned(), |r| format!("{r:.2}"));
                let detail = format!(
                    "history was not used: its rank correlation with the first forecasts is {correlation}, the guard asks for {:.2}",
                    self.parameters.history_guard
                );
                vec![Warning::new(WarningCode::HistoryRejected, detail)]
            }
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curve::Loss;

    fn ladder(n: u32) -> Vec<DataSize> {
        (0..n).map(|i| DataSize::new(100 << i).unwrap()).collect()
    }

    fn loss(candidate: usize, size: DataSize) -> Observation {
        let y = 2.0 + candidate as f64 / 10.0 - 0.1 * size.log2();
        Observation::new(size, Loss::new(y.exp()).unwrap())
    }

    /// (size, live, leader) per decision.
    fn play(policy: &mut Geometric) -> (Vec<(u64, usize, usize)>, Observed) {
        let mut observed = Observed::new(policy.candidates);
        let mut rungs = Vec::new();
        for _ in 0..100 {
            let step = policy.next(&observed);
            if let Some(decision) = step.decision {
                rungs.push((
                    decision.data_size.examples(),
                    decision.scores.len(),
                    decision.leader().unwrap(),
                ));
            }
            let Action::Train(runs) = step.action else {
                return (rungs, observed);
            };
            for run in runs {
                observed.insert(run.candidate, loss(run.candidate, run.data_size));
            }
        }
        panic!("did not finish: {rungs:?}");
    }

    fn policy(candidates: usize, rungs: u32, budget: u64) -> Geometric {
        Geometric::new(candidates, ladder(rungs), budget, GeometricParameters::default(), None).unwrap()
    }

    #[test]
    fn it_ends_at_the_full_size_when_the_budget_allows() {
        let mut policy = policy(8, 9, 400_000);
        let (rungs, observed) = play(&mut policy);
        assert_eq!(rungs.last().map(|r| (r.0, r.2)), Some((25_600, 0)));
        assert!(observed.spent() <= 400_000);
        let forecasts = policy.forecasts(&observed);
        assert_eq!(forecasts[0].unwrap().sd, Some(0.0));
        assert!(forecasts.iter().all(Option::is_some));
        assert_eq!(policy.next(&observed).action, Action::Finish);
    }

    #[test]
    fn tiny_pools_and_ladders_work() {
        assert_eq!(play(&mut policy(1, 5, 1_000_000)).0.last().unwrap().1, 1);
        assert_eq!(play(&mut policy(2, 5, 1_000_000)).0.last().unwrap().1, 2);
        assert_eq!(play(&mut policy(5, 1, 500)).0, [(100, 5, 0)]);
        assert_eq!(play(&mut policy(5, 2, 1_500)).0, [(200, 5, 0)]);
    }

    #[test]
    fn whose_run_was_not_paid_for_is_ranked_at_the_end_and_trained_no_more() {
        use crate::policy::Withdrawal;
        for (withdrawal, leader) in [(Withdrawal::Unpaid, 0), (Withdrawal::Failed, 1)] {
            let mut policy = policy(8, 9, 40_000);
            let mut observed = Observed::new(8);
            let mut rounds = 0;
            let last = loop {
                let step = policy.next(&observed);
                let Action::Train(runs) = step.action else {
                    break step.decision.unwrap();
                };
                // The best goes on to the second round, and its run there comes to nothing.
                for run in runs {
                    assert!(rounds < 2 || run.candidate != 0, "it is trained no more");
                    if rounds == 1 && run.candidate == 0 {
                        observed.withdraw(0, withdrawal);
                    } else {
                        observed.insert(run.candidate, loss(run.candidate, run.data_size));
                    }
                }
                rounds += 1;
                let judged = step.decision.map(|decision| decision.order());
                assert!(rounds < 3 || !judged.unwrap().contains(&0), "the others race");
            };
            assert!(rounds >= 2, "{rounds} rounds");
            assert_eq!(last.leader(), Some(leader), "{withdrawal:?}");
            assert_eq!(last.order().contains(&0), withdrawal == Withdrawal::Unpaid);
        }
    }

    #[test]
    fn a_budget_below_the_smallest_plan_is_refused() {
        let refused = Geometric::new(8, ladder(9), 2_399, GeometricParameters::default(), None);
        assert_eq!(
            refused.unwrap_err(),
            SimulateError::BudgetTooSmall {
                needed: 2_400,
                budget: 2_399
            }
        );
        assert!(Geometric::new(8, ladder(9), 2_400, GeometricParameters::default(), None).is_ok());
    }

    #[test]
    fn wrong_history_is_rejected_and_right_history_is_used() {
        let set = |sign: f64| HistorySet {
            name: "other".to_owned(),
            log_losses: (0..8).map(|c| Some(1.0 + sign * f64::from(c) / 10.0)).collect(),
        };
        for (sign, used) in [(1.0, true), (-1.0, false)] {
            let history = History::new(8, &[set(sign)]);
            let mut policy = Geometric::new(8, ladder(9), 40_000, GeometricParameters::default(), history).unwrap();
            let _ = play(&mut policy);
            assert_eq!(policy.history_report().unwrap().used, used);
            assert_eq!(policy.warnings().is_empty(), used);
        }
    }

    #[test]
    fn parameters_are_checked() {
        assert!(GeometricParameters::default().validate().is_ok());
        let bad = GeometricParameters {
            keep_divisor: 1.0,
            ..GeometricParameters::default()
        };
        assert_eq!(bad.validate().unwrap_err().field, "keep_divisor");
        let bad = GeometricParameters {
            history_guard: 2.0,
            ..GeometricParameters::default()
        };
        assert_eq!(bad.validate().unwrap_err().field, "history_guard_correlation");
    }
}
