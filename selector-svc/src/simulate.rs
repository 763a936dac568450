//! Replay of a policy on a table of measured losses: what it would have trained, spent and chosen.

use std::collections::HashMap;

use statrs::function::erf::erf_inv;

use crate::constraint::Constraints;
use crate::curve::{DataSize, Loss, Observation};
use crate::diagnostics::{Warning, WarningCode, curve_warnings, pooled_noise};
use crate::error::{InvalidParameter, SimulateError};
use crate::metrics::Metrics;
use crate::policy::ats::AtsParameters;
use crate::policy::exhaustive::{Exhaustive, Profile};
use crate::policy::fitted::FittedForecasts;
use crate::policy::geometric::{Geometric, GeometricParameters, History, HistoryReport, HistorySet};
use crate::policy::halving::{Halving, HalvingParameters, HalvingScore};
use crate::policy::{Action, AdaptivePolicy, Decision, FinalForecast, Interval, Observed, RankingPolicy, Run};
use crate::ports::FitRequest;
use crate::ranking::{DEFAULT_LEVEL, ExcludedCandidate, eligible};
use crate::schedule::replay_ladder;
use crate::table::{Candidate, CandidateTable};
use crate::win_share::{FALLBACK_DRAWS, Normal, win_shares};

/// Losses of candidates on another data set, by name.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct NamedHistory {
    /// Name of the data set.
    pub data_set: String,
    /// Full-size loss by candidate name.
    pub losses: Vec<(String, Loss)>,
}

impl NamedHistory {
    /// The losses of a table at one size; candidates that lack it are left out.
    #[must_use]
    pub fn from_table(data_set: &str, table: &CandidateTable, full: DataSize) -> Self {
        let loss = |c: &Candidate| Some((c.name().to_owned(), c.true_loss(full)?));
        Self {
            data_set: data_set.to_owned(),
            losses: table.candidates().iter().filter_map(loss).collect(),
        }
    }
}

/// How a selection spends.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SelectionPolicy {
    /// Halving on forecasts that skips sizes; with a history: warm.
    Geometric(GeometricParameters, Vec<NamedHistory>),
    /// Successive halving, on extrapolated or current loss.
    Halving(HalvingParameters),
    /// Everyone at every size, then a ranking.
    Flat(RankingPolicy),
    /// Accept then Stop, sizes from the largest downwards; the largest size, or what the budget pays.
    Ats(AtsParameters, Option<DataSize>),
    /// Everyone at the full size.
    Exhaustive,
    /// One by chance, by the seed.
    Random,
    /// The best before fine-tuning.
    ZeroShot,
}

impl SelectionPolicy {
    /// The adaptive policies' names; those of [`RankingPolicy::NAMES`] are known as well.
    pub const ADAPTIVE_NAMES: [&'static str; 3] = ["geometric", "halving", "halving_current"];

    /// The policy of that name with its default parameters, cold.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let halving = |score| {
            Self::Halving(HalvingParameters {
                score,
                ..HalvingParameters::default()
            })
        };
        match name {
            "geometric" => Some(Self::Geometric(GeometricParameters::default(), Vec::new())),
            "halving" => Some(halving(HalvingScore::Extrapolated)),
            "halving_current" => Some(halving(HalvingScore::Current)),
            flat => RankingPolicy::from_name(flat).map(Self::Flat),
        }
    }

    /// Stable name in `snake_case`; of a flat policy the ranking's.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Geometric(..) => "geometric",
            Self::Halving(HalvingParameters {
                score: HalvingScore::Current,
                ..
            }) => "halving_current",
            Self::Halving(_) => "halving",
            Self::Flat(ranking) => ranking.name(),
            Self::Ats(..) => "ats_online",
            Self::Exhaustive => "exhaustive",
            Self::Random => "random",
            Self::ZeroShot => "zero_shot_control",
        }
    }

    fn validate(&self) -> Result<(), InvalidParameter> {
        match self {
            Self::Geometric(parameters, _) => parameters.validate(),
            Self::Halving(parameters) => parameters.validate(),
            Self::Flat(policy) => policy.validate(),
            Self::Ats(parameters, _) => parameters.validate(),
            Self::Exhaustive | Self::Random | Self::ZeroShot => Ok(()),
        }
    }

    fn draws(&self) -> u32 {
        if let Self::Flat(policy) = self {
            policy.draws()
        } else {
            FALLBACK_DRAWS
        }
    }
}

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

/// More rounds than any ladder of 2⁵³ examples can have.
const MAX_ROUNDS: usize = 2_048;

/// A request made ready: who competes, on which ladder, for how much.
struct Arena<'a> {
    live: Vec<&'a Candidate>,
    excluded: Vec<ExcludedCandidate>,
    rungs: Vec<DataSize>,
    budget: u64,
}

