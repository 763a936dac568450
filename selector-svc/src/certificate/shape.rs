//! Whether a certificate can be recomputed at all: positions that exist, names that agree, sizes on the ladder, books that balance.

use std::collections::HashSet;

use super::body::{Body, RoundRecord, TrialRecord};
use crate::constraint::Constraints;
use crate::curve::LearningCurve;
use crate::plan;
use crate::selection::spec::{MAX_CONTENDERS, MAX_METHODS};
use crate::selection::{Outcome, Spending, WorkMode};
use crate::table::{Attributes, Candidate};

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
    check_contenders(body, &mut found);
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
        return;
    }
    let asked = body.spec.data_size_full;
    if asked.is_some_and(|asked| asked != prepared.data_size_full)
        || *ladder != plan::ladder(&body.spec, prepared.data_size_full)
    {
        found.push("the sizes are not those that follow from the question".to_owned());
    }
}

/// Who may be chosen, and how large it is: of memory the trainers' estimates are believed.
fn check_contenders(body: &Body, found: &mut Vec<String>) {
    use crate::policy::ExclusionReason as Reason;
    let constraints = Constraints {
        memory_limit: None,
        ..body.spec.constraints.clone()
    };
    for (contender, facts) in body.prepared.contenders.iter().enumerate() {
        let Some((candidate, _)) = body.spec.contender(contender) else {
            continue;
        };
        let (name, own) = (body.spec.contender_name(contender), &candidate.attributes);
        if own.parameters().is_some_and(|own| facts.parameters != Some(own)) {
            found.push(format!("{name:?} has another number of weights than in the question"));
        }
        let known = Attributes::new(own.family().map(str::to_owned), facts.parameters, own.other().clone());
        let known = Candidate::new(candidate.id.clone(), known, LearningCurve::default());
        let Ok(known) = known else { continue };
        let allowed = constraints.check(&known);
        let out = facts.exclusion.as_ref().map(|exclusion| exclusion.reason);
        let differs = match (&allowed, out) {
            (Err(exclusion), found) => found != Some(exclusion.reason),
            (Ok(()), found) => matches!(found, Some(Reason::Family | Reason::Attribute)),
        };
        if differs {
            found.push(format!(
                "whether {name:?} may take part does not follow from the constraints"
            ));
        }
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
        let known = |name: &str| body.prepared.trainers.iter().any(|trainer| trainer.name == name);
        if body.spec.work_mode == WorkMode::Driven
            && let Some(stranger) = trial.attempts.iter().find(|attempt| !known(&attempt.trainer))
        {
            found.push(format!(
                "{name:?} was run at {size} examples by {:?}, which was no trainer of the selection",
                stranger.trainer
            ));
        }
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
    check_withdrawn(body, found);
}

/// Whoever is out has a run that was given up, for that reason; and whoever has such a run is out.
fn check_withdrawn(body: &Body, found: &mut Vec<String>) {
    let given_up = |index: usize| {
        let trials = body.rounds.get(index).map_or(&[][..], |round| round.trials.as_slice());
        trials.iter().filter(|trial| trial.given_up.is_some())
    };
    let mut out = HashSet::new();
    for record in &body.withdrawn {
        let stands = |trial: &&TrialRecord| {
            trial.contender == record.contender && trial.given_up.as_ref() == Some(&record.exclusion)
        };
        if !out.insert(record.contender) || given_up(record.round).find(stands).is_none() {
            found.push(format!(
                "{:?} is withdrawn in round {} without a run that was given up for that reason, or twice",
                record.name,
                record.round + 1
            ));
        }
    }
    for trial in (0..body.rounds.len()).flat_map(given_up) {
        if !out.contains(&trial.contender) {
            found.push(format!(
                "the run of {:?} at {} examples was given up, and it went on",
                trial.name, trial.data_size
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

/// But for the last bits of sums.
pub(super) fn same(a: Spending, b: Spending) -> bool {
    let close = |a: f64, b: f64| (a - b).abs() <= SLACK * a.abs().max(b.abs());
    a.examples == b.examples
        && a.money_nanos == b.money_nanos
        && close(a.example_parameters, b.example_parameters)
        && close(a.device_seconds, b.device_seconds)
}
