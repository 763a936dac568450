//! Speed of the fits, on the published benchmark where it is present, else on synthetic curves of the same shape.
//!
//! `rectified/…/truncations` fits all 30 models at 5…11 and 14 points per iteration (240 fits): divide by 240. The median of
//! single fits is printed first.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a benchmark; criterion's macros generate undocumented items"
)]

#[path = "../tests/support/data.rs"]
#[expect(dead_code, reason = "shared with the tests, which use more of it")]
mod data;

use std::hint::black_box;
use std::time::Instant;

use criterion::{Criterion, criterion_group, criterion_main};
use fitter_svc::curve::LearningCurve;
use fitter_svc::fit::{FitOptions, Fitter, JointCurve, JointOptions, JointPanel, fit_batch, fit_joint};
use fitter_svc::law::{Law, LawKind, RectifiedLaw};
use fitter_svc::objective::Objective;
use fitter_svc::uncertainty::bootstrap;

fn curves() -> Vec<LearningCurve> {
    if let Some(models) = data::models("flan.csv") {
        return models.into_values().map(|m| m.curve).collect();
    }
    let synthetic = |k: u32| {
        let law = RectifiedLaw::new(6.0 + 0.02 * f64::from(k), 5.0, 0.35 + 0.004 * f64::from(k), 1.0);
        let noise = |i: u32| 1.0 + 0.004 * (f64::from(i * 7 + k * 13) * 2.4).sin();
        let point = |i: u32| (200_u64 << i, Law::Rectified(law).loss(200 << i) * noise(i));
        LearningCurve::from_pairs(&(0..14).map(point).collect::<Vec<_>>()).unwrap()
    };
    (0..30).map(synthetic).collect()
}

fn truncations(curves: &[LearningCurve]) -> Vec<LearningCurve> {
    let cut = |curve: &LearningCurve, n: usize| curve.truncated(curve.fit_points(None).get(n - 1)?.data_size);
    curves
        .iter()
        .flat_map(|c| [5, 6, 7, 8, 9, 10, 11, 14].into_iter().filter_map(move |n| cut(c, n)))
        .collect()
}

fn options(law: LawKind, objective: Objective) -> FitOptions {
    FitOptions {
        law,
        objective,
        ..FitOptions::default()
    }
}

fn median_microseconds(curves: &[LearningCurve], options: &FitOptions) -> f64 {
    let mut fitter = Fitter::default();
    let mut times: Vec<f64> = Vec::with_capacity(curves.len());
    for curve in curves {
        let start = Instant::now();
        for _ in 0..10 {
            black_box(fitter.fit(curve, options));
        }
        times.push(start.elapsed().as_secs_f64() * 1e5);
    }
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn single_fits(criterion: &mut Criterion) {
    let curves = curves();
    let cut = truncations(&curves);
    let cases = [
        ("rectified/log-rmse", options(LawKind::Rectified, Objective::LogRmse)),
        ("rectified/huber", options(LawKind::Rectified, Objective::huber())),
        (
            "power-with-floor/log-rmse",
            options(LawKind::PowerWithFloor, Objective::LogRmse),
        ),
        ("power/log-rmse", options(LawKind::Power, Objective::LogRmse)),
        ("vanilla/log-rmse", options(LawKind::Vanilla, Objective::LogRmse)),
    ];
    for (name, options) in cases {
        println!(
            "{name}: median of a fit with its report {:.1} us",
            median_microseconds(&cut, &options)
        );
        let mut fitter = Fitter::default();
        criterion.bench_function(&format!("{name}/truncations"), |bencher| {
            bencher.iter(|| cut.iter().map(|c| fitter.fit(c, &options).iterations).sum::<u32>());
        });
    }
}

fn groups(criterion: &mut Criterion) {
    let curves = curves();
    let options = FitOptions::default();
    let mut fitter = Fitter::default();
    let curve = curves.first().unwrap();
    let report = fitter.fit(curve, &options);
    criterion.bench_function("bootstrap/1000-draws", |bencher| {
        bencher.iter(|| bootstrap(&mut fitter, curve, &options, &report, 1000, 1));
    });
    let many: Vec<_> = curves.iter().cycle().take(1000).cloned().collect();
    criterion.bench_function("batch/1000-curves", |bencher| {
        bencher.iter(|| fit_batch(&many, &options));
    });
    let members = curves.iter().take(4).enumerate();
    let panel = members
        .map(|(i, c)| JointCurve {
            curve: c.clone(),
            factor: 1e8 * 3_f64.powf(i as f64),
        })
        .collect();
    let panel = JointPanel::new(panel).unwrap();
    criterion.bench_function("joint/rectified/4-curves", |bencher| {
        bencher.iter(|| fit_joint(&panel, &JointOptions::default()));
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = single_fits, groups
}
criterion_main!(benches);
