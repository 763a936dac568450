//! The baselines that the paper compares with: zero-shot loss, model size, loss at the budget size.

use crate::curve::DataSize;
use crate::policy::{
    Exclusion, ExclusionReason, FlatPolicy, Forecast, IntervalSource, Member, Model, Pool, Stop, StopReason,
};

/// `ZeroShot`: the loss before fine-tuning.
#[derive(Clone, Copy, Debug)]
pub struct ZeroShot;

/// `ModelSize`: the more weights the better; gives no predicted loss, its score is −parameters.
///
/// `PearCorr` is that of ln parameters and loss, as in the published table: a good `ModelSize` has a negative one.
#[derive(Clone, Copy, Debug)]
pub struct ModelSize;

/// `SubTuning`: the loss at the budget size.
#[derive(Clone, Copy, Debug)]
pub struct SubTuning;

fn stand_in(score: f64, predicted_loss: Option<f64>, data_sizes_used: Vec<DataSize>) -> Forecast {
    Forecast {
        score,
        correlated: score,
        predicted_loss,
        data_sizes_used,
        stop: Stop::untested(StopReason::NotApplicable),
        model: Model::StandIn,
        warnings: Vec::new(),
    }
}

fn loss_at(member: &Member<'_>, size: DataSize) -> Result<Forecast, Exclusion> {
    let loss = member.candidate.curve().loss_at(size).ok_or_else(|| {
        Exclusion::new(
            ExclusionReason::MissingData,
            format!("has no loss at data size {size}, which the policy compares"),
        )
    })?;
    Ok(stand_in(loss.nats(), Some(loss.nats()), vec![size]))
}

impl FlatPolicy for ZeroShot {
    fn name(&self) -> &'static str {
        "zero_shot"
    }

    fn forecast(&self, pool: &Pool<'_>) -> Vec<Result<Forecast, Exclusion>> {
        pool.members()
            .iter()
            .map(|member| loss_at(member, DataSize::ZERO))
            .collect()
    }

    fn interval_source(&self) -> IntervalSource {
        IntervalSource::None
    }
}

impl FlatPolicy for ModelSize {
    fn name(&self) -> &'static str {
        "model_size"
    }

    fn forecast(&self, pool: &Pool<'_>) -> Vec<Result<Forecast, Exclusion>> {
        let forecast = |member: &Member<'_>| {
            let parameters = member.candidate.attributes().parameters().ok_or_else(|| {
                Exclusion::new(
                    ExclusionReason::MissingData,
                    "the number of parameters is unknown, and model_size needs it",
                )
            })?;
            let forecast = stand_in(-(parameters as f64), None, Vec::new());
            Ok(Forecast {
                correlated: (parameters as f64).ln(),
                ..forecast
            })
        };
        pool.members().iter().map(forecast).collect()
    }

    fn interval_source(&self) -> IntervalSource {
        IntervalSource::None
    }
}

impl FlatPolicy for SubTuning {
    fn name(&self) -> &'static str {
        "sub_tuning"
    }

    fn forecast(&self, pool: &Pool<'_>) -> Vec<Result<Forecast, Exclusion>> {
        pool.members()
            .iter()
            .map(|member| loss_at(member, pool.budget()))
            .collect()
    }

    fn interval_source(&self) -> IntervalSource {
        IntervalSource::None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::curve::{LearningCurve, Loss, Observation};
    use crate::table::{Attributes, Candidate};

    fn candidate(name: &str, parameters: Option<u64>, points: &[(u64, f64)]) -> Candidate {
        let points = points
            .iter()
            .map(|(d, l)| Observation::new(DataSize::new(*d).unwrap(), Loss::new(*l).unwrap()))
            .collect();
        let attributes = Attributes::new(None, parameters, BTreeMap::new());
        Candidate::new(name.to_owned(), attributes, LearningCurve::new(points).unwrap()).unwrap()
    }

    #[test]
    fn each_baseline_reads_its_own_number_and_names_what_is_missing() {
        let candidates = [
            candidate("a", Some(10), &[(0, 4.0), (100, 3.0)]),
            candidate("b", None, &[(50, 3.5)]),
        ];
        let pool = Pool::new(&candidates, DataSize::new(100).unwrap(), DataSize::new(1000).unwrap());
        let zero = ZeroShot.forecast(&pool);
        assert!((zero[0].as_ref().unwrap().score - 4.0).abs() < 1e-15);
        assert!(zero[1].as_ref().unwrap_err().detail.contains("data size 0"));
        let size = ModelSize.forecast(&pool);
        assert!((size[0].as_ref().unwrap().score + 10.0).abs() < 1e-15);
        assert_eq!(size[0].as_ref().unwrap().predicted_loss, None);
        assert_eq!(size[1].as_ref().unwrap_err().reason, ExclusionReason::MissingData);
        let sub = SubTuning.forecast(&pool);
        assert!((sub[0].as_ref().unwrap().score - 3.0).abs() < 1e-15);
        assert!(sub[1].as_ref().unwrap_err().detail.contains("data size 100"));
    }
}
