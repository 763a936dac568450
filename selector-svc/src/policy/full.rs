//! Every candidate at the full size: the truth, for what it costs. A control that other policies are measured against.

use crate::curve::{DataSize, Observation};
use crate::error::SimulateError;
use crate::policy::{AdaptivePolicy, Decision, FinalForecast, Observed, Step, order_by_score, runs_of, still_racing};
use crate::trend::Reach;

/// All at the full size, once.
#[derive(Clone, Debug)]
pub struct FullSize {
    candidates: usize,
    full: DataSize,
    sent: bool,
    finished: bool,
}

impl FullSize {
    /// Budget in examples.
    ///
    /// # Errors
    /// [`SimulateError::BudgetTooSmall`] when it does not pay for all.
    pub fn new(candidates: usize, full: DataSize, budget: u64) -> Result<Self, SimulateError> {
        let needed = full.examples().saturating_mul(candidates as u64);
        if needed > budget {
            return Err(SimulateError::BudgetTooSmall { needed, budget });
        }
        Ok(Self {
            candidates,
            full,
            sent: false,
            finished: false,
        })
    }

    fn at_full<'a>(&self, observed: &'a Observed, candidate: usize) -> Option<&'a Observation> {
        let last = observed.curve(candidate).last();
        last.filter(|point| point.data_size() == self.full)
    }
}

impl AdaptivePolicy for FullSize {
    fn name(&self) -> &'static str {
        "exhaustive"
    }

    fn planned_examples(&self) -> u64 {
        self.full.examples().saturating_mul(self.candidates as u64)
    }

    fn next(&mut self, observed: &Observed) -> Step {
        if self.finished {
            return Step::FINISHED;
        }
        let all: Vec<usize> = (0..self.candidates).collect();
        if !self.sent {
            self.sent = true;
            return Step::begin(runs_of(&all, &[self.full]));
        }
        self.finished = true;
        let (racing, _) = still_racing(&all, observed, |c| self.at_full(observed, c).is_some());
        let score = |c: &usize| Some((*c, self.at_full(observed, *c)?.log_loss()));
        let scores = order_by_score(racing.iter().filter_map(score));
        Step::end(Decision::last(self.full, vec![self.full], scores))
    }

    /// All runs are asked for at once: nothing changes.
    fn amend(&mut self, _budget: u64) {}

    fn forecasts(&self, observed: &Observed) -> Vec<Option<FinalForecast>> {
        let measured = |c| {
            let point = self.at_full(observed, c)?;
            Some(FinalForecast {
                log_loss: point.log_loss(),
                sd: Some(0.0),
                reach: Some(Reach::even(0.0)),
            })
        };
        (0..self.candidates).map(measured).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curve::Loss;
    use crate::policy::{Action, Withdrawal};

    #[test]
    fn it_measures_all_and_takes_the_best_that_did_not_fail() {
        let full = DataSize::new(1_000).unwrap();
        assert_eq!(
            FullSize::new(3, full, 2_999).unwrap_err(),
            SimulateError::BudgetTooSmall {
                needed: 3_000,
                budget: 2_999
            }
        );
        let mut policy = FullSize::new(3, full, 3_000).unwrap();
        let mut observed = Observed::new(3);
        let Action::Train(runs) = policy.next(&observed).action else {
            panic!("runs")
        };
        assert_eq!(runs.len(), 3);
        for (c, nats) in [(1, 2.0), (2, 3.0)] {
            observed.insert(c, Observation::new(full, Loss::new(nats).unwrap()));
        }
        observed.withdraw(0, Withdrawal::Failed);
        let decision = policy.next(&observed).decision.unwrap();
        assert_eq!(
            (decision.leader(), decision.scores.len(), decision.kept),
            (Some(1), 2, 1)
        );
        assert_eq!(policy.forecasts(&observed)[0], None);
        assert_eq!(policy.next(&observed), Step::FINISHED);
    }
}
