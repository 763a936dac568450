//! The pooled local linear trend: a forecast with a predictive distribution.
//!
//! Each curve is a local linear trend in doublings ([`crate::trend`]) started with the pool's mean slope. The variances
//! q (drift of the slope) and r (noise) are the same for all candidates: given, or estimated by maximum likelihood over the
//! whole pool with q ≥ .006² against over-confidence (few short curves would often choose q = 0).

use crate::curve::Observation;
use crate::error::InvalidParameter;
use crate::policy::{Exclusion, FlatPolicy, Forecast, IntervalSource, Model, Pool, Stop, StopReason, reasonable_loss};
use crate::trend::{TrendState, TrendVariances, mean_slope, pooled_trends};

/// Noise model and simulations.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct LocalTrendParameters {
    /// Seeded draws for the win share, 100..=1000000, or 0 for the exact integral. Default 4000.
    pub draws: u32,
    /// Standard deviation √q of the slope's drift per doubling. `None`: estimated, not below .006.
    pub drift_sd: Option<f64>,
    /// Standard deviation √r of one ln loss. `None`: estimated.
    pub noise_sd: Option<f64>,
}

impl Default for LocalTrendParameters {
    fn default() -> Self {
        Self {
            draws: 4_000,
            drift_sd: None,
            noise_sd: None,
        }
    }
}

impl LocalTrendParameters {
    /// # Errors
    /// The first parameter out of its range.
    pub fn validate(&self) -> Result<(), InvalidParameter> {
        if self.draws != 0 && !(100..=1_000_000).contains(&self.draws) {
            let description = format!("must be 0 or within 100..=1000000, is {}", self.draws);
            return Err(InvalidParameter::new("simulations", description));
        }
        validate_sd("drift_standard_deviation", self.drift_sd)?;
        validate_sd("noise_standard_deviation", self.noise_sd)
    }
}

pub(crate) fn validate_sd(field: &'static str, sd: Option<f64>) -> Result<(), InvalidParameter> {
    sd.map_or(Ok(()), |value| InvalidParameter::unless_within(field, value, 1e-6, 1e3))
}

/// Least drift that is estimated, ln loss per doubling.
const DRIFT_FLOOR: f64 = 0.006;
/// Where the estimation looks, √q and √r.
const DRIFT_RANGE: (f64, f64) = (DRIFT_FLOOR, 0.5);
const NOISE_RANGE: (f64, f64) = (5e-4, 0.5);
/// Points a side of each grid, and how often it is refined.
const GRID: u32 = 7;
const REFINEMENTS: usize = 3;

/// Maximum likelihood of (q, r) over the pool: a grid in (ln √q, ln √r) that is refined about its best cell.
/// What is given stays as it is.
#[must_use]
pub fn estimate_variances(curves: &[&[Observation]], drift: Option<f64>, noise: Option<f64>) -> TrendVariances {
    let slope = mean_slope(curves.iter().copied());
    let likelihood = |drift: f64, noise: f64| {
        let variances = TrendVariances {
            slope: drift * drift,
            observation: noise * noise,
        };
        let mut sum = 0.0;
        for curve in curves {
            let _ = TrendState::filter(curve, slope, variances, &mut sum);
        }
        sum
    };
    let mut drifts = drift.map_or(log_range(DRIFT_RANGE), |sd| log_range((sd, sd)));
    let mut noises = noise.map_or(log_range(NOISE_RANGE), |sd| log_range((sd, sd)));
    let mut best = (drifts.0.exp(), noises.0.exp());
    for _ in 0..REFINEMENTS {
        let mut highest = f64::NEG_INFINITY;
        for drift in grid(drifts) {
            for noise in grid(noises) {
                let value = likelihood(drift, noise);
                if value > highest {
                    highest = value;
                    best = (drift, noise);
                }
            }
        }
        drifts = around(best.0.ln(), drifts);
        noises = around(best.1.ln(), noises);
    }
    TrendVariances {
        slope: best.0 * best.0,
        observation: best.1 * best.1,
    }
}

fn log_range((low, high): (f64, f64)) -> (f64, f64) {
    (low.ln(), high.ln())
}

fn grid((low, high): (f64, f64)) -> impl Iterator<Item = f64> {
    let points = if high > low { GRID } else { 1 };
    (0..points).map(move |i| (low + (high - low) * f64::from(i) / f64::from(GRID - 1)).exp())
}

/// One cell to either side of the best point, within the range.
fn around(best: f64, (low, high): (f64, f64)) -> (f64, f64) {
    let cell = (high - low) / f64::from(GRID - 1);
    ((best - cell).max(low), (best + cell).min(high))
}

