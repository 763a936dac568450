//! Successive halving, on the loss extrapolated to the full size or on the current loss.
//!
//! Rungs `s[1] < s[2] < … < s[N]` = D. The start rung n0 is the largest whose plan `K·C(n0) + Σ ⌈K/ηⁱ⌉·s[n0+i]` fits the
//! budget, C(n) being the sum of the rungs up to n; but at least [`MIN_START_RUNGS`] rungs. All candidates are trained on rungs 1…n0;
//! then ⌈live/η⌉ are kept and trained at the next rung, until one is left, the full size is reached, or the next rung does
//! not fit. Where even the smallest start does not fit, [`Halving::new`] (the rule as replayed) spends more than its budget and the
//! caller is warned; [`Halving::within`] (for runs that cost) refuses.

use crate::curve::{DataSize, Observation};
use crate::error::{InvalidParameter, SimulateError};
use crate::policy::rwl::{RecentLine, RwlParameters};
use crate::policy::{
    Action, AdaptivePolicy, Decision, FinalForecast, Observed, Step, order_by_score, runs_of, still_racing, with_unpaid,
};
use crate::regression::quantile;
use crate::schedule::ladder_cost;
use crate::trend::{Calibration, Reach, pooled_trends};

/// Rungs that the first stage has at least: a trend from fewer says little.
pub const MIN_START_RUNGS: usize = 4;

/// What candidates are compared by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HalvingScore {
    /// Loss extrapolated to the full size by RWL; at the full size the observed loss.
    #[default]
    Extrapolated,
    /// Loss at the current rung: ordinary successive halving.
    Current,
}

/// η, score and extrapolation.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct HalvingParameters {
    /// Each rung keeps one in η, in 1.01..=1000. Default 2.
    pub eta: f64,
    /// Default: extrapolated.
    pub score: HalvingScore,
    /// Default: τ 1, no cap, window 8.
    pub extrapolation: RwlParameters,
}

impl Default for HalvingParameters {
    fn default() -> Self {
        Self {
            eta: 2.0,
            score: HalvingScore::default(),
            extrapolation: RwlParameters::halving(),
        }
    }
}

impl HalvingParameters {
    /// # Errors
    /// The first parameter out of its range.
    pub fn validate(&self) -> Result<(), InvalidParameter> {
        InvalidParameter::unless_within("eta", self.eta, 1.01, 1000.0)?;
        self.extrapolation.validate()
    }

    /// ⌈live/η⌉, at least 1 and below `live`.
    fn keep(&self, live: usize) -> usize {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "live ≤ 10 000 and η ≥ 1"
        )]
        let kept = (live as f64 / self.eta).ceil() as usize;
        kept.clamp(1, live.saturating_sub(1).max(1))
    }
}

/// Halving as an incremental state machine.
#[derive(Clone, Debug)]
pub struct Halving {
    parameters: HalvingParameters,
    rungs: Vec<DataSize>,
    budget: u64,
    planned: u64,
    candidates: usize,
    live: Vec<usize>,
    /// Index of the rung that the live candidates were last sent to; `None` before the first call.
    rung: Option<usize>,
    start: usize,
    finished: bool,
}

impl Halving {
    /// For `candidates` ≥ 1 on an ascending, non-empty ladder whose last rung is the full size; budget in examples.
    #[must_use]
    pub fn new(candidates: usize, rungs: Vec<DataSize>, budget: u64, parameters: HalvingParameters) -> Self {
        let least = MIN_START_RUNGS.min(rungs.len()).saturating_sub(1);
        let plan = |start: usize| plan_cost(candidates, &rungs, start, &parameters);
        let start = (least..rungs.len())
            .rev()
            .find(|start| plan(*start) <= budget)
            .unwrap_or(least);
        let mut policy = Self {
            parameters,
            budget,
            planned: 0,
            candidates,
            live: (0..candidates).collect(),
            rung: None,
            start,
            rungs,
            finished: false,
        };
        policy.planned = policy.affordable_plan();
        policy
    }

    /// The same, but never beyond the budget.
    ///
    /// # Errors
    /// [`SimulateError::BudgetTooSmall`] when the smallest start does not fit.
    pub fn within(
        candidates: usize,
        rungs: Vec<DataSize>,
        budget: u64,
        parameters: HalvingParameters,
    ) -> Result<Self, SimulateError> {
        let policy = Self::new(candidates, rungs, budget, parameters);
        let needed = start_cost(candidates, &policy.rungs, policy.start);
        if needed > budget {
            return Err(SimulateError::BudgetTooSmall { needed, budget });
        }
        Ok(policy)
    }

