//! Domain → responses.

use finepick_proto::selector::v1 as wire;
use finepick_proto::types::v1 as types;
use svc_kit::status::PreconditionViolation;
use tonic::Status;

use super::error::no_eligible_candidate;
use super::{wire as examples, wire_count};
use crate::curve::DataSize;
use crate::diagnostics::{Warning, WarningCode};
use crate::metrics::{Cost, Metrics};
use crate::policy::{ExclusionReason, Interval, LogLogLine, Prediction, Stop, StopReason};
use crate::ranking::{ExcludedCandidate, RankedCandidate, Ranking};
use crate::simulate::{HistoryAlone, Rung, SimulatedCandidate, Simulation};

/// The answer of `RankCandidates`.
///
/// # Errors
/// `FAILED_PRECONDITION` where no candidate is left; each violation says of one of them why.
pub fn rank_response(ranking: Ranking) -> Result<wire::RankCandidatesResponse, Status> {
    if ranking.candidates.is_empty() {
        let violation = |e: ExcludedCandidate| {
            PreconditionViolation::new(
                e.exclusion.reason.as_str().to_uppercase(),
                e.candidate,
                e.exclusion.detail,
            )
        };
        return Err(no_eligible_candidate(
            ranking.excluded.into_iter().map(violation).collect(),
        ));
    }
    Ok(wire::RankCandidatesResponse {
        metrics: ranking.metrics.map(metrics),
        cost: Some(cost(ranking.cost, ranking.exhaustive_examples)),
        candidates: ranking.candidates.into_iter().map(ranked).collect(),
        excluded: ranking.excluded.into_iter().map(excluded).collect(),
        warnings: ranking.warnings.into_iter().map(warning).collect(),
    })
}

/// The answer of `SimulateSelection`.
#[must_use]
pub fn simulate_response(found: Simulation) -> wire::SimulateSelectionResponse {
    wire::SimulateSelectionResponse {
        chosen: found.chosen,
        spent_examples: examples(found.spent_examples),
        planned_examples: examples(found.planned_examples),
        budget_examples: examples(found.budget_examples),
        exhaustive_examples: examples(found.exhaustive_examples),
        metrics: found.metrics.map(metrics),
        rungs: found.rungs.into_iter().map(rung).collect(),
        candidates: found.candidates.into_iter().map(simulated).collect(),
        excluded: found.excluded.into_iter().map(excluded).collect(),
        history_alone: found.history_alone.map(history_alone),
        warnings: found.warnings.into_iter().map(warning).collect(),
    }
}

pub(super) fn sizes(sizes: &[DataSize]) -> Vec<i64> {
    sizes.iter().map(|size| examples(size.examples())).collect()
}

fn ranked(candidate: RankedCandidate) -> wire::RankedCandidate {
    wire::RankedCandidate {
        rank: wire_count(candidate.rank),
        score: candidate.score,
        predicted_loss: candidate.predicted_loss,
        interval: candidate.interval.map(interval),
        win_share: candidate.win_share,
        data_sizes_used: sizes(&candidate.data_sizes_used),
        stop: Some(stop(candidate.stop)),
        line: candidate
            .line
            .map(|LogLogLine { slope, intercept }| wire::LogLogLine { slope, intercept }),
        forecasts: candidate.forecasts.into_iter().map(prediction).collect(),
        warnings: candidate.warnings.into_iter().map(warning).collect(),
        true_loss: candidate.true_loss,
        candidate_id: candidate.candidate,
    }
}

pub(super) fn interval(interval: Interval) -> types::Interval {
    types::Interval {
        lower: interval.lower,
        upper: interval.upper,
        level: interval.level,
    }
}

fn prediction(prediction: Prediction) -> types::Prediction {
    types::Prediction {
        data_size: examples(prediction.data_size.examples()),
        predicted_loss: prediction.predicted_loss,
        interval: prediction.interval.map(interval),
    }
}

fn stop(stop: Stop) -> wire::Stop {
    let reason = match stop.reason {
        StopReason::Outlier => wire::StopReason::Outlier,
        StopReason::AllAccepted => wire::StopReason::AllAccepted,
        StopReason::TooFewToTest => wire::StopReason::TooFewToTest,
        StopReason::NotApplicable => wire::StopReason::NotApplicable,
        StopReason::Window => wire::StopReason::Window,
    };
    wire::Stop {
        reason: reason.into(),
        standardized_residual: stop.standardized_residual,
        data_size: stop.tested.map(|size| examples(size.examples())),
    }
}

