//! Budgets, money and spending.

use finepick_proto::selector::v1 as wire;
use finepick_proto::types::v1 as types;

use super::millis;
use crate::grpc::convert::{Violations, wire as examples};
use crate::selection::{BudgetSpec, Limits, Spending};

/// Billionths in a unit.
const NANOS: i64 = 1_000_000_000;

/// The budget that is asked for; `None` when it is absent. Ranges are the domain's matter.
pub(super) fn budget(
    path: &str,
    message: Option<wire::SelectionBudget>,
    violations: &mut Violations,
) -> Option<BudgetSpec> {
    let Some(message) = message else {
        violations.push(path, "is required");
        return None;
    };
    let examples = message.examples.and_then(|examples| {
        let count = u64::try_from(examples).ok().filter(|count| *count > 0);
        if count.is_none() {
            violations.push(format!("{path}.examples"), format!("must be above 0, is {examples}"));
        }
        count
    });
    let money = message.money.and_then(|money| {
        let nanos = money_nanos(&money).filter(|nanos| *nanos > 0);
        if nanos.is_none() {
            let description = "must be above 0, at most 9223372036 units, with units and nanos of one sign";
            violations.push(format!("{path}.money"), description);
        }
        let is_code = money.currency_code.len() == 3 && money.currency_code.bytes().all(|b| b.is_ascii_uppercase());
        if !is_code {
            let description = "must be three capital letters (ISO 4217)";
            violations.push(format!("{path}.money.currency_code"), description);
        }
        Some((nanos?, money.currency_code)).filter(|_| is_code)
    });
    let wall_millis = message.wall_time.and_then(|limit| {
        let found = millis(limit).filter(|millis| *millis > 0);
        if found.is_none() {
            violations.push(format!("{path}.wall_time"), "must be longer than 0 s");
        }
        found
    });
    let relative = message.relative;
    Some(BudgetSpec {
        examples,
        relative: relative.map(|relative| (relative.budget_ratio, relative.fraction.unwrap_or(1.0))),
        exhaustive_fraction: message.exhaustive_fraction,
        example_parameters: message.example_parameters,
        device_seconds: message.device_seconds,
        money,
        wall_millis,
    })
}

/// The budget as it was asked for.
pub(super) fn shown(budget: &BudgetSpec) -> wire::SelectionBudget {
    wire::SelectionBudget {
        examples: budget.examples.map(examples),
        relative: budget.relative.map(|(budget_ratio, fraction)| wire::RelativeBudget {
            budget_ratio,
            fraction: Some(fraction),
        }),
        exhaustive_fraction: budget.exhaustive_fraction,
        example_parameters: budget.example_parameters,
        device_seconds: budget.device_seconds,
        money: budget.money.as_ref().map(|(nanos, currency)| money(*nanos, currency)),
        wall_time: budget.wall_millis.map(super::duration),
    }
}

/// An amount in billionths; `None` when units and nanos contradict each other, or it does not fit.
#[must_use]
pub fn money_nanos(money: &types::Money) -> Option<i64> {
    let nanos = i64::from(money.nanos);
    let agree = nanos.abs() < NANOS && (money.units.signum() * nanos.signum() >= 0);
    agree.then(|| money.units.checked_mul(NANOS)?.checked_add(nanos))?
}

pub(super) fn money(nanos: i64, currency: &str) -> types::Money {
    types::Money {
        currency_code: currency.to_owned(),
        units: nanos / NANOS,
        nanos: i32::try_from(nanos % NANOS).unwrap_or(0),
    }
}

/// What was or will be spent; `currency` is empty where no trainer has a price. A unit that nobody can tell stays 0 in the domain
/// and is absent here.
#[must_use]
pub fn spending(spending: &Spending, currency: &str) -> wire::Spending {
    let told = |value: f64| (value > 0.0 || spending.examples == 0).then_some(value);
    wire::Spending {
        examples: examples(spending.examples),
        example_parameters: told(spending.example_parameters),
        device_seconds: told(spending.device_seconds),
        money: (!currency.is_empty()).then(|| money(spending.money_nanos, currency)),
    }
}

/// Limits in force; absent while none is known.
pub(super) fn limits(limits: &Limits) -> Option<wire::Spending> {
    let known = Limits {
        deadline: None,
        ..limits.clone()
    };
    (known != Limits::default()).then(|| wire::Spending {
        examples: limits.examples.map(examples).unwrap_or_default(),
        example_parameters: limits.example_parameters,
        device_seconds: limits.device_seconds,
        money: limits.money_nanos.map(|nanos| money(nanos, &limits.currency)),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn money_goes_there_and_back(nanos in any::<i64>()) {
            prop_assert_eq!(money_nanos(&money(nanos, "EUR")), Some(nanos));
        }

        #[test]
        fn no_amount_of_the_wire_is_a_panic(units in any::<i64>(), nanos in any::<i32>()) {
            let found = money_nanos(&types::Money { currency_code: "EUR".to_owned(), units, nanos });
            prop_assert!(found.is_none_or(|found| found / NANOS == units));
        }
    }

    #[test]
    fn wrong_budgets_are_named_by_their_paths() {
        let mut violations = Violations::default();
        let message = wire::SelectionBudget {
            examples: Some(-1),
            money: Some(types::Money {
                currency_code: "euro".to_owned(),
                units: 1,
                nanos: -1,
            }),
            wall_time: Some(prost_types::Duration { seconds: 0, nanos: 0 }),
            ..wire::SelectionBudget::default()
        };
        budget("spec.budget", Some(message), &mut violations);
        let fields: Vec<&str> = violations.found.iter().map(|v| v.field.as_str()).collect();
        let expected = [
            "spec.budget.examples",
            "spec.budget.money",
            "spec.budget.money.currency_code",
            "spec.budget.wall_time",
        ];
        assert_eq!(fields, expected);
    }
}
