//! Policies and their parameters.

use finepick_proto::selector::v1 as wire;

use super::{Violations, count};
use crate::curve::DataSize;
use crate::curve::Loss;
use crate::policy::RankingPolicy;
use crate::policy::ats::AtsParameters;
use crate::policy::fitted::LawFitParameters;
use crate::policy::geometric::GeometricParameters;
use crate::policy::halving::{HalvingParameters, HalvingScore};
use crate::policy::local_trend::LocalTrendParameters;
use crate::policy::rwl::RwlParameters;
use crate::simulate::{NamedHistory, SelectionPolicy};
use crate::table::MAX_CANDIDATES;

/// Data sets of one history.
const MAX_HISTORY_SETS: usize = 1_000;

pub(super) fn ranking_policy(
    path: &str,
    message: Option<wire::RankingPolicy>,
    violations: &mut Violations,
) -> RankingPolicy {
    use wire::ranking_policy::Kind;
    let Some(kind) = message.and_then(|message| message.kind) else {
        return RankingPolicy::Ats(AtsParameters::default());
    };
    let (field, policy) = match kind {
        Kind::Ats(m) => ("ats", RankingPolicy::Ats(ats(&format!("{path}.ats"), m, violations))),
        Kind::AtsCorrected(m) => (
            "ats_corrected",
            RankingPolicy::AtsCorrected(ats(&format!("{path}.ats_corrected"), m, violations)),
        ),
        Kind::Rwl(m) => (
            "rwl",
            RankingPolicy::Rwl(rwl(&format!("{path}.rwl"), m, RwlParameters::default(), violations)),
        ),
        Kind::LocalTrend(m) => (
            "local_trend",
            RankingPolicy::LocalTrend(local_trend(&format!("{path}.local_trend"), m, violations)),
        ),
        Kind::ZeroShot(_) => ("zero_shot", RankingPolicy::ZeroShot),
        Kind::ModelSize(_) => ("model_size", RankingPolicy::ModelSize),
        Kind::SubTuning(_) => ("sub_tuning", RankingPolicy::SubTuning),
        Kind::RectifiedFit(m) => (
            "rectified_fit",
            RankingPolicy::RectifiedFit(law_fit(&format!("{path}.rectified_fit"), m, violations)),
        ),
        Kind::VanillaFit(m) => (
            "vanilla_fit",
            RankingPolicy::VanillaFit(law_fit(&format!("{path}.vanilla_fit"), m, violations)),
        ),
    };
    violations.parameter(&format!("{path}.{field}"), policy.validate());
    policy
}

fn ats(path: &str, message: wire::AtsPolicy, violations: &mut Violations) -> AtsParameters {
    let default = AtsParameters::default();
    let points = message
        .min_fit_points
        .map(|n| count(&format!("{path}.min_fit_points"), n, violations));
    AtsParameters {
        min_fit_points: points.unwrap_or(default.min_fit_points),
        stop_threshold: message.stop_threshold.unwrap_or(default.stop_threshold),
    }
}

fn rwl(path: &str, message: wire::RwlPolicy, default: RwlParameters, violations: &mut Violations) -> RwlParameters {
    let window = message
        .window_points
        .map(|n| count(&format!("{path}.window_points"), n, violations));
    let cap = match message.slope_cap_quantile {
        Some(0.0) => None,
        Some(fraction) => Some(fraction),
        None => default.slope_cap_quantile,
    };
    RwlParameters {
        recency_doublings: message.recency_doublings.unwrap_or(default.recency_doublings),
        slope_cap_quantile: cap,
        window_points: window.unwrap_or(default.window_points),
    }
}

fn local_trend(path: &str, message: wire::LocalTrendPolicy, violations: &mut Violations) -> LocalTrendParameters {
    let draws = message.simulations.map(|n| {
        let path = format!("{path}.simulations");
        if n == 0 {
            violations.push(path.as_str(), "must be within 100..=1000000, is 0");
        }
        u32::try_from(count(&path, n, violations)).unwrap_or(u32::MAX)
    });
    LocalTrendParameters {
        draws: draws.unwrap_or(LocalTrendParameters::default().draws),
        drift_sd: message.drift_standard_deviation,
        noise_sd: message.noise_standard_deviation,
    }
}

fn law_fit(path: &str, message: wire::LawFitPolicy, violations: &mut Violations) -> LawFitParameters {
    let draws = message
        .bootstrap_draws
        .map(|n| u32::try_from(count(&format!("{path}.bootstrap_draws"), n, violations)).unwrap_or(u32::MAX));
    LawFitParameters {
        huber_width: message.huber_width,
        bootstrap_draws: draws,
    }
}

