//! What a curve's shape says about its forecast: phase, noise, order.

use std::borrow::Cow;

use crate::curve::Observation;
use crate::regression::median;

/// What a warning is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WarningCode {
    /// The log-log slope still steepens (z < −2): a straight line over-predicts, the forecast is an upper bound.
    UpperBound,
    /// The log-log slope flattens (z > 2): the curve nears its floor, a straight line under-predicts.
    NearFloor,
    /// Fewer points than a forecast should be quoted from.
    TooFewPoints,
    /// The loss rises with more data by more than the noise explains.
    NonMonotone,
    /// A second difference of ln loss beyond 5 robust standard deviations.
    NoiseJump,
    /// The full size is over 64 times the largest looked at: intervals use the wider, calibrated noise.
    LongExtrapolation,
    /// No interval can be given; the detail says why.
    NoInterval,
    /// The best candidates' forecasts differ by less than their uncertainty.
    TooCloseToCall,
    /// The policy's own rule spends more than its budget.
    BudgetExceeded,
    /// A history was given and not used: it does not agree with what was measured first.
    HistoryRejected,
    /// The sizes are not a halving ladder from the budget down: they were used as they are.
    IrregularLadder,
    /// Observations carry more noise than the noise model assumes.
    NoisyObservations,
    /// Said by the fitter: the forecast is the fitted floor.
    FloorAtData,
    /// Said by the fitter: the fitted irreducible loss is 0.
    IrreducibleLossZero,
    /// Said by the fitter: the fitted pre-learned data size is 0.
    PreLearnedZero,
    /// Said by the fitter: the power phase was not seen.
    KneeBeyondData,
    /// Said by the fitter: the optimizer stopped at its limit.
    NotConverged,
    /// The budget did not pay for a run: the forecast rests on the smaller sizes.
    UnpaidRun,
}

impl WarningCode {
    /// Stable name in `snake_case`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UpperBound => "upper_bound",
            Self::NearFloor => "near_floor",
            Self::TooFewPoints => "too_few_points",
            Self::NonMonotone => "non_monotone",
            Self::NoiseJump => "noise_jump",
            Self::LongExtrapolation => "long_extrapolation",
            Self::NoInterval => "no_interval",
            Self::TooCloseToCall => "too_close_to_call",
            Self::BudgetExceeded => "budget_exceeded",
            Self::HistoryRejected => "history_rejected",
            Self::IrregularLadder => "irregular_ladder",
            Self::NoisyObservations => "noisy_observations",
            Self::FloorAtData => "floor_at_data",
            Self::IrreducibleLossZero => "irreducible_loss_zero",
            Self::PreLearnedZero => "pre_learned_zero",
            Self::KneeBeyondData => "knee_beyond_data",
            Self::NotConverged => "not_converged",
            Self::UnpaidRun => "unpaid_run",
        }
    }
}

/// A remark on an answer that is given all the same.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Warning {
    /// What it is about.
    pub code: WarningCode,
    /// One sentence for people, with the numbers.
    pub detail: Cow<'static, str>,
}

impl Warning {
    /// A warning.
    #[must_use]
    pub fn new(code: WarningCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            detail: detail.into(),
        }
    }
}

/// Points below which `too_few_points` is said.
const QUOTABLE_POINTS: usize = 5;
/// Points in the curvature window.
const PHASE_WINDOW: usize = 6;

/// Deviation of the middle of three points from the chord of its neighbours, divided so that white noise of
/// standard deviation σ gives standard deviation σ. On a dyadic ladder: second difference / √6, up to sign.
fn bend(a: &Observation, b: &Observation, c: &Observation) -> f64 {
    let t = (b.log2_data_size() - a.log2_data_size()) / (c.log2_data_size() - a.log2_data_size());
    let chord = (1.0 - t) * a.log_loss() + t * c.log_loss();
    (chord - b.log_loss()) / ((1.0 - t).powi(2) + t * t + 1.0).sqrt()
}

fn bends(points: &[Observation]) -> impl Iterator<Item = f64> + '_ {
    points
        .windows(3)
        .filter_map(|w| if let [a, b, c] = w { Some(bend(a, b, c)) } else { None })
}

/// Noise of ln loss pooled over curves: 1.48 · median absolute deviation of the normalised bends.
/// `None` without any three points in a curve.
pub(crate) fn pooled_noise<'a>(curves: impl Iterator<Item = &'a [Observation]>) -> Option<f64> {
    let all: Vec<f64> = curves.flat_map(bends).collect();
    let middle = median(&all)?;
    let deviations: Vec<f64> = all.iter().map(|b| (b - middle).abs()).collect();
    Some(1.4826 * median(&deviations)?)
}

