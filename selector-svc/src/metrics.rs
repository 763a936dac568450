//! How good a choice was, where the truth is known (Lin et al., ICML 2024, §5).

/// Scores against the measured losses at the full size.
#[derive(Clone, Debug, PartialEq)]
pub struct Metrics {
    /// `PearCorr`: Pearson correlation of score and true loss; `None` where either has no spread.
    pub pearson_correlation: Option<f64>,
    /// `RelAcc`: (worst − chosen) / (worst − best) of the true losses; `None` where all are equal.
    pub relative_accuracy: Option<f64>,
    /// Chosen − best true loss, nats, ≥ 0.
    pub regret: f64,
    /// Regret / best.
    pub relative_regret: f64,
    /// True loss of the chosen candidate, nats.
    pub chosen_loss: f64,
    /// Lowest true loss, nats.
    pub best_loss: f64,
    /// Highest true loss, nats.
    pub worst_loss: f64,
    /// Name of the truly best candidate; of several, the first.
    pub best_candidate: String,
    /// Number of candidates compared.
    pub candidates: usize,
}

impl Metrics {
    /// Compares `chosen` (a position in `truths`) with the names and true losses (nats, > 0) of all live candidates.
    /// `scores` are the values compared by Pearson correlation; `None` leaves it out.
    /// `None` where `truths` is empty or `chosen` is not a position in it.
    #[must_use]
    pub fn compare(truths: &[(&str, f64)], chosen: usize, scores: Option<&[f64]>) -> Option<Self> {
        let (_, chosen_loss) = *truths.get(chosen)?;
        let (best_candidate, best_loss) = truths
            .iter()
            .copied()
            .reduce(|best, other| if other.1 < best.1 { other } else { best })?;
        let losses: Vec<f64> = truths.iter().map(|(_, loss)| *loss).collect();
        let worst_loss = losses.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let regret = chosen_loss - best_loss;
        Some(Self {
            pearson_correlation: scores.and_then(|values| pearson(values, &losses)),
            relative_accuracy: relative_accuracy(worst_loss, best_loss, chosen_loss),
            regret,
            relative_regret: regret / best_loss,
            chosen_loss,
            best_loss,
            worst_loss,
            best_candidate: best_candidate.to_owned(),
            candidates: truths.len(),
        })
    }
}

fn relative_accuracy(worst: f64, best: f64, chosen: f64) -> Option<f64> {
    (worst > best).then(|| (worst - chosen) / (worst - best))
}

/// Pearson correlation; `None` for different lengths, fewer than two points, or no spread in either.
#[must_use]
pub fn pearson(a: &[f64], b: &[f64]) -> Option<f64> {
    if a.len() != b.len() || a.len() < 2 {
        return None;
    }
    let n = a.len() as f64;
    let (mean_a, mean_b) = (a.iter().sum::<f64>() / n, b.iter().sum::<f64>() / n);
    let (mut aa, mut bb, mut ab) = (0.0, 0.0, 0.0);
    for (x, y) in a.iter().zip(b) {
        aa += (x - mean_a).powi(2);
        bb += (y - mean_b).powi(2);
        ab += (x - mean_a) * (y - mean_b);
    }
    let norm = aa.sqrt() * bb.sqrt();
    // Equal values differ from their mean by rounding only: that is no spread.
    let spread = |squares: f64, mean: f64| squares > n * (mean.abs() * f64::EPSILON * 4.0).powi(2);
    (norm.is_finite() && spread(aa, mean_a) && spread(bb, mean_b)).then(|| (ab / norm).clamp(-1.0, 1.0))
}

/// Spearman's rank correlation, ties by mean rank; `None` as for [`pearson`].
#[must_use]
pub fn spearman(a: &[f64], b: &[f64]) -> Option<f64> {
    pearson(&mean_ranks(a), &mean_ranks(b))
}

fn mean_ranks(values: &[f64]) -> Vec<f64> {
    values
        .iter()
        .map(|v| {
            let below = values.iter().filter(|w| *w < v).count() as f64;
            let equal = values.iter().filter(|w| w.total_cmp(v).is_eq()).count() as f64;
            below + f64::midpoint(equal, 1.0)
        })
        .collect()
}

/// What a flat look at the curves costs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Fine-tuning examples processed, summed over candidates and sizes.
    pub examples: u64,
    /// Σ examples × parameters; `None` where a candidate's parameter count is unknown.
    pub example_parameters: Option<f64>,
}

impl Cost {
    /// Sums (examples, parameters) per candidate.
    #[must_use]
    pub fn sum(parts: impl Iterator<Item = (u64, Option<u64>)>) -> Self {
        let mut total = Self {
            examples: 0,
            example_parameters: Some(0.0),
        };
        for (examples, parameters) in parts {
            total.examples = total.examples.saturating_add(examples);
            total.example_parameters = total
                .example_parameters
                .zip(parameters)
                .map(|(sum, p)| sum + examples as f64 * p as f64);
        }
        total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definitions_of_the_paper() {
        let truths = [("a", 2.0), ("b", 1.0), ("c", 1.5)];
        let metrics = Metrics::compare(&truths, 2, Some(&[4.0, 2.0, 3.0])).unwrap();
        assert!((metrics.pearson_correlation.unwrap() - 1.0).abs() < 1e-12);
        assert_eq!(metrics.relative_accuracy, Some(0.5));
        assert!((metrics.regret - 0.5).abs() < 1e-15 && (metrics.relative_regret - 0.5).abs() < 1e-15);
        assert_eq!((metrics.best_candidate.as_str(), metrics.candidates), ("b", 3));
        assert!(Metrics::compare(&truths, 3, None).is_none());
    }

    #[test]
    fn degenerate_pools_have_no_accuracy_and_no_correlation() {
        let metrics = Metrics::compare(&[("a", 1.7), ("b", 1.7), ("c", 1.7)], 1, Some(&[1.0, 2.0, 3.0])).unwrap();
        assert_eq!((metrics.relative_accuracy, metrics.pearson_correlation), (None, None));
        assert!(metrics.regret.abs() < 1e-15);
        assert_eq!(pearson(&[0.1, 0.1, 0.1], &[1.0, 2.0, 3.0]), None);
        assert_eq!(pearson(&[1.0], &[1.0]), None);
        assert_eq!(pearson(&[1.0, 2.0], &[1.0]), None);
    }

    #[test]
    fn spearman_averages_ties() {
        assert_eq!(mean_ranks(&[3.0, 1.0, 3.0]), [2.5, 1.0, 2.5]);
        let rho = spearman(&[1.0, 2.0, 3.0, 4.0], &[10.0, 20.0, 40.0, 30.0]).unwrap();
        assert!((rho - 0.8).abs() < 1e-12);
    }

    #[test]
    fn unknown_parameters_leave_only_examples() {
        let cost = Cost::sum([(10, Some(2)), (20, Some(3))].into_iter());
        assert_eq!(
            cost,
            Cost {
                examples: 30,
                example_parameters: Some(80.0)
            }
        );
        assert_eq!(
            Cost::sum([(10, Some(2)), (20, None)].into_iter()).example_parameters,
            None
        );
    }
}
