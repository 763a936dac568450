//! What follows from decisions and forecasts, the same for replays and for selections with real runs: the final order, intervals,
//! shares of simulations.

use statrs::function::erf::erf_inv;

use crate::policy::{FinalForecast, Interval};
use crate::win_share::{Normal, win_shares};

/// exp of more than this is no loss.
const LARGEST_LOG: f64 = 700.0;

/// The loss behind its logarithm, finite.
#[must_use]
pub fn nats(log_loss: f64) -> f64 {
    log_loss.min(LARGEST_LOG).exp()
}

/// The interval of nominal coverage `level` about a forecast; `None` where the policy gives none.
#[must_use]
pub fn interval(forecast: &FinalForecast, level: f64) -> Option<Interval> {
    let reach = forecast.reach?;
    let quantile = std::f64::consts::SQRT_2 * erf_inv(level);
    Some(Interval {
        lower: nats(forecast.log_loss - quantile * reach.below),
        upper: nats(forecast.log_loss + quantile * reach.above),
        level,
    })
}

/// Share of simulations in which each is the best of all that have a forecast; none where one of these has no predictive distribution.
/// `draws` as [`win_shares`] takes them.
#[must_use]
pub fn shares(forecasts: &[Option<FinalForecast>], draws: u32, seed: u64) -> Vec<Option<f64>> {
    let normal = |f: &FinalForecast| {
        Some(Normal {
            mean: f.log_loss,
            sd: f.sd?,
        })
    };
    let normals: Option<Vec<Normal>> = forecasts.iter().flatten().map(normal).collect();
    let mut shares = normals.map(|normals| win_shares(&normals, draws, seed).into_iter());
    // One share for each with a forecast, in their order.
    let share = |forecast: &Option<FinalForecast>| forecast.as_ref().and_then(|_| shares.as_mut()?.next());
    forecasts.iter().map(share).collect()
}

/// From decisions as (best first, how many went on): (who, position of the decision that dropped it), the last decision's order first, then
/// the eliminated, the latest first.
#[must_use]
pub fn order(decisions: &[(Vec<usize>, usize)]) -> Vec<(usize, Option<usize>)> {
    let mut order: Vec<(usize, Option<usize>)> = Vec::new();
    for (index, (judged, kept)) in decisions.iter().enumerate().rev() {
        let last = index + 1 == decisions.len();
        let skip = if last { 0 } else { *kept };
        for (place, candidate) in judged.iter().enumerate().skip(skip) {
            // Who comes back at the end because nobody else is left has its place already.
            if order.iter().all(|(placed, _)| placed != candidate) {
                order.push((*candidate, (place >= *kept).then_some(index)));
            }
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trend::Reach;

    fn forecast(log_loss: f64, sd: Option<f64>) -> FinalForecast {
        FinalForecast {
            log_loss,
            sd,
            reach: sd.map(Reach::even),
        }
    }

    #[test]
    fn the_last_decision_comes_first_then_the_dropped() {
        let decisions = [(vec![2, 0, 1, 3], 2), (vec![0, 2], 1)];
        assert_eq!(order(&decisions), [(0, None), (2, Some(1)), (1, Some(0)), (3, Some(0))]);
        // Everybody live failed: the dropped come back.
        let decisions = [(vec![2, 0, 1], 1), (vec![0, 1], 1)];
        assert_eq!(order(&decisions), [(0, None), (1, Some(1))]);
    }

    #[test]
    fn shares_go_to_those_with_a_forecast() {
        let shares_of = |sd| shares(&[Some(forecast(1.0, Some(0.1))), None, Some(forecast(1.0, sd))], 0, 0);
        let found = shares_of(Some(0.1));
        assert!((found[0].unwrap() - 0.5).abs() < 1e-6 && found[1].is_none());
        assert_eq!(shares_of(None), [None, None, None]);
    }

    #[test]
    fn intervals_reach_as_far_as_they_are_told() {
        let interval = interval(&forecast(0.0, Some(1.0)), 0.9).unwrap();
        assert!((interval.upper.ln() - 1.644_853_6).abs() < 1e-6);
        assert!((interval.lower * interval.upper - 1.0).abs() < 1e-9);
    }
}
