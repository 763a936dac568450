//! RWL: recency-weighted log-linear extrapolation with a pooled slope cap.
//!
//! y = ln loss of the last m = min(n, window) sizes, age in doublings `a = log₂(D_last / D)`, weights e^(−a/τ); weighted
//! least squares gives the level at `D_last` and the slope b per doubling. Pool step: q = a low quantile of the slopes of
//! the live candidates, b ← max(b, q). Score = `exp(level + b·log₂(D / D_last))`.

use crate::curve::Observation;
use crate::error::InvalidParameter;
use crate::policy::{Exclusion, FlatPolicy, Forecast, LogLogLine, Model, Pool, Stop, StopReason, reasonable_loss};
use crate::regression::{quantile, weighted_line};

/// τ, window and cap.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct RwlParameters {
    /// Recency scale τ in doublings, > 0. Default 0.7.
    pub recency_doublings: f64,
    /// Slopes steeper than this quantile of the live slopes are capped at it, 0..=1; `None`: no cap. Default 0.1.
    pub slope_cap_quantile: Option<f64>,
    /// At most so many of the largest sizes, 2..=1000. Default 8.
    pub window_points: usize,
}

impl Default for RwlParameters {
    fn default() -> Self {
        Self {
            recency_doublings: 0.7,
            slope_cap_quantile: Some(0.1),
            window_points: 8,
        }
    }
}

impl RwlParameters {
    /// As halving scores: τ 1, no cap, window 8.
    #[must_use]
    pub const fn halving() -> Self {
        Self {
            recency_doublings: 1.0,
            slope_cap_quantile: None,
            window_points: 8,
        }
    }

    /// # Errors
    /// The first parameter out of its range.
    pub fn validate(&self) -> Result<(), InvalidParameter> {
        InvalidParameter::unless_within("recency_doublings", self.recency_doublings, 1e-3, 1e9)?;
        if let Some(fraction) = self.slope_cap_quantile {
            InvalidParameter::unless_within("slope_cap_quantile", fraction, 0.0, 1.0)?;
        }
        if !(2..=1000).contains(&self.window_points) {
            let description = format!("must be within 2..=1000, is {}", self.window_points);
            return Err(InvalidParameter::new("window_points", description));
        }
        Ok(())
    }
}

/// A recency-weighted line through the last points of a curve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RecentLine {
    /// ln loss at the last size.
    pub level: f64,
    /// ln loss per doubling.
    pub slope: f64,
    /// log₂ of the last size.
    pub last_log2: f64,
}

impl RecentLine {
    /// Fits the last points of an ascending curve; `None` with fewer than two.
    #[must_use]
    pub fn fit(points: &[Observation], parameters: &RwlParameters) -> Option<Self> {
        let window = recent(points, parameters.window_points);
        let last_log2 = window.last()?.log2_data_size();
        let weighted = window.iter().map(|p| {
            let age = p.log2_data_size() - last_log2;
            // Weights below 1e-300 would vanish; they never matter.
            (
                age,
                p.log_loss(),
                (age / parameters.recency_doublings).exp().max(1e-300),
            )
        });
        let (level, slope) = weighted_line(weighted)?;
        Some(Self {
            level,
            slope,
            last_log2,
        })
    }

    /// ln loss at a size (log₂ examples).
    #[must_use]
    pub fn at(&self, log2_data_size: f64) -> f64 {
        self.level + self.slope * (log2_data_size - self.last_log2)
    }

    fn log_log(&self) -> LogLogLine {
        LogLogLine {
            slope: self.slope / std::f64::consts::LN_2,
            intercept: self.at(0.0),
        }
    }
}

fn recent(points: &[Observation], window: usize) -> &[Observation] {
    points.get(points.len().saturating_sub(window)..).unwrap_or_default()
}

/// RWL as a flat policy.
#[derive(Clone, Copy, Debug)]
pub struct RwlPolicy {
    parameters: RwlParameters,
}

impl RwlPolicy {
    /// The policy.
    #[must_use]
    pub const fn new(parameters: RwlParameters) -> Self {
        Self { parameters }
    }

