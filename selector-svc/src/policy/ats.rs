//! Accept then Stop (Lin et al., ICML 2024, algorithm 1).
//!
//! A line ln L = a + b·ln D is fitted to the `min_fit_points` largest sizes (k in the paper). The next smaller size is
//! accepted while |ln L − line| / σ ≤ `stop_threshold` (δ), σ being the population standard deviation of the line's
//! residuals, and the line is fitted again; the first size beyond δ stops. The forecast is the line at the full size.
//!
//! The paper's sizes are S, S/2, S/4, … rounded down, never 0. Here the sizes of the curve up to the budget are taken as
//! they are, in descending order: the same where the curve was measured on the paper's ladder.
//!
//! The published variant reproduces the reference code to the last digit, hence its quirks:
//! - when *every* size is accepted, the smallest one is dropped from the line all the same;
//! - with no more than k points there is no test, and all are used;
//! - where the line is exact (σ = 0), a point on it is accepted and any other stops.
//!
//! The corrected variant keeps the smallest size when every size is accepted, and gives σ a floor of 1e-9, so that rounding
//! errors on an exact line do not stop it.

use crate::curve::{DataSize, Observation};
use crate::error::InvalidParameter;
use crate::policy::{
    Exclusion, FlatPolicy, Forecast, LogLogLine, Member, Model, Pool, Stop, StopReason, reasonable_loss,
};
use crate::regression::Line;

/// k and δ.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct AtsParameters {
    /// Points of the first line, 3..=1000. Default 3. (k)
    pub min_fit_points: usize,
    /// Standard deviations beyond which the next point stops the line, finite, ≥ 0. Default 5. (δ)
    pub stop_threshold: f64,
}

impl Default for AtsParameters {
    fn default() -> Self {
        Self {
            min_fit_points: 3,
            stop_threshold: 5.0,
        }
    }
}

impl AtsParameters {
    /// # Errors
    /// The first parameter out of its range.
    pub fn validate(&self) -> Result<(), InvalidParameter> {
        if !(3..=1000).contains(&self.min_fit_points) {
            let description = format!("must be within 3..=1000, is {}", self.min_fit_points);
            return Err(InvalidParameter::new("min_fit_points", description));
        }
        InvalidParameter::unless_within("stop_threshold", self.stop_threshold, 0.0, f64::MAX)
    }
}

/// With the reference's quirks or without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// As the reference code computes the published table.
    Published,
    /// Without its quirks.
    Corrected,
}

/// σ of the corrected variant is at least this, in ln loss.
const CORRECTED_SIGMA_FLOOR: f64 = 1e-9;

/// What Accept then Stop did on one curve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AtsFit {
    /// Position (ascending) of the first point in the line; all later ones are in it.
    pub first_fitted: usize,
    /// Number of tests made.
    pub tests: usize,
    /// Why it stopped, and the last test.
    pub stop: Stop,
    /// The line.
    pub line: LogLogLine,
}

/// Runs Accept then Stop on an ascending curve. `None` with fewer than two points.
#[must_use]
pub fn accept_then_stop(points: &[Observation], parameters: AtsParameters, variant: Variant) -> Option<AtsFit> {
    let mut fit = accept_downwards(points, parameters, variant)?;
    if fit.stop.reason == StopReason::AllAccepted && variant == Variant::Published {
        fit.first_fitted = 1;
        fit.line = log_log(line_from(points, 1)?);
    }
    Some(fit)
}

/// Accept then Stop on the points that are there, of which the smallest need not be the last of the schedule: nothing is dropped when
/// all of them are accepted. `None` with fewer than two points.
pub(super) fn accept_downwards(points: &[Observation], parameters: AtsParameters, variant: Variant) -> Option<AtsFit> {
    let mut first = points.len().saturating_sub(parameters.min_fit_points);
    let mut line = line_from(points, first)?;
    let (mut tests, mut stop) = (0, Stop::untested(StopReason::TooFewToTest));
    while let Some((next, point)) = first.checked_sub(1).and_then(|next| Some((next, points.get(next)?))) {
        tests += 1;
        let residual = (point.log_loss() - line.at(point.log_data_size())).abs();
        let (standardized, accepted) = judge(residual, line.residual_sd, parameters.stop_threshold, variant);
        stop = Stop {
            reason: StopReason::Outlier,
            standardized_residual: standardized,
            tested: Some(point.data_size()),
        };
        if !accepted {
            break;
        }
        stop.reason = StopReason::AllAccepted;
        first = next;
        line = line_from(points, first)?;
    }
    Some(AtsFit {
        first_fitted: first,
        tests,
        stop,
        line: log_log(line),
    })
}

/// The line through the points from a position on.
fn line_from(points: &[Observation], first: usize) -> Option<Line> {
    let accepted = points.get(first..).unwrap_or_default();
    Line::fit(accepted.iter().map(|p| (p.log_data_size(), p.log_loss())))
}

fn log_log(line: Line) -> LogLogLine {
    LogLogLine {
        slope: line.slope,
        intercept: line.intercept,
    }
}

