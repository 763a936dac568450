//! Budgets, limits and plans: what follows from what was asked for, before the first round and after each amendment; and the books.

use super::same_optional;
use crate::certificate::body::{AmendmentRecord, Body, RoundRecord};
use crate::certificate::shape::same;
use crate::error::InvalidParameter;
use crate::explain;
use crate::plan;
use crate::selection::{BudgetSpec, Limits, Spending, State};

/// The limits and the plan of the first budget, then those of each amendment, down to what was in force at the end.
pub(super) fn check(body: &Body, differences: &mut Vec<String>) {
    let first = body.amendments.first().map(|amendment| &amendment.change.before);
    let mut budget = first.unwrap_or(&body.spec.budget);
    // A deadline counts from creation, which is not the plan's matter.
    let prepared = (body.prepared.limits.clone(), body.prepared.plan_examples);
    compare(
        "when it was prepared",
        pay(body, budget, None),
        (&prepared.0, prepared.1),
        differences,
    );
    if prepared.0.deadline.is_some() {
        differences.push("what was prepared has a deadline of its own".to_owned());
    }
    let mut limits = &body.limits;
    for (index, amendment) in body.amendments.iter().enumerate() {
        let which = format!("by amendment {}", index + 1);
        let change = &amendment.change;
        if change.before != *budget {
            differences.push(format!("the budget that was replaced {which} was another one"));
        }
        check_place(body, &which, amendment, differences);
        let taken = (amendment.opened > 0).then_some(change.taken_examples);
        let written = (&change.limits, amendment.plan_examples);
        compare(&which, pay(body, &change.after, taken), written, differences);
        check_deadline(&which, &change.after, &change.limits, differences);
        (budget, limits) = (&change.after, &change.limits);
    }
    if *budget != body.spec.budget {
        differences.push("the budget at the end is not that of the last amendment".to_owned());
    }
    if body.amendments.is_empty() {
        let without = Limits {
            deadline: None,
            ..body.limits.clone()
        };
        if !same_limits(&without, &prepared.0) {
            differences.push("the limits in force at the end are not those that were prepared".to_owned());
        }
        check_deadline("at the end", &body.spec.budget, &body.limits, differences);
    } else if *limits != body.limits {
        differences.push("the limits in force at the end are not those of the last amendment".to_owned());
    }
}

fn pay(body: &Body, budget: &BudgetSpec, taken: Option<u64>) -> Result<(Limits, u64), InvalidParameter> {
    plan::budgeted(&body.spec, &body.prepared, budget, taken)
}

fn compare(
    which: &str,
    again: Result<(Limits, u64), InvalidParameter>,
    (limits, examples): (&Limits, u64),
    differences: &mut Vec<String>,
) {
    let (found, planned) = match again {
        Ok(found) => found,
        Err(error) => {
            differences.push(format!("the budget {which} cannot be: {error}"));
            return;
        }
    };
    if !same_limits(&found, limits) {
        differences.push(format!("the limits {which} do not follow from the budget"));
    }
    if planned != examples {
        differences.push(format!(
            "the budget {which} pays for a plan of {}, {} are written",
            explain::examples(planned),
            explain::grouped(examples)
        ));
    }
}

/// An amendment comes before the first round, or while one is open; and what was taken by then is not less than what was spent when the
/// last round was judged.
fn check_place(body: &Body, which: &str, amendment: &AmendmentRecord, differences: &mut Vec<String>) {
    let AmendmentRecord {
        after_rounds, opened, ..
    } = *amendment;
    let judged = body.rounds.iter().filter(|round| round.decision.is_some()).count();
    let fits = (opened == 0 || opened == after_rounds + 1) && opened <= body.rounds.len() && after_rounds <= judged;
    if !fits || (opened == 0 && after_rounds > 0) {
        differences.push(format!("no round was open when the budget was changed {which}"));
    }
    let last = after_rounds.checked_sub(1).and_then(|last| body.rounds.get(last));
    let spent = last.map_or(0, |round| round.spent.examples);
    let taken = amendment.change.taken_examples;
    if taken < spent || (opened == 0 && taken > 0) {
        differences.push(format!(
            "{} were taken {which}, {} were spent before",
            explain::examples(taken),
            explain::grouped(spent)
        ));
    }
}

/// When it is, counts from a creation that the certificate does not tell.
fn check_deadline(which: &str, budget: &BudgetSpec, limits: &Limits, differences: &mut Vec<String>) {
    if budget.wall_millis.is_some() != limits.deadline.is_some() {
        differences.push(format!("the deadline {which} does not follow from the budget"));
    }
}

/// But for the deadline.
fn same_limits(a: &Limits, b: &Limits) -> bool {
    a.examples == b.examples
        && same_optional(a.example_parameters, b.example_parameters)
        && same_optional(a.device_seconds, b.device_seconds)
        && (a.money_nanos, &a.currency) == (b.money_nanos, &b.currency)
}

/// What was spent when a round was judged is what the attempts cost until then.
pub(super) fn check_round(index: usize, record: &RoundRecord, state: &State, differences: &mut Vec<String>) {
    let until_now = if record.decision.is_some() {
        state.spent
    } else {
        Spending::ZERO
    };
    if !same(record.spent, until_now) {
        differences.push(format!(
            "round {}: {} are written as spent when it was judged, the attempts add up to {} (or another unit differs)",
            index + 1,
            explain::examples(record.spent.examples),
            explain::grouped(until_now.examples)
        ));
    }
}

/// What was saved is the price of the losses that were taken over.
pub(super) fn check_saved(body: &Body, state: &State, differences: &mut Vec<String>) {
    if !same(body.saved, state.saved) {
        differences.push(format!(
            "{} are written as saved, the losses that were taken over would have cost {} (or another unit differs)",
            explain::examples(body.saved.examples),
            explain::grouped(state.saved.examples)
        ));
    }
}
