mod properties;

use super::*;
use crate::config::FitterConfig;
use finepick_proto::fitter::v1 as pb;
use finepick_proto::types::v1 as types;
use tonic::Code;
use tonic_types::StatusExt;

fn observation(data_size: i64, test_loss: f64) -> types::Observation {
    types::Observation {
        data_size,
        test_loss,
        standard_error: None,
        weight: None,
    }
}

fn curve(points: &[(i64, f64)]) -> types::LearningCurve {
    let observations = points.iter().map(|&(size, loss)| observation(size, loss)).collect();
    types::LearningCurve {
        candidate: "a".to_owned(),
        observations,
    }
}

fn good() -> types::LearningCurve {
    curve(&[
        (0, 4.0),
        (200, 3.0),
        (400, 2.8),
        (800, 2.5),
        (1600, 2.2),
        (3200, 1.9),
        (6400, 1.7),
    ])
}

fn limits() -> FitterConfig {
    FitterConfig::default()
}

/// Reason and field paths of a refusal.
fn refusal<T: std::fmt::Debug>(result: Result<T, Status>) -> (String, Vec<String>) {
    let status = result.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let details = status.get_error_details();
    let fields = details
        .bad_request()
        .unwrap()
        .field_violations
        .iter()
        .map(|v| v.field.clone())
        .collect();
    (details.error_info().unwrap().reason.clone(), fields)
}

#[test]
fn every_wrong_field_is_named() {
    let mut bad = good();
    bad.candidate = "x".repeat(257);
    bad.observations[2].test_loss = f64::NAN;
    bad.observations[3].data_size = 400;
    bad.observations[4].data_size = -1;
    bad.observations[5].weight = Some(0.0);
    bad.observations[6].standard_error = Some(-0.1);
    let options = pb::FitOptions {
        law: pb::Law::Additive.into(),
        objective: Some(pb::Objective {
            kind: Some(pb::objective::Kind::Huber(pb::HuberObjective { width: Some(-1.0) })),
        }),
        data_size_max: Some(0),
        predict_data_sizes: vec![10, 0, 1 << 53],
        uncertainty: 77,
        bootstrap_draws: Some(3),
        return_draws: false,
        interval_level: Some(1.0),
        seed: None,
    };
    let request = pb::BatchFitCurvesRequest {
        curves: vec![good(), bad],
        options: Some(options),
    };
    let (reason, fields) = refusal(batch_fit_curves_request(request, &limits()));
    assert_eq!(reason, "INVALID_FIELD");
    for field in [
        "curves[1].candidate",
        "curves[1].observations[2].test_loss",
        "curves[1].observations[3].data_size",
        "curves[1].observations[4].data_size",
        "curves[1].observations[5].weight",
        "curves[1].observations[6].standard_error",
        "options.law",
        "options.objective.huber.width",
        "options.data_size_max",
        "options.predict_data_sizes[1]",
        "options.predict_data_sizes[2]",
        "options.uncertainty",
        "options.bootstrap_draws",
        "options.interval_level",
    ] {
        assert!(fields.iter().any(|f| f == field), "{field} is missing from {fields:?}");
    }
    assert_eq!(fields.len(), 14);
}

#[test]
fn bad_curves_are_named_by_what_is_wrong() {
    let field = |points: &[(i64, f64)]| {
        let request = pb::FitCurveRequest {
            curve: Some(curve(points)),
            options: None,
        };
        refusal(fit_curve_request(request, &limits())).1
    };
    assert_eq!(field(&[]), ["curve.observations"]);
    assert_eq!(field(&[(200, 1.0), (100, 1.0)]), ["curve.observations[1].data_size"]);
    assert_eq!(field(&[(i64::MIN, 1.0)]), ["curve.observations[0].data_size"]);
    assert_eq!(field(&[(i64::MAX, 1.0)]), ["curve.observations[0].data_size"]);
    for loss in [0.0, -1.0, f64::INFINITY, 1e9] {
        assert_eq!(field(&[(1, 2.0), (2, loss)]), ["curve.observations[1].test_loss"]);
    }
    let request = pb::FitCurveRequest {
        curve: None,
        options: None,
    };
    assert_eq!(refusal(fit_curve_request(request, &limits())).1, ["curve"]);
}