    /// The lines of all members after the pool step, and the cap.
    #[must_use]
    pub fn lines(&self, pool: &Pool<'_>) -> (Vec<Option<RecentLine>>, Option<f64>) {
        let mut lines: Vec<Option<RecentLine>> = pool
            .members()
            .iter()
            .map(|member| RecentLine::fit(member.seen, &self.parameters))
            .collect();
        let slopes: Vec<f64> = lines.iter().flatten().map(|line| line.slope).collect();
        let cap = self
            .parameters
            .slope_cap_quantile
            .and_then(|fraction| quantile(&slopes, fraction));
        if let Some(cap) = cap {
            for line in lines.iter_mut().flatten() {
                line.slope = line.slope.max(cap);
            }
        }
        (lines, cap)
    }
}

impl FlatPolicy for RwlPolicy {
    fn name(&self) -> &'static str {
        "rwl"
    }

    fn forecast(&self, pool: &Pool<'_>) -> Vec<Result<Forecast, Exclusion>> {
        let (lines, _) = self.lines(pool);
        let forecast = |(member, line): (&crate::policy::Member<'_>, Option<RecentLine>)| {
            let line = line.ok_or_else(|| Exclusion::too_few(2, member.seen, pool.budget()))?;
            let predicted = reasonable_loss(line.at(pool.full().log2()))?;
            let used = recent(member.seen, self.parameters.window_points);
            Ok(Forecast {
                score: predicted,
                correlated: predicted,
                predicted_loss: Some(predicted),
                data_sizes_used: used.iter().map(Observation::data_size).collect(),
                stop: Stop::untested(StopReason::Window),
                model: Model::Line(line.log_log()),
                warnings: Vec::new(),
            })
        };
        pool.members().iter().zip(lines).map(forecast).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curve::{DataSize, LearningCurve, Loss};
    use crate::table::{Attributes, Candidate};

    fn candidate(name: &str, slope: f64) -> Candidate {
        let points = (0..6)
            .map(|i| {
                let y = 1.0 + slope * f64::from(i);
                Observation::new(DataSize::new(100 << i).unwrap(), Loss::new(y.exp()).unwrap())
            })
            .collect();
        Candidate::new(
            name.to_owned(),
            Attributes::default(),
            LearningCurve::new(points).unwrap(),
        )
        .unwrap()
    }

    #[test]
    fn straight_curves_are_continued_and_the_steepest_is_capped() {
        let candidates = [candidate("a", -0.1), candidate("b", -0.2), candidate("c", -0.05)];
        let full = DataSize::new(100 << 8).unwrap();
        let pool = Pool::new(&candidates, DataSize::new(3200).unwrap(), full);
        let (lines, cap) = RwlPolicy::new(RwlParameters::default()).lines(&pool);
        // Quantile .1 of (−.2, −.1, −.05): −.2 + .2·.1.
        assert!((cap.unwrap() + 0.18).abs() < 1e-9);
        assert!((lines[1].unwrap().slope + 0.18).abs() < 1e-9);
        assert!((lines[0].unwrap().slope + 0.1).abs() < 1e-9);
        let forecasts = RwlPolicy::new(RwlParameters::default()).forecast(&pool);
        let first = forecasts[0].as_ref().unwrap();
        assert!((first.score.ln() - 0.2).abs() < 1e-9);
        let Model::Line(line) = first.model else {
            panic!("a line")
        };
        assert!((line.log_loss_at(full) - 0.2).abs() < 1e-9);
    }

    #[test]
    fn one_point_is_too_few() {
        let point = Observation::new(DataSize::new(100).unwrap(), Loss::new(1.0).unwrap());
        assert!(RecentLine::fit(&[point], &RwlParameters::default()).is_none());
    }

    #[test]
    fn parameters_are_checked() {
        assert!(RwlParameters::default().validate().is_ok() && RwlParameters::halving().validate().is_ok());
        let bad = RwlParameters {
            recency_doublings: 0.0,
            ..RwlParameters::default()
        };
        assert_eq!(bad.validate().unwrap_err().field, "recency_doublings");
        let bad = RwlParameters {
            slope_cap_quantile: Some(1.5),
            ..RwlParameters::default()
        };
        assert_eq!(bad.validate().unwrap_err().field, "slope_cap_quantile");
        let bad = RwlParameters {
            window_points: 1,
            ..RwlParameters::default()
        };
        assert_eq!(bad.validate().unwrap_err().field, "window_points");
    }
}
