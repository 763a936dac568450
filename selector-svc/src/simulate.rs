//! Replay of a policy on a table of measured losses: what it would have trained, spent and chosen.

mod answer;
mod arena;
mod policy;

pub use self::policy::{NamedHistory, SelectionPolicy};

use crate::constraint::Constraints;
use crate::curve::DataSize;
use crate::diagnostics::Warning;
use crate::error::{InvalidParameter, SimulateError};
use crate::metrics::Metrics;
use crate::policy::Interval;
use crate::policy::exhaustive::Exhaustive;
use crate::policy::fitted::FittedForecasts;
use crate::ports::FitRequest;
use crate::ranking::{DEFAULT_LEVEL, ExcludedCandidate};
use crate::table::{Candidate, CandidateTable};

use self::arena::{Arena, play};

/// What may be spent.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Budget {
    /// Examples, > 0.
    Examples(u64),
    /// A fraction of what Accept then Stop costs: all candidates at all measured sizes up to `ratio` · full size.
    RelativeToAts {
        /// γ in (0, 1].
        ratio: f64,
        /// In (0, 1000].
        fraction: f64,
    },
}

/// The question.
#[derive(Clone, Debug, PartialEq)]
pub struct SimulateRequest {
    /// Full size, > 0.
    pub full: DataSize,
    /// What may be spent.
    pub budget: Budget,
    /// How.
    pub policy: SelectionPolicy,
    /// Who may be chosen.
    pub constraints: Constraints,
    /// Nominal coverage of intervals, .01..=.999.
    pub level: f64,
    /// Seed of simulations.
    pub seed: u64,
}

impl SimulateRequest {
    /// A request with the defaults: no constraints, level .9, seed 0.
    #[must_use]
    pub fn new(full: DataSize, budget: Budget, policy: SelectionPolicy) -> Self {
        Self {
            full,
            budget,
            policy,
            constraints: Constraints::default(),
            level: DEFAULT_LEVEL,
            seed: 0,
        }
    }

    fn validate(&self) -> Result<(), SimulateError> {
        if self.full.is_zero() {
            return Err(SimulateError::FullSizeZero);
        }
        match self.budget {
            Budget::Examples(0) => return Err(InvalidParameter::new("budget_examples", "must be above 0").into()),
            Budget::Examples(_) => {}
            Budget::RelativeToAts { ratio, fraction } => {
                InvalidParameter::unless_within("relative_budget.budget_ratio", ratio, 1e-12, 1.0)?;
                InvalidParameter::unless_within("relative_budget.fraction", fraction, 1e-12, 1000.0)?;
            }
        }
        self.policy.validate()?;
        self.constraints.validate()?;
        InvalidParameter::unless_within("interval_level", self.level, 0.01, 0.999)?;
        Ok(())
    }
}

/// A point at which the policy decided.
#[derive(Clone, Debug, PartialEq)]
pub struct Rung {
    /// Largest size that the live candidates have reached.
    pub data_size: DataSize,
    /// Live candidates that were trained here.
    pub candidates: usize,
    /// Sizes at which each of them was newly trained, ascending.
    pub trained_data_sizes: Vec<DataSize>,
    /// The best by score.
    pub leader: String,
    /// Those that go on, best first; after the last rung the leader alone.
    pub kept: Vec<String>,
    /// Those that do not, best first.
    pub dropped: Vec<String>,
    /// ln loss that each was judged by: kept, then dropped.
    pub log_scores: Vec<f64>,
    /// Examples spent so far, this rung included.
    pub spent_examples: u64,
}

/// What the replay says of one candidate.
#[derive(Clone, Debug, PartialEq)]
pub struct SimulatedCandidate {
    /// Its name.
    pub candidate: String,
    /// Place in the final order: by the last decision, then the eliminated, the latest first.
    pub rank: usize,
    /// Forecast of the loss at the full size from what was bought, nats; the observed loss where it was bought.
    pub predicted_loss: f64,
    /// Standard deviation of the forecast of ln loss that was ranked with, where there is one.
    pub log_sd: Option<f64>,
    /// Absent: the policy gives none.
    pub interval: Option<Interval>,
    /// Share of simulations in which it is the best of *all* candidates; not a calibrated probability.
    pub win_share: Option<f64>,
    /// Sizes it was trained at, ascending.
    pub data_sizes_trained: Vec<DataSize>,
    /// Index of the rung after which it was dropped; absent for the chosen one.
    pub dropped_at_rung: Option<usize>,
    /// Remarks.
    pub warnings: Vec<Warning>,
}

/// What choosing by history alone would have given.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryAlone {
    /// Its choice.
    pub chosen: String,
    /// Rank correlation of history and first forecasts; absent where undefined.
    pub rank_correlation: Option<f64>,
    /// Whether the guard let history take part.
    pub used: bool,
    /// How good its choice was, where the truth is known.
    pub metrics: Option<Metrics>,
}

/// The answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Simulation {
    /// Name of the policy.
    pub policy: &'static str,
    /// The choice.
    pub chosen: String,
    /// Examples allowed.
    pub budget_examples: u64,
    /// Examples that the plan reserved before the first run.
    pub planned_examples: u64,
    /// Examples spent.
    pub spent_examples: u64,
    /// Fine-tuning all candidates at the full size, examples.
    pub exhaustive_examples: u64,
    /// How good the choice was, where all full-size losses are known.
    pub metrics: Option<Metrics>,
    /// Decisions in order.
    pub rungs: Vec<Rung>,
    /// Candidates in their final order.
    pub candidates: Vec<SimulatedCandidate>,
    /// Those that a constraint kept out, in the order of the table.
    pub excluded: Vec<ExcludedCandidate>,
    /// Only with a usable history.
    pub history_alone: Option<HistoryAlone>,
    /// Remarks.
    pub warnings: Vec<Warning>,
}

/// What to ask the fitter before [`simulate`]; `None` where the policy needs no fitter.
///
/// # Errors
/// As [`simulate`].
pub fn fit_request(table: &CandidateTable, request: &SimulateRequest) -> Result<Option<FitRequest>, SimulateError> {
    let arena = Arena::new(table, request)?;
    let SelectionPolicy::Flat(policy) = &request.policy else {
        return Ok(None);
    };
    let Some((law, parameters)) = policy.law() else {
        return Ok(None);
    };
    let exhaustive = Exhaustive::new(
        policy.build(None),
        arena.field(request.seed).profiles,
        &arena.rungs,
        arena.budget,
    )?;
    let limit = exhaustive.budget_size();
    let curve = |c: &&Candidate| (c.name().to_owned(), c.curve().up_to(limit).to_vec());
    Ok(Some(FitRequest {
        law,
        parameters: *parameters,
        curves: arena
            .live
            .iter()
            .map(curve)
            .filter(|(_, points)| !points.is_empty())
            .collect(),
        data_sizes: vec![request.full],
        level: request.level,
        seed: request.seed,
    }))
}

/// Replays a policy on a table. `fitted`: the fitter's answers to [`fit_request`], for flat policies with a law.
///
/// # Errors
/// [`SimulateError`]: a senseless question, a budget below the smallest plan, or a loss that the policy asked for and
/// the table lacks, named by candidate and size.
pub fn simulate(
    table: &CandidateTable,
    request: &SimulateRequest,
    fitted: Option<&FittedForecasts>,
) -> Result<Simulation, SimulateError> {
    let arena = Arena::new(table, request)?;
    let mut policy = arena.field(request.seed).policy(&request.policy, &[], fitted)?;
    let played = play(policy.as_mut(), &arena)?;
    arena.answer(request, policy.as_ref(), &played)
}
