//! The local linear trend: a learning curve as a random walk of its slope, per doubling of the data.
//!
//! State (level, slope) of y = ln loss over x = log₂ data size; over a gap of h doublings
//! level += h·slope and P ← F·P·Fᵀ + q·[[h³/3, h²/2], [h²/2, h]] (integrated Wiener process);
//! observation variance r, or the observation's own
//! squared relative standard error where that is larger. Durbin & Koopman, *Time Series Analysis by State Space Methods*, ch. 3.

use crate::curve::{DataSize, Observation};

/// Variances of the model, in squared ln loss.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrendVariances {
    /// Slope innovation q per doubling, > 0.
    pub slope: f64,
    /// Observation noise r, > 0.
    pub observation: f64,
}

impl TrendVariances {
    /// To rank with: q = .010², r = .007² (fitted on published curves of 30 models).
    pub const RANK: Self = Self {
        slope: 0.010 * 0.010,
        observation: 0.007 * 0.007,
    };
    /// To quote the geometric policy's intervals with when less than 1/64 of the data was seen: q = .014².
    pub const QUOTE_FAR: Self = Self {
        slope: 0.014 * 0.014,
        observation: 0.007 * 0.007,
    };
}

/// Prior standard deviation of a candidate's slope about the pool's mean slope, ln loss per doubling.
pub const SLOPE_PRIOR_SD: f64 = 0.03;

/// A normal forecast of ln loss.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrendForecast {
    /// Mean of ln loss.
    pub mean: f64,
    /// Variance of an observation there: P00 + r.
    pub variance: f64,
}

/// The filtered state after the last observation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrendState {
    level: f64,
    slope: f64,
    p00: f64,
    p01: f64,
    p11: f64,
    log2_data_size: f64,
}

impl TrendState {
    /// Starts at the first point of an ascending curve (level = its ln loss, slope = `prior_slope`) and takes the
    /// rest in; adds to `log_likelihood` the log density of each innovation. `None` without points.
    #[must_use]
    pub fn filter(
        points: &[Observation],
        prior_slope: f64,
        variances: TrendVariances,
        log_likelihood: &mut f64,
    ) -> Option<Self> {
        let (first, rest) = points.split_first()?;
        let mut state = Self {
            level: first.log_loss(),
            slope: prior_slope,
            p00: first.log_variance(variances.observation),
            p01: 0.0,
            p11: SLOPE_PRIOR_SD * SLOPE_PRIOR_SD,
            log2_data_size: first.log2_data_size(),
        };
        for point in rest {
            state = state.carried_to(point.log2_data_size(), variances);
            let innovation = point.log_loss() - state.level;
            let variance = state.p00 + point.log_variance(variances.observation);
            *log_likelihood -= 0.5 * (variance.ln() + innovation * innovation / variance);
            state.update(innovation, variance);
        }
        Some(state)
    }

    fn update(&mut self, innovation: f64, variance: f64) {
        let (gain0, gain1) = (self.p00 / variance, self.p01 / variance);
        self.level += gain0 * innovation;
        self.slope += gain1 * innovation;
        let (p00, p01) = (self.p00, self.p01);
        self.p00 -= gain0 * p00;
        self.p01 -= gain0 * p01;
        self.p11 -= gain1 * p01;
    }

    /// The state without further observations at another size (log₂ examples, not below the last one).
    #[must_use]
    pub fn carried_to(&self, log2_data_size: f64, variances: TrendVariances) -> Self {
        let h = (log2_data_size - self.log2_data_size).max(0.0);
        let q = variances.slope;
        Self {
            level: self.level + h * self.slope,
            slope: self.slope,
            p00: self.p00 + 2.0 * h * self.p01 + h * h * self.p11 + q * h * h * h / 3.0,
            p01: self.p01 + h * self.p11 + q * h * h / 2.0,
            p11: self.p11 + q * h,
            log2_data_size,
        }
    }

    /// Forecast of an observation at a size (log₂ examples).
    #[must_use]
    pub fn forecast(&self, log2_data_size: f64, variances: TrendVariances) -> TrendForecast {
        let carried = self.carried_to(log2_data_size, variances);
        TrendForecast {
            mean: carried.level,
            variance: carried.p00 + variances.observation,
        }
    }
}

/// Mean over the curves of (last − first ln loss) / (doublings between); curves of one point are left out.
/// 0 when none is left.
#[must_use]
pub fn mean_slope<'a>(curves: impl IntoIterator<Item = &'a [Observation]>) -> f64 {
    let (mut sum, mut count) = (0.0, 0_usize);
    for curve in curves {
        if let (Some(first), Some(last)) = (curve.first(), curve.last())
            && last.data_size() > first.data_size()
        {
            sum += (last.log_loss() - first.log_loss()) / (last.log2_data_size() - first.log2_data_size());
            count += 1;
        }
    }
    if count == 0 { 0.0 } else { sum / count as f64 }
}

/// Beyond this ratio of full size to largest size seen, intervals are wider.
pub const FAR_RATIO: u64 = 64;