impl<'a> Arena<'a> {
    fn new(table: &'a CandidateTable, request: &SimulateRequest) -> Result<Self, SimulateError> {
        request.validate()?;
        let (live, excluded) = eligible(table, &request.constraints);
        if live.is_empty() {
            return Err(SimulateError::NoCandidates);
        }
        let rungs = replay_ladder(live.iter().copied(), request.full);
        let budget = match request.budget {
            Budget::Examples(examples) => examples,
            Budget::RelativeToAts { ratio, fraction } => floor(fraction * ats_cost(&live, request.full, ratio)),
        };
        Ok(Self {
            live,
            excluded,
            rungs,
            budget,
        })
    }

    fn profiles(&self) -> Vec<Profile> {
        let profile = |c: &&Candidate| Profile {
            name: c.name().to_owned(),
            attributes: c.attributes().clone(),
            zero_shot: c.curve().zero_shot_loss(),
        };
        self.live.iter().map(profile).collect()
    }

    fn history(&self, sets: &[NamedHistory]) -> Option<History> {
        let set = |named: &NamedHistory| {
            let by_name: HashMap<&str, f64> = named.losses.iter().map(|(n, l)| (n.as_str(), l.nats().ln())).collect();
            let log_losses = self.live.iter().map(|c| by_name.get(c.name()).copied()).collect();
            HistorySet {
                name: named.data_set.clone(),
                log_losses,
            }
        };
        History::new(self.live.len(), &sets.iter().map(set).collect::<Vec<_>>())
    }

    fn name(&self, candidate: usize) -> String {
        self.live
            .get(candidate)
            .map_or_else(String::new, |c| c.name().to_owned())
    }

    fn metrics(&self, full: DataSize, chosen: usize, scores: Option<&[f64]>) -> Option<Metrics> {
        let truths: Vec<(&str, f64)> = self
            .live
            .iter()
            .map(|c| Some((c.name(), c.true_loss(full)?.nats())))
            .collect::<Option<_>>()?;
        Metrics::compare(&truths, chosen, scores)
    }
}

/// What Accept then Stop costs in examples at the ratio γ: every measured size up to γ · full, of every candidate.
fn ats_cost(live: &[&Candidate], full: DataSize, ratio: f64) -> f64 {
    // 1/3 · 300 must not become 99 by rounding.
    let limit = DataSize::new(floor(ratio * full.examples() as f64 * (1.0 + 1e-12))).unwrap_or(full);
    live.iter()
        .flat_map(|c| c.curve().up_to(limit))
        .map(|p| p.data_size().examples() as f64)
        .sum()
}

fn floor(value: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the cast saturates"
    )]
    let whole = value.floor() as u64;
    whole
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
    let exhaustive = Exhaustive::new(policy.build(None), arena.profiles(), &arena.rungs, arena.budget)?;
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
    let (count, rungs) = (arena.live.len(), arena.rungs.clone());
    match &request.policy {
        SelectionPolicy::Geometric(parameters, sets) => {
            let history = arena.history(sets);
            let mut policy = Geometric::new(count, rungs, arena.budget, parameters.clone(), history)?;
            let played = play(&mut policy, &arena)?;
            let report = policy.history_report().cloned();
            arena.answer(request, &policy, &played, report.as_ref())
        }
        SelectionPolicy::Halving(parameters) => {
            let mut policy = Halving::new(count, rungs, arena.budget, *parameters);
            let played = play(&mut policy, &arena)?;
            arena.answer(request, &policy, &played, None)
        }
        SelectionPolicy::Flat(ranking) => {
            let mut policy = Exhaustive::new(ranking.build(fitted), arena.profiles(), &rungs, arena.budget)?;
            let played = play(&mut policy, &arena)?;
            arena.answer(request, &policy, &played, None)
        }
        SelectionPolicy::Ats(..)
        | SelectionPolicy::Exhaustive
        | SelectionPolicy::Random
        | SelectionPolicy::ZeroShot => Err(SimulateError::NothingScored),
    }
}

/// What happened: decisions with the bill so far, and all that was observed.
struct Played {
    decisions: Vec<(Decision, u64)>,
    observed: Observed,
    spent: u64,
}

fn play(policy: &mut dyn AdaptivePolicy, arena: &Arena<'_>) -> Result<Played, SimulateError> {
    let mut played = Played {
        decisions: Vec::new(),
        observed: Observed::new(arena.live.len()),
        spent: 0,
    };
    for _ in 0..MAX_ROUNDS {
        let step = policy.next(&played.observed);
        if let Some(decision) = step.decision {
            played.decisions.push((decision, played.spent));
        }
        let Action::Train(runs) = step.action else {
            return Ok(played);
        };
        for run in runs {
            played.observed.insert(run.candidate, look_up(arena, run)?);
            played.spent = played.spent.saturating_add(run.data_size.examples());
        }
    }
    Err(SimulateError::DidNotStop { rounds: MAX_ROUNDS })
}

fn look_up(arena: &Arena<'_>, run: Run) -> Result<Observation, SimulateError> {
    let point = arena
        .live
        .get(run.candidate)
        .and_then(|c| c.curve().observation_at(run.data_size));
    point.copied().ok_or_else(|| SimulateError::MissingObservation {
        candidate: arena.name(run.candidate),
        data_size: run.data_size,
    })
}

