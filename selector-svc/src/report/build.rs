//! Puts a report together.

use super::ranked::Standing;
use super::{
    EstimateAccuracy, Named, Report, ReportedChoice, ReportedDecision, ReportedHistory, UnrankedContender, remarks,
};
use crate::crossover::crossovers;
use crate::diagnostics::Warning;
use crate::policy::{Exclusion, ExclusionReason, FinalForecast};
use crate::race::Race;
use crate::selection::{Attempt, Millis, Outcome, Phase, Spending, State, Verdict};

/// What the policy says of the whole at the end (or now).
#[derive(Debug, Default)]
pub(super) struct Conclusion {
    /// By position of the contender.
    pub(super) forecasts: Vec<Option<FinalForecast>>,
    /// Only with a usable history.
    pub(super) history: Option<ReportedHistory>,
    /// The policy's own remarks.
    pub(super) warnings: Vec<Warning>,
}

pub(super) fn report(id: &str, state: &State, now: Millis) -> Report {
    let conclusion = conclude(state);
    let excluded = excluded(state);
    let standing = Standing::new(state, &conclusion, &excluded);
    let contenders = standing.contenders();
    let warnings = remarks::of_the_whole(state, &conclusion, &contenders);
    let exhaustive = state
        .prepared
        .as_ref()
        .map_or(Spending::ZERO, |prepared| prepared.exhaustive);
    let choice = state
        .choice()
        .filter(|contender| *contender < state.spec.contenders())
        .map(|contender| {
            let place = contenders.iter().find(|entry| entry.named.contender == contender);
            ReportedChoice {
                named: Named::of(state, contender),
                predicted_loss: place.and_then(|entry| entry.predicted_loss),
                interval: place.and_then(|entry| entry.interval),
            }
        });
    Report {
        selection: id.to_owned(),
        phase: state.phase.clone(),
        paused: state.paused,
        choice,
        data_size_full: state.prepared.as_ref().map(|prepared| prepared.data_size_full),
        policy: state.spec.policy.name(),
        contenders,
        excluded,
        decisions: decisions(state),
        spent: state.spent,
        saved: state.saved,
        exhaustive,
        spent_share: share(state.spent.examples, exhaustive.examples),
        estimate: state.prepared.clone(),
        accuracy: accuracy(state),
        crossovers: crossovers(state),
        history_alone: conclusion.history,
        warnings,
        elapsed: state.ended.unwrap_or(now).saturating_sub(state.created).max(0),
        failed_attempts: u32::try_from(attempts(state).filter(|attempt| has_failed(attempt)).count())
            .unwrap_or(u32::MAX),
    }
}

/// The policy rebuilt from the records, and asked; from the decisions alone where it cannot be rebuilt.
fn conclude(state: &State) -> Conclusion {
    let Ok(race) = Race::new(state) else {
        return Conclusion {
            forecasts: recorded_forecasts(state),
            ..Conclusion::default()
        };
    };
    let (warnings, history) = race.remarks(state);
    Conclusion {
        forecasts: race.forecasts(state),
        history: history.map(|report| ReportedHistory {
            chosen: Named::of(state, report.chosen),
            rank_correlation: report.rank_correlation,
            used: report.used,
        }),
        warnings,
    }
}

/// What the decisions themselves have recorded, the latest of each contender.
fn recorded_forecasts(state: &State) -> Vec<Option<FinalForecast>> {
    let mut forecasts = vec![None; state.spec.contenders()];
    for (decision, _) in state.rounds.iter().filter_map(|round| round.decision.as_ref()) {
        for judged in &decision.contenders {
            if let (Some(slot), Some(log_loss)) = (forecasts.get_mut(judged.contender), judged.log_score) {
                *slot = Some(FinalForecast {
                    log_loss,
                    sd: judged.log_sd,
                    reach: judged.log_sd.map(crate::trend::Reach::even),
                });
            }
        }
    }
    forecasts
}

/// Kept out before the first run, thrown out later, or found unfit by the last decision; in the order of the spec.
fn excluded(state: &State) -> Vec<UnrankedContender> {
    let before = |contender: usize| {
        let prepared = state.prepared.as_ref()?;
        prepared.contenders.get(contender)?.exclusion.clone()
    };
    // Nothing speaks against one whose run was not paid for but that its forecast is older; and who leads is ranked, whatever happened.
    let leader = state.leader();
    let stays = |contender: usize| {
        leader == Some(contender) || (state.unpaid(contender).is_some() && was_judged(state, contender))
    };
    let later = |contender: usize| {
        let found = state.withdrawn.iter().find(|(out, ..)| *out == contender);
        let found = found.map(|(.., exclusion)| exclusion.clone());
        found.filter(|_| !stays(contender))
    };
    let last = state.rounds.iter().rev().find_map(|round| round.decision.as_ref());
    let judged = |contender: usize| {
        let (decision, _) = last?;
        let unfit = |judged: &&crate::selection::JudgedRecord| {
            judged.contender == contender && judged.verdict == Verdict::Excluded && !stays(contender)
        };
        let found = decision.contenders.iter().find(unfit)?;
        Some(Exclusion {
            reason: ExclusionReason::MissingData,
            detail: found.reason.clone(),
        })
    };
    let unranked = |contender: usize| {
        let exclusion = before(contender)
            .or_else(|| later(contender))
            .or_else(|| judged(contender))?;
        Some(UnrankedContender {
            named: Named::of(state, contender),
            exclusion,
        })
    };
    (0..state.spec.contenders()).filter_map(unranked).collect()
}

fn was_judged(state: &State, contender: usize) -> bool {
    let decisions = state.rounds.iter().filter_map(|round| round.decision.as_ref());
    let mut records = decisions.flat_map(|(decision, _)| &decision.contenders);
    records.any(|judged| judged.contender == contender && judged.verdict != Verdict::Excluded)
}

fn decisions(state: &State) -> Vec<ReportedDecision> {
    let rounds = state.rounds.iter().enumerate();
    rounds
        .filter_map(|(index, round)| {
            let (record, at) = round.decision.clone()?;
            Some(ReportedDecision {
                round: index + 1,
                record,
                spent: round.spent,
                at,
            })
        })
        .collect()
}

pub(super) fn attempts(state: &State) -> impl Iterator<Item = &Attempt> {
    state.trials.iter().flat_map(|trial| &trial.attempts)
}

fn has_failed(attempt: &Attempt) -> bool {
    let outcome = attempt.end.as_ref().map(|end| &end.outcome);
    outcome.is_some_and(|outcome| !matches!(outcome, Outcome::Observed { .. } | Outcome::Cancelled))
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// Only once it is over; from the first attempt's beginning, since preparation was not estimated.
fn accuracy(state: &State) -> Option<EstimateAccuracy> {
    let prepared = state.prepared.as_ref()?;
    let Phase::Ended(_) = state.phase else { return None };
    let ratio = |actual: f64, estimated: f64| (actual > 0.0 && estimated > 0.0).then(|| actual / estimated);
    let began = attempts(state).map(|attempt| attempt.started).min();
    let took = began
        .zip(state.ended)
        .map(|(from, to)| to.saturating_sub(from) as f64 / 1e3);
    Some(EstimateAccuracy {
        examples: ratio(state.spent.examples as f64, prepared.planned.examples as f64),
        device_seconds: ratio(state.spent.device_seconds, prepared.planned.device_seconds),
        wall_time: took
            .zip(prepared.wall_seconds)
            .and_then(|(actual, estimated)| ratio(actual, estimated)),
    })
}