pub(super) fn exclusion_reason(reason: ExclusionReason) -> wire::ExclusionReason {
    match reason {
        ExclusionReason::Family => wire::ExclusionReason::Family,
        ExclusionReason::Parameters => wire::ExclusionReason::Parameters,
        ExclusionReason::Memory => wire::ExclusionReason::Memory,
        ExclusionReason::Attribute => wire::ExclusionReason::Attribute,
        ExclusionReason::TooFewPoints => wire::ExclusionReason::TooFewPoints,
        ExclusionReason::MissingData => wire::ExclusionReason::MissingData,
        ExclusionReason::FitFailed => wire::ExclusionReason::FitFailed,
        ExclusionReason::TrainerCannot => wire::ExclusionReason::TrainerCannot,
        ExclusionReason::RunsFailed => wire::ExclusionReason::RunsFailed,
        ExclusionReason::Budget => wire::ExclusionReason::Budget,
    }
}

fn excluded(candidate: ExcludedCandidate) -> wire::ExcludedCandidate {
    wire::ExcludedCandidate {
        candidate_id: candidate.candidate,
        reason: exclusion_reason(candidate.exclusion.reason).into(),
        detail: candidate.exclusion.detail,
    }
}

fn metrics(metrics: Metrics) -> wire::Metrics {
    wire::Metrics {
        pearson_correlation: metrics.pearson_correlation,
        relative_accuracy: metrics.relative_accuracy,
        regret: metrics.regret,
        relative_regret: metrics.relative_regret,
        chosen_true_loss: metrics.chosen_loss,
        best_candidate_id: metrics.best_candidate,
        best_true_loss: metrics.best_loss,
        candidates: wire_count(metrics.candidates),
    }
}

fn cost(cost: Cost, exhaustive_examples: u64) -> wire::Cost {
    wire::Cost {
        examples: examples(cost.examples),
        example_parameters: cost.example_parameters,
        exhaustive_examples: examples(exhaustive_examples),
    }
}

fn rung(rung: Rung) -> wire::Rung {
    wire::Rung {
        data_size: examples(rung.data_size.examples()),
        candidates: wire_count(rung.candidates),
        trained_data_sizes: sizes(&rung.trained_data_sizes),
        leader: rung.leader,
        kept: rung.kept,
        dropped: rung.dropped,
        spent_examples: examples(rung.spent_examples),
    }
}

fn simulated(candidate: SimulatedCandidate) -> wire::SimulatedCandidate {
    wire::SimulatedCandidate {
        rank: wire_count(candidate.rank),
        predicted_loss: candidate.predicted_loss,
        interval: candidate.interval.map(interval),
        win_share: candidate.win_share,
        data_sizes_trained: sizes(&candidate.data_sizes_trained),
        dropped_at_rung: candidate.dropped_at_rung.map(wire_count),
        warnings: candidate.warnings.into_iter().map(warning).collect(),
        candidate_id: candidate.candidate,
    }
}

pub(super) fn history_alone(history: HistoryAlone) -> wire::HistoryAlone {
    wire::HistoryAlone {
        chosen: history.chosen,
        // Undefined: nothing to go by, as far from agreement as from contradiction.
        rank_correlation: history.rank_correlation.unwrap_or(0.0),
        used: history.used,
        metrics: history.metrics.map(metrics),
    }
}

pub(super) fn warning(warning: Warning) -> types::Warning {
    use types::WarningCode as Wire;
    let code = match warning.code {
        WarningCode::UpperBound => Wire::UpperBound,
        WarningCode::NearFloor => Wire::NearFloor,
        WarningCode::TooFewPoints => Wire::TooFewPoints,
        WarningCode::NonMonotone => Wire::NonMonotone,
        WarningCode::NoiseJump => Wire::NoiseJump,
        WarningCode::LongExtrapolation => Wire::LongExtrapolation,
        WarningCode::NoInterval => Wire::NoInterval,
        WarningCode::TooCloseToCall => Wire::TooCloseToCall,
        WarningCode::BudgetExceeded => Wire::BudgetExceeded,
        WarningCode::HistoryRejected => Wire::HistoryRejected,
        WarningCode::IrregularLadder => Wire::IrregularLadder,
        WarningCode::NoisyObservations => Wire::NoisyObservations,
        WarningCode::FloorAtData => Wire::FloorAtData,
        WarningCode::IrreducibleLossZero => Wire::IrreducibleLossZero,
        WarningCode::PreLearnedZero => Wire::PreLearnedZero,
        WarningCode::KneeBeyondData => Wire::KneeBeyondData,
        WarningCode::NotConverged => Wire::NotConverged,
        WarningCode::UnpaidRun => Wire::UnpaidRun,
    };
    types::Warning {
        code: code.into(),
        detail: warning.detail.into_owned(),
    }
}
