//! Plays the race again from a certificate's losses, and says where it comes out differently.

mod budget;

use super::VerifiedChoice;
use super::body::{Body, RankedRecord, RoundRecord};
use crate::curve::DataSize;
use crate::explain;
use crate::policy::Interval;
use crate::race::{Next, Race};
use crate::report::Report;
use crate::selection::{DecisionRecord, Ending, JudgedRecord, Phase, SelectionSpec, State};

/// Relative difference of scores beyond which they are not the same.
const TOLERANCE: f64 = 1e-9;

pub(super) fn recompute(body: &Body, differences: &mut Vec<String>) -> Option<VerifiedChoice> {
    let mut state = body.beginning();
    budget::check(body, differences);
    let mut race = match Race::new(&state) {
        Ok(race) => race,
        Err(error) => {
            differences.push(format!("the policy cannot begin with what was prepared: {error}"));
            return None;
        }
    };
    let mut next = race.judge(&state, None).next;
    for (index, record) in body.rounds.iter().enumerate() {
        compare_round(&body.spec, index, &next, record, differences);
        body.play_round(index, record, &mut state);
        budget::check_round(index, record, &state, differences);
        let Some(decision) = &record.decision else { continue };
        let judgement = race.judge(&state, record.fitted.as_ref());
        match &judgement.decision {
            Some(again) => compare_decision(&body.spec, index, decision, again, differences),
            None => differences.push(format!(
                "round {}: nothing is decided, a decision is written",
                index + 1
            )),
        }
        if let Some(round) = state.rounds.last_mut() {
            round.spent = record.spent;
            round.decision = Some((judgement.decision.unwrap_or_else(|| decision.clone()), 0));
        }
        next = judgement.next;
    }
    compare_ending(&body.ending, &next, differences);
    budget::check_saved(body, &state, differences);
    state.phase = Phase::Ended(body.ending.clone());
    state.ended = Some(0);
    state.limits = body.limits.clone();
    compare_ranking(body, &state, differences)
}

fn compare_round(spec: &SelectionSpec, index: usize, next: &Next, record: &RoundRecord, differences: &mut Vec<String>) {
    let round = index + 1;
    let Next::Round(wanted) = next else {
        differences.push(format!("round {round}: the policy had ended before it"));
        return;
    };
    let mut wanted: Vec<(usize, DataSize)> = wanted.clone();
    let mut written: Vec<(usize, DataSize)> = record.trials.iter().map(|t| (t.contender, t.data_size)).collect();
    wanted.sort_unstable();
    written.sort_unstable();
    let name = |(contender, size): &(usize, DataSize)| format!("{} at {size}", spec.contender_name(*contender));
    let missing: Vec<String> = wanted
        .iter()
        .filter(|run| written.binary_search(run).is_err())
        .map(name)
        .collect();
    let extra: Vec<String> = written
        .iter()
        .filter(|run| wanted.binary_search(run).is_err())
        .map(name)
        .collect();
    if !missing.is_empty() {
        differences.push(format!(
            "round {round}: the policy asks for {}, which was not run",
            explain::list(&missing, 5)
        ));
    }
    if !extra.is_empty() {
        differences.push(format!(
            "round {round}: the policy does not ask for {}, which was run",
            explain::list(&extra, 5)
        ));
    }
}

fn compare_decision(
    spec: &SelectionSpec,
    index: usize,
    written: &DecisionRecord,
    again: &DecisionRecord,
    differences: &mut Vec<String>,
) {
    let round = index + 1;
    let mut differs = |what: &str, written: String, again: String| {
        differences.push(format!(
            "decision {round}: {what} is {again} when recomputed, {written} is written"
        ));
    };
    let order = |decision: &DecisionRecord| {
        let names: Vec<String> = decision
            .contenders
            .iter()
            .map(|j| spec.contender_name(j.contender))
            .collect();
        names.join(", ")
    };
    if written.rule != again.rule {
        differs("the rule", written.rule.clone(), again.rule.clone());
    }
    if order(written) != order(again) {
        differs("the order", order(written), order(again));
    }
    if (written.data_size, &written.trained, &written.next) != (again.data_size, &again.trained, &again.next) {
        let sizes = |d: &DecisionRecord| format!("{} ({:?}, then {:?})", d.data_size, d.trained, d.next);
        differs("the size", sizes(written), sizes(again));
    }
    if !same_optional(written.log_threshold, again.log_threshold) {
        differs(
            "the threshold",
            number(written.log_threshold),
            number(again.log_threshold),
        );
    }
    if written.saved_examples != again.saved_examples {
        differs(
            "what was saved",
            written.saved_examples.to_string(),
            again.saved_examples.to_string(),
        );
    }
    if !same_optional(written.expected_regret, again.expected_regret) {
        differs(
            "the expected regret",
            number(written.expected_regret),
            number(again.expected_regret),
        );
    }
    for judged in &written.contenders {
        let other = again
            .contenders
            .iter()
            .find(|other| other.contender == judged.contender);
        if let Some(other) = other {
            compare_judged(&spec.contender_name(judged.contender), judged, other, &mut differs);
        }
    }
}