/// Whether the full size lies more than [`FAR_RATIO`] times beyond the largest size seen.
#[must_use]
pub fn is_far(seen: DataSize, full: DataSize) -> bool {
    full.examples() > seen.examples().saturating_mul(FAR_RATIO)
}

/// How far an interval reaches to either side, in ln loss per standard normal quantile.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reach {
    /// Below the forecast.
    pub below: f64,
    /// Above it.
    pub above: f64,
}

impl Reach {
    /// The same to both sides.
    #[must_use]
    pub const fn even(sd: f64) -> Self {
        Self { below: sd, above: sd }
    }
}

/// How a flat policy's intervals are made from the pooled trend; measured, see [`crate::ranking::rank`].
///
/// Curves accelerate, so losses come out below log-linear forecasts more often than above them: hence the two factors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Calibration {
    /// The trend's variances to quote with.
    pub variances: TrendVariances,
    /// Factor on the deviation below the forecast.
    pub below: f64,
    /// Factor above it.
    pub above: f64,
}

impl Calibration {
    /// Up to [`FAR_RATIO`].
    pub const NEAR: Self = Self {
        variances: TrendVariances {
            slope: 0.014 * 0.014,
            observation: 0.007 * 0.007,
        },
        below: 1.25,
        above: 1.0,
    };
    /// Beyond it.
    pub const FAR: Self = Self {
        variances: TrendVariances {
            slope: 0.020 * 0.020,
            observation: 0.007 * 0.007,
        },
        below: 1.6,
        above: 0.5,
    };

    /// The one for this distance.
    #[must_use]
    pub fn new(seen: DataSize, full: DataSize) -> Self {
        if is_far(seen, full) { Self::FAR } else { Self::NEAR }
    }

    /// The reach at a size (log₂ examples); `own`: variances that must not be undercut.
    #[must_use]
    pub fn reach(&self, state: &TrendState, log2_data_size: f64, own: Option<TrendVariances>) -> Reach {
        let variances = own.map_or(self.variances, |own| TrendVariances {
            slope: own.slope.max(self.variances.slope),
            observation: own.observation,
        });
        let sd = state.forecast(log2_data_size, variances).variance.sqrt();
        Reach {
            below: self.below * sd,
            above: self.above * sd,
        }
    }
}

/// The filtered trends of a pool of curves, all started with the pool's mean slope; `None` for empty curves.
#[must_use]
pub fn pooled_trends(curves: &[&[Observation]], variances: TrendVariances) -> Vec<Option<TrendState>> {
    let slope = mean_slope(curves.iter().copied());
    curves
        .iter()
        .map(|curve| TrendState::filter(curve, slope, variances, &mut 0.0))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curve::Loss;

    fn curve(points: &[(u64, f64)]) -> Vec<Observation> {
        points
            .iter()
            .map(|(d, y)| Observation::new(DataSize::new(*d).unwrap(), Loss::new(y.exp()).unwrap()))
            .collect()
    }

    #[test]
    fn a_straight_curve_with_the_right_prior_is_continued() {
        let points = curve(&[(200, 1.0), (400, 0.9), (800, 0.8)]);
        let mut likelihood = 0.0;
        let state = TrendState::filter(&points, -0.1, TrendVariances::RANK, &mut likelihood).unwrap();
        let forecast = state.forecast(3200.0_f64.log2(), TrendVariances::RANK);
        assert!((forecast.mean - 0.6).abs() < 1e-12);
        assert!(forecast.variance > 0.0 && likelihood > 0.0);
        assert!((mean_slope([points.as_slice()]) + 0.1).abs() < 1e-12);
    }

    #[test]
    fn variance_grows_with_distance_and_shrinks_with_points() {
        let points = curve(&[(200, 1.0), (400, 0.9), (800, 0.8), (1600, 0.7)]);
        let at = |n: usize, x: f64| {
            let state = TrendState::filter(&points[..n], -0.1, TrendVariances::RANK, &mut 0.0).unwrap();
            state.forecast(x, TrendVariances::RANK).variance
        };
        let x = 12800.0_f64.log2();
        assert!(at(4, x) < at(3, x));
        assert!(at(4, x) < at(4, x + 1.0));
        assert!(TrendState::filter(&[], 0.0, TrendVariances::RANK, &mut 0.0).is_none());
    }

    #[test]
    fn a_gap_is_the_same_as_two_steps_without_observation() {
        let points = curve(&[(200, 1.0), (400, 0.9)]);
        let v = TrendVariances::RANK;
        let state = TrendState::filter(&points, -0.1, v, &mut 0.0).unwrap();
        let x = 400.0_f64.log2();
        let one = state.carried_to(x + 3.0, v);
        let two = state.carried_to(x + 1.0, v).carried_to(x + 3.0, v);
        assert!((one.p00 - two.p00).abs() < 1e-15 && (one.p01 - two.p01).abs() < 1e-15);
        assert!((one.level - two.level).abs() < 1e-15);
    }
}