/// The pooled local linear trend as a flat policy.
#[derive(Clone, Copy, Debug)]
pub struct LocalTrendPolicy {
    parameters: LocalTrendParameters,
}

impl LocalTrendPolicy {
    /// The policy.
    #[must_use]
    pub const fn new(parameters: LocalTrendParameters) -> Self {
        Self { parameters }
    }
}

impl FlatPolicy for LocalTrendPolicy {
    fn name(&self) -> &'static str {
        "local_trend"
    }

    fn forecast(&self, pool: &Pool<'_>) -> Vec<Result<Forecast, Exclusion>> {
        let curves: Vec<&[Observation]> = pool.members().iter().map(|member| member.seen).collect();
        let variances = estimate_variances(&curves, self.parameters.drift_sd, self.parameters.noise_sd);
        let full = pool.full().log2();
        let forecast = |(member, state): (&crate::policy::Member<'_>, Option<TrendState>)| {
            // One point has no slope of its own: the pool's would be its whole forecast.
            let state = state.filter(|_| member.seen.len() >= 2);
            let state = state.ok_or_else(|| Exclusion::too_few(2, member.seen, pool.budget()))?;
            let predicted = reasonable_loss(state.forecast(full, variances).mean)?;
            Ok(Forecast {
                score: predicted,
                correlated: predicted,
                predicted_loss: Some(predicted),
                data_sizes_used: member.seen.iter().map(Observation::data_size).collect(),
                stop: Stop::untested(StopReason::NotApplicable),
                model: Model::Trend(state, variances),
                warnings: Vec::new(),
            })
        };
        pool.members()
            .iter()
            .zip(pooled_trends(&curves, variances))
            .map(forecast)
            .collect()
    }

    fn interval_source(&self) -> IntervalSource {
        IntervalSource::Own
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use rand_distr::{Distribution, StandardNormal};

    use super::*;
    use crate::curve::{DataSize, Loss};

    /// Curves drawn from the model itself.
    fn simulated(drift: f64, noise: f64, curves: usize) -> Vec<Vec<Observation>> {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut normal = move || -> f64 { StandardNormal.sample(&mut rng) };
        (0..curves)
            .map(|_| {
                let (mut level, mut slope) = (1.0, -0.1 + 0.03 * normal());
                (0..12)
                    .map(|i| {
                        let y: f64 = level + noise * normal();
                        let (a, b) = (normal(), normal());
                        // Integrated Wiener step: Var = q/3, q/2, q.
                        level += slope + drift * (0.5 * a + b / 12.0_f64.sqrt());
                        slope += drift * a;
                        Observation::new(DataSize::new(100 << i).unwrap(), Loss::new(y.exp()).unwrap())
                    })
                    .collect()
            })
            .collect()
    }

    #[test]
    fn maximum_likelihood_finds_the_variances_that_made_the_curves() {
        let curves = simulated(0.02, 0.01, 60);
        let slices: Vec<&[Observation]> = curves.iter().map(Vec::as_slice).collect();
        let found = estimate_variances(&slices, None, None);
        let (drift, noise) = (found.slope.sqrt(), found.observation.sqrt());
        assert!(
            (0.015..0.026).contains(&drift) && (0.007..0.014).contains(&noise),
            "{drift} {noise}"
        );
        let given = estimate_variances(&slices, Some(0.05), None);
        assert!((given.slope.sqrt() - 0.05).abs() < 1e-12);
    }

    #[test]
    fn smooth_curves_do_not_make_it_over_confident() {
        let curves: Vec<Vec<Observation>> = (0..5)
            .map(|k| {
                (0..8)
                    .map(|i| {
                        let y = 1.0 - 0.1 * f64::from(i) - 0.01 * f64::from(k);
                        Observation::new(DataSize::new(100 << i).unwrap(), Loss::new(y.exp()).unwrap())
                    })
                    .collect()
            })
            .collect();
        let slices: Vec<&[Observation]> = curves.iter().map(Vec::as_slice).collect();
        assert!(estimate_variances(&slices, None, None).slope.sqrt() >= DRIFT_FLOOR - 1e-12);
        assert!(estimate_variances(&[], None, None).slope > 0.0);
    }

    #[test]
    fn parameters_are_checked() {
        assert!(LocalTrendParameters::default().validate().is_ok());
        let bad = LocalTrendParameters {
            draws: 5,
            ..LocalTrendParameters::default()
        };
        assert_eq!(bad.validate().unwrap_err().field, "simulations");
        let bad = LocalTrendParameters {
            drift_sd: Some(f64::NAN),
            ..LocalTrendParameters::default()
        };
        assert_eq!(bad.validate().unwrap_err().field, "drift_standard_deviation");
    }
}
