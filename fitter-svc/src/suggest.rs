//! Which size to measure next: the one that takes most uncertainty off the forecast at the full size per example spent.
//!
//! Bootstrap draws of the law give the joint spread of ln L at a candidate size s and at the full size D, to which the
//! drift of [`crate::uncertainty::drift_sd`] (an integrated random walk) is added. A measurement at s with noise σ then leaves
//! Var(D) − Cov(s, D)² / (Var(s) + σ²), the update of a Gaussian: no measurement has to be simulated.

use std::fmt;

use crate::curve::{DataSize, LearningCurve, MAX_DATA_SIZE};
use crate::error::FitError;
use crate::fit::{FitOptions, Fitter};
use crate::law::LawKind;
use crate::uncertainty::{DEFAULT_DRAWS, DRIFT_SD, Draws, bootstrap};

/// A measurement that takes off less than this share of the standard deviation is not worth its cost.
pub const MIN_GAIN: f64 = 0.1;
/// A forecast surer than this (standard deviation of ln loss) needs no further measurement.
pub const SURE_ENOUGH: f64 = 0.002;
/// Points from which the rectified law is drawn; with fewer, a power law.
const MIN_RECTIFIED_POINTS: usize = 5;
/// Halvings of the full size in the default ladder.
const LADDER_STEPS: u32 = 24;

/// What may be measured.
#[derive(Debug, Clone, PartialEq)]
pub struct SuggestOptions {
    /// The size to forecast, > 0.
    pub data_size_full: DataSize,
    /// Sizes that may be measured; empty: halvings of the full size.
    pub allowed: Vec<DataSize>,
    /// No size above this; `None`: the full size.
    pub data_size_max: Option<DataSize>,
    /// Seed of the bootstrap.
    pub seed: u64,
}

/// Why this size, or why none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SuggestReason {
    /// Most uncertainty off per example.
    BestGainPerExample {
        /// Share of the standard deviation that goes.
        gain: f64,
    },
    /// Nothing can be forecast yet: the smallest allowed size that is new.
    NoForecastYet,
    /// The full size is measured.
    AlreadyMeasured,
    /// The forecast is sure enough.
    SureEnough,
    /// No allowed size is new, within the limit and above the smallest measured one.
    NothingAllowed,
    /// Every allowed size takes off less than [`MIN_GAIN`].
    TooLittleGain {
        /// The largest share that one would take off.
        best_gain: f64,
    },
}

impl fmt::Display for SuggestReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BestGainPerExample { gain } => {
                write!(
                    f,
                    "takes {:.0} % off the forecast's standard deviation, the most per example",
                    100.0 * gain
                )
            }
            Self::NoForecastYet => write!(f, "fewer than two points: nothing can be forecast yet"),
            Self::AlreadyMeasured => write!(f, "the full size is already measured"),
            Self::SureEnough => write!(
                f,
                "the forecast's standard deviation is below {:.1} %",
                100.0 * SURE_ENOUGH
            ),
            Self::NothingAllowed => write!(
                f,
                "no allowed size is new, within the limit and above the smallest measured one"
            ),
            Self::TooLittleGain { best_gain } => {
                write!(
                    f,
                    "no allowed size takes more than {:.0} % off the standard deviation",
                    100.0 * best_gain
                )
            }
        }
    }
}

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Suggestion {
    /// The size to measure; `None`: none is worth its cost.
    pub data_size: Option<DataSize>,
    /// Standard deviation of ln loss at the full size now; `None`: no forecast yet.
    pub current_log_sd: Option<f64>,
    /// The same, expected after the measurement.
    pub expected_log_sd: Option<f64>,
    /// Why.
    pub reason: SuggestReason,
}

