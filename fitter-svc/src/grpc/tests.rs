use super::*;
use finepick_proto::fitter::v1 as pb;
use finepick_proto::types::v1 as types;
use tonic::Code;

fn curve(candidate: &str, slope: f64, points: u32) -> types::LearningCurve {
    let observation = |i: u32| types::Observation {
        data_size: 200_i64 << i,
        test_loss: 4.0 * (-slope * f64::from(i)).exp() * (1.0 + 0.001 * (f64::from(i) * 2.4).sin()),
        standard_error: None,
        weight: None,
    };
    types::LearningCurve {
        candidate: candidate.to_owned(),
        observations: (0..points).map(observation).collect(),
    }
}

fn service() -> Service {
    Service::new(&FitterConfig::default())
}

fn options(sizes: &[i64]) -> pb::FitOptions {
    pb::FitOptions {
        predict_data_sizes: sizes.to_vec(),
        ..pb::FitOptions::default()
    }
}

#[tokio::test]
async fn fits_one_and_many_alike() {
    let (service, curve) = (service(), curve("m", 0.1, 10));
    let one = pb::FitCurveRequest {
        curve: Some(curve.clone()),
        options: Some(options(&[1_000_000])),
    };
    let fit = service
        .fit_curve(Request::new(one))
        .await
        .unwrap()
        .into_inner()
        .fit
        .unwrap();
    assert_eq!(
        (fit.candidate.as_str(), fit.coefficients.len(), fit.points_used),
        ("m", 4, 10)
    );
    let interval = fit.predictions[0].interval.unwrap();
    assert!(interval.lower < fit.predictions[0].predicted_loss && fit.predictions[0].predicted_loss < interval.upper);
    let many = pb::BatchFitCurvesRequest {
        curves: vec![curve.clone(), curve],
        options: Some(options(&[1_000_000])),
    };
    let fits = service
        .batch_fit_curves(Request::new(many))
        .await
        .unwrap()
        .into_inner()
        .fits;
    assert_eq!(fits, [fit.clone(), fit]);
}

#[tokio::test]
async fn data_at_fault_get_verdicts_and_requests_at_fault_get_errors() {
    let service = service();
    let short = pb::BatchFitCurvesRequest {
        curves: vec![curve("short", 0.1, 2), curve("rising", -0.1, 9), curve("fine", 0.1, 9)],
        options: None,
    };
    let fits = service
        .batch_fit_curves(Request::new(short))
        .await
        .unwrap()
        .into_inner()
        .fits;
    assert_eq!(fits[0].verdict(), pb::Verdict::TooFewPoints);
    assert!(fits[0].coefficients.is_empty() && fits[0].objective_value.is_none());
    assert_eq!(fits[1].verdict(), pb::Verdict::NonMonotone);
    assert!(!fits[2].coefficients.is_empty());
    let bad = pb::FitCurveRequest {
        curve: None,
        options: None,
    };
    assert_eq!(
        service.fit_curve(Request::new(bad)).await.unwrap_err().code(),
        Code::InvalidArgument
    );
}

#[tokio::test]
async fn compares_crosses_and_suggests() {
    let service = service();
    let compare = pb::CompareLawsRequest {
        curve: Some(curve("m", 0.1, 11)),
        options: Some(options(&[1_000_000])),
        ..pb::CompareLawsRequest::default()
    };
    let compared = service.compare_laws(Request::new(compare)).await.unwrap().into_inner();
    assert_eq!(compared.recommended_law(), pb::Law::Power);
    assert_eq!(compared.comparisons.len(), 4);
    assert!(
        compared
            .comparisons
            .iter()
            .all(|c| c.fit.as_ref().unwrap().predictions.len() == 1)
    );
    let mut late = curve("late", 0.13, 8);
    late.observations.iter_mut().for_each(|o| o.test_loss *= 1.4);
    let cross = pb::FindCrossoverRequest {
        first: Some(curve("early", 0.1, 8)),
        second: Some(late),
        ..pb::FindCrossoverRequest::default()
    };
    let crossing = service
        .find_crossover(Request::new(cross.clone()))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(crossing.outcome(), pb::CrossoverOutcome::Crosses);
    assert_eq!(
        (crossing.better_below.as_str(), crossing.better_above.as_str()),
        ("early", "late")
    );
    let narrow = pb::FindCrossoverRequest {
        data_size_max: Some(150),
        ..cross
    };
    assert_eq!(
        service.find_crossover(Request::new(narrow)).await.unwrap_err().code(),
        Code::InvalidArgument
    );
    let suggest = pb::SuggestNextSizeRequest {
        curve: Some(curve("m", 0.1, 6)),
        data_size_full: 1_638_400,
        ..pb::SuggestNextSizeRequest::default()
    };
    let suggestion = service
        .suggest_next_size(Request::new(suggest))
        .await
        .unwrap()
        .into_inner();
    assert!(suggestion.data_size.is_some() && !suggestion.reason.is_empty());
}

#[tokio::test]
async fn fits_joint_laws_and_predicts_from_kept_fits() {
    let service = service();
    let member = |factor: f64| {
        let mut curve = curve("m", 0.1, 8);
        curve
            .observations
            .iter_mut()
            .for_each(|o| o.test_loss *= factor.powf(-0.05));
        pb::FactorCurve {
            curve: Some(curve),
            factor,
        }
    };
    let joint = pb::FitJointLawRequest {
        group: "family".into(),
        curves: [1e8, 4e8, 2e9].map(member).to_vec(),
        law: pb::Law::Multiplicative.into(),
        predict_points: vec![pb::FactorPoint {
            factor: 1e10,
            data_size: 1_000_000,
        }],
        ..pb::FitJointLawRequest::default()
    };
    let fit = service
        .fit_joint_law(Request::new(joint))
        .await
        .unwrap()
        .into_inner()
        .fit
        .unwrap();
    assert_eq!(
        (fit.group.as_str(), fit.verdict(), fit.predicted_losses.len()),
        ("family", pb::Verdict::Ok, 1)
    );
    assert!((fit.coefficients[1].value - 0.05).abs() < 0.01 && fit.rmsd_log.unwrap() < 2e-3);
    let one = pb::FitCurveRequest {
        curve: Some(curve("m", 0.1, 9)),
        options: None,
    };
    let fit = service.fit_curve(Request::new(one)).await.unwrap().into_inner().fit;
    let kept = pb::PredictLossRequest {
        fit,
        data_sizes: vec![400_000],
        interval_level: Some(0.5),
    };
    let predicted = service.predict_loss(Request::new(kept)).await.unwrap().into_inner();
    assert!(predicted.predictions[0].predicted_loss > 0.0);
    let laws = service
        .list_laws(Request::new(pb::ListLawsRequest::default()))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(laws.laws.len(), 8);
}
