//! Accept then Stop while runs are paid one by one, as the paper spends (Lin et al., ICML 2024, algorithm 1).
//!
//! Sizes S, S/2, S/4, … down to the smallest. Everybody is trained at the k largest; then each candidate at the next smaller size, one at
//! a time, until that size lies too far off its line ([`crate::policy::ats`]) or the sizes end. The answers are those of the flat policy
//! `ats` on the whole ladder, but what comes after a stop is never trained and not paid.
//!
//! The plan assumes the worst: that nobody stops. Where waste leaves less than that, the candidates with the worst forecasts stop first,
//! on the line that they have.

use crate::curve::{DataSize, Observation};
use crate::error::SimulateError;
use crate::policy::ats::{AtsFit, AtsParameters, Variant, accept_downwards, accept_then_stop};
use crate::policy::{
    AdaptivePolicy, Decision, FinalForecast, Observed, Run, Step, StopReason, order_by_score, reasonable_loss, runs_of,
    still_racing, with_unpaid,
};
use crate::schedule::{dyadic_ladder, ladder_cost};
use crate::trend::{Calibration, TrendVariances, pooled_trends};

/// Accept then Stop as an incremental state machine.
#[derive(Clone, Debug)]
pub struct AtsOnline {
    parameters: AtsParameters,
    /// Ascending; the last is S.
    sizes: Vec<DataSize>,
    full: DataSize,
    budget: u64,
    candidates: usize,
    /// Those whose curves were accepted so far: they are trained at `sizes[rung]` now.
    open: Vec<usize>,
    /// Position of the smallest size that was asked for; `None` before the first call.
    rung: Option<usize>,
    finished: bool,
}

impl AtsOnline {
    /// On an ascending, non-empty ladder whose last rung is the full size; budget in examples. `largest`: S; absent: the largest rung
    /// whose ladder the budget pays for all.
    ///
    /// # Errors
    /// [`SimulateError::BudgetTooSmall`] when the ladder below S (without S: the two smallest rungs) does not fit for all,
    /// [`SimulateError::BudgetOutOfRange`] when S is 0 or above the full size, [`SimulateError::NothingScored`] when there is one size
    /// only, through which no line goes.
    pub fn new(
        candidates: usize,
        rungs: &[DataSize],
        budget: u64,
        parameters: AtsParameters,
        largest: Option<DataSize>,
    ) -> Result<Self, SimulateError> {
        let full = rungs.last().copied().unwrap_or(DataSize::ZERO);
        let cost = |sizes: &[DataSize]| ladder_cost(sizes).saturating_mul(candidates as u64);
        let sizes = match largest {
            Some(size) if size.is_zero() || size > full => {
                return Err(SimulateError::BudgetOutOfRange { budget: size, full });
            }
            Some(size) => {
                let floor = rungs.first().copied().unwrap_or(size).min(size);
                dyadic_ladder(size, floor)
            }
            None => {
                let mut prefixes = (2..=rungs.len()).rev().filter_map(|n| rungs.get(..n));
                let affordable = prefixes.find(|sizes| cost(sizes) <= budget);
                affordable.or(rungs.get(..2)).unwrap_or(rungs).to_vec()
            }
        };
        if sizes.len() < 2 {
            return Err(SimulateError::NothingScored);
        }
        let needed = cost(&sizes);
        if needed > budget {
            return Err(SimulateError::BudgetTooSmall { needed, budget });
        }
        Ok(Self {
            parameters,
            sizes,
            full,
            budget,
            candidates,
            open: (0..candidates).collect(),
            rung: None,
            finished: false,
        })
    }

    /// S: the largest size that everybody is trained at.
    #[must_use]
    pub fn largest(&self) -> DataSize {
        self.sizes.last().copied().unwrap_or(DataSize::ZERO)
    }

    fn size(&self, rung: usize) -> DataSize {
        self.sizes.get(rung).copied().unwrap_or_else(|| self.largest())
    }

    /// What the test says of a curve as far as it goes. With the whole ladder, it is the flat policy's answer.
    fn fit(&self, curve: &[Observation]) -> Option<AtsFit> {
        if curve.len() >= self.sizes.len() {
            return accept_then_stop(curve, self.parameters, Variant::Published);
        }
        accept_downwards(curve, self.parameters, Variant::Published)
    }

    /// Forecast of ln loss; through the loss and back, as the flat policy's answer goes.
    fn log_loss(&self, curve: &[Observation]) -> Option<f64> {
        let fit = self.fit(curve)?;
        Some(reasonable_loss(fit.line.log_loss_at(self.full)).ok()?.ln())
    }

