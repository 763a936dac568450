//! Whether a certificate can be recomputed at all: positions that exist, names that agree, sizes on the ladder, books that balance.

use std::collections::HashSet;

use super::body::{Body, RoundRecord, TrialRecord};
use crate::plan;
use crate::selection::spec::{MAX_CONTENDERS, MAX_METHODS};
use crate::selection::{Outcome, Spending};

/// A ladder doubles below 2⁵³.
const MAX_RUNGS: usize = 64;
/// More rounds than any policy plays on a ladder of 64 sizes. Each is recomputed from the first round on.
const MAX_ROUNDS: usize = 256;
/// Sums of amounts wander in the last bits.
const SLACK: f64 = 1e-9;

/// What is wrong with it, for people; empty: nothing.
pub(super) fn check(body: &Body) -> Vec<String> {
    let mut found = Vec::new();
    let contenders = body.spec.contenders();
    if contenders == 0 || contenders > MAX_CONTENDERS || body.spec.methods.len() > MAX_METHODS {
        found.push(format!("{contenders} contenders are not within 1 to {MAX_CONTENDERS}"));
        return found;
    }
    let spec = plan::check(&body.spec).into_iter();
    found.extend(spec.map(|(path, what)| format!("the question itself is wrong: {path}: {what}")));
    check_prepared(body, &mut found);
    if body.rounds.is_empty() || body.rounds.len() > MAX_ROUNDS {
        found.push(format!("{} rounds are not within 1 to {MAX_ROUNDS}", body.rounds.len()));
    }
    if !found.is_empty() {
        return found;
    }
    check_trials(body, &mut found);
    check_records(body, &mut found);
    check_books(body, &mut found);
    found
}

fn check_prepared(body: &Body, found: &mut Vec<String>) {
    let (prepared, contenders) = (&body.prepared, body.spec.contenders());
    if prepared.contenders.len() != contenders {
        let facts = prepared.contenders.len();
        found.push(format!(
            "what was prepared speaks of {facts} contenders, the question of {contenders}"
        ));
    }
    let ladder = &prepared.data_sizes;
    let ascending = ladder.windows(2).all(|pair| matches!(pair, [a, b] if a < b));
    let ends_full = ladder.last() == Some(&prepared.data_size_full) && !prepared.data_size_full.is_zero();
    if ladder.len() > MAX_RUNGS || !ascending || !ends_full {
        found.push(format!(
            "the sizes do not ascend to the full size {}",
            prepared.data_size_full
        ));
    }
}

fn check_trials(body: &Body, found: &mut Vec<String>) {
    let mut seen = HashSet::new();
    let trials = body.rounds.iter().flat_map(|round| &round.trials);
    for trial in trials {
        let (contender, size) = (trial.contender, trial.data_size);
        if contender >= body.spec.contenders() {
            found.push(format!("a run of contender {contender}, which does not exist"));
            continue;
        }
        let name = body.spec.contender_name(contender);
        if trial.name != name {
            found.push(format!(
                "contender {contender} is {name:?} in the question and {:?} at {size} examples",
                trial.name
            ));
        }
        if !seen.insert((contender, size)) {
            found.push(format!("{name:?} is listed twice at {size} examples"));
        }
        check_measurement(&name, trial, found);
    }
}

/// The loss of a trial is what its last attempt reported, at its own size.
fn check_measurement(name: &str, trial: &TrialRecord, found: &mut Vec<String>) {
    let size = trial.data_size;
    let Some(point) = trial.observation else { return };
    if point.data_size() != size {
        found.push(format!(
            "{name:?} has a loss for {} examples in its run at {size}",
            point.data_size()
        ));
    }
    if trial.given_up.is_some() {
        found.push(format!(
            "{name:?} has a loss at {size} examples although its run was given up"
        ));
    }
    let reported = trial.attempts.last().and_then(|attempt| attempt.outcome.as_ref());
    match reported {
        Some(Outcome::Observed { observation, .. }) if *observation == point => {}
        None if trial.attempts.is_empty() && trial.reused_from.is_some() => {}
        _ => found.push(format!(
            "the loss {} of {name:?} at {size} examples is not what its last attempt reported",
            point.test_loss().nats()
        )),
    }
}

fn check_records(body: &Body, found: &mut Vec<String>) {
    let contenders = body.spec.contenders();
    for (index, RoundRecord { decision, .. }) in body.rounds.iter().enumerate() {
        let judged = decision.iter().flat_map(|decision| &decision.contenders);
        let mut seen = HashSet::new();
        for record in judged {
            if record.contender >= contenders || !seen.insert(record.contender) {
                found.push(format!(
                    "decision {} judges contender {} wrongly or twice",
                    index + 1,
                    record.contender
                ));
            }
        }
        let last = index + 1 == body.rounds.len();
        if decision.is_none() && !last {
            found.push(format!("round {} was never judged, and others followed", index + 1));
        }
    }
    for out in &body.withdrawn {
        if out.contender >= contenders || out.round >= body.rounds.len() {
            found.push(format!(
                "contender {} was withdrawn in a round that does not exist, or does not exist",
                out.contender
            ));
        } else if out.name != body.spec.contender_name(out.contender) {
            found.push(format!(
                "the withdrawn contender {} has another name: {:?}",
                out.contender, out.name
            ));
        }
    }
}

/// What was spent in all is what the attempts cost.
fn check_books(body: &Body, found: &mut Vec<String>) {
    let attempts = body
        .rounds
        .iter()
        .flat_map(|round| &round.trials)
        .flat_map(|trial| &trial.attempts);
    let (mut spent, mut wasted) = (Spending::ZERO, Spending::ZERO);
    for attempt in attempts {
        spent = spent.plus(attempt.spent);
        if !matches!(&attempt.outcome, Some(Outcome::Observed { .. }) | None) {
            wasted = wasted.plus(attempt.spent);
        }
    }
    for (what, told, summed) in [("spent", body.spent, spent), ("wasted", body.wasted, wasted)] {
        if !same(told, summed) {
            found.push(format!(
                "{what} in all: {} examples are written, the attempts add up to {} (or another unit differs)",
                told.examples, summed.examples
            ));
        }
    }
}

fn same(a: Spending, b: Spending) -> bool {
    let close = |a: f64, b: f64| (a - b).abs() <= SLACK * a.abs().max(b.abs());
    a.examples == b.examples
        && a.money_nanos == b.money_nanos
        && close(a.example_parameters, b.example_parameters)
        && close(a.device_seconds, b.device_seconds)
}
