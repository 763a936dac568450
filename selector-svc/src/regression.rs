//! Straight lines by (weighted) least squares: the closed forms behind `AtS` and the recency-weighted line.

/// A fitted line y = intercept + slope·x with the population standard deviation of its residuals.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Line {
    pub(crate) slope: f64,
    pub(crate) intercept: f64,
    /// √(Σ residual² / n): the paper's σ (population, not corrected for the two coefficients).
    pub(crate) residual_sd: f64,
}

impl Line {
    /// Least squares through points (x, y). `None` for fewer than two points or no spread in x.
    pub(crate) fn fit(points: impl Iterator<Item = (f64, f64)> + Clone) -> Option<Self> {
        let (mut count, mut sum_x, mut sum_y) = (0_usize, 0.0, 0.0);
        for (x, y) in points.clone() {
            count += 1;
            sum_x += x;
            sum_y += y;
        }
        if count < 2 {
            return None;
        }
        let n = count as f64;
        let (mean_x, mean_y) = (sum_x / n, sum_y / n);
        let (mut xx, mut xy) = (0.0, 0.0);
        for (x, y) in points.clone() {
            xx += (x - mean_x) * (x - mean_x);
            xy += (x - mean_x) * (y - mean_y);
        }
        if xx <= 0.0 {
            return None;
        }
        let slope = xy / xx;
        let intercept = mean_y - slope * mean_x;
        let squares: f64 = points.map(|(x, y)| (y - mean_y - slope * (x - mean_x)).powi(2)).sum();
        Some(Self {
            slope,
            intercept,
            residual_sd: (squares / n).sqrt(),
        })
    }

    /// The line at x.
    pub(crate) fn at(&self, x: f64) -> f64 {
        self.intercept + self.slope * x
    }
}

/// Weighted least squares through points (x, y, weight > 0): (value at x = 0, slope).
/// `None` for fewer than two points or no spread in x.
pub(crate) fn weighted_line(points: impl Iterator<Item = (f64, f64, f64)> + Clone) -> Option<(f64, f64)> {
    let (mut sum_w, mut sum_x, mut sum_y) = (0.0, 0.0, 0.0);
    for (x, y, w) in points.clone() {
        sum_w += w;
        sum_x += w * x;
        sum_y += w * y;
    }
    if sum_w <= 0.0 {
        return None;
    }
    let (mean_x, mean_y) = (sum_x / sum_w, sum_y / sum_w);
    let (mut xx, mut xy) = (0.0, 0.0);
    for (x, y, w) in points {
        xx += w * (x - mean_x) * (x - mean_x);
        xy += w * (x - mean_x) * (y - mean_y);
    }
    if xx <= 0.0 {
        return None;
    }
    let slope = xy / xx;
    Some((mean_y - slope * mean_x, slope))
}

/// The `fraction` quantile with linear interpolation between order statistics (numpy's default, type 7).
/// `None` for an empty slice.
pub(crate) fn quantile(values: &[f64], fraction: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    let position = fraction.clamp(0.0, 1.0) * last as f64;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "0 ≤ position ≤ last"
    )]
    let below = position.floor() as usize;
    let low = *sorted.get(below)?;
    let high = *sorted.get((below + 1).min(last))?;
    Some(low + (position - below as f64) * (high - low))
}

/// Median (quantile ½); `None` for an empty slice.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    quantile(values, 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_through_exact_points_is_recovered() {
        let points = [(0.0, 1.0), (1.0, 3.0), (2.0, 5.0)];
        let line = Line::fit(points.iter().copied()).unwrap();
        assert!((line.slope - 2.0).abs() < 1e-14 && (line.intercept - 1.0).abs() < 1e-14);
        assert!(line.residual_sd < 1e-14);
        assert!((line.at(10.0) - 21.0).abs() < 1e-12);
        assert!(Line::fit([(0.0, 1.0)].into_iter()).is_none());
        assert!(Line::fit([(1.0, 1.0), (1.0, 2.0)].into_iter()).is_none());
    }

    #[test]
    fn residual_sd_is_the_population_one() {
        let line = Line::fit([(-1.0, 1.0), (0.0, -2.0), (1.0, 1.0)].into_iter()).unwrap();
        // Residuals 1, −2, 1: population variance 2.
        assert!((line.residual_sd - 2.0_f64.sqrt()).abs() < 1e-14);
    }

    #[test]
    fn weights_pull_the_line() {
        let (level, slope) =
            weighted_line([(-2.0, 9.0, 1e-12), (-1.0, 1.0, 1.0), (0.0, 0.0, 1.0)].into_iter()).unwrap();
        assert!(level.abs() < 1e-9 && (slope + 1.0).abs() < 1e-9);
        assert!(weighted_line(std::iter::once((0.0, 1.0, 1.0))).is_none());
    }

    #[test]
    fn quantiles_interpolate() {
        assert_eq!(quantile(&[3.0, 1.0, 2.0], 0.25), Some(1.5));
        assert_eq!(median(&[4.0, 1.0]), Some(2.5));
        assert_eq!(quantile(&[7.0], 0.1), Some(7.0));
        assert_eq!(quantile(&[], 0.5), None);
    }
}
