//! The fits against reference results that were computed apart from this project, on the published benchmark.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests, outside of any test function"
)]

#[path = "support/data.rs"]
mod data;

use data::{models, number, rows};
use fitter_svc::fit::{FitOptions, FitReport, JointCurve, JointOptions, JointPanel, Termination, fit_curve, fit_joint};
use fitter_svc::law::LawKind;
use fitter_svc::law::joint::JointLawKind;
use fitter_svc::objective::Objective;

const FULL_SIZE: u64 = 1_638_400;

fn objective(name: &str) -> Objective {
    if name == "log_rmse" {
        Objective::LogRmse
    } else {
        Objective::huber()
    }
}

fn converged(report: &FitReport) -> bool {
    report.termination.is_some_and(|t| t != Termination::IterationLimit)
}

#[test]
fn rectified_law_reaches_the_optimum_on_all_sizes() {
    let (Some(models), Some(golden)) = (models("flan.csv"), rows("golden/curve_optimum_full14.csv")) else {
        return;
    };
    for row in golden {
        let options = FitOptions {
            objective: objective(&row["objective"]),
            ..FitOptions::default()
        };
        let report = fit_curve(&models[&row["model"]].curve, &options);
        let (value, prediction) = (report.objective_value, report.law.unwrap().loss(FULL_SIZE));
        let expected = number(&row, "objective_value");
        assert!(
            (value / expected - 1.0).abs() < 1e-6,
            "{} {value:e} {expected:e}",
            row["model"]
        );
        assert!(
            (prediction / number(&row, "pred_1638400") - 1.0).abs() < 1e-4,
            "{} {prediction}",
            row["model"]
        );
        assert!(
            (report.rmsd_log / number(&row, "rmsd_log") - 1.0).abs() < 1e-5,
            "{}",
            row["model"]
        );
        assert!(converged(&report), "{}", row["model"]);
    }
}

#[test]
fn rectified_law_reaches_the_optimum_on_every_truncation() {
    let (Some(models), Some(golden)) = (models("flan.csv"), rows("golden/curve_optimum_truncated.csv")) else {
        return;
    };
    let mut worst = 0.0_f64;
    for row in golden {
        let max_data_size = Some(row["max_size"].parse().unwrap());
        let options = FitOptions {
            objective: objective(&row["objective"]),
            max_data_size,
            ..FitOptions::default()
        };
        let report = fit_curve(&models[&row["model"]].curve, &options);
        assert_eq!(report.points_used.to_string(), row["n_points"]);
        let excess = report.objective_value / number(&row, "objective_value") - 1.0;
        worst = worst.max(excess);
        assert!(
            excess < 2e-3,
            "{} {} {}: {excess:e}",
            row["model"],
            row["n_points"],
            row["objective"]
        );
    }
    println!("largest relative excess of the objective over the reference: {worst:e}");
}

#[test]
fn power_and_vanilla_laws_are_not_above_the_best_known() {
    let (Some(models), Some(golden)) = (models("flan.csv"), rows("golden/vanilla_best_rmsd.csv")) else {
        return;
    };
    for row in golden {
        for (law, column) in [
            (LawKind::PowerWithFloor, "vanilla3_best_rmsd"),
            (LawKind::Vanilla, "vanilla4_best_rmsd"),
        ] {
            let report = fit_curve(
                &models[&row["model"]].curve,
                &FitOptions {
                    law,
                    ..FitOptions::default()
                },
            );
            let best = number(&row, column);
            assert!(
                report.rmsd_log <= best + 1e-4,
                "{} {law:?}: {} above {best}",
                row["model"],
                report.rmsd_log
            );
        }
    }
}

/// The golden's family names stand for these models.
fn belongs(group: &str, name: &str, family: &str) -> bool {
    match group {
        "T5+mT5" => family == "T5" && !name.contains("v1_1"),
        "GPT2" => name.starts_with("gpt2"),
        other => family.starts_with(other),
    }
}

#[test]
fn joint_laws_are_not_above_the_best_known() {
    let (Some(models), Some(golden)) = (models("flan.csv"), rows("golden/joint_law_fits.csv")) else {
        return;
    };
    for row in golden {
        let law = match row["law"].as_str() {
            "multiplicative A/(N^a D^b)+E (a>0)" | "multiplicative, a any sign" => JointLawKind::Multiplicative,
            "additive A/N^a+B/D^b+E" => JointLawKind::Additive,
            "rectified joint, common D_l" => JointLawKind::RectifiedJointCommon,
            _ => JointLawKind::RectifiedJoint,
        };
        let members = models
            .iter()
            .filter(|(name, model)| belongs(&row["family"], name, &model.family));
        let curves: Vec<_> = members
            .map(|(_, m)| JointCurve {
                curve: m.curve.clone(),
                factor: m.parameters,
            })
            .collect();
        let count = curves.len();
        let report = fit_joint(
            &JointPanel::new(curves).unwrap(),
            &JointOptions {
                law,
                ..JointOptions::default()
            },
        );
        let best = number(&row, "rmsd_log");
        println!(
            "{} ({count} curves) {}: {} reference {best}",
            row["family"], row["law"], report.rmsd_log
        );
        assert!(
            report.rmsd_log <= best + 1e-3,
            "{} {}: {} above {best}",
            row["family"],
            row["law"],
            report.rmsd_log
        );
    }
}
