//! One candidate by chance: a control. Trains nothing; the seed decides.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::curve::DataSize;
use crate::policy::{AdaptivePolicy, Decision, FinalForecast, Observed, Step};

/// An order drawn once (`ChaCha8`); its first is the choice.
#[derive(Clone, Debug)]
pub struct RandomChoice {
    order: Vec<usize>,
    sent: bool,
    finished: bool,
}

impl RandomChoice {
    /// For so many candidates.
    #[must_use]
    pub fn new(candidates: usize, seed: u64) -> Self {
        let mut order: Vec<usize> = (0..candidates).collect();
        order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        Self {
            order,
            sent: false,
            finished: false,
        }
    }
}

impl AdaptivePolicy for RandomChoice {
    fn name(&self) -> &'static str {
        "random"
    }

    fn planned_examples(&self) -> u64 {
        0
    }

    /// A round of no runs, then the choice: every decision belongs to a round.
    fn next(&mut self, observed: &Observed) -> Step {
        if self.finished {
            return Step::FINISHED;
        }
        if !self.sent {
            self.sent = true;
            return Step::begin(Vec::new());
        }
        self.finished = true;
        let racing = self.order.iter().filter(|c| observed.withdrawal(**c).is_none());
        let scores = racing.map(|c| (*c, 0.0)).collect();
        Step::end(Decision::last(DataSize::ZERO, Vec::new(), scores))
    }

    /// It costs nothing.
    fn amend(&mut self, _budget: u64) {}

    fn forecasts_losses(&self) -> bool {
        false
    }

    fn forecasts(&self, _observed: &Observed) -> Vec<Option<FinalForecast>> {
        vec![None; self.order.len()]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn choice(candidates: usize, seed: u64) -> usize {
        let mut policy = RandomChoice::new(candidates, seed);
        let observed = Observed::new(candidates);
        assert_eq!(policy.next(&observed), Step::begin(Vec::new()));
        policy.next(&observed).decision.unwrap().leader().unwrap()
    }

    #[test]
    fn the_seed_decides_and_everybody_may_win() {
        assert_eq!(choice(30, 7), choice(30, 7));
        let chosen: BTreeSet<usize> = (0..100).map(|seed| choice(4, seed)).collect();
        assert_eq!(chosen.len(), 4);
    }
}
