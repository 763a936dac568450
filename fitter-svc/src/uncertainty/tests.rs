use super::*;
use crate::fit::{Verdict, fit_curve};
use crate::law::{LawKind, PowerLaw, RectifiedLaw};
use proptest::prelude::*;

fn noisy_curve(points: u32) -> LearningCurve {
    let law = RectifiedLaw::new(500_f64.ln(), 150_f64.ln(), 0.45, 1.1);
    let pair = |i: u32| {
        let size = 200_u64 << i;
        let noise = 1.0 + 0.004 * (f64::from(i) * 2.4).sin();
        (size, law.log_loss((size as f64).ln()).exp() * noise)
    };
    LearningCurve::from_pairs(&(0..points).map(pair).collect::<Vec<_>>()).unwrap()
}

fn draws(curve: &LearningCurve, options: &FitOptions, count: usize, seed: u64) -> Draws {
    bootstrap(
        &mut Fitter::default(),
        curve,
        options,
        &fit_curve(curve, options),
        count,
        seed,
    )
    .unwrap()
}

#[test]
fn draws_depend_on_the_seed_and_on_nothing_else() {
    let (curve, options) = (noisy_curve(10), FitOptions::default());
    let first = draws(&curve, &options, 20, 7);
    let mut used = Fitter::default();
    let _ = used.fit(&noisy_curve(6), &options);
    let report = used.fit(&curve, &options);
    assert_eq!(first, bootstrap(&mut used, &curve, &options, &report, 20, 7).unwrap());
    assert_ne!(first, draws(&curve, &options, 20, 8));
}

#[test]
fn intervals_widen_with_distance_and_level() {
    let (curve, options) = (noisy_curve(10), FitOptions::default());
    let report = fit_curve(&curve, &options);
    let draws = draws(&curve, &options, 200, 1);
    let width = |level: f64, draws: Option<&Draws>, size| {
        let p = predict(&report, draws, &[size], Level::new(level).unwrap());
        let interval = p[0].interval.unwrap();
        assert!(interval.lower <= p[0].predicted_loss && p[0].predicted_loss <= interval.upper);
        (interval.upper / interval.lower).ln()
    };
    for draws in [Some(&draws), None] {
        assert!(width(0.9, draws, 200 << 16) > width(0.9, draws, 200 << 9));
        assert!(width(0.99, draws, 200 << 12) > width(0.5, draws, 200 << 12));
    }
}

#[test]
fn few_points_still_have_noise() {
    let curve = noisy_curve(4);
    let report = fit_curve(&curve, &FitOptions::default());
    assert_eq!(report.verdict, Verdict::NotIdentifiable);
    assert!(report.covariance.is_none() || report.residual_sd.is_some());
    assert!(noise_sd(&report).unwrap() >= 0.9 * PRIOR_NOISE_SD);
    let draws = draws(&curve, &FitOptions::default(), 50, 1);
    let prediction = predict(&report, Some(&draws), &[100_000], Level::default())[0];
    assert!(prediction.interval.unwrap().upper > prediction.interval.unwrap().lower);
}

#[test]
fn a_standard_error_widens_the_interval() {
    let curve = noisy_curve(9);
    let mut observations = curve.observations().to_vec();
    for observation in &mut observations {
        observation.standard_error = Some(0.3);
    }
    let unsure = LearningCurve::new(observations).unwrap();
    let options = FitOptions {
        law: LawKind::PowerWithFloor,
        ..FitOptions::default()
    };
    let spread = |curve: &LearningCurve| draws(curve, &options, 100, 3).log_moments(1000).1;
    assert!(
        spread(&unsure) > 1.5 * spread(&curve),
        "{} {}",
        spread(&unsure),
        spread(&curve)
    );
}

#[test]
fn drift_begins_where_the_data_end() {
    assert!(drift_sd(1000, 1000) == 0.0 && drift_sd(1000, 10) == 0.0);
    assert!((drift_sd(1000, 8000) - DRIFT_SD * 3.0).abs() < 1e-12);
}

#[test]
fn delta_method_agrees_with_the_textbook_for_a_line() {
    let pairs = [(100, 4.0), (200, 3.4), (400, 3.1), (800, 2.6), (1600, 2.3)];
    let curve = LearningCurve::from_pairs(&pairs).unwrap();
    let report = fit_curve(
        &curve,
        &FitOptions {
            law: LawKind::Power,
            ..FitOptions::default()
        },
    );
    let x: Vec<f64> = pairs.iter().map(|(d, _)| (*d as f64).ln()).collect();
    let mean = x.iter().sum::<f64>() / 5.0;
    let sxx: f64 = x.iter().map(|x| (x - mean).powi(2)).sum();
    let sd = report.residual_sd.unwrap();
    let at = 10_000_f64.ln();
    let expected = sd * (0.2 + (at - mean).powi(2) / sxx).sqrt();
    let found = delta_log_sd(&report.law.unwrap(), &report.covariance.unwrap(), 10_000).unwrap();
    assert!((found / expected - 1.0).abs() < 1e-6);
}

#[test]
fn quantiles_of_mixtures_and_samples() {
    assert!((mixture_quantile(&[0.0], 1.0, 0.95).unwrap() - 1.644_854).abs() < 1e-4);
    assert!((mixture_quantile(&[-1.0, 1.0], 0.5, 0.5).unwrap()).abs() < 1e-4);
    assert_eq!(sorted_quantile(&[3.0, 1.0, 2.0], 0.25), Some(1.5));
    assert_eq!(mixture_quantile(&[1.0, 2.0], 0.0, 1.0), Some(2.0));
    assert!(mixture_quantile(&[], 1.0, 0.5).is_none() && mixture_quantile(&[f64::INFINITY], 1.0, 0.5).is_none());
}

#[test]
fn foreign_covariances_and_levels_are_refused() {
    let law = Law::Power(PowerLaw::new(1.0, 0.2, 0.0));
    let names = vec![crate::law::CoefficientName::OuterExponent];
    assert!(
        delta_log_sd(
            &law,
            &Covariance {
                names,
                values: vec![1.0]
            },
            100
        )
        .is_none()
    );
    for level in [0.0, 1.0, f64::NAN, -1.0] {
        assert!(matches!(Level::new(level), Err(FitError::Level(_))));
    }
    assert!(Draws::new(vec![], 0.1).is_none() && Draws::new(vec![law], f64::NAN).is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn intervals_hold_the_prediction(losses in prop::collection::vec(0.01_f64..100.0, 2..9), kind in 0_usize..4) {
        let pairs: Vec<_> = losses.iter().enumerate().map(|(i, &l)| (100 << i, l)).collect();
        let curve = LearningCurve::from_pairs(&pairs).unwrap();
        let options = FitOptions { law: LawKind::ALL[kind], ..FitOptions::default() };
        let report = fit_curve(&curve, &options);
        let draws = bootstrap(&mut Fitter::default(), &curve, &options, &report, 5, 1);
        for p in predict(&report, draws.as_ref(), &[1, 1000, (1 << 53) - 1], Level::default()) {
            prop_assert!(p.predicted_loss.is_finite() && p.predicted_loss > 0.0);
            if let Some(i) = p.interval {
                prop_assert!(i.lower <= p.predicted_loss && p.predicted_loss <= i.upper);
            }
        }
    }
}
