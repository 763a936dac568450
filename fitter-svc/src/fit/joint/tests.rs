use super::*;
use proptest::prelude::*;

fn synthetic(kind: JointLawKind, a: f64, b: f64, knee: f64, floor: f64) -> (JointPanel, JointLaw) {
    let law = JointLaw {
        kind,
        log_factor_scale: 2.0,
        factor_exponent: a,
        log_reducible_scale: 4.0 + a * 19.0,
        log_pre_learned: knee,
        pre_learned_factor_exponent: 0.0,
        data_exponent: b,
        irreducible_loss: floor,
    };
    let curves = [1e8, 3e8, 1e9, 6e9].map(|factor| {
        let pairs: Vec<_> = (0..9).map(|i| 200_u64 << i).map(|d| (d, law.loss(factor, d))).collect();
        JointCurve {
            curve: LearningCurve::from_pairs(&pairs).unwrap(),
            factor,
        }
    });
    (JointPanel::new(curves.to_vec()).unwrap(), law)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn recovers_noise_free_panels(a in 0.05_f64..0.3, b in 0.2_f64..0.6, knee in 2.0_f64..4.0, floor in 0.3_f64..1.5) {
        for kind in [JointLawKind::RectifiedJoint, JointLawKind::Multiplicative] {
            let (panel, _) = synthetic(kind, a, b, knee, floor);
            let report = fit_joint(&panel, &JointOptions::new(kind));
            prop_assert!(report.rmsd_log < 1e-3, "{kind:?} {}", report.rmsd_log);
        }
    }
}

#[test]
fn refuses_bad_factors_and_empty_panels() {
    assert_eq!(JointPanel::new(vec![]), Err(FitError::EmptyPanel));
    let curve = LearningCurve::from_pairs(&[(1, 1.0)]).unwrap();
    for factor in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let panel = JointPanel::new(vec![JointCurve {
            curve: curve.clone(),
            factor,
        }]);
        assert!(matches!(panel, Err(FitError::Factor { index: 0, .. })));
    }
}

#[test]
fn degenerate_panels_get_verdicts() {
    let panel = |factors: &[f64], losses: &[f64]| {
        let pairs: Vec<_> = losses.iter().enumerate().map(|(i, &l)| (100 << i, l)).collect();
        let curve = LearningCurve::from_pairs(&pairs).unwrap();
        JointPanel::new(
            factors
                .iter()
                .map(|&factor| JointCurve {
                    curve: curve.clone(),
                    factor,
                })
                .collect(),
        )
        .unwrap()
    };
    let verdict = |panel: &JointPanel, law| {
        fit_joint(
            panel,
            &JointOptions {
                law,
                ..JointOptions::default()
            },
        )
        .verdict
    };
    for law in JointLawKind::ALL {
        assert_eq!(verdict(&panel(&[1e8], &[2.0]), law), Verdict::TooFewPoints);
        assert_eq!(
            verdict(&panel(&[1e8], &[3.0, 2.5, 2.2, 2.0, 1.9, 1.7, 1.6]), law),
            Verdict::NotIdentifiable
        );
        assert_eq!(verdict(&panel(&[1e8, 1e9], &[2.0; 7]), law), Verdict::NotIdentifiable);
    }
}
