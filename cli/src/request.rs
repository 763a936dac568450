//! From flags and curve files to the messages of the contracts.

use finepick_proto::selector::v1 as selector;
use finepick_proto::types::v1 as types;

use crate::args::{ConstraintArgs, Method, Policy, PolicyArgs, SelectPolicy};
use crate::curves::{CurvePoint, CurveRow, CurveTable};
use crate::error::CliError;
use crate::values;

/// Observations of one row.
#[must_use]
pub fn observations(points: &[CurvePoint]) -> Vec<types::Observation> {
    points
        .iter()
        .map(|point| types::Observation {
            data_size: i64::try_from(point.data_size).unwrap_or(i64::MAX),
            test_loss: point.test_loss,
            standard_error: point.standard_error,
            weight: point.weight,
        })
        .collect()
}

/// The learning curve of one row.
#[must_use]
pub fn learning_curve(row: &CurveRow) -> types::LearningCurve {
    types::LearningCurve {
        candidate: row.candidate.clone(),
        observations: observations(&row.observations),
    }
}

/// The candidates of a table, with what is known of them.
#[must_use]
pub fn candidates(table: &CurveTable) -> Vec<selector::CandidateCurve> {
    table
        .rows
        .iter()
        .map(|row| selector::CandidateCurve {
            candidate: Some(types::Candidate {
                candidate_id: row.candidate.clone(),
                family: row.family.clone().unwrap_or_default(),
                parameters: row.parameters.map(|count| i64::try_from(count).unwrap_or(i64::MAX)),
                attributes: row.attributes.clone().into_iter().collect(),
            }),
            observations: observations(&row.observations),
        })
        .collect()
}

/// A ranking policy with its parameters.
///
/// # Errors
/// Adaptive policies rank nothing: they are for `simulate`.
pub fn ranking_policy(policy: Policy, args: &PolicyArgs) -> Result<selector::RankingPolicy, CliError> {
    use selector::ranking_policy::Kind;
    let law_fit = selector::LawFitPolicy {
        huber_width: args.huber_width,
        bootstrap_draws: args.bootstrap_draws,
    };
    let kind = match policy {
        Policy::Ats => Kind::Ats(ats(args)),
        Policy::AtsCorrected => Kind::AtsCorrected(ats(args)),
        Policy::Rwl => Kind::Rwl(trend(args)),
        Policy::LocalTrend => Kind::LocalTrend(selector::LocalTrendPolicy {
            simulations: args.simulations,
            drift_standard_deviation: args.drift,
            noise_standard_deviation: args.noise,
        }),
        Policy::ZeroShot => Kind::ZeroShot(selector::ZeroShotPolicy {}),
        Policy::ModelSize => Kind::ModelSize(selector::ModelSizePolicy {}),
        Policy::SubTuning => Kind::SubTuning(selector::SubTuningPolicy {}),
        Policy::RectifiedFit => Kind::RectifiedFit(law_fit),
        Policy::VanillaFit => Kind::VanillaFit(law_fit),
        Policy::Geometric | Policy::Halving | Policy::HalvingCurrent => {
            return Err(CliError::Usage(format!(
                "{} decides while it trains: replay it with `finepick simulate`, or compare it with `finepick benchmark`",
                policy.name()
            )));
        }
    };
    Ok(selector::RankingPolicy { kind: Some(kind) })
}

fn ats(args: &PolicyArgs) -> selector::AtsPolicy {
    selector::AtsPolicy {
        min_fit_points: args.min_fit_points,
        stop_threshold: args.stop_threshold,
    }
}

fn trend(args: &PolicyArgs) -> selector::RwlPolicy {
    selector::RwlPolicy {
        recency_doublings: args.recency,
        slope_cap_quantile: args.slope_cap,
        window_points: args.window,
    }
}

