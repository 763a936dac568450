use super::*;
use crate::curve::MAX_DATA_SIZE;
use crate::law::{PowerLaw, RectifiedLaw, VanillaLaw};
use proptest::prelude::*;

fn curve(pairs: &[(u64, f64)]) -> LearningCurve {
    LearningCurve::from_pairs(pairs).unwrap()
}

fn sampled(law: &Law, points: u32) -> LearningCurve {
    curve(
        &(0..points)
            .map(|i| 200_u64 << i)
            .map(|d| (d, law.loss(d)))
            .collect::<Vec<_>>(),
    )
}

fn fit(curve: &LearningCurve, law: LawKind) -> FitReport {
    fit_curve(
        curve,
        &FitOptions {
            law,
            ..FitOptions::default()
        },
    )
}

fn all_finite(report: &FitReport) -> bool {
    let numbers = [report.objective_value, report.rmsd_log].into_iter();
    let optional = [report.aicc, report.residual_sd].into_iter().flatten();
    let coefficients = report.coefficients().into_iter().map(|c| c.value);
    let covariance = report
        .covariance
        .iter()
        .flat_map(|c| c.values.clone())
        .collect::<Vec<_>>();
    numbers
        .chain(optional)
        .chain(coefficients)
        .chain(covariance)
        .all(f64::is_finite)
}

#[test]
fn too_few_points_is_a_verdict() {
    for law in LawKind::ALL {
        for count in 0..law.coefficient_count() {
            let pairs: Vec<_> = (0..=count as u64).map(|i| (i * 100, 3.0 - 0.1 * i as f64)).collect();
            let report = fit(&curve(&pairs), law);
            assert_eq!(
                (report.verdict, report.law, report.points_used),
                (Verdict::TooFewPoints, None, count)
            );
            assert_eq!(report.termination, None);
            assert!(report.coefficients().is_empty() && report.warns("too_few_points") && all_finite(&report));
        }
    }
}

#[test]
fn equal_losses_are_not_identifiable_and_predict_themselves() {
    for law in LawKind::ALL {
        let report = fit(&curve(&(0..8).map(|i| (100_u64 << i, 2.5)).collect::<Vec<_>>()), law);
        assert_eq!(report.verdict, Verdict::NotIdentifiable);
        assert_eq!(report.termination, Some(Termination::Exact));
        assert!((report.law.unwrap().loss(1 << 40) - 2.5).abs() < 1e-9 && all_finite(&report));
    }
}

#[test]
fn rising_losses_are_non_monotone() {
    for law in LawKind::ALL {
        let report = fit(
            &curve(
                &(0..8)
                    .map(|i| (100_u64 << i, 2.0 + 0.1 * f64::from(i)))
                    .collect::<Vec<_>>(),
            ),
            law,
        );
        assert_eq!(report.verdict, Verdict::NonMonotone, "{law:?}");
        assert!(report.warns("non_monotone") && all_finite(&report));
    }
}

#[test]
fn as_many_points_as_coefficients_are_not_identifiable() {
    let report = fit(
        &curve(&[(100, 3.0), (200, 2.8), (400, 2.5), (800, 2.1)]),
        LawKind::Rectified,
    );
    assert_eq!(report.verdict, Verdict::NotIdentifiable);
    assert!(report.aicc.is_none() && report.rmsd_log < 0.02);
}

#[test]
fn an_accelerating_curve_is_pre_power_only() {
    let law = Law::Rectified(RectifiedLaw::new(40_f64.ln() + 3000_f64.ln(), 3000_f64.ln(), 0.7, 0.0));
    let report = fit(&sampled(&law, 8), LawKind::Rectified);
    assert_eq!(report.verdict, Verdict::PrePowerPhaseOnly);
    assert!(report.warns("knee_beyond_data") && report.phase_boundary.unwrap() > 200 << 7);
}

#[test]
fn a_plain_power_law_raises_the_boundary_warnings() {
    let report = fit(
        &sampled(&Law::Power(PowerLaw::new(2.0, 0.1, 0.0)), 10),
        LawKind::Rectified,
    );
    assert!(
        report.warns("pre_learned_zero") && report.warns("irreducible_loss_zero"),
        "{report:?}"
    );
    assert_eq!(report.phase_boundary, None);
    let floor = fit(
        &sampled(&Law::PowerWithFloor(PowerLaw::new(3.0, 0.9, 2.0)), 12),
        LawKind::PowerWithFloor,
    );
    assert!(floor.warns("floor_at_data"));
}

