//! Whatever is asked, it is converted or refused.

use proptest::prelude::*;

use super::*;

/// Numbers that clients should not send, and some that they may.
fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<f64>(),
        0.0_f64..10.0,
        Just(f64::NAN),
        Just(f64::INFINITY),
        Just(0.0),
        Just(-1.0)
    ]
}

fn integer() -> impl Strategy<Value = i64> {
    prop_oneof![any::<i64>(), 0_i64..1000, Just(0), Just(-1), Just(1_i64 << 53)]
}

fn any_curve() -> impl Strategy<Value = types::LearningCurve> {
    let point = (
        integer(),
        number(),
        prop::option::of(number()),
        prop::option::of(number()),
    );
    prop::collection::vec(point, 0..12).prop_map(|points| types::LearningCurve {
        candidate: String::new(),
        observations: points
            .into_iter()
            .map(|(data_size, test_loss, standard_error, weight)| types::Observation {
                data_size,
                test_loss,
                standard_error,
                weight,
            })
            .collect(),
    })
}

/// Curves that pass the checks, with rises, gaps and extremes.
fn passing_curve() -> impl Strategy<Value = types::LearningCurve> {
    let point = (1_i64..1 << 50, -27.0_f64..13.0, prop::option::of(1e-3_f64..1e3));
    prop::collection::vec(point, 1..9).prop_map(|mut points| {
        points.sort_by_key(|p| p.0);
        points.dedup_by_key(|p| p.0);
        let observation = |(data_size, log_loss, weight): (i64, f64, Option<f64>)| types::Observation {
            data_size,
            test_loss: log_loss.exp(),
            standard_error: weight,
            weight,
        };
        types::LearningCurve {
            candidate: "p".into(),
            observations: points.into_iter().map(observation).collect(),
        }
    })
}

fn any_options() -> impl Strategy<Value = pb::FitOptions> {
    let objective = prop::option::of(prop::option::of(number())).prop_map(|width| {
        width.map(|width| pb::Objective {
            kind: Some(pb::objective::Kind::Huber(pb::HuberObjective { width })),
        })
    });
    let sizes = (prop::option::of(integer()), prop::collection::vec(integer(), 0..4));
    let rest = (
        prop::option::of(-5_i32..40),
        any::<bool>(),
        prop::option::of(number()),
        any::<Option<u64>>(),
    );
    (-1_i32..10, objective, sizes, -1_i32..5, rest).prop_map(|(law, objective, sizes, uncertainty, rest)| {
        pb::FitOptions {
            law,
            objective,
            data_size_max: sizes.0,
            predict_data_sizes: sizes.1,
            uncertainty,
            bootstrap_draws: rest.0,
            return_draws: rest.1,
            interval_level: rest.2,
            seed: rest.3,
        }
    })
}

