//! Which phase the newest points of a curve are in, from the curvature of ln L over ln D.
//!
//! A quadratic through the last [`WINDOW`] points gives the curvature; its standard error comes from the noise, which is
//! estimated apart from the curve's shape as σ = 1.48 · MAD(second differences) / √6, best pooled over many curves.
//! z = curvature / standard error: below −2 the loss falls ever faster (pre-power phase or the transition, Lin et al.
//! 2024), so log-linear extrapolation over-predicts; above 2 the floor is near.

use crate::curve::Observation;

/// Points that the quadratic is fitted to.
pub const WINDOW: usize = 6;
/// Fewest points that a phase is named for.
pub const MIN_POINTS: usize = 4;
/// |z| up to here counts as straight.
pub const CRITICAL_Z: f64 = 2.0;
/// Noise of ln L that is assumed at least, so that a noise-free curve has a finite z.
const MIN_NOISE_SD: f64 = 1e-9;
/// Robust estimate of a standard deviation from a median absolute deviation, under normal noise.
const MAD_TO_SD: f64 = 1.48;

/// The phase of a learning curve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Accelerating: pre-power phase or the transition out of it. Log-linear forecasts are too high.
    PrePower,
    /// A straight line in ln L over ln D.
    Power,
    /// Decelerating: the irreducible loss is near.
    NearFloor,
}

/// The evidence for a phase.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PhaseEvidence {
    /// The verdict on the phase.
    pub phase: Phase,
    /// Curvature over its standard error.
    pub z: f64,
    /// Second derivative of ln L in ln D, per (ln example)².
    pub curvature: f64,
    /// Standard deviation of ln L that was assumed for single points.
    pub noise_sd: f64,
}

/// Detects the phase at the end of ascending observations of positive size.
///
/// `noise_sd` is the standard deviation of single ln losses, as [`pooled_noise_sd`] gives it; without it the curve's own
/// second differences are used. `None` with fewer than [`MIN_POINTS`] points.
#[must_use]
pub fn detect(observations: &[Observation], noise_sd: Option<f64>) -> Option<PhaseEvidence> {
    if observations.len() < MIN_POINTS {
        return None;
    }
    let noise_sd = noise_sd
        .or_else(|| noise_sd_of(&second_differences(observations)))?
        .max(MIN_NOISE_SD);
    let tail = observations.get(observations.len().saturating_sub(WINDOW)..)?;
    let (quadratic, unit_error) = quadratic_coefficient(tail)?;
    let z = quadratic / (unit_error * noise_sd);
    let phase = if z < -CRITICAL_Z {
        Phase::PrePower
    } else if z > CRITICAL_Z {
        Phase::NearFloor
    } else {
        Phase::Power
    };
    Some(PhaseEvidence {
        phase,
        z,
        curvature: 2.0 * quadratic,
        noise_sd,
    })
}

/// The noise of single ln losses, pooled over curves (each ascending, positive sizes); `None` when no curve has three points.
pub fn pooled_noise_sd<'a>(curves: impl IntoIterator<Item = &'a [Observation]>) -> Option<f64> {
    let differences: Vec<f64> = curves.into_iter().flat_map(second_differences).collect();
    noise_sd_of(&differences)
}

/// σ of single points from second differences.
pub(crate) fn noise_sd_of(differences: &[f64]) -> Option<f64> {
    Some(MAD_TO_SD * median_absolute_deviation(differences)? / 6.0_f64.sqrt())
}

/// Second differences of ln L over ln D, each scaled to the variance 6σ² that it has on an even grid.
pub(crate) fn second_differences(observations: &[Observation]) -> Vec<f64> {
    observations
        .windows(3)
        .filter_map(|window| {
            let [left, middle, right] = window else { return None };
            let x = [left, middle, right].map(|o| (o.data_size as f64).ln());
            let y = [left, middle, right].map(|o| o.test_loss.ln());
            let share = (x[1] - x[0]) / (x[2] - x[0]);
            let gap = (1.0 - share) * y[0] + share * y[2] - y[1];
            let variance = 1.0 + share * share + (1.0 - share) * (1.0 - share);
            Some(gap * (6.0 / variance).sqrt())
        })
        .collect()
}

