//! What adaptive policies are told and answer: an incremental state machine without clock, store or transport.
//!
//! [`AdaptivePolicy::next`] is called with everything observed so far and answers with the runs to make next or a stop. Runs
//! and observations are data, so a driver can store them, replay them after a crash, and arrive at the same state.

use std::fmt::Debug;

use crate::curve::{DataSize, Observation};
use crate::diagnostics::Warning;
use crate::trend::Reach;

/// What has been observed of each candidate so far; grows as runs finish.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    curves: Vec<Vec<Observation>>,
}

impl Observed {
    /// Nothing yet, for so many candidates.
    #[must_use]
    pub fn new(candidates: usize) -> Self {
        Self {
            curves: vec![Vec::new(); candidates],
        }
    }

    /// Takes a finished run in, keeping the curve ascending; a repeated size replaces the earlier observation.
    /// An unknown candidate is ignored.
    pub fn insert(&mut self, candidate: usize, observation: Observation) {
        let Some(curve) = self.curves.get_mut(candidate) else {
            return;
        };
        match curve.binary_search_by_key(&observation.data_size(), Observation::data_size) {
            Ok(at) => {
                if let Some(slot) = curve.get_mut(at) {
                    *slot = observation;
                }
            }
            Err(at) => curve.insert(at, observation),
        }
    }

    /// The points of one candidate, ascending.
    #[must_use]
    pub fn curve(&self, candidate: usize) -> &[Observation] {
        self.curves.get(candidate).map_or(&[], Vec::as_slice)
    }

    /// The points of all candidates.
    pub fn curves(&self) -> impl Iterator<Item = &[Observation]> {
        self.curves.iter().map(Vec::as_slice)
    }
}

/// A training run that a policy asks for: a candidate (by its position) at a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Run {
    /// Position of the candidate.
    pub candidate: usize,
    /// Examples to train on.
    pub data_size: DataSize,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Train all of these; call again when all are observed.
    Train(Vec<Run>),
    /// Nothing more: the answer is the last decision's leader.
    Finish,
}

/// A point at which the policy judged the live candidates.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// Largest size that the live candidates have reached.
    pub data_size: DataSize,
    /// Sizes at which each of them was newly trained, ascending.
    pub trained: Vec<DataSize>,
    /// Live candidates, best first, with their scores (forecast or current ln loss; lower is better).
    pub scores: Vec<(usize, f64)>,
    /// How many of them, from the front, go on. After the last decision: 1.
    pub kept: usize,
}

impl Decision {
    /// The best.
    #[must_use]
    pub fn leader(&self) -> Option<usize> {
        self.scores.first().map(|(candidate, _)| *candidate)
    }
}

/// The answer to one call.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The judgement of what was observed since the last call; absent at the first call.
    pub decision: Option<Decision>,
    /// What to do next.
    pub action: Action,
}

/// A normal forecast of a candidate's ln loss at the full size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FinalForecast {
    /// Mean of ln loss, as ranked by.
    pub log_loss: f64,
    /// Standard deviation as ranked with; `None` without a predictive distribution, 0 for an observed loss.
    pub sd: Option<f64>,
    /// How far an interval reaches; `None` where there is none.
    pub reach: Option<Reach>,
}

/// Spends a budget step by step. Deterministic: the same observations give the same steps.
pub trait AdaptivePolicy: Debug + Send {
    /// Stable name in `snake_case`.
    fn name(&self) -> &'static str;

    /// What the plan costs in examples, known before the first run.
    fn planned_examples(&self) -> u64;

    /// Judges what is observed and says what to do next. Every run of the last [`Action::Train`] must be in
    /// `observed`; after [`Action::Finish`] it keeps finishing.
    fn next(&mut self, observed: &Observed) -> Step;

    /// Forecasts for all candidates from what is observed; `None` for those without any.
    fn forecasts(&self, observed: &Observed) -> Vec<Option<FinalForecast>>;

    /// Remarks on the whole selection.
    fn warnings(&self) -> Vec<Warning> {
        Vec::new()
    }
}

/// Positions ordered by score, lower first, ties by position.
pub(crate) fn order_by_score(scores: impl Iterator<Item = (usize, f64)>) -> Vec<(usize, f64)> {
    let mut ordered: Vec<(usize, f64)> = scores.collect();
    ordered.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
    ordered
}
