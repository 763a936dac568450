//! What adaptive policies are told and answer: an incremental state machine without clock, store or transport.
//!
//! [`AdaptivePolicy::next`] is called with everything observed so far and answers with the runs to make next or a stop. Runs
//! and observations are data, so a driver can store them, replay them after a crash, and arrive at the same state.

use std::fmt::Debug;

use crate::curve::{DataSize, Observation};
use crate::diagnostics::Warning;
use crate::policy::geometric::HistoryReport;
use crate::policy::{Exclusion, Stop};
use crate::trend::Reach;

/// More rounds than any ladder of 2⁵³ examples can have.
pub(crate) const MAX_ROUNDS: usize = 2_048;

/// What has been observed of each candidate so far; grows as runs finish.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    curves: Vec<Vec<Observation>>,
    zero_shots: Vec<Option<Observation>>,
    withdrawn: Vec<Option<Withdrawal>>,
    wasted: u64,
}

/// Why a candidate is out of the race.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Withdrawal {
    /// Its runs failed as often as they may: it is not chosen, unless nobody else can be.
    Failed,
    /// The budget did not pay for its run: it is trained no more, and at the end ranked by the forecast from the losses that it has.
    Unpaid,
}

impl Observed {
    /// Nothing yet, for so many candidates.
    #[must_use]
    pub fn new(candidates: usize) -> Self {
        Self {
            curves: vec![Vec::new(); candidates],
            zero_shots: vec![None; candidates],
            withdrawn: vec![None; candidates],
            wasted: 0,
        }
    }

    /// How many candidates there are, withdrawn ones included.
    #[must_use]
    pub fn candidates(&self) -> usize {
        self.curves.len()
    }

    /// Takes a candidate out of the race: it is judged no more. The first reason stays. An unknown one is ignored.
    pub fn withdraw(&mut self, candidate: usize, withdrawal: Withdrawal) {
        if let Some(slot) = self.withdrawn.get_mut(candidate) {
            slot.get_or_insert(withdrawal);
        }
    }

    /// Why a candidate is out; `None`: it is not.
    #[must_use]
    pub fn withdrawal(&self, candidate: usize) -> Option<Withdrawal> {
        self.withdrawn.get(candidate).copied().flatten()
    }

    /// Sets what was spent on attempts that gave no loss, examples in all so far.
    pub fn set_wasted(&mut self, examples: u64) {
        self.wasted = examples;
    }

    /// What was spent in all: the sizes of all losses, and what was wasted; examples.
    #[must_use]
    pub fn spent(&self) -> u64 {
        let sizes = self.curves.iter().flatten().map(|point| point.data_size().examples());
        sizes.fold(self.wasted, u64::saturating_add)
    }

    /// Takes a finished run in, keeping the curve ascending; a repeated size replaces the earlier observation. Size 0 is kept apart.
    /// An unknown candidate is ignored.
    pub fn insert(&mut self, candidate: usize, observation: Observation) {
        if observation.data_size().is_zero() {
            if let Some(slot) = self.zero_shots.get_mut(candidate) {
                *slot = Some(observation);
            }
            return;
        }
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

    /// The loss of a candidate before fine-tuning, where it was measured.
    #[must_use]
    pub fn zero_shot(&self, candidate: usize) -> Option<&Observation> {
        self.zero_shots.get(candidate)?.as_ref()
    }

    /// The points of one candidate above size 0, ascending.
    #[must_use]
    pub fn curve(&self, candidate: usize) -> &[Observation] {
        self.curves.get(candidate).map_or(&[], Vec::as_slice)
    }

    /// The points of all candidates above size 0.
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
    /// How many the plan would have kept, where the budget paid for fewer.
    pub wanted: Option<usize>,
    /// Tests of curves that were made for this decision, by candidate (Accept then Stop).
    pub tests: Vec<(usize, Stop)>,
}

impl Decision {
    /// A decision that keeps the first alone, and has made no tests.
    #[must_use]
    pub(crate) const fn last(data_size: DataSize, trained: Vec<DataSize>, scores: Vec<(usize, f64)>) -> Self {
        Self {
            data_size,
            trained,
            scores,
            kept: 1,
            wanted: None,
            tests: Vec::new(),
        }
    }

