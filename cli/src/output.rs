//! Answers as documents: the JSON of every command, and the CSV made of it.
//!
//! Keys are published: scripts rely on them. Numbers are printed in full precision (the shortest text that reads back as the
//! same number); what is unknown is `null`, never a stand-in value.

use std::collections::BTreeMap;

use finepick_proto::fitter::v1 as fitter;
use finepick_proto::selector::v1 as selector;
use finepick_proto::types::v1 as types;
use serde::Serialize;

mod csv_text;

pub use csv_text::{benchmark_csv, fit_csv, rank_csv, simulate_csv};

/// An interval of losses.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct Interval {
    /// Lower end, nats per token.
    pub lower: f64,
    /// Upper end, nats per token.
    pub upper: f64,
    /// Nominal coverage.
    pub level: f64,
}

impl From<types::Interval> for Interval {
    fn from(interval: types::Interval) -> Self {
        Self {
            lower: interval.lower,
            upper: interval.upper,
            level: interval.level,
        }
    }
}

/// A remark with its numbers.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct WarningDetail {
    /// Code, as in `warnings`.
    pub code: String,
    /// For people.
    pub detail: String,
}

/// The name of an enum value without its prefix, in lower case.
fn short(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_ascii_lowercase()
}

/// A warning's code as it is printed.
#[must_use]
pub fn warning_code(warning: &types::Warning) -> String {
    short(warning.code().as_str_name(), "WARNING_CODE_")
}

/// Each code once, in the order of the first remark with it; all remarks.
fn warnings(list: &[types::Warning]) -> (Vec<String>, Vec<WarningDetail>) {
    let details: Vec<WarningDetail> = list
        .iter()
        .map(|warning| WarningDetail {
            code: warning_code(warning),
            detail: warning.detail.clone(),
        })
        .collect();
    let mut codes: Vec<String> = Vec::new();
    for detail in &details {
        if !codes.contains(&detail.code) {
            codes.push(detail.code.clone());
        }
    }
    (codes, details)
}

/// A candidate or row without an answer.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct Excluded {
    /// Who.
    pub candidate: String,
    /// Why, machine-readable.
    pub reason: String,
    /// Why, for people.
    pub detail: String,
}

/// Excluded candidates of a response, and the rows of the file that could not be read.
#[must_use]
pub fn excluded(list: &[selector::ExcludedCandidate], rejected: &[Excluded]) -> Vec<Excluded> {
    let by_service = list.iter().map(|candidate| Excluded {
        candidate: candidate.candidate_id.clone(),
        reason: short(candidate.reason().as_str_name(), "EXCLUSION_REASON_"),
        detail: candidate.detail.clone(),
    });
    by_service.chain(rejected.iter().cloned()).collect()
}

/// How good a choice was.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct Metrics {
    /// Pearson correlation of predicted and true full-size losses.
    pub pearson_correlation: Option<f64>,
    /// (worst − chosen) / (worst − best).
    pub relative_accuracy: Option<f64>,
    /// chosen − best, nats per token.
    pub regret: f64,
    /// regret / best.
    pub relative_regret: f64,
    /// The chosen candidate's true loss.
    pub chosen_true_loss: f64,
    /// The truly best candidate.
    pub best: String,
    /// Its loss.
    pub best_true_loss: f64,
}

impl From<&selector::Metrics> for Metrics {
    fn from(metrics: &selector::Metrics) -> Self {
        Self {
            pearson_correlation: metrics.pearson_correlation,
            relative_accuracy: metrics.relative_accuracy,
            regret: metrics.regret,
            relative_regret: metrics.relative_regret,
            chosen_true_loss: metrics.chosen_true_loss,
            best: metrics.best_candidate_id.clone(),
            best_true_loss: metrics.best_true_loss,
        }
    }
}

/// What the measurements cost.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct Cost {
    /// Sum of run sizes, in examples.
    pub examples: i64,
    /// Sum of size × weights.
    pub example_parameters: Option<f64>,
    /// Cost of fine-tuning every candidate at the full size, in examples.
    pub exhaustive_examples: i64,
}

/// Where a policy stopped taking points.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct Stop {
    /// Why.
    pub reason: String,
    /// Residual of the last tested point in standard deviations.
    pub standardized_residual: Option<f64>,
    /// The last tested size.
    pub data_size: Option<i64>,
}

