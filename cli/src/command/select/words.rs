//! What happens to a selection, in words: a line each, for people.

use finepick_proto::selector::v1 as pb;
use finepick_proto::trainer::v1 as trainer;

use crate::curves::printable;
use crate::output::selection::{Spending, contender_name, named, seconds, state_word};
use crate::text::{examples, loss, percent};

/// Exclusions that are listed one by one; the others are counted.
const LISTED_EXCLUSIONS: usize = 20;

/// What a selection waits for; empty where it does not, or where its runs say it.
pub(super) fn waiting(selection: &pb::Selection) -> String {
    use pb::SelectionWaitReason as Wait;
    let text = match selection.wait_reason() {
        Wait::Unspecified | Wait::Runs => return String::new(),
        Wait::Owner => "waits for a selector to take it up",
        Wait::NoFreeSlot => "waits for a free slot of a trainer",
        Wait::TrainerUnavailable => "waits for a trainer that answers",
        Wait::FitterUnavailable => "waits for the fitter to answer",
        Wait::Backoff => "waits a moment before it tries a run again",
        Wait::Paused => "paused: `finepick resume` goes on",
        Wait::Worker => "waits for somebody to ask for its work",
    };
    if selection.detail.is_empty() {
        text.to_owned()
    } else {
        format!("{text}: {}", printable(&selection.detail))
    }
}

/// A change of state, wait or failure.
pub(super) fn change_lines(before: Option<&pb::Selection>, now: &pb::Selection) -> Vec<String> {
    let mut lines = Vec::new();
    if before.map(pb::Selection::state) != Some(now.state()) {
        let mut line = format!(
            "selection {}: {}",
            printable(&now.selection_id),
            state_word(now.state())
        );
        if now.failure() != pb::SelectionFailure::Unspecified {
            let reason = named(now.failure().as_str_name(), "SELECTION_FAILURE_").unwrap_or_default();
            line = format!("{line} ({reason})");
        }
        if !now.detail.is_empty() && now.wait_reason() == pb::SelectionWaitReason::Unspecified {
            line = format!("{line}: {}", printable(&now.detail));
        }
        lines.push(line);
    }
    let wait = waiting(now);
    if !wait.is_empty() && before.is_none_or(|before| waiting(before) != wait) {
        lines.push(wait);
    }
    lines
}

/// The plan.
pub(super) fn plan_lines(plan: &pb::SelectionEstimate, several_methods: bool) -> Vec<String> {
    let live = plan
        .contenders
        .iter()
        .filter(|contender| contender.state() != pb::ContenderState::Excluded)
        .count();
    let mut lines = vec![format!("plan: {}", plan_words(plan, live))];
    let excluded: Vec<&pb::Contender> = plan
        .contenders
        .iter()
        .filter(|contender| contender.state() == pb::ContenderState::Excluded)
        .collect();
    for contender in excluded.iter().take(LISTED_EXCLUSIONS) {
        let name = contender_name(&contender.candidate_id, &contender.method_id, several_methods);
        lines.push(format!(
            "not in the race: {}, {}",
            printable(&name),
            exclusion(contender.exclusion(), &contender.detail)
        ));
    }
    if let Some(more) = excluded.len().checked_sub(LISTED_EXCLUSIONS + 1) {
        lines.push(format!("not in the race: {} more", more + 1));
    }
    lines
}

fn plan_words(plan: &pb::SelectionEstimate, live: usize) -> String {
    let planned = plan.planned.as_ref().map_or(0, |spending| spending.examples);
    let exhaustive = plan.exhaustive.as_ref().map_or(0, |spending| spending.examples);
    let noun = if live == 1 { "contender" } else { "contenders" };
    let mut text = format!("{live} {noun}");
    if let (Some(first), Some(last)) = (plan.data_sizes.first(), plan.data_sizes.last()) {
        text = format!("{text}, sizes from {} to {}", examples(*first), examples(*last));
    }
    text = format!(
        "{text} of {} examples; at most {} examples",
        examples(plan.data_size_full),
        examples(planned)
    );
    if exhaustive > 0 {
        let share = planned as f64 / exhaustive as f64;
        text = format!("{text}, {} of fine-tuning them all", percent(share));
    }
    if let Some(time) = &plan.wall_time {
        text = format!("{text}; about {}", span(seconds(time.seconds, time.nanos)));
    }
    text
}

/// Why a contender is out, with its numbers.
pub(super) fn exclusion(reason: pb::ExclusionReason, detail: &str) -> String {
    let reason = named(reason.as_str_name(), "EXCLUSION_REASON_").unwrap_or_default();
    match (reason.is_empty(), detail.is_empty()) {
        (_, true) => reason,
        (true, false) => printable(detail),
        (false, false) => format!("{reason}: {}", printable(detail)),
    }
}