fn finite(fit: &pb::CurveFit) -> bool {
    let optional = [
        fit.objective_value,
        fit.rmsd_log,
        fit.aicc,
        fit.residual_standard_deviation,
    ];
    let coefficients = fit.coefficients.iter().map(|c| c.value);
    let predictions = fit.predictions.iter().flat_map(|p| {
        let interval = p.interval.map_or([p.predicted_loss; 2], |i| [i.lower, i.upper]);
        [p.predicted_loss, interval[0], interval[1]]
    });
    let covariance = fit.covariance.iter().flat_map(|c| c.values.clone()).collect::<Vec<_>>();
    let draws = fit.draws.iter().flat_map(|d| d.values.clone()).collect::<Vec<_>>();
    let all = optional.into_iter().flatten().chain(coefficients).chain(predictions);
    all.chain(covariance).chain(draws).all(f64::is_finite)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn arbitrary_requests_are_converted_or_refused(
        curves in prop::collection::vec(any_curve(), 0..3), options in prop::option::of(any_options()),
        numbers in prop::collection::vec(-1_i32..10, 0..6), sizes in prop::collection::vec(integer(), 0..4),
        level in prop::option::of(number()), factor in number(),
    ) {
        let limits = limits();
        let first = curves.first().cloned();
        let refused = |result: Result<(), Status>| result.map_or_else(|s| s.code() == Code::InvalidArgument, |()| true);
        let fit = pb::FitCurveRequest { curve: first.clone(), options: options.clone() };
        prop_assert!(refused(fit_curve_request(fit, &limits).map(drop)));
        let batch = pb::BatchFitCurvesRequest { curves: curves.clone(), options: options.clone() };
        prop_assert!(refused(batch_fit_curves_request(batch, &limits).map(drop)));
        let holdout_points = numbers.first().copied();
        let compare = pb::CompareLawsRequest { curve: first.clone(), laws: numbers.clone(), options, holdout_points };
        prop_assert!(refused(compare_laws_request(compare, &limits).map(drop)));
        let crossover = pb::FindCrossoverRequest {
            first: first.clone(), second: curves.last().cloned(), data_size_min: sizes.first().copied(),
            data_size_max: sizes.last().copied(), bootstrap_draws: holdout_points, interval_level: level, seed: None,
        };
        prop_assert!(refused(find_crossover_request(crossover, &limits).map(drop)));
        let suggest = pb::SuggestNextSizeRequest {
            curve: first, data_size_full: sizes.first().copied().unwrap_or_default(),
            allowed_data_sizes: sizes.clone(), data_size_max: sizes.last().copied(),
        };
        prop_assert!(refused(suggest_next_size_request(suggest, &limits).map(drop)));
        let joint = pb::FitJointLawRequest {
            curves: curves.into_iter().map(|c| pb::FactorCurve { curve: Some(c), factor }).collect(),
            law: numbers.first().copied().unwrap_or_default(),
            factor_sign: numbers.last().copied().unwrap_or_default(),
            predict_points: sizes.into_iter().map(|data_size| pb::FactorPoint { factor, data_size }).collect(),
            ..pb::FitJointLawRequest::default()
        };
        prop_assert!(refused(fit_joint_law_request(joint, &limits).map(drop)));
    }

    #[test]
    fn arbitrary_kept_fits_are_predicted_from_or_refused(
        law in -1_i32..6, values in prop::collection::vec(number(), 0..5), draws in prop::collection::vec(number(), 0..5),
        sd in prop::option::of(number()), points_used in -3_i32..20, sizes in prop::collection::vec(integer(), 0..3),
        data_size_largest in prop::option::of(integer()),
    ) {
        let names = crate::law::LawKind::ALL.iter().find(|k| law::wire_law(**k) as i32 == law).map(|k| k.coefficient_names());
        let names: Vec<String> = names.unwrap_or_default().iter().map(|n| n.name().to_owned()).collect();
        let coefficient = |(name, value): (&String, &f64)| pb::Coefficient {
            name: name.clone(), value: value.abs(), log_standard_error: None,
        };
        let fit = pb::CurveFit {
            law,
            coefficients: names.iter().zip(&values).map(coefficient).collect(),
            draws: vec![pb::CoefficientDraw { values: draws }],
            covariance: Some(pb::Covariance { coefficient_names: names.clone(), values: vec![0.1; names.len() * names.len()] }),
            residual_standard_deviation: sd,
            points_used,
            data_size_largest,
            ..pb::CurveFit::default()
        };
        for fit in [pb::CurveFit { draws: vec![], ..fit.clone() }, fit] {
            let request = pb::PredictLossRequest { fit: Some(fit), data_sizes: sizes.clone(), interval_level: None };
            if let Ok(request) = predict_loss_request(request, &limits()) {
                for p in predict_loss_response(&request).predictions {
                    prop_assert!(p.predicted_loss.is_finite() && p.predicted_loss > 0.0);
                    prop_assert!(p.interval.is_none_or(|i| i.lower <= p.predicted_loss && p.predicted_loss <= i.upper));
                }
            }
        }
    }

    #[test]
    fn what_passes_the_checks_is_answered_with_numbers(curve in passing_curve(), mut options in any_options()) {
        options.law = options.law.clamp(0, 4);
        options.uncertainty = options.uncertainty.clamp(0, 3);
        let request = pb::FitCurveRequest { curve: Some(curve), options: Some(options) };
        if let Ok(request) = fit_curve_request(request, &limits()) {
            let mut fitter = crate::fit::Fitter::default();
            let found = crate::forecast::forecast(&mut fitter, &request.curve.curve, &request.options.forecast);
            let fit = fit_curve_response(&request, &found).fit.unwrap();
            prop_assert!(finite(&fit), "{fit:?}");
            prop_assert_ne!(fit.verdict(), pb::Verdict::Unspecified);
        }
    }
}
