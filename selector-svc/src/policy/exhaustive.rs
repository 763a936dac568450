//! A flat policy as an adaptive one: all candidates at all sizes up to the largest that the budget pays, then a ranking.
//! This is how Accept then Stop and the other flat policies spend.

use crate::curve::{DataSize, LearningCurve, Loss, Observation};
use crate::error::SimulateError;
use crate::policy::{
    AdaptivePolicy, Decision, Exclusion, FinalForecast, FlatPolicy, IntervalSource, Model, Observed, Pool, Step,
    order_by_score, runs_of, still_racing, with_unpaid,
};
use crate::schedule::ladder_cost;
use crate::table::{Attributes, Candidate};
use crate::trend::{Calibration, Reach, TrendVariances, pooled_trends};

/// What a flat policy may read of a candidate besides its curve.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Its name.
    pub name: String,
    /// Family, parameters and the rest.
    pub attributes: Attributes,
    /// Loss before fine-tuning: measuring it costs no examples.
    pub zero_shot: Option<Loss>,
}

/// The replay of a flat policy.
#[derive(Debug)]
pub struct Exhaustive {
    policy: Box<dyn FlatPolicy>,
    profiles: Vec<Profile>,
    sizes: Vec<DataSize>,
    full: DataSize,
    /// Runs of size 0 are asked for as well.
    measures_zero_shot: bool,
    sent: bool,
    finished: bool,
}

impl Exhaustive {
    /// On an ascending, non-empty ladder whose last rung is the full size; budget in examples.
    ///
    /// # Errors
    /// [`SimulateError::BudgetTooSmall`] when not even the smallest size of all fits.
    pub fn new(
        policy: Box<dyn FlatPolicy>,
        profiles: Vec<Profile>,
        rungs: &[DataSize],
        budget: u64,
    ) -> Result<Self, SimulateError> {
        let cost = |sizes: &[DataSize]| ladder_cost(sizes).saturating_mul(profiles.len() as u64);
        let affordable = (1..=rungs.len())
            .rev()
            .filter_map(|n| rungs.get(..n))
            .find(|sizes| cost(sizes) <= budget);
        let Some(sizes) = affordable else {
            let needed = cost(rungs.get(..1).unwrap_or_default());
            return Err(SimulateError::BudgetTooSmall { needed, budget });
        };
        let full = rungs.last().copied().unwrap_or(DataSize::ZERO);
        Ok(Self {
            policy,
            sizes: sizes.to_vec(),
            profiles,
            full,
            measures_zero_shot: false,
            sent: false,
            finished: false,
        })
    }

    /// The same for a selection whose losses are yet to be measured: a ranking by the loss before fine-tuning needs no size but 0, and
    /// every other ranking two sizes at least.
    ///
    /// # Errors
    /// As [`Exhaustive::new`], and [`SimulateError::NothingScored`] where the ladder has one size only.
    pub fn online(
        policy: Box<dyn FlatPolicy>,
        profiles: Vec<Profile>,
        rungs: &[DataSize],
        budget: u64,
    ) -> Result<Self, SimulateError> {
        if policy.name() == "zero_shot" {
            return Ok(Self {
                policy,
                profiles,
                sizes: Vec::new(),
                full: rungs.last().copied().unwrap_or(DataSize::ZERO),
                measures_zero_shot: true,
                sent: false,
                finished: false,
            });
        }
        let count = profiles.len() as u64;
        if policy.interval_source() != IntervalSource::None {
            let Some(least) = rungs.get(..2) else {
                return Err(SimulateError::NothingScored);
            };
            let needed = ladder_cost(least).saturating_mul(count);
            if needed > budget {
                return Err(SimulateError::BudgetTooSmall { needed, budget });
            }
        }
        Self::new(policy, profiles, rungs, budget)
    }

    /// Sizes that everybody is trained at, ascending.
    fn trained(&self) -> Vec<DataSize> {
        let zero = self.measures_zero_shot.then_some(DataSize::ZERO);
        zero.into_iter().chain(self.sizes.iter().copied()).collect()
    }

    /// The largest size that the budget pays for all.
    #[must_use]
    pub fn budget_size(&self) -> DataSize {
        self.sizes.last().copied().unwrap_or(DataSize::ZERO)
    }

    /// The candidates with what was observed of them.
    fn candidates(&self, observed: &Observed) -> Vec<Option<Candidate>> {
        let candidate = |(index, profile): (usize, &Profile)| {
            let mut points = observed.curve(index).to_vec();
            let known = profile.zero_shot.map(|loss| Observation::new(DataSize::ZERO, loss));
            points.extend(observed.zero_shot(index).copied().or(known));
            let curve = LearningCurve::new(points).ok()?;
            Candidate::new(profile.name.clone(), profile.attributes.clone(), curve).ok()
        };
        self.profiles.iter().enumerate().map(candidate).collect()
    }

    /// Forecasts by position of all that could be scored.
    fn judged(&self, observed: &Observed) -> Vec<(usize, FinalForecast)> {
        let outcomes = self.outcomes(observed).into_iter();
        outcomes
            .filter_map(|(index, outcome)| Some((index, outcome.ok()?)))
            .collect()
    }

