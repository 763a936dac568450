//! The best before fine-tuning: a control. Evaluates everybody at size 0, which costs no examples, and looks no further.

use crate::curve::{DataSize, Observation};
use crate::policy::{AdaptivePolicy, Decision, FinalForecast, Observed, Step, order_by_score, runs_of, still_racing};

/// All at size 0, once.
#[derive(Clone, Debug)]
pub struct ZeroShotControl {
    candidates: usize,
    sent: bool,
    finished: bool,
}

impl ZeroShotControl {
    /// For so many candidates; any budget pays for it.
    #[must_use]
    pub const fn new(candidates: usize) -> Self {
        Self {
            candidates,
            sent: false,
            finished: false,
        }
    }
}

impl AdaptivePolicy for ZeroShotControl {
    fn name(&self) -> &'static str {
        "zero_shot_control"
    }

    fn planned_examples(&self) -> u64 {
        0
    }

    fn next(&mut self, observed: &Observed) -> Step {
        if self.finished {
            return Step::FINISHED;
        }
        let all: Vec<usize> = (0..self.candidates).collect();
        if !self.sent {
            self.sent = true;
            return Step::begin(runs_of(&all, &[DataSize::ZERO]));
        }
        self.finished = true;
        let (racing, _) = still_racing(&all, observed, |c| observed.zero_shot(c).is_some());
        let score = |c: &usize| Some((*c, observed.zero_shot(*c)?.log_loss()));
        let scores = order_by_score(racing.iter().filter_map(score));
        Step::end(Decision::last(DataSize::ZERO, vec![DataSize::ZERO], scores))
    }

    /// It costs nothing.
    fn amend(&mut self, _budget: u64) {}

    /// A stand-in: the loss before fine-tuning, without any uncertainty.
    fn forecasts(&self, observed: &Observed) -> Vec<Option<FinalForecast>> {
        let stand_in = |point: &Observation| FinalForecast {
            log_loss: point.log_loss(),
            sd: None,
            reach: None,
        };
        (0..self.candidates)
            .map(|c| observed.zero_shot(c).map(stand_in))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curve::Loss;
    use crate::policy::{Action, Run};

    #[test]
    fn it_asks_for_size_zero_and_takes_the_best() {
        let mut policy = ZeroShotControl::new(2);
        let mut observed = Observed::new(2);
        let run = |candidate| Run {
            candidate,
            data_size: DataSize::ZERO,
        };
        assert_eq!(policy.next(&observed).action, Action::Train(vec![run(0), run(1)]));
        for (c, nats) in [(0, 4.0), (1, 3.0)] {
            observed.insert(c, Observation::new(DataSize::ZERO, Loss::new(nats).unwrap()));
        }
        assert_eq!(observed.spent(), 0);
        assert_eq!(policy.next(&observed).decision.unwrap().leader(), Some(1));
        assert_eq!(policy.next(&observed), Step::FINISHED);
    }
}