#[test]
fn extreme_magnitudes_are_fitted_without_overflow() {
    let top = MAX_DATA_SIZE - 1;
    for (low, high) in [(1e-12, 1e6), (1e5, 1e6), (1e-12, 2e-12)] {
        for law in LawKind::ALL {
            let pairs = [
                (1, high),
                (2, high * 0.9),
                (3, high * 0.8),
                (top / 2, low * 1.5),
                (top, low),
            ];
            assert!(all_finite(&fit(&curve(&pairs), law)), "{law:?} {low:e} {high:e}");
        }
    }
}

#[test]
fn weights_count_like_repeated_points() {
    let law = Law::Power(PowerLaw::new(2.0, 0.2, 0.0));
    let mut observations: Vec<_> = sampled(&law, 8).observations().to_vec();
    observations[3].test_loss *= 1.2;
    let weigh = |weight: f64| {
        let mut weighted = observations.clone();
        weighted[3].weight = weight;
        fit(&LearningCurve::new(weighted).unwrap(), LawKind::Power)
            .law
            .unwrap()
            .loss(1_000_000)
    };
    let truth = law.loss(1_000_000);
    assert!((weigh(1e-6) / truth - 1.0).abs() < 1e-6);
    assert!((weigh(1.0) / truth - 1.0).abs() > 1e-4);
    // A common factor changes nothing.
    let scaled = observations.iter().map(|o| Observation { weight: 7.0, ..*o }).collect();
    let scaled = fit(&LearningCurve::new(scaled).unwrap(), LawKind::Power)
        .law
        .unwrap()
        .loss(1_000_000);
    assert!((scaled / weigh(1.0) - 1.0).abs() < 1e-12);
}

#[test]
fn a_batch_is_its_curves_one_by_one() {
    let curves: Vec<_> = (4..24)
        .map(|n| sampled(&Law::Rectified(RectifiedLaw::new(6.0, 5.0, 0.4, 1.0)), n))
        .collect();
    let options = FitOptions::default();
    let single: Vec<_> = curves.iter().map(|c| fit_curve(c, &options)).collect();
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        assert_eq!(pool.install(|| fit_batch(&curves, &options)), single);
    }
}

#[test]
fn huber_shrugs_off_a_single_bad_point() {
    let law = Law::Rectified(RectifiedLaw::new(500_f64.ln(), 150_f64.ln(), 0.45, 1.1));
    let mut observations = sampled(&law, 13).observations().to_vec();
    observations[6].test_loss *= 1.1;
    let bad = LearningCurve::new(observations).unwrap();
    let error = |objective| {
        let report = fit_curve(
            &bad,
            &FitOptions {
                objective,
                ..FitOptions::default()
            },
        );
        assert!(report.warnings.contains(&Warning::NoiseJump { data_size: 200 << 6 }));
        (report.law.unwrap().loss(200 << 14) / law.loss(200 << 14)).ln().abs()
    };
    assert!(error(Objective::huber()) < 0.2 * error(Objective::LogRmse));
}

/// Valid curves of any shape.
fn any_curve() -> impl Strategy<Value = LearningCurve> {
    let point = (1_u64..1 << 50, -25.0_f64..13.0);
    prop::collection::btree_map(point.clone().prop_map(|p| p.0), point.prop_map(|p| p.1.exp()), 1..14)
        .prop_map(|points| curve(&points.into_iter().collect::<Vec<_>>()))
}

