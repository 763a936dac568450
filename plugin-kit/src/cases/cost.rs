//! Cost: never negative, never decreasing, final at the end.

use finepick_proto::trainer::v1::RunCost;
use finepick_proto::trainer::v1::training_event::Kind;
use finepick_proto::types::v1::Money;

use super::identity::is_amount;
use crate::case::{Case, Needs, case};
use crate::kit::Scope;
use crate::verdict::{Verdict, ensure, equal};
use crate::watch::Record;

pub(super) const CASES: &[Case] = &[
    case!(
        "cost.monotone",
        ["C-8.1"],
        Needs::Nothing,
        Shared,
        monotone,
        "Cost is finite, not negative, and does not decrease from event to event."
    ),
    case!(
        "cost.final",
        ["C-8.2"],
        Needs::Nothing,
        Shared,
        final_cost,
        "An ended run shows the cost of its last cost event."
    ),
    case!(
        "cost.money",
        ["C-8.3"],
        Needs::Nothing,
        Shared,
        money,
        "Money is reported exactly when there is a price table, in its currency."
    ),
];

fn costs(record: &Record) -> Vec<RunCost> {
    let cost = |kind: &Kind| match kind {
        Kind::Cost(cost) => Some(cost.clone()),
        _ => None,
    };
    record
        .events
        .iter()
        .filter_map(|event| event.kind.as_ref().and_then(cost))
        .collect()
}

fn nanos(money: &Money) -> i128 {
    i128::from(money.units) * 1_000_000_000 + i128::from(money.nanos)
}

async fn monotone(scope: &Scope) -> Verdict {
    let record = scope.finished().await?;
    let costs = costs(&record);
    for cost in &costs {
        let seconds = cost.device_seconds;
        ensure(
            "C-8.1",
            seconds.is_finite() && seconds >= 0.0,
            "device_seconds finite and >= 0",
            cost,
        )?;
        let paid = cost.money.as_ref().is_none_or(|money| nanos(money) >= 0);
        ensure("C-8.1", paid, "money >= 0", cost)?;
    }
    for pair in costs.windows(2) {
        let [before, after] = pair else { continue };
        let grows = before.device_seconds <= after.device_seconds;
        ensure(
            "C-8.1",
            grows,
            format!("device_seconds of at least {}", before.device_seconds),
            after,
        )?;
        let paid = |cost: &RunCost| cost.money.as_ref().map_or(0, nanos);
        ensure(
            "C-8.1",
            paid(before) <= paid(after),
            format!("at least {:?}", before.money),
            &after.money,
        )?;
    }
    Ok(())
}

async fn final_cost(scope: &Scope) -> Verdict {
    let record = scope.finished().await?;
    let last = costs(&record).pop();
    ensure("C-8.2", last.is_some(), "a cost event", &last)?;
    equal("C-8.2", "the cost of the last cost event", &last, &record.run.cost)
}

async fn money(scope: &Scope) -> Verdict {
    let record = scope.finished().await?;
    let prices = &scope.capabilities.prices;
    let currencies: Vec<_> = prices
        .iter()
        .filter_map(|price| price.price.as_ref())
        .map(|price| &price.currency_code)
        .collect();
    for cost in costs(&record).iter().chain(&record.run.cost) {
        let priced = cost.money.is_none() || !prices.is_empty();
        ensure("C-8.3", priced, "no money without a price table", cost)?;
        match &cost.money {
            None => ensure("C-8.3", prices.is_empty(), "money, by the price table", cost)?,
            Some(money) => {
                ensure(
                    "C-8.3",
                    currencies.contains(&&money.currency_code),
                    format!("one of {currencies:?}"),
                    money,
                )?;
                ensure("C-8.3", is_amount(money), "units >= 0, nanos 0 to 999,999,999", money)?;
            }
        }
    }
    Ok(())
}
