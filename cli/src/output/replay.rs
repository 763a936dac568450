//! The answers of `benchmark` and `simulate`.

use finepick_proto::selector::v1 as selector;
use serde::Serialize;

use super::{Excluded, Interval, Metrics, WarningDetail, excluded, warnings};
use crate::curves::printable;

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

impl HistoryAlone {
    /// What became of it, in one sentence that begins with its name.
    #[must_use]
    pub fn to_line(&self, what: &str) -> String {
        format!(
            "{what} alone would choose {} (rank correlation with the first forecasts {:.2}; {}).",
            printable(&self.chosen),
            self.rank_correlation,
            if self.used { "used" } else { "not used" }
        )
    }
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