    /// Whether the next smaller size can change a candidate's line.
    fn goes_on(&self, curve: &[Observation]) -> bool {
        let fit = accept_downwards(curve, self.parameters, Variant::Published);
        fit.is_some_and(|fit| fit.stop.reason != StopReason::Outlier)
    }

    /// The next size and who is trained there, the best first; (size, candidates, how many the rule wants).
    fn next_round(
        &self,
        observed: &Observed,
        rung: usize,
        ordered: &[(usize, f64)],
    ) -> Option<(usize, Vec<usize>, usize)> {
        let next = rung.checked_sub(1)?;
        let open = |c: &usize| self.open.contains(c) && self.goes_on(observed.curve(*c));
        let mut wanted: Vec<usize> = ordered.iter().map(|(c, _)| *c).filter(open).collect();
        let count = wanted.len();
        let left = self.budget.saturating_sub(observed.spent()) / self.size(next).examples().max(1);
        wanted.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        (!wanted.is_empty()).then_some((next, wanted, count))
    }

    fn begin(&mut self) -> Step {
        let rung = self.sizes.len().saturating_sub(self.parameters.min_fit_points);
        self.rung = Some(rung);
        let all: Vec<usize> = (0..self.candidates).collect();
        Step::begin(runs_of(&all, self.sizes.get(rung..).unwrap_or_default()))
    }
}

impl AdaptivePolicy for AtsOnline {
    fn name(&self) -> &'static str {
        "ats_online"
    }

    fn planned_examples(&self) -> u64 {
        ladder_cost(&self.sizes).saturating_mul(self.candidates as u64)
    }

    fn next(&mut self, observed: &Observed) -> Step {
        if self.finished {
            return Step::FINISHED;
        }
        let Some(rung) = self.rung else { return self.begin() };
        let all: Vec<usize> = (0..self.candidates).collect();
        // Whose next test could not be paid keeps its line; whose runs failed is out.
        let has_line = |c: usize| self.has_line(observed, c);
        let (racing, goes_on) = still_racing(&all, observed, has_line);
        let racing = with_unpaid(&racing, observed, has_line);
        let score = |c: usize| Some((c, self.log_loss(observed.curve(c))?));
        let scores = order_by_score(racing.into_iter().filter_map(score));
        let trained = if rung + self.parameters.min_fit_points >= self.sizes.len() {
            self.sizes.get(rung..).unwrap_or_default().to_vec()
        } else {
            vec![self.size(rung)]
        };
        let tests = |c: &usize| Some((*c, self.fit(observed.curve(*c))?.stop));
        let mut decision = Decision {
            tests: self.open.iter().filter_map(tests).collect(),
            ..Decision::last(self.largest(), trained, scores)
        };
        let Some((next, runners, wanted)) = self.next_round(observed, rung, &decision.scores).filter(|_| goes_on)
        else {
            self.finished = true;
            return Step::end(decision);
        };
        decision.kept = decision.scores.len();
        decision.wanted = (wanted > runners.len()).then_some(wanted);
        (self.rung, self.open) = (Some(next), runners);
        self.open.sort_unstable();
        let data_size = self.size(next);
        let run = |candidate: &usize| Run {
            candidate: *candidate,
            data_size,
        };
        let step = Step::begin(self.open.iter().map(run).collect());
        Step {
            decision: Some(decision),
            ..step
        }
    }

    fn amend(&mut self, budget: u64) {
        self.budget = budget;
    }

    /// The line at the full size; deviation and reach are those of the pooled trend.
    fn forecasts(&self, observed: &Observed) -> Vec<Option<FinalForecast>> {
        let calibration = Calibration::new(self.largest(), self.full);
        let curves: Vec<&[Observation]> = observed.curves().collect();
        let trends = pooled_trends(&curves, calibration.variances);
        let full = self.full.log2();
        let forecast = |(curve, trend): (&&[Observation], Option<crate::trend::TrendState>)| {
            let log_loss = self.log_loss(curve)?;
            let sd = trend.map(|state| state.forecast(full, TrendVariances::RANK).variance.sqrt());
            let reach = trend.map(|state| calibration.reach(&state, full, None));
            Some(FinalForecast { log_loss, sd, reach })
        };
        curves.iter().zip(trends).map(forecast).collect()
    }
}

impl AtsOnline {
    fn has_line(&self, observed: &Observed, candidate: usize) -> bool {
        self.log_loss(observed.curve(candidate)).is_some()
    }
}
