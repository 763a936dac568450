//! Reports and what a certificate's verification found.

use finepick_proto::selector::v1 as wire;

use super::{answer, decision, duration, fit, spending};
use crate::certificate::Verification;
use crate::crossover::Crossover;
use crate::grpc::convert::fitter::observation;
use crate::grpc::convert::response::{exclusion_reason, interval, warning};
use crate::grpc::convert::{wire as examples, wire_count};
use crate::report::{
    EstimateAccuracy, Report, ReportedChoice, ReportedContender, ReportedDecision, ReportedHistory, UnrankedContender,
};
use crate::selection::SelectionSpec;

/// The report of a selection with this spec; `currency` is empty where no trainer has a price.
#[must_use]
pub fn report(report: Report, spec: &SelectionSpec, currency: &str) -> wire::SelectionReport {
    let decided = |found: &ReportedDecision| {
        let place = (found.round, found.at);
        decision::message(spec, place, &found.record, spending(&found.spent, currency))
    };
    fit::report(wire::SelectionReport {
        selection_id: report.selection,
        state: answer::state_of(&report.phase, report.paused).into(),
        choice: report.choice.map(choice),
        data_size_full: report.data_size_full.map_or(0, |size| examples(size.examples())),
        policy: report.policy.to_owned(),
        contenders: report
            .contenders
            .into_iter()
            .map(|found| contender(found, currency))
            .collect(),
        excluded: report.excluded.into_iter().map(unranked).collect(),
        decisions: report.decisions.iter().map(decided).collect(),
        spent: Some(spending(&report.spent, currency)),
        saved: Some(spending(&report.saved, currency)),
        exhaustive: Some(spending(&report.exhaustive, currency)),
        spent_share: report.spent_share,
        estimate: report
            .estimate
            .as_ref()
            .map(|prepared| answer::estimate(spec, prepared)),
        accuracy: report.accuracy.map(accuracy),
        crossovers: report.crossovers.into_iter().map(crossover).collect(),
        history_alone: report.history_alone.map(history_alone),
        warnings: report.warnings.into_iter().map(warning).collect(),
        elapsed: Some(duration(report.elapsed)),
        failed_attempts: i32::try_from(report.failed_attempts).unwrap_or(i32::MAX),
        omitted: Vec::new(),
    })
}

/// The choice.
#[must_use]
pub fn choice(choice: ReportedChoice) -> wire::Choice {
    wire::Choice {
        candidate_id: choice.named.candidate,
        method_id: choice.named.method,
        predicted_loss: choice.predicted_loss,
        interval: choice.interval.map(interval),
    }
}

fn contender(found: ReportedContender, currency: &str) -> wire::ReportedContender {
    wire::ReportedContender {
        candidate_id: found.named.candidate,
        method_id: found.named.method,
        rank: wire_count(found.rank),
        predicted_loss: found.predicted_loss,
        interval: found.interval.map(interval),
        win_share: found.win_share,
        observations: found.observations.iter().map(observation).collect(),
        dropped_after_round: found.dropped_after_round.map(wire_count),
        reason: found.reason,
        spent: Some(spending(&found.spent, currency)),
        warnings: found.warnings.into_iter().map(warning).collect(),
    }
}

fn unranked(found: UnrankedContender) -> wire::UnrankedContender {
    wire::UnrankedContender {
        candidate_id: found.named.candidate,
        method_id: found.named.method,
        reason: exclusion_reason(found.exclusion.reason).into(),
        detail: found.exclusion.detail,
    }
}

fn accuracy(accuracy: EstimateAccuracy) -> wire::EstimateAccuracy {
    wire::EstimateAccuracy {
        examples: accuracy.examples,
        device_seconds: accuracy.device_seconds,
        wall_time: accuracy.wall_time,
    }
}

fn crossover(found: Crossover) -> wire::MethodCrossover {
    wire::MethodCrossover {
        candidate_id: found.candidate,
        method_below: found.method_below,
        method_above: found.method_above,
        critical_data_size: found.critical_data_size,
        lower: found.lower,
        upper: found.upper,
        detail: found.detail,
    }
}

fn history_alone(history: ReportedHistory) -> wire::HistoryAlone {
    wire::HistoryAlone {
        chosen: history.chosen.candidate,
        // Undefined: nothing to go by, as far from agreement as from contradiction.
        rank_correlation: history.rank_correlation.unwrap_or(0.0),
        used: history.used,
        metrics: None,
    }
}

/// What a certificate's verification found.
#[must_use]
pub fn verification(found: Verification) -> wire::VerifyCertificateResponse {
    wire::VerifyCertificateResponse {
        valid: found.valid,
        differences: found.differences,
        choice: found.choice.map(|choice| wire::Choice {
            candidate_id: choice.named.candidate,
            method_id: choice.named.method,
            predicted_loss: choice.predicted_loss,
            interval: choice.interval.map(interval),
        }),
    }
}
