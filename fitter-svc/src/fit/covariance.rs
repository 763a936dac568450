//! How well the points determine the coefficients: residual spread and covariance of the ln coefficients.
//!
//! Covariance = σ² (Jᵀ W J)⁻¹ with J the derivatives of ln L in the ln coefficients that are off their bounds. J is formed by
//! central differences of the law and factorised by Gram–Schmidt, not through `JᵀJ`, which would square its condition.

use super::report::Covariance;
use super::weighted_residuals;
use crate::curve::Observation;
use crate::law::{CoefficientName, Law};

/// Step of the central differences in a ln coefficient.
const STEP: f64 = 1e-5;
/// A column whose part that is orthogonal to the earlier ones is relatively smaller is not determined.
const RANK_TOLERANCE: f64 = 1e-7;

/// What the points say about the law's precision.
pub(crate) struct Spread {
    pub(crate) residual_sd: Option<f64>,
    pub(crate) covariance: Option<Covariance>,
    /// The information matrix is regular.
    pub(crate) determined: bool,
}

/// The ln coefficients off their bounds: (index, name).
fn free_coefficients(law: &Law) -> Vec<(usize, CoefficientName)> {
    let logs = law.log_coefficients();
    let names = law.kind().coefficient_names();
    names
        .iter()
        .zip(logs)
        .enumerate()
        .filter(|(_, (_, log))| log.is_finite())
        .map(|(i, (&name, _))| (i, name))
        .collect()
}

/// d ln L / d ln coefficient at ln D for each coefficient in `indices`.
pub(crate) fn log_gradient(law: &Law, indices: &[usize], log_data_size: f64) -> Vec<f64> {
    let logs = law.log_coefficients();
    let moved = |index: usize, step: f64| {
        let mut logs = logs.clone();
        if let Some(log) = logs.get_mut(index) {
            *log += step;
        }
        Law::from_log_coefficients(law.kind(), &logs).map_or(f64::NAN, |law| law.log_loss(log_data_size))
    };
    indices
        .iter()
        .map(|&i| (moved(i, STEP) - moved(i, -STEP)) / (2.0 * STEP))
        .collect()
}

/// Residual spread and covariance of a law on the points it was fitted to.
pub(crate) fn spread(observations: &[Observation], law: &Law) -> Spread {
    let free = free_coefficients(law);
    let degrees = observations.len().saturating_sub(free.len());
    let total: f64 = observations.iter().map(|o| o.weight).sum();
    let scale = observations.len() as f64 / total;
    let squares: f64 = weighted_residuals(observations, law)
        .map(|(w, r)| w * scale * r * r)
        .sum();
    let residual_sd = (degrees > 0).then(|| (squares / degrees as f64).sqrt());
    let indices: Vec<usize> = free.iter().map(|(i, _)| *i).collect();
    let inverse = information_inverse(observations, law, &indices, scale);
    let determined = inverse.is_some();
    let covariance = residual_sd.zip(inverse).map(|(sd, inverse)| Covariance {
        names: free.iter().map(|(_, name)| *name).collect(),
        values: inverse.into_iter().map(|v| v * sd * sd).collect(),
    });
    let covariance = covariance.filter(|c| c.values.iter().all(|v| v.is_finite()));
    Spread {
        residual_sd,
        covariance,
        determined,
    }
}

#[expect(clippy::needless_range_loop, reason = "triangular matrices are written by index")]
/// (Jᵀ W J)⁻¹, row-major; `None` when J has not full rank.
fn information_inverse(observations: &[Observation], law: &Law, indices: &[usize], scale: f64) -> Option<Vec<f64>> {
    let size = indices.len();
    let mut columns = vec![Vec::with_capacity(observations.len()); size];
    for o in observations {
        let root = (o.weight * scale).sqrt();
        for (column, g) in columns
            .iter_mut()
            .zip(log_gradient(law, indices, (o.data_size as f64).ln()))
        {
            column.push(root * g);
        }
    }
    let upper = gram_schmidt(&mut columns)?;
    // R⁻¹ by back substitution, column by column; then (RᵀR)⁻¹ = R⁻¹ R⁻ᵀ.
    let mut inverse = vec![vec![0.0; size]; size];
    for column in 0..size {
        for row in (0..=column).rev() {
            let unit = if row == column { 1.0 } else { 0.0 };
            let known: f64 = ((row + 1)..=column).map(|k| upper[row][k] * inverse[k][column]).sum();
            inverse[row][column] = (unit - known) / upper[row][row];
        }
    }
    let entry = |i: usize, j: usize| (i.max(j)..size).map(|k| inverse[i][k] * inverse[j][k]).sum::<f64>();
    Some(
        (0..size)
            .flat_map(|i| (0..size).map(move |j| (i, j)))
            .map(|(i, j)| entry(i, j))
            .collect(),
    )
}

#[expect(clippy::needless_range_loop, reason = "triangular matrices are written by index")]
/// Modified Gram–Schmidt with one reorthogonalisation; the upper triangle R. `None` when the columns are dependent.
fn gram_schmidt(columns: &mut [Vec<f64>]) -> Option<Vec<Vec<f64>>> {
    let size = columns.len();
    let mut upper = vec![vec![0.0; size]; size];
    for current in 0..size {
        let (before, rest) = columns.split_at_mut(current);
        let column = rest.first_mut()?;
        let original = norm(column);
        for _ in 0..2 {
            for (row, basis) in before.iter().enumerate() {
                let product: f64 = basis.iter().zip(column.iter()).map(|(b, c)| b * c).sum();
                upper[row][current] += product;
                column.iter_mut().zip(basis).for_each(|(c, b)| *c -= product * b);
            }
        }
        let length = norm(column);
        if !(length > RANK_TOLERANCE * original && original.is_finite()) {
            return None;
        }
        upper[current][current] = length;
        for value in column.iter_mut() {
            *value /= length;
        }
    }
    Some(upper)
}

fn norm(values: &[f64]) -> f64 {
    values.iter().map(|v| v * v).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::law::PowerLaw;

    #[test]
    fn a_power_law_has_the_textbook_covariance() {
        let observations: Vec<_> = [(100, 4.0), (200, 3.4), (400, 3.1), (800, 2.6)]
            .map(|(d, l)| Observation::new(d, l))
            .to_vec();
        let beta = 0.2;
        let law = Law::Power(PowerLaw::new(10_f64.ln(), beta, 0.0));
        let spread = spread(&observations, &law);
        let x: Vec<f64> = observations.iter().map(|o| (o.data_size as f64).ln()).collect();
        let mean = x.iter().sum::<f64>() / 4.0;
        let sxx: f64 = x.iter().map(|x| (x - mean) * (x - mean)).sum();
        let sd = spread.residual_sd.unwrap();
        let covariance = spread.covariance.unwrap();
        // Var(ln β) = Var(β)/β².
        assert!((covariance.get(1, 1).unwrap() / (sd * sd / sxx / (beta * beta)) - 1.0).abs() < 1e-6);
        assert!((covariance.get(0, 0).unwrap() / (sd * sd * (0.25 + mean * mean / sxx)) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn coefficients_on_their_bounds_are_left_out() {
        let law = Law::PowerWithFloor(PowerLaw::new(1.0, 0.3, 0.0));
        let names: Vec<_> = free_coefficients(&law).into_iter().map(|(_, name)| name).collect();
        assert_eq!(names, [CoefficientName::ReducibleScale, CoefficientName::DataExponent]);
    }
}