/// A policy that spends a budget; policies that are not adaptive are replayed flat.
///
/// # Errors
/// As [`ranking_policy`].
pub fn adaptive_policy(policy: Policy, args: &PolicyArgs) -> Result<selector::SelectionPolicy, CliError> {
    let adaptive = match policy {
        Policy::Geometric => SelectPolicy::Geometric,
        Policy::Halving => SelectPolicy::Halving,
        Policy::HalvingCurrent => SelectPolicy::HalvingCurrent,
        flat => {
            let kind = selector::selection_policy::Kind::Flat(selector::FlatPolicy {
                ranking: Some(ranking_policy(flat, args)?),
            });
            return Ok(selector::SelectionPolicy { kind: Some(kind) });
        }
    };
    Ok(online_policy(adaptive, args))
}

/// The policy of a selection, to be replayed with what is known of other data sets.
///
/// # Errors
/// A history for a policy that has no use for one.
pub fn replayed_policy(
    policy: SelectPolicy,
    args: &PolicyArgs,
    history: Vec<selector::HistoryDataSet>,
) -> Result<selector::SelectionPolicy, CliError> {
    match policy {
        SelectPolicy::Geometric => Ok(selector::SelectionPolicy {
            kind: Some(geometric(args, history)),
        }),
        other if !history.is_empty() => Err(CliError::Usage(format!(
            "--history is for the geometric policy, not for {}",
            other.name()
        ))),
        other => Ok(online_policy(other, args)),
    }
}

fn geometric(args: &PolicyArgs, history: Vec<selector::HistoryDataSet>) -> selector::selection_policy::Kind {
    selector::selection_policy::Kind::Geometric(selector::GeometricPolicy {
        keep_divisor: args.keep_divisor,
        drift_standard_deviation: args.drift,
        noise_standard_deviation: args.noise,
        history,
        history_guard_correlation: args.history_guard,
    })
}

fn halving(args: &PolicyArgs, score: selector::HalvingScore) -> selector::selection_policy::Kind {
    selector::selection_policy::Kind::Halving(selector::HalvingPolicy {
        eta: args.eta,
        score: score.into(),
        // Halving's own defaults: its scores are compared within one rung, where a longer memory and no cap did best.
        extrapolation: Some(selector::RwlPolicy {
            recency_doublings: Some(args.recency.unwrap_or(1.0)),
            slope_cap_quantile: Some(args.slope_cap.unwrap_or(0.0)),
            window_points: args.window,
        }),
    })
}

/// The policy of a selection that pays for its runs.
#[must_use]
pub fn online_policy(policy: SelectPolicy, args: &PolicyArgs) -> selector::SelectionPolicy {
    use selector::selection_policy::Kind;
    let flat = |ranking: Policy| {
        // Policies that rank finished curves always do.
        let ranking = ranking_policy(ranking, args).ok();
        Kind::Flat(selector::FlatPolicy { ranking })
    };
    let kind = match policy {
        SelectPolicy::Geometric => geometric(args, Vec::new()),
        SelectPolicy::Halving => halving(args, selector::HalvingScore::ExtrapolatedLoss),
        SelectPolicy::HalvingCurrent => halving(args, selector::HalvingScore::CurrentLoss),
        SelectPolicy::Ats => Kind::Ats(selector::AtsOnlinePolicy {
            parameters: Some(ats(args)),
            data_size_budget: None,
        }),
        SelectPolicy::FlatAts => flat(Policy::Ats),
        SelectPolicy::FlatAtsCorrected => flat(Policy::AtsCorrected),
        SelectPolicy::FlatRwl => flat(Policy::Rwl),
        SelectPolicy::FlatLocalTrend => flat(Policy::LocalTrend),
        SelectPolicy::FlatRectifiedFit => flat(Policy::RectifiedFit),
        SelectPolicy::FlatVanillaFit => flat(Policy::VanillaFit),
        SelectPolicy::FlatSubTuning => flat(Policy::SubTuning),
        SelectPolicy::FlatModelSize => flat(Policy::ModelSize),
        SelectPolicy::Exhaustive => Kind::Exhaustive(selector::ExhaustivePolicy {}),
        SelectPolicy::ZeroShot => Kind::ZeroShot(selector::ZeroShotPolicy {}),
        SelectPolicy::Random => Kind::Random(selector::RandomPolicy {}),
    };
    selector::SelectionPolicy { kind: Some(kind) }
}

