//! Warm start: what the same candidates did on other data sets, as a prior of their losses here.
//!
//! `h_i` = mean over the sets of the centred ln full loss in units of its standard deviation, times the median of these
//! deviations, centred. At D the forecast (`m_i`, `v_i`) is combined with it: c = mean of `m_i` − `h_i` weighted by
//! 1/(`v_i` + s²); score = c + ((`m_i` − c)/`v_i` + `h_i`/s²) / (1/`v_i` + 1/s²). s by empirical Bayes after the first
//! stage: s² = mean (e − median e)² − mean v with e = m − h, s within .1..=.5. History takes part only where its rank
//! correlation with the first forecasts reaches the guard: wrong history doubles the regret.

use crate::metrics::spearman;
use crate::regression::median;
use crate::trend::TrendForecast;

/// Bounds of s, in ln loss.
const SD_RANGE: (f64, f64) = (0.1, 0.5);

/// Losses of the candidates on one other data set.
#[derive(Clone, Debug, PartialEq)]
pub struct HistorySet {
    /// Name of the data set, for reports.
    pub name: String,
    /// ln loss at its full size by candidate position; an absent one counts as average.
    pub log_losses: Vec<Option<f64>>,
}

/// `h_i` of every candidate.
#[derive(Clone, Debug, PartialEq)]
pub struct History {
    offsets: Vec<f64>,
}

/// What became of a history.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryReport {
    /// Position of the candidate that history alone would choose.
    pub chosen: usize,
    /// Spearman's correlation of history and first forecasts; `None` where undefined.
    pub rank_correlation: Option<f64>,
    /// Whether the guard let it take part.
    pub used: bool,
}

impl History {
    /// From the sets in which at least two candidates are known and differ; `None` where there is none.
    #[must_use]
    pub fn new(candidates: usize, sets: &[HistorySet]) -> Option<Self> {
        let mut sum = vec![0.0; candidates];
        let mut deviations = Vec::new();
        for set in sets {
            let known: Vec<f64> = set.log_losses.iter().take(candidates).flatten().copied().collect();
            let n = known.len() as f64;
            let mean = known.iter().sum::<f64>() / n;
            let sd = (known.iter().map(|y| (y - mean).powi(2)).sum::<f64>() / n).sqrt();
            if !(sd.is_finite() && sd > 1e-12) {
                continue;
            }
            deviations.push(sd);
            for (total, loss) in sum.iter_mut().zip(&set.log_losses) {
                *total += loss.map_or(0.0, |y| (y - mean) / sd);
            }
        }
        let scale = median(&deviations)? / deviations.len() as f64;
        let mut offsets: Vec<f64> = sum.iter().map(|total| total * scale).collect();
        let mean = offsets.iter().sum::<f64>() / candidates.max(1) as f64;
        for offset in &mut offsets {
            *offset -= mean;
        }
        Some(Self { offsets })
    }

    /// `h_i` by candidate position, ln loss.
    #[must_use]
    pub fn offsets(&self) -> &[f64] {
        &self.offsets
    }

    /// Applies the guard and estimates s: the prior (offsets, s) where history takes part, and the report.
    pub(super) fn judge(
        &self,
        forecasts: &[Option<TrendForecast>],
        guard: f64,
    ) -> (Option<(Vec<f64>, f64)>, HistoryReport) {
        let pairs: Vec<(f64, TrendForecast)> = self
            .offsets
            .iter()
            .zip(forecasts)
            .filter_map(|(h, f)| Some((*h, (*f)?)))
            .collect();
        let offsets: Vec<f64> = pairs.iter().map(|(h, _)| *h).collect();
        let means: Vec<f64> = pairs.iter().map(|(_, f)| f.mean).collect();
        let rank_correlation = spearman(&offsets, &means);
        let used = rank_correlation.is_some_and(|rho| rho >= guard);
        let best = |(a, x): (usize, f64), (b, y): (usize, f64)| if y < x { (b, y) } else { (a, x) };
        let chosen = self
            .offsets
            .iter()
            .copied()
            .enumerate()
            .reduce(best)
            .map_or(0, |(c, _)| c);
        let prior = used.then(|| (self.offsets.clone(), empirical_sd(&pairs)));
        (
            prior,
            HistoryReport {
                chosen,
                rank_correlation,
                used,
            },
        )
    }
}

