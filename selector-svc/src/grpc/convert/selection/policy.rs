//! Policies: domain → wire, with defaults filled in.

use finepick_proto::selector::v1 as wire;

use crate::curve::DataSize;
use crate::grpc::convert::wire as examples;
use crate::policy::RankingPolicy;
use crate::policy::ats::AtsParameters;
use crate::policy::fitted::LawFitParameters;
use crate::policy::geometric::GeometricParameters;
use crate::policy::halving::{HalvingParameters, HalvingScore};
use crate::policy::local_trend::LocalTrendParameters;
use crate::policy::rwl::RwlParameters;
use crate::simulate::{NamedHistory, SelectionPolicy};

/// The policy as callers see it.
pub(super) fn selection_policy(policy: &SelectionPolicy) -> wire::SelectionPolicy {
    use wire::selection_policy::Kind;
    let kind = match policy {
        SelectionPolicy::Geometric(parameters, history) => Kind::Geometric(geometric(parameters, history)),
        SelectionPolicy::Halving(parameters) => Kind::Halving(halving(parameters)),
        SelectionPolicy::Flat(ranking) => Kind::Flat(wire::FlatPolicy {
            ranking: Some(ranking_policy(ranking)),
        }),
        SelectionPolicy::Ats(parameters, size) => Kind::Ats(wire::AtsOnlinePolicy {
            parameters: Some(ats(parameters)),
            data_size_budget: size.as_ref().map(|size: &DataSize| examples(size.examples())),
        }),
        SelectionPolicy::Exhaustive => Kind::Exhaustive(wire::ExhaustivePolicy {}),
        SelectionPolicy::Random => Kind::Random(wire::RandomPolicy {}),
        SelectionPolicy::ZeroShot => Kind::ZeroShot(wire::ZeroShotPolicy {}),
    };
    wire::SelectionPolicy { kind: Some(kind) }
}

fn small(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

fn ranking_policy(policy: &RankingPolicy) -> wire::RankingPolicy {
    use wire::ranking_policy::Kind;
    let kind = match policy {
        RankingPolicy::Ats(parameters) => Kind::Ats(ats(parameters)),
        RankingPolicy::AtsCorrected(parameters) => Kind::AtsCorrected(ats(parameters)),
        RankingPolicy::Rwl(parameters) => Kind::Rwl(rwl(parameters)),
        RankingPolicy::LocalTrend(parameters) => Kind::LocalTrend(local_trend(parameters)),
        RankingPolicy::ZeroShot => Kind::ZeroShot(wire::ZeroShotPolicy {}),
        RankingPolicy::ModelSize => Kind::ModelSize(wire::ModelSizePolicy {}),
        RankingPolicy::SubTuning => Kind::SubTuning(wire::SubTuningPolicy {}),
        RankingPolicy::RectifiedFit(parameters) => Kind::RectifiedFit(law_fit(parameters)),
        RankingPolicy::VanillaFit(parameters) => Kind::VanillaFit(law_fit(parameters)),
    };
    wire::RankingPolicy { kind: Some(kind) }
}

fn ats(parameters: &AtsParameters) -> wire::AtsPolicy {
    wire::AtsPolicy {
        min_fit_points: Some(small(parameters.min_fit_points)),
        stop_threshold: Some(parameters.stop_threshold),
    }
}

fn rwl(parameters: &RwlParameters) -> wire::RwlPolicy {
    wire::RwlPolicy {
        recency_doublings: Some(parameters.recency_doublings),
        slope_cap_quantile: Some(parameters.slope_cap_quantile.unwrap_or(0.0)),
        window_points: Some(small(parameters.window_points)),
    }
}

fn local_trend(parameters: &LocalTrendParameters) -> wire::LocalTrendPolicy {
    wire::LocalTrendPolicy {
        simulations: Some(i32::try_from(parameters.draws).unwrap_or(i32::MAX)),
        drift_standard_deviation: parameters.drift_sd,
        noise_standard_deviation: parameters.noise_sd,
    }
}

fn law_fit(parameters: &LawFitParameters) -> wire::LawFitPolicy {
    wire::LawFitPolicy {
        huber_width: parameters.huber_width,
        bootstrap_draws: parameters
            .bootstrap_draws
            .map(|draws| i32::try_from(draws).unwrap_or(i32::MAX)),
    }
}

fn geometric(parameters: &GeometricParameters, history: &[NamedHistory]) -> wire::GeometricPolicy {
    let set = |set: &NamedHistory| wire::HistoryDataSet {
        data_set: set.data_set.clone(),
        losses: set
            .losses
            .iter()
            .map(|(candidate, loss)| wire::CandidateLoss {
                candidate_id: candidate.clone(),
                test_loss: loss.nats(),
            })
            .collect(),
    };
    wire::GeometricPolicy {
        keep_divisor: Some(parameters.keep_divisor),
        drift_standard_deviation: Some(parameters.drift_sd),
        noise_standard_deviation: Some(parameters.noise_sd),
        history: history.iter().map(set).collect(),
        history_guard_correlation: Some(parameters.history_guard),
    }
}

fn halving(parameters: &HalvingParameters) -> wire::HalvingPolicy {
    let score = match parameters.score {
        HalvingScore::Extrapolated => wire::HalvingScore::ExtrapolatedLoss,
        HalvingScore::Current => wire::HalvingScore::CurrentLoss,
    };
    wire::HalvingPolicy {
        eta: Some(parameters.eta),
        score: score.into(),
        extrapolation: Some(rwl(&parameters.extrapolation)),
    }
}
