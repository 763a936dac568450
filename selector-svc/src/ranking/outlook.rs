//! What a pool says of one candidate: forecast, interval, and what to be careful about.

use statrs::function::erf::erf_inv;

use super::{RankRequest, RankedCandidate};
use crate::curve::{DataSize, Observation};
use crate::diagnostics::{Warning, WarningCode, curve_warnings, pooled_noise};
use crate::policy::{Forecast, Interval, IntervalSource, Member, Model, Pool, Prediction};
use crate::trend::{Calibration, Reach, TrendState, TrendVariances, is_far, pooled_trends};
use crate::win_share::Normal;

/// A candidate's answer before ranks and win shares.
pub(super) struct Entry {
    pub(super) index: usize,
    pub(super) answer: RankedCandidate,
    pub(super) correlated: f64,
    pub(super) normal: Option<Normal>,
}

/// What the pool says of uncertainty.
pub(super) struct Outlook {
    source: IntervalSource,
    calibration: Calibration,
    trends: Vec<Option<TrendState>>,
    noise: Option<f64>,
    level: f64,
    quantile: f64,
    budget: DataSize,
    full: DataSize,
    forecast_data_sizes: Vec<DataSize>,
}

impl Outlook {
    pub(super) fn new(pool: &Pool<'_>, source: IntervalSource, request: &RankRequest) -> Self {
        let curves: Vec<&[Observation]> = pool.members().iter().map(|member| member.seen).collect();
        let calibration = Calibration::new(request.budget, request.full);
        let trends = if source == IntervalSource::PooledTrend {
            pooled_trends(&curves, calibration.variances)
        } else {
            vec![None; curves.len()]
        };
        Self {
            source,
            calibration,
            trends,
            noise: pooled_noise(curves.iter().copied()),
            level: request.level,
            quantile: std::f64::consts::SQRT_2 * erf_inv(request.level),
            budget: request.budget,
            full: request.full,
            forecast_data_sizes: request.forecast_data_sizes.clone(),
        }
    }

    pub(super) fn entry(&self, index: usize, member: &Member<'_>, forecast: Forecast) -> Entry {
        let trend = self.trends.get(index).copied().flatten();
        let (at_full, interval) = self.at_full(&forecast, trend);
        // Where the policy or the fitter remarks the same thing, theirs is the more specific sentence.
        let mut warnings = self.warnings(member, interval.is_some());
        warnings.retain(|general| forecast.warnings.iter().all(|own| own.code != general.code));
        warnings.extend(forecast.warnings);
        let line = if let Model::Line(line) = &forecast.model {
            Some(*line)
        } else {
            None
        };
        let answer = RankedCandidate {
            candidate: member.candidate.name().to_owned(),
            rank: 0,
            score: forecast.score,
            predicted_loss: forecast.predicted_loss,
            interval,
            win_share: None,
            data_sizes_used: forecast.data_sizes_used,
            stop: forecast.stop,
            line,
            forecasts: self.further(&forecast.model, trend),
            warnings,
            true_loss: member.candidate.true_loss(self.full).map(crate::curve::Loss::nats),
        };
        Entry {
            index,
            answer,
            correlated: forecast.correlated,
            normal: at_full,
        }
    }

    /// The predictive distribution of ln loss at the full size, and the interval.
    fn at_full(&self, forecast: &Forecast, trend: Option<TrendState>) -> (Option<Normal>, Option<Interval>) {
        if let Model::Given(predictions) = &forecast.model {
            return (None, predictions.first().and_then(|prediction| prediction.interval));
        }
        match self.outlook(&forecast.model, trend, self.full) {
            Some((normal, reach)) => (Some(normal), Some(self.interval(normal.mean, reach))),
            None => (None, None),
        }
    }

    /// ln loss at a size: the normal forecast that shares are drawn from, and how far an interval reaches.
    fn outlook(&self, model: &Model, trend: Option<TrendState>, size: DataSize) -> Option<(Normal, Reach)> {
        let (state, mean, variances, own) = match model {
            Model::Line(line) => (trend?, line.log_loss_at(size), TrendVariances::RANK, None),
            Model::Trend(state, own) => (*state, state.forecast(size.log2(), *own).mean, *own, Some(*own)),
            Model::StandIn | Model::Given(_) => return None,
        };
        let sd = state.forecast(size.log2(), variances).variance.sqrt();
        Some((Normal { mean, sd }, self.calibration.reach(&state, size.log2(), own)))
    }

    fn interval(&self, mean: f64, reach: Reach) -> Interval {
        let end = |log_loss: f64| log_loss.min(700.0).exp();
        Interval {
            lower: end(mean - self.quantile * reach.below),
            upper: end(mean + self.quantile * reach.above),
            level: self.level,
        }
    }

    fn further(&self, model: &Model, trend: Option<TrendState>) -> Vec<Prediction> {
        match model {
            Model::StandIn => Vec::new(),
            Model::Given(predictions) => predictions.iter().skip(1).copied().collect(),
            Model::Line(_) | Model::Trend(..) => self
                .forecast_data_sizes
                .iter()
                .filter_map(|size| {
                    let (normal, reach) = self.outlook(model, trend, *size)?;
                    let predicted_loss = normal.mean.min(700.0).exp();
                    let interval = Some(self.interval(normal.mean, reach));
                    Some(Prediction {
                        data_size: *size,
                        predicted_loss,
                        interval,
                    })
                })
                .collect(),
        }
    }

    fn warnings(&self, member: &Member<'_>, has_interval: bool) -> Vec<Warning> {
        if self.source == IntervalSource::None {
            let detail = "a stand-in value, not a forecast of the loss at the full size";
            return vec![Warning::new(WarningCode::NoInterval, detail)];
        }
        let mut warnings = curve_warnings(member.seen, self.noise);
        if !has_interval {
            warnings.push(Warning::new(
                WarningCode::NoInterval,
                "the method gives no interval for this curve",
            ));
        }
        if let Some(detail) = irregularity(member.seen, self.budget) {
            warnings.push(Warning::new(WarningCode::IrregularLadder, detail));
        }
        if let Some(last) = member.seen.last()
            && is_far(last.data_size(), self.full)
        {
            let detail = format!(
                "the full size {} is over 64 times the largest size {}",
                self.full,
                last.data_size()
            );
            warnings.push(Warning::new(WarningCode::LongExtrapolation, detail));
        }
        let assumed = self.calibration.variances.observation;
        if member.seen.iter().any(|p| p.log_variance(assumed) > assumed) {
            let detail = format!(
                "a standard error above the assumed noise of {:.3} in ln loss",
                assumed.sqrt()
            );
            warnings.push(Warning::new(WarningCode::NoisyObservations, detail));
        }
        warnings
    }
}

/// How the sizes differ from budget, budget/2, budget/4, … rounded down; `None` where they do not.
fn irregularity(seen: &[Observation], budget: DataSize) -> Option<String> {
    let last = seen.last()?.data_size();
    if last != budget {
        return Some(format!(
            "not measured at the budget size {budget}; the largest measured size is {last}"
        ));
    }
    let gap = seen.windows(2).find_map(|w| match w {
        [a, b] if a.data_size() != b.data_size().half() => Some((a.data_size(), b.data_size())),
        _ => None,
    });
    gap.map(|(a, b)| format!("{a} is followed by {b}: not a ladder of halvings; the sizes are used as they are"))
}
