//! Selections as callers see them.

use std::collections::{BTreeSet, HashMap};

use finepick_proto::selector::v1 as wire;
use finepick_proto::types::v1 as types;

use super::{budget, fit, seconds, shown, spending, time};
use crate::desk::View;
use crate::grpc::convert::fitter::observation;
use crate::grpc::convert::response::{exclusion_reason, sizes, warning};
use crate::grpc::convert::{wire as examples, wire_count};
use crate::policy::{Exclusion, ExclusionReason};
use crate::selection::{
    Ending, Failure, JudgedRecord, Phase, Prepared, SelectionSpec, State, Verdict, Wait, WaitReason,
};
use crate::simulate::SelectionPolicy;
use crate::store::StoredSelection;

/// A selection with its contenders, or without.
#[must_use]
pub fn selection(view: &View, with_contenders: bool) -> wire::Selection {
    let state = view.state.as_ref();
    let currency = &state.limits.currency;
    fit::selection(wire::Selection {
        selection_id: view.id.clone(),
        spec: Some(shown::spec(&state.spec)),
        state: state_of(&state.phase, state.paused).into(),
        wait_reason: wait_reason_of(&state.phase, state.paused, &view.owner, &state.wait).into(),
        failure: failure(&state.phase).into(),
        detail: detail(&state.phase, &state.wait),
        data_size_full: state
            .prepared
            .as_ref()
            .map(|prepared| examples(prepared.data_size_full.examples())),
        contenders: if with_contenders { contenders(view) } else { Vec::new() },
        rounds: wire_count(state.rounds.iter().filter(|round| round.decision.is_some()).count()),
        budget: budget::limits(&state.limits),
        spent: Some(spending(&state.spent, currency)),
        reserved: Some(spending(&state.reserved, currency)),
        saved: Some(spending(&state.saved, currency)),
        choice: view.choice.clone().map(super::report::choice),
        create_time: Some(time(state.created)),
        update_time: Some(time(state.updated)),
        end_time: state.ended.map(time),
        last_sequence: examples(state.sequence),
        owner: view.owner.clone(),
        deadline: state.limits.deadline.map(time),
        omitted: Vec::new(),
    })
}

/// A selection in a list: what is kept beside its events. Of the spec there are labels, display name and the kind of policy.
#[must_use]
pub fn listed(stored: &StoredSelection) -> wire::Selection {
    let summary = &stored.summary;
    let spec = wire::SelectionSpec {
        policy: SelectionPolicy::from_name(&summary.policy).map(|policy| super::policy::selection_policy(&policy)),
        labels: summary.labels.clone().into_iter().collect(),
        display_name: summary.display_name.clone(),
        ..wire::SelectionSpec::default()
    };
    let chosen = summary.choice.clone();
    wire::Selection {
        selection_id: stored.id.clone(),
        spec: Some(spec),
        state: state_of(&summary.phase, summary.paused).into(),
        wait_reason: wait_reason_of(&summary.phase, summary.paused, &stored.owner, &summary.wait).into(),
        failure: failure(&summary.phase).into(),
        detail: detail(&summary.phase, &summary.wait),
        data_size_full: summary.data_size_full.map(examples),
        contenders: Vec::new(),
        rounds: wire_count(summary.rounds),
        budget: summary.budget_examples.map(|count| wire::Spending {
            examples: examples(count),
            ..wire::Spending::default()
        }),
        spent: Some(spending(&summary.spent, "")),
        reserved: Some(spending(&summary.reserved, "")),
        saved: Some(spending(&summary.saved, "")),
        choice: chosen.map(|(candidate_id, method_id, predicted_loss)| wire::Choice {
            candidate_id,
            method_id,
            predicted_loss,
            interval: None,
        }),
        create_time: Some(time(stored.created)),
        update_time: Some(time(stored.updated)),
        end_time: summary.ended.map(time),
        last_sequence: examples(stored.sequence),
        owner: stored.owner.clone(),
        deadline: None,
        omitted: Vec::new(),
    }
}

