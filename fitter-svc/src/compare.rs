//! Comparing laws on one curve: `AICc` for the evidence, a held-out error for the honesty, and a recommendation with its reason.

use std::fmt;

use crate::curve::{LearningCurve, Observation};
use crate::error::FitError;
use crate::fit::{FitOptions, FitReport, Fitter, Verdict};
use crate::law::LawKind;
use crate::objective::Objective;

/// Laws within this of the lowest `AICc` count as equally supported (Burnham and Anderson 2002).
pub const EQUAL_SUPPORT: f64 = 2.0;
/// Held-out points where nothing is said about them.
pub const DEFAULT_HOLDOUT: usize = 2;
/// Points that must remain for the default hold-out.
const MIN_REMAINING: usize = 5;

/// One law in a comparison.
#[derive(Debug, Clone, PartialEq)]
pub struct LawComparison {
    /// The fit on all points.
    pub report: FitReport,
    /// `AICc` minus the lowest `AICc`; `None` where `AICc` is undefined.
    pub delta_aicc: Option<f64>,
    /// Akaike weight among the laws with an `AICc`; they sum to 1.
    pub akaike_weight: Option<f64>,
    /// Root mean squared ln error on the held-out sizes, by a fit to the smaller ones; `None` when nothing was held out or
    /// too few points remain for the law.
    pub holdout_rmsd_log: Option<f64>,
}

/// Why a law is recommended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Recommendation {
    /// Lowest `AICc` by more than [`EQUAL_SUPPORT`], or among equals the one with the fewest coefficients.
    LowestAicc {
        /// The law.
        law: LawKind,
        /// Its Akaike weight.
        akaike_weight: f64,
    },
    /// Not the lowest `AICc` but within [`EQUAL_SUPPORT`] of it, with fewer coefficients.
    SimplerAndAsGood {
        /// The law.
        law: LawKind,
        /// Its `AICc` minus the lowest.
        delta_aicc: f64,
    },
    /// Too few points for `AICc`: the fitted law with the fewest coefficients.
    TooFewPointsToCompare {
        /// The law.
        law: LawKind,
    },
    /// No law could be fitted, or none falls with the data size.
    None,
}

impl Recommendation {
    /// The law, if one is recommended.
    #[must_use]
    pub fn law(self) -> Option<LawKind> {
        match self {
            Self::LowestAicc { law, .. } | Self::SimplerAndAsGood { law, .. } | Self::TooFewPointsToCompare { law } => {
                Some(law)
            }
            Self::None => None,
        }
    }
}

impl fmt::Display for Recommendation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LowestAicc { law, akaike_weight } => {
                write!(
                    f,
                    "{} has the lowest AICc, with Akaike weight {akaike_weight:.2}",
                    law.name()
                )
            }
            Self::SimplerAndAsGood { law, delta_aicc } => {
                write!(
                    f,
                    "{} is within {delta_aicc:.1} of the lowest AICc and has fewer coefficients",
                    law.name()
                )
            }
            Self::TooFewPointsToCompare { law } => {
                write!(
                    f,
                    "too few points to compare; {} needs the fewest coefficients",
                    law.name()
                )
            }
            Self::None => write!(
                f,
                "no law could be fitted: too few points, or the loss does not fall with the data size"
            ),
        }
    }
}

/// The outcome of a comparison.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// Best first: by `AICc`, laws without one last.
    pub laws: Vec<LawComparison>,
    /// Which to use and why.
    pub recommendation: Recommendation,
}

/// Fits each law in `laws` and compares them. `options.law` is ignored. `holdout` of the largest points are kept out of a
/// second fit and predicted; `None`: [`DEFAULT_HOLDOUT`] where at least five points remain.
///
/// # Errors
/// [`FitError::NoLaws`] for an empty list.
pub fn compare(
    curve: &LearningCurve,
    laws: &[LawKind],
    options: &FitOptions,
    holdout: Option<usize>,
) -> Result<Comparison, FitError> {
    if laws.is_empty() {
        return Err(FitError::NoLaws);
    }
    let points = curve.fit_points(options.max_data_size);
    let holdout = holdout.unwrap_or(if points.len() >= MIN_REMAINING + DEFAULT_HOLDOUT {
        DEFAULT_HOLDOUT
    } else {
        0
    });
    let mut fitter = Fitter::default();
    let mut comparisons: Vec<LawComparison> = Vec::with_capacity(laws.len());
    for &law in laws {
        let options = FitOptions { law, ..*options };
        comparisons.push(LawComparison {
            report: fitter.fit(curve, &options),
            delta_aicc: None,
            akaike_weight: None,
            holdout_rmsd_log: holdout_error(&mut fitter, curve, points, &options, holdout),
        });
    }
    weigh(&mut comparisons);
    let order = |c: &LawComparison| {
        (
            c.report.aicc.unwrap_or(f64::INFINITY),
            c.report.kind.coefficient_count(),
        )
    };
    comparisons.sort_by(|a, b| order(a).0.total_cmp(&order(b).0).then(order(a).1.cmp(&order(b).1)));
    let recommendation = recommend(&comparisons);
    Ok(Comparison {
        laws: comparisons,
        recommendation,
    })
}

fn holdout_error(
    fitter: &mut Fitter,
    curve: &LearningCurve,
    points: &[Observation],
    options: &FitOptions,
    holdout: usize,
) -> Option<f64> {
    let (seen, unseen) = points.split_at_checked(points.len().checked_sub(holdout)?)?;
    if unseen.is_empty() {
        return None;
    }
    let largest = seen.last()?.data_size;
    let law = fitter
        .fit(
            curve,
            &FitOptions {
                max_data_size: Some(largest),
                ..*options
            },
        )
        .law?;
    let residual = |o: &Observation| (1.0, law.log_loss((o.data_size as f64).ln()) - o.test_loss.ln());
    Some(Objective::LogRmse.value(unseen.iter().map(residual)).sqrt())
}

