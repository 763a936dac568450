//! How far a forecast can be trusted: bootstrap draws, the delta method, and prediction intervals from either.
//!
//! **Bootstrap**: the fitted law plus Gaussian noise in ln loss at the measured sizes, fitted again, many times. The noise is
//! the residual spread, corrected for the coefficients and shrunk towards [`PRIOR_NOISE_SD`] as if that had been seen on
//! [`PRIOR_POINTS`] more points: with few points residuals are nearly zero whatever the noise. A point's own standard
//! error takes over where it is larger. An interval holds the spread of the draws and the noise of a single new
//! measurement, as the quantiles of the mixture of Gaussians around the draws.
//!
//! **Delta method**: first-order propagation of the covariance of the ln coefficients, Student's t quantiles.
//!
//! Both take the law to be true, which it is not, so beyond the largest measured size a drift of the slope is added, see
//! [`drift_sd`]. Measured coverage of nominal 90 % intervals (60 published curves, FLAN and WMT19, rectified law by log RMSE on
//! the first n sizes, 200 draws; `tests/measurements.rs`):
//!
//! | forecast | n = 5 | 7 | 9 | 11 | 13 |
//! |---|---|---|---|---|---|
//! | next size, bootstrap | .87 | .82 | .78 | .80 | .83 |
//! | next size, delta | .95 | .93 | .90 | .85 | .85 |
//! | full size (1,638,400), bootstrap | .75 | .80 | .83 | .78 | .83 |
//! | full size (1,638,400), delta | .98 | .77 | .87 | .85 | .85 |
//!
//! The full-size intervals from 5 and 7 points are a factor of e or more wide: read them as "unknown". Without the drift, full-size
//! coverage is .60–.65 (bootstrap) and .50–.60 (delta).

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use statrs::distribution::{ContinuousCDF, Normal, StudentsT};

use crate::curve::{DataSize, LearningCurve, Observation};
use crate::error::FitError;
use crate::fit::covariance::log_gradient;
use crate::fit::points::Points;
use crate::fit::{Covariance, FitOptions, FitReport, Fitter};
use crate::law::Law;

/// Noise of ln loss that is assumed before any residual is seen.
pub const PRIOR_NOISE_SD: f64 = 0.005;
/// How many points that assumption is worth.
pub const PRIOR_POINTS: f64 = 2.0;
/// Standard deviation by which the slope of ln L strays from the law per √doubling beyond the largest measured size. It is
/// the slope noise of the local linear trend that forecasts best on the benchmark for short histories.
pub const DRIFT_SD: f64 = 0.014;
/// Default number of bootstrap draws.
pub const DEFAULT_DRAWS: usize = 200;
/// Default nominal coverage.
pub const DEFAULT_LEVEL: f64 = 0.9;
/// Bisections of a quantile; each halves the error.
const BISECTIONS: usize = 60;

/// A checked nominal coverage in (0, 1).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Level(f64);

impl Level {
    /// Checks the level.
    ///
    /// # Errors
    /// [`FitError::Level`] unless it lies strictly between 0 and 1.
    pub fn new(level: f64) -> Result<Self, FitError> {
        if level > 0.0 && level < 1.0 {
            Ok(Self(level))
        } else {
            Err(FitError::Level(level))
        }
    }

    /// The coverage.
    #[must_use]
    pub fn get(self) -> f64 {
        self.0
    }
}

impl Default for Level {
    fn default() -> Self {
        Self(DEFAULT_LEVEL)
    }
}

/// An interval of losses in nats per token; `lower` ≤ the prediction ≤ `upper`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Lower end.
    pub lower: f64,
    /// Upper end.
    pub upper: f64,
    /// Nominal coverage.
    pub level: f64,
}

/// A forecast at one size.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prediction {
    /// Fine-tuning examples.
    pub data_size: DataSize,
    /// The law's loss in nats per token.
    pub predicted_loss: f64,
    /// Where one new measurement is expected to fall; `None` when the method gives none.
    pub interval: Option<Interval>,
}

/// Bootstrap draws of a law.
#[derive(Debug, Clone, PartialEq)]
pub struct Draws {
    laws: Vec<Law>,
    noise_sd: f64,
}

impl Draws {
    /// From laws and the noise of single ln losses, e.g. as a client got them earlier. `None` without laws or with a noise
    /// that is not finite and ≥ 0.
    #[must_use]
    pub fn new(laws: Vec<Law>, noise_sd: f64) -> Option<Self> {
        (!laws.is_empty() && noise_sd.is_finite() && noise_sd >= 0.0).then_some(Self { laws, noise_sd })
    }

    /// The laws.
    #[must_use]
    pub fn laws(&self) -> &[Law] {
        &self.laws
    }

    /// Standard deviation of a single ln loss around the law.
    #[must_use]
    pub fn noise_sd(&self) -> f64 {
        self.noise_sd
    }