/// Where it stands, as callers name it.
#[must_use]
pub fn state_of(phase: &Phase, paused: bool) -> wire::SelectionState {
    match phase {
        Phase::Preparing | Phase::Running if paused => wire::SelectionState::Paused,
        Phase::Preparing => wire::SelectionState::Preparing,
        Phase::Stopping(Ending::Cancelled { .. }) => wire::SelectionState::Cancelling,
        // Stopping: its last runs are being ended; how it will end is known and not yet written.
        Phase::Running | Phase::Stopping(_) => wire::SelectionState::Running,
        Phase::Ended(Ending::Succeeded) => wire::SelectionState::Succeeded,
        Phase::Ended(Ending::BudgetExhausted { .. }) => wire::SelectionState::BudgetExhausted,
        Phase::Ended(Ending::Failed { .. }) => wire::SelectionState::Failed,
        Phase::Ended(Ending::Cancelled { .. }) => wire::SelectionState::Cancelled,
    }
}

/// What it waits for; `owner` is empty where nobody drives it.
#[must_use]
pub fn wait_reason_of(phase: &Phase, paused: bool, owner: &str, wait: &Wait) -> wire::SelectionWaitReason {
    let reason = match phase {
        Phase::Ended(_) => WaitReason::None,
        Phase::Preparing | Phase::Running if paused => WaitReason::Paused,
        _ if owner.is_empty() => WaitReason::Owner,
        // What was waited for before somebody took it up.
        _ if wait.reason == WaitReason::Owner => WaitReason::None,
        _ => wait.reason,
    };
    match reason {
        WaitReason::None => wire::SelectionWaitReason::Unspecified,
        WaitReason::Owner => wire::SelectionWaitReason::Owner,
        WaitReason::Runs => wire::SelectionWaitReason::Runs,
        WaitReason::NoFreeSlot => wire::SelectionWaitReason::NoFreeSlot,
        WaitReason::TrainerUnavailable => wire::SelectionWaitReason::TrainerUnavailable,
        WaitReason::FitterUnavailable => wire::SelectionWaitReason::FitterUnavailable,
        WaitReason::Backoff => wire::SelectionWaitReason::Backoff,
        WaitReason::Paused => wire::SelectionWaitReason::Paused,
        WaitReason::Worker => wire::SelectionWaitReason::Worker,
    }
}

fn failure(phase: &Phase) -> wire::SelectionFailure {
    let Phase::Ended(Ending::Failed { failure, .. }) = phase else {
        return wire::SelectionFailure::Unspecified;
    };
    match failure {
        Failure::NoEligibleCandidate => wire::SelectionFailure::NoEligibleCandidate,
        Failure::BudgetTooSmall => wire::SelectionFailure::BudgetTooSmall,
        Failure::AllRunsFailed => wire::SelectionFailure::AllRunsFailed,
        Failure::FullSizeUnknown => wire::SelectionFailure::FullSizeUnknown,
        Failure::Internal => wire::SelectionFailure::Internal,
    }
}

fn detail(phase: &Phase, wait: &Wait) -> String {
    let (Phase::Stopping(ending) | Phase::Ended(ending)) = phase else {
        return wait.detail.clone();
    };
    match ending {
        Ending::Succeeded => String::new(),
        Ending::BudgetExhausted { detail } | Ending::Failed { detail, .. } | Ending::Cancelled { detail } => {
            detail.clone()
        }
    }
}

/// Everything that is told of contenders, gathered in one pass over trials and decisions.
#[derive(Default)]
struct Told<'a> {
    curve: Vec<types::Observation>,
    /// Ids of its runs in hand: one that measures several sizes is one.
    runs: BTreeSet<&'a str>,
    progress: Option<f64>,
    judged: Option<&'a JudgedRecord>,
    withdrawn: Option<&'a Exclusion>,
}

fn told(view: &View) -> HashMap<usize, Told<'_>> {
    let state = view.state.as_ref();
    let mut all: HashMap<usize, Told<'_>> = HashMap::with_capacity(state.spec.contenders());
    for (index, trial) in state.trials.iter().enumerate() {
        let told = all.entry(trial.contender).or_default();
        told.curve.extend(trial.observation().map(observation));
        if let Some((_, attempt)) = trial.running() {
            told.runs.insert(&attempt.run_id);
            let share = view.progress.get(&index).and_then(|progress| {
                let total = progress.total.filter(|total| *total > 0)?;
                Some((progress.step as f64 / total as f64).clamp(0.0, 1.0))
            });
            told.progress = [told.progress, share].into_iter().flatten().reduce(f64::max);
        }
    }
    for (decision, _) in state.rounds.iter().filter_map(|round| round.decision.as_ref()) {
        for judged in &decision.contenders {
            all.entry(judged.contender).or_default().judged = Some(judged);
        }
    }
    for (contender, _, exclusion) in &state.withdrawn {
        all.entry(*contender).or_default().withdrawn = Some(exclusion);
    }
    all
}