#[test]
fn limits_have_a_reason_of_their_own() {
    let few = FitterConfig {
        max_curves: 1,
        max_points: 3,
        max_draws: 50,
        max_bootstrap_work: 100,
        ..limits()
    };
    let request = pb::BatchFitCurvesRequest {
        curves: vec![good(), good()],
        options: None,
    };
    assert_eq!(
        refusal(batch_fit_curves_request(request, &few)),
        ("LIMIT_EXCEEDED".into(), vec!["curves".into()])
    );
    let request = pb::FitCurveRequest {
        curve: Some(good()),
        options: None,
    };
    let expected = ("LIMIT_EXCEEDED".into(), vec!["curve.observations".into()]);
    assert_eq!(refusal(fit_curve_request(request, &few)), expected);
    let bootstrap = |draws| pb::FitOptions {
        uncertainty: pb::UncertaintyMethod::Bootstrap.into(),
        bootstrap_draws: Some(draws),
        ..pb::FitOptions::default()
    };
    for draws in [51, 50] {
        let curve = Some(curve(&[(1, 2.0), (2, 1.0), (3, 0.5)]));
        let request = pb::FitCurveRequest {
            curve,
            options: Some(bootstrap(draws)),
        };
        let expected = ("LIMIT_EXCEEDED".into(), vec!["options.bootstrap_draws".into()]);
        assert_eq!(refusal(fit_curve_request(request, &few)), expected);
    }
}

#[test]
fn comparisons_and_crossovers_check_their_own_fields() {
    let request = pb::CompareLawsRequest {
        curve: Some(good()),
        laws: vec![1, 1, 6, 0],
        options: Some(pb::FitOptions {
            law: pb::Law::Additive.into(),
            ..pb::FitOptions::default()
        }),
        holdout_points: Some(-1),
    };
    let fields = refusal(compare_laws_request(request, &limits())).1;
    assert_eq!(fields, ["laws[1]", "laws[2]", "laws[3]", "holdout_points"]);
    let request = pb::FindCrossoverRequest {
        first: Some(good()),
        second: Some(good()),
        data_size_min: Some(10),
        data_size_max: Some(10),
        ..pb::FindCrossoverRequest::default()
    };
    assert_eq!(
        refusal(find_crossover_request(request, &limits())).1,
        ["second.candidate", "data_size_max"]
    );
}

#[test]
fn joint_requests_check_factors_and_points() {
    let member = |factor| pb::FactorCurve {
        curve: Some(good()),
        factor,
    };
    let request = pb::FitJointLawRequest {
        curves: vec![member(1e8), member(0.0), member(f64::NAN)],
        law: pb::Law::Rectified.into(),
        predict_points: vec![pb::FactorPoint {
            factor: -1.0,
            data_size: 0,
        }],
        factor_sign: 9,
        ..pb::FitJointLawRequest::default()
    };
    let fields = refusal(fit_joint_law_request(request, &limits())).1;
    let expected = [
        "law",
        "factor_sign",
        "curves[1].factor",
        "curves[2].factor",
        "predict_points[0].factor",
        "predict_points[0].data_size",
    ];
    assert_eq!(fields, expected);
    let request = pb::FitJointLawRequest {
        curves: vec![],
        ..pb::FitJointLawRequest::default()
    };
    assert_eq!(refusal(fit_joint_law_request(request, &limits())).1, ["curves"]);
}