/// Curvature of ln loss against log₂ D over the last six points divided by its standard error.
/// `None` for fewer than four points or without noise.
fn curvature_score(points: &[Observation], noise: f64) -> Option<f64> {
    let window = points.get(points.len().saturating_sub(PHASE_WINDOW)..)?;
    if window.len() < 4 || noise <= 0.0 {
        return None;
    }
    let n = window.len() as f64;
    let mean = window.iter().map(Observation::log2_data_size).sum::<f64>() / n;
    let x = |p: &Observation| p.log2_data_size() - mean;
    let power = |k: i32| window.iter().map(|p| x(p).powi(k)).sum::<f64>();
    let (s2, s3) = (power(2), power(3));
    // x² made orthogonal to 1 and x: the regressor of the quadratic coefficient.
    let regressor = |p: &Observation| x(p).powi(2) - s2 / n - (s3 / s2) * x(p);
    let square: f64 = window.iter().map(|p| regressor(p).powi(2)).sum();
    if square <= 0.0 {
        return None;
    }
    let curvature = window.iter().map(|p| regressor(p) * p.log_loss()).sum::<f64>() / square;
    Some(curvature * square.sqrt() / noise)
}

/// The warnings that a curve deserves whatever the policy.
pub(crate) fn curve_warnings(points: &[Observation], noise: Option<f64>) -> Vec<Warning> {
    let mut warnings = Vec::new();
    if points.len() < QUOTABLE_POINTS {
        let detail = format!(
            "{} points; a forecast should rest on at least {QUOTABLE_POINTS}",
            points.len()
        );
        warnings.push(Warning::new(WarningCode::TooFewPoints, detail));
    }
    let Some(noise) = noise else { return warnings };
    match curvature_score(points, noise) {
        Some(z) if z < -2.0 => warnings.push(Warning::new(
            WarningCode::UpperBound,
            format!("the loss falls faster and faster (curvature z = {z:.1}): a log-linear forecast is an upper bound"),
        )),
        Some(z) if z > 2.0 => warnings.push(Warning::new(
            WarningCode::NearFloor,
            format!("the curve flattens (curvature z = {z:.1}): a log-linear forecast is too optimistic"),
        )),
        _ => {}
    }
    let rise = 3.0 * std::f64::consts::SQRT_2 * noise;
    let risen = points.windows(2).find_map(|w| match w {
        [a, b] if b.log_loss() > a.log_loss() + rise => Some(b.data_size()),
        _ => None,
    });
    if let Some(size) = risen {
        let detail = format!("the loss rises at data size {size} by more than noise explains");
        warnings.push(Warning::new(WarningCode::NonMonotone, detail));
    }
    if noise > 0.0 && bends(points).any(|b| b.abs() > 5.0 * noise) {
        let detail = format!("a point lies over 5 noise deviations ({noise:.2e} in ln loss) off its neighbours");
        warnings.push(Warning::new(WarningCode::NoiseJump, detail));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curve::{DataSize, Loss};

    fn curve(log_losses: &[f64]) -> Vec<Observation> {
        log_losses
            .iter()
            .enumerate()
            .map(|(i, y)| Observation::new(DataSize::new(100 << i).unwrap(), Loss::new(y.exp()).unwrap()))
            .collect()
    }

    fn codes(points: &[Observation], noise: Option<f64>) -> Vec<WarningCode> {
        curve_warnings(points, noise)
            .into_iter()
            .map(|warning| warning.code)
            .collect()
    }

    #[test]
    fn curvature_names_the_phase() {
        let steepening = curve(&[1.0, 0.99, 0.96, 0.90, 0.80, 0.65]);
        let flattening = curve(&[1.0, 0.80, 0.65, 0.55, 0.49, 0.46]);
        let straight = curve(&[1.0, 0.9, 0.801, 0.7, 0.599, 0.5]);
        assert!(codes(&steepening, Some(0.005)).contains(&WarningCode::UpperBound));
        assert!(codes(&flattening, Some(0.005)).contains(&WarningCode::NearFloor));
        assert_eq!(codes(&straight, Some(0.005)), []);
    }

    #[test]
    fn rises_jumps_and_short_curves_are_named() {
        let rising = curve(&[1.0, 0.9, 1.2, 1.1, 1.0]);
        let found = codes(&rising, Some(0.01));
        assert!(found.contains(&WarningCode::NonMonotone) && found.contains(&WarningCode::NoiseJump));
        assert_eq!(codes(&curve(&[1.0, 0.9]), None), [WarningCode::TooFewPoints]);
    }

    #[test]
    fn pooled_noise_is_the_spread_of_white_noise() {
        let noisy = [0.01, -0.012, 0.008, 0.011, -0.009, -0.01, 0.013, -0.007, 0.006, -0.011];
        let curves: Vec<Vec<Observation>> = (0..6)
            .map(|k| {
                curve(
                    &(0..10)
                        .map(|i| 2.0 - 0.1 * i as f64 + noisy[(i * 3 + k) % 10])
                        .collect::<Vec<_>>(),
                )
            })
            .collect();
        let noise = pooled_noise(curves.iter().map(Vec::as_slice)).unwrap();
        assert!((0.005..0.02).contains(&noise), "{noise}");
        assert_eq!(pooled_noise([curve(&[1.0, 0.9])].iter().map(Vec::as_slice)), None);
    }
}