/// Curves drawn from the rectified law with noise, on a doubling ladder.
fn noisy_curve() -> impl Strategy<Value = LearningCurve> {
    let coefficients = (0.1_f64..1.0, 4.0_f64..12.0, 0.0_f64..2.0);
    (coefficients, prop::collection::vec(-0.01_f64..0.01, 5..13)).prop_map(|((beta, knee, floor), noise)| {
        let law = RectifiedLaw::new(beta * knee + 1.0, beta * knee, beta, floor);
        let point = |(i, e): (usize, &f64)| {
            (
                200_u64 << i,
                (law.log_loss((200_f64 * 2_f64.powf(i as f64)).ln()) + e).exp(),
            )
        };
        curve(&noise.iter().enumerate().map(point).collect::<Vec<_>>())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn recovers_noise_free_rectified_curves(
        beta in 0.15_f64..0.9, knee in 6.5_f64..11.0, floor in 0.2_f64..2.0, points in 10_u32..15, huber in any::<bool>(),
    ) {
        let truth = RectifiedLaw::new(beta * knee + 1.0, beta * knee, beta, floor);
        let objective = if huber { Objective::huber() } else { Objective::LogRmse };
        let options = FitOptions { objective, ..FitOptions::default() };
        let report = fit_curve(&sampled(&Law::Rectified(truth), points), &options);
        prop_assert!(report.rmsd_log < 1e-6, "{}", report.rmsd_log);
        if let Some(Law::Rectified(law)) = report.law {
            prop_assert!((law.data_exponent() / beta - 1.0).abs() < 0.02, "{} {beta}", law.data_exponent());
        }
    }

    #[test]
    fn recovers_noise_free_simpler_laws(beta in 0.05_f64..0.9, floor in 0.1_f64..2.0, outer in 0.5_f64..2.0) {
        let cases = [
            Law::Power(PowerLaw::new(2.0, beta, 0.0)),
            Law::PowerWithFloor(PowerLaw::new(2.0, beta, floor)),
            Law::Vanilla(VanillaLaw::new(-1.0, beta, floor, outer)),
        ];
        for law in cases {
            let report = fit(&sampled(&law, 12), law.kind());
            prop_assert!(report.rmsd_log < 1e-5, "{law:?} {}", report.rmsd_log);
        }
    }

    #[test]
    fn scaling_the_losses_scales_the_predictions(curve in noisy_curve(), scale in 0.01_f64..100.0, kind in 0_usize..4) {
        let scaled = curve.observations().iter().map(|o| Observation { test_loss: o.test_loss * scale, ..*o }).collect();
        let (before, after) = (fit(&curve, LawKind::ALL[kind]), fit(&LearningCurve::new(scaled).unwrap(), LawKind::ALL[kind]));
        prop_assert!((before.objective_value - after.objective_value).abs() <= 1e-5 * before.objective_value + 1e-20);
        let sizes: Vec<u64> = curve.observations().iter().map(|o| o.data_size).collect();
        for size in sizes {
            let ratio = after.law.unwrap().loss(size) / before.law.unwrap().loss(size);
            prop_assert!((ratio / scale - 1.0).abs() < 1e-3, "{ratio} {scale}");
        }
    }

    #[test]
    fn any_valid_curve_gets_a_finite_answer(curve in any_curve(), kind in 0_usize..4, huber in any::<bool>()) {
        let objective = if huber { Objective::huber() } else { Objective::LogRmse };
        let report = fit_curve(&curve, &FitOptions { law: LawKind::ALL[kind], objective, max_data_size: None });
        prop_assert!(all_finite(&report), "{report:?}");
        prop_assert_eq!(report.law.is_none(), report.verdict == Verdict::TooFewPoints);
    }

    #[test]
    fn no_other_coefficients_are_better(
        curve in noisy_curve(),
        others in prop::collection::vec((0.05_f64..2.0, 4.0_f64..14.0, -2.0_f64..3.0, 0.0_f64..2.0), 30),
        huber in any::<bool>(),
    ) {
        let objective = if huber { Objective::huber() } else { Objective::LogRmse };
        let report = fit_curve(&curve, &FitOptions { objective, ..FitOptions::default() });
        for (beta, knee, scale, floor) in others {
            let other = Law::Rectified(RectifiedLaw::new(beta * knee + scale, beta * knee, beta, floor));
            let value = objective.value(weighted_residuals(curve.fit_points(None), &other));
            prop_assert!(report.objective_value <= value * (1.0 + 1e-6));
        }
    }

    #[test]
    fn richer_laws_fit_no_worse(curve in noisy_curve()) {
        let value = |kind| fit(&curve, kind).objective_value;
        let tolerance = 1.0 + 1e-5;
        prop_assert!(value(LawKind::Rectified) <= value(LawKind::PowerWithFloor) * tolerance);
        prop_assert!(value(LawKind::PowerWithFloor) <= value(LawKind::Power) * tolerance);
        prop_assert!(value(LawKind::Vanilla) <= value(LawKind::PowerWithFloor) * tolerance);
    }
}