fn weigh(comparisons: &mut [LawComparison]) {
    let lowest = comparisons
        .iter()
        .filter_map(|c| c.report.aicc)
        .fold(f64::INFINITY, f64::min);
    let evidence = |aicc: f64| (-0.5 * (aicc - lowest)).exp();
    let total: f64 = comparisons.iter().filter_map(|c| c.report.aicc).map(evidence).sum();
    for c in comparisons {
        c.delta_aicc = c.report.aicc.map(|aicc| aicc - lowest);
        c.akaike_weight = c.report.aicc.map(|aicc| evidence(aicc) / total);
    }
}

fn recommend(sorted: &[LawComparison]) -> Recommendation {
    let usable = |c: &&LawComparison| !matches!(c.report.verdict, Verdict::TooFewPoints | Verdict::NonMonotone);
    let simplest = |c: &&LawComparison| c.report.kind.coefficient_count();
    let supported = sorted
        .iter()
        .filter(usable)
        .filter(|c| c.delta_aicc.is_some_and(|d| d <= EQUAL_SUPPORT));
    if let Some(best) = supported.min_by_key(simplest) {
        let law = best.report.kind;
        return match (best.delta_aicc, best.akaike_weight) {
            (Some(delta_aicc), _) if delta_aicc > 0.0 => Recommendation::SimplerAndAsGood { law, delta_aicc },
            (_, weight) => Recommendation::LowestAicc {
                law,
                akaike_weight: weight.unwrap_or(1.0),
            },
        };
    }
    let with_criterion = sorted.iter().filter(usable).find(|c| c.akaike_weight.is_some());
    if let Some(c) = with_criterion {
        return Recommendation::LowestAicc {
            law: c.report.kind,
            akaike_weight: c.akaike_weight.unwrap_or(1.0),
        };
    }
    let fitted = sorted.iter().filter(usable).min_by_key(simplest);
    fitted.map_or(Recommendation::None, |c| Recommendation::TooFewPointsToCompare {
        law: c.report.kind,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::law::{Law, PowerLaw, RectifiedLaw};

    fn curve(law: Law, points: u32) -> LearningCurve {
        let noise = |i: u32| 1.0 + 0.001 * (f64::from(i) * 2.4).sin();
        let pairs: Vec<_> = (0..points)
            .map(|i| (200_u64 << i, law.loss(200 << i) * noise(i)))
            .collect();
        LearningCurve::from_pairs(&pairs).unwrap()
    }

    fn all(curve: &LearningCurve) -> Comparison {
        compare(curve, &LawKind::ALL, &FitOptions::default(), None).unwrap()
    }

    #[test]
    fn finds_the_law_that_made_the_curve() {
        let rectified = Law::Rectified(RectifiedLaw::new(500_f64.ln(), 150_f64.ln(), 0.45, 1.1));
        assert_eq!(
            all(&curve(rectified, 13)).recommendation.law(),
            Some(LawKind::Rectified)
        );
        let power = Law::Power(PowerLaw::new(2.0, 0.1, 0.0));
        assert_eq!(all(&curve(power, 13)).recommendation.law(), Some(LawKind::Power));
        let floor = Law::PowerWithFloor(PowerLaw::new(4.0, 0.5, 1.0));
        assert_eq!(
            all(&curve(floor, 13)).recommendation.law(),
            Some(LawKind::PowerWithFloor)
        );
    }

    #[test]
    fn weights_sum_to_one_and_the_order_is_by_aicc() {
        let result = all(&curve(Law::Rectified(RectifiedLaw::new(6.0, 5.0, 0.45, 1.1)), 12));
        let total: f64 = result.laws.iter().filter_map(|c| c.akaike_weight).sum();
        assert!((total - 1.0).abs() < 1e-12);
        assert!(
            result
                .laws
                .windows(2)
                .all(|w| w[0].delta_aicc.unwrap() <= w[1].delta_aicc.unwrap())
        );
        assert!(result.laws.iter().all(|c| c.holdout_rmsd_log.is_some()));
    }

    #[test]
    fn few_and_flat_points_have_an_answer() {
        let few = LearningCurve::from_pairs(&[(100, 3.0), (200, 2.5), (400, 2.2)]).unwrap();
        assert_eq!(
            all(&few).recommendation,
            Recommendation::TooFewPointsToCompare { law: LawKind::Power }
        );
        let one = LearningCurve::from_pairs(&[(100, 3.0)]).unwrap();
        assert_eq!(all(&one).recommendation, Recommendation::None);
        let rising: Vec<_> = (0..9).map(|i| (100 << i, 1.0 + 0.1 * f64::from(i))).collect();
        let rising = all(&LearningCurve::from_pairs(&rising).unwrap());
        assert_eq!(rising.recommendation, Recommendation::None);
        assert!(!rising.recommendation.to_string().is_empty());
        assert_eq!(compare(&one, &[], &FitOptions::default(), None), Err(FitError::NoLaws));
    }

    #[test]
    fn holding_out_everything_is_no_error() {
        let few = LearningCurve::from_pairs(&[(100, 3.0), (200, 2.5), (400, 2.2)]).unwrap();
        for holdout in [3, 100] {
            let result = compare(&few, &LawKind::ALL, &FitOptions::default(), Some(holdout)).unwrap();
            assert!(result.laws.iter().all(|c| c.holdout_rmsd_log.is_none()));
        }
    }
}