/// Suggests the next size.
///
/// # Errors
/// [`FitError::DataSize`] for a full, allowed or largest size that is 0 or at least 2^53.
pub fn suggest_next_size(curve: &LearningCurve, options: &SuggestOptions) -> Result<Suggestion, FitError> {
    let sizes = [options.data_size_full]
        .into_iter()
        .chain(options.data_size_max)
        .chain(options.allowed.iter().copied());
    if let Some(bad) = sizes.into_iter().find(|size| *size == 0 || *size >= MAX_DATA_SIZE) {
        return Err(FitError::DataSize(bad));
    }
    let full = options.data_size_full;
    let points = curve.fit_points(None);
    let measured = |size: DataSize| points.binary_search_by_key(&size, |o| o.data_size).is_ok();
    let none = |reason| Suggestion {
        data_size: None,
        current_log_sd: None,
        expected_log_sd: None,
        reason,
    };
    if measured(full) {
        return Ok(none(SuggestReason::AlreadyMeasured));
    }
    let limit = options.data_size_max.unwrap_or(full).min(full);
    let mut allowed: Vec<DataSize> = if options.allowed.is_empty() {
        (0..LADDER_STEPS)
            .map(|step| full >> step)
            .filter(|size| *size > 0)
            .collect()
    } else {
        options.allowed.clone()
    };
    // Below the smallest measured size the law would be trusted where nothing was seen, for measurements that cost nothing.
    let from = points.first().map_or(1, |o| o.data_size);
    allowed.retain(|size| *size >= from && *size <= limit && !measured(*size));
    allowed.sort_unstable();
    allowed.dedup();
    let Some(smallest) = allowed.first().copied() else {
        return Ok(none(SuggestReason::NothingAllowed));
    };
    let Some((forecast, largest)) = forecast(curve, options.seed).zip(points.last()) else {
        let largest = points.last().map_or(0, |o| o.data_size);
        let next = allowed.iter().copied().find(|size| *size > largest).unwrap_or(smallest);
        return Ok(Suggestion {
            data_size: Some(next),
            ..none(SuggestReason::NoForecastYet)
        });
    };
    Ok(choose(
        &Spread {
            draws: &forecast,
            largest: largest.data_size,
            full,
        },
        &allowed,
    ))
}

fn forecast(curve: &LearningCurve, seed: u64) -> Option<Draws> {
    let rectified = curve.fit_points(None).len() >= MIN_RECTIFIED_POINTS;
    let law = if rectified { LawKind::Rectified } else { LawKind::Power };
    let options = FitOptions {
        law,
        ..FitOptions::default()
    };
    let mut fitter = Fitter::default();
    let report = fitter.fit(curve, &options);
    bootstrap(&mut fitter, curve, &options, &report, DEFAULT_DRAWS, seed)
}

fn choose(spread: &Spread<'_>, allowed: &[DataSize]) -> Suggestion {
    let noise = spread.draws.noise_sd();
    let now = spread.covariance(spread.full, spread.full).max(0.0).sqrt();
    let after = |size: DataSize| {
        let both = spread.covariance(size, spread.full);
        let left = now * now - both * both / (spread.covariance(size, size) + noise * noise).max(f64::MIN_POSITIVE);
        left.max(0.0).sqrt()
    };
    let answer = |reason| Suggestion {
        data_size: None,
        current_log_sd: Some(now),
        expected_log_sd: None,
        reason,
    };
    if now <= SURE_ENOUGH {
        return answer(SuggestReason::SureEnough);
    }
    let gains = allowed.iter().map(|&size| (size, 1.0 - after(size) / now));
    let best_gain = gains.clone().map(|(_, gain)| gain).fold(0.0, f64::max);
    let worthwhile = gains.filter(|(_, gain)| *gain >= MIN_GAIN);
    let per_example = |(size, gain): &(DataSize, f64)| gain / *size as f64;
    match worthwhile.max_by(|a, b| per_example(a).total_cmp(&per_example(b))) {
        Some((size, gain)) => Suggestion {
            data_size: Some(size),
            expected_log_sd: Some(after(size)),
            ..answer(SuggestReason::BestGainPerExample { gain })
        },
        None => answer(SuggestReason::TooLittleGain { best_gain }),
    }
}

/// The joint spread of ln L over sizes: draws of the law plus drift.
struct Spread<'a> {
    draws: &'a Draws,
    largest: DataSize,
    full: DataSize,
}