    /// What is said of each, by position.
    fn outcomes(&self, observed: &Observed) -> Vec<(usize, Result<FinalForecast, Exclusion>)> {
        let candidates = self.candidates(observed);
        let known: Vec<(usize, &Candidate)> = candidates
            .iter()
            .enumerate()
            .filter_map(|(i, c)| Some((i, c.as_ref()?)))
            .collect();
        let pool = Pool::new(known.iter().map(|(_, c)| *c), self.budget_size(), self.full);
        let calibration = Calibration::new(self.budget_size(), self.full);
        let full = self.full.log2();
        let curves: Vec<&[Observation]> = pool.members().iter().map(|member| member.seen).collect();
        let trends = pooled_trends(&curves, calibration.variances);
        let outcomes = self.policy.forecast(&pool);
        let mut judged = Vec::with_capacity(known.len());
        for (((index, _), outcome), trend) in known.iter().zip(outcomes).zip(trends) {
            let forecast = match outcome {
                Ok(forecast) => forecast,
                Err(exclusion) => {
                    judged.push((*index, Err(exclusion)));
                    continue;
                }
            };
            let (sd, reach) = match (&forecast.model, trend, self.policy.interval_source()) {
                (Model::Trend(state, own), ..) => (
                    Some(state.forecast(full, *own).variance.sqrt()),
                    Some(calibration.reach(state, full, Some(*own))),
                ),
                (_, Some(state), IntervalSource::PooledTrend) => {
                    let sd = state.forecast(full, TrendVariances::RANK).variance.sqrt();
                    (Some(sd), Some(calibration.reach(&state, full, None)))
                }
                _ => (None, None::<Reach>),
            };
            let log_loss = forecast.predicted_loss.map_or(forecast.score, f64::ln);
            judged.push((*index, Ok(FinalForecast { log_loss, sd, reach })));
        }
        judged
    }
}

impl AdaptivePolicy for Exhaustive {
    fn name(&self) -> &'static str {
        self.policy.name()
    }

    fn planned_examples(&self) -> u64 {
        ladder_cost(&self.sizes).saturating_mul(self.profiles.len() as u64)
    }

    fn next(&mut self, observed: &Observed) -> Step {
        if self.finished {
            return Step::FINISHED;
        }
        let all: Vec<usize> = (0..self.profiles.len()).collect();
        if !self.sent {
            self.sent = true;
            return Step::begin(runs_of(&all, &self.trained()));
        }
        self.finished = true;
        let judged = self.judged(observed);
        let known = |c: usize| judged.iter().any(|(known, _)| *known == c);
        let (racing, _) = still_racing(&all, observed, known);
        // Losses at unequal sizes are not compared, unless there is nothing else; forecasts from them are.
        let racing = if self.policy.interval_source() == IntervalSource::None {
            racing
        } else {
            with_unpaid(&racing, observed, known)
        };
        let of_racing = judged.iter().filter(|(c, _)| racing.binary_search(c).is_ok());
        let scores = order_by_score(of_racing.map(|(c, forecast)| (*c, forecast.log_loss)));
        Step::end(Decision::last(self.budget_size(), self.trained(), scores))
    }

    /// All runs are asked for at once: nothing changes.
    fn amend(&mut self, _budget: u64) {}

    fn refusals(&self, observed: &Observed) -> Vec<(usize, Exclusion)> {
        let outcomes = self.outcomes(observed).into_iter();
        outcomes
            .filter_map(|(index, outcome)| Some((index, outcome.err()?)))
            .collect()
    }

    fn forecasts_losses(&self) -> bool {
        self.policy.name() != "model_size"
    }

    fn forecasts(&self, observed: &Observed) -> Vec<Option<FinalForecast>> {
        let mut forecasts = vec![None; self.profiles.len()];
        for (index, forecast) in self.judged(observed) {
            if let Some(slot) = forecasts.get_mut(index) {
                *slot = Some(forecast);
            }
        }
        forecasts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{RankingPolicy, Withdrawal};

    #[test]
    fn forecasts_of_unequal_curves_are_compared_and_losses_are_not() {
        let ladder: Vec<DataSize> = (0..6).map(|i| DataSize::new(100 << i).unwrap()).collect();
        let profile = |c: u64| Profile {
            name: format!("c{c}"),
            attributes: Attributes::default(),
            zero_shot: None,
        };
        for (name, withdrawal, leader) in [
            ("rwl", Withdrawal::Unpaid, 0),
            ("rwl", Withdrawal::Failed, 1),
            ("sub_tuning", Withdrawal::Unpaid, 1),
        ] {
            let ranking = RankingPolicy::from_name(name).unwrap().build(None);
            let profiles = (0..3).map(profile).collect();
            let mut policy = Exhaustive::online(ranking, profiles, &ladder, 1_000_000).unwrap();
            let mut observed = Observed::new(3);
            let crate::policy::Action::Train(runs) = policy.next(&observed).action else {
                panic!("runs")
            };
            for run in runs {
                // The largest run of the first, the best, is missing.
                if run.candidate == 0 && run.data_size == policy.budget_size() {
                    observed.withdraw(0, withdrawal);
                    continue;
                }
                let log_loss = 1.0 + 0.1 * run.candidate as f64 - 0.1 * run.data_size.log2();
                let point = Observation::new(run.data_size, Loss::new(log_loss.exp()).unwrap());
                observed.insert(run.candidate, point);
            }
            let decision = policy.next(&observed).decision.unwrap();
            assert_eq!(decision.leader(), Some(leader), "{name}, {withdrawal:?}");
        }
    }
}
