//! A fit together with its uncertainty and predictions: what most callers want, for one curve or for many on all cores.

use rayon::prelude::*;

use crate::curve::{DataSize, LearningCurve};
use crate::fit::{FitOptions, FitReport, Fitter, LONG_REACH, Warning};
use crate::law::LawKind;
use crate::phase::Phase;
use crate::uncertainty::{Draws, Level, Prediction, bootstrap, predict};

/// How the uncertainty of forecasts is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uncertainty {
    /// No intervals.
    None,
    /// Delta method on the covariance of the ln coefficients.
    Covariance,
    /// Bootstrap.
    Bootstrap {
        /// Number of draws.
        draws: usize,
        /// Seed; the same seed gives the same draws of a curve whatever is fitted beside it.
        seed: u64,
    },
}

/// What to fit and to predict.
#[derive(Debug, Clone, PartialEq)]
pub struct ForecastOptions {
    /// The fit.
    pub fit: FitOptions,
    /// Where intervals come from.
    pub uncertainty: Uncertainty,
    /// Nominal coverage of intervals.
    pub level: Level,
    /// Sizes to predict at, each > 0.
    pub data_sizes: Vec<DataSize>,
}

impl Default for ForecastOptions {
    fn default() -> Self {
        Self {
            fit: FitOptions::default(),
            uncertainty: Uncertainty::Covariance,
            level: Level::default(),
            data_sizes: Vec::new(),
        }
    }
}

/// A fit with its predictions.
#[derive(Debug, Clone, PartialEq)]
pub struct Forecast {
    /// The fit; its warnings include those about the predictions.
    pub report: FitReport,
    /// The bootstrap's draws, where asked for and possible.
    pub draws: Option<Draws>,
    /// In the order of the sizes asked for; empty when nothing was fitted.
    pub predictions: Vec<Prediction>,
}

/// Fits and predicts.
#[must_use]
pub fn forecast(fitter: &mut Fitter, curve: &LearningCurve, options: &ForecastOptions) -> Forecast {
    let report = fitter.fit(curve, &options.fit);
    extend(fitter, curve, report, options)
}

/// Fits and predicts many curves on rayon's threads, in the order of the curves; the answers do not depend on the number of
/// threads.
#[must_use]
pub fn forecast_batch(curves: &[LearningCurve], options: &ForecastOptions) -> Vec<Forecast> {
    curves
        .par_iter()
        .map_init(Fitter::default, |fitter, curve| forecast(fitter, curve, options))
        .collect()
}

/// Adds uncertainty and predictions to a fit of `curve` by `options.fit` (its law aside, which is the report's).
#[must_use]
pub fn extend(
    fitter: &mut Fitter,
    curve: &LearningCurve,
    mut report: FitReport,
    options: &ForecastOptions,
) -> Forecast {
    let fit_options = FitOptions {
        law: report.kind,
        ..options.fit
    };
    let draws = match options.uncertainty {
        Uncertainty::Bootstrap { draws, seed } => bootstrap(fitter, curve, &fit_options, &report, draws, seed),
        Uncertainty::None | Uncertainty::Covariance => None,
    };
    let mut predictions = predict(&report, draws.as_ref(), &options.data_sizes, options.level);
    if options.uncertainty == Uncertainty::None {
        for prediction in &mut predictions {
            prediction.interval = None;
        }
    } else if predictions.iter().any(|p| p.interval.is_none()) {
        report.warnings.push(Warning::NoInterval);
    }
    let long = predictions
        .iter()
        .map(|p| p.data_size)
        .max()
        .filter(|&size| is_long(report.largest_size, size));
    report
        .warnings
        .extend(long.map(|data_size| Warning::LongExtrapolation { data_size }));
    report.warnings.extend(bound(&report));
    Forecast {
        report,
        draws,
        predictions,
    }
}

/// Whether a forecast reaches far beyond the data.
fn is_long(largest: Option<DataSize>, size: DataSize) -> bool {
    largest.is_some_and(|largest| size / LONG_REACH > largest || size > largest.saturating_mul(LONG_REACH))
}

/// Whether the newest points bend away from what the law can do.
fn bound(report: &FitReport) -> Option<Warning> {
    let law = report.law?;
    match report.phase?.phase {
        Phase::PrePower if law.kind() != LawKind::Rectified => Some(Warning::UpperBound),
        Phase::NearFloor if law.kind() == LawKind::Power => Some(Warning::NearFloor),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::law::{Law, RectifiedLaw};

    fn curve(points: u32) -> LearningCurve {
        let law = Law::Rectified(RectifiedLaw::new(500_f64.ln(), 150_f64.ln(), 0.45, 0.2));
        let noise = |i: u32| 1.0 + 0.002 * (f64::from(i) * 2.4).sin();
        let pairs: Vec<_> = (0..points)
            .map(|i| (200_u64 << i, law.loss(200 << i) * noise(i)))
            .collect();
        LearningCurve::from_pairs(&pairs).unwrap()
    }

    fn of(points: u32, law: LawKind, uncertainty: Uncertainty, sizes: &[u64]) -> Forecast {
        let fit = FitOptions {
            law,
            ..FitOptions::default()
        };
        let options = ForecastOptions {
            fit,
            uncertainty,
            data_sizes: sizes.to_vec(),
            ..ForecastOptions::default()
        };
        forecast(&mut Fitter::default(), &curve(points), &options)
    }

    #[test]
    fn each_kind_of_uncertainty_gives_what_it_says() {
        let sizes = [100_000, 400_000];
        let bootstrap = Uncertainty::Bootstrap { draws: 30, seed: 1 };
        for (uncertainty, intervals, draws) in [
            (Uncertainty::None, false, 0),
            (Uncertainty::Covariance, true, 0),
            (bootstrap, true, 30),
        ] {
            let forecast = of(10, LawKind::Rectified, uncertainty, &sizes);
            assert_eq!(
                forecast.predictions.iter().map(|p| p.data_size).collect::<Vec<_>>(),
                sizes
            );
            assert!(forecast.predictions.iter().all(|p| p.interval.is_some() == intervals));
            assert_eq!(forecast.draws.map_or(0, |d| d.laws().len()), draws);
            assert!(!forecast.report.warns("no_interval"));
        }
    }

    #[test]
    fn says_what_is_wrong_with_predictions() {
        let covariance = Uncertainty::Covariance;
        assert!(
            of(4, LawKind::Rectified, covariance, &[1000])
                .report
                .warns("no_interval")
        );
        assert!(
            of(9, LawKind::Rectified, covariance, &[51_200 * 65])
                .report
                .warns("long_extrapolation")
        );
        assert!(
            !of(9, LawKind::Rectified, covariance, &[51_200 * 64])
                .report
                .warns("long_extrapolation")
        );
        assert!(of(11, LawKind::Power, covariance, &[1]).report.warns("upper_bound"));
        let nothing = of(2, LawKind::Rectified, covariance, &[1000]);
        assert!(nothing.predictions.is_empty() && !nothing.report.warns("no_interval"));
    }

    #[test]
    fn batches_equal_single_forecasts_on_any_number_of_threads() {
        let curves: Vec<_> = (3..15).map(curve).collect();
        let options = ForecastOptions {
            uncertainty: Uncertainty::Bootstrap { draws: 10, seed: 3 },
            data_sizes: vec![1_000_000],
            ..ForecastOptions::default()
        };
        let single: Vec<_> = curves
            .iter()
            .map(|c| forecast(&mut Fitter::default(), c, &options))
            .collect();
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            assert_eq!(pool.install(|| forecast_batch(&curves, &options)), single);
        }
    }
}
