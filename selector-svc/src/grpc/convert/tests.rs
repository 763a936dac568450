use std::collections::HashMap;

use finepick_proto::selector::v1 as wire;
use finepick_proto::types::v1 as types;
use proptest::prelude::*;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::*;
use crate::policy::RankingPolicy;

fn observation(data_size: i64, test_loss: f64) -> types::Observation {
    types::Observation {
        data_size,
        test_loss,
        standard_error: None,
        weight: None,
    }
}

fn candidate(name: &str, observations: Vec<types::Observation>) -> wire::CandidateCurve {
    let identity = types::Candidate {
        candidate_id: name.to_owned(),
        ..types::Candidate::default()
    };
    wire::CandidateCurve {
        candidate: Some(identity),
        observations,
    }
}

fn request(candidates: Vec<wire::CandidateCurve>) -> wire::RankCandidatesRequest {
    wire::RankCandidatesRequest {
        candidates,
        data_size_budget: 800,
        data_size_full: 6400,
        ..wire::RankCandidatesRequest::default()
    }
}

fn paths(status: &Status) -> Vec<String> {
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let details = status.get_error_details();
    assert_eq!(details.error_info().unwrap().domain, finepick_proto::ERROR_DOMAIN);
    details
        .bad_request()
        .unwrap()
        .field_violations
        .iter()
        .map(|v| v.field.clone())
        .collect()
}

#[test]
fn every_wrong_field_is_named_by_its_path() {
    let mut twice = candidate("a", vec![observation(200, 2.0)]);
    twice.candidate.as_mut().unwrap().parameters = Some(0);
    let message = wire::RankCandidatesRequest {
        data_size_budget: 0,
        data_size_full: -1,
        interval_level: Some(2.0),
        forecast_data_sizes: vec![100, 0],
        policy: Some(wire::RankingPolicy {
            kind: Some(wire::ranking_policy::Kind::Ats(wire::AtsPolicy {
                min_fit_points: Some(1),
                stop_threshold: Some(f64::NAN),
            })),
        }),
        constraints: Some(wire::Constraints {
            min_parameters: Some(0),
            ..wire::Constraints::default()
        }),
        ..request(vec![
            candidate(
                "a",
                vec![observation(200, 2.0), observation(200, f64::NAN), observation(-1, 1.0)],
            ),
            wire::CandidateCurve::default(),
            candidate("", vec![]),
            candidate("b", vec![observation(i64::MAX, 0.0)]),
            twice,
        ])
    };
    let found = paths(&rank_request(message, 100).unwrap_err());
    for expected in [
        "candidates[0].observations[1].data_size",
        "candidates[0].observations[1].test_loss",
        "candidates[0].observations[2].data_size",
        "candidates[1].candidate",
        "candidates[2].candidate.candidate_id",
        "candidates[3].observations[0].data_size",
        "candidates[3].observations[0].test_loss",
        "candidates[4].candidate.candidate_id",
        "data_size_full",
        "data_size_budget",
        "policy.ats.min_fit_points",
        "forecast_data_sizes[1]",
        "constraints.min_parameters",
        "interval_level",
    ] {
        assert!(
            found.iter().any(|path| path == expected),
            "{expected} is not among {found:?}"
        );
    }
}

#[test]
fn absent_parameters_take_the_domains_defaults() {
    for name in RankingPolicy::NAMES {
        use wire::ranking_policy::Kind;
        let kind = match name {
            "ats" => Kind::Ats(wire::AtsPolicy::default()),
            "ats_corrected" => Kind::AtsCorrected(wire::AtsPolicy::default()),
            "rwl" => Kind::Rwl(wire::RwlPolicy::default()),
            "local_trend" => Kind::LocalTrend(wire::LocalTrendPolicy::default()),
            "zero_shot" => Kind::ZeroShot(wire::ZeroShotPolicy::default()),
            "model_size" => Kind::ModelSize(wire::ModelSizePolicy::default()),
            "sub_tuning" => Kind::SubTuning(wire::SubTuningPolicy::default()),
            "rectified_fit" => Kind::RectifiedFit(wire::LawFitPolicy::default()),
            _ => Kind::VanillaFit(wire::LawFitPolicy::default()),
        };
        let policy = Some(wire::RankingPolicy { kind: Some(kind) });
        let message = wire::RankCandidatesRequest {
            policy,
            ..request(vec![candidate("a", vec![])])
        };
        let (_, request) = rank_request(message, 10).unwrap();
        assert_eq!(Some(request.policy), RankingPolicy::from_name(name));
        assert!((request.level - 0.9).abs() < 1e-15 && request.seed == 0);
    }
    let (_, request) = rank_request(request(vec![candidate("a", vec![])]), 10).unwrap();
    assert_eq!(request.policy.name(), "ats");
}