/// `path`: where the policy stands in the request.
pub(super) fn selection_policy(
    path: &str,
    message: Option<wire::SelectionPolicy>,
    violations: &mut Violations,
) -> SelectionPolicy {
    use wire::selection_policy::Kind;
    match message.and_then(|message| message.kind) {
        None => SelectionPolicy::Geometric(GeometricParameters::default(), Vec::new()),
        Some(Kind::Geometric(message)) => geometric(&format!("{path}.geometric"), message, violations),
        Some(Kind::Halving(message)) => {
            SelectionPolicy::Halving(halving(&format!("{path}.halving"), message, violations))
        }
        Some(Kind::Flat(message)) => {
            let path = format!("{path}.flat.ranking");
            SelectionPolicy::Flat(ranking_policy(&path, message.ranking, violations))
        }
        Some(Kind::Ats(message)) => {
            let parameters = ats(
                &format!("{path}.ats.parameters"),
                message.parameters.unwrap_or_default(),
                violations,
            );
            let size = message.data_size_budget.and_then(|size| {
                let path = format!("{path}.ats.data_size_budget");
                violations.take(|| path, DataSize::new(u64::try_from(size).unwrap_or(u64::MAX)))
            });
            SelectionPolicy::Ats(parameters, size)
        }
        Some(Kind::Exhaustive(_)) => SelectionPolicy::Exhaustive,
        Some(Kind::Random(_)) => SelectionPolicy::Random,
        Some(Kind::ZeroShot(_)) => SelectionPolicy::ZeroShot,
    }
}

fn geometric(prefix: &str, message: wire::GeometricPolicy, violations: &mut Violations) -> SelectionPolicy {
    let default = GeometricParameters::default();
    let parameters = GeometricParameters {
        keep_divisor: message.keep_divisor.unwrap_or(default.keep_divisor),
        drift_sd: message.drift_standard_deviation.unwrap_or(default.drift_sd),
        noise_sd: message.noise_standard_deviation.unwrap_or(default.noise_sd),
        history_guard: message.history_guard_correlation.unwrap_or(default.history_guard),
    };
    violations.parameter(prefix, parameters.validate());
    if message.history.len() > MAX_HISTORY_SETS {
        violations.push(
            format!("{prefix}.history"),
            format!("at most {MAX_HISTORY_SETS} data sets"),
        );
        return SelectionPolicy::Geometric(parameters, Vec::new());
    }
    let history = message.history.into_iter().enumerate().map(|(i, set)| {
        let path = format!("{prefix}.history[{i}]");
        history_set(&path, set, violations)
    });
    let history = history.collect();
    SelectionPolicy::Geometric(parameters, history)
}

fn history_set(path: &str, set: wire::HistoryDataSet, violations: &mut Violations) -> NamedHistory {
    if set.losses.len() > MAX_CANDIDATES {
        violations.push(format!("{path}.losses"), format!("at most {MAX_CANDIDATES} losses"));
        return NamedHistory::default();
    }
    let mut seen = std::collections::HashSet::new();
    let mut losses = Vec::with_capacity(set.losses.len());
    for (j, message) in set.losses.into_iter().enumerate() {
        let loss = violations.take(|| format!("{path}.losses[{j}].test_loss"), Loss::new(message.test_loss));
        if !seen.insert(message.candidate_id.clone()) {
            let description = format!("{:?} occurs twice", message.candidate_id);
            violations.push(format!("{path}.losses[{j}].candidate_id"), description);
        }
        losses.extend(loss.map(|loss| (message.candidate_id, loss)));
    }
    NamedHistory {
        data_set: set.data_set,
        losses,
    }
}

fn halving(prefix: &str, message: wire::HalvingPolicy, violations: &mut Violations) -> HalvingParameters {
    let default = HalvingParameters::default();
    let score = match wire::HalvingScore::try_from(message.score) {
        Ok(wire::HalvingScore::Unspecified | wire::HalvingScore::ExtrapolatedLoss) => HalvingScore::Extrapolated,
        Ok(wire::HalvingScore::CurrentLoss) => HalvingScore::Current,
        Err(_) => {
            violations.push(
                format!("{prefix}.score"),
                format!("{} is no known value", message.score),
            );
            HalvingScore::Extrapolated
        }
    };
    let path = format!("{prefix}.extrapolation");
    let extrapolation = match message.extrapolation {
        Some(message) => rwl(&path, message, default.extrapolation, violations),
        None => default.extrapolation,
    };
    violations.parameter(&path, extrapolation.validate());
    let parameters = HalvingParameters {
        eta: message.eta.unwrap_or(default.eta),
        score,
        extrapolation,
    };
    violations.parameter(
        prefix,
        HalvingParameters {
            extrapolation: default.extrapolation,
            ..parameters
        }
        .validate(),
    );
    parameters
}