/// A ranked candidate.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct RankedCandidate {
    /// Who.
    pub candidate: String,
    /// 1 is the best.
    pub rank: i32,
    /// Forecast at the full size, nats per token.
    pub predicted_loss: Option<f64>,
    /// Its interval.
    pub interval: Option<Interval>,
    /// Share of simulated futures in which it is the best.
    pub win_share: Option<f64>,
    /// Number of points the forecast rests on.
    pub points_used: usize,
    /// The smallest of them.
    pub first_size_used: Option<i64>,
    /// Where the policy stopped taking points.
    pub stop: Option<Stop>,
    /// Codes of remarks.
    pub warnings: Vec<String>,
    /// The remarks.
    pub warning_details: Vec<WarningDetail>,
    /// Measured loss at the full size.
    pub true_loss: Option<f64>,
}

/// The answer of `rank`.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct RankAnswer {
    /// The policy.
    pub policy: String,
    /// Largest measured size, examples.
    pub budget_size: i64,
    /// Size of the whole data set, examples.
    pub full_size: i64,
    /// Best first.
    pub candidates: Vec<RankedCandidate>,
    /// Candidates and rows without a rank.
    pub excluded: Vec<Excluded>,
    /// `null` where the full-size losses are not known.
    pub metrics: Option<Metrics>,
    /// What the measurements cost.
    pub cost: Option<Cost>,
    /// Codes of remarks on the whole ranking.
    pub warnings: Vec<String>,
    /// The remarks.
    pub warning_details: Vec<WarningDetail>,
}

/// Builds the answer of `rank`.
#[must_use]
pub fn rank_answer(
    policy: &str,
    sizes: (i64, i64),
    response: &selector::RankCandidatesResponse,
    rejected: &[Excluded],
) -> RankAnswer {
    let (codes, details) = warnings(&response.warnings);
    RankAnswer {
        policy: policy.to_owned(),
        budget_size: sizes.0,
        full_size: sizes.1,
        candidates: response.candidates.iter().map(ranked_candidate).collect(),
        excluded: excluded(&response.excluded, rejected),
        metrics: response.metrics.as_ref().map(Metrics::from),
        cost: response.cost.map(|cost| Cost {
            examples: cost.examples,
            example_parameters: cost.example_parameters,
            exhaustive_examples: cost.exhaustive_examples,
        }),
        warnings: codes,
        warning_details: details,
    }
}

fn ranked_candidate(candidate: &selector::RankedCandidate) -> RankedCandidate {
    let (codes, details) = warnings(&candidate.warnings);
    RankedCandidate {
        candidate: candidate.candidate_id.clone(),
        rank: candidate.rank,
        predicted_loss: candidate.predicted_loss,
        interval: candidate.interval.map(Interval::from),
        win_share: candidate.win_share,
        points_used: candidate.data_sizes_used.len(),
        first_size_used: candidate.data_sizes_used.first().copied(),
        stop: candidate.stop.map(|stop| Stop {
            reason: short(stop.reason().as_str_name(), "STOP_REASON_"),
            standardized_residual: stop.standardized_residual,
            data_size: stop.data_size,
        }),
        warnings: codes,
        warning_details: details,
        true_loss: candidate.true_loss,
    }
}

/// A forecast.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct Prediction {
    /// Examples.
    pub data_size: i64,
    /// For joint laws: the candidate that is predicted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub candidate: Option<String>,
    /// Nats per token.
    pub predicted_loss: f64,
    /// Its interval.
    pub interval: Option<Interval>,
}

/// Where on its curve a candidate is.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct Phase {
    /// `pre_power`, `power`, `near_floor`; `unspecified`: too few points.
    pub phase: String,
    /// Curvature in standard errors.
    pub curvature_z: Option<f64>,
    /// Size at which the pre-power phase ends, examples.
    pub phase_boundary: Option<f64>,
}

/// One fit.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct FitAnswer {
    /// The candidate, or the group of a joint law.
    pub candidate: String,
    /// The law.
    pub law: String,
    /// Coefficients by name; empty when nothing was fitted.
    pub coefficients: BTreeMap<String, f64>,
    /// `log-rmse` or `huber`.
    pub objective: String,
    /// Its lowest value.
    pub objective_value: Option<f64>,
    /// Root of the mean squared log residual.
    pub rmsd_log: Option<f64>,
    /// Forecasts at the sizes asked for.
    pub predictions: Vec<Prediction>,
    /// `OK`, `NOT_IDENTIFIABLE`, `PRE_POWER_PHASE_ONLY`, `NON_MONOTONE`, `TOO_FEW_POINTS`.
    pub verdict: String,
    /// Codes of remarks.
    pub warnings: Vec<String>,
    /// The remarks.
    pub warning_details: Vec<WarningDetail>,
    /// How the optimizer ended.
    pub termination: String,
    /// Corrected Akaike criterion.
    pub aicc: Option<f64>,
    /// Points that took part.
    pub points_used: i32,
    /// Phase; `null` for joint laws.
    pub phase: Option<Phase>,
}