/// What became of a trial; empty while it goes on.
pub(super) fn trial_lines(name: &str, trial: &pb::Trial) -> Vec<String> {
    let what = if trial.data_size == 0 {
        format!("{} before tuning", printable(name))
    } else {
        format!("{} at {} examples", printable(name), examples(trial.data_size))
    };
    let mut lines = Vec::new();
    let failed = trial.attempts.iter().rev().find(|attempt| {
        !matches!(
            attempt.outcome(),
            pb::AttemptOutcome::Unspecified | pb::AttemptOutcome::Observed | pb::AttemptOutcome::Cancelled
        )
    });
    if let Some(attempt) = failed.filter(|attempt| trial.attempts.last().is_some_and(|last| last == *attempt)) {
        let outcome = named(attempt.outcome().as_str_name(), "ATTEMPT_OUTCOME_").unwrap_or_default();
        let failure = named(attempt.failure().as_str_name(), "TRAINING_FAILURE_")
            .map_or_else(String::new, |failure| format!(" ({failure})"));
        let detail = if attempt.detail.is_empty() {
            String::new()
        } else {
            format!(": {}", printable(&attempt.detail))
        };
        lines.push(format!(
            "{what}: attempt {} at {} {outcome}{failure}{detail}",
            attempt.attempt,
            printable(&attempt.trainer)
        ));
    }
    match (trial.state(), &trial.observation) {
        (pb::TrialState::Observed, Some(observation)) => {
            let error = observation
                .standard_error
                .map_or_else(String::new, |error| format!(" +- {}", loss(error)));
            let reused = if trial.reused_from.is_empty() {
                String::new()
            } else {
                format!(" (as selection {} has measured it)", printable(&trial.reused_from))
            };
            lines.push(format!("{what}: loss {}{error}{reused}", loss(observation.test_loss)));
        }
        (pb::TrialState::Failed, _) => lines.push(format!("{what}: given up")),
        _ => {}
    }
    lines
}

/// A decision.
pub(super) fn decision_lines(decision: &pb::Decision) -> Vec<String> {
    vec![told_decision(decision.round, &decision.explanation)]
}

/// A decision's explanation, with its round where it does not say it itself.
pub(in crate::command) fn told_decision(round: i32, explanation: &str) -> String {
    let heading = format!("Round {round}:");
    let text = printable(explanation);
    if text.starts_with(&heading) {
        text
    } else {
        format!("{heading} {text}")
    }
}

/// The share of a run that is done.
pub(super) fn share(progress: &trainer::Progress) -> Option<f64> {
    let total = progress.total_steps.filter(|total| *total > 0)?;
    Some((progress.step as f64 / total as f64).clamp(0.0, 1.0))
}

/// A time as people read it.
pub(in crate::command) fn span(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "-".to_owned();
    }
    if seconds < 10.0 {
        return format!("{seconds:.1} s");
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "not negative; saturates beyond what anyone waits for"
    )]
    let whole = seconds.round() as u64;
    match whole {
        0..=119 => format!("{whole} s"),
        120..=7_199 => format!("{} min {} s", whole / 60, whole % 60),
        7_200..=172_799 => format!("{} h {} min", whole / 3_600, whole % 3_600 / 60),
        _ => format!("{} d {} h", whole / 86_400, whole % 86_400 / 3_600),
    }
}

/// What was or will be spent, in the units that are known.
pub(in crate::command) fn spending(spending: &Spending) -> String {
    let mut parts = vec![format!("{} examples", examples(spending.examples))];
    parts.extend(
        spending
            .device_seconds
            .filter(|seconds| *seconds > 0.0)
            .map(|seconds| format!("{} on devices", span(seconds))),
    );
    if let (Some(money), Some(currency)) = (spending.money, &spending.currency) {
        parts.push(format!("{money:.2} {}", printable(currency)));
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_for_people() {
        for (seconds, text) in [
            (0.25, "0.2 s"),
            (75.0, "75 s"),
            (150.0, "2 min 30 s"),
            (9_000.0, "2 h 30 min"),
            (200_000.0, "2 d 7 h"),
            (f64::NAN, "-"),
        ] {
            assert_eq!(span(seconds), text);
        }
    }

    #[test]
    fn failures_are_told_and_nothing_reaches_the_terminal() {
        let trial = pb::Trial {
            data_size: 1_600,
            state: pb::TrialState::Waiting.into(),
            attempts: vec![pb::Attempt {
                attempt: 2,
                trainer: "gpu".to_owned(),
                outcome: pb::AttemptOutcome::Failed.into(),
                failure: trainer::TrainingFailure::OutOfMemory.into(),
                detail: "too\u{1b}big".to_owned(),
                ..pb::Attempt::default()
            }],
            ..pb::Trial::default()
        };
        let lines = trial_lines("a", &trial);
        assert!(
            lines[0].starts_with("a at 1,600 examples: attempt 2 at gpu failed (out_of_memory): too"),
            "{lines:?}"
        );
        assert!(!lines[0].contains('\u{1b}'));
    }

    #[test]
    fn waits_are_told_when_they_change() {
        let waits = |reason: pb::SelectionWaitReason| pb::Selection {
            state: pb::SelectionState::Running.into(),
            wait_reason: reason.into(),
            ..pb::Selection::default()
        };
        let busy = waits(pb::SelectionWaitReason::NoFreeSlot);
        assert_eq!(change_lines(None, &busy).len(), 2);
        assert!(change_lines(Some(&busy), &busy).is_empty());
        assert!(change_lines(Some(&busy), &waits(pb::SelectionWaitReason::Runs)).is_empty());
    }
}