    /// The candidates, best first.
    #[must_use]
    pub fn order(&self) -> Vec<usize> {
        self.scores.iter().map(|(candidate, _)| *candidate).collect()
    }

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

impl Step {
    /// Nothing more to judge or to do.
    pub(crate) const FINISHED: Self = Self {
        decision: None,
        action: Action::Finish,
    };

    /// Runs without a judgement.
    pub(crate) const fn begin(runs: Vec<Run>) -> Self {
        Self {
            decision: None,
            action: Action::Train(runs),
        }
    }

    /// The last judgement.
    pub(crate) const fn end(decision: Decision) -> Self {
        Self {
            decision: Some(decision),
            action: Action::Finish,
        }
    }
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

/// Spends a budget step by step. Deterministic: the same observations give the same steps. No policy asks for a run twice.
pub trait AdaptivePolicy: Debug + Send {
    /// Stable name in `snake_case`.
    fn name(&self) -> &'static str;

    /// What the plan costs in examples, known before the first run.
    fn planned_examples(&self) -> u64;

    /// Judges what is observed and says what to do next. Every run of the last [`Action::Train`] must be in
    /// `observed`, or its candidate withdrawn; after [`Action::Finish`] it keeps finishing.
    fn next(&mut self, observed: &Observed) -> Step;

    /// Changes the budget in examples. What is spent already counts; runs that were asked for stay asked for.
    fn amend(&mut self, budget: u64);

    /// Whether scores and forecasts are losses; false where they are another number, or none at all.
    fn forecasts_losses(&self) -> bool {
        true
    }

    /// Candidates that cannot be judged by what was observed of them, and why.
    fn refusals(&self, _observed: &Observed) -> Vec<(usize, Exclusion)> {
        Vec::new()
    }

    /// What became of a history of other data sets; `None` without one, or before the first decision.
    fn history_report(&self) -> Option<&HistoryReport> {
        None
    }

    /// Forecasts for all candidates from what is observed; `None` for those without any.
    fn forecasts(&self, observed: &Observed) -> Vec<Option<FinalForecast>>;

    /// Remarks on the whole selection.
    fn warnings(&self) -> Vec<Warning> {
        Vec::new()
    }
}

/// The given candidates at the given sizes, candidate by candidate.
pub(crate) fn runs_of(candidates: &[usize], sizes: &[DataSize]) -> Vec<Run> {
    let run = |(candidate, data_size)| Run { candidate, data_size };
    let pairs = candidates
        .iter()
        .flat_map(|c| sizes.iter().map(move |size| (*c, *size)));
    pairs.map(run).collect()
}

/// Those of the live that were not withdrawn. Where none is left: all that have a score and whose runs did not fail, be they dropped
/// or unpaid; then the race is over, and the best of them is the answer. (candidates, whether the race goes on)
pub(crate) fn still_racing(
    live: &[usize],
    observed: &Observed,
    has_score: impl Fn(usize) -> bool,
) -> (Vec<usize>, bool) {
    let racing: Vec<usize> = live
        .iter()
        .copied()
        .filter(|c| observed.withdrawal(*c).is_none())
        .collect();
    if !racing.is_empty() {
        return (racing, true);
    }
    let left = |c: &usize| observed.withdrawal(*c) != Some(Withdrawal::Failed) && has_score(*c);
    ((0..observed.candidates()).filter(left).collect(), false)
}

/// Those of a last decision: the given ones, and whoever only the budget kept from its next run and whose losses so far allow a forecast.
/// Nothing speaks against these but that their forecasts are older. Ascending.
pub(crate) fn with_unpaid(racing: &[usize], observed: &Observed, has_score: impl Fn(usize) -> bool) -> Vec<usize> {
    let unpaid = |c: &usize| observed.withdrawal(*c) == Some(Withdrawal::Unpaid) && has_score(*c);
    let mut all: Vec<usize> = (0..observed.candidates()).filter(unpaid).collect();
    all.extend(racing);
    all.sort_unstable();
    all.dedup();
    all
}

/// Positions ordered by score, lower first, ties by position.
pub(crate) fn order_by_score(scores: impl Iterator<Item = (usize, f64)>) -> Vec<(usize, f64)> {
    let mut ordered: Vec<(usize, f64)> = scores.collect();
    ordered.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
    ordered
}