    /// Mean and standard deviation over the draws of the ln loss at `data_size`, without measurement noise.
    #[must_use]
    pub fn log_moments(&self, data_size: DataSize) -> (f64, f64) {
        let x = (data_size as f64).ln();
        let count = self.laws.len() as f64;
        let mean = self.laws.iter().map(|law| law.log_loss(x)).sum::<f64>() / count;
        let variance = self
            .laws
            .iter()
            .map(|law| (law.log_loss(x) - mean).powi(2))
            .sum::<f64>()
            / count;
        (mean, variance.sqrt())
    }

    /// The interval for one new measurement at `data_size`, widened where needed to hold `predicted_loss`. `drift_sd` comes
    /// on top of the measurement noise, see [`drift_sd`].
    #[must_use]
    pub fn interval(&self, data_size: DataSize, predicted_loss: f64, drift_sd: f64, level: Level) -> Option<Interval> {
        let x = (data_size as f64).ln();
        let noise_sd = self.noise_sd.hypot(drift_sd);
        let centers: Vec<f64> = self.laws.iter().map(|law| law.log_loss(x)).collect();
        let tail = 0.5 * (1.0 - level.get());
        let lower = mixture_quantile(&centers, noise_sd, tail)?.exp();
        let upper = mixture_quantile(&centers, noise_sd, 1.0 - tail)?.exp();
        interval(lower, predicted_loss, upper, level)
    }
}

/// The noise of a single ln loss that a fit suggests (see the module's text); `None` without a law.
#[must_use]
pub fn noise_sd(report: &FitReport) -> Option<f64> {
    Some(shrunk_noise_sd(&report.law?, report.points_used, report.residual_sd))
}

/// The residual spread of a law on `points_used` points, shrunk towards the prior.
#[must_use]
pub fn shrunk_noise_sd(law: &Law, points_used: usize, residual_sd: Option<f64>) -> f64 {
    let free = law.log_coefficients().iter().filter(|log| log.is_finite()).count();
    let degrees = points_used.saturating_sub(free) as f64;
    let squares = residual_sd.map_or(0.0, |sd| sd * sd * degrees);
    ((PRIOR_POINTS * PRIOR_NOISE_SD * PRIOR_NOISE_SD + squares) / (PRIOR_POINTS + degrees)).sqrt()
}

/// How far ln L may have strayed from a fitted law at `data_size`: the law is an approximation whose slope drifts like a
/// random walk in doublings h beyond `largest_size`, so that the level has variance [`DRIFT_SD`]²·h³/3. 0 within the data.
#[must_use]
pub fn drift_sd(largest_size: DataSize, data_size: DataSize) -> f64 {
    let doublings = (data_size.max(1) as f64 / largest_size.max(1) as f64).log2().max(0.0);
    DRIFT_SD * (doublings.powi(3) / 3.0).sqrt()
}

/// Fits the law again to `count` noisy copies of its own predictions.
///
/// The same curve, options and seed give the same draws whatever else is computed beside them: the random stream is
/// seeded by the curve's contents and `seed`. `None` without a law or draws.
#[must_use]
pub fn bootstrap(
    fitter: &mut Fitter,
    curve: &LearningCurve,
    options: &FitOptions,
    report: &FitReport,
    count: usize,
    seed: u64,
) -> Option<Draws> {
    let law = report.law?;
    let noise_sd = noise_sd(report)?;
    let observations = curve.fit_points(options.max_data_size);
    let mut points = Points::new(observations);
    let start = fitter.solve(&points, options.law, options.objective, None).start;
    let fitted: Vec<f64> = observations
        .iter()
        .map(|o| law.log_loss((o.data_size as f64).ln()))
        .collect();
    let spreads = spreads(observations, noise_sd);
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ fingerprint(observations));
    let mut laws = Vec::with_capacity(count);
    for _ in 0..count {
        let noisy = fitted.iter().zip(&spreads).map(|(center, sd)| {
            let noise: f64 = StandardNormal.sample(&mut rng);
            center + sd * noise
        });
        points.set_log_losses(noisy);
        laws.push(fitter.solve(&points, options.law, options.objective, Some(start)).law);
    }
    Draws::new(laws, noise_sd)
}

/// Standard deviation of each ln loss: the noise by weight, or the point's own standard error where that is larger.
fn spreads(observations: &[Observation], noise_sd: f64) -> Vec<f64> {
    let total: f64 = observations.iter().map(|o| o.weight).sum();
    let mean_weight = total / observations.len().max(1) as f64;
    let own = |o: &Observation| o.standard_error.map_or(0.0, |se| (se / o.test_loss).min(1.0));
    observations
        .iter()
        .map(|o| (noise_sd * (mean_weight / o.weight).sqrt()).min(1.0).max(own(o)))
        .collect()
}

/// FNV-1a over the bits of the observations.
fn fingerprint(observations: &[Observation]) -> u64 {
    let words = observations
        .iter()
        .flat_map(|o| [o.data_size, o.test_loss.to_bits(), o.weight.to_bits()]);
    words
        .flat_map(u64::to_le_bytes)
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
}

