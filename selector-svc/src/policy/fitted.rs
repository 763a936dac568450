//! `OurFit` and `VanillaFit`: a law fitted to each curve by the fitter, then read off at the full size.
//!
//! The fitting is not done here: the forecasts come through the [`crate::ports::Fitter`] port. Where the fitter has no
//! usable law for a candidate, that candidate is excluded with the fitter's verdict.

use std::collections::BTreeMap;

use crate::curve::{DataSize, Observation};
use crate::diagnostics::Warning;
use crate::error::InvalidParameter;
use crate::policy::{
    Exclusion, ExclusionReason, FlatPolicy, Forecast, IntervalSource, Member, Model, Pool, Prediction, Stop,
    StopReason, reasonable_loss,
};

/// Which law the fitter is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Law {
    /// `L(D) = B/(D_l + D^β) + E`.
    Rectified,
    /// L(D) = (1/(B·D^β) + E)^α.
    Vanilla,
}

/// How it fits.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct LawFitParameters {
    /// Width of Huber's function on log residuals, 1e-9..=10. `None`: mean squared log residual.
    pub huber_width: Option<f64>,
    /// Bootstrap draws for intervals, 10..=10000. `None`: intervals from the covariance.
    pub bootstrap_draws: Option<u32>,
}

impl LawFitParameters {
    /// # Errors
    /// The first parameter out of its range.
    pub fn validate(&self) -> Result<(), InvalidParameter> {
        if let Some(width) = self.huber_width {
            InvalidParameter::unless_within("huber_width", width, 1e-9, 10.0)?;
        }
        match self.bootstrap_draws {
            Some(draws) if !(10..=10_000).contains(&draws) => Err(InvalidParameter::new(
                "bootstrap_draws",
                format!("must be within 10..=10000, is {draws}"),
            )),
            _ => Ok(()),
        }
    }
}

/// A law's forecasts for one candidate.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct FittedForecast {
    /// In the order of the sizes asked for; the first is the full size.
    pub predictions: Vec<Prediction>,
    /// The fitter's remarks.
    pub warnings: Vec<Warning>,
}

/// The fitter's answers by candidate name; `Err` says why there is no law.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct FittedForecasts {
    by_name: BTreeMap<String, Result<FittedForecast, String>>,
}

impl FittedForecasts {
    /// From pairs of name and answer; a repeated name keeps the last.
    #[must_use]
    pub fn new(answers: impl IntoIterator<Item = (String, Result<FittedForecast, String>)>) -> Self {
        Self {
            by_name: answers.into_iter().collect(),
        }
    }

    /// The answer for this candidate: its forecast, or why there is none. `None`: it was not asked for.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Result<&FittedForecast, &str>> {
        self.by_name
            .get(name)
            .map(|answer| answer.as_ref().map_err(String::as_str))
    }
}

/// A fitted law as a flat policy.
#[derive(Clone, Debug)]
pub struct FittedPolicy {
    law: Law,
    forecasts: FittedForecasts,
}

impl FittedPolicy {
    /// The policy with the fitter's answers.
    #[must_use]
    pub const fn new(law: Law, forecasts: FittedForecasts) -> Self {
        Self { law, forecasts }
    }

    fn forecast_one(&self, member: &Member<'_>, full: DataSize) -> Result<Forecast, Exclusion> {
        let failed = |detail: &str| Exclusion::new(ExclusionReason::FitFailed, detail);
        let answer = self.forecasts.by_name.get(member.candidate.name());
        let fitted = match answer {
            Some(Ok(fitted)) => fitted,
            Some(Err(detail)) => return Err(failed(detail)),
            None => return Err(failed("the fitter gave no answer for this candidate")),
        };
        let first = fitted
            .predictions
            .first()
            .filter(|prediction| prediction.data_size == full);
        let predicted = first
            .ok_or_else(|| failed("the fitter gave no forecast at the full size"))?
            .predicted_loss;
        if !(predicted.is_finite() && predicted > 0.0) {
            return Err(failed("the fitter's forecast is not a positive number"));
        }
        reasonable_loss(predicted.ln())?;
        Ok(Forecast {
            score: predicted,
            correlated: predicted,
            predicted_loss: Some(predicted),
            data_sizes_used: member.seen.iter().map(Observation::data_size).collect(),
            stop: Stop::untested(StopReason::NotApplicable),
            model: Model::Given(fitted.predictions.clone()),
            warnings: fitted.warnings.clone(),
        })
    }
}

impl FlatPolicy for FittedPolicy {
    fn name(&self) -> &'static str {
        match self.law {
            Law::Rectified => "rectified_fit",
            Law::Vanilla => "vanilla_fit",
        }
    }

    fn forecast(&self, pool: &Pool<'_>) -> Vec<Result<Forecast, Exclusion>> {
        pool.members()
            .iter()
            .map(|member| self.forecast_one(member, pool.full()))
            .collect()
    }

    fn interval_source(&self) -> IntervalSource {
        IntervalSource::Own
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curve::LearningCurve;
    use crate::table::{Attributes, Candidate};

    #[test]
    fn answers_are_taken_by_name_and_failures_become_exclusions() {
        let named = |n: &str| Candidate::new(n.to_owned(), Attributes::default(), LearningCurve::default()).unwrap();
        let candidates = [named("a"), named("b"), named("c"), named("d")];
        let full = DataSize::new(1000).unwrap();
        let pool = Pool::new(&candidates, full, full);
        let good = |loss: f64| FittedForecast {
            predictions: vec![Prediction {
                data_size: full,
                predicted_loss: loss,
                interval: None,
            }],
            warnings: Vec::new(),
        };
        let forecasts = FittedForecasts::new([
            ("b".to_owned(), Ok(good(1.5))),
            ("a".to_owned(), Err("TOO_FEW_POINTS".to_owned())),
            ("d".to_owned(), Ok(good(f64::NAN))),
        ]);
        let answers = FittedPolicy::new(Law::Rectified, forecasts).forecast(&pool);
        assert_eq!(answers[0].as_ref().unwrap_err().detail, "TOO_FEW_POINTS");
        assert_eq!(answers[1].as_ref().unwrap().predicted_loss, Some(1.5));
        assert_eq!(answers[2].as_ref().unwrap_err().reason, ExclusionReason::FitFailed);
        assert_eq!(answers[3].as_ref().unwrap_err().reason, ExclusionReason::FitFailed);
    }

    #[test]
    fn parameters_are_checked() {
        assert!(LawFitParameters::default().validate().is_ok());
        let bad = LawFitParameters {
            huber_width: Some(0.0),
            bootstrap_draws: None,
        };
        assert_eq!(bad.validate().unwrap_err().field, "huber_width");
        let bad = LawFitParameters {
            huber_width: None,
            bootstrap_draws: Some(5),
        };
        assert_eq!(bad.validate().unwrap_err().field, "bootstrap_draws");
    }
}
