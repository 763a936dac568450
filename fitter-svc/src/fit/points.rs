//! The observations as the solvers see them: centred, scaled, and with the logarithms taken once.

use crate::curve::Observation;

/// Points of one curve with x = ln D centred at its mean and ln L centred at its weighted mean, so that coefficients are
/// of order one and the fit is exactly scale-equivariant.
#[derive(Debug, Clone, Default)]
pub(crate) struct Points {
    /// ln D − `x_center`.
    pub(crate) z: Vec<f64>,
    /// ln L − `y_center`.
    pub(crate) y: Vec<f64>,
    /// e^(−y), the factor that turns residuals into relative residuals.
    pub(crate) inverse: Vec<f64>,
    /// Weights, scaled to mean 1.
    pub(crate) weight: Vec<f64>,
    /// Mean of ln D.
    pub(crate) x_center: f64,
    /// Weighted mean of ln L.
    pub(crate) y_center: f64,
    /// Mean of the original weights: multiplies costs back.
    pub(crate) weight_scale: f64,
}

impl Points {
    /// Takes observations of positive data size.
    pub(crate) fn new(observations: &[Observation]) -> Self {
        let x = observations.iter().map(|o| (o.data_size as f64).ln());
        let y = observations.iter().map(|o| o.test_loss.ln());
        Self::from_logs(x, y, observations.iter().map(|o| o.weight))
    }

    /// From ln D, ln L and weights of equal length.
    pub(crate) fn from_logs(
        x: impl Iterator<Item = f64>,
        y: impl Iterator<Item = f64>,
        weight: impl Iterator<Item = f64>,
    ) -> Self {
        let mut points = Self {
            z: x.collect(),
            y: y.collect(),
            weight: weight.collect(),
            ..Self::default()
        };
        let count = points.z.len().max(1) as f64;
        points.x_center = points.z.iter().sum::<f64>() / count;
        points.weight_scale = points.weight.iter().sum::<f64>() / count;
        let scale = if points.weight_scale > 0.0 {
            points.weight_scale
        } else {
            1.0
        };
        points.z.iter_mut().for_each(|z| *z -= points.x_center);
        points.weight.iter_mut().for_each(|w| *w /= scale);
        points.center_losses();
        points
    }

    /// Replaces the losses by others (ln, not centred) at the same sizes; for the bootstrap, without allocating.
    pub(crate) fn set_log_losses(&mut self, log_losses: impl Iterator<Item = f64>) {
        for (y, log_loss) in self.y.iter_mut().zip(log_losses) {
            *y = log_loss;
        }
        self.center_losses();
    }

    fn center_losses(&mut self) {
        let weighted: f64 = self.y.iter().zip(&self.weight).map(|(y, w)| w * y).sum();
        self.y_center = weighted / self.y.len().max(1) as f64;
        self.inverse.clear();
        for y in &mut self.y {
            *y -= self.y_center;
            self.inverse.push((-*y).exp());
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.z.len()
    }

    /// Smallest and largest z; data sizes ascend.
    pub(crate) fn z_range(&self) -> (f64, f64) {
        (
            self.z.first().copied().unwrap_or(0.0),
            self.z.last().copied().unwrap_or(0.0),
        )
    }

    /// (z, y, inverse, weight) of each point.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (f64, f64, f64, f64)> + '_ {
        let losses = self.y.iter().zip(&self.inverse);
        self.z
            .iter()
            .zip(losses)
            .zip(&self.weight)
            .map(|((&z, (&y, &inverse)), &w)| (z, y, inverse, w))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn centres_sizes_and_losses() {
        let observations: Vec<_> = [(100, 3.0), (200, 2.0), (800, 1.5)]
            .map(|(d, l)| Observation::new(d, l))
            .to_vec();
        let points = Points::new(&observations);
        assert!(points.z.iter().sum::<f64>().abs() < 1e-12 && points.y.iter().sum::<f64>().abs() < 1e-12);
        for ((z, y, inverse, w), o) in points.iter().zip(&observations) {
            assert!((z + points.x_center - (o.data_size as f64).ln()).abs() < 1e-12);
            assert!((y + points.y_center - o.test_loss.ln()).abs() < 1e-12);
            assert!((inverse * o.test_loss / points.y_center.exp() - 1.0).abs() < 1e-12);
            assert!((w - 1.0).abs() < 1e-15);
        }
    }
}
