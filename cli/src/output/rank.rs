//! The answer of `rank`.

use finepick_proto::selector::v1 as selector;
use serde::Serialize;

use super::{Cost, Excluded, Interval, Metrics, WarningDetail, excluded, short, warnings};

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