#[test]
fn too_many_candidates_are_a_limit_of_their_own() {
    let message = request(vec![candidate("a", vec![]), candidate("b", vec![])]);
    let status = rank_request(message, 1).unwrap_err();
    assert_eq!(paths(&status), ["candidates"]);
    assert_eq!(
        status.get_error_details().error_info().unwrap().reason,
        "LIMIT_EXCEEDED"
    );
    assert_eq!(paths(&rank_request(request(vec![]), 1).unwrap_err()), ["candidates"]);
}

#[test]
fn a_replay_needs_a_budget_and_names_wrong_history() {
    let geometric = wire::GeometricPolicy {
        history: vec![wire::HistoryDataSet {
            data_set: "h".to_owned(),
            losses: vec![wire::CandidateLoss {
                candidate_id: "a".to_owned(),
                test_loss: -1.0,
            }],
        }],
        keep_divisor: Some(0.5),
        ..wire::GeometricPolicy::default()
    };
    let message = wire::SimulateSelectionRequest {
        candidates: vec![candidate("a", vec![observation(100, 1.0)])],
        data_size_full: 100,
        policy: Some(wire::SelectionPolicy {
            kind: Some(wire::selection_policy::Kind::Geometric(geometric)),
        }),
        ..wire::SimulateSelectionRequest::default()
    };
    let found = paths(&simulate_request(message, 10).unwrap_err());
    assert_eq!(
        found,
        [
            "budget",
            "policy.geometric.keep_divisor",
            "policy.geometric.history[0].losses[0].test_loss"
        ]
    );
}

fn any_float() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<f64>(),
        0.1..9.0_f64,
        Just(f64::NAN),
        Just(f64::INFINITY),
        Just(0.0),
        Just(-1.0)
    ]
}

fn any_size() -> impl Strategy<Value = i64> {
    prop_oneof![any::<i64>(), 0..4_000_i64, Just(0)]
}

fn any_curve() -> impl Strategy<Value = wire::CandidateCurve> {
    let point = (
        any_size(),
        any_float(),
        prop::option::of(any_float()),
        prop::option::of(any_float()),
    )
        .prop_map(|(data_size, test_loss, standard_error, weight)| types::Observation {
            data_size,
            test_loss,
            standard_error,
            weight,
        });
    let sane = (1_usize..8, prop::collection::vec(0.5..9.0_f64, 8)).prop_map(|(n, losses)| {
        losses
            .into_iter()
            .take(n)
            .enumerate()
            .map(|(i, loss)| observation(100 << i, loss))
            .collect::<Vec<_>>()
    });
    let identity = ("\\PC{0,5}|[a-e]", "\\PC{0,3}", prop::option::of(any::<i64>())).prop_map(
        |(candidate_id, family, parameters)| types::Candidate {
            candidate_id,
            family,
            parameters,
            attributes: HashMap::new(),
        },
    );
    let points = prop_oneof![prop::collection::vec(point, 0..6), sane];
    (prop::option::weighted(0.95, identity), points).prop_map(|(candidate, observations)| wire::CandidateCurve {
        candidate,
        observations,
    })
}