    /// What the plan from the chosen start spends before a rung no longer fits.
    fn affordable_plan(&self) -> u64 {
        let mut cost = start_cost(self.candidates, &self.rungs, self.start);
        let mut live = self.candidates;
        for size in self.rungs.iter().skip(self.start + 1) {
            live = self.parameters.keep(live);
            let with_rung = cost.saturating_add(size.examples().saturating_mul(live as u64));
            if live <= 1 || with_rung > self.budget {
                break;
            }
            cost = with_rung;
        }
        cost
    }

    fn full(&self) -> DataSize {
        self.rungs.last().copied().unwrap_or(DataSize::ZERO)
    }

    fn rung_size(&self, rung: usize) -> DataSize {
        self.rungs.get(rung).copied().unwrap_or_else(|| self.full())
    }

    /// ln losses to compare the given candidates by.
    fn scores(&self, observed: &Observed, candidates: &[usize]) -> Vec<f64> {
        let last = |c: usize| observed.curve(c).last();
        let current = |c: usize| last(c).map_or(f64::INFINITY, Observation::log_loss);
        if self.parameters.score == HalvingScore::Current {
            return candidates.iter().map(|c| current(*c)).collect();
        }
        let extrapolation = &self.parameters.extrapolation;
        let lines: Vec<Option<RecentLine>> = candidates
            .iter()
            .map(|c| RecentLine::fit(observed.curve(*c), extrapolation))
            .collect();
        let slopes: Vec<f64> = lines.iter().flatten().map(|line| line.slope).collect();
        let cap = extrapolation
            .slope_cap_quantile
            .and_then(|fraction| quantile(&slopes, fraction));
        let full = self.full();
        let score = |(c, line): (&usize, Option<RecentLine>)| match line {
            _ if last(*c).is_some_and(|point| point.data_size() == full) => current(*c),
            Some(line) => RecentLine {
                slope: cap.map_or(line.slope, |cap| line.slope.max(cap)),
                ..line
            }
            .at(full.log2()),
            None => current(*c),
        };
        candidates.iter().zip(lines).map(score).collect()
    }
}

fn start_cost(candidates: usize, rungs: &[DataSize], start: usize) -> u64 {
    ladder_cost(rungs.get(..=start).unwrap_or(rungs)).saturating_mul(candidates as u64)
}

/// `K·C(n0) + Σ ⌈K/ηⁱ⌉·s[n0+i]`, until one is left or the ladder ends.
fn plan_cost(candidates: usize, rungs: &[DataSize], start: usize, parameters: &HalvingParameters) -> u64 {
    let mut cost = start_cost(candidates, rungs, start);
    let mut live = candidates;
    for size in rungs.iter().skip(start + 1) {
        live = parameters.keep(live);
        if live <= 1 {
            break;
        }
        cost = cost.saturating_add(size.examples().saturating_mul(live as u64));
    }
    cost
}