impl Arena<'_> {
    fn answer(
        self,
        request: &SimulateRequest,
        policy: &dyn AdaptivePolicy,
        played: &Played,
        history: Option<&HistoryReport>,
    ) -> Result<Simulation, SimulateError> {
        let leader = played.decisions.last().and_then(|(decision, _)| decision.leader());
        let chosen = leader.ok_or(SimulateError::NothingScored)?;
        let forecasts = policy.forecasts(&played.observed);
        let mut warnings = policy.warnings();
        if played.spent > self.budget {
            let detail = format!(
                "spent {} examples of {}: the policy's smallest plan",
                played.spent, self.budget
            );
            warnings.push(Warning::new(WarningCode::BudgetExceeded, detail));
        }
        let flat = matches!(request.policy, SelectionPolicy::Flat(_));
        let predicted: Option<Vec<f64>> = forecasts.iter().map(|f| f.as_ref().map(|f| f.log_loss.exp())).collect();
        let scores = predicted.filter(|_| flat);
        let history_alone = history.map(|report| HistoryAlone {
            chosen: self.name(report.chosen),
            rank_correlation: report.rank_correlation,
            used: report.used,
            metrics: self.metrics(request.full, report.chosen, None),
        });
        Ok(Simulation {
            policy: policy.name(),
            chosen: self.name(chosen),
            budget_examples: self.budget,
            planned_examples: policy.planned_examples(),
            spent_examples: played.spent,
            exhaustive_examples: request.full.examples().saturating_mul(self.live.len() as u64),
            metrics: self.metrics(request.full, chosen, scores.as_deref()),
            rungs: played
                .decisions
                .iter()
                .map(|(decision, spent)| self.rung(decision, *spent))
                .collect(),
            candidates: self.simulated(request, played, &forecasts),
            excluded: self.excluded,
            history_alone,
            warnings,
        })
    }

    fn rung(&self, decision: &Decision, spent: u64) -> Rung {
        let names: Vec<String> = decision.scores.iter().map(|(c, _)| self.name(*c)).collect();
        let (kept, dropped) = names.split_at(decision.kept.min(names.len()));
        Rung {
            data_size: decision.data_size,
            candidates: names.len(),
            trained_data_sizes: decision.trained.clone(),
            leader: names.first().cloned().unwrap_or_default(),
            kept: kept.to_vec(),
            dropped: dropped.to_vec(),
            log_scores: decision.scores.iter().map(|(_, score)| *score).collect(),
            spent_examples: spent,
        }
    }

    fn simulated(
        &self,
        request: &SimulateRequest,
        played: &Played,
        forecasts: &[Option<FinalForecast>],
    ) -> Vec<SimulatedCandidate> {
        let known = forecasts.iter().flatten();
        let normals: Option<Vec<Normal>> = known.map(|f| f.sd.map(|sd| Normal { mean: f.log_loss, sd })).collect();
        let mut shares = normals.map(|n| win_shares(&n, request.policy.draws(), request.seed).into_iter());
        // One share for each candidate with a forecast, in their order.
        let by_candidate: Vec<Option<f64>> = forecasts
            .iter()
            .map(|f| f.as_ref().and_then(|_| shares.as_mut()?.next()))
            .collect();
        let noise = pooled_noise(played.observed.curves());
        let quantile = std::f64::consts::SQRT_2 * erf_inv(request.level);
        final_order(&played.decisions)
            .into_iter()
            .enumerate()
            .filter_map(|(place, (candidate, dropped_at_rung))| {
                let forecast = forecasts.get(candidate)?.as_ref()?;
                let end = |log_loss: f64| log_loss.min(700.0).exp();
                let interval = forecast.reach.map(|reach| Interval {
                    lower: end(forecast.log_loss - quantile * reach.below),
                    upper: end(forecast.log_loss + quantile * reach.above),
                    level: request.level,
                });
                Some(SimulatedCandidate {
                    candidate: self.name(candidate),
                    rank: place + 1,
                    predicted_loss: end(forecast.log_loss),
                    log_sd: forecast.sd,
                    interval,
                    win_share: by_candidate.get(candidate).copied().flatten(),
                    data_sizes_trained: played
                        .observed
                        .curve(candidate)
                        .iter()
                        .map(Observation::data_size)
                        .collect(),
                    dropped_at_rung,
                    warnings: curve_warnings(played.observed.curve(candidate), noise),
                })
            })
            .collect()
    }
}

/// (candidate, rung after which it was dropped): the last decision's order, then the eliminated, the latest first.
fn final_order(decisions: &[(Decision, u64)]) -> Vec<(usize, Option<usize>)> {
    let mut order = Vec::new();
    for (rung, (decision, _)) in decisions.iter().enumerate().rev() {
        let last = rung + 1 == decisions.len();
        let skip = if last { 0 } else { decision.kept };
        for (place, (candidate, _)) in decision.scores.iter().enumerate().skip(skip) {
            order.push((*candidate, (place >= decision.kept).then_some(rung)));
        }
    }
    order
}
