//! What is charged for a run, and to which of its trials.

use crate::ports::RunEnd;
use crate::selection::{CostModel, Millis, Outcome, Spending, State, Trial};

/// What each of the trials that a run was made for is charged, in their order.
///
/// What the trainer told, else what was set aside, by the share of the work that was done. Examples are each trial's own: a plan counts
/// the sum of the sizes, and what was planned must not depend on how trainers make it cheaper; a size that was measured is paid in full,
/// and what else was done is of the others. Device-seconds and money are those of the one run, divided in proportion to what was set
/// aside for each; the parts add up. Where the budget limits the run's time, what nobody told is what the run had by the clock, at least
/// its estimate and at most what was set aside.
pub(super) fn bills(state: &State, trials: &[&Trial], end: &RunEnd, now: Millis) -> Vec<Spending> {
    let in_hand = trials.iter().filter_map(|trial| trial.running());
    let reserved: Vec<Spending> = in_hand.map(|(_, attempt)| attempt.reserved).collect();
    let (share, parts) = work_done(trials, &reserved, end);
    let (device_seconds, money_nanos) = of_the_run(state, trials, &reserved, (share, end, now));
    let seconds = divided_time(device_seconds, &weights(&reserved, |spending| spending.device_seconds));
    let money = divided_money(money_nanos, &weights(&reserved, |spending| spending.money_nanos as f64));
    let each = reserved.iter().zip(parts).zip(seconds).zip(money);
    each.map(|(((reserved, part), device_seconds), money_nanos)| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of sizes below 2^53, which are whole and not negative"
        )]
        let examples = (reserved.examples as f64 * part).ceil() as u64;
        Spending {
            examples: examples.min(reserved.examples),
            example_parameters: reserved.example_parameters * part,
            device_seconds,
            money_nanos,
        }
    })
    .collect()
}

/// Shares of their work that a run and each of its trials have had done, 0 to 1, by examples.
fn work_done(trials: &[&Trial], reserved: &[Spending], end: &RunEnd) -> (f64, Vec<f64>) {
    let share = share_done(end);
    let measured: Vec<bool> = trials.iter().map(|trial| end.at(trial.data_size).is_some()).collect();
    let examples = |which: bool| -> f64 {
        let some = reserved
            .iter()
            .zip(&measured)
            .filter(|(_, measured)| **measured == which);
        some.map(|(spending, _)| spending.examples as f64).sum()
    };
    let (done, open) = (examples(true), examples(false));
    let all = done + open;
    let left = if open > 0.0 {
        ((share * all - done) / open).clamp(0.0, 1.0)
    } else {
        share
    };
    let parts = measured.iter().map(|measured| if *measured { 1.0 } else { left });
    let share = if all > 0.0 { share.max(done / all) } else { share };
    (share, parts.collect())
}

/// How much of its work a run says that it has done, 0 to 1; all, where nobody says.
fn share_done(end: &RunEnd) -> f64 {
    match end.outcome {
        Outcome::Observed { .. } | Outcome::Lost => 1.0,
        _ => end
            .share_done
            .filter(|share| share.is_finite())
            .map_or(1.0, |share| share.clamp(0.0, 1.0)),
    }
}

/// Device-seconds and money of the whole run, by the share that is done of it, its end, and when that came.
fn of_the_run(
    state: &State,
    trials: &[&Trial],
    reserved: &[Spending],
    (share, end, now): (f64, &RunEnd, Millis),
) -> (f64, i64) {
    let all = reserved.iter().copied().fold(Spending::ZERO, Spending::plus);
    let told = end
        .device_seconds
        .filter(|seconds| seconds.is_finite() && *seconds >= 0.0);
    let model = trials.first().and_then(|trial| {
        let facts = state.prepared.as_ref()?.contenders.get(trial.contender)?;
        facts.costs.get(&trial.running()?.1.trainer)
    });
    let seconds = told.or_else(|| by_the_clock(trials, model, end.outcome.is_deadline(), share, now));
    #[expect(clippy::cast_possible_truncation, reason = "the cast saturates")]
    let by_share = (all.money_nanos as f64 * share).ceil() as i64;
    // What never ran costs nothing, and no price of a run either, unless its trainer says so.
    let priced = seconds.filter(|_| told.is_some() || share > 0.0);
    let priced = priced.and_then(|seconds| Some(model?.money(seconds)));
    let money = end.money_nanos.filter(|money| *money >= 0);
    (
        seconds.unwrap_or(all.device_seconds * share),
        money.or(priced).unwrap_or(by_share).max(0),
    )
}