/// The standardised residual (`None` for a point off an exact line) and whether it is accepted.
fn judge(residual: f64, sigma: f64, threshold: f64, variant: Variant) -> (Option<f64>, bool) {
    let sigma = if variant == Variant::Corrected {
        sigma.max(CORRECTED_SIGMA_FLOOR)
    } else {
        sigma
    };
    if sigma > 0.0 {
        let standardized = residual / sigma;
        return (
            standardized.is_finite().then_some(standardized),
            standardized <= threshold,
        );
    }
    if residual > 0.0 {
        (None, false)
    } else {
        (Some(0.0), true)
    }
}

/// Accept then Stop as a flat policy.
#[derive(Clone, Copy, Debug)]
pub struct AtsPolicy {
    parameters: AtsParameters,
    variant: Variant,
}

impl AtsPolicy {
    /// The policy.
    #[must_use]
    pub const fn new(parameters: AtsParameters, variant: Variant) -> Self {
        Self { parameters, variant }
    }

    fn forecast_one(&self, member: &Member<'_>, pool: &Pool<'_>) -> Result<Forecast, Exclusion> {
        let fit = accept_then_stop(member.seen, self.parameters, self.variant)
            .ok_or_else(|| Exclusion::too_few(2, member.seen, pool.budget()))?;
        let predicted = reasonable_loss(fit.line.log_loss_at(pool.full()))?;
        let used = member.seen.get(fit.first_fitted..).unwrap_or_default();
        Ok(Forecast {
            score: predicted,
            correlated: predicted,
            predicted_loss: Some(predicted),
            data_sizes_used: used.iter().map(Observation::data_size).collect::<Vec<DataSize>>(),
            stop: fit.stop,
            model: Model::Line(fit.line),
            warnings: Vec::new(),
        })
    }
}

impl FlatPolicy for AtsPolicy {
    fn name(&self) -> &'static str {
        match self.variant {
            Variant::Published => "ats",
            Variant::Corrected => "ats_corrected",
        }
    }

    fn forecast(&self, pool: &Pool<'_>) -> Vec<Result<Forecast, Exclusion>> {
        pool.members()
            .iter()
            .map(|member| self.forecast_one(member, pool))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curve::Loss;

    fn curve(log_losses: &[f64]) -> Vec<Observation> {
        log_losses
            .iter()
            .enumerate()
            .map(|(i, y)| Observation::new(DataSize::new(200 << i).unwrap(), Loss::new(y.exp()).unwrap()))
            .collect()
    }

    fn run(log_losses: &[f64], variant: Variant) -> AtsFit {
        accept_then_stop(&curve(log_losses), AtsParameters::default(), variant).unwrap()
    }

    #[test]
    fn an_outlier_stops_the_line_and_stays_out_of_it() {
        let fit = run(&[2.0, 0.91, 0.8, 0.705, 0.6], Variant::Published);
        assert_eq!(
            (fit.first_fitted, fit.tests, fit.stop.reason),
            (1, 2, StopReason::Outlier)
        );
        assert!(fit.stop.standardized_residual.unwrap() > 5.0);
        assert_eq!(fit.stop.tested.unwrap().examples(), 200);
    }

    #[test]
    fn when_all_are_accepted_the_published_variant_drops_the_smallest() {
        let y = [1.0, 0.91, 0.8, 0.705, 0.6];
        let published = run(&y, Variant::Published);
        let corrected = run(&y, Variant::Corrected);
        assert_eq!(
            (published.stop.reason, published.first_fitted),
            (StopReason::AllAccepted, 1)
        );
        assert_eq!(
            (corrected.stop.reason, corrected.first_fitted),
            (StopReason::AllAccepted, 0)
        );
    }

    #[test]
    fn few_points_are_all_used_untested() {
        for n in 2..=3 {
            let fit = run(&[1.0, 0.8, 0.7][..n], Variant::Published);
            assert_eq!(
                (fit.first_fitted, fit.tests, fit.stop.reason),
                (0, 0, StopReason::TooFewToTest)
            );
        }
        assert!(accept_then_stop(&curve(&[1.0]), AtsParameters::default(), Variant::Published).is_none());
        assert!(accept_then_stop(&[], AtsParameters::default(), Variant::Published).is_none());
    }

    #[test]
    fn an_exact_line_accepts_what_lies_on_it_and_stops_at_the_rest() {
        assert_eq!(judge(0.0, 0.0, 5.0, Variant::Published), (Some(0.0), true));
        assert_eq!(judge(1e-3, 0.0, 5.0, Variant::Published), (None, false));
        assert!(judge(1e-12, 0.0, 5.0, Variant::Corrected).1);
        assert!(!judge(1e-3, 0.0, 5.0, Variant::Corrected).1);
        // All losses equal: σ = 0 and every residual 0.
        let fit = run(&[1.0; 6], Variant::Published);
        assert_eq!((fit.stop.reason, fit.first_fitted), (StopReason::AllAccepted, 1));
    }

    #[test]
    fn parameters_are_checked() {
        assert!(AtsParameters::default().validate().is_ok());
        let few = AtsParameters {
            min_fit_points: 2,
            ..AtsParameters::default()
        };
        assert_eq!(few.validate().unwrap_err().field, "min_fit_points");
        let nan = AtsParameters {
            stop_threshold: f64::NAN,
            ..AtsParameters::default()
        };
        assert_eq!(nan.validate().unwrap_err().field, "stop_threshold");
    }
}