fn any_ranking_policy() -> impl Strategy<Value = wire::RankingPolicy> {
    use wire::ranking_policy::Kind;
    let int = || prop::option::of(prop_oneof![any::<i32>(), 0..2_000_i32]);
    let float = || prop::option::of(any_float());
    let ats = || {
        (int(), float()).prop_map(|(min_fit_points, stop_threshold)| wire::AtsPolicy {
            min_fit_points,
            stop_threshold,
        })
    };
    let kind = prop_oneof![
        ats().prop_map(Kind::Ats),
        ats().prop_map(Kind::AtsCorrected),
        (float(), float(), int()).prop_map(|(recency_doublings, slope_cap_quantile, window_points)| Kind::Rwl(
            wire::RwlPolicy {
                recency_doublings,
                slope_cap_quantile,
                window_points
            }
        )),
        (int(), float(), float()).prop_map(|(simulations, drift_standard_deviation, noise_standard_deviation)| {
            // Bounded: a million draws are valid and slow.
            let simulations = simulations.map(|n| n.min(2_000));
            Kind::LocalTrend(wire::LocalTrendPolicy {
                simulations,
                drift_standard_deviation,
                noise_standard_deviation,
            })
        }),
        Just(Kind::ZeroShot(wire::ZeroShotPolicy {})),
        Just(Kind::ModelSize(wire::ModelSizePolicy {})),
        Just(Kind::SubTuning(wire::SubTuningPolicy {})),
        (float(), int()).prop_map(|(huber_width, bootstrap_draws)| Kind::RectifiedFit(wire::LawFitPolicy {
            huber_width,
            bootstrap_draws
        })),
    ];
    prop::option::of(kind).prop_map(|kind| wire::RankingPolicy { kind })
}

fn any_selection_policy() -> impl Strategy<Value = wire::SelectionPolicy> {
    use wire::selection_policy::Kind;
    let float = || prop::option::of(any_float());
    let loss = ("[a-e]", any_float()).prop_map(|(candidate_id, test_loss)| wire::CandidateLoss {
        candidate_id,
        test_loss,
    });
    let set = prop::collection::vec(loss, 0..4).prop_map(|losses| wire::HistoryDataSet {
        data_set: String::new(),
        losses,
    });
    let geometric = (float(), float(), float(), prop::collection::vec(set, 0..2), float()).prop_map(
        |(keep_divisor, drift_standard_deviation, noise_standard_deviation, history, history_guard_correlation)| {
            Kind::Geometric(wire::GeometricPolicy {
                keep_divisor,
                drift_standard_deviation,
                noise_standard_deviation,
                history,
                history_guard_correlation,
            })
        },
    );
    let kind = prop_oneof![
        geometric,
        (float(), any::<i32>()).prop_map(|(eta, score)| Kind::Halving(wire::HalvingPolicy {
            eta,
            score,
            extrapolation: None
        })),
        any_ranking_policy().prop_map(|ranking| Kind::Flat(wire::FlatPolicy { ranking: Some(ranking) })),
    ];
    prop::option::of(kind).prop_map(|kind| wire::SelectionPolicy { kind })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever arrives is refused with field violations or answered; nothing panics on the way there and back.
    #[test]
    fn any_ranking_request_is_answered_or_refused(
        candidates in prop::collection::vec(any_curve(), 0..5),
        (budget, full) in (any_size(), any_size()),
        policy in prop::option::of(any_ranking_policy()),
        sizes in prop::collection::vec(any_size(), 0..3),
        level in prop::option::of(any_float()),
    ) {
        let message = wire::RankCandidatesRequest {
            candidates, data_size_budget: budget, data_size_full: full, policy, forecast_data_sizes: sizes,
            interval_level: level, ..wire::RankCandidatesRequest::default()
        };
        match rank_request(message, 4) {
            Err(status) => prop_assert!(!paths(&status).is_empty()),
            Ok((table, request)) => match crate::ranking::rank(&table, &request, None) {
                Err(error) => prop_assert!(!paths(&rank_status(&error)).is_empty()),
                Ok(ranking) => { let _ = rank_response(ranking); }
            },
        }
    }

    #[test]
    fn any_replay_request_is_answered_or_refused(
        candidates in prop::collection::vec(any_curve(), 0..5),
        full in any_size(),
        absolute in any::<bool>(),
        (examples, budget_ratio, fraction) in (any_size(), any_float(), prop::option::of(any_float())),
        policy in prop::option::of(any_selection_policy()),
    ) {
        use wire::simulate_selection_request::Budget;
        let budget = if absolute { Budget::BudgetExamples(examples) } else {
            Budget::RelativeBudget(wire::RelativeBudget { budget_ratio, fraction })
        };
        let message = wire::SimulateSelectionRequest {
            candidates, data_size_full: full, policy, budget: Some(budget), ..wire::SimulateSelectionRequest::default()
        };
        match simulate_request(message, 4) {
            Err(status) => prop_assert!(!paths(&status).is_empty()),
            Ok((table, request)) => match crate::simulate::simulate(&table, &request, None) {
                Err(error) => prop_assert_ne!(simulate_status(&error).code(), Code::Internal),
                Ok(found) => { let _ = simulate_response(found); }
            },
        }
    }
}