/// The constraints, absent when there are none.
///
/// # Errors
/// Names the condition or value that cannot be understood.
pub fn constraints(args: &ConstraintArgs) -> Result<Option<selector::Constraints>, CliError> {
    if args.conditions.is_empty() && args.memory_limit.is_none() {
        return Ok(None);
    }
    let conditions = values::conditions(&args.conditions).map_err(CliError::Usage)?;
    let memory_limit = match &args.memory_limit {
        None => None,
        Some(text) => Some(selector::MemoryLimit {
            bytes: values::bytes(text).map_err(|problem| CliError::Usage(format!("--memory-limit: {problem}")))?,
            method: match args.tuning_method {
                Method::Full => selector::TuningMethod::Full,
                Method::Lora => selector::TuningMethod::Lora,
                Method::Prompt => selector::TuningMethod::Prompt,
            }
            .into(),
            bytes_per_parameter: args.bytes_per_parameter,
        }),
    };
    Ok(Some(selector::Constraints {
        include_families: conditions.include_families,
        exclude_families: conditions.exclude_families,
        min_parameters: conditions.min_parameters,
        max_parameters: conditions.max_parameters,
        memory_limit,
        attributes: conditions.attributes.into_iter().collect(),
    }))
}

/// The size that a budget ratio stands for: the full size times the ratio, rounded down.
///
/// # Errors
/// The ratio is above 1 or leaves no example.
pub fn budget_size(full_size: i64, ratio: f64) -> Result<i64, CliError> {
    // The nudge keeps 1/3 of 300 at 100 whatever the rounding of the division was.
    let size = (full_size as f64 * ratio * (1.0 + 4.0 * f64::EPSILON)).floor();
    if ratio > 1.0 || size < 1.0 {
        return Err(CliError::Usage(format!(
            "a budget ratio of {ratio} of {full_size} examples leaves {size} examples; it must leave at least 1 and at most all"
        )));
    }
    #[expect(clippy::cast_possible_truncation, reason = "between 1 and full_size")]
    Ok(size as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budget_sizes() {
        assert_eq!(budget_size(1_638_400, 1.0 / 64.0).unwrap(), 25_600);
        assert_eq!(budget_size(300, 1.0 / 3.0).unwrap(), 100);
        assert_eq!(budget_size(100, 1.0).unwrap(), 100);
        assert!(budget_size(100, 1.5).is_err());
        assert!(budget_size(100, 0.001).is_err());
        assert!(budget_size(-5, 0.5).is_err());
    }

    #[test]
    fn every_policy_of_a_selection_is_a_message_of_its_own() {
        use clap::ValueEnum as _;
        let args = PolicyArgs::default();
        let mut messages = Vec::new();
        for policy in SelectPolicy::value_variants() {
            let message = online_policy(*policy, &args);
            assert_eq!(replayed_policy(*policy, &args, Vec::new()).unwrap(), message);
            assert!(!messages.contains(&message), "{policy:?}");
            if let Some(selector::selection_policy::Kind::Flat(flat)) = &message.kind {
                assert!(flat.ranking.is_some(), "{policy:?}");
            }
            assert!(!policy.name().contains('-'), "{policy:?}");
            messages.push(message);
        }
        let history = vec![selector::HistoryDataSet::default()];
        assert!(replayed_policy(SelectPolicy::Geometric, &args, history.clone()).is_ok());
        let error = replayed_policy(SelectPolicy::FlatAts, &args, history).unwrap_err();
        assert!(error.to_string().contains("not for flat_ats"), "{error}");
    }

    #[test]
    fn adaptive_policies_do_not_rank() {
        for policy in [Policy::Geometric, Policy::Halving, Policy::HalvingCurrent] {
            let error = ranking_policy(policy, &PolicyArgs::default()).unwrap_err();
            assert!(error.to_string().contains("simulate"), "{error}");
        }
    }
}