/// Device-seconds of a run of which nobody tells them; `None` where the budget does not limit them.
fn by_the_clock(
    trials: &[&Trial],
    model: Option<&CostModel>,
    is_deadline: bool,
    share: f64,
    now: Millis,
) -> Option<f64> {
    let (_, in_hand) = trials.first()?.running()?;
    let paid = in_hand.max_seconds?;
    if is_deadline {
        return Some(paid);
    }
    if share <= 0.0 {
        return Some(0.0);
    }
    let each = |model: &CostModel| -> f64 {
        let seconds = trials
            .iter()
            .map(|trial| model.of(trial.data_size, None).device_seconds);
        seconds.sum()
    };
    let expected = model.map_or(paid, each) * share;
    let held = now.saturating_sub(in_hand.started).max(0) as f64 / 1e3;
    Some(held.max(expected).min(paid))
}

/// In proportion to what something is divided: what was set aside in its unit, else the sizes, else evenly.
fn weights(reserved: &[Spending], of: fn(&Spending) -> f64) -> Vec<f64> {
    let usable = |weights: &Vec<f64>| weights.iter().all(|weight| *weight >= 0.0) && weights.iter().sum::<f64>() > 0.0;
    let own: Vec<f64> = reserved.iter().map(of).collect();
    let sizes = || reserved.iter().map(|spending| spending.examples as f64).collect();
    Some(own)
        .filter(usable)
        .or_else(|| Some(sizes()).filter(usable))
        .unwrap_or_else(|| vec![1.0; reserved.len()])
}

/// The weights' running sums as shares of their whole: ascending, the last is 1.
fn shares(weights: &[f64]) -> impl Iterator<Item = f64> {
    let whole: f64 = weights.iter().sum();
    let running = weights.iter().scan(0.0, move |sum, weight| {
        *sum += weight;
        Some((*sum / whole).clamp(0.0, 1.0))
    });
    let last = weights.len().saturating_sub(1);
    running
        .enumerate()
        .map(move |(place, share)| if place == last { 1.0 } else { share })
}

fn divided_time(whole: f64, weights: &[f64]) -> Vec<f64> {
    let ends = shares(weights).map(|share| whole * share);
    ends.scan(0.0, |from, to| Some((to - std::mem::replace(from, to)).max(0.0)))
        .collect()
}

/// Whole parts that add up to the whole.
fn divided_money(whole: i64, weights: &[f64]) -> Vec<i64> {
    let last = weights.len().saturating_sub(1);
    let ends = shares(weights).enumerate().map(|(place, share)| {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the cast saturates, and is cut to the whole"
        )]
        let end = (whole as f64 * share).round() as i64;
        if place == last { whole } else { end.min(whole) }
    });
    ends.scan(0_i64, |from, to| {
        let to = to.max(*from);
        Some(to - std::mem::replace(from, to))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_divided_goes_by_what_was_set_aside() {
        let reserved = |money_nanos, examples| Spending {
            examples,
            money_nanos,
            ..Spending::ZERO
        };
        let by_money = |spending: &Spending| spending.money_nanos as f64;
        assert_eq!(
            divided_money(10, &weights(&[reserved(1, 9), reserved(3, 9)], by_money)),
            [3, 7]
        );
        // Nobody knows prices: by the sizes. Nobody has a size: evenly.
        assert_eq!(
            divided_money(9, &weights(&[reserved(0, 1), reserved(0, 2)], by_money)),
            [3, 6]
        );
        assert_eq!(
            divided_money(9, &weights(&[reserved(0, 0), reserved(0, 0)], by_money)),
            [5, 4]
        );
        assert_eq!(divided_time(9.0, &[1.0, 2.0]), [3.0, 6.0]);
        assert_eq!((divided_money(7, &[]), divided_money(7, &[0.2])), (vec![], vec![7]));
    }

    proptest! {
        #[test]
        fn parts_add_up_and_none_is_negative(
            money in 0..=i64::MAX,
            seconds in 0.0..1e12_f64,
            weights in proptest::collection::vec(1e-9..1e12_f64, 1..65),
        ) {
            let parts = divided_money(money, &weights);
            prop_assert!(parts.iter().all(|part| (0..=money).contains(part)));
            prop_assert_eq!(parts.iter().map(|part| i128::from(*part)).sum::<i128>(), i128::from(money));
            let parts = divided_time(seconds, &weights);
            prop_assert!(parts.iter().all(|part| *part >= 0.0));
            prop_assert!((parts.iter().sum::<f64>() - seconds).abs() <= 1e-9 * seconds.max(1e-300));
        }

        #[test]
        fn one_part_is_the_whole(money in 0..=i64::MAX, seconds in 0.0..1e12_f64, weight in 1e-9..1e12_f64) {
            prop_assert_eq!(divided_money(money, &[weight]), [money]);
            prop_assert_eq!(divided_time(seconds, &[weight]), [seconds]);
        }
    }
}