fn contenders(view: &View) -> Vec<wire::Contender> {
    let mut all = told(view);
    let state = view.state.as_ref();
    let chosen = state.choice();
    (0..state.spec.contenders())
        .filter_map(|position| {
            let (candidate, method) = state.spec.contender(position)?;
            let told = all.remove(&position).unwrap_or_default();
            let facts = state
                .prepared
                .as_ref()
                .and_then(|prepared| prepared.contenders.get(position));
            let later = told.withdrawn.filter(|exclusion| {
                // Whose run was not paid for is out of the race; with a place in the last judgement it is in the ranking again.
                let judged = told.judged.is_some_and(|judged| judged.log_score.is_some());
                !(judged && exclusion.reason == ExclusionReason::Budget) && chosen != Some(position)
            });
            let exclusion = facts.and_then(|facts| facts.exclusion.as_ref()).or(later);
            let dropped = told.judged.filter(|judged| judged.verdict == Verdict::Dropped);
            let standing = if chosen == Some(position) {
                wire::ContenderState::Chosen
            } else if exclusion.is_some() {
                wire::ContenderState::Excluded
            } else if dropped.is_some() {
                wire::ContenderState::Dropped
            } else {
                wire::ContenderState::Live
            };
            let mut curve = told.curve;
            curve.sort_by_key(|point| point.data_size);
            let why = exclusion.map(|exclusion| exclusion.detail.clone());
            Some(wire::Contender {
                candidate_id: candidate.id.clone(),
                method_id: method.id.clone(),
                state: standing.into(),
                exclusion: reason(exclusion).into(),
                detail: why
                    .or_else(|| dropped.map(|judged| judged.reason.clone()))
                    .unwrap_or_default(),
                observations: curve,
                active_runs: wire_count(told.runs.len()),
                predicted_loss: told.judged.and_then(|judged| judged.log_score).map(f64::exp),
                progress: told.progress,
                parameters: parameters(&state.spec, state.prepared.as_ref(), position),
            })
        })
        .collect()
}

fn reason(exclusion: Option<&Exclusion>) -> wire::ExclusionReason {
    exclusion.map_or(wire::ExclusionReason::Unspecified, |exclusion| {
        exclusion_reason(exclusion.reason)
    })
}

fn parameters(spec: &SelectionSpec, prepared: Option<&Prepared>, position: usize) -> Option<i64> {
    let facts = prepared.and_then(|prepared| prepared.contenders.get(position));
    let told = facts.and_then(|facts| facts.parameters);
    told.or_else(|| spec.contender(position)?.0.attributes.parameters())
        .map(examples)
}

/// The plan before anything is spent.
#[must_use]
pub fn estimate(spec: &SelectionSpec, prepared: &Prepared) -> wire::SelectionEstimate {
    let currency = &prepared.limits.currency;
    let contender = |(position, facts): (usize, &crate::selection::ContenderFacts)| {
        let (candidate, method) = spec.contender(position)?;
        let standing = if facts.exclusion.is_some() {
            wire::ContenderState::Excluded
        } else {
            wire::ContenderState::Live
        };
        Some(wire::Contender {
            candidate_id: candidate.id.clone(),
            method_id: method.id.clone(),
            state: standing.into(),
            exclusion: reason(facts.exclusion.as_ref()).into(),
            detail: facts
                .exclusion
                .as_ref()
                .map(|exclusion| exclusion.detail.clone())
                .unwrap_or_default(),
            parameters: parameters(spec, Some(prepared), position),
            ..wire::Contender::default()
        })
    };
    wire::SelectionEstimate {
        data_size_full: examples(prepared.data_size_full.examples()),
        data_sizes: sizes(&prepared.data_sizes),
        planned: Some(spending(&prepared.planned, currency)),
        budget: budget::limits(&prepared.limits),
        exhaustive: Some(spending(&prepared.exhaustive, currency)),
        wall_time: prepared.wall_seconds.and_then(seconds),
        expected_relative_regret: prepared.expected_relative_regret,
        contenders: prepared.contenders.iter().enumerate().filter_map(contender).collect(),
        warnings: prepared.warnings.iter().cloned().map(warning).collect(),
    }
}

/// The state of the state machine, for those who ask for work.
#[must_use]
pub fn standing(state: &State, owner: &str) -> (wire::SelectionState, wire::SelectionWaitReason) {
    (
        state_of(&state.phase, state.paused),
        wait_reason_of(&state.phase, state.paused, owner, &state.wait),
    )
}