impl Spread<'_> {
    fn covariance(&self, left: DataSize, right: DataSize) -> f64 {
        let laws = self.draws.laws();
        let count = laws.len() as f64;
        let at = |size: DataSize| (size as f64).ln();
        let (mean_left, _) = self.draws.log_moments(left);
        let (mean_right, _) = self.draws.log_moments(right);
        let product =
            |law: &crate::law::Law| (law.log_loss(at(left)) - mean_left) * (law.log_loss(at(right)) - mean_right);
        laws.iter().map(product).sum::<f64>() / count + self.drift_covariance(left, right)
    }

    /// Covariance of an integrated random walk in doublings beyond the data: s²·h²(3H − h)/6 for h ≤ H.
    fn drift_covariance(&self, left: DataSize, right: DataSize) -> f64 {
        let doublings = |size: DataSize| (size as f64 / self.largest as f64).log2().max(0.0);
        let (near, far) = (doublings(left.min(right)), doublings(left.max(right)));
        DRIFT_SD * DRIFT_SD * near * near * (3.0 * far - near) / 6.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::law::{Law, RectifiedLaw};
    use crate::uncertainty::drift_sd;

    fn curve(points: u32) -> LearningCurve {
        let law = Law::Rectified(RectifiedLaw::new(500_f64.ln(), 150_f64.ln(), 0.45, 1.1));
        let noise = |i: u32| 1.0 + 0.003 * (f64::from(i) * 2.4).sin();
        let pairs: Vec<_> = (0..points)
            .map(|i| (200_u64 << i, law.loss(200 << i) * noise(i)))
            .collect();
        LearningCurve::from_pairs(&pairs).unwrap()
    }

    fn ask(points: u32, max: Option<DataSize>, allowed: &[DataSize]) -> Suggestion {
        let options = SuggestOptions {
            data_size_full: 1_638_400,
            allowed: allowed.to_vec(),
            data_size_max: max,
            seed: 1,
        };
        suggest_next_size(&curve(points), &options).unwrap()
    }

    #[test]
    fn suggests_a_new_size_that_helps() {
        let suggestion = ask(7, None, &[]);
        let size = suggestion.data_size.unwrap();
        assert!(size > 200 << 6 && size <= 1_638_400);
        assert!(suggestion.expected_log_sd.unwrap() < suggestion.current_log_sd.unwrap());
    }

    #[test]
    fn respects_limits() {
        assert!(ask(7, Some(30_000), &[]).data_size.is_none_or(|size| size <= 30_000));
        assert_eq!(ask(7, Some(100), &[200, 400]).reason, SuggestReason::NothingAllowed);
        assert_eq!(ask(14, None, &[]).reason, SuggestReason::AlreadyMeasured);
        assert_eq!(ask(9, None, &[3, 7]).reason, SuggestReason::NothingAllowed);
        assert!(matches!(
            ask(9, None, &[250]).reason,
            SuggestReason::TooLittleGain { .. }
        ));
    }

    #[test]
    fn begins_where_nothing_is_known() {
        let suggestion = ask(1, None, &[400, 800]);
        assert_eq!(
            (suggestion.data_size, suggestion.reason),
            (Some(400), SuggestReason::NoForecastYet)
        );
    }

    #[test]
    fn refuses_senseless_sizes() {
        for (full, allowed) in [(0, vec![]), (1 << 53, vec![]), (100, vec![0])] {
            let options = SuggestOptions {
                data_size_full: full,
                allowed,
                data_size_max: None,
                seed: 0,
            };
            assert!(matches!(
                suggest_next_size(&curve(5), &options),
                Err(FitError::DataSize(_))
            ));
        }
    }

    #[test]
    fn drift_covariance_is_consistent_with_the_drift() {
        let draws = Draws::new(vec![Law::Rectified(RectifiedLaw::new(5.0, 4.0, 0.4, 1.0))], 0.01).unwrap();
        let spread = Spread {
            draws: &draws,
            largest: 1000,
            full: 16_000,
        };
        assert!((spread.drift_covariance(16_000, 16_000).sqrt() - drift_sd(1000, 16_000)).abs() < 1e-12);
        assert!(spread.drift_covariance(500, 16_000).abs() < 1e-300);
    }
}
