//! Decisions.

use finepick_proto::selector::v1 as wire;

use super::{spending, time};
use crate::grpc::convert::response::sizes;
use crate::grpc::convert::{wire as examples, wire_count};
use crate::selection::{DecisionRecord, JudgedRecord, Millis, SelectionSpec, State, Verdict};

/// The decision of a round by its position; `None` where the round is not judged.
#[must_use]
pub fn decision(state: &State, round: usize) -> Option<wire::Decision> {
    let found = state.rounds.get(round)?;
    let (record, at) = found.decision.as_ref()?;
    let place = (round.saturating_add(1), *at);
    let spent = spending(&found.spent, &state.limits.currency);
    Some(message(&state.spec, place, record, spent))
}

/// A decision with its round (from 1) and time.
pub(super) fn message(
    spec: &SelectionSpec,
    (round, at): (usize, Millis),
    record: &DecisionRecord,
    spent: wire::Spending,
) -> wire::Decision {
    wire::Decision {
        round: wire_count(round),
        rule: record.rule.clone(),
        data_size: examples(record.data_size.examples()),
        trained_data_sizes: sizes(&record.trained),
        contenders: record
            .contenders
            .iter()
            .filter_map(|judged| contender(spec, judged))
            .collect(),
        threshold: record.log_threshold.map(f64::exp),
        saved_examples: examples(record.saved_examples),
        expected_regret: record.expected_regret,
        next_data_sizes: sizes(&record.next),
        spent: Some(spent),
        time: Some(time(at)),
        explanation: record.explanation.clone(),
    }
}

fn contender(spec: &SelectionSpec, judged: &JudgedRecord) -> Option<wire::JudgedContender> {
    let (candidate, method) = spec.contender(judged.contender)?;
    let verdict = match judged.verdict {
        Verdict::Kept => wire::ContenderVerdict::Kept,
        Verdict::Dropped => wire::ContenderVerdict::Dropped,
        Verdict::Chosen => wire::ContenderVerdict::Chosen,
        Verdict::Stopped => wire::ContenderVerdict::Stopped,
        Verdict::Excluded => wire::ContenderVerdict::Excluded,
    };
    Some(wire::JudgedContender {
        candidate_id: candidate.id.clone(),
        method_id: method.id.clone(),
        verdict: verdict.into(),
        score: judged.log_score.map(f64::exp),
        log_score_deviation: judged.log_sd,
        data_size: examples(judged.data_size.examples()),
        reason: judged.reason.clone(),
    })
}