/// The delta method's standard deviation of ln L at `data_size`, without measurement noise. `None` when the covariance does
/// not belong to the law.
#[must_use]
pub fn delta_log_sd(law: &Law, covariance: &Covariance, data_size: DataSize) -> Option<f64> {
    let names = law.kind().coefficient_names();
    let indices: Option<Vec<usize>> = covariance
        .names
        .iter()
        .map(|name| names.iter().position(|n| n == name))
        .collect();
    let gradient = log_gradient(law, &indices?, (data_size as f64).ln());
    let mut variance = 0.0;
    for (row, left) in gradient.iter().enumerate() {
        for (column, right) in gradient.iter().enumerate() {
            variance += left * right * covariance.get(row, column)?;
        }
    }
    variance.is_finite().then(|| variance.max(0.0).sqrt())
}

/// The delta method's interval for one new measurement at `data_size`. `degrees` of freedom: points minus free coefficients.
/// `None` without degrees of freedom, or when the covariance does not belong to the law.
#[must_use]
pub fn delta_interval(
    law: &Law,
    covariance: &Covariance,
    residual_sd: f64,
    degrees: usize,
    data_size: DataSize,
    drift_sd: f64,
    level: Level,
) -> Option<Interval> {
    let sd = delta_log_sd(law, covariance, data_size)?
        .hypot(residual_sd)
        .hypot(drift_sd);
    let t = StudentsT::new(0.0, 1.0, degrees as f64)
        .ok()?
        .inverse_cdf(0.5 * (1.0 + level.get()));
    let log_loss = law.log_loss((data_size as f64).ln());
    interval(
        (log_loss - t * sd).exp(),
        log_loss.exp(),
        (log_loss + t * sd).exp(),
        level,
    )
}

/// Predicts at `data_sizes` with intervals from `draws`, else from the report's covariance, else without. Empty without a
/// law.
#[must_use]
pub fn predict(report: &FitReport, draws: Option<&Draws>, data_sizes: &[DataSize], level: Level) -> Vec<Prediction> {
    let Some(law) = report.law else { return Vec::new() };
    let drift = |data_size| report.largest_size.map_or(0.0, |largest| drift_sd(largest, data_size));
    let by_delta = |data_size| {
        let (covariance, residual_sd) = (report.covariance.as_ref()?, report.residual_sd?);
        let degrees = report.points_used.checked_sub(covariance.names.len())?;
        delta_interval(
            &law,
            covariance,
            residual_sd,
            degrees,
            data_size,
            drift(data_size),
            level,
        )
    };
    data_sizes
        .iter()
        .map(|&data_size| {
            let predicted_loss = representable(law.loss(data_size));
            let interval = match draws {
                Some(draws) => draws.interval(data_size, predicted_loss, drift(data_size), level),
                None => by_delta(data_size),
            };
            Prediction {
                data_size,
                predicted_loss,
                interval,
            }
        })
        .collect()
}

/// Extreme extrapolations leave the range of 64-bit floats: the nearest positive finite number then.
#[must_use]
pub fn representable(loss: f64) -> f64 {
    loss.clamp(f64::MIN_POSITIVE, f64::MAX)
}

fn interval(lower: f64, predicted: f64, upper: f64, level: Level) -> Option<Interval> {
    let (lower, predicted, upper) = (representable(lower), representable(predicted), representable(upper));
    let (lower, upper) = (lower.min(predicted), upper.max(predicted));
    (!lower.is_nan() && !upper.is_nan()).then_some(Interval {
        lower,
        upper,
        level: level.get(),
    })
}

/// Quantile of the equal mixture of Gaussians of one width around `centers`.
pub(crate) fn mixture_quantile(centers: &[f64], sd: f64, probability: f64) -> Option<f64> {
    let (low, high) = centers
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), c| (l.min(*c), h.max(*c)));
    if !(low.is_finite() && high.is_finite()) {
        return None;
    }
    if sd <= 0.0 {
        return sorted_quantile(centers, probability);
    }
    let normal = Normal::standard();
    let below = |t: f64| centers.iter().map(|c| normal.cdf((t - c) / sd)).sum::<f64>() / centers.len() as f64;
    let (mut low, mut high) = (low - 9.0 * sd, high + 9.0 * sd);
    for _ in 0..BISECTIONS {
        let middle = 0.5 * (low + high);
        if high - low <= 1e-10 + 1e-6 * sd {
            break;
        }
        if below(middle) < probability {
            low = middle;
        } else {
            high = middle;
        }
    }
    Some(0.5 * (low + high))
}

/// Quantile of a sample by linear interpolation.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a position in a slice, ≥ 0"
)]
pub(crate) fn sorted_quantile(values: &[f64], probability: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let position = probability.clamp(0.0, 1.0) * sorted.len().checked_sub(1)? as f64;
    let lower = *sorted.get(position.floor() as usize)?;
    let upper = *sorted.get(position.ceil() as usize)?;
    Some(lower + (upper - lower) * position.fract())
}

#[cfg(test)]
mod tests;