impl AdaptivePolicy for Halving {
    fn name(&self) -> &'static str {
        match self.parameters.score {
            HalvingScore::Extrapolated => "halving",
            HalvingScore::Current => "halving_current",
        }
    }

    fn planned_examples(&self) -> u64 {
        self.planned
    }

    fn next(&mut self, observed: &Observed) -> Step {
        if self.finished {
            return Step::FINISHED;
        }
        let Some(rung) = self.rung else {
            self.rung = Some(self.start);
            let sizes = self.rungs.get(..=self.start).unwrap_or_default();
            return Step::begin(runs_of(&self.live, sizes));
        };
        let has_score = |c: usize| !observed.curve(c).is_empty();
        let (racing, goes_on) = still_racing(&self.live, observed, has_score);
        let ordered = |of: &[usize]| {
            let scores = self.scores(observed, of);
            order_by_score(of.iter().copied().zip(scores))
        };
        let trained = if rung == self.start {
            self.rungs.get(..=rung).unwrap_or_default().to_vec()
        } else {
            vec![self.rung_size(rung)]
        };
        let mut decision = Decision::last(self.rung_size(rung), trained, ordered(&racing));
        let kept = self.parameters.keep(decision.scores.len());
        let next = self.rung_size(rung + 1);
        let cost = next.examples().saturating_mul(kept as u64);
        let fits = observed.spent().saturating_add(cost) <= self.budget;
        if kept <= 1 || rung + 1 >= self.rungs.len() || !fits || !goes_on {
            // Losses at unequal sizes are not compared, forecasts from them are.
            if self.parameters.score == HalvingScore::Extrapolated {
                decision.scores = ordered(&with_unpaid(&racing, observed, has_score));
            }
            self.finished = true;
            return Step::end(decision);
        }
        decision.kept = kept;
        self.rung = Some(rung + 1);
        self.live = decision.scores.iter().take(kept).map(|(c, _)| *c).collect();
        Step {
            decision: Some(decision),
            action: Action::Train(runs_of(&self.live, &[next])),
        }
    }

    fn amend(&mut self, budget: u64) {
        self.budget = budget;
    }

    /// Forecast by the score; the interval's reach is the pooled trend's.
    fn forecasts(&self, observed: &Observed) -> Vec<Option<FinalForecast>> {
        let all: Vec<usize> = (0..self.candidates).collect();
        let curves: Vec<&[Observation]> = observed.curves().collect();
        let full = self.full();
        let seen = self.rung_size(self.start);
        let calibration = Calibration::new(seen, full);
        let trends = pooled_trends(&curves, calibration.variances);
        let reach = |c: usize| {
            if self.parameters.score == HalvingScore::Current {
                return None;
            }
            if curves.get(c)?.last()?.data_size() == full {
                return Some(Reach::even(0.0));
            }
            Some(calibration.reach(trends.get(c)?.as_ref()?, full.log2(), None))
        };
        let scores = self.scores(observed, &all);
        let forecast = |(c, score): (usize, f64)| {
            score.is_finite().then(|| FinalForecast {
                log_loss: score,
                sd: None,
                reach: reach(c),
            })
        };
        all.iter().copied().zip(scores).map(forecast).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curve::Loss;

    fn ladder(n: u32) -> Vec<DataSize> {
        (0..n).map(|i| DataSize::new(100 << i).unwrap()).collect()
    }

    /// Candidate c has ln loss 1 + c/10 everywhere.
    fn play(policy: &mut Halving) -> Vec<(u64, usize, usize)> {
        play_for(policy).0
    }

    /// What was decided, and spent.
    fn play_for(policy: &mut Halving) -> (Vec<(u64, usize, usize)>, u64) {
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
                return (rungs, observed.spent());
            };
            for run in runs {
                let loss = Loss::new((1.0 + run.candidate as f64 / 10.0).exp()).unwrap();
                observed.insert(run.candidate, Observation::new(run.data_size, loss));
            }
        }
        panic!("did not finish: {rungs:?}");
    }

    #[test]
    fn the_plan_halves_until_one_is_left() {
        // 8·(100+200+400+800) = 12000, then 4·1600, 2·3200: 24800.
        let mut policy = Halving::new(8, ladder(8), 24_800, HalvingParameters::default());
        assert_eq!(policy.planned_examples(), 24_800);
        let (rungs, spent) = play_for(&mut policy);
        assert_eq!(rungs, [(800, 8, 0), (1600, 4, 0), (3200, 2, 0)]);
        assert_eq!(spent, 24_800);
    }

    #[test]
    fn the_smallest_start_may_exceed_the_budget() {
        let mut policy = Halving::new(8, ladder(8), 100, HalvingParameters::default());
        let (rungs, spent) = play_for(&mut policy);
        assert_eq!(rungs, [(800, 8, 0)]);
        assert_eq!((spent, policy.planned_examples()), (12_000, 12_000));
    }

    #[test]
    fn within_its_budget_it_refuses_and_says_what_it_needs() {
        let within = |budget| Halving::within(8, ladder(8), budget, HalvingParameters::default());
        assert_eq!(
            within(11_999).unwrap_err(),
            SimulateError::BudgetTooSmall {
                needed: 12_000,
                budget: 11_999
            }
        );
        assert_eq!(play(&mut within(12_000).unwrap()), [(800, 8, 0)]);
    }

    #[test]
    fn a_rung_that_does_not_fit_ends_it() {
        let mut policy = Halving::new(8, ladder(8), 12_000 + 6_400, HalvingParameters::default());
        assert_eq!(play(&mut policy), [(800, 8, 0), (1600, 4, 0)]);
    }

    #[test]
    fn short_ladders_and_single_candidates_work() {
        assert_eq!(
            play(&mut Halving::new(1, ladder(8), 1_000_000, HalvingParameters::default())).len(),
            1
        );
        assert_eq!(
            play(&mut Halving::new(5, ladder(1), 1, HalvingParameters::default())),
            [(100, 5, 0)]
        );
        let current = HalvingParameters {
            score: HalvingScore::Current,
            ..HalvingParameters::default()
        };
        assert_eq!(play(&mut Halving::new(3, ladder(6), u64::MAX, current)), [(3200, 3, 0)]);
        let slow = HalvingParameters {
            eta: 1.01,
            ..HalvingParameters::default()
        };
        let rungs = play(&mut Halving::new(4, ladder(8), 24_800, slow));
        assert_eq!(rungs.iter().map(|r| r.1).collect::<Vec<_>>(), [4, 3, 2]);
    }

    #[test]
    fn parameters_are_checked() {
        assert!(HalvingParameters::default().validate().is_ok());
        let bad = HalvingParameters {
            eta: 1.0,
            ..HalvingParameters::default()
        };
        assert_eq!(bad.validate().unwrap_err().field, "eta");
    }
}