/// Median of |v − median v|; `None` for no values.
pub(crate) fn median_absolute_deviation(values: &[f64]) -> Option<f64> {
    let center = median(values.to_vec())?;
    median(values.iter().map(|v| (v - center).abs()).collect())
}

/// The median; `None` for no values.
pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    if values.len() % 2 == 1 {
        return Some(upper);
    }
    values.get(values.len() / 2 - 1).map(|lower| 0.5 * (lower + upper))
}

/// Coefficient of z² in the least-squares quadratic of ln L, and its standard error per unit of noise.
fn quadratic_coefficient(observations: &[Observation]) -> Option<(f64, f64)> {
    let count = observations.len() as f64;
    let x: Vec<f64> = observations.iter().map(|o| (o.data_size as f64).ln()).collect();
    let center = x.iter().sum::<f64>() / count;
    let z: Vec<f64> = x.iter().map(|x| x - center).collect();
    // Residual of z² after projection on 1 and z: the coefficient of z² is its inner product with y.
    let square_mean = z.iter().map(|z| z * z).sum::<f64>() / count;
    let slope = z.iter().map(|z| z * z * z).sum::<f64>() / z.iter().map(|z| z * z).sum::<f64>();
    let residual: Vec<f64> = z.iter().map(|z| z * z - square_mean - slope * z).collect();
    let norm: f64 = residual.iter().map(|r| r * r).sum();
    if norm.is_nan() || norm <= 0.0 {
        return None;
    }
    let product: f64 = residual
        .iter()
        .zip(observations)
        .map(|(r, o)| r * o.test_loss.ln())
        .sum();
    Some((product / norm, 1.0 / norm.sqrt()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(law: impl Fn(f64) -> f64) -> Vec<Observation> {
        (0..9_u32)
            .map(|i| {
                let size = 200_u64 << i;
                let wiggle = if i % 2 == 0 { 1.001 } else { 0.999 };
                Observation::new(size, law(size as f64) * wiggle)
            })
            .collect()
    }

    #[test]
    fn tells_the_three_phases_apart() {
        let phase = |o: &[Observation]| detect(o, Some(0.001)).unwrap().phase;
        assert_eq!(phase(&curve(|d| 4.0 / d.powf(0.2))), Phase::Power);
        assert_eq!(phase(&curve(|d| 500.0 / (150.0 + d.powf(0.45)))), Phase::PrePower);
        assert_eq!(phase(&curve(|d| 20.0 / d.powf(0.5) + 1.0)), Phase::NearFloor);
    }

    #[test]
    fn estimates_noise_apart_from_the_shape() {
        let straight: Vec<_> = curve(|d| 4.0 / d.powf(0.2));
        let bent: Vec<_> = curve(|d| 500.0 / (150.0 + d.powf(0.45)));
        let pooled = pooled_noise_sd([straight.as_slice(), bent.as_slice()]).unwrap();
        assert!((5e-4..5e-3).contains(&pooled), "{pooled}");
    }

    #[test]
    fn too_few_or_noise_free_points_are_no_trouble() {
        let two = [Observation::new(1, 1.0), Observation::new(2, 0.5)];
        assert!(detect(&two, None).is_none() && pooled_noise_sd([two.as_slice()]).is_none());
        let flat: Vec<_> = (1..6).map(|d| Observation::new(d, 1.0)).collect();
        let evidence = detect(&flat, None).unwrap();
        assert!(evidence.z.is_finite() && evidence.phase == Phase::Power);
    }

    #[test]
    fn median_of_even_and_odd_counts() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(vec![]), None);
    }
}