/// A law's name as it is printed and as `--law` takes it.
#[must_use]
pub fn law_name(law: fitter::Law) -> String {
    short(law.as_str_name(), "LAW_")
}

fn objective_name(objective: Option<&fitter::Objective>) -> String {
    match objective.and_then(|objective| objective.kind.as_ref()) {
        Some(fitter::objective::Kind::Huber(_)) => "huber",
        Some(fitter::objective::Kind::LogRmse(_)) | None => "log-rmse",
    }
    .to_owned()
}

fn coefficients(list: &[fitter::Coefficient]) -> BTreeMap<String, f64> {
    list.iter()
        .map(|coefficient| (coefficient.name.clone(), coefficient.value))
        .collect()
}

fn verdict(verdict: fitter::Verdict) -> String {
    let name = verdict.as_str_name();
    name.strip_prefix("VERDICT_").unwrap_or(name).to_owned()
}

/// Builds one answer of `fit`; only the sizes that were asked for are shown.
#[must_use]
pub fn fit_answer(fit: &fitter::CurveFit, asked: &[i64]) -> FitAnswer {
    let (codes, details) = warnings(&fit.warnings);
    let prediction = |size: &i64| fit.predictions.iter().find(|prediction| prediction.data_size == *size);
    FitAnswer {
        candidate: fit.candidate.clone(),
        law: law_name(fit.law()),
        coefficients: coefficients(&fit.coefficients),
        objective: objective_name(fit.objective.as_ref()),
        objective_value: fit.objective_value,
        rmsd_log: fit.rmsd_log,
        predictions: asked
            .iter()
            .filter_map(prediction)
            .map(|prediction| Prediction {
                data_size: prediction.data_size,
                candidate: None,
                predicted_loss: prediction.predicted_loss,
                interval: prediction.interval.map(Interval::from),
            })
            .collect(),
        verdict: verdict(fit.verdict()),
        warnings: codes,
        warning_details: details,
        termination: short(fit.termination().as_str_name(), "TERMINATION_"),
        aicc: fit.aicc,
        points_used: fit.points_used,
        phase: fit.phase.as_ref().map(|phase| Phase {
            phase: short(phase.phase().as_str_name(), "PHASE_"),
            curvature_z: phase.curvature_z,
            phase_boundary: phase.phase_boundary_data_size,
        }),
    }
}

/// Builds the answer for a joint law; `points` says which candidate and size each predicted loss is for.
#[must_use]
pub fn joint_answer(fit: &fitter::JointFit, points: &[(String, i64)]) -> FitAnswer {
    let (codes, details) = warnings(&fit.warnings);
    FitAnswer {
        candidate: fit.group.clone(),
        law: law_name(fit.law()),
        coefficients: coefficients(&fit.coefficients),
        objective: objective_name(fit.objective.as_ref()),
        objective_value: fit.objective_value,
        rmsd_log: fit.rmsd_log,
        predictions: points
            .iter()
            .zip(&fit.predicted_losses)
            .map(|((candidate, data_size), predicted_loss)| Prediction {
                data_size: *data_size,
                candidate: Some(candidate.clone()),
                predicted_loss: *predicted_loss,
                interval: None,
            })
            .collect(),
        verdict: verdict(fit.verdict()),
        warnings: codes,
        warning_details: details,
        termination: short(fit.termination().as_str_name(), "TERMINATION_"),
        aicc: fit.aicc,
        points_used: fit.points_used,
        phase: None,
    }
}

/// One cell of `benchmark`.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct BenchmarkRow {
    /// The curve file, as given.
    pub curves: String,
    /// The policy.
    pub policy: String,
    /// Budget as a share of the full size.
    pub budget_ratio: f64,
    /// Pearson correlation of predicted and true losses.
    pub pearson_correlation: Option<f64>,
    /// Relative accuracy.
    pub relative_accuracy: Option<f64>,
    /// Relative regret.
    pub relative_regret: Option<f64>,
    /// Examples spent.
    pub cost_examples: Option<i64>,
    /// The policy's choice.
    pub chosen: Option<String>,
    /// Why there is no answer. `null` where there is one.
    pub error: Option<String>,
}

/// A decision of a replay.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct Rung {
    /// The largest size that the live candidates have reached.
    pub data_size: i64,
    /// Live candidates that were trained here.
    pub candidates: i32,
    /// Sizes newly trained, ascending.
    pub trained_sizes: Vec<i64>,
    /// The best by score.
    pub leader: String,
    /// Those that go on, best first.
    pub kept: Vec<String>,
    /// Those that do not, best first.
    pub dropped: Vec<String>,
    /// Examples spent so far.
    pub spent_examples: i64,
}