/// s of the discrepancy between history and truth, beyond what the forecasts' own variance explains.
fn empirical_sd(pairs: &[(f64, TrendForecast)]) -> f64 {
    let errors: Vec<f64> = pairs.iter().map(|(h, f)| f.mean - h).collect();
    let n = errors.len().max(1) as f64;
    let middle = median(&errors).unwrap_or(0.0);
    let spread = errors.iter().map(|e| (e - middle).powi(2)).sum::<f64>() / n;
    let noise = pairs.iter().map(|(_, f)| f.variance).sum::<f64>() / n;
    (spread - noise).max(0.0).sqrt().clamp(SD_RANGE.0, SD_RANGE.1)
}

/// The combined scores; infinite without a forecast.
pub(super) fn shrink(forecasts: &[Option<TrendForecast>], offsets: &[f64], sd: f64) -> Vec<f64> {
    let s2 = sd * sd;
    let (mut weights, mut sum) = (0.0, 0.0);
    for (forecast, h) in forecasts.iter().zip(offsets) {
        if let Some(f) = forecast {
            let weight = 1.0 / (f.variance + s2);
            weights += weight;
            sum += weight * (f.mean - h);
        }
    }
    let centre = if weights > 0.0 { sum / weights } else { 0.0 };
    let combine = |(forecast, h): (&Option<TrendForecast>, &f64)| {
        forecast.map_or(f64::INFINITY, |f| {
            centre + ((f.mean - centre) / f.variance + h / s2) / (1.0 / f.variance + 1.0 / s2)
        })
    };
    forecasts.iter().zip(offsets).map(combine).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(values: &[Option<f64>]) -> HistorySet {
        HistorySet {
            name: "s".to_owned(),
            log_losses: values.to_vec(),
        }
    }

    #[test]
    fn offsets_are_centred_standardised_means() {
        let history = History::new(
            3,
            &[
                set(&[Some(1.0), Some(2.0), Some(3.0)]),
                set(&[Some(10.0), Some(30.0), Some(50.0)]),
            ],
        )
        .unwrap();
        let sds = ((2.0_f64 / 3.0).sqrt(), (800.0_f64 / 3.0).sqrt());
        let expected = -1.0 / sds.0 * f64::midpoint(sds.0, sds.1);
        assert!((history.offsets()[0] - expected).abs() < 1e-12);
        assert!(history.offsets().iter().sum::<f64>().abs() < 1e-12);
        assert!(History::new(3, &[set(&[Some(1.0), None, None])]).is_none());
        assert!(History::new(2, &[]).is_none());
    }

    #[test]
    fn an_absent_candidate_is_average() {
        let history = History::new(3, &[set(&[Some(1.0), None, Some(3.0)])]).unwrap();
        assert!(history.offsets()[1].abs() < 1e-12);
    }

    #[test]
    fn shrinking_draws_uncertain_forecasts_to_the_history() {
        let sure = TrendForecast {
            mean: 0.5,
            variance: 1e-8,
        };
        let unsure = TrendForecast {
            mean: 0.5,
            variance: 1e4,
        };
        let scores = shrink(&[Some(sure), Some(unsure), None], &[0.2, -0.2, 0.0], 0.1);
        assert!((scores[0] - 0.5).abs() < 1e-4);
        assert!((scores[1] - (0.3 - 0.2)).abs() < 1e-3, "{scores:?}");
        assert!(scores[2].is_infinite());
    }
}