fn compare_judged(
    name: &str,
    written: &JudgedRecord,
    again: &JudgedRecord,
    differs: &mut impl FnMut(&str, String, String),
) {
    if written.verdict != again.verdict {
        let verdict = |judged: &JudgedRecord| format!("{:?}", judged.verdict).to_lowercase();
        differs(&format!("{name}'s verdict"), verdict(written), verdict(again));
    }
    if !same_optional(written.log_score, again.log_score) {
        differs(
            &format!("{name}'s score"),
            number(written.log_score),
            number(again.log_score),
        );
    }
    if !same_optional(written.log_sd, again.log_sd) {
        differs(
            &format!("{name}'s uncertainty"),
            number(written.log_sd),
            number(again.log_sd),
        );
    }
    if written.data_size != again.data_size {
        differs(
            &format!("{name}'s largest size"),
            written.data_size.to_string(),
            again.data_size.to_string(),
        );
    }
}

/// A selection may end at a limit whatever the policy wants next; by itself it ends when the policy does.
fn compare_ending(written: &Ending, next: &Next, differences: &mut Vec<String>) {
    let fits = match (written, next) {
        (Ending::Succeeded, Next::Finish(Ending::Succeeded)) | (Ending::BudgetExhausted { .. }, Next::Round(_)) => true,
        (Ending::BudgetExhausted { .. }, Next::Finish(ending)) => {
            matches!(ending, Ending::BudgetExhausted { .. } | Ending::Succeeded)
        }
        _ => false,
    };
    if !fits {
        let again = match next {
            Next::Round(_) => "go on with another round".to_owned(),
            Next::Finish(ending) => format!("end as {}", word(ending)),
        };
        differences.push(format!(
            "the selection is written to have ended as {}, recomputed it would {again}",
            word(written)
        ));
    }
}

fn word(ending: &Ending) -> &'static str {
    match ending {
        Ending::Succeeded => "succeeded",
        Ending::BudgetExhausted { .. } => "exhausted its budget",
        Ending::Failed { .. } => "failed",
        Ending::Cancelled { .. } => "cancelled",
    }
}

fn compare_ranking(body: &Body, state: &State, differences: &mut Vec<String>) -> Option<VerifiedChoice> {
    let report = Report::of(&body.selection_id, state, 0);
    let again: Vec<RankedRecord> = report
        .contenders
        .iter()
        .map(|entry| RankedRecord::of(state, entry))
        .collect();
    if body.ranking.len() != again.len() {
        differences.push(format!(
            "the ranking has {} places, recomputed {}",
            body.ranking.len(),
            again.len()
        ));
    }
    for (written, again) in body.ranking.iter().zip(&again) {
        compare_place(written, again, differences);
    }
    let Some(choice) = report.choice else {
        differences.push("recomputed there is no choice".to_owned());
        return None;
    };
    let (written, named) = (&body.choice, &choice.named);
    if (written.contender, &written.candidate, &written.method) != (named.contender, &named.candidate, &named.method) {
        differences.push(format!(
            "the choice is {} with {} when recomputed, {} with {} is written",
            named.candidate, named.method, written.candidate, written.method
        ));
    }
    if !same_optional(written.predicted_loss, choice.predicted_loss)
        || !same_interval(written.interval, choice.interval)
    {
        differences.push(format!(
            "the expected loss of the choice is {} when recomputed, {} is written (or its interval differs)",
            number(choice.predicted_loss),
            number(written.predicted_loss)
        ));
    }
    Some(VerifiedChoice {
        named: choice.named,
        predicted_loss: choice.predicted_loss,
        interval: choice.interval,
    })
}

fn compare_place(written: &RankedRecord, again: &RankedRecord, differences: &mut Vec<String>) {
    let place = again.rank;
    if (written.rank, written.contender, &written.name) != (again.rank, again.contender, &again.name) {
        differences.push(format!(
            "place {place} is {}'s when recomputed, {} is written",
            again.name, written.name
        ));
        return;
    }
    let same = same_optional(written.predicted_loss, again.predicted_loss)
        && same_optional(written.log_standard_deviation, again.log_standard_deviation)
        && same_optional(written.win_share, again.win_share)
        && same_interval(written.interval, again.interval);
    if !same {
        differences.push(format!(
            "place {place}: {}'s expected loss is {} when recomputed, {} is written (or its uncertainty differs)",
            again.name,
            number(again.predicted_loss),
            number(written.predicted_loss)
        ));
    }
    if written.dropped_after_round != again.dropped_after_round {
        differences.push(format!(
            "place {place}: {} was dropped after another round than is written",
            again.name
        ));
    }
}

fn same_number(a: f64, b: f64) -> bool {
    // The difference of a score from 0 is measured against 1: ln loss crosses 0.
    (a - b).abs() <= TOLERANCE * a.abs().max(b.abs()).max(1.0) || a.to_bits() == b.to_bits()
}

fn same_optional(a: Option<f64>, b: Option<f64>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => same_number(a, b),
        (None, None) => true,
        _ => false,
    }
}

fn same_interval(a: Option<Interval>, b: Option<Interval>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => {
            same_number(a.lower, b.lower) && same_number(a.upper, b.upper) && same_number(a.level, b.level)
        }
        (None, None) => true,
        _ => false,
    }
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(|| "absent".to_owned(), |value| format!("{value}"))
}