/// A candidate at the end of a replay.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct SimulatedCandidate {
    /// Who.
    pub candidate: String,
    /// Final place.
    pub rank: i32,
    /// Last forecast, nats per token.
    pub predicted_loss: f64,
    /// Its interval.
    pub interval: Option<Interval>,
    /// Share of simulated futures in which it is the best.
    pub win_share: Option<f64>,
    /// Sizes it was trained at.
    pub sizes_trained: Vec<i64>,
    /// Index of the rung after which it was dropped.
    pub dropped_at_rung: Option<i32>,
    /// Codes of remarks.
    pub warnings: Vec<String>,
}

/// What choosing by history alone would have given.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct HistoryAlone {
    /// Its choice.
    pub chosen: String,
    /// Rank correlation of history and first forecasts.
    pub rank_correlation: f64,
    /// Whether the guard let history take part.
    pub used: bool,
    /// How good its choice was.
    pub metrics: Option<Metrics>,
}

/// The answer of `simulate`.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct SimulateAnswer {
    /// The policy.
    pub policy: String,
    /// Its choice.
    pub chosen: String,
    /// Examples spent.
    pub spent_examples: i64,
    /// Examples that the plan reserved.
    pub planned_examples: i64,
    /// Examples that were allowed.
    pub budget_examples: i64,
    /// Cost of fine-tuning every candidate at the full size, in examples.
    pub exhaustive_examples: i64,
    /// Relative accuracy of the choice.
    pub relative_accuracy: Option<f64>,
    /// Relative regret of the choice.
    pub relative_regret: Option<f64>,
    /// All metrics.
    pub metrics: Option<Metrics>,
    /// Decisions in order.
    pub rungs: Vec<Rung>,
    /// Candidates in their final order.
    pub candidates: Vec<SimulatedCandidate>,
    /// Those that were never trained.
    pub excluded: Vec<Excluded>,
    /// Only with `--history`.
    pub history_alone: Option<HistoryAlone>,
    /// Codes of remarks.
    pub warnings: Vec<String>,
    /// The remarks.
    pub warning_details: Vec<WarningDetail>,
}

/// Builds the answer of `simulate`.
#[must_use]
pub fn simulate_answer(
    policy: &str,
    response: &selector::SimulateSelectionResponse,
    rejected: &[Excluded],
) -> SimulateAnswer {
    let (codes, details) = warnings(&response.warnings);
    let metrics = response.metrics.as_ref();
    SimulateAnswer {
        policy: policy.to_owned(),
        chosen: response.chosen.clone(),
        spent_examples: response.spent_examples,
        planned_examples: response.planned_examples,
        budget_examples: response.budget_examples,
        exhaustive_examples: response.exhaustive_examples,
        relative_accuracy: metrics.and_then(|metrics| metrics.relative_accuracy),
        relative_regret: metrics.map(|metrics| metrics.relative_regret),
        metrics: metrics.map(Metrics::from),
        rungs: response.rungs.iter().map(rung).collect(),
        candidates: response.candidates.iter().map(simulated_candidate).collect(),
        excluded: excluded(&response.excluded, rejected),
        history_alone: response.history_alone.as_ref().map(|alone| HistoryAlone {
            chosen: alone.chosen.clone(),
            rank_correlation: alone.rank_correlation,
            used: alone.used,
            metrics: alone.metrics.as_ref().map(Metrics::from),
        }),
        warnings: codes,
        warning_details: details,
    }
}

fn rung(rung: &selector::Rung) -> Rung {
    Rung {
        data_size: rung.data_size,
        candidates: rung.candidates,
        trained_sizes: rung.trained_data_sizes.clone(),
        leader: rung.leader.clone(),
        kept: rung.kept.clone(),
        dropped: rung.dropped.clone(),
        spent_examples: rung.spent_examples,
    }
}

fn simulated_candidate(candidate: &selector::SimulatedCandidate) -> SimulatedCandidate {
    SimulatedCandidate {
        candidate: candidate.candidate_id.clone(),
        rank: candidate.rank,
        predicted_loss: candidate.predicted_loss,
        interval: candidate.interval.map(Interval::from),
        win_share: candidate.win_share,
        sizes_trained: candidate.data_sizes_trained.clone(),
        dropped_at_rung: candidate.dropped_at_rung,
        warnings: warnings(&candidate.warnings).0,
    }
}