#[test]
fn a_fit_returned_can_be_sent_back() {
    let options = pb::FitOptions {
        uncertainty: pb::UncertaintyMethod::Bootstrap.into(),
        return_draws: true,
        predict_data_sizes: vec![3_200, 1 << 40],
        ..pb::FitOptions::default()
    };
    let request = pb::FitCurveRequest {
        curve: Some(good()),
        options: Some(options),
    };
    let request = fit_curve_request(request, &limits()).unwrap();
    let mut fitter = crate::fit::Fitter::default();
    let found = crate::forecast::forecast(&mut fitter, &request.curve.curve, &request.options.forecast);
    let mut fit = fit_curve_response(&request, &found).fit.unwrap();
    assert_eq!(fit.draws.len(), 200);
    let predict = |fit: &pb::CurveFit| {
        let request = pb::PredictLossRequest {
            fit: Some(fit.clone()),
            data_sizes: vec![3_200, 1 << 40],
            interval_level: None,
        };
        predict_loss_response(&predict_loss_request(request, &limits()).unwrap())
    };
    let kept = predict(&fit);
    assert_eq!(fit.predictions.len(), kept.predictions.len());
    for (before, after) in fit.predictions.iter().zip(&kept.predictions) {
        assert!((before.predicted_loss / after.predicted_loss - 1.0).abs() < 1e-12);
        let (before, after) = (before.interval.unwrap(), after.interval.unwrap());
        assert!((before.lower / after.lower - 1.0).abs() < 1e-9 && (before.upper / after.upper - 1.0).abs() < 1e-9);
    }
    let far = |fit: &pb::CurveFit| predict(fit).predictions[1].interval.unwrap();
    let unknown = pb::CurveFit {
        data_size_largest: None,
        ..fit.clone()
    };
    assert!(
        far(&unknown).upper < far(&fit).upper,
        "the drift beyond the data is part of the interval"
    );
    // Coefficients in any order, draws in theirs.
    fit.coefficients.reverse();
    fit.draws.iter_mut().for_each(|draw| draw.values.reverse());
    assert_eq!(predict(&fit), kept);
    fit.draws.clear();
    assert!(predict(&fit).predictions[1].interval.is_some());
    fit.covariance = None;
    let bare = predict(&fit);
    assert_eq!(bare.warnings[0].code(), types::WarningCode::NoInterval);
}

#[test]
fn foreign_fits_are_refused() {
    let coefficient = |name: &str, value| pb::Coefficient {
        name: name.into(),
        value,
        log_standard_error: None,
    };
    let fields = |fit: pb::CurveFit| {
        let request = pb::PredictLossRequest {
            fit: Some(fit),
            data_sizes: vec![1],
            interval_level: None,
        };
        refusal(predict_loss_request(request, &limits())).1
    };
    assert_eq!(fields(pb::CurveFit::default()), ["fit.law"]);
    let power = pb::CurveFit {
        law: pb::Law::Power.into(),
        ..pb::CurveFit::default()
    };
    assert_eq!(fields(power.clone()), ["fit.coefficients"]);
    let coefficients = vec![coefficient("data_exponent", 0.1), coefficient("reducible_scale", 2.0)];
    let fine = pb::CurveFit { coefficients, ..power };
    let mut negative = fine.clone();
    negative.coefficients[0].value = -1.0;
    assert_eq!(fields(negative), ["fit.coefficients"]);
    let draw = |values: &[f64]| pb::CoefficientDraw {
        values: values.to_vec(),
    };
    let draws = vec![draw(&[0.1, 2.0]), draw(&[0.1]), draw(&[f64::NAN, 1.0])];
    let drawn = pb::CurveFit { draws, ..fine.clone() };
    assert_eq!(fields(drawn), ["fit.draws[1].values", "fit.draws[2].values"]);
    let covariance = |names: &[&str], values: &[f64]| pb::CurveFit {
        covariance: Some(pb::Covariance {
            coefficient_names: names.iter().map(|&n| n.to_owned()).collect(),
            values: values.to_vec(),
        }),
        ..fine.clone()
    };
    assert_eq!(fields(covariance(&["x"], &[1.0])), ["fit.covariance.coefficient_names"]);
    assert_eq!(
        fields(covariance(&["data_exponent"], &[1.0, 2.0])),
        ["fit.covariance.values"]
    );
}

#[test]
fn laws_are_listed_in_pages() {
    let page = |page_size, page_token: &str| {
        list_laws(&pb::ListLawsRequest {
            page_size,
            page_token: page_token.to_owned(),
        })
    };
    let all = page(0, "").unwrap();
    assert_eq!(
        all.laws.iter().map(|l| l.law).collect::<Vec<_>>(),
        (1..=8).collect::<Vec<_>>()
    );
    assert!(all.next_page_token.is_empty());
    assert!(
        all.laws
            .iter()
            .all(|l| usize::try_from(l.min_points) == Ok(l.coefficients.len()) && !l.formula.is_empty())
    );
    let first = page(5, "").unwrap();
    let second = page(5, &first.next_page_token).unwrap();
    assert_eq!([first.laws, second.laws].concat(), all.laws);
    assert!(second.next_page_token.is_empty());
    assert_eq!(refusal(page(-1, "?")).1, ["page_size", "page_token"]);
    assert_eq!(refusal(page(0, "after-8")).1, ["page_token"]);
}
