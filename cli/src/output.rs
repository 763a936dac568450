//! Answers as documents: the JSON of every command, and the CSV made of it.
//!
//! Keys are published: scripts rely on them. Numbers are printed in full precision (the shortest text that reads back as the
//! same number); what is unknown is `null`, never a stand-in value.

use finepick_proto::selector::v1 as selector;
use finepick_proto::types::v1 as types;
use serde::Serialize;

mod csv_text;
mod fit;
mod rank;
mod replay;
pub mod selection;

pub use csv_text::{benchmark_csv, fit_csv, rank_csv, simulate_csv};
pub use fit::{FitAnswer, Phase, Prediction, fit_answer, joint_answer, law_name};
pub use rank::{RankAnswer, RankedCandidate, Stop, rank_answer};
pub use replay::{BenchmarkRow, HistoryAlone, Rung, SimulateAnswer, SimulatedCandidate, simulate_answer};

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
